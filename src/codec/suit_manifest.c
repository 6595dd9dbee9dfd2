#include <errno.h>

#include "codec/cbor.h"
#include "codec/suit.h"
#include "codec/suit_walk.h"

enum {                                 /* manifest keys, facts 1.1 */
	KEY_VERSION = 1, KEY_SEQUENCE = 2, KEY_COMMON = 3, KEY_REFERENCE_URI = 4, KEY_COMPONENT_ID = 5, KEY_SET_VERSION = 6,
	KEY_VALIDATE = 7, KEY_LOAD = 8, KEY_INVOKE = 9, KEY_COSWID = 14, KEY_DEPENDENCY_RESOLUTION = 15, KEY_PAYLOAD_FETCH = 16,
	KEY_CANDIDATE_VERIFICATION = 18, KEY_INSTALL = 20, KEY_TEXT = 23, KEY_UNINSTALL = 24, KEY_COUNT = 25,
	KEY_OLD_FIRST = 10, KEY_OLD_LAST = 13,
};
enum { COMMON_DEPENDENCIES = 1, COMMON_COMPONENTS = 2, COMMON_OLD_DEPENDENCY_COMPONENTS = 3, COMMON_SHARED = 4 };
enum { DEPENDENCY_PREFIX = 1 };
enum { TEXT_DESCRIPTION = 1, TEXT_UPDATE_DESCRIPTION = 2 };
enum { TEXT_VENDOR_NAME = 1, TEXT_MODEL_NAME = 2, TEXT_COMPONENT_VERSION = 6 };
enum { MANIFEST_VERSION = 1 };

struct section {
	bool present;                  /* the key stands in the manifest */
	bool has_digest;               /* severable: its content is outside */
	bool is_counted;               /* its commands were counted in an earlier procedure */
	struct suit_digest digest;
	struct span content;           /* of its bstr, in the manifest or in the envelope; empty when severed away */
};

struct reading {
	const struct suit_envelope *env;
	struct suit_manifest *m;
	enum suit_problem *problem;
	struct span common, shared;
	struct section sections[KEY_COUNT];
	bool shared_is_counted;
	uint32_t seen;
};

static int fail(struct reading *rd, enum suit_problem p, int r)
{
	*rd->problem = p;
	return r;
}

static int malformed(struct reading *rd)
{
	return fail(rd, SUIT_MANIFEST_MALFORMED, -EBADMSG);
}

/* cbor_check() with the SUIT words for what it found. */
static int check(struct reading *rd, struct span s, unsigned flags, enum suit_problem p)
{
	int r = cbor_check(s, flags, NULL);

	if (r == 0)
		return 0;
	return fail(rd, r == -EEXIST ? SUIT_DUPLICATE_KEY : r == -E2BIG ? SUIT_TOO_DEEP : p, -EBADMSG);
}

/* An array of byte strings within the limits of SU-21; its encoded bytes. */
static bool read_component_id(struct cbor *c, struct span *ret)
{
	struct cbor inner = *c;

	*ret = cbor_skip(c);
	size_t n = cbor_array(&inner);
	if (n > SUIT_ID_SEGMENTS_MAX)
		return false;
	for (; n > 0; n--)
		if (cbor_bytes(&inner).n > SUIT_ID_SEGMENT_BYTES_MAX)
			return false;
	return cbor_ok(&inner) && cbor_ok(c);
}

/* ---- common ---- */

static int read_components(struct reading *rd, struct cbor *c)
{
	struct suit_manifest *m = rd->m;
	size_t n = cbor_array(c);

	if (n > SUIT_COMPONENTS_MAX)
		return fail(rd, SUIT_TOO_MANY, -EMSGSIZE);
	for (; n > 0; n--)
		if (!read_component_id(c, &m->components[m->n_components++].id))
			return fail(rd, SUIT_BAD_COMPONENT, -EBADMSG);
	return cbor_ok(c) && m->n_components > 0 ? 0 : fail(rd, SUIT_BAD_COMPONENT, -EBADMSG);
}

static int read_dependencies(struct reading *rd, struct cbor *c)
{
	struct suit_manifest *m = rd->m;
	size_t n = cbor_map(c);

	if (n > SUIT_DEPENDENCIES_MAX)
		return fail(rd, SUIT_TOO_MANY, -EMSGSIZE);
	for (; n > 0; n--) {
		struct suit_dependency *d = &m->dependencies[m->n_dependencies++];
		d->index = cbor_uint(c);
		for (size_t pairs = cbor_map(c); pairs > 0 && cbor_ok(c); pairs--) {
			bool is_prefix = cbor_peek(c) == CBOR_UINT && cbor_uint(c) == DEPENDENCY_PREFIX;
			if (!is_prefix)
				return fail(rd, SUIT_UNKNOWN_MEMBER, -ENOTSUP);
			if (!read_component_id(c, &d->prefix))
				return fail(rd, SUIT_BAD_COMPONENT, -EBADMSG);
		}
		if (!cbor_ok(c))
			return malformed(rd);
	}
	return cbor_ok(c) ? 0 : malformed(rd);
}

static int read_common(struct reading *rd)
{
	struct cbor c = cbor_reader(rd->common);
	int r = check(rd, rd->common, 0, SUIT_MANIFEST_MALFORMED);

	for (size_t n = r == 0 ? cbor_map(&c) : 0; n > 0 && r == 0 && cbor_ok(&c); n--) {
		switch (cbor_int(&c)) {
		case COMMON_DEPENDENCIES:
			r = read_dependencies(rd, &c);
			break;
		case COMMON_COMPONENTS:
			r = read_components(rd, &c);
			break;
		case COMMON_SHARED:
			rd->shared = cbor_bytes(&c);
			break;
		case COMMON_OLD_DEPENDENCY_COMPONENTS:
			r = fail(rd, SUIT_OLD_ENCODING, -ENOTSUP);
			break;
		default:
			r = cbor_ok(&c) ? fail(rd, SUIT_UNKNOWN_MEMBER, -ENOTSUP) : 0;
			break;
		}
	}
	if (r < 0)
		return r;
	if (!cbor_ok(&c))
		return malformed(rd);
	return rd->m->n_components + rd->m->n_dependencies > 0 ? 0 : fail(rd, SUIT_BAD_COMPONENT, -EBADMSG);
}

/* ---- the manifest map ---- */

static bool key_is_severable(int64_t key)
{
	return key == KEY_COSWID || key == KEY_DEPENDENCY_RESOLUTION || key == KEY_PAYLOAD_FETCH ||
	       key == KEY_CANDIDATE_VERIFICATION || key == KEY_INSTALL || key == KEY_TEXT;
}

static int read_section(struct reading *rd, struct cbor *c, int64_t key)
{
	struct section *s = &rd->sections[key];

	s->present = true;
	if (cbor_peek(c) != CBOR_ARRAY) {
		s->content = cbor_bytes(c);
		return 0; /* the caller looks at c */
	}
	if (key == KEY_INVOKE)
		return fail(rd, SUIT_OLD_ENCODING, -ENOTSUP); /* install stood here, and could be severed */
	if (!key_is_severable(key))
		return malformed(rd);
	s->has_digest = true;
	int r = suit_digest_decode(cbor_skip(c), &s->digest);
	return r == 0 ? 0 : r == -EOPNOTSUPP ? fail(rd, SUIT_OLD_ENCODING, -ENOTSUP) : malformed(rd);
}

static int read_pair(struct reading *rd, struct cbor *c, int64_t key)
{
	struct suit_manifest *m = rd->m;

	switch (key) {
	case KEY_VERSION:
		m->version = cbor_uint(c);
		if (cbor_ok(c) && m->version != MANIFEST_VERSION)
			return fail(rd, m->version ? SUIT_VERSION : SUIT_OLD_ENCODING, -ENOTSUP);
		return 0;
	case KEY_SEQUENCE:
		m->sequence = cbor_uint(c);
		return 0;
	case KEY_COMMON:
		rd->common = cbor_bytes(c);
		return 0;
	case KEY_REFERENCE_URI:
		m->reference_uri = cbor_text(c);
		return !cbor_ok(c) || walk_uri_ok(m->reference_uri) ? 0 : fail(rd, SUIT_BAD_URI, -EBADMSG);
	case KEY_COMPONENT_ID:
		return read_component_id(c, &m->component_id) ? 0 : fail(rd, SUIT_BAD_COMPONENT, -EBADMSG);
	case KEY_SET_VERSION:
		m->set_version = cbor_skip(c);
		return 0;
	case KEY_VALIDATE ... KEY_INVOKE:
	case KEY_COSWID ... KEY_PAYLOAD_FETCH:
	case KEY_CANDIDATE_VERIFICATION:
	case KEY_INSTALL:
	case KEY_TEXT:
	case KEY_UNINSTALL:
		return read_section(rd, c, key);
	case KEY_OLD_FIRST ... KEY_OLD_LAST:
		return fail(rd, SUIT_OLD_ENCODING, -ENOTSUP);
	default:
		return fail(rd, SUIT_UNKNOWN_MEMBER, -ENOTSUP);
	}
}

static int read_map(struct reading *rd)
{
	struct cbor c = cbor_reader(rd->env->manifest);
	uint32_t needed = 1u << KEY_VERSION | 1u << KEY_SEQUENCE | 1u << KEY_COMMON;
	int r = check(rd, rd->env->manifest, 0, SUIT_MANIFEST_MALFORMED);

	for (size_t n = r == 0 ? cbor_map(&c) : 0; n > 0 && r == 0; n--) {
		int64_t key = cbor_int(&c);
		if (!cbor_ok(&c))
			break;
		r = read_pair(rd, &c, key);
		if (key > 0 && key < KEY_COUNT)
			rd->seen |= 1u << key;
	}
	if (r < 0)
		return r;
	return cbor_at_end(&c) && (rd->seen & needed) == needed ? 0 : malformed(rd);
}

/* SU-16: each member outside has its digest inside, under the same key, and matches it. */
static int join_severed(struct reading *rd)
{
	for (size_t i = 0; i < rd->env->n_severed; i++) {
		const struct suit_member *member = &rd->env->severed[i];
		struct section *s = &rd->sections[member->key];
		if (!s->has_digest)
			return fail(rd, SUIT_MEMBER_UNLISTED, -EBADMSG);
		int r = suit_digest_check(&s->digest, member->wrapped);
		if (r < 0)
			return fail(rd, SUIT_DIGEST_ALG, -ENOTSUP);
		if (r == 0)
			return fail(rd, SUIT_MEMBER_MISMATCH, -EBADMSG);
		s->content = member->content;
	}
	for (int64_t key = 0; key < KEY_COUNT; key++)
		if (rd->sections[key].has_digest && rd->sections[key].content.p == NULL)
			rd->m->severed_absent |= 1u << key;
	return 0;
}

/* ---- text (SU-24) ---- */

static bool read_text_value(struct cbor *c, struct span *ret)
{
	struct span s = cbor_text(c);

	if (!cbor_ok(c))
		return false;
	if (s.n > SUIT_TEXT_BYTES_MAX) {
		s.n = SUIT_TEXT_BYTES_MAX;
		while (s.n > 0 && (s.p[s.n] & 0xc0) == 0x80)
			s.n--; /* not inside a character */
	}
	if (ret && ret->n == 0)
		*ret = s;
	return true;
}

static bool read_component_text(struct cbor *c, struct suit_manifest *m)
{
	for (size_t n = cbor_map(c); n > 0 && cbor_ok(c); n--) {
		int64_t key = cbor_int(c);
		struct span *to = key == TEXT_VENDOR_NAME ? &m->vendor_name : key == TEXT_MODEL_NAME ? &m->model_name :
				  key == TEXT_COMPONENT_VERSION ? &m->version_text : NULL;
		if (!read_text_value(c, to))
			return false;
	}
	return cbor_ok(c);
}

static bool read_language(struct cbor *c, struct suit_manifest *m)
{
	struct span update_description = SPAN_NONE, ignored;

	for (size_t n = cbor_map(c); n > 0 && cbor_ok(c); n--) {
		bool ok;
		if (cbor_peek(c) == CBOR_ARRAY) {
			ok = read_component_id(c, &ignored) && read_component_text(c, m);
		} else {
			int64_t key = cbor_int(c);
			ok = read_text_value(c, key == TEXT_DESCRIPTION ? &m->description :
						key == TEXT_UPDATE_DESCRIPTION ? &update_description : NULL);
		}
		if (!ok)
			return false;
	}
	if (m->description.n == 0)
		m->description = update_description;
	return cbor_ok(c);
}

static int read_text(struct reading *rd)
{
	struct span text = rd->sections[KEY_TEXT].content;
	struct cbor c = cbor_reader(text);

	if (text.p == NULL)
		return 0;
	if (cbor_check(text, CBOR_ARRAY_KEYS, NULL) < 0)
		return fail(rd, SUIT_BAD_TEXT, -EBADMSG);
	for (size_t n = cbor_map(&c); n > 0 && cbor_ok(&c); n--) {
		(void)cbor_text(&c); /* the language; the first one given wins */
		if (!read_language(&c, rd->m))
			return fail(rd, SUIT_BAD_TEXT, -EBADMSG);
	}
	return cbor_ok(&c) ? 0 : fail(rd, SUIT_BAD_TEXT, -EBADMSG);
}

/* ---- commands ---- */

static int walk_shared(struct reading *rd, struct walk *w, walk_set *set)
{
	int r;

	if (rd->shared.p == NULL)
		return 0;
	w->in_shared = true;
	w->is_repeat = rd->shared_is_counted;
	r = walk_sequence(w, rd->shared, set);
	w->in_shared = false;
	rd->shared_is_counted = true;
	return r;
}

/* One procedure: the shared sequence runs before each of its sections. */
static int walk_procedure(struct reading *rd, struct walk *w, const int *keys, size_t n_keys)
{
	walk_set set;
	int r = walk_begin(w, &set);

	for (size_t i = 0; i < n_keys && r == 0; i++) {
		struct section *s = &rd->sections[keys[i]];
		if (s->content.p == NULL)
			continue;
		r = walk_shared(rd, w, &set);
		w->is_repeat = s->is_counted;
		s->is_counted = true;
		if (r == 0)
			r = walk_sequence(w, s->content, &set);
	}
	return r == 0 ? walk_end(w, set) : r;
}

static int walk_identity(struct reading *rd, struct walk *w)
{
	walk_set set;
	int r = walk_begin(w, &set);

	if (r == 0)
		r = walk_shared(rd, w, &set);
	if (r < 0)
		return r;
	if (rd->shared.p)
		walk_note_identity(w, set);
	return walk_end(w, set);
}

static int walk_all(struct reading *rd, struct walk *w)
{
	static const int update[] = { KEY_DEPENDENCY_RESOLUTION, KEY_PAYLOAD_FETCH, KEY_CANDIDATE_VERIFICATION,
				      KEY_INSTALL, KEY_VALIDATE };
	static const int invocation[] = { KEY_VALIDATE, KEY_LOAD, KEY_INVOKE };
	static const int removal[] = { KEY_UNINSTALL };
	int r = walk_identity(rd, w);

	if (r == 0)
		r = walk_procedure(rd, w, update, 5);
	if (r == 0)
		r = walk_procedure(rd, w, invocation, 3);
	if (r == 0)
		r = walk_procedure(rd, w, removal, 1);
	return r;
}

static int walk_manifest(struct reading *rd, unsigned flags)
{
	const uint32_t may_fetch = 1u << KEY_DEPENDENCY_RESOLUTION | 1u << KEY_PAYLOAD_FETCH |
				   1u << KEY_CANDIDATE_VERIFICATION | 1u << KEY_INSTALL;
	_cleanup_(walk_done) struct walk w = { 0 };
	int r = walk_init(&w, rd->env, rd->m, rd->problem);

	if (r == 0)
		r = walk_all(rd, &w);
	if (r < 0)
		return r;
	if ((flags & SUIT_ALLOW_UNUSED_INTEGRATED) || (rd->m->severed_absent & may_fetch))
		return 0; /* or nobody can tell which are used */
	for (size_t i = 0; i < rd->env->n_integrated; i++)
		if (!w.integrated_used[i])
			return fail(rd, SUIT_INTEGRATED_UNUSED, -EBADMSG);
	return 0;
}

static int read_manifest(struct reading *rd, unsigned flags)
{
	int r = read_map(rd);

	if (r == 0)
		r = read_common(rd);
	if (r == 0)
		r = join_severed(rd);
	if (r == 0)
		r = read_text(rd);
	if (r == 0)
		r = walk_manifest(rd, flags);
	if (r < 0)
		return r;
	rd->m->root_component = rd->m->component_id.n ? rd->m->component_id : rd->m->components[0].id;
	return 0;
}

int suit_manifest_decode(const struct suit_envelope *env, unsigned flags, struct suit_manifest *ret, enum suit_problem *ret_problem)
{
	struct suit_manifest *m = calloc(1, sizeof(*m));
	struct reading rd = { .env = env, .m = m, .problem = ret_problem };
	int r;

	*ret_problem = SUIT_OK;
	if (!m)
		return fail(&rd, SUIT_NO_MEMORY, -ENOMEM);
	r = read_manifest(&rd, flags);
	if (r == 0)
		*ret = *m;
	free(m);
	return r;
}
