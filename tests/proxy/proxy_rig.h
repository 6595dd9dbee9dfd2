/* tests/proxy/proxy_rig.h - a node without a radio with a few values, and the tree over it, for tests of the faces. Include after
 * cmocka.h. */
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../delivery/fake_ble.h"
#include "../until.h"
#include "proxy/ble_tree.h"

#define ID "ble-c00000000001"

enum { MS = 8000 };

struct proxy_rig {
	struct loop *loop;
	struct ble *ble;
	struct fake_node *node;
	struct ble_tree *tree;
	uint16_t h_level, h_knob, h_ticks;
	int read_error;
	unsigned n_reads, n_writes, n_subscribed, n_unsubscribed, n_wrote;
	uint8_t level;
	bool last_with_response;
	char written[64], who[64];
	void (*changed)(void *ctx, const char *path);
	void *changed_ctx;
};

static inline int rig_read(void *ctx, uint16_t handle, uint8_t *ret)
{
	struct proxy_rig *r = ctx;

	(void)handle;
	r->n_reads++;
	ret[0] = r->level;
	return r->read_error ? r->read_error : 1;
}

static inline int rig_write(void *ctx, uint16_t handle, struct span value, bool with_response)
{
	struct proxy_rig *r = ctx;

	(void)handle;
	r->n_writes++;
	r->last_with_response = with_response;
	(void)snprintf(r->written, sizeof(r->written), "%.*s", SPAN_ARG(value));
	return 0;
}

static inline void rig_subscribed(void *ctx, uint16_t handle, bool is_on)
{
	struct proxy_rig *r = ctx;

	(void)handle;
	r->n_subscribed += is_on;
	r->n_unsubscribed += !is_on;
}

static inline void rig_wrote(void *ctx, const char *who, const char *id, uint16_t handle, size_t n)
{
	struct proxy_rig *r = ctx;

	(void)id;
	(void)handle;
	(void)n;
	r->n_wrote++;
	(void)snprintf(r->who, sizeof(r->who), "%s", who);
}

static inline void rig_changed(void *ctx, const char *path)
{
	struct proxy_rig *r = ctx;

	if (r->changed)
		r->changed(r->changed_ctx, path);
}

static inline void rig_start(struct proxy_rig *r)
{
	static const struct fake_node_ops ops = { .read = rig_read, .write = rig_write, .subscribed = rig_subscribed };
	static const uint8_t battery[BLE_UUID_BYTES] = GATT_UUID16(0x180f), level[BLE_UUID_BYTES] = GATT_UUID16(0x2a19);
	static const uint8_t vendor[BLE_UUID_BYTES] = { 0x12, 0x34 }, knob[BLE_UUID_BYTES] = { 0x12, 0x34, 1 }, ticks[BLE_UUID_BYTES] = { 0x12, 0x34, 2 };

	r->loop = loop_new();
	r->ble = fake_ble_new(r->loop);
	r->node = fake_node_new(r->ble, ID, &ops, r);
	r->level = 50;
	r->h_level = fake_node_offers(r->node, battery, level, GATT_READ | GATT_NOTIFY);
	r->h_knob = fake_node_offers(r->node, vendor, knob, GATT_WRITE | GATT_WRITE_NO_RESPONSE);
	r->h_ticks = fake_node_offers(r->node, vendor, ticks, GATT_NOTIFY);
	r->node->is_here = true;
	r->tree = ble_tree_new(&(struct ble_tree_config){ .loop = r->loop, .ble = r->ble, .changed = rig_changed, .wrote = rig_wrote, .ctx = r });
	ble_tree_node(r->tree, &r->node->n);
}

static inline void rig_stop(struct proxy_rig *r)
{
	fake_ble_free(r->ble);
	loop_free(r->loop);
}

/* "nodes/.../c0011" behind prefix; the last four stay. */
static inline const char *rig_path(const char *prefix, uint16_t handle)
{
	static char path[4][128];
	static unsigned i;
	char below[BLE_PATH_BYTES];

	(void)snprintf(path[++i % 4], sizeof(path[0]), "%s%s", prefix, ble_path_value(ID, handle, below));
	return path[i % 4];
}

static inline bool rig_is_unsubscribed(void *ctx) { return ((struct proxy_rig *)ctx)->n_unsubscribed >= 1; }
static inline bool rig_has_no_link(void *ctx) { return fake_ble_links(((struct proxy_rig *)ctx)->ble) == 0; }
