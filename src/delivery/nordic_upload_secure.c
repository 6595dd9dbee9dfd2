#include "delivery/nordic_upload_internal.h"

#include <stdio.h>

#include "codec/zip.h"

/* ---- asking ---- */

static void ask(struct nordic_upload *u, enum nordic_phase p, const struct nordic_request *r, struct mono now)
{
	uint8_t out[NORDIC_REQUEST_BYTES_MAX];
	size_t n = nordic_request_encode(r, out);

	nordic_up_wait(u, p, r->op == NORDIC_EXECUTE ? NORDIC_EXECUTE_MS : u->c.answer_ms, now);
	u->ops.control(u->ops.ctx, SPAN(out, n));
}

static void ask_execute(struct nordic_upload *u, enum nordic_phase p, struct mono now)
{
	ask(u, p, &(struct nordic_request){ .op = NORDIC_EXECUTE }, now);
}

static void ask_crc(struct nordic_upload *u, enum nordic_phase p, struct mono now)
{
	ask(u, p, &(struct nordic_request){ .op = NORDIC_CRC_GET }, now);
}

static void ask_prn(struct nordic_upload *u, enum nordic_phase p, uint32_t prn, struct mono now)
{
	ask(u, p, &(struct nordic_request){ .op = NORDIC_SET_PRN, .prn = (uint16_t)prn }, now);
}

static void create_init(struct nordic_upload *u, struct mono now)
{
	nordic_up_seek(u, 0);
	ask(u, NP_CREATE_INIT, &(struct nordic_request){ .op = NORDIC_CREATE, .object = NORDIC_COMMAND, .bytes = (uint32_t)u->end }, now);
}

/* The next data object starts at sent. */
static void create_data(struct nordic_upload *u, struct mono now)
{
	size_t left = u->sending.n - u->sent;

	u->start = u->sent;
	u->end = u->start + (left < u->object_bytes ? left : u->object_bytes);
	u->counts.objects++;
	ask(u, NP_CREATE_DATA, &(struct nordic_request){ .op = NORDIC_CREATE, .object = NORDIC_DATA, .bytes = (uint32_t)(u->end - u->start) }, now);
}

static void start_init(struct nordic_upload *u)
{
	u->sending = buf_span(&nordic_up_part(u)->init);
	u->start = 0;
	u->end = u->sending.n;
	nordic_up_seek(u, 0);
}

void nordic_up_secure_begin(struct nordic_upload *u, struct mono now)
{
	start_init(u);
	ask(u, NP_SELECT_INIT, &(struct nordic_request){ .op = NORDIC_SELECT, .object = NORDIC_COMMAND }, now);
}

static void begin_data(struct nordic_upload *u, struct mono now)
{
	u->sending = buf_span(&nordic_up_part(u)->image);
	nordic_up_seek(u, 0);
	ask_prn(u, NP_RECEIPTS, u->prn, now);
}

/* ---- what goes wrong ---- */

static unsigned result_of(const struct nordic_response *r)
{
	if (r->result == NORDIC_NO_RESOURCES)
		return NORDIC_RESULT_RAM;
	if (r->result == NORDIC_BAD_OP || r->result == NORDIC_BAD_TYPE)
		return NORDIC_RESULT_PROTOCOL;
	if (r->result == NORDIC_BAD_OBJECT)
		return NORDIC_RESULT_INTEGRITY;
	if (r->result != NORDIC_EXTENDED)
		return NORDIC_RESULT_FAILED;
	switch (r->extended) {
	case NORDIC_EX_HASH:
	case NORDIC_EX_SIGNATURE:
		return NORDIC_RESULT_INTEGRITY;
	case NORDIC_EX_SPACE:
		return NORDIC_RESULT_FLASH;
	case NORDIC_EX_VERSION:
	case NORDIC_EX_NONE:
	case NORDIC_EX_CODE:
		return NORDIC_RESULT_FAILED;
	default:
		return NORDIC_RESULT_PACKAGE;
	}
}

static void refused(struct nordic_upload *u, const char *what, const struct nordic_response *r)
{
	char reason[NORDIC_REASON_BYTES];

	(void)snprintf(reason, sizeof(reason), "%s of the %s: %s", what, nordic_kind_name(nordic_up_part(u)->kind),
		       nordic_error_text(r->result, r->extended)); /* may be clipped */
	nordic_up_finish(u, NORDIC_EV_FAILED, result_of(r), reason);
}

/* The whole image again, from its init packet: once. */
static void part_again(struct nordic_upload *u, struct mono now)
{
	if (u->part_tries++ > 0) {
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_INTEGRITY, "the image arrives damaged again and again");
		return;
	}
	u->object_tries = 0;
	start_init(u);
	ask_prn(u, NP_QUIET, 0, now);
}

/* The object under way arrived damaged: again, with more receipts, so that the node is less likely to be overrun. */
static void object_again(struct nordic_upload *u, struct mono now)
{
	bool is_init = u->phase == NP_CRC_INIT;

	u->counts.repeated++;
	if (++u->object_tries > NORDIC_OBJECT_TRIES) {
		if (is_init)
			nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_INTEGRITY, "the init packet arrives damaged again and again");
		else
			part_again(u, now);
		return;
	}
	if (is_init) {
		create_init(u, now);
		return;
	}
	u->clean_objects = 0;
	u->prn = u->prn > 1 ? u->prn / 2 : u->prn == 0 ? NORDIC_PRN_DEFAULT : 1;
	nordic_up_seek(u, u->start);
	ask_prn(u, NP_PACE, u->prn, now);
}

/* ---- sending ---- */

void nordic_up_secure_send(struct nordic_upload *u, struct mono now)
{
	if ((u->phase != NP_SEND_INIT && u->phase != NP_SEND_DATA) || u->is_full || !nordic_up_pump(u, now))
		return;
	u->crc_tries = 0;
	u->crc_offset = 0;
	ask_crc(u, u->phase == NP_SEND_INIT ? NP_CRC_INIT : NP_CRC_DATA, now);
}

static void send_from_here(struct nordic_upload *u, enum nordic_phase p, struct mono now)
{
	u->unreceipted = 0;
	nordic_up_wait(u, p, u->c.answer_ms, now);
	nordic_up_secure_send(u, now);
}

/* What the node says it has is a beginning of what was sent. */
static bool is_ours(const struct nordic_upload *u, const struct nordic_response *r)
{
	if (r->offset > u->sent)
		return false;
	return r->crc == (r->offset == u->sent ? u->crc : zip_crc32(0, span_sub(u->sending, 0, r->offset)));
}

static void on_receipt(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	u->counts.receipts++;
	if (!is_ours(u, r) || r->offset < u->start) {
		object_again(u, now);
		return;
	}
	u->unreceipted = (uint32_t)((u->sent - r->offset + u->packet_bytes - 1) / u->packet_bytes);
	nordic_up_progress(u, r->offset);
	nordic_up_secure_send(u, now);
}

static void object_executed(struct nordic_upload *u, struct mono now)
{
	bool is_slowed = u->prn > 0 && u->prn < u->c.prn;

	u->clean_objects = u->object_tries == 0 ? u->clean_objects + 1 : 0;
	u->object_tries = 0;
	if (u->sent < u->sending.n && is_slowed && u->clean_objects >= CLEAN_OBJECTS) {
		u->clean_objects = 0;
		u->prn = u->prn * 2 < u->c.prn ? u->prn * 2 : u->c.prn;
		ask_prn(u, NP_PACE, u->prn, now);
		return;
	}
	if (u->sent < u->sending.n) {
		create_data(u, now);
		return;
	}
	nordic_up_next_part(u);
	u->phase = NP_AWAY;
	u->ops.event(u->ops.ctx, NORDIC_EV_RESTARTS);
}

/* The object is whole. The last one of the last image waits for its owner. */
static void object_sent(struct nordic_upload *u, struct mono now)
{
	if (u->sent == u->sending.n)
		nordic_up_complete(u, now);
	else
		ask_execute(u, NP_EXECUTE_DATA, now);
}

void nordic_up_secure_activate(struct nordic_upload *u, struct mono now)
{
	ask_execute(u, nordic_up_is_last(u) ? NP_ACTIVATE : NP_EXECUTE_DATA, now);
}

static void on_crc(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	if (!is_ours(u, r) || r->offset < u->start) {
		object_again(u, now);
		return;
	}
	if (r->offset < u->sent) {             /* the question overtook packets, or the last ones were lost */
		bool has_grown = r->offset > u->crc_offset;

		u->crc_offset = r->offset;
		if (!has_grown && ++u->crc_tries > CRC_AGAIN_MAX) {
			object_again(u, now);
			return;
		}
		u->is_paused = true;
		u->due = mono_add_ms(now, CRC_AGAIN_MS);
		return;
	}
	if (u->phase == NP_CRC_INIT) {
		u->object_tries = 0;
		ask_execute(u, NP_EXECUTE_INIT, now);
		return;
	}
	nordic_up_progress(u, r->offset);
	if (u->sent < u->end)                  /* it was asked because a receipt was missing */
		send_from_here(u, NP_SEND_DATA, now);
	else
		object_sent(u, now);
}

/* ---- what the node has already ---- */

static void on_selected_init(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	char reason[NORDIC_REASON_BYTES];

	if (u->sending.n > r->max_bytes) {
		(void)snprintf(reason, sizeof(reason), "the init packet has %zu bytes, the node takes %u", u->sending.n, r->max_bytes); /* fits */
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_PACKAGE, reason);
		return;
	}
	bool is_same = r->offset > 0 && r->offset <= u->sending.n && r->crc == zip_crc32(0, span_sub(u->sending, 0, r->offset));
	nordic_up_seek(u, is_same ? r->offset : 0);
	if (is_same && r->offset == u->sending.n)
		ask_execute(u, NP_EXECUTE_INIT, now);  /* better twice than never */
	else
		ask_prn(u, NP_QUIET, 0, now);
}

static void on_selected_data(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	if (r->max_bytes < NORDIC_OBJECT_BYTES_MIN) {
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_PROTOCOL, "the node takes no objects of a useful size");
		return;
	}
	u->object_bytes = r->max_bytes;
	if (r->offset > u->sending.n) {
		part_again(u, now);            /* of another image */
		return;
	}
	size_t in_object = r->offset % u->object_bytes;
	bool is_whole = r->offset > 0 && (in_object == 0 || r->offset == u->sending.n);
	nordic_up_seek(u, r->offset);
	if (u->crc != r->crc) {
		if (in_object == 0) {          /* executed or not: nobody knows */
			part_again(u, now);
			return;
		}
		nordic_up_seek(u, r->offset - in_object);
		create_data(u, now);
		return;
	}
	nordic_up_progress(u, r->offset);
	u->start = r->offset - in_object;
	if (is_whole && in_object == 0)
		u->start = r->offset - (u->object_bytes < r->offset ? u->object_bytes : r->offset);
	if (r->offset == u->sending.n) {
		u->end = u->sent;
		object_sent(u, now);
	} else if (is_whole) {
		ask_execute(u, NP_EXECUTE_OLD, now);   /* it may not have been */
	} else if (in_object > 0) {
		size_t left = u->sending.n - u->start;
		u->end = u->start + (left < u->object_bytes ? left : u->object_bytes);
		send_from_here(u, NP_SEND_DATA, now);
	} else {
		create_data(u, now);
	}
}

/* ---- answers ---- */

/* An error that is none, or that another way leads around. */
static bool is_put_up_with(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	if (r->result == NORDIC_NOT_PERMITTED && u->phase == NP_EXECUTE_OLD) {
		object_executed(u, now);       /* it had been executed */
		return true;
	}
	if (r->result == NORDIC_NOT_PERMITTED && u->phase == NP_CREATE_DATA) {
		part_again(u, now);            /* it forgot the init packet */
		return true;
	}
	/* What goes below the application was brought by an earlier try, most likely: the application shows it. */
	if (r->result == NORDIC_EXTENDED && (r->extended == NORDIC_EX_VERSION || r->extended == NORDIC_EX_SOFTDEVICE) &&
	    u->phase == NP_EXECUTE_INIT && !nordic_up_is_last(u)) {
		nordic_up_next_part(u);
		nordic_up_secure_begin(u, now);
		return true;
	}
	return false;
}

static void on_quiet(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	if (u->sent == 0)
		create_init(u, now);
	else
		send_from_here(u, NP_SEND_INIT, now);
}

static void on_created_init(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	send_from_here(u, NP_SEND_INIT, now);
}

static void on_executed_init(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	begin_data(u, now);
}

static void on_receipts(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	ask(u, NP_SELECT_DATA, &(struct nordic_request){ .op = NORDIC_SELECT, .object = NORDIC_DATA }, now);
}

static void on_paced(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	create_data(u, now);
}

static void on_created_data(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	send_from_here(u, NP_SEND_DATA, now);
}

static void on_executed_data(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	object_executed(u, now);
}

static void on_activated(struct nordic_upload *u, const struct nordic_response *r, struct mono now)
{
	nordic_up_finish(u, NORDIC_EV_DONE, NORDIC_RESULT_OK, "");
}

/* Which answer a phase waits for, and what is done with it. */
static const struct step {
	uint8_t op;
	void (*done)(struct nordic_upload *u, const struct nordic_response *r, struct mono now);
} steps[NP_DONE + 1] = {
	[NP_SELECT_INIT] = { NORDIC_SELECT, on_selected_init },
	[NP_QUIET] = { NORDIC_SET_PRN, on_quiet },
	[NP_CREATE_INIT] = { NORDIC_CREATE, on_created_init },
	[NP_CRC_INIT] = { NORDIC_CRC_GET, on_crc },
	[NP_EXECUTE_INIT] = { NORDIC_EXECUTE, on_executed_init },
	[NP_RECEIPTS] = { NORDIC_SET_PRN, on_receipts },
	[NP_SELECT_DATA] = { NORDIC_SELECT, on_selected_data },
	[NP_EXECUTE_OLD] = { NORDIC_EXECUTE, on_executed_data },
	[NP_PACE] = { NORDIC_SET_PRN, on_paced },
	[NP_CREATE_DATA] = { NORDIC_CREATE, on_created_data },
	[NP_SEND_DATA] = { NORDIC_CRC_GET, on_receipt },
	[NP_CRC_DATA] = { NORDIC_CRC_GET, on_crc },
	[NP_EXECUTE_DATA] = { NORDIC_EXECUTE, on_executed_data },
	[NP_ACTIVATE] = { NORDIC_EXECUTE, on_activated },
};

static const char *what_of(enum nordic_phase p)
{
	return p == NP_EXECUTE_INIT || p == NP_CREATE_INIT || p == NP_CRC_INIT ? "the init packet" : p == NP_ACTIVATE ? "activating" : "upload";
}

void nordic_up_secure_receive(struct nordic_upload *u, struct span value, struct mono now)
{
	struct nordic_response r;

	if (nordic_response_decode(value, &r) < 0 || r.op == 0 || r.op != steps[u->phase].op)
		return;                        /* of something before, or nothing of ours */
	if (r.result == NORDIC_OK)
		steps[u->phase].done(u, &r, now);
	else if (!is_put_up_with(u, &r, now))
		refused(u, what_of(u->phase), &r);
}

void nordic_up_secure_late(struct nordic_upload *u, struct mono now)
{
	if (u->is_paused && (u->phase == NP_CRC_INIT || u->phase == NP_CRC_DATA)) {
		ask_crc(u, u->phase, now);
	} else if (u->is_paused) {             /* a turn of packets was over */
		nordic_up_wait(u, u->phase, u->c.answer_ms, now);
		nordic_up_secure_send(u, now);
	} else if (u->phase == NP_SEND_DATA && !u->is_full) {  /* the receipt does not come: ask */
		u->crc_tries = 0;
		u->crc_offset = 0;
		ask_crc(u, NP_CRC_DATA, now);
	} else {
		nordic_up_again(u);
	}
}
