/* The document against the route table: every route and nothing else, and each as a program needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api.h"

static struct json_doc *doc;
static const struct json_value *root;

static int setup(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	char error[100] = "";

	(void)state;
	openapi_render(&b);
	assert_true(buf_ok(&b));
	if (json_parse(buf_span(&b), &doc, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	root = json_root(doc);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	doc = json_doc_free(doc);
	return 0;
}

static const char *method_name(enum http_method m)
{
	return m == HTTP_GET ? "get" : m == HTTP_POST ? "post" : m == HTTP_PUT ? "put" : "delete";
}

static const struct json_value *operation_of(const struct api_route *r)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/%s", r->path);
	const struct json_value *item = json_get(json_get(root, "paths"), path);
	return item ? json_get(item, method_name(r->method)) : NULL;
}

static bool is_route(const char *path, const char *method)
{
	for (size_t i = 0; api_route_at(i); i++)
		if (strcmp(api_route_at(i)->path, path) == 0 && strcmp(method_name(api_route_at(i)->method), method) == 0)
			return true;
	return false;
}

static bool is_page(const char *path)
{
	return strcmp(path, "/events") == 0 || strcmp(path, "/openapi.json") == 0 || strcmp(path, "/metrics") == 0;
}

static const struct json_value *parameter(const struct json_value *operation, const char *in, const char *name, size_t n)
{
	const struct json_value *list = json_get(operation, "parameters");

	for (size_t i = 0; i < json_n(list); i++) {
		const struct json_value *p = json_at(list, i);
		if (strcmp(json_get_str(p, "in"), in) == 0 && strlen(json_get_str(p, "name")) == n &&
		    strncmp(json_get_str(p, "name"), name, n) == 0)
			return p;
	}
	return NULL;
}

static void every_route_is_described(void **state)
{
	(void)state;
	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		const struct json_value *op = operation_of(r);
		if (!op)
			fail_msg("%s %s is not described", method_name(r->method), r->path);
		assert_string_equal(json_get_str(op, "summary"), r->summary);
		assert_int_equal(json_get(op, "requestBody") != NULL, r->body != NULL);
		assert_int_equal(json_get(op, "security") != NULL, r->role == ROLE_ADMIN);
		assert_non_null(json_get(json_get(op, "responses"), r->answer == API_STARTED ? "202" : "200"));
		assert_non_null(json_get(json_get(op, "responses"), "default"));
	}
}

static void nothing_else_is_described(void **state)
{
	const struct json_value *paths = json_get(root, "paths");
	size_t n = 0;

	(void)state;
	for (const void *p = json_first(paths); p; p = json_next(paths, p)) {
		const struct json_value *item = json_iter_value(p);
		for (const void *m = json_first(item); m; m = json_next(item, m)) {
			if (strcmp(json_iter_key(m), "servers") == 0)
				continue;
			n++;
			if (!is_page(json_iter_key(p)) && !is_route(json_iter_key(p) + 1, json_iter_key(m)))
				fail_msg("%s %s is no route", json_iter_key(m), json_iter_key(p));
		}
	}
	size_t n_routes = 0;
	while (api_route_at(n_routes))
		n_routes++;
	assert_int_equal(n, n_routes + 3);
}

static void parameters_are_those_of_the_route(void **state)
{
	bool required;

	(void)state;
	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		const struct json_value *op = operation_of(r);
		size_t n = 0;
		for (const char *p = strchr(r->path, '{'); p; p = strchr(p + 1, '{'), n++) {
			const struct json_value *have = parameter(op, "path", p + 1, strcspn(p + 1, "}"));
			assert_true(have && json_get_bool(have, "required", &required) && required);
		}
		for (const char *p = r->query; p && *p; p += strcspn(p, " "), p += *p == ' ', n++)
			assert_non_null(parameter(op, "query", p, strcspn(p, " ")));
		if (r->answer == API_LIST) {
			assert_non_null(parameter(op, "query", "limit", 5));
			assert_non_null(parameter(op, "query", "after", 5));
			n += 2;
		}
		assert_int_equal(json_n(json_get(op, "parameters")), n);
	}
}

static void members_of_bodies_have_their_types(void **state)
{
	char name[32], type[16];
	int n;

	(void)state;
	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		size_t n_members = 0;
		if (!r->body)
			continue;
		const struct json_value *content = json_get(json_get(operation_of(r), "requestBody"), "content");
		const struct json_value *members = json_get(json_get(json_get(content, "application/json"), "schema"), "properties");
		for (const char *p = r->body; sscanf(p, "%31[^:]:%15s%n", name, type, &n) == 2; p += n, p += *p == ' ', n_members++)
			assert_string_equal(json_get_str(json_get(members, name), "type"), type);
		assert_true(n_members > 0);
		assert_int_equal(json_n(members), n_members);
	}
}

static void operations_have_names_of_their_own(void **state)
{
	(void)state;
	for (size_t i = 0; api_route_at(i); i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(json_get_str(operation_of(api_route_at(i)), "operationId"),
						json_get_str(operation_of(api_route_at(k)), "operationId"));
}

/* Bounded: our own document, of known depth. */
static void check_references(const struct json_value *v)
{
	const char *ref = json_is_object(v) ? json_get_str(v, "$ref") : NULL;

	if (ref) {
		assert_int_equal(strncmp(ref, "#/components/schemas/", 21), 0);
		assert_non_null(json_get(json_get(json_get(root, "components"), "schemas"), ref + 21));
	}
	for (const void *it = json_is_object(v) ? json_first(v) : NULL; it; it = json_next(v, it))
		check_references(json_iter_value(it));
	for (size_t i = 0; json_is_array(v) && i < json_n(v); i++)
		check_references(json_at(v, i));
}

static void references_lead_somewhere(void **state)
{
	(void)state;
	check_references(root);
	assert_string_equal(json_get_str(root, "openapi"), "3.1.0");
	assert_string_equal(json_get_str(json_get(root, "info"), "version"), DORMOUSE_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_route_is_described), cmocka_unit_test(nothing_else_is_described),
		cmocka_unit_test(parameters_are_those_of_the_route), cmocka_unit_test(members_of_bodies_have_their_types),
		cmocka_unit_test(operations_have_names_of_their_own), cmocka_unit_test(references_lead_somewhere),
	};
	return cmocka_run_group_tests_name("admin/openapi", tests, setup, teardown);
}
