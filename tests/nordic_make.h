/* tests/nordic_make.h - packages of Nordic's, made field by field: zip archives of stored entries, init packets, manifests. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/digest.h"
#include "codec/nordic_dfu.h"
#include "codec/zip.h"

/* ---- protocol buffers ---- */

static inline void pb_varint(struct buf *b, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		buf_add_u8(b, (uint8_t)(v | 0x80));
	buf_add_u8(b, (uint8_t)v);
}

static inline void pb_number(struct buf *b, uint32_t field, uint64_t v)
{
	pb_varint(b, (uint64_t)field << 3);
	pb_varint(b, v);
}

static inline void pb_bytes(struct buf *b, uint32_t field, struct span s)
{
	pb_varint(b, (uint64_t)field << 3 | 2);
	pb_varint(b, s.n);
	buf_add(b, s);
}

struct make_init {                             /* zero: as it should be */
	enum nordic_kind kind;
	struct span image;
	uint32_t version;
	uint32_t softdevice_bytes, bootloader_bytes;   /* of both in one */
	int size_off;                          /* added to the size */
	bool has_bad_hash, is_unsigned;
	unsigned hash_kind;                    /* 0 = SHA-256 */
};

static inline void make_init_packet(struct buf *ret, const struct make_init *m)
{
	_cleanup_buf_ struct buf init = { 0 }, hash = { 0 }, command = { 0 }, sign = { 0 };
	struct digest d = digest_of(m->image);
	uint8_t turned[DIGEST_BYTES], signature[64] = { 1 };
	uint32_t bytes = (uint32_t)m->image.n + (uint32_t)m->size_off;

	for (size_t i = 0; i < DIGEST_BYTES; i++)
		turned[i] = d.b[DIGEST_BYTES - 1 - i];
	turned[0] ^= m->has_bad_hash;
	pb_number(&init, 1, m->version);
	pb_number(&init, 2, 52);
	pb_bytes(&init, 3, SPAN_LIT("\x80\x02\xfe\xff\x03"));
	pb_number(&init, 4, m->kind);
	pb_number(&init, 5, m->kind == NORDIC_SOFTDEVICE ? bytes : m->softdevice_bytes);
	pb_number(&init, 6, m->kind == NORDIC_BOOTLOADER ? bytes : m->bootloader_bytes);
	pb_number(&init, 7, m->kind == NORDIC_APPLICATION ? bytes : 0);
	pb_number(&hash, 1, m->hash_kind ? m->hash_kind : NORDIC_SHA256);
	pb_bytes(&hash, 2, SPAN_OF(turned));
	pb_bytes(&init, 8, buf_span(&hash));
	pb_number(&init, 9, 0);
	pb_number(&command, 1, 1);
	pb_bytes(&command, 2, buf_span(&init));
	if (m->is_unsigned) {
		pb_bytes(ret, 1, buf_span(&command));
		return;
	}
	pb_bytes(&sign, 1, buf_span(&command));
	pb_number(&sign, 2, 0);
	pb_bytes(&sign, 3, SPAN_OF(signature));
	pb_bytes(ret, 2, buf_span(&sign));
}

/* Device, revision, version, one SoftDevice, CRC. */
static inline void make_legacy_init(struct buf *ret, struct span image)
{
	buf_add_le(ret, 0xffff, 2);
	buf_add_le(ret, 0xffff, 2);
	buf_add_le(ret, 7, 4);
	buf_add_le(ret, 1, 2);
	buf_add_le(ret, 0xfffe, 2);
	buf_add_le(ret, nordic_crc16(image), 2);
}

/* ---- zip ---- */

struct make_zip {
	struct buf out, directory;
	unsigned n;
};

static inline void zip_add(struct make_zip *z, const char *name, struct span bytes)
{
	uint32_t at = (uint32_t)z->out.n, crc = zip_crc32(0, bytes);

	buf_add_le(&z->out, 0x04034b50, 4);
	buf_add_le(&z->directory, 0x02014b50, 4);
	buf_add_le(&z->directory, 20, 2);
	for (unsigned i = 0; i < 2; i++) {     /* what both say */
		struct buf *b = i ? &z->directory : &z->out;
		buf_add_le(b, 20, 2);
		buf_add_le(b, 0, 8);           /* flags, stored, time, date */
		buf_add_le(b, crc, 4);
		buf_add_le(b, bytes.n, 4);
		buf_add_le(b, bytes.n, 4);
		buf_add_le(b, strlen(name), 2);
		buf_add_le(b, 0, 2);
	}
	buf_add_str(&z->out, name);
	buf_add(&z->out, bytes);
	buf_add_le(&z->directory, 0, 8);       /* comment, disk, internal attributes, ... */
	buf_add_le(&z->directory, 0, 2);       /* ... external ones: 2 + 2 + 2 + 4 */
	buf_add_le(&z->directory, at, 4);
	buf_add_str(&z->directory, name);
	z->n++;
}

static inline void zip_end(struct make_zip *z)
{
	uint32_t at = (uint32_t)z->out.n;

	buf_add(&z->out, buf_span(&z->directory));
	buf_add_le(&z->out, 0x06054b50, 4);
	buf_add_le(&z->out, 0, 4);
	buf_add_le(&z->out, z->n, 2);
	buf_add_le(&z->out, z->n, 2);
	buf_add_le(&z->out, z->directory.n, 4);
	buf_add_le(&z->out, at, 4);
	buf_add_le(&z->out, 0, 2);
	buf_done(&z->directory);
}

/* One application. */
static inline void make_package(struct buf *ret, const struct make_init *m)
{
	_cleanup_buf_ struct buf init = { 0 };
	struct make_zip z = { 0 };

	make_init_packet(&init, m);
	zip_add(&z, "app.bin", m->image);
	zip_add(&z, "app.dat", buf_span(&init));
	zip_add(&z, "manifest.json", SPAN_LIT("{\"manifest\":{\"application\":{\"bin_file\":\"app.bin\",\"dat_file\":\"app.dat\"}}}"));
	zip_end(&z);
	buf_add(ret, buf_span(&z.out));
	buf_done(&z.out);
}

static inline void make_legacy_package(struct buf *ret, struct span image)
{
	_cleanup_buf_ struct buf init = { 0 };
	struct make_zip z = { 0 };

	make_legacy_init(&init, image);
	zip_add(&z, "app.bin", image);
	zip_add(&z, "app.dat", buf_span(&init));
	zip_add(&z, "manifest.json", SPAN_LIT("{\"manifest\":{\"application\":{\"bin_file\":\"app.bin\",\"dat_file\":\"app.dat\","
					      "\"init_packet_data\":{\"firmware_crc16\":1}},\"dfu_version\":0.5}}"));
	zip_end(&z);
	buf_add(ret, buf_span(&z.out));
	buf_done(&z.out);
}
