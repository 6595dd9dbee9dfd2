/* delivery/smp_target.h - bringing images by SMP to nodes, whatever carries the messages: the orders of the devices, who may be talked
 * to at a time, our look at the image, delivery/smp_upload's world, and what is reported when. A driver (smp_udp, smp_ble) is this with
 * a carrier: it reaches one node, and carries messages to and from it.
 *
 * Before a node is talked to, the image is looked at (delivery/smp_look). Then the machine goes the way, and what it reaches is
 * reported through the sink before it goes on. One session a device and a node, whatever the carrier (struct smp_lock, SMP-9);
 * SMP_ACTIVE_MAX at a time a driver, the others wait in order of arrival. A node that is not in reach has no place: it waits beside the
 * queue until it is heard of. A link that is lost is opened again, and the node's own offset says where it goes on; a job is not lost
 * by it unless that happens SMP_LOST_MAX times without progress. Loop thread. */
#pragma once
#include "delivery/delivery.h"
#include "delivery/smp_upload.h"
#include "io/worker.h"

enum {
	SMP_ACTIVE_MAX = 64, SMP_KNOWN_MAX = 10000, SMP_NODE_KEY_BYTES = 96, SMP_LOST_MAX = 12,
	SMP_AWAY_MAX_MS = 600000,              /* the longest wait for a node that was not reached and is not heard of */
	SMP_LATER_MS = 2000,
	SMP_REVISION_MS = 5000,
};

struct smp_settings {                          /* of smp_upload_config */
	uint32_t message_bytes, window, answer_ms, restart_s, proof_s;
	bool allow_single_slot;
};

/* ---- one session a node ---- */

struct smp_lock;                               /* shared by the drivers */
struct smp_lock *smp_lock_new(void);
struct smp_lock *smp_lock_free(struct smp_lock *k);    /* after the drivers */

/* ---- carriers ---- */

struct smp_target;                             /* the order of one device */

struct smp_carrier_ops {
	const char *name;                      /* the driver's */
	bool has_link;                         /* it comes and goes: smp_target_down() */
	/* The node of a device, as text that names it whatever device it is told for. -EDESTADDRREQ, -EINVAL: it has none, and why. -ENODEV
	 * not now. */
	int (*node)(void *ctx, const char *device, char ret[static SMP_NODE_KEY_BYTES], const char **why);
	bool (*is_there)(void *ctx, const char *node);         /* is it worth a try? NULL = always */
	/* Reach for it; is_fresh: it may have restarted as something else. ret is handed to the others. 0: smp_target_up() or
	 * smp_target_down() comes (may come at once); -errno: as smp_target_down(). */
	int (*open)(void *ctx, struct smp_target *t, const char *node, bool is_fresh, void **ret);
	void (*send)(void *carrier, struct span message);      /* while up; best effort */
	void (*close)(void *carrier);          /* up, down or neither; nothing comes from it any more */
	void (*revision)(void *carrier);       /* the node's firmware revision is wanted: smp_target_revision(); NULL = it cannot know */
	void (*done)(void *ctx);               /* the driver closes */
};

const char *smp_target_device(const struct smp_target *t);

/* What a carrier tells. It may be asked to send from inside, and is not closed from inside. */
/* most_bytes: longest message for this link, within the settings; whole_bytes: that goes in one piece. 0: as set; all do. */
void smp_target_up(struct smp_target *t, uint32_t most_bytes, uint32_t whole_bytes);
/* Not reached, or lost; the carrier is closed later. -ENOENT, -ETIMEDOUT, -ENOTCONN: not in reach, it waits until it is; -EAGAIN: go on at
 * once; -EBUSY: somebody else talks to it; -EACCES, -EPROTONOSUPPORT: it cannot be, why says what is wrong; all else: lost, again soon. */
void smp_target_down(struct smp_target *t, int error, const char *why);
void smp_target_receive(struct smp_target *t, struct span messages);
void smp_target_revision(struct smp_target *t, struct span text);      /* empty: it does not tell */

/* ---- drivers ---- */

struct smp_driver_config {
	struct loop *loop;
	struct worker_pool *workers;
	struct smp_settings settings;
	struct delivery_source source;
	struct delivery_sink sink;
	struct smp_lock *lock;                 /* NULL = none */
};

int smp_driver_open(const struct smp_driver_config *c, const struct smp_carrier_ops *ops, void *ctx, struct delivery_driver **ret);
/* For orders that start from now on. */
void smp_driver_set(struct delivery_driver *drv, const struct smp_settings *s);
/* Its node was heard of: it may be reached now. */
void smp_driver_heard(struct delivery_driver *drv, const char *device);
void *smp_driver_carrier(struct delivery_driver *drv); /* ctx */
