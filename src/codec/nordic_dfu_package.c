/* The distribution package: a zip with manifest.json, and for each image an init packet (.dat) and the image (.bin). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/cursor.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/nordic_dfu.h"
#include "codec/zip.h"

static const char *const kind_names[] = {
	[NORDIC_APPLICATION] = "application", [NORDIC_SOFTDEVICE] = "softdevice", [NORDIC_BOOTLOADER] = "bootloader",
	[NORDIC_SOFTDEVICE_BOOTLOADER] = "softdevice_bootloader",
};

const char *nordic_kind_name(enum nordic_kind k)
{
	return (size_t)k < sizeof(kind_names) / sizeof(*kind_names) ? kind_names[k] : "?";
}

/* What the application needs comes before it. */
static const enum nordic_kind order[] = { NORDIC_SOFTDEVICE_BOOTLOADER, NORDIC_SOFTDEVICE, NORDIC_BOOTLOADER, NORDIC_APPLICATION };

struct opening {
	struct zip zip;
	struct nordic_package package;
	char *reason;                          /* NORDIC_REASON_BYTES */
	size_t left;                           /* of NORDIC_IMAGE_BYTES_MAX */
};

__attribute__((format(printf, 3, 4)))
static int refuse(struct opening *o, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(o->reason, NORDIC_REASON_BYTES, fmt, ap); /* may be clipped: ASCII, for people */
	va_end(ap);
	return error;
}

uint16_t nordic_crc16(struct span bytes)
{
	uint16_t crc = 0xffff;

	for (size_t i = 0; i < bytes.n; i++) {
		crc = (uint16_t)(crc >> 8 | crc << 8);
		crc ^= bytes.p[i];
		crc ^= (crc & 0xff) >> 4;
		crc ^= (uint16_t)(crc << 12);
		crc ^= (uint16_t)((crc & 0xff) << 5);
	}
	return crc;
}

/* ---- one image ---- */

static int unpack(struct opening *o, const struct json_value *v, enum nordic_kind kind, const char *key, size_t max, struct buf *ret)
{
	const char *name = json_get_str(v, key), *what = kind_names[kind];
	const struct zip_entry *e;

	if (!name || !*name || strlen(name) >= NORDIC_FILE_BYTES_MAX)
		return refuse(o, -EBADMSG, "manifest.json: %s names no %s", what, key);
	e = zip_find(&o->zip, span_str(name));
	if (!e)
		return refuse(o, -EBADMSG, "manifest.json: the %s of the %s is not in the package", key, what);
	int r = zip_unpack(e, max, ret);
	if (r == -EMSGSIZE)
		return refuse(o, r, "the %s of the %s has more than %zu bytes", key, what, max);
	if (r < 0)
		return refuse(o, r, "the %s of the %s cannot be unpacked: damaged", key, what);
	if (ret->n == 0)
		return refuse(o, -EBADMSG, "the %s of the %s is empty", key, what);
	return 0;
}

/* The hash stands in the init packet last byte first. */
static bool hash_is_right(const struct nordic_init *in, struct span image)
{
	struct digest d = digest_of(image);
	uint8_t turned[DIGEST_BYTES];

	for (size_t i = 0; i < DIGEST_BYTES; i++)
		turned[i] = d.b[DIGEST_BYTES - 1 - i];
	return span_eq(in->hash, SPAN_OF(turned));
}

static int check_secure(struct opening *o, struct nordic_part *p)
{
	const char *what = kind_names[p->kind];
	struct nordic_init in;

	int r = nordic_init_decode(buf_span(&p->init), &in);
	if (r < 0)
		return refuse(o, r, "the init packet of the %s is none of Secure DFU", what);
	if (in.kind != p->kind)
		return refuse(o, -EBADMSG, "the init packet of the %s says that it is of the %s", what, kind_names[in.kind]);
	p->softdevice_bytes = in.softdevice_bytes;
	p->bootloader_bytes = in.bootloader_bytes;
	p->application_bytes = in.application_bytes;
	p->has_version = in.has_version;
	p->version = in.version;
	uint64_t bytes = p->kind == NORDIC_APPLICATION ? in.application_bytes :
			 (p->kind == NORDIC_BOOTLOADER ? 0 : (uint64_t)in.softdevice_bytes) + (p->kind == NORDIC_SOFTDEVICE ? 0 : in.bootloader_bytes);
	if (bytes != p->image.n)
		return refuse(o, -EBADMSG, "the %s has %zu bytes, its init packet says %llu", what, p->image.n, (unsigned long long)bytes);
	if (in.hash_kind != NORDIC_SHA256)
		return refuse(o, -ENOTSUP, "the init packet of the %s has another hash than SHA-256", what);
	if (!hash_is_right(&in, buf_span(&p->image)))
		return refuse(o, -EBADMSG, "the %s has another hash than its init packet says", what);
	if (!in.is_signed)
		return refuse(o, -ENOTSUP, "the init packet of the %s is not signed", what);
	return 0;
}

enum { LEGACY_INIT_HEAD_BYTES = 10 };

/* Device type, revision, application version, the SoftDevices it runs with, CRC. */
static int check_legacy(struct opening *o, struct nordic_part *p, const struct json_value *v)
{
	struct cursor c = { .s = buf_span(&p->init) };
	const char *what = kind_names[p->kind];
	int64_t sd = 0, bl = 0;

	(void)cur_take(&c, LEGACY_INIT_HEAD_BYTES - 2);
	uint16_t n = cur_le16(&c);
	(void)cur_take(&c, (size_t)n * 2);
	uint16_t crc = cur_le16(&c);
	if (!cur_at_end(&c) || n > NORDIC_SOFTDEVICES_MAX)
		return refuse(o, -ENOTSUP, "the init packet of the %s is neither of Secure DFU nor of Legacy DFU with a CRC", what);
	if (crc != nordic_crc16(buf_span(&p->image)))
		return refuse(o, -EBADMSG, "the %s has another CRC than its init packet says", what);
	if (p->kind == NORDIC_SOFTDEVICE_BOOTLOADER) {
		if (!json_get_int(v, "sd_size", &sd) || !json_get_int(v, "bl_size", &bl) || sd <= 0 || bl <= 0 ||
		    sd > NORDIC_IMAGE_BYTES_MAX || bl > NORDIC_IMAGE_BYTES_MAX || (uint64_t)sd + (uint64_t)bl != p->image.n)
			return refuse(o, -EBADMSG, "manifest.json: sd_size and bl_size of the %s are not those of the image", what);
		p->softdevice_bytes = (uint32_t)sd;
		p->bootloader_bytes = (uint32_t)bl;
	} else {
		*(p->kind == NORDIC_SOFTDEVICE ? &p->softdevice_bytes : p->kind == NORDIC_BOOTLOADER ? &p->bootloader_bytes :
		  &p->application_bytes) = (uint32_t)p->image.n;
	}
	return 0;
}

static int take_part(struct opening *o, const struct json_value *v, enum nordic_kind kind)
{
	struct nordic_part *p = &o->package.parts[o->package.n_parts];
	struct nordic_init in;

	p->kind = kind;
	o->package.n_parts++;                  /* from here on nordic_package_done() frees it */
	int r = unpack(o, v, kind, "dat_file", NORDIC_INIT_BYTES_MAX, &p->init);
	if (r == 0)
		r = unpack(o, v, kind, "bin_file", o->left, &p->image);
	if (r < 0)
		return r;
	o->left -= p->image.n;
	bool is_legacy = json_get(v, "init_packet_data") && nordic_init_decode(buf_span(&p->init), &in) < 0;
	if (o->package.n_parts > 1 && is_legacy != o->package.is_legacy)
		return refuse(o, -ENOTSUP, "a package of both Secure and Legacy DFU");
	o->package.is_legacy = is_legacy;
	return is_legacy ? check_legacy(o, p, v) : check_secure(o, p);
}

/* ---- the manifest ---- */

static int take_manifest(struct opening *o, const struct json_value *root)
{
	const struct json_value *m = json_get(root, "manifest");
	unsigned n_below = 0;

	if (!json_is_object(m))
		return refuse(o, -EBADMSG, "manifest.json has no \"manifest\"");
	for (const void *it = json_first(m); it; it = json_next(m, it)) {
		bool is_known = strcmp(json_iter_key(it), "dfu_version") == 0;

		for (size_t k = 0; k < NORDIC_KIND_COUNT; k++)
			is_known = is_known || strcmp(json_iter_key(it), kind_names[k]) == 0;
		if (!is_known)
			return refuse(o, -ENOTSUP, "manifest.json has an image of a kind that is not known");
	}
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		const struct json_value *v = json_get(m, kind_names[order[i]]);

		if (!v)
			continue;
		n_below += order[i] != NORDIC_APPLICATION;
		if (!json_is_object(v))
			return refuse(o, -EBADMSG, "manifest.json: %s is no object", kind_names[order[i]]);
		if (n_below > 1)
			return refuse(o, -ENOTSUP, "SoftDevice and bootloader belong into one image, softdevice_bootloader");
		int r = take_part(o, v, order[i]);
		if (r < 0)
			return r;
	}
	return o->package.n_parts ? 0 : refuse(o, -EBADMSG, "manifest.json names no image");
}

static int open_zip(struct opening *o, struct span zip)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	_cleanup_buf_ struct buf json = { 0 };

	if (zip.n > NORDIC_PACKAGE_BYTES_MAX)
		return refuse(o, -EMSGSIZE, "the package has more than %d bytes", NORDIC_PACKAGE_BYTES_MAX);
	int r = zip_decode(zip, &o->zip);
	if (r < 0)
		return refuse(o, r, r == -ENOTSUP ? "not a package: a kind of zip that is not read here" : "not a package of Nordic's: no sound zip");
	const struct zip_entry *e = zip_find(&o->zip, SPAN_LIT("manifest.json"));
	if (!e)
		return refuse(o, -EBADMSG, "not a package of Nordic's: it has no manifest.json");
	r = zip_unpack(e, NORDIC_MANIFEST_BYTES_MAX, &json);
	if (r == 0)
		r = json_parse(buf_span(&json), &doc, NULL, 0);
	return r < 0 ? refuse(o, r, "manifest.json cannot be read") : take_manifest(o, json_root(doc));
}

int nordic_package_open(struct span zip, struct nordic_package *ret, char reason[static NORDIC_REASON_BYTES])
{
	struct opening o = { .reason = reason, .left = NORDIC_IMAGE_BYTES_MAX };

	reason[0] = 0;
	int r = open_zip(&o, zip);
	if (r < 0)
		nordic_package_done(&o.package);
	else
		*ret = o.package;
	return r;
}

void nordic_package_done(struct nordic_package *p)
{
	for (size_t i = 0; i < p->n_parts; i++) {
		buf_done(&p->parts[i].init);
		buf_done(&p->parts[i].image);
	}
	*p = (struct nordic_package){ 0 };
}

uint64_t nordic_package_bytes(const struct nordic_package *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->n_parts; i++)
		n += p->parts[i].image.n;
	return n;
}
