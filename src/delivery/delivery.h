/* delivery/delivery.h - drivers: how a job reaches a device. A driver gets a reader of verified bytes and a
 * sink for what happens; it cannot name an unverified image, touch the store, or decide. start() and cancel() are
 * safe to repeat: after a restart every open job is started again. Loop thread. */
#pragma once
#include "base/digest.h"
#include "codec/suit_report.h"
#include "io/coap.h"
#include "model/job.h"

enum { DELIVERY_IMAGES_MAX = 16 };

struct delivery_image {
	struct digest digest;
	uint64_t bytes;
	const char *uri;                       /* as in the manifest, resolved; may be empty */
};

struct delivery_order {                        /* copied by the driver */
	const char *job, *device, *update;     /* ids */
	struct digest manifest;
	uint64_t sequence;
	struct span envelope;                  /* exactly what this device gets (vendor's bytes, or with our Mac0) */
	const struct delivery_image *images;
	size_t n_images;
};

/* Reader of verified images: fills a positioned reader; -EAGAIN = being verified, ask again soon; -ENOENT. */
typedef int delivery_open_fn(void *ctx, const struct digest *d, struct coap_body_reader *ret);

struct delivery_sink {
	void (*progress)(void *ctx, const char *job, uint64_t sent_bytes, uint64_t total_bytes);
	void (*transferred)(void *ctx, const char *job);
	void (*report)(void *ctx, const char *device, const struct node_report *r);
	void *ctx;
};

struct delivery_driver;                        /* a running driver; each driver embeds or extends it */

struct delivery_ops {
	const char *name;                      /* stable: config, log, metrics: "coap-pull" */
	int (*start)(struct delivery_driver *drv, const struct delivery_order *order);  /* offer it; replaces an older one of the device */
	void (*cancel)(struct delivery_driver *drv, const char *job);                   /* idempotent; no sink call after */
	void (*close)(struct delivery_driver *drv);
};

struct delivery_driver {
	const struct delivery_ops *ops;
};
