/* radio/gatt_internal.h - the inside of gatt*.c. What one connection's links share: the table of what the node offers, requests one at a
 * time (BlueZ refuses a second one on the same characteristic, and ATT has but one anyway), and one subscription per characteristic.
 *
 * Callbacks to users come from the loop only, and each is the last thing its function does: they may close links, and with them all
 * that is here. */
#pragma once
#include "radio/ble_internal.h"
#include "radio/gatt.h"

enum {
	GATT_COMMANDS_MAX = 8,                 /* writes without response by WriteValue that bluetoothd has not answered, of a connection or stream */
	GATT_MTU_MIN = 23, GATT_HEADER_BYTES = 3,
	GATT_PACKET_BYTES = 528,               /* more than any MTU that BlueZ agrees to */
	GATT_PACKETS_TURN_MAX = 32,
	GATT_AGAIN_MS = 50, GATT_AGAIN_MAX = 20,       /* bluetoothd has not seen yet that we closed our socket */
	GATT_AGAIN_WITHIN_MS = 3000,
};

struct gatt_op {                               /* a read, or a write */
	struct gatt_op *prev, *next;           /* of its connection, in order */
	struct gatt_connection *connection;
	struct gatt_link *link;                /* NULL = closed since */
	uint16_t handle;
	bool is_read, with_response;
	gatt_done_fn *fn;
	void *ctx;
	struct bluez_call *call;               /* NULL = not begun, or it failed to */
	int error;
	size_t n;
	uint8_t value[];
};

struct gatt_notifier {                         /* one per characteristic that somebody subscribed to */
	struct gatt_notifier *prev, *next;
	struct gatt_connection *connection;
	uint16_t handle;
	char path[BLUEZ_PATH_BYTES];
	bool is_ready, is_signal;              /* is_signal: by StartNotify */
	unsigned tries;
	struct bluez_call *call;
	struct loop_timer *again;
	int fd;
	struct loop_io *io;
	struct gatt_subscription *subscriptions, *telling;     /* telling: the next to be told; moved when that one goes */
	bool *gone;                            /* set when it is freed while it tells */
	bool is_held, is_held_due;             /* a value came while we read: it is the read's own, or (due) a notification */
	size_t n_held;
	uint8_t held[GATT_VALUE_BYTES_MAX];
};

struct gatt_subscription {
	struct gatt_subscription *prev, *next;         /* of its notifier */
	struct gatt_subscription *link_prev, *link_next;
	struct gatt_link *link;
	struct gatt_notifier *notifier;        /* NULL = it cannot be had */
	const struct gatt_subscription_ops *ops;
	void *ctx;
	bool is_due, was_told;                 /* ready(): to be called, was called */
	int error;
};

struct gatt_stream {
	struct gatt_stream *link_prev, *link_next;
	struct gatt_link *link;
	uint16_t handle;
	char path[BLUEZ_PATH_BYTES];
	unsigned tries;
	struct bluez_call *call;               /* AcquireWrite */
	struct loop_timer *again;
	int fd;                                /* -1: by single calls */
	struct loop_io *in, *out;              /* in: only hang-ups come; out: while somebody waits */
	size_t chunk_max;
	struct gatt_command { struct gatt_stream *stream; struct bluez_call *call; } commands[GATT_COMMANDS_MAX];
	const struct gatt_stream_ops *ops;
	void *ctx;
	bool is_due, was_told, is_broken, wants_room;
	int error;
};

struct gatt_link {
	struct gatt_link *prev, *next;         /* of its connection */
	struct ble_link *link;
	struct gatt_connection *connection;
	struct gatt_stream *streams;
	struct gatt_subscription *subscriptions;
	size_t n_ops;
};

struct gatt_connection {
	struct bluez *bluez;
	struct loop *loop;
	struct bluez_device *device;
	struct gatt_link *links;
	struct gatt_op *ops;                   /* waiting and begun ones */
	size_t n_commands;
	bool is_requesting;
	struct loop_timer *turn;
	struct gatt_notifier *notifiers;
	struct mono closed_at;                 /* a socket of bluetoothd's was, last */
	bool is_table_stale;
	size_t n_services, n_characteristics;
	struct gatt_service services[GATT_SERVICES_MAX];
	struct gatt_characteristic characteristics[GATT_CHARACTERISTICS_MAX];
};

/* gatt.c */
struct gatt_link *gatt_link_get(struct ble_link *k);           /* made when need be; NULL = the link is not ready, or ended */
void gatt_due(struct gatt_connection *g);      /* gatt_turn() in the loop's next turn */
/* gatt_error.c: BLE-10. What bluez_error() made of it, with GATT's meaning of name and text. Pure. */
int gatt_error(int error, const char *name, const char *text);
/* A socket out of an answer of Acquire*: ours, not blocking. -errno. */
int gatt_take_socket(sd_bus_message *answer, uint16_t *ret_mtu);
/* Whether to ask for a socket again shortly: we closed one a moment ago, and bluetoothd may not know yet. */
bool gatt_is_ours(const struct gatt_connection *g, unsigned tries);
/* Acquire* on path. */
int gatt_acquire(struct gatt_connection *g, const char *path, const char *method, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret);
int gatt_write_value(struct gatt_connection *g, const char *path, struct span value, const char *type, bluez_answer_fn *fn, void *ctx,
		     struct bluez_call **ret);

/* gatt_stream.c; turn: whether a callback was made */
bool gatt_stream_turn(struct gatt_link *l);
void gatt_streams_free(struct gatt_link *l);
void gatt_streams_lost(struct gatt_link *l, const char *path);         /* the characteristic is gone */
/* gatt_notify.c */
bool gatt_subscription_turn(struct gatt_link *l);
void gatt_subscriptions_free(struct gatt_link *l);
void gatt_notifiers_free(struct gatt_connection *g);
void gatt_notifiers_lost(struct gatt_connection *g, const char *path);
void gatt_notifier_read(struct gatt_connection *g, uint16_t handle, struct span value);        /* ReadValue answered this */
bool gatt_notifier_turn(struct gatt_connection *g);
