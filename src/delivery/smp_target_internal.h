/* delivery/smp_target_internal.h - an order's state, shared by the files that make it up:
 *   smp_target.c          orders, places, the stages on the way to a node
 *   smp_target_run.c      the machine's world: what it sends, reads and reaches, the link under it
 *   smp_target_report.c   what is reported, and when it was persisted
 *   smp_lock.c            one session a node
 * Nobody else includes this. */
#pragma once
#include <uthash.h>

#include "delivery/smp_look.h"
#include "delivery/smp_target.h"

/* LwM2M Object 5, resources 3 and 5 */
enum { OBJECT5_IDLE = 0, OBJECT5_DOWNLOADED = 2, OBJECT5_UPDATING = 3 };
enum { OBJECT5_INITIAL = 0, OBJECT5_OK = 1, OBJECT5_LOST = 4, OBJECT5_PACKAGE = 6, OBJECT5_URI = 7, OBJECT5_FAILED = 8, OBJECT5_PROTOCOL = 9,
       OBJECT5_CONFLICT = 12 };

enum smp_stage {
	SMP_STAGE_WAIT,                        /* for a place, a time, or for the node to be heard of */
	SMP_STAGE_OPEN, SMP_STAGE_LOOK,        /* our own look at the image */
	SMP_STAGE_REACH,                       /* for the carrier; the machine may be there already, between restart and end */
	SMP_STAGE_RUN,
	SMP_STAGE_ENDED,                       /* told, or being told; kept until cancelled */
};

struct smp_driver;

struct smp_target {                            /* the order of one device */
	char device[DEVICE_ID_BYTES];          /* key */
	char job[JOB_ID_BYTES];
	struct smp_driver *drv;
	uint64_t serial;                       /* answers to reports of an older life of the order are not for this one */
	struct digest manifest;
	uint64_t sequence;
	struct delivery_image image;
	size_t n_images;
	bool was_applying;
	enum smp_stage stage;
	struct loop_timer *timer;

	bool is_queued, is_away;               /* waits for a place; waits to be heard of */
	struct mono not_before;
	struct smp_target *prev, *next;        /* of the queue */

	struct coap_body_reader reader;
	struct smp_look *look;
	struct smp_looked looked;

	char node[SMP_NODE_KEY_BYTES];         /* locked when not empty */
	bool is_locked;                        /* the device */
	void *carrier;
	bool is_open, is_up, is_fresh, was_fresh;      /* the carrier; the next one is to look at the node afresh; that was tried */
	uint32_t most_bytes, whole_bytes;
	int down_error;                        /* it went down: to be seen to in the next turn */
	char down_why[SMP_UPLOAD_REASON_BYTES];
	unsigned n_lost;                       /* links, without progress */
	struct mono down_since;                /* with a machine: the last time that there was a word on it */
	struct loop_timer *again;              /* to open it again, with a machine */

	struct smp_upload *upload;
	uint64_t told_bytes;                   /* furthest */
	bool asks_revision;
	char revision[SMP_VERSION_BYTES];

	bool has_report, is_reporting, goes_on;        /* a report to give, or to give again; given; then the machine goes on */
	unsigned state, result;
	bool is_reverted;
	char reason[SMP_UPLOAD_REASON_BYTES];
	UT_hash_handle hh;
};

struct smp_known {                             /* how a node speaks */
	char device[DEVICE_ID_BYTES];
	enum smp_version version;
	bool only_whole;
	UT_hash_handle hh;
};

struct smp_driver {
	struct delivery_driver driver;
	struct delivery_ops as_driver;
	struct smp_driver_config c;
	const struct smp_carrier_ops *ops;
	void *ctx;
	struct smp_target *targets, *queue;
	struct smp_known *known;
	size_t n_active;
	uint64_t serial;
};

/* smp_target.c */
struct smp_target *smp_target_find(struct smp_driver *p, const char *device);
void smp_target_quit(struct smp_target *t);
void smp_target_refuse(struct smp_target *t, unsigned result, const char *reason);
void smp_target_park(struct smp_target *t, int64_t ms, int64_t heard_ms);
void smp_target_reach(struct smp_target *t);
struct smp_known *smp_known_get(struct smp_driver *p, const char *device);
/* smp_target_run.c */
void smp_target_machine_drop(struct smp_target *t);
void smp_target_carrier_close(struct smp_target *t);
void smp_target_was_down(struct smp_target *t);
void smp_target_begin(struct smp_target *t);
void smp_target_run(struct smp_target *t);
void smp_target_arm(struct smp_target *t);
void smp_target_on_again(void *ctx);
/* smp_target_report.c */
void smp_target_report_set(struct smp_target *t, unsigned state, unsigned result, bool is_reverted, const char *reason);
void smp_target_report_give(struct smp_target *t);
/* smp_lock.c */
bool smp_lock_take(struct smp_lock *k, const char *key);
void smp_lock_give(struct smp_lock *k, const char *key);
