/* tests/mcuboot_image.h - an MCUboot image of version 1.minor.0 with n bytes in it, unsigned, with its hash. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "codec/mcuboot.h"

static inline void mcuboot_image_make(struct buf *b, uint8_t minor, size_t n)
{
	static const uint8_t magic[4] = { 0x3d, 0xb8, 0xf3, 0x96 };

	buf_clear(b);
	buf_add(b, SPAN_OF(magic));
	buf_add_le(b, 0, 4);
	buf_add_le(b, MCUBOOT_HEADER_BYTES, 2);
	buf_add_le(b, 0, 2);
	buf_add_le(b, n, 4);
	buf_add_le(b, 0, 4);
	buf_add_u8(b, 1);
	buf_add_u8(b, minor);
	buf_add_le(b, 0, 8);
	buf_add_le(b, 0, 2);
	for (size_t i = 0; i < n; i++)
		buf_add_u8(b, (uint8_t)(i * 7 + i / 251 + minor));
	struct digest d = digest_of(buf_span(b));
	buf_add_le(b, 0x6907, 2);
	buf_add_le(b, 40, 2);
	buf_add_le(b, MCUBOOT_SHA256, 2);
	buf_add_le(b, DIGEST_BYTES, 2);
	buf_add(b, SPAN_OF(d.b));
}
