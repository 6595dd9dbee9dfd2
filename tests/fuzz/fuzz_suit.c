/* Envelopes, and, since hardly any mutation keeps a digest, the same bytes as a manifest, too. What decodes is
 * within its limits; severing nothing gives the same bytes. */
#include <stdlib.h>

#include "codec/suit.h"
#include "fuzz.h"

static struct suit_manifest manifest;

static void check_manifest(const struct suit_envelope *env)
{
	enum suit_problem p;
	int r = suit_manifest_decode(env, SUIT_ALLOW_UNUSED_INTEGRATED, &manifest, &p);

	if ((r == 0) != (p == SUIT_OK) || !suit_problem_text(p))
		abort();
	if (r < 0)
		return;
	if (manifest.version != 1 || manifest.n_components > SUIT_COMPONENTS_MAX || manifest.n_images > SUIT_IMAGES_MAX)
		abort();
	for (size_t i = 0; i < manifest.n_images; i++) {
		const struct suit_image *image = &manifest.images[i];
		if (image->component >= (image->is_dependency ? manifest.n_dependencies : manifest.n_components))
			abort();
		if (image->is_integrated && !image->is_fetched)
			abort();
	}
	struct buf text = { 0 };
	suit_component_text(manifest.root_component, &text);
	buf_done(&text);
}

static void check_other_forms(const struct suit_envelope *env)
{
	struct buf same = { 0 }, more = { 0 };
	struct suit_envelope again;
	enum suit_problem p;

	if (suit_envelope_sever(env, 0, &same) < 0 || !span_eq(buf_span(&same), env->bytes))
		abort();
	if (suit_envelope_add_auth(env, SPAN_LIT("\xf6"), &more) == 0 &&
	    (suit_envelope_decode(buf_span(&more), SUIT_ALLOW_UNTAGGED, &again, &p) < 0 || again.n_auth_blocks != env->n_auth_blocks + 1))
		abort();
	buf_done(&same);
	buf_done(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct suit_envelope env;
	enum suit_problem p;

	if (suit_envelope_decode(SPAN(data, n), SUIT_ALLOW_UNTAGGED, &env, &p) == 0) {
		check_manifest(&env);
		check_other_forms(&env);
	} else if (p == SUIT_OK) {
		abort();
	}
	if (n > SUIT_MANIFEST_BYTES_MAX)
		return 0;
	env = (struct suit_envelope){ .manifest = SPAN(data, n) };
	check_manifest(&env);
	return 0;
}
