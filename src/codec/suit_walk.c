#include "codec/suit_walk.h"

#include <assert.h>

#include "codec/suit_walk_internal.h"

_Static_assert(SUIT_PATHS_MAX == 64, "walk_set has a bit for each path");
_Static_assert(WALK_SLOTS_MAX <= 64, "a component set has a bit for each slot");

enum command {                         /* facts 1.1 */
	COND_VENDOR = 1, COND_CLASS = 2, COND_IMAGE_MATCH = 3, COND_USE_BEFORE = 4, COND_SLOT = 5, COND_CONTENT = 6,
	COND_DEPENDENCY_INTEGRITY = 7, COND_IS_DEPENDENCY = 8, DIR_PROCESS_DEPENDENCY = 11, DIR_SET_INDEX = 12,
	COND_ABORT = 14, DIR_TRY_EACH = 15, DIR_WRITE = 18, DIR_SET_PARAMETERS = 19, DIR_OVERRIDE = 20, DIR_FETCH = 21,
	DIR_COPY = 22, DIR_INVOKE = 23, COND_DEVICE = 24, COND_IMAGE_NOT_MATCH = 25, COND_BATTERY = 26, COND_AUTHORIZED = 27,
	COND_VERSION = 28, DIR_WAIT = 29, DIR_SWAP = 31, DIR_RUN_SEQUENCE = 32, DIR_UNLINK = 33, DIR_OVERRIDE_MULTIPLE = 34,
	DIR_COPY_PARAMS = 35,
};
enum { REPORTING_POLICY_MAX = 15, CUSTOM_BELOW = -256 };

bool walk_uri_ok(struct span uri)
{
	for (size_t i = 0; i < uri.n; i++)
		if (uri.p[i] <= ' ' || uri.p[i] > '~')
			return false;
	return uri.n > 0 && uri.n <= SUIT_URI_BYTES_MAX;
}

/* ---- the pool of paths ---- */

static int path_new(struct walk *w, const struct slot *from, walk_set *set)
{
	uint64_t room = ~w->used & (w->n_paths == 64 ? UINT64_MAX : (UINT64_C(1) << w->n_paths) - 1);

	if (room == 0)
		return walk_fail(w, SUIT_TOO_MANY, -EMSGSIZE);
	size_t i = (size_t)__builtin_ctzll(room);
	if (from)
		memcpy(walk_path_at(w, i), from, w->n_slots * sizeof(struct slot));
	else
		memset(walk_path_at(w, i), 0, w->n_slots * sizeof(struct slot));
	w->used |= UINT64_C(1) << i;
	*set |= UINT64_C(1) << i;
	return walk_spend(w, w->n_slots);
}

static void paths_free(struct walk *w, walk_set set)
{
	w->used &= ~set;
}

static int paths_clone(struct walk *w, walk_set from, walk_set *ret)
{
	*ret = 0;
	FOR_EACH_BIT(i, from) {
		int r = path_new(w, walk_path_at(w, i), ret);
		if (r < 0)
			return r;
	}
	return 0;
}

/* into |= from, where paths equal to one already there are dropped. */
static int paths_merge(struct walk *w, walk_set *into, walk_set from)
{
	FOR_EACH_BIT(i, from) {
		bool is_known = false;
		int r = walk_spend(w, w->n_slots);
		if (r < 0)
			return r;
		FOR_EACH_BIT(j, *into)
			is_known = is_known || memcmp(walk_path_at(w, i), walk_path_at(w, j), w->n_slots * sizeof(struct slot)) == 0;
		if (is_known)
			paths_free(w, UINT64_C(1) << i);
		else
			*into |= UINT64_C(1) << i;
	}
	return 0;
}

int walk_init(struct walk *w, const struct suit_envelope *env, struct suit_manifest *m, enum suit_problem *problem)
{
	*w = (struct walk){ .env = env, .m = m, .problem = problem, .n_slots = m->n_components };
	for (size_t i = 0; i < m->n_dependencies; i++)
		if (m->dependencies[i].index >= m->n_components)
			w->extra_index[w->n_slots++ - m->n_components] = m->dependencies[i].index;
	w->n_paths = WALK_PATHS_BYTES_MAX / (w->n_slots * sizeof(struct slot));
	if (w->n_paths > SUIT_PATHS_MAX)
		w->n_paths = SUIT_PATHS_MAX;
	w->paths = malloc(w->n_paths * w->n_slots * sizeof(struct slot));
	return w->paths ? 0 : walk_fail(w, SUIT_NO_MEMORY, -ENOMEM);
}

void walk_done(struct walk *w)
{
	free(w->paths);
	w->paths = NULL;
}

int walk_begin(struct walk *w, walk_set *ret)
{
	*ret = 0;
	return path_new(w, NULL, ret);
}

/* ---- component indexes ---- */

int walk_slot_of_index(struct walk *w, uint64_t index, size_t *ret)
{
	if (index < w->m->n_components) {
		*ret = (size_t)index;
		return 0;
	}
	for (size_t i = w->m->n_components; i < w->n_slots; i++)
		if (w->extra_index[i - w->m->n_components] == index) {
			*ret = i;
			return 0;
		}
	return walk_fail(w, SUIT_BAD_COMPONENT, -EBADMSG);
}

/* The dependency that this slot stands for, or n_dependencies. */
static size_t dependency_of_slot(const struct walk *w, size_t slot)
{
	uint64_t index = slot < w->m->n_components ? slot : w->extra_index[slot - w->m->n_components];
	size_t i = 0;

	while (i < w->m->n_dependencies && w->m->dependencies[i].index != index)
		i++;
	return i;
}

static int read_index(struct walk *w, struct cbor *c, uint64_t *current)
{
	size_t slot;

	uint64_t index = cbor_uint(c);
	if (!cbor_ok(c))
		return walk_malformed(w);
	int r = walk_slot_of_index(w, index, &slot);
	if (r == 0)
		*current |= UINT64_C(1) << slot;
	return r;
}

static int set_index(struct walk *w, struct cbor *c, struct frame *f)
{
	uint64_t current = 0;
	int r = 0;

	if (cbor_is_bool(c)) {
		if (!cbor_bool(c))
			return walk_malformed(w);
		current = (UINT64_C(1) << w->n_slots) - 1;
	} else if (cbor_peek(c) == CBOR_ARRAY) {
		size_t n = cbor_array(c);
		if (n == 0)
			return walk_malformed(w);
		for (; n > 0 && r == 0; n--)
			r = read_index(w, c, &current);
	} else {
		r = read_index(w, c, &current);
	}
	f->current = current;
	return r;
}

/* ---- what is noted in the manifest ---- */

static bool digest_equal(const struct suit_digest *a, const struct suit_digest *b)
{
	return a->alg == b->alg && span_eq(a->bytes, b->bytes);
}

static struct suit_image *find_image(struct suit_manifest *m, const struct suit_image *like, bool with_uri)
{
	for (size_t i = 0; i < m->n_images; i++) {
		struct suit_image *have = &m->images[i];
		if (have->component == like->component && have->is_dependency == like->is_dependency &&
		    digest_equal(&have->digest, &like->digest) && have->has_size == like->has_size && have->size == like->size &&
		    (!with_uri || (have->is_fetched && span_eq(have->uri, like->uri))))
			return have;
	}
	return NULL;
}

/* SU-18, SU-40: what the envelope carries is what the manifest asked for. */
static int check_integrated(struct walk *w, const struct suit_image *image)
{
	if (image->digest.bytes.n == 0)
		return 0; /* nothing to hold against; the verdict refuses a fetch without a digest (SU-19) */
	if (image->is_dependency) {
		struct suit_envelope inner;
		enum suit_problem ignored;
		int r = suit_envelope_decode(image->integrated, 0, &inner, &ignored);
		return r == 0 && digest_equal(&inner.auth_digest, &image->digest) ? 0 : walk_fail(w, SUIT_MEMBER_MISMATCH, -EBADMSG);
	}
	if (image->has_size && image->size != image->integrated.n)
		return walk_fail(w, SUIT_MEMBER_MISMATCH, -EBADMSG);
	return suit_digest_check(&image->digest, image->integrated) != 0 ? 0 : walk_fail(w, SUIT_MEMBER_MISMATCH, -EBADMSG);
}

static int note_image(struct walk *w, size_t slot_index, const struct slot *s, struct span uri, bool is_fetched)
{
	struct suit_manifest *m = w->m;
	size_t dependency = dependency_of_slot(w, slot_index);
	struct suit_image image = {
		.digest = s->digest, .has_size = s->has_size, .size = s->size, .uri = uri, .is_fetched = is_fetched,
		.is_dependency = dependency < m->n_dependencies, .is_encrypted = s->is_encrypted || s->copied_encrypted,
		.is_bare_cipher = s->bare_cipher || s->copied_bare_cipher,
	};
	struct suit_image *have;

	image.component = image.is_dependency ? dependency : slot_index;
	for (size_t i = 0; is_fetched && uri.n && i < w->env->n_integrated; i++)
		if (span_eq(w->env->integrated[i].name, uri)) {
			image.is_integrated = w->integrated_used[i] = true;
			image.integrated = w->env->integrated[i].content;
		}
	have = find_image(m, &image, is_fetched);
	if (!have && is_fetched) {
		have = find_image(m, &image, false);
		if (have && have->is_fetched)
			have = NULL; /* the same payload from another place */
	}
	if (have) {
		image.is_encrypted |= have->is_encrypted;
		image.is_bare_cipher |= have->is_bare_cipher;
		if (is_fetched)
			*have = image;
		have->is_encrypted = image.is_encrypted;
		have->is_bare_cipher = image.is_bare_cipher;
		return image.is_integrated ? check_integrated(w, &image) : 0;
	}
	if (m->n_images == SUIT_IMAGES_MAX)
		return walk_fail(w, SUIT_TOO_MANY, -EMSGSIZE);
	m->images[m->n_images++] = image;
	return image.is_integrated ? check_integrated(w, &image) : 0;
}

static int note_id(struct walk *w, struct span *ids, size_t *n, struct span id)
{
	for (size_t i = 0; i < *n; i++)
		if (span_eq(ids[i], id))
			return 0;
	if (*n == SUIT_IDS_MAX)
		return walk_fail(w, SUIT_TOO_MANY, -EMSGSIZE);
	ids[(*n)++] = id;
	return 0;
}

void walk_note_unknown(struct walk *w, int64_t label)
{
	if (w->m->unknown_command == 0)
		w->m->unknown_command = label;
}

void walk_note_identity(struct walk *w, walk_set set)
{
	for (size_t i = 0; i < w->m->n_components; i++) {
		struct suit_component *comp = &w->m->components[i];
		comp->checks_vendor = comp->checks_class = set != 0;
		FOR_EACH_BIT(p, set) {
			comp->checks_vendor &= walk_path_at(w, p)[i].vendor_checked;
			comp->checks_class &= walk_path_at(w, p)[i].class_checked;
		}
	}
}

int walk_end(struct walk *w, walk_set set)
{
	int r = 0;

	FOR_EACH_BIT(p, set)
		for (size_t i = 0; i < w->n_slots && r == 0; i++) {
			const struct slot *s = &walk_path_at(w, p)[i];
			if (s->fetch_is_open)
				r = note_image(w, i, s, s->open_uri, true);
		}
	paths_free(w, set);
	return r;
}

/* ---- conditions and directives on one component of one path ---- */

static int on_use_before(struct walk *w, const struct slot *s)
{
	struct suit_manifest *m = w->m;

	if (s->has_use_before && (!m->has_use_before || s->use_before < m->use_before_s)) {
		m->has_use_before = true;
		m->use_before_s = s->use_before;
	}
	return 0;
}

static int on_authorized(struct walk *w, const struct slot *s)
{
	if (s->has_priority && (!w->m->needs_authorization || s->priority < w->m->priority))
		w->m->priority = s->priority;
	w->m->needs_authorization = true;
	return 0;
}

static int on_identity(struct walk *w, enum command cmd, size_t slot_index, struct slot *s)
{
	struct suit_component none = { 0 }, *comp = slot_index < w->m->n_components ? &w->m->components[slot_index] : &none;

	if (cmd == COND_VENDOR && s->vendor.n) {
		s->vendor_checked = true;
		return note_id(w, comp->vendor_id, &comp->n_vendor_id, s->vendor);
	}
	if (cmd == COND_CLASS && s->class.n) {
		s->class_checked = true;
		return note_id(w, comp->class_id, &comp->n_class_id, s->class);
	}
	if (cmd == COND_DEVICE && s->device.n)
		return note_id(w, comp->device_id, &comp->n_device_id, s->device);
	return 0; /* no parameter: it fails on every target, so it vouches for nothing */
}

static int on_fetch(struct walk *w, size_t slot_index, struct slot *s)
{
	if (s->digest.bytes.n)
		return note_image(w, slot_index, s, s->uri, true);
	s->fetch_is_open = true;
	s->open_uri = s->uri;
	return 0;
}

static int on_image_match(struct walk *w, size_t slot_index, struct slot *s)
{
	struct span uri = s->open_uri;
	bool was_open = s->fetch_is_open;

	if (s->digest.bytes.n == 0)
		return 0;
	s->fetch_is_open = false;
	s->open_uri = SPAN_NONE;
	return note_image(w, slot_index, s, uri, was_open);
}

static void on_copy(struct walk *w, struct slot *path, const struct slot *s)
{
	size_t dependency = s->has_source ? dependency_of_slot(w, s->source) : 0;
	bool is_dependency = dependency < w->m->n_dependencies;

	if (!s->has_source || !s->is_encrypted)
		return;
	path[s->source].copied_encrypted = true;
	path[s->source].copied_bare_cipher |= s->bare_cipher;
	for (size_t i = 0; i < w->m->n_images; i++) {
		struct suit_image *image = &w->m->images[i];
		if (image->is_dependency != is_dependency || image->component != (is_dependency ? dependency : s->source))
			continue;
		image->is_encrypted = true;
		image->is_bare_cipher |= s->bare_cipher;
	}
}

/* 1: this path cannot be. */
static int on_slot(struct slot *s)
{
	if (!s->has_slot)
		return 0;
	if (s->is_slot_found && s->found_slot != s->component_slot)
		return 1;
	s->is_slot_found = true;
	s->found_slot = s->component_slot;
	return 0;
}

static int on_component(struct walk *w, enum command cmd, size_t slot_index, struct slot *path)
{
	struct slot *s = &path[slot_index];

	switch (cmd) {
	case COND_VENDOR:
	case COND_CLASS:
	case COND_DEVICE:
		return on_identity(w, cmd, slot_index, s);
	case COND_IMAGE_MATCH:
	case COND_DEPENDENCY_INTEGRITY:
		return on_image_match(w, slot_index, s);
	case COND_USE_BEFORE:
		return on_use_before(w, s);
	case COND_AUTHORIZED:
		return on_authorized(w, s);
	case COND_SLOT:
		return on_slot(s);
	case COND_ABORT:
		return 1;
	case DIR_FETCH:
		return on_fetch(w, slot_index, s);
	case DIR_COPY:
		on_copy(w, path, s);
		return 0;
	case COND_CONTENT:
	case COND_IS_DEPENDENCY:
	case COND_IMAGE_NOT_MATCH:
	case COND_BATTERY:
	case COND_VERSION:
	case DIR_PROCESS_DEPENDENCY:
	case DIR_WRITE:
	case DIR_INVOKE:
	case DIR_WAIT:
	case DIR_SWAP:
	case DIR_UNLINK:
	case DIR_SET_INDEX:
	case DIR_TRY_EACH:
	case DIR_SET_PARAMETERS:
	case DIR_OVERRIDE:
	case DIR_RUN_SEQUENCE:
	case DIR_OVERRIDE_MULTIPLE:
	case DIR_COPY_PARAMS:
		return 0; /* the target's business, or handled elsewhere */
	}
	return 0;
}

/* A command whose argument is a reporting policy. */
static int plain_command(struct walk *w, struct cbor *c, enum command cmd, const struct frame *f, walk_set *set)
{
	uint64_t policy = cbor_uint(c);

	if (!cbor_ok(c))
		return walk_malformed(w);
	if (policy > REPORTING_POLICY_MAX)
		return walk_fail(w, SUIT_BAD_REPORTING_POLICY, -EBADMSG);
	FOR_EACH_BIT(p, *set) {
		int r = 0;
		FOR_EACH_BIT(i, f->current) {
			r = on_component(w, cmd, i, walk_path_at(w, p));
			if (r != 0)
				break;
		}
		if (r < 0)
			return r;
		if (r > 0) {
			paths_free(w, UINT64_C(1) << p);
			*set &= ~(UINT64_C(1) << p);
		}
	}
	return 0;
}

/* ---- sequences ---- */

static int walk_commands(struct walk *w, struct span sequence, struct frame *f, walk_set *set);

static int count_command(struct walk *w)
{
	if (!w->is_repeat && ++w->n_commands > SUIT_COMMANDS_MAX)
		return walk_fail(w, SUIT_TOO_MANY, -EMSGSIZE);
	return 0;
}

static int run_sequence(struct walk *w, struct span sequence, const struct frame *f, uint64_t current, walk_set *set)
{
	struct frame inner = { .current = current, .depth = f->depth + 1 };
	walk_set before;
	int r = paths_clone(w, *set, &before);

	if (r == 0)
		r = walk_commands(w, sequence, &inner, set);
	if (r < 0)
		return r;
	if (inner.is_soft)
		return paths_merge(w, set, before);
	paths_free(w, before);
	return 0;
}

/* A bstr, or nil for the last one. */
static int read_branch(struct walk *w, struct cbor *c, bool is_last, struct span *ret)
{
	*ret = SPAN_NONE;
	if (is_last && cbor_is_null(c))
		cbor_null(c);
	else
		*ret = cbor_bytes(c);
	return cbor_ok(c) ? 0 : walk_malformed(w);
}

/* Each branch but the last leaves copies of its paths to the next one, so paths stay in the order of branches. */
static int try_each(struct walk *w, struct cbor c, const struct frame *f, uint64_t current, walk_set *set)
{
	size_t n = cbor_array(&c);
	walk_set out = 0;

	if (!cbor_ok(&c) || n == 0)
		return walk_malformed(w);
	for (; n > 0; n--) {
		struct frame inner = { .current = current, .depth = f->depth + 1 };
		walk_set rest = 0;
		struct span sequence;
		int r = read_branch(w, &c, n == 1, &sequence);
		if (r == 0)
			r = count_command(w);
		if (r == 0 && n > 1)
			r = paths_clone(w, *set, &rest);
		if (r == 0 && sequence.p)
			r = walk_commands(w, sequence, &inner, set);
		if (r == 0)
			r = paths_merge(w, &out, *set);
		if (r < 0)
			return r;
		*set = rest;
	}
	*set = out;
	return 0;
}

/* Try-each and run-sequence run once for each of the current components. */
static int nested(struct walk *w, struct cbor *c, enum command cmd, const struct frame *f, walk_set *set)
{
	struct cbor argument = *c;
	int r = 0;

	(void)cbor_skip(c); /* looked at below */
	FOR_EACH_BIT(i, f->current) {
		uint64_t one = UINT64_C(1) << i;
		if (cmd == DIR_TRY_EACH) {
			r = try_each(w, argument, f, one, set);
		} else {
			struct cbor again = argument;
			struct span sequence = cbor_bytes(&again);
			r = cbor_ok(&again) ? run_sequence(w, sequence, f, one, set) : walk_malformed(w);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static bool allowed_in_shared(int64_t cmd)
{
	switch (cmd) {
	case DIR_PROCESS_DEPENDENCY:
	case DIR_WRITE:
	case DIR_FETCH:
	case DIR_COPY:
	case DIR_INVOKE:
	case DIR_WAIT:
	case DIR_SWAP:
	case DIR_UNLINK:
		return false;
	default:
		return cmd >= CUSTOM_BELOW;
	}
}

static int one_command(struct walk *w, struct cbor *c, struct frame *f, walk_set *set)
{
	int64_t cmd = cbor_int(c);

	if (!cbor_ok(c) || cmd == 0)
		return walk_malformed(w);
	if (w->in_shared && !allowed_in_shared(cmd))
		return walk_malformed(w);
	switch (cmd) {
	case DIR_SET_INDEX:
		return set_index(w, c, f);
	case DIR_TRY_EACH:
	case DIR_RUN_SEQUENCE:
		return nested(w, c, (enum command)cmd, f, set);
	case DIR_SET_PARAMETERS:
	case DIR_OVERRIDE:
		return walk_override_parameters(w, c, f, *set, cmd == DIR_SET_PARAMETERS);
	case DIR_OVERRIDE_MULTIPLE:
		return walk_override_multiple(w, c, f, *set);
	case DIR_COPY_PARAMS:
		return walk_copy_params(w, c, f, *set);
	case COND_VENDOR ... COND_IS_DEPENDENCY:
	case DIR_PROCESS_DEPENDENCY:
	case COND_ABORT:
	case DIR_WRITE:
	case DIR_FETCH ... DIR_WAIT:
	case DIR_SWAP:
	case DIR_UNLINK:
		return plain_command(w, c, (enum command)cmd, f, set);
	default:
		walk_note_unknown(w, cmd);
		(void)cbor_skip(c); /* the caller looks at c */
		return 0;
	}
}

static int walk_commands(struct walk *w, struct span sequence, struct frame *f, walk_set *set)
{
	struct cbor c = cbor_reader(sequence);
	int r;

	if (f->depth > SUIT_DEPTH_MAX)
		return walk_fail(w, SUIT_TOO_DEEP, -EMSGSIZE);
	r = cbor_check(sequence, 0, NULL);
	if (r < 0)
		return r == -E2BIG ? walk_fail(w, SUIT_TOO_DEEP, -EMSGSIZE) : walk_malformed(w);
	size_t n = cbor_array(&c);
	if (!cbor_ok(&c) || n % 2 != 0)
		return walk_malformed(w);
	for (; n > 0; n -= 2) {
		r = count_command(w);
		if (r == 0)
			r = walk_spend(w, 1 + (size_t)__builtin_popcountll(*set) * (size_t)__builtin_popcountll(f->current));
		if (r == 0)
			r = one_command(w, &c, f, set);
		if (r < 0)
			return r;
		if (!cbor_ok(&c))
			return walk_malformed(w);
	}
	return 0;
}

int walk_sequence(struct walk *w, struct span sequence, walk_set *set)
{
	struct frame f = { .current = 1, .depth = 1 }; /* the index is 0 until it is set */

	assert(w->n_slots > 0);
	return walk_commands(w, sequence, &f, set);
}
