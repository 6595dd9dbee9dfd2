#include "delivery/smp_upload_internal.h"

#include <errno.h>
#include <stdio.h>

void smp_up_begin(struct smp_upload *u, struct mono now)
{
	smp_up_phase(u, PH_UPLOAD, now);
	u->next = u->acked = 0;
	u->started = false;
	u->n_flights = 0;
	memset(u->flights, 0, sizeof(u->flights));
	u->deadline = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
}

static size_t chunk_bytes(const struct smp_upload *u, uint64_t off)
{
	size_t head = CHUNK_HEAD_BYTES + (off == 0 ? FIRST_HEAD_BYTES : 0);
	uint64_t left = u->img.bytes - off;
	/* The first one goes whole: it may take long, and should not be taken for one that was not put together. */
	size_t message = off == 0 && u->c.whole_bytes && u->c.whole_bytes < u->message_bytes ? u->c.whole_bytes : u->message_bytes;
	size_t n = message > head ? message - head : 1;

	if (off == 0 && n < FIRST_DATA_BYTES_MIN)
		n = FIRST_DATA_BYTES_MIN;
	return n < left ? n : (size_t)left;
}

static struct flight *flight_free(struct smp_upload *u)
{
	for (size_t i = 0; i < SMP_UPLOAD_WINDOW_MAX; i++)
		if (!u->flights[i].used)
			return &u->flights[i];
	return NULL;
}

static void drop_flights(struct smp_upload *u)
{
	memset(u->flights, 0, sizeof(u->flights));
	u->n_flights = 0;
}

static bool send_chunk(struct smp_upload *u, struct mono now)
{
	struct flight *f = flight_free(u);
	size_t n = chunk_bytes(u, u->next);
	struct smp_header h = { .op = SMP_WRITE, .group = SMP_GROUP_IMAGE, .command = SMP_IMAGE_UPLOAD };
	struct smp_request req = { .has_off = true, .off = u->next, .image = u->next == 0 ? u->c.slot_image : 0, .data = SPAN(u->chunk, n) };

	int r = u->ops.read(u->ops.ctx, u->next, u->chunk, n);
	if (r == -EAGAIN) {
		u->due = mono_add_ms(now, READ_AGAIN_MS);
		return false;
	}
	if (r < 0 || (size_t)r != n) {
		smp_up_fail(u, RESULT_FAILED, "the image cannot be read here");
		return false;
	}
	if (u->next == 0) {
		req.has_len = true;
		req.len = u->img.bytes;
		req.sha = SPAN_OF(u->img.sha.b);
	}
	uint8_t seq = smp_up_send(u, &h, &req);
	int64_t ms = smp_up_answer_ms(u, u->tries);
	if (u->next == 0 && ms < FIRST_ANSWER_MS && u->tries)
		ms = FIRST_ANSWER_MS;          /* it may be erasing: not too many questions */
	*f = (struct flight){ .used = true, .seq = seq, .off = u->next, .n = n, .due = mono_add_ms(now, ms) };
	u->n_flights++;
	u->next += n;
	return true;
}

/* Before the node accepted the first chunk there is one in flight; then as many as it has buffers. */
void smp_up_fill(struct smp_upload *u, struct mono now)
{
	uint32_t window = u->started ? u->window : 1;

	u->due = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
	while (u->phase == PH_UPLOAD && u->n_flights < window && u->next < u->img.bytes)
		if (!send_chunk(u, now))
			return;
}

/* Something was lost, or is too much: one chunk at a time, until so many were taken in order. */
static void narrow(struct smp_upload *u)
{
	u->window = 1;
	u->n_in_order = 0;
}

static void widen(struct smp_upload *u)
{
	if (u->window >= u->window_most || ++u->n_in_order < SMP_UPLOAD_WIDEN_AFTER)
		return;
	u->window++;
	u->n_in_order = 0;
}

/* What is in flight is forgotten, and it goes on at off, with one chunk at a time. */
void smp_up_go_on_at(struct smp_upload *u, uint64_t off, struct mono now)
{
	drop_flights(u);
	narrow(u);
	u->next = off;
	if (off == 0) {
		u->started = false;
		u->deadline = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
	}
	smp_up_fill(u, now);
}

void smp_up_progress(struct smp_upload *u, uint64_t off)
{
	bool moved = off > u->acked;

	u->acked = off;
	if (moved)
		u->tries = 0;
	if (off > u->best) {
		u->best = off;
		u->rewinds = 0;
	}
	if (moved || !u->announced) {
		u->announced = true;
		u->ops.event(u->ops.ctx, SMP_EV_PROGRESS);
	}
}

static bool is_in_parts(const struct smp_upload *u)
{
	return u->c.whole_bytes && u->message_bytes > u->c.whole_bytes;
}

/* A node that does not put messages together is not asked to any more. */
static bool give_up_parts(struct smp_upload *u)
{
	if (!is_in_parts(u) || u->took_parts)
		return false;
	u->only_whole = true;
	u->message_bytes = u->c.whole_bytes;
	return true;
}

static void upload_lost(struct smp_upload *u, struct mono now)
{
	char reason[SMP_UPLOAD_REASON_BYTES];
	bool is_first = u->acked == 0 && !u->started;

	u->tries++;
	u->counts.repeated++;
	if (is_first ? !mono_before(now, u->deadline) && u->tries > 2 : u->tries >= SMP_UPLOAD_TRIES) {
		(void)snprintf(reason, sizeof(reason), "no answer to the upload at byte %llu", (unsigned long long)u->acked); /* fits */
		smp_up_fail(u, RESULT_LOST, reason);
		return;
	}
	if (u->started && u->tries >= PARTS_TRIES && give_up_parts(u))
		u->tries = 0;
	narrow(u);
	drop_flights(u);
	u->next = u->acked;
	smp_up_fill(u, now);
}

static bool upload_refused(struct smp_upload *u, const struct smp_error *e, struct mono now)
{
	if (smp_is_base(e, SMP_BUSY) && ++u->tries < SMP_UPLOAD_TRIES) {
		drop_flights(u);
		u->next = u->acked;
		narrow(u);
		u->due = mono_add_ms(now, SMP_UPLOAD_BUSY_MS);
		return true;
	}
	if ((smp_is_base(e, SMP_CORRUPT) || smp_is_base(e, SMP_INVAL)) && u->started && give_up_parts(u)) {
		smp_up_go_on_at(u, u->acked, now);
		return true;
	}
	if ((smp_is_base(e, SMP_NOMEM) || smp_is_base(e, SMP_MSGSIZE)) && u->message_bytes > SMP_UPLOAD_MESSAGE_BYTES_MIN) {
		u->message_bytes /= 2;
		if (u->message_bytes < SMP_UPLOAD_MESSAGE_BYTES_MIN)
			u->message_bytes = SMP_UPLOAD_MESSAGE_BYTES_MIN;
		smp_up_go_on_at(u, u->acked, now);
		return true;
	}
	/* Old servers want an occupied slot erased first. */
	bool is_occupied = smp_is_image(e, SMP_IMAGE_NO_FREE_SLOT) || smp_is_base(e, SMP_NOMEM) || smp_is_base(e, SMP_BADSTATE);
	if (is_occupied && !u->started && !u->erased) {
		u->erased = true;
		smp_up_phase(u, PH_ERASE, now);
		u->deadline = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
		return true;
	}
	return false;
}

static void upload_done(struct smp_upload *u, const struct smp_reply *r, struct mono now)
{
	drop_flights(u);
	if (r->has_match && !r->match) {
		smp_up_fail(u, RESULT_INTEGRITY, "the node received something else than was sent (match: false)");
		return;
	}
	smp_up_phase(u, PH_LIST_AFTER, now);
	smp_up_ask(u, now);
}

/* An answer to chunk f: what the node wants next decides. */
void smp_up_on_chunk(struct smp_upload *u, const struct flight *f, const struct smp_reply *r, struct mono now)
{
	if (smp_failed(&r->error)) {
		if (!upload_refused(u, &r->error, now))
			smp_up_fail_error(u, "upload refused", &r->error);
		return;
	}
	if (!r->has_off || r->off > u->img.bytes) {
		smp_up_fail(u, RESULT_FAILED, "the node answers the upload with no offset, or one past the end");
		return;
	}
	bool in_order = r->off == f->off + f->n;
	bool was_started = u->started;
	u->started = true;
	if (r->off == u->img.bytes) {
		smp_up_progress(u, r->off);
		if (u->phase == PH_UPLOAD)
			upload_done(u, r, now);
		return;
	}
	if (!in_order) {
		/* A resume at the very first is no fault; all else is counted until it gets further than before. */
		u->counts.rewinds++;
		if (was_started || r->off == 0)
			u->rewinds++;
		if (u->rewinds > SMP_UPLOAD_REWINDS_MAX) {
			smp_up_fail(u, RESULT_FAILED, "the node sends the upload back again and again without progress");
			return;
		}
		if (r->off == 0 && u->best > 0) {
			/* It knows no upload any more: it restarted, or took the last chunk and only its answer was lost. */
			drop_flights(u);
			u->acked = 0;
			smp_up_phase(u, PH_LIST, now);
			smp_up_ask(u, now);
			return;
		}
		smp_up_progress(u, r->off);
		if (was_started || r->off == 0) {
			smp_up_go_on_at(u, r->off, now);
			return;
		}
		drop_flights(u);
		u->next = r->off;
		smp_up_fill(u, now);
		return;
	}
	u->took_parts |= u->c.whole_bytes && f->n + CHUNK_HEAD_BYTES > u->c.whole_bytes;
	widen(u);
	smp_up_progress(u, r->off);
	if (u->phase == PH_UPLOAD)
		smp_up_fill(u, now);
}

void smp_up_tick(struct smp_upload *u, struct mono now)
{
	for (size_t i = 0; i < SMP_UPLOAD_WINDOW_MAX; i++)
		if (u->flights[i].used && !mono_before(now, u->flights[i].due)) {
			upload_lost(u, now);
			return;
		}
	if (!mono_before(now, u->due))         /* the image could not be read, or the node was busy */
		smp_up_fill(u, now);
}
