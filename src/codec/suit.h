/* codec/suit.h - SUIT envelopes and manifests of the current encoding (draft-ietf-suit-manifest-34
 * and later; facts/trust.md section 1, SU-1..SU-32). In two steps, so that nothing in the manifest is
 * read before its authentication was judged (SU-6): suit_envelope_decode() reads the outer map and
 * the authentication wrapper; suit_manifest_decode() walks and caps the manifest and lists what it
 * wants from whom. Pure; spans borrow from the input; nothing is executed. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"

enum {
	SUIT_ENVELOPE_BYTES_MAX = 16 * 1024 * 1024,    /* with integrated payloads */
	SUIT_MANIFEST_BYTES_MAX = 64 * 1024,
	SUIT_AUTH_BLOCKS_MAX = 8, SUIT_INTEGRATED_MAX = 16, SUIT_COMPONENTS_MAX = 32, SUIT_ID_SEGMENTS_MAX = 16,
	SUIT_ID_SEGMENT_BYTES_MAX = 64, SUIT_DEPTH_MAX = 8, SUIT_COMMANDS_MAX = 1024, SUIT_IDS_MAX = 8,
	SUIT_PATHS_MAX = 64,                   /* ways through a manifest's try-each branches that differ */
	SUIT_IMAGES_MAX = 64, SUIT_URI_BYTES_MAX = 1024, SUIT_TEXT_BYTES_MAX = 1024, SUIT_DEPENDENCIES_MAX = 16,
};

enum suit_problem {                            /* which rule; stable words by suit_problem_text() */
	SUIT_OK, SUIT_NOT_CBOR, SUIT_WRONG_TAG, SUIT_NO_TAG, SUIT_AUTH_MISSING, SUIT_AUTH_AFTER_MANIFEST, SUIT_AUTH_MALFORMED,
	SUIT_NO_AUTH_BLOCK, SUIT_TOO_MANY, SUIT_DIGEST_ALG, SUIT_DIGEST_MISMATCH, SUIT_MEMBER_MALFORMED, SUIT_MEMBER_UNLISTED,
	SUIT_MEMBER_MISMATCH, SUIT_OLD_ENCODING, SUIT_VERSION, SUIT_MANIFEST_MALFORMED, SUIT_TOO_LARGE, SUIT_TOO_DEEP,
	SUIT_UNKNOWN_COMMAND, SUIT_UNKNOWN_PARAMETER, SUIT_BAD_COMPONENT, SUIT_BAD_REPORTING_POLICY, SUIT_BAD_URI, SUIT_BAD_TEXT,
	SUIT_INTEGRATED_UNUSED, SUIT_UNKNOWN_MEMBER, SUIT_DUPLICATE_KEY, SUIT_NO_MEMORY,
	SUIT_PROBLEM_COUNT,
};
const char *suit_problem_text(enum suit_problem p);

struct suit_digest {
	int64_t alg;                           /* enum suit_digest_alg, or one we do not know */
	struct span bytes;
};
enum suit_digest_alg {
	SUIT_SHA256 = -16, SUIT_SHAKE128 = -18, SUIT_SHA384 = -43, SUIT_SHA512 = -44, SUIT_SHAKE256 = -45,
};
/* An encoded digest array. 0; -EBADMSG shape or length, -EOPNOTSUPP an alg number of an old draft. */
int suit_digest_decode(struct span in, struct suit_digest *ret);
/* Whether d is the digest of bytes (constant time): 1, 0, or -ENOTSUP when we cannot compute its alg. */
int suit_digest_check(const struct suit_digest *d, struct span bytes);

struct suit_member {                           /* severable member or integrated payload, as it stands in the envelope */
	int64_t key;                           /* 14, 15, 16, 18, 20, 23; 0 for a text key */
	struct span name;                      /* the text key, for integrated payloads */
	struct span wrapped;                   /* bstr header and content: what a digest covers */
	struct span content;
};

struct suit_envelope {
	struct span bytes;                     /* the whole input */
	struct span auth_digest_bytes;         /* content of auth[0]: the payload that is signed */
	struct suit_digest auth_digest;
	struct span auth_blocks[SUIT_AUTH_BLOCKS_MAX]; /* encoded COSE objects */
	size_t n_auth_blocks;
	struct span manifest_wrapped, manifest;
	struct suit_member severed[8];
	size_t n_severed;
	struct suit_member integrated[SUIT_INTEGRATED_MAX];
	size_t n_integrated;
	struct digest manifest_digest;         /* computed: SHA-256 of manifest_wrapped; names the update */
};

enum suit_flags { SUIT_ALLOW_UNTAGGED = 1, SUIT_ALLOW_UNUSED_INTEGRATED = 2 };

/* Strict scan, order, wrapper shapes, and the digest of key 3 against auth[0] (SHA-256, 384, 512).
 * No COSE block at all is SUIT_NO_AUTH_BLOCK with -EBADMSG; the digest held and every field of *ret is
 * then still set for inspection. After any other failure *ret is all zero but for bytes.
 * 0; -EBADMSG, -ENOTSUP, -EMSGSIZE with *ret_problem. */
int suit_envelope_decode(struct span in, unsigned flags, struct suit_envelope *ret, enum suit_problem *ret_problem);

struct suit_component {
	struct span id;                        /* encoded array of byte strings; never a file path (SU-21) */
	struct span vendor_id[SUIT_IDS_MAX];   /* every id that a vendor condition may compare with */
	size_t n_vendor_id;
	struct span class_id[SUIT_IDS_MAX];
	size_t n_class_id;
	struct span device_id[SUIT_IDS_MAX];
	size_t n_device_id;
	/* Conditions 1 and 2 stand in the shared sequence, with their parameter set, on every way through it (SU-14). */
	bool checks_vendor, checks_class;
};

struct suit_dependency {                       /* common key 1; trust domains */
	uint64_t index;                        /* a component index, or one beyond them (facts 1.2 rule 6) */
	struct span prefix;                    /* encoded component id; empty = none */
};

struct suit_image {                            /* one payload that some target may need (SU-27: every try-each branch) */
	size_t component;                      /* index into components[], or into dependencies[] when is_dependency */
	bool is_dependency;                    /* the payload is another envelope; digest is of its manifest */
	struct suit_digest digest;             /* of the payload; bytes.n == 0 when the manifest gives none */
	bool has_size;
	uint64_t size;
	struct span uri;                       /* empty = not fetched (only checked, or written from content) */
	struct span integrated;                /* the payload inside the envelope when uri names one */
	bool is_integrated;
	bool is_fetched;                       /* a fetch directive uses it */
	bool is_encrypted;                     /* encryption-info (19) set on it, or on a component copied from it */
	bool is_bare_cipher;                   /* ... with a cipher that notices no change (AES-CTR), or one we do not know (SU-61) */
};

struct suit_manifest {                         /* for the heap or a long-lived place, not for deep stacks */
	uint64_t version, sequence;
	struct suit_component components[SUIT_COMPONENTS_MAX];
	size_t n_components;
	struct suit_dependency dependencies[SUIT_DEPENDENCIES_MAX];
	size_t n_dependencies;
	struct suit_image images[SUIT_IMAGES_MAX];
	size_t n_images;
	struct span reference_uri;
	struct span component_id;              /* key 5, encoded; empty = absent */
	struct span set_version;               /* key 6, encoded; empty */
	bool has_use_before;
	int64_t use_before_s;                  /* the earliest of all */
	bool needs_authorization;              /* condition 27 */
	int64_t priority;
	/* Text (23): valid UTF-8, cut at SUIT_TEXT_BYTES_MAX; may hold control characters, so show it through
	 * text_add_escaped() only. Never a basis of a decision (SU-24). */
	struct span vendor_name, model_name, description, version_text;
	int64_t unknown_command;               /* 0 = none: a command, or a custom parameter, we do not know (SU-23) */
	uint32_t severed_absent;               /* 1u << key of each member that has a digest here and is not in the envelope:
						* with 15, 16, 18 or 20 among them images is not complete */
	struct span root_component;            /* encoded id of component 0, or key 5: the key of the sequence store (SU-13) */
};

/* env must come from suit_envelope_decode(); checks severed members (SU-16) and integrated payloads (SU-18).
 * images: the walk follows every try-each branch, keeps parameters apart per branch, and drops combinations that
 * ask one component for two different slots, so an A/B update lists each slot's image once (SU-27).
 * 0; -EBADMSG, -ENOTSUP, -EMSGSIZE, -ENOMEM with *ret_problem. ret (about 20 KiB) is written on success only. */
int suit_manifest_decode(const struct suit_envelope *env, unsigned flags, struct suit_manifest *ret, enum suit_problem *ret_problem);

/* The same envelope with its severable members (key 20, 23, 14, ...) left out: mask of 1u << key (SU-17, SU-25). */
int suit_envelope_sever(const struct suit_envelope *env, uint32_t keys, struct buf *ret);
/* The same envelope with one more authentication block at the end of the wrapper: the gateway's Mac0. */
int suit_envelope_add_auth(const struct suit_envelope *env, struct span cose_block, struct buf *ret);
/* The encoded component id as text for people: "slot/0" with hex for unprintable segments. */
void suit_component_text(struct span encoded_id, struct buf *ret);

/* Authoring: a manifest for one component from facts; used by `dormousectl author sign` and tests. */
struct suit_author_component {
	struct span id[SUIT_ID_SEGMENTS_MAX];
	size_t n_id;
	struct digest digest;
	uint64_t size;
	const char *uri;                       /* needed; "#name" with payload given = integrated */
	struct span payload;                   /* integrated; empty = fetched by uri */
};
struct suit_author {
	uint64_t sequence;
	const uint8_t *vendor_id, *class_id;   /* 16 bytes each; NULL leaves the condition out */
	const struct suit_author_component *components;
	size_t n_components;
	const char *vendor_name, *model_name, *description, *version_text;      /* NULL = none */
	bool has_use_before;
	int64_t use_before_s;                  /* checked in install only: what is installed goes on booting */
	bool sever_install, sever_text;        /* put the member outside with its digest inside */
};
/* manifest: the encoded manifest (content of key 3). members: concatenated key/value pairs of severed and
 * integrated members for the envelope, n_members of them. 0; -EINVAL facts that make no manifest
 * (no component, no uri, payload not of its size, one uri for two digests), -EMSGSIZE too long. */
int suit_manifest_encode(const struct suit_author *a, struct buf *ret_manifest, struct buf *ret_members, size_t *ret_n_members);
/* content of auth[0] for a manifest: what gets signed. */
void suit_auth_digest_encode(struct span manifest, struct buf *ret);
int suit_envelope_encode(struct span manifest, struct span auth_digest_bytes, const struct span *cose_blocks, size_t n_blocks,
			 struct span members, size_t n_members, struct buf *ret);
