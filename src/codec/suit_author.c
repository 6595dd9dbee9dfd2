/* Writing manifests: one fixed shape, the compatibility check and download templates of
 * draft-ietf-suit-manifest: who it is for and what it should be in the shared sequence, where it
 * comes from in install, and that it is still so in validate. All maps in deterministic order. */
#include <errno.h>

#include "codec/cbor.h"
#include "codec/suit.h"

enum { KEY_VERSION = 1, KEY_SEQUENCE = 2, KEY_COMMON = 3, KEY_VALIDATE = 7, KEY_INSTALL = 20, KEY_TEXT = 23 };
enum { COMMON_COMPONENTS = 2, COMMON_SHARED = 4 };
enum { COND_VENDOR = 1, COND_CLASS = 2, COND_IMAGE_MATCH = 3, COND_USE_BEFORE = 4, DIR_SET_INDEX = 12, DIR_OVERRIDE = 20, DIR_FETCH = 21 };
enum { PARAM_VENDOR = 1, PARAM_CLASS = 2, PARAM_DIGEST = 3, PARAM_USE_BEFORE = 4, PARAM_SIZE = 14, PARAM_URI = 21 };
enum { TEXT_DESCRIPTION = 1, TEXT_VENDOR_NAME = 1, TEXT_MODEL_NAME = 2, TEXT_COMPONENT_VERSION = 6 };
enum { REPORT_ALL = 15, REPORT_FAILURE = 2, UUID_BYTES = 16, MANIFEST_VERSION = 1 };

static void put_digest(struct buf *b, const struct digest *d)
{
	cbor_put_array(b, 2);
	cbor_put_int(b, SUIT_SHA256);
	cbor_put_bytes(b, SPAN_OF(d->b));
}

static void put_wrapped(struct buf *b, struct buf *content)
{
	cbor_put_bytes(b, buf_span(content));
	b->bad |= content->bad;
}

static void put_component_id(struct buf *b, const struct suit_author_component *c)
{
	cbor_put_array(b, c->n_id);
	for (size_t i = 0; i < c->n_id; i++)
		cbor_put_bytes(b, c->id[i]);
}

/* A command sequence under construction: items are counted, the array head comes last. */
struct sequence {
	struct buf b;
	size_t n_items;
};

static void sequence_done(struct sequence *s)
{
	buf_done(&s->b);
}

static struct buf *command(struct sequence *s, int cmd)
{
	cbor_put_int(&s->b, cmd);
	s->n_items += 2;
	return &s->b;
}

static void plain(struct sequence *s, int cmd, unsigned policy)
{
	cbor_put_uint(command(s, cmd), policy);
}

static void select_component(struct sequence *s, const struct suit_author *a, size_t i)
{
	if (a->n_components > 1) /* the index is 0 from the start */
		cbor_put_uint(command(s, DIR_SET_INDEX), i);
}

static void put_sequence(struct buf *b, const struct sequence *s)
{
	_cleanup_buf_ struct buf whole = { 0 };

	cbor_put_array(&whole, s->n_items);
	buf_add(&whole, buf_span(&s->b));
	whole.bad |= s->b.bad;
	put_wrapped(b, &whole);
}

static void put_identity_and_image(struct sequence *s, const struct suit_author *a, const struct suit_author_component *c)
{
	struct buf *b = command(s, DIR_OVERRIDE);
	_cleanup_buf_ struct buf digest = { 0 };

	cbor_put_map(b, 2 + (a->vendor_id ? 1 : 0) + (a->class_id ? 1 : 0));
	if (a->vendor_id) {
		cbor_put_uint(b, PARAM_VENDOR);
		cbor_put_bytes(b, SPAN(a->vendor_id, UUID_BYTES));
	}
	if (a->class_id) {
		cbor_put_uint(b, PARAM_CLASS);
		cbor_put_bytes(b, SPAN(a->class_id, UUID_BYTES));
	}
	cbor_put_uint(b, PARAM_DIGEST);
	put_digest(&digest, &c->digest);
	put_wrapped(b, &digest);
	cbor_put_uint(b, PARAM_SIZE);
	cbor_put_uint(b, c->size);
	if (a->vendor_id)
		plain(s, COND_VENDOR, REPORT_ALL);
	if (a->class_id)
		plain(s, COND_CLASS, REPORT_ALL);
}

static void put_common(struct buf *b, const struct suit_author *a)
{
	_cleanup_(sequence_done) struct sequence shared = { 0 };
	_cleanup_buf_ struct buf common = { 0 };

	cbor_put_map(&common, 2);
	cbor_put_uint(&common, COMMON_COMPONENTS);
	cbor_put_array(&common, a->n_components);
	for (size_t i = 0; i < a->n_components; i++)
		put_component_id(&common, &a->components[i]);
	for (size_t i = 0; i < a->n_components; i++) {
		select_component(&shared, a, i);
		put_identity_and_image(&shared, a, &a->components[i]);
	}
	cbor_put_uint(&common, COMMON_SHARED);
	put_sequence(&common, &shared);
	put_wrapped(b, &common);
}

/* Expiry stands in install alone: a node that has the image must go on booting it (RFC 9124 3.7). */
static void put_use_before(struct sequence *s, const struct suit_author *a)
{
	if (!a->has_use_before)
		return;
	struct buf *b = command(s, DIR_OVERRIDE);
	cbor_put_map(b, 1);
	cbor_put_uint(b, PARAM_USE_BEFORE);
	cbor_put_int(b, a->use_before_s);
	plain(s, COND_USE_BEFORE, REPORT_ALL);
}

static void put_install(struct buf *b, const struct suit_author *a)
{
	_cleanup_(sequence_done) struct sequence s = { 0 };

	for (size_t i = 0; i < a->n_components; i++) {
		select_component(&s, a, i);
		if (i == 0)
			put_use_before(&s, a);
		struct buf *parameters = command(&s, DIR_OVERRIDE);
		cbor_put_map(parameters, 1);
		cbor_put_uint(parameters, PARAM_URI);
		cbor_put_str(parameters, a->components[i].uri);
		plain(&s, DIR_FETCH, REPORT_FAILURE);
		plain(&s, COND_IMAGE_MATCH, REPORT_ALL);
	}
	put_sequence(b, &s);
}

static void put_validate(struct buf *b, const struct suit_author *a)
{
	_cleanup_(sequence_done) struct sequence s = { 0 };

	if (a->n_components > 1)
		cbor_put_bool(command(&s, DIR_SET_INDEX), true);
	plain(&s, COND_IMAGE_MATCH, REPORT_ALL);
	put_sequence(b, &s);
}

static size_t count_component_texts(const struct suit_author *a)
{
	return (a->vendor_name ? 1 : 0) + (a->model_name ? 1 : 0) + (a->version_text ? 1 : 0);
}

static bool has_text(const struct suit_author *a)
{
	return a->description || count_component_texts(a) > 0;
}

static void put_text_pair(struct buf *b, unsigned key, const char *value)
{
	if (value) {
		cbor_put_uint(b, key);
		cbor_put_str(b, value);
	}
}

static void put_text(struct buf *b, const struct suit_author *a)
{
	_cleanup_buf_ struct buf text = { 0 };
	size_t n_component_texts = count_component_texts(a);

	cbor_put_map(&text, 1);
	cbor_put_str(&text, "en");
	cbor_put_map(&text, (a->description ? 1 : 0) + (n_component_texts ? 1 : 0));
	put_text_pair(&text, TEXT_DESCRIPTION, a->description);
	if (n_component_texts) {
		put_component_id(&text, &a->components[0]);
		cbor_put_map(&text, n_component_texts);
		put_text_pair(&text, TEXT_VENDOR_NAME, a->vendor_name);
		put_text_pair(&text, TEXT_MODEL_NAME, a->model_name);
		put_text_pair(&text, TEXT_COMPONENT_VERSION, a->version_text);
	}
	put_wrapped(b, &text);
}

/* A member in the manifest, or its digest there and itself among the members. */
static void put_member(unsigned key, const struct buf *wrapped, bool sever, struct buf *manifest, struct buf *members, size_t *n)
{
	cbor_put_uint(manifest, key);
	manifest->bad |= wrapped->bad;
	if (!sever) {
		buf_add(manifest, buf_span(wrapped));
		return;
	}
	struct digest d = digest_of(buf_span(wrapped));
	put_digest(manifest, &d);
	cbor_put_uint(members, key);
	buf_add(members, buf_span(wrapped));
	(*n)++;
}

/* Deterministic order of text keys: shorter first, then by bytes. */
static bool uri_is_after(const struct suit_author_component *a, const struct suit_author_component *b)
{
	size_t na = strlen(a->uri), nb = strlen(b->uri);

	return na != nb ? na > nb : strcmp(a->uri, b->uri) > 0;
}

static void put_integrated(const struct suit_author *a, struct buf *members, size_t *n)
{
	const struct suit_author_component *last = NULL, *next;

	do { /* the next one in order; a URI used by two components stands once */
		next = NULL;
		for (size_t i = 0; i < a->n_components; i++) {
			const struct suit_author_component *c = &a->components[i];
			if (c->payload.n && (!last || uri_is_after(c, last)) && (!next || uri_is_after(next, c)))
				next = c;
		}
		if (next) {
			cbor_put_str(members, next->uri);
			cbor_put_bytes(members, next->payload);
			(*n)++;
			last = next;
		}
	} while (next);
}

static bool component_ok(const struct suit_author *a, size_t i)
{
	const struct suit_author_component *c = &a->components[i];

	if (c->n_id == 0 || c->n_id > SUIT_ID_SEGMENTS_MAX || !c->uri || strlen(c->uri) > SUIT_URI_BYTES_MAX || !*c->uri)
		return false;
	for (size_t k = 0; k < c->n_id; k++)
		if (c->id[k].n > SUIT_ID_SEGMENT_BYTES_MAX)
			return false;
	if (c->payload.n && c->payload.n != c->size)
		return false;
	for (size_t k = 0; k < i; k++)
		if (strcmp(a->components[k].uri, c->uri) == 0 && !digest_eq(&a->components[k].digest, &c->digest))
			return false; /* one URI, two payloads */
	return true;
}

static int check_author(const struct suit_author *a)
{
	size_t n_integrated = 0;

	if (a->n_components == 0 || a->n_components > SUIT_COMPONENTS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < a->n_components; i++) {
		if (!component_ok(a, i))
			return -EINVAL;
		n_integrated += a->components[i].payload.n > 0;
	}
	return n_integrated <= SUIT_INTEGRATED_MAX ? 0 : -EINVAL;
}

int suit_manifest_encode(const struct suit_author *a, struct buf *ret_manifest, struct buf *ret_members, size_t *ret_n_members)
{
	_cleanup_buf_ struct buf install = { 0 }, text = { 0 };
	size_t n_members = 0;
	int r = check_author(a);

	if (r < 0)
		return r;
	put_install(&install, a);
	put_text(&text, a);
	cbor_put_map(ret_manifest, 5 + (has_text(a) ? 1 : 0));
	cbor_put_uint(ret_manifest, KEY_VERSION);
	cbor_put_uint(ret_manifest, MANIFEST_VERSION);
	cbor_put_uint(ret_manifest, KEY_SEQUENCE);
	cbor_put_uint(ret_manifest, a->sequence);
	cbor_put_uint(ret_manifest, KEY_COMMON);
	put_common(ret_manifest, a);
	cbor_put_uint(ret_manifest, KEY_VALIDATE);
	put_validate(ret_manifest, a);
	put_member(KEY_INSTALL, &install, a->sever_install, ret_manifest, ret_members, &n_members);
	if (has_text(a))
		put_member(KEY_TEXT, &text, a->sever_text, ret_manifest, ret_members, &n_members);
	put_integrated(a, ret_members, &n_members);
	*ret_n_members = n_members;
	if (!buf_ok(ret_manifest) || !buf_ok(ret_members) || ret_manifest->n > SUIT_MANIFEST_BYTES_MAX)
		return -EMSGSIZE;
	return 0;
}
