/* app/gateway.h - the daemon put together: every module in one visible list, started in order and stopped in
 * reverse, and the callbacks by which neighbours that do not see each other meet. */
#pragma once
#include "admin/admin.h"
#include "config/config.h"
#include "delivery/coap_pull.h"
#include "delivery/multicast.h"
#include "directory/devices.h"
#include "directory/rd_coap.h"
#include "directory/registry.h"
#include "intake/intake.h"
#include "io/coap_endpoint.h"
#include "io/http_client.h"
#include "io/loop.h"
#include "io/service.h"
#include "io/worker.h"
#include "radio/ble.h"
#include "radio/lowpan.h"
#include "rollout/rollout_run.h"
#include "store/audit_log.h"
#include "store/db.h"
#include "store/image_cache.h"
#include "trust/trust.h"
#include "upstream/revocation_source.h"
#include "upstream/upstream.h"

struct multicast_members;

struct gateway_ble;
struct gateway_radios;
struct gateway_ble_resources;
struct smp_lock;

struct gateway {
	struct config *config;                 /* owned; replaced by a reload */
	struct loop *loop;
	struct service *service;
	struct worker_pool *workers;
	struct db *db;
	struct loop_io *db_io;
	struct audit_log *audit;
	struct image_cache *images;
	struct trust_anchors *anchors;
	struct http_client *http;
	struct upstream *upstream;
	struct revocation_source *revocation;
	struct intake *intake;
	struct devices *devices;
	struct registry *registry;
	struct coap_endpoint *coap;
	struct rd_coap *rd;
	struct rollout_world world;
	struct rollout_run *rollout;
	struct delivery_driver *coap_pull;
	struct lowpan *lowpan;
	struct gateway_radios *radios;
	struct ble *ble;                       /* NULL = off */
	struct gateway_ble *ble_side;
	struct gateway_ble_resources *ble_resources;   /* NULL = off */
	struct smp_lock *smp_lock;
	struct delivery_driver *smp_udp;
	struct delivery_driver *smp_ble;       /* NULL = off */
	struct delivery_driver *nordic_dfu;
	struct delivery_driver *multicast;     /* NULL = off */
	struct multicast_members *multicast_members;
	struct admin *admin;
	struct loop_signal *signals[3];
	struct loop_timer *status_timer;
	size_t n_started;
};

/* 0, or -errno with the reason logged and everything stopped again. Takes config. */
int gateway_start(struct gateway *g, struct config *config);
int gateway_run(struct gateway *g);
int gateway_log_priority(const struct config *c);
void gateway_stop(struct gateway *g);

/* app/anchors.c: the configured anchors with their files read; error says which one and why. */
int gateway_anchors_load(const struct config *c, struct trust_anchors **ret, struct buf *error);
/* CRLs shipped by hand for the anchors, handed to the intake. */
int gateway_crls_load(const struct config *c, struct intake *in, struct buf *error);
/* app/directory.c: devices, registrations, the CoAP server. */
int gateway_directory_start(struct gateway *g, struct buf *error);
void gateway_directory_stop(struct gateway *g);
void gateway_settings_apply(struct gateway *g, const struct config *c);
/* app/world.c: what rollout asks of directory and intake; which device asks a driver. */
void gateway_world_init(struct gateway *g);
coap_pull_who_fn gateway_who;
/* app/multicast.c: the multicast driver's neighbours. All but the sink do nothing when it is off. */
int gateway_multicast_start(struct gateway *g, struct buf *error);
void gateway_multicast_stop(struct gateway *g);
void gateway_multicast_reload(struct gateway *g);
void gateway_multicast_heard(struct gateway *g, const struct coap_peer *peer);
void gateway_multicast_device(struct gateway *g, const struct device *d);      /* it changed */
void gateway_multicast_removed(struct gateway *g, const char *device);
void gateway_multicast_registration(struct gateway *g, const struct registration *reg);        /* it came, changed or went */
void gateway_multicast_forget(struct gateway *g, const char *identity);        /* a credential went, or changed */
struct delivery_sink gateway_sink(struct gateway *g);  /* job_run's, and the driver hears of reports */
/* app/ble.c: Bluetooth LE. All do nothing when it is off. Who wants to hear of nodes has a row in its list. */
struct gateway_ble_hooks {                     /* each may be NULL */
	void (*health)(struct gateway *g, enum ble_health h);
	void (*node)(struct gateway *g, const struct ble_node *n);     /* every node, strangers, too */
	void (*heard)(struct gateway *g, const char *device, const struct ble_node *n);        /* devices' nodes only: it is awake */
	void (*gone)(struct gateway *g, const struct ble_node *n);
};
int gateway_ble_start(struct gateway *g, struct buf *error);
void gateway_ble_stop(struct gateway *g);
void gateway_ble_reload(struct gateway *g);
void gateway_ble_device(struct gateway *g, const struct device *d);    /* it is new, or changed */
void gateway_ble_device_gone(struct gateway *g, const char *id);
/* Which node a device is, by its address or its id; -EINVAL: it is none. And the other way; NULL: nobody's. */
int gateway_ble_id(const struct device *d, char ret[static BLE_ID_BYTES]);
const char *gateway_ble_device_of(const struct gateway *g, const char *node);
/* app/ble_resources.c: Bluetooth LE nodes as resources, in the directory and as devices that were seen. All do nothing when it is off. */
extern const struct gateway_ble_hooks gateway_ble_resources_hooks;
int gateway_ble_resources_start(struct gateway *g, struct buf *error);
void gateway_ble_resources_stop(struct gateway *g);
void gateway_ble_resources_reload(struct gateway *g);
struct admin_pages gateway_ble_pages(struct gateway *g);
/* app/smp.c: the drivers smp-udp and smp-ble. */
extern const struct gateway_ble_hooks gateway_smp_ble_hooks;
int gateway_smp_start(struct gateway *g);
void gateway_smp_stop(struct gateway *g);
void gateway_smp_reload(struct gateway *g);
/* app/nordic.c: the driver nordic-dfu, and its permits. */
int gateway_nordic_start(struct gateway *g);
void gateway_nordic_stop(struct gateway *g);
void gateway_nordic_reload(struct gateway *g);
/* app/lowpan.c: IPv6 links of radios. They are watched before anybody listens. */
int gateway_lowpan_start(struct gateway *g, struct buf *error);
void gateway_lowpan_stop(struct gateway *g);
void gateway_lowpan_reload(struct gateway *g);
void gateway_lowpan_attach(struct gateway *g);         /* the endpoint and the rollout's world are there */
void gateway_lowpan_peer(struct gateway *g, const struct coap_peer *peer);     /* somebody talked */
void gateway_lowpan_heard(struct gateway *g, const struct coap_peer *peer, const char *device);
uint32_t gateway_lowpan_wait(void *ctx, const struct coap_peer *peer);         /* coap_pull's */
/* The largest message of at most `bytes` that suits the link to this node. */
struct udp_address;
uint32_t gateway_lowpan_message_bytes(struct gateway *g, const struct udp_address *to, uint32_t bytes);
/* app/reload.c: read the file again; what can change while running does; text says what changed or what is wrong. */
int gateway_reload(struct gateway *g, struct buf *text);
