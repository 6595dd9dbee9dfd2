#include "codec/smp.h"

#include <errno.h>

#include "base/text.h"

/* ---- the header ---- */

int smp_message_next(struct cursor *c, struct smp_header *ret, struct span *ret_body)
{
	uint8_t first = cur_u8(c);
	struct smp_header h = { .op = first & 7, .version = first >> 3 & 3, .flags = cur_u8(c) };

	h.body_bytes = cur_be16(c);
	h.group = cur_be16(c);
	h.seq = cur_u8(c);
	h.command = cur_u8(c);
	if (cur_ok(c) && h.body_bytes > SMP_BODY_BYTES_MAX)
		return -EMSGSIZE;
	struct span body = cur_take(c, h.body_bytes);
	if (!cur_ok(c) || first >> 5 || (first & 7) > SMP_WRITE_REPLY)
		return -EBADMSG;
	*ret = h;
	*ret_body = body;
	return 0;
}

static void put_header(struct buf *b, const struct smp_header *h)
{
	buf_add_u8(b, (uint8_t)((h->version & 3) << 3 | (h->op & 7)));
	buf_add_u8(b, h->flags);
	buf_add_be(b, 0, 2);                   /* the length, by end_message() */
	buf_add_be(b, h->group, 2);
	buf_add_u8(b, h->seq);
	buf_add_u8(b, h->command);
}

static void end_message(struct buf *b, size_t start)
{
	size_t n = b->n - start - SMP_HEADER_BYTES;

	if (b->bad)
		return;
	if (n > UINT16_MAX) {
		b->bad = true;
		return;
	}
	b->p[start + 2] = (uint8_t)(n >> 8);
	b->p[start + 3] = (uint8_t)n;
}

/* ---- CBOR as devices write it, to definite and shortest form ---- */

enum { MAJOR_NINT = 1, MAJOR_BYTES = 2, MAJOR_TEXT = 3, MAJOR_ARRAY = 4, MAJOR_MAP = 5, MAJOR_SIMPLE = 7, INFO_INDEFINITE = 31, BREAK = 0xff };

struct level {
	bool is_indefinite, is_map;
	uint64_t left;                         /* items to come; not of an indefinite one */
	uint64_t n;                            /* items seen */
	size_t at;                             /* of an indefinite one: where its head belongs */
};

static size_t head_make(uint8_t major, uint64_t v, uint8_t ret[static 9])
{
	size_t n = v < 24 ? 0 : v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
	static const uint8_t infos[] = { [1] = 24, [2] = 25, [4] = 26, [8] = 27 };

	ret[0] = (uint8_t)(major << 5 | (n ? infos[n] : v));
	for (size_t i = 0; i < n; i++)
		ret[1 + i] = (uint8_t)(v >> 8 * (n - 1 - i));
	return n + 1;
}

static void put_head(struct buf *b, uint8_t major, uint64_t v)
{
	uint8_t head[9];

	buf_add(b, SPAN(head, head_make(major, v, head)));
}

static void insert_head(struct buf *b, size_t at, uint8_t major, uint64_t v)
{
	uint8_t head[9];
	size_t n = head_make(major, v, head), tail = b->n - at;

	if (!buf_grow(b, n))
		return;
	memmove(b->p + at + n, b->p + at, tail);
	memcpy(b->p + at, head, n);
}

/* An item that is whole counts where it stands, and may complete that. Returns the new depth. */
static size_t item_done(struct level *levels, size_t depth)
{
	while (depth > 0) {
		struct level *l = &levels[depth - 1];

		l->n++;
		if (l->is_indefinite || l->n < l->left)
			break;
		depth--;
	}
	return depth;
}

/* Simple values and floats as they are; everything but false, true and null is left to cbor_check(). */
static void copy_simple(struct cursor *c, uint8_t info, struct buf *b)
{
	size_t n = info == 25 ? 2 : info == 26 ? 4 : info == 27 ? 8 : 0;

	if (info >= 24 && n == 0)
		c->bad = true;
	buf_add_u8(b, (uint8_t)(MAJOR_SIMPLE << 5 | info));
	buf_add(b, cur_take(c, n));
}

static uint64_t read_argument(struct cursor *c, uint8_t info)
{
	if (info < 24)
		return info;
	if (info > 27)
		c->bad = true;
	return info > 27 ? 0 : cur_be(c, (size_t)1 << (info - 24));
}

/* Opens an array or map; the new depth. */
static int open_level(struct cursor *c, uint8_t major, uint8_t info, struct level *levels, size_t depth, struct buf *b)
{
	struct level l = { .is_map = major == MAJOR_MAP, .is_indefinite = info == INFO_INDEFINITE, .at = b->n };
	uint64_t n = l.is_indefinite ? 0 : read_argument(c, info);

	if (n > cur_left(c)) {
		c->bad = true;
		return (int)depth;
	}
	if (!l.is_indefinite)
		put_head(b, major, n);
	l.left = l.is_map ? 2 * n : n;
	if (!l.is_indefinite && n == 0)
		return (int)item_done(levels, depth);
	if (depth == SMP_DEPTH_MAX)
		return -E2BIG;
	levels[depth] = l;
	return (int)depth + 1;
}

static int close_level(struct cursor *c, struct level *levels, size_t depth, struct buf *b)
{
	const struct level *l = depth ? &levels[depth - 1] : NULL;

	if (!l || !l->is_indefinite || (l->is_map && l->n % 2)) {
		c->bad = true;
		return (int)depth;
	}
	insert_head(b, l->at, l->is_map ? MAJOR_MAP : MAJOR_ARRAY, l->is_map ? l->n / 2 : l->n);
	return (int)item_done(levels, depth - 1);
}

static int rewrite(struct span in, struct buf *b)
{
	struct cursor c = { .s = in };
	struct level levels[SMP_DEPTH_MAX];
	int depth = 0;

	do {
		uint8_t first = cur_u8(&c), major = first >> 5, info = first & 31;

		if (first == BREAK && cur_ok(&c)) {
			depth = close_level(&c, levels, (size_t)depth, b);
		} else if (major == MAJOR_ARRAY || major == MAJOR_MAP) {
			depth = open_level(&c, major, info, levels, (size_t)depth, b);
		} else {
			if (major == MAJOR_SIMPLE) {
				copy_simple(&c, info, b);
			} else if (major <= MAJOR_TEXT) {
				uint64_t v = read_argument(&c, info);

				put_head(b, major, v);
				if (major == MAJOR_BYTES || major == MAJOR_TEXT)
					buf_add(b, cur_take(&c, v > cur_left(&c) ? cur_left(&c) + 1 : (size_t)v));
			} else { /* a tag: SMP has none */
				c.bad = true;
			}
			depth = (int)item_done(levels, (size_t)depth);
		}
		if (depth < 0)
			return depth;
	} while (depth > 0 && cur_ok(&c) && buf_ok(b));
	if (!buf_ok(b))
		return -ENOMEM;
	return cur_at_end(&c) ? 0 : -EBADMSG;
}

static int body_open(struct span body, struct buf *scratch, struct cbor *ret)
{
	if (body.n > SMP_BODY_BYTES_MAX)
		return -EMSGSIZE;
	buf_clear(scratch);
	int r = rewrite(body, scratch);
	if (r < 0)
		return r;
	r = cbor_check(buf_span(scratch), 0, NULL);
	if (r == -E2BIG)
		return r;
	if (r < 0)
		return -EBADMSG;
	*ret = cbor_reader(buf_span(scratch));
	return 0;
}

/* ---- what a reply says ---- */

static uint32_t read_u32(struct cbor *c)
{
	uint64_t v = cbor_uint(c);

	if (v > UINT32_MAX)
		c->bad = true;
	return (uint32_t)v;
}

static void read_text(struct cbor *c, char *ret, size_t ret_bytes)
{
	struct span s = cbor_text(c);
	size_t n = s.n < ret_bytes - 1 ? s.n : ret_bytes - 1;

	while (n > 0 && n < s.n && (s.p[n] & 0xc0) == 0x80) /* not within a character */
		n--;
	if (memchr(s.p ? (const void *)s.p : "", 0, n))
		c->bad = true;
	(void)text_copy(ret, ret_bytes, span_sub(s, 0, n)); /* clipped above */
}

/* False flags may be missing, and null stands for false with some. */
static bool read_flag(struct cbor *c)
{
	if (cbor_is_null(c)) {
		cbor_null(c);
		return false;
	}
	return cbor_bool(c);
}

static void read_image(struct cbor *c, struct smp_image *ret)
{
	size_t n = cbor_map(c);

	for (size_t i = 0; i < n && cbor_ok(c); i++) {
		struct span key = cbor_text(c);

		if (span_eq_str(key, "image")) {
			ret->image = read_u32(c);
		} else if (span_eq_str(key, "slot")) {
			ret->slot = read_u32(c);
		} else if (span_eq_str(key, "version")) {
			read_text(c, ret->version, sizeof(ret->version));
		} else if (span_eq_str(key, "hash")) {
			struct span h = cbor_bytes(c);

			if (h.n > SMP_HASH_BYTES_MAX) {
				c->bad = true;
				return;
			}
			if (h.n)
				memcpy(ret->hash, h.p, h.n);
			ret->n_hash = (uint8_t)h.n;
		} else if (span_eq_str(key, "bootable")) {
			ret->bootable = read_flag(c);
		} else if (span_eq_str(key, "pending")) {
			ret->pending = read_flag(c);
		} else if (span_eq_str(key, "confirmed")) {
			ret->confirmed = read_flag(c);
		} else if (span_eq_str(key, "active")) {
			ret->active = read_flag(c);
		} else if (span_eq_str(key, "permanent")) {
			ret->permanent = read_flag(c);
		} else {
			(void)cbor_skip(c); /* not of interest */
		}
	}
}

static int read_images(struct cbor *c, struct smp_reply *ret)
{
	size_t n = cbor_array(c);

	if (n > SMP_IMAGES_MAX)
		return -EMSGSIZE;
	ret->has_images = true;
	for (size_t i = 0; i < n && cbor_ok(c); i++)
		read_image(c, &ret->images[ret->n_images++]);
	return 0;
}

static void read_group_error(struct cbor *c, struct smp_error *ret)
{
	size_t n = cbor_map(c);
	bool has_rc = false;

	for (size_t i = 0; i < n && cbor_ok(c); i++) {
		struct span key = cbor_text(c);

		if (span_eq_str(key, "group")) {
			uint32_t g = read_u32(c);

			ret->group = (uint16_t)g;
			ret->has_group = true;
			c->bad = c->bad || g > UINT16_MAX;
		} else if (span_eq_str(key, "rc")) {
			ret->rc = read_u32(c);
			has_rc = true;
		} else {
			(void)cbor_skip(c); /* not of interest */
		}
	}
	if (!has_rc || !ret->has_group)
		c->bad = true;
}

static int read_reply_key(struct cbor *c, struct span key, struct smp_reply *ret)
{
	if (span_eq_str(key, "rc")) {
		uint64_t rc = cbor_peek(c) == CBOR_NINT ? (uint64_t)(cbor_int(c), SMP_UNKNOWN) : cbor_uint(c);

		if (!ret->error.has_group)
			ret->error.rc = rc > UINT32_MAX ? SMP_UNKNOWN : (uint32_t)rc;
	} else if (span_eq_str(key, "rsn")) {
		read_text(c, ret->error.reason, sizeof(ret->error.reason));
	} else if (span_eq_str(key, "err")) {
		read_group_error(c, &ret->error);
	} else if (span_eq_str(key, "off")) {
		ret->off = cbor_uint(c);
		ret->has_off = true;
	} else if (span_eq_str(key, "match")) {
		ret->match = read_flag(c);
		ret->has_match = true;
	} else if (span_eq_str(key, "buf_size")) {
		ret->buf_size = read_u32(c);
		ret->has_params = true;
	} else if (span_eq_str(key, "buf_count")) {
		ret->buf_count = read_u32(c);
	} else if (span_eq_str(key, "images")) {
		return read_images(c, ret);
	} else {
		(void)cbor_skip(c); /* not of interest */
	}
	return 0;
}

int smp_reply_decode(struct span body, struct smp_reply *ret)
{
	_cleanup_buf_ struct buf scratch = { .max = 4 * SMP_BODY_BYTES_MAX };
	struct smp_reply out = { 0 };
	struct cbor c;

	int r = body_open(body, &scratch, &c);
	if (r < 0)
		return r;
	size_t n = cbor_map(&c);
	for (size_t i = 0; i < n && cbor_ok(&c); i++) {
		r = read_reply_key(&c, cbor_text(&c), &out);
		if (r < 0)
			return r;
	}
	if (!cbor_at_end(&c))
		return -EBADMSG;
	*ret = out;
	return 0;
}

/* ---- what a request says ---- */

static void read_request_key(struct cbor *c, struct span key, struct smp_request *ret)
{
	if (span_eq_str(key, "off")) {
		ret->off = cbor_uint(c);
		ret->has_off = true;
	} else if (span_eq_str(key, "len")) {
		ret->len = cbor_uint(c);
		ret->has_len = true;
	} else if (span_eq_str(key, "image")) {
		ret->image = read_u32(c);
	} else if (span_eq_str(key, "slot")) {
		ret->slot = read_u32(c);
		ret->has_slot = true;
	} else if (span_eq_str(key, "data")) {
		ret->data = cbor_bytes(c);
	} else if (span_eq_str(key, "sha")) {
		ret->sha = cbor_bytes(c);
	} else if (span_eq_str(key, "hash")) {
		ret->hash = cbor_bytes(c);
	} else if (span_eq_str(key, "confirm")) {
		ret->confirm = read_flag(c);
		ret->has_confirm = true;
	} else {
		(void)cbor_skip(c); /* not of interest */
	}
}

int smp_request_decode(struct span body, struct buf *scratch, struct smp_request *ret)
{
	struct smp_request out = { 0 };
	struct cbor c;

	int r = body_open(body, scratch, &c);
	if (r < 0)
		return r;
	size_t n = cbor_map(&c);
	for (size_t i = 0; i < n && cbor_ok(&c); i++)
		read_request_key(&c, cbor_text(&c), &out);
	if (!cbor_at_end(&c))
		return -EBADMSG;
	*ret = out;
	return 0;
}

/* ---- writing ---- */

static void put_key_uint(struct buf *b, const char *key, uint64_t v)
{
	cbor_put_str(b, key);
	cbor_put_uint(b, v);
}

static void put_key_bytes(struct buf *b, const char *key, struct span v)
{
	cbor_put_str(b, key);
	cbor_put_bytes(b, v);
}

static void put_key_bool(struct buf *b, const char *key, bool v)
{
	cbor_put_str(b, key);
	cbor_put_bool(b, v);
}

void smp_request_encode(struct buf *b, const struct smp_header *h, const struct smp_request *req)
{
	size_t start = b->n;

	put_header(b, h);
	cbor_put_map(b, (req->image > 0) + req->has_slot + req->has_len + req->has_off + (req->sha.n > 0) + (req->data.n > 0) +
			(req->hash.n > 0) + req->has_confirm);
	if (req->image > 0)
		put_key_uint(b, "image", req->image);
	if (req->has_slot)
		put_key_uint(b, "slot", req->slot);
	if (req->has_len)
		put_key_uint(b, "len", req->len);
	if (req->has_off)
		put_key_uint(b, "off", req->off);
	if (req->sha.n)
		put_key_bytes(b, "sha", req->sha);
	if (req->data.n)
		put_key_bytes(b, "data", req->data);
	if (req->hash.n)
		put_key_bytes(b, "hash", req->hash);
	if (req->has_confirm)
		put_key_bool(b, "confirm", req->confirm);
	end_message(b, start);
}

static void open_map(struct buf *b, size_t n, unsigned flags)
{
	if (flags & SMP_INDEFINITE)
		buf_add_u8(b, MAJOR_MAP << 5 | INFO_INDEFINITE);
	else
		cbor_put_map(b, n);
}

static void close_map(struct buf *b, unsigned flags)
{
	if (flags & SMP_INDEFINITE)
		buf_add_u8(b, BREAK);
}

/* Flags that are false are left out when maps are of indefinite length, as small servers do. */
static void put_image(struct buf *b, const struct smp_image *img, unsigned flags)
{
	const struct {
		const char *key;
		bool v;
	} marks[] = { { "bootable", img->bootable }, { "pending", img->pending }, { "confirmed", img->confirmed }, { "active", img->active },
		      { "permanent", img->permanent } };

	open_map(b, 2 + (img->image > 0) + (img->n_hash > 0) + sizeof(marks) / sizeof(*marks), flags);
	if (img->image > 0)
		put_key_uint(b, "image", img->image);
	put_key_uint(b, "slot", img->slot);
	cbor_put_str(b, "version");
	cbor_put_str(b, img->version);
	if (img->n_hash)
		put_key_bytes(b, "hash", SPAN(img->hash, img->n_hash));
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (marks[i].v || !(flags & SMP_INDEFINITE))
			put_key_bool(b, marks[i].key, marks[i].v);
	close_map(b, flags);
}

static void put_error(struct buf *b, const struct smp_error *e, unsigned flags)
{
	if (e->has_group) {
		cbor_put_str(b, "err");
		open_map(b, 2, flags);
		put_key_uint(b, "group", e->group);
		put_key_uint(b, "rc", e->rc);
		close_map(b, flags);
	} else {
		put_key_uint(b, "rc", e->rc);
	}
	if (e->reason[0]) {
		cbor_put_str(b, "rsn");
		cbor_put_str(b, e->reason);
	}
}

void smp_reply_encode(struct buf *b, const struct smp_header *h, const struct smp_reply *r, unsigned flags)
{
	size_t start = b->n;
	bool is_old = flags & SMP_RC_ZERO, has_error = smp_failed(&r->error) || (is_old && !r->has_images);

	put_header(b, h);
	open_map(b, has_error + (has_error && r->error.reason[0]) + r->has_off + r->has_match + 2 * r->has_params + r->has_images +
		 (is_old && r->has_images), flags);
	if (has_error)
		put_error(b, &r->error, flags);
	if (r->has_off)
		put_key_uint(b, "off", r->off);
	if (r->has_match)
		put_key_bool(b, "match", r->match);
	if (r->has_params) {
		put_key_uint(b, "buf_size", r->buf_size);
		put_key_uint(b, "buf_count", r->buf_count);
	}
	if (r->has_images) {
		cbor_put_str(b, "images");
		cbor_put_array(b, r->n_images);
		for (size_t i = 0; i < r->n_images; i++)
			put_image(b, &r->images[i], flags);
		if (is_old)
			put_key_uint(b, "splitStatus", 0);
	}
	close_map(b, flags);
	end_message(b, start);
}

/* ---- words ---- */

static const char *const base_texts[] = {
	"ok", "unknown error", "out of memory", "invalid value", "timed out", "no such entry", "not possible in its state", "message too large",
	"not supported", "corrupt", "busy", "access denied", "protocol version too old", "protocol version too new",
};

static const char *const image_texts[] = {
	"ok", "unknown error", "flash configuration cannot be read", "no image there", "image without TLVs", "bad TLV in the image",
	"several hashes in the image", "hash TLV of a wrong size", "no image of that hash", "no free slot", "flash cannot be opened",
	"flash cannot be read", "flash cannot be written", "flash cannot be erased", "no such slot", "out of memory", "flash context in use",
	"no flash context", "no flash device", "flash page unknown", "offset missing", "length missing", "header cut short", "bad image magic",
	"bad hash", "wrong flash address", "running version cannot be read", "the running image is newer", "an image is pending already",
	"bad vector table", "image too large for the slot", "more data than announced", "confirming denied", "the running image cannot be tested",
};

void smp_error_text(const struct smp_error *e, struct buf *ret)
{
	if (e->has_group && e->group == SMP_GROUP_IMAGE && e->rc < sizeof(image_texts) / sizeof(*image_texts))
		buf_printf(ret, "%s (image error %u)", image_texts[e->rc], e->rc);
	else if (e->has_group)
		buf_printf(ret, "error %u of group %u", e->rc, e->group);
	else if (e->rc < sizeof(base_texts) / sizeof(*base_texts))
		buf_printf(ret, "%s (rc %u)", base_texts[e->rc], e->rc);
	else
		buf_printf(ret, "rc %u", e->rc);
	if (e->reason[0]) {
		buf_add_str(ret, ": ");
		text_add_escaped(ret, span_str(e->reason), SMP_REASON_BYTES);
	}
}
