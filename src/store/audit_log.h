/* store/audit_log.h - what Dormouse did, append-only: entries in the database, leaves of a Merkle tree
 * (RFC 6962/9162 hashes; facts TL-1..TL-6), heads signed with the gateway's Ed25519 key as tlog checkpoints.
 * An entry is one JSON object on one line. Proofs check offline with the checkpoint and the public key. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/time.h"
#include "store/db.h"

enum { AUDIT_ENTRY_BYTES_MAX = 32 * 1024, AUDIT_PATH_MAX = 64 };

struct audit_log;

/* origin: the log's name in checkpoints; no spaces, no '+'. The key is made in STATE/audit.key (0600) at first use, audit.pub
 * beside it. When the database does not continue the last signed head (STATE/audit.checkpoint) the old key is put aside as
 * *.retired-<time> and a new one made: one key never signs two histories. */
int audit_log_open(struct db *db, const char *state_dir, const char *origin, struct audit_log **ret);
struct audit_log *audit_log_close(struct audit_log *log);
/* Queued with the writes around it, in order: what was acknowledged with them is in the log. subject: job, update or device id.
 * The entry is {"at":..., "kind":..., "subject":..., "data": json_object}; -EMSGSIZE (and an event for the
 * operator) over AUDIT_ENTRY_BYTES_MAX; between db_begin() and db_end() that refuses the whole. */
void audit_log_append(struct audit_log *log, struct wall at, const char *kind, const char *subject, struct span json_object,
		      db_done_fn *done, void *ctx);
uint64_t audit_log_size(const struct audit_log *log);
/* Small reads on the loop; find gives the last max entries of the subject, oldest first. */
int audit_log_read(struct audit_log *log, uint64_t from, size_t max, int (*fn)(void *ctx, uint64_t index, struct span entry), void *ctx);
int audit_log_find(struct audit_log *log, const char *subject, size_t max, int (*fn)(void *ctx, uint64_t index, struct span entry), void *ctx);
/* The signed checkpoint over everything committed (signed note text). */
int audit_log_checkpoint(struct audit_log *log, struct buf *ret);
/* c2sp tlog-proof of one entry against the current checkpoint, with the entry on an `extra` line (base64). */
int audit_log_prove(struct audit_log *log, uint64_t index, struct buf *ret);
/* The consistency proof between two sizes (0 < from <= size <= audit_log_size()). */
int audit_log_consistency(struct audit_log *log, uint64_t from, uint64_t size, struct digest ret[static AUDIT_PATH_MAX + 1], size_t *ret_n);
const char *audit_log_public_key(const struct audit_log *log);         /* note verifier key: name+hash+base64 */
/* Compute the whole tree again from its entries and compare with the last signed head: 0, or -EBADMSG and the first index
 * that does not fit (0: the tree fits itself, but not what was signed). Blocking: [worker]; the daemon may be running. */
int audit_log_check(const char *state_dir, uint64_t *ret_bad_index, uint64_t *ret_size);
