/* delivery/coap_pull.h - the driver for nodes that pull by CoAP (man/dormouse-coap.7):
 *   GET  /fw?ep=NAME      the envelope offered to this node (rt=dormouse.fw, observable)
 *   GET  /fw/i/SHA256     an image of its offer, blockwise from any offset (rt=dormouse.fw.image)
 *   POST /fw/r?ep=NAME    its report (rt=dormouse.fw.report)
 * and GET with the Proxy-Uri of a payload named by an offered manifest.
 * A sleeping node is sent nothing; its offer waits here. */
#pragma once
#include "delivery/delivery.h"
#include "io/coap_endpoint.h"

/* Who asks: 0 and the device's id in ret (DEVICE_ID_BYTES); or a CoAP error code (4.01, 4.03) with no device.
 * ep is the query parameter, empty when absent. */
typedef int coap_pull_who_fn(void *ctx, const struct coap_peer *peer, struct span ep, char *ret);

struct coap_pull_config {
	struct coap_endpoint *endpoint;        /* borrowed; outlives the driver */
	const char *path;                      /* "fw" */
	bool forward_proxy;
	uint32_t offer_max_age_s;
	struct delivery_source source;
	struct delivery_sink sink;
	coap_pull_who_fn *who;
	void *who_ctx;
	/* Seconds that this peer is to wait before its next block of an image; 0 = none. Its radio has used up its airtime: it is told
	 * 5.03 with that as Max-Age. May be NULL. */
	uint32_t (*wait)(void *ctx, const struct coap_peer *peer);
	void *wait_ctx;
};

int coap_pull_open(const struct coap_pull_config *c, struct delivery_driver **ret);
