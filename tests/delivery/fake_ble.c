#include "fake_ble.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/text.h"

enum { TURN_LOOK_MS = 1000 };

enum act { ACT_READY, ACT_ENDED, ACT_DONE, ACT_STREAM, ACT_WRITABLE, ACT_SUBSCRIBED, ACT_VALUE, ACT_PAIRED };

struct event {                                 /* what is told in the next turn */
	enum act act;
	struct ble_link *link;                 /* NULL with pairings */
	struct gatt_stream *stream;
	struct gatt_subscription *subscription;
	gatt_done_fn *done;
	ble_done_fn *paired;
	void *ctx;
	int error;
	size_t n;
	uint8_t value[GATT_VALUE_BYTES_MAX];
	struct mono due;
	struct event *prev, *next;
};

struct ble {
	struct loop *loop;
	struct loop_timer *timer;
	struct fake_node *nodes;
	struct event *events;
	enum ble_health health;
	unsigned slots, n_up, n_searches;
	const struct ble_ops *ops;             /* of ble_new(); may be NULL */
	void *ctx;
	struct ble_settings settings;          /* borrowed from who set them: for the test's next look */
	unsigned n_settings;
	int64_t turn_ms;
	struct loop_timer *turn;
	bool is_poked;
	uint64_t serial;
	size_t n_links;
};

struct ble_link {
	struct ble *b;
	struct fake_node *node;
	struct ble_link_ops ops;
	void *ctx;
	char id[BLE_ID_BYTES];
	bool is_exclusive, is_fresh, is_asked, is_up, is_ended;        /* asked: it is on its way up */
	struct gatt_stream *streams;
	struct gatt_subscription *subscriptions;
	uint64_t serial;                       /* order of arrival */
	struct mono since;                     /* up */
	struct loop_timer *wait;
	struct ble_link *prev, *next;          /* of the node */
};

struct gatt_stream {
	struct ble_link *link;
	uint16_t handle;
	struct gatt_stream_ops ops;
	void *ctx;
	unsigned n_taken;
	bool is_waiting;
	struct gatt_stream *prev, *next;
};

struct gatt_subscription {
	struct ble_link *link;
	uint16_t handle;
	struct gatt_subscription_ops ops;
	void *ctx;
	bool is_on;
	struct gatt_subscription *prev, *next;
};

/* For the next event that is due. */
static void wake(struct ble *b)
{
	struct mono now = mono_now();
	int64_t ms = b->is_poked ? 0 : -1;
	struct event *e;

	DL_FOREACH(b->events, e) {
		int64_t in_ms = mono_before(now, e->due) ? mono_diff_ms(e->due, now) : 0;
		if (ms < 0 || in_ms < ms)
			ms = in_ms;
	}
	loop_timer_set(b->timer, ms);
}

/* Links are to be looked at. */
static void poke(struct ble *b)
{
	b->is_poked = true;
	loop_timer_set(b->timer, 0);
}

static struct event *event_new(struct ble *b, enum act act, struct ble_link *k)
{
	struct event *e = NEW(struct event);

	e->act = act;
	e->link = k;
	e->due = mono_add_ms(mono_now(), k ? k->node->interval_ms : 0);
	DL_APPEND(b->events, e);
	wake(b);
	return e;
}

/* Of a link, or of one stream or subscription of it. */
static void events_drop(struct ble *b, const struct ble_link *k, const void *part)
{
	struct event *e, *tmp;

	DL_FOREACH_SAFE(b->events, e, tmp)
		if (e->link == k && (!part || e->stream == part || e->subscription == part)) {
			DL_DELETE(b->events, e);
			free(e);
		}
}

/* ---- links ---- */

static void link_up(struct ble_link *k)
{
	struct fake_node *n = k->node;

	if (n->connect_error) {
		event_new(k->b, ACT_ENDED, k)->error = n->connect_error;
		if (n->n_connect_errors && --n->n_connect_errors == 0)
			n->connect_error = 0;
		return;
	}
	k->b->n_up++;
	k->is_up = true;
	k->since = mono_now();
	event_new(k->b, ACT_READY, k);
}

static bool is_waiting(const struct ble_link *k)
{
	return !k->is_asked && k->node->is_here;
}

/* Who waited longest for a slot; NULL: nobody does. */
static struct ble_link *link_next(const struct ble *b)
{
	struct ble_link *next = NULL;

	for (struct fake_node *n = b->nodes; n; n = n->next)
		for (struct ble_link *k = n->links; k; k = k->next)
			if (is_waiting(k) && (!next || k->serial < next->serial))
				next = k;
	return next;
}

static void links_try(struct ble *b)
{
	struct ble_link *k;

	while (b->health == BLE_READY && (!b->slots || b->n_up < b->slots) && (k = link_next(b))) {
		k->is_asked = true;
		loop_timer_set(k->wait, -1);
		link_up(k);
	}
	if (b->turn_ms && b->slots && b->n_up >= b->slots)
		loop_timer_set(b->turn, TURN_LOOK_MS);
}

static void link_down(struct ble_link *k)
{
	if (!k->is_up)
		return;
	k->is_up = false;
	k->b->n_up--;
	if (k->node->ops && k->node->ops->disconnected)
		k->node->ops->disconnected(k->node->ctx);
}

static void link_end(struct ble_link *k, int error)
{
	if (k->is_ended)
		return;
	events_drop(k->b, k, NULL);
	link_down(k);
	k->is_ended = k->is_asked = true;
	event_new(k->b, ACT_ENDED, k)->error = error;
}

static void tell_ready(struct ble_link *k)
{
	k->node->n_links++;
	k->node->n_fresh += k->is_fresh;
	if (k->node->ops && k->node->ops->connected)
		k->node->ops->connected(k->node->ctx);
	if (k->is_up && !k->is_ended)
		k->ops.ready(k->ctx);
}

static void tell(struct event *e)
{
	struct gatt_stream *s = e->stream;

	switch (e->act) {
	case ACT_READY:
		tell_ready(e->link);
		break;
	case ACT_ENDED:
		e->link->is_ended = true;
		e->link->ops.ended(e->link->ctx, e->error, "as the test says");
		break;
	case ACT_DONE:
		if (e->done)
			e->done(e->ctx, e->error, SPAN(e->value, e->n));
		break;
	case ACT_STREAM:
		s->ops.ready(s->ctx, e->error, s->link->node->chunk_max ? s->link->node->chunk_max : GATT_STREAM_BYTES_MAX);
		break;
	case ACT_WRITABLE:
		s->is_waiting = false;
		s->n_taken = 0;
		if (s->ops.writable)
			s->ops.writable(s->ctx);
		break;
	case ACT_SUBSCRIBED:
		e->subscription->is_on = e->error == 0;
		if (e->error == 0 && e->link->node->ops && e->link->node->ops->subscribed)
			e->link->node->ops->subscribed(e->link->node->ctx, e->subscription->handle, true);
		e->subscription->ops.ready(e->subscription->ctx, e->error);
		break;
	case ACT_VALUE:
		e->subscription->ops.value(e->subscription->ctx, SPAN(e->value, e->n));
		break;
	case ACT_PAIRED:
		e->paired(e->ctx, e->error, "as the test says");
		break;
	}
}

static struct event *event_due(const struct ble *b, struct mono now)
{
	struct event *e;

	DL_FOREACH(b->events, e)
		if (!mono_before(now, e->due))
			break;
	return e;
}

/* What is there at the begin of the turn. */
static void on_timer(void *ctx)
{
	struct ble *b = ctx;
	struct mono now = mono_now();
	size_t n = 0;
	struct event *e;

	b->is_poked = false;
	DL_COUNT(b->events, e, n);
	while (n-- > 0 && (e = event_due(b, now))) {
		DL_DELETE(b->events, e);
		tell(e);
		free(e);
	}
	links_try(b);
	wake(b);
}

static void on_turn(void *ctx)
{
	struct ble *b = ctx;

	for (struct fake_node *n = b->nodes; n && link_next(b); n = n->next)
		for (struct ble_link *k = n->links; k; k = k->next)
			if (k->is_up && mono_diff_ms(mono_now(), k->since) >= b->turn_ms)
				link_end(k, -EAGAIN);
	loop_timer_set(b->turn, b->n_up ? TURN_LOOK_MS : -1);
}

static void on_wait(void *ctx)
{
	struct ble_link *k = ctx;

	if (!k->is_asked)
		link_end(k, k->node->is_here ? -ETIMEDOUT : -ENOENT);
}

int ble_link_open(struct ble *b, const struct ble_link_wish *w, const struct ble_link_ops *ops, void *ctx, struct ble_link **ret)
{
	char id[BLE_ID_BYTES];
	struct fake_node *n;

	if (ble_id_parse(span_str(w->node), id) < 0)
		return -EINVAL;
	assert(strlen(w->owner) < BLE_OWNER_BYTES);
	for (n = b->nodes; n && strcmp(n->n.id, id) != 0; n = n->next)
		;
	assert(n);                             /* a test makes its nodes first */
	for (struct ble_link *k = n->links; k; k = k->next)
		if (k->is_exclusive && !k->is_ended)
			return -EBUSY;
	struct ble_link *k = NEW(struct ble_link);
	*k = (struct ble_link){ .b = b, .node = n, .ops = *ops, .ctx = ctx, .is_exclusive = w->is_exclusive, .is_fresh = w->is_fresh };
	memcpy(k->id, id, sizeof(k->id));
	k->serial = ++b->serial;
	k->wait = loop_timer_new(b->loop, on_wait, k);
	if (w->wait_s)
		loop_timer_set(k->wait, (int64_t)w->wait_s * 1000);
	DL_APPEND(n->links, k);
	b->n_links++;
	if (b->health != BLE_READY) {
		k->is_asked = true;
		event_new(b, ACT_ENDED, k)->error = -ENOTCONN;
	}
	poke(b);
	*ret = k;
	return 0;
}

struct ble_link *ble_link_close(struct ble_link *k)
{
	if (!k)
		return NULL;
	events_drop(k->b, k, NULL);
	link_down(k);
	while (k->streams)
		gatt_stream_close(k->streams);
	while (k->subscriptions)
		gatt_unsubscribe(k->subscriptions);
	DL_DELETE(k->node->links, k);
	k->b->n_links--;
	loop_timer_free(k->wait);
	poke(k->b);        /* a slot is free */
	free(k);
	return NULL;
}

const char *ble_link_node(const struct ble_link *k) { return k->id; }

/* ---- GATT ---- */

const struct gatt_service *gatt_service_at(const struct ble_link *k, size_t i)
{
	return i < k->node->n_services ? &k->node->services[i] : NULL;
}

const struct gatt_characteristic *gatt_characteristic_at(const struct ble_link *k, size_t i)
{
	return i < k->node->n_characteristics ? &k->node->characteristics[i] : NULL;
}

static const struct gatt_service *service_of(const struct fake_node *n, uint16_t handle)
{
	for (size_t i = 0; i < n->n_services; i++)
		if (n->services[i].handle == handle)
			return &n->services[i];
	return NULL;
}

const struct gatt_characteristic *gatt_find(const struct ble_link *k, const uint8_t *service, const uint8_t *characteristic)
{
	for (size_t i = 0; i < k->node->n_characteristics; i++) {
		const struct gatt_characteristic *c = &k->node->characteristics[i];

		if (memcmp(c->uuid, characteristic, BLE_UUID_BYTES) == 0 &&
		    (!service || memcmp(service_of(k->node, c->service)->uuid, service, BLE_UUID_BYTES) == 0))
			return c;
	}
	return NULL;
}

void gatt_offers(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], gatt_offer_fn *fn, void *ctx)
{
	const struct fake_node *n = b->nodes;

	while (n && (memcmp(n->n.address, address, BLE_ADDRESS_BYTES) != 0 || n->n_links == 0))
		n = n->next;
	for (size_t i = 0; n && i < n->n_services; i++) {
		fn(ctx, &n->services[i], NULL);
		for (size_t k = 0; k < n->n_characteristics; k++)
			if (n->characteristics[k].service == n->services[i].handle)
				fn(ctx, &n->services[i], &n->characteristics[k]);
	}
}

static bool has_handle(const struct fake_node *n, uint16_t handle)
{
	for (size_t i = 0; i < n->n_characteristics; i++)
		if (n->characteristics[i].handle == handle)
			return true;
	return false;
}

static int op_error(const struct ble_link *k, uint16_t handle)
{
	return !has_handle(k->node, handle) ? -ENOENT : k->node->wants_bond && !k->node->n.is_bonded ? -EACCES : 0;
}

int gatt_read(struct ble_link *k, uint16_t handle, gatt_done_fn *fn, void *ctx)
{
	if (!k->is_up)
		return -ENOTCONN;
	struct event *e = event_new(k->b, ACT_DONE, k);
	e->done = fn;
	e->ctx = ctx;
	e->error = op_error(k, handle);
	int r = e->error ? e->error : k->node->ops->read ? k->node->ops->read(k->node->ctx, handle, e->value) : -EPERM;
	e->error = r < 0 ? r : 0;
	e->n = r < 0 ? 0 : (size_t)r;
	return 0;
}

int gatt_write(struct ble_link *k, uint16_t handle, struct span value, bool with_response, gatt_done_fn *fn, void *ctx)
{
	if (!k->is_up)
		return -ENOTCONN;
	if (value.n > GATT_VALUE_BYTES_MAX)
		return -EMSGSIZE;
	struct event *e = event_new(k->b, ACT_DONE, k);
	e->done = fn;
	e->ctx = ctx;
	int r = op_error(k, handle);
	if (r == 0)
		r = k->node->ops->write ? k->node->ops->write(k->node->ctx, handle, value, with_response) : -EPERM;
	if (!k->is_ended)                      /* or the node ended the link by that, and e went with it */
		e->error = r;
	return 0;
}

int gatt_stream_open(struct ble_link *k, uint16_t handle, const struct gatt_stream_ops *ops, void *ctx, struct gatt_stream **ret)
{
	if (!k->is_up)
		return -ENOTCONN;
	struct gatt_stream *s = NEW(struct gatt_stream);
	*s = (struct gatt_stream){ .link = k, .handle = handle, .ops = *ops, .ctx = ctx };
	DL_APPEND(k->streams, s);
	struct event *e = event_new(k->b, ACT_STREAM, k);
	e->stream = s;
	e->error = k->node->stream_error ? k->node->stream_error : op_error(k, handle);
	*ret = s;
	return 0;
}

struct gatt_stream *gatt_stream_close(struct gatt_stream *s)
{
	if (!s)
		return NULL;
	events_drop(s->link->b, s->link, s);
	DL_DELETE(s->link->streams, s);
	free(s);
	return NULL;
}

int gatt_stream_send(struct gatt_stream *s, struct span chunk)
{
	struct fake_node *n = s->link->node;

	if (!s->link->is_up)
		return -ENOTCONN;
	if (chunk.n > (n->chunk_max ? n->chunk_max : GATT_STREAM_BYTES_MAX))
		return -EMSGSIZE;
	if (n->stream_room && s->n_taken >= n->stream_room) {
		if (!s->is_waiting)
			event_new(s->link->b, ACT_WRITABLE, s->link)->stream = s;
		s->is_waiting = true;
		return -EAGAIN;
	}
	s->n_taken++;
	if (op_error(s->link, s->handle) == 0 && n->ops->write)
		(void)n->ops->write(n->ctx, s->handle, chunk, false); /* nobody answers */
	return 0;
}

int gatt_subscribe(struct ble_link *k, uint16_t handle, const struct gatt_subscription_ops *ops, void *ctx, struct gatt_subscription **ret)
{
	if (!k->is_up)
		return -ENOTCONN;
	struct gatt_subscription *s = NEW(struct gatt_subscription);
	*s = (struct gatt_subscription){ .link = k, .handle = handle, .ops = *ops, .ctx = ctx };
	DL_APPEND(k->subscriptions, s);
	struct event *e = event_new(k->b, ACT_SUBSCRIBED, k);
	e->subscription = s;
	e->error = op_error(k, handle);
	*ret = s;
	return 0;
}

struct gatt_subscription *gatt_unsubscribe(struct gatt_subscription *s)
{
	if (!s)
		return NULL;
	events_drop(s->link->b, s->link, s);
	if (s->is_on && s->link->is_up && s->link->node->ops && s->link->node->ops->subscribed)
		s->link->node->ops->subscribed(s->link->node->ctx, s->handle, false);
	DL_DELETE(s->link->subscriptions, s);
	free(s);
	return NULL;
}

/* ---- nodes ---- */

const struct ble_node *ble_node_get(const struct ble *b, const char *id)
{
	for (struct fake_node *n = b->nodes; n; n = n->next)
		if (n->is_here && b->health == BLE_READY && strcmp(n->n.id, id) == 0)
			return &n->n;
	return NULL;
}

const struct ble_node *ble_node_next(const struct ble *b, const struct ble_node *after)
{
	struct fake_node *n = after ? ((struct fake_node *)after)->next : b->nodes; /* n is its first member */

	while (n && !n->is_here)
		n = n->next;
	return n ? &n->n : NULL;
}

size_t ble_node_count(const struct ble *b)
{
	size_t count = 0;

	for (const struct fake_node *n = b->nodes; n; n = n->next)
		count += n->is_here;
	return count;
}

enum ble_health ble_health(const struct ble *b) { return b->health; }

size_t ble_adapters(const struct ble *b, struct ble_adapter ret[static BLE_ADAPTERS_MAX])
{
	ret[0] = (struct ble_adapter){ .name = "hci0", .address = { 0, 0xaa, 1, 0, 0, 0 }, .is_powered = true, .n_links = b->n_up };
	return b->health == BLE_READY;
}

void ble_search_begin(struct ble *b) { b->n_searches++; }
void ble_search_end(struct ble *b) { b->n_searches--; }

int ble_pair(struct ble *b, const char *node, ble_done_fn *done, void *ctx)
{
	struct fake_node *n = b->nodes;

	while (n && strcmp(n->n.id, node) != 0)
		n = n->next;
	if (!n || !n->is_here)
		return -ENOENT;
	for (const struct ble_link *k = n->links; k; k = k->next)
		if (k->is_exclusive && !k->is_ended)
			return -EBUSY;
	n->n_pairs++;
	struct event *e = event_new(b, ACT_PAIRED, NULL);
	e->paired = done;
	e->ctx = ctx;
	e->error = n->pair_error;
	n->n.is_bonded |= n->pair_error == 0;
	return 0;
}

/* ---- whole daemons ---- */

static struct ble *last;

struct ble *fake_ble_last(void)
{
	return last;
}

struct ble *ble_new(struct loop *l, const char *bus, const struct ble_settings *s, const struct ble_ops *ops, void *ctx)
{
	struct ble *b = fake_ble_new(l);

	assert(!bus);
	b->ops = ops;
	b->ctx = ctx;
	ble_set(b, s);
	last = b;
	return b;
}

struct ble *ble_free(struct ble *b)
{
	if (b)
		fake_ble_free(b);
	last = NULL;
	return NULL;
}

void ble_set(struct ble *b, const struct ble_settings *s)
{
	b->settings = *s;
	b->n_settings++;
}

const struct ble_settings *fake_ble_settings(const struct ble *b, unsigned *ret_times)
{
	*ret_times = b->n_settings;
	return &b->settings;
}

int ble_unpair(struct ble *b, const char *node, ble_done_fn *done, void *ctx)
{
	(void)b;
	(void)node;
	(void)done;
	(void)ctx;
	return -ENOENT;                        /* nobody is bonded by this one */
}

int ble_passkey_answer(struct ble *b, const char *node, uint32_t passkey)
{
	(void)b;
	(void)node;
	(void)passkey;
	return -ENOENT;                        /* nobody asked */
}

void fake_node_heard(struct fake_node *n)
{
	n->n.seen_at = mono_now();
	n->b->ops->heard(n->b->ctx, &n->n);
}

void fake_node_asks(struct fake_node *n, uint32_t passkey, bool is_wanted)
{
	n->b->ops->passkey(n->b->ctx, &n->n, passkey, is_wanted);
}

/* ---- the test's side ---- */

struct ble *fake_ble_new(struct loop *l)
{
	struct ble *b = NEW(struct ble);

	b->loop = l;
	b->health = BLE_READY;
	b->timer = loop_timer_new(l, on_timer, b);
	b->turn = loop_timer_new(l, on_turn, b);
	return b;
}

void fake_ble_free(struct ble *b)
{
	struct fake_node *n, *tmp;
	struct event *e, *e_tmp;

	assert(b->n_links == 0);
	LL_FOREACH_SAFE(b->nodes, n, tmp)
		free(n);
	DL_FOREACH_SAFE(b->events, e, e_tmp)
		free(e);
	loop_timer_free(b->turn);
	loop_timer_free(b->timer);
	free(b);
}

unsigned fake_ble_searches(const struct ble *b) { return b->n_searches; }
size_t fake_ble_links(const struct ble *b) { return b->n_links; }

void fake_ble_set_turn(struct ble *b, int64_t ms)
{
	b->turn_ms = ms;
}

void fake_ble_set_slots(struct ble *b, unsigned slots)
{
	b->slots = slots;
	poke(b);
}

void fake_ble_set_health(struct ble *b, enum ble_health h)
{
	b->health = h;
	if (b->ops)
		b->ops->health(b->ctx, h);
	for (struct fake_node *n = b->nodes; n && h != BLE_READY; n = n->next)
		fake_node_end(n, -ENOTCONN);
	poke(b);
}

struct fake_node *fake_node_new(struct ble *b, const char *id, const struct fake_node_ops *ops, void *ctx)
{
	struct fake_node *n = NEW(struct fake_node);

	n->b = b;
	n->ops = ops;
	n->ctx = ctx;
	n->n.rssi = -60;
	n->n.seen_at = mono_now();
	assert(ble_id_parse(span_str(id), n->n.id) == 0);
	(void)text_parse_hex(span_str(n->n.id + 4), n->n.address, BLE_ADDRESS_BYTES); /* as parsed */
	LL_APPEND(b->nodes, n);
	return n;
}

uint16_t fake_node_offers(struct fake_node *n, const uint8_t *service, const uint8_t *characteristic, uint8_t properties)
{
	uint16_t handle = (uint16_t)(16 + 16 * n->n_characteristics);
	struct gatt_service *s = NULL;

	assert(n->n_characteristics < FAKE_CHARACTERISTICS_MAX);
	for (size_t i = 0; i < n->n_services; i++)
		if (memcmp(n->services[i].uuid, service, BLE_UUID_BYTES) == 0)
			s = &n->services[i];
	if (!s) {
		s = &n->services[n->n_services++];
		*s = (struct gatt_service){ .handle = handle, .is_primary = true };
		memcpy(s->uuid, service, BLE_UUID_BYTES);
	}
	struct gatt_characteristic *c = &n->characteristics[n->n_characteristics++];
	*c = (struct gatt_characteristic){ .handle = (uint16_t)(handle + 1), .service = s->handle, .properties = properties, .mtu = 517 };
	memcpy(c->uuid, characteristic, BLE_UUID_BYTES);
	return c->handle;
}

void fake_node_offers_nothing(struct fake_node *n)
{
	n->n_services = n->n_characteristics = 0;
}

void fake_node_end(struct fake_node *n, int error)
{
	for (struct ble_link *k = n->links; k; k = k->next)
		link_end(k, error);
}

void fake_node_show(struct fake_node *n, bool is_here)
{
	n->is_here = is_here;
	if (!is_here)
		fake_node_end(n, -ENOENT);
	if (n->b->ops)
		(is_here ? n->b->ops->node : n->b->ops->gone)(n->b->ctx, &n->n);
	poke(n->b);
}

void fake_node_notify(struct fake_node *n, uint16_t handle, struct span value)
{
	assert(value.n <= GATT_VALUE_BYTES_MAX);
	for (struct ble_link *k = n->links; k; k = k->next)
		for (struct gatt_subscription *s = k->is_up ? k->subscriptions : NULL; s; s = s->next) {
			if (!s->is_on || s->handle != handle)
				continue;
			struct event *e = event_new(k->b, ACT_VALUE, k);
			e->subscription = s;
			e->n = value.n;
			memcpy(e->value, value.p, value.n);
		}
}
