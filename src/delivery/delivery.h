/* delivery/delivery.h - drivers: how a job reaches a device. A driver gets readers of verified bytes and a
 * sink for what happens; it cannot name an unverified image, touch the store, or decide. start() and cancel() are
 * safe to repeat: after a restart every open job is started again. Loop thread. */
#pragma once
#include "base/digest.h"
#include "codec/suit_report.h"
#include "io/coap.h"
#include "model/job.h"

enum { DELIVERY_IMAGES_MAX = 16, DELIVERY_URI_BYTES = 1025 };

struct delivery_image {
	struct digest digest;
	uint64_t bytes;
	char uri[DELIVERY_URI_BYTES];          /* as in the manifest, resolved; may be empty */
};

struct delivery_order {                        /* copied by the driver */
	char job[JOB_ID_BYTES], device[DEVICE_ID_BYTES];
	struct digest manifest;                /* names the update */
	uint64_t sequence;
	enum job_state state;                  /* of the job, as it is handed over: what was reached before a restart of ours */
	const struct delivery_image *images;
	size_t n_images;
};

/* Where a driver gets the bytes. Both are answered from verified files only. */
struct delivery_source {
	/* A positioned reader of an image of the update that manifest names; -EAGAIN: being verified again, ask soon; -ENOENT: the
	 * update may not be delivered (any more), or has no such image. Its read() may also be called from a worker, by one at a time. */
	int (*open_image)(void *ctx, const struct digest *manifest, const struct digest *d, struct coap_body_reader *ret);
	/* The envelope as this device gets it (the vendor's bytes, or with the gateway's Mac0). */
	int (*envelope)(void *ctx, const char *device, const struct digest *manifest, struct buf *ret);
	void *ctx;
};

typedef void delivery_done_fn(void *arg, int error);

struct delivery_sink {
	/* So many bytes of the order's images were asked for, at the furthest point. */
	void (*progress)(void *ctx, const char *job, uint64_t sent_bytes, uint64_t total_bytes);
	/* A node's report; done is called exactly once, when its effect is persisted (or with the error). -ENOENT: no such job. */
	void (*report)(void *ctx, const char *device, const struct node_report *r, delivery_done_fn *done, void *arg);
	void *ctx;
};

struct delivery_driver;                        /* each driver embeds it as its first member */

struct delivery_ops {
	const char *name;                      /* stable: config, log, metrics: "coap-pull" */
	int (*start)(struct delivery_driver *drv, const struct delivery_order *order);  /* replaces an older order of the device */
	void (*cancel)(struct delivery_driver *drv, const char *device, const char *job);   /* idempotent; no sink call after */
	struct delivery_driver *(*close)(struct delivery_driver *drv);                  /* returns NULL */
};

struct delivery_driver {
	const struct delivery_ops *ops;
};
