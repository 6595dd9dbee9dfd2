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

static void put_text_schema(struct json_out *o)
{
	json_open_object(o, "schema");
	json_str(o, "type", "string");
	json_close_object(o);
}

static void put_parameters(struct json_out *o, const char *path)
{
	json_open_array(o, "parameters");
	for (const char *p = strchr(path, '{'); p; p = strchr(p + 1, '{')) {
		json_open_object(o, NULL);
		json_span(o, "name", SPAN(p + 1, strchr(p, '}') - p - 1));
		json_str(o, "in", "path");
		json_bool(o, "required", true);
		put_text_schema(o);
		json_close_object(o);
	}
	json_close_array(o);
}

static void put_response(struct json_out *o, const char *status, const char *description, const char *type, const char *schema)
{
	json_open_object(o, status);
	json_str(o, "description", description);
	json_open_object(o, "content");
	json_open_object(o, type);
	json_open_object(o, "schema");
	json_str(o, "$ref", schema);
	json_close_object(o);
	json_close_object(o);
	json_close_object(o);
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
	put_parameters(o, r->path);
	if (r->method == HTTP_PUT || r->method == HTTP_POST) {
		json_open_object(o, "requestBody");
		json_bool(o, "required", r->method == HTTP_PUT);
		json_open_object(o, "content");
		json_open_object(o, "application/json");
		json_open_object(o, "schema");
		json_str(o, "$ref", "#/components/schemas/Item");
		json_close_object(o);
		json_close_object(o);
		json_close_object(o);
		json_close_object(o);
	}
	json_open_object(o, "responses");
	put_response(o, "200", "The answer", "application/json", strchr(r->path, '{') || r->method != HTTP_GET ? "#/components/schemas/Item"
		     : "#/components/schemas/List");
	put_response(o, "default", "What went wrong (RFC 9457)", "application/problem+json", "#/components/schemas/Problem");
	json_close_object(o);
	json_close_object(o);
}

static void put_property(struct json_out *o, const char *name, const char *type)
{
	json_open_object(o, name);
	json_str(o, "type", type);
	json_close_object(o);
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
	json_open_object(o, "Item");
	json_str(o, "type", "object");
	json_close_object(o);
	json_open_object(o, "List");
	json_str(o, "type", "object");
	json_open_object(o, "properties");
	json_open_object(o, "items");
	json_str(o, "type", "array");
	json_open_object(o, "items");
	json_str(o, "$ref", "#/components/schemas/Item");
	json_close_object(o);
	json_close_object(o);
	put_property(o, "total", "integer");
	put_property(o, "next", "string");
	json_close_object(o);
	json_close_object(o);
	json_open_object(o, "Problem");
	json_str(o, "type", "object");
	json_open_object(o, "properties");
	put_property(o, "type", "string");
	put_property(o, "status", "integer");
	put_property(o, "detail", "string");
	json_close_object(o);
	json_close_object(o);
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
	json_str(&o, "description", "Firmware-update proxy and CoRE resource directory for nodes that sleep. Lists take limit= and after=; "
		 "events are Server-Sent Events at /api/v1/events; metrics at /metrics.");
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
