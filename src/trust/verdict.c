#include "trust/verdict.h"

#include <openssl/err.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "trust/judge.h"

static const char *suit_rule_id(enum suit_problem p)
{
	switch (p) {
	case SUIT_WRONG_TAG:
	case SUIT_NO_TAG:
		return "SU-1";
	case SUIT_AUTH_AFTER_MANIFEST:
		return "SU-2";
	case SUIT_DIGEST_ALG:
	case SUIT_DIGEST_MISMATCH:
		return "SU-4";
	case SUIT_AUTH_MISSING:
	case SUIT_NO_AUTH_BLOCK:
		return "SU-7";
	case SUIT_VERSION:
		return "SU-11";
	case SUIT_MEMBER_MALFORMED:
	case SUIT_MEMBER_UNLISTED:
	case SUIT_MEMBER_MISMATCH:
	case SUIT_UNKNOWN_MEMBER:
		return "SU-16";
	case SUIT_INTEGRATED_UNUSED:
		return "SU-18";
	case SUIT_TOO_DEEP:
		return "SU-20";
	case SUIT_BAD_COMPONENT:
		return "SU-21";
	case SUIT_BAD_URI:
		return "SU-22";
	case SUIT_UNKNOWN_COMMAND:
	case SUIT_UNKNOWN_PARAMETER:
		return "SU-23";
	case SUIT_BAD_TEXT:
		return "SU-24";
	case SUIT_OLD_ENCODING:
		return "SU-28";
	case SUIT_BAD_REPORTING_POLICY:
		return "SU-29";
	case SUIT_TOO_MANY:
	case SUIT_TOO_LARGE:
	case SUIT_NO_MEMORY:
		return "SU-30";
	case SUIT_OK:
	case SUIT_NOT_CBOR:
	case SUIT_AUTH_MALFORMED:
	case SUIT_MANIFEST_MALFORMED:
	case SUIT_DUPLICATE_KEY:
	case SUIT_PROBLEM_COUNT:
		break;
	}
	return "SU-3";
}

/* An envelope it was, whatever is wrong with it. */
static bool is_an_envelope(enum suit_problem p)
{
	return p == SUIT_OK || p == SUIT_NO_AUTH_BLOCK || p == SUIT_DIGEST_ALG || p == SUIT_DIGEST_MISMATCH;
}

static bool judge_envelope(struct judge *j, struct span envelope, struct suit_envelope *env)
{
	enum suit_problem problem = SUIT_OK;
	char hex[DIGEST_HEX_BYTES];
	int r = suit_envelope_decode(envelope, j->facts->allow_untagged ? SUIT_ALLOW_UNTAGGED : 0, env, &problem);

	j->v->decodable = is_an_envelope(problem);
	if (r < 0) {
		if (problem == SUIT_NO_AUTH_BLOCK)
			j->v->manifest_digest = env->manifest_digest;
		rule_add(j->v, suit_rule_id(problem), "envelope", problem == SUIT_NO_MEMORY ? RULE_UNDECIDED : RULE_FAIL, "%s",
			 suit_problem_text(problem));
		return false;
	}
	j->v->manifest_digest = env->manifest_digest;
	rule_add(j->v, "SU-4", "manifest digest", RULE_PASS, "the manifest is the one that was signed: %s", digest_hex(&env->manifest_digest, hex));
	return true;
}

static void judge_revocation(struct judge *j)
{
	if (j->facts->skip_revocation)
		return;
	_cleanup_(revocation_set_freep) struct revocation_set *set = revocation_set_new(j->facts->revocation, j->facts->n_revocation);

	for (size_t i = 0; i < j->n_candidates; i++) {
		struct auth_candidate *c = &j->candidates[i];
		struct revocation_path path = { .set = set, .chain = c->chain, .untrusted = c->untrusted, .policy = &j->policy };
		if (!c->chain)
			continue;
		path.trusted = c->anchor->certs;
		c->status = NEW(struct revocation_result);
		c->outcome = RULE_UNDECIDED;
		if (revocation_path_init(&path) == 0) {
			revocation_judge_path(&path, c->anchor->mode, c->anchor->grace_s, c->status);
			c->outcome = c->status->outcome;
		}
		revocation_path_done(&path);
		if (wall_before(j->v->newest_proof, c->status->newest_proof))
			j->v->newest_proof = c->status->newest_proof;
	}
	ERR_clear_error();
}

/* Better first: not blocked, then undecided, then refused; with a manifest, those whose rights cover it. */
static unsigned candidate_rank(const struct auth_candidate *c, const struct suit_manifest *m)
{
	unsigned rank = c->outcome == RULE_FAIL ? 2 : c->outcome == RULE_UNDECIDED ? 1 : 0;

	return rank * 2 + (m && !judge_rights(c->anchor, m, NULL));
}

static const struct auth_candidate *candidate_best(const struct judge *j, const struct suit_manifest *m)
{
	const struct auth_candidate *best = &j->candidates[0];

	for (size_t i = 1; i < j->n_candidates; i++) {
		if (candidate_rank(&j->candidates[i], m) < candidate_rank(best, m))
			best = &j->candidates[i];
	}
	return best;
}

/* Write down what the chosen signer's path says, and how the others differ. */
static void take_candidate(struct judge *j, const struct auth_candidate *c)
{
	struct verdict *v = j->v;

	(void)snprintf(v->anchor, sizeof(v->anchor), "%s", c->anchor->name); /* same size */
	(void)snprintf(v->signer, sizeof(v->signer), "%s", c->signer); /* same size */
	memcpy(v->signer_key_id, c->key_id, sizeof(v->signer_key_id));
	if (c->chain)
		rule_add(v, "CO-14", "certificate path", RULE_PASS, "under anchor '%s': %s", c->anchor->name, c->why);
	if (!c->chain)
		rule_add(v, "RV-3", "revocation", RULE_SKIP, "a bare key has no status; take anchor '%s' out of the configuration to revoke it",
			 c->anchor->name);
	else if (!c->status)
		rule_add(v, "RV-3", "revocation", RULE_WARN, "REVOCATION WAS NOT CHECKED, as asked");
	else
		for (size_t i = 0; i < c->status->n_rules; i++)
			rule_append(v, &c->status->rules[i]);
	if (c->status) {
		v->is_revoked = c->status->is_revoked;
		v->n_needs = c->status->n_needs;
		memcpy(v->needs, c->status->needs, c->status->n_needs * sizeof(*v->needs));
	}
	for (size_t i = 0; i < j->n_candidates; i++) {
		const struct auth_candidate *other = &j->candidates[i];
		if (other != c && other->block != c->block && other->outcome == RULE_FAIL)
			rule_add(v, "RV-3", "revocation", RULE_WARN, "another signer, '%s', is revoked", other->signer);
	}
}

static void judge_signed(struct judge *j, const struct suit_envelope *env, struct suit_manifest *manifest)
{
	enum suit_problem problem = SUIT_OK;

	judge_authenticate(j);
	if (!j->n_candidates)
		return;
	judge_revocation(j);
	const struct auth_candidate *best = candidate_best(j, NULL);
	if (best->outcome == RULE_FAIL) { /* revoked: the manifest stays unread (SU-6) */
		take_candidate(j, best);
		return;
	}
	int r = suit_manifest_decode(env, 0, manifest, &problem);
	if (r < 0) {
		take_candidate(j, best);
		rule_add(j->v, suit_rule_id(problem), "manifest", problem == SUIT_NO_MEMORY ? RULE_UNDECIDED : RULE_FAIL, "%s",
			 suit_problem_text(problem));
		*manifest = (struct suit_manifest){ 0 };
		return;
	}
	best = candidate_best(j, manifest);
	take_candidate(j, best);
	judge_manifest(j, best, manifest);
}

static enum trust_outcome outcome_of(const struct verdict *v, bool has_signer)
{
	enum rule_outcome worst = RULE_PASS;

	for (size_t i = 0; i < v->n_rules; i++) {
		if (rule_blocks(v->rules[i].outcome))
			worst = rule_worse(worst, v->rules[i].outcome);
	}
	if (worst == RULE_UNDECIDED)
		return TRUST_UNDECIDED;
	return worst == RULE_PASS && has_signer ? TRUST_ACCEPTED : TRUST_REJECTED;
}

void verdict_judge(const struct trust_anchors *anchors, const struct trust_facts *facts, struct span envelope,
		   struct suit_envelope *env, struct suit_manifest *manifest, struct verdict *ret)
{
	static const struct trust_anchors none;
	_cleanup_free_ struct judge *j = NEW(struct judge);
	_cleanup_free_ struct suit_envelope *own_env = env ? NULL : NEW(struct suit_envelope);
	_cleanup_free_ struct suit_manifest *own_manifest = manifest ? NULL : NEW(struct suit_manifest);

	env = env ? env : own_env;
	manifest = manifest ? manifest : own_manifest;
	memset(ret, 0, sizeof(*ret));
	memset(env, 0, sizeof(*env));
	memset(manifest, 0, sizeof(*manifest));
	*j = (struct judge){ .anchors = anchors ? anchors : &none, .facts = facts, .policy = x509_policy_of(facts), .env = env, .v = ret };
	if (judge_envelope(j, envelope, env))
		judge_signed(j, env, manifest);
	ret->outcome = outcome_of(ret, j->n_candidates > 0);
	judge_candidates_done(j);
	ERR_clear_error();
}

bool verdict_payload_ok(const struct suit_image *image, const struct digest *of_bytes, uint64_t bytes, struct verdict_rule *ret)
{
	char hex[DIGEST_HEX_BYTES];

	(void)digest_hex(of_bytes, hex);
	if (image->digest.alg != SUIT_SHA256 || image->digest.bytes.n != DIGEST_BYTES)
		rule_set(ret, "SU-19", "payload", RULE_FAIL, "the manifest gives no SHA-256 digest to check the payload by");
	else if (image->has_size && image->size != bytes)
		rule_set(ret, "SU-19", "payload", RULE_FAIL, "%llu bytes, the manifest says %llu", (unsigned long long)bytes,
			 (unsigned long long)image->size);
	else if (!bytes_eq_ct(image->digest.bytes, SPAN_OF(of_bytes->b)))
		rule_set(ret, "SU-19", "payload", RULE_FAIL, "the payload is not the one that was signed; it has SHA-256 %s", hex);
	else
		rule_set(ret, "SU-19", "payload", RULE_PASS, "%llu bytes, SHA-256 %s", (unsigned long long)bytes, hex);
	return ret->outcome == RULE_PASS;
}

const struct verdict_rule *verdict_first_problem(const struct verdict *v)
{
	const struct verdict_rule *undecided = NULL;

	if (v->outcome == TRUST_ACCEPTED)
		return NULL;
	for (size_t i = 0; i < v->n_rules; i++) {
		if (v->rules[i].outcome == RULE_FAIL)
			return &v->rules[i];
		if (v->rules[i].outcome == RULE_UNDECIDED && !undecided)
			undecided = &v->rules[i];
	}
	return undecided;
}
