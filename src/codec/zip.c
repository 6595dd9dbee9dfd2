#include "codec/zip.h"

#include <errno.h>
#include <zlib.h>

#include "base/cursor.h"

enum {
	LOCAL_MAGIC = 0x04034b50, DIRECTORY_MAGIC = 0x02014b50, END_MAGIC = 0x06054b50,
	LOCAL_BYTES = 30, DIRECTORY_BYTES = 46, END_BYTES = 22, COMMENT_BYTES_MAX = 65535,
	METHOD_STORED = 0, METHOD_DEFLATED = 8,
	FLAG_ENCRYPTED = 0x0001, FLAG_SIZES_BEHIND = 0x0008, FLAG_PATCH = 0x0020, FLAG_STRONG = 0x0040, FLAG_MASKED = 0x2000,
	FLAGS_REFUSED = FLAG_ENCRYPTED | FLAG_PATCH | FLAG_STRONG | FLAG_MASKED,
};
#define ZIP64_MARK 0xffffffffu

struct directory {
	size_t at, bytes;
	unsigned n;
};

/* The end record: the last one whose comment fills the file exactly. */
static int find_end(struct span file, struct directory *ret)
{
	size_t lowest = file.n > END_BYTES + COMMENT_BYTES_MAX ? file.n - END_BYTES - COMMENT_BYTES_MAX : 0;

	if (file.n < END_BYTES)
		return -EBADMSG;
	for (size_t at = file.n - END_BYTES + 1; at-- > lowest; ) {
		struct cursor c = { .s = span_sub(file, at, file.n) };

		if (cur_le32(&c) != END_MAGIC)
			continue;
		uint16_t disk = cur_le16(&c), first_disk = cur_le16(&c), n_here = cur_le16(&c), n = cur_le16(&c);
		uint32_t bytes = cur_le32(&c), start = cur_le32(&c);
		if (cur_le16(&c) != cur_left(&c))
			continue;
		if (n == 0xffff || bytes == ZIP64_MARK || start == ZIP64_MARK || disk || first_disk || n_here != n)
			return -ENOTSUP;
		if ((uint64_t)start + bytes != at)     /* right before the end record, and nothing else */
			return -EBADMSG;
		*ret = (struct directory){ .at = start, .bytes = bytes, .n = n };
		return 0;
	}
	return -EBADMSG;
}

struct row {                                   /* of the central directory */
	struct zip_entry e;
	uint16_t flags, method;
	uint32_t packed_bytes, at;
};

static int row_decode(struct cursor *c, struct row *ret)
{
	struct row r = { 0 };

	if (cur_le32(c) != DIRECTORY_MAGIC)
		return -EBADMSG;
	(void)cur_take(c, 4);                  /* versions */
	r.flags = cur_le16(c);
	r.method = cur_le16(c);
	(void)cur_take(c, 4);                  /* time, date */
	r.e.crc = cur_le32(c);
	r.packed_bytes = cur_le32(c);
	r.e.bytes = cur_le32(c);
	uint16_t name_bytes = cur_le16(c), extra_bytes = cur_le16(c), comment_bytes = cur_le16(c), disk = cur_le16(c);
	(void)cur_take(c, 6);                  /* attributes */
	r.at = cur_le32(c);
	r.e.name = cur_take(c, name_bytes);
	(void)cur_take(c, (size_t)extra_bytes + comment_bytes);
	if (!cur_ok(c) || name_bytes == 0)
		return -EBADMSG;
	if (name_bytes > ZIP_NAME_BYTES_MAX)
		return -EMSGSIZE;
	if ((r.flags & FLAGS_REFUSED) || disk || r.packed_bytes == ZIP64_MARK || r.e.bytes == ZIP64_MARK || r.at == ZIP64_MARK ||
	    (r.method != METHOD_STORED && r.method != METHOD_DEFLATED))
		return -ENOTSUP;
	r.e.is_deflated = r.method == METHOD_DEFLATED;
	*ret = r;
	return 0;
}

/* The entry where it lies must say the same. ret_end: where its bytes end. */
static int local_check(struct span file, struct row *r, size_t *ret_end)
{
	struct cursor c = { .s = span_sub(file, r->at, file.n) };

	if (r->at > file.n || cur_le32(&c) != LOCAL_MAGIC)
		return -EBADMSG;
	(void)cur_take(&c, 2);
	uint16_t flags = cur_le16(&c), method = cur_le16(&c);
	(void)cur_take(&c, 4);
	uint32_t crc = cur_le32(&c), packed_bytes = cur_le32(&c), bytes = cur_le32(&c);
	uint16_t name_bytes = cur_le16(&c), extra_bytes = cur_le16(&c);
	struct span name = cur_take(&c, name_bytes);
	(void)cur_take(&c, extra_bytes);
	r->e.packed = cur_take(&c, r->packed_bytes);
	if (!cur_ok(&c) || flags != r->flags || method != r->method || !span_eq(name, r->e.name))
		return -EBADMSG;
	if (!(flags & FLAG_SIZES_BEHIND) && (crc != r->e.crc || packed_bytes != r->packed_bytes || bytes != r->e.bytes))
		return -EBADMSG;
	if (r->e.is_deflated ? r->e.bytes > (uint64_t)r->packed_bytes * ZIP_RATIO_MAX : r->e.bytes != r->packed_bytes)
		return -EBADMSG;
	*ret_end = r->at + c.pos;
	return 0;
}

/* Two entries may not share bytes. The other lies at other_at, to other_end. */
static bool overlaps(size_t at, size_t end, size_t other_at, size_t other_end)
{
	return at < other_end && other_at < end;
}

int zip_decode(struct span file, struct zip *ret)
{
	struct { size_t at, end; } places[ZIP_ENTRIES_MAX];
	struct directory d;
	struct zip z = { 0 };

	if (file.n > ZIP_BYTES_MAX)
		return -EMSGSIZE;
	int r = find_end(file, &d);
	if (r < 0)
		return r;
	if (d.n > ZIP_ENTRIES_MAX)
		return -E2BIG;
	struct cursor c = { .s = span_sub(file, d.at, d.bytes) };
	for (size_t i = 0; i < d.n; i++) {
		struct row row;

		r = row_decode(&c, &row);
		if (r == 0)
			r = local_check(span_sub(file, 0, d.at), &row, &places[i].end);
		if (r < 0)
			return r;
		places[i].at = row.at;
		for (size_t j = 0; j < i; j++)
			if (overlaps(places[i].at, places[i].end, places[j].at, places[j].end))
				return -EBADMSG;
		if (zip_find(&z, row.e.name))
			return -EBADMSG;
		if (row.e.name.p[row.e.name.n - 1] != '/')
			z.entries[z.n_entries++] = row.e;
	}
	if (!cur_at_end(&c))
		return -EBADMSG;
	*ret = z;
	return 0;
}

const struct zip_entry *zip_find(const struct zip *z, struct span name)
{
	for (size_t i = 0; i < z->n_entries; i++)
		if (span_eq(z->entries[i].name, name))
			return &z->entries[i];
	return NULL;
}

uint32_t zip_crc32(uint32_t crc, struct span bytes)
{
	return (uint32_t)crc32_z(crc, bytes.n ? bytes.p : (const uint8_t *)"", bytes.n);
}

/* Exactly n bytes from exactly the packed ones. */
static int inflate_to(struct span packed, uint8_t *to, size_t n)
{
	uint8_t beyond;                        /* somewhere to point for an empty entry */
	z_stream s = { .next_in = (uint8_t *)(uintptr_t)packed.p, .avail_in = (uInt)packed.n, .next_out = n ? to : &beyond, .avail_out = (uInt)n };

	if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
		return -ENOMEM;
	int r = inflate(&s, Z_FINISH);
	bool is_whole = r == Z_STREAM_END && s.avail_in == 0 && s.avail_out == 0;
	(void)inflateEnd(&s);                  /* only says that the stream ended early, which was looked at */
	return is_whole ? 0 : r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

int zip_unpack(const struct zip_entry *e, size_t max, struct buf *ret)
{
	size_t before = ret->n;

	if (e->bytes > max)
		return -EMSGSIZE;
	uint8_t *to = buf_grow(ret, e->bytes);
	if (!to)
		return -ENOMEM;
	int r = 0;
	if (e->is_deflated)
		r = inflate_to(e->packed, to, e->bytes);
	else if (e->bytes)
		memcpy(to, e->packed.p, e->bytes);
	if (r == 0 && zip_crc32(0, SPAN(to, e->bytes)) != e->crc)
		r = -EBADMSG;
	if (r < 0)
		ret->n = before;
	return r;
}
