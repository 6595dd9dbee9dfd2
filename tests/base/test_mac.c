#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mac.h"
#include "base/text.h"

static size_t bytes_of(const char *hex, uint8_t *ret, size_t max)
{
	size_t n;

	assert_int_equal(text_parse_hex_var(span_str(hex), ret, max, &n), 0);
	return n;
}

static void is_hex(const uint8_t *p, size_t n, const char *hex)
{
	char text[2 * MAC_HKDF_BYTES_MAX + 1];

	assert_string_equal(text_hex(SPAN(p, n), text), hex);
}

/* RFC 4493 section 4: one key, the first n bytes of one message. */
static const char cmac_key[] = "2b7e151628aed2a6abf7158809cf4f3c";
static const char cmac_message[] = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
				   "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
static const struct {
	size_t n;
	const char *tag;
} cmac_rows[] = {
	{ 0, "bb1d6929e95937287fa37d129b756746" },
	{ 16, "070a16b46b4d4144f79bdd9dd04a287c" },
	{ 40, "dfa66747de9ae63030ca32611497c827" },
	{ 64, "51f0bebf7e3b9d92fc49741779363cfe" },
};

static void cmac_is_rfc_4493s_however_the_message_is_cut(void **state)
{
	uint8_t key[MAC_CMAC_KEY_BYTES], message[64], tag[MAC_CMAC_BYTES];

	(void)state;
	bytes_of(cmac_key, key, sizeof(key));
	bytes_of(cmac_message, message, sizeof(message));
	_cleanup_(mac_cmac_freep) struct mac_cmac *m = mac_cmac_new(key);
	for (size_t i = 0; i < sizeof(cmac_rows) / sizeof(cmac_rows[0]); i++) {
		for (size_t cut = 0; cut <= cmac_rows[i].n; cut++) {
			mac_cmac_tag(m, SPAN(message, cut), SPAN(message + cut, cmac_rows[i].n - cut), tag);
			is_hex(tag, sizeof(tag), cmac_rows[i].tag);
		}
		mac_cmac_once(key, SPAN(message, cmac_rows[i].n), SPAN_NONE, tag);
		is_hex(tag, sizeof(tag), cmac_rows[i].tag);
	}
}

static void hkdf_is_rfc_5869s(void **state)
{
	static const struct {
		const char *ikm, *salt, *info, *okm;
	} rows[] = { /* appendix A.1 to A.3 */
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
		  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
		{ "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
		  "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
		  "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
		  "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
		  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
		  "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
		  "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
		  "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87" },
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
		  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
	};
	uint8_t ikm[80], salt[80], info[80], okm[82];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n_ikm = bytes_of(rows[i].ikm, ikm, sizeof(ikm)), n = strlen(rows[i].okm) / 2;
		size_t n_salt = bytes_of(rows[i].salt, salt, sizeof(salt)), n_info = bytes_of(rows[i].info, info, sizeof(info));
		mac_hkdf_sha256(SPAN(salt, n_salt), SPAN(ikm, n_ikm), SPAN(info, n_info), okm, n);
		is_hex(okm, n, rows[i].okm);
	}
}

static void hkdf_gives_up_to_255_blocks(void **state)
{
	static uint8_t okm[MAC_HKDF_BYTES_MAX], head[64];

	(void)state;
	mac_hkdf_sha256(SPAN_NONE, SPAN_LIT("key"), SPAN_NONE, okm, sizeof(okm));
	mac_hkdf_sha256(SPAN_NONE, SPAN_LIT("key"), SPAN_NONE, head, sizeof(head));
	assert_memory_equal(okm, head, sizeof(head)); /* a longer one begins like a shorter one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cmac_is_rfc_4493s_however_the_message_is_cut),
		cmocka_unit_test(hkdf_is_rfc_5869s),
		cmocka_unit_test(hkdf_gives_up_to_255_blocks),
	};
	return cmocka_run_group_tests_name("base/mac", tests, NULL, NULL);
}
