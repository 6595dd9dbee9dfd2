/* radio/airtime.h - how long a radio has been sending, from the counters of its interface: minutes of the last hour, and what a budget
 * says of their sum. Pure: the time is an argument, counters come from outside.
 *
 * What is counted is what this machine sends. An 802.15.4 frame at 250 kbit/s takes 32 us a byte and 8 bytes more than the kernel
 * counts (preamble, start, length, check sum); back-off, acknowledgements and repetitions by the chip are not seen. */
#pragma once
#include <stdbool.h>

#include "base/time.h"

enum { AIRTIME_SLOTS = 60, AIRTIME_SLOT_MS = 60 * 1000, AIRTIME_SLOW_PERCENT = 75, AIRTIME_PERMILLE_MAX = 1000 };

/* Frames as the radio's own interface counts them. */
uint64_t airtime_frames_us(uint64_t frames, uint64_t bytes);
/* IPv6 packets, where the frames cannot be seen (a Thread border router's interface): an estimate, with fragments of 80 bytes and
 * 25 bytes of headers each. */
uint64_t airtime_packets_us(uint64_t packets, uint64_t bytes);
/* IPv6 packets over BLE at 1 Mbit/s, in link-layer packets of 27 bytes with 10 bytes around them. */
uint64_t airtime_ble_us(uint64_t packets, uint64_t bytes);

struct airtime {                               /* zeroed: nothing was sent */
	uint64_t slot_us[AIRTIME_SLOTS];
	int64_t slot;                          /* number of the newest */
	uint64_t total_us;
};

void airtime_add(struct airtime *a, uint64_t us, struct mono now);
/* Of the last hour, to the minute. */
uint64_t airtime_used_us(const struct airtime *a, struct mono now);

enum airtime_level { AIRTIME_FREE, AIRTIME_SLOW, AIRTIME_OVER };
const char *airtime_level_name(enum airtime_level l);
/* permille: of the last hour; 0 = no budget. From three quarters of it on: slow. */
enum airtime_level airtime_level(const struct airtime *a, uint32_t permille, struct mono now);
/* Seconds until it is no longer over, when nothing more is sent; 0 = it is not. */
uint32_t airtime_wait_s(const struct airtime *a, uint32_t permille, struct mono now);
