#include "delivery/smp_target_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { AGAIN_MS = 500, DEVICE_KEY_BYTES = DEVICE_ID_BYTES + 8 };

struct smp_target *smp_target_find(struct smp_driver *p, const char *device)
{
	struct smp_target *t;

	HASH_FIND_STR(p->targets, device, t);
	return t;
}

struct smp_known *smp_known_get(struct smp_driver *p, const char *device)
{
	struct smp_known *k;

	HASH_FIND_STR(p->known, device, k);
	return k;
}

/* Only those that are not as the newest are worth remembering. */
static void known_put(struct smp_driver *p, const char *device, enum smp_version v, bool only_whole)
{
	struct smp_known *k = smp_known_get(p, device);

	if (!k && v == SMP_V2 && !only_whole)
		return;
	if (!k && HASH_COUNT(p->known) >= SMP_KNOWN_MAX) { /* the head is the oldest */
		struct smp_known *old = p->known;

		HASH_DEL(p->known, old);
		free(old);
	}
	if (!k) {
		k = NEW(struct smp_known);
		(void)text_copy(k->device, sizeof(k->device), span_str(device)); /* same size */
		HASH_ADD_STR(p->known, device, k);
	}
	k->version = v;
	k->only_whole = only_whole;
}

/* ---- locks ---- */

static const char *device_key(const struct smp_target *t, char ret[static DEVICE_KEY_BYTES])
{
	(void)snprintf(ret, DEVICE_KEY_BYTES, "device %s", t->device); /* fits */
	return ret;
}

static void unlock(struct smp_target *t)
{
	char key[DEVICE_KEY_BYTES];

	if (t->is_locked)
		smp_lock_give(t->drv->c.lock, device_key(t, key));
	t->is_locked = false;
	if (t->node[0])
		smp_lock_give(t->drv->c.lock, t->node);
	t->node[0] = '\0';
}

/* One session a device and a node, whatever the carrier. */
static bool lock(struct smp_target *t, const char *node)
{
	char key[DEVICE_KEY_BYTES];

	if (t->node[0] && strcmp(t->node, node) != 0) { /* it has another address by now */
		smp_lock_give(t->drv->c.lock, t->node);
		t->node[0] = '\0';
	}
	if (!t->is_locked)
		t->is_locked = smp_lock_take(t->drv->c.lock, device_key(t, key));
	if (!t->is_locked || (!t->node[0] && !smp_lock_take(t->drv->c.lock, node)))
		return false;
	(void)text_copy(t->node, sizeof(t->node), span_str(node)); /* same size */
	return true;
}

const char *smp_target_device(const struct smp_target *t)
{
	return t->device;
}

/* ---- places ---- */

static bool is_active(const struct smp_target *t)
{
	return t->stage != SMP_STAGE_WAIT && t->stage != SMP_STAGE_ENDED;
}

/* The next that waits gets the place. */
static void place_give(struct smp_driver *p)
{
	p->n_active--;
	if (p->queue)
		loop_timer_set(p->queue->timer, 0);
}

static void dequeue(struct smp_target *t)
{
	if (t->is_queued)
		DL_DELETE(t->drv->queue, t);
	t->is_queued = false;
}

/* Everything it holds is given back. */
static void let_go(struct smp_target *t, enum smp_stage next)
{
	bool was_active = is_active(t);

	smp_target_machine_drop(t);
	smp_target_carrier_close(t);
	unlock(t);
	t->look = smp_look_cancel(t->look);
	if (t->reader.release)
		t->reader.release(t->reader.ctx);
	t->reader = (struct coap_body_reader){ 0 };
	dequeue(t);
	t->stage = next;
	if (was_active)
		place_give(t->drv);
}

void smp_target_quit(struct smp_target *t)
{
	let_go(t, SMP_STAGE_ENDED);
}

/* It comes again in so long, or, after heard_ms, when it is heard of. */
void smp_target_park(struct smp_target *t, int64_t ms, int64_t heard_ms)
{
	let_go(t, SMP_STAGE_WAIT);
	t->is_away = true;
	t->not_before = mono_add_ms(mono_now(), heard_ms);
	loop_timer_set(t->timer, ms);
}

static void target_drop(struct smp_target *t)
{
	smp_target_quit(t);
	HASH_DEL(t->drv->targets, t);
	loop_timer_free(t->again);
	loop_timer_free(t->timer);
	free(t);
}

/* It does not even begin, or cannot go on. */
void smp_target_refuse(struct smp_target *t, unsigned result, const char *reason)
{
	smp_target_quit(t);
	smp_target_report_set(t, OBJECT5_IDLE, result, false, reason);
}

/* ---- our own look at the image ---- */

static void on_looked(void *ctx, int error, const char *fault, const struct smp_looked *ret, struct coap_body_reader *reader)
{
	struct smp_target *t = ctx;

	t->look = NULL;
	t->reader = *reader;
	t->looked = *ret;
	if (fault) {
		smp_target_refuse(t, OBJECT5_PACKAGE, fault);
	} else if (error < 0) {
		t->reader.release(t->reader.ctx);
		t->reader = (struct coap_body_reader){ 0 };
		t->stage = SMP_STAGE_OPEN;
		loop_timer_set(t->timer, SMP_LATER_MS);
	} else {
		t->stage = SMP_STAGE_REACH;
		loop_timer_set(t->timer, 0);
	}
}

static void stage_open(struct smp_target *t)
{
	struct smp_driver *p = t->drv;
	struct coap_body_reader reader;

	if (t->n_images != 1) {
		smp_target_refuse(t, OBJECT5_PACKAGE, "SMP delivers updates of one image");
		return;
	}
	int r = p->c.source.open_image(p->c.source.ctx, &t->manifest, &t->image.digest, &reader);
	if (r < 0) {
		loop_timer_set(t->timer, r == -EAGAIN ? AGAIN_MS : SMP_LATER_MS); /* withdrawn: the order will be cancelled */
		return;
	}
	r = smp_look_begin(p->c.workers, &reader, on_looked, t, &t->look);
	if (r < 0) {
		if (reader.release)
			reader.release(reader.ctx);
		loop_timer_set(t->timer, SMP_LATER_MS);
		return;
	}
	t->stage = SMP_STAGE_LOOK;
}

/* ---- on the way to the node ---- */

static unsigned result_of_down(int error)
{
	return error == -EPROTONOSUPPORT ? OBJECT5_PROTOCOL : error == -EACCES ? OBJECT5_FAILED : OBJECT5_URI;
}

/* Open the carrier; a failure comes back as smp_target_down() does. */
void smp_target_reach(struct smp_target *t)
{
	struct smp_driver *p = t->drv;
	char node[SMP_NODE_KEY_BYTES];
	const char *why = "";

	int r = p->ops->node(p->ctx, t->device, node, &why);
	if (r == -EDESTADDRREQ || r == -EINVAL) {
		smp_target_refuse(t, result_of_down(r), why);
		return;
	}
	if (r < 0 || !lock(t, node)) {         /* its interface may come back; who talks to it will be done */
		smp_target_park(t, SMP_LATER_MS, SMP_LATER_MS);
		return;
	}
	t->down_error = 0;
	r = p->ops->open(p->ctx, t, t->node, t->is_fresh, &t->carrier);
	if (r < 0)
		smp_target_down(t, r, strerror(-r));
	else
		t->is_open = true;
}

static bool is_there(struct smp_target *t)
{
	struct smp_driver *p = t->drv;
	char node[SMP_NODE_KEY_BYTES];
	const char *why;

	return !p->ops->is_there || p->ops->node(p->ctx, t->device, node, &why) < 0 || p->ops->is_there(p->ctx, node);
}

static void stage_wait(struct smp_target *t)
{
	struct smp_driver *p = t->drv;

	if (!is_there(t)) {
		dequeue(t);
		if (!t->is_away)
			log_fields(EV_BLE_NODE, LOG_INFO, ({ "GW_DEVICE", t->device }, { "GW_JOB", t->job }),
				   "device %s is not in range: job %.12s waits until it is heard", t->device, t->job);
		t->is_away = true;
		loop_timer_set(t->timer, -1);  /* heard of, it wakes */
		if (p->queue && p->n_active < SMP_ACTIVE_MAX)
			loop_timer_set(p->queue->timer, 0);
		return;
	}
	if (p->n_active >= SMP_ACTIVE_MAX) {
		if (!t->is_queued)
			DL_APPEND(p->queue, t);
		t->is_queued = true;           /* whoever gives a place back wakes it */
		return;
	}
	dequeue(t);
	t->is_away = false;
	p->n_active++;
	t->stage = SMP_STAGE_OPEN;
	if (p->queue && p->n_active < SMP_ACTIVE_MAX)
		loop_timer_set(p->queue->timer, 0);
	stage_open(t);
}

static void stage_reach(struct smp_target *t)
{
	if (t->down_error)
		smp_target_was_down(t);
	else if (t->is_up)
		smp_target_begin(t);
	else if (!t->is_open && !loop_timer_armed(t->again))
		smp_target_reach(t);
	else if (t->upload)
		smp_target_run(t);             /* its deadline */
}

static void on_timer(void *ctx)
{
	struct smp_target *t = ctx;

	if (t->has_report) {
		if (t->upload && smp_upload_is_done(t->upload))
			smp_target_quit(t);
		smp_target_report_give(t);
		return;
	}
	switch (t->stage) {
	case SMP_STAGE_WAIT:
		stage_wait(t);
		break;
	case SMP_STAGE_OPEN:
		stage_open(t);
		break;
	case SMP_STAGE_LOOK:
		break;
	case SMP_STAGE_REACH:
		stage_reach(t);
		break;
	case SMP_STAGE_RUN:
		if (t->down_error)
			smp_target_was_down(t);
		else
			smp_target_run(t);
		break;
	case SMP_STAGE_ENDED:
		break;
	}
}

/* ---- the driver ---- */

static int on_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct smp_driver *p = (struct smp_driver *)drv;
	struct smp_target *t = smp_target_find(p, order->device);

	if (t && strcmp(t->job, order->job) == 0 && digest_eq(&t->manifest, &order->manifest))
		return 0;                      /* under way */
	if (t)
		target_drop(t);
	t = NEW(struct smp_target);
	memcpy(t->device, order->device, sizeof(t->device));
	memcpy(t->job, order->job, sizeof(t->job));
	t->drv = p;
	t->serial = ++p->serial;
	t->manifest = order->manifest;
	t->sequence = order->sequence;
	t->n_images = order->n_images;
	if (order->n_images)
		t->image = order->images[0];
	t->was_applying = order->state == JOB_APPLYING;
	t->timer = loop_timer_new(p->c.loop, on_timer, t);
	t->again = loop_timer_new(p->c.loop, smp_target_on_again, t);
	HASH_ADD_STR(p->targets, device, t);
	loop_timer_set(t->timer, 0);
	return 0;
}

static void on_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct smp_driver *p = (struct smp_driver *)drv;
	struct smp_target *t = smp_target_find(p, device);

	if (t && strcmp(t->job, job) == 0)
		target_drop(t);
}

static struct delivery_driver *on_close(struct delivery_driver *drv)
{
	struct smp_driver *p = (struct smp_driver *)drv;
	struct smp_target *t, *tmp;
	struct smp_known *k, *k_tmp;

	HASH_ITER(hh, p->targets, t, tmp)
		target_drop(t);
	HASH_ITER(hh, p->known, k, k_tmp) {
		HASH_DEL(p->known, k);
		free(k);
	}
	p->ops->done(p->ctx);
	free(p);
	return NULL;
}

void smp_driver_set(struct delivery_driver *drv, const struct smp_settings *s)
{
	((struct smp_driver *)drv)->c.settings = *s;
}

void *smp_driver_carrier(struct delivery_driver *drv)
{
	return ((struct smp_driver *)drv)->ctx;
}

void smp_driver_heard(struct delivery_driver *drv, const char *device)
{
	struct smp_target *t = smp_target_find((struct smp_driver *)drv, device);

	if (t && t->stage == SMP_STAGE_WAIT && t->is_away && !t->is_queued && !mono_before(mono_now(), t->not_before))
		loop_timer_set(t->timer, 0);
}

/* The machine is put away; how the node speaks is remembered. */
void smp_target_machine_drop(struct smp_target *t)
{
	if (!t->upload)
		return;
	known_put(t->drv, t->device, smp_upload_version(t->upload), smp_upload_only_whole(t->upload));
	t->upload = smp_upload_free(t->upload);
	t->goes_on = t->is_reporting = t->asks_revision = false;
	t->serial = ++t->drv->serial;          /* what is being persisted was its */
}

int smp_driver_open(const struct smp_driver_config *c, const struct smp_carrier_ops *ops, void *ctx, struct delivery_driver **ret)
{
	struct smp_driver *p = NEW(struct smp_driver);

	p->as_driver = (struct delivery_ops){ .name = ops->name, .start = on_start, .cancel = on_cancel, .close = on_close };
	p->driver.ops = &p->as_driver;
	p->c = *c;
	p->ops = ops;
	p->ctx = ctx;
	*ret = &p->driver;
	return 0;
}
