#include "delivery/smp_upload_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

static const char *const phase_names[] = {
	"new", "parameters", "list", "erase", "upload", "list-after", "transferred", "test", "applying", "reset", "restarting", "proof", "confirm",
	"list-last", "done",
};

/* ---- ends ---- */

void smp_up_finish(struct smp_upload *u, enum smp_upload_event ev, unsigned result, const char *reason)
{
	u->phase = PH_DONE;
	u->asked = false;
	u->n_flights = 0;
	memset(u->flights, 0, sizeof(u->flights));
	u->result = result;
	(void)text_copy(u->reason, sizeof(u->reason), span_sub(span_str(reason), 0, sizeof(u->reason) - 1)); /* ASCII: may be clipped */
	u->ops.event(u->ops.ctx, ev);
}

void smp_up_fail(struct smp_upload *u, unsigned result, const char *reason)
{
	smp_up_finish(u, SMP_EV_FAILED, result, reason);
}

/* What an error of the node means in Object 5's words. */
static unsigned result_of(const struct smp_error *e)
{
	if (!e->has_group)
		return e->rc == SMP_NOMEM ? RESULT_RAM : e->rc == SMP_TIMEOUT ? RESULT_LOST : e->rc == SMP_NOTSUP ? RESULT_PROTOCOL :
		       e->rc == SMP_CORRUPT ? RESULT_INTEGRITY : e->rc == SMP_BUSY || e->rc == SMP_BADSTATE ? RESULT_CONFLICT : RESULT_FAILED;
	if (e->group != SMP_GROUP_IMAGE)
		return RESULT_FAILED;
	switch (e->rc) {
	case SMP_IMAGE_NO_FREE_SLOT:
	case SMP_IMAGE_TOO_LARGE:
	case SMP_IMAGE_OVERRUN:
		return RESULT_FLASH;
	case SMP_IMAGE_BAD_MAGIC:
	case SMP_IMAGE_HEADER_SHORT:
		return RESULT_PACKAGE;
	case SMP_IMAGE_HASH_NOT_FOUND:
	case SMP_IMAGE_BAD_HASH:
		return RESULT_INTEGRITY;
	case SMP_IMAGE_PENDING:
		return RESULT_CONFLICT;
	default:
		return RESULT_FAILED;
	}
}

void smp_up_fail_error(struct smp_upload *u, const char *what, const struct smp_error *e)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "%s: ", what);
	smp_error_text(e, &b);
	smp_up_fail(u, result_of(e), buf_str(&b));
}

/* ---- commands ---- */

void smp_up_phase(struct smp_upload *u, enum phase p, struct mono now)
{
	u->phase = p;
	u->asked = false;
	u->tries = 0;
	u->due = now;
}

int64_t smp_up_answer_ms(const struct smp_upload *u, unsigned tries)
{
	int64_t ms = u->c.answer_ms;

	for (unsigned i = 0; i < tries && ms < SMP_UPLOAD_ANSWER_MAX_MS; i++)
		ms *= 2;
	return ms > SMP_UPLOAD_ANSWER_MAX_MS && u->c.answer_ms < SMP_UPLOAD_ANSWER_MAX_MS ? SMP_UPLOAD_ANSWER_MAX_MS : ms;
}

uint8_t smp_up_send(struct smp_upload *u, struct smp_header *h, const struct smp_request *req)
{
	h->version = (uint8_t)u->version;
	h->seq = u->seq++;
	buf_clear(&u->out);
	smp_request_encode(&u->out, h, req);
	if (buf_ok(&u->out)) {
		u->counts.sent++;
		u->ops.send(u->ops.ctx, buf_span(&u->out));
	}
	return h->seq;
}

/* What the phase asks; false: it asks nothing. */
static bool command_of(const struct smp_upload *u, struct smp_header *h, struct smp_request *req)
{
	*req = (struct smp_request){ 0 };
	switch (u->phase) {
	case PH_PARAMS:
		*h = (struct smp_header){ .op = SMP_READ, .group = SMP_GROUP_OS, .command = SMP_OS_PARAMS };
		return true;
	case PH_LIST:
	case PH_LIST_AFTER:
	case PH_RESTARTING:
	case PH_PROOF:
	case PH_LIST_LAST:
		*h = (struct smp_header){ .op = SMP_READ, .group = SMP_GROUP_IMAGE, .command = SMP_IMAGE_STATE };
		return true;
	case PH_ERASE:
		*h = (struct smp_header){ .op = SMP_WRITE, .group = SMP_GROUP_IMAGE, .command = SMP_IMAGE_ERASE };
		return true;
	case PH_TEST:
		*h = (struct smp_header){ .op = SMP_WRITE, .group = SMP_GROUP_IMAGE, .command = SMP_IMAGE_STATE };
		req->hash = SPAN(u->img.hash, u->img.n_hash);
		req->has_confirm = true;
		return true;
	case PH_CONFIRM: /* the running one, whichever it is: naming ours would make it permanent in the other slot if the node went back */
		*h = (struct smp_header){ .op = SMP_WRITE, .group = SMP_GROUP_IMAGE, .command = SMP_IMAGE_STATE };
		req->has_confirm = req->confirm = true;
		return true;
	case PH_RESET:
		*h = (struct smp_header){ .op = SMP_WRITE, .group = SMP_GROUP_OS, .command = SMP_OS_RESET };
		return true;
	case PH_NEW:
	case PH_UPLOAD:
	case PH_TRANSFERRED:
	case PH_APPLYING:
	case PH_DONE:
		return false;
	}
	return false;
}

void smp_up_ask(struct smp_upload *u, struct mono now)
{
	struct smp_request req;
	struct smp_header h;

	if (!command_of(u, &h, &req))
		return;
	u->counts.repeated += u->tries > 0;
	(void)smp_up_send(u, &h, &req);       /* its number is in h */
	u->ask = h;
	u->asked = true;
	int64_t ms = smp_up_answer_ms(u, u->tries);
	if (u->phase == PH_ERASE && ms < FIRST_ANSWER_MS)
		ms = FIRST_ANSWER_MS;
	u->tries++;
	u->due = mono_add_ms(now, ms);
}

/* ---- in and out ---- */

static bool is_version_refusal(const struct smp_error *e)
{
	return smp_is_base(e, SMP_TOO_OLD) || smp_is_base(e, SMP_TOO_NEW);
}

/* The node wants the other version: the same again in that. */
static void fall_back(struct smp_upload *u, struct mono now)
{
	u->version = SMP_V1;
	u->asked = false;
	u->tries = 0;
	if (u->phase == PH_UPLOAD)
		smp_up_go_on_at(u, u->acked, now);
	else
		smp_up_ask(u, now);
}

static void on_message(struct smp_upload *u, const struct smp_header *h, struct span body, struct mono now)
{
	struct flight *f = NULL;
	struct smp_reply r;

	if (u->phase == PH_UPLOAD && h->op == SMP_WRITE_REPLY && h->group == SMP_GROUP_IMAGE && h->command == SMP_IMAGE_UPLOAD) {
		for (size_t i = 0; i < SMP_UPLOAD_WINDOW_MAX && !f; i++)
			if (u->flights[i].used && u->flights[i].seq == h->seq)
				f = &u->flights[i];
	} else if (u->asked && h->op == u->ask.op + 1 && h->group == u->ask.group && h->command == u->ask.command && h->seq == u->ask.seq) {
		f = NULL;
	} else {
		u->counts.dropped++;
		return;
	}
	if ((u->phase == PH_UPLOAD && !f) || smp_reply_decode(body, &r) < 0) {
		u->counts.dropped++;           /* late, or unreadable: as if it had been lost */
		return;
	}
	u->counts.received++;
	if (is_version_refusal(&r.error) && u->version != SMP_V1) {
		fall_back(u, now);
		return;
	}
	if (!f) {
		smp_up_on_answer(u, &r, now);
		return;
	}
	struct flight answered = *f;
	f->used = false;
	u->n_flights--;
	smp_up_on_chunk(u, &answered, &r, now);
}

void smp_upload_receive(struct smp_upload *u, struct span datagram, struct mono now)
{
	struct cursor c = { .s = datagram };
	struct smp_header h;
	struct span body;

	while (cur_left(&c) > 0 && u->phase != PH_DONE && !u->is_down) {
		if (smp_message_next(&c, &h, &body) < 0) {
			u->counts.dropped++;
			return;
		}
		on_message(u, &h, body, now);
	}
}

/* Nothing came in time. */
static void command_lost(struct smp_upload *u, struct mono now)
{
	char reason[SMP_UPLOAD_REASON_BYTES];

	if (u->phase == PH_PARAMS && u->tries >= SMP_UPLOAD_TRIES / 3) { /* optional; a node may not even answer */
		smp_up_phase(u, PH_LIST, now);
		smp_up_ask(u, now);
		return;
	}
	if (u->phase == PH_RESET) { /* its answer is optional. Never twice: a second one could end the trial that the first began */
		smp_up_wait_restart(u, now);
		return;
	}
	bool is_slow = u->phase == PH_ERASE || u->phase == PH_RESTARTING || u->phase == PH_PROOF;
	if (is_slow ? !mono_before(now, u->deadline) : u->tries >= SMP_UPLOAD_TRIES) {
		(void)snprintf(reason, sizeof(reason), u->phase == PH_RESTARTING || u->phase == PH_PROOF ?
			       "the node does not answer after its restart (%s)" : "no answer (%s)", phase_names[u->phase]); /* fits */
		smp_up_fail(u, u->phase == PH_RESTARTING || u->phase == PH_PROOF ? RESULT_FAILED : RESULT_LOST, reason);
		return;
	}
	smp_up_ask(u, now);
}

/* ---- links ---- */

bool smp_upload_link_down(struct smp_upload *u, struct mono now)
{
	if (u->is_down)
		return true;
	switch (u->phase) {
	case PH_RESET: /* it may have come through, or the link it cut has carried it: a list will tell */
		if (u->asked)
			smp_up_wait_restart(u, now);
		else
			u->phase = PH_RESTARTING;
		break;
	case PH_RESTARTING:
	case PH_PROOF:
	case PH_CONFIRM:
	case PH_LIST_LAST:
	case PH_DONE:
		break;
	case PH_NEW:
	case PH_PARAMS:
	case PH_LIST:
	case PH_ERASE:
	case PH_UPLOAD:
	case PH_LIST_AFTER:
	case PH_TRANSFERRED:
	case PH_TEST:
	case PH_APPLYING:
		return false;
	}
	u->is_down = u->phase != PH_DONE;
	u->asked = false;
	return true;
}

void smp_upload_link_up(struct smp_upload *u, struct mono now)
{
	if (!u->is_down)
		return;
	u->is_down = false;
	u->tries = 0;
	if (u->phase != PH_PROOF || mono_before(u->due, now)) /* the proof has its time */
		u->due = now;
}

void smp_upload_excuse(struct smp_upload *u, int64_t ms)
{
	if (u->is_down)
		u->deadline = mono_add_ms(u->deadline, ms);
}

static void tick_down(struct smp_upload *u, struct mono now)
{
	if (!mono_before(now, u->deadline))
		smp_up_fail(u, RESULT_FAILED, u->phase == PH_RESTARTING ? "the node did not come back after its restart" :
			    "the node went away after its restart and did not come back");
}

void smp_upload_tick(struct smp_upload *u, struct mono now)
{
	if (u->is_down && u->phase != PH_DONE) {
		tick_down(u, now);
		return;
	}
	switch (u->phase) {
	case PH_NEW:
	case PH_TRANSFERRED:
	case PH_APPLYING:
	case PH_DONE:
		return;
	case PH_UPLOAD:
		smp_up_tick(u, now);
		return;
	case PH_PARAMS:
	case PH_LIST:
	case PH_ERASE:
	case PH_LIST_AFTER:
	case PH_TEST:
	case PH_RESET:
	case PH_RESTARTING:
	case PH_PROOF:
	case PH_CONFIRM:
	case PH_LIST_LAST:
		break;
	}
	if (mono_before(now, u->due))
		return;
	if (u->asked)
		command_lost(u, now);
	else
		smp_up_ask(u, now);
}

int64_t smp_upload_wait_ms(const struct smp_upload *u, struct mono now)
{
	struct mono due = u->due;

	if (u->phase == PH_NEW || u->phase == PH_TRANSFERRED || u->phase == PH_APPLYING || u->phase == PH_DONE)
		return -1;
	if (u->is_down)
		due = u->deadline;
	if (u->phase == PH_UPLOAD)
		for (size_t i = 0; i < SMP_UPLOAD_WINDOW_MAX; i++)
			if (u->flights[i].used && mono_before(u->flights[i].due, due))
				due = u->flights[i].due;
	int64_t ms = mono_diff_ms(due, now);
	return ms < 0 ? 0 : ms;
}

void smp_upload_go(struct smp_upload *u, struct mono now)
{
	if (u->phase == PH_TRANSFERRED) {
		smp_up_phase(u, u->single_slot ? PH_APPLYING : PH_TEST, now);
		if (u->single_slot)
			u->ops.event(u->ops.ctx, SMP_EV_APPLYING);
		else
			smp_up_ask(u, now);
	} else if (u->phase == PH_APPLYING) {
		smp_up_phase(u, PH_RESET, now);
		smp_up_ask(u, now);
	}
}

void smp_upload_begin(struct smp_upload *u, struct mono now)
{
	if (u->phase != PH_NEW)
		return;
	smp_up_phase(u, PH_PARAMS, now);
	smp_up_ask(u, now);
}

uint32_t smp_up_clip(uint32_t message_bytes)
{
	return message_bytes < SMP_UPLOAD_MESSAGE_BYTES_MIN ? SMP_UPLOAD_MESSAGE_BYTES_MIN :
	       message_bytes > SMP_UPLOAD_MESSAGE_BYTES_MAX ? SMP_UPLOAD_MESSAGE_BYTES_MAX : message_bytes;
}

struct smp_upload *smp_upload_new(const struct smp_upload_config *c, const struct smp_upload_image *img, const struct smp_upload_ops *ops)
{
	struct smp_upload *u = NEW(struct smp_upload);

	u->c = *c;
	u->img = *img;
	u->ops = *ops;
	u->version = c->version;
	u->window = u->window_most = 1;
	u->c.message_bytes = smp_up_clip(c->message_bytes);
	if (c->whole_bytes)
		u->c.whole_bytes = smp_up_clip(c->whole_bytes < c->message_bytes ? c->whole_bytes : c->message_bytes);
	u->only_whole = c->only_whole && c->whole_bytes;
	u->message_bytes = u->c.whole_bytes ? u->c.whole_bytes : u->c.message_bytes;
	if (u->c.window > SMP_UPLOAD_WINDOW_MAX)
		u->c.window = SMP_UPLOAD_WINDOW_MAX;
	u->c.window = u->c.window ? u->c.window : 1;
	u->c.answer_ms = u->c.answer_ms ? u->c.answer_ms : 1;
	u->chunk = NEW_N(uint8_t, SMP_UPLOAD_MESSAGE_BYTES_MAX);
	return u;
}

struct smp_upload *smp_upload_free(struct smp_upload *u)
{
	if (!u)
		return NULL;
	buf_done(&u->out);
	free(u->chunk);
	free(u);
	return NULL;
}

bool smp_upload_is_done(const struct smp_upload *u) { return u->phase == PH_DONE; }
uint64_t smp_upload_offset(const struct smp_upload *u) { return u->acked; }
unsigned smp_upload_result(const struct smp_upload *u) { return u->result; }
const char *smp_upload_reason(const struct smp_upload *u) { return u->reason; }
enum smp_version smp_upload_version(const struct smp_upload *u) { return u->version; }
bool smp_upload_only_whole(const struct smp_upload *u) { return u->only_whole; }
const char *smp_upload_phase(const struct smp_upload *u) { return phase_names[u->phase]; }
struct smp_upload_counts smp_upload_counts(const struct smp_upload *u) { return u->counts; }
