#include "directory/lookup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/link_format.h"

enum { OPTIONS_MAX = 8 };

static const struct registry_time now = { { 1000 }, { 1700000000000 } };

struct world {
	struct registry *r;
	char locations[8][REGISTRY_LOCATION_BYTES];
	char answer[4096];
};

/* "ep=a et=b" and so on, cut at the blanks. */
static size_t cut(const char *text, struct span *ret)
{
	size_t n = 0;

	for (const char *p = text; *p && n < OPTIONS_MAX; n++) {
		size_t len = strcspn(p, " ");
		ret[n] = SPAN(p, len);
		p += len + (p[len] == ' ');
	}
	return n;
}

static const struct registration *put_scoped(struct world *w, const char *ep, const char *d, const char *base, const char *attributes,
					     const char *links, uint32_t scope)
{
	struct span a[OPTIONS_MAX];
	struct registry_request req = {
		.endpoint = span_str(ep), .sector = span_str(d), .base = span_str(base), .attributes = a, .n_attributes = cut(attributes, a),
		.links = span_str(links), .owner = "", .device = "", .link_scope = scope,
	};
	struct registry_result res;

	assert_true(registry_register(w->r, &req, now, NULL, NULL, &res) >= 0);
	return res.registration;
}

static const struct registration *put(struct world *w, const char *ep, const char *d, const char *base, const char *attributes, const char *links)
{
	return put_scoped(w, ep, d, base, attributes, links, 0);
}

static const char *ask(struct world *w, enum lookup_kind kind, const char *text)
{
	struct span options[OPTIONS_MAX];
	struct lookup_query q;
	const char *why;
	_cleanup_buf_ struct buf b = { 0 };

	if (lookup_query_parse(kind, "rd", 0, options, cut(text, options), &q, &why) < 0)
		return "4.00";
	assert_int_equal(lookup_answer(w->r, &q, &b), 0);
	assert_true(b.n < sizeof(w->answer));
	strcpy(w->answer, buf_str(&b));
	return w->answer;
}

static int n_links(const char *doc)
{
	struct link_reader r;
	struct weblink l;
	int n = 0, e;

	for (link_reader_init(&r, span_str(doc)); (e = link_reader_next(&r, &l)) > 0; n++)
		;
	assert_int_equal(e, 0);
	return n;
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);

	w->r = registry_new(&(struct registry_limits){ 0 }, NULL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	registry_free(w->r);
	free(w);
	return 0;
}

static const char four_links[] = "</sensors/temp>;rt=temperature-c;if=sensor,</sensors/light>;rt=light-lux;if=sensor,"
				 "</t>;anchor=\"/sensors/temp\";rel=alternate,<http://www.example.com/sensors/t123>;anchor=\"/sensors/temp\""
				 ";rel=\"describedby\"";

static void the_four_links_come_back_resolved(void **state) /* RD-52 */
{
	struct world *w = *state;

	put(w, "node1", "", "coap://local-proxy-old.example.com", "", four_links);
	assert_string_equal(ask(w, LOOKUP_RESOURCES, ""),
		"<coap://local-proxy-old.example.com/sensors/temp>;rt=temperature-c;if=sensor,"
		"<coap://local-proxy-old.example.com/sensors/light>;rt=light-lux;if=sensor,"
		"<coap://local-proxy-old.example.com/t>;anchor=\"coap://local-proxy-old.example.com/sensors/temp\";rel=alternate,"
		"<http://www.example.com/sensors/t123>;anchor=\"coap://local-proxy-old.example.com/sensors/temp\";rel=\"describedby\"");
	assert_string_equal(ask(w, LOOKUP_RESOURCES, "anchor=coap://local-proxy-old.example.com/sensors/temp"),
		"<coap://local-proxy-old.example.com/t>;anchor=\"coap://local-proxy-old.example.com/sensors/temp\";rel=alternate,"
		"<http://www.example.com/sensors/t123>;anchor=\"coap://local-proxy-old.example.com/sensors/temp\";rel=\"describedby\"");
	put(w, "node1", "", "coaps://new.example.com:61616/ignored", "", four_links); /* RD-43 */
	assert_string_equal(ask(w, LOOKUP_RESOURCES, "rt=light-lux"), "<coaps://new.example.com:61616/sensors/light>;rt=light-lux;if=sensor");
}

static void full_uris_stay_byte_for_byte_and_dots_are_taken_out_of_paths(void **state) /* RD-52 */
{
	struct world *w = *state;

	put(w, "n", "", "coap://h", "", "<HTTP://Example.com/a/../b?x#y>;rt=x,</a/./b/../c?q=/../z>");
	assert_string_equal(ask(w, LOOKUP_RESOURCES, ""), "<HTTP://Example.com/a/../b?x#y>;rt=x,<coap://h/a/c?q=/../z>");
}

static void endpoints_are_listed_with_all_but_the_lifetime(void **state) /* RD-53 */
{
	struct world *w = *state;
	const struct registration *a = put(w, "node1", "floor 3", "coap://[2001:db8::1]:61616", "et=oic.d.sensor flag model=x\"y", "</a>");
	char want[256];

	(void)snprintf(want, sizeof(want), "</rd/%s>;ep=\"node1\";d=\"floor 3\";base=\"coap://[2001:db8::1]:61616\";et=\"oic.d.sensor\";flag;"
		       "model=\"x\\\"y\";rt=\"core.rd-ep\"", registration_location(a)); /* fits */
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, ""), want);
}

static int fixture(void **state)
{
	struct world *w;

	(void)setup(state);
	w = *state;
	put(w, "node1", "", "coap://[2001:db8::1]", "et=oic.d.light et=x foo=1", "</light>;rt=\"light core.s\";if=\"core.example tag:x,2020:sensor\",</temp>;rt=temperature;obs");
	put(w, "node2", "", "coap://[2001:db8::2]", "et=oic.d.sensor", "</temp>;rt=temperature;title=\"a b\",</other>;anchor=\"http://x.example/doc\"");
	put(w, "node3", "east", "coap://[2001:db8::3]", "flag", "<coap://else.example/light2>;rt=light2");
	put(w, "node1", "east", "coap://[2001:db8::4]", "", "");
	return 0;
}

static void searches_find_what_they_should(void **state)
{
	static const struct {
		const char *query;
		int n_endpoints, n_resources;
	} rows[] = {
		{ "", 4, 5 },
		{ "ep=node1", 2, 2 },
		{ "ep=node2", 1, 2 },
		{ "ep=node9", 0, 0 }, /* RD-61 */
		{ "ep=node*", 4, 5 },
		{ "ep=node1 d=east", 1, 0 }, /* RD-54 */
		{ "d=east", 2, 1 },
		{ "d=e*", 2, 1 },
		{ "d=*", 2, 1 },
		{ "d=", 0, 0 },
		{ "rt=temperature", 2, 2 }, /* RD-56: an endpoint by its links */
		{ "rt=temp*", 2, 2 },
		{ "rt=light", 1, 1 },
		{ "rt=light*", 2, 2 }, /* RD-55 */
		{ "rt=core.s", 1, 1 },
		{ "rt=core.rd-ep", 4, 5 },
		{ "rt=core.rd-ep ep=node2", 1, 2 },
		{ "rt=core*", 4, 5 },
		{ "if=tag:x,2020:sensor", 1, 1 },
		{ "if=tag:x", 0, 0 },
		{ "et=oic.d.light", 1, 2 }, /* RD-56: links by their endpoint */
		{ "et=x", 1, 2 }, /* RD-28 */
		{ "et=oic.d.*", 2, 4 },
		{ "foo=1", 1, 2 },
		{ "foo=2", 0, 0 },
		{ "flag", 1, 1 },
		{ "flag=1", 0, 0 },
		{ "obs", 1, 1 }, /* RD-62 */
		{ "obs=x", 0, 0 },
		{ "unknown=1", 0, 0 },
		{ "title=a*", 1, 1 },
		{ "base=coap://[2001:db8::2]", 1, 2 },
		{ "base=coap://*", 4, 5 },
		{ "rt=temperature et=oic.d.sensor", 1, 1 },
		{ "rt=temperature et=oic.d.nothing", 0, 0 }, /* RD-54 */
		{ "rt=light obs", 1, 0 }, /* met by two links of one endpoint */
		{ "href=coap://[2001:db8::2]/temp", 1, 1 }, /* RD-57 */
		{ "href=coap://[2001:db8::*", 2, 4 },
		{ "href=/temp", 0, 0 },
		{ "href=coap://else.example/light2", 1, 1 },
		{ "href=/rd/*", 4, 5 },
		{ "href=/rd/0000", 0, 0 },
		{ "href=*", 4, 5 },
		{ "anchor=http://x.example/doc", 1, 1 }, /* RD-58 */
		{ "anchor=coap://[2001:db8::1]/", 1, 2 }, /* implied */
		{ "anchor=coap://else.example/", 1, 1 },
		{ "anchor=coap://[2001:db8::2]/", 1, 1 },
		{ "anchor=nonsense", 0, 0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int n_endpoints = n_links(ask(w, LOOKUP_ENDPOINTS, rows[i].query));
		int n_resources = n_links(ask(w, LOOKUP_RESOURCES, rows[i].query));
		if (n_endpoints != rows[i].n_endpoints || n_resources != rows[i].n_resources)
			fail_msg("row %zu: %d endpoints, %d links", i, n_endpoints, n_resources);
	}
}

static void a_registration_is_found_by_its_location(void **state) /* RD-57 */
{
	struct world *w = *state;
	const struct registration *reg = registry_find(w->r, SPAN_LIT("node2"), SPAN_NONE);
	char query[128];

	(void)snprintf(query, sizeof(query), "href=/rd/%s", registration_location(reg)); /* fits */
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, query)), 1);
	assert_int_equal(n_links(ask(w, LOOKUP_RESOURCES, query)), 2);
	(void)snprintf(query, sizeof(query), "href=coap://gateway.example:61616/rd/%s", registration_location(reg));
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, query)), 1);
	(void)snprintf(query, sizeof(query), "href=http://gateway.example/rd/%s", registration_location(reg));
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, query)), 0);
	(void)snprintf(query, sizeof(query), "href=/rd/%s rt=light", registration_location(reg));
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, query)), 0);
}

static void pages_follow_each_other_in_registration_order(void **state) /* RD-59 RD-60 */
{
	struct world *w = *state;
	char links[512] = "", whole[1024] = "", query[32];

	for (int i = 0; i < 12; i++)
		(void)snprintf(links + strlen(links), sizeof(links) - strlen(links), "%s</%c>;rt=p", i ? "," : "", 'a' + i); /* fits */
	put(w, "a", "", "coap://h", "", links);
	put(w, "b", "", "coap://g", "", "</z>;rt=p");
	for (int page = 0; page < 4; page++) {
		(void)snprintf(query, sizeof(query), "rt=p count=5 page=%d", page); /* fits */
		const char *got = ask(w, LOOKUP_RESOURCES, query);
		assert_int_equal(n_links(got), page < 2 ? 5 : page == 2 ? 3 : 0);
		(void)snprintf(whole + strlen(whole), sizeof(whole) - strlen(whole), "%s%s", *whole && *got ? "," : "", got);
	}
	assert_string_equal(ask(w, LOOKUP_RESOURCES, "rt=p"), whole);
	put(w, "a", "", "coap://h", "", "</a>;rt=p"); /* keeps its place */
	assert_string_equal(ask(w, LOOKUP_RESOURCES, "rt=p"), "<coap://h/a>;rt=p,<coap://g/z>;rt=p");
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, "count=1")), 1);
	assert_int_equal(n_links(ask(w, LOOKUP_ENDPOINTS, "count=2 page=0")), 2);
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=0"), "");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=4294967295 page=4294967295"), "");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "page=0"), "4.00");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=x"), "4.00");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=-1"), "4.00");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=4294967296"), "4.00");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count"), "4.00");
	assert_string_equal(ask(w, LOOKUP_ENDPOINTS, "count=1 page=1.5"), "4.00");
}

static void link_local_registrations_stay_on_their_link(void **state) /* RD-65 */
{
	struct world *w = *state;
	struct lookup_query q;
	const char *why;

	put_scoped(w, "n", "", "coap://[fe80::1]", "", "</a>", 7);
	for (uint32_t scope = 0; scope < 10; scope++) {
		_cleanup_buf_ struct buf b = { 0 };
		assert_int_equal(lookup_query_parse(LOOKUP_RESOURCES, "rd", scope, NULL, 0, &q, &why), 0);
		assert_int_equal(lookup_answer(w->r, &q, &b), 0);
		assert_string_equal(buf_str(&b), scope == 7 ? "<coap://[fe80::1]/a>" : "");
	}
}

static void only_candidates_are_visited(void **state)
{
	static const struct {
		const char *query;
		size_t n_visited;
	} rows[] = {
		{ "rt=rare", 10 }, { "ep=n5", 1 }, { "ep=n5 rt=common", 1 }, { "rt=common rt=rare", 10 }, { "rt=none", 0 }, { "et=e7", 1 },
		{ "et=e77*", 11 }, { "d=x", 0 }, { "if=i", 10 }, { "href=/rd/none", 0 }, { "count=3 rt=common", 3 }, { "count=3", 3 },
		{ "foo=x", 1000 }, { "ep=n5*", 1000 },
	};
	struct world *w = *state;
	struct span options[OPTIONS_MAX];
	char ep[16], et[16];
	const char *why;

	for (int i = 0; i < 1000; i++) {
		(void)snprintf(ep, sizeof(ep), "n%d", i);
		(void)snprintf(et, sizeof(et), "et=e%d", i);
		put(w, ep, "", "coap://h", et, i % 100 ? "</a>;rt=common" : "</a>;rt=\"common rare\";if=i");
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct lookup_query q;
		assert_int_equal(lookup_query_parse(LOOKUP_ENDPOINTS, "rd", 0, options, cut(rows[i].query, options), &q, &why), 0);
		struct lookup *l = lookup_new(w->r, &q);
		assert_int_equal(lookup_run(l, 0, &b), 1);
		if (lookup_n_visited(l) != rows[i].n_visited)
			fail_msg("row %zu: %zu visited", i, lookup_n_visited(l));
		lookup_free(l);
	}
}

static void slices_give_the_same_while_the_registry_changes_elsewhere(void **state)
{
	static const char *const queries[] = { "", "rt=a", "rt=a*", "ep=n*", "ep=same" };
	struct world *w = *state;
	struct span options[OPTIONS_MAX];
	char ep[16];
	const char *why;

	for (int i = 0; i < 40; i++) {
		(void)snprintf(ep, sizeof(ep), "n%d", i);
		put(w, ep, "", "coap://h", "", i % 2 ? "</a>;rt=a" : "</b>;rt=\"a ab\"");
		put(w, "same", ep, "coap://h", "", "</s>");
	}
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		_cleanup_buf_ struct buf whole = { 0 }, sliced = { 0 };
		struct lookup_query q;
		int n = 0, e;
		assert_int_equal(lookup_query_parse(LOOKUP_RESOURCES, "rd", 0, options, cut(queries[i], options), &q, &why), 0);
		assert_int_equal(lookup_answer(w->r, &q, &whole), 0);
		assert_true(whole.n > 0);
		struct lookup *l = lookup_new(w->r, &q);
		while ((e = lookup_run(l, 3, &sliced)) == 0 && n++ < 100) {
			const struct registration *other = put(w, "zz", "", "coap://h", "", "");
			assert_int_equal(registry_remove(w->r, span_str(registration_location(other)), NULL, NULL, NULL), 0);
		}
		assert_int_equal(e, 1);
		assert_true(n > 3);
		assert_string_equal(buf_str(&sliced), buf_str(&whole));
		lookup_free(l);
	}
}

static void a_registration_that_leaves_between_slices_is_left_out(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf b = { 0 };
	struct lookup_query q;
	const char *why;

	for (int i = 0; i < 3; i++) {
		char ep[2] = { (char)('a' + i), 0 };
		const struct registration *reg = put(w, ep, "", "coap://h", "", "</a>;rt=x");
		strcpy(w->locations[i], registration_location(reg));
	}
	assert_int_equal(lookup_query_parse(LOOKUP_ENDPOINTS, "rd", 0, (struct span[]){ SPAN_LIT("ep=*"), SPAN_LIT("rt=x*") }, 2, &q, &why), 0);
	struct lookup *l = lookup_new(w->r, &q);
	assert_int_equal(lookup_run(l, 1, &b), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(registry_remove(w->r, span_str(w->locations[i]), NULL, NULL, NULL), 0);
	assert_int_equal(lookup_run(l, 0, &b), 1);
	assert_int_equal(n_links(buf_str(&b)), 1);
	lookup_free(l);
}

static uint64_t stamp(struct world *w, const char *text)
{
	struct span options[OPTIONS_MAX];
	struct lookup_query q;
	const char *why;

	assert_int_equal(lookup_query_parse(LOOKUP_RESOURCES, "rd", 0, options, cut(text, options), &q, &why), 0);
	return lookup_stamp(w->r, &q);
}

static void a_stamp_stays_as_long_as_the_answer(void **state) /* RD-63 */
{
	struct world *w = *state;

	for (int i = 0; i < 50; i++) {
		char ep[16];
		(void)snprintf(ep, sizeof(ep), "m%d", i);
		put(w, ep, "", "coap://h", "", "</m>");
	}
	put(w, "n", "", "coap://h", "", "</a>;rt=a");
	uint64_t a = stamp(w, "rt=a"), b = stamp(w, "rt=b"), all = stamp(w, ""), n = stamp(w, "ep=n");
	put(w, "n", "", "coap://h", "", "</a>;rt=a"); /* nothing new */
	assert_int_equal(stamp(w, ""), all);
	put(w, "o", "", "coap://h", "", "</b>;rt=b");
	assert_int_equal(stamp(w, "rt=a"), a);
	assert_int_not_equal(stamp(w, "rt=b"), b);
	assert_int_not_equal(stamp(w, ""), all);
	assert_int_equal(stamp(w, "ep=n"), n);
	b = stamp(w, "rt=b");
	put(w, "n", "", "coap://other", "", "</a>;rt=a"); /* the content of a match */
	assert_int_not_equal(stamp(w, "rt=a"), a);
	assert_int_not_equal(stamp(w, "ep=n"), n);
	assert_int_equal(stamp(w, "rt=b"), b);
	a = stamp(w, "rt=a");
	const struct registration *reg = registry_find(w->r, SPAN_LIT("n"), SPAN_NONE);
	assert_int_equal(registry_remove(w->r, span_str(registration_location(reg)), NULL, NULL, NULL), 0);
	assert_int_not_equal(stamp(w, "rt=a"), a);
	put(w, "n", "", "coap://other", "", "</a>;rt=a");
	assert_int_not_equal(stamp(w, "rt=a"), a); /* never used again */
}

static void too_many_criteria_are_refused(void **state)
{
	struct span options[LOOKUP_CRITERIA_MAX + 1];
	struct lookup_query q;
	const char *why;

	(void)state;
	for (size_t i = 0; i <= LOOKUP_CRITERIA_MAX; i++)
		options[i] = SPAN_LIT("rt=x");
	assert_int_equal(lookup_query_parse(LOOKUP_RESOURCES, "rd", 0, options, LOOKUP_CRITERIA_MAX, &q, &why), 0);
	assert_int_equal(lookup_query_parse(LOOKUP_RESOURCES, "rd", 0, options, LOOKUP_CRITERIA_MAX + 1, &q, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_four_links_come_back_resolved, setup, teardown),
		cmocka_unit_test_setup_teardown(full_uris_stay_byte_for_byte_and_dots_are_taken_out_of_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(endpoints_are_listed_with_all_but_the_lifetime, setup, teardown),
		cmocka_unit_test_setup_teardown(searches_find_what_they_should, fixture, teardown),
		cmocka_unit_test_setup_teardown(a_registration_is_found_by_its_location, fixture, teardown),
		cmocka_unit_test_setup_teardown(pages_follow_each_other_in_registration_order, setup, teardown),
		cmocka_unit_test_setup_teardown(link_local_registrations_stay_on_their_link, setup, teardown),
		cmocka_unit_test_setup_teardown(only_candidates_are_visited, setup, teardown),
		cmocka_unit_test_setup_teardown(slices_give_the_same_while_the_registry_changes_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_that_leaves_between_slices_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stamp_stays_as_long_as_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_criteria_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("directory/lookup", tests, NULL, NULL);
}
