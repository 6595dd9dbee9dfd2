/* directory/rd_coap.h - the CoAP face of the Resource Directory (RFC 9176): registration, update, removal and both
 * lookups, with who may do what (RD-80 to RD-86), the limits as CoAP codes (RD-87), and notifications to observers.
 *
 *   POST   /rd?ep&d&lt&base&...   2.01 Location; body ct 40            refusals: 4.00 4.01 4.03 4.13 4.15
 *   POST   /rd/LOCATION?...       2.04                                 4.04 unknown
 *   DELETE /rd/LOCATION           2.02                                 4.04 unknown
 *   GET    /rd/LOCATION           2.05, its links as registered
 *   GET    /rd-lookup/ep, /rd-lookup/res ?page&count&...               2.05 ct 40, observable
 * Full: 5.03 with Max-Age; a credential's share used up: 4.29 with Max-Age; disk failed: 5.03 with Max-Age.
 *
 * Over DTLS a credential with the role of a device or an administrator may register, any may look up. Plain CoAP may do
 * either only where the configuration opens it. Loop thread. */
#pragma once
#include "directory/devices.h"
#include "directory/registry.h"
#include "io/coap_endpoint.h"

struct rd_coap;

struct rd_coap_config {
	struct loop *loop;                     /* NULL: nothing expires and every lookup is done at once (tests) */
	struct coap_endpoint *endpoint;        /* NULL: no routes, nothing is deferred (tests) */
	struct db *db;                         /* of registry and devices: what one request changes is committed as one; NULL = none */
	struct registry *registry;
	struct devices *devices;
	const char *path, *lookup_ep_path, *lookup_res_path;   /* RD-5; path has at most 3 segments */
	bool durable;                          /* answer after the commit, not before */
	uint64_t max_links_bytes;              /* of one registration: Size1 in 4.13 */
	uint32_t freshness_s;                  /* a change needs an Echo at most this old (RD-49); 0 = not asked for */
	struct registry_time (*now)(void *ctx);        /* NULL = the clocks */
	void *now_ctx;
	registry_changed_fn *changed;          /* told of every change of a registration, as registry_set_changed() has it; NULL = nobody */
	void *changed_ctx;
};

/* Takes over registry_set_changed(). -EINVAL path; -EEXIST a route is taken. */
int rd_coap_open(const struct rd_coap_config *c, struct rd_coap **ret);
struct rd_coap *rd_coap_close(struct rd_coap *rd);
void rd_coap_set(struct rd_coap *rd, bool durable, uint64_t max_links_bytes, uint32_t freshness_s);    /* after a reload */

/* What stands behind the routes; ctx is the struct rd_coap. */
coap_handler_fn rd_coap_directory, rd_coap_lookup_ep, rd_coap_lookup_res;
