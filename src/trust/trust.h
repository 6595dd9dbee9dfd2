/* trust/trust.h - the shapes of judgement: anchors and facts in, a verdict out. Nothing in trust/
 * fetches, stores, logs or reads a clock. All of it may run on a worker thread: everything given is
 * borrowed and immutable for the call.
 *
 * "Decided no" is a value (enum trust_outcome, zero = rejected); "could not decide" is TRUST_UNDECIDED
 * with the rule that lacked a fact, and verdict.needs says what to fetch. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/time.h"

enum trust_outcome { TRUST_REJECTED, TRUST_UNDECIDED, TRUST_ACCEPTED };

enum {
	TRUST_RULES_MAX = 64, TRUST_EVIDENCE_BYTES = 240, TRUST_NEEDS_MAX = 16, TRUST_NAME_BYTES = 64, TRUST_URL_BYTES = 512,
	TRUST_ISSUER_BYTES = 3072,
	TRUST_ANCHORS_MAX = 256, TRUST_ANCHOR_IDS_MAX = 32, TRUST_ANCHOR_HOSTS_MAX = 16,
	TRUST_SKEW_S_DEFAULT = 300,            /* thisUpdate may be this far ahead of us */
	TRUST_STATUS_AGE_S_DEFAULT = 10 * 86400, /* oldest status without a nextUpdate, and oldest OCSP answer (RV-5, RV-6) */
};

enum revocation_mode { REVOCATION_HARD, REVOCATION_GRACE, REVOCATION_SOFT };

/* One configured anchor: an X.509 CA (x5chain signers), a raw public key, or a symmetric key (tests, Mac0).
 * It says which vendors and classes it may sign for; empty lists mean none but for vendor "any". */
struct trust_anchor_config {
	const char *name;
	struct span pem;                       /* PEM certificate(s) or public key; DER of either; or COSE_Key (CBOR) */
	struct span mac_key;                   /* HMAC key; offline verify of Mac0 vectors only */
	const char *const *vendor_ids;         /* UUID text, or "any"; NULL-terminated */
	const char *const *class_ids;          /* UUID text; empty = every class of those vendors; NULL-terminated */
	const char *const *hosts;              /* hosts that payload URIs may name ("*.x" = below x); empty = any public, "*" = any; NULL-terminated */
	enum revocation_mode mode;
	uint32_t grace_s;                      /* how long last-good status stays good in grace mode */
	bool require_eku_code_signing;
	bool requires_no_identity;             /* SU-14 exemption: shared sequence need not check vendor and class */
};

struct trust_anchors;                          /* immutable after building, reference counted (atomic) */
/* error: text for people saying which anchor and why. */
int trust_anchors_build(const struct trust_anchor_config *configs, size_t n, struct trust_anchors **ret, char *error, size_t error_bytes);
struct trust_anchors *trust_anchors_ref(struct trust_anchors *a);
struct trust_anchors *trust_anchors_unref(struct trust_anchors *a);
size_t trust_anchors_n(const struct trust_anchors *a);
static inline void trust_anchors_unrefp(struct trust_anchors **a) { trust_anchors_unref(*a); }

enum trust_anchor_kind { TRUST_ANCHOR_X509, TRUST_ANCHOR_KEY, TRUST_ANCHOR_MAC };
struct trust_anchor_info {
	const char *name;                      /* borrowed from the anchors */
	enum trust_anchor_kind kind;
	char subject[TRUST_NAME_BYTES];        /* first certificate's subject, or "P-256 key 1f2e..." */
	struct wall not_after;                 /* the earliest of its certificates; 0 = does not expire */
};
/* For listings and expiry warnings; false past the end. */
bool trust_anchors_info(const struct trust_anchors *a, size_t i, struct trust_anchor_info *ret);

enum revocation_kind { REVOCATION_CRL, REVOCATION_OCSP };

/* A fetched (or shipped) revocation object, as stored. */
struct revocation_object {
	enum revocation_kind kind;
	const char *url;                       /* where it came from; "" = shipped by hand */
	struct span der;
	struct wall fetched_at;
};

/* What would be needed to decide, or should be refreshed. key names the object in the store. */
struct revocation_need {
	enum revocation_kind kind;
	char url[TRUST_URL_BYTES];
	char key[DIGEST_HEX_BYTES];            /* stable: of (kind, url, issuer name; for OCSP also the certificate) */
	uint8_t ocsp_request[512];             /* DER to POST */
	size_t n_ocsp_request;                 /* no nonce: answers are cached and may be pre-produced (RFC 5019, RV-6) */
	uint8_t issuer[TRUST_ISSUER_BYTES];    /* DER certificate of the issuer: what the answer is checked with */
	size_t n_issuer;
	struct wall refresh_at;                /* when the object in hand should be fetched again (half life); 0 = now */
};

/* The highest sequence accepted for one vendor + class + root component (SU-12, SU-13). */
struct freshness_entry {
	uint8_t vendor_id[16], class_id[16];
	uint8_t component[64];
	uint8_t n_component;
	uint64_t sequence;
	struct digest manifest;
};

/* --device FACTS.json of `dormousectl verify`, and selection in tests. */
struct trust_device_facts {
	bool has_vendor, has_class;
	uint8_t vendor_id[16], class_id[16];
	bool has_sequence;
	uint64_t sequence;
};

struct trust_facts {
	struct wall now;                       /* trusted time: never below the floor */
	bool clock_bad;                        /* system clock below the floor: freshness is unknown (RV-14) */
	const struct revocation_object *revocation;
	size_t n_revocation;
	const struct freshness_entry *seen;
	size_t n_seen;
	const struct trust_device_facts *device;       /* NULL */
	bool allow_untagged;
	bool use_before_is_advice;             /* offline, with neither a time nor a device given: whether it is authentic is asked,
						* not whether it may still be used; the rule warns */
	bool skip_revocation;                  /* tests and offline verify with --no-revocation: the rule says so loudly */
	uint64_t image_bytes_max;              /* quota for one update; 0 = no limit */
	uint32_t skew_s, status_age_max_s;     /* 0 = the defaults above */
};

enum rule_outcome { RULE_FAIL, RULE_UNDECIDED, RULE_PASS, RULE_WARN, RULE_SKIP };

struct verdict_rule {
	char id[12];                           /* "SU-4", "RV-3", "CO-2" */
	const char *name;                      /* static: "manifest digest" */
	enum rule_outcome outcome;
	char evidence[TRUST_EVIDENCE_BYTES];   /* printable */
};

struct verdict {
	enum trust_outcome outcome;
	bool decodable;                        /* false: not even an envelope (exit 4 of `verify`) */
	struct verdict_rule rules[TRUST_RULES_MAX];
	size_t n_rules;
	char anchor[TRUST_NAME_BYTES];         /* that accepted it; "" */
	char signer[TRUST_NAME_BYTES];         /* certificate subject or key id, printable */
	uint8_t signer_key_id[20];             /* subject key id of the leaf, for recall bookkeeping */
	struct digest manifest_digest;
	uint64_t sequence;
	struct revocation_need needs[TRUST_NEEDS_MAX];
	size_t n_needs;
	bool is_revoked;                       /* a certificate of the accepted path is revoked */
	bool is_expired;                       /* a certificate of the signer's path has expired; nothing else is against it */
	bool is_rollback, is_equivocation;
	struct wall newest_proof;              /* newest verified thisUpdate seen: feeds the clock floor */
};

const char *trust_outcome_name(enum trust_outcome o);
const char *rule_outcome_name(enum rule_outcome o);
