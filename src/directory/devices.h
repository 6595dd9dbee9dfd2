/* directory/devices.h - who the hardware is: every known device with its credentials, in memory, written through to
 * store/device_store. Ties a CoAP peer or a registered endpoint to its device: by its security identity, or, where the
 * configuration opens plain CoAP, by its endpoint name. No sockets; time is an argument. Loop thread.
 *
 * A device's model counts as enrolled: a claim in a registration that contradicts it is ignored and logged (AT-4). */
#pragma once
#include "base/time.h"
#include "io/coap.h"
#include "model/device.h"
#include "store/device_store.h"

enum { DEVICES_SEEN_MAX = 1000, DEVICES_MAX = 100000 };

struct devices;

struct devices_config {
	struct db *db;
	bool open;                             /* plain CoAP may speak for a device by its name */
	bool open_anywhere;                    /* ... from other than loopback and link-local addresses */
	bool auto_enrol;                       /* unknown devices that speak from loopback are enrolled by what they claim */
	/* Persisted already. NULL = not wanted. */
	void (*changed)(void *ctx, const struct device *d);            /* enrolled, changed, reports what it runs */
	void (*removed)(void *ctx, const char *id);
	void (*heard)(void *ctx, const struct device *d);              /* it talked just now: it is awake */
	void *ctx;
};

int devices_open(const struct devices_config *c, struct devices **ret);       /* loads */
struct devices *devices_close(struct devices *ds);
void devices_set_open(struct devices *ds, bool open, bool open_anywhere, bool auto_enrol);     /* after a reload */

const struct device *devices_get(const struct devices *ds, const char *id);
const struct device *devices_next(const struct devices *ds, const char *after);        /* in order of arrival; NULL after = first */
size_t devices_count(const struct devices *ds);

/* Who is this peer, and what does it speak for? 0 and the device (ret, DEVICE_ID_BYTES); else a CoAP code: 4.01 nobody we can
 * know, 4.03 not enrolled, quarantined, or ep contradicts the identity. ep may be empty. */
int devices_who(struct devices *ds, const struct coap_peer *peer, struct span ep, struct wall now, char *ret);

/* What a registration or its update said (vid, cid, hw, ver, seq, mfd, wake, proof). Makes, enrols or changes its device. */
struct device_claim {
	struct span endpoint;
	bool has_model;
	struct device_model model;
	bool has_sequence, has_manifest, has_wake, has_proof;
	uint64_t sequence;
	struct digest manifest;                /* whole, or its first bytes */
	uint8_t n_manifest;                    /* how many bytes of it were given */
	struct span version;
	struct wake_pattern wake;
	enum device_proof proof;
};
/* The device's id (borrowed) or NULL when this peer has none (too many seen). */
const char *devices_claim(struct devices *ds, const struct coap_peer *peer, const struct device_claim *claim, struct wall now);
/* It runs this manifest now (a confirmed job). */
void devices_installed(struct devices *ds, const char *id, struct span component, uint64_t sequence, const struct digest *manifest, const char *version);

/* ---- people ---- */
/* Make or replace; state, model, wake, proof, driver, name, identity are taken from d. -EINVAL id; -ENOSPC. done after the commit. */
int devices_put(struct devices *ds, const struct device *d, struct wall now, db_done_fn *done, void *ctx);
int devices_set_state(struct devices *ds, const char *id, enum device_state s, struct wall now, db_done_fn *done, void *ctx);
int devices_remove(struct devices *ds, const char *id, db_done_fn *done, void *ctx);    /* with its credentials */

int devices_credential_put(struct devices *ds, const struct credential *c, db_done_fn *done, void *ctx);
int devices_credential_remove(struct devices *ds, const char *identity, enum credential_kind kind, db_done_fn *done, void *ctx);
/* In order; NULL after = first; the secret is in it: never print it. */
const struct credential *devices_credential_next(const struct devices *ds, const struct credential *after);
/* Key of a PSK identity: its length, or -ENOENT. */
int devices_psk(const struct devices *ds, struct span identity, uint8_t *ret, size_t max);
int devices_mac_key(const struct devices *ds, const char *device, uint8_t *ret, size_t max);
unsigned devices_roles(const struct devices *ds, const char *identity);        /* enum credential_role bits; 0 = none */
