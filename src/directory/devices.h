/* directory/devices.h - who the hardware is: every known device with its credentials, in memory, written through to
 * store/device_store. Ties a CoAP peer or a registered endpoint to its device: by its security identity, or, where the
 * configuration opens plain CoAP, by its endpoint name. No sockets; time is an argument. Loop thread.
 *
 * What a node says about itself comes as attributes of its registration (man/dormouse-coap.7):
 *   vid, cid   vendor and class id, a UUID or 32 hex digits        hw    hardware revision
 *   ver        version of what runs, for people                    seq   SUIT sequence number of what runs
 *   mfd        digest of the manifest that runs, or its first bytes, in hex
 *   wake       "always", "polls,P", "window,P,W", or just P seconds between wakes (0 = always on)
 *   proof      "signature" (or "sig"), "mac", "none": what it can check
 * vid, cid and hw are the model of a device that was only seen. Once it is enrolled its model is what was enrolled: a claim
 * that contradicts it is ignored and logged (AT-4). The others are reports and always believed.
 *
 * Borrowed devices and credentials hold until the next call that is not const. */
#pragma once
#include "base/time.h"
#include "io/coap.h"
#include "model/device.h"
#include "store/device_store.h"

enum { DEVICES_SEEN_MAX = 1000, DEVICES_MAX = 100000 };

struct devices;

struct devices_config {
	struct db *db;                         /* NULL = memory only (tests): done functions are not called then */
	bool open;                             /* plain CoAP may speak for a device by its name */
	bool open_anywhere;                    /* ... from other than loopback and link-local addresses */
	bool auto_enrol;                       /* unknown devices that speak from loopback are enrolled by what they claim */
	/* Persisted already. NULL = not wanted. */
	void (*changed)(void *ctx, const struct device *d);            /* enrolled, changed, reports what it runs */
	void (*removed)(void *ctx, const char *id);
	void (*heard)(void *ctx, const struct device *d);              /* it talked just now: it is awake; at most once a second */
	void (*forget)(void *ctx, const char *identity);               /* its credential went or changed: end its sessions */
	void *ctx;
};

int devices_open(const struct devices_config *c, struct devices **ret);       /* loads */
struct devices *devices_close(struct devices *ds);
void devices_set_open(struct devices *ds, bool open, bool open_anywhere, bool auto_enrol);     /* after a reload */

const struct device *devices_get(const struct devices *ds, const char *id);
const struct device *devices_next(const struct devices *ds, const char *after);        /* in order of arrival; NULL after = first */
/* Whom this security identity speaks for; NULL = no known device. */
const struct device *devices_of_identity(const struct devices *ds, const char *identity);
size_t devices_count(const struct devices *ds);

/* Who is this peer, and what does it speak for? 0 and the device (ret, DEVICE_ID_BYTES); else a CoAP code: 4.01 nobody we can
 * know, 4.03 not enrolled, quarantined, or ep contradicts the identity. ep may be empty. Counts as having heard it. */
int devices_who(struct devices *ds, const struct coap_peer *peer, struct span ep, struct wall now, char *ret);
/* A secured peer talked (whatever it asked): heard(). */
void devices_heard(struct devices *ds, const struct coap_peer *peer, struct wall now);
/* This device was heard on a radio: heard(). at: where, for people. */
void devices_heard_at(struct devices *ds, const char *id, const char *at, struct wall now);
/* May this peer speak over plain CoAP at all? (RD-86) */
bool devices_may_plain(const struct devices *ds, const struct coap_peer *peer);

/* Which device does a registration of (endpoint, sector) by this peer belong to? 0 and its id, "" = none; it need not exist
 * yet. Else a CoAP code with *why: the name is that of a device with another identity, or the device is retired. An empty
 * endpoint asks for the name the credential gives (RD-23): the id. */
int devices_tie(const struct devices *ds, const struct coap_peer *peer, struct span endpoint, struct span sector, char *ret,
		const char **why);

/* What a registration or its update said. */
struct device_claim {
	const char *device;                    /* as devices_tie() gave it */
	struct span endpoint;
	bool has_model;                        /* vid, cid or hw were given */
	struct device_model model;
	bool has_sequence, has_wake, has_proof;
	uint64_t sequence;
	struct digest manifest;                /* whole, or its first bytes */
	uint8_t n_manifest;                    /* how many bytes of it were given; 0 = none */
	struct span version;                   /* empty = none */
	struct wake_pattern wake;
	enum device_proof proof;
};
/* From registration attributes; what is not right is left out. Borrows the attributes. */
void device_claim_parse(const struct span *attributes, size_t n, struct device_claim *ret);
/* Makes, enrols or changes its device. The device's id (borrowed) or NULL when this peer has none (too many seen). */
const char *devices_claim(struct devices *ds, const struct coap_peer *peer, const struct device_claim *claim, struct wall now);
/* It runs this manifest now (a confirmed job). */
void devices_installed(struct devices *ds, const char *id, struct span component, uint64_t sequence, const struct digest *manifest, const char *version);

/* ---- people ---- */
/* Make or replace; state, model, wake, proof, driver, name, identity are taken from d. -EINVAL id; -EEXIST the identity is
 * another device's; -ENOSPC. done after the commit. */
int devices_put(struct devices *ds, const struct device *d, struct wall now, db_done_fn *done, void *ctx);
int devices_set_state(struct devices *ds, const char *id, enum device_state s, struct wall now, db_done_fn *done, void *ctx);
int devices_remove(struct devices *ds, const char *id, db_done_fn *done, void *ctx);    /* with its credentials */

/* Add or replace. -EINVAL; -EPERM: it is from the credentials file. */
int devices_credential_put(struct devices *ds, const struct credential *c, db_done_fn *done, void *ctx);
int devices_credential_remove(struct devices *ds, const char *identity, enum credential_kind kind, db_done_fn *done, void *ctx);
/* A new random key for what is there, written to ret. -ENOENT; -EINVAL n is not 16 to CREDENTIAL_SECRET_MAX. */
int devices_credential_rotate(struct devices *ds, const char *identity, enum credential_kind kind, uint8_t *ret, size_t n,
			      db_done_fn *done, void *ctx);
/* In order; NULL after = first; the secret is in it: never print it. */
const struct credential *devices_credential_next(const struct devices *ds, const struct credential *after);
/* Key of a PSK identity: its length, or -ENOENT. */
int devices_psk(const struct devices *ds, struct span identity, uint8_t *ret, size_t max);
int devices_mac_key(const struct devices *ds, const char *device, uint8_t *ret, size_t max);
unsigned devices_roles(const struct devices *ds, const char *identity);        /* enum credential_role bits; 0 = none */

/* The file of people's PSK credentials: lines of identity, role (viewer or admin) and hex key; # starts a comment. Replaces what
 * was read before and ends the sessions of those; not written to the store. "" = no file, nobody. A file that others may read is
 * refused. error gets a line each; then nothing was changed. -EINVAL or -errno. */
int devices_read_credentials(struct devices *ds, const char *file, struct buf *error);

/* What the disk would not take, again: rows of what was removed, which would rise at the next start, and credentials. A few at a
 * time; returns ms until it wants to be called again, or -1 when nothing waits. */
int64_t devices_save_again(struct devices *ds);

/* "node1" for itself where it is a valid id; otherwise made readable and told apart by a digest. */
void device_id_of_endpoint(struct span endpoint, struct span sector, char ret[static DEVICE_ID_BYTES]);
