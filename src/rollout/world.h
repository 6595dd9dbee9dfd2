/* rollout/world.h - what the rollout asks of its neighbours (the directory and the intake, which it does not
 * see): borrowed answers, valid until the loop turns. The app fills this in. */
#pragma once
#include "model/device.h"
#include "model/update.h"

struct rollout_world {
	const struct device *(*device)(void *ctx, const char *id);             /* NULL = unknown */
	/* In a stable order; after NULL = the first; NULL = no more (or `after` has gone: start again later). */
	const struct device *(*device_next)(void *ctx, const char *after);
	const struct update *(*update)(void *ctx, const char *id);
	const struct update *(*update_next)(void *ctx, const char *after);
	/* The device's MAC key, for the gateway's own proof; its length or -ENOENT. */
	int (*mac_key)(void *ctx, const char *device, uint8_t *ret, size_t max);
	/* A job confirmed: the device runs this update now. */
	void (*installed)(void *ctx, const char *device, const struct update *u, const char *version);
	/* A cached file turned out not to match its name and was dropped: fetch it again. */
	void (*image_lost)(void *ctx, const struct digest *d);
	/* The radio that the device is behind has used up its airtime: its name, and how long that lasts; NULL = it may send. May itself
	 * be NULL. */
	const char *(*radio_over)(void *ctx, const char *device, uint32_t *ret_wait_s);
	void *ctx;
};
