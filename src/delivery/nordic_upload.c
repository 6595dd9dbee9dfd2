#include "delivery/nordic_upload_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "codec/zip.h"

static const char *const phase_names[] = {
	[NP_AWAY] = "away",
	[NP_SELECT_INIT] = "select-init", [NP_QUIET] = "quiet", [NP_CREATE_INIT] = "create-init", [NP_SEND_INIT] = "send-init",
	[NP_CRC_INIT] = "crc-init", [NP_EXECUTE_INIT] = "execute-init",
	[NP_RECEIPTS] = "receipts", [NP_SELECT_DATA] = "select-data", [NP_EXECUTE_OLD] = "execute-old", [NP_PACE] = "pace",
	[NP_CREATE_DATA] = "create-data", [NP_SEND_DATA] = "send-data", [NP_CRC_DATA] = "crc-data", [NP_EXECUTE_DATA] = "execute-data",
	[NP_START] = "start", [NP_SIZES] = "sizes", [NP_INIT_BEGIN] = "init-begin", [NP_INIT_SETTLE] = "init-settle", [NP_INIT_END] = "init-end",
	[NP_LEGACY_RECEIPTS] = "receipts", [NP_RECEIVE] = "receive", [NP_LEGACY_SEND] = "send", [NP_VALIDATE] = "validate", [NP_RESET] = "reset",
	[NP_TRANSFERRED] = "transferred", [NP_APPLYING] = "applying", [NP_ACTIVATE] = "activate", [NP_DONE] = "done",
};

/* ---- ends ---- */

void nordic_up_finish(struct nordic_upload *u, enum nordic_event ev, unsigned result, const char *reason)
{
	u->phase = NP_DONE;
	u->result = result;
	(void)text_copy(u->reason, sizeof(u->reason), span_sub(span_str(reason), 0, sizeof(u->reason) - 1)); /* ASCII: may be clipped */
	u->ops.event(u->ops.ctx, ev);
}

void nordic_upload_fail(struct nordic_upload *u, unsigned result, const char *reason)
{
	if (u->phase != NP_DONE)
		nordic_up_finish(u, NORDIC_EV_FAILED, result, reason);
}

void nordic_up_again(struct nordic_upload *u)
{
	u->phase = NP_AWAY;
	u->ops.event(u->ops.ctx, NORDIC_EV_AGAIN);
}

void nordic_up_next_part(struct nordic_upload *u)
{
	u->done_bytes += nordic_up_part(u)->image.n;
	u->part++;
	u->object_tries = u->part_tries = u->idle_links = u->resets = 0;
	nordic_up_progress(u, 0);
}

/* ---- steps ---- */

void nordic_up_wait(struct nordic_upload *u, enum nordic_phase p, int64_t ms, struct mono now)
{
	u->phase = p;
	u->is_paused = false;
	u->due = mono_add_ms(now, ms);
}

void nordic_up_progress(struct nordic_upload *u, uint64_t image_bytes)
{
	if (u->done_bytes + image_bytes <= u->best)
		return;
	u->best = u->done_bytes + image_bytes;
	if (!u->package->is_legacy)            /* a Legacy node forgets: getting a little further each time is no progress */
		u->idle_links = 0;
	u->ops.event(u->ops.ctx, NORDIC_EV_PROGRESS);
}

/* The last image is there: tell, wait, tell, wait, activate. What was told before a link was lost is not told again. */
void nordic_up_complete(struct nordic_upload *u, struct mono now)
{
	if (nordic_up_is_last(u) && u->told < WENT_ON) {
		u->told = TOLD_TRANSFERRED;
		u->phase = NP_TRANSFERRED;
		u->ops.event(u->ops.ctx, NORDIC_EV_TRANSFERRED);
	} else if (nordic_up_is_last(u) && u->told < WENT_ON_AGAIN) {
		u->told = TOLD_APPLYING;
		u->phase = NP_APPLYING;
		u->ops.event(u->ops.ctx, NORDIC_EV_APPLYING);
	} else if (nordic_up_is_last(u) && u->activations >= 2) {
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_FAILED, "the image was activated twice, and the node asks for it again");
	} else {
		if (nordic_up_is_last(u)) {
			u->was_activated = true;
			u->activations++;
		}
		if (u->package->is_legacy)
			nordic_up_legacy_activate(u, now);
		else
			nordic_up_secure_activate(u, now);
	}
}

void nordic_upload_go(struct nordic_upload *u, struct mono now)
{
	if (u->told == TOLD_TRANSFERRED)
		u->told = WENT_ON;
	else if (u->told == TOLD_APPLYING)
		u->told = WENT_ON_AGAIN;
	else
		return;
	if (u->phase == NP_TRANSFERRED || u->phase == NP_APPLYING)
		nordic_up_complete(u, now);
}

/* ---- packets ---- */

void nordic_up_seek(struct nordic_upload *u, size_t at)
{
	u->sent = at;
	u->crc = zip_crc32(0, span_sub(u->sending, 0, at));
}

static bool has_receipts(const struct nordic_upload *u)
{
	return u->prn > 0 && (u->phase == NP_SEND_DATA || u->phase == NP_LEGACY_SEND);
}

bool nordic_up_pump(struct nordic_upload *u, struct mono now)
{
	for (unsigned i = 0; u->sent < u->end; i++) {
		struct span p = span_sub(u->sending, u->sent, u->packet_bytes < u->end - u->sent ? u->packet_bytes : u->end - u->sent);

		if (has_receipts(u) && u->unreceipted >= u->prn)
			return false;
		if (i == BURST_PACKETS) {      /* others have their turn, too */
			u->is_paused = true;
			u->due = now;
			return false;
		}
		int r = u->ops.packet(u->ops.ctx, p);
		if (r < 0) {                   /* full, or gone: then the owner says so */
			u->is_full = true;
			return false;
		}
		u->counts.packets++;
		u->crc = zip_crc32(u->crc, p);
		u->sent += p.n;
		u->unreceipted++;
		u->is_paused = false;
		u->due = mono_add_ms(now, u->c.answer_ms);
	}
	return true;
}

static void send(struct nordic_upload *u, struct mono now)
{
	if (u->package->is_legacy)
		nordic_up_legacy_send(u, now);
	else
		nordic_up_secure_send(u, now);
}

void nordic_upload_writable(struct nordic_upload *u, struct mono now)
{
	u->is_full = false;
	send(u, now);
}

/* ---- links ---- */

void nordic_upload_link(struct nordic_upload *u, size_t chunk_bytes, struct mono now)
{
	size_t most = u->package->is_legacy ? NORDIC_LEGACY_PACKET_BYTES : NORDIC_PACKET_BYTES_MAX;
	char reason[NORDIC_REASON_BYTES];

	if (u->phase == NP_DONE)
		return;
	u->counts.links++;
	u->packet_bytes = (chunk_bytes < most ? chunk_bytes : most) / 4 * 4;   /* whole words of the node's flash */
	u->is_full = u->is_paused = u->was_activated = false;
	u->unreceipted = 0;
	u->n_writes = 0;
	if (u->packet_bytes == 0) {
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_PROTOCOL, "the link takes no packets");
		return;
	}
	if (++u->idle_links > NORDIC_LINKS_MAX) {
		(void)snprintf(reason, sizeof(reason), "%d links ended without progress", NORDIC_LINKS_MAX); /* fits */
		nordic_up_finish(u, NORDIC_EV_FAILED, NORDIC_RESULT_LOST, reason);
		return;
	}
	if (u->package->is_legacy)
		nordic_up_legacy_begin(u, now);
	else
		nordic_up_secure_begin(u, now);
}

void nordic_upload_unlink(struct nordic_upload *u)
{
	if (u->phase == NP_DONE || u->phase == NP_AWAY)
		return;
	/* A Legacy node that was told to activate a valid image restarts at once, often before it acknowledges that. */
	bool is_activated = u->phase == NP_ACTIVATE && u->package->is_legacy;
	u->phase = NP_AWAY;
	if (is_activated)
		nordic_up_legacy_activated(u);
}

void nordic_upload_written(struct nordic_upload *u, struct mono now)
{
	if (u->package->is_legacy)
		nordic_up_legacy_written(u, now);
}

void nordic_upload_receive(struct nordic_upload *u, struct span value, struct mono now)
{
	if (u->phase == NP_AWAY || u->phase == NP_DONE || u->phase == NP_TRANSFERRED || u->phase == NP_APPLYING)
		return;
	if (u->package->is_legacy)
		nordic_up_legacy_receive(u, value, now);
	else
		nordic_up_secure_receive(u, value, now);
}

/* ---- time ---- */

static bool is_timed(const struct nordic_upload *u)
{
	return u->phase != NP_AWAY && u->phase != NP_TRANSFERRED && u->phase != NP_APPLYING && u->phase != NP_DONE;
}

void nordic_upload_tick(struct nordic_upload *u, struct mono now)
{
	if (!is_timed(u) || mono_before(now, u->due))
		return;
	if (u->package->is_legacy)
		nordic_up_legacy_late(u, now);
	else
		nordic_up_secure_late(u, now);
}

int64_t nordic_upload_wait_ms(const struct nordic_upload *u, struct mono now)
{
	if (!is_timed(u))
		return -1;
	int64_t ms = mono_diff_ms(u->due, now);
	return ms < 0 ? 0 : ms;
}

/* ---- life ---- */

struct nordic_upload *nordic_upload_new(const struct nordic_upload_config *c, const struct nordic_package *package,
					const struct nordic_upload_ops *ops)
{
	struct nordic_upload *u = NEW(struct nordic_upload);

	u->c = *c;
	u->c.answer_ms = c->answer_ms ? c->answer_ms : 1;
	u->package = package;
	u->ops = *ops;
	u->prn = c->prn > UINT16_MAX ? UINT16_MAX : c->prn;
	return u;
}

struct nordic_upload *nordic_upload_free(struct nordic_upload *u)
{
	free(u);
	return NULL;
}

bool nordic_upload_is_done(const struct nordic_upload *u) { return u->phase == NP_DONE; }
bool nordic_upload_was_activated(const struct nordic_upload *u) { return u->was_activated; }
uint64_t nordic_upload_offset(const struct nordic_upload *u) { return u->best; }
unsigned nordic_upload_result(const struct nordic_upload *u) { return u->result; }
const char *nordic_upload_reason(const struct nordic_upload *u) { return u->reason; }
const char *nordic_upload_phase(const struct nordic_upload *u) { return phase_names[u->phase]; }
struct nordic_upload_counts nordic_upload_counts(const struct nordic_upload *u) { return u->counts; }
