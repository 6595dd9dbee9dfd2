/* SIGHUP and POST /reload: read the file again. A file that is wrong changes nothing (PO-10). */
#include <errno.h>
#include <string.h>

#include "app/gateway.h"
#include "base/log.h"

static int refuse(struct buf *text, int r)
{
	log_event(EV_CONFIG_BAD, LOG_ERR, "the configuration was refused, the running one stays: %s", buf_str(text));
	return r;
}

int gateway_reload(struct gateway *g, struct buf *text)
{
	struct config *c = NULL;
	struct trust_anchors *anchors = NULL;

	service_reloading(g->service);
	int r = config_load(g->config->file, &c, text);
	if (r == 0)
		r = gateway_anchors_load(c, &anchors, text);
	if (r == 0)
		r = gateway_crls_load(c, g->intake, text);
	if (r == 0)
		r = devices_read_credentials(g->devices, c->admin.credentials_file, text);
	if (r < 0) {
		trust_anchors_unref(anchors);
		config_free(c);
		service_ready(g->service);
		return refuse(text, r);
	}
	log_set_max_priority(gateway_log_priority(c));
	size_t n = config_diff(g->config, c, text);
	intake_set_anchors(g->intake, anchors);
	trust_anchors_unref(g->anchors);
	g->anchors = anchors;
	r = upstream_apply(g->upstream, c->sources, c->n_sources, text);
	if (r < 0)
		log_event(EV_CONFIG_BAD, LOG_ERR, "%s", buf_str(text));
	image_cache_set_quota(g->images, c->cache.quota_bytes);
	gateway_settings_apply(g, c);
	config_free(g->config);
	g->config = c;
	admin_set_config(g->admin, c);
	gateway_multicast_reload(g);
	gateway_lowpan_reload(g);
	gateway_ble_reload(g);
	gateway_ble_resources_reload(g);
	gateway_smp_reload(g);
	gateway_nordic_reload(g);
	service_ready(g->service);
	log_event(EV_RELOADED, LOG_NOTICE, "configuration read again, %zu keys changed%s%s", n, n ? ":\n" : "", n ? buf_str(text) : "");
	return 0;
}
