#include "delivery/nordic_dfu_internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/metric.h"
#include "base/random.h"
#include "base/text.h"

#define NORDIC_UUID_(service_, n_) { (service_), 0xc9, 0x00, (n_), 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 }
#define LEGACY_UUID_(n_) { 0x00, 0x00, 0x15, (n_), 0x12, 0x12, 0xef, 0xde, 0x15, 0x23, 0x78, 0x5f, 0xea, 0xbc, 0xd1, 0x23 }
static const uint8_t uuid_control[BLE_UUID_BYTES] = NORDIC_UUID_(0x8e, 0x01), uuid_packet[BLE_UUID_BYTES] = NORDIC_UUID_(0x8e, 0x02);
static const uint8_t uuid_nameless[BLE_UUID_BYTES] = NORDIC_UUID_(0x8e, 0x03), uuid_bonded[BLE_UUID_BYTES] = NORDIC_UUID_(0x8e, 0x04);
static const uint8_t uuid_experimental[BLE_UUID_BYTES] = { 0x8e, 0x40, 0x00, 0x01, 0xf3, 0x15, 0x4f, 0x60, 0x9f, 0xb8, 0x83, 0x88, 0x30, 0xda, 0xea, 0x50 };
static const uint8_t uuid_legacy_control[BLE_UUID_BYTES] = LEGACY_UUID_(0x31), uuid_legacy_packet[BLE_UUID_BYTES] = LEGACY_UUID_(0x32);
static const uint8_t uuid_legacy_version[BLE_UUID_BYTES] = LEGACY_UUID_(0x34);
static const uint8_t uuid_information[BLE_UUID_BYTES] = GATT_UUID16(0x180a), uuid_revision[BLE_UUID_BYTES] = GATT_UUID16(0x2a26);

enum { LEGACY_VERSION_APPLICATION = 1 };       /* "0.1": an application that can jump into its bootloader */
enum { BUTTONLESS_OK = 1, BUTTONLESS_NOT_BONDED = 7 };
static const uint8_t legacy_jump[] = { 0x01, 0x04 };

static void ask_revision(struct nordic_target *t);
static void act(struct nordic_target *t);

/* ---- reaching it ---- */

static void on_link_ready(void *ctx)
{
	nordic_target_todo(ctx, ND_LOOK);
}

static void on_link_ended(void *ctx, int error, const char *why)
{
	struct nordic_target *t = ctx;

	t->link_error = error;
	(void)text_copy(t->link_why, sizeof(t->link_why), span_sub(span_str(why), 0, sizeof(t->link_why) - 1)); /* clipped for people */
	nordic_target_todo(t, ND_LOST);
}

void nordic_reach(struct nordic_target *t, const char *node, bool is_fresh)
{
	static const struct ble_link_ops ops = { .ready = on_link_ready, .ended = on_link_ended };
	char id[BLE_ID_BYTES];
	struct ble_link_wish w = { .node = id, .owner = "nordic-dfu", .is_exclusive = true, .is_fresh = is_fresh, .wait_s = ND_REACH_S };

	(void)text_copy(id, sizeof(id), span_str(node)); /* same size; node may be at itself */
	nordic_link_close(t);
	memcpy(t->at, id, sizeof(t->at));
	t->stage = ND_REACH;
	t->link_error = 0;
	int r = ble_link_open(t->drv->c.ble, &w, &ops, t, &t->link);
	if (r < 0) {
		t->link = NULL;
		t->link_error = r;
		(void)snprintf(t->link_why, sizeof(t->link_why), "%s", r == -EBUSY ? "somebody else talks to the node" : "no link can be had"); /* fits */
		nordic_link_lost(t);
		return;
	}
	loop_timer_set(t->timer, (ND_REACH_S + 60) * 1000);    /* it ends by itself before */
}

void nordic_link_close(struct nordic_target *t)
{
	if (t->upload)
		nordic_upload_unlink(t->upload);
	t->subscription = NULL;                /* they go with the link */
	t->stream = NULL;
	t->link = ble_link_close(t->link);
	t->is_naming = false;
}

/* The link is gone, or did not come. */
void nordic_link_lost(struct nordic_target *t)
{
	bool is_first = t->stage != ND_UPLOAD && !t->is_entering && !t->is_seeking;

	nordic_link_close(t);
	if (t->link_error == -EACCES)
		nordic_target_refuse(t, OBJECT5_FAILED, "the node wants to be paired with, which is not allowed (ble.pairing): %s", t->link_why);
	else if (is_first)
		nordic_target_park(t);
	else if (t->stage == ND_UPLOAD || t->stage == ND_ENTER)
		nordic_seek(t, ND_BOOTLOADER, t->is_entering);
	else
		nordic_seek_again(t);
}

/* ---- what it is ---- */

static const struct gatt_characteristic *find(const struct nordic_target *t, const uint8_t *uuid)
{
	return gatt_find(t->link, NULL, uuid);
}

static void use(struct nordic_target *t, enum nd_kind kind, enum nd_way way, const struct gatt_characteristic *control,
		const struct gatt_characteristic *packet)
{
	t->kind = kind;
	t->way = way;
	t->control = control->handle;
	t->packet = packet ? packet->handle : 0;
}

/* Legacy DFU's service is the same in the bootloader and in an application that can jump: the version tells. */
static void on_legacy_version(void *ctx, int error, struct span value)
{
	struct nordic_target *t = ctx;

	if (error == 0 && value.n >= 2 && (value.p[0] | value.p[1] << 8) == LEGACY_VERSION_APPLICATION)
		t->kind = ND_LEGACY_APP;
	ask_revision(t);
}

void nordic_link_look(struct nordic_target *t)
{
	const struct gatt_characteristic *control = find(t, uuid_control), *packet = find(t, uuid_packet), *version = NULL, *way;
	const struct gatt_characteristic *legacy = find(t, uuid_legacy_control), *legacy_packet = find(t, uuid_legacy_packet);

	t->stage = ND_ASK;
	t->kind = ND_OTHER;
	loop_timer_set(t->timer, ND_STEP_MS);
	if (control && packet) {
		use(t, ND_SECURE_BOOT, ND_NAMELESS, control, packet);
	} else if ((way = find(t, uuid_bonded))) {
		use(t, ND_SECURE_APP, ND_BONDED, way, NULL);
	} else if ((way = find(t, uuid_nameless))) {
		use(t, ND_SECURE_APP, ND_NAMELESS, way, NULL);
	} else if ((way = find(t, uuid_experimental))) {
		use(t, ND_SECURE_APP, ND_EXPERIMENTAL, way, NULL);
	} else if (legacy) {                   /* an application that jumps need not have a packet characteristic */
		use(t, legacy_packet ? ND_LEGACY_BOOT : ND_LEGACY_APP, ND_LEGACY, legacy, legacy_packet);
		version = find(t, uuid_legacy_version);
	}
	if (!version || gatt_read(t->link, version->handle, on_legacy_version, t) < 0)
		ask_revision(t);
}

static void on_revision(void *ctx, int error, struct span value)
{
	struct nordic_target *t = ctx;

	while (value.n && value.p[value.n - 1] == 0)
		value.n--;
	t->revision[0] = 0;
	if (error == 0 && value.n < sizeof(t->revision) && text_is_clean(value))
		(void)text_copy(t->revision, sizeof(t->revision), value); /* fits, as looked at */
	act(t);
}

/* An application's firmware revision, where it tells. */
static void ask_revision(struct nordic_target *t)
{
	const struct gatt_characteristic *c = gatt_find(t->link, uuid_information, uuid_revision);
	bool is_boot = t->kind == ND_SECURE_BOOT || t->kind == ND_LEGACY_BOOT;

	t->revision[0] = 0;
	if (is_boot || !c || gatt_read(t->link, c->handle, on_revision, t) < 0)
		act(t);
}

/* ---- into the bootloader ---- */

static void write_control(struct nordic_target *t, struct span value);

static void enter(struct nordic_target *t)
{
	uint8_t out[NORDIC_REQUEST_BYTES_MAX];

	t->is_naming = false;
	t->is_entering = true;
	if (t->way == ND_LEGACY)
		write_control(t, SPAN_OF(legacy_jump));
	else
		write_control(t, SPAN(out, nordic_enter_encode(out)));
}

/* Without bonds its bootloader shows up at another address: it gets a name that no other has. */
static void name_it(struct nordic_target *t)
{
	uint8_t out[NORDIC_REQUEST_BYTES_MAX];

	(void)snprintf(t->name, sizeof(t->name), "Dfu%05u", (unsigned)random_below(100000)); /* fits */
	t->is_naming = true;
	size_t n = nordic_name_encode(span_str(t->name), out);
	write_control(t, SPAN(out, n));
}

static void on_entry_ready(void *ctx, int error)
{
	struct nordic_target *t = ctx;

	if (error) {
		on_link_ended(t, error, "notifications of the DFU service cannot be had");
		return;
	}
	loop_timer_set(t->timer, ND_STEP_MS);
	if (t->way == ND_NAMELESS)
		name_it(t);
	else
		enter(t);
}

static void on_entry_value(void *ctx, struct span value)
{
	struct nordic_target *t = ctx;
	uint8_t op, result;

	if (t->way == ND_LEGACY || nordic_buttonless_decode(value, &op, &result) < 0)
		return;
	if (op == NORDIC_SET_NAME && t->is_naming) {
		if (result != BUTTONLESS_OK)
			t->name[0] = 0;        /* older ones know no names */
		enter(t);
	} else if (op == NORDIC_ENTER && t->is_entering && result != BUTTONLESS_OK) {
		t->is_entering = false;
		nordic_target_refuse(t, OBJECT5_FAILED, result == BUTTONLESS_NOT_BONDED ?
				     "the node does not go into its bootloader: it wants to be paired with first (result %u)" :
				     "the node does not go into its bootloader (result %u)", result);
	} else if (op == NORDIC_ENTER && t->is_entering) {
		loop_timer_set(t->timer, nordic_pace_ms(t, ND_AGAIN_MS));         /* it restarts; if it does not hang up, we do */
	}
}

static void enter_begin(struct nordic_target *t)
{
	static const struct gatt_subscription_ops ops = { .ready = on_entry_ready, .value = on_entry_value };
	const struct ble_node *n = ble_node_get(t->drv->c.ble, t->own);

	if (t->n_entries++ >= NORDIC_DFU_ENTRIES_MAX) {
		nordic_target_refuse(t, OBJECT5_FAILED, "the node was sent into its bootloader %d times, and runs its application", NORDIC_DFU_ENTRIES_MAX);
		return;
	}
	t->stage = ND_ENTER;
	t->is_entering = false;
	t->name[0] = t->boot[0] = 0;
	t->rssi = n ? n->rssi : BLE_RSSI_UNKNOWN;
	if (!t->revision_before[0])            /* the first time it is the old one for sure */
		memcpy(t->revision_before, t->revision, sizeof(t->revision));
	nordic_find_neighbours(t);
	loop_timer_set(t->timer, ND_STEP_MS);
	int r = gatt_subscribe(t->link, t->control, &ops, t, &t->subscription);
	if (r < 0)
		on_link_ended(t, r, "notifications of the DFU service cannot be had");
}

/* ---- the machine's world ---- */

static void on_written(void *ctx, int error, struct span value)
{
	struct nordic_target *t = ctx;

	(void)value;
	if (error) {
		on_link_ended(t, error, "a write to the DFU service failed");
	} else if (t->stage == ND_UPLOAD) {
		nordic_upload_written(t->upload, mono_now());
		nordic_link_arm(t);
	} else if (t->stage == ND_ENTER && t->way == ND_LEGACY) {
		loop_timer_set(t->timer, nordic_pace_ms(t, ND_AGAIN_MS));
	}
}

static void write_control(struct nordic_target *t, struct span value)
{
	int r = gatt_write(t->link, t->control, value, true, on_written, t);

	if (r < 0)
		on_link_ended(t, r, "nothing can be written to the DFU service");
}

static void on_control(void *ctx, struct span value)
{
	struct nordic_target *t = ctx;

	if (t->link)
		write_control(t, value);
}

static int on_packet(void *ctx, struct span value)
{
	struct nordic_target *t = ctx;

	return t->stream ? gatt_stream_send(t->stream, value) : -ENOTCONN;
}

static void on_progress(struct nordic_target *t)
{
	uint64_t at = nordic_upload_offset(t->upload);

	if (at > t->told_bytes)
		metric_add(METRIC_IMAGE_BYTES_SENT, (int64_t)(at - t->told_bytes));
	t->told_bytes = at;
	t->drv->c.sink.progress(t->drv->c.sink.ctx, t->job, at, nordic_package_bytes(&t->package));
}

static void on_event(void *ctx, enum nordic_event ev)
{
	struct nordic_target *t = ctx;

	switch (ev) {
	case NORDIC_EV_PROGRESS:
		on_progress(t);
		break;
	case NORDIC_EV_TRANSFERRED:
		nordic_target_report(t, OBJECT5_DOWNLOADED, OBJECT5_INITIAL, "");
		break;
	case NORDIC_EV_APPLYING:
		nordic_target_report(t, OBJECT5_UPDATING, OBJECT5_INITIAL, "");
		break;
	case NORDIC_EV_RESTARTS:
		nordic_target_todo(t, ND_RESTARTED);
		break;
	case NORDIC_EV_DONE:
		nordic_target_todo(t, ND_ACTIVATED);
		break;
	case NORDIC_EV_AGAIN:
		nordic_target_todo(t, ND_RELINK);
		break;
	case NORDIC_EV_FAILED:
		nordic_target_refuse(t, nordic_upload_result(t->upload), "%s", nordic_upload_reason(t->upload));
		break;
	}
}

void nordic_link_arm(struct nordic_target *t)
{
	if (t->stage == ND_UPLOAD && t->todo == ND_NOTHING)
		loop_timer_set(t->timer, nordic_upload_wait_ms(t->upload, mono_now()));
}

static void on_stream_ready(void *ctx, int error, size_t chunk_max)
{
	struct nordic_target *t = ctx;

	if (error == -EBUSY) {
		nordic_target_refuse(t, OBJECT5_FAILED, "another program on this machine holds the node's DFU service");
		return;
	}
	if (error) {
		on_link_ended(t, error, "packets cannot be sent");
		return;
	}
	nordic_upload_link(t->upload, chunk_max, mono_now());
	nordic_link_arm(t);
}

static void on_stream_writable(void *ctx)
{
	struct nordic_target *t = ctx;

	nordic_upload_writable(t->upload, mono_now());
	nordic_link_arm(t);
}

static void on_upload_ready(void *ctx, int error)
{
	static const struct gatt_stream_ops ops = { .ready = on_stream_ready, .writable = on_stream_writable };
	struct nordic_target *t = ctx;
	int r = error ? error : gatt_stream_open(t->link, t->packet, &ops, t, &t->stream);

	if (r < 0)
		on_link_ended(t, r, "the DFU service cannot be used");
}

static void on_upload_value(void *ctx, struct span value)
{
	struct nordic_target *t = ctx;

	nordic_upload_receive(t->upload, value, mono_now());
	nordic_link_arm(t);
}

static void upload_begin(struct nordic_target *t)
{
	static const struct gatt_subscription_ops ops = { .ready = on_upload_ready, .value = on_upload_value };
	const struct nordic_upload_ops machine = { .control = on_control, .packet = on_packet, .event = on_event, .ctx = t };
	struct nordic_upload_config c = { .prn = t->drv->c.settings.prn, .answer_ms = t->drv->c.settings.answer_ms };

	nordic_search_end(t);
	t->is_seeking = false;
	memcpy(t->boot, t->at, sizeof(t->boot));
	t->stage = ND_UPLOAD;
	t->is_entering = false;
	if (!t->upload)
		t->upload = nordic_upload_new(&c, &t->package, &machine);
	loop_timer_set(t->timer, ND_STEP_MS);
	int r = gatt_subscribe(t->link, t->control, &ops, t, &t->subscription);
	if (r < 0)
		on_link_ended(t, r, "notifications of the DFU service cannot be had");
}

/* ---- what to do with what was found ---- */

/* Whether the package and the permit allow to go on with this node. */
static bool may_update(struct nordic_target *t)
{
	bool is_legacy = t->kind == ND_LEGACY_BOOT || t->kind == ND_LEGACY_APP;

	if (is_legacy != t->package.is_legacy) {
		nordic_target_refuse(t, OBJECT5_PACKAGE, is_legacy ? "the node knows Legacy DFU only, the package is for Secure DFU" :
				     "the node wants Secure DFU, the package is for Legacy DFU: it has no signature");
		return false;
	}
	if (!is_legacy)
		return true;
	if (!t->drv->c.is_permitted(t->drv->c.ctx, t->device)) {
		nordic_target_refuse(t, OBJECT5_PACKAGE, "Legacy DFU checks no signature: it needs a [[permit]] of kind \"legacy-dfu\" for the device");
		return false;
	}
	if (!t->is_used)
		t->drv->c.used(t->drv->c.ctx, t->device, t->job);
	t->is_used = true;
	return true;
}

/* The link ended while the image was being activated. An application that runs now may still be the old one, unless it says that it is
 * not: then the node goes into its bootloader again, which tells what it has. */
static bool is_news(const struct nordic_target *t)
{
	return t->upload && nordic_upload_was_activated(t->upload) && t->revision[0] && t->revision_before[0] &&
	       strcmp(t->revision, t->revision_before) != 0;
}

static void act(struct nordic_target *t)
{
	bool is_boot = t->kind == ND_SECURE_BOOT || t->kind == ND_LEGACY_BOOT, is_own = strcmp(t->at, t->own) == 0;
	bool is_application = is_own && !is_boot && gatt_service_at(t->link, 0);

	if (t->todo != ND_NOTHING)
		return;                        /* the link ended meanwhile */
	if (t->aim == ND_APPLICATION || (is_application && is_news(t))) {
		if (is_application)
			nordic_target_todo(t, ND_RUNS);
		else
			nordic_seek_again(t);
	} else if (is_boot) {
		if (may_update(t))
			upload_begin(t);
	} else if (!is_own) {
		nordic_find_is_not(t, t->at);
		if (t->is_seeking)
			nordic_seek_again(t);
		else
			nordic_target_park(t);
	} else if (t->kind == ND_SECURE_APP || t->kind == ND_LEGACY_APP) {
		if (may_update(t))
			enter_begin(t);
	} else if (t->is_seeking) {
		nordic_seek_again(t);
	} else {
		nordic_target_refuse(t, OBJECT5_PROTOCOL, "the node offers no DFU service of Nordic's: neither a bootloader nor a way into it");
	}
}

void nordic_link_late(struct nordic_target *t)
{
	if (t->stage == ND_UPLOAD && nordic_upload_wait_ms(t->upload, mono_now()) >= 0) {
		nordic_upload_tick(t->upload, mono_now());
		nordic_link_arm(t);
		return;
	}
	t->link_error = -ETIMEDOUT;
	(void)snprintf(t->link_why, sizeof(t->link_why), "the node does not answer"); /* fits */
	nordic_link_lost(t);
}
