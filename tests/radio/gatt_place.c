#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "gatt_place.h"

enum { PLACE_MS = 10 * 1000 };

/* ---- what ble*.c would do ---- */

static struct place *place_of(const struct ble_link *k)
{
	return (struct place *)k->ble;
}

struct bluez_device *ble_link_device(const struct ble_link *k)
{
	return k->is_ready ? place_of(k)->device : NULL;
}

struct bluez *ble_link_bluez(const struct ble_link *k)
{
	return place_of(k)->bluez;
}

struct loop *ble_link_loop(const struct ble_link *k)
{
	return place_of(k)->loop;
}

struct gatt_connection **ble_link_gatt(struct ble_link *k)
{
	return k->is_ready ? &place_of(k)->gatt : NULL;
}

void ble_link_hung_up(struct ble_link *k, const char *why)
{
	struct place *p = place_of(k);

	p->n_hung_up++;
	(void)text_copy(p->why, sizeof(p->why), span_sub(span_str(why), 0, sizeof(p->why) - 1)); /* fits now */
	loop_timer_set(p->end, 0);
}

void ble_link_used(struct ble_link *k)
{
	place_of(k)->n_used++;
}

static void end_links(void *ctx)
{
	struct place *p = ctx;

	p->device = NULL;
	while (p->links) {
		struct ble_link *k = p->links;

		DL_DELETE(p->links, k);
		k->gatt = gatt_link_free(k->gatt);
		k->is_ready = false;
		p->n_ended++;
	}
	p->gatt = gatt_connection_free(p->gatt);
}

static void on_nothing(void *ctx)
{
}

static void on_adapter(void *ctx, struct bluez_adapter *a)
{
}

static void on_device(void *ctx, struct bluez_device *d, unsigned changed)
{
	struct place *p = ctx;

	if (d->is_connected && d->is_resolved)
		p->device = d;
	else if (p->device == d)
		end_links(p);
}

static void on_device_gone(void *ctx, struct bluez_device *d)
{
	struct place *p = ctx;

	if (p->device == d)
		end_links(p);
}

static void on_attributes(void *ctx, struct bluez_device *d)
{
	gatt_connection_changed(((struct place *)ctx)->gatt, NULL);
}

static void on_characteristic_gone(void *ctx, struct bluez_characteristic *c)
{
	gatt_connection_changed(((struct place *)ctx)->gatt, c);
}

static void on_value(void *ctx, struct bluez_characteristic *c, struct span value)
{
	gatt_connection_value(((struct place *)ctx)->gatt, c, value);
}

static const struct bluez_ops ops = {
	.health = on_nothing, .adapter = on_adapter, .adapter_gone = on_adapter, .device = on_device, .device_gone = on_device_gone,
	.attributes = on_attributes, .characteristic_gone = on_characteristic_gone, .value = on_value,
};

/* ---- for tests ---- */

bool place_until(struct place *p, bool (*test)(void *ctx), void *ctx)
{
	return until(p->loop, test, ctx, PLACE_MS);
}

void place_run(struct place *p, int64_t ms)
{
	(void)loop_run_for(p->loop, ms);
}

void place_until_called(struct place *p, const char *method, size_t n)
{
	for (int i = 0; i < PLACE_MS / 5 && fake_calls(p->f, NULL, method) < n; i++)
		place_run(p, 5);
	assert_int_equal(fake_calls(p->f, NULL, method), n);
}

struct place *place_new(const struct fake_node *n)
{
	struct place *p = NEW(struct place);

	p->f = fake_bluez_new();
	fake_adapter_add(p->f, "hci0", "00:AA:01:00:00:00", 0);
	fake_node_add(p->f, n ? n : &(struct fake_node){ .address = PLACE_NODE, .is_random = true, .name = "lamp", .uuids = { SMP_SERVICE } });
	p->loop = loop_new();
	p->end = loop_timer_new(p->loop, end_links, p);
	p->bluez = bluez_new(p->loop, fake_bluez_bus(p->f), &ops, p);
	return p;
}

static bool is_there(void *ctx)
{
	return bluez_state(((struct place *)ctx)->bluez) == BLUEZ_THERE;
}

static bool is_found(void *ctx)
{
	return bluez_find_device(((struct place *)ctx)->bluez, PLACE_PATH);
}

static bool is_connected(void *ctx)
{
	return ((struct place *)ctx)->device;
}

void place_connect(struct place *p)
{
	assert_true(place_until(p, is_there, p));
	if (!bluez_find_device(p->bluez, PLACE_PATH))
		assert_int_equal(bluez_call_plain(p->bluez, "/org/bluez/hci0", BLUEZ_I_ADAPTER, "StartDiscovery", 1000, NULL, NULL, NULL), 0);
	assert_true(place_until(p, is_found, p));
	assert_int_equal(bluez_call_plain(p->bluez, PLACE_PATH, BLUEZ_I_DEVICE, "Connect", 1000, NULL, NULL, NULL), 0);
	assert_true(place_until(p, is_connected, p));
}

struct ble_link *place_link(struct place *p)
{
	struct ble_link *k = NEW(struct ble_link);

	k->ble = (struct ble *)p;
	k->is_ready = true;
	DL_APPEND(p->links, k);
	return k;
}

void place_close(struct place *p, struct ble_link *k)
{
	k->gatt = gatt_link_free(k->gatt);
	if (k->is_ready)
		DL_DELETE(p->links, k);
	free(k);
}

void place_free(struct place *p)
{
	end_links(p);
	bluez_free(p->bluez);
	loop_timer_free(p->end);
	loop_free(p->loop);
	fake_bluez_free(p->f);
	free(p);
}
