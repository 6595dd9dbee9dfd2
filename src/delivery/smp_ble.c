#include "delivery/smp_ble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"
#include "delivery/smp_assembly.h"

struct pairing;

struct smp_ble {
	struct smp_ble_config c;
	struct pairing *pairings;
};

static const uint8_t service_uuid[BLE_UUID_BYTES] = { 0x8d, 0x53, 0xdc, 0x1d, 0x1d, 0xb7, 0x4c, 0xd3, 0x86, 0x8b, 0x8a, 0x52, 0x74, 0x60, 0xaa, 0x84 };
static const uint8_t smp_uuid[BLE_UUID_BYTES] = { 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01, 0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 };
static const uint8_t information_uuid[BLE_UUID_BYTES] = GATT_UUID16(0x180a), revision_uuid[BLE_UUID_BYTES] = GATT_UUID16(0x2a26);

struct session {                               /* a carrier: one link, from its wish to its end */
	struct smp_ble *driver;
	struct smp_target *target;
	char node[BLE_ID_BYTES];
	struct ble_link *link;
	uint16_t handle;
	struct gatt_stream *stream;
	struct gatt_subscription *subscription;
	size_t chunk_max;
	bool is_up;
	struct buf out;                        /* not written yet, from out_at on */
	size_t out_at, message_left;           /* left of the message that is being written */
	struct smp_assembly *in;
	struct loop_timer *pair_timer;
	struct pairing *pairing;
};

struct pairing {                               /* under way; ends by itself */
	struct smp_ble *driver;
	struct session *session;               /* NULL = not waited for any more */
	struct pairing *prev, *next;
};

/* ---- the way up: link, subscription, stream ---- */

static void on_paired(void *ctx, int error, const char *why)
{
	struct pairing *p = ctx;
	struct session *s = p->session;
	char text[BLE_REASON_BYTES + 64];

	DL_DELETE(p->driver->pairings, p);
	free(p);
	if (!s)
		return;
	s->pairing = NULL;
	(void)snprintf(text, sizeof(text), "the node wants a pairing: %s", why); /* clipped for people */
	/* With a bond the link is opened anew; without one it never will. A pairing that failed on the way may work the next time. */
	smp_target_down(s->target, error == 0 ? -EAGAIN : error == -EACCES ? -EACCES : -ECONNRESET, text);
}

/* The link makes room for the pairing, which has one of its own, and what is asked again after it finds the bond. */
static void pair(void *ctx)
{
	struct session *s = ctx;
	const struct ble_node *n = ble_node_get(s->driver->c.ble, s->node);

	if (n && n->is_bonded) {
		smp_target_down(s->target, -EACCES, "the node refuses though it is paired: it may have lost the bond (dormousectl ble unpair)");
		return;
	}
	s->link = ble_link_close(s->link);
	struct pairing *p = NEW(struct pairing);
	int r = ble_pair(s->driver->c.ble, s->node, on_paired, p);
	if (r < 0) {
		free(p);
		smp_target_down(s->target, r == -EACCES ? -EACCES : -ECONNRESET, "the node wants a pairing, which ble.pairing does not allow");
		return;
	}
	p->session = s;
	p->driver = s->driver;
	s->pairing = p;
	DL_APPEND(s->driver->pairings, p);
}

/* An operation on the way up failed. */
static void failed(struct session *s, int error, const char *what)
{
	char text[BLE_REASON_BYTES];

	if (error == -ENOTCONN)
		return;                        /* the link's end is on its way, and says why */
	if (error == -EACCES) {
		s->is_up = false;
		loop_timer_set(s->pair_timer, 0);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s: %s", what, error == -EBUSY ? "another program uses it" : strerror(-error)); /* clipped for people */
	smp_target_down(s->target, error == -EBUSY ? -EBUSY : -ECONNRESET, text);
}

/* A message never shares a write with the next one: a node that puts nothing together would lose both. */
static size_t next_bytes(struct session *s)
{
	const uint8_t *p = s->out.p + s->out_at;
	size_t left = s->out.n - s->out_at;

	if (s->message_left == 0 && left >= SMP_HEADER_BYTES)
		s->message_left = SMP_HEADER_BYTES + ((size_t)p[2] << 8 | p[3]);
	size_t n = s->message_left < left ? s->message_left : left;
	return n < s->chunk_max ? n : s->chunk_max;
}

/* As much as the link takes now; on_writable() goes on. */
static void drain(struct session *s)
{
	while (s->is_up && s->out_at < s->out.n) {
		size_t n = next_bytes(s);
		int r = gatt_stream_send(s->stream, SPAN(s->out.p + s->out_at, n));

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			s->is_up = false;
			failed(s, r, "writing to the node");
			return;
		}
		s->out_at += n;
		s->message_left -= n;
	}
	buf_clear(&s->out);
	s->out_at = s->message_left = 0;
}

static void on_writable(void *ctx)
{
	drain(ctx);
}

static void on_stream(void *ctx, int error, size_t chunk_max)
{
	struct session *s = ctx;

	if (error < 0 || chunk_max == 0) {
		failed(s, error < 0 ? error : -EIO, "writing to the node");
		return;
	}
	s->chunk_max = chunk_max;
	s->is_up = true;
	smp_target_up(s->target, 0, (uint32_t)chunk_max);
}

static bool on_message(void *ctx, struct span message)
{
	struct session *s = ctx;

	smp_target_receive(s->target, message);
	return s->is_up;
}

static void on_value(void *ctx, struct span value)
{
	struct session *s = ctx;

	if (s->is_up)
		smp_assembly_add(s->in, value, mono_now(), on_message, s);
}

static void on_subscribed(void *ctx, int error)
{
	static const struct gatt_stream_ops stream_ops = { .ready = on_stream, .writable = on_writable };
	struct session *s = ctx;

	if (error == 0)
		error = gatt_stream_open(s->link, s->handle, &stream_ops, s, &s->stream);
	if (error < 0)
		failed(s, error, "notifications of the node");
}

static void on_ready(void *ctx)
{
	static const struct gatt_subscription_ops subscription_ops = { .ready = on_subscribed, .value = on_value };
	struct session *s = ctx;
	const struct gatt_characteristic *c = gatt_find(s->link, service_uuid, smp_uuid);

	if (!c || !(c->properties & GATT_NOTIFY) || !(c->properties & GATT_WRITE_NO_RESPONSE)) {
		smp_target_down(s->target, -EPROTONOSUPPORT, "the node offers no SMP service");
		return;
	}
	s->handle = c->handle;
	int r = gatt_subscribe(s->link, s->handle, &subscription_ops, s, &s->subscription);
	if (r < 0)
		failed(s, r, "notifications of the node");
}

static void on_ended(void *ctx, int error, const char *why)
{
	struct session *s = ctx;

	s->is_up = false;
	smp_assembly_reset(s->in);
	smp_target_down(s->target, error, why);
}

/* ---- the carrier ---- */

static int on_node(void *ctx, const char *device, char ret[static SMP_NODE_KEY_BYTES], const char **why)
{
	struct smp_ble *p = ctx;

	*why = "the device has no Bluetooth address here: give it one (dormousectl devices add ID --address ble:01:23:45:67:89:AB)";
	return p->c.node(p->c.node_ctx, device, ret); /* longer than BLE_ID_BYTES */
}

static bool on_is_there(void *ctx, const char *node)
{
	struct smp_ble *p = ctx;

	return p->c.is_blind || ble_node_get(p->c.ble, node);
}

/* One that was just heard may wait long for a slot; another is not waited for, it will be heard. */
static uint32_t wait_s(const struct smp_ble *p, const char *node)
{
	const struct ble_node *n = ble_node_get(p->c.ble, node);

	return n && mono_diff_ms(mono_now(), n->seen_at) < SMP_BLE_RECENT_MS ? SMP_BLE_SLOT_S : SMP_BLE_REACH_S;
}

static void on_close(void *carrier)
{
	struct session *s = carrier;

	if (s->pairing)
		s->pairing->session = NULL;
	ble_link_close(s->link);               /* with its stream and subscription */
	loop_timer_free(s->pair_timer);
	buf_done(&s->out);
	free(s->in);
	free(s);
}

static int on_open(void *ctx, struct smp_target *t, const char *node, bool is_fresh, void **ret)
{
	static const struct ble_link_ops link_ops = { .ready = on_ready, .ended = on_ended };
	struct smp_ble *p = ctx;
	struct ble_link_wish wish = { .node = node, .owner = "smp-ble", .is_exclusive = true, .is_fresh = is_fresh, .wait_s = wait_s(p, node) };
	struct session *s = NEW(struct session);

	s->driver = p;
	s->target = t;
	(void)text_copy(s->node, sizeof(s->node), span_str(node)); /* as on_node() gave it */
	s->in = NEW(struct smp_assembly);
	s->pair_timer = loop_timer_new(p->c.smp.loop, pair, s);
	s->out.max = SMP_BLE_OUT_BYTES_MAX;
	int r = ble_link_open(p->c.ble, &wish, &link_ops, s, &s->link);
	if (r < 0) {
		on_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void on_send(void *carrier, struct span message)
{
	struct session *s = carrier;

	if (s->out_at) {
		memmove(s->out.p, s->out.p + s->out_at, s->out.n - s->out_at);
		s->out.n -= s->out_at;
		s->out_at = 0;
	}
	if (!s->is_up || s->out.n + message.n > SMP_BLE_OUT_BYTES_MAX)
		return;                        /* as if lost: it is sent again */
	buf_add(&s->out, message);
	drain(s);
}

static void on_revision_read(void *ctx, int error, struct span value)
{
	struct session *s = ctx;

	while (value.n && value.p[value.n - 1] == '\0') /* some count the end with it */
		value.n--;
	smp_target_revision(s->target, error < 0 ? SPAN_NONE : value);
}

static void on_revision(void *carrier)
{
	struct session *s = carrier;
	const struct gatt_characteristic *c = gatt_find(s->link, information_uuid, revision_uuid);

	if (!c || gatt_read(s->link, c->handle, on_revision_read, s) < 0)
		smp_target_revision(s->target, SPAN_NONE);
}

/* Bluetooth goes after its drivers, and nobody is told of pairings any more. */
static void on_done(void *ctx)
{
	struct smp_ble *p = ctx;
	struct pairing *q, *tmp;

	DL_FOREACH_SAFE(p->pairings, q, tmp)
		free(q);
	free(p);
}

static const struct smp_carrier_ops ops = { .name = "smp-ble", .has_link = true, .node = on_node, .is_there = on_is_there, .open = on_open,
					    .send = on_send, .close = on_close, .revision = on_revision, .done = on_done };

static struct smp_settings settled(struct smp_settings s)
{
	if (s.answer_ms < SMP_BLE_ANSWER_MS)
		s.answer_ms = SMP_BLE_ANSWER_MS;
	return s;
}

void smp_ble_set(struct delivery_driver *drv, const struct smp_settings *s, bool is_blind)
{
	struct smp_settings clipped = settled(*s);

	((struct smp_ble *)smp_driver_carrier(drv))->c.is_blind = is_blind;
	smp_driver_set(drv, &clipped);
}

int smp_ble_open(const struct smp_ble_config *c, struct delivery_driver **ret)
{
	struct smp_ble *p = NEW(struct smp_ble);
	struct smp_driver_config d = c->smp;

	p->c = *c;
	d.settings = settled(c->smp.settings);
	return smp_driver_open(&d, &ops, p, ret);
}
