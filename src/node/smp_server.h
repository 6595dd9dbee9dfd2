/* node/smp_server.h - the device side of SMP, for trying and testing gateways: what Zephyr's MCUmgr with MCUboot in swap mode does
 * with an image upload, a test, a restart, a confirmation, and a revert; in memory, without a transport. A datagram goes in, its answer
 * comes out. Also the servers that are different: old ones (version 1), those without parameters or hashes, single-slot ones, and
 * those that fail. Time comes in as an argument. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/time.h"
#include "codec/smp.h"

enum { SMP_SERVER_SLOTS = 2, SMP_SERVER_SLOT_BYTES = 1024 * 1024 };

struct smp_server_config {
	enum smp_version version;              /* newest that it speaks: newer requests are refused with rc 13 */
	uint32_t slot_bytes;                   /* 0 = SMP_SERVER_SLOT_BYTES */
	uint32_t buf_size, buf_count;          /* parameters; size 0 = it has none to tell */
	uint32_t restart_ms;                   /* it is silent so long */
	uint32_t crash_ms;                     /* a new image restarts by itself so long after its start, until confirmed; 0 = never */
	bool single_slot;                      /* recovery: uploads overwrite the only slot, state cannot be written */
	bool no_hash;                          /* lists do not tell hashes */
	bool must_erase;                       /* an occupied slot is refused (9) until erased */
	bool no_resume;                        /* sha is not looked at */
	bool damages;                          /* one byte of what is uploaded is stored wrongly */
	bool refuses_confirm;                  /* 32 */
};

struct smp_server_counts {
	uint64_t requests, uploads_begun, resumed, chunks, misplaced, erases, tests, restarts, swaps, reverts, confirms, bytes;
};

struct smp_server;

struct smp_server *smp_server_new(const struct smp_server_config *c);
struct smp_server *smp_server_free(struct smp_server *s);
/* What is in a slot (0 runs); an empty span clears it. -EMSGSIZE. */
int smp_server_put(struct smp_server *s, unsigned slot, struct span image);
struct span smp_server_slot(const struct smp_server *s, unsigned slot);
/* The answer is appended to reply; nothing is when it is silent or what came is no request. */
void smp_server_handle(struct smp_server *s, struct span datagram, struct mono now, struct buf *reply);
/* Restarts that are due. */
void smp_server_tick(struct smp_server *s, struct mono now);
int64_t smp_server_wait_ms(const struct smp_server *s, struct mono now);       /* to the next; -1 = none */
/* The power goes and comes: as a restart that begins now. */
void smp_server_power_cycle(struct smp_server *s, struct mono now);

bool smp_server_is_confirmed(const struct smp_server *s);      /* what runs stays */
bool smp_server_is_pending(const struct smp_server *s);
void smp_server_restore(struct smp_server *s, bool is_confirmed, bool is_pending);    /* from what was saved of it */
const char *smp_server_version(const struct smp_server *s);    /* of what runs; "" = nothing valid */
struct smp_server_counts smp_server_counts(const struct smp_server *s);
