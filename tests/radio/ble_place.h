/* tests/radio/ble_place.h - a struct ble over a fake org.bluez, and what it told. Include after cmocka.h. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../until.h"
#include "base/mem.h"
#include "fake_bluez.h"
#include "radio/ble.h"
#include "radio/gatt.h"

enum { PLACE_MS = 10 * 1000 };

#define LAMP "C0:00:00:00:00:01"
#define LAMP_ID "ble-c00000000001"
#define SMP_UUID "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
#define SMP_CHR_UUID "da2e7828-fbce-4e01-ae9e-261174997c48"

struct place {
	struct loop *loop;
	struct fake_bluez *fake;
	struct ble *ble;
	struct ble_settings settings;
	enum ble_health health;
	size_t n_health, n_node, n_heard, n_gone;
	char last_node[BLE_ID_BYTES], last_gone[BLE_ID_BYTES];
	uint32_t passkey;
	size_t n_passkey;
	bool is_wanted;
};

struct holder {                                /* of a link */
	struct place *place;
	struct ble_link *link;
	size_t n_ready, n_ended;
	int error;
	char why[BLE_REASON_BYTES];
};

static inline void place_health(void *ctx, enum ble_health h)
{
	struct place *p = ctx;

	p->health = h;
	p->n_health++;
}

static inline void place_node(void *ctx, const struct ble_node *n)
{
	struct place *p = ctx;

	p->n_node++;
	memcpy(p->last_node, n->id, sizeof(p->last_node));
}

static inline void place_heard(void *ctx, const struct ble_node *n)
{
	((struct place *)ctx)->n_heard++;
}

static inline void place_gone(void *ctx, const struct ble_node *n)
{
	struct place *p = ctx;

	p->n_gone++;
	memcpy(p->last_gone, n->id, sizeof(p->last_gone));
}

static inline void place_passkey(void *ctx, const struct ble_node *n, uint32_t passkey, bool is_wanted)
{
	struct place *p = ctx;

	p->n_passkey++;
	p->passkey = passkey;
	p->is_wanted = is_wanted;
}

static inline const struct ble_ops *place_ops(void)
{
	static const struct ble_ops ops = { .health = place_health, .node = place_node, .heard = place_heard, .gone = place_gone, .passkey = place_passkey };

	return &ops;
}

static inline struct ble_settings place_settings(void)
{
	return (struct ble_settings){ .scan = BLE_SCAN_AUTO, .scan_s = 3600, .scan_every_s = 3600, .weakest_dbm = -127, .links = 4, .turn_s = 300,
				      .idle_s = 0, .gone_s = 3600 };
}

/* Without a struct ble yet: place_begin(). */
static inline int place_setup(void **state)
{
	struct place *p = NEW(struct place);

	p->loop = loop_new();
	p->fake = fake_bluez_new();
	p->settings = place_settings();
	*state = p;
	return 0;
}

static inline void place_begin(struct place *p)
{
	p->ble = ble_new(p->loop, fake_bluez_bus(p->fake), &p->settings, place_ops(), p);
}

static inline int place_teardown(void **state)
{
	struct place *p = *state;

	ble_free(p->ble);
	fake_bluez_free(p->fake);
	loop_free(p->loop);
	free(p);
	return 0;
}

static inline bool place_is_ready(void *ctx)
{
	return ((struct place *)ctx)->health == BLE_READY;
}

/* An adapter hci0, ready. */
static inline void place_ready(struct place *p)
{
	fake_adapter_add(p->fake, "hci0", "00:AA:01:00:00:00", 0);
	place_begin(p);
	assert_true(until(p->loop, place_is_ready, p, PLACE_MS));
}

static inline uint16_t place_add(struct place *p, const char *address)
{
	fake_node_add(p->fake, &(struct fake_node){ .address = address, .is_random = true, .name = "lamp", .uuids = { SMP_UUID } });
	return fake_characteristic_add(p->fake, address, SMP_UUID, SMP_CHR_UUID, FAKE_WRITE_NO_RESPONSE | FAKE_NOTIFY | FAKE_READ);
}

static inline void holder_ready(void *ctx)
{
	((struct holder *)ctx)->n_ready++;
}

static inline void holder_ended(void *ctx, int error, const char *why)
{
	struct holder *h = ctx;

	h->n_ended++;
	h->error = error;
	(void)snprintf(h->why, sizeof(h->why), "%s", why);
}

static inline const struct ble_link_ops *holder_ops(void)
{
	static const struct ble_link_ops ops = { .ready = holder_ready, .ended = holder_ended };

	return &ops;
}

static inline int holder_open(struct holder *h, struct place *p, const char *node, bool is_exclusive)
{
	const struct ble_link_wish w = { .node = node, .owner = "test", .is_exclusive = is_exclusive };

	*h = (struct holder){ .place = p };
	return ble_link_open(p->ble, &w, holder_ops(), h, &h->link);
}

static inline void holder_close(struct holder *h)
{
	h->link = ble_link_close(h->link);
}

static inline bool holder_is_ready(void *ctx)
{
	return ((struct holder *)ctx)->n_ready > 0;
}

static inline bool holder_has_ended(void *ctx)
{
	return ((struct holder *)ctx)->n_ended > 0;
}

#define UNTIL(place_, test_, ctx_) assert_true(until((place_)->loop, test_, ctx_, PLACE_MS))

/* What holds now still holds after the loop ran a while. */
static inline void place_run(struct place *p, int64_t ms)
{
	(void)loop_run_for(p->loop, ms);
}
