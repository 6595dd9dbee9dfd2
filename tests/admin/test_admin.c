/* The HTTP face by raw requests: who is an admin, what is refused on the way in, and the documents beside the API. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "place.h"
#include "../io/wire.h"

static const char token[] = "correct-horse-battery-staple-1234";

struct site {
	struct place place;
	struct admin *admin;
	char socket[96], token_file[96];
	char *listen[3];
	struct wire wire;
	bool is_open;
};

static void site_open(struct site *s, bool with_token)
{
	static char tcp[] = "127.0.0.1:0";
	struct buf error = { 0 };
	int dir;

	place_open(&s->place);
	events_stream_close(s->place.admin.events);    /* there is one observer of the log: the admin's */
	s->place.admin.events = NULL;
	(void)snprintf(s->socket, sizeof(s->socket), "unix:%s/api.sock", s->place.dir);
	(void)snprintf(s->token_file, sizeof(s->token_file), "%s/token", s->place.dir);
	dir = open(s->place.dir, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	assert_int_equal(file_write_durable(dir, "token", SPAN(token, sizeof(token) - 1)), 0);
	assert_int_equal(fchmodat(dir, "token", 0600, 0), 0);
	close(dir);
	s->listen[0] = s->socket;
	s->listen[1] = tcp;
	s->place.config.http.listen = s->listen;
	s->place.config.http.socket_mode = 0600;
	if (with_token)
		s->place.config.http.token_file = s->token_file;
	const struct admin_config c = place_admin_config(&s->place);
	if (admin_open(&c, &s->admin, &error) < 0)
		fail_msg("%s", buf_str(&error));
	buf_done(&error);
}

static int setup(void **state)
{
	struct site *s = NEW(struct site);

	site_open(s, false);
	*state = s;
	return 0;
}

static int setup_token(void **state)
{
	struct site *s = NEW(struct site);

	site_open(s, true);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct site *s = *state;

	if (s->is_open)
		wire_close(&s->wire);
	db_flush(s->place.db);
	admin_close(s->admin);
	place_close(&s->place);
	free(s);
	return 0;
}

enum door { SOCKET, TCP };

/* One request and its whole answer; the status. extra: header lines; body NULL = none. */
static int ask(struct site *s, enum door door, const char *request, const char *extra, const char *body)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (s->is_open)
		wire_close(&s->wire);
	wire_connect(&s->wire, s->place.loop, admin_http_address(s->admin, door));
	s->is_open = true;
	buf_printf(&b, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", request, extra);
	if (body)
		buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
	buf_printf(&b, "\r\n%s", body ? body : "");
	wire_say(&s->wire, buf_span(&b));
	wire_wait_eof(&s->wire);
	uint64_t status = 0;
	assert_true(s->wire.in.n > 12 && text_parse_u64(SPAN(s->wire.in.p + 9, 3), 999, &status, 0) == 0);
	return (int)status;
}

static const char *body_of(const struct site *s)
{
	const char *at = strstr(buf_str(&s->wire.in), "\r\n\r\n");

	assert_non_null(at);
	return at + 4;
}

static void assert_header(const struct site *s, const char *line)
{
	if (!wire_has(&s->wire, line))
		fail_msg("no \"%s\" in: %s", line, buf_str(&s->wire.in));
}

static const char enrol[] = "{\"name\":\"lamp\"}";

static void the_socket_makes_admins_and_tcp_looks(void **state)
{
	struct site *s = *state;

	assert_int_equal(ask(s, SOCKET, "PUT /api/v1/devices/n1", "", enrol), 200);
	assert_header(s, "Cache-Control: no-store\r\n");
	assert_header(s, "Content-Type: application/json\r\n");
	assert_int_equal(ask(s, TCP, "PUT /api/v1/devices/n2", "", enrol), 403);
	assert_header(s, "Content-Type: application/problem+json\r\n");
	assert_true(wire_has(&s->wire, "Unix socket"));
	assert_int_equal(ask(s, TCP, "GET /api/v1/devices", "", NULL), 200);
	assert_true(wire_has(&s->wire, "\"id\":\"n1\"") && !wire_has(&s->wire, "\"id\":\"n2\""));
	assert_int_equal(ask(s, TCP, "GET /api/v1/credentials", "", NULL), 403);
}

static void the_audit_log_learns_who_it_was(void **state)
{
	struct site *s = *state;
	char who[40];

	place_add_update("c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3", UPDATE_AVAILABLE);
	assert_int_equal(ask(s, SOCKET, "POST /api/v1/updates/c3c3c3/approve", "", NULL), 200);
	(void)snprintf(who, sizeof(who), "unix:%u", getuid());
	assert_string_equal(fakes.who, who);
}

static void a_token_makes_an_admin_and_a_wrong_one_nobody(void **state)
{
	static const char *const wrong[] = {
		"Authorization: Bearer correct-horse-battery-staple-1235\r\n", "Authorization: Bearer correct-horse-battery-staple-123\r\n",
		"Authorization: Bearer correct-horse-battery-staple-12345\r\n", "Authorization: Bearer \r\n", "Authorization: Bearer\r\n",
		"Authorization: Basic eDp5\r\n", "Authorization: \r\n", "Authorization: bearer x\r\n",
	};
	struct site *s = *state;

	assert_int_equal(ask(s, TCP, "PUT /api/v1/devices/n1", "Authorization: Bearer correct-horse-battery-staple-1234\r\n", enrol), 200);
	assert_int_equal(ask(s, TCP, "PUT /api/v1/devices/n1", "", enrol), 403);       /* loopback may still look */
	assert_int_equal(ask(s, TCP, "GET /api/v1/status", "", NULL), 200);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(ask(s, TCP, "GET /api/v1/status", wrong[i], NULL), 401);
		assert_header(s, "WWW-Authenticate: Bearer\r\n");
		assert_false(wire_has(&s->wire, "battery"));
	}
}

static void a_405_says_what_would_be_right(void **state)
{
	struct site *s = *state;

	assert_int_equal(ask(s, SOCKET, "DELETE /api/v1/status", "", NULL), 405);
	assert_header(s, "Allow: GET, HEAD\r\n");
	assert_int_equal(ask(s, SOCKET, "POST /api/v1/devices/n1", "", "{}"), 405);
	assert_header(s, "Allow: GET, HEAD, PUT, DELETE\r\n");
	assert_int_equal(ask(s, SOCKET, "GET /api/v1/reload", "", NULL), 405);
	assert_header(s, "Allow: POST\r\n");
	assert_int_equal(ask(s, SOCKET, "POST /metrics", "", NULL), 405);
	assert_header(s, "Allow: GET, HEAD\r\n");
}

static void paths_outside_are_404_with_a_hint(void **state)
{
	static const char *const requests[] = { "GET /", "GET /api/v1", "GET /api/v2/status", "GET /metrics/", "GET /api/v1/../v1x/status" };
	struct site *s = *state;

	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		int status = ask(s, SOCKET, requests[i], "", NULL);
		assert_true(status == 404 || (status == 400 && strstr(requests[i], "..")));
	}
	assert_int_equal(ask(s, SOCKET, "GET /x", "", NULL), 404);
	assert_true(wire_has(&s->wire, "/api/v1/openapi.json"));
}

static void what_is_no_json_is_told_where(void **state)
{
	struct site *s = *state;

	assert_int_equal(ask(s, SOCKET, "PUT /api/v1/devices/n1", "", "{\"name\":"), 400);
	assert_true(wire_has(&s->wire, "not JSON"));
	assert_int_equal(ask(s, SOCKET, "PUT /api/v1/devices/n1", "", "{\"a\":1,\"a\":2}"), 400);
	assert_null(devices_get(s->place.devices, "n1"));
}

static void pages_of_other_sites_are_refused(void **state)
{
	static const char *const origins[] = { "Origin: https://evil.example\r\n", "Origin: null\r\n", "Origin: http://localhost:1\r\n",
					       "Origin: localhost\r\n" };
	static const char *const requests[] = { "GET /api/v1/status", "GET /metrics", "GET /api/v1/events", "GET /api/v1/openapi.json" };
	struct site *s = *state;

	for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++)
		for (size_t k = 0; k < sizeof(requests) / sizeof(*requests); k++)
			assert_int_equal(ask(s, TCP, requests[k], origins[i], NULL), 403);
	assert_int_equal(ask(s, TCP, "GET /api/v1/status", "Origin: http://localhost\r\n", NULL), 200);
}

static void the_openapi_document_is_served(void **state)
{
	struct site *s = *state;
	_cleanup_buf_ struct buf b = { 0 };

	openapi_render(&b);
	assert_int_equal(ask(s, TCP, "GET /api/v1/openapi.json", "", NULL), 200);
	assert_header(s, "Content-Type: application/json\r\n");
	assert_string_equal(body_of(s), buf_str(&b));
	assert_int_equal(ask(s, TCP, "HEAD /api/v1/openapi.json", "", NULL), 200);
	assert_string_equal(body_of(s), "");
}

static bool is_name(const char *p, size_t n)
{
	return n > 0 && strspn(p, "abcdefghijklmnopqrstuvwxyz_0123456789") >= n;
}

/* A line "name value" or "name{label="v"} value" of the family. */
static void check_sample(const char *line, const char *family)
{
	size_t n = strcspn(line, "{ ");
	int64_t v;
	int end = 0;

	assert_true(is_name(line, n) && strlen(family) == n && strncmp(line, family, n) == 0);
	line += n;
	if (*line == '{') {
		size_t key = strcspn(line + 1, "=");
		assert_true(is_name(line + 1, key) && line[1 + key + 1] == '"');
		line = strstr(line, "\"}");
		assert_non_null(line);
		line += 2;
	}
	assert_true(sscanf(line, " %ld%n", &v, &end) == 1 && line[end] == 0);
}

/* Prometheus text format 0.0.4: each family in one block, HELP and TYPE before its samples, counters called _total. */
static void metrics_are_in_the_text_format(void **state)
{
	struct site *s = *state;
	char family[80] = "", block[84], *save = NULL;
	size_t n_samples = 0;
	bool has_type = false;
	_cleanup_buf_ struct buf seen = { 0 };

	int64_t before = metric_get(METRIC_HTTP_REQUESTS);
	assert_int_equal(ask(s, TCP, "GET /metrics", "", NULL), 200);
	assert_int_equal(metric_get(METRIC_HTTP_REQUESTS), before + 1);
	assert_header(s, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
	_cleanup_free_ char *text = mem_strdup(body_of(s));
	assert_true(text[strlen(text) - 1] == '\n');
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char kind[16];
		if (sscanf(line, "# HELP %79s %*[^\n]", family) == 1) {
			assert_true(strlen(line) > strlen("# HELP ") + strlen(family) + 1);
			(void)snprintf(block, sizeof(block), " %s ", family);
			assert_true(!seen.n || !strstr(buf_str(&seen), block));        /* one block each */
			buf_add_str(&seen, block);
			has_type = false;
		} else if (sscanf(line, "# TYPE %*s %15s", kind) == 1) {
			assert_non_null(strstr(line, family));
			assert_int_equal(strcmp(kind, "counter") == 0, strlen(family) > 6 && strcmp(family + strlen(family) - 6, "_total") == 0);
			has_type = true;
		} else {
			assert_true(has_type);
			check_sample(line, family);
			n_samples++;
		}
	}
	assert_int_equal(n_samples, METRIC_COUNT);
}

static void an_address_that_cannot_be_had_is_told(void **state)
{
	struct site *s = *state;
	struct admin_config c = place_admin_config(&s->place);
	struct admin *second = NULL;
	_cleanup_buf_ struct buf error = { 0 };
	char there[96];
	char *listen[] = { there, NULL };

	(void)snprintf(there, sizeof(there), "unix:%s/no/such/folder.sock", s->place.dir);
	s->place.config.http.listen = listen;
	assert_true(admin_open(&c, &second, &error) < 0);
	assert_non_null(strstr(buf_str(&error), "http.listen"));
	assert_null(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_socket_makes_admins_and_tcp_looks, setup, teardown),
		cmocka_unit_test_setup_teardown(the_audit_log_learns_who_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(a_token_makes_an_admin_and_a_wrong_one_nobody, setup_token, teardown),
		cmocka_unit_test_setup_teardown(a_405_says_what_would_be_right, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_outside_are_404_with_a_hint, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_json_is_told_where, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_of_other_sites_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_openapi_document_is_served, setup, teardown),
		cmocka_unit_test_setup_teardown(metrics_are_in_the_text_format, setup, teardown),
		cmocka_unit_test_setup_teardown(an_address_that_cannot_be_had_is_told, setup, teardown),
	};
	return cmocka_run_group_tests_name("admin/admin", tests, NULL, NULL);
}
