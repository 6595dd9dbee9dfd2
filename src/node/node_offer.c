#include "node/node_offer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "trust/delegate.h"
#include "trust/verdict.h"

struct refusal {
	unsigned *result;
	char *reason;                          /* NODE_REASON_BYTES */
};

static int refuse(const struct refusal *why, unsigned result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int refuse(const struct refusal *why, unsigned result, const char *fmt, ...)
{
	va_list ap;

	*why->result = result;
	va_start(ap, fmt);
	(void)vsnprintf(why->reason, NODE_REASON_BYTES, fmt, ap); /* cut is fine */
	va_end(ap);
	return -EACCES;
}

/* By the vendor's signature, with the gateway's own judge. Revocation is the gateway's service: a node cannot reach the vendor. */
static int check_signature(const struct node_trust *t, struct span envelope, struct wall now, struct suit_envelope *env,
			   struct suit_manifest *m, const struct refusal *why)
{
	_cleanup_free_ struct verdict *v = NEW(struct verdict);
	const struct trust_facts facts = { .now = now, .skip_revocation = true };

	verdict_judge(t->anchors, &facts, envelope, env, m, v);
	if (v->outcome == TRUST_ACCEPTED)
		return 0;
	const struct verdict_rule *p = verdict_first_problem(v);
	return refuse(why, NODE_RESULT_INTEGRITY, "%s %s: %s", p ? p->id : "", p ? p->name : "refused", p ? p->evidence : "");
}

static int check_decoded(const struct suit_envelope *env, struct suit_manifest *m, const struct refusal *why)
{
	enum suit_problem problem = SUIT_OK;

	if (suit_manifest_decode(env, SUIT_ALLOW_UNUSED_INTEGRATED, m, &problem) < 0)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "manifest: %s", suit_problem_text(problem));
	return 0;
}

/* By the gateway's MAC, or by nothing but the digest: the manifest is read only then. */
static int check_otherwise(const struct node_trust *t, struct span mac_key, struct span envelope, struct suit_envelope *env,
			   struct suit_manifest *m, const struct refusal *why)
{
	enum suit_problem problem = SUIT_OK;
	int r = suit_envelope_decode(envelope, 0, env, &problem);

	if (r < 0 && !(problem == SUIT_NO_AUTH_BLOCK && t->proof == PROOF_NONE))
		return refuse(why, NODE_RESULT_INTEGRITY, "envelope: %s", suit_problem_text(problem));
	if (t->proof == PROOF_MAC && delegate_check_mac0(env, mac_key) != 1)
		return refuse(why, NODE_RESULT_INTEGRITY, "no MAC of our key verifies");
	return check_decoded(env, m, why);
}

static bool has_id(const struct span *ids, size_t n, const uint8_t id[static 16])
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(ids[i], SPAN(id, 16)))
			return true;
	return false;
}

static bool is_for(const struct node_trust *t, const struct suit_component *c)
{
	return (!t->has_vendor || has_id(c->vendor_id, c->n_vendor_id, t->vendor_id)) &&
	       (!t->has_class || has_id(c->class_id, c->n_class_id, t->class_id));
}

/* One image per component that is for us: of alternatives (try-each) the first. */
static int take_image(const struct suit_image *img, struct node_offer *o, const struct refusal *why)
{
	for (size_t i = 0; i < o->n_images; i++)
		if (o->images[i].component == img->component)
			return 0;
	if (o->n_images == NODE_IMAGES_MAX)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "more than %d images", NODE_IMAGES_MAX);
	if (img->is_encrypted)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "encrypted image, and we have no key for it");
	if (img->digest.alg != -16 || img->digest.bytes.n != DIGEST_BYTES || !img->has_size)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "image without SHA-256 digest and size");
	if (img->size > NODE_IMAGE_BYTES_MAX)
		return refuse(why, 2, "image of %llu bytes does not fit", (unsigned long long)img->size);
	struct node_image *n = &o->images[o->n_images];
	memcpy(n->digest.b, img->digest.bytes.p, DIGEST_BYTES);
	n->bytes = img->size;
	n->component = img->component;
	n->is_integrated = img->is_integrated;
	n->integrated = img->integrated;
	if (text_copy(n->uri, sizeof(n->uri), img->uri) < 0)
		return refuse(why, 7, "URI too long");
	o->total_bytes += img->size;
	o->n_images++;
	return 0;
}

static int take_images(const struct node_trust *t, const struct suit_manifest *m, struct node_offer *o, const struct refusal *why)
{
	bool is_ours = false;

	for (size_t i = 0; i < m->n_components; i++)
		is_ours = is_ours || is_for(t, &m->components[i]);
	if (!is_ours)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "for another vendor or class");
	for (size_t i = 0; i < m->n_images; i++) {
		const struct suit_image *img = &m->images[i];
		if (!img->is_fetched || img->component >= m->n_components || !is_for(t, &m->components[img->component]))
			continue;
		int r = take_image(img, o, why);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_manifest(const struct node_trust *t, const struct node_durable *runs, const struct suit_manifest *m, struct node_offer *o,
			  const struct refusal *why)
{
	if (m->unknown_command)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "command %lld is not known here", (long long)m->unknown_command);
	if (m->n_dependencies)
		return refuse(why, NODE_RESULT_UNSUPPORTED, "dependencies are not supported here");
	if ((runs->has_installed || runs->sequence > 0) && m->sequence <= runs->sequence)
		return refuse(why, NODE_RESULT_FAILED, "sequence number %llu is not newer than %llu", (unsigned long long)m->sequence,
			      (unsigned long long)runs->sequence);
	o->sequence = m->sequence;
	(void)text_copy(o->version, sizeof(o->version), span_sub(m->version_text, 0, sizeof(o->version) - 1)); /* cut to fit */
	return take_images(t, m, o, why);
}

static enum node_verdict judge(const struct node_trust *t, struct span mac_key, const struct node_durable *runs, struct wall now,
			       struct node_offer *o, const struct refusal *why)
{
	_cleanup_free_ struct suit_manifest *m = NEW(struct suit_manifest);
	struct suit_envelope env = { 0 };
	struct span envelope = buf_span(&o->envelope);

	int r = t->proof == PROOF_SIGNATURE ? check_signature(t, envelope, now, &env, m, why)
					    : check_otherwise(t, mac_key, envelope, &env, m, why);
	o->manifest = env.manifest_digest;
	if (r < 0)
		return NODE_REFUSES;
	if (runs->has_installed && digest_eq(&o->manifest, &runs->installed))
		return NODE_RUNS_IT;
	return check_manifest(t, runs, m, o, why) < 0 ? NODE_REFUSES : NODE_ACCEPTS;
}

enum node_verdict node_offer_judge(const struct node_trust *t, struct span mac_key, const struct node_durable *runs, struct span envelope,
				   struct wall now, struct node_offer *ret, unsigned *ret_result, char ret_reason[static NODE_REASON_BYTES])
{
	const struct refusal why = { ret_result, ret_reason };

	*ret = (struct node_offer){ 0 };
	*ret_result = NODE_RESULT_NONE;
	ret_reason[0] = '\0';
	buf_add(&ret->envelope, envelope);
	enum node_verdict v = buf_ok(&ret->envelope) ? judge(t, mac_key, runs, now, ret, &why) : NODE_REFUSES;
	if (v != NODE_ACCEPTS)
		buf_done(&ret->envelope);
	return v;
}

void node_offer_done(struct node_offer *o)
{
	buf_done(&o->envelope);
	*o = (struct node_offer){ 0 };
}
