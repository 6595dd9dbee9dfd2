/* The vendor: keys, envelopes, images, a server that hands them over in pieces and now and then breaks off; in the place of
 * src/upstream. And the operator, who asks until the gateway acknowledges. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim_site.h"
#include "trust/verdict.h"

enum { PIECE_BYTES = 8192 };

/* A fixed Ed25519 key (PKCS #8): its signatures have no randomness. */
static const char private_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
	"-----END PRIVATE KEY-----\n";

struct upstream {
	struct site *site;
};

int upstream_reread(struct upstream *u, const char *source);

void vendor_open(struct site *s)
{
	char error[200];

	SIM_CHECK(sign_key_load(SPAN_LIT(private_pem), 0, &s->key, error, sizeof(error)) == 0, "%s", error);
	uuid_of_vendor(SPAN_LIT("vendor.example"), s->vendor_id);
	uuid_of_class(s->vendor_id, SPAN_LIT("lamp"), s->class_id);
}

void vendor_close(struct site *s)
{
	for (size_t i = 0; i < s->n_releases; i++) {
		buf_done(&s->releases[i].envelope);
		buf_done(&s->releases[i].image);
	}
	s->key = sign_key_free(s->key);
}

/* ---- envelopes ---- */

static void make_envelope(struct site *s, struct release *r)
{
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, auth = { 0 }, block = { 0 };
	const struct suit_author_component comp = { .id = { SPAN_LIT("slot") }, .n_id = 1, .size = r->image.n, .digest = r->image_digest, .uri = r->uri };
	const struct suit_author a = { .sequence = r->sequence, .vendor_id = s->vendor_id, .class_id = s->class_id, .components = &comp,
				       .n_components = 1, .version_text = r->uri + strlen("https://vendor.example/") };
	struct suit_envelope *env = NEW(struct suit_envelope);
	enum suit_problem problem;
	char error[200];
	size_t n_members;

	SIM_CHECK(suit_manifest_encode(&a, &manifest, &members, &n_members) == 0, "no manifest");
	suit_auth_digest_encode(buf_span(&manifest), &auth);
	SIM_CHECK(sign_auth_digest(s->key, SPAN_NONE, SPAN_NONE, buf_span(&auth), &block, error, sizeof(error)) == 0, "%s", error);
	const struct span blocks[] = { buf_span(&block) };
	SIM_CHECK(suit_envelope_encode(buf_span(&manifest), buf_span(&auth), blocks, 1, buf_span(&members), n_members, &r->envelope) == 0,
		  "no envelope");
	SIM_CHECK(suit_envelope_decode(buf_span(&r->envelope), 0, env, &problem) == 0, "%s", suit_problem_text(problem));
	digest_hex(&env->manifest_digest, r->id);
	free(env);
}

size_t site_publish(struct site *s, uint64_t sequence)
{
	struct release *r = &s->releases[s->n_releases];

	SIM_CHECK(s->n_releases < SITE_RELEASES_MAX, "too many releases");
	*r = (struct release){ .site = s, .sequence = sequence };
	(void)snprintf(r->uri, sizeof(r->uri), "https://vendor.example/fw-%llu", (unsigned long long)sequence); /* fits */
	for (size_t i = 0; i < s->c.image_bytes; i++)
		buf_add_u8(&r->image, (uint8_t)(i * 31 + i / 251 + sequence * 7));
	r->image_digest = digest_of(buf_span(&r->image));
	make_envelope(s, r);
	return s->n_releases++;
}

const struct release *site_newest(const struct site *s)
{
	const struct release *best = NULL;

	for (size_t i = 0; i < s->n_releases; i++)
		if (!s->releases[i].wants_recall && (!best || s->releases[i].sequence > best->sequence))
			best = &s->releases[i];
	return best;
}

const struct release *site_release_of_image(const struct site *s, struct span hex)
{
	struct digest d;

	for (size_t i = 0; digest_parse(hex, &d) == 0 && i < s->n_releases; i++)
		if (digest_eq(&d, &s->releases[i].image_digest))
			return &s->releases[i];
	return NULL;
}

/* ---- src/upstream/upstream.h, as far as the intake needs it ---- */

struct upstream_payload {
	struct upstream_payload_request req;
	const struct release *release;
	struct site *site;
	struct loop_timer *timer;
	uint64_t at;
};

static void payload_end(struct upstream_payload *p, int error, const char *text)
{
	struct upstream_payload_request req = p->req;

	loop_timer_free(p->timer);
	free(p);
	req.done(req.ctx, error, text);
}

static void on_piece(void *ctx)
{
	struct upstream_payload *p = ctx;
	struct span piece = span_sub(buf_span(&p->release->image), p->at, PIECE_BYTES);

	if (sim_chance(p->site->c.payload_failure)) {
		payload_end(p, -ECONNRESET, "the connection broke");
		return;
	}
	int r = piece.n ? p->req.piece(p->req.ctx, p->at, piece) : 0;
	p->at += piece.n;
	if (r < 0 || p->at == p->release->image.n)
		payload_end(p, r, NULL);
	else
		loop_timer_set(p->timer, sim_between(5, 200));
}

int upstream_payload(struct upstream *u, const struct upstream_payload_request *req, struct upstream_payload **ret)
{
	struct upstream_payload *p = NEW(struct upstream_payload);
	struct site *s = u->site;

	*p = (struct upstream_payload){ .req = *req, .site = s, .at = req->from, .timer = loop_timer_new(s->loop, on_piece, p) };
	for (size_t i = 0; i < s->n_releases; i++)
		if (strcmp(s->releases[i].uri, req->uri) == 0)
			p->release = &s->releases[i];
	SIM_CHECK(p->release, "nobody has %s", req->uri);
	loop_timer_set(p->timer, sim_between(5, 500));
	*ret = p;
	return 0;
}

void upstream_payload_cancel(struct upstream_payload *p)
{
	loop_timer_free(p->timer);
	free(p);
}

int upstream_reread(struct upstream *u, const char *source)
{
	for (size_t i = 0; i < u->site->n_releases; i++)
		u->site->releases[i].taken_by = 0;
	return 0;
}

int upstream_poll(struct upstream *u, const char *source)
{
	return upstream_reread(u, source);
}

/* A raw key has no revocation status to fetch. */
int revocation_source_get(struct revocation_source *r, const char *key, const char *url, struct span ocsp_request, bool force,
			  revocation_fetched_fn *fn, void *ctx)
{
	sim_fail(__FILE__, __LINE__, "revocation asked for: %s", url);
}

struct upstream *vendor_upstream(struct site *s)
{
	struct upstream *u = NEW(struct upstream);

	u->site = s;
	for (size_t i = 0; i < s->n_releases; i++)
		s->releases[i].is_offering = false;
	return u;
}

/* ---- the source's polling, and the operator ---- */

static void on_taken(void *arg, int error)
{
	struct release *r = arg;

	r->is_offering = false;
	if (error == 0 && r->site->is_up)
		r->taken_by = r->site->life;
}

static void on_approved(void *ctx, int error)
{
	struct release *r = ctx;

	if (error == 0 && r->site->is_up)
		r->is_approved = true;
}

static void on_recalled(void *ctx, int error)
{
	struct release *r = ctx;

	if (error != 0 || !r->site->is_up || r->is_recalled)
		return;
	r->is_recalled = true;
	r->recalled_at = sim_now();
}

static void try_approve(struct site *s, struct release *r)
{
	if (r->wants_approval && !r->is_approved && intake_approve(s->intake, r->id, "operator", on_approved, r) == -EALREADY &&
	    intake_update(s->intake, r->id)->approved && db_queue_length(s->db) == 0)
		r->is_approved = true;         /* its acknowledgement was lost with a former life */
}

static void try_recall(struct site *s, struct release *r)
{
	if (r->wants_recall && !r->is_recalled && intake_recall(s->intake, r->id, "operator", "it burns", on_recalled, r) == -EALREADY &&
	    db_queue_length(s->db) == 0)
		on_recalled(r, 0);
}

void vendor_look(struct site *s)
{
	for (size_t i = 0; i < s->n_releases; i++) {
		struct release *r = &s->releases[i];
		if (r->taken_by != s->life && !r->is_offering) {
			r->is_offering = true;
			intake_found(s->intake, "vendor", r->uri, buf_span(&r->envelope), on_taken, r);
		}
		try_approve(s, r);
		try_recall(s, r);
	}
}

void site_approve(struct site *s, size_t release)
{
	s->releases[release].wants_approval = true;
	if (s->is_up)
		try_approve(s, &s->releases[release]);
}

void site_recall(struct site *s, size_t release)
{
	s->releases[release].wants_recall = true;
	if (s->is_up)
		try_recall(s, &s->releases[release]);
}
