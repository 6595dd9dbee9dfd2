/* config/config.h - the configuration as one struct of plain values, filled from TOML by the schema
 * (config/schema.h: a row per key with type, unit, range, default and one line of explanation). Strings are
 * owned by the config and never NULL; lists are NULL-terminated. Immutable after config_load(); a reload loads
 * a second one and config_diff() says what changed. */
#pragma once
#include "base/buf.h"

enum config_policy { CONFIG_APPROVE, CONFIG_AUTO };
enum config_revocation { CONFIG_HARD, CONFIG_GRACE, CONFIG_SOFT };
enum config_durable { CONFIG_DURABLE_COMMIT, CONFIG_DURABLE_MEMORY };

struct config_source {                         /* [[source]] */
	char *name;                            /* unique, [A-Za-z0-9._-] */
	char *kind;                            /* "https" | "folder" */
	char *url;                             /* https: of the envelope, or of an index (*.txt: one envelope URL a line) */
	char *path;                            /* folder */
	char *ca_file;                         /* "" = the system's */
	uint32_t poll_s, jitter_s, timeout_s, backoff_max_s;
	bool allow_http, allow_private;        /* reach plain http, loopback and private addresses */
	int policy;                            /* enum config_policy */
};

struct config_anchor {                         /* [[anchor]] */
	char *name;
	char *file;                            /* PEM certificate(s) or public key */
	char **vendor_ids, **class_ids, **hosts;
	int revocation;                        /* enum config_revocation */
	uint32_t grace_s;
	bool require_code_signing;
	bool allow_unidentified;               /* SU-14 exemption */
	char **crl_files;                      /* shipped by hand, for air-gapped sites */
};

enum config_permit_kind { CONFIG_PERMIT_LEGACY_DFU };

struct config_permit {                         /* [[permit]]: an exception, for one device, for a time */
	int kind;                              /* enum config_permit_kind */
	char *device, *until, *reason;         /* until: RFC 3339 */
};

struct config_policy_row {                     /* [[policy]]: for a model; overrides the source's */
	char *class_id;
	int policy;
};

enum config_ble_scan { CONFIG_BLE_SCAN_AUTO, CONFIG_BLE_SCAN_ACTIVE, CONFIG_BLE_SCAN_PASSIVE, CONFIG_BLE_SCAN_OFF };
enum config_ble_pairing { CONFIG_BLE_PAIRING_OFF, CONFIG_BLE_PAIRING_JUST_WORKS, CONFIG_BLE_PAIRING_PASSKEY };
enum config_link { CONFIG_LINK_802154, CONFIG_LINK_THREAD, CONFIG_LINK_868, CONFIG_LINK_ETHERNET };

struct config_multicast_group {                /* [[multicast_group]] */
	char *name;                            /* unique, at most 31 bytes: keys and counters are kept by it */
	char *interface, *address;
	uint32_t port, hop_limit;
	int link;                              /* enum config_link */
	uint32_t routers, pace_ms, slot_ms, fragment_bytes, min_members;
	uint32_t window_start_s, window_s, window_period_s;
	bool invite;
	char **devices, **vendor_ids, **class_ids, **sectors;  /* all that are given must fit; none given: every device */
};

enum config_lowpan_kind { CONFIG_LOWPAN_802154, CONFIG_LOWPAN_THREAD, CONFIG_LOWPAN_BLE };

struct config_lowpan {                         /* [[lowpan]] */
	char *interface;                       /* unique */
	int kind;                              /* enum config_lowpan_kind */
	bool create;
	char *parent;
	uint32_t pan_id, short_address, page, channel;         /* 65535, 65535, -, 255: as it is */
	char *key_file;                        /* refused, see radio/lowpan_plan.h */
	char *address;                         /* "fd00:15:4::1/64"; "" = none */
	bool advertise;
	uint32_t block_bytes, airtime_permille;        /* 0 = as usual for the kind; 0 = no budget */
	char **peers;                          /* BLE: "01:23:45:67:89:AB", "random 01:23:45:67:89:AB" */
};

struct config {
	char *file;                            /* where it was read from */
	char *state_dir;

	struct { char *level; } log;           /* error warning notice info debug */
	struct { uint32_t threads; } worker;

	struct {
		char **listen;                 /* coap:// and coaps:// addresses */
		char *cert_file, *key_file, *ca_file;
		uint32_t max_sessions, session_timeout_s, max_handshakes, max_observers;
		uint64_t block1_total_bytes, block1_peer_bytes, receive_buffer_bytes;
		bool forward_proxy;            /* serve manifest URIs from the cache by Proxy-Uri */
	} coap;

	struct {
		char *path, *lookup_ep_path, *lookup_res_path;         /* RD-5 */
		uint32_t max_endpoints, max_links, max_per_credential, grace_s, lifetime_default_s, freshness_s;
		uint64_t max_links_bytes;
		int durable;                   /* enum config_durable: 2.01 after the commit, or after memory */
		bool open;                     /* plain CoAP may register (RD-86) */
		bool open_anywhere;            /* ... from other than loopback and link-local addresses */
		bool auto_enrol;               /* demo: unknown devices are enrolled by what they claim; loopback only */
	} directory;

	struct {
		char **listen;                 /* "127.0.0.1:8080", "unix:/run/dormouse/api.sock" */
		char *cert_file, *key_file;
		char *token_file;              /* bearer token for TCP; loopback may go without when empty */
		uint32_t socket_mode;
	} http;

	struct { char *credentials_file; bool coap; } admin;   /* TOML-free lines: identity role hex-key; CoAP admin on/off */

	struct { uint64_t quota_bytes, image_max_bytes, envelope_max_bytes; } cache;
	struct { uint32_t refresh_max_s, max_age_s, timeout_s; bool allow_private; } revocation;
	struct { char *origin; } audit;
	struct { uint32_t retry_max, retry_s, history_days; } rollout;
	struct { char *path; uint32_t offer_max_age_s; } delivery;     /* path "fw" */

	struct { uint32_t message_bytes, ble_message_bytes, window, answer_ms, restart_s, proof_s; bool single_slot; } smp;

	struct {
		bool enabled;
		char **adapters;               /* "hci0" or addresses; none = all */
		int scan;                      /* enum config_ble_scan */
		uint32_t scan_s, scan_every_s, weakest_dbm, links, turn_s, idle_s, gone_s;
		char **services;               /* UUIDs: hear only who advertises one of them; none = everybody */
		int pairing;                   /* enum config_ble_pairing */
		char **pairing_nodes;          /* addresses that may pair */
		bool resources, open;          /* publish the ble: tree; read it over plain CoAP, too */
		char *host;                    /* of its URIs; "" = an address of this machine */
		char **closed_services;        /* UUIDs that the tree does not show */
	} ble;

	struct { uint32_t prn, answer_ms, restart_s; } nordic_dfu;

	struct {
		bool enabled;
		uint32_t gather_s, lifetime_s;
		/* man/dormouse-multicast.7, constants */
		uint32_t interleave, lost_max, sample_min, sample_max, unfinished, rounds_max, echo_every, announce_every, silent_end,
			credit, carousel, restart_skip, setup_parallel, setup_tries, setup_wait_s, pull_timeout_s, lazy_s;
	} multicast;

	struct config_source *sources; size_t n_sources;
	struct config_anchor *anchors; size_t n_anchors;
	struct config_policy_row *policies; size_t n_policies;
	struct config_permit *permits; size_t n_permits;
	struct config_multicast_group *multicast_groups; size_t n_multicast_groups;
	struct config_lowpan *lowpans; size_t n_lowpans;
};

/* Reads file, then file's directory dormouse.d/ *.toml in name order (later wins per key; [[tables]] add up).
 * Relative paths are relative to the file they stand in; ${CREDENTIALS_DIRECTORY} and ${STATE_DIRECTORY} at the start of a path are
 * replaced from the environment. error gets "FILE:LINE: KEY: what is wrong; what would be right" lines, all of them.
 * 0; -EINVAL refused; -errno not readable. */
int config_load(const char *file, struct config **ret, struct buf *error);
struct config *config_free(struct config *c);
/* The effective configuration as TOML with every key (`dormoused --check`); secrets are files, so none is in it. */
void config_print(const struct config *c, struct buf *ret);
/* Lines "key: old -> new" of what differs; keys that need a restart end with " (needs a restart)". Returns how many. */
size_t config_diff(const struct config *a, const struct config *b, struct buf *ret);
/* The sample file: every key at its default under a line that explains it, and one commented example of each array of tables. */
void config_print_sample(struct buf *ret);
/* For `dormoused --check`: every file named can be read, and secrets by their owner alone. error gets "KEY: PATH: why"
 * lines, all of them. 0 or -EINVAL. */
int config_check_files(const struct config *c, struct buf *error);
static inline void config_freep(struct config **c) { config_free(*c); }
