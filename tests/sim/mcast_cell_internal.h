/* tests/sim/mcast_cell_internal.h - the parts of a simulated cell: mcast_cell.c (the run and its sums), _gateway.c (the session's
 * driver), _node.c (a node around the receiver core), _unicast.c (messages between the two), _foes.c (who disturbs). */
#pragma once
#include <setjmp.h>
#include <sys/queue.h>

#include "codec/mcast_frame.h"
#include "mcast_air.h"
#include "mcast_cell.h"
#include "mcast_flash.h"
#include "node/mcast_receiver.h"

enum {
	CELL_RECORDS = MCR_KEY_GENERATION + MCR_G_MAX, CELL_REPLAYS = 64,
	CELL_FRAME_BYTES = 64,                 /* of a unicast message's body in one frame */
	CELL_HOP_MS = 10,                      /* a unicast frame's way */
	CELL_RETRANSMITS = 4, CELL_ACK_MS = 2000,
	CELL_SCRATCH_BYTES = MCR_SCRATCH_GRANULES * MCR_ERASE_BYTES,
	CELL_ROWS = 8192,
};

struct cell;
struct cell_letter;
LIST_HEAD(cell_letters, cell_letter);

struct cell_record {                           /* of the node's key-value store */
	uint8_t n, data[MCR_RECORD_BYTES];
};

enum cell_role { CELL_HONEST, CELL_SLEEPER, CELL_ABSENT, CELL_DYING, CELL_LIAR };

struct cell_node {
	struct cell *cell;
	unsigned index;
	enum cell_role role;
	struct mcast_channel channel;
	struct mcast_random random;
	struct mcast_receiver core;
	struct mcast_flash object, scratch;
	struct cell_record *records;
	uint32_t clock_offset;                 /* the node's clock is not the world's, and wraps */
	uint64_t epoch;                        /* of its life: changes with each restart */
	int64_t step_at, event_at;             /* when it wants to be called; when an event comes */
	bool is_up, is_deaf, is_gone, is_busy; /* busy: a descriptor or blocks are being fetched */
	bool is_touched;                       /* something came in: the core's step is due */
	bool is_ready, by_unicast, was_pulled, is_handed_back;
	int64_t ready_at;
	unsigned fuse;                         /* flash operations until the power fails; 0 = it does not */
	jmp_buf dark;
	uint64_t listened, radio_ms;
	uint32_t fallback_block;
	unsigned fetch_failures, flash_twice;
};

struct cell {
	struct mcast_cell_config c;
	struct mcast_cell_result *r;
	struct mcast_clock clock;
	struct mcast_random random;
	uint8_t *bytes;                        /* the object */
	struct mcast_geometry geo;
	struct digest digest;
	struct digest *part;                   /* of each generation */
	struct mcast_sid sid;
	uint8_t group_key[MCAST_KEY_BYTES];
	struct mac_cmac *mk;
	struct cell_node *nodes;
	unsigned n_nodes;

	struct mcast_session *session;         /* NULL: the gateway is down */
	struct mcast_session_config config;
	uint64_t gateway_epoch;
	int64_t step_at, event_at;
	uint8_t *durable, *pending;            /* snapshots */
	size_t n_durable, n_pending;
	uint32_t pending_token;
	bool is_over;
	uint8_t (*rows)[CELL_ROWS / 8];        /* parity rows sent, by generation */
	struct cell_letters letters;           /* unicast messages under way */
	unsigned n_unready;                    /* honest nodes that are there and do not have it */

	uint8_t memo[MCAST_FRAME_BYTES_MAX];   /* the frame whose MIC was checked last: all nodes get the same one */
	size_t n_memo;
	bool memo_ok;
	struct { uint8_t n, b[MCAST_FRAME_BYTES_MAX]; } replay[CELL_REPLAYS];
	unsigned n_replay;
};

/* mcast_cell.c: one frame goes by on the air. */
void cell_air(struct cell *cell, const uint8_t *frame, size_t n);
bool cell_mic_ok(struct cell *cell, const uint8_t sid[static 8], const uint8_t *frame, size_t n, const uint8_t *mic, size_t n_mic);
static inline struct mono cell_mono(const struct cell *cell) { return (struct mono){ cell->clock.now_ms }; }

/* mcast_cell_gateway.c */
void cell_gateway_start(struct cell *cell);
void cell_gateway_stop(struct cell *cell);     /* killed */
void cell_gateway_wake(struct cell *cell);     /* after each input */
void cell_gateway_setup_map(struct cell *cell, struct buf *ret);
void cell_gateway_report(struct cell *cell, unsigned member, struct span body);

/* mcast_cell_node.c */
void cell_node_init(struct cell *cell, unsigned index, const struct mcast_class *cls, enum cell_role role);
void cell_node_done(struct cell_node *n);
void cell_node_boot(struct cell_node *n);
void cell_node_kill(struct cell_node *n);
void cell_node_wake(struct cell_node *n);      /* after each input */
uint32_t cell_node_now(const struct cell_node *n);
void cell_node_hear(struct cell_node *n, const uint8_t *frame, size_t len);
/* The setup map: sets ack (encoded). False: the power failed. */
bool cell_node_setup(struct cell_node *n, struct span map, struct buf *ack);
/* 1 taken, 0 not; < 0 the power failed. */
int cell_node_put(struct cell_node *n, uint32_t off, struct span bytes);
void cell_node_has_it(struct cell_node *n, bool by_unicast);
bool cell_node_reachable(const struct cell_node *n);

/* mcast_cell_unicast.c */
enum cell_exchange_kind { CELL_SETUP, CELL_PULL, CELL_DESCRIPTOR, CELL_BLOCK, CELL_FALLBACK };
void cell_exchange(struct cell *cell, enum cell_exchange_kind kind, struct cell_node *n, uint32_t offset, uint32_t bytes);
void cell_report(struct cell_node *n, const struct mcr_report *report);
void cell_fetch_missing(struct cell_node *n);  /* goes on until nothing is missing */
void cell_fallback(struct cell_node *n);       /* plain unicast, for who was handed back */
void cell_letters_done(struct cell *cell);
bool cell_message_heard(struct cell_node *n, unsigned bytes, uint64_t *frames);

/* mcast_cell_foes.c */
void cell_foes_begin(struct cell *cell);
void cell_foes_remember(struct cell *cell, const uint8_t *frame, size_t n);
void cell_liar(struct cell_node *n, struct mcr_report *report);
int64_t cell_estimate_ms(const struct cell *cell);     /* how long the transmission takes, about */
