/* A verdict for programs and for people. */
#include "base/text.h"
#include "codec/json.h"
#include "trust/verdict.h"

static void json_time(struct json_out *j, const char *key, struct wall t)
{
	char text[WALL_TEXT_BYTES];

	if (t.ms)
		json_str(j, key, wall_text(t, text));
	else
		json_null(j, key);
}

static void json_rules(struct json_out *j, const struct verdict *v)
{
	json_open_array(j, "rules");
	for (size_t i = 0; i < v->n_rules; i++) {
		const struct verdict_rule *r = &v->rules[i];
		json_open_object(j, NULL);
		json_str(j, "id", r->id);
		json_str(j, "name", r->name);
		json_str(j, "outcome", rule_outcome_name(r->outcome));
		json_str(j, "evidence", r->evidence);
		json_close_object(j);
	}
	json_close_array(j);
}

static void json_needs(struct json_out *j, const struct verdict *v)
{
	json_open_array(j, "needs");
	for (size_t i = 0; i < v->n_needs; i++) {
		const struct revocation_need *n = &v->needs[i];
		json_open_object(j, NULL);
		json_str(j, "kind", n->kind == REVOCATION_CRL ? "crl" : "ocsp");
		json_str(j, "url", n->url);
		json_str(j, "key", n->key);
		json_time(j, "refresh_at", n->refresh_at);
		json_close_object(j);
	}
	json_close_array(j);
}

void verdict_json(const struct verdict *v, struct buf *ret)
{
	struct json_out j = json_writer(ret);
	char hex[DIGEST_HEX_BYTES];

	json_open_object(&j, NULL);
	json_str(&j, "outcome", trust_outcome_name(v->outcome));
	json_bool(&j, "decodable", v->decodable);
	json_str(&j, "anchor", v->anchor[0] ? v->anchor : NULL);
	json_str(&j, "signer", v->signer[0] ? v->signer : NULL);
	if (v->signer[0])
		json_hex(&j, "signer_key_id", SPAN_OF(v->signer_key_id));
	else
		json_null(&j, "signer_key_id");
	json_str(&j, "manifest_digest", digest_is_zero(&v->manifest_digest) ? NULL : digest_hex(&v->manifest_digest, hex));
	json_uint(&j, "sequence", v->sequence);
	json_bool(&j, "revoked", v->is_revoked);
	json_bool(&j, "rollback", v->is_rollback);
	json_bool(&j, "equivocation", v->is_equivocation);
	json_time(&j, "newest_proof", v->newest_proof);
	json_rules(&j, v);
	json_needs(&j, v);
	json_close_object(&j);
}

void verdict_text(const struct verdict *v, struct buf *ret)
{
	const struct verdict_rule *problem = verdict_first_problem(v);
	char hex[DIGEST_HEX_BYTES];

	buf_printf(ret, "%s", trust_outcome_name(v->outcome));
	if (problem)
		buf_printf(ret, ": %s (%s)\n", problem->evidence, problem->id);
	else if (v->outcome == TRUST_ACCEPTED)
		buf_printf(ret, ": signed by %s under anchor '%s'\n", v->signer, v->anchor);
	else
		buf_add_str(ret, "\n");
	if (!digest_is_zero(&v->manifest_digest))
		buf_printf(ret, "manifest %s, sequence number %llu\n", digest_hex(&v->manifest_digest, hex), (unsigned long long)v->sequence);
	for (size_t i = 0; i < v->n_rules; i++)
		buf_printf(ret, "  %-9s  %-6s %-22s %s\n", rule_outcome_name(v->rules[i].outcome), v->rules[i].id, v->rules[i].name,
			   v->rules[i].evidence);
}
