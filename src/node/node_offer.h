/* node/node_offer.h - a node's judgement on an envelope: is it authentic by what this node can check, is it for
 * this node, is it newer than what runs, and which images does it want. Pure but for memory; no I/O. */
#pragma once
#include "codec/suit.h"
#include "model/device.h"
#include "node/node_state.h"
#include "trust/trust.h"

enum { NODE_IMAGES_MAX = 8, NODE_IMAGE_BYTES_MAX = 256 * 1024 * 1024 };

struct node_trust {                            /* immutable; shared by many nodes */
	enum device_proof proof;
	struct trust_anchors *anchors;         /* PROOF_SIGNATURE */
	bool has_vendor, has_class;            /* false: accepts any, as a test node */
	uint8_t vendor_id[16], class_id[16];
};

struct node_image {
	struct digest digest;
	uint64_t bytes;
	size_t component;
	char uri[SUIT_URI_BYTES_MAX + 1];
	struct span integrated;                /* into the envelope; empty = to be fetched */
	bool is_integrated;
};

struct node_offer {
	struct buf envelope;                   /* owned; integrated images borrow from it */
	struct digest manifest;
	uint64_t sequence, total_bytes;
	char version[NODE_VERSION_BYTES];
	struct node_image images[NODE_IMAGES_MAX];
	size_t n_images;
};

enum node_verdict { NODE_REFUSES, NODE_ACCEPTS, NODE_RUNS_IT /* already */ };

/* LwM2M Object 5 results (resource 5) that a node gives. */
enum { NODE_RESULT_NONE = 0, NODE_RESULT_SUCCESS = 1, NODE_RESULT_INTEGRITY = 5, NODE_RESULT_UNSUPPORTED = 6, NODE_RESULT_FAILED = 8 };

/* ret is filled and owned by the caller (node_offer_done) when it accepts. With NODE_REFUSES: the result and a
 * reason for people; ret->manifest is set as far as the envelope could be read (else zero). mac_key: PROOF_MAC. now: for
 * certificates (a node without a clock would skip them; a simulator has one). */
enum node_verdict node_offer_judge(const struct node_trust *t, struct span mac_key, const struct node_durable *runs, struct span envelope,
				   struct wall now, struct node_offer *ret, unsigned *ret_result, char ret_reason[static NODE_REASON_BYTES]);
void node_offer_done(struct node_offer *o);
