/* Where neighbours meet that do not see each other: rollout's questions answered by directory and intake. */
#include <errno.h>

#include "app/gateway.h"

static const struct device *world_device(void *ctx, const char *id)
{
	return devices_get(((struct gateway *)ctx)->devices, id);
}

static const struct device *world_device_next(void *ctx, const char *after)
{
	return devices_next(((struct gateway *)ctx)->devices, after);
}

static const struct update *world_update(void *ctx, const char *id)
{
	return intake_update(((struct gateway *)ctx)->intake, id);
}

static const struct update *world_update_next(void *ctx, const char *after)
{
	return intake_update_next(((struct gateway *)ctx)->intake, after);
}

static int world_mac_key(void *ctx, const char *device, uint8_t *ret, size_t max)
{
	return devices_mac_key(((struct gateway *)ctx)->devices, device, ret, max);
}

static void world_installed(void *ctx, const char *device, const struct update *u, const char *version)
{
	struct gateway *g = ctx;
	struct digest manifest;

	if (digest_parse(span_str(u->id), &manifest) < 0)
		return;
	for (size_t i = 0; i < u->n_components; i++)
		devices_installed(g->devices, device, SPAN(u->components[i].id, u->components[i].n_id), u->sequence, &manifest, version);
}

static void world_image_lost(void *ctx, const struct digest *d)
{
	intake_image_lost(((struct gateway *)ctx)->intake, d);
}

void gateway_world_init(struct gateway *g)
{
	g->world = (struct rollout_world){
		.device = world_device, .device_next = world_device_next, .update = world_update, .update_next = world_update_next,
		.mac_key = world_mac_key, .installed = world_installed, .image_lost = world_image_lost, .ctx = g,
	};
}

/* For the drivers: which device asks. */
int gateway_who(void *ctx, const struct coap_peer *peer, struct span ep, char *ret)
{
	struct gateway *g = ctx;
	int code = devices_who(g->devices, peer, ep, wall_now(), ret);

	if (code == 0)
		gateway_lowpan_heard(g, peer, ret);
	if (code == 0 && g->multicast)
		multicast_heard(g->multicast, peer, ret); /* over plain CoAP only its asking says who it is */
	return code;
}
