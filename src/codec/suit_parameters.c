/* The parameters of a manifest's components: read, laid over one another, copied. */
#include "codec/suit_walk_internal.h"

enum parameter {
	PARAM_VENDOR = 1, PARAM_CLASS = 2, PARAM_DIGEST = 3, PARAM_USE_BEFORE = 4, PARAM_SLOT = 5, PARAM_STRICT_ORDER = 12,
	PARAM_SOFT_FAILURE = 13, PARAM_SIZE = 14, PARAM_CONTENT = 18, PARAM_ENCRYPTION = 19, PARAM_URI = 21, PARAM_SOURCE = 22,
	PARAM_INVOKE_ARGS = 23, PARAM_DEVICE = 24, PARAM_FETCH_ARGS = 25, PARAM_BATTERY = 26, PARAM_PRIORITY = 27,
	PARAM_VERSION = 28, PARAM_WAIT_INFO = 29, PARAM_METADATA = 30,
};
enum { UUID_BYTES = 16, TAG_PEN = 112, CUSTOM_BELOW = -256 };

static struct span read_uuid(struct cbor *c, bool pen_allowed)
{
	struct cbor tagged = *c;
	struct span whole;

	if (pen_allowed && cbor_peek(c) == CBOR_TAG) {
		whole = cbor_skip(c);
		if (cbor_tag(&tagged) != TAG_PEN || cbor_bytes(&tagged).n == 0)
			c->bad = true;
		return whole;
	}
	whole = cbor_bytes(c);
	if (whole.n != UUID_BYTES)
		c->bad = true;
	return whole;
}

static int read_digest(struct walk *w, struct cbor *c, struct suit_digest *ret)
{
	int r = suit_digest_decode(cbor_bytes(c), ret);

	if (r == -EOPNOTSUPP)
		return walk_fail(w, SUIT_OLD_ENCODING, -ENOTSUP);
	return r < 0 ? walk_malformed(w) : 0;
}

/* A parameter that only a target uses. */
static int skip_parameter(struct walk *w, struct cbor *c, int64_t label, struct frame *f)
{
	switch (label) {
	case PARAM_STRICT_ORDER:
		(void)cbor_bool(c); /* the caller looks at c */
		return 0;
	case PARAM_SOFT_FAILURE:
		f->is_soft |= cbor_bool(c);
		return 0;
	case PARAM_CONTENT:
	case PARAM_INVOKE_ARGS:
	case PARAM_VERSION:
	case PARAM_WAIT_INFO:
	case PARAM_METADATA:
		(void)cbor_bytes(c); /* the caller looks at c */
		return 0;
	case PARAM_FETCH_ARGS:
	case PARAM_BATTERY:
		(void)cbor_skip(c);
		return 0;
	default:
		(void)cbor_skip(c);
		if (label >= CUSTOM_BELOW)
			return walk_fail(w, SUIT_UNKNOWN_PARAMETER, -ENOTSUP);
		walk_note_unknown(w, label);
		return 0;
	}
}

/* Does the COSE_Encrypt in encryption-info name a content algorithm with a tag: AES-GCM, AES-CCM, ChaCha20/Poly1305? */
static bool is_aead(struct span info)
{
	struct cbor c = cbor_reader(info);
	int64_t alg = 0;

	if (cbor_check(info, 0, NULL) < 0 || cbor_tag(&c) != 96 || cbor_array(&c) < 3)
		return false;
	struct span headers = cbor_bytes(&c);
	if (!cbor_ok(&c) || cbor_check(headers, 0, NULL) < 0)
		return false;
	struct cbor map = cbor_reader(headers);
	for (size_t n = cbor_map(&map); n > 0 && cbor_ok(&map) && cbor_peek(&map) != CBOR_TEXT; n--) {
		if (cbor_int(&map) == 1 && cbor_peek(&map) != CBOR_TEXT)
			alg = cbor_int(&map);
		else
			(void)cbor_skip(&map);
	}
	return (alg >= 1 && alg <= 3) || (alg >= 10 && alg <= 13) || alg == 24 || (alg >= 30 && alg <= 33);
}

static int read_parameter(struct walk *w, struct cbor *c, int64_t label, struct frame *f, struct slot *s)
{
	struct span info;
	size_t source = 0;

	switch (label) {
	case PARAM_VENDOR:
		s->vendor = read_uuid(c, true);
		return 0;
	case PARAM_CLASS:
		s->class = read_uuid(c, false);
		return 0;
	case PARAM_DEVICE:
		s->device = read_uuid(c, false);
		return 0;
	case PARAM_DIGEST:
		return read_digest(w, c, &s->digest);
	case PARAM_USE_BEFORE:
		s->use_before = cbor_int(c);
		s->has_use_before = true;
		return 0;
	case PARAM_SLOT:
		s->component_slot = cbor_uint(c);
		s->has_slot = true;
		return 0;
	case PARAM_SIZE:
		s->size = cbor_uint(c);
		s->has_size = true;
		return 0;
	case PARAM_ENCRYPTION:
		info = cbor_bytes(c);
		s->is_encrypted = info.n > 0;
		s->bare_cipher = s->is_encrypted && !is_aead(info);
		return 0;
	case PARAM_URI:
		s->uri = cbor_text(c);
		return walk_uri_ok(s->uri) ? 0 : walk_fail(w, SUIT_BAD_URI, -EBADMSG);
	case PARAM_SOURCE: {
		int r = walk_slot_of_index(w, cbor_uint(c), &source);
		s->source = (uint32_t)source;
		s->has_source = true;
		return r;
	}
	case PARAM_PRIORITY:
		s->priority = cbor_int(c);
		s->has_priority = true;
		return 0;
	default:
		return skip_parameter(w, c, label, f);
	}
}

/* Which parameters a map gave, so that each can be laid over the paths. */
struct parameters {
	struct slot values;
	uint32_t given;                /* 1u << label, for labels up to 30 */
};

static int read_parameters(struct walk *w, struct cbor *c, struct frame *f, struct parameters *ret)
{
	size_t n = cbor_map(c);

	memset(ret, 0, sizeof(*ret));
	if (!cbor_ok(c) || n == 0)
		return walk_malformed(w);
	for (; n > 0; n--) {
		int64_t label = cbor_int(c);
		int r = cbor_ok(c) ? read_parameter(w, c, label, f, &ret->values) : 0;
		if (r < 0)
			return r;
		if (!cbor_ok(c))
			return walk_malformed(w);
		if (label > 0 && label < 32)
			ret->given |= UINT32_C(1) << label;
	}
	return 0;
}

static bool is_set(const struct slot *s, int label)
{
	switch (label) {
	case PARAM_VENDOR:
		return s->vendor.n;
	case PARAM_CLASS:
		return s->class.n;
	case PARAM_DEVICE:
		return s->device.n;
	case PARAM_DIGEST:
		return s->digest.bytes.n;
	case PARAM_USE_BEFORE:
		return s->has_use_before;
	case PARAM_SLOT:
		return s->has_slot;
	case PARAM_SIZE:
		return s->has_size;
	case PARAM_ENCRYPTION:
		return s->is_encrypted;
	case PARAM_URI:
		return s->uri.n;
	case PARAM_SOURCE:
		return s->has_source;
	case PARAM_PRIORITY:
		return s->has_priority;
	default:
		return false;
	}
}

static void lay_over(struct slot *to, const struct slot *from, int label)
{
	switch (label) {
	case PARAM_VENDOR:
		to->vendor = from->vendor;
		break;
	case PARAM_CLASS:
		to->class = from->class;
		break;
	case PARAM_DEVICE:
		to->device = from->device;
		break;
	case PARAM_DIGEST:
		to->digest = from->digest;
		break;
	case PARAM_USE_BEFORE:
		to->use_before = from->use_before;
		to->has_use_before = from->has_use_before;
		break;
	case PARAM_SLOT:
		to->component_slot = from->component_slot;
		to->has_slot = from->has_slot;
		break;
	case PARAM_SIZE:
		to->size = from->size;
		to->has_size = from->has_size;
		break;
	case PARAM_ENCRYPTION:
		to->is_encrypted = from->is_encrypted;
		to->bare_cipher = from->bare_cipher;
		break;
	case PARAM_URI:
		to->uri = from->uri;
		break;
	case PARAM_SOURCE:
		to->source = from->source;
		to->has_source = from->has_source;
		break;
	case PARAM_PRIORITY:
		to->priority = from->priority;
		to->has_priority = from->has_priority;
		break;
	default:
		break; /* only a target keeps it */
	}
}

static void apply(struct walk *w, walk_set set, uint64_t components, const struct parameters *params, bool only_unset)
{
	FOR_EACH_BIT(p, set)
		FOR_EACH_BIT(i, components) {
			struct slot *s = &walk_path_at(w, p)[i];
			for (int label = 1; label < 32; label++)
				if (params->given >> label & 1 && !(only_unset && is_set(s, label)))
					lay_over(s, &params->values, label);
		}
}

int walk_override_parameters(struct walk *w, struct cbor *c, struct frame *f, walk_set set, bool only_unset)
{
	struct parameters params;
	int r = read_parameters(w, c, f, &params);

	if (r == 0)
		apply(w, set, f->current, &params, only_unset);
	return r;
}

int walk_override_multiple(struct walk *w, struct cbor *c, struct frame *f, walk_set set)
{
	size_t n = cbor_map(c), slot;

	if (!cbor_ok(c) || n == 0)
		return walk_malformed(w);
	for (; n > 0; n--) {
		struct parameters params;
		uint64_t index = cbor_uint(c);
		if (!cbor_ok(c))
			return walk_malformed(w);
		int r = walk_slot_of_index(w, index, &slot);
		if (r == 0)
			r = read_parameters(w, c, f, &params);
		if (r < 0)
			return r;
		apply(w, set, UINT64_C(1) << slot, &params, false);
	}
	return 0;
}

int walk_copy_params(struct walk *w, struct cbor *c, const struct frame *f, walk_set set)
{
	size_t n = cbor_map(c), slot;

	for (; n > 0 && cbor_ok(c); n--) {
		uint64_t index = cbor_uint(c);
		size_t n_labels = cbor_array(c);
		if (!cbor_ok(c))
			break;
		int r = walk_slot_of_index(w, index, &slot);
		if (r == 0)
			r = walk_spend(w, n_labels * 8);
		if (r < 0)
			return r;
		for (; n_labels > 0 && cbor_ok(c); n_labels--) {
			int64_t label = cbor_int(c);
			FOR_EACH_BIT(p, set)
				FOR_EACH_BIT(i, f->current)
					if (label > 0 && label < 32 && i != slot)
						lay_over(&walk_path_at(w, p)[i], &walk_path_at(w, p)[slot], (int)label);
		}
	}
	return cbor_ok(c) ? 0 : walk_malformed(w);
}
