/* Links: the users of connections. What they are told comes from a timer of their own, never from inside of anything. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "radio/ble_state.h"

static void on_later(void *ctx)
{
	struct ble_link *k = ctx;

	if (!k->connection) {
		k->ops->ended(k->ctx, k->end_error, k->end_why);       /* k may be gone */
	} else if (!k->is_ready && k->connection->state == CONNECTION_READY) {
		k->is_ready = true;
		k->ops->ready(k->ctx);
	}
}

static void leave(struct ble_link *k)
{
	struct ble_connection *c = k->connection;

	k->gatt = gatt_link_free(k->gatt);
	DL_DELETE(c->links, k);
	c->n_links--;
	k->connection = NULL;
	ble_seen_mark(c->ble, c->address, false);
}

void ble_link_is_ready(struct ble_link *k)
{
	loop_timer_set(k->wait, -1);
	loop_timer_set(k->later, 0);
}

void ble_link_end(struct ble_link *k, int error, const char *why)
{
	(void)snprintf(k->end_why, sizeof(k->end_why), "%s", why); /* cut where it is too long */
	k->end_error = error;
	leave(k);
	loop_timer_set(k->wait, -1);
	loop_timer_set(k->later, 0);
}

bool ble_links_exclusive(const struct ble_connection *c)
{
	return c->links && c->links->is_exclusive;
}

/* For the node, for a slot. Once it is being connected that may take its time. */
static void on_wait(void *ctx)
{
	struct ble_link *k = ctx;
	struct ble_connection *c = k->connection;

	if (!c || c->state == CONNECTION_READY)
		return;
	if (ble_connection_is_on(c) && c->state != CONNECTION_CLOSING) {
		k->wait_is_over = true;
		return;
	}
	const struct ble_seen *s = ble_seen_find(k->ble, c->address);
	if (ble_health(k->ble) != BLE_READY)
		ble_link_end(k, -ENOTCONN, ble_health_text(ble_health(k->ble)));
	else if (!s || s->n_devices == 0)
		ble_link_end(k, -ENOENT, "the node is not in range");
	else if (c->last_error)
		ble_link_end(k, -ETIMEDOUT, c->why);
	else
		ble_link_end(k, -ETIMEDOUT, "no connection got free in time");
	if (!c->links)
		ble_connection_left(c);
}

static struct ble_link *link_new(struct ble *b, const struct ble_link_wish *w, const struct ble_link_ops *ops, void *ctx)
{
	struct ble_link *k = NEW(struct ble_link);

	*k = (struct ble_link){ .ble = b, .is_exclusive = w->is_exclusive, .opened_at = mono_now(), .ops = ops, .ctx = ctx };
	(void)snprintf(k->owner, sizeof(k->owner), "%s", w->owner ? w->owner : ""); /* cut where it is too long */
	k->wait = loop_timer_new(b->loop, on_wait, k);
	k->later = loop_timer_new(b->loop, on_later, k);
	if (w->wait_s)
		loop_timer_set(k->wait, (int64_t)w->wait_s * 1000);
	return k;
}

int ble_link_open_address(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], const struct ble_link_wish *w,
			  const struct ble_link_ops *ops, void *ctx, struct ble_link **ret)
{
	struct ble_connection *c = ble_connection_of(b, address);
	char why[BLE_REASON_BYTES], hex[2 * BLE_ADDRESS_BYTES + 1];

	if (c && ble_links_exclusive(c))
		return -EBUSY;
	if (b->n_links >= BLE_LINKS_MAX)
		return -ENOSPC;
	if (!c)
		c = ble_connection_new(b, address);
	(void)snprintf(why, sizeof(why), "%.20s took the node for itself", w->owner ? w->owner : "somebody"); /* fits */
	while (w->is_exclusive && c->links)
		ble_link_end(c->links, -EBUSY, why);
	struct ble_link *k = link_new(b, w, ops, ctx);
	(void)snprintf(k->node, sizeof(k->node), "ble-%s", text_hex(SPAN(address, BLE_ADDRESS_BYTES), hex)); /* fits */
	k->connection = c;
	DL_APPEND(c->links, k);
	c->n_links++;
	b->n_links++;
	if (c->n_links == 1) {
		if (c->state == CONNECTION_WAITING || c->state == CONNECTION_CLOSING)
			c->since = k->opened_at;
		if (w->is_fresh)
			ble_connection_freshen(c);
	}
	if (c->state == CONNECTION_READY) {
		loop_timer_set(c->timer, -1);  /* idle no more */
		ble_link_is_ready(k);
	}
	ble_seen_mark(b, address, false);
	ble_plan(b);
	*ret = k;
	return 0;
}

int ble_link_open(struct ble *b, const struct ble_link_wish *w, const struct ble_link_ops *ops, void *ctx, struct ble_link **ret)
{
	uint8_t address[BLE_ADDRESS_BYTES];
	int r = ble_address_parse(w->node, address);

	return r < 0 ? -EINVAL : ble_link_open_address(b, address, w, ops, ctx, ret);
}

struct ble_link *ble_link_close(struct ble_link *k)
{
	if (!k)
		return NULL;
	struct ble_connection *c = k->connection;
	if (c) {
		leave(k);
		if (!c->links)
			ble_connection_left(c);
	}
	if (k->ble)
		k->ble->n_links--;
	loop_timer_free(k->wait);
	loop_timer_free(k->later);
	free(k);
	return NULL;
}

const char *ble_link_node(const struct ble_link *k)
{
	return k->node;
}

/* ---- for gatt*.c ---- */

struct bluez_device *ble_link_device(const struct ble_link *k)
{
	return k->connection && k->connection->state == CONNECTION_READY ? k->connection->device : NULL;
}

struct bluez *ble_link_bluez(const struct ble_link *k)
{
	return k->ble->bluez;
}

struct loop *ble_link_loop(const struct ble_link *k)
{
	return k->ble->loop;
}

struct gatt_connection **ble_link_gatt(struct ble_link *k)
{
	return ble_link_device(k) ? &k->connection->gatt : NULL;
}

void ble_link_hung_up(struct ble_link *k, const char *why)
{
	struct ble_connection *c = k->connection;

	if (!c || c->state != CONNECTION_READY || c->is_hung_up)
		return;
	c->is_hung_up = true;
	(void)snprintf(c->why, sizeof(c->why), "%s", why); /* cut where it is too long */
	ble_plan(c->ble);
}

void ble_link_used(struct ble_link *k)
{
	if (k->connection)
		ble_seen_mark(k->ble, k->connection->address, true);
}
