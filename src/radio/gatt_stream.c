/* Streams of writes without response: by a socket of bluetoothd's, or by single calls where it gives none (BLZ-5, 6, 7, 10). */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "radio/gatt_internal.h"

static void acquire(void *ctx);

static struct gatt_connection *connection_of(const struct gatt_stream *s)
{
	return s->link->connection;
}

static void ready(struct gatt_stream *s, int error)
{
	s->error = error;
	s->is_due = true;
	gatt_due(connection_of(s));
}

static void set_chunk(struct gatt_stream *s, uint16_t mtu)
{
	size_t n = (size_t)(mtu < GATT_MTU_MIN ? GATT_MTU_MIN : mtu) - GATT_HEADER_BYTES;

	s->chunk_max = n < GATT_STREAM_BYTES_MAX ? n : GATT_STREAM_BYTES_MAX;
}

/* What comes next is the end of the link, by ble_link_hung_up(): once, however many notice. */
static void broken(struct gatt_stream *s, const char *why)
{
	s->in = loop_io_free(s->in);
	s->out = loop_io_free(s->out);
	if (s->is_broken)
		return;
	s->is_broken = true;
	ble_link_hung_up(s->link->link, why);
}

/* bluetoothd says nothing on this socket; it only closes it. */
static void on_in(void *ctx, int fd, unsigned what)
{
	struct gatt_stream *s = ctx;
	uint8_t data[GATT_PACKET_BYTES];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	broken(s, "bluetoothd closed the socket for writing");
}

static void on_out(void *ctx, int fd, unsigned what)
{
	struct gatt_stream *s = ctx;

	s->out = loop_io_free(s->out);
	s->wants_room = false;
	if (s->ops->writable)
		s->ops->writable(s->ctx);
}

static void on_acquired(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct gatt_stream *s = ctx;
	struct gatt_connection *g = connection_of(s);
	const struct bluez_characteristic *c = bluez_find_characteristic(g->device, s->handle);
	uint16_t mtu;

	s->call = NULL;
	error = gatt_error(error, name, why);
	if (error == 0) {
		s->fd = gatt_take_socket(answer, &mtu);
		s->in = s->fd >= 0 ? loop_io_new(g->loop, s->fd, LOOP_READ, on_in, s) : NULL;
		if (s->in)
			set_chunk(s, mtu);
		ready(s, s->in ? 0 : -EIO);
	} else if (error == -EBUSY && gatt_is_ours(g, s->tries)) {
		s->tries++;
		loop_timer_set(s->again, GATT_AGAIN_MS);
	} else if ((error == -EOPNOTSUPP || error == -ENOENT) && c && (c->properties & GATT_WRITE_NO_RESPONSE)) {
		set_chunk(s, c->mtu); /* single calls */
		ready(s, 0);
	} else {
		ready(s, error);
	}
}

static void acquire(void *ctx)
{
	struct gatt_stream *s = ctx;
	struct gatt_connection *g = connection_of(s);
	const struct bluez_characteristic *c = bluez_find_characteristic(g->device, s->handle);
	int r;

	if (!c) {
		ready(s, -ENOENT);
	} else if (!(c->properties & GATT_WRITE_NO_RESPONSE)) {
		ready(s, -EOPNOTSUPP);
	} else if (!c->can_acquire_write) {
		(void)text_copy(s->path, sizeof(s->path), span_str(c->object.path)); /* same size */
		set_chunk(s, c->mtu);
		ready(s, 0);
	} else {
		(void)text_copy(s->path, sizeof(s->path), span_str(c->object.path)); /* same size */
		r = gatt_acquire(g, s->path, "AcquireWrite", on_acquired, s, &s->call);
		if (r < 0)
			ready(s, gatt_error(r, NULL, NULL));
	}
}

int gatt_stream_open(struct ble_link *k, uint16_t handle, const struct gatt_stream_ops *ops, void *ctx, struct gatt_stream **ret)
{
	struct gatt_link *l = gatt_link_get(k);

	if (!l)
		return -ENOTCONN;
	struct gatt_stream *s = NEW(struct gatt_stream);
	s->link = l;
	s->handle = handle;
	s->fd = -1;
	s->ops = ops;
	s->ctx = ctx;
	s->again = loop_timer_new(l->connection->loop, acquire, s);
	DL_APPEND2(l->streams, s, link_prev, link_next);
	acquire(s);
	*ret = s;
	return 0;
}

struct gatt_stream *gatt_stream_close(struct gatt_stream *s)
{
	if (!s)
		return NULL;
	if (s->call || s->fd >= 0)
		connection_of(s)->closed_at = mono_now();
	bluez_cancel(s->call);
	for (size_t i = 0; i < GATT_COMMANDS_MAX; i++)
		bluez_cancel(s->commands[i].call);
	loop_timer_free(s->again);
	loop_io_free(s->in);
	loop_io_free(s->out);
	if (s->fd >= 0)
		(void)close(s->fd); /* what was sent is bluetoothd's */
	DL_DELETE2(s->link->streams, s, link_prev, link_next);
	free(s);
	return NULL;
}

void gatt_streams_free(struct gatt_link *l)
{
	while (l->streams)
		gatt_stream_close(l->streams);
}

void gatt_streams_lost(struct gatt_link *l, const char *path)
{
	for (struct gatt_stream *s = l->streams; s; s = s->link_next)
		if (strcmp(s->path, path) == 0)
			broken(s, "the characteristic is gone");
}

bool gatt_stream_turn(struct gatt_link *l)
{
	for (struct gatt_stream *s = l->streams; s; s = s->link_next) {
		if (!s->is_due)
			continue;
		s->is_due = false;
		s->was_told = true;
		gatt_due(l->connection);
		s->ops->ready(s->ctx, s->error, s->error ? 0 : s->chunk_max);
		return true;
	}
	return false;
}

/* ---- sending ---- */

static int send_packet(struct gatt_stream *s, struct span chunk)
{
	ssize_t n = send(s->fd, chunk.p, chunk.n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n == (ssize_t)chunk.n) {
		metric_add(METRIC_BLE_BYTES_WRITTEN, (int64_t)chunk.n);
		ble_link_used(s->link->link);
		return 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)) {
		if (!s->out)
			s->out = loop_io_new(connection_of(s)->loop, s->fd, LOOP_WRITE, on_out, s);
		return s->out ? -EAGAIN : -ENOTCONN;
	}
	broken(s, "bluetoothd closed the socket for writing");
	return -ENOTCONN;
}

/* Data lost in the middle of a stream cannot be mended here: the link ends, and whoever streams begins anew. */
static void on_command(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct gatt_command *c = ctx;
	struct gatt_stream *s = c->stream;
	char text[BLE_REASON_BYTES];

	c->call = NULL;
	if (error) {
		(void)snprintf(text, sizeof(text), "a write was refused: %.100s", why); /* fits */
		broken(s, text);
		return;
	}
	ble_link_used(s->link->link);
	if (!s->wants_room)
		return;
	s->wants_room = false;
	if (s->ops->writable)
		s->ops->writable(s->ctx);
}

static int send_command(struct gatt_stream *s, struct span chunk)
{
	for (size_t i = 0; i < GATT_COMMANDS_MAX; i++) {
		struct gatt_command *c = &s->commands[i];

		if (c->call)
			continue;
		c->stream = s;
		int r = gatt_write_value(connection_of(s), s->path, chunk, "command", on_command, c, &c->call);
		if (r == 0)
			return 0;
		broken(s, "bluetoothd cannot be asked");
		return -ENOTCONN;
	}
	return -EAGAIN;
}

int gatt_stream_send(struct gatt_stream *s, struct span chunk)
{
	if (s->is_broken || !s->was_told || s->error)
		return -ENOTCONN;
	if (chunk.n == 0 || chunk.n > s->chunk_max)
		return -EMSGSIZE;
	int r = s->fd >= 0 ? send_packet(s, chunk) : send_command(s, chunk);
	if (r == -EAGAIN)
		s->wants_room = true;
	return r;
}
