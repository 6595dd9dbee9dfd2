#include "delivery/smp_upload_internal.h"

#include "base/text.h"

/* ---- the image list ---- */

static bool is_ours(const struct smp_upload *u, const struct smp_image *img)
{
	return img->image == u->c.slot_image && img->n_hash && img->n_hash == u->img.n_hash && memcmp(img->hash, u->img.hash, img->n_hash) == 0;
}

/* A node that tells no hashes (single slot): its version must do. */
static bool is_like_ours(const struct smp_upload *u, const struct smp_image *img)
{
	return is_ours(u, img) || (u->single_slot && img->image == u->c.slot_image && !img->n_hash && strcmp(img->version, u->img.version) == 0);
}

struct listing {
	const struct smp_image *active, *ours, *other;         /* ours: not the active one; other: neither */
	bool has_hashes, has_flags;
	size_t n;
};

static struct listing listing_of(const struct smp_upload *u, const struct smp_reply *r)
{
	struct listing l = { 0 };

	for (size_t i = 0; i < r->n_images; i++) {
		const struct smp_image *img = &r->images[i];

		if (img->image != u->c.slot_image)
			continue;
		l.n++;
		l.has_hashes |= img->n_hash > 0;
		l.has_flags |= img->active;
		if (img->active && !l.active)
			l.active = img;
		else if (is_ours(u, img))
			l.ours = img;
		else
			l.other = img;
	}
	return l;
}

/* ---- what answers mean ---- */

static void halt(struct smp_upload *u, enum phase p, enum smp_upload_event ev)
{
	u->phase = p;
	u->asked = false;
	u->ops.event(u->ops.ctx, ev);
}

void smp_up_wait_restart(struct smp_upload *u, struct mono now)
{
	smp_up_phase(u, PH_RESTARTING, now);
	u->nothing_told = true;
	u->due = mono_add_ms(now, SMP_UPLOAD_POLL_MS);
	u->deadline = mono_add_ms(now, (int64_t)u->c.restart_s * 1000);
}

static void begin_proof(struct smp_upload *u, struct mono now)
{
	smp_up_phase(u, PH_PROOF, now);
	u->due = mono_add_ms(now, (int64_t)u->c.proof_s * 1000);
	u->deadline = mono_add_ms(u->due, (int64_t)u->c.restart_s * 1000);
}

static void add_version(struct buf *b, const struct smp_image *active)
{
	if (!active || !active->version[0])
		return;
	buf_add_str(b, ", version ");
	text_add_escaped(b, span_str(active->version), SMP_VERSION_BYTES);
}

static void revert(struct smp_upload *u, const struct smp_image *active)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, "the node went back to its old image");
	add_version(&b, active);
	smp_up_finish(u, SMP_EV_REVERTED, RESULT_FAILED, buf_str(&b));
}

/* MCUboot erases what does not verify: the image was pending, never ran, and is nowhere now. */
static void not_taken(struct smp_upload *u, const struct smp_image *active)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, "the node's bootloader refused the image (signed by another key?); the old one runs");
	add_version(&b, active);
	smp_up_fail(u, RESULT_INTEGRITY, buf_str(&b));
}

static void on_params(struct smp_upload *u, const struct smp_reply *r, struct mono now)
{
	if (r->has_params && !smp_failed(&r->error)) {
		if (r->buf_size >= SMP_UPLOAD_MESSAGE_BYTES_MIN && !u->only_whole)
			u->message_bytes = u->c.message_bytes;
		if (r->buf_size >= SMP_UPLOAD_MESSAGE_BYTES_MIN && r->buf_size < u->message_bytes)
			u->message_bytes = r->buf_size;
		if (r->buf_count > 2)
			u->window = u->window_most = r->buf_count - 1 < u->c.window ? r->buf_count - 1 : u->c.window;
	}
	smp_up_phase(u, PH_LIST, now);
	smp_up_ask(u, now);
}

/* Before anything: what the node has of it already. */
static void on_list(struct smp_upload *u, const struct listing *l, struct mono now)
{
	if (l->active && is_ours(u, l->active)) {
		if (l->active->confirmed) {
			smp_up_finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
			return;
		}
		u->tested = true;
		begin_proof(u, now);           /* restarted already; not confirmed yet */
		return;
	}
	if (l->active && !l->active->confirmed && l->has_flags && l->n > 1) {
		smp_up_fail(u, RESULT_CONFLICT, "the node tries another image right now, which is not confirmed");
		return;
	}
	if (l->ours && (l->ours->pending || l->ours->permanent)) {
		u->tested = true;
		halt(u, PH_APPLYING, SMP_EV_APPLYING);
		return;
	}
	if (l->other && l->other->pending) {
		smp_up_fail(u, RESULT_CONFLICT, "another image waits for the node's restart");
		return;
	}
	if (l->ours && u->c.was_applying) {
		revert(u, l->active);
		return;
	}
	if (l->ours) {
		smp_up_progress(u, u->img.bytes);
		halt(u, PH_TRANSFERRED, SMP_EV_TRANSFERRED);
		return;
	}
	smp_up_begin(u, now);
	smp_up_fill(u, now);
}

static void on_list_after(struct smp_upload *u, const struct listing *l)
{
	if (!l->ours && !(l->active && is_ours(u, l->active))) {
		/* A node that tells no hash at all can only be one with a single slot, which policy allows or not. */
		if (l->n > 1 || l->has_hashes || !u->c.allow_single_slot) {
			smp_up_fail(u, RESULT_INTEGRITY, "the node does not list the image after its upload: it was damaged on the way, or is not valid there");
			return;
		}
		u->single_slot = true;
	}
	halt(u, PH_TRANSFERRED, SMP_EV_TRANSFERRED);
}

static void on_test(struct smp_upload *u, const struct smp_reply *r)
{
	struct listing l = listing_of(u, r);

	if (smp_is_base(&r->error, SMP_NOTSUP)) {
		if (!u->c.allow_single_slot) {
			smp_up_fail(u, RESULT_PROTOCOL, "the node has a single slot: it cannot test an image and go back, and smp.single_slot does not allow that");
			return;
		}
		u->single_slot = true;
	} else if (smp_failed(&r->error) && !smp_is_image(&r->error, SMP_IMAGE_PENDING)) {
		smp_up_fail_error(u, "test refused", &r->error);
		return;
	} else if (r->has_images && (!l.ours || !(l.ours->pending || l.ours->permanent))) {
		smp_up_fail(u, RESULT_FAILED, "the node took the test and does not have the image pending");
		return;
	}
	u->tested = true;
	halt(u, PH_APPLYING, SMP_EV_APPLYING);
}

/* While it restarts: each list says where it is. */
static void on_restarting(struct smp_upload *u, const struct listing *l, struct mono now)
{
	const struct smp_image *only = l->n == 1 ? (l->active ? l->active : l->ours ? l->ours : l->other) : l->active;

	if (u->single_slot && only && is_like_ours(u, only)) {
		smp_up_finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		return;
	}
	if (l->active && is_ours(u, l->active)) {
		if (l->active->confirmed)
			smp_up_finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		else
			begin_proof(u, now);
		return;
	}
	if (l->ours && (l->ours->pending || l->ours->permanent)) { /* not restarted: once more */
		if (++u->resets > RESETS_MAX) {
			smp_up_fail(u, RESULT_FAILED, "the node does not restart");
			return;
		}
		smp_up_phase(u, PH_RESET, now);
		u->due = mono_add_ms(now, SMP_UPLOAD_POLL_MS);
		return;
	}
	if (u->single_slot && !u->nothing_told) {
		smp_up_fail(u, RESULT_FAILED, "the node runs another image after its restart");
		return;
	}
	if (!u->single_slot && u->tested && l->active && l->has_hashes && !l->ours) {
		not_taken(u, l->active);
		return;
	}
	if (!u->single_slot) {
		revert(u, l->active);
		return;
	}
	u->nothing_told = false;               /* it may not have restarted yet: looked at once more */
	u->due = mono_add_ms(now, SMP_UPLOAD_POLL_MS);
	u->asked = false;
}

static void on_proof(struct smp_upload *u, const struct listing *l, struct mono now)
{
	if (!l->active || !is_ours(u, l->active)) {
		revert(u, l->active);
		return;
	}
	if (l->active->confirmed) {            /* by itself */
		smp_up_finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		return;
	}
	smp_up_phase(u, PH_CONFIRM, now);
	smp_up_ask(u, now);
}

static void on_list_last(struct smp_upload *u, const struct listing *l)
{
	if (!l->active || !is_ours(u, l->active))
		revert(u, l->active);
	else if (!l->active->confirmed)
		smp_up_fail(u, RESULT_FAILED, "the node took the confirmation and does not have the image confirmed");
	else
		smp_up_finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
}

static const char *phase_refused(enum phase p)
{
	return p == PH_CONFIRM ? "confirmation refused" : p == PH_ERASE ? "erase refused" : p == PH_RESET ? "restart refused" : "image list refused";
}

/* An answer to the command that was asked. */
void smp_up_on_answer(struct smp_upload *u, const struct smp_reply *r, struct mono now)
{
	struct listing l = listing_of(u, r);
	bool is_list = u->ask.op == SMP_READ && u->ask.group == SMP_GROUP_IMAGE;

	u->asked = false;
	if (u->phase == PH_PARAMS) {
		on_params(u, r, now);
		return;
	}
	if (u->phase == PH_TEST) {
		on_test(u, r);
		return;
	}
	if (smp_is_base(&r->error, SMP_BUSY) && u->tries < SMP_UPLOAD_TRIES) {
		u->due = mono_add_ms(now, SMP_UPLOAD_BUSY_MS);
		return;
	}
	if (smp_failed(&r->error)) {
		smp_up_fail_error(u, phase_refused(u->phase), &r->error);
		return;
	}
	if (is_list && !r->has_images) {
		smp_up_fail(u, RESULT_PROTOCOL, "the node answers the image list without images");
		return;
	}
	switch (u->phase) {
	case PH_LIST:
		on_list(u, &l, now);
		break;
	case PH_ERASE:
		smp_up_begin(u, now);
		smp_up_fill(u, now);
		break;
	case PH_LIST_AFTER:
		on_list_after(u, &l);
		break;
	case PH_RESET:
		smp_up_wait_restart(u, now);
		break;
	case PH_RESTARTING:
		on_restarting(u, &l, now);
		break;
	case PH_PROOF:
		on_proof(u, &l, now);
		break;
	case PH_CONFIRM:
		smp_up_phase(u, PH_LIST_LAST, now);
		smp_up_ask(u, now);
		break;
	case PH_LIST_LAST:
		on_list_last(u, &l);
		break;
	case PH_NEW:
	case PH_PARAMS:
	case PH_UPLOAD:
	case PH_TRANSFERRED:
	case PH_TEST:
	case PH_APPLYING:
	case PH_DONE:
		break;
	}
}
