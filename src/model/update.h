/* model/update.h - a judged manifest with its images. Plain values, pure rules. */
#pragma once
#include "base/digest.h"
#include "base/time.h"
#include "model/device.h"

enum {
	UPDATE_IMAGES_MAX = 16, UPDATE_COMPONENTS_MAX = 8, UPDATE_MODELS_MAX = 8, UPDATE_SOURCE_BYTES = 64, UPDATE_URI_BYTES = 1025,
	UPDATE_TEXT_BYTES = 256, UPDATE_ANCHOR_BYTES = 64, UPDATE_ID_BYTES = DIGEST_HEX_BYTES, UPDATE_CHAIN_MAX = 8,
};

/* verified: judged good, payloads still coming or waiting for approval. held: could not decide now (no revocation
 * answer, clock). available: may be delivered. */
enum update_state {
	UPDATE_REJECTED, UPDATE_HELD, UPDATE_VERIFIED, UPDATE_AVAILABLE, UPDATE_RECALLED, UPDATE_SUPERSEDED, UPDATE_EXPIRED,
	UPDATE_STATE_COUNT,
};

struct update_image {
	struct digest digest;
	uint64_t bytes;
	char uri[UPDATE_URI_BYTES];            /* resolved; empty when integrated only */
	uint8_t component;                     /* index into components */
	bool is_integrated;
	bool is_cached;
};

struct update_component {
	uint8_t id[DEVICE_COMPONENT_ID_BYTES];
	uint8_t n_id;
	uint8_t vendor_id[UPDATE_MODELS_MAX][16];
	uint8_t n_vendor_id;
	uint8_t class_id[UPDATE_MODELS_MAX][16];
	uint8_t n_class_id;
};

struct update {
	char id[UPDATE_ID_BYTES];              /* hex of the manifest digest */
	enum update_state state;
	struct digest envelope;                /* the file in the image cache that holds it */
	uint64_t envelope_bytes;
	uint64_t sequence;
	struct update_component components[UPDATE_COMPONENTS_MAX];
	size_t n_components;
	struct update_image images[UPDATE_IMAGES_MAX];
	size_t n_images;
	char source[UPDATE_SOURCE_BYTES];      /* name of the source */
	char uri[UPDATE_URI_BYTES];            /* where the envelope was found */
	char anchor[UPDATE_ANCHOR_BYTES];      /* name of the anchor that accepted it */
	char description[UPDATE_TEXT_BYTES];   /* from text, for people only */
	char version[DEVICE_VERSION_BYTES];
	bool approved;                         /* by policy auto, or by a person */
	char approved_by[64];
	struct wall found_at, state_at, approved_at;
	bool has_use_before;
	int64_t use_before_s;
	char reason[UPDATE_TEXT_BYTES];        /* of the state, one line */
};

const char *update_state_name(enum update_state s);
int update_state_parse(struct span s, enum update_state *ret);
/* May the state change so? One table; staying is always allowed, a recall is for ever. */
bool update_state_may(enum update_state from, enum update_state to);

enum update_fit { UPDATE_FITS, UPDATE_WRONG_VENDOR, UPDATE_WRONG_CLASS, UPDATE_NO_MODEL, UPDATE_NOT_NEWER, UPDATE_SAME };
/* Does it fit the device's model and is it newer than what runs there (SU-12, SU-15)? Every component's vendor and class
 * ids must match where they are given; an update that names no vendor or no class anywhere fits nothing (SU-14). What runs is
 * looked up by the update's first component; nothing reported counts as older. */
enum update_fit update_fits(const struct update *u, const struct device *d);
/* What the device says it runs, compared with the update: its very manifest or, where it names none, its sequence number; an
 * older one; a newer one. Another manifest with the same number is UNKNOWN. */
enum update_age { UPDATE_AGE_UNKNOWN, UPDATE_AGE_SAME, UPDATE_AGE_OLDER, UPDATE_AGE_NEWER };
enum update_age update_age_on(const struct update *u, const struct device *d);
const char *update_fit_text(enum update_fit f);
