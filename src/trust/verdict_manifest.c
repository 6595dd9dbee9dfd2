/* What an authentic manifest must hold before anything of it is fetched or offered. */
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/cose.h"
#include "codec/uri.h"
#include "trust/freshness.h"
#include "trust/judge.h"
#include "trust/uri_rule.h"

static const char *id_text(struct span id, char ret[static TEXT_UUID_BYTES])
{
	if (id.n == 16)
		return text_uuid(id.p, ret);
	(void)snprintf(ret, TEXT_UUID_BYTES, "id of %zu bytes", id.n); /* fits */
	return ret;
}

/* ---- the anchor's rights ---- */

/* One component whose vendor and class are checked in the shared sequence binds the whole manifest: a condition that
 * fails there ends every procedure. Further components (external storage, a second core) need no check of their own. */
static bool right_identity(const struct trust_anchor *a, const struct suit_manifest *m, struct verdict *v)
{
	const char *lacks = "vendor and class ids";
	size_t n_checked = 0;

	for (size_t i = 0; i < m->n_components; i++) {
		const struct suit_component *c = &m->components[i];
		n_checked += c->checks_vendor && c->checks_class;
		if (c->checks_vendor != c->checks_class)
			lacks = c->checks_vendor ? "the class id" : "the vendor id";
	}
	if (v && n_checked)
		rule_add(v, "SU-14", "identity", RULE_PASS, "the shared sequence checks vendor and class (%zu of %zu component%s)", n_checked,
			 m->n_components, m->n_components == 1 ? "" : "s");
	else if (v)
		rule_add(v, "SU-14", "identity", a->requires_no_identity ? RULE_WARN : RULE_FAIL, "the shared sequence does not check %s%s", lacks,
			 a->requires_no_identity ? "; the anchor is exempt" : ", so it would fit any node");
	return n_checked || a->requires_no_identity;
}

/* The first id outside the anchor's lists; false when all are inside. */
static bool foreign_id(const struct trust_anchor *a, const struct suit_component *c, struct span *ret_id, bool *ret_is_vendor)
{
	for (size_t i = 0; i < c->n_vendor_id; i++) {
		if (!trust_anchor_allows_vendor(a, c->vendor_id[i])) {
			*ret_id = c->vendor_id[i];
			*ret_is_vendor = true;
			return true;
		}
	}
	for (size_t i = 0; i < c->n_class_id; i++) {
		if (!trust_anchor_allows_class(a, c->class_id[i])) {
			*ret_id = c->class_id[i];
			*ret_is_vendor = false;
			return true;
		}
	}
	return false;
}

static bool right_vendor(const struct trust_anchor *a, const struct suit_manifest *m, struct verdict *v)
{
	char text[TEXT_UUID_BYTES];
	size_t n_vendor = 0;
	struct span id;
	bool is_vendor;

	if (!a->any_vendor && !a->n_vendor_ids) {
		if (v)
			rule_add(v, "RV-19", "signer's rights", RULE_FAIL, "anchor '%s' names no vendor, so it may sign for none", a->name);
		return false;
	}
	for (size_t i = 0; i < m->n_components; i++) {
		n_vendor += m->components[i].n_vendor_id;
		if (!foreign_id(a, &m->components[i], &id, &is_vendor))
			continue;
		if (v)
			rule_add(v, "RV-19", "signer's rights", RULE_FAIL, "anchor '%s' may not sign for %s %s", a->name,
				 is_vendor ? "vendor" : "class", id_text(id, text));
		return false;
	}
	if (v)
		rule_add(v, "RV-19", "signer's rights", RULE_PASS, "anchor '%s' may sign for %s", a->name,
			 n_vendor ? "every vendor and class that is named" : "a manifest that names no vendor");
	return true;
}

/* The address that will be fetched: relative ones against the manifest's own reference-uri. Without that they are
 * relative to where the envelope was found, which the operator chose. */
static bool address_is_allowed(const struct trust_anchor *a, const struct suit_manifest *m, struct span uri, char why[static URI_RULE_WHY_BYTES])
{
	_cleanup_buf_ struct buf whole = { .max = SUIT_URI_BYTES_MAX };

	if (!uri_rule_allows(uri, a->hosts, why))
		return false;
	if (!m->reference_uri.n)
		return true;
	if (uri_resolve(m->reference_uri, uri, 0, &whole) < 0 || !buf_ok(&whole)) {
		(void)snprintf(why, URI_RULE_WHY_BYTES, "a payload address does not resolve against the reference-uri"); /* fits */
		return false;
	}
	return uri_rule_allows(buf_span(&whole), a->hosts, why);
}

static bool right_hosts(const struct trust_anchor *a, const struct suit_manifest *m, struct verdict *v)
{
	char why[URI_RULE_WHY_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < m->n_images; i++) {
		const struct suit_image *img = &m->images[i];
		if (!img->is_fetched || img->is_integrated)
			continue;
		n++;
		if (address_is_allowed(a, m, img->uri, why))
			continue;
		if (v)
			rule_add(v, "SU-22", "payload addresses", RULE_FAIL, "%s", why);
		return false;
	}
	if (v && !n)
		rule_add(v, "SU-22", "payload addresses", RULE_PASS, "nothing is fetched");
	else if (v)
		rule_add(v, "SU-22", "payload addresses", RULE_PASS, "%zu payload address%s within what anchor '%s' allows", n, n == 1 ? "" : "es", a->name);
	return true;
}

bool judge_rights(const struct trust_anchor *a, const struct suit_manifest *m, struct verdict *v)
{
	bool identity = right_identity(a, m, v), vendor = right_vendor(a, m, v), hosts = right_hosts(a, m, v);

	return identity && vendor && hosts;
}

/* ---- payloads ---- */

/* A digest is what everything hangs on. Authenticated encryption is the one excuse, and then the node alone can
 * check: the gateway has no key, so it does not fetch such a payload, nor one without a size. */
static void payload_rules(struct judge *j, const struct suit_manifest *m)
{
	size_t n = 0, n_not_ours = 0;

	for (size_t i = 0; i < m->n_images; i++) {
		const struct suit_image *img = &m->images[i];
		if (!img->is_fetched)
			continue;
		n++;
		if (img->is_encrypted && img->is_bare_cipher && !img->digest.bytes.n) {
			rule_add(j->v, "SU-61", "encrypted payload", RULE_FAIL,
				 "payload %zu is encrypted with a cipher that notices no change, and has no digest", i + 1);
			return;
		}
		if (!img->digest.bytes.n && !img->is_encrypted) { /* also integrated ones: only the manifest is signed (SU-18) */
			rule_add(j->v, "SU-19", "digest and size", RULE_FAIL, "payload %zu has no digest to check it by", i + 1);
			return;
		}
		n_not_ours += !img->digest.bytes.n || (!img->has_size && !img->is_integrated);
	}
	if (n_not_ours)
		rule_add(j->v, "SU-19", "digest and size", RULE_WARN, "%zu of %zu payloads lack a size or digest, so the gateway will not fetch them",
			 n_not_ours, n);
	else
		rule_add(j->v, "SU-19", "digest and size", RULE_PASS, "known for each of %zu payload%s", n, n == 1 ? "" : "s");
}

static void integrated_rules(struct judge *j, const struct suit_manifest *m)
{
	for (size_t i = 0; i < m->n_images; i++) {
		const struct suit_image *img = &m->images[i];
		if (!img->is_integrated || img->is_dependency || !img->digest.bytes.n)
			continue;
		bool size_ok = !img->has_size || img->size == img->integrated.n;
		int digest_ok = suit_digest_check(&img->digest, img->integrated);
		if (size_ok && digest_ok == 1)
			continue;
		rule_add(j->v, "SU-18", "integrated payload", RULE_FAIL, "integrated payload %zu has not the %s the manifest gives", i + 1,
			 size_ok ? "digest" : "size");
		return;
	}
}

static void size_rule(struct judge *j, const struct suit_manifest *m)
{
	uint64_t sum = 0, max = j->facts->image_bytes_max;
	bool over = false;

	for (size_t i = 0; i < m->n_images; i++) {
		if (m->images[i].is_fetched && m->images[i].has_size)
			over = __builtin_add_overflow(sum, m->images[i].size, &sum) || over;
	}
	if (over || (max && sum > max))
		rule_add(j->v, "SU-32", "size", RULE_FAIL, "payloads of %s%llu bytes in all, the limit is %llu", over ? "more than " : "",
			 (unsigned long long)(over ? UINT64_MAX : sum), (unsigned long long)(max ? max : UINT64_MAX));
	else
		rule_add(j->v, "SU-32", "size", RULE_PASS, "%llu bytes of payload in all", (unsigned long long)sum);
}

/* A dependency is pinned by the digest of its manifest (SU-40); here it is compared for those that came along. */
static void dependency_rules(struct judge *j, const struct suit_manifest *m)
{
	size_t n_outside = 0;

	if (!m->n_dependencies)
		return;
	for (size_t i = 0; i < m->n_images; i++) {
		const struct suit_image *img = &m->images[i];
		struct suit_envelope *dep;
		enum suit_problem problem = SUIT_OK;
		if (!img->is_dependency)
			continue;
		n_outside += !img->is_integrated;
		if (!img->is_integrated || !img->digest.bytes.n)
			continue;
		dep = NEW(struct suit_envelope);
		int r = suit_envelope_decode(img->integrated, SUIT_ALLOW_UNTAGGED, dep, &problem);
		bool ok = (r == 0 || problem == SUIT_NO_AUTH_BLOCK) && suit_digest_check(&img->digest, dep->manifest_wrapped) == 1;
		free(dep);
		if (!ok) {
			rule_add(j->v, "SU-40", "dependency", RULE_FAIL, "the integrated dependency is not the one the manifest names%s%s",
				 problem != SUIT_OK ? ": " : "", problem != SUIT_OK ? suit_problem_text(problem) : "");
			return;
		}
	}
	rule_add(j->v, "SU-43", "dependencies", RULE_WARN, "%zu dependenc%s, %zu of them not in the envelope; each must be judged before release",
		 m->n_dependencies, m->n_dependencies == 1 ? "y" : "ies", n_outside);
}

/* ---- commands, time, order ---- */

static void command_rules(struct judge *j, const struct suit_manifest *m)
{
	const uint32_t procedures = 1u << 15 | 1u << 16 | 1u << 18 | 1u << 20;

	if (m->unknown_command)
		rule_add(j->v, "SU-23", "commands", RULE_FAIL, "command or parameter %lld is not known here, and no class says that its nodes know it",
			 (long long)m->unknown_command);
	else
		rule_add(j->v, "SU-23", "commands", RULE_PASS, "every command and parameter is known");
	if (m->severed_absent & procedures)
		rule_add(j->v, "SU-16", "severed members", RULE_UNDECIDED,
			 "part of the procedure was severed and is not in the envelope, so its payloads are not known; the whole envelope is needed");
}

static void use_before_rule(struct judge *j, const struct suit_manifest *m)
{
	char when[WALL_TEXT_BYTES] = "a time out of range";
	int64_t now_s = wall_s(j->facts->now);

	if (!m->has_use_before)
		return;
	if (m->use_before_s < INT64_MAX / 1000 && m->use_before_s > INT64_MIN / 1000)
		wall_text(wall_from_s(m->use_before_s), when);
	if (now_s >= m->use_before_s)
		rule_add(j->v, "SU-51", "use before", j->facts->use_before_is_advice ? RULE_WARN : RULE_FAIL, "the update is not to be used after %s", when);
	else if (j->facts->clock_bad)
		rule_add(j->v, "SU-51", "use before", RULE_UNDECIDED, "to be used before %s, and the clock is not to be trusted", when);
	else
		rule_add(j->v, "SU-51", "use before", RULE_PASS, "to be used before %s", when);
}

static void authorization_rule(struct judge *j, const struct suit_manifest *m)
{
	if (m->needs_authorization)
		rule_add(j->v, "SU-52", "authorization", RULE_WARN, "the update asks for the owner's approval, with priority %lld (smaller is more urgent)",
			 (long long)m->priority);
}

static void freshness_rule(struct judge *j, const struct suit_manifest *m)
{
	struct freshness_entry entries[FRESHNESS_ENTRIES_MAX];
	enum freshness worst = FRESHNESS_FIRST;
	int n = freshness_entries(m, &j->env->manifest_digest, entries);
	enum rule_outcome o = RULE_PASS;

	for (int i = 0; i < n; i++) {
		enum freshness f = freshness_compare(j->facts->seen, j->facts->n_seen, &entries[i]);
		if (f > worst)
			worst = f;
	}
	j->v->is_rollback = worst == FRESHNESS_ROLLBACK;
	j->v->is_equivocation = worst == FRESHNESS_EQUIVOCATION;
	const char *text = "nothing was accepted for its vendor, class and component before";
	switch (worst) {
	case FRESHNESS_FIRST:
		break;
	case FRESHNESS_NEWER:
		text = "newer than what was accepted before";
		break;
	case FRESHNESS_SAME:
		text = "this very manifest was accepted before";
		break;
	case FRESHNESS_ROLLBACK:
		text = "a higher sequence number was accepted before: rollback";
		o = RULE_FAIL;
		break;
	case FRESHNESS_EQUIVOCATION:
		text = "another manifest with this number was accepted before: the signer equivocates";
		o = RULE_FAIL;
		break;
	}
	if (n < 0) {
		text = "too many vendor and class ids to keep track of";
		o = RULE_FAIL;
	}
	rule_add(j->v, "SU-12", "sequence number", o, "sequence number %llu; %s", (unsigned long long)m->sequence, text);
}

/* Which mandatory profile fits (facts 2.5), as far as digest and authentication tell. */
static void profile_rule(struct judge *j, const struct auth_candidate *by)
{
	const char *profile = NULL, *name = cose_alg_name(by->alg);

	if (j->env->auth_digest.alg == SUIT_SHA256) {
		profile = by->alg == COSE_ESP256  ? "suit-sha256-esp256-*" :
			  by->alg == COSE_ED25519 ? "suit-sha256-ed25519-*" :
			  by->alg == COSE_HMAC_256 ? "suit-sha256-hmac-a128kw-a128ctr" : NULL;
	}
	rule_add(j->v, "SU-31", "profile", RULE_PASS, "digest %s, authentication %s: %s%s",
		 j->env->auth_digest.alg == SUIT_SHA256 ? "SHA-256" : j->env->auth_digest.alg == SUIT_SHA384 ? "SHA-384" : "SHA-512",
		 name ? name : "?", profile ? "fits profile " : "no mandatory profile", profile ? profile : "");
}

/* ---- the device asked about ---- */

static bool names_id(const struct suit_component *c, bool vendor, const uint8_t id[static 16])
{
	const struct span *ids = vendor ? c->vendor_id : c->class_id;
	size_t n = vendor ? c->n_vendor_id : c->n_class_id;

	for (size_t i = 0; i < n; i++) {
		if (span_eq(ids[i], SPAN(id, 16)))
			return true;
	}
	return false;
}

static void device_rules(struct judge *j, const struct suit_manifest *m)
{
	const struct trust_device_facts *d = j->facts->device;
	bool fits = m->n_components > 0;

	if (!d)
		return;
	for (size_t i = 0; i < m->n_components && fits; i++)
		fits = (!d->has_vendor || names_id(&m->components[i], true, d->vendor_id)) &&
		       (!d->has_class || names_id(&m->components[i], false, d->class_id));
	rule_add(j->v, "SU-15", "for this device", fits ? RULE_PASS : RULE_FAIL, fits ? "vendor and class are the device's" :
		 "the update is for another vendor or class than the device's");
	if (!d->has_sequence)
		return;
	rule_add(j->v, "SU-12", "newer for this device", m->sequence < d->sequence ? RULE_FAIL : RULE_PASS, "the device has %llu, this is %llu%s",
		 (unsigned long long)d->sequence, (unsigned long long)m->sequence,
		 m->sequence == d->sequence ? ": nothing to do" : m->sequence < d->sequence ? ": rollback" : "");
	if (m->sequence < d->sequence)
		j->v->is_rollback = true;
}

void judge_manifest(struct judge *j, const struct auth_candidate *by, const struct suit_manifest *m)
{
	j->v->sequence = m->sequence;
	(void)judge_rights(by->anchor, m, j->v); /* the rules say it */
	freshness_rule(j, m);
	use_before_rule(j, m);
	authorization_rule(j, m);
	command_rules(j, m);
	payload_rules(j, m);
	integrated_rules(j, m);
	size_rule(j, m);
	dependency_rules(j, m);
	profile_rule(j, by);
	device_rules(j, m);
}
