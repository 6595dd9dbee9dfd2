#include "delivery/nordic_dfu_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

enum { REPORT_AGAIN_MS = 2000, VERSION_BYTES = 12 };

static struct nordic_target *target_find(struct nordic_dfu *p, const char *device)
{
	struct nordic_target *t;

	HASH_FIND_STR(p->targets, device, t);
	return t;
}

/* ---- places ---- */

/* The next that waits is asked whether it is heard. */
static void place_give(struct nordic_target *mine)
{
	struct nordic_target *t, *tmp;

	if (!mine->has_place)
		return;
	mine->has_place = false;
	mine->drv->n_active--;
	HASH_ITER(hh, mine->drv->targets, t, tmp)
		if (t != mine && t->stage == ND_PARKED)
			loop_timer_set(t->timer, 0);
}

static void target_release(struct nordic_target *t)
{
	nordic_link_close(t);
	nordic_search_end(t);
	t->is_seeking = t->is_entering = false;
	t->upload = nordic_upload_free(t->upload);
	if (t->has_package)
		nordic_package_done(&t->package);
	t->has_package = false;
	place_give(t);
}

static void target_quit(struct nordic_target *t)
{
	target_release(t);
	t->todo = ND_NOTHING;
	t->stage = ND_ENDED;
	loop_timer_set(t->timer, -1);
}

static void target_drop(struct nordic_target *t)
{
	target_quit(t);
	HASH_DEL(t->drv->targets, t);
	loop_timer_free(t->timer);
	loop_timer_free(t->report_timer);
	free(t);
}

void nordic_target_park(struct nordic_target *t)
{
	target_release(t);
	t->stage = ND_PARKED;
	t->since = mono_now();                 /* heard of anew, that is */
	loop_timer_set(t->timer, nordic_pace_ms(t, ND_PARK_MS));
}

void nordic_target_todo(struct nordic_target *t, enum nd_todo what)
{
	if (what > t->todo)
		t->todo = what;
	loop_timer_set(t->timer, 0);
}

/* ---- answers that come later ---- */

struct errand {
	struct nordic_dfu *drv;
	char device[DEVICE_ID_BYTES];
	uint64_t serial;
	/* of a package */
	struct coap_body_reader reader;
	struct nordic_package package;
	int error;                             /* reading */
	int fault;                             /* what was read */
	char reason[NORDIC_REASON_BYTES];
};

static struct errand *errand_new(struct nordic_target *t)
{
	struct errand *e = NEW(struct errand);

	e->drv = t->drv;
	e->serial = t->serial;
	(void)text_copy(e->device, sizeof(e->device), span_str(t->device)); /* same size */
	t->drv->n_errands++;
	return e;
}

/* Its target, if it is still the same; the last errand of a closed driver frees that. */
static struct nordic_target *errand_end(struct errand *e)
{
	struct nordic_dfu *p = e->drv;
	struct nordic_target *t = p->is_closed ? NULL : target_find(p, e->device);

	p->n_errands--;
	if (p->is_closed && p->n_errands == 0)
		free(p);
	return t && t->serial == e->serial ? t : NULL;
}

/* ---- reports ---- */

/* May come at once, from within sink.report(); that is never called by the machine. */
static void report_done(void *arg, int error)
{
	struct errand *e = arg;
	struct nordic_target *t = errand_end(e);

	free(e);
	if (!t)
		return;
	t->is_reporting = false;
	if (error == -ENOENT) {                /* nobody wants it any more */
		t->has_report = false;
		nordic_target_todo(t, ND_QUIT);
	} else if (t->has_report) {            /* there is news meanwhile */
		loop_timer_set(t->report_timer, 0);
	} else if (error < 0) {
		t->has_report = true;
		loop_timer_set(t->report_timer, REPORT_AGAIN_MS);
	} else if (t->upload && t->todo == ND_NOTHING) {
		nordic_upload_go(t->upload, mono_now());
		nordic_link_arm(t);
	}
}

static void on_report(void *ctx)
{
	struct nordic_target *t = ctx;
	struct node_report r = { .manifest_digest = t->manifest, .state = t->state, .result = t->result, .reason = span_str(t->reason),
				 .has_sequence = t->result == OBJECT5_OK, .sequence = t->sequence };

	if (!t->has_report || t->is_reporting)
		return;
	if (t->result == OBJECT5_OK)
		r.version = span_str(t->revision);
	t->has_report = false;
	t->is_reporting = true;
	t->drv->c.sink.report(t->drv->c.sink.ctx, t->device, &r, report_done, errand_new(t));
}

void nordic_target_report(struct nordic_target *t, unsigned state, unsigned result, const char *reason)
{
	t->state = state;
	t->result = result;
	(void)text_copy(t->reason, sizeof(t->reason), span_sub(span_str(reason), 0, sizeof(t->reason) - 1)); /* clipped for people */
	t->has_report = true;
	loop_timer_set(t->report_timer, 0);
}

void nordic_target_refuse(struct nordic_target *t, unsigned result, const char *fmt, ...)
{
	char reason[NORDIC_REASON_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(reason, sizeof(reason), fmt, ap); /* clipped for people */
	va_end(ap);
	nordic_target_report(t, OBJECT5_IDLE, result, reason);
	t->stage = ND_ENDED;
	nordic_target_todo(t, ND_QUIT);
}

/* The node was seen to run its application. What it says its version is goes to the record; else the init packet's number does. */
static void target_runs(struct nordic_target *t)
{
	const struct nordic_part *last = &t->package.parts[t->package.n_parts - 1];
	bool is_same = t->revision[0] && strcmp(t->revision, t->revision_before) == 0;

	if (!t->revision[0] && last->has_version)
		(void)snprintf(t->revision, sizeof(t->revision), "%u", last->version); /* fits */
	nordic_target_report(t, OBJECT5_IDLE, OBJECT5_OK, is_same ? "it runs; its firmware revision is as before" : "");
	target_quit(t);
}

/* ---- the package ---- */

/* [worker] */
static void load_work(void *arg)
{
	struct errand *e = arg;
	_cleanup_free_ uint8_t *b = malloc(e->reader.bytes ? e->reader.bytes : 1);

	e->error = b ? e->reader.read(e->reader.ctx, 0, b, e->reader.bytes) : -ENOMEM;
	if (e->error >= 0)
		e->fault = nordic_package_open(SPAN(b, e->reader.bytes), &e->package, e->reason);
}

static void load_done(void *arg)
{
	struct errand *e = arg;
	struct nordic_target *t = errand_end(e);

	if (e->reader.release)
		e->reader.release(e->reader.ctx);
	if (!t || !t->is_loading || t->stage != ND_LOAD || e->error < 0 || e->fault < 0) {
		nordic_package_done(&e->package);
	} else {
		t->package = e->package;
		t->has_package = true;
	}
	if (t && t->is_loading && t->stage == ND_LOAD) {
		if (!t->has_package && e->error >= 0 && e->fault != -ENOMEM)
			nordic_target_refuse(t, OBJECT5_PACKAGE, "%s", e->reason);
		else
			loop_timer_set(t->timer, t->has_package ? 0 : ND_AGAIN_MS);
	}
	if (t)
		t->is_loading = false;
	free(e);
}

static void load(struct nordic_target *t)
{
	struct coap_body_reader reader = { 0 };

	int r = t->drv->c.source.open_image(t->drv->c.source.ctx, &t->manifest, &t->image.digest, &reader);
	if (r < 0) {
		loop_timer_set(t->timer, ND_AGAIN_MS);         /* not yet; or withdrawn: the order will be cancelled */
		return;
	}
	if (reader.bytes > NORDIC_PACKAGE_BYTES_MAX) {
		if (reader.release)
			reader.release(reader.ctx);
		nordic_target_refuse(t, OBJECT5_PACKAGE, "the package has more than %d bytes", NORDIC_PACKAGE_BYTES_MAX);
		return;
	}
	struct errand *e = errand_new(t);
	e->reader = reader;
	e->error = -ECANCELED;                 /* unless the work is done */
	t->is_loading = true;
	if (worker_submit(t->drv->c.workers, load_work, load_done, e) < 0) {
		t->is_loading = false;
		(void)errand_end(e);           /* the driver is open: its target is t */
		if (reader.release)
			reader.release(reader.ctx);
		free(e);
		loop_timer_set(t->timer, ND_AGAIN_MS);
	}
}

/* ---- stages ---- */

/* Which node it is, when nobody has said so yet; false: it ended by that. */
static bool is_found(struct nordic_target *t)
{
	if (t->own[0])
		return true;
	int r = nordic_find_begin(t);
	if (r == -EDESTADDRREQ)
		nordic_target_refuse(t, OBJECT5_URI, "the device has no address here: give it one (dormousectl devices add ID --address ble:AA:BB:CC:DD:EE:FF)");
	else if (r < 0)
		nordic_target_refuse(t, OBJECT5_URI, "the device's address is not one of Bluetooth (ble:AA:BB:CC:DD:EE:FF)");
	if (r < 0)
		t->own[0] = 0;
	return r == 0;
}

static void stage_parked(struct nordic_target *t)
{
	if (!t->drv->c.ble) {
		nordic_target_refuse(t, OBJECT5_FAILED, "Bluetooth is off here: enabled = true in [ble] of the configuration, then restart the gateway");
		return;
	}
	if (t->n_images != 1) {
		nordic_target_refuse(t, OBJECT5_PACKAGE, "Nordic DFU delivers updates of one image, the package");
		return;
	}
	if (!is_found(t))
		return;
	if (!nordic_find_heard(t) || t->drv->n_active >= NORDIC_DFU_ACTIVE_MAX) {
		loop_timer_set(t->timer, nordic_pace_ms(t, ND_PARK_MS));
		return;
	}
	t->has_place = true;
	t->drv->n_active++;
	t->stage = ND_LOAD;
	load(t);
}

static void stage_load(struct nordic_target *t)
{
	const char *node = nordic_find_heard(t);

	if (t->is_loading)
		return;
	if (!t->has_package) {
		load(t);
	} else if (t->package.is_legacy && !t->drv->c.is_permitted(t->drv->c.ctx, t->device)) {
		nordic_target_refuse(t, OBJECT5_PACKAGE, "Legacy DFU checks no signature: it needs a [[permit]] of kind \"legacy-dfu\" for the device");
	} else if (node) {
		/* What bluetoothd remembers may be from its bootloader; when it is forgotten the node has to be heard again. */
		t->aim = ND_BOOTLOADER;
		nordic_search_begin(t);
		nordic_reach(t, node, true);
	} else {
		nordic_target_park(t);
	}
}

static void todo_do(struct nordic_target *t, enum nd_todo what)
{
	switch (what) {
	case ND_NOTHING:
		break;
	case ND_LOOK:
		nordic_link_look(t);
		break;
	case ND_LOST:
		nordic_link_lost(t);
		break;
	case ND_RELINK:
		nordic_seek(t, ND_BOOTLOADER, false);
		break;
	case ND_RESTARTED:
		nordic_seek(t, ND_BOOTLOADER, true);
		break;
	case ND_ACTIVATED:
		nordic_seek(t, ND_APPLICATION, true);
		break;
	case ND_RUNS:
		target_runs(t);
		break;
	case ND_QUIT:
		target_quit(t);
		break;
	}
}

static void on_timer(void *ctx)
{
	struct nordic_target *t = ctx;
	enum nd_todo what = t->todo;

	t->todo = ND_NOTHING;
	if (what != ND_NOTHING) {
		todo_do(t, what);
		return;
	}
	switch (t->stage) {
	case ND_PARKED:
		stage_parked(t);
		break;
	case ND_LOAD:
		stage_load(t);
		break;
	case ND_SEEK:
		nordic_seek_step(t);
		break;
	case ND_REACH:
	case ND_ASK:
	case ND_ENTER:
	case ND_UPLOAD:
		nordic_link_late(t);
		break;
	case ND_ENDED:
		break;
	}
}

/* ---- the driver ---- */

static int on_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct nordic_dfu *p = (struct nordic_dfu *)drv;
	struct nordic_target *t = target_find(p, order->device);

	if (t && strcmp(t->job, order->job) == 0 && digest_eq(&t->manifest, &order->manifest))
		return 0;                      /* under way */
	if (t)
		target_drop(t);
	t = NEW(struct nordic_target);
	memcpy(t->device, order->device, sizeof(t->device));
	memcpy(t->job, order->job, sizeof(t->job));
	t->drv = p;
	t->serial = ++p->serial;
	t->manifest = order->manifest;
	t->sequence = order->sequence;
	t->n_images = order->n_images;
	if (order->n_images)
		t->image = order->images[0];
	t->rssi = BLE_RSSI_UNKNOWN;
	t->timer = loop_timer_new(p->c.loop, on_timer, t);
	t->report_timer = loop_timer_new(p->c.loop, on_report, t);
	HASH_ADD_STR(p->targets, device, t);
	loop_timer_set(t->timer, 0);
	return 0;
}

static void on_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct nordic_target *t = target_find((struct nordic_dfu *)drv, device);

	if (t && strcmp(t->job, job) == 0)
		target_drop(t);
}

static struct delivery_driver *on_close(struct delivery_driver *drv)
{
	struct nordic_dfu *p = (struct nordic_dfu *)drv;
	struct nordic_target *t, *tmp;

	HASH_ITER(hh, p->targets, t, tmp)
		target_drop(t);
	p->is_closed = true;
	if (p->n_errands == 0)
		free(p);                       /* else the last of them does */
	return NULL;
}

static const struct delivery_ops nordic_dfu_ops = { .name = "nordic-dfu", .start = on_start, .cancel = on_cancel, .close = on_close };

void nordic_dfu_set(struct delivery_driver *drv, const struct nordic_dfu_settings *s)
{
	((struct nordic_dfu *)drv)->c.settings = *s;
}

int nordic_dfu_open(const struct nordic_dfu_config *c, struct delivery_driver **ret)
{
	struct nordic_dfu *p = NEW(struct nordic_dfu);

	p->driver.ops = &nordic_dfu_ops;
	p->c = *c;
	*ret = &p->driver;
	return 0;
}
