/* Updates, their verdicts and images. */
#include <errno.h>
#include <stdlib.h>

#include "admin/api.h"
#include "base/text.h"

static void put_components(struct json_out *o, const struct update *u)
{
	char uuid[TEXT_UUID_BYTES];

	json_open_array(o, "components");
	for (size_t i = 0; i < u->n_components; i++) {
		const struct update_component *c = &u->components[i];
		json_open_object(o, NULL);
		json_hex(o, "id", SPAN(c->id, c->n_id));
		json_open_array(o, "vendor_ids");
		for (size_t k = 0; k < c->n_vendor_id; k++)
			json_str(o, NULL, text_uuid(c->vendor_id[k], uuid));
		json_close_array(o);
		json_open_array(o, "class_ids");
		for (size_t k = 0; k < c->n_class_id; k++)
			json_str(o, NULL, text_uuid(c->class_id[k], uuid));
		json_close_array(o);
		json_close_object(o);
	}
	json_close_array(o);
}

static void put_images(struct json_out *o, const struct update *u)
{
	json_open_array(o, "images");
	for (size_t i = 0; i < u->n_images; i++) {
		json_open_object(o, NULL);
		json_hex(o, "digest", SPAN_OF(u->images[i].digest.b));
		json_uint(o, "bytes", u->images[i].bytes);
		json_str(o, "uri", u->images[i].uri);
		json_bool(o, "is_integrated", u->images[i].is_integrated);
		json_bool(o, "is_cached", u->images[i].is_cached);
		json_close_object(o);
	}
	json_close_array(o);
}

static void api_put_update(struct json_out *o, const char *key, const struct update *u)
{
	json_open_object(o, key);
	json_str(o, "id", u->id);
	json_str(o, "state", update_state_name(u->state));
	json_str(o, "reason", u->reason);
	json_uint(o, "sequence", u->sequence);
	json_str(o, "version", u->version);
	json_str(o, "description", u->description);
	json_str(o, "source", u->source);
	json_str(o, "uri", u->uri);
	json_str(o, "anchor", u->anchor);
	json_bool(o, "approved", u->approved);
	json_str(o, "approved_by", u->approved_by);
	api_put_wall(o, "approved_at", u->approved_at);
	api_put_wall(o, "found_at", u->found_at);
	api_put_wall(o, "state_at", u->state_at);
	api_put_wall(o, "use_before", u->has_use_before ? wall_from_s(u->use_before_s) : (struct wall){ 0 });
	json_hex(o, "envelope", SPAN_OF(u->envelope.b));
	json_uint(o, "envelope_bytes", u->envelope_bytes);
	put_components(o, u);
	put_images(o, u);
	json_close_object(o);
}

void api_reply_no_update(struct api_call *c, const char *prefix, int error)
{
	if (error == -ENOTUNIQ)
		api_reply_problem(c, 409, "more than one update begins with \"%.70s\"; give more digits", prefix);
	else
		api_reply_problem(c, 404, "no update \"%.70s\" (an id, or at least its first 6 digits)", prefix);
}

/* {id} may be a unique prefix; answers when it is not. */
static const struct update *named(struct api_call *c)
{
	const struct update *u = NULL;

	int r = intake_update_find(c->admin->c.intake, c->param[0], &u);
	if (r < 0)
		api_reply_no_update(c, c->param[0], r);
	return u;
}

void api_updates_list(struct api_call *c)
{
	struct intake *in = c->admin->c.intake;
	const char *state = c->query(c, "state");
	enum update_state wanted = UPDATE_REJECTED;
	struct api_list l;

	if (state && update_state_parse(span_str(state), &wanted) < 0) {
		api_reply_problem(c, 400, "state= is rejected, held, verified, available, recalled, superseded or expired");
		return;
	}
	api_list_begin(c, &l);
	for (const struct update *u = intake_update_next(in, api_after(c)); u; u = intake_update_next(in, u->id)) {
		if (state && u->state != wanted)
			continue;
		if (api_list_full(&l))
			break;
		api_put_update(&l.o, NULL, u);
		l.n++;
		if (api_list_full(&l) && intake_update_next(in, u->id))
			(void)text_copy(l.next, sizeof(l.next), span_str(u->id)); /* ids fit */
	}
	api_list_end(c, &l, intake_update_count(in));
}

void api_update_show(struct api_call *c)
{
	const struct update *u = named(c);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!u)
		return;
	api_put_update(&o, NULL, u);
	api_reply_json(c, 200, &b);
}

void api_update_verdict(struct api_call *c)
{
	const struct update *u = named(c);
	uint8_t *p;
	size_t n;
	struct buf b = { 0 };

	if (!u)
		return;
	int r = update_store_verdict(c->admin->c.db, u->id, &p, &n);
	if (r < 0) {
		api_reply_problem(c, r == -ENOENT ? 404 : 503, "no verdict is stored for it: %s", strerror(-r));
		return;
	}
	buf_add(&b, SPAN(p, n));
	free(p);
	api_reply_json(c, 200, &b);
}

void api_update_approve(struct api_call *c)
{
	const struct update *u = named(c);

	if (!u)
		return;
	if (intake_approve(c->admin->c.intake, u->id, c->who, api_reply_stored, c) < 0)
		api_reply_problem(c, 409, "it is %s%s", update_state_name(u->state), u->approved ? " and approved already" : "");
}

void api_update_recall(struct api_call *c)
{
	const char *reason = c->body ? json_get_str(c->body, "reason") : NULL;
	const struct update *u = named(c);     /* it may have answered: then c is gone */

	if (!u)
		return;
	if (reason && !text_is_clean(span_str(reason))) {
		api_reply_problem(c, 400, "reason: printable text on one line");
		return;
	}
	if (intake_recall(c->admin->c.intake, u->id, c->who, reason, api_reply_stored, c) < 0)
		api_reply_problem(c, 409, "it is %s already", update_state_name(u->state));
}

void api_revocation_refresh(struct api_call *c)
{
	struct buf b = { 0 };

	intake_refresh(c->admin->c.intake);
	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 202, &b);
}

struct image_list {
	struct api_list l;
	uint64_t total;
	const char *after;
	bool started;
	char last[DIGEST_HEX_BYTES];           /* put in the list */
};

static void put_image(void *ctx, const struct digest *d, uint64_t bytes, unsigned pins, bool is_verified, struct wall used_at)
{
	struct image_list *il = ctx;
	char hex[DIGEST_HEX_BYTES];

	il->total++;
	digest_hex(d, hex);
	if (!il->started) {
		il->started = !il->after || strcmp(il->after, hex) == 0;
		if (il->after)
			return;
	}
	if (api_list_full(&il->l)) {
		(void)text_copy(il->l.next, sizeof(il->l.next), span_str(il->last)); /* fits */
		return;
	}
	json_open_object(&il->l.o, NULL);
	json_str(&il->l.o, "digest", hex);
	json_uint(&il->l.o, "bytes", bytes);
	json_uint(&il->l.o, "pins", pins);
	json_bool(&il->l.o, "is_verified", is_verified);
	api_put_wall(&il->l.o, "used_at", used_at);
	json_close_object(&il->l.o);
	il->l.n++;
	memcpy(il->last, hex, sizeof(hex));
}

void api_images_list(struct api_call *c)
{
	struct image_list il = { .after = api_after(c) };

	api_list_begin(c, &il.l);
	image_cache_each(c->admin->c.images, put_image, &il);
	api_list_end(c, &il.l, il.total);
}
