/* codec/zip.h - archives as update packages use them (PKWARE's APPNOTE): the central directory, entries stored or deflated, CRCs
 * checked. No zip64, no encryption, no parts on other disks; names are only names, nothing is written to a path. Pure but for the
 * memory of what is unpacked; any thread. zip.c is the only file that knows zlib.
 *
 * Nothing is believed: entries lie inside the file, one behind the other, what the directory says is what the entry itself says, and
 * an entry unpacks to exactly the size that was declared, or not at all. */
#pragma once
#include "base/buf.h"

enum {
	ZIP_ENTRIES_MAX = 32,
	ZIP_NAME_BYTES_MAX = 128,
	ZIP_BYTES_MAX = 64 * 1024 * 1024,      /* a whole archive */
	ZIP_RATIO_MAX = 1032,                  /* more, deflate cannot do: a size beyond is a lie */
};

struct zip_entry {
	struct span name, packed;              /* borrowed from the file */
	uint32_t bytes, crc;                   /* unpacked */
	bool is_deflated;
};

struct zip {
	struct zip_entry entries[ZIP_ENTRIES_MAX];     /* folders are left out */
	size_t n_entries;
};

/* -EBADMSG no archive, malformed, or two entries of one name; -ENOTSUP zip64, encryption, another method, several disks;
 * -E2BIG over ZIP_ENTRIES_MAX; -EMSGSIZE over ZIP_BYTES_MAX or ZIP_NAME_BYTES_MAX. */
int zip_decode(struct span file, struct zip *ret);
const struct zip_entry *zip_find(const struct zip *z, struct span name);       /* NULL = none */
/* Appends the entry's bytes. -EMSGSIZE over max; -EBADMSG they do not unpack to what was declared; -ENOMEM. */
int zip_unpack(const struct zip_entry *e, size_t max, struct buf *ret);
/* CRC-32 as zip has it (and Nordic's DFU): of nothing it is 0; goes on from crc. */
uint32_t zip_crc32(uint32_t crc, struct span bytes);
