/* The authentication blocks: who signed, and do we know them? */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

#include "base/mem.h"
#include "trust/cose_verify.h"
#include "trust/judge.h"

struct signer {                                /* one signature to be checked */
	size_t block;
	const struct cose_message *m;
	const struct cose_signer *signer;      /* NULL: the message itself */
	const struct cose_headers *headers;
	char what[96];                         /* "block 1 (ESP256, kid '...')" */
};

static const char *problem_rule(enum cose_problem p)
{
	switch (p) {
	case COSE_ALG_NOT_PROTECTED:
	case COSE_ALG_MISSING:
	case COSE_ALG_DUPLICATE:
		return "CO-2";
	case COSE_ALG_IS_TEXT:
		return "CO-11";
	case COSE_CRIT_UNKNOWN:
		return "CO-4";
	case COSE_LABEL_DUPLICATE:
		return "CO-5";
	case COSE_WRONG_TAG:
	case COSE_NOT_TAGGED:
		return "CO-8";
	case COSE_PAYLOAD_NOT_DETACHED:
		return "SU-5";
	case COSE_CHAIN_TOO_LONG:
		return "CO-14";
	case COSE_KID_TOO_LONG:
		return "CO-13";
	case COSE_OK:
	case COSE_MALFORMED:
	case COSE_TOO_MANY:
	case COSE_PROBLEM_COUNT:
		break;
	}
	return "CO-1";
}

static const char *alg_text(int64_t alg, char ret[static 32])
{
	const char *name = cose_alg_name(alg);

	if (name)
		return name;
	(void)snprintf(ret, 32, "alg %lld", (long long)alg); /* fits */
	return ret;
}

static void signer_describe(struct signer *s)
{
	char alg[32], kid[2 * 16 + 8] = "";
	struct span id = s->headers->kid;
	bool is_text = id.n > 0 && id.n <= 32;

	for (size_t i = 0; i < id.n && is_text; i++)
		is_text = id.p[i] > 0x20 && id.p[i] < 0x7f && id.p[i] != '\'';
	if (is_text)
		(void)snprintf(kid, sizeof(kid), ", kid '%.*s'", (int)id.n, (const char *)id.p); /* cut on purpose */
	else if (id.n)
		(void)snprintf(kid, sizeof(kid), ", kid of %zu bytes", id.n); /* fits */
	(void)snprintf(s->what, sizeof(s->what), "block %zu (%s%s)", s->block + 1, alg_text(s->headers->alg, alg), kid); /* fits */
}

static struct auth_candidate *candidate_add(struct judge *j, const struct signer *s, const struct trust_anchor *a)
{
	if (j->n_candidates >= AUTH_CANDIDATES_MAX)
		return NULL;
	struct auth_candidate *c = &j->candidates[j->n_candidates++];
	*c = (struct auth_candidate){ .anchor = a, .block = s->block, .alg = s->headers->alg, .outcome = RULE_PASS };
	return c;
}

static enum cose_result try_key(struct judge *j, const struct signer *s, const struct cose_verify_key *key)
{
	j->n_tries++;
	return cose_verify(key, s->m, s->signer, SPAN_NONE, j->env->auth_digest_bytes);
}

/* ---- signers with a chain ---- */

/* The certificate's hash, when the header names it: bound to the leaf that verified (CO-15). */
static bool x5t_matches(const struct cose_headers *h, struct span leaf_der)
{
	struct suit_digest d = { .alg = h->x5t_alg, .bytes = h->x5t };

	if (h->x5t_alg == 0)
		return true;
	return (d.alg == SUIT_SHA256 || d.alg == SUIT_SHA384 || d.alg == SUIT_SHA512) && suit_digest_check(&d, leaf_der) == 1;
}

/* The path of leaf under each certificate anchor. Returns the best result, with its reason. */
static enum x509_result paths_add(struct judge *j, const struct signer *s, X509 *leaf, STACK_OF(X509) *untrusted,
				  const struct trust_anchor *only, char why[static X509_WHY_BYTES])
{
	enum x509_result best = X509_PATH_NO_ANCHOR;
	char reason[X509_WHY_BYTES];

	(void)snprintf(why, X509_WHY_BYTES, "its certificate leads to no configured anchor");
	for (size_t i = 0; i < j->anchors->n; i++) {
		const struct trust_anchor *a = &j->anchors->items[i];
		STACK_OF(X509) *chain = NULL;
		if (a->kind != TRUST_ANCHOR_X509 || (only && only != a))
			continue;
		enum x509_result r = x509_path_build(leaf, untrusted, a->certs, &j->policy, &chain, reason);
		if (r == X509_PATH_OK && !x509_leaf_may_sign(leaf, a->require_eku_code_signing, reason))
			r = X509_PATH_BAD;
		struct auth_candidate *c = r == X509_PATH_OK ? candidate_add(j, s, a) : NULL;
		if (c) {
			c->chain = TAKE(chain);
			c->untrusted = untrusted ? X509_chain_up_ref(untrusted) : NULL;
			(void)snprintf(c->why, sizeof(c->why), "%s", reason); /* same size */
			(void)x509_subject_text(leaf, c->signer);
			x509_key_id(leaf, c->key_id);
		}
		sk_X509_pop_free(chain, X509_free);
		if (r < best) {
			best = r;
			(void)snprintf(why, X509_WHY_BYTES, "%s", reason); /* same size */
		}
	}
	return best;
}

static void rule_of_path(struct judge *j, const struct signer *s, enum x509_result r, const char *why)
{
	switch (r) {
	case X509_PATH_OK:
		rule_add(j->v, "SU-5", "signature", RULE_PASS, "%s verifies; %s", s->what, why);
		break;
	case X509_PATH_UNDECIDED:
		rule_add(j->v, "CO-14", "certificate path", RULE_UNDECIDED, "%s: %s, by a clock that is not to be trusted", s->what, why);
		break;
	case X509_PATH_EXPIRED:
		j->v->is_expired = true;
		rule_add(j->v, "CO-14", "certificate path", RULE_FAIL, "%s: %s", s->what, why);
		break;
	case X509_PATH_BAD:
	case X509_PATH_NO_ANCHOR:
		rule_add(j->v, "CO-14", "certificate path", RULE_FAIL, "%s: %s", s->what, why);
		break;
	}
}

static void rule_of_result(struct judge *j, const struct signer *s, enum cose_result r, const char *by)
{
	const char *id = r == COSE_UNSUPPORTED ? "CO-11" : r == COSE_WRONG_KEY ? "CO-3" : r == COSE_BAD_LENGTH ? "CO-6" : "SU-5";

	rule_add(j->v, id, "signature", RULE_FAIL, "%s: %s%s%s", s->what, cose_result_text(r), *by ? ", checked with " : "", by);
}

static void signer_by_chain(struct judge *j, const struct signer *s)
{
	_cleanup_(x509_stack_freep) STACK_OF(X509) *chain = x509_chain_parse(s->headers->x5chain, s->headers->n_x5chain);
	char why[X509_WHY_BYTES], by[TRUST_NAME_BYTES];

	if (!chain || !sk_X509_num(chain)) {
		rule_add(j->v, "CO-14", "certificate path", RULE_FAIL, "%s: x5chain holds something that is not a certificate", s->what);
		return;
	}
	X509 *leaf = sk_X509_value(chain, 0);
	EVP_PKEY *pkey = X509_get0_pubkey(leaf);
	(void)x509_subject_text(leaf, by);
	if (!pkey || !cose_key_is_acceptable(pkey)) {
		rule_add(j->v, "CO-17", "signature", RULE_FAIL, "%s: the key of certificate '%s' is too weak or of an unsupported kind", s->what, by);
		return;
	}
	enum cose_result r = try_key(j, s, &(struct cose_verify_key){ .pkey = pkey });
	if (r != COSE_VERIFIED) {
		rule_of_result(j, s, r, by);
		return;
	}
	if (!x5t_matches(s->headers, s->headers->x5chain[0])) {
		rule_add(j->v, "CO-15", "signature", RULE_FAIL, "%s: x5t is not the SHA-2 digest of its certificate", s->what);
		return;
	}
	enum x509_result path = paths_add(j, s, leaf, chain, NULL, why);
	rule_of_path(j, s, path, why);
}

/* ---- signers by key ---- */

struct key_search {
	bool only_kid;                         /* keys of this kid alone */
	unsigned n_tried, n_kid;
	enum cose_result best;                 /* why not */
	char why[X509_WHY_BYTES];              /* of a pinned certificate whose path is not good */
	enum x509_result path;
	char last[TRUST_NAME_BYTES];           /* the last key tried */
};

static bool kid_is(const struct trust_anchor *a, struct span kid)
{
	return kid.n && ((a->n_kid && span_eq(kid, SPAN(a->kid, a->n_kid))) || span_eq_str(kid, a->name) ||
			 (a->kind == TRUST_ANCHOR_KEY && span_eq(kid, SPAN_OF(a->key_id))));
}

static bool try_anchor_key(struct judge *j, const struct signer *s, const struct trust_anchor *a, struct key_search *k)
{
	const struct cose_verify_key key = { .pkey = a->pkey, .mac = SPAN(a->mac_key, a->n_mac_key), .alg = a->alg };
	enum cose_result r = try_key(j, s, &key);

	if (r != COSE_WRONG_KEY && r != COSE_UNSUPPORTED) {
		k->n_tried++;
		(void)snprintf(k->last, sizeof(k->last), "anchor '%.40s'", a->name); /* fits */
	}
	if (r < k->best)
		k->best = r;
	if (r != COSE_VERIFIED)
		return false;
	struct auth_candidate *c = candidate_add(j, s, a);
	if (c) {
		memcpy(c->key_id, a->key_id, sizeof(c->key_id));
		(void)snprintf(c->signer, sizeof(c->signer), "%s of '%.40s'", a->kind == TRUST_ANCHOR_MAC ? "MAC key" : "key", a->name); /* fits */
		(void)snprintf(c->why, sizeof(c->why), "verifies with the %s of anchor '%s'", a->kind == TRUST_ANCHOR_MAC ? "MAC key" : "key",
			       a->name);       /* fits */
		rule_add(j->v, "SU-5", "signature", RULE_PASS, "%s %s", s->what, c->why);
	}
	return c != NULL;
}

/* A configured certificate may be the signer itself; then no chain comes along. */
static bool try_anchor_certs(struct judge *j, const struct signer *s, const struct trust_anchor *a, struct key_search *k)
{
	bool found = false;

	for (int i = 0; i < sk_X509_num(a->certs) && j->n_tries < AUTH_TRIES_MAX; i++) {
		X509 *x = sk_X509_value(a->certs, i);
		EVP_PKEY *pkey = X509_get0_pubkey(x);
		if (!pkey || !cose_key_is_acceptable(pkey) || !cose_alg_fits(s->headers->alg, pkey))
			continue;
		enum cose_result r = try_key(j, s, &(struct cose_verify_key){ .pkey = pkey });
		k->n_tried++;
		if (r < k->best)
			k->best = r;
		if (r != COSE_VERIFIED)
			continue;
		k->path = paths_add(j, s, x, NULL, a, k->why);
		rule_of_path(j, s, k->path, k->why);
		found = true;
	}
	return found;
}

static bool search_keys(struct judge *j, const struct signer *s, struct key_search *k)
{
	bool is_mac = s->m->kind == COSE_MAC0, found = false;

	for (size_t i = 0; i < j->anchors->n && j->n_tries < AUTH_TRIES_MAX; i++) {
		const struct trust_anchor *a = &j->anchors->items[i];
		if ((a->kind == TRUST_ANCHOR_MAC) != is_mac || kid_is(a, s->headers->kid) != k->only_kid)
			continue;
		if (k->only_kid && k->n_kid++ >= AUTH_TRIES_KID_MAX)
			break;
		if (a->kind == TRUST_ANCHOR_X509)
			found = try_anchor_certs(j, s, a, k) || found;
		else
			found = try_anchor_key(j, s, a, k) || found;
	}
	return found;
}

/* The kid is a hint: the keys it names first, then all others (CO-13). */
static void signer_by_key(struct judge *j, const struct signer *s)
{
	struct key_search k = { .only_kid = true, .best = COSE_UNSUPPORTED };
	bool found = s->headers->kid.n && search_keys(j, s, &k);

	k.only_kid = false;
	if (!found)
		found = search_keys(j, s, &k);
	if (found)
		return;
	if (!cose_alg_is_known(s->headers->alg))
		rule_add(j->v, "CO-11", "signature", RULE_FAIL, "%s: unsupported algorithm", s->what);
	else if (!k.n_tried)
		rule_add(j->v, "SU-9", "signature", RULE_FAIL, "%s: no configured %s can verify this algorithm", s->what,
			 s->m->kind == COSE_MAC0 ? "MAC key" : "public key");
	else
		rule_add(j->v, k.best == COSE_BAD_LENGTH ? "CO-6" : "SU-5", "signature", RULE_FAIL, "%s: %s; %u configured key%s tried%s%s", s->what,
			 k.best == COSE_BAD_LENGTH ? cose_result_text(k.best) : "no configured key verifies it", k.n_tried,
			 k.n_tried == 1 ? "" : "s", k.n_tried == 1 && k.last[0] ? ": " : "", k.n_tried == 1 ? k.last : "");
}

/* ---- blocks ---- */

static void judge_signer(struct judge *j, size_t block, const struct cose_message *m, const struct cose_signer *signer)
{
	struct signer s = { .block = block, .m = m, .signer = signer, .headers = signer ? &signer->headers : &m->headers };

	if (j->n_signers++ >= AUTH_SIGNERS_MAX || j->n_tries >= AUTH_TRIES_MAX) {
		if (j->n_signers == AUTH_SIGNERS_MAX + 1)
			rule_add(j->v, "SU-9", "signature", RULE_FAIL, "more than %d signers; the rest is not looked at", AUTH_SIGNERS_MAX);
		return;
	}
	signer_describe(&s);
	if (signer && signer->problem != COSE_OK)
		rule_add(j->v, problem_rule(signer->problem), "signature", RULE_FAIL, "%s: %s", s.what, cose_problem_text(signer->problem));
	else if (s.headers->n_x5chain && m->kind != COSE_MAC0)
		signer_by_chain(j, &s);
	else
		signer_by_key(j, &s);
}

static void judge_block(struct judge *j, size_t block)
{
	struct cose_message *m = NEW(struct cose_message);
	enum cose_problem problem;

	if (cose_decode(j->env->auth_blocks[block], COSE_NEEDS_DETACHED, m, &problem) < 0) {
		rule_add(j->v, problem_rule(problem), "authentication block", RULE_FAIL, "block %zu: %s", block + 1, cose_problem_text(problem));
	} else if (m->kind == COSE_MAC) {
		rule_add(j->v, "SU-9", "authentication block", RULE_FAIL, "block %zu: COSE_Mac with recipients is not supported", block + 1);
	} else if (m->kind == COSE_SIGN) {
		for (size_t i = 0; i < m->n_signers; i++)
			judge_signer(j, block, m, &m->signers[i]);
	} else {
		judge_signer(j, block, m, NULL);
	}
	free(m);
}

/* One trusted signer suffices: what the others lack is then a remark. Without one, doubt about the clock outweighs. */
static void soften(struct verdict *v, size_t from, bool has_candidate)
{
	bool doubt = false;

	for (size_t i = from; i < v->n_rules; i++)
		doubt = doubt || v->rules[i].outcome == RULE_UNDECIDED;
	for (size_t i = from; i < v->n_rules; i++) {
		bool softer = v->rules[i].outcome == RULE_FAIL ? has_candidate || doubt : v->rules[i].outcome == RULE_UNDECIDED && has_candidate;
		if (softer)
			v->rules[i].outcome = RULE_WARN;
	}
}

void judge_authenticate(struct judge *j)
{
	size_t from = j->v->n_rules;

	for (size_t i = 0; i < j->env->n_auth_blocks; i++)
		judge_block(j, i);
	soften(j->v, from, j->n_candidates > 0);
	if (!j->n_candidates && !trust_anchors_n(j->anchors))
		rule_add(j->v, "SU-7", "trusted signer", RULE_FAIL, "no anchor is configured, so nobody is trusted");
	ERR_clear_error();
}

void judge_candidates_done(struct judge *j)
{
	for (size_t i = 0; i < j->n_candidates; i++) {
		sk_X509_pop_free(j->candidates[i].chain, X509_free);
		sk_X509_pop_free(j->candidates[i].untrusted, X509_free);
		free(j->candidates[i].status);
	}
	j->n_candidates = 0;
}
