/* radio/ble_policy.h - when to scan, whom to connect next and who gives way, how long to wait after a failure. Pure: the time and
 * chance are arguments. */
#pragma once
#include "radio/ble.h"

enum {
	BLE_RETRY_MIN_MS = 200, BLE_RETRY_MAX_MS = 2000,       /* after le-connection-abort-by-local, at random */
	BLE_BACKOFF_MS = 1000, BLE_BACKOFF_MAX_MS = 30 * 1000, /* after anything else: doubled each time */
};

/* tries: failures so far, at least 1; chance: any number. */
int64_t ble_retry_ms(unsigned tries, bool is_abort_by_local, uint64_t chance);

/* ---- scanning ---- */

struct ble_scan_facts {
	enum ble_scan scan;
	bool has_passive;                      /* monitors are registered */
	bool is_searching;                     /* somebody waits for a node to show up */
	bool is_connecting;                    /* or about to: the radio does one thing at a time */
	uint32_t scan_s, scan_every_s;
	struct mono began_at;                  /* of the turns: some time in the past */
};

/* Whether to scan actively now; ret_in_ms: ask again then, -1 = not before a fact changes. */
bool ble_scan_now(const struct ble_scan_facts *f, struct mono now, int64_t *ret_in_ms);

/* ---- slots ---- */

struct ble_waiter {
	struct mono since;
	bool is_exclusive;
};

/* Whose turn it is: who waited longest, exclusive ones first within the same second. n > 0. */
size_t ble_turn_next(const struct ble_waiter *w, size_t n);

struct ble_holder {
	bool is_idle;                          /* no link uses it */
	bool is_fixed;                         /* coming or going: cannot give way now */
	struct mono since;                     /* idle, or ready, since then */
};

/* While others wait: who gives way now. The one idle longest; else, turn_s not 0, the one whose turn is over longest; else n, and
 * ret_in_ms says when a turn is over, -1 = never. */
size_t ble_turn_yield(const struct ble_holder *h, size_t n, uint32_t turn_s, struct mono now, int64_t *ret_in_ms);

/* ---- addresses ---- */

/* Resolvable and non-resolvable private ones; static random ones are identities (Core specification, Vol 6, Part B, 1.3). */
bool ble_address_is_private(const uint8_t a[static BLE_ADDRESS_BYTES], bool is_random);
