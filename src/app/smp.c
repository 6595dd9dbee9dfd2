/* The drivers for nodes that speak MCUmgr's SMP: where they are is what their device's record says. */
#include <errno.h>

#include "app/gateway.h"
#include "codec/smp.h"
#include "delivery/smp_ble.h"
#include "delivery/smp_udp.h"

static int on_address(void *ctx, const char *device, struct udp_address *ret)
{
	const struct device *d = devices_get(((struct gateway *)ctx)->devices, device);

	if (!d || !d->address[0])
		return -EDESTADDRREQ;
	return udp_address_parse(span_str(d->address), SMP_PORT, ret);
}

/* Radios on the way make messages smaller. */
static uint32_t on_message_bytes(void *ctx, const struct udp_address *to)
{
	struct gateway *g = ctx;

	return gateway_lowpan_message_bytes(g, to, g->config->smp.message_bytes);
}

static int on_node(void *ctx, const char *device, char ret[static BLE_ID_BYTES])
{
	const struct device *d = devices_get(((struct gateway *)ctx)->devices, device);

	return d && gateway_ble_id(d, ret) == 0 ? 0 : -EDESTADDRREQ;
}

static struct smp_settings settings_of(const struct config *c)
{
	return (struct smp_settings){ .message_bytes = c->smp.message_bytes, .window = c->smp.window, .answer_ms = c->smp.answer_ms,
				      .restart_s = c->smp.restart_s, .proof_s = c->smp.proof_s, .allow_single_slot = c->smp.single_slot };
}

static struct smp_driver_config driver_config(struct gateway *g)
{
	return (struct smp_driver_config){ .loop = g->loop, .workers = g->workers, .settings = settings_of(g->config),
					   .source = rollout_run_source(g->rollout), .sink = gateway_sink(g), .lock = g->smp_lock };
}

static struct smp_settings ble_settings_of(const struct config *c)
{
	struct smp_settings s = settings_of(c);

	s.message_bytes = c->smp.ble_message_bytes;
	return s;
}

static int ble_start(struct gateway *g)
{
	struct smp_driver_config c = driver_config(g);

	if (!g->ble)
		return 0;
	c.settings = ble_settings_of(g->config);
	int r = smp_ble_open(&(struct smp_ble_config){ .smp = c, .ble = g->ble, .is_blind = g->config->ble.scan == CONFIG_BLE_SCAN_OFF,
						       .node = on_node, .node_ctx = g }, &g->smp_ble);
	if (r == 0)
		job_run_add_driver(rollout_run_jobs(g->rollout), g->smp_ble);
	return r;
}

int gateway_smp_start(struct gateway *g)
{
	g->smp_lock = smp_lock_new();
	int r = smp_udp_open(&(struct smp_udp_config){ .smp = driver_config(g), .address = on_address,
						       .message_bytes = on_message_bytes, .address_ctx = g }, &g->smp_udp);

	if (r == 0)
		job_run_add_driver(rollout_run_jobs(g->rollout), g->smp_udp);
	return r == 0 ? ble_start(g) : r;
}

void gateway_smp_stop(struct gateway *g)
{
	if (g->smp_ble)
		g->smp_ble = g->smp_ble->ops->close(g->smp_ble);
	if (g->smp_udp)
		g->smp_udp = g->smp_udp->ops->close(g->smp_udp);
	g->smp_lock = smp_lock_free(g->smp_lock);
}

void gateway_smp_reload(struct gateway *g)
{
	struct smp_settings s = settings_of(g->config), b = ble_settings_of(g->config);

	smp_driver_set(g->smp_udp, &s);
	if (g->smp_ble)
		smp_ble_set(g->smp_ble, &b, g->config->ble.scan == CONFIG_BLE_SCAN_OFF);
}

static void on_heard(struct gateway *g, const char *device, const struct ble_node *n)
{
	(void)n;
	if (g->smp_ble)
		smp_driver_heard(g->smp_ble, device);
}

const struct gateway_ble_hooks gateway_smp_ble_hooks = { .heard = on_heard };
