/* base/events.h - every event an operator can see: in the journal (MESSAGE_ID and catalog,
 * systemd/dormouse.catalog), in the event stream of the API, and in `dormousectl events`.
 * One row each: name, slug (stable, on the wire), message id. A new row wants a catalog entry;
 * a test checks it. */
#pragma once

#define EVENT_LIST(X) \
	X(EV_GENERIC, "log", "7f0a6f20c0d14d0e9a4e3b8f5f2b1000") \
	X(EV_STARTED, "daemon-started", "7f0a6f20c0d14d0e9a4e3b8f5f2b1001") \
	X(EV_STOPPED, "daemon-stopped", "7f0a6f20c0d14d0e9a4e3b8f5f2b1002") \
	X(EV_RELOADED, "config-reloaded", "7f0a6f20c0d14d0e9a4e3b8f5f2b1003") \
	X(EV_CONFIG_BAD, "config-refused", "7f0a6f20c0d14d0e9a4e3b8f5f2b1004") \
	X(EV_ENDPOINT_REGISTERED, "endpoint-registered", "7f0a6f20c0d14d0e9a4e3b8f5f2b1010") \
	X(EV_ENDPOINT_REMOVED, "endpoint-removed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1011") \
	X(EV_ENDPOINT_EXPIRED, "endpoint-expired", "7f0a6f20c0d14d0e9a4e3b8f5f2b1012") \
	X(EV_DEVICE_SEEN, "device-seen", "7f0a6f20c0d14d0e9a4e3b8f5f2b1013") \
	X(EV_DEVICE_ENROLLED, "device-enrolled", "7f0a6f20c0d14d0e9a4e3b8f5f2b1014") \
	X(EV_DEVICE_CHANGED, "device-changed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1015") \
	X(EV_SOURCE_OK, "source-ok", "7f0a6f20c0d14d0e9a4e3b8f5f2b1020") \
	X(EV_SOURCE_FAILED, "source-failed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1021") \
	X(EV_UPDATE_FOUND, "update-found", "7f0a6f20c0d14d0e9a4e3b8f5f2b1022") \
	X(EV_UPDATE_STATE, "update-state", "7f0a6f20c0d14d0e9a4e3b8f5f2b1023") \
	X(EV_UPDATE_REJECTED, "update-rejected", "7f0a6f20c0d14d0e9a4e3b8f5f2b1024") \
	X(EV_UPDATE_RECALLED, "update-recalled", "7f0a6f20c0d14d0e9a4e3b8f5f2b1025") \
	X(EV_UPDATE_EQUIVOCATION, "update-equivocation", "7f0a6f20c0d14d0e9a4e3b8f5f2b1026") \
	X(EV_PAYLOAD_FAILED, "payload-failed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1027") \
	X(EV_REVOCATION_FAILED, "revocation-unreachable", "7f0a6f20c0d14d0e9a4e3b8f5f2b1028") \
	X(EV_REVOCATION_NEW, "revocation-refreshed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1029") \
	X(EV_CLOCK_BAD, "clock-implausible", "7f0a6f20c0d14d0e9a4e3b8f5f2b102a") \
	X(EV_IMAGE_CACHED, "image-cached", "7f0a6f20c0d14d0e9a4e3b8f5f2b1030") \
	X(EV_IMAGE_CORRUPT, "image-corrupt", "7f0a6f20c0d14d0e9a4e3b8f5f2b1031") \
	X(EV_IMAGE_EVICTED, "image-evicted", "7f0a6f20c0d14d0e9a4e3b8f5f2b1032") \
	X(EV_JOB_STATE, "job-state", "7f0a6f20c0d14d0e9a4e3b8f5f2b1040") \
	X(EV_JOB_PROGRESS, "job-progress", "7f0a6f20c0d14d0e9a4e3b8f5f2b1041") \
	X(EV_ROLLOUT_STATE, "rollout-state", "7f0a6f20c0d14d0e9a4e3b8f5f2b1042") \
	X(EV_APPROVED, "update-approved", "7f0a6f20c0d14d0e9a4e3b8f5f2b1043") \
	X(EV_MULTICAST_SESSION, "multicast-session", "7f0a6f20c0d14d0e9a4e3b8f5f2b1044") \
	X(EV_MULTICAST_MEMBER, "multicast-member", "7f0a6f20c0d14d0e9a4e3b8f5f2b1045") \
	X(EV_MULTICAST_INTERFACE, "multicast-interface", "7f0a6f20c0d14d0e9a4e3b8f5f2b1046") \
	X(EV_MULTICAST_KEY, "multicast-key", "7f0a6f20c0d14d0e9a4e3b8f5f2b1047") \
	X(EV_BLE_HEALTH, "ble-health", "7f0a6f20c0d14d0e9a4e3b8f5f2b1060") \
	X(EV_BLE_NODE, "ble-node", "7f0a6f20c0d14d0e9a4e3b8f5f2b1061") \
	X(EV_BLE_LINK, "ble-link", "7f0a6f20c0d14d0e9a4e3b8f5f2b1062") \
	X(EV_BLE_PAIRING, "ble-pairing", "7f0a6f20c0d14d0e9a4e3b8f5f2b1063") \
	X(EV_RADIO_INTERFACE, "radio-interface", "7f0a6f20c0d14d0e9a4e3b8f5f2b1064") \
	X(EV_PERMIT_USED, "permit-used", "7f0a6f20c0d14d0e9a4e3b8f5f2b1065") \
	X(EV_AUTH_REFUSED, "access-refused", "7f0a6f20c0d14d0e9a4e3b8f5f2b1050") \
	X(EV_LIMIT_REACHED, "limit-reached", "7f0a6f20c0d14d0e9a4e3b8f5f2b1051") \
	X(EV_STORE_FAILED, "store-failed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1052") \
	X(EV_STORE_RECOVERED, "store-recovered", "7f0a6f20c0d14d0e9a4e3b8f5f2b1053") \
	X(EV_AUDIT_FAILED, "audit-failed", "7f0a6f20c0d14d0e9a4e3b8f5f2b1054") \
	X(EV_LOOP_SLOW, "loop-slow", "7f0a6f20c0d14d0e9a4e3b8f5f2b1055")

/* Not `enum event`: libevent has a `struct event`. */
#define EVENT_ENUM_(id_, slug_, message_id_) id_,
enum event_id { EVENT_LIST(EVENT_ENUM_) EVENT_COUNT };
#undef EVENT_ENUM_

const char *event_slug(enum event_id ev);
const char *event_message_id(enum event_id ev);
