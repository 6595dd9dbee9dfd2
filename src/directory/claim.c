/* What a node says about itself in its registration, and what is believed of it. */
#include "directory/claim.h"

#include <stdio.h>

#include "base/text.h"
#include "directory/registry.h"

static bool parse_id(struct span s, uint8_t ret[static 16])
{
	return text_parse_uuid(s, ret) >= 0 || (s.n == 32 && text_parse_hex(s, ret, 16) >= 0);
}

static bool parse_seconds(struct span s, uint32_t *ret)
{
	uint64_t v;

	if (text_parse_u64(s, UINT32_MAX, &v, 0) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static struct span next_field(struct span *rest)
{
	size_t i = 0;

	while (i < rest->n && rest->p[i] != ',')
		i++;
	struct span field = span_sub(*rest, 0, i);
	*rest = span_sub(*rest, i + 1, rest->n);
	return field;
}

static bool parse_wake(struct span s, struct wake_pattern *ret)
{
	struct wake_pattern w = { 0 };

	if (parse_seconds(s, &w.period_s)) {
		w.kind = w.period_s ? WAKE_POLLS : WAKE_ALWAYS;
	} else {
		if (wake_kind_parse(next_field(&s), &w.kind) < 0)
			return false;
		if (w.kind != WAKE_ALWAYS && !parse_seconds(next_field(&s), &w.period_s))
			return false;
		if (w.kind == WAKE_WINDOW && !parse_seconds(next_field(&s), &w.window_s))
			return false;
		if (s.n)
			return false;
	}
	*ret = w;
	return true;
}

static void parse_one(struct span name, struct span value, struct device_claim *c)
{
	size_t n;

	if (span_eq_str(name, "vid"))
		c->model.has_vendor = parse_id(value, c->model.vendor_id);
	else if (span_eq_str(name, "cid"))
		c->model.has_class = parse_id(value, c->model.class_id);
	else if (span_eq_str(name, "hw"))
		(void)text_copy(c->model.hw_revision, sizeof(c->model.hw_revision), value); /* too long: left out */
	else if (span_eq_str(name, "ver") && value.n < DEVICE_VERSION_BYTES)
		c->version = value;
	else if (span_eq_str(name, "seq"))
		c->has_sequence = text_parse_u64(value, UINT64_MAX, &c->sequence, 0) >= 0;
	else if (span_eq_str(name, "mfd") && text_parse_hex_var(value, c->manifest.b, DIGEST_BYTES, &n) >= 0)
		c->n_manifest = (uint8_t)n;
	else if (span_eq_str(name, "wake"))
		c->has_wake = parse_wake(value, &c->wake);
	else if (span_eq_str(name, "proof"))
		c->has_proof = device_proof_parse(span_eq_str(value, "sig") ? SPAN_LIT("signature") : value, &c->proof) >= 0;
}

void device_claim_parse(const struct span *attributes, size_t n, struct device_claim *ret)
{
	struct span name, value;

	*ret = (struct device_claim){ 0 };
	for (size_t i = 0; i < n; i++)
		if (registration_attribute_cut(attributes[i], &name, &value))
			parse_one(name, value, ret);
	ret->has_model = ret->model.has_vendor || ret->model.has_class || ret->model.hw_revision[0];
}

bool claim_contradicts(const struct device_claim *c, const struct device_model *m)
{
	return (c->model.has_vendor && (!m->has_vendor || memcmp(c->model.vendor_id, m->vendor_id, 16) != 0)) ||
	       (c->model.has_class && (!m->has_class || memcmp(c->model.class_id, m->class_id, 16) != 0)) ||
	       (c->model.hw_revision[0] && strcmp(c->model.hw_revision, m->hw_revision) != 0);
}

/* A registration speaks of the node as a whole: of its one component, or, while none or several are known, of one
 * without a name. */
static struct device_component *claimed_component(struct device *d)
{
	if (d->n_components == 1)
		return &d->components[0];
	struct device_component *c = device_component_find(d, SPAN_NONE);
	if (!c && device_component_put(d, &(struct device_component){ 0 }) >= 0)
		c = device_component_find(d, SPAN_NONE);
	return c;
}

static void apply_component(const struct device_claim *claim, struct device *d)
{
	struct device_component *c = claimed_component(d);

	if (!c) /* all places are taken by reported ones */
		return;
	if (claim->has_sequence) {
		if (!c->has_sequence || c->sequence != claim->sequence)
			c->has_manifest = false; /* of another manifest */
		c->has_sequence = true;
		c->sequence = claim->sequence;
	}
	if (claim->n_manifest == DIGEST_BYTES) {
		c->has_manifest = true;
		c->manifest = claim->manifest;
	} else if (claim->n_manifest && c->has_manifest && memcmp(c->manifest.b, claim->manifest.b, claim->n_manifest) != 0) {
		c->has_manifest = false;
	}
	if (claim->version.n)
		(void)text_copy(c->version, sizeof(c->version), claim->version); /* its length was checked */
}

void claim_apply(const struct device_claim *claim, struct device *d)
{
	if (claim->has_wake)
		d->wake = claim->wake;
	if (claim->has_proof)
		d->proof = claim->proof;
	if (claim->has_sequence || claim->n_manifest || claim->version.n)
		apply_component(claim, d);
}

void device_id_of_endpoint(struct span endpoint, struct span sector, char ret[static DEVICE_ID_BYTES])
{
	enum { READABLE = DEVICE_ID_BYTES - 1 - 17 };
	char hex[DIGEST_HEX_BYTES];
	size_t n = 0;

	if (!sector.n && device_id_is_valid(endpoint)) {
		(void)text_copy(ret, DEVICE_ID_BYTES, endpoint); /* a valid id fits */
		return;
	}
	for (size_t i = 0; i < endpoint.n && n < READABLE; i++) {
		uint8_t c = endpoint.p[i];
		bool word = device_id_is_valid(SPAN(&c, 1));
		if (word || (n && ret[n - 1] != '-'))
			ret[n++] = word ? (char)c : '-';
	}
	if (!n)
		ret[n++] = 'x';
	uint8_t sum[1 + 255 + 255] = { (uint8_t)endpoint.n };
	struct span e = span_sub(endpoint, 0, 255), s = span_sub(sector, 0, 255);
	if (e.n)
		memcpy(sum + 1, e.p, e.n);
	if (s.n)
		memcpy(sum + 1 + e.n, s.p, s.n);
	struct digest digest = digest_of(SPAN(sum, 1 + e.n + s.n));
	(void)snprintf(ret + n, DEVICE_ID_BYTES - n, ".%.16s", digest_hex(&digest, hex)); /* fits */
}
