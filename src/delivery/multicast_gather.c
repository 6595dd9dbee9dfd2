/* From orders to a session that can run: does it pay, how is the object cut, what are the digests of its generations, and a number
 * of its own, stored before it is used. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/random.h"
#include "delivery/mcast_plan.h"
#include "delivery/multicast_internal.h"

/* ---- gathering ends ---- */

static void limits_of_members(const struct session *s, struct mcast_plan_size *z)
{
	const struct order *o;

	DL_FOREACH(s->orders, o) {
		const struct talker *t = multicast_talker(s->d, o->device);
		if (t && t->l && t->l < z->lost_max)
			z->lost_max = t->l;
		if (t && t->k_max && (!z->k_max || t->k_max < z->k_max))
			z->k_max = t->k_max;
	}
}

static void plan_windows(struct session *s)
{
	const struct multicast_group_config *g = &s->group->c;

	if (!g->window_s || !g->window_period_s)
		return;
	struct wall now = wall_now();
	int64_t period = (int64_t)g->window_period_s * 1000, start = (int64_t)g->window_start_s * 1000 % period;
	int64_t next = now.ms - (now.ms % period) + start;

	while (next < now.ms)
		next += period;
	s->first_window = (struct wall){ next };
}

static bool it_pays(const struct session *s, char why[static MULTICAST_WHY_BYTES])
{
	const struct group *g = s->group;
	struct multicast_gathering facts = { .group = g->c.name, .n_members = s->n_orders, .min_members = g->c.min_members,
					     .fragment_bytes = s->c.z, .pace_ms = group_pace_ms(g), .bytes = s->image.bytes,
					     .loss = group_loss(g) };

	if (s->d->c.pays)
		return s->d->c.pays(s->d->c.world_ctx, &facts, why);
	(void)snprintf(why, MULTICAST_WHY_BYTES, "%zu of at least %u", s->n_orders, g->c.min_members);
	return s->n_orders >= g->c.min_members;
}

void session_gathered(struct session *s)
{
	struct mcast_plan_size z = { .size = (uint32_t)s->image.bytes, .log2_e = MULTICAST_LOG2_E, .loss = group_loss(s->group) };
	char why[MULTICAST_WHY_BYTES] = "";

	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	s->c.z = s->group->c.fragment_bytes ? s->group->c.fragment_bytes : MCAST_Z_DEFAULT;
	if (!s->group->is_configured || !group_up(s->group)) {
		session_all_to_unicast(s, "the group's interface is not there");
		return;
	}
	if (!it_pays(s, why)) {
		session_all_to_unicast(s, why);
		return;
	}
	s->c.size = (uint32_t)s->image.bytes;
	s->c.digest = s->image.digest;
	s->c.log2_e = MULTICAST_LOG2_E;
	s->c.alg = MULTICAST_ALG;
	z.z = s->c.z;
	z.interleave = s->d->c.tuning.interleave;
	z.lost_max = s->d->c.tuning.lost_max;
	limits_of_members(s, &z);
	s->c.k = (uint16_t)mcast_plan_k(&z);
	if (s->c.k == 0 || mcast_geometry_of(s->c.size, s->c.z, s->c.k, s->c.log2_e, &s->geo) < 0) {
		session_all_to_unicast(s, "the image cannot be cut into generations");
		return;
	}
	plan_windows(s);
	s->stage = SESSION_HASHING;
	session_step_in(s, 0);
}

/* ---- a number of its own, stored before it is used ---- */

static void on_numbered(const struct storing *v, int error)
{
	struct session *s = session_serial(v->d, v->serial);

	if (!s)
		return;
	if (error < 0) {
		session_all_to_unicast(s, "its number could not be stored");
		return;
	}
	session_run(s);
}

static void number(struct session *s)
{
	struct group *g = s->group;
	struct session *o;
	uint8_t live[32] = { 0 };

	DL_FOREACH(s->d->sessions, o)
		if (o->group == g && o != s && (o->stage == SESSION_RUNNING || o->stage == SESSION_STORED || o->stage == SESSION_NUMBERING))
			live[mcast_sid8(&o->c.sid) / 8] |= (uint8_t)(1u << mcast_sid8(&o->c.sid) % 8);
	int r = mcast_plan_sid(g->counter, (uint32_t)random_u64(), live, &s->c.sid);
	if (r < 0) {
		session_all_to_unicast(s, "the group has no number left for a session");
		return;
	}
	g->counter = mcast_sid_counter(&s->c.sid);
	s->stage = SESSION_NUMBERING;
	loop_timer_set(s->timer, -1);
	group_save(g, on_numbered, s->serial);
}

/* ---- the digests of its generations, one after the other: read here a slice a turn, hashed by the workers ---- */

enum { HASH_SLICE_BYTES = 32 * 1024, HASH_RETRY_MS = 100, HASH_AGAIN_MS = 1000 };

struct multicast_hash {                        /* it outlives the driver that waits for it */
	struct multicast *d;                   /* NULL: closed, nobody waits */
	uint64_t serial;
	struct buf piece;
	bool is_done;
	struct digest digest;
	struct multicast_hash *prev, *next;
};

static void hash_work(void *arg)
{
	struct multicast_hash *h = arg;

	h->digest = digest_of(buf_span(&h->piece));
	h->is_done = true;
}

static void hash_taken(struct session *s, const struct digest *got)
{
	s->is_hashing = false;
	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	buf_add(&s->table, SPAN(got->b, MCAST_GENERATION_DIGEST_BYTES));
	if (++s->hash_g == s->geo.n_generations)
		number(s);
	else
		session_step_in(s, 0);
}

static void hash_done(void *arg)
{
	struct multicast_hash *h = arg;

	if (h->d) {
		struct session *s = session_serial(h->d, h->serial);
		DL_DELETE(h->d->hashes, h);
		if (s && h->is_done) /* not done: the pool ends, and all with it */
			hash_taken(s, &h->digest);
	}
	buf_done(&h->piece);
	free(h);
}

static void hash_give(struct session *s)
{
	struct multicast_hash *h = NEW(struct multicast_hash);

	h->d = s->d;
	h->serial = s->serial;
	h->piece = s->piece;                   /* moved, once the job is taken */
	if (worker_submit(s->d->c.workers, hash_work, hash_done, h) < 0) {
		free(h);
		session_step_in(s, HASH_RETRY_MS);
		return;
	}
	s->piece = (struct buf){ 0 };
	s->is_hashing = true;
	DL_APPEND(s->d->hashes, h);
}

void multicast_hashes_drop(struct multicast *d)
{
	struct multicast_hash *h;

	DL_FOREACH(d->hashes, h)
		h->d = NULL; /* freed when it is done */
}

static int read_piece(struct session *s, uint64_t offset, size_t n)
{
	uint8_t *p = buf_grow(&s->piece, n);
	int r = p ? session_read(s, offset, p, n) : -ENOMEM;

	if (r < 0 && p)
		s->piece.n -= n;
	return r;
}

/* The next slice of the generation, or the whole generation to the workers. */
void session_hash(struct session *s)
{
	struct mcast_generation g = mcast_geometry_generation(&s->geo, s->hash_g);
	size_t n = g.length - s->piece.n < HASH_SLICE_BYTES ? (size_t)(g.length - s->piece.n) : HASH_SLICE_BYTES;

	if (s->is_hashing)
		return;
	if (s->n_orders == 0) {
		session_end(s);
		return;
	}
	int r = n > 0 ? read_piece(s, g.offset + s->piece.n, n) : 0;
	if (r == -EAGAIN) /* being verified again */
		session_step_in(s, HASH_AGAIN_MS);
	else if (r < 0)
		session_all_to_unicast(s, strerror(-r));
	else if (s->piece.n < g.length)
		session_step_in(s, 0);
	else
		hash_give(s);
}
