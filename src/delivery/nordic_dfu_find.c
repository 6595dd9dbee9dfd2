#include "delivery/nordic_dfu_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

const uint8_t nordic_service[BLE_UUID_BYTES] = GATT_UUID16(0xfe59);
const uint8_t nordic_legacy_service[BLE_UUID_BYTES] = { 0x00, 0x00, 0x15, 0x30, 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 };

int nordic_find_begin(struct nordic_target *t)
{
	uint8_t a[BLE_ADDRESS_BYTES];
	char text[BLE_ADDRESS_TEXT_BYTES];

	int r = t->drv->c.node(t->drv->c.ctx, t->device, t->own);
	if (r < 0)
		return r;
	if (text_parse_hex(span_sub(span_str(t->own), 4, BLE_ID_BYTES), a, sizeof(a)) < 0)
		return -EINVAL;
	a[BLE_ADDRESS_BYTES - 1]++;            /* the last byte alone, without a carry */
	return ble_id_parse(span_str(ble_address_text(a, text)), t->beside);
}

static bool is_heard(const struct nordic_target *t, const struct ble_node *n)
{
	return n && !mono_before(n->seen_at, t->since);
}

static bool is_in_bootloader(const struct ble_node *n)
{
	for (size_t i = 0; i < n->n_services; i++)
		if (memcmp(n->services[i], nordic_service, BLE_UUID_BYTES) == 0 || memcmp(n->services[i], nordic_legacy_service, BLE_UUID_BYTES) == 0)
			return true;
	return false;
}

static bool is_neighbour(const struct nordic_target *t, const char *node)
{
	for (size_t i = 0; i < t->n_neighbours; i++)
		if (strcmp(t->neighbours[i], node) == 0)
			return true;
	return t->drv->c.is_others && t->drv->c.is_others(t->drv->c.ctx, node, t->device);
}

void nordic_find_is_not(struct nordic_target *t, const char *node)
{
	if (strcmp(node, t->boot) == 0)
		t->boot[0] = 0;
	if (t->n_neighbours == NORDIC_DFU_NEIGHBOURS_MAX) {
		t->too_many_neighbours = true;
		return;
	}
	(void)text_copy(t->neighbours[t->n_neighbours++], BLE_ID_BYTES, span_str(node)); /* same size */
}

void nordic_find_neighbours(struct nordic_target *t)
{
	t->n_neighbours = 0;
	t->too_many_neighbours = false;
	for (const struct ble_node *n = ble_node_next(t->drv->c.ble, NULL); n; n = ble_node_next(t->drv->c.ble, n))
		if (n->id[0] && strcmp(n->id, t->own) != 0 && is_in_bootloader(n))
			nordic_find_is_not(t, n->id);
}

const char *nordic_find_heard(const struct nordic_target *t)
{
	const struct ble_node *own = ble_node_get(t->drv->c.ble, t->own), *beside = ble_node_get(t->drv->c.ble, t->beside);

	if (is_heard(t, own))
		return t->own;
	/* Somebody cut its power in the middle of an update. */
	return is_heard(t, beside) && is_in_bootloader(beside) && !is_neighbour(t, t->beside) ? t->beside : NULL;
}

/* ---- after a restart ---- */

struct seen {
	const struct ble_node *sure, *beside, *own, *strangers[2];
	size_t n_strangers;
};

/* A node that is somewhere else than ours was: in its bootloader only now, and about as near. */
static bool is_alike(const struct nordic_target *t, const struct ble_node *n)
{
	return t->rssi == BLE_RSSI_UNKNOWN || n->rssi == BLE_RSSI_UNKNOWN || abs(n->rssi - t->rssi) <= NORDIC_DFU_RSSI_SLACK_DB;
}

static void see(const struct nordic_target *t, struct seen *s, const struct ble_node *n)
{
	if (!n->id[0] || !is_heard(t, n))
		return;
	if (strcmp(n->id, t->own) == 0)
		s->own = n;
	else if (is_neighbour(t, n->id))
		return;
	if (strcmp(n->id, t->boot) == 0 || (t->name[0] && strcmp(n->name, t->name) == 0))
		s->sure = n;
	else if (strcmp(n->id, t->own) == 0 || !is_in_bootloader(n))
		return;
	else if (strcmp(n->id, t->beside) == 0)
		s->beside = n;
	else if (is_alike(t, n) && s->n_strangers++ < 2)
		s->strangers[s->n_strangers - 1] = n;
}

static void ask_operator(struct nordic_target *t, const struct seen *s)
{
	nordic_target_refuse(t, OBJECT5_FAILED, "%zu nodes came up in their bootloaders and it may be either, %s or %s: switch the others off",
			     s->n_strangers, s->strangers[0]->id, s->strangers[1]->id);
}

/* NULL: not yet, or it has ended. */
static const struct ble_node *pick(struct nordic_target *t, struct mono now)
{
	bool is_late = mono_diff_ms(t->deadline, now) < (int64_t)t->drv->c.settings.restart_s * 1000 / 2;
	struct seen s = { 0 };

	for (const struct ble_node *n = ble_node_next(t->drv->c.ble, NULL); n; n = ble_node_next(t->drv->c.ble, n))
		see(t, &s, n);
	if (t->aim == ND_APPLICATION)
		return s.own;
	if (s.sure || s.beside || s.own)
		return s.sure ? s.sure : s.beside ? s.beside : s.own;
	if (!is_late || t->too_many_neighbours || s.n_strangers == 0 || t->n_entries == 0)
		return NULL;
	if (s.n_strangers == 1)
		return s.strangers[0];
	ask_operator(t, &s);
	return NULL;
}

static void not_found(struct nordic_target *t)
{
	unsigned s = t->drv->c.settings.restart_s;
	const struct ble_node *beside = ble_node_get(t->drv->c.ble, t->beside);
	bool is_boot = t->kind == ND_SECURE_BOOT || t->kind == ND_LEGACY_BOOT || (is_heard(t, beside) && is_in_bootloader(beside));

	if (t->aim == ND_BOOTLOADER && t->upload && nordic_upload_was_activated(t->upload))
		nordic_target_refuse(t, OBJECT5_FAILED, "unverified: the link ended as the image was activated, and the node was not seen for %u s", s);
	else if (t->aim == ND_BOOTLOADER)
		nordic_target_refuse(t, OBJECT5_LOST, "the node was not found in its bootloader within %u s", s);
	else if (is_boot)
		nordic_target_refuse(t, OBJECT5_FAILED, "the node is in its bootloader again: it did not start the new image");
	else
		nordic_target_refuse(t, OBJECT5_FAILED, "unverified: the image was activated, but its application was not seen for %u s", s);
}

void nordic_seek(struct nordic_target *t, enum nd_aim aim, bool is_fresh)
{
	struct mono now = mono_now();

	nordic_link_close(t);
	nordic_search_begin(t);
	t->is_seeking = true;
	t->stage = ND_SEEK;
	t->aim = aim;
	t->is_fresh = is_fresh;
	t->kind = ND_OTHER;
	t->since = now;
	t->blind_at = mono_add_ms(now, nordic_pace_ms(t, ND_BLIND_MS));
	t->deadline = mono_add_ms(now, (int64_t)t->drv->c.settings.restart_s * 1000);
	loop_timer_set(t->timer, nordic_pace_ms(t, is_fresh ? ND_SETTLE_MS : ND_SEEK_MS));
}

void nordic_seek_again(struct nordic_target *t)
{
	nordic_link_close(t);
	t->stage = ND_SEEK;
	loop_timer_set(t->timer, nordic_pace_ms(t, ND_AGAIN_MS));
}

/* bluetoothd does not tell of a node again that advertises as before: one that it knows is tried where it should be. */
static const struct ble_node *pick_blindly(struct nordic_target *t, struct mono now)
{
	struct ble *b = t->drv->c.ble;
	const struct ble_node *n = NULL;

	if (mono_before(now, t->blind_at))
		return NULL;
	t->blind_at = mono_add_ms(now, nordic_pace_ms(t, ND_BLIND_MS));
	if (t->aim == ND_BOOTLOADER && t->boot[0])
		n = ble_node_get(b, t->boot);
	else if (t->aim == ND_BOOTLOADER && t->way == ND_NAMELESS && !is_neighbour(t, t->beside))
		n = ble_node_get(b, t->beside);
	return n ? n : ble_node_get(b, t->own);
}

void nordic_search_begin(struct nordic_target *t)
{
	if (!t->is_searching)
		ble_search_begin(t->drv->c.ble);
	t->is_searching = true;
}

void nordic_search_end(struct nordic_target *t)
{
	if (t->is_searching)
		ble_search_end(t->drv->c.ble);
	t->is_searching = false;
}

void nordic_seek_step(struct nordic_target *t)
{
	struct mono now = mono_now();

	if (ble_health(t->drv->c.ble) != BLE_READY) {  /* that is not the node's fault */
		t->since = now;
		t->deadline = mono_add_ms(now, (int64_t)t->drv->c.settings.restart_s * 1000);
		loop_timer_set(t->timer, nordic_pace_ms(t, ND_AGAIN_MS));
		return;
	}
	if (!mono_before(now, t->deadline)) {
		not_found(t);
		return;
	}
	const struct ble_node *n = pick(t, now);
	if (t->stage != ND_SEEK)
		return;                        /* it ended by that */
	n = n ? n : pick_blindly(t, now);
	if (n)
		nordic_reach(t, n->id, t->is_fresh);
	else
		loop_timer_set(t->timer, nordic_pace_ms(t, ND_SEEK_MS));
}
