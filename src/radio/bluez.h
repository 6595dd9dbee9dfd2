/* radio/bluez.h - the mirror of what bluetoothd has on the bus: adapters, devices, their services and characteristics, kept by one
 * GetManagedObjects and signals (BLZ-3); and calls to bluetoothd, none of which waits (BLZ-1). For radio/ alone. When bluetoothd goes,
 * everything in the mirror goes, each with its *_gone(); when it comes, all is read anew (BLZ-2). What bluetoothd passes on are the
 * bytes of strangers: every count and length has a limit here, and what is over it is left out. Loop thread.
 *
 * Pointers to objects hold until their gone(). Fields are read by everybody and written by bluez*.c only. */
#pragma once
#include <uthash.h>

#include "io/dbus.h"
#include "radio/ble.h"

enum {
	BLUEZ_PATH_BYTES = 128, BLUEZ_OWNER_BYTES = 32,
	BLUEZ_CONNECT_MS = 45 * 1000, BLUEZ_PAIR_MS = 90 * 1000, BLUEZ_CALL_MS = 10 * 1000,
	BLUEZ_DEVICES_MAX = 2 * BLE_NODES_MAX,         /* of all adapters */
	BLUEZ_SERVICES_MAX = 64, BLUEZ_CHARACTERISTICS_MAX = 256,      /* of one device */
	BLUEZ_ATTRIBUTES_MAX = 32 * 1024,              /* services and characteristics of all */
	BLUEZ_CALLS_MAX = 4096, BLUEZ_RECALLS_MAX = 8,
	BLUEZ_VALUE_BYTES_MAX = 512,
};

enum bluez_kind { BLUEZ_ADAPTER, BLUEZ_DEVICE, BLUEZ_SERVICE, BLUEZ_CHARACTERISTIC };

struct bluez;

struct bluez_object {                          /* the head of each of the following */
	char path[BLUEZ_PATH_BYTES];
	enum bluez_kind kind;
	UT_hash_handle hh;
};

struct bluez_adapter {
	struct bluez_object object;
	const char *name;                      /* "hci0": the end of the path */
	uint8_t address[BLE_ADDRESS_BYTES];
	bool is_powered, is_discovering;
	bool has_monitors;                     /* AdvertisementMonitorManager1 with or_patterns */
	struct bluez_device *devices;          /* next */
};

struct bluez_device {
	struct bluez_object object;
	struct bluez_adapter *adapter;
	struct bluez_device *prev, *next;
	uint8_t address[BLE_ADDRESS_BYTES];    /* as BlueZ says: the identity where it knows it */
	bool is_random, is_connected, is_resolved;
	bool is_paired, is_bonded, tells_bonded;       /* BlueZ before 5.66 tells of pairing only: bluez_is_bonded() */
	char name[BLE_NAME_BYTES];
	int rssi;                              /* BLE_RSSI_UNKNOWN */
	bool has_rssi;                         /* it was told one, if only an unknown one: heard in the discovery that runs */
	bool is_inherited;                     /* it was connected when the mirror began: perhaps by us, before we were restarted */
	bool was_heard;                        /* it had an RSSI, or was connected, since it is in the mirror */
	uint8_t services_advertised[BLE_SERVICES_MAX][BLE_UUID_BYTES];
	size_t n_services_advertised;
	uint8_t ad[BLE_AD_BYTES_MAX];          /* ble_ad.h */
	size_t n_ad;
	struct bluez_service *services;        /* GATT, by handle */
	size_t n_services, n_characteristics;
	void *node;                            /* ble_node.c's */
};

struct bluez_service {
	struct bluez_object object;
	struct bluez_device *device;
	struct bluez_service *next;
	uint16_t handle;                       /* of its declaration: serviceXXXX */
	uint8_t uuid[BLE_UUID_BYTES];          /* network order */
	bool is_primary;
	struct bluez_characteristic *characteristics;  /* by handle */
};

struct bluez_characteristic {
	struct bluez_object object;
	struct bluez_service *service;
	struct bluez_characteristic *next;
	uint16_t handle;                       /* of its declaration: charXXXX */
	uint8_t uuid[BLE_UUID_BYTES];
	uint8_t properties;                    /* enum gatt_property, from Flags */
	bool wants_encryption;                 /* a flag encrypt-*, secure-* or authorize */
	bool can_acquire_write, can_acquire_notify;    /* BlueZ has WriteAcquired, NotifyAcquired for it */
	bool is_write_acquired, is_notify_acquired;    /* somebody has it */
	bool is_notifying;
	uint16_t mtu;                          /* 0 = not told */
};

enum bluez_changed {                           /* of a device */
	BLUEZ_HEARD = 0x01,                    /* an advertisement came: RSSI or data were told */
	BLUEZ_ABOUT = 0x02,                    /* name, services advertised, AD, address, bond */
	BLUEZ_CONNECTED = 0x04, BLUEZ_RESOLVED = 0x08,
};

struct bluez_ops {                             /* none may free the mirror */
	void (*health)(void *ctx);             /* there is a bus or not, a bluetoothd or not, or its objects were read: bluez_state() */
	void (*adapter)(void *ctx, struct bluez_adapter *a);           /* new, or changed */
	void (*adapter_gone)(void *ctx, struct bluez_adapter *a);      /* after its devices */
	void (*device)(void *ctx, struct bluez_device *d, unsigned changed);   /* new: everything that holds */
	void (*device_gone)(void *ctx, struct bluez_device *d);        /* before its services */
	void (*attributes)(void *ctx, struct bluez_device *d);         /* services or characteristics came or went */
	void (*characteristic_gone)(void *ctx, struct bluez_characteristic *c);
	void (*value)(void *ctx, struct bluez_characteristic *c, struct span value);   /* PropertiesChanged of Value: notified, or read by anybody */
	struct bluez_device *(*crowded)(void *ctx);    /* BLUEZ_DEVICES_MAX: whom to forget; NULL = nobody, the new one is left out */
};

enum bluez_state { BLUEZ_NO_BUS, BLUEZ_NOT_THERE, BLUEZ_READING, BLUEZ_THERE };

struct bluez *bluez_new(struct loop *l, const char *bus, const struct bluez_ops *ops, void *ctx);
struct bluez *bluez_free(struct bluez *z);     /* no callbacks; answers that are waited for do not come */
enum bluez_state bluez_state(const struct bluez *z);
sd_bus *bluez_bus(const struct bluez *z);      /* NULL = none */
const char *bluez_owner(const struct bluez *z);        /* its unique name; NULL = not there */

struct bluez_object *bluez_find(const struct bluez *z, const char *path);      /* any kind */
struct bluez_adapter *bluez_find_adapter(const struct bluez *z, const char *path);
struct bluez_device *bluez_find_device(const struct bluez *z, const char *path);
static inline bool bluez_is_bonded(const struct bluez_device *d) { return d->tells_bonded ? d->is_bonded : d->is_paired; }
struct bluez_characteristic *bluez_find_characteristic(const struct bluez_device *d, uint16_t handle);
void bluez_forget(struct bluez *z, struct bluez_device *d);    /* from the mirror alone, with device_gone(); it comes back when heard */
/* Ask for all objects again; done() when they were read (-ENOTCONN when bluetoothd went meanwhile, and then done() is the last). */
typedef void bluez_read_fn(void *ctx, int error);
struct bluez_call;
int bluez_read_again(struct bluez *z, bluez_read_fn *done, void *ctx, struct bluez_call **ret);

/* ---- calls ---- */

/* Once, unless cancelled: answer (borrowed) with error 0, or NULL with an errno (bluez_error()) and words for people. name is the D-Bus
 * name of the error, or "". When bluetoothd goes, error is -ENOTCONN. May make and cancel calls. Never from inside bluez_call(). */
typedef void bluez_answer_fn(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why);

/* A message to bluetoothd, to be filled and given to bluez_call(). -ENOTCONN. */
int bluez_message(struct bluez *z, const char *path, const char *interface, const char *member, sd_bus_message **ret);
/* m is borrowed. fn may be NULL: nobody is told. ret may be NULL; *ret holds until fn or cancel. -ENOTCONN; -ENOSPC BLUEZ_CALLS_MAX. */
int bluez_call(struct bluez *z, sd_bus_message *m, int64_t timeout_ms, bluez_answer_fn *fn, void *ctx, struct bluez_call **ret);
/* The same for a method without arguments. */
int bluez_call_plain(struct bluez *z, const char *path, const char *interface, const char *member, int64_t timeout_ms, bluez_answer_fn *fn,
		     void *ctx, struct bluez_call **ret);
struct bluez_call *bluez_cancel(struct bluez_call *c);         /* NULL is fine, returns NULL; fn does not come */
void bluez_touch(struct bluez *z);             /* after sending by sd-bus directly (a reply of an exported object) */
bool bluez_is_sender(const struct bluez *z, sd_bus_message *m);        /* of a call to an exported object: nobody else may make them */

/* D-Bus error to errno (BLE-10): name "org.bluez.Error.NotPermitted", text "Operation failed with ATT error: 0x03". Pure. */
int bluez_error(const char *name, const char *text);

#define BLUEZ_I_ADAPTER "org.bluez.Adapter1"
#define BLUEZ_I_DEVICE "org.bluez.Device1"
#define BLUEZ_I_SERVICE "org.bluez.GattService1"
#define BLUEZ_I_CHARACTERISTIC "org.bluez.GattCharacteristic1"
#define BLUEZ_I_MONITORS "org.bluez.AdvertisementMonitorManager1"
#define BLUEZ_I_AGENTS "org.bluez.AgentManager1"
