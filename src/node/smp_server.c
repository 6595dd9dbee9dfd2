#include "node/smp_server.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/mcuboot.h"

enum { IMAGE_OFFSET_MISSING = 20, DATA_BYTES_MIN = MCUBOOT_HEADER_BYTES };
enum pending { PENDING_NONE, PENDING_TEST, PENDING_PERMANENT };

struct slot {
	struct buf bytes;
	bool valid;                            /* as far as a list looks: header and TLVs */
	struct mcuboot_header h;
	struct mcuboot_trailer t;
	char version[MCUBOOT_VERSION_BYTES];
};

struct smp_server {
	struct smp_server_config c;
	struct slot slots[SMP_SERVER_SLOTS];
	enum pending pending;
	bool confirmed;

	bool uploading, is_damaged;            /* lost with the power */
	uint64_t len, off;
	struct digest sha;
	bool has_sha;

	bool is_down, crashes;
	struct mono up_at, crash_at;
	struct smp_server_counts counts;
	struct buf scratch;
};

/* ---- slots ---- */

static void slot_look(struct slot *s)
{
	struct span b = buf_span(&s->bytes);

	s->valid = mcuboot_header_decode(b, b.n, &s->h) == 0 &&
		   mcuboot_trailer_decode(&s->h, span_sub(b, (size_t)mcuboot_trailer_at(&s->h), b.n), &s->t) == 0;
	if (s->valid)
		(void)mcuboot_version_text(&s->h.version, s->version); /* in place */
}

/* What the bootloader looks at before it lets an image run. */
static bool slot_boots(const struct slot *s)
{
	if (!s->valid || s->t.hash_kind != MCUBOOT_SHA256)
		return false;
	struct digest d = digest_of(span_sub(buf_span(&s->bytes), 0, (size_t)mcuboot_hashed_bytes(&s->h)));
	return memcmp(d.b, s->t.hash, DIGEST_BYTES) == 0;
}

static void slots_swap(struct smp_server *s)
{
	struct slot t = s->slots[0];

	s->slots[0] = s->slots[1];
	s->slots[1] = t;
}

int smp_server_put(struct smp_server *s, unsigned slot, struct span image)
{
	if (slot >= SMP_SERVER_SLOTS || image.n > s->c.slot_bytes)
		return -EMSGSIZE;
	buf_clear(&s->slots[slot].bytes);
	buf_add(&s->slots[slot].bytes, image);
	slot_look(&s->slots[slot]);
	return 0;
}

struct span smp_server_slot(const struct smp_server *s, unsigned slot)
{
	return slot < SMP_SERVER_SLOTS ? buf_span(&s->slots[slot].bytes) : SPAN_NONE;
}

/* ---- restarts ---- */

static void boot(struct smp_server *s, struct mono now)
{
	bool was_trial = !s->confirmed;

	s->is_down = false;
	s->crashes = false;
	s->counts.restarts++;
	if (was_trial && !s->c.single_slot && s->slots[1].valid) { /* not confirmed: back */
		slots_swap(s);
		s->confirmed = true;
		s->pending = PENDING_NONE;
		s->counts.reverts++;
	} else if (s->pending != PENDING_NONE) {
		if (slot_boots(&s->slots[1])) {
			slots_swap(s);
			s->counts.swaps++;
			s->confirmed = s->pending == PENDING_PERMANENT;
			if (s->c.crash_ms && !s->confirmed) {
				s->crashes = true;
				s->crash_at = mono_add_ms(now, s->c.crash_ms);
			}
		} else {
			(void)smp_server_put(s, 1, SPAN_NONE); /* the bootloader erases what does not verify */
		}
		s->pending = PENDING_NONE;
	}
}

void smp_server_power_cycle(struct smp_server *s, struct mono now)
{
	s->uploading = s->has_sha = s->crashes = false;
	s->is_down = true;
	s->up_at = mono_add_ms(now, s->c.restart_ms);
}

void smp_server_tick(struct smp_server *s, struct mono now)
{
	if (s->is_down && !mono_before(now, s->up_at))
		boot(s, s->up_at);
	if (!s->is_down && s->crashes && !mono_before(now, s->crash_at)) {
		smp_server_power_cycle(s, s->crash_at);
		if (!mono_before(now, s->up_at))
			boot(s, s->up_at);
	}
}

int64_t smp_server_wait_ms(const struct smp_server *s, struct mono now)
{
	if (!s->is_down && !s->crashes)
		return -1;
	int64_t ms = mono_diff_ms(s->is_down ? s->up_at : s->crash_at, now);
	return ms < 0 ? 0 : ms;
}

/* ---- commands ---- */

struct call {
	struct smp_server *s;
	const struct smp_header *h;
	struct smp_request req;
	struct smp_reply r;
	struct mono now;
};

static void refuse(struct call *c, uint32_t image_rc, enum smp_rc base, const char *reason)
{
	if (c->h->version == SMP_V1) {
		c->r.error.rc = (uint32_t)base;
		(void)text_copy(c->r.error.reason, sizeof(c->r.error.reason), span_str(reason)); /* ours: short */
	} else {
		c->r.error = (struct smp_error){ .has_group = true, .group = SMP_GROUP_IMAGE, .rc = image_rc };
	}
}

static void put_slot(struct call *c, unsigned n)
{
	const struct smp_server *s = c->s;
	const struct slot *slot = &s->slots[n];
	struct smp_image *img = &c->r.images[c->r.n_images];

	if (!slot->valid)
		return;
	c->r.n_images++;
	*img = (struct smp_image){ .slot = n };
	memcpy(img->version, slot->version, sizeof(slot->version));
	if (!s->c.no_hash) {
		memcpy(img->hash, slot->t.hash, slot->t.n_hash);
		img->n_hash = slot->t.n_hash;
	}
	if (s->c.single_slot)
		return;
	img->bootable = !(slot->h.flags & MCUBOOT_F_NON_BOOTABLE);
	img->active = n == 0;
	img->confirmed = n == 0 ? s->confirmed : !s->confirmed;
	img->pending = n == 1 && s->pending != PENDING_NONE;
	img->permanent = n == 1 && s->pending == PENDING_PERMANENT;
}

static void on_list(struct call *c)
{
	c->r.has_images = true;
	for (unsigned n = 0; n < (c->s->c.single_slot ? 1u : (unsigned)SMP_SERVER_SLOTS); n++)
		put_slot(c, n);
}

static void on_state_write(struct call *c)
{
	struct smp_server *s = c->s;

	if (s->c.single_slot) {
		c->r.error.rc = SMP_NOTSUP;
	} else if (c->req.hash.n == 0) {
		if (!c->req.confirm)
			refuse(c, SMP_IMAGE_BAD_HASH, SMP_INVAL, "hash missing");
		else if (s->c.refuses_confirm)
			refuse(c, SMP_IMAGE_CONFIRM_DENIED, SMP_UNKNOWN, "confirming denied");
		else if (s->pending != PENDING_NONE)
			refuse(c, SMP_IMAGE_PENDING, SMP_BADSTATE, "image pending");
		else {
			s->counts.confirms += !s->confirmed;
			s->confirmed = true;
			s->crashes = false;
		}
	} else if (c->req.hash.n != DIGEST_BYTES) {
		refuse(c, SMP_IMAGE_BAD_HASH, SMP_INVAL, "bad hash");
	} else if (s->slots[0].valid && span_eq(c->req.hash, SPAN(s->slots[0].t.hash, s->slots[0].t.n_hash))) {
		refuse(c, SMP_IMAGE_TEST_OF_ACTIVE, SMP_BADSTATE, "it runs");
	} else if (s->slots[1].valid && span_eq(c->req.hash, SPAN(s->slots[1].t.hash, s->slots[1].t.n_hash))) {
		if (!s->confirmed) {
			refuse(c, SMP_IMAGE_NO_FREE_SLOT, SMP_BADSTATE, "running image is not confirmed");
			return;
		}
		s->counts.tests++;
		s->pending = c->req.confirm ? PENDING_PERMANENT : PENDING_TEST;
	} else {
		refuse(c, SMP_IMAGE_HASH_NOT_FOUND, SMP_NOENT, "no such image");
	}
	if (!smp_failed(&c->r.error))
		on_list(c);
}

static unsigned upload_slot(const struct smp_server *s)
{
	return s->c.single_slot ? 0 : 1;
}

/* off 0: resume, or a new session. False when it was refused. */
static bool upload_begin(struct call *c)
{
	struct smp_server *s = c->s;
	struct slot *slot = &s->slots[upload_slot(s)];
	bool has_sha = c->req.sha.n == DIGEST_BYTES;

	if (!c->req.has_len) {
		s->uploading = false;          /* a stray request kills what was under way */
		refuse(c, SMP_IMAGE_LENGTH_MISSING, SMP_INVAL, "header malformed");
		return false;
	}
	if (s->uploading && !s->c.no_resume && has_sha && s->has_sha && memcmp(c->req.sha.p, s->sha.b, DIGEST_BYTES) == 0) {
		s->counts.resumed += s->off > 0;
		return s->off == 0;
	}
	s->uploading = false;
	if (!s->c.single_slot && !s->confirmed)
		refuse(c, SMP_IMAGE_NO_FREE_SLOT, SMP_BADSTATE, "no free slot");
	else if (s->c.must_erase && slot->bytes.n)
		refuse(c, SMP_IMAGE_NO_FREE_SLOT, SMP_BADSTATE, "slot is not empty");
	else if (c->req.data.n < DATA_BYTES_MIN)
		refuse(c, SMP_IMAGE_HEADER_SHORT, SMP_INVAL, "header malformed");
	else if (memcmp(c->req.data.p, "\x3d\xb8\xf3\x96", 4) != 0)
		refuse(c, SMP_IMAGE_BAD_MAGIC, SMP_UNKNOWN, "magic mismatch");
	else if (c->req.len > s->c.slot_bytes)
		refuse(c, SMP_IMAGE_TOO_LARGE, SMP_NOMEM, "image too large");
	else {
		s->uploading = true;
		s->is_damaged = false;
		s->len = c->req.len;
		s->off = 0;
		s->has_sha = has_sha;
		if (has_sha)
			memcpy(s->sha.b, c->req.sha.p, DIGEST_BYTES);
		s->pending = PENDING_NONE;     /* gone with the image it was of */
		(void)smp_server_put(s, upload_slot(s), SPAN_NONE); /* empty fits */
		s->counts.uploads_begun++;
		return true;
	}
	return false;
}

static void upload_end(struct call *c)
{
	struct smp_server *s = c->s;
	struct slot *slot = &s->slots[upload_slot(s)];
	struct digest d = digest_of(buf_span(&slot->bytes));

	slot_look(slot);
	s->uploading = false;
	if (s->has_sha && digest_eq(&d, &s->sha))
		c->r.has_match = c->r.match = true;
}

static void on_upload(struct call *c)
{
	struct smp_server *s = c->s;
	struct slot *slot = &s->slots[upload_slot(s)];

	if (!c->req.has_off) {
		refuse(c, IMAGE_OFFSET_MISSING, SMP_INVAL, "header malformed");
		return;
	}
	bool writes = c->req.off == 0 ? upload_begin(c) : s->uploading && c->req.off == s->off;
	if (smp_failed(&c->r.error))
		return;
	c->r.has_off = true;
	c->r.off = s->uploading ? s->off : 0;
	if (!writes) {
		s->counts.misplaced += c->req.off != 0;
		return;
	}
	if (c->req.data.n > s->len - s->off) {
		c->r.has_off = false;
		refuse(c, SMP_IMAGE_OVERRUN, SMP_INVAL, "data overrun");
		return;
	}
	buf_add(&slot->bytes, c->req.data);
	if (s->c.damages && !s->is_damaged && slot->bytes.n > MCUBOOT_HEADER_BYTES) {
		slot->bytes.p[MCUBOOT_HEADER_BYTES] ^= 1;
		s->is_damaged = true;
	}
	s->counts.chunks++;
	s->counts.bytes += c->req.data.n;
	s->off += c->req.data.n;
	c->r.off = s->off;
	if (s->off == s->len)
		upload_end(c);
}

static void on_erase(struct call *c)
{
	if (!c->s->confirmed) {
		refuse(c, SMP_IMAGE_NO_FREE_SLOT, SMP_BADSTATE, "slot in use");
		return;
	}
	c->s->uploading = false;
	c->s->pending = PENDING_NONE;
	c->s->counts.erases++;
	(void)smp_server_put(c->s, 1, SPAN_NONE); /* empty fits */
}

static void on_params(struct call *c)
{
	if (!c->s->c.buf_size) {
		c->r.error.rc = SMP_NOTSUP;
		return;
	}
	c->r.has_params = true;
	c->r.buf_size = c->s->c.buf_size;
	c->r.buf_count = c->s->c.buf_count;
}

static void on_reset(struct call *c)
{
	smp_server_power_cycle(c->s, c->now);
}

static const struct {
	enum smp_group group;
	uint8_t command;
	enum smp_op op;
	void (*fn)(struct call *c);
} commands[] = {
	{ SMP_GROUP_OS, SMP_OS_PARAMS, SMP_READ, on_params },
	{ SMP_GROUP_OS, SMP_OS_RESET, SMP_WRITE, on_reset },
	{ SMP_GROUP_IMAGE, SMP_IMAGE_STATE, SMP_READ, on_list },
	{ SMP_GROUP_IMAGE, SMP_IMAGE_STATE, SMP_WRITE, on_state_write },
	{ SMP_GROUP_IMAGE, SMP_IMAGE_UPLOAD, SMP_WRITE, on_upload },
	{ SMP_GROUP_IMAGE, SMP_IMAGE_ERASE, SMP_WRITE, on_erase },
};

static void dispatch(struct call *c)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (commands[i].group == c->h->group && commands[i].command == c->h->command && commands[i].op == c->h->op) {
			commands[i].fn(c);
			return;
		}
	c->r.error.rc = SMP_NOTSUP;
}

static void answer(struct smp_server *s, const struct smp_header *h, struct span body, struct mono now, struct buf *reply)
{
	struct call c = { .s = s, .h = h, .now = now };
	struct smp_header rh = *h;

	s->counts.requests++;
	if (h->version > (uint8_t)s->c.version)
		c.r.error.rc = SMP_TOO_NEW;
	else if (smp_request_decode(body, &s->scratch, &c.req) < 0)
		c.r.error.rc = SMP_INVAL;
	else
		dispatch(&c);
	rh.op = h->op == SMP_READ ? SMP_READ_REPLY : SMP_WRITE_REPLY;
	/* Version 1 servers say rc 0; the others write maps of indefinite length, as Zephyr does. */
	smp_reply_encode(reply, &rh, &c.r, s->c.version == SMP_V1 ? SMP_RC_ZERO : SMP_INDEFINITE);
}

void smp_server_handle(struct smp_server *s, struct span datagram, struct mono now, struct buf *reply)
{
	struct cursor c = { .s = datagram };
	struct smp_header h;
	struct span body;

	smp_server_tick(s, now);
	while (!s->is_down && cur_left(&c) > 0) {
		if (smp_message_next(&c, &h, &body) < 0 || h.op == SMP_READ_REPLY || h.op == SMP_WRITE_REPLY)
			return;
		answer(s, &h, body, now, reply);
	}
}

/* ---- life ---- */

bool smp_server_is_confirmed(const struct smp_server *s) { return s->confirmed; }
bool smp_server_is_pending(const struct smp_server *s) { return s->pending != PENDING_NONE; }
const char *smp_server_version(const struct smp_server *s) { return s->slots[0].valid ? s->slots[0].version : ""; }
struct smp_server_counts smp_server_counts(const struct smp_server *s) { return s->counts; }

void smp_server_restore(struct smp_server *s, bool is_confirmed, bool is_pending)
{
	s->confirmed = is_confirmed;
	s->pending = is_pending ? PENDING_TEST : PENDING_NONE;
}

struct smp_server *smp_server_new(const struct smp_server_config *c)
{
	struct smp_server *s = NEW(struct smp_server);

	s->c = *c;
	if (!s->c.slot_bytes)
		s->c.slot_bytes = SMP_SERVER_SLOT_BYTES;
	s->confirmed = true;
	return s;
}

struct smp_server *smp_server_free(struct smp_server *s)
{
	if (!s)
		return NULL;
	for (unsigned i = 0; i < SMP_SERVER_SLOTS; i++)
		buf_done(&s->slots[i].bytes);
	buf_done(&s->scratch);
	free(s);
	return NULL;
}
