#include "codec/mcuboot.h"

#include <errno.h>
#include <stdio.h>

#include "base/cursor.h"

enum { AREA_MAGIC = 0x6907, AREA_PROTECTED_MAGIC = 0x6908, AREA_HEAD_BYTES = 4, TLV_HEAD_BYTES = 4 };
enum { TLV_SECURITY_COUNTER = 0x50, TLV_VENDOR = 0x74, TLV_CLASS = 0x75 };

int mcuboot_header_decode(struct span in, uint64_t file_bytes, struct mcuboot_header *ret)
{
	struct cursor c = { .s = in };
	struct mcuboot_header h;

	if (cur_le32(&c) != MCUBOOT_MAGIC)
		return -EBADMSG;
	h.load_addr = cur_le32(&c);
	h.header_bytes = cur_le16(&c);
	h.protected_bytes = cur_le16(&c);
	h.image_bytes = cur_le32(&c);
	h.flags = cur_le32(&c);
	h.version.major = cur_u8(&c);
	h.version.minor = cur_u8(&c);
	h.version.revision = cur_le16(&c);
	h.version.build = cur_le32(&c);
	(void)cur_le32(&c); /* padding */
	if (!cur_ok(&c) || h.header_bytes < MCUBOOT_HEADER_BYTES || h.image_bytes == 0 ||
	    (h.protected_bytes > 0 && h.protected_bytes < AREA_HEAD_BYTES) || mcuboot_hashed_bytes(&h) + AREA_HEAD_BYTES > file_bytes)
		return -EBADMSG;
	*ret = h;
	return 0;
}

static size_t hash_bytes(uint16_t type)
{
	return type == MCUBOOT_SHA256 ? 32 : type == MCUBOOT_SHA384 ? 48 : type == MCUBOOT_SHA512 ? 64 : 0;
}

static int take_hash(struct mcuboot_trailer *t, uint16_t type, struct span v)
{
	if (t->hash_kind != MCUBOOT_HASH_NONE)
		return -EEXIST;
	if (v.n != hash_bytes(type))
		return -EBADMSG;
	t->hash_kind = (enum mcuboot_hash)type;
	memcpy(t->hash, v.p, v.n);
	t->n_hash = (uint8_t)v.n;
	return 0;
}

/* What only counts where the hash covers it. */
static int take_protected(struct mcuboot_trailer *t, uint16_t type, struct span v)
{
	if (type == TLV_SECURITY_COUNTER) {
		struct cursor c = { .s = v };

		if (v.n != 4 || t->has_security_counter)
			return -EBADMSG;
		t->security_counter = cur_le32(&c);
		t->has_security_counter = true;
	} else if (type == TLV_VENDOR || type == TLV_CLASS) {
		bool *has = type == TLV_VENDOR ? &t->has_vendor : &t->has_class;

		if (v.n != 16 || *has)
			return -EBADMSG;
		memcpy(type == TLV_VENDOR ? t->vendor_id : t->class_id, v.p, 16);
		*has = true;
	}
	return 0;
}

/* One area: its head, then entries to its end exactly. */
static int read_area(struct cursor *c, bool is_protected, uint16_t want_bytes, struct mcuboot_trailer *t, size_t *n_tlvs)
{
	uint16_t magic = cur_le16(c), total = cur_le16(c);

	if (!cur_ok(c) || magic != (is_protected ? AREA_PROTECTED_MAGIC : AREA_MAGIC) || total < AREA_HEAD_BYTES || (is_protected && total != want_bytes))
		return -EBADMSG;
	struct cursor a = { .s = cur_take(c, total - (size_t)AREA_HEAD_BYTES) };
	if (!cur_ok(c))
		return -EBADMSG;
	while (cur_left(&a) > 0) {
		uint16_t type = cur_le16(&a), n = cur_le16(&a);
		struct span v = cur_take(&a, n);

		if (!cur_ok(&a))
			return -EBADMSG;
		if (++*n_tlvs > MCUBOOT_TLVS_MAX)
			return -E2BIG;
		int r = 0;
		if (is_protected)
			r = take_protected(t, type, v);
		else if (hash_bytes(type))
			r = take_hash(t, type, v);
		if (r < 0)
			return r;
	}
	return 0;
}

int mcuboot_trailer_decode(const struct mcuboot_header *h, struct span in, struct mcuboot_trailer *ret)
{
	struct cursor c = { .s = in };
	struct mcuboot_trailer t = { 0 };
	size_t n_tlvs = 0;
	int r = h->protected_bytes ? read_area(&c, true, h->protected_bytes, &t, &n_tlvs) : 0;

	if (r == 0)
		r = read_area(&c, false, 0, &t, &n_tlvs);
	if (r < 0)
		return r;
	if (t.hash_kind == MCUBOOT_HASH_NONE)
		return -ENOENT;
	t.total_bytes = mcuboot_trailer_at(h) + c.pos;
	*ret = t;
	return 0;
}

const char *mcuboot_version_text(const struct mcuboot_version *v, char ret[static MCUBOOT_VERSION_BYTES])
{
	if (v->build) /* both fit */
		(void)snprintf(ret, MCUBOOT_VERSION_BYTES, "%u.%u.%u.%u", v->major, v->minor, v->revision, v->build);
	else
		(void)snprintf(ret, MCUBOOT_VERSION_BYTES, "%u.%u.%u", v->major, v->minor, v->revision);
	return ret;
}
