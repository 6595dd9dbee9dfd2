#include "delivery/smp_look.h"

#include <errno.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/mem.h"

enum { PART_BYTES = 32 * 1024 };

struct smp_look {
	struct coap_body_reader reader;
	smp_look_fn *fn;                       /* NULL = cancelled */
	void *ctx;
	int error;
	const char *fault;
	struct smp_looked ret;
};

static int trailer_read(struct smp_look *k)
{
	uint64_t at = mcuboot_trailer_at(&k->ret.header), left = k->reader.bytes - at;
	size_t n = left < MCUBOOT_TRAILER_BYTES_MAX ? (size_t)left : MCUBOOT_TRAILER_BYTES_MAX;
	_cleanup_free_ uint8_t *b = mem_new(n, 1);
	int r = k->reader.read(k->reader.ctx, at, b, n);

	return r < 0 ? r : mcuboot_trailer_decode(&k->ret.header, SPAN(b, n), &k->ret.trailer);
}

/* What is encrypted was hashed before. */
static const char *hash_fault(struct smp_look *k)
{
	_cleanup_(digest_stream_freep) struct digest_stream *s = digest_stream_new();
	_cleanup_free_ uint8_t *part = mem_new(PART_BYTES, 1);
	uint64_t end = mcuboot_is_encrypted(&k->ret.header) ? 0 : mcuboot_hashed_bytes(&k->ret.header);

	for (uint64_t at = 0; at < end; ) {
		size_t n = end - at < PART_BYTES ? (size_t)(end - at) : PART_BYTES;
		int r = k->reader.read(k->reader.ctx, at, part, n);
		if (r < 0) {
			k->error = r;
			return NULL;
		}
		digest_stream_add(s, SPAN(part, n));
		at += n;
	}
	struct digest d = digest_stream_end(s);
	return end && memcmp(d.b, k->ret.trailer.hash, DIGEST_BYTES) != 0 ? "an MCUboot image whose hash is not that of its bytes" : NULL;
}

static const char *image_fault(struct smp_look *k)
{
	uint8_t head[MCUBOOT_HEADER_BYTES];

	if (k->reader.bytes < sizeof(head))
		return "not an MCUboot image: too short";
	int r = k->reader.read(k->reader.ctx, 0, head, sizeof(head));
	if (r >= 0 && mcuboot_header_decode(SPAN_OF(head), k->reader.bytes, &k->ret.header) < 0)
		return "not an MCUboot image: its header is none, or its sizes do not fit";
	if (r >= 0)
		r = trailer_read(k);
	if (r == -ENOENT)
		return "an MCUboot image without a hash";
	if (r == -EBADMSG || r == -EEXIST || r == -E2BIG)
		return "an MCUboot image with a bad TLV area";
	if (r < 0) {
		k->error = r;
		return NULL;
	}
	if (k->ret.trailer.hash_kind != MCUBOOT_SHA256)
		return "an MCUboot image with another hash than SHA-256";
	return hash_fault(k);
}

/* A worker's thread. */
static void work(void *arg)
{
	struct smp_look *k = arg;

	k->error = 0;
	k->fault = image_fault(k);
}

static void done(void *arg)
{
	struct smp_look *k = arg;

	if (k->fn)
		k->fn(k->ctx, k->error, k->fault, &k->ret, &k->reader);
	else if (k->reader.release)
		k->reader.release(k->reader.ctx);
	free(k);
}

int smp_look_begin(struct worker_pool *w, const struct coap_body_reader *reader, smp_look_fn *fn, void *ctx, struct smp_look **ret)
{
	struct smp_look *k = NEW(struct smp_look);

	k->reader = *reader;
	k->fn = fn;
	k->ctx = ctx;
	k->error = -ECANCELED;                 /* unless work() runs */
	int r = worker_submit(w, work, done, k);
	if (r < 0) {
		free(k);
		return -EBUSY;
	}
	*ret = k;
	return 0;
}

struct smp_look *smp_look_cancel(struct smp_look *k)
{
	if (k)
		k->fn = NULL;
	return NULL;
}
