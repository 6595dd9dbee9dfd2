/* delivery/nordic_dfu_internal.h - an order's state, shared by the files that make the driver up:
 *   nordic_dfu.c          orders, places, the package, reports
 *   nordic_dfu_find.c     where the node is: its address, its bootloader's, or nobody knows
 *   nordic_dfu_link.c     a link to it: what it is, sending it into its bootloader, the machine's world
 * Nobody else includes this. */
#pragma once
#include <uthash.h>

#include "delivery/nordic_dfu.h"

/* LwM2M Object 5, resources 3 and 5 */
enum { OBJECT5_IDLE = 0, OBJECT5_DOWNLOADED = 2, OBJECT5_UPDATING = 3 };
enum { OBJECT5_INITIAL = 0, OBJECT5_OK = 1, OBJECT5_LOST = 4, OBJECT5_PACKAGE = 6, OBJECT5_URI = 7, OBJECT5_FAILED = 8, OBJECT5_PROTOCOL = 9 };

enum {
	ND_AGAIN_MS = 2000, ND_SEEK_MS = 500, ND_PARK_MS = 5000, ND_REACH_S = 30, ND_STEP_MS = 15000, ND_SETTLE_MS = 1500,
	ND_REVISION_BYTES = 64, ND_RESTART_S = 120, ND_PACE_MS_MIN = 20, ND_BLIND_MS = 5000,
};

enum nd_stage {
	ND_PARKED,                             /* until the node is heard of, and for a place */
	ND_LOAD,                               /* the package: a worker has it */
	ND_SEEK,                               /* where is it? until deadline */
	ND_REACH,                              /* a link to `at` is being opened */
	ND_ASK,                                /* what it is: versions are read */
	ND_ENTER,                              /* it is sent into its bootloader */
	ND_UPLOAD,                             /* the machine's */
	ND_ENDED,                              /* told, or being told; kept until cancelled */
};

/* What is to be done in the next turn, outside the callbacks of others; a later one goes before. */
enum nd_todo { ND_NOTHING, ND_LOOK, ND_LOST, ND_RELINK, ND_RESTARTED, ND_ACTIVATED, ND_RUNS, ND_QUIT };

enum nd_aim { ND_BOOTLOADER, ND_APPLICATION };         /* what is looked for: to update it, or to see that it runs */

enum nd_kind { ND_OTHER, ND_SECURE_BOOT, ND_SECURE_APP, ND_LEGACY_BOOT, ND_LEGACY_APP };

enum nd_way { ND_NAMELESS, ND_BONDED, ND_EXPERIMENTAL, ND_LEGACY };    /* into the bootloader */

struct nordic_dfu;

struct nordic_target {                         /* the order of one device */
	char device[DEVICE_ID_BYTES];          /* key */
	char job[JOB_ID_BYTES];
	struct nordic_dfu *drv;
	uint64_t serial;                       /* what was begun for an older order is not for this one */
	struct digest manifest;
	uint64_t sequence;
	struct delivery_image image;
	size_t n_images;
	enum nd_stage stage;
	bool has_place;
	struct loop_timer *timer, *report_timer;

	struct nordic_package package;
	bool has_package, is_loading;
	struct nordic_upload *upload;
	uint64_t told_bytes;

	/* where it is */
	char own[BLE_ID_BYTES], beside[BLE_ID_BYTES];  /* its address, and the one after; empty = not asked yet */
	char at[BLE_ID_BYTES];                 /* where we go */
	char boot[BLE_ID_BYTES];               /* where its bootloader was; empty = not seen yet */
	char neighbours[NORDIC_DFU_NEIGHBOURS_MAX][BLE_ID_BYTES];      /* in their bootloaders, and not ours */
	size_t n_neighbours;
	bool too_many_neighbours;
	bool is_searching;                     /* the radio scans all the time for it */
	bool is_seeking;                       /* it restarted, or the link was lost: until deadline */
	bool is_fresh;                         /* it restarted as something else */
	enum nd_aim aim;
	struct mono since, deadline;           /* heard after since counts */
	struct mono blind_at;                  /* when to try where it should be, heard or not */
	int rssi;
	char name[NORDIC_NAME_BYTES_MAX + 1];  /* that its bootloader was given; empty = none */

	/* the link */
	struct ble_link *link;
	struct gatt_subscription *subscription;
	struct gatt_stream *stream;
	int link_error;
	char link_why[BLE_REASON_BYTES];
	uint16_t control, packet;
	enum nd_kind kind;
	enum nd_way way;
	bool is_entering, is_naming, is_used;  /* told to enter; the name is being given; the permit */
	unsigned n_entries;
	enum nd_todo todo;
	char revision_before[ND_REVISION_BYTES], revision[ND_REVISION_BYTES];

	/* what is told */
	bool has_report, is_reporting;
	unsigned state, result;
	char reason[NORDIC_REASON_BYTES];
	UT_hash_handle hh;
};

struct nordic_dfu {
	struct delivery_driver driver;
	struct nordic_dfu_config c;
	struct nordic_target *targets;
	size_t n_active, n_errands;            /* errands: answers that are still to come */
	uint64_t serial;
	bool is_closed;
};

extern const uint8_t nordic_service[BLE_UUID_BYTES], nordic_legacy_service[BLE_UUID_BYTES];

/* Pauses are as for the default of restart_s; who gives nodes less time looks more often. */
static inline int64_t nordic_pace_ms(const struct nordic_target *t, int64_t ms)
{
	int64_t shorter = ms * t->drv->c.settings.restart_s / ND_RESTART_S;

	return shorter > ms ? ms : shorter < ND_PACE_MS_MIN ? ND_PACE_MS_MIN : shorter;
}

/* nordic_dfu.c */
void nordic_target_todo(struct nordic_target *t, enum nd_todo what);
void nordic_target_refuse(struct nordic_target *t, unsigned result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void nordic_target_report(struct nordic_target *t, unsigned state, unsigned result, const char *reason);
void nordic_target_park(struct nordic_target *t);      /* out of reach: it waits without a place */
/* nordic_dfu_find.c */
int nordic_find_begin(struct nordic_target *t);        /* which node it is; -errno of the configuration's node() */
const char *nordic_find_heard(const struct nordic_target *t);  /* its address, or its bootloader's, heard after since; NULL = none */
void nordic_find_neighbours(struct nordic_target *t);  /* who is in a bootloader before ours is sent there */
void nordic_find_is_not(struct nordic_target *t, const char *node);    /* that one was looked at */
void nordic_seek(struct nordic_target *t, enum nd_aim aim, bool is_fresh);     /* until restart_s from now */
void nordic_seek_again(struct nordic_target *t);       /* what was found is not it, or not yet; until the same time */
void nordic_seek_step(struct nordic_target *t);
void nordic_search_begin(struct nordic_target *t);
void nordic_search_end(struct nordic_target *t);
/* nordic_dfu_link.c */
void nordic_reach(struct nordic_target *t, const char *node, bool is_fresh);
void nordic_link_close(struct nordic_target *t);
void nordic_link_look(struct nordic_target *t);
void nordic_link_lost(struct nordic_target *t);
void nordic_link_late(struct nordic_target *t);        /* the stage's timer */
void nordic_link_arm(struct nordic_target *t);
