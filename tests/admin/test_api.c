/* The route table and everything behind it, called as a face calls it: who may, what is refused and how, and how lists page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "place.h"

static const char id_a[] = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
static const char id_b[] = "a1a1a1a1b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2";
static const char id_c[] = "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3";
static const char job_a[] = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", job_b[] = "0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b";
static const char key_hex[] = "00112233445566778899aabbccddeeff";

static int setup(void **state)
{
	struct place *p = NEW(struct place);

	place_open(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	place_close(*state);
	free(*state);
	return 0;
}

/* A path of this route with something in the place of its {parts}. */
static void path_of(const struct api_route *r, const char *part, char *ret, size_t n)
{
	const char *open = strchr(r->path, '{');

	if (open)
		(void)snprintf(ret, n, "%.*s%s%s", (int)(open - r->path), r->path, part, strchr(open, '}') + 1);
	else
		(void)snprintf(ret, n, "%s", r->path);
}

static void what_is_not_in_the_table_is_404(void **state)
{
	static const char *const paths[] = { "", "/", "nothing", "status/", "statu", "statuss", "devices/", "devices/a/b", "updates//verdict",
					     "updates/a/verdict/", "jobs/a/retry/x", "events", "openapi.json", "devices//state", "{id}" };
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		place_assert_problem(place_ask(p, HTTP_GET, paths[i], NULL, NULL), 404, "no such resource");
}

static void what_stands_for_an_id_is_bounded(void **state)
{
	struct place *p = *state;
	char path[API_PARAM_BYTES + 20] = "updates/";

	memset(path + 8, 'a', API_PARAM_BYTES - 1);
	place_assert_problem(place_ask(p, HTTP_GET, path, NULL, NULL), 404, "no update");
	path[8 + API_PARAM_BYTES - 1] = 'a';
	place_assert_problem(place_ask(p, HTTP_GET, path, NULL, NULL), 404, "no such resource");
}

static void another_method_is_405_and_told_which_would_do(void **state)
{
	static const enum http_method methods[] = { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_PATCH };
	struct place *p = *state;
	char path[100];

	for (size_t i = 0; api_route_at(i); i++) {
		unsigned known = 0;
		for (size_t k = 0; api_route_at(k); k++)
			known |= strcmp(api_route_at(k)->path, api_route_at(i)->path) == 0 ? api_route_at(k)->method : 0;
		path_of(api_route_at(i), "x", path, sizeof(path));
		for (size_t k = 0; k < sizeof(methods) / sizeof(*methods); k++) {
			if (methods[k] & known)
				continue;
			place_assert_problem(place_ask(p, methods[k], path, NULL, NULL), 405, "method");
			assert_int_equal(p->answer.allow & known, known);
			assert_int_equal(p->answer.allow & methods[k], 0);
		}
	}
}

static void viewers_look_admins_touch_others_nothing(void **state)
{
	struct place *p = *state;
	char path[100];

	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		path_of(r, "x", path, sizeof(path));
		assert_true(r->role == ROLE_ADMIN || r->method == HTTP_GET); /* whatever changes something needs an admin */
		p->roles = ROLE_DEVICE;
		place_assert_problem(place_ask(p, r->method, path, NULL, NULL), 403, r->role == ROLE_ADMIN ? "admin role" : "viewer role");
		p->roles = ROLE_VIEWER;
		assert_int_equal(place_ask(p, r->method, path, NULL, NULL)->status == 403, r->role == ROLE_ADMIN);
		p->roles = ROLE_ADMIN;         /* is a viewer too */
		assert_int_not_equal(place_ask(p, r->method, path, NULL, NULL)->status, 403);
	}
	assert_int_equal(fakes.n_refreshed, 1);        /* by the admin alone */
}

static void secrets_and_enrolment_are_not_there_over_coap(void **state)
{
	struct place *p = *state;
	char path[100];

	p->is_coap = true;
	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		if (!r->is_http_only)
			continue;
		path_of(r, "x", path, sizeof(path));
		int status = place_ask(p, r->method, path, NULL, NULL)->status;
		assert_true(status == 404 || status == 405);
		assert_int_equal(p->answer.allow & r->method, 0);
	}
	assert_int_equal(place_get(p, "status", NULL), 200);
}

/* ---- lists ---- */

static void a_limit_is_a_number_in_bounds(void **state)
{
	static const char *const wrong[] = { "limit=0", "limit=1001", "limit=", "limit=x", "limit=-1", "limit=+1", "limit=1 ", "limit=01",
					     "limit=99999999999999999999" };
	struct place *p = *state;
	size_t n_lists = 0;

	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		if (r->answer != API_LIST || strncmp(r->path, "multicast/", 10) == 0 || strncmp(r->path, "ble/", 4) == 0)
			continue; /* those have a test of their own */
		n_lists++;
		assert_int_equal(place_get(p, r->path, "limit=1"), 200);
		assert_int_equal(place_get(p, r->path, "limit=1000"), 200);
		for (size_t k = 0; k < sizeof(wrong) / sizeof(*wrong); k++)
			place_assert_problem(place_ask(p, HTTP_GET, r->path, wrong[k], NULL), 400, "1 to 1000");
	}
	assert_true(n_lists >= 10);
}

static void fill(struct place *p)
{
	struct credential k = { .kind = CREDENTIAL_PSK, .roles = ROLE_VIEWER, .n_secret = 16 };
	const char *const updates[] = { id_a, id_b, id_c };
	char name[24];

	for (int i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "node-%d", i);
		place_add_device(p, name);
		(void)place_add_endpoint(p, name);
		(void)text_copy(k.identity, sizeof(k.identity), span_str(name)); /* fits */
		assert_int_equal(devices_credential_put(p->devices, &k, NULL, NULL), 0);
		assert_int_equal(image_cache_put(p->images, span_str(name), NULL), 0);
		audit_log_append(p->audit, wall_now(), "test", name, SPAN_LIT("{}"), NULL, NULL);
		log_fields(EV_DEVICE_SEEN, LOG_DEBUG, ({ "GW_DEVICE", name }), "event of %s", name);
	}
	db_flush(p->db);
	for (size_t i = 0; i < 3; i++) {
		struct rollout *r = &fakes.rollouts[fakes.n_rollouts++];
		place_add_update(updates[i], i == 1 ? UPDATE_HELD : UPDATE_AVAILABLE);
		*r = (struct rollout){ .state = ROLLOUT_RUNNING };
		(void)text_copy(r->id, sizeof(r->id), SPAN(updates[i], 32));        /* fits */
		(void)text_copy(r->update, sizeof(r->update), span_str(updates[i])); /* fits */
		(void)snprintf(fakes.sources[fakes.n_sources++].name, SOURCE_NAME_BYTES, "source-%zu", i); /* fits */
	}
	place_add_job(job_a, id_a, "node-0", JOB_TRANSFERRING);
	place_add_job(job_b, id_a, "node-1", JOB_FAILED);
	place_add_job("0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", id_c, "node-1", JOB_QUEUED);
}

/* The values of key in all pages of this size, in order. */
static void read_pages(struct place *p, const char *path, const char *filter, size_t limit, const char *key, struct buf *ret)
{
	_cleanup_buf_ struct buf after = { 0 }, query = { 0 };
	size_t n_pages = 0;

	do {
		buf_clear(&query);
		buf_printf(&query, "limit=%zu%s%s", limit, *filter ? "&" : "", filter);
		if (after.n)
			buf_printf(&query, "&after=%s", buf_str(&after));
		assert_int_equal(place_get(p, path, buf_str(&query)), 200);
		const struct json_value *items = json_get(p->answer.root, "items");
		assert_true(json_is_array(items) && json_n(items) <= limit);
		for (size_t i = 0; i < json_n(items); i++) {
			json_dump(json_get(json_at(items, i), key), false, ret);
			buf_add_str(ret, " ");
		}
		assert_true(json_n(p->answer.root) == 3);
		const char *next = json_get_str(p->answer.root, "next");
		buf_clear(&after);
		buf_add_str(&after, next ? next : "");
		assert_true(++n_pages < 20);
	} while (after.n);
}

static void every_list_gives_the_same_in_pages_of_any_size(void **state)
{
	static const struct { const char *path, *key; size_t n; } lists[] = {
		{ "devices", "id", 5 }, { "endpoints", "endpoint", 5 }, { "credentials", "identity", 5 }, { "images", "digest", 5 },
		{ "updates", "id", 3 }, { "rollouts", "id", 3 }, { "jobs", "id", 3 }, { "sources", "name", 3 }, { "audit", "index", 5 },
	};
	struct place *p = *state;

	fill(p);
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		_cleanup_buf_ struct buf whole = { 0 };
		int64_t total;
		read_pages(p, lists[i].path, "", API_LIMIT_MAX, lists[i].key, &whole);
		assert_int_equal(json_n(json_get(p->answer.root, "items")), lists[i].n);
		for (size_t limit = 1; limit <= lists[i].n + 1; limit++) {
			_cleanup_buf_ struct buf pages = { 0 };
			read_pages(p, lists[i].path, "", limit, lists[i].key, &pages);
			assert_string_equal(buf_str(&pages), buf_str(&whole));
			assert_true(json_get_int(p->answer.root, "total", &total) && total == (int64_t)lists[i].n);
		}
	}
}

static void recent_events_go_on_after_an_id(void **state)
{
	struct place *p = *state;
	_cleanup_buf_ struct buf query = { 0 };
	int64_t last, id;

	fill(p);
	assert_int_equal(place_get(p, "events/recent", "limit=2"), 200);       /* the last two */
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 2);
	assert_true(json_get_int(json_at(json_get(p->answer.root, "items"), 1), "id", &last));
	assert_string_equal(json_get_str(json_get(json_at(json_get(p->answer.root, "items"), 1), "data"), "text"), "event of node-4");
	buf_printf(&query, "limit=1&after=%lld", (long long)last - 2);
	assert_int_equal(place_get(p, "events/recent", buf_str(&query)), 200);
	assert_true(json_get_int(json_at(json_get(p->answer.root, "items"), 0), "id", &id));
	assert_int_equal(id, last - 1);
	assert_non_null(json_get_str(p->answer.root, "next"));
	buf_clear(&query);
	buf_printf(&query, "after=%lld", (long long)last);
	assert_int_equal(place_get(p, "events/recent", buf_str(&query)), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 0);
	assert_int_equal(place_get(p, "events/recent", "types=job-state"), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 0);
}

static void filters_choose_and_page(void **state)
{
	struct place *p = *state;
	static const struct { const char *path, *filter, *key, *want; } rows[] = {
		{ "updates", "state=available", "sequence", "1 3 " }, { "updates", "state=held", "sequence", "2 " },
		{ "updates", "state=recalled", "sequence", "" },
		{ "jobs", "state=open", "state", "\"transferring\" \"queued\" " }, { "jobs", "state=failed", "device", "\"node-1\" " },
		{ "jobs", "device=node-1", "state", "\"failed\" \"queued\" " }, { "jobs", "update=a1a1a1", "state", "\"transferring\" \"failed\" " },
		{ "jobs", "device=node-1&update=c3c3c3", "state", "\"queued\" " }, { "devices", "state=enrolled", "name", "\"\" \"\" \"\" \"\" \"\" " },
		{ "devices", "state=retired", "id", "" }, { "audit", "subject=node-3", "index", "3 " },
	};

	fill(p);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t limit = 1; limit < 4; limit++) {
			_cleanup_buf_ struct buf have = { 0 };
			read_pages(p, rows[i].path, rows[i].filter, limit, rows[i].key, &have);
			assert_string_equal(buf_str(&have), rows[i].want);
		}
	}
}

static void a_question_that_means_nothing_is_400(void **state)
{
	static const struct { const char *path, *query, *why; } rows[] = {
		{ "devices", "state=lost", "quarantined" }, { "devices", "state=", "quarantined" }, { "updates", "state=Held", "superseded" },
		{ "jobs", "state=lost", "open" }, { "endpoints", "after=x", "after=" }, { "credentials", "after=-1", "after=" },
		{ "audit", "after=x", "index" }, { "audit", "after=18446744073709551615", "index" }, { "events/recent", "after=x", "event" },
		{ "why-not", "", "device=" }, { "why-not", "device=a", "update=" }, { "why-not", "update=a1a1a1", "device=" },
		{ "audit/prove", "", "subject=" }, { "audit/prove", "subject=", "subject=" },
	};
	struct place *p = *state;

	fill(p);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		place_assert_problem(place_ask(p, HTTP_GET, rows[i].path, rows[i].query, NULL), 400, rows[i].why);
	assert_int_equal(place_get(p, "devices", "after=nobody"), 200);        /* it may be gone by now */
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 0);
}

/* ---- one thing ---- */

static void ids_may_be_cut_while_they_are_unique(void **state)
{
	struct place *p = *state;

	fill(p);
	assert_int_equal(place_get(p, "updates/c3c3c3", NULL), 200);
	assert_string_equal(json_get_str(p->answer.root, "id"), id_c);
	place_assert_problem(place_ask(p, HTTP_GET, "updates/a1a1a1a1", NULL, NULL), 409, "more digits");
	place_assert_problem(place_ask(p, HTTP_GET, "updates/c3c3c", NULL, NULL), 404, "6 digits");
	assert_int_equal(place_get(p, "jobs/0c0c0c", NULL), 200);
	place_assert_problem(place_ask(p, HTTP_GET, "jobs/0a0a0a", NULL, NULL), 409, "more digits");
	place_assert_problem(place_ask(p, HTTP_GET, "jobs/0c0c0", NULL, NULL), 404, "6 digits");
	place_assert_problem(place_ask(p, HTTP_GET, "rollouts/0", NULL, NULL), 404, "no rollout");
	place_assert_problem(place_ask(p, HTTP_GET, "endpoints/0", NULL, NULL), 404, "no registration");
	place_assert_problem(place_ask(p, HTTP_GET, "devices/0", NULL, NULL), 404, "no device \"0\"");
	place_assert_problem(place_ask(p, HTTP_POST, "sources/0/poll", NULL, NULL), 404, "no source");
	place_assert_problem(place_ask(p, HTTP_GET, "audit/prove", "subject=0", NULL), 404, "nothing is logged");
}

static void a_device_is_enrolled_changed_and_forgotten(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_ask(p, HTTP_PUT, "devices/n1", NULL, "{\"name\":\"lamp\",\"identity\":\"k1\",\"vendor_id\":"
				   "\"fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe\",\"wake\":{\"kind\":\"polls\",\"period_s\":60}}")->status, 200);
	assert_int_equal(place_get(p, "devices/n1", NULL), 200);
	assert_string_equal(json_get_str(p->answer.root, "state"), "enrolled");
	assert_string_equal(json_get_str(p->answer.root, "driver"), "coap-pull");
	assert_string_equal(json_get_str(json_get(p->answer.root, "wake"), "kind"), "polls");
	assert_int_equal(place_ask(p, HTTP_PUT, "devices/n1", NULL, "{\"proof\":\"mac\"}")->status, 200);
	assert_int_equal(place_get(p, "devices/n1", NULL), 200);
	assert_string_equal(json_get_str(p->answer.root, "name"), "lamp");     /* what was not said stays */
	assert_string_equal(json_get_str(p->answer.root, "address"), "");
	assert_int_equal(place_ask(p, HTTP_PUT, "devices/n1", NULL, "{\"address\":\"[2001:db8::1]:1337\"}")->status, 200);
	place_assert_problem(place_ask(p, HTTP_PUT, "devices/n1", NULL, "{\"address\":\"lamp.example\"}"), 400, "address: an IPv6 or IPv4 address");
	assert_int_equal(place_get(p, "devices/n1", NULL), 200);
	assert_string_equal(json_get_str(p->answer.root, "address"), "[2001:db8::1]:1337");
	place_assert_problem(place_ask(p, HTTP_PUT, "devices/n2", NULL, "{\"identity\":\"k1\"}"), 409, "another device");
	assert_int_equal(place_ask(p, HTTP_POST, "devices/n1/state", NULL, "{\"state\":\"quarantined\"}")->status, 200);
	assert_int_equal(place_get(p, "devices", "state=quarantined"), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 1);
	assert_int_equal(place_ask(p, HTTP_DELETE, "devices/n1", NULL, NULL)->status, 200);
	place_assert_problem(place_ask(p, HTTP_DELETE, "devices/n1", NULL, NULL), 404, "no device");
}

static void a_registration_is_removed_and_may_come_again(void **state)
{
	struct place *p = *state;
	char path[64];

	(void)snprintf(path, sizeof(path), "endpoints/%s", place_add_endpoint(p, "node-1"));
	assert_int_equal(place_get(p, path, NULL), 200);
	assert_non_null(strstr(json_get_str(p->answer.root, "links"), "temperature"));
	assert_int_equal(place_ask(p, HTTP_DELETE, path, NULL, NULL)->status, 200);
	place_assert_problem(place_ask(p, HTTP_GET, path, NULL, NULL), 404, "no registration");
	place_assert_problem(place_ask(p, HTTP_DELETE, path, NULL, NULL), 404, "no registration");
	(void)place_add_endpoint(p, "node-1"); /* asserts that it is new */
}

static void bodies_that_are_wrong_are_400_and_change_nothing(void **state)
{
	static const struct { enum http_method m; const char *path, *body, *why; } rows[] = {
		{ HTTP_PUT, "devices/n1", NULL, "JSON object" }, { HTTP_PUT, "devices/n1", "[]", "JSON object" },
		{ HTTP_PUT, "devices/-n", "{}", "A-Z" }, { HTTP_PUT, "devices/a b", "{}", "A-Z" },
		{ HTTP_PUT, "devices/n1", "{\"vendor_id\":\"x\"}", "UUID" }, { HTTP_PUT, "devices/n1", "{\"class_id\":\"\"}", "UUID" },
		{ HTTP_PUT, "devices/n1", "{\"proof\":\"faith\"}", "proof" }, { HTTP_PUT, "devices/n1", "{\"driver\":\"pigeon\"}", "coap-pull" },
		{ HTTP_PUT, "devices/n1", "{\"name\":\"a\\u001b\"}", "printable" }, { HTTP_PUT, "devices/n1", "{\"wake\":{\"kind\":\"x\"}}", "wake.kind" },
		{ HTTP_PUT, "devices/n1", "{\"hw_revision\":\"12345678901234567890123456789012\"}", "at most 31" },
		{ HTTP_POST, "devices/n0/state", NULL, "enrolled" }, { HTTP_POST, "devices/n0/state", "{\"state\":\"seen\"}", "enrolled" },
		{ HTTP_POST, "devices/n0/state", "{\"state\":7}", "enrolled" }, { HTTP_POST, "devices/n0/state", "[\"state\"]", "enrolled" },
		{ HTTP_PUT, "credentials/k", NULL, "secret_hex" }, { HTTP_PUT, "credentials/k", "{\"secret_hex\":\"0011\"}", "16 to 64" },
		{ HTTP_PUT, "credentials/k", "{\"secret_hex\":\"0x112233445566778899aabbccddeeff\"}", "hex" },
		{ HTTP_PUT, "credentials/k", "{\"secret_hex\":\"00112233445566778899aabbccddeeff\",\"roles\":[]}", "roles" },
		{ HTTP_PUT, "credentials/k", "{\"secret_hex\":\"00112233445566778899aabbccddeeff\",\"roles\":[1]}", "roles" },
		{ HTTP_PUT, "credentials/k", "{\"secret_hex\":\"00112233445566778899aabbccddeeff\",\"roles\":\"admin\"}", "roles" },
		{ HTTP_PUT, "credentials/k", "{\"secret_hex\":\"00112233445566778899aabbccddeeff\",\"kind\":\"rsa\"}", "kind" },
		{ HTTP_PUT, "credentials/\x1b", "{\"secret_hex\":\"00112233445566778899aabbccddeeff\"}", "printable" },
		{ HTTP_POST, "updates/c3c3c3/recall", "{\"reason\":\"a\\nb\"}", "printable" },
	};
	struct place *p = *state;
	char body[200];

	fill(p);
	place_add_device(p, "n0");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		place_assert_problem(place_ask(p, rows[i].m, rows[i].path, NULL, rows[i].body), 400, rows[i].why);
	(void)snprintf(body, sizeof(body), "{\"secret_hex\":\"%s\",\"device\":\"nobody\"}", key_hex);
	place_assert_problem(place_ask(p, HTTP_PUT, "credentials/k", NULL, body), 404, "enrol it first");
	assert_null(devices_get(p->devices, "n1"));
	assert_int_equal(devices_get(p->devices, "n0")->state, DEVICE_ENROLLED);
	assert_int_equal(devices_roles(p->devices, "k"), 0);
	assert_string_equal(fakes.who, "");    /* nothing was decided */
}

static void secrets_go_in_and_never_out(void **state)
{
	struct place *p = *state;
	char body[200];

	(void)snprintf(body, sizeof(body), "{\"secret_hex\":\"%s\",\"roles\":[\"admin\",\"viewer\"]}", key_hex);
	assert_int_equal(place_ask(p, HTTP_PUT, "credentials/alice", NULL, body)->status, 200);
	(void)snprintf(body, sizeof(body), "{\"secret_hex\":\"%s\",\"kind\":\"mac\"}", key_hex);
	assert_int_equal(place_ask(p, HTTP_PUT, "credentials/n1", NULL, body)->status, 200);
	assert_int_equal(place_get(p, "credentials", NULL), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "items")), 2);
	assert_null(strstr(buf_str(&p->answer.body), "secret"));
	assert_null(strstr(buf_str(&p->answer.body), "0011"));
	assert_int_equal(devices_roles(p->devices, "alice"), ROLE_ADMIN | ROLE_VIEWER);
	place_assert_problem(place_ask(p, HTTP_DELETE, "credentials/n1", NULL, NULL), 404, "no such credential");
	place_assert_problem(place_ask(p, HTTP_DELETE, "credentials/n1", "kind=x", NULL), 400, "psk or mac");
	assert_int_equal(place_ask(p, HTTP_DELETE, "credentials/n1", "kind=mac", NULL)->status, 200);
	assert_int_equal(place_ask(p, HTTP_DELETE, "credentials/alice", NULL, NULL)->status, 200);
}

static void decisions_are_answered_once_they_are_kept(void **state)
{
	struct place *p = *state;

	fill(p);
	assert_int_equal(place_ask(p, HTTP_POST, "updates/c3c3c3/approve", NULL, NULL)->status, 200);
	assert_string_equal(fakes.who, "tester");
	fakes.error = -ENOSPC;
	place_assert_problem(place_ask(p, HTTP_POST, "updates/c3c3c3/approve", NULL, NULL), 503, "nothing was changed");
	fakes.error = 0;
	fakes.updates[2].approved = true;
	place_assert_problem(place_ask(p, HTTP_POST, "updates/c3c3c3/approve", NULL, NULL), 409, "approved already");
	assert_int_equal(place_ask(p, HTTP_POST, "updates/c3c3c3/recall", NULL, "{\"reason\":\"it smells\"}")->status, 200);
	assert_string_equal(fakes.reason, "it smells");
	assert_int_equal(place_ask(p, HTTP_POST, "updates/c3c3c3/recall", NULL, NULL)->status, 200);   /* a reason may stay away */
	fakes.updates[2].state = UPDATE_RECALLED;
	place_assert_problem(place_ask(p, HTTP_POST, "updates/c3c3c3/recall", NULL, NULL), 409, "recalled already");
	assert_int_equal(place_ask(p, HTTP_POST, "jobs/0c0c0c/cancel", NULL, NULL)->status, 202);
	place_assert_problem(place_ask(p, HTTP_POST, "jobs/0c0c0c/retry", NULL, NULL), 409, "queued cannot be tried again");
	assert_int_equal(place_ask(p, HTTP_POST, "sources/source-1/poll", NULL, NULL)->status, 202);
	assert_int_equal(fakes.n_polled, 1);
}

static void why_not_tells_every_rule(void **state)
{
	struct place *p = *state;

	fill(p);
	fakes.selection = (struct selection){ .n_blocks = 2, .blocks = { { "approval", true, "approve it" }, { "model", false, "other vendor" } } };
	assert_int_equal(place_get(p, "why-not", "device=node-0&update=a1a1a1a1a1"), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "blocks")), 2);
	assert_string_equal(json_get_str(json_at(json_get(p->answer.root, "blocks"), 1), "text"), "other vendor");
	assert_string_equal(json_get_str(json_get(p->answer.root, "job"), "id"), job_a);
	assert_string_equal(json_get_str(json_get(p->answer.root, "way"), "text"), "by unicast: no group");
	assert_int_equal(place_get(p, "why-not", "device=node-4&update=c3c3c3"), 200);
	assert_null(json_get(p->answer.root, "job"));
	place_assert_problem(place_ask(p, HTTP_GET, "why-not", "device=nobody&update=c3c3c3", NULL), 404, "no device \"nobody\"");
	place_assert_problem(place_ask(p, HTTP_GET, "why-not", "device=node-0&update=ffffff", NULL), 404, "no update \"ffffff\"");
	place_assert_problem(place_ask(p, HTTP_GET, "why-not", "device=node-0&update=a1a1a1", NULL), 409, "more digits");
}

static bool is_audited(struct place *p, const char *subject, const char *kind, const char *action)
{
	char query[80];

	(void)snprintf(query, sizeof(query), "subject=%s", subject);
	db_flush(p->db);
	assert_int_equal(place_get(p, "audit", query), 200);
	for (size_t i = 0; i < json_n(json_get(p->answer.root, "items")); i++) {
		const struct json_value *entry = json_get(json_at(json_get(p->answer.root, "items"), i), "entry");
		const struct json_value *data = json_get(entry, "data");
		if (strcmp(json_get_str(entry, "kind"), kind) == 0 && data && strcmp(json_get_str(data, "action"), action) == 0)
			return strcmp(json_get_str(data, "by"), "tester") == 0;
	}
	return false;
}

static void what_people_change_is_audited_with_who_did_it(void **state)
{
	struct place *p = *state;
	char path[80];

	place_add_device(p, "lamp");
	(void)snprintf(path, sizeof(path), "%s", place_add_endpoint(p, "lamp"));
	assert_int_equal(place_ask(p, HTTP_POST, "devices/lamp/state", NULL, "{\"state\":\"quarantined\"}")->status, 200);
	assert_true(is_audited(p, "lamp", "device", "quarantined"));
	place_assert_problem(place_ask(p, HTTP_POST, "devices/nobody/state", NULL, "{\"state\":\"retired\"}"), 404, "no device");
	assert_false(is_audited(p, "nobody", "device", "retired"));
	assert_int_equal(place_ask(p, HTTP_PUT, "credentials/key-1", NULL, "{\"secret_hex\":\"000102030405060708090a0b0c0d0e0f\",\"kind\":\"psk\",\"roles\":[\"viewer\"]}")->status, 200);
	assert_true(is_audited(p, "key-1", "credential", "put"));
	assert_null(strstr(buf_str(&p->answer.body), "0001020304"));
	assert_int_equal(place_ask(p, HTTP_DELETE, "credentials/key-1", "kind=psk", NULL)->status, 200);
	assert_true(is_audited(p, "key-1", "credential", "remove"));
	char route[100];
	(void)snprintf(route, sizeof(route), "endpoints/%s", path);
	assert_int_equal(place_ask(p, HTTP_DELETE, route, NULL, NULL)->status, 200);
	assert_true(is_audited(p, path, "registration", "remove"));
	assert_int_equal(place_ask(p, HTTP_DELETE, "devices/lamp", NULL, NULL)->status, 200);
	assert_true(is_audited(p, "lamp", "device", "remove"));
}

static void a_verdict_is_given_as_it_was_stored(void **state)
{
	struct place *p = *state;

	fill(p);
	place_assert_problem(place_ask(p, HTTP_GET, "updates/c3c3c3/verdict", NULL, NULL), 404, "no verdict");
	update_store_put(p->db, &fakes.updates[2], SPAN_LIT("{\"outcome\":\"accepted\"}"), NULL, NULL);
	db_flush(p->db);
	assert_int_equal(place_get(p, "updates/c3c3c3/verdict", NULL), 200);
	assert_string_equal(buf_str(&p->answer.body), "{\"outcome\":\"accepted\"}");
}

static void health_is_503_with_what_is_not_well(void **state)
{
	struct place *p = *state;
	bool ok;

	fill(p);
	fakes.sources[0].is_ok = fakes.sources[1].is_ok = true;        /* the third was not asked yet */
	assert_int_equal(place_get(p, "health", NULL), 200);
	fakes.clock_bad = true;
	fakes.sources[1] = (struct source_status){ .name = "vendor", .error = "no route to host", .failures = 2 };
	assert_int_equal(place_get(p, "health", NULL), 503);
	assert_true(json_get_bool(p->answer.root, "ok", &ok) && !ok);
	assert_int_equal(json_n(json_get(p->answer.root, "problems")), 2);
	assert_string_equal(json_get_str(json_at(json_get(p->answer.root, "problems"), 1), "text"), "no route to host");
	assert_int_equal(place_get(p, "status", NULL), 200);
	assert_true(json_get_bool(p->answer.root, "clock_ok", &ok) && !ok);
}

static void the_log_is_proven_to_whoever_asks(void **state)
{
	struct place *p = *state;

	fill(p);
	assert_int_equal(place_get(p, "audit/checkpoint", NULL), 200);
	assert_non_null(strstr(json_get_str(p->answer.root, "checkpoint"), "test\n5\n"));
	assert_int_equal(place_get(p, "audit/key", NULL), 200);
	assert_int_equal(place_get(p, "audit/prove", "subject=node-2"), 200);
	assert_int_equal(json_n(json_get(p->answer.root, "proofs")), 1);
	assert_non_null(json_get_str(json_at(json_get(p->answer.root, "proofs"), 0), "proof"));
}

static void a_refused_configuration_is_422_with_the_reason(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_ask(p, HTTP_POST, "reload", NULL, NULL)->status, 200);
	assert_non_null(strstr(json_get_str(p->answer.root, "changes"), "log.level"));
	p->reload_error = -EINVAL;
	place_assert_problem(place_ask(p, HTTP_POST, "reload", NULL, NULL), 422, "dormouse.toml:3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_not_in_the_table_is_404, setup, teardown),
		cmocka_unit_test_setup_teardown(what_stands_for_an_id_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(another_method_is_405_and_told_which_would_do, setup, teardown),
		cmocka_unit_test_setup_teardown(viewers_look_admins_touch_others_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(secrets_and_enrolment_are_not_there_over_coap, setup, teardown),
		cmocka_unit_test_setup_teardown(a_limit_is_a_number_in_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(every_list_gives_the_same_in_pages_of_any_size, setup, teardown),
		cmocka_unit_test_setup_teardown(recent_events_go_on_after_an_id, setup, teardown),
		cmocka_unit_test_setup_teardown(filters_choose_and_page, setup, teardown),
		cmocka_unit_test_setup_teardown(a_question_that_means_nothing_is_400, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_may_be_cut_while_they_are_unique, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_is_enrolled_changed_and_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_is_removed_and_may_come_again, setup, teardown),
		cmocka_unit_test_setup_teardown(bodies_that_are_wrong_are_400_and_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(secrets_go_in_and_never_out, setup, teardown),
		cmocka_unit_test_setup_teardown(decisions_are_answered_once_they_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(why_not_tells_every_rule, setup, teardown),
		cmocka_unit_test_setup_teardown(what_people_change_is_audited_with_who_did_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_verdict_is_given_as_it_was_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(health_is_503_with_what_is_not_well, setup, teardown),
		cmocka_unit_test_setup_teardown(the_log_is_proven_to_whoever_asks, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_configuration_is_422_with_the_reason, setup, teardown),
	};
	return cmocka_run_group_tests_name("admin/api", tests, NULL, NULL);
}
