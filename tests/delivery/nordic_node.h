/* tests/delivery/nordic_node.h - a node of Nordic's in its bootloader, as bytes in and bytes out: Secure DFU as the nRF5 SDK's bootloader
 * does it, and Legacy DFU. What it keeps over a lost link and over a restart, and what goes wrong, is for the test to say. */
#pragma once
#include "base/buf.h"
#include "codec/nordic_dfu.h"

struct nordic_node {
	bool is_legacy;
	void (*answer)(void *ctx, struct span value);  /* a notification of the control point */
	void (*restarts)(void *ctx, bool is_application);
	void *ctx;

	/* what is special about it */
	uint32_t object_bytes, init_bytes_max; /* 0 = 4096, 512 */
	unsigned lose_at;                      /* this packet, counted from 1, is lost ... */
	unsigned lose_every;                   /* ... and every so many after it; 0 = once */
	unsigned mute_at;                      /* no answer to this command, counted from 1, nor to those after it until the link is new */
	uint8_t refuse_op, refuse_result, refuse_extended;     /* this command is refused ... */
	unsigned refuse_from;                  /* ... from its so-manyth time on, counted from 1; 0 = never */
	unsigned refuse_n;                     /* ... so often; 0 = always */
	bool forgets;                          /* what was not executed, when the link ends */
	bool goes_silently;                    /* it restarts without an answer to the last command */
	unsigned late_packets;                 /* so many are taken only after the next command was answered */
	uint32_t version;                      /* lower ones are refused; of the application */
	uint32_t system_version;               /* of what is below: only higher ones are taken */
	uint8_t legacy_start_status;           /* 0 = ok */
	uint8_t legacy_validate_status;

	/* state */
	struct buf init, data;
	struct buf pending;                    /* late packets */
	unsigned n_pending;
	uint32_t init_size, object_size, executed;
	bool has_init, is_data;
	enum nordic_kind kind;
	uint32_t image_bytes, init_version;
	uint16_t prn;
	unsigned since_receipt;

	/* Legacy */
	uint8_t legacy_op, legacy_kind;
	bool legacy_has_sizes, legacy_is_valid, legacy_in_use;
	uint8_t sizes[12];

	/* what happened */
	unsigned n_packets, n_commands, n_creates, n_executes, n_links, n_resets, n_refused;
	size_t packet_max;
	bool packets_are_whole;                /* each but the last of an object was a multiple of four */
	uint16_t prn_least;                    /* of those set for data */
	struct buf installed[NORDIC_PARTS_MAX];
	size_t n_installed;
};

void nordic_node_init(struct nordic_node *n);
void nordic_node_done(struct nordic_node *n);
void nordic_node_command(struct nordic_node *n, struct span value);
void nordic_node_packet(struct nordic_node *n, struct span value);
void nordic_node_link(struct nordic_node *n);          /* a new one; what the old one left stays, unless it forgets */
