#include "radio/airtime.h"

enum {
	BYTE_802154_US = 32, FRAME_802154_BYTES = 8,
	FRAGMENT_BYTES = 80, FRAGMENT_HEADER_BYTES = 25,
	BYTE_BLE_US = 8, PDU_BLE_BYTES = 27, PDU_BLE_AROUND_BYTES = 10,
};

uint64_t airtime_frames_us(uint64_t frames, uint64_t bytes)
{
	return (bytes + frames * FRAME_802154_BYTES) * BYTE_802154_US;
}

uint64_t airtime_packets_us(uint64_t packets, uint64_t bytes)
{
	uint64_t frames = packets + bytes / FRAGMENT_BYTES;

	return airtime_frames_us(frames, bytes + frames * FRAGMENT_HEADER_BYTES);
}

uint64_t airtime_ble_us(uint64_t packets, uint64_t bytes)
{
	uint64_t pdus = packets + bytes / PDU_BLE_BYTES;

	return (bytes + pdus * PDU_BLE_AROUND_BYTES) * BYTE_BLE_US;
}

static int64_t slot_of(struct mono now)
{
	return now.ms / AIRTIME_SLOT_MS;
}

void airtime_add(struct airtime *a, uint64_t us, struct mono now)
{
	int64_t slot = slot_of(now);
	int64_t passed = slot - a->slot;

	if (passed > AIRTIME_SLOTS)
		passed = AIRTIME_SLOTS;
	for (int64_t i = 0; i < passed; i++)
		a->slot_us[(size_t)((slot - i) % AIRTIME_SLOTS)] = 0;
	if (slot > a->slot)
		a->slot = slot;
	a->slot_us[(size_t)(a->slot % AIRTIME_SLOTS)] += us;
	a->total_us += us;
}

/* Of the slots that are at most `age` old: the newest has age 0. */
static uint64_t used_since(const struct airtime *a, int64_t now_slot, int64_t age)
{
	uint64_t us = 0;

	for (int64_t s = a->slot; s > a->slot - AIRTIME_SLOTS && s >= 0 && now_slot - s <= age; s--)
		us += a->slot_us[(size_t)(s % AIRTIME_SLOTS)];
	return us;
}

uint64_t airtime_used_us(const struct airtime *a, struct mono now)
{
	return used_since(a, slot_of(now), AIRTIME_SLOTS - 1);
}

static uint64_t budget_us(uint32_t permille)
{
	return (uint64_t)permille * AIRTIME_SLOTS * AIRTIME_SLOT_MS; /* a thousandth of a millisecond is a microsecond */
}

const char *airtime_level_name(enum airtime_level l)
{
	static const char *const names[] = { [AIRTIME_FREE] = "free", [AIRTIME_SLOW] = "slow", [AIRTIME_OVER] = "over" };

	return names[l];
}

enum airtime_level airtime_level(const struct airtime *a, uint32_t permille, struct mono now)
{
	uint64_t used = airtime_used_us(a, now), budget = budget_us(permille);

	if (permille == 0)
		return AIRTIME_FREE;
	return used >= budget ? AIRTIME_OVER : used * 100 >= budget * AIRTIME_SLOW_PERCENT ? AIRTIME_SLOW : AIRTIME_FREE;
}

uint32_t airtime_wait_s(const struct airtime *a, uint32_t permille, struct mono now)
{
	int64_t slot = slot_of(now);

	if (airtime_level(a, permille, now) != AIRTIME_OVER)
		return 0;
	for (int64_t later = 1; later <= AIRTIME_SLOTS; later++)
		if (used_since(a, slot + later, AIRTIME_SLOTS - 1) < budget_us(permille))
			return (uint32_t)(((slot + later) * AIRTIME_SLOT_MS - now.ms + 999) / 1000);
	return AIRTIME_SLOTS * AIRTIME_SLOT_MS / 1000;
}
