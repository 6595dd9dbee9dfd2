#include "config/schema.h"

#include "base/text.h"

enum { T_TOP, T_LOG, T_WORKER, T_COAP, T_DIRECTORY, T_HTTP, T_ADMIN, T_CACHE, T_REVOCATION, T_AUDIT, T_ROLLOUT, T_DELIVERY,
       T_SMP, T_BLE, T_NORDIC, T_MULTICAST, T_SOURCE, T_ANCHOR, T_POLICY, T_GROUP, T_LOWPAN, T_PERMIT, T_COUNT };

#define ARRAY_(type_, list_, count_, max_) \
	.element_bytes = sizeof(type_), .list_offset = offsetof(struct config, list_), \
	.count_offset = offsetof(struct config, count_), .max = (max_)

const struct schema_table schema_tables[] = {
	[T_TOP] = { .name = "", .line = "General" },
	[T_LOG] = { .name = "log", .line = "What goes to the journal or to standard error" },
	[T_WORKER] = { .name = "worker", .line = "Threads beside the event loop" },
	[T_COAP] = { .name = "coap", .line = "The CoAP server that nodes talk to" },
	[T_DIRECTORY] = { .name = "directory", .line = "The CoRE resource directory (RFC 9176)" },
	[T_HTTP] = { .name = "http", .line = "The HTTP API, metrics and event stream for people and programs" },
	[T_ADMIN] = { .name = "admin", .line = "Administration over CoAP" },
	[T_CACHE] = { .name = "cache", .line = "Images kept for nodes" },
	[T_REVOCATION] = { .name = "revocation", .line = "How CRLs and OCSP answers are fetched" },
	[T_AUDIT] = { .name = "audit", .line = "The audit log" },
	[T_ROLLOUT] = { .name = "rollout", .line = "Jobs: one update for one device" },
	[T_DELIVERY] = { .name = "delivery", .line = "What nodes ask for over CoAP" },
	[T_SMP] = { .name = "smp", .line = "Nodes that speak MCUmgr's SMP (drivers smp-udp and smp-ble)" },
	[T_BLE] = { .name = "ble", .line = "Bluetooth LE nodes, through BlueZ" },
	[T_MULTICAST] = { .name = "multicast", .line = "One transmission of an image for a whole group (dormouse-multicast(7))" },
	[T_SOURCE] = { .name = "source", .line = "Where updates come from; one table a source",
		       ARRAY_(struct config_source, sources, n_sources, CONFIG_SOURCES_MAX) },
	[T_ANCHOR] = { .name = "anchor", .line = "Who may sign updates, and for which devices; one table an anchor",
		       ARRAY_(struct config_anchor, anchors, n_anchors, CONFIG_ANCHORS_MAX) },
	[T_POLICY] = { .name = "policy", .line = "Exceptions to a source's policy, by device class",
		       ARRAY_(struct config_policy_row, policies, n_policies, CONFIG_POLICIES_MAX) },
	[T_GROUP] = { .name = "multicast_group", .line = "Who is reached by which multicast address; one table a group, the first that fits counts",
		      ARRAY_(struct config_multicast_group, multicast_groups, n_multicast_groups, CONFIG_MULTICAST_GROUPS_MAX) },
	[T_LOWPAN] = { .name = "lowpan", .line = "Radios below IPv6: 6LoWPAN and the like; one table an interface",
		       ARRAY_(struct config_lowpan, lowpans, n_lowpans, CONFIG_LOWPANS_MAX) },
	[T_NORDIC] = { .name = "nordic_dfu", .line = "Nodes with a bootloader of Nordic's, over Bluetooth LE (driver nordic-dfu)" },
	[T_PERMIT] = { .name = "permit", .line = "Exceptions from what is refused otherwise; one table for each device and time",
		       ARRAY_(struct config_permit, permits, n_permits, CONFIG_PERMITS_MAX) },
};
const size_t schema_n_tables = T_COUNT;

static const char *const bool_words[] = { "false", "true", NULL };
static const char *const permit_words[] = { [CONFIG_PERMIT_LEGACY_DFU] = "legacy-dfu", NULL };
static const char *const level_words[] = { "error", "warning", "notice", "info", "debug", NULL };
static const char *const durable_words[] = { [CONFIG_DURABLE_COMMIT] = "commit", [CONFIG_DURABLE_MEMORY] = "memory", NULL };
static const char *const kind_words[] = { "https", "folder", NULL };
static const char *const policy_words[] = { [CONFIG_APPROVE] = "approve", [CONFIG_AUTO] = "auto", NULL };
static const char *const revocation_words[] = { [CONFIG_HARD] = "hard", [CONFIG_GRACE] = "grace", [CONFIG_SOFT] = "soft", NULL };

static const char *const ble_scan_words[] = { [CONFIG_BLE_SCAN_AUTO] = "auto", [CONFIG_BLE_SCAN_ACTIVE] = "active",
					      [CONFIG_BLE_SCAN_PASSIVE] = "passive", [CONFIG_BLE_SCAN_OFF] = "off", NULL };
static const char *const ble_pairing_words[] = { [CONFIG_BLE_PAIRING_OFF] = "off", [CONFIG_BLE_PAIRING_JUST_WORKS] = "just-works",
						 [CONFIG_BLE_PAIRING_PASSKEY] = "passkey", NULL };
static const char *const link_words[] = { [CONFIG_LINK_802154] = "802.15.4", [CONFIG_LINK_THREAD] = "thread", [CONFIG_LINK_868] = "868",
					  [CONFIG_LINK_ETHERNET] = "ethernet", NULL };

static const char *const lowpan_kind_words[] = { [CONFIG_LOWPAN_802154] = "802.15.4", [CONFIG_LOWPAN_THREAD] = "thread",
						 [CONFIG_LOWPAN_BLE] = "ble", NULL };

#define C_(field_) .offset = offsetof(struct config, field_)
#define S_(field_) .table = T_SOURCE, .key = #field_, .offset = offsetof(struct config_source, field_)
#define A_(field_) .table = T_ANCHOR, .key = #field_, .offset = offsetof(struct config_anchor, field_)
#define P_(field_) .table = T_POLICY, .key = #field_, .offset = offsetof(struct config_policy_row, field_)
#define B_(field_) .table = T_BLE, .key = #field_, .offset = offsetof(struct config, ble.field_)
#define M_(field_) .table = T_MULTICAST, .key = #field_, .offset = offsetof(struct config, multicast.field_)
#define G_(field_) .table = T_GROUP, .key = #field_, .offset = offsetof(struct config_multicast_group, field_)
#define L_(field_) .table = T_LOWPAN, .key = #field_, .offset = offsetof(struct config_lowpan, field_)
#define W_(field_) .table = T_PERMIT, .key = #field_, .offset = offsetof(struct config_permit, field_)
#define STRING_(syntax_) .type = SCHEMA_STRING, .syntax = (syntax_)
#define LIST_(syntax_) .type = SCHEMA_LIST, .syntax = (syntax_)
#define BOOL_ .type = SCHEMA_BOOL, .words = bool_words
#define ENUM_(words_) .type = SCHEMA_ENUM, .syntax = SYNTAX_WORD, .words = (words_)
#define WORD_(words_) .type = SCHEMA_STRING, .syntax = SYNTAX_WORD, .words = (words_)
#define COUNT_(min_, max_) .type = SCHEMA_U32, .min = (min_), .max = (max_)
#define SECONDS_(min_, max_) .type = SCHEMA_U32, .unit = UNIT_SECONDS, .min = (min_), .max = (max_)
#define BYTES_(min_, max_) .type = SCHEMA_U64, .unit = UNIT_BYTES, .min = (min_), .max = (max_)
#define RESTART_ .restart = true

enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };
#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

const struct schema_key schema_keys[] = {
	{ T_TOP, "state_dir", C_(state_dir), STRING_(SYNTAX_PATH), .min = 1, .def = "/var/lib/dormouse", RESTART_,
	  .line = "Where the database, images and keys live; ${STATE_DIRECTORY} when systemd sets it" },

	{ T_LOG, "level", C_(log.level), WORD_(level_words), .def = "info",
	  .line = "Least important messages that are written: error, warning, notice, info or debug" },

	{ T_WORKER, "threads", C_(worker.threads), COUNT_(1, 32), .def = "2", RESTART_,
	  .line = "Threads that hash, verify and write" },

	{ T_COAP, "listen", C_(coap.listen), LIST_(SYNTAX_COAP_ADDRESS), .def = "coap://[::]:5683 coaps://[::]:5684", RESTART_,
	  .line = "Addresses: coap:// is plain UDP, coaps:// is DTLS; [::] takes IPv4 as well; port 0 picks a free one" },
	{ T_COAP, "cert_file", C_(coap.cert_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "PEM certificate chain shown to DTLS clients; empty: pre-shared keys only" },
	{ T_COAP, "key_file", C_(coap.key_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "PEM private key of cert_file; readable by the daemon alone" },
	{ T_COAP, "ca_file", C_(coap.ca_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "PEM certificates that client certificates must lead to; needs cert_file" },
	{ T_COAP, "max_sessions", C_(coap.max_sessions), COUNT_(1, 1000000), .def = "10000", RESTART_,
	  .line = "Most peers with state at a time; the longest idle gives way" },
	{ T_COAP, "session_timeout_s", C_(coap.session_timeout_s), SECONDS_(10, DAY), .def = "300", RESTART_,
	  .line = "How long the state of a silent peer is kept" },
	{ T_COAP, "max_handshakes", C_(coap.max_handshakes), COUNT_(1, 100000), .def = "10000", RESTART_,
	  .line = "Most unfinished DTLS handshakes at a time" },
	{ T_COAP, "max_observers", C_(coap.max_observers), COUNT_(0, 1000000), .def = "10000", RESTART_,
	  .line = "Most observations at a time" },
	{ T_COAP, "block1_total_bytes", C_(coap.block1_total_bytes), BYTES_(64 * KIB, GIB), .def = "16 MiB", RESTART_,
	  .line = "Memory for unfinished uploads of all peers together" },
	{ T_COAP, "block1_peer_bytes", C_(coap.block1_peer_bytes), BYTES_(KIB, GIB), .def = "128 KiB", RESTART_,
	  .line = "Memory for unfinished uploads of one peer" },
	{ T_COAP, "receive_buffer_bytes", C_(coap.receive_buffer_bytes), BYTES_(64 * KIB, 256 * MIB), .def = "4 MiB", RESTART_,
	  .line = "Socket receive buffer asked of the kernel" },
	{ T_COAP, "forward_proxy", C_(coap.forward_proxy), BOOL_, .def = "true", RESTART_,
	  .line = "Serve payload URIs of known manifests from the cache to nodes that send Proxy-Uri" },

	{ T_DIRECTORY, "path", C_(directory.path), STRING_(SYNTAX_ROUTE), .min = 1, .def = "rd", RESTART_,
	  .line = "Path of the registration resource; LwM2M clients expect rd" },
	{ T_DIRECTORY, "lookup_ep_path", C_(directory.lookup_ep_path), STRING_(SYNTAX_ROUTE), .min = 1, .def = "rd-lookup/ep", RESTART_,
	  .line = "Path of the endpoint lookup" },
	{ T_DIRECTORY, "lookup_res_path", C_(directory.lookup_res_path), STRING_(SYNTAX_ROUTE), .min = 1, .def = "rd-lookup/res", RESTART_,
	  .line = "Path of the resource lookup" },
	{ T_DIRECTORY, "max_endpoints", C_(directory.max_endpoints), COUNT_(1, 10000000), .def = "50000",
	  .line = "Most registrations" },
	{ T_DIRECTORY, "max_links", C_(directory.max_links), COUNT_(1, 4096), .def = "64",
	  .line = "Most links in one registration" },
	{ T_DIRECTORY, "max_per_credential", C_(directory.max_per_credential), COUNT_(1, 10000000), .def = "64",
	  .line = "Most registrations made with one credential" },
	{ T_DIRECTORY, "grace_s", C_(directory.grace_s), SECONDS_(0, 365 * DAY), .def = "86400",
	  .line = "How long an expired registration can still be renewed under its old location" },
	{ T_DIRECTORY, "lifetime_default_s", C_(directory.lifetime_default_s), SECONDS_(60, UINT32_MAX), .def = "90000",
	  .line = "Lifetime of a registration that names none" },
	{ T_DIRECTORY, "max_links_bytes", C_(directory.max_links_bytes), BYTES_(256, MIB), .def = "16 KiB",
	  .line = "Most bytes of links in one registration" },
	{ T_DIRECTORY, "durable", C_(directory.durable), ENUM_(durable_words), .def = "commit",
	  .line = "When a registration is acknowledged: after the commit to disk (commit) or at once (memory)" },
	{ T_DIRECTORY, "freshness_s", C_(directory.freshness_s), SECONDS_(0, 3600), .def = "0",
	  .line = "Registering, renewing and removing need an Echo (RFC 9175) at most this old; 0: not asked for" },
	{ T_DIRECTORY, "open", C_(directory.open), BOOL_, .def = "false",
	  .line = "Let plain CoAP register and search, from loopback and link-local addresses; nobody proves who they are" },
	{ T_DIRECTORY, "open_anywhere", C_(directory.open_anywhere), BOOL_, .def = "false",
	  .line = "With open: from every address" },
	{ T_DIRECTORY, "auto_enrol", C_(directory.auto_enrol), BOOL_, .def = "false",
	  .line = "For demonstrations: enrol unknown devices by what they claim; every coap.listen must be loopback" },

	{ T_HTTP, "listen", C_(http.listen), LIST_(SYNTAX_HTTP_ADDRESS), .def = "127.0.0.1:8080 unix:/run/dormouse/api.sock", RESTART_,
	  .line = "Addresses and Unix sockets; other addresses than loopback need cert_file and token_file" },
	{ T_HTTP, "cert_file", C_(http.cert_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "PEM certificate chain for HTTPS on the TCP addresses; empty: plain HTTP" },
	{ T_HTTP, "key_file", C_(http.key_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "PEM private key of cert_file; readable by the daemon alone" },
	{ T_HTTP, "token_file", C_(http.token_file), STRING_(SYNTAX_PATH), .def = "", RESTART_,
	  .line = "File with the bearer token asked of TCP clients; empty: none is asked (loopback only)" },
	{ T_HTTP, "socket_mode", C_(http.socket_mode), .type = SCHEMA_U32, .unit = UNIT_MODE, .min = 0, .max = 0777, .def = "0660", RESTART_,
	  .line = "Permissions of the Unix sockets; who may write to them may administer" },

	{ T_ADMIN, "credentials_file", C_(admin.credentials_file), STRING_(SYNTAX_PATH), .def = "",
	  .line = "Lines of identity, role (viewer or admin) and hex key for DTLS; readable by the daemon alone" },
	{ T_ADMIN, "coap", C_(admin.coap), BOOL_, .def = "false", RESTART_,
	  .line = "Serve administration over coaps to the identities in credentials_file" },

	{ T_CACHE, "quota_bytes", C_(cache.quota_bytes), BYTES_(MIB, 1ull << 50), .def = "2 GiB",
	  .line = "Disk space for images; unused ones give way" },
	{ T_CACHE, "image_max_bytes", C_(cache.image_max_bytes), BYTES_(KIB, 1ull << 40), .def = "64 MiB", RESTART_,
	  .line = "Largest image accepted" },
	{ T_CACHE, "envelope_max_bytes", C_(cache.envelope_max_bytes), BYTES_(KIB, 64 * MIB), .def = "1 MiB", RESTART_,
	  .line = "Largest envelope accepted, with the payloads integrated in it" },

	{ T_REVOCATION, "refresh_max_s", C_(revocation.refresh_max_s), SECONDS_(1, 30 * DAY), .def = "3600", RESTART_,
	  .line = "Fetch CRLs and OCSP answers again at the latest after this time" },
	{ T_REVOCATION, "max_age_s", C_(revocation.max_age_s), SECONDS_(MINUTE, 365 * DAY), .def = "604800", RESTART_,
	  .line = "Oldest OCSP answer, and oldest CRL without a next update, that counts as fresh" },
	{ T_REVOCATION, "timeout_s", C_(revocation.timeout_s), SECONDS_(1, HOUR), .def = "20", RESTART_,
	  .line = "How long a responder may take" },
	{ T_REVOCATION, "allow_private", C_(revocation.allow_private), BOOL_, .def = "false", RESTART_,
	  .line = "Let the addresses in certificates lead to loopback and private networks" },

	{ T_AUDIT, "origin", C_(audit.origin), STRING_(SYNTAX_NAME), .min = 1, .def = "dormouse", RESTART_,
	  .line = "Name of this log in its signed checkpoints; different for each gateway" },

	{ T_ROLLOUT, "retry_max", C_(rollout.retry_max), COUNT_(0, 1000), .def = "5", RESTART_,
	  .line = "How often a failed job is tried again" },
	{ T_ROLLOUT, "retry_s", C_(rollout.retry_s), SECONDS_(1, 30 * DAY), .def = "600", RESTART_,
	  .line = "Pause before the first retry; doubles with each" },
	{ T_ROLLOUT, "history_days", C_(rollout.history_days), .type = SCHEMA_U32, .unit = UNIT_DAYS, .min = 1, .max = 36500, .def = "400", RESTART_,
	  .line = "How long finished jobs are kept" },

	{ T_DELIVERY, "path", C_(delivery.path), STRING_(SYNTAX_ROUTE), .min = 1, .def = "fw", RESTART_,
	  .line = "Path below which nodes find offers, images and the report resource" },
	{ T_DELIVERY, "offer_max_age_s", C_(delivery.offer_max_age_s), SECONDS_(1, DAY), .def = "60", RESTART_,
	  .line = "Max-Age of an offer" },

	{ T_SMP, "message_bytes", C_(smp.message_bytes), COUNT_(128, 2048), .def = "256",
	  .line = "Largest message in bytes, unless a node takes less; about 1200 where no loss is feared, 300 or less on 802.15.4" },
	{ T_SMP, "ble_message_bytes", C_(smp.ble_message_bytes), COUNT_(128, 2048), .def = "2048",
	  .line = "The same over Bluetooth LE, where messages go in parts and nothing is lost" },
	{ T_SMP, "window", C_(smp.window), COUNT_(1, 16), .def = "4",
	  .line = "Chunks of an image in flight; fewer with nodes that have fewer buffers, one after a loss" },
	{ T_SMP, "answer_ms", C_(smp.answer_ms), COUNT_(50, 60000), .def = "1000",
	  .line = "Milliseconds until what was not answered is sent again; doubles up to four seconds" },
	{ T_SMP, "restart_s", C_(smp.restart_s), SECONDS_(5, 3600), .def = "300",
	  .line = "How long a node may take to restart, with the swap of its images" },
	{ T_SMP, "proof_s", C_(smp.proof_s), SECONDS_(0, DAY), .def = "10",
	  .line = "How long a new image must run before it is confirmed" },
	{ T_SMP, "single_slot", C_(smp.single_slot), BOOL_, .def = "false",
	  .line = "Also update nodes with a single slot, which cannot test an image and go back" },

	{ B_(enabled), BOOL_, .def = "false", RESTART_,
	  .line = "Use the Bluetooth adapters that BlueZ offers" },
	{ B_(adapters), LIST_(SYNTAX_ADAPTER), .def = "",
	  .line = "Adapters to use, by name (hci0) or address; empty: all" },
	{ B_(scan), ENUM_(ble_scan_words), .def = "auto",
	  .line = "auto: passive where BlueZ offers it, else active in turns; active, passive or off" },
	{ B_(scan_s), SECONDS_(1, HOUR), .def = "5",
	  .line = "Length of a turn of active scanning" },
	{ B_(scan_every_s), SECONDS_(1, DAY), .def = "60",
	  .line = "From the begin of one turn to the next" },
	{ B_(weakest_dbm), COUNT_(20, 127), .def = "127",
	  .line = "Nodes heard weaker than minus this many dBm are left out; 127: none" },
	{ B_(services), LIST_(SYNTAX_UUID), .def = "",
	  .line = "Hear only nodes that advertise one of these services, by UUID; empty: every node" },
	{ B_(links), COUNT_(1, 32), .def = "4",
	  .line = "Connections that one adapter holds at a time" },
	{ B_(turn_s), SECONDS_(0, DAY), .def = "300",
	  .line = "A link gives its connection up after this while other nodes wait; 0: never" },
	{ B_(idle_s), SECONDS_(0, HOUR), .def = "10",
	  .line = "How long a connection that nobody uses is kept" },
	{ B_(gone_s), SECONDS_(10, 30 * DAY), .def = "3600",
	  .line = "A node that was not heard of for this long is gone" },
	{ B_(pairing), ENUM_(ble_pairing_words), .def = "off",
	  .line = "off; just-works: without a proof, only the nodes of pairing_nodes; passkey: a person reads or types six digits" },
	{ B_(pairing_nodes), LIST_(SYNTAX_ADAPTER), .def = "",
	  .line = "Addresses of nodes that may pair" },
	{ B_(resources), BOOL_, .def = "true", RESTART_,
	  .line = "Publish nodes, services and characteristics as CoAP and HTTP resources, and register the nodes" },
	{ B_(host), STRING_(SYNTAX_HOST), .def = "",
	  .line = "Name or address by which clients reach these resources; empty: coap.listen's, or an address of this machine" },
	{ B_(open), BOOL_, .def = "false",
	  .line = "Let plain CoAP clients on loopback and link-local addresses read them, too; writing always needs the admin role" },
	{ B_(closed_services), LIST_(SYNTAX_UUID), .def = "",
	  .line = "UUIDs of services that are not published; those for firmware updates never are" },

	{ T_NORDIC, "prn", C_(nordic_dfu.prn), COUNT_(0, 1000), .def = "12",
	  .line = "Packets between two receipts of the node; fewer for bootloaders that are overrun, 0: none" },
	{ T_NORDIC, "answer_ms", C_(nordic_dfu.answer_ms), COUNT_(1000, 60000), .def = "10000",
	  .line = "Milliseconds until a link to a bootloader that does not answer is given up and made anew" },
	{ T_NORDIC, "restart_s", C_(nordic_dfu.restart_s), SECONDS_(5, 3600), .def = "120",
	  .line = "How long a node may take to show up in its bootloader, and again as its application" },

	{ M_(enabled), BOOL_, .def = "false", RESTART_,
	  .line = "Deliver by multicast to the devices of a [[multicast_group]] when it costs less than one by one" },
	{ M_(gather_s), SECONDS_(0, DAY), .def = "60", RESTART_,
	  .line = "How long the first device of a session waits for the others of its group" },
	{ M_(lifetime_s), SECONDS_(60, 30 * DAY), .def = "604800", RESTART_,
	  .line = "Longest life of a session" },
	{ M_(interleave), COUNT_(1, 256), .def = "8", RESTART_,
	  .line = "Generations sent in turns, so that a burst of losses hurts each a little" },
	{ M_(lost_max), COUNT_(16, 2048), .def = "160", RESTART_,
	  .line = "Most losses of a generation that nodes can make good, unless they say less" },
	{ M_(sample_min), COUNT_(1, 255), .def = "8", RESTART_,
	  .line = "Fewest answers asked for to estimate the loss" },
	{ M_(sample_max), COUNT_(1, 255), .def = "64", RESTART_,
	  .line = "Most answers asked for to estimate the loss" },
	{ M_(unfinished), COUNT_(1, 1000), .def = "4", RESTART_,
	  .line = "Generations, over all nodes, that the parity sent in advance may leave unfinished" },
	{ M_(rounds_max), COUNT_(1, 1000), .def = "40", RESTART_,
	  .line = "Most repair rounds of a session" },
	{ M_(echo_every), COUNT_(1, 1000), .def = "8", RESTART_,
	  .line = "Reports after which the group is told what is known already" },
	{ M_(announce_every), COUNT_(16, 65535), .def = "256", RESTART_,
	  .line = "Frames between two announcements" },
	{ M_(silent_end), COUNT_(1, 100), .def = "2", RESTART_,
	  .line = "Final questions without an answer that end the sending" },
	{ M_(credit), COUNT_(16, 65535), .def = "1024", RESTART_,
	  .line = "Frames that may be sent for each sign of life from the group" },
	{ M_(carousel), COUNT_(0, 100), .def = "3", RESTART_,
	  .line = "Further windows for nodes that slept through some" },
	{ M_(restart_skip), COUNT_(2, 1024), .def = "64", RESTART_,
	  .line = "Parity rows of each generation left out after a restart, so that none is sent twice" },
	{ M_(setup_parallel), COUNT_(1, 64), .def = "8", RESTART_,
	  .line = "Nodes that are set up at a time" },
	{ M_(setup_tries), COUNT_(1, 20), .def = "4", RESTART_,
	  .line = "How often a node is asked to take part" },
	{ M_(setup_wait_s), SECONDS_(1, DAY), .def = "300", RESTART_,
	  .line = "Longest wait for nodes that were not set up yet" },
	{ M_(pull_timeout_s), SECONDS_(10, DAY), .def = "600", RESTART_,
	  .line = "How long a node that fetches the rest by itself may be silent" },
	{ M_(lazy_s), SECONDS_(1, 30 * DAY), .def = "1800", RESTART_,
	  .line = "After the sending: how long nodes may take to be heard of before they are served one by one" },

	{ S_(name), STRING_(SYNTAX_NAME), .min = 1, .required = true, .def = "", .example = "acme",
	  .line = "Name in the log, the API and metrics; unique" },
	{ S_(kind), WORD_(kind_words), .required = true, .def = "", .example = "https",
	  .line = "https: poll a server; folder: watch a directory for envelopes dropped in it" },
	{ S_(url), STRING_(SYNTAX_URL), .def = "", .example = "https://updates.acme.example/lamp/latest.suit",
	  .line = "https: an envelope, or an index that ends in .txt with an envelope's URL on each line" },
	{ S_(path), STRING_(SYNTAX_PATH), .def = "",
	  .line = "folder: the directory" },
	{ S_(ca_file), STRING_(SYNTAX_PATH), .def = "",
	  .line = "https: PEM certificates that the server's must lead to; empty: the system's" },
	{ S_(poll_s), SECONDS_(1, 30 * DAY), .def = "3600",
	  .line = "Pause between polls" },
	{ S_(jitter_s), SECONDS_(0, DAY), .def = "300",
	  .line = "Random part added to each pause" },
	{ S_(timeout_s), SECONDS_(1, HOUR), .def = "60",
	  .line = "How long the server may stall" },
	{ S_(backoff_max_s), SECONDS_(1, 30 * DAY), .def = "21600",
	  .line = "Longest pause after failures" },
	{ S_(allow_http), BOOL_, .def = "false",
	  .line = "Accept http:// URLs; authenticity still comes from signatures" },
	{ S_(allow_private), BOOL_, .def = "false",
	  .line = "Accept servers on loopback and private addresses" },
	{ S_(policy), ENUM_(policy_words), .def = "approve",
	  .line = "approve: a person releases each update; auto: a verified update starts by itself" },

	{ A_(name), STRING_(SYNTAX_NAME), .min = 1, .required = true, .def = "", .example = "acme-root",
	  .line = "Name in verdicts; unique" },
	{ A_(file), STRING_(SYNTAX_PATH), .min = 1, .required = true, .def = "", .example = "/etc/dormouse/anchors/acme-root.pem",
	  .line = "PEM certificates of an authority, or a PEM public key" },
	{ A_(vendor_ids), LIST_(SYNTAX_VENDOR), .min = 1, .required = true, .def = "", .example = "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe",
	  .line = "Vendor UUIDs it may sign for, or \"any\"" },
	{ A_(class_ids), LIST_(SYNTAX_UUID), .def = "",
	  .line = "Class UUIDs it may sign for; empty: every class of those vendors" },
	{ A_(hosts), LIST_(SYNTAX_HOST), .def = "",
	  .line = "Hosts that payload URIs may name; empty: every public one" },
	{ A_(revocation), ENUM_(revocation_words), .def = "hard",
	  .line = "Without fresh status: hard holds the update, grace uses the last good one for grace_s, soft only logs" },
	{ A_(grace_s), SECONDS_(MINUTE, 365 * DAY), .def = "604800",
	  .line = "grace: how long the last good status stays good" },
	{ A_(require_code_signing), BOOL_, .def = "true",
	  .line = "Certificates must carry the extended key usage codeSigning" },
	{ A_(allow_unidentified), BOOL_, .def = "false",
	  .line = "Accept manifests that check neither vendor nor class" },
	{ A_(crl_files), LIST_(SYNTAX_PATH), .def = "",
	  .line = "CRLs brought by hand, for sites without a network" },

	{ P_(class_id), STRING_(SYNTAX_UUID), .min = 1, .required = true, .def = "", .example = "1492af14-2569-5e48-bf42-9b2d51f2ab45",
	  .line = "Class UUID of the devices" },
	{ P_(policy), ENUM_(policy_words), .required = true, .def = "approve", .example = "auto",
	  .line = "approve or auto, whatever the source says" },

	{ G_(name), STRING_(SYNTAX_SHORT_NAME), .min = 1, .required = true, .def = "", .example = "lamps",
	  .line = "Name in the log and the API; unique; the group's key is kept by it" },
	{ G_(interface), STRING_(SYNTAX_INTERFACE), .min = 1, .required = true, .def = "", .example = "lowpan0",
	  .line = "Network interface to send on; it may come and go" },
	{ G_(address), STRING_(SYNTAX_GROUP_ADDRESS), .min = 1, .required = true, .def = "", .example = "ff03::4d43",
	  .line = "IPv6 or IPv4 multicast address of the group; the smallest scope that reaches it" },
	{ G_(port), COUNT_(1, 65535), .def = "5683",
	  .line = "UDP port; 61616 to 61631 are compressed by 6LoWPAN" },
	{ G_(hop_limit), COUNT_(1, 255), .def = "1",
	  .line = "Hop limit of the frames; 1 in a star" },
	{ G_(link), ENUM_(link_words), .def = "802.15.4",
	  .line = "What the interface is: 802.15.4, thread, 868 or ethernet; sets pace and airtime" },
	{ G_(routers), COUNT_(0, 1000), .def = "0",
	  .line = "thread: routers in range of each other; each repeats every frame" },
	{ G_(pace_ms), .type = SCHEMA_U32, .min = 0, .max = 3600000, .def = "0",
	  .line = "Least time between two frames in milliseconds; 0: what is usual on that link" },
	{ G_(slot_ms), COUNT_(1, 255), .def = "50",
	  .line = "Milliseconds that one node's report takes" },
	{ G_(fragment_bytes), COUNT_(8, 232), .def = "64",
	  .line = "Bytes of the image in one frame; a frame must fit one frame of the link" },
	{ G_(min_members), COUNT_(1, 4096), .def = "3",
	  .line = "Fewest devices for which a session is made; fewer are served one by one" },
	{ G_(window_start_s), SECONDS_(0, 365 * DAY), .def = "0",
	  .line = "When a window begins, counted from each multiple of window_period_s since 1970" },
	{ G_(window_s), SECONDS_(0, 65534), .def = "0",
	  .line = "Length of the windows in which the group listens; 0: it always listens" },
	{ G_(window_period_s), SECONDS_(0, 30 * DAY), .def = "0",
	  .line = "From the begin of one window to the next" },
	{ G_(invite), BOOL_, .def = "false",
	  .line = "Devices that hold the group's key are told of a session by multicast alone, not asked one by one" },
	{ G_(devices), LIST_(SYNTAX_NAME), .def = "",
	  .line = "Devices of the group, by id; empty: any" },
	{ G_(vendor_ids), LIST_(SYNTAX_UUID), .def = "",
	  .line = "Vendor UUIDs of its devices; empty: any" },
	{ G_(class_ids), LIST_(SYNTAX_UUID), .def = "",
	  .line = "Class UUIDs of its devices; empty: any" },
	{ G_(sectors), LIST_(SYNTAX_NAME), .def = "",
	  .line = "Sectors its devices registered in; empty: any" },

	{ L_(interface), STRING_(SYNTAX_INTERFACE), .min = 1, .required = true, .def = "", .example = "lowpan0",
	  .line = "Network interface; unique; it may come and go" },
	{ L_(kind), ENUM_(lowpan_kind_words), .def = "802.15.4",
	  .line = "What it is: 802.15.4, thread (a border router's interface), or ble (RFC 7668, experimental)" },
	{ L_(create), BOOL_, .def = "false", .example = "true",
	  .line = "Make it and bring it up (needs CAP_NET_ADMIN); ble: connect the peers (needs root)" },
	{ L_(parent), STRING_(SYNTAX_INTERFACE), .def = "", .example = "wpan0",
	  .line = "802.15.4 with create: the interface of the radio that it stands on" },
	{ L_(pan_id), COUNT_(0, 65535), .def = "65535", .example = "48879",
	  .line = "PAN id, such as 0xbeef; 65535: as it is" },
	{ L_(short_address), COUNT_(0, 65535), .def = "65535", .example = "1",
	  .line = "Short address of the gateway; 65535: as it is" },
	{ L_(page), COUNT_(0, 31), .def = "0",
	  .line = "Channel page; 0 is 2.4 GHz with channels 11 to 26" },
	{ L_(channel), COUNT_(0, 255), .def = "255", .example = "26",
	  .line = "Channel; 255: page and channel as they are" },
	{ L_(key_file), STRING_(SYNTAX_PATH), .def = "",
	  .line = "Link-layer key; kernels without nl802154 security, such as Debian's, cannot set it, and then nothing is raised" },
	{ L_(address), STRING_(SYNTAX_PREFIX), .def = "", .example = "fd00:15:4::1/64",
	  .line = "Address of the gateway with its prefix length, added whenever the interface is up; empty: none" },
	{ L_(advertise), BOOL_, .def = "false",
	  .line = "Offer the prefix of address by router advertisements (needs CAP_NET_RAW)" },
	{ L_(block_bytes), COUNT_(0, 1024), .def = "0",
	  .line = "Largest block of a CoAP body for peers behind it; 0: 64, or 256 for ble" },
	{ L_(airtime_permille), COUNT_(0, 1000), .def = "0",
	  .line = "Most of an hour, in thousandths, that the radio may send; 0: no limit" },
	{ L_(peers), LIST_(SYNTAX_BLE_PEER), .def = "",
	  .line = "ble with create: addresses of nodes, led by \"random \" when they are random ones" },

	{ W_(kind), ENUM_(permit_words), .required = true, .def = "legacy-dfu", .example = "legacy-dfu",
	  .line = "legacy-dfu: update by Nordic's Legacy DFU, which checks no signature" },
	{ W_(device), STRING_(SYNTAX_NAME), .min = 1, .required = true, .def = "", .example = "tag-17",
	  .line = "Id of the device" },
	{ W_(until), STRING_(SYNTAX_TIME), .min = 1, .required = true, .def = "", .example = "2027-01-31T18:00:00Z",
	  .line = "When the permit ends" },
	{ W_(reason), STRING_(SYNTAX_ANY), .min = 1, .required = true, .def = "", .example = "replaced in spring; stands in a locked room",
	  .line = "Why; it goes to the audit log when the permit is used" },
};
const size_t schema_n_keys = sizeof(schema_keys) / sizeof(*schema_keys);

const struct schema_table *schema_find_table(struct span name)
{
	for (size_t i = 0; i < schema_n_tables; i++)
		if (span_eq_str(name, schema_tables[i].name))
			return &schema_tables[i];
	return NULL;
}

const struct schema_key *schema_find_key(const struct schema_table *table, struct span key)
{
	for (size_t i = 0; i < schema_n_keys; i++)
		if (schema_table_of(&schema_keys[i]) == table && span_eq_str(key, schema_keys[i].key))
			return &schema_keys[i];
	return NULL;
}

void schema_add_path(struct buf *b, const struct schema_key *k)
{
	const char *table = schema_table_of(k)->name;

	buf_printf(b, "%s%s%s", table, *table ? "." : "", k->key);
}

enum { DISTANCE_BYTES_MAX = 40 };

/* Edits between two words, a swap of neighbours counting as one (optimal string alignment); far when either is longer
 * than any key of ours could be. */
static unsigned distance(struct span a, struct span b)
{
	unsigned d[DISTANCE_BYTES_MAX + 1][DISTANCE_BYTES_MAX + 1];

	if (a.n > DISTANCE_BYTES_MAX || b.n > DISTANCE_BYTES_MAX)
		return UINT32_MAX;
	for (unsigned i = 0; i <= a.n; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= b.n; j++)
		d[0][j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		for (unsigned j = 1; j <= b.n; j++) {
			unsigned least = d[i - 1][j - 1] + (a.p[i - 1] != b.p[j - 1]);
			if (d[i - 1][j] + 1 < least)
				least = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < least)
				least = d[i][j - 1] + 1;
			bool swapped = i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1];
			if (swapped && d[i - 2][j - 2] + 1 < least)
				least = d[i - 2][j - 2] + 1;
			d[i][j] = least;
		}
	}
	return d[a.n][b.n];
}

/* Half of the letters wrong is not a slip of the pen. A key that lacks only its unit ("poll" for "poll_s") is near. */
static unsigned key_distance(struct span written, const char *key)
{
	struct span k = span_str(key);

	if (written.n >= 3 && written.n < k.n && span_starts(k, written) && k.p[written.n] == '_')
		return 1;
	unsigned d = distance(written, k);
	return d <= 1 + k.n / 4 && 2 * d < k.n ? d : UINT32_MAX;
}

const struct schema_key *schema_nearest(const struct schema_table *table, struct span key)
{
	const struct schema_key *best = NULL;
	unsigned best_d = UINT32_MAX;

	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		unsigned d = key_distance(key, k->key);
		if (d != UINT32_MAX && schema_table_of(k) != table)
			d += 1; /* the same table wins unless the other fits better by more */
		if (d < best_d) {
			best = k;
			best_d = d;
		}
	}
	return best;
}

const struct schema_table *schema_nearest_table(struct span name)
{
	const struct schema_table *best = NULL;
	unsigned best_d = UINT32_MAX;

	for (size_t i = 1; i < schema_n_tables; i++) {
		unsigned d = key_distance(name, schema_tables[i].name);
		if (d < best_d) {
			best = &schema_tables[i];
			best_d = d;
		}
	}
	return best;
}
