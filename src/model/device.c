#include "model/device.h"

#include "model/name.h"

static const char *const state_names[DEVICE_STATE_COUNT] = {
	[DEVICE_SEEN] = "seen",
	[DEVICE_ENROLLED] = "enrolled",
	[DEVICE_QUARANTINED] = "quarantined",
	[DEVICE_RETIRED] = "retired",
};

static const char *const wake_names[WAKE_KIND_COUNT] = {
	[WAKE_ALWAYS] = "always",
	[WAKE_POLLS] = "polls",
	[WAKE_WINDOW] = "window",
};

static const char *const proof_names[PROOF_COUNT] = {
	[PROOF_SIGNATURE] = "signature",
	[PROOF_MAC] = "mac",
	[PROOF_NONE] = "none",
};

const char *device_state_name(enum device_state s)
{
	return s < DEVICE_STATE_COUNT ? state_names[s] : "?";
}

int device_state_parse(struct span s, enum device_state *ret)
{
	int i = name_parse(s, state_names, DEVICE_STATE_COUNT);

	if (i < 0)
		return i;
	*ret = (enum device_state)i;
	return 0;
}

const char *wake_kind_name(enum wake_kind k)
{
	return k < WAKE_KIND_COUNT ? wake_names[k] : "?";
}

int wake_kind_parse(struct span s, enum wake_kind *ret)
{
	int i = name_parse(s, wake_names, WAKE_KIND_COUNT);

	if (i < 0)
		return i;
	*ret = (enum wake_kind)i;
	return 0;
}

const char *device_proof_name(enum device_proof p)
{
	return p < PROOF_COUNT ? proof_names[p] : "?";
}

int device_proof_parse(struct span s, enum device_proof *ret)
{
	int i = name_parse(s, proof_names, PROOF_COUNT);

	if (i < 0)
		return i;
	*ret = (enum device_proof)i;
	return 0;
}

static bool is_word(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool device_id_is_valid(struct span id)
{
	if (!id.n || id.n >= DEVICE_ID_BYTES || !is_word(id.p[0]))
		return false;
	for (size_t i = 1; i < id.n; i++)
		if (!is_word(id.p[i]) && id.p[i] != '.' && id.p[i] != '-')
			return false;
	return true;
}

const struct device_component *device_component_look(const struct device *d, struct span id)
{
	for (size_t i = 0; i < d->n_components; i++)
		if (span_eq(SPAN(d->components[i].id, d->components[i].n_id), id))
			return &d->components[i];
	return NULL;
}

struct device_component *device_component_find(struct device *d, struct span id)
{
	return (struct device_component *)device_component_look(d, id);
}

int device_component_put(struct device *d, const struct device_component *c)
{
	struct device_component *at = device_component_find(d, SPAN(c->id, c->n_id));

	if (!at) {
		if (d->n_components == DEVICE_COMPONENTS_MAX)
			return -ENOSPC;
		at = &d->components[d->n_components++];
	}
	*at = *c;
	return 0;
}
