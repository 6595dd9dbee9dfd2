/* base/metric.h - what the daemon counts, in one list; rendered as Prometheus text
 * (exposition format 0.0.4). Atomic adds: any thread. No labels but the fixed one in the row. */
#pragma once
#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

/* id, kind, name, label ("" or k="v"), help (given once per name) */
#define METRIC_LIST(X) \
	X(METRIC_COAP_REQUESTS, METRIC_COUNTER, "dormouse_coap_requests_total", "", "CoAP requests handled") \
	X(METRIC_COAP_DUPLICATES, METRIC_COUNTER, "dormouse_coap_duplicates_total", "", "Retransmitted CON requests answered from the deduplication ring") \
	X(METRIC_COAP_ERRORS, METRIC_COUNTER, "dormouse_coap_errors_total", "", "CoAP responses of class 4 and 5") \
	X(METRIC_COAP_SESSIONS, METRIC_GAUGE, "dormouse_coap_sessions", "", "CoAP peers with state") \
	X(METRIC_COAP_OBSERVERS, METRIC_GAUGE, "dormouse_coap_observers", "", "CoAP observations") \
	X(METRIC_COAP_BLOCK1_BYTES, METRIC_GAUGE, "dormouse_coap_block1_bytes", "", "Bytes held in unfinished Block1 bodies") \
	X(METRIC_HTTP_REQUESTS, METRIC_COUNTER, "dormouse_http_requests_total", "", "HTTP requests handled") \
	X(METRIC_ENDPOINTS, METRIC_GAUGE, "dormouse_endpoints", "", "Active endpoint registrations") \
	X(METRIC_DEVICES, METRIC_GAUGE, "dormouse_devices", "", "Known devices") \
	X(METRIC_REGISTRATIONS, METRIC_COUNTER, "dormouse_registrations_total", "", "Registrations and updates accepted") \
	X(METRIC_UPDATES_VERIFIED, METRIC_COUNTER, "dormouse_verdicts_total", "verdict=\"accepted\"", "Verdicts on envelopes") \
	X(METRIC_UPDATES_REJECTED, METRIC_COUNTER, "dormouse_verdicts_total", "verdict=\"rejected\"", "") \
	X(METRIC_FETCH_BYTES, METRIC_COUNTER, "dormouse_fetch_bytes_total", "", "Bytes fetched from vendors") \
	X(METRIC_FETCH_ERRORS, METRIC_COUNTER, "dormouse_fetch_errors_total", "", "Failed fetches") \
	X(METRIC_CACHE_BYTES, METRIC_GAUGE, "dormouse_cache_bytes", "", "Bytes of images in the cache") \
	X(METRIC_CACHE_IMAGES, METRIC_GAUGE, "dormouse_cache_images", "", "Images in the cache") \
	X(METRIC_IMAGE_BYTES_SENT, METRIC_COUNTER, "dormouse_image_bytes_sent_total", "", "Image bytes delivered to nodes") \
	X(METRIC_MULTICAST_SESSIONS, METRIC_GAUGE, "dormouse_multicast_sessions", "", "Multicast sessions, gathering ones too") \
	X(METRIC_MULTICAST_FRAMES, METRIC_COUNTER, "dormouse_multicast_frames_total", "", "Frames sent to multicast groups") \
	X(METRIC_MULTICAST_BYTES, METRIC_COUNTER, "dormouse_multicast_frame_bytes_total", "", "Bytes of those frames, without CoAP and below") \
	X(METRIC_MULTICAST_REPORTS, METRIC_COUNTER, "dormouse_multicast_reports_total", "", "Reports of nodes in multicast sessions") \
	X(METRIC_MULTICAST_READY, METRIC_COUNTER, "dormouse_multicast_members_total", "end=\"ready\"", "Devices that a multicast session served or left to unicast") \
	X(METRIC_MULTICAST_LEFT, METRIC_COUNTER, "dormouse_multicast_members_total", "end=\"unicast\"", "") \
	X(METRIC_RADIO_AIRTIME, METRIC_COUNTER, "dormouse_radio_airtime_microseconds_total", "", "Time on air of what this gateway sent over 6LoWPAN, BLE and Thread interfaces, reckoned from their counters") \
	X(METRIC_RADIO_UP, METRIC_GAUGE, "dormouse_radio_interfaces_up", "", "Such interfaces that are up") \
	X(METRIC_RADIO_OVER, METRIC_GAUGE, "dormouse_radio_over_budget", "", "Such interfaces whose airtime budget is used up") \
	X(METRIC_BLE_NODES, METRIC_GAUGE, "dormouse_ble_nodes", "", "Bluetooth LE nodes in range or connected") \
	X(METRIC_BLE_LINKS, METRIC_GAUGE, "dormouse_ble_links", "", "Connections to Bluetooth LE nodes") \
	X(METRIC_BLE_CONNECT_FAILURES, METRIC_COUNTER, "dormouse_ble_connect_failures_total", "", "Attempts to connect to a Bluetooth LE node that failed") \
	X(METRIC_BLE_BYTES_WRITTEN, METRIC_COUNTER, "dormouse_ble_written_bytes_total", "", "Bytes given to bluetoothd to be written to characteristics") \
	X(METRIC_JOBS_OPEN, METRIC_GAUGE, "dormouse_jobs_open", "", "Jobs not finished") \
	X(METRIC_JOBS_CONFIRMED, METRIC_COUNTER, "dormouse_jobs_finished_total", "state=\"confirmed\"", "Jobs finished") \
	X(METRIC_JOBS_FAILED, METRIC_COUNTER, "dormouse_jobs_finished_total", "state=\"failed\"", "") \
	X(METRIC_STORE_COMMITS, METRIC_COUNTER, "dormouse_store_commits_total", "", "Database group commits") \
	X(METRIC_STORE_QUEUE, METRIC_GAUGE, "dormouse_store_queue", "", "Writes waiting for a commit") \
	X(METRIC_LOOP_MAX_US, METRIC_GAUGE, "dormouse_loop_max_microseconds", "", "Longest single turn of the event loop since start") \
	X(METRIC_LOOP_SLOW, METRIC_COUNTER, "dormouse_loop_slow_total", "", "Turns of the event loop over 10 ms") \
	X(METRIC_EVENTS_DROPPED, METRIC_COUNTER, "dormouse_events_dropped_total", "", "Events not sent to a slow reader")

#define METRIC_ENUM_(id_, kind_, name_, label_, help_) id_,
enum metric { METRIC_LIST(METRIC_ENUM_) METRIC_COUNT };
#undef METRIC_ENUM_

void metric_add(enum metric m, int64_t n);
void metric_set(enum metric m, int64_t v);
void metric_max(enum metric m, int64_t v);      /* keeps the larger */
int64_t metric_get(enum metric m);
void metric_render(struct buf *b);
