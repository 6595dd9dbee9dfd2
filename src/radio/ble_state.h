/* radio/ble_state.h - the inside of struct ble, for ble*.c alone: nodes (ble_node.c), adapters and scanning (ble_radio.c, ble_scan.c,
 * ble_monitor.c), connections and links (ble_connect.c, ble_turn.c, ble_link.c), pairing (ble_pair.c, ble_agent.c).
 *
 * Whatever changes calls ble_plan(): in the loop's next turn one function looks at everything and starts what is due. */
#pragma once
#include "radio/ble_internal.h"
#include "radio/ble_policy.h"

enum {
	BLE_HEARD_MS = 1000,                   /* heard() at most that often */
	BLE_TICK_MS = 5000,                    /* nodes that are gone are looked for */
	BLE_PRIVATE_GONE_S = 120,              /* a private address is used up soon */
	BLE_HEARD_LATELY_MS = 30 * 1000,       /* a node is connected to if it was heard within that; else it is looked for */
	BLE_SEARCH_MS = 20 * 1000,             /* a search begins anew: within one bluetoothd tells of a node only if its strength changes */
	BLE_RESOLVE_MS = 40 * 1000, BLE_REREAD_MS = 500, BLE_REREADS = 2,
	BLE_POWER_RETRY_MS = 10 * 1000, BLE_SCAN_RETRY_MS = 2000, BLE_MONITOR_RETRY_MS = 30 * 1000,
	BLE_PAIR_WAIT_S = 30, BLE_JUST_PAIR_MS = 30 * 1000, BLE_PAIRINGS_MAX = 8,
	BLE_LIST_MAX = 256,                    /* entries of a list in the settings */
};

#define BLE_ROOT "/org/dormouse/ble"
#define BLE_AGENT BLE_ROOT "/agent"
#define BLE_MONITORS BLE_ROOT "/monitors"
#define BLE_MONITOR BLE_MONITORS "/0"

struct ble_seen {                              /* a node */
	struct ble_node node;
	struct ble *ble;
	struct bluez_device *devices[BLE_ADAPTERS_MAX];        /* as each adapter knows it */
	size_t n_devices;
	struct ble_connection *connection;
	bool is_told;                          /* node() was called */
	bool is_late;                          /* its advertisement changed, and was told of within the second */
	struct mono told_at, advertised_at;
	bool is_marked, is_marked_heard;       /* the plan looks at it: ble_seen_mark() */
	UT_hash_handle hh;                     /* by address */
};

enum ble_scan_state { SCAN_IDLE, SCAN_STARTING, SCAN_ON, SCAN_STOPPING };
enum ble_monitor_state { MONITOR_NONE, MONITOR_REGISTERING, MONITOR_ON, MONITOR_FAILED };

struct ble_radio {                             /* an adapter */
	struct ble *ble;
	struct bluez_adapter *adapter;         /* NULL = free */
	bool is_allowed, power_failed;
	struct bluez_call *power_call, *scan_call, *monitor_call;
	struct mono power_retry_at, scan_retry_at, monitor_retry_at;
	enum ble_scan_state scan;
	struct mono scan_since;
	bool scans_for_all;                    /* the filter in force names no services */
	enum ble_monitor_state monitor;
	struct ble_connection *connecting;     /* one at a time (BLZ-4) */
};

enum ble_connection_state {
	CONNECTION_WAITING,                    /* for the node, for a slot */
	CONNECTION_FORGETTING,                 /* RemoveDevice, as a link wants it fresh */
	CONNECTION_CONNECTING, CONNECTION_RESOLVING, CONNECTION_PAIRING, CONNECTION_READY,
	CONNECTION_PAUSING,                    /* after a failure */
	CONNECTION_CLOSING,
};

struct ble_connection {
	struct ble_connection *prev, *next;
	struct ble *ble;
	uint8_t address[BLE_ADDRESS_BYTES];
	enum ble_connection_state state;
	struct ble_radio *radio;               /* from CONNECTING on, and CLOSING */
	struct bluez_device *device;
	struct bluez_call *call;
	struct loop_timer *timer;              /* of the state */
	struct ble_link *links;
	size_t n_links;
	struct mono since;                     /* waiting; ready; idle */
	unsigned tries, rereads;
	bool is_fresh, is_hung_up, is_foreign; /* foreign: it was connected before we came, and stays so */
	bool was_bonded;                       /* before this connection, or one that may be */
	int last_error;
	char why[BLE_REASON_BYTES];            /* of the last failure, or of the hang-up */
	struct gatt_connection *gatt;
};

struct ble_pairing_job {
	struct ble_pairing_job *prev, *next;
	struct ble *ble;
	uint8_t address[BLE_ADDRESS_BYTES];
	struct ble_link *link;                 /* NULL when only forgetting */
	struct bluez_call *call;
	char path[BLUEZ_PATH_BYTES];           /* of its device, while Pair() is on the way */
	bool was_private;
	bool was_proved;                       /* a passkey was shown, asked for or compared */
	sd_bus_message *question;              /* of the agent: RequestPasskey or RequestConfirmation */
	bool is_confirmation;
	uint32_t passkey;                      /* to be confirmed */
	struct loop_timer *later;
	int error;
	char why[BLE_REASON_BYTES];
	ble_done_fn *done;
	void *ctx;
};

struct ble {
	struct loop *loop;
	struct bluez *bluez;
	const struct ble_ops *ops;
	void *ctx;
	struct ble_settings settings;          /* its lists are ours */
	uint8_t (*services)[BLE_UUID_BYTES];   /* settings.services */
	size_t n_services;
	enum ble_health health;
	struct mono began_at;
	struct ble_radio radios[BLE_ADAPTERS_MAX];
	struct ble_seen *nodes;                /* by address, in the order of appearance */
	struct ble_connection *connections;
	size_t n_links, n_searches;
	bool is_searching, has_marks;
	bool wants_attach;                     /* a connection is new: a device of it may be in the mirror already */
	struct loop_timer *plan, *tick;
	struct mono plan_at;                   /* while plan is armed */
	struct ble_pairing_job *pairings;
	size_t n_pairings;
	sd_bus_slot *agent_slot, *monitor_slot, *manager_slot;
	struct bluez_call *agent_call;
	bool has_agent;
	enum ble_pairing agent_for;            /* the policy it was registered for */
};

/* ble.c */
void ble_plan(struct ble *b);                  /* in the next turn */
void ble_plan_in(struct ble *b, int64_t in_ms);        /* at the latest then */
bool ble_list_has(char *const *list, const uint8_t address[static BLE_ADDRESS_BYTES]);

/* ble_node.c */
struct ble_seen *ble_seen_find(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES]);
int ble_address_parse(const char *id, uint8_t ret[static BLE_ADDRESS_BYTES]);  /* anything that ble_id_parse() takes */
void ble_seen_device(struct ble *b, struct bluez_device *d, unsigned changed);
void ble_seen_device_gone(struct ble *b, struct bluez_device *d);
void ble_seen_update(struct ble_seen *s, bool is_heard);       /* something of it may have changed: tell if so */
void ble_seen_mark(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], bool is_heard);       /* the same, in the plan */
void ble_seen_plan(struct ble *b);
void ble_seen_tick(struct ble *b, struct mono now);
void ble_seen_drop_all(struct ble *b);         /* nobody is told */
struct bluez_device *ble_seen_crowded(struct ble *b);

/* ble_radio.c */
struct ble_radio *ble_radio_of(struct ble *b, const struct bluez_adapter *a);  /* NULL = none */
bool ble_radio_is_usable(const struct ble_radio *r);   /* allowed and powered */
void ble_radio_adapter(struct ble *b, struct bluez_adapter *a);
void ble_radio_adapter_gone(struct ble *b, struct bluez_adapter *a);
void ble_radio_settings(struct ble *b);        /* which are allowed */
void ble_radio_power(struct ble_radio *r, struct mono now);

/* ble_scan.c, ble_monitor.c */
void ble_scan_plan(struct ble_radio *r, struct mono now);
void ble_scan_forget(struct ble_radio *r);     /* the adapter went, or its power */
void ble_scan_restart(struct ble_radio *r);    /* other settings */
void ble_monitor_plan(struct ble_radio *r, struct mono now);
void ble_monitor_forget(struct ble_radio *r);
void ble_monitor_restart(struct ble *b);
void ble_monitor_close(struct ble *b);

/* ble_connect.c */
struct ble_connection *ble_connection_of(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES]);
struct ble_connection *ble_connection_new(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES]);
void ble_connection_left(struct ble_connection *c);    /* its last link left */
void ble_connection_freshen(struct ble_connection *c); /* a link wants it anew */
void ble_connection_device(struct bluez_device *d, unsigned changed);
void ble_connection_device_gone(struct bluez_device *d);
void ble_connection_moved(struct ble_connection *c, const uint8_t address[static BLE_ADDRESS_BYTES]);
void ble_connection_radio_gone(struct ble_radio *r, const char *why);
void ble_connection_scan_ended(struct ble_radio *r);   /* the radio is free to connect */
void ble_connection_drop_all(struct ble *b);   /* nobody is told; those that we made are ended */
bool ble_connection_is_on(const struct ble_connection *c);     /* it has a slot */
struct ble_connection *ble_connection_on(const struct bluez_device *d);        /* that which uses this very device; NULL = none */
void ble_connection_begin(struct ble_connection *c, struct ble_radio *r, struct bluez_device *d);
void ble_connection_forget(struct ble_connection *c, const struct ble_seen *s);        /* bluetoothd forgets its device first */
void ble_connection_yield(struct ble_connection *c, int error, const char *why);       /* its links end, its slot gets free */

/* ble_turn.c */
void ble_turn_plan(struct ble *b, struct mono now);

/* ble_link.c */
int ble_link_open_address(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], const struct ble_link_wish *w,
			  const struct ble_link_ops *ops, void *ctx, struct ble_link **ret);
void ble_link_is_ready(struct ble_link *k);    /* both: told in the next turn */
void ble_link_end(struct ble_link *k, int error, const char *why);
bool ble_links_exclusive(const struct ble_connection *c);

/* ble_pair.c */
struct ble_pairing_job *ble_pairing_of(const struct ble *b, const char *path);
void ble_pairing_drop_all(struct ble *b);
void ble_pairing_question_end(struct ble_pairing_job *j);      /* no answer is wanted any more */
bool ble_may_pair(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES]);

/* ble_agent.c */
void ble_agent_plan(struct ble *b);            /* registered when it should be */
void ble_agent_forget(struct ble *b);          /* bluetoothd or the bus went */
