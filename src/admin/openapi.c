/* The OpenAPI 3.1 document of the API, from the route table: what is served is what is described. */
#include <stdio.h>

#include "admin/api.h"
#include "base/text.h"

static const char *method_name(enum http_method m)
{
	switch (m) {
	case HTTP_GET:
		return "get";
	case HTTP_POST:
		return "post";
	case HTTP_PUT:
		return "put";
	case HTTP_DELETE:
		return "delete";
	case HTTP_PATCH:
		return "patch";
	case HTTP_HEAD:
		break;
	}
	return "head";
}

/* "post-updates-id-approve" */
static void operation_id(const struct api_route *r, char *ret, size_t ret_bytes)
{
	size_t n = (size_t)snprintf(ret, ret_bytes, "%s-", method_name(r->method)); /* short */

	for (const char *p = r->path; *p && n + 1 < ret_bytes; p++)
		if (*p != '{' && *p != '}')
			ret[n++] = *p == '/' ? '-' : *p;
	ret[n] = 0;
}

static void put_property(struct json_out *o, const char *name, const char *type)
{
	json_open_object(o, name);
	json_str(o, "type", type);
	json_close_object(o);
}

static void put_parameter(struct json_out *o, struct span name, const char *in, const char *type)
{
	json_open_object(o, NULL);
	json_span(o, "name", name);
	json_str(o, "in", in);
	json_bool(o, "required", strcmp(in, "path") == 0);
	put_property(o, "schema", type);
	json_close_object(o);
}

static void put_parameters(struct json_out *o, const struct api_route *r)
{
	json_open_array(o, "parameters");
	for (const char *p = strchr(r->path, '{'); p; p = strchr(p + 1, '{'))
		put_parameter(o, SPAN(p + 1, strcspn(p + 1, "}")), "path", "string");
	for (const char *p = r->query; p && *p; p += strcspn(p, " "), p += *p == ' ')
		put_parameter(o, SPAN(p, strcspn(p, " ")), "query", "string");
	if (r->answer == API_LIST) {
		put_parameter(o, SPAN_LIT("limit"), "query", "integer");
		put_parameter(o, SPAN_LIT("after"), "query", "string");
	}
	json_close_array(o);
}

/* "application/json": { "schema": { "$ref": ... } } as the content of what is open; no schema: any text. */
static void put_content(struct json_out *o, const char *type, const char *schema)
{
	json_open_object(o, "content");
	json_open_object(o, type);
	json_open_object(o, "schema");
	json_str(o, schema ? "$ref" : "type", schema ? schema : "string");
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
}

static void put_response(struct json_out *o, const char *status, const char *description, const char *type, const char *schema)
{
	json_open_object(o, status);
	json_str(o, "description", description);
	put_content(o, type, schema);
	json_close_object(o);
}

static void put_problem(struct json_out *o, const char *status, const char *description)
{
	put_response(o, status, description, "application/problem+json", "#/components/schemas/Problem");
}

/* "name:string wake:object" */
static void put_body(struct json_out *o, const char *members)
{
	char name[32], type[16];
	int n;

	json_open_object(o, "requestBody");
	json_bool(o, "required", strcmp(members, "reason:string") != 0); /* the one that may stay away */
	json_open_object(o, "content");
	json_open_object(o, "application/json");
	json_open_object(o, "schema");
	json_str(o, "type", "object");
	json_open_object(o, "properties");
	for (; sscanf(members, "%31[^:]:%15s%n", name, type, &n) == 2; members += n, members += *members == ' ') {
		json_open_object(o, name);
		json_str(o, "type", type);
		if (strcmp(type, "array") == 0)
			put_property(o, "items", "string");
		json_close_object(o);
	}
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
}

static void put_responses(struct json_out *o, const struct api_route *r)
{
	static const char *const schema[] = { [API_ITEM] = "#/components/schemas/Item", [API_LIST] = "#/components/schemas/List",
					      [API_OK] = "#/components/schemas/Done", [API_STARTED] = "#/components/schemas/Done" };

	json_open_object(o, "responses");
	put_response(o, r->answer == API_STARTED ? "202" : "200", r->answer == API_STARTED ? "It goes on" : "The answer", "application/json",
		     schema[r->answer]);
	if (strcmp(r->path, "health") == 0)
		put_response(o, "503", "Something is not well", "application/json", schema[API_ITEM]);
	if (r->role == ROLE_ADMIN)
		put_problem(o, "403", "The caller is not an admin");
	if (strchr(r->path, '{'))
		put_problem(o, "404", "There is no such thing");
	put_problem(o, "default", "What else went wrong (RFC 9457)");
	json_close_object(o);
}

static void put_operation(struct json_out *o, const struct api_route *r)
{
	char id[128];

	operation_id(r, id, sizeof(id));
	json_open_object(o, method_name(r->method));
	json_str(o, "operationId", id);
	json_str(o, "summary", r->summary);
	json_open_array(o, "tags");
	json_span(o, NULL, SPAN(r->path, strcspn(r->path, "/")));
	json_close_array(o);
	if (r->role == ROLE_ADMIN) { /* over TCP; who may open the Unix socket needs none */
		json_open_array(o, "security");
		json_open_object(o, NULL);
		json_open_array(o, "token");
		json_close_array(o);
		json_close_object(o);
		json_close_array(o);
	}
	put_parameters(o, r);
	if (r->body)
		put_body(o, r->body);
	put_responses(o, r);
	json_close_object(o);
}

/* What is served beside the table. */
static void put_page(struct json_out *o, const char *path, const char *id, const char *summary, const char *query, const char *type)
{
	json_open_object(o, path);
	if (strcmp(path, "/metrics") == 0) {
		json_open_array(o, "servers");
		json_open_object(o, NULL);
		json_str(o, "url", "/");
		json_close_object(o);
		json_close_array(o);
	}
	json_open_object(o, "get");
	json_str(o, "operationId", id);
	json_str(o, "summary", summary);
	json_open_array(o, "parameters");
	for (const char *p = query; *p; p += strcspn(p, " "), p += *p == ' ')
		put_parameter(o, SPAN(p, strcspn(p, " ")), "query", "string");
	json_close_array(o);
	json_open_object(o, "responses");
	put_response(o, "200", "The answer", type, strcmp(type, "application/json") == 0 ? "#/components/schemas/Item" : NULL);
	put_problem(o, "default", "What went wrong (RFC 9457)");
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
}

static void put_object_schema(struct json_out *o, const char *name)
{
	json_open_object(o, name);
	json_str(o, "type", "object");
	json_open_object(o, "properties");
}

static void end_object_schema(struct json_out *o)
{
	json_close_object(o);
	json_close_object(o);
}

static void put_list_schema(struct json_out *o)
{
	put_object_schema(o, "List");
	json_open_object(o, "items");
	json_str(o, "type", "array");
	json_open_object(o, "items");
	json_str(o, "$ref", "#/components/schemas/Item");
	json_close_object(o);
	json_close_object(o);
	put_property(o, "total", "integer");
	json_open_object(o, "next");
	json_open_array(o, "type");
	json_str(o, NULL, "string");
	json_str(o, NULL, "null");
	json_close_array(o);
	json_close_object(o);
	end_object_schema(o);
}

static void put_components(struct json_out *o)
{
	json_open_object(o, "components");
	json_open_object(o, "securitySchemes");
	json_open_object(o, "token");
	json_str(o, "type", "http");
	json_str(o, "scheme", "bearer");
	json_close_object(o);
	json_close_object(o);
	json_open_object(o, "schemas");
	put_object_schema(o, "Item");
	end_object_schema(o);
	put_object_schema(o, "Done");
	put_property(o, "ok", "boolean");
	end_object_schema(o);
	put_list_schema(o);
	put_object_schema(o, "Problem");
	put_property(o, "type", "string");
	put_property(o, "title", "string");
	put_property(o, "status", "integer");
	put_property(o, "detail", "string");
	end_object_schema(o);
	json_close_object(o);
	json_close_object(o);
}

static void put_paths(struct json_out *o)
{
	json_open_object(o, "paths");
	for (size_t i = 0; api_route_at(i); i++) {
		const struct api_route *r = api_route_at(i);
		char path[128];
		if (i > 0 && strcmp(api_route_at(i - 1)->path, r->path) == 0)
			continue; /* put with its first method */
		(void)snprintf(path, sizeof(path), "/%s", r->path); /* our own, short */
		json_open_object(o, path);
		for (size_t k = i; api_route_at(k) && strcmp(api_route_at(k)->path, r->path) == 0; k++)
			put_operation(o, api_route_at(k));
		json_close_object(o);
	}
	put_page(o, "/events", "get-events", "What happens, as Server-Sent Events", "types last", "text/event-stream");
	put_page(o, "/openapi.json", "get-openapi", "This document", "", "application/json");
	put_page(o, "/metrics", "get-metrics", "Counters in the text format of Prometheus", "", "text/plain");
	json_close_object(o);
}

void openapi_render(struct buf *ret)
{
	struct json_out o = json_writer(ret);

	json_open_object(&o, NULL);
	json_str(&o, "openapi", "3.1.0");
	json_open_object(&o, "info");
	json_str(&o, "title", "Dormouse");
	json_str(&o, "version", DORMOUSE_VERSION);
	json_str(&o, "description", "Firmware-update proxy and CoRE resource directory for nodes that sleep. Lists take limit= and after=. "
		 "Whoever may open the Unix socket is an admin; over TCP the token makes one, and without it a client may look.");
	json_close_object(&o);
	json_open_array(&o, "servers");
	json_open_object(&o, NULL);
	json_str(&o, "url", "/api/v1");
	json_close_object(&o);
	json_close_array(&o);
	json_open_array(&o, "security");
	json_open_object(&o, NULL);
	json_close_object(&o);
	json_open_object(&o, NULL);
	json_open_array(&o, "token");
	json_close_array(&o);
	json_close_object(&o);
	json_close_array(&o);
	put_paths(&o);
	put_components(&o);
	json_close_object(&o);
}
