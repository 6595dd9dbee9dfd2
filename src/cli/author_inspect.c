/* cli/author_inspect.c - what is in an envelope, judged or not: for authors. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/author.h"
#include "cli/files.h"
#include "cli/out.h"
#include "codec/cose.h"
#include "codec/json.h"
#include "codec/suit.h"

static const char *kind_name(enum cose_kind k)
{
	switch (k) {
	case COSE_SIGN1:
		return "COSE_Sign1";
	case COSE_SIGN:
		return "COSE_Sign";
	case COSE_MAC0:
		return "COSE_Mac0";
	case COSE_MAC:
		return "COSE_Mac";
	}
	return "unknown";
}

static void put_alg(struct json_out *j, int64_t alg)
{
	const char *name = cose_alg_name(alg);
	char number[24];

	(void)snprintf(number, sizeof(number), "%lld", (long long)alg); /* fits */
	json_str(j, "alg", name ? name : number);
}

static void put_block(struct json_out *j, struct span block)
{
	_cleanup_free_ struct cose_message *m = NEW(struct cose_message);
	enum cose_problem problem = COSE_OK;

	json_open_object(j, NULL);
	if (cose_decode(block, 0, m, &problem) < 0) {
		json_str(j, "problem", cose_problem_text(problem));
		json_uint(j, "bytes", block.n);
	} else {
		json_str(j, "kind", kind_name(m->kind));
		if (m->headers.has_alg)
			put_alg(j, m->headers.alg);
		if (m->headers.kid.n)
			json_hex(j, "kid", m->headers.kid);
		if (m->headers.n_x5chain)
			json_uint(j, "certificates", m->headers.n_x5chain);
		json_uint(j, "signature_bytes", m->signature.n);
		if (m->n_signers)
			json_uint(j, "signers", m->n_signers);
	}
	json_close_object(j);
}

static void put_uuids(struct json_out *j, const char *key, const struct span *ids, size_t n)
{
	char text[TEXT_UUID_BYTES];

	if (!n)
		return;
	json_open_array(j, key);
	for (size_t i = 0; i < n; i++) {
		if (ids[i].n == 16)
			json_str(j, NULL, text_uuid(ids[i].p, text));
		else
			json_hex(j, NULL, ids[i]);
	}
	json_close_array(j);
}

static void put_component(struct json_out *j, const struct suit_component *c)
{
	_cleanup_buf_ struct buf id = { 0 };

	suit_component_text(c->id, &id);
	json_open_object(j, NULL);
	json_span(j, "id", buf_span(&id));
	put_uuids(j, "vendor_ids", c->vendor_id, c->n_vendor_id);
	put_uuids(j, "class_ids", c->class_id, c->n_class_id);
	put_uuids(j, "device_ids", c->device_id, c->n_device_id);
	json_bool(j, "checks_vendor", c->checks_vendor);
	json_bool(j, "checks_class", c->checks_class);
	json_close_object(j);
}

static void put_image(struct json_out *j, const struct suit_image *i)
{
	json_open_object(j, NULL);
	json_uint(j, "component", i->component);
	if (i->digest.bytes.n)
		json_hex(j, "digest", i->digest.bytes);
	if (i->has_size)
		json_uint(j, "bytes", i->size);
	if (i->uri.n)
		json_span(j, "uri", i->uri);
	json_bool(j, "integrated", i->is_integrated);
	json_bool(j, "fetched", i->is_fetched);
	if (i->is_encrypted)
		json_bool(j, "encrypted", true);
	json_close_object(j);
}

static void put_text(struct json_out *j, const struct suit_manifest *m)
{
	if (m->vendor_name.n)
		json_span(j, "vendor_name", m->vendor_name);
	if (m->model_name.n)
		json_span(j, "model_name", m->model_name);
	if (m->description.n)
		json_span(j, "description", m->description);
	if (m->version_text.n)
		json_span(j, "version", m->version_text);
}

static void put_manifest(struct json_out *j, const struct suit_manifest *m)
{
	char at[WALL_TEXT_BYTES];

	json_uint(j, "sequence", m->sequence);
	put_text(j, m);
	if (m->has_use_before)
		json_str(j, "use_before", wall_text(wall_from_s(m->use_before_s), at));
	if (m->reference_uri.n)
		json_span(j, "reference_uri", m->reference_uri);
	json_open_array(j, "components");
	for (size_t i = 0; i < m->n_components; i++)
		put_component(j, &m->components[i]);
	json_close_array(j);
	if (m->n_dependencies)
		json_uint(j, "dependencies", m->n_dependencies);
	json_open_array(j, "images");
	for (size_t i = 0; i < m->n_images; i++)
		put_image(j, &m->images[i]);
	json_close_array(j);
	if (m->unknown_command)
		json_int(j, "unknown_command", m->unknown_command);
}

static void put_members(struct json_out *j, const struct suit_envelope *e)
{
	json_open_array(j, "severed");
	for (size_t i = 0; i < e->n_severed; i++)
		json_int(j, NULL, e->severed[i].key);
	json_close_array(j);
	json_open_array(j, "integrated");
	for (size_t i = 0; i < e->n_integrated; i++) {
		json_open_object(j, NULL);
		json_span(j, "name", e->integrated[i].name);
		json_uint(j, "bytes", e->integrated[i].content.n);
		json_close_object(j);
	}
	json_close_array(j);
}

static void put_envelope(struct json_out *j, const struct suit_envelope *e, enum suit_problem problem)
{
	_cleanup_free_ struct suit_manifest *m = NEW(struct suit_manifest);

	json_uint(j, "bytes", e->bytes.n);
	json_hex(j, "manifest_digest", SPAN_OF(e->manifest_digest.b));
	json_open_array(j, "authentication");
	for (size_t i = 0; i < e->n_auth_blocks; i++)
		put_block(j, e->auth_blocks[i]);
	json_close_array(j);
	if (problem != SUIT_OK)
		json_str(j, "problem", suit_problem_text(problem));
	if (suit_manifest_decode(e, SUIT_ALLOW_UNUSED_INTEGRATED, m, &problem) < 0)
		json_str(j, "manifest_problem", suit_problem_text(problem));
	else
		put_manifest(j, m);
	put_members(j, e);
}

static int print(const struct cli *cli, struct span json)
{
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	char error[120];

	if (cli->json) {
		out_json(json);
		return CLI_OK;
	}
	if (json_parse(json, &doc, error, sizeof(error)) < 0)
		return cli_error("cannot show this envelope: %s", error);
	out_fields(cli, json_root(doc));
	return CLI_OK;
}

int author_inspect(const struct cli *cli, const char *path)
{
	_cleanup_buf_ struct buf in = { 0 }, out = { 0 };
	enum suit_problem problem = SUIT_OK;
	struct suit_envelope env;

	if (files_read_binary(path, SUIT_ENVELOPE_BYTES_MAX, &in) < 0)
		return CLI_FAILED;
	int r = suit_envelope_decode(buf_span(&in), SUIT_ALLOW_UNTAGGED, &env, &problem);
	if (r < 0 && problem != SUIT_NO_AUTH_BLOCK) {
		(void)cli_error("%s: %s", path, suit_problem_text(problem));
		return CLI_NOT_DECODABLE;
	}
	struct json_out j = json_writer(&out);
	json_open_object(&j, NULL);
	put_envelope(&j, &env, problem);
	json_close_object(&j);
	return print(cli, buf_span(&out));
}
