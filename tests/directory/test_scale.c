/* The same work at growing sizes, times printed and not judged: `test-directory-scale 50000` for a large one. What is
 * asserted is that all comes out right and that memory stays small. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "directory/lookup.h"

static int n_endpoints = 2000;

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t allocated(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void show(const char *what, double start, double n)
{
	double s = seconds() - start;

	print_message("  %-46s %9.0f/s  %8.2f us each  %8.2f ms in all\n", what, n / s, s / n * 1e6, s * 1e3);
}

static void register_all(struct registry *r, struct registry_time now)
{
	char ep[32], base[64], links[160];
	struct registry_result res;
	struct span et = SPAN_LIT("et=oic.d.sensor");

	for (int i = 0; i < n_endpoints; i++) {
		(void)snprintf(ep, sizeof(ep), "urn:dev:mac:%012x", i);
		(void)snprintf(base, sizeof(base), "coap://[2001:db8::%x:%x]", i >> 16, i & 0xffff);
		(void)snprintf(links, sizeof(links), "</s/t>;rt=\"temperature%s\";if=sensor,</s/l>;rt=light-lux;if=sensor,</fw>;rt=dormouse.node;ct=60",
			       i % 1000 ? "" : " rare");
		struct registry_request req = {
			.endpoint = span_str(ep), .implied_base = span_str(base), .links = span_str(links), .owner = "", .device = "",
			.attributes = &et, .n_attributes = 1,
		};
		if (registry_register(r, &req, now, NULL, NULL, &res) < 0)
			fail_msg("endpoint %d: %s", i, res.why);
	}
}

static void look(struct registry *r, const char *what, enum lookup_kind kind, const struct span *options, size_t n_options, int times)
{
	double start = seconds();
	struct lookup_query q;
	const char *why;

	for (int i = 0; i < times; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(lookup_query_parse(kind, "rd", 0, options, n_options, &q, &why), 0);
		assert_int_equal(lookup_answer(r, &q, &b), b.bad ? -EMSGSIZE : 0);
		assert_true(b.n > 0);
	}
	show(what, start, times);
}

static void update_all(struct registry *r, struct registry_time now)
{
	const struct registration *reg;
	struct registry_result res;

	for (uint64_t after = 0; (reg = registry_next(r, after)); after = registration_order(reg)) {
		struct registry_request up = { .implied_base = registration_base(reg) };
		assert_int_equal(registry_update(r, span_str(registration_location(reg)), &up, now, NULL, NULL, &res), 0);
	}
}

static void many_endpoints_are_registered_found_updated_and_expired(void **state)
{
	struct registry *r = registry_new(&(struct registry_limits){ 0 }, NULL);
	struct registry_time now = { { 1000 }, { 1700000000000 } };
	size_t before = allocated();
	double start = seconds();

	(void)state;
	print_message("%d endpoints, 3 links each\n", n_endpoints);
	register_all(r, now);
	show("register", start, n_endpoints);
	print_message("  %-46s %9.0f bytes\n", "memory per endpoint, indexes and all", (double)(allocated() - before) / n_endpoints);
	start = seconds();
	register_all(r, now);
	show("register again, the same", start, n_endpoints);
	start = seconds();
	update_all(r, now);
	show("update", start, n_endpoints);
	look(r, "endpoint by name", LOOKUP_ENDPOINTS, (struct span[]){ SPAN_LIT("ep=urn:dev:mac:0000000003e8") }, 1, 1000);
	look(r, "links of a rare rt", LOOKUP_RESOURCES, (struct span[]){ SPAN_LIT("rt=rare") }, 1, 1000);
	look(r, "first page of a common rt", LOOKUP_RESOURCES, (struct span[]){ SPAN_LIT("rt=light-lux"), SPAN_LIT("count=10") }, 2, 1000);
	look(r, "first page of all", LOOKUP_ENDPOINTS, (struct span[]){ SPAN_LIT("count=10") }, 1, 1000);
	look(r, "all links of a common rt", LOOKUP_RESOURCES, (struct span[]){ SPAN_LIT("rt=light-lux") }, 1, 5);
	look(r, "all endpoints", LOOKUP_ENDPOINTS, NULL, 0, 5);
	look(r, "all links", LOOKUP_RESOURCES, NULL, 0, 5);
	look(r, "all endpoints by what has no index", LOOKUP_ENDPOINTS, (struct span[]){ SPAN_LIT("base=*") }, 1, 5);
	now.mono.ms += 100000 * 1000;
	start = seconds();
	while (registry_expire(r, now) == 0)
		;
	show("expire", start, n_endpoints);
	assert_int_equal(registry_counts(r).n_endpoints, 0);
	registry_free(r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(many_endpoints_are_registered_found_updated_and_expired) };

	if (argc > 1)
		n_endpoints = atoi(argv[1]);
	return cmocka_run_group_tests_name("directory/scale", tests, NULL, NULL);
}
