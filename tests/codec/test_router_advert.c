#include "codec/router_advert.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Put together by hand from RFC 4861 sections 4.2, 4.6.1, 4.6.2, 4.6.4 and RFC 6775 section 4.2: hop limit 64, router for 1800 s, an
 * EUI-64 (three units of padding and all), MTU 1280, fd00:15:4::/64 on link and autonomous, context 0 of the same prefix. */
static const uint8_t advert[] = {
	134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
	1, 2, 0x02, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55, 0, 0, 0, 0, 0, 0,
	5, 1, 0, 0, 0, 0, 0x05, 0x00,
	3, 4, 64, 0xc0, 0x00, 0x01, 0x51, 0x80, 0x00, 0x00, 0x38, 0x40, 0, 0, 0, 0,
	0xfd, 0x00, 0x00, 0x15, 0x00, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	34, 2, 64, 0x10, 0, 0, 0x00, 0x3c, 0xfd, 0x00, 0x00, 0x15, 0x00, 0x04, 0, 0,
};

static struct router_advert wanted(void)
{
	struct router_advert a = { .hop_limit = 64, .lifetime_s = 1800, .mtu = 1280, .n_lladdr = 8, .n_prefixes = 1, .n_contexts = 1,
				   .lladdr = { 0x02, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55 } };

	a.prefixes[0] = (struct router_prefix){ .prefix = { 0xfd, 0x00, 0x00, 0x15, 0x00, 0x04, [15] = 1 }, .bits = 64, .on_link = true,
						.autonomous = true, .valid_s = 86400, .preferred_s = 14400 };
	a.contexts[0] = (struct router_context){ .prefix = { 0xfd, 0x00, 0x00, 0x15, 0x00, 0x04, [15] = 1 }, .bits = 64, .compress = true,
						 .lifetime_min = 60 };
	return a;
}

static void what_is_encoded_is_the_standard_s_bytes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct router_advert a = wanted();

	assert_int_equal(router_advert_encode(&a, &b), 0);
	assert_int_equal(b.n, sizeof(advert));
	assert_memory_equal(b.p, advert, sizeof(advert)); /* bits behind the prefix are not sent */
}

static void what_is_decoded_is_what_was_meant(void **state)
{
	struct router_advert a;

	assert_int_equal(router_advert_decode(SPAN_OF(advert), &a), 0);
	assert_int_equal(a.hop_limit, 64);
	assert_int_equal(a.lifetime_s, 1800);
	assert_int_equal(a.mtu, 1280);
	assert_int_equal(a.n_lladdr, 14);
	assert_memory_equal(a.lladdr, wanted().lladdr, 8);
	assert_int_equal(a.n_prefixes, 1);
	assert_true(a.prefixes[0].on_link && a.prefixes[0].autonomous);
	assert_int_equal(a.prefixes[0].valid_s, 86400);
	assert_int_equal(a.prefixes[0].preferred_s, 14400);
	assert_int_equal(a.n_contexts, 1);
	assert_true(a.contexts[0].compress);
	assert_int_equal(a.contexts[0].lifetime_min, 60);
}

/* A cut between two options is a shorter message, everywhere else it is none. */
static void an_advertisement_is_refused_at_every_truncation_but_between_options(void **state)
{
	static const size_t ends[] = { 16, 32, 40, 72 };
	struct router_advert a;

	for (size_t n = 0; n < sizeof(advert); n++) {
		bool whole = false;
		for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
			whole = whole || n == ends[i];
		assert_int_equal(router_advert_decode(SPAN(advert, n), &a), whole ? 0 : -EBADMSG);
	}
}

static void what_is_malformed_is_refused(void **state)
{
	static const struct { size_t at; uint8_t v; } bad[] = {
		{ 0, 133 }, { 1, 1 },          /* another type, another code */
		{ 17, 0 },                     /* an option of no length would never end */
		{ 33, 2 },                     /* an MTU of two units */
		{ 42, 129 },                   /* a prefix of 129 bits */
		{ 74, 65 },                    /* a context of 65 bits in 8 bytes */
	};
	struct router_advert a;
	uint8_t b[sizeof(advert)];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		memcpy(b, advert, sizeof(b));
		b[bad[i].at] = bad[i].v;
		assert_int_equal(router_advert_decode(SPAN_OF(b), &a), -EBADMSG);
	}
}

static void more_than_fits_is_refused(void **state)
{
	uint8_t b[16 + (ROUTER_PREFIXES_MAX + 1) * 32], many[16 + (ROUTER_OPTIONS_MAX + 1) * 8];
	struct router_advert a;

	memcpy(b, advert, 16);
	for (size_t i = 0; i <= ROUTER_PREFIXES_MAX; i++)
		memcpy(b + 16 + i * 32, advert + 40, 32);
	assert_int_equal(router_advert_decode(SPAN(b, sizeof(b) - 32), &a), 0);
	assert_int_equal(a.n_prefixes, ROUTER_PREFIXES_MAX);
	assert_int_equal(router_advert_decode(SPAN_OF(b), &a), -E2BIG);
	memcpy(many, advert, 16);
	for (size_t i = 0; i <= ROUTER_OPTIONS_MAX; i++) /* unknown ones are passed over, but not for ever */
		memcpy(many + 16 + i * 8, ((const uint8_t[8]){ 200, 1 }), 8);
	assert_int_equal(router_advert_decode(SPAN(many, sizeof(many) - 8), &a), 0);
	assert_int_equal(router_advert_decode(SPAN_OF(many), &a), -EBADMSG);
}

static void what_cannot_be_said_is_not_encoded(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct router_advert a = wanted();

	a.prefixes[0].preferred_s = a.prefixes[0].valid_s + 1;
	assert_int_equal(router_advert_encode(&a, &b), -EINVAL);
	a = wanted();
	a.prefixes[0].bits = 129;
	assert_int_equal(router_advert_encode(&a, &b), -EINVAL);
	a = wanted();
	a.contexts[0].id = 16;
	assert_int_equal(router_advert_encode(&a, &b), -EINVAL);
	a = wanted();
	a.n_lladdr = ROUTER_LLADDR_BYTES_MAX + 1;
	assert_int_equal(router_advert_encode(&a, &b), -EINVAL);
	a = wanted();
	a.lifetime_s = ROUTER_LIFETIME_S_MAX + 1;
	assert_int_equal(router_advert_encode(&a, &b), -EINVAL);
}

static void a_solicitation_is_heard_with_and_without_its_address(void **state)
{
	static const uint8_t plain[] = { 133, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t with[] = { 133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x02, 0, 0, 0xff, 0xfe, 0, 0, 1, 0, 0, 0, 0, 0, 0 };

	assert_int_equal(router_solicit_decode(SPAN_OF(plain)), 0);
	assert_int_equal(router_solicit_decode(SPAN_OF(with)), 0);
	for (size_t n = 0; n < sizeof(with); n++)
		assert_int_equal(router_solicit_decode(SPAN(with, n)), n == sizeof(plain) ? 0 : -EBADMSG);
	assert_int_equal(router_solicit_decode(SPAN_OF(advert)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_is_the_standard_s_bytes),
		cmocka_unit_test(what_is_decoded_is_what_was_meant),
		cmocka_unit_test(an_advertisement_is_refused_at_every_truncation_but_between_options),
		cmocka_unit_test(what_is_malformed_is_refused),
		cmocka_unit_test(more_than_fits_is_refused),
		cmocka_unit_test(what_cannot_be_said_is_not_encoded),
		cmocka_unit_test(a_solicitation_is_heard_with_and_without_its_address),
	};

	return cmocka_run_group_tests_name("codec/router_advert", tests, NULL, NULL);
}
