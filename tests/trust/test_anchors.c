/* Anchors from PEM, DER, COSE_Key and MAC keys, and why a wrong one is refused. */
#include "pki.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "codec/cbor.h"
#include "trust/anchors.h"

static int build(const struct trust_anchor_config *c, size_t n, struct trust_anchors **ret, char error[static 256])
{
	*ret = NULL;
	return trust_anchors_build(c, n, ret, error, 256);
}

static void refused(struct trust_anchor_config c, const char *because)
{
	struct trust_anchors *a;
	char error[256];

	c.name = c.name ? c.name : "acme";
	assert_int_equal(build(&c, 1, &a, error), -22);
	assert_null(a);
	if (!strstr(error, because) || !strstr(error, "anchor '"))
		fail_msg("'%s' does not say '%s'", error, because);
}

static void public_pem(const char *type, struct buf *ret)
{
	EVP_PKEY *p = strcmp(type, "RSA") == 0 ? EVP_RSA_gen(1024) : EVP_PKEY_Q_keygen(NULL, NULL, type, "secp256k1");
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	assert_int_equal(PEM_write_bio_PUBKEY(bio, p), 1);
	long n = BIO_get_mem_data(bio, &text);
	buf_add(ret, SPAN(text, (size_t)n));
	BIO_free(bio);
	EVP_PKEY_free(p);
}

static void wrong_configurations_are_refused_with_a_reason(void **state)
{
	_cleanup_buf_ struct buf cert = { 0 }, key = { 0 }, pub = { 0 }, both = { 0 }, twice = { 0 }, rsa = { 0 }, k1 = { 0 };
	static const char *const bad_id[] = { "acme", NULL }, *const bad_host[] = { "https://acme.example/", NULL };
	const char *many[TRUST_ANCHOR_IDS_MAX + 2] = { 0 }, *many_hosts[TRUST_ANCHOR_HOSTS_MAX + 2] = { 0 };
	struct pki_cert root;

	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Root", .is_ca = true }, &root);
	pki_pem((const struct pki_cert *const[]){ &root }, 1, &cert);
	pki_key_pem(&root, &key);
	help_read_vector("suit/keys", "author-p256-pub.pem", &pub);
	buf_add(&both, buf_span(&cert));
	buf_add(&both, buf_span(&pub));
	buf_add(&twice, buf_span(&pub));
	buf_add(&twice, buf_span(&pub));
	public_pem("RSA", &rsa);
	public_pem("EC", &k1);
	for (size_t i = 0; i <= TRUST_ANCHOR_IDS_MAX; i++)
		many[i] = pki_vendor_acme;
	for (size_t i = 0; i <= TRUST_ANCHOR_HOSTS_MAX; i++)
		many_hosts[i] = "a.example";
	refused((struct trust_anchor_config){ .pem = SPAN_NONE }, "empty");
	refused((struct trust_anchor_config){ .pem = SPAN_LIT("hello") }, "neither a PEM certificate");
	refused((struct trust_anchor_config){ .pem = buf_span(&key) }, "private key");
	refused((struct trust_anchor_config){ .pem = buf_span(&both) }, "do not mix");
	refused((struct trust_anchor_config){ .pem = buf_span(&twice) }, "one public key");
	refused((struct trust_anchor_config){ .pem = buf_span(&rsa) }, "cannot verify updates");
	refused((struct trust_anchor_config){ .pem = buf_span(&k1) }, "cannot verify updates");
	refused((struct trust_anchor_config){ .pem = buf_span(&pub), .vendor_ids = bad_id }, "not a UUID");
	refused((struct trust_anchor_config){ .pem = buf_span(&pub), .class_ids = many }, "more than 32 class ids");
	refused((struct trust_anchor_config){ .pem = buf_span(&pub), .hosts = bad_host }, "not a host name");
	refused((struct trust_anchor_config){ .pem = buf_span(&pub), .hosts = many_hosts }, "more than 16 hosts");
	refused((struct trust_anchor_config){ .pem = buf_span(&pub), .mac_key = SPAN_LIT("k") }, "not both");
	refused((struct trust_anchor_config){ .name = "", .pem = buf_span(&pub) }, "needs a name");
	pki_done(&root);
}

static void names_are_unique(void **state)
{
	const struct trust_anchor_config c[] = { { .name = "a", .mac_key = SPAN_LIT("1") }, { .name = "a", .mac_key = SPAN_LIT("2") } };
	struct trust_anchors *a;
	char error[256];

	(void)state;
	assert_int_equal(build(c, 2, &a, error), -22);
	assert_non_null(strstr(error, "stands twice"));
}

static struct span der_of(X509 *x, struct buf *ret)
{
	unsigned char *der = NULL;
	int n = i2d_X509(x, &der);

	buf_add(ret, SPAN(der, (size_t)n));
	OPENSSL_free(der);
	return buf_span(ret);
}

static void each_form_is_read_and_described(void **state)
{
	static const char *const vendors[] = { pki_vendor_acme, NULL };
	_cleanup_buf_ struct buf pem = { 0 }, der = { 0 }, pub = { 0 };
	_cleanup_(trust_anchors_unrefp) struct trust_anchors *a = NULL;
	struct trust_anchor_info info;
	struct pki_cert root, sub;
	char error[256];

	(void)state;
	pki_issue(NULL, &(struct pki_spec){ .cn = "Root", .is_ca = true }, &root);
	pki_issue(&root, &(struct pki_spec){ .cn = "Sub", .is_ca = true, .to_s = PKI_NOW_S }, &sub);
	pki_pem((const struct pki_cert *const[]){ &root, &sub }, 2, &pem);
	help_read_vector("suit/keys", "author-p256-pub.pem", &pub);
	const struct trust_anchor_config c[] = {
		{ .name = "pem", .pem = buf_span(&pem), .vendor_ids = vendors },
		{ .name = "der", .pem = der_of(root.x, &der) },
		{ .name = "key", .pem = buf_span(&pub) },
		{ .name = "mac", .mac_key = SPAN_LIT("secret") },
	};
	assert_int_equal(build(c, 4, &a, error), 0);
	assert_int_equal(trust_anchors_n(a), 4);
	assert_true(trust_anchors_info(a, 0, &info));
	assert_int_equal(info.kind, TRUST_ANCHOR_X509);
	assert_int_equal(wall_s(info.not_after), PKI_NOW_S);
	assert_non_null(strstr(info.subject, "Root"));
	assert_true(trust_anchors_info(a, 1, &info) && info.kind == TRUST_ANCHOR_X509);
	assert_true(trust_anchors_info(a, 2, &info) && info.kind == TRUST_ANCHOR_KEY);
	assert_non_null(strstr(info.subject, "ESP256 key "));
	assert_true(trust_anchors_info(a, 3, &info) && info.kind == TRUST_ANCHOR_MAC && strcmp(info.name, "mac") == 0);
	assert_false(trust_anchors_info(a, 4, &info));
	const uint8_t acme[] = { 0xfa, 0x6b, 0x4a, 0x53, 0xd5, 0xad, 0x5f, 0xdf, 0xbe, 0x9d, 0xe6, 0x63, 0xe4, 0xd4, 0x1f, 0xfe };
	assert_true(trust_anchor_allows_vendor(&a->items[0], SPAN_OF(acme)));
	assert_false(trust_anchor_allows_vendor(&a->items[0], SPAN(acme, 15)));
	assert_false(trust_anchor_allows_vendor(&a->items[1], SPAN_OF(acme)));
	assert_true(trust_anchor_allows_class(&a->items[0], SPAN_OF(acme)));
	struct trust_anchors *again = trust_anchors_ref(a);
	assert_null(trust_anchors_unref(again));
	assert_int_equal(trust_anchors_n(a), 4);
	pki_done(&root);
	pki_done(&sub);
}

/* CO-18: x and y of the author's key; then with y off the curve; then compressed. */
static void cose_keys_are_checked_for_their_curve(void **state)
{
	_cleanup_buf_ struct buf x = { 0 }, y = { 0 };

	(void)state;
	help_hex("8496811aae0baaabd261571 89eecda26beaa8bf11b6f3fe6e2b5659c85dbc0ad", &x);
	help_hex("3b1f2a4b6c098131c0a36dacd1d78bd381dcdfb09c052db33991db7338b4a896", &y);
	for (int bad = 0; bad < 2; bad++) {
		_cleanup_buf_ struct buf key = { 0 };
		struct trust_anchors *a;
		char error[256];
		y.p[31] ^= (uint8_t)bad;
		cbor_put_map(&key, 5);
		cbor_put_int(&key, 1);
		cbor_put_int(&key, 2);
		cbor_put_int(&key, 2);
		cbor_put_bytes(&key, SPAN_LIT("key-1"));
		cbor_put_int(&key, -1);
		cbor_put_int(&key, 1);
		cbor_put_int(&key, -2);
		cbor_put_bytes(&key, buf_span(&x));
		cbor_put_int(&key, -3);
		cbor_put_bytes(&key, buf_span(&y));
		assert_int_equal(build(&(struct trust_anchor_config){ .name = "k", .pem = buf_span(&key) }, 1, &a, error), bad ? -22 : 0);
		if (!bad)
			assert_true(span_eq_str(SPAN(a->items[0].kid, a->items[0].n_kid), "key-1"));
		trust_anchors_unref(a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_configurations_are_refused_with_a_reason),
		cmocka_unit_test(names_are_unique),
		cmocka_unit_test(each_form_is_read_and_described),
		cmocka_unit_test(cose_keys_are_checked_for_their_curve),
	};
	return cmocka_run_group_tests_name("trust/anchors", tests, NULL, NULL);
}
