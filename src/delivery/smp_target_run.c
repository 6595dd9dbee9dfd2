#include "delivery/smp_target_internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"

enum { AWAY_STEP = 6, LOST_MS = 500, LOST_MAX_MS = 60000, RESTART_MAX_MS = 5000, LOST_TELL = 3 };

/* ---- the machine's world ---- */

/* The timer is the report's while there is one, or there is nothing to wait for but its answer. */
void smp_target_arm(struct smp_target *t)
{
	if (t->has_report || !t->upload || t->is_reporting || t->down_error || t->asks_revision)
		return;
	loop_timer_set(t->timer, smp_upload_wait_ms(t->upload, mono_now()));
}

static void on_send(void *ctx, struct span message)
{
	struct smp_target *t = ctx;

	if (t->is_up)
		t->drv->ops->send(t->carrier, message); /* what is not sent is lost, and sent again */
}

static int on_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct smp_target *t = ctx;
	int r = t->reader.read(t->reader.ctx, off, ret, n);

	return r < 0 ? r : (int)n;
}

static void on_progress(struct smp_target *t, uint64_t at)
{
	if (at > t->told_bytes) {
		metric_add(METRIC_IMAGE_BYTES_SENT, (int64_t)(at - t->told_bytes));
		t->told_bytes = at;
		t->n_lost = 0;
	}
	t->drv->c.sink.progress(t->drv->c.sink.ctx, t->job, at, t->image.bytes);
}

static void report_confirmed(struct smp_target *t)
{
	char reason[SMP_UPLOAD_REASON_BYTES] = "";

	t->asks_revision = false;
	if (t->revision[0])
		(void)snprintf(reason, sizeof(reason), "firmware revision %s", t->revision); /* fits */
	smp_target_report_set(t, OBJECT5_IDLE, OBJECT5_OK, false, reason);
}

/* It runs the new image; what else it says of itself is asked for while there is a link (BLZ-12). */
static void on_confirmed(struct smp_target *t)
{
	t->revision[0] = '\0';
	t->asks_revision = t->is_up && t->drv->ops->revision;
	if (!t->asks_revision) {
		report_confirmed(t);
		return;
	}
	loop_timer_set(t->timer, SMP_REVISION_MS);
	t->drv->ops->revision(t->carrier);
}

static void on_failed(struct smp_target *t, bool is_reverted)
{
	char reason[2 * SMP_UPLOAD_REASON_BYTES];
	/* Some nodes drop what comes over a link that is not encrypted, and say nothing. */
	bool is_mute = t->drv->ops->has_link && smp_upload_counts(t->upload).received == 0;

	(void)snprintf(reason, sizeof(reason), "%s%s", smp_upload_reason(t->upload), is_mute ? "; it may want a pairing (ble.pairing)" : ""); /* fits */
	smp_target_report_set(t, OBJECT5_IDLE, smp_upload_result(t->upload), is_reverted, reason);
}

static void on_event(void *ctx, enum smp_upload_event ev)
{
	struct smp_target *t = ctx;

	switch (ev) {
	case SMP_EV_PROGRESS:
		on_progress(t, smp_upload_offset(t->upload));
		break;
	case SMP_EV_TRANSFERRED:
		smp_target_report_set(t, OBJECT5_DOWNLOADED, OBJECT5_INITIAL, false, "");
		break;
	case SMP_EV_APPLYING:
		t->was_applying = true;
		smp_target_report_set(t, OBJECT5_UPDATING, OBJECT5_INITIAL, false, "");
		break;
	case SMP_EV_CONFIRMED:
		on_confirmed(t);
		break;
	case SMP_EV_REVERTED:
	case SMP_EV_FAILED:
		on_failed(t, ev == SMP_EV_REVERTED);
		break;
	}
}

static void machine_new(struct smp_target *t)
{
	const struct smp_settings *s = &t->drv->c.settings;
	const struct smp_known *k = smp_known_get(t->drv, t->device);
	struct smp_upload_config c = { .version = k ? k->version : SMP_V2, .only_whole = k && k->only_whole, .message_bytes = s->message_bytes,
				       .whole_bytes = t->whole_bytes, .window = s->window, .answer_ms = s->answer_ms,
				       .restart_s = s->restart_s, .proof_s = s->proof_s, .allow_single_slot = s->allow_single_slot,
				       .was_applying = t->was_applying };
	struct smp_upload_image img = { .bytes = t->reader.bytes, .sha = t->image.digest, .n_hash = t->looked.trailer.n_hash };
	struct smp_upload_ops ops = { .send = on_send, .read = on_read, .event = on_event, .ctx = t };

	if (t->most_bytes && t->most_bytes < c.message_bytes)
		c.message_bytes = t->most_bytes;
	memcpy(img.hash, t->looked.trailer.hash, t->looked.trailer.n_hash);
	(void)mcuboot_version_text(&t->looked.header.version, img.version); /* in place */
	t->upload = smp_upload_new(&c, &img, &ops);
}

/* The carrier is up. */
void smp_target_begin(struct smp_target *t)
{
	t->stage = SMP_STAGE_RUN;
	t->is_fresh = t->was_fresh = false;
	if (t->upload) {
		smp_upload_link_up(t->upload, mono_now());
	} else {
		machine_new(t);
		smp_upload_begin(t->upload, mono_now());
	}
	smp_target_arm(t);
}

void smp_target_run(struct smp_target *t)
{
	if (t->asks_revision) {                /* it took too long */
		report_confirmed(t);
		return;
	}
	if (t->goes_on) {
		t->goes_on = false;
		smp_upload_go(t->upload, mono_now());
	} else {
		smp_upload_tick(t->upload, mono_now());
	}
	if (smp_upload_is_done(t->upload) && !t->has_report && !t->asks_revision)
		smp_target_quit(t);
	else
		smp_target_arm(t);
}

/* ---- the link under it ---- */

void smp_target_carrier_close(struct smp_target *t)
{
	loop_timer_set(t->again, -1);
	if (t->is_open)
		t->drv->ops->close(t->carrier);
	t->carrier = NULL;
	t->is_open = t->is_up = false;
	t->down_error = 0;
}

static int64_t lost_ms(unsigned n, int64_t max_ms)
{
	int64_t ms = LOST_MS;

	for (unsigned i = 1; i < n && ms < max_ms; i++)
		ms *= 2;
	return ms < max_ms ? ms : max_ms;
}

static void tell_lost(const struct smp_target *t, const char *why)
{
	if (t->drv->ops->has_link && t->n_lost % LOST_TELL == 0)
		log_fields(EV_BLE_LINK, LOG_NOTICE, ({ "GW_DEVICE", t->device }, { "GW_JOB", t->job }),
			   "device %s: the link failed %u times in a row, now: %s", t->device, t->n_lost, why);
}

static void again(struct smp_target *t, int64_t ms)
{
	t->stage = SMP_STAGE_REACH;
	loop_timer_set(t->again, ms);
}

void smp_target_on_again(void *ctx)
{
	struct smp_target *t = ctx;

	if (t->stage == SMP_STAGE_REACH && !t->is_open && !t->has_report && !t->is_reporting)
		smp_target_reach(t);
	else if (t->stage == SMP_STAGE_REACH && !t->is_open)
		loop_timer_set(t->again, LOST_MS);
}

static bool is_out_of_reach(int error)
{
	return error == -ENOENT || error == -ETIMEDOUT || error == -ENOTCONN;
}

static bool is_refusal(int error)
{
	return error == -EACCES || error == -EPROTONOSUPPORT;
}

/* Between restart and end the machine waits for the next link, until its own deadline. */
static void restarting_down(struct smp_target *t, int error, const char *why)
{
	struct mono now = mono_now();

	if (error == -ENOTCONN || error == -EBUSY)
		smp_upload_excuse(t->upload, mono_diff_ms(now, t->down_since));
	t->down_since = now;
	t->is_fresh = true;
	if (error == -EACCES) {
		smp_target_refuse(t, OBJECT5_FAILED, why);
		return;
	}
	t->n_lost += error != -EAGAIN;
	again(t, error == -EAGAIN ? 0 : lost_ms(t->n_lost, RESTART_MAX_MS));
	smp_target_arm(t);
}

/* The carrier went down, or did not come up. */
void smp_target_was_down(struct smp_target *t)
{
	char why[SMP_UPLOAD_REASON_BYTES], reason[SMP_UPLOAD_REASON_BYTES + 64];
	int error = t->down_error;

	memcpy(why, t->down_why, sizeof(why));
	smp_target_carrier_close(t);
	if (t->upload && smp_upload_is_done(t->upload)) { /* only its revision was waited for */
		report_confirmed(t);
		return;
	}
	if (t->upload && t->stage == SMP_STAGE_RUN)
		t->down_since = mono_now();
	if (t->upload && smp_upload_link_down(t->upload, mono_now())) {
		restarting_down(t, error, why);
		return;
	}
	smp_target_machine_drop(t);
	if (error == -EPROTONOSUPPORT && !t->was_fresh) {  /* what is remembered of it may be of another life */
		t->is_fresh = t->was_fresh = true;
		again(t, LOST_MS);
	} else if (is_refusal(error)) {
		smp_target_refuse(t, error == -EACCES ? OBJECT5_FAILED : OBJECT5_PROTOCOL, why);
	} else if (error == -EAGAIN) {
		again(t, 0);
	} else if (++t->n_lost > SMP_LOST_MAX && !is_out_of_reach(error)) {
		(void)snprintf(reason, sizeof(reason), "the link is lost again and again: %s", why); /* clipped for people */
		smp_target_refuse(t, error == -EBUSY ? OBJECT5_CONFLICT : OBJECT5_LOST, reason);
	} else if (is_out_of_reach(error)) {
		tell_lost(t, why);
		smp_target_park(t, t->drv->ops->has_link ? lost_ms(t->n_lost + AWAY_STEP, SMP_AWAY_MAX_MS) : SMP_LATER_MS, SMP_LATER_MS);
	} else {
		tell_lost(t, why);
		again(t, lost_ms(t->n_lost, LOST_MAX_MS));
	}
}

/* ---- what the carrier tells ---- */

void smp_target_up(struct smp_target *t, uint32_t most_bytes, uint32_t whole_bytes)
{
	t->is_up = true;
	t->most_bytes = most_bytes;
	t->whole_bytes = whole_bytes;
	if (!t->has_report)
		loop_timer_set(t->timer, 0);
}

void smp_target_down(struct smp_target *t, int error, const char *why)
{
	if (t->down_error)
		return;
	t->is_up = false;
	t->down_error = error;
	(void)text_copy(t->down_why, sizeof(t->down_why), span_sub(span_str(why), 0, sizeof(t->down_why) - 1)); /* clipped for people */
	if (!t->has_report && !t->is_reporting)
		loop_timer_set(t->timer, 0);
}

void smp_target_receive(struct smp_target *t, struct span messages)
{
	if (!t->upload || t->down_error)
		return;
	smp_upload_receive(t->upload, messages, mono_now());
	smp_target_arm(t);
}

void smp_target_revision(struct smp_target *t, struct span text)
{
	if (!t->asks_revision)
		return;
	if (text_is_clean(text))
		(void)text_copy(t->revision, sizeof(t->revision), span_sub(text, 0, sizeof(t->revision) - 1)); /* clipped for people */
	report_confirmed(t);
}
