/* The handlers by themselves, with a clock of ours; over sockets and with a store behind: test_rd_wire.c. */
#include "directory/rd_coap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"

struct world {
	struct registry_time now;
	struct registry *registry;
	struct devices *devices;
	struct rd_coap *rd;
	struct coap_response res;
	char location[64], body[4096], request[20000];
};

static struct registry_time clock_of(void *ctx)
{
	return ((struct world *)ctx)->now;
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);
	const struct registry_limits limits = { .max_endpoints = 6, .max_links = 3, .max_per_owner = 2, .max_links_bytes = 300, .grace_s = 60 };

	w->now = (struct registry_time){ { 1000 }, { 1700000000000 } };
	w->registry = registry_new(&limits, NULL);
	assert_int_equal(devices_open(&(struct devices_config){ .open = true }, &w->devices), 0);
	assert_int_equal(rd_coap_open(&(struct rd_coap_config){
		.registry = w->registry, .devices = w->devices, .path = "rd", .lookup_ep_path = "rd-lookup/ep", .lookup_res_path = "rd-lookup/res",
		.durable = true, .max_links_bytes = 300, .now = clock_of, .now_ctx = w }, &w->rd), 0);
	coap_response_init(&w->res);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	coap_response_done(&w->res);
	rd_coap_close(w->rd);
	devices_close(w->devices);
	registry_free(w->registry);
	free(w);
	return 0;
}

static struct coap_peer plain(void)
{
	return (struct coap_peer){ .addr = "127.0.0.1:4000", .is_loopback = true, .port = 4000 };
}

static struct coap_peer secure(const char *identity)
{
	struct coap_peer p = { .secure = true, .addr = "[2001:db8::1]:5684", .port = 5684 };

	strcpy(p.identity, identity);
	return p;
}

static void give_psk(struct world *w, const char *identity, const char *device, unsigned roles)
{
	struct credential c = { .kind = CREDENTIAL_PSK, .roles = roles, .n_secret = 16 };

	strcpy(c.identity, identity);
	strcpy(c.device, device);
	assert_int_equal(devices_credential_put(w->devices, &c, NULL, NULL), 0);
}

static size_t cut(char *text, char sep, struct span *ret, size_t max)
{
	size_t n = 0;

	for (char *p = text; *p && n < max; n++) {
		char *end = strchr(p, sep);
		size_t len = end ? (size_t)(end - p) : strlen(p);
		ret[n] = SPAN(p, len);
		p += len + (end != NULL);
	}
	return n;
}

/* "rd?ep=a&lt=1" */
static uint8_t ask_as(struct world *w, const struct coap_peer *peer, enum coap_method method, const char *uri, const char *body, int format,
		      int accept)
{
	struct coap_request req = { .method = (uint8_t)method, .peer = *peer, .accept = accept, .content_format = format, .observe = -1,
				    .body = span_str(body) };
	coap_handler_fn *fn;

	assert_true(strlen(uri) < sizeof(w->request));
	strcpy(w->request, uri);
	char *query = strchr(w->request, '?');
	if (query) {
		*query++ = 0;
		req.n_query = cut(query, '&', req.query, COAP_QUERY_MAX);
	}
	req.n_path = cut(w->request, '/', req.path, COAP_PATH_MAX);
	fn = span_eq_str(req.path[0], "rd") ? rd_coap_directory : span_eq_str(req.path[1], "ep") ? rd_coap_lookup_ep : rd_coap_lookup_res;
	coap_response_done(&w->res);
	coap_response_init(&w->res);
	assert_int_equal(fn(w->rd, &req, &w->res), COAP_HANDLER_DONE);
	assert_true(w->res.body.n < sizeof(w->body));
	strcpy(w->body, buf_str(&w->res.body));
	if (w->res.code == COAP_201_CREATED) {
		assert_int_equal(w->res.n_location, 2);
		(void)snprintf(w->location, sizeof(w->location), "%s/%s", w->res.location[0], w->res.location[1]); /* fits */
	}
	if (w->res.code >= COAP_400_BAD_REQUEST)
		assert_true(w->res.body.n > 0); /* every refusal says why */
	return w->res.code;
}

static uint8_t ask(struct world *w, enum coap_method method, const char *uri, const char *body)
{
	struct coap_peer p = plain();

	return ask_as(w, &p, method, uri, body, *body ? COAP_CF_LINK : COAP_CF_NONE, COAP_CF_NONE);
}

static uint8_t ask_psk(struct world *w, const char *identity, enum coap_method method, const char *uri)
{
	struct coap_peer p = secure(identity);

	return ask_as(w, &p, method, uri, "", COAP_CF_NONE, COAP_CF_NONE);
}

static void later(struct world *w, int64_t s)
{
	w->now.mono.ms += s * 1000;
	w->now.wall.ms += s * 1000;
	while (registry_expire(w->registry, w->now) == 0)
		;
}

static void an_empty_directory_answers_both_lookups(void **state) /* RD-2 RD-3 RD-61 */
{
	struct world *w = *state;

	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/ep", ""), COAP_205_CONTENT);
	assert_int_equal(w->res.content_format, COAP_CF_LINK);
	assert_string_equal(w->body, "");
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res?rt=none", ""), COAP_205_CONTENT);
	assert_string_equal(w->body, "");
}

static void a_registration_goes_its_way(void **state) /* RD-20 RD-21 RD-25 RD-42 RD-43 RD-46 RD-53 */
{
	struct world *w = *state;
	char first[64], uri[128], want[256];

	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=node1&lt=600&et=a", "</a>;rt=x"), COAP_201_CREATED);
	strcpy(first, w->location);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_string_equal(w->body, "<coap://127.0.0.1:4000/a>;rt=x");
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/ep?rt=x", ""), COAP_205_CONTENT);
	(void)snprintf(want, sizeof(want), "</%s>;ep=\"node1\";base=\"coap://127.0.0.1:4000\";et=\"a\";rt=\"core.rd-ep\"", first); /* fits */
	assert_string_equal(w->body, want);
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=node1", "</b>"), COAP_201_CREATED);
	assert_string_equal(w->location, first);
	(void)snprintf(uri, sizeof(uri), "%s?base=coap://other", first); /* fits */
	assert_int_equal(ask(w, COAP_M_POST, uri, ""), COAP_204_CHANGED);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_string_equal(w->body, "<coap://other/b>");
	assert_int_equal(ask(w, COAP_M_GET, first, ""), COAP_205_CONTENT);
	assert_string_equal(w->body, "</b>");
	assert_int_equal(ask(w, COAP_M_DELETE, first, ""), COAP_202_DELETED);
	assert_int_equal(ask(w, COAP_M_DELETE, first, ""), COAP_404_NOT_FOUND);
	assert_int_equal(ask(w, COAP_M_POST, first, ""), COAP_404_NOT_FOUND);
	assert_int_equal(ask(w, COAP_M_GET, first, ""), COAP_404_NOT_FOUND);
}

static void bad_requests_are_refused_with_the_right_code(void **state) /* RD-22 RD-23 RD-24 RD-26 RD-27 RD-29 RD-30 RD-31 RD-42 RD-45 */
{
	static const struct {
		enum coap_method method;
		const char *uri, *body;
		int format;
		uint8_t code;
	} rows[] = {
		{ COAP_M_POST, "rd", "", COAP_CF_NONE, COAP_400_BAD_REQUEST }, /* no ep */
		{ COAP_M_POST, "rd?ep=", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&ep=b", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a\001", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=0123456789012345678901234567890123456789012345678901234567890123", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&lt=0", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&lt=4294967296", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&lt=abc", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&lt", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&base=foo", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&base=", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&base=coap://h?x", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&base=coap://[fe80::1%25eth0]", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&page=1", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a&rt=x", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a", "<sensors/x>", COAP_CF_LINK, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a", "<//h/x>", COAP_CF_LINK, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a", "garbage", COAP_CF_LINK, COAP_400_BAD_REQUEST },
		{ COAP_M_POST, "rd?ep=a", "</x>", COAP_CF_NONE, COAP_415_FORMAT },
		{ COAP_M_POST, "rd?ep=a", "</x>", COAP_CF_CBOR, COAP_415_FORMAT },
		{ COAP_M_POST, "rd?ep=a", "</1>,</2>,</3>,</4>", COAP_CF_LINK, COAP_413_TOO_LARGE },
		{ COAP_M_POST, "rd/none", "", COAP_CF_NONE, COAP_404_NOT_FOUND },
		{ COAP_M_POST, "rd/none/more", "", COAP_CF_NONE, COAP_404_NOT_FOUND },
		{ COAP_M_DELETE, "rd/none", "", COAP_CF_NONE, COAP_404_NOT_FOUND },
		{ COAP_M_GET, "rd/none", "", COAP_CF_NONE, COAP_404_NOT_FOUND },
		{ COAP_M_GET, "rd", "", COAP_CF_NONE, COAP_405_METHOD },
		{ COAP_M_DELETE, "rd", "", COAP_CF_NONE, COAP_405_METHOD },
		{ COAP_M_GET, "rd-lookup/ep?page=1", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
		{ COAP_M_GET, "rd-lookup/res?count=x", "", COAP_CF_NONE, COAP_400_BAD_REQUEST },
	};
	struct world *w = *state;
	struct coap_peer p = plain();
	char uri[128], big[400];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (ask_as(w, &p, rows[i].method, rows[i].uri, rows[i].body, rows[i].format, COAP_CF_NONE) != rows[i].code)
			fail_msg("row %zu: %u.%02u %s", i, w->res.code >> 5, w->res.code & 31, w->body);
	assert_int_equal(registry_counts(w->registry).n_endpoints, 0);
	(void)snprintf(big, sizeof(big), "</%0301d>", 0); /* fits */
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=a", big), COAP_413_TOO_LARGE);
	assert_int_equal(w->res.size1, 300);
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=a", ""), COAP_201_CREATED);
	(void)snprintf(uri, sizeof(uri), "%s?ep=b", w->location); /* fits */
	assert_int_equal(ask(w, COAP_M_POST, uri, ""), COAP_400_BAD_REQUEST);
	(void)snprintf(uri, sizeof(uri), "%s?d=b", w->location);
	assert_int_equal(ask(w, COAP_M_POST, uri, ""), COAP_400_BAD_REQUEST);
	assert_int_equal(ask(w, COAP_M_POST, w->location, "</x>"), COAP_400_BAD_REQUEST);
}

static void the_port_of_the_scheme_is_left_out_of_the_base(void **state) /* RD-25 */
{
	static const struct {
		bool secure;
		const char *addr, *base;
	} rows[] = {
		{ false, "127.0.0.1:5683", "coap://127.0.0.1" }, { false, "127.0.0.1:5684", "coap://127.0.0.1:5684" },
		{ false, "[2001:db8::1]:5683", "coap://[2001:db8::1]" }, { false, "[::1]:61616", "coap://[::1]:61616" },
		{ true, "[2001:db8::1]:5684", "coaps://[2001:db8::1]" }, { true, "[2001:db8::1]:5683", "coaps://[2001:db8::1]:5683" },
	};
	struct world *w = *state;

	give_psk(w, "a", "", ROLE_ADMIN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_peer p = rows[i].secure ? secure("a") : plain();
		strcpy(p.addr, rows[i].addr);
		assert_int_equal(ask_as(w, &p, COAP_M_POST, rows[i].secure ? "rd?ep=s" : "rd?ep=n", "", COAP_CF_NONE, COAP_CF_NONE), COAP_201_CREATED);
		const struct registration *reg = registry_find(w->registry, rows[i].secure ? SPAN_LIT("s") : SPAN_LIT("n"), SPAN_NONE);
		assert_true(span_eq_str(registration_base(reg), rows[i].base));
	}
}

static void lookups_have_etags_and_one_format(void **state) /* RD-4 RD-64 RD-67 */
{
	struct world *w = *state;
	struct coap_peer p = plain();

	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=a", "</a>"), COAP_201_CREATED);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	struct coap_etag before = w->res.etag;
	assert_int_equal(before.n, 8);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_true(coap_etag_eq(&before, &w->res.etag));
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=b", "</b>"), COAP_201_CREATED);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_false(coap_etag_eq(&before, &w->res.etag));
	for (int i = 0; i < 3; i++) {
		const char *uri = i == 0 ? "rd-lookup/res" : i == 1 ? "rd-lookup/ep" : w->location;
		assert_int_equal(ask_as(w, &p, COAP_M_GET, uri, "", COAP_CF_NONE, COAP_CF_JSON), COAP_406_NOT_ACCEPTABLE);
		assert_int_equal(ask_as(w, &p, COAP_M_GET, uri, "", COAP_CF_NONE, COAP_CF_LINK), COAP_205_CONTENT);
	}
}

static void expiry_shows_in_lookups_and_grace_in_updates(void **state) /* RD-47 */
{
	struct world *w = *state;

	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=a&lt=1", "</a>"), COAP_201_CREATED);
	later(w, 2);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_string_equal(w->body, "");
	later(w, 3);
	assert_int_equal(ask(w, COAP_M_POST, w->location, ""), COAP_204_CHANGED);
	assert_int_equal(ask(w, COAP_M_GET, "rd-lookup/res", ""), COAP_205_CONTENT);
	assert_string_not_equal(w->body, "");
	later(w, 62);
	assert_int_equal(ask(w, COAP_M_POST, w->location, ""), COAP_404_NOT_FOUND);
}

static void limits_have_their_codes(void **state) /* RD-87 */
{
	struct world *w = *state;
	char uri[32];

	give_psk(w, "tool", "", ROLE_ADMIN);
	assert_int_equal(ask_psk(w, "tool", COAP_M_POST, "rd?ep=t1"), COAP_201_CREATED);
	assert_int_equal(ask_psk(w, "tool", COAP_M_POST, "rd?ep=t2"), COAP_201_CREATED);
	assert_int_equal(ask_psk(w, "tool", COAP_M_POST, "rd?ep=t3"), COAP_429_TOO_MANY);
	assert_int_equal(w->res.max_age_s, 60);
	for (int i = 0; i < 100000; i++) {
		(void)snprintf(uri, sizeof(uri), "rd?ep=n%d", i); /* fits */
		uint8_t code = ask(w, COAP_M_POST, uri, "");
		if (code != (i < 4 ? COAP_201_CREATED : COAP_503_UNAVAILABLE))
			fail_msg("endpoint %d: %u", i, code);
	}
	assert_int_equal(w->res.max_age_s, 60);
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=n0", ""), COAP_201_CREATED); /* who is in stays in */
	assert_int_equal(registry_counts(w->registry).n_endpoints, 6);
}

static void first_come_first_remembered_by_security_identity(void **state) /* RD-80 RD-82 RD-83 */
{
	struct world *w = *state;
	char at[64];

	give_psk(w, "alice", "", ROLE_DEVICE);
	give_psk(w, "bob", "", ROLE_DEVICE);
	assert_int_equal(ask_psk(w, "alice", COAP_M_POST, "rd?ep=n1"), COAP_201_CREATED);
	strcpy(at, w->location);
	assert_int_equal(ask_psk(w, "bob", COAP_M_POST, "rd?ep=n1"), COAP_403_FORBIDDEN);
	assert_int_equal(ask_psk(w, "bob", COAP_M_POST, at), COAP_403_FORBIDDEN);
	assert_int_equal(ask_psk(w, "bob", COAP_M_DELETE, at), COAP_403_FORBIDDEN);
	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=n1", ""), COAP_401_UNAUTHORIZED); /* that device has a credential */
	assert_int_equal(ask(w, COAP_M_DELETE, at, ""), COAP_403_FORBIDDEN);
	assert_int_equal(ask_psk(w, "bob", COAP_M_POST, "rd?ep=alice"), COAP_201_CREATED); /* subjects are not names */
	assert_int_equal(ask_psk(w, "alice", COAP_M_DELETE, at), COAP_202_DELETED);
}

static void a_credential_names_its_endpoint(void **state) /* RD-23 */
{
	struct world *w = *state;
	struct device a = { .id = "dev-a", .state = DEVICE_ENROLLED }, b = { .id = "dev-b", .state = DEVICE_ENROLLED };

	assert_int_equal(devices_put(w->devices, &a, w->now.wall, NULL, NULL), 0);
	assert_int_equal(devices_put(w->devices, &b, w->now.wall, NULL, NULL), 0);
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	assert_int_equal(ask_psk(w, "psk-a", COAP_M_POST, "rd"), COAP_201_CREATED);
	assert_string_equal(registration_device(registry_find(w->registry, SPAN_LIT("dev-a"), SPAN_NONE)), "dev-a");
	assert_int_equal(ask_psk(w, "psk-a", COAP_M_POST, "rd?ep=dev-b"), COAP_403_FORBIDDEN);
	assert_int_equal(ask_psk(w, "psk-a", COAP_M_POST, "rd?ep=dev-a"), COAP_201_CREATED);
}

static void registering_and_searching_are_separate_rights(void **state) /* RD-85 RD-86 */
{
	static const struct {
		const char *identity;          /* "" = plain from afar, "local" = plain from here */
		bool open;
		uint8_t may_register, may_search;
	} rows[] = {
		{ "device", false, COAP_201_CREATED, COAP_205_CONTENT }, { "admin", false, COAP_201_CREATED, COAP_205_CONTENT },
		{ "viewer", false, COAP_403_FORBIDDEN, COAP_205_CONTENT }, { "nobody", false, COAP_403_FORBIDDEN, COAP_403_FORBIDDEN },
		{ "", false, COAP_401_UNAUTHORIZED, COAP_401_UNAUTHORIZED }, { "", true, COAP_401_UNAUTHORIZED, COAP_401_UNAUTHORIZED },
		{ "local", false, COAP_401_UNAUTHORIZED, COAP_401_UNAUTHORIZED }, { "local", true, COAP_201_CREATED, COAP_205_CONTENT },
	};
	struct world *w = *state;

	give_psk(w, "device", "", ROLE_DEVICE);
	give_psk(w, "admin", "", ROLE_ADMIN);
	give_psk(w, "viewer", "", ROLE_VIEWER);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bool is_local = strcmp(rows[i].identity, "local") == 0;
		struct coap_peer p = !rows[i].identity[0] || is_local ? plain() : secure(rows[i].identity);
		char uri[32];
		p.is_loopback = is_local;
		devices_set_open(w->devices, rows[i].open, false, false);
		(void)snprintf(uri, sizeof(uri), "rd?ep=n%zu", i); /* fits */
		uint8_t may_register = ask_as(w, &p, COAP_M_POST, uri, "", COAP_CF_NONE, COAP_CF_NONE);
		uint8_t may_search = ask_as(w, &p, COAP_M_GET, "rd-lookup/ep", "", COAP_CF_NONE, COAP_CF_NONE);
		uint8_t may_read = ask_as(w, &p, COAP_M_GET, "rd/x", "", COAP_CF_NONE, COAP_CF_NONE);
		if (may_register != rows[i].may_register || may_search != rows[i].may_search ||
		    may_read != (may_search == COAP_205_CONTENT ? COAP_404_NOT_FOUND : may_search))
			fail_msg("row %zu: %u %u %u", i, may_register, may_search, may_read);
	}
}

static void claims_reach_the_device_and_only_from_itself(void **state)
{
	struct world *w = *state;
	char uri[128];

	assert_int_equal(ask(w, COAP_M_POST, "rd?ep=n1&seq=3&wake=60&vid=2f1b8cf0-8ed2-5a2e-8f44-0c9d0d0b3a01", ""), COAP_201_CREATED);
	const struct device *d = devices_get(w->devices, "n1");
	assert_non_null(d);
	assert_true(d->model.has_vendor);
	assert_int_equal(d->components[0].sequence, 3);
	later(w, 5);
	(void)snprintf(uri, sizeof(uri), "%s?seq=4", w->location); /* fits */
	assert_int_equal(ask(w, COAP_M_POST, uri, ""), COAP_204_CHANGED);
	assert_int_equal(d->components[0].sequence, 4);
	assert_int_equal(ask(w, COAP_M_POST, w->location, ""), COAP_204_CHANGED);
	assert_int_equal(d->components[0].sequence, 4); /* an attribute said once is not said again by a refresh */
	assert_int_equal(d->last_seen.ms, w->now.wall.ms);
	give_psk(w, "tool", "", ROLE_ADMIN);
	(void)snprintf(uri, sizeof(uri), "%s?seq=9", w->location);
	assert_int_equal(ask_psk(w, "tool", COAP_M_POST, uri), COAP_204_CHANGED); /* nothing was remembered of a plain one */
	assert_int_equal(d->components[0].sequence, 4);
	assert_string_equal(d->identity, "");
}

static void link_local_registrations_are_seen_on_their_link(void **state) /* RD-65 */
{
	struct world *w = *state;
	struct coap_peer p = { .addr = "[fe80::1]:5683", .is_link_local = true, .link = 3 }, other = p, local = plain();

	other.link = 4;
	assert_int_equal(ask_as(w, &p, COAP_M_POST, "rd?ep=n", "</a>", COAP_CF_LINK, COAP_CF_NONE), COAP_201_CREATED);
	assert_int_equal(ask_as(w, &p, COAP_M_GET, "rd-lookup/res", "", COAP_CF_NONE, COAP_CF_NONE), COAP_205_CONTENT);
	assert_string_equal(w->body, "<coap://[fe80::1]/a>");
	assert_int_equal(ask_as(w, &p, COAP_M_GET, w->location, "", COAP_CF_NONE, COAP_CF_NONE), COAP_205_CONTENT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask_as(w, i ? &other : &local, COAP_M_GET, "rd-lookup/res", "", COAP_CF_NONE, COAP_CF_NONE), COAP_205_CONTENT);
		assert_string_equal(w->body, "");
		assert_int_equal(ask_as(w, i ? &other : &local, COAP_M_GET, w->location, "", COAP_CF_NONE, COAP_CF_NONE), COAP_404_NOT_FOUND);
	}
}

static void paths_can_be_renamed_within_reason(void **state) /* RD-5 */
{
	struct world *w = *state;
	struct rd_coap_config c = { .registry = w->registry, .devices = w->devices, .path = "a/b/c", .lookup_ep_path = "e", .lookup_res_path = "r" };
	struct rd_coap *other;

	assert_int_equal(rd_coap_open(&c, &other), 0);
	rd_coap_close(other);
	c.path = "a/b/c/d"; /* the location would not fit */
	assert_int_equal(rd_coap_open(&c, &other), -EINVAL);
	c.path = "";
	assert_int_equal(rd_coap_open(&c, &other), -EINVAL);
}

static void notifications_answer_what_is_there(void **state)
{
	struct world *w = *state;
	struct coap_request req = { .method = COAP_M_GET, .peer = plain(), .accept = COAP_CF_NONE, .content_format = COAP_CF_NONE,
				    .is_notify = true, .n_path = 2, .path = { SPAN_LIT("rd-lookup"), SPAN_LIT("res") } };

	for (int i = 0; i < 3; i++) {
		coap_response_done(&w->res);
		coap_response_init(&w->res);
		assert_int_equal(rd_coap_lookup_res(w->rd, &req, &w->res), COAP_HANDLER_DONE);
		assert_int_equal(w->res.code, COAP_205_CONTENT);
		assert_int_equal(ask(w, COAP_M_POST, "rd?ep=n", i ? "</b>" : "</a>"), COAP_201_CREATED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_directory_answers_both_lookups, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_goes_its_way, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_requests_are_refused_with_the_right_code, setup, teardown),
		cmocka_unit_test_setup_teardown(the_port_of_the_scheme_is_left_out_of_the_base, setup, teardown),
		cmocka_unit_test_setup_teardown(lookups_have_etags_and_one_format, setup, teardown),
		cmocka_unit_test_setup_teardown(expiry_shows_in_lookups_and_grace_in_updates, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_have_their_codes, setup, teardown),
		cmocka_unit_test_setup_teardown(first_come_first_remembered_by_security_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(a_credential_names_its_endpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(registering_and_searching_are_separate_rights, setup, teardown),
		cmocka_unit_test_setup_teardown(claims_reach_the_device_and_only_from_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(link_local_registrations_are_seen_on_their_link, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_can_be_renamed_within_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(notifications_answer_what_is_there, setup, teardown),
	};

	log_set_max_priority(LOG_CRIT);
	return cmocka_run_group_tests_name("directory/rd_coap", tests, NULL, NULL);
}
