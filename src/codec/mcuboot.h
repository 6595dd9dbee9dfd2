/* codec/mcuboot.h - MCUboot's image format: the header, the protected and the plain TLV area behind the image, and the
 * image hash in it, by which bootloader and management protocol name the image. (The name of the file, its SHA-256 as a whole, is
 * another one.) The reader of a large file decodes the header from its first bytes and the trailer from those behind the image, and
 * hashes hashed_bytes from the start itself. Pure.
 *
 * Nothing in here is trusted: it is what an image says of itself. */
#pragma once
#include "base/span.h"

enum {
	MCUBOOT_HEADER_BYTES = 32,
	MCUBOOT_HASH_BYTES_MAX = 64,
	MCUBOOT_TRAILER_BYTES_MAX = 2 * 65535, /* both areas at their largest */
	MCUBOOT_TLVS_MAX = 128,                /* entries of both areas */
	MCUBOOT_VERSION_BYTES = 32,
};
#define MCUBOOT_MAGIC 0x96f3b83du

enum { MCUBOOT_F_AES128 = 0x4, MCUBOOT_F_AES256 = 0x8, MCUBOOT_F_NON_BOOTABLE = 0x10 };

struct mcuboot_version {
	uint8_t major, minor;
	uint16_t revision;
	uint32_t build;
};

struct mcuboot_header {
	uint32_t load_addr, image_bytes, flags;
	uint16_t header_bytes, protected_bytes;
	struct mcuboot_version version;
};

enum mcuboot_hash { MCUBOOT_HASH_NONE = 0, MCUBOOT_SHA256 = 0x10, MCUBOOT_SHA384 = 0x11, MCUBOOT_SHA512 = 0x12 };

struct mcuboot_trailer {
	enum mcuboot_hash hash_kind;
	uint8_t hash[MCUBOOT_HASH_BYTES_MAX];
	uint8_t n_hash;
	bool has_vendor, has_class, has_security_counter;      /* counted in the protected area only */
	uint8_t vendor_id[16], class_id[16];
	uint32_t security_counter;
	uint64_t total_bytes;                  /* header, image and both areas; what a file has beyond is padding */
};

/* in: the start of the file, MCUBOOT_HEADER_BYTES or more. -EBADMSG: no MCUboot image, or its sizes do not fit file_bytes. */
int mcuboot_header_decode(struct span in, uint64_t file_bytes, struct mcuboot_header *ret);
/* Where the trailer starts, and how much from the start of the file the hash covers. */
static inline uint64_t mcuboot_trailer_at(const struct mcuboot_header *h) { return (uint64_t)h->header_bytes + h->image_bytes; }
static inline uint64_t mcuboot_hashed_bytes(const struct mcuboot_header *h) { return mcuboot_trailer_at(h) + h->protected_bytes; }
/* in: the file from mcuboot_trailer_at() on, to its end or MCUBOOT_TRAILER_BYTES_MAX bytes. -EBADMSG malformed or cut short;
 * -EEXIST two hashes; -ENOENT none; -E2BIG over MCUBOOT_TLVS_MAX. */
int mcuboot_trailer_decode(const struct mcuboot_header *h, struct span in, struct mcuboot_trailer *ret);
/* "1.2.3", or "1.2.3.4" with a build number, as devices write it. */
const char *mcuboot_version_text(const struct mcuboot_version *v, char ret[static MCUBOOT_VERSION_BYTES]);
static inline bool mcuboot_is_encrypted(const struct mcuboot_header *h) { return h->flags & (MCUBOOT_F_AES128 | MCUBOOT_F_AES256); }
