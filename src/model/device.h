/* model/device.h - the hardware (RFC 9019, 9124): identity, model, what runs on it, how it
 * sleeps, where it is in its life. Plain values, pure rules. */
#pragma once
#include "base/digest.h"
#include "base/time.h"

enum {
	DEVICE_ID_BYTES = 64, DEVICE_HW_BYTES = 32, DEVICE_VERSION_BYTES = 64, DEVICE_COMPONENTS_MAX = 8,
	DEVICE_COMPONENT_ID_BYTES = 64, DEVICE_IDENTITY_BYTES = 65, DEVICE_DRIVER_BYTES = 24, DEVICE_NAME_BYTES = 64,
	DEVICE_ADDRESS_BYTES = 80,
};

enum device_state { DEVICE_SEEN, DEVICE_ENROLLED, DEVICE_QUARANTINED, DEVICE_RETIRED, DEVICE_STATE_COUNT };

enum wake_kind { WAKE_ALWAYS, WAKE_POLLS, WAKE_WINDOW, WAKE_KIND_COUNT };      /* SL-1 */

struct wake_pattern {
	enum wake_kind kind;
	uint32_t period_s;                     /* expected time between wakes; 0 = unknown */
	uint32_t window_s;                     /* stays awake so long after it talked */
};

/* What one device must be to fit an update. */
struct device_model {
	bool has_vendor, has_class;
	uint8_t vendor_id[16], class_id[16];   /* UUIDs, network order */
	char hw_revision[DEVICE_HW_BYTES];
};

struct device_component {                      /* what is installed, as last reported */
	uint8_t id[DEVICE_COMPONENT_ID_BYTES]; /* encoded SUIT component identifier */
	uint8_t n_id;
	bool has_sequence;
	uint64_t sequence;                     /* SUIT sequence number of the installed manifest */
	bool has_manifest;
	struct digest manifest;                /* its manifest digest */
	char version[DEVICE_VERSION_BYTES];
};

enum device_proof { PROOF_SIGNATURE, PROOF_MAC, PROOF_NONE, PROOF_COUNT };     /* what the node can check (decision 10) */

struct device {
	char id[DEVICE_ID_BYTES];              /* unique; [A-Za-z0-9._-], chosen at enrolment, by default the endpoint name */
	char name[DEVICE_NAME_BYTES];          /* for people */
	enum device_state state;
	struct device_model model;
	struct device_component components[DEVICE_COMPONENTS_MAX];
	size_t n_components;
	struct wake_pattern wake;
	enum device_proof proof;
	char driver[DEVICE_DRIVER_BYTES];      /* "coap-pull", "smp-udp" */
	char identity[DEVICE_IDENTITY_BYTES];  /* security identity it must show; empty = none (open, by endpoint name) */
	struct wall enrolled_at, last_seen;
	char last_addr[80];
	char address[DEVICE_ADDRESS_BYTES];    /* where drivers that call it find it: HOST[:PORT]; empty = not told */
};

const char *device_state_name(enum device_state s);
int device_state_parse(struct span s, enum device_state *ret);
const char *wake_kind_name(enum wake_kind k);
int wake_kind_parse(struct span s, enum wake_kind *ret);
const char *device_proof_name(enum device_proof p);
int device_proof_parse(struct span s, enum device_proof *ret);
bool device_id_is_valid(struct span id);       /* 1..63 of [A-Za-z0-9._-], not starting with '.' or '-' */
struct device_component *device_component_find(struct device *d, struct span id);      /* NULL = not known */
const struct device_component *device_component_look(const struct device *d, struct span id);  /* the same, only to look */
/* Add or overwrite; -ENOSPC. */
int device_component_put(struct device *d, const struct device_component *c);
