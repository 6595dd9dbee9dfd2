#include "delivery/smp_upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

/* LwM2M Object 5, resource 5 */
enum { RESULT_INITIAL = 0, RESULT_OK = 1, RESULT_FLASH = 2, RESULT_RAM = 3, RESULT_LOST = 4, RESULT_INTEGRITY = 5, RESULT_PACKAGE = 6,
       RESULT_FAILED = 8, RESULT_PROTOCOL = 9, RESULT_CONFLICT = 12 };

enum {
	FIRST_DATA_BYTES_MIN = 32,             /* the MCUboot header must be in the first chunk */
	CHUNK_HEAD_BYTES = SMP_HEADER_BYTES + 1 + 10 + 4 + 5 + 5 + 3,  /* map, image, off (u32), data with its length */
	FIRST_HEAD_BYTES = 4 + 5 + 4 + 2 + SMP_SHA_BYTES,              /* len, sha besides */
	READ_AGAIN_MS = 200, FIRST_ANSWER_MS = 5000, RESETS_MAX = 4,
};

enum phase {
	PH_NEW, PH_PARAMS, PH_LIST, PH_ERASE, PH_UPLOAD, PH_LIST_AFTER, PH_TRANSFERRED, PH_TEST, PH_APPLYING, PH_RESET, PH_RESTARTING, PH_PROOF,
	PH_CONFIRM, PH_LIST_LAST, PH_DONE,
};

static const char *const phase_names[] = {
	"new", "parameters", "list", "erase", "upload", "list-after", "transferred", "test", "applying", "reset", "restarting", "proof", "confirm",
	"list-last", "done",
};

struct flight {                                /* a chunk on its way */
	bool used;
	uint8_t seq;
	uint64_t off;
	size_t n;
	struct mono due;
};

struct smp_upload {
	struct smp_upload_config c;
	struct smp_upload_image img;
	struct smp_upload_ops ops;
	enum phase phase;
	enum smp_version version;
	uint8_t seq;
	struct buf out;
	uint8_t *chunk;                        /* SMP_UPLOAD_MESSAGE_BYTES_MAX */

	/* one command that is waited for; not of the upload */
	bool asked;
	struct smp_header ask;
	unsigned tries;                        /* without progress, of a command or of the upload */
	struct mono due;                       /* when to ask again, or to do what the phase wants */
	struct mono deadline;                  /* of a restart, a first chunk, an erase */

	/* the upload */
	struct flight flights[SMP_UPLOAD_WINDOW_MAX];
	uint64_t next, acked, best;
	uint32_t window, message_bytes;
	unsigned rewinds, n_flights, resets;
	bool started, erased, announced;       /* the node accepted the first chunk; erase was tried; first progress told */

	bool single_slot, tested, nothing_told, was_pending;
	unsigned result;
	char reason[SMP_UPLOAD_REASON_BYTES];
	struct smp_upload_counts counts;
};

/* ---- ends ---- */

static void finish(struct smp_upload *u, enum smp_upload_event ev, unsigned result, const char *reason)
{
	u->phase = PH_DONE;
	u->asked = false;
	u->n_flights = 0;
	memset(u->flights, 0, sizeof(u->flights));
	u->result = result;
	(void)text_copy(u->reason, sizeof(u->reason), span_sub(span_str(reason), 0, sizeof(u->reason) - 1)); /* ASCII: may be clipped */
	u->ops.event(u->ops.ctx, ev);
}

static void fail(struct smp_upload *u, unsigned result, const char *reason)
{
	finish(u, SMP_EV_FAILED, result, reason);
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

static void fail_error(struct smp_upload *u, const char *what, const struct smp_error *e)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "%s: ", what);
	smp_error_text(e, &b);
	fail(u, result_of(e), buf_str(&b));
}

/* ---- commands ---- */

static void begin_phase(struct smp_upload *u, enum phase p, struct mono now)
{
	u->phase = p;
	u->asked = false;
	u->tries = 0;
	u->due = now;
}

static int64_t answer_ms(const struct smp_upload *u, unsigned tries)
{
	int64_t ms = u->c.answer_ms;

	for (unsigned i = 0; i < tries && ms < SMP_UPLOAD_ANSWER_MAX_MS; i++)
		ms *= 2;
	return ms > SMP_UPLOAD_ANSWER_MAX_MS && u->c.answer_ms < SMP_UPLOAD_ANSWER_MAX_MS ? SMP_UPLOAD_ANSWER_MAX_MS : ms;
}

static uint8_t send_request(struct smp_upload *u, struct smp_header *h, const struct smp_request *req)
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

static void ask(struct smp_upload *u, struct mono now)
{
	struct smp_request req;
	struct smp_header h;

	if (!command_of(u, &h, &req))
		return;
	u->counts.repeated += u->tries > 0;
	(void)send_request(u, &h, &req);       /* its number is in h */
	u->ask = h;
	u->asked = true;
	int64_t ms = answer_ms(u, u->tries);
	if (u->phase == PH_ERASE && ms < FIRST_ANSWER_MS)
		ms = FIRST_ANSWER_MS;
	u->tries++;
	u->due = mono_add_ms(now, ms);
}

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

/* ---- the upload ---- */

static void begin_upload(struct smp_upload *u, struct mono now)
{
	begin_phase(u, PH_UPLOAD, now);
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
	size_t n = u->message_bytes > head ? u->message_bytes - head : 1;

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
		fail(u, RESULT_FAILED, "the image cannot be read here");
		return false;
	}
	if (u->next == 0) {
		req.has_len = true;
		req.len = u->img.bytes;
		req.sha = SPAN_OF(u->img.sha.b);
	}
	uint8_t seq = send_request(u, &h, &req);
	int64_t ms = answer_ms(u, u->tries);
	if (u->next == 0 && ms < FIRST_ANSWER_MS && u->tries)
		ms = FIRST_ANSWER_MS;          /* it may be erasing: not too many questions */
	*f = (struct flight){ .used = true, .seq = seq, .off = u->next, .n = n, .due = mono_add_ms(now, ms) };
	u->n_flights++;
	u->next += n;
	return true;
}

/* Before the node accepted the first chunk there is one in flight; then as many as it has buffers. */
static void fill_window(struct smp_upload *u, struct mono now)
{
	uint32_t window = u->started ? u->window : 1;

	u->due = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
	while (u->phase == PH_UPLOAD && u->n_flights < window && u->next < u->img.bytes)
		if (!send_chunk(u, now))
			return;
}

/* What is in flight is forgotten, and it goes on at off, with one chunk at a time. */
static void go_on_at(struct smp_upload *u, uint64_t off, struct mono now)
{
	drop_flights(u);
	u->next = off;
	u->window = 1;
	if (off == 0) {
		u->started = false;
		u->deadline = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
	}
	fill_window(u, now);
}

static void progress(struct smp_upload *u, uint64_t off)
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

static void upload_lost(struct smp_upload *u, struct mono now)
{
	char reason[SMP_UPLOAD_REASON_BYTES];
	bool is_first = u->acked == 0 && !u->started;

	u->tries++;
	u->counts.repeated++;
	if (is_first ? !mono_before(now, u->deadline) && u->tries > 2 : u->tries >= SMP_UPLOAD_TRIES) {
		(void)snprintf(reason, sizeof(reason), "no answer to the upload at byte %llu", (unsigned long long)u->acked); /* fits */
		fail(u, RESULT_LOST, reason);
		return;
	}
	u->window = 1;
	drop_flights(u);
	u->next = u->acked;
	fill_window(u, now);
}

static bool upload_refused(struct smp_upload *u, const struct smp_error *e, struct mono now)
{
	if (smp_is_base(e, SMP_BUSY) && ++u->tries < SMP_UPLOAD_TRIES) {
		drop_flights(u);
		u->next = u->acked;
		u->window = 1;
		u->due = mono_add_ms(now, SMP_UPLOAD_BUSY_MS);
		return true;
	}
	if ((smp_is_base(e, SMP_NOMEM) || smp_is_base(e, SMP_MSGSIZE)) && u->message_bytes > SMP_UPLOAD_MESSAGE_BYTES_MIN) {
		u->message_bytes /= 2;
		if (u->message_bytes < SMP_UPLOAD_MESSAGE_BYTES_MIN)
			u->message_bytes = SMP_UPLOAD_MESSAGE_BYTES_MIN;
		go_on_at(u, u->acked, now);
		return true;
	}
	/* Old servers want an occupied slot erased first. */
	bool is_occupied = smp_is_image(e, SMP_IMAGE_NO_FREE_SLOT) || smp_is_base(e, SMP_NOMEM) || smp_is_base(e, SMP_BADSTATE);
	if (is_occupied && !u->started && !u->erased) {
		u->erased = true;
		begin_phase(u, PH_ERASE, now);
		u->deadline = mono_add_ms(now, SMP_UPLOAD_SLOW_MS);
		return true;
	}
	return false;
}

static void upload_done(struct smp_upload *u, const struct smp_reply *r, struct mono now)
{
	drop_flights(u);
	if (r->has_match && !r->match) {
		fail(u, RESULT_INTEGRITY, "the node received something else than was sent (match: false)");
		return;
	}
	begin_phase(u, PH_LIST_AFTER, now);
	ask(u, now);
}

/* An answer to chunk f: what the node wants next decides. */
static void on_chunk(struct smp_upload *u, const struct flight *f, const struct smp_reply *r, struct mono now)
{
	if (smp_failed(&r->error)) {
		if (!upload_refused(u, &r->error, now))
			fail_error(u, "upload refused", &r->error);
		return;
	}
	if (!r->has_off || r->off > u->img.bytes) {
		fail(u, RESULT_FAILED, "the node answers the upload with no offset, or one past the end");
		return;
	}
	bool in_order = r->off == f->off + f->n;
	bool was_started = u->started;
	u->started = true;
	if (r->off == u->img.bytes) {
		progress(u, r->off);
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
			fail(u, RESULT_FAILED, "the node sends the upload back again and again without progress");
			return;
		}
		if (r->off == 0 && u->best > 0) {
			/* It knows no upload any more: it restarted, or took the last chunk and only its answer was lost. */
			drop_flights(u);
			u->acked = 0;
			begin_phase(u, PH_LIST, now);
			ask(u, now);
			return;
		}
		progress(u, r->off);
		go_on_at(u, r->off, now);
		return;
	}
	progress(u, r->off);
	if (u->phase == PH_UPLOAD)
		fill_window(u, now);
}

/* ---- what answers mean ---- */

static void halt(struct smp_upload *u, enum phase p, enum smp_upload_event ev)
{
	u->phase = p;
	u->asked = false;
	u->ops.event(u->ops.ctx, ev);
}

static void wait_restart(struct smp_upload *u, struct mono now)
{
	begin_phase(u, PH_RESTARTING, now);
	u->nothing_told = true;
	u->due = mono_add_ms(now, SMP_UPLOAD_POLL_MS);
	u->deadline = mono_add_ms(now, (int64_t)u->c.restart_s * 1000);
}

static void begin_proof(struct smp_upload *u, struct mono now)
{
	begin_phase(u, PH_PROOF, now);
	u->due = mono_add_ms(now, (int64_t)u->c.proof_s * 1000);
	u->deadline = mono_add_ms(u->due, (int64_t)u->c.restart_s * 1000);
}

static void revert(struct smp_upload *u, const struct smp_image *active)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_add_str(&b, "the node went back to its old image");
	if (active && active->version[0]) {
		buf_add_str(&b, ", version ");
		text_add_escaped(&b, span_str(active->version), SMP_VERSION_BYTES);
	}
	finish(u, SMP_EV_REVERTED, RESULT_FAILED, buf_str(&b));
}

static void on_params(struct smp_upload *u, const struct smp_reply *r, struct mono now)
{
	if (r->has_params && !smp_failed(&r->error)) {
		if (r->buf_size >= SMP_UPLOAD_MESSAGE_BYTES_MIN && r->buf_size < u->message_bytes)
			u->message_bytes = r->buf_size;
		if (r->buf_count > 2)
			u->window = r->buf_count - 1 < u->c.window ? r->buf_count - 1 : u->c.window;
	}
	begin_phase(u, PH_LIST, now);
	ask(u, now);
}

/* Before anything: what the node has of it already. */
static void on_list(struct smp_upload *u, const struct listing *l, struct mono now)
{
	if (l->active && is_ours(u, l->active)) {
		if (l->active->confirmed) {
			finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
			return;
		}
		u->tested = true;
		begin_proof(u, now);           /* restarted already; not confirmed yet */
		return;
	}
	if (l->active && !l->active->confirmed && l->has_flags && l->n > 1) {
		fail(u, RESULT_CONFLICT, "the node tries another image right now, which is not confirmed");
		return;
	}
	if (l->ours && (l->ours->pending || l->ours->permanent)) {
		u->tested = true;
		halt(u, PH_APPLYING, SMP_EV_APPLYING);
		return;
	}
	if (l->other && l->other->pending) {
		fail(u, RESULT_CONFLICT, "another image waits for the node's restart");
		return;
	}
	if (l->ours && u->c.was_applying) {
		revert(u, l->active);
		return;
	}
	if (l->ours) {
		progress(u, u->img.bytes);
		halt(u, PH_TRANSFERRED, SMP_EV_TRANSFERRED);
		return;
	}
	begin_upload(u, now);
	fill_window(u, now);
}

static void on_list_after(struct smp_upload *u, const struct listing *l)
{
	if (!l->ours && !(l->active && is_ours(u, l->active))) {
		/* A node that tells no hash at all can only be one with a single slot, which policy allows or not. */
		if (l->n > 1 || l->has_hashes || !u->c.allow_single_slot) {
			fail(u, RESULT_INTEGRITY, "the node does not list the image after its upload: it was damaged on the way, or is not valid there");
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
			fail(u, RESULT_PROTOCOL, "the node has a single slot: it cannot test an image and go back, and smp.single_slot does not allow that");
			return;
		}
		u->single_slot = true;
	} else if (smp_failed(&r->error) && !smp_is_image(&r->error, SMP_IMAGE_PENDING)) {
		fail_error(u, "test refused", &r->error);
		return;
	} else if (r->has_images && (!l.ours || !(l.ours->pending || l.ours->permanent))) {
		fail(u, RESULT_FAILED, "the node took the test and does not have the image pending");
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
		finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		return;
	}
	if (l->active && is_ours(u, l->active)) {
		if (l->active->confirmed)
			finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		else
			begin_proof(u, now);
		return;
	}
	if (l->ours && (l->ours->pending || l->ours->permanent)) { /* not restarted: once more */
		if (++u->resets > RESETS_MAX) {
			fail(u, RESULT_FAILED, "the node does not restart");
			return;
		}
		begin_phase(u, PH_RESET, now);
		u->due = mono_add_ms(now, SMP_UPLOAD_POLL_MS);
		return;
	}
	if (u->single_slot && !u->nothing_told) {
		fail(u, RESULT_FAILED, "the node runs another image after its restart");
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
		finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
		return;
	}
	begin_phase(u, PH_CONFIRM, now);
	ask(u, now);
}

static void on_list_last(struct smp_upload *u, const struct listing *l)
{
	if (!l->active || !is_ours(u, l->active))
		revert(u, l->active);
	else if (!l->active->confirmed)
		fail(u, RESULT_FAILED, "the node took the confirmation and does not have the image confirmed");
	else
		finish(u, SMP_EV_CONFIRMED, RESULT_OK, "");
}

static const char *phase_refused(enum phase p)
{
	return p == PH_CONFIRM ? "confirmation refused" : p == PH_ERASE ? "erase refused" : p == PH_RESET ? "restart refused" : "image list refused";
}

/* An answer to the command that was asked. */
static void on_answer(struct smp_upload *u, const struct smp_reply *r, struct mono now)
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
		fail_error(u, phase_refused(u->phase), &r->error);
		return;
	}
	if (is_list && !r->has_images) {
		fail(u, RESULT_PROTOCOL, "the node answers the image list without images");
		return;
	}
	switch (u->phase) {
	case PH_LIST:
		on_list(u, &l, now);
		break;
	case PH_ERASE:
		begin_upload(u, now);
		fill_window(u, now);
		break;
	case PH_LIST_AFTER:
		on_list_after(u, &l);
		break;
	case PH_RESET:
		wait_restart(u, now);
		break;
	case PH_RESTARTING:
		on_restarting(u, &l, now);
		break;
	case PH_PROOF:
		on_proof(u, &l, now);
		break;
	case PH_CONFIRM:
		begin_phase(u, PH_LIST_LAST, now);
		ask(u, now);
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
		go_on_at(u, u->acked, now);
	else
		ask(u, now);
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
		on_answer(u, &r, now);
		return;
	}
	struct flight answered = *f;
	f->used = false;
	u->n_flights--;
	on_chunk(u, &answered, &r, now);
}

void smp_upload_receive(struct smp_upload *u, struct span datagram, struct mono now)
{
	struct cursor c = { .s = datagram };
	struct smp_header h;
	struct span body;

	while (cur_left(&c) > 0 && u->phase != PH_DONE) {
		if (smp_message_next(&c, &h, &body) < 0) {
			u->counts.dropped++;
			return;
		}
		on_message(u, &h, body, now);
	}
}

static void tick_upload(struct smp_upload *u, struct mono now)
{
	for (size_t i = 0; i < SMP_UPLOAD_WINDOW_MAX; i++)
		if (u->flights[i].used && !mono_before(now, u->flights[i].due)) {
			upload_lost(u, now);
			return;
		}
	if (!mono_before(now, u->due))         /* the image could not be read, or the node was busy */
		fill_window(u, now);
}

/* Nothing came in time. */
static void command_lost(struct smp_upload *u, struct mono now)
{
	char reason[SMP_UPLOAD_REASON_BYTES];

	if (u->phase == PH_PARAMS && u->tries >= SMP_UPLOAD_TRIES / 3) { /* optional; a node may not even answer */
		begin_phase(u, PH_LIST, now);
		ask(u, now);
		return;
	}
	if (u->phase == PH_RESET) { /* its answer is optional. Never twice: a second one could end the trial that the first began */
		wait_restart(u, now);
		return;
	}
	bool is_slow = u->phase == PH_ERASE || u->phase == PH_RESTARTING || u->phase == PH_PROOF;
	if (is_slow ? !mono_before(now, u->deadline) : u->tries >= SMP_UPLOAD_TRIES) {
		(void)snprintf(reason, sizeof(reason), u->phase == PH_RESTARTING || u->phase == PH_PROOF ?
			       "the node does not answer after its restart (%s)" : "no answer (%s)", phase_names[u->phase]); /* fits */
		fail(u, u->phase == PH_RESTARTING || u->phase == PH_PROOF ? RESULT_FAILED : RESULT_LOST, reason);
		return;
	}
	ask(u, now);
}

void smp_upload_tick(struct smp_upload *u, struct mono now)
{
	switch (u->phase) {
	case PH_NEW:
	case PH_TRANSFERRED:
	case PH_APPLYING:
	case PH_DONE:
		return;
	case PH_UPLOAD:
		tick_upload(u, now);
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
		ask(u, now);
}

int64_t smp_upload_wait_ms(const struct smp_upload *u, struct mono now)
{
	struct mono due = u->due;

	if (u->phase == PH_NEW || u->phase == PH_TRANSFERRED || u->phase == PH_APPLYING || u->phase == PH_DONE)
		return -1;
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
		begin_phase(u, u->single_slot ? PH_APPLYING : PH_TEST, now);
		if (u->single_slot)
			u->ops.event(u->ops.ctx, SMP_EV_APPLYING);
		else
			ask(u, now);
	} else if (u->phase == PH_APPLYING) {
		begin_phase(u, PH_RESET, now);
		ask(u, now);
	}
}

void smp_upload_begin(struct smp_upload *u, struct mono now)
{
	if (u->phase != PH_NEW)
		return;
	begin_phase(u, PH_PARAMS, now);
	ask(u, now);
}

struct smp_upload *smp_upload_new(const struct smp_upload_config *c, const struct smp_upload_image *img, const struct smp_upload_ops *ops)
{
	struct smp_upload *u = NEW(struct smp_upload);

	u->c = *c;
	u->img = *img;
	u->ops = *ops;
	u->version = c->version;
	u->window = 1;
	u->message_bytes = c->message_bytes < SMP_UPLOAD_MESSAGE_BYTES_MIN ? SMP_UPLOAD_MESSAGE_BYTES_MIN :
			   c->message_bytes > SMP_UPLOAD_MESSAGE_BYTES_MAX ? SMP_UPLOAD_MESSAGE_BYTES_MAX : c->message_bytes;
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
const char *smp_upload_phase(const struct smp_upload *u) { return phase_names[u->phase]; }
struct smp_upload_counts smp_upload_counts(const struct smp_upload *u) { return u->counts; }
