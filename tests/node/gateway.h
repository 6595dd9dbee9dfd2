/* A gateway of one offer for tests of the node: the resources of man/dormouse-coap.7 and notes of what was asked. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codec/suit_report.h"
#include "io/coap_endpoint.h"
#include "node/node.h"
#include "node/node_offer.h"
#include "trust/sign.h"

enum { REPORTS_MAX = 4096 };

struct gateway {
	struct loop *loop;
	struct coap_endpoint *endpoint;
	char uri[COAP_ADDR_TEXT_BYTES + 16];
	struct trust_anchors *anchors;
	struct sign_key *key;
	uint8_t vendor[16], class[16];
	uint8_t psk[16];

	struct buf image, envelope;            /* what is offered; with_mac for proof=mac */
	struct digest image_digest, manifest;
	bool has_offer, is_enrolled, is_damaged;       /* damaged: serves another image than the manifest names */
	bool with_mac;
	uint8_t mac_key[16];

	unsigned n_requests, n_registrations, n_refreshes, n_checks, n_blocks;
	uint64_t first_off;                    /* of the first block asked for since it was set to UINT64_MAX */
	struct node_report reports[REPORTS_MAX];
	char report_reason[REPORTS_MAX][129];
	size_t n_reports, n_success, n_failure;
	char last_query[1024];                 /* of the last registration */
	char last_links[256];
	uint64_t session;                      /* that it came by */
	bool deny;                             /* 4.03 everywhere but in the directory */
};

void gateway_open(struct gateway *g, bool secure);
void gateway_close(struct gateway *g);
/* A new image of so many bytes as sequence; observers hear of it. */
void gateway_offer(struct gateway *g, uint64_t sequence, size_t bytes, bool integrated);
/* What a node "node-1" of this gateway is set up with, in a new folder under /tmp. */
void gateway_node(const struct gateway *g, struct node_trust *trust, char dir[static 64], struct node_setup *ret);
void gateway_recall(struct gateway *g);
/* Run the loop until test() or for at most so long; what test() says at the end. */
bool gateway_run(struct gateway *g, bool (*test)(void *ctx), void *ctx, unsigned ms);
