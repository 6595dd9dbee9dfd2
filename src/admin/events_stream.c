/* Server-Sent Events (WHATWG HTML, "server-sent events"): every operator event of the log, with an id so that a reader
 * that lost the connection asks for what it missed. A slow reader falls behind in the ring, and when the ring has gone
 * round loses events, never the daemon its memory; it is told so by an event of the stream itself, events-missed. */
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "admin/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"

enum { RING_EVENTS = 1000, TYPES_BYTES = 256, KEEPALIVE_MS = 15000, BEHIND_MS = 100, EVENTS_A_MS_BITS = 8 };

static const char MISSED_UNKNOWN[] = "unknown";

struct kept {
	uint64_t id;
	const char *slug;
	char *data;                            /* JSON, one line */
};

struct reader {
	struct events_stream *owner;
	struct http_stream *stream;
	char types[TYPES_BYTES];               /* ",a,b,"; empty = all */
	uint64_t at;                           /* how many events came before the one that it gets next */
	uint64_t n_lost;                       /* of the ring, and not told yet */
	struct reader *prev, *next;
};

struct events_stream {
	struct kept ring[RING_EVENTS];
	uint64_t n_events;                     /* ids are base + 1 ... base + n_events */
	uint64_t base;                         /* beyond every id of an earlier life: a reader that comes back is not fooled by them */
	struct reader *readers;
	struct loop_timer *keepalive;
	struct loop_timer *behind;             /* set while a reader is */
};

static bool is_wanted(const struct reader *r, const char *slug)
{
	char needle[64];

	if (!r->types[0])
		return true;
	(void)snprintf(needle, sizeof(needle), ",%s,", slug); /* slugs are short */
	return strstr(r->types, needle) != NULL;
}

/* An event of the stream itself, whatever types are wanted; without an id, so that Last-Event-ID stays. */
static int send_missed(struct reader *r, const char *n)
{
	_cleanup_buf_ struct buf data = { 0 }, text = { 0 }, b = { 0 };
	struct json_out o = json_writer(&data);

	if (strcmp(n, MISSED_UNKNOWN) == 0)
		buf_add_str(&text, "events may have been missed: the daemon was restarted in between");
	else
		buf_printf(&text, "%s event(s) before this were missed", n);
	json_open_object(&o, NULL);
	json_str(&o, "event", "events-missed");
	api_put_wall(&o, "at", wall_now());
	json_int(&o, "priority", LOG_WARNING);
	json_str(&o, "text", buf_str(&text));
	json_open_object(&o, "fields");
	json_str(&o, "GW_MISSED", n);
	json_close_object(&o);
	json_close_object(&o);
	buf_printf(&b, "event: events-missed\ndata: %s\n\n", buf_str(&data));
	return http_stream_send(r->stream, buf_span(&b));
}

/* Is there nothing left to tell of what it lost? */
static bool tell_lost(struct reader *r)
{
	char n[24];

	if (r->n_lost == 0)
		return true;
	(void)snprintf(n, sizeof(n), "%llu", (unsigned long long)r->n_lost); /* fits */
	if (send_missed(r, n) < 0)
		return false;
	r->n_lost = 0;
	return true;
}

static bool send_event(struct reader *r, const struct kept *k)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (!is_wanted(r, k->slug))
		return true;
	buf_printf(&b, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)k->id, k->slug, k->data);
	if (b.n > HTTP_STREAM_BYTES_MAX) {     /* would never fit */
		r->n_lost++;
		return true;
	}
	return http_stream_send(r->stream, buf_span(&b)) == 0;
}

static uint64_t oldest_kept(const struct events_stream *s)
{
	return s->n_events > RING_EVENTS ? s->n_events - RING_EVENTS : 0;
}

/* As much as its buffer takes. What does not fit waits in the ring, as long as that lasts. */
static void send_pending(struct events_stream *s, struct reader *r)
{
	uint64_t oldest = oldest_kept(s);

	if (r->at < oldest) {
		metric_add(METRIC_EVENTS_DROPPED, (int64_t)(oldest - r->at));
		r->n_lost += oldest - r->at;
		r->at = oldest;
	}
	if (!tell_lost(r)) {
		loop_timer_set(s->behind, BEHIND_MS);
		return;
	}
	for (; r->at < s->n_events; r->at++) {
		if (!send_event(r, &s->ring[r->at % RING_EVENTS])) {
			loop_timer_set(s->behind, BEHIND_MS);
			return;
		}
	}
}

static void send_all_pending(void *ctx)
{
	struct events_stream *s = ctx;
	struct reader *r, *tmp;

	DL_FOREACH_SAFE(s->readers, r, tmp)
		send_pending(s, r);
}

static void on_event(void *ctx, const struct log_record *rec)
{
	struct events_stream *s = ctx;
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (rec->event == EV_GENERIC)
		return;
	struct kept *k = &s->ring[s->n_events % RING_EVENTS];
	free(k->data);
	k->id = s->base + ++s->n_events;
	k->slug = event_slug(rec->event);
	json_open_object(&o, NULL);
	json_str(&o, "event", k->slug);
	api_put_wall(&o, "at", rec->at);
	json_int(&o, "priority", rec->priority);
	json_str(&o, "text", rec->text);
	json_open_object(&o, "fields");
	for (size_t i = 0; i < rec->n_fields; i++)
		json_str(&o, rec->fields[i].name, rec->fields[i].value);
	json_close_object(&o);
	json_close_object(&o);
	k->data = mem_strdup(buf_str(&b));
	buf_done(&b);
	send_all_pending(s);
}

static void on_keepalive(void *ctx)
{
	struct events_stream *s = ctx;
	struct reader *r, *tmp;

	DL_FOREACH_SAFE(s->readers, r, tmp)
		(void)http_stream_send(r->stream, SPAN_LIT(": still here\n\n")); /* a slow reader needs none */
	loop_timer_set(s->keepalive, KEEPALIVE_MS);
}

static void on_closed(void *ctx)
{
	struct reader *r = ctx;

	DL_DELETE(r->owner->readers, r);
	free(r);
}

/* How many events came before the one that follows id; the oldest kept at least. */
static uint64_t position_after(const struct events_stream *s, uint64_t id)
{
	uint64_t oldest = oldest_kept(s);
	uint64_t at = id > s->base ? id - s->base : 0;

	return at > s->n_events || at < oldest ? oldest : at; /* an id from the future: of a clock that was set back */
}

/* What a reader that comes back with an id cannot have any more: "" nothing, a number, or unknown when the id is of an earlier life. */
static void text_missed(const struct events_stream *s, uint64_t id, char *ret, size_t ret_bytes)
{
	uint64_t from = position_after(s, id), seen = id - s->base;

	ret[0] = 0;
	if (id < s->base || seen > s->n_events)
		(void)snprintf(ret, ret_bytes, "%s", MISSED_UNKNOWN); /* fits */
	else if (from > seen)
		(void)snprintf(ret, ret_bytes, "%llu", (unsigned long long)(from - seen)); /* fits */
}

/* Where the last n that this reader wants begin. */
static uint64_t position_last(const struct events_stream *s, const struct reader *want, uint64_t n)
{
	uint64_t oldest = position_after(s, 0), at = s->n_events;

	while (n > 0 && at > oldest)
		n -= is_wanted(want, s->ring[--at % RING_EVENTS].slug);
	return at;
}

static void take_types(struct reader *r, const char *types)
{
	if (types && types[0])
		(void)snprintf(r->types, sizeof(r->types), ",%s,", types); /* clipped: fewer events */
}

void events_stream_serve(struct events_stream *s, struct http_exchange *x, const char *last_event_id, const char *last, const char *types)
{
	struct reader *r = NEW(struct reader);
	char missed[24] = "";
	uint64_t n;

	r->owner = s;
	r->at = s->n_events;
	take_types(r, types);
	if (last_event_id && text_parse_u64(span_str(last_event_id), UINT64_MAX, &n, 0) == 0) {
		r->at = position_after(s, n);
		text_missed(s, n, missed, sizeof(missed));
	} else if (last && text_parse_u64(span_str(last), RING_EVENTS, &n, 0) == 0) {
		r->at = position_last(s, r, n);
	}
	http_reply_header(x, "Cache-Control", "no-store");
	r->stream = http_stream_open(x, "text/event-stream", on_closed, r);
	if (!r->stream) {
		free(r);
		return;
	}
	DL_APPEND(s->readers, r);
	(void)http_stream_send(r->stream, SPAN_LIT("retry: 2000\n\n")); /* the first bytes always fit */
	if (missed[0])
		(void)send_missed(r, missed); /* likewise */
	send_pending(s, r);
}

/* For those who ask instead of listening, CoAP among them: the last limit= events, or those after= an id. */
void api_events_recent(struct api_call *c)
{
	struct events_stream *s = c->admin->events;
	const char *after = api_after(c);
	struct reader want = { 0 };
	uint64_t id = 0;
	struct api_list l;

	if (after && text_parse_u64(span_str(after), UINT64_MAX, &id, 0) < 0) {
		api_reply_problem(c, 400, "after= is the id of an event");
		return;
	}
	take_types(&want, c->query(c, "types"));
	api_list_begin(c, &l);
	for (uint64_t at = after ? position_after(s, id) : position_last(s, &want, l.limit); at < s->n_events; at++) {
		const struct kept *k = &s->ring[at % RING_EVENTS];
		if (!is_wanted(&want, k->slug))
			continue;
		if (api_list_full(&l)) {
			(void)snprintf(l.next, sizeof(l.next), "%llu", (unsigned long long)id); /* fits */
			break;
		}
		id = k->id;
		json_open_object(&l.o, NULL);
		json_uint(&l.o, "id", id);
		json_raw(&l.o, "data", span_str(k->data));
		json_close_object(&l.o);
		l.n++;
	}
	api_list_end(c, &l, s->n_events < RING_EVENTS ? s->n_events : RING_EVENTS);
}

struct events_stream *events_stream_open(struct loop *l)
{
	struct events_stream *s = NEW(struct events_stream);

	s->base = (uint64_t)wall_now().ms << EVENTS_A_MS_BITS;
	s->keepalive = loop_timer_new(l, on_keepalive, s);
	s->behind = loop_timer_new(l, send_all_pending, s);
	loop_timer_set(s->keepalive, KEEPALIVE_MS);
	log_set_observer(on_event, s);
	return s;
}

struct events_stream *events_stream_close(struct events_stream *s)
{
	struct reader *r, *tmp;

	if (!s)
		return NULL;
	log_set_observer(NULL, NULL);
	loop_timer_free(s->keepalive);
	loop_timer_free(s->behind);
	DL_FOREACH_SAFE(s->readers, r, tmp) {
		http_stream_close(r->stream);
		DL_DELETE(s->readers, r);
		free(r);
	}
	for (size_t i = 0; i < RING_EVENTS; i++)
		free(s->ring[i].data);
	free(s);
	return NULL;
}
