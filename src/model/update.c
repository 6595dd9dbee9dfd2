#include "model/update.h"

#include "model/name.h"

static const char *const state_names[UPDATE_STATE_COUNT] = {
	[UPDATE_REJECTED] = "rejected",
	[UPDATE_HELD] = "held",
	[UPDATE_VERIFIED] = "verified",
	[UPDATE_AVAILABLE] = "available",
	[UPDATE_RECALLED] = "recalled",
	[UPDATE_SUPERSEDED] = "superseded",
	[UPDATE_EXPIRED] = "expired",
};

const char *update_state_name(enum update_state s)
{
	return s < UPDATE_STATE_COUNT ? state_names[s] : "?";
}

int update_state_parse(struct span s, enum update_state *ret)
{
	int i = name_parse(s, state_names, UPDATE_STATE_COUNT);

	if (i < 0)
		return i;
	*ret = (enum update_state)i;
	return 0;
}

#define TO(s_) (1u << (s_))
/* Towards less trust always; back only through a new verdict (held, verified). */
static const unsigned may_become[UPDATE_STATE_COUNT] = {
	[UPDATE_REJECTED]   = TO(UPDATE_HELD) | TO(UPDATE_VERIFIED) | TO(UPDATE_RECALLED),
	[UPDATE_HELD]       = TO(UPDATE_REJECTED) | TO(UPDATE_VERIFIED) | TO(UPDATE_AVAILABLE) | TO(UPDATE_RECALLED) |
			      TO(UPDATE_SUPERSEDED) | TO(UPDATE_EXPIRED),
	[UPDATE_VERIFIED]   = TO(UPDATE_REJECTED) | TO(UPDATE_HELD) | TO(UPDATE_AVAILABLE) | TO(UPDATE_RECALLED) |
			      TO(UPDATE_SUPERSEDED) | TO(UPDATE_EXPIRED),
	[UPDATE_AVAILABLE]  = TO(UPDATE_HELD) | TO(UPDATE_VERIFIED) | TO(UPDATE_RECALLED) | TO(UPDATE_SUPERSEDED) |
			      TO(UPDATE_EXPIRED),
	[UPDATE_RECALLED]   = 0,
	[UPDATE_SUPERSEDED] = TO(UPDATE_HELD) | TO(UPDATE_VERIFIED) | TO(UPDATE_AVAILABLE) | TO(UPDATE_RECALLED) |
			      TO(UPDATE_EXPIRED),
	[UPDATE_EXPIRED]    = TO(UPDATE_HELD) | TO(UPDATE_RECALLED),
};

bool update_state_may(enum update_state from, enum update_state to)
{
	if (from >= UPDATE_STATE_COUNT || to >= UPDATE_STATE_COUNT)
		return false;
	return from == to || (may_become[from] & TO(to));
}

static bool id_is_among(const uint8_t id[static 16], const uint8_t (*ids)[16], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(id, ids[i], 16) == 0)
			return true;
	return false;
}

static enum update_fit model_fits(const struct update *u, const struct device_model *m)
{
	bool names_vendor = false, names_class = false;

	for (size_t i = 0; i < u->n_components; i++) {
		names_vendor |= u->components[i].n_vendor_id > 0;
		names_class |= u->components[i].n_class_id > 0;
	}
	if (!names_vendor || !names_class || !m->has_vendor || !m->has_class)
		return UPDATE_NO_MODEL;
	for (size_t i = 0; i < u->n_components; i++) {
		const struct update_component *c = &u->components[i];
		if (c->n_vendor_id && !id_is_among(m->vendor_id, c->vendor_id, c->n_vendor_id))
			return UPDATE_WRONG_VENDOR;
		if (c->n_class_id && !id_is_among(m->class_id, c->class_id, c->n_class_id))
			return UPDATE_WRONG_CLASS;
	}
	return UPDATE_FITS;
}

static const struct device_component *component_of(const struct update *u, const struct device *d)
{
	const struct device_component *c = device_component_look(d, SPAN(u->components[0].id, u->components[0].n_id));

	return c ? c : device_component_look(d, SPAN_NONE); /* what the node said of itself as a whole, when it registered */
}

enum update_age update_age_on(const struct update *u, const struct device *d)
{
	const struct device_component *c = u->n_components ? component_of(u, d) : NULL;
	char hex[DIGEST_HEX_BYTES];

	if (c && c->has_manifest && strcmp(digest_hex(&c->manifest, hex), u->id) == 0)
		return UPDATE_AGE_SAME;
	if (!c || !c->has_sequence)
		return UPDATE_AGE_UNKNOWN;
	if (c->sequence != u->sequence)
		return c->sequence < u->sequence ? UPDATE_AGE_OLDER : UPDATE_AGE_NEWER;
	return c->has_manifest ? UPDATE_AGE_UNKNOWN : UPDATE_AGE_SAME;
}

enum update_fit update_fits(const struct update *u, const struct device *d)
{
	enum update_fit fit = model_fits(u, &d->model);
	char hex[DIGEST_HEX_BYTES];

	if (fit != UPDATE_FITS)
		return fit;
	const struct device_component *c = component_of(u, d);
	if (!c)
		return UPDATE_FITS;
	if (c->has_manifest && strcmp(digest_hex(&c->manifest, hex), u->id) == 0)
		return UPDATE_SAME;
	return c->has_sequence && u->sequence <= c->sequence ? UPDATE_NOT_NEWER : UPDATE_FITS;
}

const char *update_fit_text(enum update_fit f)
{
	switch (f) {
	case UPDATE_FITS:
		return "fits";
	case UPDATE_WRONG_VENDOR:
		return "is for another vendor's devices";
	case UPDATE_WRONG_CLASS:
		return "is for another class of device";
	case UPDATE_NO_MODEL:
		return "the device's or the update's vendor and class are not known";
	case UPDATE_NOT_NEWER:
		return "is not newer than what the device runs";
	case UPDATE_SAME:
		return "is what the device runs already";
	}
	return "?";
}
