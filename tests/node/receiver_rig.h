/* A multicast receiver on a bench: flash that ends the test when a word is programmed twice, records that are replaced
 * whole, a power supply that can fail within any operation, and a sender that makes true frames of an object. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codec/mcast_frame.h"
#include "codec/mcast_geometry.h"
#include "codec/parity.h"
#include "node/mcast_receiver.h"

enum {
	RIG_OBJECT_BYTES = 512 * 1024, RIG_SCRATCH_BYTES = MCR_SCRATCH_GRANULES * MCR_ERASE_BYTES, RIG_WORD = 8, RIG_KEYS = 16 + 256,
	RIG_REPORTS = 64, RIG_GID = 7,
};

struct rig_flash {
	uint8_t bytes[RIG_OBJECT_BYTES];
	bool is_programmed[RIG_OBJECT_BYTES / RIG_WORD];
	uint32_t size;
};

struct rig {
	struct mcast_receiver r;
	struct rig_flash object, scratch;
	struct { uint8_t p[MCR_RECORD_BYTES]; size_t n; } records[RIG_KEYS];
	uint8_t truth[RIG_OBJECT_BYTES + 256]; /* what is sent; zeros behind it */
	struct mcr_setup setup;
	struct mcast_geometry geo;
	bool has_table, lies_in_table;
	struct mcast_sid sid;                  /* of the frames made */
	struct mac_cmac *mk;
	uint8_t key[16];                       /* of gid */
	uint32_t gid, now;
	uint64_t random;

	unsigned power;                        /* operations until it fails; 0 = never */
	jmp_buf out;
	bool flash_fails;
	unsigned n_programs, n_erases, n_saves;
	unsigned n_listened;                   /* frames of a pass that went by while it listened, lost ones too */

	struct mcr_report reports[RIG_REPORTS];
	uint32_t report_at[RIG_REPORTS];
	unsigned n_reports, n_events[MCR_EV_EXPIRED + 1], n_announced;
	unsigned last_arg[MCR_EV_EXPIRED + 1];
};

/* A bench on the heap with an object of so many bytes; the setup's other terms are ordinary ones and may be changed. */
struct rig *rig_new(uint32_t size, unsigned z, unsigned k, uint64_t seed);
struct rig *rig_free(struct rig *g);
/* The session's counter and the keys of its frames. */
void rig_session(struct rig *g, uint32_t counter);
void rig_rekey(struct rig *g);                 /* another gid and key for the session, in setup and frames; the old one is not known any more */
void rig_boot(struct rig *g);                  /* mcr_init() on what flash and records hold */
uint32_t rig_random(struct rig *g);

unsigned rig_m(struct rig *g, unsigned gen);
/* Frames; each returns what mcr_frame() said. n > M is parity. */
size_t rig_make_data(struct rig *g, unsigned gen, unsigned n, uint8_t ret[static MCAST_FRAME_BYTES_MAX]);
bool rig_feed(struct rig *g, const uint8_t *frame, size_t n);
bool rig_data(struct rig *g, unsigned gen, unsigned n);
bool rig_status(struct rig *g, const struct mcast_status *s);
bool rig_end(struct rig *g, enum mcast_end reason);
bool rig_announce(struct rig *g, const struct mcast_announce *a);
/* Time passes, with every step the receiver asks for. */
void rig_wait(struct rig *g, uint32_t ms);
/* The systematic pass, each frame lost with that chance (per mille); then parity of one generation after the other until all is solved
 * or so many rows were sent of each. */
void rig_pass(struct rig *g, unsigned permille);
void rig_parity(struct rig *g, unsigned permille, unsigned first, unsigned rows);
bool rig_is_true(const struct rig *g);         /* flash holds the object */
