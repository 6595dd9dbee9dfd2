/* radio/ble.h - Bluetooth LE nodes through BlueZ: adapters that come and go, who is in range, and links to nodes on few connection
 * slots. What is said on a link is radio/gatt.h. Everything is asked of bluetoothd by D-Bus, asynchronously; when it is not there, is
 * restarted or loses its adapters, links end with an error, nodes go, and all comes back by itself. Loop thread.
 *
 * A node is known by its identity address: a public or static random one, or the one that BlueZ resolved by a bond. A private
 * address that nobody resolved is listed, but is nobody's identity (BLZ-8). Borrowed nodes hold until the loop's next turn. */
#pragma once
#include "base/time.h"
#include "base/span.h"
#include "io/loop.h"

enum {
	BLE_ID_BYTES = 24, BLE_ADDRESS_BYTES = 6, BLE_ADDRESS_TEXT_BYTES = 18, BLE_UUID_BYTES = 16, BLE_NAME_BYTES = 64, BLE_ADAPTER_BYTES = 16,
	BLE_SERVICES_MAX = 16, BLE_AD_BYTES_MAX = 256, BLE_NODES_MAX = 1000, BLE_ADAPTERS_MAX = 8, BLE_LINKS_MAX = 256,
	BLE_RSSI_UNKNOWN = 127, BLE_OWNER_BYTES = 24, BLE_REASON_BYTES = 128,
	BLE_CONNECT_TRIES = 5,
};

enum ble_health { BLE_NO_BUS, BLE_NO_BLUEZ, BLE_NO_ADAPTER, BLE_READY };
const char *ble_health_text(enum ble_health h);        /* "bluetoothd is not running", for people */

enum ble_scan { BLE_SCAN_AUTO, BLE_SCAN_ACTIVE, BLE_SCAN_PASSIVE, BLE_SCAN_OFF };      /* auto: passive where BlueZ offers it */
enum ble_pairing { BLE_PAIRING_OFF, BLE_PAIRING_JUST_WORKS, BLE_PAIRING_PASSKEY };

struct ble_settings {                          /* copied, lists too; all NULL-terminated, may be NULL */
	char *const *adapters;                 /* "hci0" or an address; none = all */
	enum ble_scan scan;
	uint32_t scan_s, scan_every_s;         /* active scanning in turns (BLZ-9) */
	char *const *services;                 /* UUIDs: hear only who advertises one of them; none = everybody */
	int weakest_dbm;                       /* not heard below; -127 = all are */
	uint32_t links;                        /* at a time, on one adapter */
	uint32_t turn_s;                       /* a link gives its slot up after this while others wait; 0 = never */
	uint32_t idle_s;                       /* a connection nobody uses is kept so long */
	uint32_t gone_s;                       /* a node not heard of for this long is gone */
	enum ble_pairing pairing;
	char *const *pairing_nodes;            /* addresses that may pair */
};

struct ble_node {
	char id[BLE_ID_BYTES];                 /* "ble-" and the address in hex; a private address: "" */
	uint8_t address[BLE_ADDRESS_BYTES];    /* as written: most significant first */
	bool is_random, is_private, is_bonded, is_connected, is_busy;  /* is_busy: an exclusive link has it */
	char name[BLE_NAME_BYTES];             /* clean UTF-8; may be empty */
	char adapter[BLE_ADAPTER_BYTES];
	int rssi;                              /* dBm; BLE_RSSI_UNKNOWN */
	uint8_t services[BLE_SERVICES_MAX][BLE_UUID_BYTES];    /* advertised; network order */
	size_t n_services;
	uint8_t ad[BLE_AD_BYTES_MAX];          /* what BlueZ tells of the advertisement, as AD structures: length, type, value */
	size_t n_ad;
	struct mono seen_at;
};

struct ble;

struct ble_ops {                               /* each may be NULL; may call everything but ble_free() */
	void (*health)(void *ctx, enum ble_health h);
	void (*node)(void *ctx, const struct ble_node *n);     /* appeared, or something but rssi and seen_at changed */
	void (*heard)(void *ctx, const struct ble_node *n);    /* advertised or talked: at most once a second a node */
	void (*gone)(void *ctx, const struct ble_node *n);
	/* Show this to whoever stands beside the node, or (is_wanted) ask for what the node shows: ble_passkey_answer(). */
	void (*passkey)(void *ctx, const struct ble_node *n, uint32_t passkey, bool is_wanted);
};

/* bus: D-Bus address, NULL = the system bus. Never fails for want of a bus. */
struct ble *ble_new(struct loop *l, const char *bus, const struct ble_settings *s, const struct ble_ops *ops, void *ctx);
struct ble *ble_free(struct ble *b);           /* links end without their ended() */
void ble_set(struct ble *b, const struct ble_settings *s);     /* after a reload */

enum ble_health ble_health(const struct ble *b);
struct ble_adapter { char name[BLE_ADAPTER_BYTES]; uint8_t address[BLE_ADDRESS_BYTES]; bool is_powered, is_scanning, is_passive; size_t n_links; };
size_t ble_adapters(const struct ble *b, struct ble_adapter ret[static BLE_ADAPTERS_MAX]);
const struct ble_node *ble_node_get(const struct ble *b, const char *id);      /* NULL = not in range, not connected, not bonded; or private */
const struct ble_node *ble_node_next(const struct ble *b, const struct ble_node *after);       /* NULL after = first */
size_t ble_node_count(const struct ble *b);
/* Scan all the time, between connects, until each begin has its end: somebody waits for a node to show up. */
void ble_search_begin(struct ble *b);
void ble_search_end(struct ble *b);

/* "ble-0123456789ab", "01:23:45:67:89:AB", "ble:01:23:45:67:89:ab" -> id. -EINVAL. */
int ble_id_parse(struct span text, char ret[static BLE_ID_BYTES]);
const char *ble_address_text(const uint8_t a[static BLE_ADDRESS_BYTES], char ret[static BLE_ADDRESS_TEXT_BYTES]);

/* ---- links ---- */

struct ble_link;

struct ble_link_ops {
	void (*ready)(void *ctx);              /* connected, and what it offers is known: radio/gatt.h may be used; once */
	/* The end, once, also before ready(): -ENOENT it is not in range (any more), -ETIMEDOUT, -ECONNRESET the link was lost, -EACCES
	 * it wants a pairing that is not allowed, -EAGAIN its turn is over and others wait (open again for the next turn),
	 * -ENOTCONN no adapter or no bluetoothd. why is for people. Then only ble_link_close() may be called. */
	void (*ended)(void *ctx, int error, const char *why);
};

struct ble_link_wish {
	const char *node;                      /* id */
	const char *owner;                     /* "smp-ble": who holds it, for people; at most BLE_OWNER_BYTES - 1 */
	bool is_exclusive;                     /* nobody else talks to the node meanwhile (SMP-9); others' links end with -EBUSY */
	bool is_fresh;                         /* what BlueZ remembers of its services is dropped first: it restarted as something else */
	uint32_t wait_s;                       /* for the node to show up, and for a slot; 0 = as long as it takes */
};

/* Neither callback comes from inside. -EINVAL not an id; -EBUSY another's exclusive link; -ENOSPC over BLE_LINKS_MAX. Several shared
 * links to one node use one connection. Who waited longest gets the next slot, shared links after exclusive ones of the same second. */
int ble_link_open(struct ble *b, const struct ble_link_wish *w, const struct ble_link_ops *ops, void *ctx, struct ble_link **ret);
struct ble_link *ble_link_close(struct ble_link *k);   /* returns NULL; ended() does not come any more, nor any callback of gatt.h */
const char *ble_link_node(const struct ble_link *k);

/* ---- pairing ---- */

typedef void ble_done_fn(void *ctx, int error, const char *why);
/* With a connected or reachable node, by the policy of the settings. -EACCES: it does not allow this; -ENOENT; -EBUSY. */
int ble_pair(struct ble *b, const char *node, ble_done_fn *done, void *ctx);
int ble_unpair(struct ble *b, const char *node, ble_done_fn *done, void *ctx); /* BlueZ forgets the bond and all it knew */
int ble_passkey_answer(struct ble *b, const char *node, uint32_t passkey);     /* -ENOENT: nobody asked */
