/* The driver nordic-dfu: which node a device is, whose node is another's, and who may be updated without a signature. */
#include <errno.h>
#include <string.h>

#include "app/gateway.h"
#include "base/log.h"
#include "codec/json.h"
#include "delivery/nordic_dfu.h"

static int on_node(void *ctx, const char *device, char ret[static BLE_ID_BYTES])
{
	const struct device *d = devices_get(((struct gateway *)ctx)->devices, device);

	if (!d)
		return -EDESTADDRREQ;
	if (gateway_ble_id(d, ret) == 0)
		return 0;
	return d->address[0] ? -EINVAL : -EDESTADDRREQ;
}

/* A node that is only seen is nobody's yet: each bootloader that comes up is one, too. */
static bool on_is_others(void *ctx, const char *node, const char *device)
{
	struct gateway *g = ctx;
	const char *whose = gateway_ble_device_of(g, node);
	const struct device *d = whose && strcmp(whose, device) != 0 ? devices_get(g->devices, whose) : NULL;

	return d && d->state != DEVICE_SEEN;
}

static const struct config_permit *permit_find(const struct gateway *g, const char *device)
{
	const struct config *c = g->config;
	struct wall now = wall_now(), until;

	for (size_t i = 0; i < c->n_permits; i++) {
		const struct config_permit *p = &c->permits[i];

		if (p->kind == CONFIG_PERMIT_LEGACY_DFU && strcmp(p->device, device) == 0 && wall_parse(span_str(p->until), &until) == 0 &&
		    wall_before(now, until))
			return p;
	}
	return NULL;
}

static bool on_is_permitted(void *ctx, const char *device)
{
	return permit_find(ctx, device);
}

static void on_used(void *ctx, const char *device, const char *job)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	struct gateway *g = ctx;
	const struct config_permit *p = permit_find(g, device);

	json_open_object(&o, NULL);
	json_str(&o, "permit", "legacy-dfu");
	json_str(&o, "device", device);
	json_str(&o, "job", job);
	json_str(&o, "until", p ? p->until : "");
	json_str(&o, "reason", p ? p->reason : "");
	json_close_object(&o);
	audit_log_append(g->audit, wall_now(), "permit", job, buf_span(&b), NULL, NULL);
	log_fields(EV_PERMIT_USED, LOG_WARNING, ({ "GW_JOB", job }, { "GW_DEVICE", device }),
		   "device %s: updated by Legacy DFU, without a signature, by permit until %s", device, p ? p->until : "now");
}

static struct nordic_dfu_settings settings_of(const struct config *c)
{
	return (struct nordic_dfu_settings){ .prn = c->nordic_dfu.prn, .answer_ms = c->nordic_dfu.answer_ms, .restart_s = c->nordic_dfu.restart_s };
}

/* Also without Bluetooth: then it says what to do about that. */
int gateway_nordic_start(struct gateway *g)
{
	int r = nordic_dfu_open(&(struct nordic_dfu_config){
		.loop = g->loop, .workers = g->workers, .ble = g->ble, .settings = settings_of(g->config), .source = rollout_run_source(g->rollout),
		.sink = gateway_sink(g), .node = on_node, .is_others = on_is_others, .is_permitted = on_is_permitted, .used = on_used,
		.ctx = g }, &g->nordic_dfu);

	if (r == 0)
		job_run_add_driver(rollout_run_jobs(g->rollout), g->nordic_dfu);
	return r;
}

void gateway_nordic_stop(struct gateway *g)
{
	if (g->nordic_dfu)
		g->nordic_dfu = g->nordic_dfu->ops->close(g->nordic_dfu);
}

void gateway_nordic_reload(struct gateway *g)
{
	struct nordic_dfu_settings s = settings_of(g->config);

	nordic_dfu_set(g->nordic_dfu, &s);
}
