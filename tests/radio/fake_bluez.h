/* tests/radio/fake_bluez.h - a small org.bluez on a private bus, for what the real one does not do on demand: errors, refusals, silence,
 * hang-ups in every order, its own restart. It runs in a thread of its own; every function here may be called from the test while the
 * loop of the code under test is not running, or from its callbacks. What the code under test did is asked for afterwards.
 *
 *	struct fake_bluez *f = fake_bluez_new();
 *	fake_adapter_add(f, "hci0", "00:AA:01:00:00:00", 0);
 *	fake_node_add(f, &(struct fake_node){ .address = "C0:00:00:00:00:01", .is_random = true, .name = "lamp", .uuids = { SMP_UUID } });
 *	uint16_t h = fake_characteristic_add(f, "C0:00:00:00:00:01", SMP_UUID, SMP_CHR_UUID, FAKE_WRITE_NO_RESPONSE | FAKE_NOTIFY);
 *	struct ble *b = ble_new(loop, fake_bluez_bus(f), ...);
 *
 * A node has an object on the bus once it was discovered (a client discovers, or a monitor listens, while it advertises); after that until
 * it is removed. Its services have theirs once it was connected, and keep them, as with the real one. Handles are unique over all nodes.
 *
 * where: the end of an object's path - "hci0", "dev_C0_00_00_00_00_01", "char0011" -, or NULL for every object. */
#pragma once
#include "base/span.h"

enum {                                         /* of characteristics: the properties octet, and what the real one says besides */
	FAKE_READ = 0x02, FAKE_WRITE_NO_RESPONSE = 0x04, FAKE_WRITE = 0x08, FAKE_NOTIFY = 0x10, FAKE_INDICATE = 0x20,
	FAKE_NO_ACQUIRE = 0x100,               /* neither AcquireWrite nor AcquireNotify: old, or built without */
	FAKE_ACQUIRED = 0x200,                 /* another program has it */
	FAKE_NEEDS_BOND = 0x400,               /* NotPermitted "Not paired" until then */
};
enum { FAKE_ADAPTER_OFF = 1, FAKE_ADAPTER_MONITORS = 2 };      /* 2: has AdvertisementMonitorManager1, as with -E */

enum fake_pairing {
	FAKE_PAIR_NEVER,                       /* AuthenticationFailed */
	FAKE_PAIR_JUST_WORKS,
	FAKE_PAIR_SHOWN,                       /* the agent shows the passkey, the node "types" it */
	FAKE_PAIR_ASKED,                       /* the node shows it, the agent is asked for it */
	FAKE_PAIR_CONFIRM,                     /* both show it */
};

enum { FAKE_UUIDS_MAX = 4 };

struct fake_node {                             /* texts must stay */
	const char *adapter;                   /* NULL = "hci0" */
	const char *address, *name;
	bool is_random;
	bool is_silent;                        /* does not advertise: fake_node_advertise() */
	int rssi;                              /* 0 = -60 */
	const char *uuids[FAKE_UUIDS_MAX];     /* advertised */
	uint16_t company;                      /* of the manufacturer data */
	struct span manufacturer;
	const char *service_data_uuid;
	struct span service_data;
	enum fake_pairing pairing;
	uint32_t passkey;
	uint16_t mtu;                          /* 0 = 247 */
	unsigned resolve_ms;                   /* from connected to services resolved; 0 = 10 */
};

struct fake_bluez;

struct fake_bluez *fake_bluez_new(void);       /* with a bus, without adapters */
struct fake_bluez *fake_bluez_free(struct fake_bluez *f);
const char *fake_bluez_bus(const struct fake_bluez *f);        /* D-Bus address */
/* bluetoothd dies: its name goes, its sockets hang up, links end, nodes without bond are forgotten. Then it is there again, under
 * another unique name. */
void fake_bluez_stop(struct fake_bluez *f);
void fake_bluez_start(struct fake_bluez *f);
/* The bus dies, and is there again (with bluetoothd, if that was running). */
void fake_bluez_bus_stop(struct fake_bluez *f);
void fake_bluez_bus_start(struct fake_bluez *f);

/* ---- adapters ---- */

void fake_adapter_add(struct fake_bluez *f, const char *name, const char *address, unsigned flags);
void fake_adapter_remove(struct fake_bluez *f, const char *name);      /* with its nodes' objects */
void fake_adapter_power(struct fake_bluez *f, const char *name, bool is_on);   /* off: discovery and links end */

/* ---- nodes ---- */

void fake_node_add(struct fake_bluez *f, const struct fake_node *n);
void fake_node_remove(struct fake_bluez *f, const char *address);      /* its object goes, as for a temporary one out of range */
void fake_node_advertise(struct fake_bluez *f, const char *address, int rssi); /* heard (again): RSSI, and its object if need be */
void fake_node_pairing(struct fake_bluez *f, const char *address, enum fake_pairing pairing, uint32_t passkey);
/* The real one hangs up sockets and says Connected=false in either order. */
void fake_node_disconnect(struct fake_bluez *f, const char *address, bool is_signal_first);
/* Who is behind a private address turns out, as when a bond resolves it: the object stays, its address changes. */
void fake_node_resolve(struct fake_bluez *f, const char *address, const char *identity);
bool fake_node_is_connected(struct fake_bluez *f, const char *address);
bool fake_node_is_paired(struct fake_bluez *f, const char *address);

/* ---- characteristics; the service is made when there is none of that UUID ---- */

uint16_t fake_characteristic_add(struct fake_bluez *f, const char *address, const char *service, const char *uuid, unsigned flags);
void fake_value_set(struct fake_bluez *f, uint16_t handle, struct span value); /* what ReadValue answers */
/* Over the acquired socket, or as PropertiesChanged; false: nobody subscribed. */
bool fake_notify(struct fake_bluez *f, uint16_t handle, struct span value);
void fake_stall(struct fake_bluez *f, uint16_t handle, bool is_stalled);       /* does not read its socket meanwhile */
void fake_hang_up(struct fake_bluez *f, uint16_t handle);              /* closes its sockets; the link stays */
bool fake_has_subscriber(struct fake_bluez *f, uint16_t handle);
bool fake_is_acquired(struct fake_bluez *f, uint16_t handle);          /* for writing */
/* All that was written to it, one way or another, in order; returns its length, also when it is more than max. */
size_t fake_written(struct fake_bluez *f, uint16_t handle, uint8_t *ret, size_t max);
size_t fake_writes(struct fake_bluez *f, uint16_t handle);     /* how many writes */
size_t fake_write_longest(struct fake_bluez *f, uint16_t handle);
/* Called in the fake's thread for each write, after it was kept; may call fake_notify_inside() only. */
typedef void fake_write_fn(void *ctx, struct fake_bluez *f, uint16_t handle, struct span value);
void fake_on_write(struct fake_bluez *f, uint16_t handle, fake_write_fn *fn, void *ctx);
void fake_notify_inside(struct fake_bluez *f, uint16_t handle, struct span value);

/* ---- what goes wrong, and what was asked ---- */

/* The next times calls of method fail; error NULL: they are never answered. times < 0: all of them. */
void fake_fail(struct fake_bluez *f, const char *where, const char *method, int times, const char *error, const char *text);
void fake_delay(struct fake_bluez *f, const char *where, const char *method, unsigned ms);     /* answers, and what comes of it, so late */
void fake_mend(struct fake_bluez *f);          /* forget both */
size_t fake_calls(struct fake_bluez *f, const char *where, const char *method);
/* "hci0 StartDiscovery\ndev_C0_00_00_00_00_01 Connect\n..."; for WriteValue with its type: "char0011 WriteValue command". Freed by the caller. */
char *fake_call_log(struct fake_bluez *f);
size_t fake_connects_at_once(struct fake_bluez *f);    /* most Connect calls that were unanswered at a time */
bool fake_is_discovering(struct fake_bluez *f, const char *adapter);
bool fake_has_agent(struct fake_bluez *f);
/* An incoming pairing, as when the node asks for security; the agent is asked. */
void fake_node_asks_pairing(struct fake_bluez *f, const char *address);
/* It is paired with without a question to anybody, as when the real one reads what needs encryption. */
void fake_node_bonds(struct fake_bluez *f, const char *address);
