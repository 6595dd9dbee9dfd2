/* node/node_state.h - what a node remembers without power, in one directory:
 *   state        a small CBOR map: what runs, what is under way, what is still to be reported
 *   envelope     of the update under way
 *   part-<hex>   an image on its way; its length is the offset to go on from
 *   slot-<n>     the installed image of component n
 *   mcast-...    of a multicast session (node/mcast_node.h)
 * Each is replaced whole or not at all. A flash driver with the same calls would do for a microcontroller.
 * Blocking, small; no locks. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "node/node_machine.h"

enum { NODE_VERSION_BYTES = 65, NODE_REASON_BYTES = 129, NODE_ENVELOPE_BYTES_MAX = 16 * 1024 * 1024, NODE_SYNC_BYTES = 64 * 1024 };

enum { NODE_GROUPS = 2, NODE_GROUP_KEY_BYTES = 16, NODE_GROUP_ADDRESS_BYTES = 16 };

struct node_group {                            /* a multicast group and its key; the newest first */
	bool is_used;
	uint8_t gid, key[NODE_GROUP_KEY_BYTES], address[NODE_GROUP_ADDRESS_BYTES];
	uint16_t port;
};

struct node_durable {
	bool has_installed;
	struct digest installed;               /* manifest that runs */
	uint64_t sequence;                     /* its sequence number; the start value when has_installed is false */
	char version[NODE_VERSION_BYTES];      /* from its text, for people */
	enum node_phase phase;
	struct digest offer;                   /* manifest under way, or last refused */
	unsigned result;                       /* Object 5, to be reported in NODE_FAILED */
	char reason[NODE_REASON_BYTES];
	struct node_group groups[NODE_GROUPS];
};

struct node_store {
	int dirfd;                             /* -1 = closed */
};

/* Makes the directory. ret_state: what was there, or a fresh node with start_sequence; damaged state counts as fresh. */
int node_store_open(struct node_store *s, const char *dir, uint64_t start_sequence, struct node_durable *ret_state);
void node_store_close(struct node_store *s);
int node_store_save(struct node_store *s, const struct node_durable *d);

int node_store_put_envelope(struct node_store *s, struct span envelope);
int node_store_get_envelope(struct node_store *s, struct buf *ret);

/* Bytes of the image that are here; 0 when none. */
uint64_t node_part_bytes(struct node_store *s, const struct digest *image);
int node_part_write(struct node_store *s, const struct digest *image, uint64_t off, struct span data);
/* SHA-256 of the whole part and its size. -ENOENT. */
int node_part_digest(struct node_store *s, const struct digest *image, struct digest *ret, uint64_t *ret_bytes);
/* The part becomes the slot of its component. Repeating it after it was done is fine: -EBADMSG only when neither the
 * part nor the slot is this image. */
int node_part_install(struct node_store *s, const struct digest *image, size_t component);
void node_part_drop(struct node_store *s, const struct digest *image);
/* Parts of other images, left over. */
void node_parts_sweep(struct node_store *s, const struct digest *keep, size_t n_keep);

const struct node_group *node_group_find(const struct node_durable *d, unsigned gid);  /* NULL */
/* As the newest; the one before stays, for what is still on its way under the old key. False: it was that already. */
bool node_group_keep(struct node_durable *d, const struct node_group *g);

int node_state_decode(struct span in, struct node_durable *ret);
void node_state_encode(const struct node_durable *d, struct buf *ret);
