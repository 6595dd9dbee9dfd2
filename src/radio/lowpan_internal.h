/* radio/lowpan_internal.h - what the files of radio/lowpan share: the kernel's interfaces as heard, and the wishes of the
 * configuration. Internal. */
#pragma once
#include <uthash.h>

#include "io/netlink.h"
#include "radio/lowpan_advert.h"
#include "radio/lowpan_plan.h"

enum {
	LOWPAN_POLL_MS = 10 * 1000, LOWPAN_POLL_BUDGET_MS = 2000, LOWPAN_AGAIN_MS = 300, LOWPAN_RETRY_MS = 1000, LOWPAN_RETRY_MAX_MS = 60 * 1000, LOWPAN_REPEATS_MAX = 3, LOWPAN_BLE_MS = 9 * 1000,
	LOWPAN_WHY_BYTES = 240,
};

struct interface {                             /* one that the kernel has */
	struct netlink_link l;
	enum lowpan_kind kind;
	bool is_radio;                         /* an 802.15.4 radio itself, below the IPv6 interface */
	struct netlink_wpan wpan;              /* of a radio */
	bool is_asked, is_asking;
	bool is_seen;                          /* in the dump under way */
	bool is_counted;
	uint64_t tx_packets, tx_bytes;         /* accounted for */
	size_t n_neighbours;
	UT_hash_handle hh;                     /* by l.index */
};

struct lowpan_key { int32_t index; uint8_t address[16]; };

struct own_address {
	struct lowpan_key key;
	uint8_t bits;
	bool is_seen;
	UT_hash_handle hh;
};

struct neighbour {
	struct lowpan_key key;
	struct netlink_neighbour n;
	bool is_seen;
	UT_hash_handle hh;
};

struct account {                               /* airtime by name: it outlives the interface */
	char name[LOWPAN_NAME_BYTES];
	struct airtime a;
	enum airtime_level level;
	UT_hash_handle hh;
};

struct wish {                                  /* a table of the configuration */
	struct lowpan *p;
	struct lowpan_settings s;
	int radio_raised, link_raised;         /* the index that we brought up; 0 = none */
	enum lowpan_step step, taken;          /* now; the last one that was taken */
	bool is_busy;                          /* a request is under way */
	unsigned n_repeats;                    /* the same step, without effect */
	int64_t retry_ms;
	char why[LOWPAN_WHY_BYTES];            /* the last step's error; "" = none */
	char ble_why[LOWPAN_WHY_BYTES];
	struct mono ble_at;                    /* when its peers were last looked at; 0 = never */
	char told[LOWPAN_WHY_BYTES];           /* what was last said in the log */
	struct loop_timer *timer;
	struct lowpan_advert *advert;
	unsigned advert_index;
	int advert_error;
	struct wish *next;
};

struct lowpan {
	struct loop *loop;
	struct lowpan_ops ops;
	void *ctx;
	struct netlink *route, *generic;       /* generic: opened when a radio shows up */
	uint16_t family;                       /* of nl802154; 0 = not known */
	struct interface *interfaces;
	struct own_address *addresses;
	struct neighbour *neighbours;
	struct account *accounts;
	struct wish *wishes;
	struct loop_timer *poll, *again;
	unsigned dump;                         /* 0 = none; else which part is under way */
	bool is_known;                         /* a whole dump was heard */
	bool is_dump_wanted;                   /* once more, after the one under way */
};

/* lowpan_table.c */
void table_message(struct lowpan *p, const struct netlink_message *m);
void table_mark(struct lowpan *p);             /* before a dump */
void table_sweep(struct lowpan *p);            /* after it: what was not seen is gone */
void table_clear(struct lowpan *p);
struct interface *table_find(const struct lowpan *p, int index);
struct interface *table_named(const struct lowpan *p, const char *name);
const struct own_address *table_address(const struct lowpan *p, int index, const uint8_t address[static 16]);
struct wish *wish_named(const struct lowpan *p, const char *name);

/* lowpan_setup.c */
void setup_all(struct lowpan *p);              /* something changed */
void setup_wish(struct wish *w);
void setup_stop(struct wish *w);               /* it is about to go */
void setup_ask_radio(struct lowpan *p, struct interface *radio);
const char *setup_state(const struct wish *w, char ret[static LOWPAN_STATE_BYTES], bool *ret_error);
void setup_on_timer(void *ctx);

/* lowpan_ble.c: peers of the kernel module, connected again when they are gone. why: "" = nothing to say. */
void lowpan_ble_tend(const struct lowpan_settings *s, char why[static LOWPAN_WHY_BYTES]);
extern const char *lowpan_ble_folder;          /* of debugfs; tests put their own here */

/* lowpan_count.c: counters to airtime. */
void count_link(struct lowpan *p, struct interface *i);
void count_levels(struct lowpan *p);
struct account *account_get(const struct lowpan *p, const char *name);
void accounts_clear(struct lowpan *p);

/* lowpan.c */
void lowpan_refresh(struct lowpan *p);         /* ask the kernel for everything */
