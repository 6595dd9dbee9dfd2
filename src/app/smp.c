/* The drivers for nodes that speak MCUmgr's SMP: where they are is what their device's record says. */
#include <errno.h>

#include "app/gateway.h"
#include "codec/smp.h"
#include "delivery/smp_udp.h"

static int on_address(void *ctx, const char *device, struct udp_address *ret)
{
	const struct device *d = devices_get(((struct gateway *)ctx)->devices, device);

	if (!d || !d->address[0])
		return -EDESTADDRREQ;
	return udp_address_parse(span_str(d->address), SMP_PORT, ret);
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

int gateway_smp_start(struct gateway *g)
{
	g->smp_lock = smp_lock_new();
	int r = smp_udp_open(&(struct smp_udp_config){ .smp = driver_config(g), .address = on_address, .address_ctx = g }, &g->smp_udp);

	if (r == 0)
		job_run_add_driver(rollout_run_jobs(g->rollout), g->smp_udp);
	return r;
}

void gateway_smp_stop(struct gateway *g)
{
	if (g->smp_udp)
		g->smp_udp = g->smp_udp->ops->close(g->smp_udp);
	g->smp_lock = smp_lock_free(g->smp_lock);
}

void gateway_smp_reload(struct gateway *g)
{
	struct smp_settings s = settings_of(g->config);

	smp_driver_set(g->smp_udp, &s);
}
