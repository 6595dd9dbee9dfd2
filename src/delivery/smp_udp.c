#include "delivery/smp_udp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "codec/mcuboot.h"

enum {
	AGAIN_MS = 500, REPORT_AGAIN_MS = 2000, HASH_SLICE_BYTES = 64 * 1024, REASON_BYTES = SMP_UPLOAD_REASON_BYTES,
	OBJECT5_IDLE = 0, OBJECT5_DOWNLOADED = 2, OBJECT5_UPDATING = 3,
	RESULT_INITIAL = 0, RESULT_OK = 1, RESULT_PACKAGE = 6, RESULT_URI = 7,
};

enum stage {
	STAGE_WAIT,                            /* for one of the SMP_UDP_ACTIVE_MAX places */
	STAGE_OPEN, STAGE_HASH,                /* our own look at the image */
	STAGE_RUN,
	STAGE_ENDED,                           /* told, or being told; kept until cancelled */
};

struct target {                                /* the order of one device */
	char device[DEVICE_ID_BYTES];          /* key */
	char job[JOB_ID_BYTES];
	struct smp_udp *drv;
	uint64_t serial;                       /* answers to reports of an older order are not for this one */
	struct digest manifest;
	uint64_t sequence;
	struct delivery_image image;
	size_t n_images;
	bool was_applying;
	enum stage stage;
	struct loop_timer *timer;

	struct coap_body_reader reader;
	struct mcuboot_header header;
	struct mcuboot_trailer trailer;
	struct digest_stream *hash;
	uint64_t hashed;

	struct udp *udp;
	struct smp_upload *upload;
	uint64_t told_bytes;

	bool has_report, is_reporting, goes_on;        /* a report to give, or to give again; given; then the machine goes on */
	unsigned state, result;
	bool is_reverted;
	char reason[REASON_BYTES];
	UT_hash_handle hh;
};

struct known {                                 /* which version of SMP a node speaks */
	char device[DEVICE_ID_BYTES];
	enum smp_version version;
	UT_hash_handle hh;
};

struct smp_udp {
	struct delivery_driver driver;
	struct smp_udp_config c;
	struct target *targets;
	struct known *known;
	size_t n_active;
	uint64_t serial;
};

static struct target *target_find(struct smp_udp *p, const char *device)
{
	struct target *t;

	HASH_FIND_STR(p->targets, device, t);
	return t;
}

/* ---- which version a node speaks ---- */

static enum smp_version known_get(struct smp_udp *p, const char *device)
{
	struct known *k;

	HASH_FIND_STR(p->known, device, k);
	return k ? k->version : SMP_V2;
}

/* Only those that do not speak the newest are worth remembering. */
static void known_put(struct smp_udp *p, const char *device, enum smp_version v)
{
	struct known *k;

	HASH_FIND_STR(p->known, device, k);
	if (k) {
		k->version = v;
		return;
	}
	if (v == SMP_V2)
		return;
	if (HASH_COUNT(p->known) >= SMP_UDP_KNOWN_MAX) { /* the head is the oldest */
		k = p->known;
		HASH_DEL(p->known, k);
		free(k);
	}
	k = NEW(struct known);
	(void)text_copy(k->device, sizeof(k->device), span_str(device)); /* same size */
	k->version = v;
	HASH_ADD_STR(p->known, device, k);
}

/* ---- places ---- */

static bool is_active(const struct target *t)
{
	return t->stage != STAGE_WAIT && t->stage != STAGE_ENDED;
}

/* The next that waits gets the place. */
static void place_give(struct smp_udp *p)
{
	struct target *t, *tmp;

	p->n_active--;
	HASH_ITER(hh, p->targets, t, tmp)
		if (t->stage == STAGE_WAIT) {
			loop_timer_set(t->timer, 0);
			return;
		}
}

static void target_quit(struct target *t)
{
	bool was_active = is_active(t);

	if (t->upload) {
		known_put(t->drv, t->device, smp_upload_version(t->upload));
		t->upload = smp_upload_free(t->upload);
	}
	t->udp = udp_close(t->udp);
	t->hash = digest_stream_free(t->hash);
	if (t->reader.release)
		t->reader.release(t->reader.ctx);
	t->reader = (struct coap_body_reader){ 0 };
	t->stage = STAGE_ENDED;
	if (was_active)
		place_give(t->drv);
}

static void target_drop(struct target *t)
{
	target_quit(t);
	HASH_DEL(t->drv->targets, t);
	loop_timer_free(t->timer);
	free(t);
}

/* ---- reports ---- */

struct report_wait {
	struct smp_udp *drv;
	char device[DEVICE_ID_BYTES];
	uint64_t serial;
};

/* May come at once, from within sink.report(); that is never called by the machine. */
static void report_done(void *arg, int error)
{
	struct report_wait *w = arg;
	struct target *t = target_find(w->drv, w->device);

	if (t && t->serial == w->serial) {
		t->is_reporting = false;
		t->goes_on = error == 0;
		t->has_report = error < 0 && error != -ENOENT;
		loop_timer_set(t->timer, t->has_report ? REPORT_AGAIN_MS : 0);
		if (error == -ENOENT)          /* nobody wants it any more */
			target_quit(t);
	}
	free(w);
}

static void report_give(struct target *t)
{
	struct report_wait *w = NEW(struct report_wait);
	struct node_report r = { .manifest_digest = t->manifest, .state = t->state, .result = t->result, .is_reverted = t->is_reverted,
				 .reason = span_str(t->reason), .has_sequence = t->result == RESULT_OK, .sequence = t->sequence };
	char version[MCUBOOT_VERSION_BYTES] = "";

	if (t->result == RESULT_OK)
		r.version = span_str(mcuboot_version_text(&t->header.version, version));
	w->drv = t->drv;
	w->serial = t->serial;
	(void)text_copy(w->device, sizeof(w->device), span_str(t->device)); /* same size */
	t->has_report = false;
	t->is_reporting = true;
	t->drv->c.sink.report(t->drv->c.sink.ctx, t->device, &r, report_done, w);
}

static void report_set(struct target *t, unsigned state, unsigned result, bool is_reverted, const char *reason)
{
	t->state = state;
	t->result = result;
	t->is_reverted = is_reverted;
	(void)text_copy(t->reason, sizeof(t->reason), span_sub(span_str(reason), 0, sizeof(t->reason) - 1)); /* clipped for people */
	t->has_report = true;
	t->goes_on = false;
	loop_timer_set(t->timer, 0);
}

/* It does not even begin. */
static void refuse(struct target *t, unsigned result, const char *reason)
{
	target_quit(t);
	report_set(t, OBJECT5_IDLE, result, false, reason);
}

/* ---- the machine's world ---- */

static void arm(struct target *t)
{
	if (t->has_report || !t->upload || t->is_reporting)
		return;                        /* the timer is the report's, or there is nothing to wait for but its answer */
	loop_timer_set(t->timer, smp_upload_wait_ms(t->upload, mono_now()));
}

static void on_send(void *ctx, struct span message)
{
	struct target *t = ctx;

	(void)udp_send(t->udp, NULL, message); /* what is not sent is lost, and sent again */
}

static int on_read(void *ctx, uint64_t off, uint8_t *ret, size_t n)
{
	struct target *t = ctx;
	int r = t->reader.read(t->reader.ctx, off, ret, n);

	return r < 0 ? r : (int)n;
}

static void on_event(void *ctx, enum smp_upload_event ev)
{
	struct target *t = ctx;
	uint64_t at = smp_upload_offset(t->upload);

	switch (ev) {
	case SMP_EV_PROGRESS:
		if (at > t->told_bytes)
			metric_add(METRIC_IMAGE_BYTES_SENT, (int64_t)(at - t->told_bytes));
		t->told_bytes = at;
		t->drv->c.sink.progress(t->drv->c.sink.ctx, t->job, at, t->image.bytes);
		break;
	case SMP_EV_TRANSFERRED:
		report_set(t, OBJECT5_DOWNLOADED, RESULT_INITIAL, false, "");
		break;
	case SMP_EV_APPLYING:
		report_set(t, OBJECT5_UPDATING, RESULT_INITIAL, false, "");
		break;
	case SMP_EV_CONFIRMED:
		report_set(t, OBJECT5_IDLE, RESULT_OK, false, "");
		break;
	case SMP_EV_REVERTED:
	case SMP_EV_FAILED:
		report_set(t, OBJECT5_IDLE, smp_upload_result(t->upload), ev == SMP_EV_REVERTED, smp_upload_reason(t->upload));
		break;
	}
}

static void on_datagram(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct target *t = ctx;

	(void)from;
	smp_upload_receive(t->upload, datagram, mono_now());
	arm(t);
}

/* ---- our own look at the image ---- */

static int trailer_read(struct target *t)
{
	uint64_t at = mcuboot_trailer_at(&t->header), left = t->reader.bytes - at;
	size_t n = left < MCUBOOT_TRAILER_BYTES_MAX ? (size_t)left : MCUBOOT_TRAILER_BYTES_MAX;
	_cleanup_free_ uint8_t *b = mem_new(n, 1);
	int r = t->reader.read(t->reader.ctx, at, b, n);

	return r < 0 ? r : mcuboot_trailer_decode(&t->header, SPAN(b, n), &t->trailer);
}

/* What is wrong with the image; NULL: nothing. -errno of reading in ret_error. */
static const char *image_fault(struct target *t, int *ret_error)
{
	uint8_t head[MCUBOOT_HEADER_BYTES];

	*ret_error = 0;
	if (t->reader.bytes < sizeof(head))
		return "not an MCUboot image: too short";
	int r = t->reader.read(t->reader.ctx, 0, head, sizeof(head));
	if (r < 0) {
		*ret_error = r;
		return NULL;
	}
	if (mcuboot_header_decode(SPAN_OF(head), t->reader.bytes, &t->header) < 0)
		return "not an MCUboot image: its header is none, or its sizes do not fit";
	r = trailer_read(t);
	if (r == -ENOENT)
		return "an MCUboot image without a hash";
	if (r == -EBADMSG || r == -EEXIST || r == -E2BIG)
		return "an MCUboot image with a bad TLV area";
	if (r < 0) {
		*ret_error = r;
		return NULL;
	}
	if (t->trailer.hash_kind != MCUBOOT_SHA256)
		return "an MCUboot image with another hash than SHA-256";
	return NULL;
}

static void stage_open(struct target *t)
{
	const char *fault;
	int error;

	if (t->n_images != 1) {
		refuse(t, RESULT_PACKAGE, "SMP delivers updates of one image");
		return;
	}
	int r = t->drv->c.source.open_image(t->drv->c.source.ctx, &t->manifest, &t->image.digest, &t->reader);
	if (r < 0) {
		t->reader = (struct coap_body_reader){ 0 };
		loop_timer_set(t->timer, r == -EAGAIN ? AGAIN_MS : REPORT_AGAIN_MS); /* withdrawn: the order will be cancelled */
		return;
	}
	fault = image_fault(t, &error);
	if (fault) {
		refuse(t, RESULT_PACKAGE, fault);
		return;
	}
	if (error < 0) {
		if (t->reader.release)
			t->reader.release(t->reader.ctx);
		t->reader = (struct coap_body_reader){ 0 };
		loop_timer_set(t->timer, REPORT_AGAIN_MS);
		return;
	}
	t->stage = STAGE_HASH;
	t->hash = digest_stream_new();
	t->hashed = 0;
	loop_timer_set(t->timer, 0);
}

static void machine_begin(struct target *t, const struct udp_address *to)
{
	const struct smp_udp_settings *s = &t->drv->c.settings;
	struct smp_upload_config c = { .version = known_get(t->drv, t->device), .message_bytes = s->message_bytes, .window = s->window,
				       .answer_ms = s->answer_ms, .restart_s = s->restart_s, .proof_s = s->proof_s,
				       .allow_single_slot = s->allow_single_slot, .was_applying = t->was_applying };
	struct smp_upload_image img = { .bytes = t->reader.bytes, .sha = t->image.digest, .n_hash = t->trailer.n_hash };
	struct smp_upload_ops ops = { .send = on_send, .read = on_read, .event = on_event, .ctx = t };

	memcpy(img.hash, t->trailer.hash, t->trailer.n_hash);
	(void)mcuboot_version_text(&t->header.version, img.version); /* in place */
	int r = udp_connect(t->drv->c.loop, to, on_datagram, t, &t->udp);
	if (r < 0) {
		loop_timer_set(t->timer, REPORT_AGAIN_MS); /* no route to it now */
		return;
	}
	t->stage = STAGE_RUN;
	t->upload = smp_upload_new(&c, &img, &ops);
	smp_upload_begin(t->upload, mono_now());
	arm(t);
}

static void stage_hashed(struct target *t)
{
	struct udp_address to;

	int r = t->drv->c.address(t->drv->c.address_ctx, t->device, &to);
	if (r == -EDESTADDRREQ)
		refuse(t, RESULT_URI, "the device has no address here: give it one (dormousectl devices add ID --address HOST[:PORT])");
	else if (r == -ENODEV)
		loop_timer_set(t->timer, REPORT_AGAIN_MS);     /* the interface may come back */
	else if (r < 0)
		refuse(t, RESULT_URI, "the device's address is not one of IPv6 or IPv4");
	else
		machine_begin(t, &to);
}

/* The hash that the image carries must be that of its bytes: the node's bootloader would find out only after the restart. What is
 * encrypted was hashed before. */
static void stage_hash(struct target *t)
{
	uint8_t part[4096];
	uint64_t end = mcuboot_hashed_bytes(&t->header);

	if (!t->hash || mcuboot_is_encrypted(&t->header)) {
		stage_hashed(t);
		return;
	}
	for (size_t done = 0; done < HASH_SLICE_BYTES && t->hashed < end; ) {
		size_t n = end - t->hashed < sizeof(part) ? (size_t)(end - t->hashed) : sizeof(part);
		int r = t->reader.read(t->reader.ctx, t->hashed, part, n);
		if (r < 0) {
			loop_timer_set(t->timer, REPORT_AGAIN_MS);
			return;
		}
		digest_stream_add(t->hash, SPAN(part, n));
		t->hashed += n;
		done += n;
	}
	if (t->hashed < end) {
		loop_timer_set(t->timer, 0);
		return;
	}
	struct digest d = digest_stream_end(t->hash);
	t->hash = digest_stream_free(t->hash);
	if (memcmp(d.b, t->trailer.hash, DIGEST_BYTES) != 0)
		refuse(t, RESULT_PACKAGE, "an MCUboot image whose hash is not that of its bytes");
	else
		stage_hashed(t);
}

static void stage_run(struct target *t)
{
	if (t->goes_on) {
		t->goes_on = false;
		smp_upload_go(t->upload, mono_now());
	} else {
		smp_upload_tick(t->upload, mono_now());
	}
	if (smp_upload_is_done(t->upload))
		target_quit(t);
	else
		arm(t);
}

static void on_timer(void *ctx)
{
	struct target *t = ctx;

	if (t->has_report) {
		if (t->upload && smp_upload_is_done(t->upload))
			target_quit(t);
		report_give(t);
		return;
	}
	switch (t->stage) {
	case STAGE_WAIT:
		if (t->drv->n_active >= SMP_UDP_ACTIVE_MAX)
			return;                /* whoever gives a place back wakes it */
		t->drv->n_active++;
		t->stage = STAGE_OPEN;
		stage_open(t);
		break;
	case STAGE_OPEN:
		stage_open(t);
		break;
	case STAGE_HASH:
		stage_hash(t);
		break;
	case STAGE_RUN:
		stage_run(t);
		break;
	case STAGE_ENDED:
		break;
	}
}

/* ---- the driver ---- */

static int on_start(struct delivery_driver *drv, const struct delivery_order *order)
{
	struct smp_udp *p = (struct smp_udp *)drv;
	struct target *t = target_find(p, order->device);

	if (t && strcmp(t->job, order->job) == 0 && digest_eq(&t->manifest, &order->manifest))
		return 0;                      /* under way */
	if (t)
		target_drop(t);
	t = NEW(struct target);
	memcpy(t->device, order->device, sizeof(t->device));
	memcpy(t->job, order->job, sizeof(t->job));
	t->drv = p;
	t->serial = ++p->serial;
	t->manifest = order->manifest;
	t->sequence = order->sequence;
	t->n_images = order->n_images;
	if (order->n_images)
		t->image = order->images[0];
	t->was_applying = order->state == JOB_APPLYING;
	t->timer = loop_timer_new(p->c.loop, on_timer, t);
	HASH_ADD_STR(p->targets, device, t);
	loop_timer_set(t->timer, 0);
	return 0;
}

static void on_cancel(struct delivery_driver *drv, const char *device, const char *job)
{
	struct smp_udp *p = (struct smp_udp *)drv;
	struct target *t = target_find(p, device);

	if (t && strcmp(t->job, job) == 0)
		target_drop(t);
}

static struct delivery_driver *on_close(struct delivery_driver *drv)
{
	struct smp_udp *p = (struct smp_udp *)drv;
	struct target *t, *tmp;
	struct known *k, *k_tmp;

	HASH_ITER(hh, p->targets, t, tmp)
		target_drop(t);
	HASH_ITER(hh, p->known, k, k_tmp) {
		HASH_DEL(p->known, k);
		free(k);
	}
	free(p);
	return NULL;
}

static const struct delivery_ops smp_udp_ops = { .name = "smp-udp", .start = on_start, .cancel = on_cancel, .close = on_close };

void smp_udp_set(struct delivery_driver *drv, const struct smp_udp_settings *s)
{
	((struct smp_udp *)drv)->c.settings = *s;
}

int smp_udp_open(const struct smp_udp_config *c, struct delivery_driver **ret)
{
	struct smp_udp *p = NEW(struct smp_udp);

	p->driver.ops = &smp_udp_ops;
	p->c = *c;
	*ret = &p->driver;
	return 0;
}
