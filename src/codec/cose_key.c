#include <errno.h>

#include "codec/cbor.h"
#include "codec/cose.h"

enum { KEY_KTY = 1, KEY_KID = 2, KEY_ALG = 3, KEY_OPS = 4 };
enum { KTY_OKP = 1, KTY_EC2, KTY_RSA, KTY_SYMMETRIC, KTY_HSS_LMS };
enum { OP_VERIFY = 2, OP_MAC_VERIFY = 10 };

static int read_int_or_text(struct cbor *c, int64_t *ret)
{
	if (cbor_peek(c) == CBOR_TEXT)
		return -ENOTSUP;
	*ret = cbor_int(c);
	return cbor_ok(c) ? 0 : -EBADMSG;
}

/* A key that says what it is for must say that it verifies. */
static int read_ops(struct cbor *c)
{
	size_t n = cbor_array(c);
	bool verifies = false;

	for (; n > 0 && cbor_ok(c); n--) {
		if (cbor_peek(c) == CBOR_TEXT) {
			(void)cbor_skip(c); /* an operation we do not know */
			continue;
		}
		int64_t op = cbor_int(c);
		verifies |= op == OP_VERIFY || op == OP_MAC_VERIFY;
	}
	if (!cbor_ok(c))
		return -EBADMSG;
	return verifies ? 0 : -ENOTSUP;
}

static int read_common(struct cbor *c, int64_t label, struct cose_key *k)
{
	switch (label) {
	case KEY_KTY:
		return read_int_or_text(c, &k->kty);
	case KEY_ALG:
		return read_int_or_text(c, &k->alg);
	case KEY_OPS:
		return read_ops(c);
	case KEY_KID:
		k->kid = cbor_bytes(c);
		return cbor_ok(c) && k->kid.n <= COSE_KID_BYTES_MAX ? 0 : -EBADMSG;
	default:
		(void)cbor_skip(c); /* Base IV and labels of others */
		return 0;
	}
}

static void read_ec_y(struct cbor *c, struct cose_key *k)
{
	k->y_is_sign = cbor_is_bool(c);
	if (k->y_is_sign)
		k->y_sign = cbor_bool(c);
	else
		k->y = cbor_bytes(c);
}

/* Labels below zero mean what kty says. */
static int read_by_type(struct cbor *c, int64_t label, struct cose_key *k)
{
	bool is_curve = k->kty == KTY_OKP || k->kty == KTY_EC2;

	if (is_curve && label == -1)
		return read_int_or_text(c, &k->crv);
	if (is_curve && label == -2)
		k->x = cbor_bytes(c);
	else if (k->kty == KTY_EC2 && label == -3)
		read_ec_y(c, k);
	else if (k->kty == KTY_RSA && label == -1)
		k->n = cbor_bytes(c);
	else if (k->kty == KTY_RSA && label == -2)
		k->e = cbor_bytes(c);
	else if (k->kty == KTY_SYMMETRIC && label == -1)
		k->k = cbor_bytes(c);
	else if (k->kty == KTY_HSS_LMS && label == -1)
		k->pub = cbor_bytes(c);
	else
		(void)cbor_skip(c); /* a private part: never looked at */
	return 0;
}

static int read_labels(struct span in, bool by_type, struct cose_key *k)
{
	struct cbor c = cbor_reader(in);
	size_t n = cbor_map(&c);

	if (n > COSE_KEY_PARAMS_MAX)
		return -EBADMSG;
	for (; n > 0 && cbor_ok(&c); n--) {
		int64_t label = 0;
		int r = 0;
		if (cbor_peek(&c) == CBOR_TEXT)
			(void)cbor_skip(&c); /* label 0: skipped below */
		else
			label = cbor_int(&c);
		if (by_type == (label < 0))
			r = by_type ? read_by_type(&c, label, k) : read_common(&c, label, k);
		else
			(void)cbor_skip(&c); /* the other pass takes it */
		if (r < 0)
			return r;
	}
	return cbor_ok(&c) ? 0 : -EBADMSG;
}

static bool is_complete(const struct cose_key *k)
{
	switch (k->kty) {
	case KTY_OKP:
		return k->crv != 0 && k->x.n > 0;
	case KTY_EC2:
		return k->crv != 0 && k->x.n > 0 && (k->y.n > 0 || k->y_is_sign);
	case KTY_RSA:
		return k->n.n > 0 && k->e.n > 0;
	case KTY_SYMMETRIC:
		return k->k.n > 0;
	default:
		return k->pub.n > 0;
	}
}

int cose_key_decode(struct span in, struct cose_key *ret)
{
	struct cose_key k = { 0 };
	int r = cbor_check(in, 0, NULL);

	if (r < 0)
		return -EBADMSG;
	r = read_labels(in, false, &k);
	if (r < 0)
		return r;
	if (k.kty < KTY_OKP || k.kty > KTY_HSS_LMS)
		return k.kty == 0 ? -EBADMSG : -ENOTSUP;
	r = read_labels(in, true, &k);
	if (r < 0)
		return r;
	if (!is_complete(&k))
		return -EBADMSG;
	*ret = k;
	return 0;
}
