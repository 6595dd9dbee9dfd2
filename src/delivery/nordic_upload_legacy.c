#include "delivery/nordic_upload_internal.h"

#include <stdio.h>

static void ask(struct nordic_upload *u, enum nordic_phase p, enum nordic_legacy_op op, uint16_t arg, struct mono now)
{
	uint8_t out[NORDIC_REQUEST_BYTES_MAX];
	size_t n = legacy_request_encode(op, arg, out);

	nordic_up_wait(u, p, u->c.answer_ms, now);
	u->n_writes++;
	u->ops.control(u->ops.ctx, SPAN(out, n));
}

void nordic_up_legacy_begin(struct nordic_upload *u, struct mono now)
{
	ask(u, NP_START, LEGACY_START, legacy_kind_bits(nordic_up_part(u)->kind), now);
}

void nordic_up_legacy_activate(struct nordic_upload *u, struct mono now)
{
	ask(u, NP_ACTIVATE, LEGACY_ACTIVATE, 0, now);
}

/* The node restarts without an answer, and the next link begins anew. */
static void reset(struct nordic_upload *u, const char *why, struct mono now)
{
	if (u->resets++ >= NORDIC_OBJECT_TRIES)
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_FAILED, why);
	else
		ask(u, NP_RESET, LEGACY_RESET, 0, now);
}

static void refused(struct nordic_upload *u, const char *what, uint8_t status)
{
	char reason[NORDIC_REASON_BYTES];
	unsigned result = status == LEGACY_BAD_SIZE ? NORDIC_RESULT_FLASH : status == LEGACY_BAD_CRC ? NORDIC_RESULT_INTEGRITY :
			  status == LEGACY_NOT_SUPPORTED ? NORDIC_RESULT_PROTOCOL : NORDIC_RESULT_FAILED;

	(void)snprintf(reason, sizeof(reason), "%s of the %s: %s", what, nordic_kind_name(nordic_up_part(u)->kind), legacy_status_text(status)); /* fits */
	nordic_up_finish(u, NORDIC_EV_FAILED, result, reason);
}

static void send_begin(struct nordic_upload *u, enum nordic_phase p, struct span what, struct mono now)
{
	u->sending = what;
	u->start = 0;
	u->end = what.n;
	nordic_up_seek(u, 0);
	u->unreceipted = 0;
	nordic_up_wait(u, p, u->c.answer_ms, now);
	nordic_up_legacy_send(u, now);
}

static void send_sizes(struct nordic_upload *u, struct mono now)
{
	uint8_t sizes[LEGACY_SIZES_BYTES];

	legacy_sizes_encode(nordic_up_part(u), sizes);
	nordic_up_wait(u, NP_SIZES, NORDIC_EXECUTE_MS, now);   /* it erases its flash first */
	u->is_full = u->ops.packet(u->ops.ctx, SPAN_OF(sizes)) < 0;
	u->sent = u->is_full ? 0 : LEGACY_SIZES_BYTES;
}

void nordic_up_legacy_send(struct nordic_upload *u, struct mono now)
{
	if (u->is_full)
		return;
	if (u->phase == NP_SIZES && u->sent == 0)
		send_sizes(u, now);
	else if (u->phase == NP_INIT_BEGIN && nordic_up_pump(u, now))
		nordic_up_wait(u, NP_INIT_SETTLE, SETTLE_MS, now);     /* the next command must not overtake it */
	else if (u->phase == NP_LEGACY_SEND && nordic_up_pump(u, now))
		nordic_up_wait(u, NP_LEGACY_SEND, NORDIC_EXECUTE_MS, now);     /* all went; it says when it has written it */
}

/* What was validated was told to be activated; there is no other answer than the restart. */
void nordic_up_legacy_activated(struct nordic_upload *u)
{
	if (nordic_up_is_last(u)) {
		nordic_up_finish(u, NORDIC_EV_DONE, NORDIC_RESULT_OK, "");
		return;
	}
	u->phase = NP_AWAY;
	nordic_up_next_part(u);
	u->ops.event(u->ops.ctx, NORDIC_EV_RESTARTS);
}

/* The commands that have no answer of their own go on here, when the node has the latest of them. */
void nordic_up_legacy_written(struct nordic_upload *u, struct mono now)
{
	if (u->n_writes > 0)
		u->n_writes--;
	if (u->n_writes > 0 || u->phase == NP_DONE)
		return;
	if (u->phase == NP_START) {
		send_sizes(u, now);
	} else if (u->phase == NP_INIT_BEGIN) {
		send_begin(u, NP_INIT_BEGIN, buf_span(&nordic_up_part(u)->init), now);
	} else if (u->phase == NP_LEGACY_RECEIPTS) {
		ask(u, NP_RECEIVE, LEGACY_RECEIVE, 0, now);
	} else if (u->phase == NP_RECEIVE) {
		send_begin(u, NP_LEGACY_SEND, buf_span(&nordic_up_part(u)->image), now);
	} else if (u->phase == NP_RESET) {
		nordic_up_again(u);
	} else if (u->phase == NP_ACTIVATE) {
		nordic_up_legacy_activated(u);
	}
}

static void on_status(struct nordic_upload *u, const struct legacy_response *r, struct mono now)
{
	bool is_ok = r->status == LEGACY_OK;

	if (r->op == LEGACY_START && (u->phase == NP_SIZES || u->phase == NP_START)) {
		if (r->status == LEGACY_BAD_STATE)     /* an upload that somebody left; it cannot be gone on with */
			reset(u, "the node does not leave an upload that was begun before", now);
		else if (r->status == LEGACY_NOT_SUPPORTED)
			nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_PROTOCOL, "the bootloader is older than SDK 7, or takes no such image");
		else if (is_ok)
			ask(u, NP_INIT_BEGIN, LEGACY_INIT, 0, now);
		else
			refused(u, "start", r->status);
	} else if (r->op == LEGACY_INIT && u->phase == NP_INIT_END) {
		if (is_ok)
			ask(u, NP_LEGACY_RECEIPTS, LEGACY_SET_PRN, (uint16_t)u->prn, now);
		else
			refused(u, "the init packet", r->status);
	} else if (r->op == LEGACY_RECEIVE && (u->phase == NP_LEGACY_SEND || u->phase == NP_RECEIVE)) {
		if (is_ok && u->phase == NP_LEGACY_SEND && u->sent == u->end) {
			nordic_up_progress(u, u->sent);
			ask(u, NP_VALIDATE, LEGACY_VALIDATE, 0, now);
			u->due = mono_add_ms(now, NORDIC_EXECUTE_MS);
		} else {
			refused(u, "upload", is_ok ? LEGACY_FAILED : r->status);
		}
	} else if (r->op == LEGACY_VALIDATE && u->phase == NP_VALIDATE) {
		if (is_ok)
			nordic_up_complete(u, now);
		else if (r->status == LEGACY_BAD_CRC)
			reset(u, "the image arrives damaged again and again", now);
		else
			refused(u, "validation", r->status);
	}
}

void nordic_up_legacy_receive(struct nordic_upload *u, struct span value, struct mono now)
{
	struct legacy_response r;

	if (legacy_response_decode(value, &r) < 0)
		return;                        /* nothing of ours */
	if (!r.is_receipt) {
		on_status(u, &r, now);
		return;
	}
	if (u->phase != NP_LEGACY_SEND || r.bytes > u->sent)
		return;
	u->counts.receipts++;
	u->unreceipted = (uint32_t)((u->sent - r.bytes + u->packet_bytes - 1) / u->packet_bytes);
	nordic_up_progress(u, r.bytes);
	nordic_up_legacy_send(u, now);
}

void nordic_up_legacy_late(struct nordic_upload *u, struct mono now)
{
	if (u->phase == NP_INIT_SETTLE) {
		ask(u, NP_INIT_END, LEGACY_INIT, 1, now);
	} else if (u->is_paused) {             /* a turn of packets was over */
		nordic_up_wait(u, u->phase, u->c.answer_ms, now);
		nordic_up_legacy_send(u, now);
	} else {
		nordic_up_again(u);
	}
}
