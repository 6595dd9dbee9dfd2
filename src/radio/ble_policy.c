#include "radio/ble_policy.h"

int64_t ble_retry_ms(unsigned tries, bool is_abort_by_local, uint64_t chance)
{
	int64_t ms = BLE_BACKOFF_MS;

	if (is_abort_by_local)
		return BLE_RETRY_MIN_MS + (int64_t)(chance % (BLE_RETRY_MAX_MS - BLE_RETRY_MIN_MS + 1));
	for (unsigned i = 1; i < tries && ms < BLE_BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BLE_BACKOFF_MAX_MS)
		ms = BLE_BACKOFF_MAX_MS;
	return ms + (int64_t)(chance % (uint64_t)(ms / 4 + 1)); /* not all at once */
}

bool ble_scan_now(const struct ble_scan_facts *f, struct mono now, int64_t *ret_in_ms)
{
	*ret_in_ms = -1;
	if (f->scan == BLE_SCAN_OFF || f->is_connecting || (f->scan == BLE_SCAN_PASSIVE && f->has_passive))
		return false;
	if (f->is_searching && f->scan != BLE_SCAN_PASSIVE)
		return true;
	if (f->scan == BLE_SCAN_PASSIVE || (f->scan == BLE_SCAN_AUTO && f->has_passive))
		return false;
	int64_t every_ms = (int64_t)f->scan_every_s * 1000, scan_ms = (int64_t)f->scan_s * 1000;
	if (scan_ms >= every_ms)
		return true;
	int64_t at_ms = mono_diff_ms(now, f->began_at) % every_ms;
	*ret_in_ms = at_ms < scan_ms ? scan_ms - at_ms : every_ms - at_ms;
	return at_ms < scan_ms;
}

static bool is_before(const struct ble_waiter *a, const struct ble_waiter *b)
{
	if (a->since.ms / 1000 != b->since.ms / 1000)
		return a->since.ms < b->since.ms;
	if (a->is_exclusive != b->is_exclusive)
		return a->is_exclusive;
	return a->since.ms < b->since.ms;
}

size_t ble_turn_next(const struct ble_waiter *w, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (is_before(&w[i], &w[best]))
			best = i;
	return best;
}

size_t ble_turn_yield(const struct ble_holder *h, size_t n, uint32_t turn_s, struct mono now, int64_t *ret_in_ms)
{
	size_t best = n;

	*ret_in_ms = -1;
	for (size_t i = 0; i < n; i++)
		if (h[i].is_idle && !h[i].is_fixed && (best == n || mono_before(h[i].since, h[best].since)))
			best = i;
	if (best < n || !turn_s)
		return best;
	for (size_t i = 0; i < n; i++)
		if (!h[i].is_fixed && (best == n || mono_before(h[i].since, h[best].since)))
			best = i;
	if (best == n)
		return n;
	int64_t left_ms = (int64_t)turn_s * 1000 - mono_diff_ms(now, h[best].since);
	if (left_ms <= 0)
		return best;
	*ret_in_ms = left_ms;
	return n;
}

bool ble_address_is_private(const uint8_t a[static BLE_ADDRESS_BYTES], bool is_random)
{
	return is_random && a[0] >> 6 != 3;
}
