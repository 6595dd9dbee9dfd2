#include "radio/gatt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/metric.h"
#include "radio/gatt_internal.h"

static void gatt_turn(void *ctx);

/* ---- connection and link ---- */

static struct gatt_connection *connection_get(struct ble_link *k)
{
	struct gatt_connection **slot = ble_link_gatt(k);

	if (!slot)
		return NULL;
	if (!*slot) {
		struct gatt_connection *g = NEW(struct gatt_connection);

		g->bluez = ble_link_bluez(k);
		g->loop = ble_link_loop(k);
		g->device = ble_link_device(k);
		g->is_table_stale = true;
		g->turn = loop_timer_new(g->loop, gatt_turn, g);
		*slot = g;
	}
	return *slot;
}

struct gatt_link *gatt_link_get(struct ble_link *k)
{
	struct gatt_connection *g = connection_get(k);

	if (!g)
		return NULL;
	if (!k->gatt) {
		k->gatt = NEW(struct gatt_link);
		k->gatt->link = k;
		k->gatt->connection = g;
		DL_APPEND(g->links, k->gatt);
	}
	return k->gatt;
}

void gatt_due(struct gatt_connection *g)
{
	loop_timer_set(g->turn, 0);
}

static struct gatt_op *op_free(struct gatt_op *op)
{
	struct gatt_connection *g = op->connection;

	if (op->call && op->with_response)
		g->is_requesting = false;
	else if (op->call)
		g->n_commands--;
	DL_DELETE(g->ops, op);
	if (op->link)
		op->link->n_ops--;
	free(op);
	return NULL;
}

struct gatt_link *gatt_link_free(struct gatt_link *l)
{
	struct gatt_op *op, *next;

	if (!l)
		return NULL;
	gatt_streams_free(l);
	gatt_subscriptions_free(l);
	/* What bluetoothd is asked already goes on: it answers before it takes another. */
	DL_FOREACH_SAFE(l->connection->ops, op, next) {
		if (op->link != l)
			continue;
		op->link = NULL;
		if (!op->call)
			op_free(op);
	}
	DL_DELETE(l->connection->links, l);
	free(l);
	return NULL;
}

struct gatt_connection *gatt_connection_free(struct gatt_connection *g)
{
	if (!g)
		return NULL;
	while (g->links) {
		struct ble_link *k = g->links->link;

		k->gatt = gatt_link_free(k->gatt);
	}
	while (g->ops) {
		bluez_cancel(g->ops->call);
		op_free(g->ops);
	}
	gatt_notifiers_free(g);
	loop_timer_free(g->turn);
	free(g);
	return NULL;
}

void gatt_connection_changed(struct gatt_connection *g, struct bluez_characteristic *c)
{
	if (!g)
		return;
	g->is_table_stale = true;
	if (!c)
		return;
	for (struct gatt_link *l = g->links; l; l = l->next)
		gatt_streams_lost(l, c->object.path);
	gatt_notifiers_lost(g, c->object.path);
}

/* ---- what the node offers ---- */

static void table_fill(struct gatt_connection *g)
{
	g->n_services = g->n_characteristics = 0;
	for (const struct bluez_service *s = g->device->services; s && g->n_services < GATT_SERVICES_MAX; s = s->next) {
		struct gatt_service *to = &g->services[g->n_services++];

		*to = (struct gatt_service){ .handle = s->handle, .is_primary = s->is_primary };
		memcpy(to->uuid, s->uuid, sizeof(to->uuid));
		for (const struct bluez_characteristic *c = s->characteristics; c && g->n_characteristics < GATT_CHARACTERISTICS_MAX; c = c->next) {
			struct gatt_characteristic *t = &g->characteristics[g->n_characteristics++];

			*t = (struct gatt_characteristic){ .handle = c->handle, .service = s->handle, .properties = c->properties, .mtu = c->mtu };
			memcpy(t->uuid, c->uuid, sizeof(t->uuid));
		}
	}
	g->is_table_stale = false;
}

static struct gatt_connection *table_of(const struct ble_link *k)
{
	struct gatt_connection *g = connection_get((struct ble_link *)k); /* the table is made on first use; the link does not change */

	if (g && g->is_table_stale)
		table_fill(g);
	return g;
}

const struct gatt_service *gatt_service_at(const struct ble_link *k, size_t i)
{
	const struct gatt_connection *g = table_of(k);

	return g && i < g->n_services ? &g->services[i] : NULL;
}

const struct gatt_characteristic *gatt_characteristic_at(const struct ble_link *k, size_t i)
{
	struct gatt_connection *g = table_of(k);

	if (!g || i >= g->n_characteristics)
		return NULL;
	const struct bluez_characteristic *c = bluez_find_characteristic(g->device, g->characteristics[i].handle);
	if (c)
		g->characteristics[i].mtu = c->mtu; /* may be told after the rest */
	return &g->characteristics[i];
}

static bool is_in_service(const struct gatt_connection *g, const struct gatt_characteristic *c, const uint8_t *uuid)
{
	for (size_t i = 0; i < g->n_services; i++)
		if (g->services[i].handle == c->service)
			return memcmp(g->services[i].uuid, uuid, BLE_UUID_BYTES) == 0;
	return false;
}

const struct gatt_characteristic *gatt_find(const struct ble_link *k, const uint8_t *service, const uint8_t *characteristic)
{
	const struct gatt_connection *g = table_of(k);

	for (size_t i = 0; g && i < g->n_characteristics; i++) {
		const struct gatt_characteristic *c = &g->characteristics[i];

		if (memcmp(c->uuid, characteristic, BLE_UUID_BYTES) == 0 && (!service || is_in_service(g, c, service)))
			return gatt_characteristic_at(k, i);
	}
	return NULL;
}

/* ---- calls that several here make ---- */

int gatt_acquire(struct gatt_connection *g, const char *path, const char *method, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(g->bluez, path, BLUEZ_I_CHARACTERISTIC, method, &m);

	if (r == 0)
		r = sd_bus_message_append(m, "a{sv}", 0);
	if (r >= 0)
		r = bluez_call(g->bluez, m, BLUEZ_CALL_MS, fn, ctx, ret);
	sd_bus_message_unref(m);
	return r;
}

int gatt_write_value(struct gatt_connection *g, const char *path, struct span value, const char *type, bluez_answer_fn *fn, void *ctx,
		     struct bluez_call **ret)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(g->bluez, path, BLUEZ_I_CHARACTERISTIC, "WriteValue", &m);

	if (r == 0)
		r = sd_bus_message_append_array(m, 'y', value.p, value.n);
	if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 1, "type", "s", type);
	if (r >= 0)
		r = bluez_call(g->bluez, m, BLUEZ_CALL_MS, fn, ctx, ret);
	sd_bus_message_unref(m);
	if (r == 0)
		metric_add(METRIC_BLE_BYTES_WRITTEN, (int64_t)value.n);
	return r;
}

int gatt_take_socket(sd_bus_message *answer, uint16_t *ret_mtu)
{
	uint16_t mtu;
	int fd;
	int r = sd_bus_message_read(answer, "hq", &fd, &mtu);

	if (r <= 0)
		return -EBADMSG;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		r = -errno;
		(void)close(fd); /* nothing was said on it */
		return r;
	}
	*ret_mtu = mtu;
	return fd;
}

bool gatt_is_ours(const struct gatt_connection *g, unsigned tries)
{
	return tries < GATT_AGAIN_MAX && g->closed_at.ms && mono_now().ms - g->closed_at.ms < GATT_AGAIN_WITHIN_MS;
}

/* ---- operations ---- */

/* The op is gone before its owner is told. */
static void op_end(struct gatt_op *op, int error, struct span value)
{
	struct gatt_op was = *op;

	if (was.link && error != -ETIMEDOUT && error != -ENOTCONN)
		ble_link_used(was.link->link);
	op_free(op);
	gatt_due(was.connection);
	if (was.is_read)
		gatt_notifier_read(was.connection, was.handle, value);
	if (was.link && was.fn)
		was.fn(was.ctx, error, value);
}

static void on_done(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct gatt_op *op = ctx;
	uint8_t value[GATT_VALUE_BYTES_MAX];
	const void *p = NULL;
	size_t n = 0;

	if (error == 0 && op->is_read && sd_bus_message_read_array(answer, 'y', &p, &n) < 0)
		error = -EIO;
	if (n > sizeof(value))
		n = sizeof(value);
	if (n)
		memcpy(value, p, n);
	op_end(op, gatt_error(error, name, why), error ? SPAN_NONE : SPAN(value, n));
}

static int begin_read(struct gatt_op *op, const char *path)
{
	struct gatt_connection *g = op->connection;
	sd_bus_message *m = NULL;
	int r = bluez_message(g->bluez, path, BLUEZ_I_CHARACTERISTIC, "ReadValue", &m);

	if (r == 0)
		r = sd_bus_message_append(m, "a{sv}", 0);
	if (r >= 0)
		r = bluez_call(g->bluez, m, BLUEZ_CALL_MS, on_done, op, &op->call);
	sd_bus_message_unref(m);
	return r;
}

static int begin(struct gatt_op *op)
{
	struct gatt_connection *g = op->connection;
	const struct bluez_characteristic *c = bluez_find_characteristic(g->device, op->handle);
	int r;

	if (!c)
		return -ENOENT;
	if (op->is_read)
		r = begin_read(op, c->object.path);
	else
		r = gatt_write_value(g, c->object.path, SPAN(op->value, op->n), op->with_response ? "request" : "command", on_done, op, &op->call);
	if (r < 0)
		return r;
	if (op->with_response)
		g->is_requesting = true;
	else
		g->n_commands++;
	return 0;
}

/* Begins what may begin, in order; the first that cannot is returned. */
static struct gatt_op *begin_all(struct gatt_connection *g)
{
	struct gatt_op *op, *next;

	DL_FOREACH_SAFE(g->ops, op, next) {
		if (op->call)
			continue;
		if (op->with_response ? g->is_requesting : g->n_commands == GATT_COMMANDS_MAX)
			return NULL;
		op->error = begin(op);
		if (op->error < 0)
			return op;
	}
	return NULL;
}

static void gatt_turn(void *ctx)
{
	struct gatt_connection *g = ctx;
	struct gatt_op *op = begin_all(g);

	if (op) {
		op_end(op, gatt_error(op->error, NULL, NULL), SPAN_NONE);
		return;
	}
	if (gatt_notifier_turn(g))
		return;
	for (struct gatt_link *l = g->links; l; l = l->next)
		if (gatt_subscription_turn(l) || gatt_stream_turn(l))
			return;
}

static int op_new(struct ble_link *k, const struct gatt_op *like, struct span value)
{
	struct gatt_link *l = gatt_link_get(k);

	if (!l)
		return -ENOTCONN;
	if (l->n_ops == GATT_OPS_MAX)
		return -ENOSPC;
	struct gatt_op *op = mem_new(1, sizeof(*op) + value.n);
	*op = *like;
	op->connection = l->connection;
	op->link = l;
	op->n = value.n;
	if (value.n)
		memcpy(op->value, value.p, value.n);
	DL_APPEND(l->connection->ops, op);
	l->n_ops++;
	gatt_due(l->connection);
	return 0;
}

int gatt_read(struct ble_link *k, uint16_t handle, gatt_done_fn *fn, void *ctx)
{
	return op_new(k, &(struct gatt_op){ .handle = handle, .is_read = true, .with_response = true, .fn = fn, .ctx = ctx }, SPAN_NONE);
}

/* A write without response that does not fit the link is lost without a word: refused here. */
static bool is_too_long(const struct ble_link *k, uint16_t handle, size_t n)
{
	const struct bluez_device *d = ble_link_device(k);
	const struct bluez_characteristic *c = d ? bluez_find_characteristic(d, handle) : NULL;

	return n > GATT_STREAM_BYTES_MAX || (c && c->mtu && n + GATT_HEADER_BYTES > c->mtu);
}

int gatt_write(struct ble_link *k, uint16_t handle, struct span value, bool with_response, gatt_done_fn *fn, void *ctx)
{
	if (value.n > GATT_VALUE_BYTES_MAX || (!with_response && is_too_long(k, handle, value.n)))
		return -EMSGSIZE;
	return op_new(k, &(struct gatt_op){ .handle = handle, .with_response = with_response, .fn = fn, .ctx = ctx }, value);
}
