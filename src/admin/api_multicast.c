/* Multicast: groups, sessions with their figures, and members. */
#include <errno.h>
#include <stdio.h>

#include "admin/api.h"
#include "base/text.h"
#include "delivery/multicast.h"

/* Answers when there is none. */
static const struct delivery_driver *driver_or_404(struct api_call *c)
{
	const struct delivery_driver *drv = c->admin->c.multicast;

	if (!drv)
		api_reply_problem(c, 404, "multicast is off: multicast.enabled in the configuration");
	return drv;
}

/* Three decimals; null when it is not known. */
static void put_decimal(struct json_out *o, const char *key, double v)
{
	char text[40];

	if (!(v >= 0) || v > 1e9) {
		json_null(o, key);
		return;
	}
	int n = snprintf(text, sizeof(text), "%.3f", v); /* fits */
	json_raw(o, key, SPAN(text, (size_t)n));
}

static void put_known(struct json_out *o, const char *key, int64_t v)
{
	if (v < 0)
		json_null(o, key);
	else
		json_int(o, key, v);
}

/* ---- groups ---- */

struct groups_out {
	struct api_list *l;
	const char *after, *last;
	size_t n;
	bool begun;
};

static bool put_group(void *arg, const struct multicast_group_view *v)
{
	struct groups_out *g = arg;
	struct json_out *o = &g->l->o;
	char address[COAP_ADDR_TEXT_BYTES];

	g->n++;
	if (!g->begun) {
		g->begun = strcmp(v->name, g->after) == 0;
		return true;
	}
	if (api_list_full(g->l)) {
		if (!g->l->next[0])
			(void)text_copy(g->l->next, sizeof(g->l->next), span_str(g->last)); /* names are short */
		return true;
	}
	coap_multicast_address_text(v->address, address);
	json_open_object(o, NULL);
	json_str(o, "name", v->name);
	json_str(o, "interface", v->interface);
	json_str(o, "address", address);
	json_uint(o, "port", v->port);
	json_str(o, "link", v->link);
	json_uint(o, "hop_limit", v->hop_limit);
	json_bool(o, "is_up", v->is_up);
	json_str(o, "error", v->error ? strerror(v->error < 0 ? -v->error : v->error) : NULL);
	json_uint(o, "gid", v->gid);
	json_uint(o, "session_counter", v->counter);
	json_uint(o, "members", v->n_members);
	json_uint(o, "min_members", v->min_members);
	json_uint(o, "pace_ms", v->pace_ms);
	json_uint(o, "sessions", v->n_sessions);
	json_close_object(o);
	g->l->n++;
	g->last = v->name;
	return true;
}

void api_multicast_groups(struct api_call *c)
{
	const struct delivery_driver *drv = driver_or_404(c);
	struct api_list l;

	if (!drv)
		return;
	api_list_begin(c, &l);
	struct groups_out g = { .l = &l, .after = api_after(c), .begun = !api_after(c) };
	multicast_groups(drv, put_group, &g);
	api_list_end(c, &l, g.n);
}

static void reply_started(struct api_call *c)
{
	struct buf b = { 0 };

	buf_add_str(&b, "{\"ok\":true}");
	api_reply_json(c, 202, &b);
}

void api_multicast_rekey(struct api_call *c)
{
	if (!driver_or_404(c))
		return;
	struct api_deed deed = api_deed_begin(c, "multicast", "rekey");
	int r = multicast_rekey(c->admin->c.multicast, c->param[0]);
	api_deed_end(&deed, r == 0);
	if (r < 0) {
		api_reply_problem(c, r == -ENOENT ? 404 : 503, r == -ENOENT ? "no multicast group \"%.40s\"" : "group %.40s gets no new key now", c->param[0]);
		return;
	}
	reply_started(c);
}

/* ---- sessions ---- */

static void put_frames(struct json_out *o, const struct mcast_session_view *s)
{
	static const char *const names[MCAST_SENT_KIND_COUNT] = {
		[MCAST_SENT_SYSTEMATIC] = "systematic", [MCAST_SENT_PARITY] = "parity", [MCAST_SENT_TRIM] = "trim", [MCAST_SENT_STATUS] = "status",
		[MCAST_SENT_ECHO] = "echo", [MCAST_SENT_ANNOUNCE] = "announce", [MCAST_SENT_END] = "end",
	};

	json_open_object(o, "frames_by_kind");
	for (int i = 0; i < MCAST_SENT_KIND_COUNT; i++)
		json_uint(o, names[i], s->sent[i]);
	json_close_object(o);
	json_open_object(o, "member_states");
	for (int i = 0; i < MCAST_MEMBER_STATE_COUNT; i++)
		json_uint(o, mcast_member_state_name((enum mcast_member_state)i), s->members[i]);
	json_close_object(o);
}

static void put_figures(struct json_out *o, const struct mcast_session_view *s)
{
	bool is_measured = s->loss_permille != UINT16_MAX;

	json_uint(o, "generations", s->n_generations);
	json_uint(o, "fragments", s->n_fragments);
	json_uint(o, "position", s->position);
	put_decimal(o, "loss", is_measured ? s->loss : -1);
	json_uint(o, "deficit", s->deficit);
	json_uint(o, "round", s->round);
	json_uint(o, "rows_left", s->rows_left);
	json_uint(o, "frames", s->sent_total);
	put_frames(o, s);
	json_uint(o, "reports", s->reports_heard);
	json_uint(o, "reports_refused", s->reports_refused);
	json_uint(o, "unicast_blocks", s->unicast_blocks);
	json_uint(o, "airtime_ms", s->airtime_us / 1000);
	put_decimal(o, "bound_frames", is_measured ? s->lower_bound : -1);
	put_decimal(o, "ratio", s->ratio > 0 ? s->ratio : -1);
	put_known(o, "eta_s", s->eta_ms < 0 ? -1 : s->eta_ms / 1000);
	json_uint(o, "gap_ms", s->gap_ms);
	json_int(o, "credit", s->credit);
	json_uint(o, "window", s->window);
	json_uint(o, "windows", s->n_windows);
}

static void put_session(struct json_out *o, const struct multicast_session_view *v)
{
	char hex[DIGEST_HEX_BYTES], sid[MCAST_SID_HEX_BYTES];

	json_open_object(o, NULL);
	json_str(o, "id", mcast_sid_hex(&v->sid, sid));
	json_str(o, "group", v->group);
	json_str(o, "update", digest_hex(&v->manifest, hex));
	json_str(o, "image", digest_hex(&v->image, hex));
	json_str(o, "phase", v->phase);
	json_str(o, "paused", v->pause[0] ? v->pause : NULL);
	json_uint(o, "object_bytes", v->object_bytes);
	json_uint(o, "fragment_bytes", v->fragment_bytes);
	json_uint(o, "k", v->k);
	json_uint(o, "members", v->n_members);
	json_int(o, "age_s", v->age_s);
	if (v->has_session)
		put_figures(o, &v->s);
	json_close_object(o);
}

struct sessions_out {
	struct api_list *l;                    /* NULL: only the one wanted, to o */
	struct json_out *o;
	const char *wanted;
	char last[MCAST_SID_HEX_BYTES];
	size_t n;
	bool begun, is_found;
};

static bool on_session(void *arg, const struct multicast_session_view *v)
{
	struct sessions_out *s = arg;
	char id[MCAST_SID_HEX_BYTES];

	mcast_sid_hex(&v->sid, id);
	s->n++;
	if (!s->l) {
		if (strcmp(id, s->wanted) != 0)
			return true;
		put_session(s->o, v);
		s->is_found = true;
		return false;
	}
	if (!s->begun) {
		s->begun = strcmp(id, s->wanted) == 0;
		return true;
	}
	if (api_list_full(s->l)) {
		if (!s->l->next[0])
			(void)text_copy(s->l->next, sizeof(s->l->next), span_str(s->last)); /* same size */
		return true;
	}
	put_session(&s->l->o, v);
	s->l->n++;
	memcpy(s->last, id, sizeof(id));
	return true;
}

void api_multicast_sessions(struct api_call *c)
{
	const struct delivery_driver *drv = driver_or_404(c);
	struct api_list l;

	if (!drv)
		return;
	api_list_begin(c, &l);
	struct sessions_out s = { .l = &l, .wanted = api_after(c), .begun = !api_after(c) };
	multicast_sessions(drv, on_session, &s);
	api_list_end(c, &l, s.n);
}

void api_multicast_session(struct api_call *c)
{
	const struct delivery_driver *drv = driver_or_404(c);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);
	struct sessions_out s = { .o = &o, .wanted = c->param[0] };

	if (!drv)
		return;
	multicast_sessions(drv, on_session, &s);
	if (s.is_found) {
		api_reply_json(c, 200, &b);
		return;
	}
	buf_done(&b);
	api_reply_problem(c, 404, "no multicast session \"%.40s\"", c->param[0]);
}

/* ---- members ---- */

struct members_out {
	struct api_list *l;
	const char *after;
	char last[DEVICE_ID_BYTES];
	size_t n;
	bool begun;
};

static bool put_member(void *arg, const struct multicast_member_view *v)
{
	struct members_out *m = arg;
	struct json_out *o = &m->l->o;

	m->n++;
	if (!m->begun) {
		m->begun = strcmp(v->device, m->after) == 0;
		return true;
	}
	if (api_list_full(m->l)) {
		if (!m->l->next[0])
			(void)text_copy(m->l->next, sizeof(m->l->next), span_str(m->last)); /* ids fit */
		return true;
	}
	json_open_object(o, NULL);
	json_str(o, "device", v->device);
	json_str(o, "job", v->job[0] ? v->job : NULL);
	json_str(o, "state", v->state);
	json_str(o, "why", v->why);
	json_bool(o, "by_unicast", v->by_unicast);
	json_uint(o, "deficit", v->m.deficit);
	put_decimal(o, "loss", v->m.n_reports && v->m.loss_permille != UINT16_MAX ? v->m.loss_permille / 1000.0 : -1);
	json_uint(o, "reports", v->m.n_reports);
	json_uint(o, "refusal", v->m.refusal);
	json_bool(o, "is_suspect", v->m.suspect);
	json_close_object(o);
	m->l->n++;
	(void)text_copy(m->last, sizeof(m->last), span_str(v->device)); /* same size */
	return true;
}

static int sid_of(struct api_call *c, struct mcast_sid *ret)
{
	if (mcast_sid_parse(span_str(c->param[0]), ret) == 0)
		return 0;
	api_reply_problem(c, 404, "no multicast session \"%.40s\" (16 hex digits)", c->param[0]);
	return -ENOENT;
}

void api_multicast_members(struct api_call *c)
{
	const struct delivery_driver *drv = driver_or_404(c);
	struct mcast_sid sid;
	struct api_list l;

	if (!drv || sid_of(c, &sid) < 0)
		return;
	api_list_begin(c, &l);
	struct members_out m = { .l = &l, .after = api_after(c), .begun = !api_after(c) };
	if (multicast_members(drv, &sid, put_member, &m) < 0) {
		buf_done(&l.b);
		api_reply_problem(c, 404, "no multicast session \"%.40s\"", c->param[0]);
		return;
	}
	api_list_end(c, &l, m.n);
}

/* ---- by a person ---- */

static void session_act(struct api_call *c, int (*act)(struct delivery_driver *, const struct mcast_sid *), const char *action, const char *done)
{
	struct mcast_sid sid;

	if (!driver_or_404(c) || sid_of(c, &sid) < 0)
		return;
	struct api_deed deed = api_deed_begin(c, "multicast", action);
	int r = act(c->admin->c.multicast, &sid);
	api_deed_end(&deed, r == 0);
	if (r == -ENOENT) {
		api_reply_problem(c, 404, "no multicast session \"%.40s\"", c->param[0]);
	} else if (r < 0) {
		api_reply_problem(c, 409, "the session is %s already, or has ended", done);
	} else {
		reply_started(c);
	}
}

void api_multicast_pause(struct api_call *c)
{
	session_act(c, multicast_pause, "pause", "paused");
}

void api_multicast_resume(struct api_call *c)
{
	session_act(c, multicast_resume, "resume", "going on");
}

void api_multicast_abort(struct api_call *c)
{
	session_act(c, multicast_abort, "abort", "aborted");
}
