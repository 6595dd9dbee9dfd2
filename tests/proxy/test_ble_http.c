/* The ble: tree over HTTP: media types, status codes, who may write, and event streams. BLE-5, BLE-6, BLE-8, BLE-10, HC-15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/ble_http.h"
#include "proxy/ble_list.h"
#include "proxy_rig.h"
#include "store/device_store.h"

struct rig {
	struct proxy_rig p;
	struct http_server *server;
	struct ble_http *face;
	unsigned roles;
	int fd;
	char reply[8192];
	size_t n;
	const char *wanted;
};

static void on_request(void *ctx, struct http_exchange *x, const struct http_request *req)
{
	struct rig *r = ctx;

	ble_http_serve(r->face, x, req, r->roles, "token@test");
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	rig_start(&r->p);
	r->face = ble_http_new(r->p.loop, r->p.tree);
	r->server = http_server_new(r->p.loop, on_request, r);
	assert_int_equal(http_server_listen(r->server, "127.0.0.1:0", 0, NULL, NULL), 0);
	r->roles = ROLE_VIEWER | ROLE_ADMIN;
	r->fd = -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->fd >= 0)
		close(r->fd);
	http_server_free(r->server);
	ble_tree_free(r->p.tree);
	ble_http_free(r->face);
	rig_stop(&r->p);
	free(r);
	return 0;
}

static void take(struct rig *r)
{
	ssize_t n = recv(r->fd, r->reply + r->n, sizeof(r->reply) - 1 - r->n, MSG_DONTWAIT);

	if (n > 0)
		r->n += (size_t)n;
	r->reply[r->n] = 0;
}

static bool has_wanted(void *ctx)
{
	struct rig *r = ctx;

	take(r);
	return strstr(r->reply, r->wanted);
}

static void send_request(struct rig *r, const char *method, const char *path, const char *headers, const char *body)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char text[2048];

	if (r->fd >= 0)
		close(r->fd);
	r->n = 0;
	r->reply[0] = 0;
	a.sin_port = htons((uint16_t)atoi(strrchr(http_server_address(r->server, 0), ':') + 1));
	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", method, path,
			 headers, strlen(body), body);
	assert_int_equal(send(r->fd, text, (size_t)n, 0), n);
}

static bool is_closed(void *ctx)
{
	struct rig *r = ctx;
	char c;

	take(r);
	return recv(r->fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* The status; all of the answer is in reply. */
static int ask(struct rig *r, const char *method, const char *path, const char *headers, const char *body)
{
	send_request(r, method, path, headers, body);
	assert_true(until(r->p.loop, is_closed, r, MS));
	assert_int_equal(strncmp(r->reply, "HTTP/1.1 ", 9), 0);
	return atoi(r->reply + 9);
}

static int get(struct rig *r, const char *path) { return ask(r, "GET", path, "", ""); }

static void accept_headers_choose_a_format(void **state)
{
	static const struct { const char *accept; int r, format; bool is_stream; } rows[] = {
		{ NULL, 0, COAP_CF_NONE, false }, { "", 0, COAP_CF_NONE, false }, { "*/*", 0, COAP_CF_NONE, false },
		{ "application/json", 0, COAP_CF_JSON, false }, { "Application/CBOR", 0, COAP_CF_CBOR, false },
		{ "text/html, application/cbor;q=0.9, */*;q=0.1", 0, COAP_CF_CBOR, false },
		{ "application/json;q=0.5, application/senml+json", 0, BLE_CF_SENML_JSON, false },
		{ "application/json;q=0.05,text/plain;q=0.1", 0, COAP_CF_TEXT, false },
		{ "text/event-stream", 0, COAP_CF_NONE, true }, { "application/ble-gatt-servicelist", 0, BLE_CF_SERVICELIST, false },
		{ "text/html", -ENOENT, COAP_CF_NONE, false }, { "application/json;q=0", -ENOENT, COAP_CF_NONE, false },
		{ ",,;;", -ENOENT, COAP_CF_NONE, false }, { "application/td+json; q=1.000", 0, BLE_CF_TD, false },
		{ "application/json;q=", 0, COAP_CF_JSON, false }, { "application/json;q=x", -ENOENT, COAP_CF_NONE, false },
	};
	char *big = malloc(BLE_HTTP_ACCEPT_BYTES_MAX + 2);
	bool is_stream;
	int format;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(ble_http_accept(rows[i].accept, &is_stream, &format), rows[i].r);
		assert_int_equal(format, rows[i].format);
		assert_int_equal(is_stream, rows[i].is_stream);
	}
	memset(big, 'a', BLE_HTTP_ACCEPT_BYTES_MAX + 1);
	big[BLE_HTTP_ACCEPT_BYTES_MAX + 1] = 0;
	assert_int_equal(ble_http_accept(big, &is_stream, &format), -ENOENT);
	free(big);
}

static void content_types_are_known_or_refused(void **state)
{
	int format;

	(void)state;
	assert_int_equal(ble_http_type(NULL, &format), 0);
	assert_int_equal(format, COAP_CF_NONE);
	assert_int_equal(ble_http_type("application/octet-stream", &format), 0);
	assert_int_equal(format, COAP_CF_OCTETS);
	assert_int_equal(ble_http_type("text/plain; charset=utf-8", &format), 0);
	assert_int_equal(format, COAP_CF_TEXT);
	assert_int_equal(ble_http_type("application/x-www-form-urlencoded", &format), -ENOENT);
	assert_int_equal(ble_http_type("*/*", &format), -ENOENT);
	assert_int_equal(ble_http_type("text/event-stream", &format), -ENOENT);
}

static void lists_name_what_is_below_them_in_their_own_namespace(void **state)
{
	struct rig *r = *state;

	assert_int_equal(get(r, "/hc/ble:/gap/nodes/passive"), 200);
	assert_non_null(strstr(r->reply, "Content-Type: application/json"));
	assert_non_null(strstr(r->reply, "\"href\":\"/hc/ble:/nodes/" ID "\""));
	assert_int_equal(get(r, "/hc/ble:/"), 200);
	assert_int_equal(get(r, "/hc/ble:"), 200);
	assert_int_equal(get(r, "/hc/ble:/nodes/" ID "/services"), 200);
	assert_non_null(strstr(r->reply, "\"/hc/ble:/nodes/" ID "/s0010\""));
	assert_int_equal(ask(r, "GET", "/hc/ble:/nodes/" ID "/services", "Accept: application/ble-gatt-servicelist\r\n", ""), 200);
	assert_non_null(strstr(r->reply, "Content-Type: application/ble-gatt-servicelist"));
	assert_int_equal(get(r, "/hc/ble:/nodes/" ID "/td"), 200);
	assert_non_null(strstr(r->reply, "application/td+json"));
	assert_int_equal(ask(r, "HEAD", "/hc/ble:/nodes", "", ""), 200);
}

static void a_value_is_octets_or_what_is_accepted(void **state)
{
	struct rig *r = *state;
	const char *path = rig_path("/hc/ble:/", r->p.h_level);

	assert_int_equal(get(r, path), 200);
	assert_non_null(strstr(r->reply, "Content-Type: application/octet-stream"));
	assert_non_null(strstr(r->reply, "\r\n\r\n2"));
	assert_int_equal(ask(r, "GET", path, "Accept: text/plain\r\n", ""), 200);
	assert_non_null(strstr(r->reply, "\r\n\r\n50"));
	assert_int_equal(ask(r, "GET", path, "Accept: application/senml+json\r\n", ""), 200);
	assert_non_null(strstr(r->reply, "\"battery_level\""));
	assert_int_equal(ask(r, "GET", path, "Accept: application/json\r\n", ""), 200);
	assert_non_null(strstr(r->reply, "\r\n\r\n50"));
	assert_int_equal(ask(r, "GET", path, "Accept: application/cbor\r\n", ""), 406);
	assert_int_equal(ask(r, "GET", path, "Accept: text/html\r\n", ""), 406);
}

static void writing_needs_an_administrator(void **state)
{
	struct rig *r = *state;
	const char *path = rig_path("/hc/ble:/", r->p.h_knob);

	assert_int_equal(ask(r, "PUT", path, "", "on"), 204);
	assert_string_equal(r->p.written, "on");
	assert_true(r->p.last_with_response);
	assert_string_equal(r->p.who, "token@test");
	assert_int_equal(ask(r, "POST", path, "Content-Type: application/octet-stream\r\n", "off"), 204);
	assert_false(r->p.last_with_response);
	char query[160];
	(void)snprintf(query, sizeof(query), "%s?noresponse", path);
	assert_int_equal(ask(r, "PUT", query, "", "x"), 204);
	assert_false(r->p.last_with_response);
	assert_int_equal(ask(r, "PUT", path, "Content-Type: application/x-www-form-urlencoded\r\n", "a=b"), 415);
	r->roles = ROLE_VIEWER;
	assert_int_equal(ask(r, "PUT", path, "", "on"), 403);
	assert_int_equal(ask(r, "POST", path, "", "on"), 403);
	assert_int_equal(r->p.n_writes, 3);
	assert_int_equal(get(r, rig_path("/hc/ble:/", r->p.h_level)), 200);
}

static void errors_are_problems_with_the_right_status(void **state)
{
	struct rig *r = *state;
	static const struct { int error, status; } rows[] = {
		{ -EPERM, 405 }, { -EACCES, 403 }, { -ENOENT, 404 }, { -EMSGSIZE, 400 }, { -EBUSY, 503 }, { -ETIMEDOUT, 504 }, { -EIO, 502 },
	};

	assert_int_equal(get(r, "/hc/http://127.0.0.1/"), 404); /* no other scheme is a way through here */
	assert_int_equal(get(r, "/hc/ble:x"), 404);
	assert_int_equal(get(r, "/hc/ble:/nodes/ble-ffffffffffff"), 404);
	assert_int_equal(get(r, "/hc/ble:/a/b/c/d/e/f"), 404);
	assert_int_equal(ask(r, "DELETE", "/hc/ble:/nodes/" ID, "", ""), 405);
	assert_non_null(strstr(r->reply, "Allow: GET"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		r->p.read_error = rows[i].error;
		assert_int_equal(get(r, rig_path("/hc/ble:/", r->p.h_level)), rows[i].status);
		assert_non_null(strstr(r->reply, "application/problem+json"));
		assert_int_equal(strstr(r->reply, "Retry-After: ") != NULL, rows[i].status == 503);
	}
}

static void an_event_stream_tells_of_every_value_until_it_is_left(void **state)
{
	struct rig *r = *state;

	send_request(r, "GET", rig_path("/hc/ble:/", r->p.h_level), "Accept: text/event-stream\r\n", "");
	r->wanted = "\"octets\":\"Mg==\",\"text\":\"50\"}";
	assert_true(until(r->p.loop, has_wanted, r, MS)); /* what it is now */
	fake_node_notify(r->p.node, r->p.h_level, SPAN_LIT("3"));
	fake_node_notify(r->p.node, r->p.h_level, SPAN_LIT("4"));
	r->wanted = "\"octets\":\"NA==\",\"text\":\"52\"}";
	assert_true(until(r->p.loop, has_wanted, r, MS));
	assert_non_null(strstr(r->reply, "\"octets\":\"Mw==\"")); /* none was left out */
	close(r->fd);
	r->fd = -1;
	assert_true(until(r->p.loop, rig_is_unsubscribed, &r->p, MS));
	assert_true(until(r->p.loop, rig_has_no_link, &r->p, MS));
}

static void bare_events_are_the_values_themselves(void **state)
{
	struct rig *r = *state;
	char query[160];

	(void)snprintf(query, sizeof(query), "%s?bare", rig_path("/hc/ble:/", r->p.h_level));
	send_request(r, "GET", query, "Accept: text/event-stream\r\n", "");
	r->wanted = "data: 50\n\n";
	assert_true(until(r->p.loop, has_wanted, r, MS));
	fake_node_notify(r->p.node, r->p.h_level, SPAN_LIT("bad"));
	fake_node_notify(r->p.node, r->p.h_level, SPAN_LIT("7"));
	r->wanted = "data: 55\n\n";
	assert_true(until(r->p.loop, has_wanted, r, MS));
	assert_non_null(strstr(r->reply, "data: null\n\n")); /* no value of its type */
	(void)snprintf(query, sizeof(query), "%s?bare", rig_path("/hc/ble:/", r->p.h_ticks));
	send_request(r, "GET", query, "Accept: text/event-stream\r\n", "");
	r->wanted = "retry:";
	assert_true(until(r->p.loop, has_wanted, r, MS));
	fake_node_notify(r->p.node, r->p.h_ticks, SPAN_LIT("tick"));
	r->wanted = "data: \"dGljaw==\"\n\n";
	assert_true(until(r->p.loop, has_wanted, r, MS));
}

static void an_event_stream_ends_with_its_reason(void **state)
{
	struct rig *r = *state;

	send_request(r, "GET", rig_path("/hc/ble:/", r->p.h_ticks), "Accept: text/event-stream\r\n", "");
	r->wanted = "retry:";
	assert_true(until(r->p.loop, has_wanted, r, MS));
	r->p.node->connect_error = -EACCES;
	fake_node_end(r->p.node, -EACCES);
	r->wanted = "event: ended\ndata: {\"status\":403";
	assert_true(until(r->p.loop, has_wanted, r, MS));
}

static void what_cannot_be_streamed_is_refused(void **state)
{
	struct rig *r = *state;
	static const char stream[] = "Accept: text/event-stream\r\n";

	assert_int_equal(ask(r, "GET", rig_path("/hc/ble:/", r->p.h_knob), stream, ""), 405);
	assert_int_equal(ask(r, "GET", "/hc/ble:/nodes", stream, ""), 406);
	assert_int_equal(ask(r, "GET", "/hc/ble:/nodes/ble-ffffffffffff/c0001", stream, ""), 404);
	assert_int_equal(ask(r, "GET", "/hc/ble:/nodes/" ID "/cffff", stream, ""), 404);
	assert_int_equal(ask(r, "GET", "/hc/ble:/nope", stream, ""), 404);
	assert_true(until(r->p.loop, rig_has_no_link, &r->p, MS));
}

static void who_left_before_the_answer_is_no_harm(void **state)
{
	struct rig *r = *state;

	send_request(r, "GET", rig_path("/hc/ble:/", r->p.h_ticks), "Accept: text/event-stream\r\n", "");
	close(r->fd);
	r->fd = -1;
	assert_int_equal(get(r, rig_path("/hc/ble:/", r->p.h_level)), 200);
	send_request(r, "GET", rig_path("/hc/ble:/", r->p.h_level), "", ""); /* and teardown while it waits */
}

#define T(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accept_headers_choose_a_format), cmocka_unit_test(content_types_are_known_or_refused),
		T(lists_name_what_is_below_them_in_their_own_namespace), T(a_value_is_octets_or_what_is_accepted), T(writing_needs_an_administrator),
		T(errors_are_problems_with_the_right_status), T(an_event_stream_tells_of_every_value_until_it_is_left),
		T(bare_events_are_the_values_themselves), T(an_event_stream_ends_with_its_reason), T(what_cannot_be_streamed_is_refused), T(who_left_before_the_answer_is_no_harm),
	};
	return cmocka_run_group_tests_name("proxy/ble_http", tests, NULL, NULL);
}
