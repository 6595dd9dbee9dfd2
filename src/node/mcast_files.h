/* node/mcast_files.h - flash and records of the multicast receiver (node/mcast_receiver.h) as files of a node's directory:
 *   mcast-object    the object on its way, mapped; a granule that was erased is 0xff
 *   mcast-records   the receiver's small records, each twice: a torn write leaves the older one
 * Scratch flash is plain memory, since its rows need not survive. A driver of real flash has the same calls. */
#pragma once
#include "base/digest.h"
#include "node/mcast_receiver.h"

struct mcast_files {
	int dirfd;                             /* borrowed; -1 = closed */
	int records_fd, object_fd;
	uint8_t *object;                       /* mapped; NULL = none */
	size_t object_bytes;
	uint8_t scratch[MCR_SCRATCH_GRANULES * MCR_ERASE_BYTES];
};

void mcast_files_init(struct mcast_files *f);  /* closed */
/* -errno when the records cannot be opened; an object that is not there is none. */
int mcast_files_open(struct mcast_files *f, int dirfd);
void mcast_files_close(struct mcast_files *f);
/* Room for an object of so many bytes, in whole granules; one of that room is kept as it is. -ENOSPC, -EFBIG, ... */
int mcast_files_make_room(struct mcast_files *f, uint32_t bytes);
/* To the disk: what a record tells of must be there. */
int mcast_files_sync(struct mcast_files *f);
void mcast_files_drop_object(struct mcast_files *f);
/* What the receiver asks for (struct mcr_ops). */
int mcast_files_read(struct mcast_files *f, enum mcr_area area, uint32_t off, uint8_t *ret, size_t n);
int mcast_files_program(struct mcast_files *f, enum mcr_area area, uint32_t off, const uint8_t *data, size_t n);
int mcast_files_erase(struct mcast_files *f, enum mcr_area area, uint32_t off, uint32_t n);
int mcast_files_save(struct mcast_files *f, uint16_t key, const uint8_t *data, size_t n);
int mcast_files_load(struct mcast_files *f, uint16_t key, uint8_t *ret, size_t max);
int mcast_files_sha256(struct mcast_files *f, uint32_t off, uint32_t n, uint8_t ret[32]);
