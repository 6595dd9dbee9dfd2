/* The directory module: devices, registrations, and the CoAP server that both are served on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app/gateway.h"

static void on_device_changed(void *ctx, const struct device *d)
{
	struct gateway *g = ctx;

	gateway_ble_device(g, d);
	gateway_multicast_device(g, d);
	if (g->rollout)
		rollout_device_changed(g->rollout, d);
}

static void on_device_removed(void *ctx, const char *id)
{
	struct gateway *g = ctx;

	gateway_ble_device_gone(g, id);
	gateway_multicast_removed(g, id);
	if (g->rollout)
		rollout_device_removed(g->rollout, id);
}

static void on_forget(void *ctx, const char *identity)
{
	struct gateway *g = ctx;

	gateway_multicast_forget(g, identity);
	if (g->coap)
		coap_endpoint_forget(g->coap, identity);
}

static int on_psk(void *ctx, struct span identity, uint8_t *ret, size_t max)
{
	return devices_psk(((struct gateway *)ctx)->devices, identity, ret, max);
}

static void on_heard(void *ctx, const struct coap_peer *peer)
{
	struct gateway *g = ctx;

	devices_heard(g->devices, peer, wall_now());
	gateway_lowpan_peer(g, peer);
	gateway_multicast_heard(g, peer);
}

static void on_registration(void *ctx, const struct registration *reg, enum registry_change what)
{
	if (what != REGISTRY_REFRESHED)
		gateway_multicast_registration(ctx, reg);
}

static struct registry_limits limits_of(const struct config *c)
{
	return (struct registry_limits){ .max_endpoints = c->directory.max_endpoints, .max_links = c->directory.max_links,
					 .max_per_owner = c->directory.max_per_credential, .max_links_bytes = c->directory.max_links_bytes,
					 .grace_s = c->directory.grace_s, .lifetime_default_s = c->directory.lifetime_default_s };
}

void gateway_settings_apply(struct gateway *g, const struct config *c)
{
	struct registry_limits limits = limits_of(c);

	registry_set_limits(g->registry, &limits);
	devices_set_open(g->devices, c->directory.open, c->directory.open_anywhere, c->directory.auto_enrol);
	rd_coap_set(g->rd, c->directory.durable == CONFIG_DURABLE_COMMIT, c->directory.max_links_bytes, c->directory.freshness_s);
}

static int coap_start(struct gateway *g, struct buf *error)
{
	const struct config *c = g->config;
	struct coap_endpoint_config ec = {
		.listen = (const char *const *)c->coap.listen, .psk = on_psk, .psk_ctx = g,
		.cert_file = c->coap.cert_file[0] ? c->coap.cert_file : NULL, .key_file = c->coap.key_file[0] ? c->coap.key_file : NULL,
		.ca_file = c->coap.ca_file[0] ? c->coap.ca_file : NULL, .max_sessions = c->coap.max_sessions,
		.session_timeout_s = c->coap.session_timeout_s, .max_handshakes = c->coap.max_handshakes,
		.block1_total_bytes = c->coap.block1_total_bytes, .block1_peer_bytes = c->coap.block1_peer_bytes,
		.max_observers = c->coap.max_observers, .receive_buffer_bytes = (unsigned)c->coap.receive_buffer_bytes,
	};
	int r = 0;

	while (c->coap.listen[ec.n_listen])
		ec.n_listen++;
	g->coap = coap_endpoint_new(g->loop, &ec, &r);
	if (!g->coap) {
		buf_printf(error, "coap.listen: %s; is another program on that port, or the address not this machine's?\n", strerror(-r));
		return r < 0 ? r : -EIO;
	}
	coap_endpoint_set_heard(g->coap, on_heard, g);
	return 0;
}

int gateway_directory_start(struct gateway *g, struct buf *error)
{
	const struct config *c = g->config;
	struct registry_limits limits = limits_of(c);

	int r = devices_open(&(struct devices_config){ .db = g->db, .open = c->directory.open, .open_anywhere = c->directory.open_anywhere,
						       .auto_enrol = c->directory.auto_enrol, .changed = on_device_changed,
						       .removed = on_device_removed, .forget = on_forget, .ctx = g }, &g->devices);
	if (r < 0) {
		buf_printf(error, "stored devices cannot be read: %s\n", strerror(-r));
		return r;
	}
	r = devices_read_credentials(g->devices, c->admin.credentials_file, error);
	if (r < 0)
		return r;
	g->registry = registry_new(&limits, g->db);
	r = registry_load(g->registry, (struct registry_time){ mono_now(), wall_now() });
	if (r < 0) {
		buf_printf(error, "stored registrations cannot be read: %s\n", strerror(-r));
		return r;
	}
	r = coap_start(g, error);
	if (r < 0)
		return r;
	r = rd_coap_open(&(struct rd_coap_config){ .loop = g->loop, .endpoint = g->coap, .db = g->db, .registry = g->registry,
						   .devices = g->devices, .path = c->directory.path,
						   .lookup_ep_path = c->directory.lookup_ep_path, .lookup_res_path = c->directory.lookup_res_path,
						   .durable = c->directory.durable == CONFIG_DURABLE_COMMIT,
						   .max_links_bytes = c->directory.max_links_bytes,
						   .freshness_s = c->directory.freshness_s, .changed = on_registration,
						   .changed_ctx = g }, &g->rd);
	if (r < 0)
		buf_printf(error, "directory.path and the lookup paths: %s; each must be another path\n", strerror(-r));
	return r;
}

void gateway_directory_stop(struct gateway *g)
{
	g->rd = rd_coap_close(g->rd);
	g->coap = coap_endpoint_free(g->coap);
	g->registry = registry_free(g->registry);
	g->devices = devices_close(g->devices);
}
