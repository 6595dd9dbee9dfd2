/* What bluetoothd knows of a node's services, told without a link to it. */
#include "radio/ble_state.h"
#include "radio/gatt.h"

/* The one it is connected by, else any that had its services. */
static const struct bluez_device *device_with_services(const struct ble_seen *s)
{
	const struct bluez_device *best = NULL;

	for (size_t i = 0; i < s->n_devices; i++) {
		const struct bluez_device *d = s->devices[i];

		if (d->services && (!best || (d->is_connected && !best->is_connected)))
			best = d;
	}
	return best;
}

static void tell_service(const struct bluez_service *s, gatt_offer_fn *fn, void *ctx)
{
	struct gatt_service service = { .handle = s->handle, .is_primary = s->is_primary };

	memcpy(service.uuid, s->uuid, sizeof(service.uuid));
	fn(ctx, &service, NULL);
	for (const struct bluez_characteristic *c = s->characteristics; c; c = c->next) {
		struct gatt_characteristic t = { .handle = c->handle, .service = s->handle, .properties = c->properties, .mtu = c->mtu };

		memcpy(t.uuid, c->uuid, sizeof(t.uuid));
		fn(ctx, &service, &t);
	}
}

void gatt_offers(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], gatt_offer_fn *fn, void *ctx)
{
	const struct ble_seen *s = ble_seen_find(b, address);
	const struct bluez_device *d = s ? device_with_services(s) : NULL;

	for (const struct bluez_service *v = d ? d->services : NULL; v; v = v->next)
		tell_service(v, fn, ctx);
}
