/* trust/revocation.h - what a CRL or an OCSP answer means (RFC 5280, 6960, 5019; RV-1..RV-17). Pure: objects and
 * the time come in, statuses come out. Fetching and keeping is upstream's and intake's work: `struct revocation_need`
 * says what to fetch, revocation_object_check() says whether what came may replace what is kept. */
#pragma once
#include "trust/trust.h"

enum { REVOCATION_CRL_BYTES_MAX = 8 * 1024 * 1024, REVOCATION_OCSP_BYTES_MAX = 20 * 1024, REVOCATION_OBJECTS_MAX = 4096 };   /* RV-12 */

enum revocation_status {
	REVOCATION_GOOD, REVOCATION_REVOKED,
	REVOCATION_UNKNOWN,                    /* the responder does not know the certificate: not good */
	REVOCATION_NO_ANSWER,                  /* nothing usable in hand */
	REVOCATION_STALE,                      /* the last good status has run out */
	REVOCATION_CLOCK_BAD,                  /* a good status, and no trustworthy time to say whether it is fresh */
	REVOCATION_STATUS_COUNT,
};

/**
 * The mode table (RV-13).
 *
 * within_grace  the status ran out no longer ago than the anchor's grace_s; it matters for STALE alone: a grace
 *               is a length of time, so with a bad clock there is none, and "unknown" is an answer, not a silence
 * Returns RULE_PASS, RULE_WARN (let pass with an alarm), RULE_UNDECIDED (hold) or RULE_FAIL.
 */
enum rule_outcome revocation_decide(enum revocation_mode mode, enum revocation_status s, bool within_grace);

struct revocation_object_info {
	struct wall this_update, next_update;  /* next_update.ms == 0: none given */
	struct wall refresh_at;                /* half of its life */
	bool is_current;                       /* not past next_update at facts->now */
	char issuer[TRUST_NAME_BYTES];         /* who vouches for it; printable */
	char why[TRUST_EVIDENCE_BYTES];        /* for the log when it was refused */
};

/**
 * May this fetched object be kept, in place of the stored one if there is one? The need it answers carries the issuer's
 * certificate, so a wrong signature is refused here and cannot push out what is good. Milliseconds at most for an OCSP
 * answer; a CRL of megabytes takes longer: for a worker.
 *
 * need      as the verdict gave it
 * stored    the object kept under the same key; empty or unreadable = none
 * ret       may be NULL; why is set whenever negative, the times whenever they could be read
 * Returns 0 keep it; 1 it is the one we have; -EBADMSG not a CRL or a successful OCSP answer; -EMSGSIZE over the limit;
 *         -ENOKEY issued by somebody else, or not about the certificate that was asked about; -EKEYREJECTED the signature or the
 *         responder's right does not hold; -ESTALE older than the stored one (rollback, RV-10); -ETIME dated in the future.
 */
int revocation_object_check(const struct revocation_need *need, struct wall now, bool clock_bad, struct span fetched,
			    struct span stored, struct revocation_object_info *ret);
/* An object given by hand, for which nobody asked: parse and times alone; its signature is checked when it is used.
 * 0, -EBADMSG, -EMSGSIZE. */
int revocation_object_read(enum revocation_kind kind, struct span der, struct wall now, struct revocation_object_info *ret);
