#include "io/coap_dedup.h"

#include <uthash.h>
#include <utlist.h>

#include "base/mem.h"

struct dedup_key {
	struct coap_peer_key peer;
	uint32_t mid;
};

struct entry {
	struct dedup_key key;
	uint64_t fingerprint;
	struct mono until;
	bool answered;
	uint8_t *answer;
	size_t n;
	UT_hash_handle hh;
	struct entry *prev, *next;     /* oldest first */
};

struct coap_dedup {
	struct entry *by_key, *list;
	size_t n, bytes, max_entries, max_bytes;
};

struct coap_dedup *coap_dedup_new(size_t max_entries, size_t max_bytes)
{
	struct coap_dedup *d = NEW(struct coap_dedup);

	d->max_entries = max_entries;
	d->max_bytes = max_bytes;
	return d;
}

static void drop(struct coap_dedup *d, struct entry *e)
{
	HASH_DEL(d->by_key, e);
	DL_DELETE(d->list, e);
	d->n--;
	d->bytes -= sizeof(*e) + e->n;
	free(e->answer);
	free(e);
}

struct coap_dedup *coap_dedup_free(struct coap_dedup *d)
{
	if (!d)
		return NULL;
	while (d->list)
		drop(d, d->list);
	free(d);
	return NULL;
}

static struct entry *find(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid)
{
	struct dedup_key key;
	struct entry *e;

	memset(&key, 0, sizeof(key));
	key.peer = *peer;
	key.mid = mid;
	HASH_FIND(hh, d->by_key, &key, sizeof(key), e);
	return e;
}

enum coap_dedup_state coap_dedup_find(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid,
				      uint64_t fingerprint, struct mono now, struct span *ret_answer)
{
	struct entry *e;

	while (d->list && !mono_before(now, d->list->until))
		drop(d, d->list);
	e = find(d, peer, mid);
	if (!e || e->fingerprint != fingerprint)
		return COAP_DEDUP_NEW;
	if (!e->answered)
		return COAP_DEDUP_PENDING;
	*ret_answer = SPAN(e->answer, e->n);
	return COAP_DEDUP_ANSWERED;
}

void coap_dedup_begin(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid, uint64_t fingerprint,
		      struct mono now)
{
	struct entry *e = find(d, peer, mid);

	if (e)
		drop(d, e);
	while (d->list && d->n >= d->max_entries)
		drop(d, d->list);
	e = NEW(struct entry);
	e->key.peer = *peer;
	e->key.mid = mid;
	e->fingerprint = fingerprint;
	e->until = mono_add_ms(now, COAP_EXCHANGE_LIFETIME_MS);
	HASH_ADD(hh, d->by_key, key, sizeof(e->key), e);
	DL_APPEND(d->list, e);
	d->n++;
	d->bytes += sizeof(*e);
}

void coap_dedup_answer(struct coap_dedup *d, const struct coap_peer_key *peer, uint16_t mid, uint64_t fingerprint,
		       struct span answer)
{
	struct entry *e = find(d, peer, mid);

	if (!e || e->fingerprint != fingerprint || e->answered)
		return;
	while (d->list != e && d->bytes + answer.n > d->max_bytes)
		drop(d, d->list);
	e->answer = d->bytes + answer.n <= d->max_bytes ? malloc(answer.n ? answer.n : 1) : NULL;
	if (!e->answer) {
		drop(d, e);
		return;
	}
	if (answer.n)
		memcpy(e->answer, answer.p, answer.n);
	e->n = answer.n;
	e->answered = true;
	d->bytes += answer.n;
}

size_t coap_dedup_bytes(const struct coap_dedup *d)
{
	return d->bytes;
}
