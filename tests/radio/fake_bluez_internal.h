/* tests/radio/fake_bluez_internal.h - what the files of the fake share. All of it under the lock. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <systemd/sd-bus.h>

#include "../private_bus.h"
#include "base/buf.h"
#include "radio/ble.h"
#include "fake_bluez.h"

enum { FAKE_ADAPTERS_MAX = 8, FAKE_NODES_MAX = 1100, FAKE_CHARACTERISTICS_MAX = 320, FAKE_SERVICES_MAX = 128, FAKE_FAULTS_MAX = 32,
       FAKE_PENDING_MAX = 128, FAKE_MONITORS_MAX = 8, FAKE_PATH_BYTES = 96, FAKE_TURN_MAX = 64 };

#define FAKE_ADAPTER_IFACE "org.bluez.Adapter1"
#define FAKE_DEVICE_IFACE "org.bluez.Device1"
#define FAKE_SERVICE_IFACE "org.bluez.GattService1"
#define FAKE_CHR_IFACE "org.bluez.GattCharacteristic1"
#define FAKE_AGENT_IFACE "org.bluez.Agent1"
#define FAKE_MONITOR_IFACE "org.bluez.AdvertisementMonitor1"

struct fake_adapter {
	char name[16], address[18], path[FAKE_PATH_BYTES];
	unsigned flags;
	bool is_on;
	char discoverer[64];                   /* unique name; "" = nobody */
	struct fake_monitor { char owner[64], path[FAKE_PATH_BYTES]; } monitors[FAKE_MONITORS_MAX];    /* active ones */
	size_t n_monitors;
};

struct fake_dev {
	struct fake_node c;
	char address[18], path[FAKE_PATH_BYTES];
	struct fake_adapter *adapter;
	bool is_exported, is_connected, is_resolved, is_paired, is_trusted, has_services, has_rssi;
	int rssi;
	int64_t resolve_at;                    /* ms; 0 = no */
	sd_bus_message *pair_call;
	bool is_pairing;
};

struct fake_svc {
	struct fake_dev *dev;
	uint16_t handle;
	const char *uuid;
	char path[FAKE_PATH_BYTES];
};

struct fake_chr {
	struct fake_svc *svc;
	uint16_t handle;
	const char *uuid;
	char path[FAKE_PATH_BYTES];
	unsigned flags;
	struct buf value, written;
	size_t n_writes, longest;
	int write_fd, notify_fd;               /* -1 = none */
	bool is_stalled;
	char notifying[64];                    /* for whom */
	fake_write_fn *fn;
	void *ctx;
};

struct fake_fault {
	char where[FAKE_PATH_BYTES], method[32], error[80], text[120];
	int times;
	unsigned delay_ms;                     /* a delay, no fault */
};

struct fake_bluez {
	struct private_bus daemon;
	pthread_t thread;
	pthread_mutex_t lock;
	int wake;
	bool quit, is_wanted;                  /* is_wanted: bluetoothd runs, or will with the bus */
	sd_bus *bus;
	struct fake_adapter adapters[FAKE_ADAPTERS_MAX];       /* "" = free */
	struct fake_dev devs[FAKE_NODES_MAX];
	size_t n_devs;
	struct fake_svc services[FAKE_SERVICES_MAX];
	size_t n_services;
	struct fake_chr chrs[FAKE_CHARACTERISTICS_MAX];
	size_t n_chrs;
	uint16_t next_handle;
	struct fake_fault faults[FAKE_FAULTS_MAX];
	size_t n_faults;
	struct fake_pending { sd_bus_message *m; int64_t due; } pending[FAKE_PENDING_MAX];     /* due 0: never */
	size_t n_pending, connects_at_once;
	struct buf log;
	char agent_owner[64], agent_path[FAKE_PATH_BYTES];
};

int64_t fake_now(void);
void fake_lock(struct fake_bluez *f);
void fake_unlock(struct fake_bluez *f);        /* what was said goes out */

/* fake_bluez_objects.c */
void fake_reply_objects(struct fake_bluez *f, sd_bus_message *m);
void fake_reply_all(struct fake_bluez *f, sd_bus_message *m);
void fake_say_changed(struct fake_bluez *f, const char *path, const char *iface, const char *name);   /* PropertiesChanged of one */
void fake_say_gone(struct fake_bluez *f, const char *path, const char *iface, const char *name);      /* the same: invalidated */
void fake_say_added(struct fake_bluez *f, const char *path);
void fake_say_removed(struct fake_bluez *f, const char *path, const char *iface);
struct fake_adapter *fake_adapter_at(struct fake_bluez *f, const char *path);
struct fake_dev *fake_dev_at(struct fake_bluez *f, const char *path);
struct fake_chr *fake_chr_at(struct fake_bluez *f, const char *path);

/* fake_bluez_device.c, fake_bluez_gatt.c: true = it is theirs, and is answered now or later */
bool fake_adapter_call(struct fake_bluez *f, struct fake_adapter *a, sd_bus_message *m, const char *method);
bool fake_agent_call(struct fake_bluez *f, sd_bus_message *m, const char *method);
bool fake_dev_call(struct fake_bluez *f, struct fake_dev *d, sd_bus_message *m, const char *method);
bool fake_chr_call(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m, const char *method);
bool fake_set(struct fake_bluez *f, sd_bus_message *m);        /* Properties.Set */
void fake_dev_due(struct fake_bluez *f, struct fake_dev *d);
void fake_dev_lost(struct fake_bluez *f, struct fake_dev *d, bool is_signal_first);
void fake_dev_unexport(struct fake_bluez *f, struct fake_dev *d);
void fake_client_gone(struct fake_bluez *f, const char *owner);
void fake_chr_hang_up(struct fake_chr *c);
void fake_chr_read(struct fake_bluez *f, struct fake_chr *c);

void fake_reply(sd_bus_message *m);
void fake_reply_error(sd_bus_message *m, const char *error, const char *text);
/* Drops calls of a method at a path that wait for their answer, answering them with this. */
void fake_pending_fail(struct fake_bluez *f, const char *path, const char *method, const char *error, const char *text);
