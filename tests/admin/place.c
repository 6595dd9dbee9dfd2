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
#include "../scratch.h"
#include "../until.h"

static void on_db(void *ctx, int fd, unsigned what)
{
	db_dispatch(((struct place *)ctx)->db);
}

static int on_reload(void *ctx, struct buf *ret)
{
	struct place *p = ctx;

	buf_add_str(ret, p->reload_error ? "dormouse.toml:3: x: no such key" : "log.level: info -> debug\n");
	return p->reload_error;
}

static const char *on_coap_address(void *ctx, size_t i)
{
	return i == 0 ? "coap://127.0.0.1:5683" : NULL;
}

struct admin_config place_admin_config(struct place *p)
{
	return (struct admin_config){ .loop = p->loop, .config = &p->config, .db = p->db, .devices = p->devices, .registry = p->registry,
				      .images = p->images, .audit = p->audit, .reload = on_reload, .coap_address = on_coap_address, .ctx = p };
}

void place_open(struct place *p)
{
	static char none[] = "", file[] = "dormouse.toml";
	const struct registry_limits limits = { .max_endpoints = 100, .max_links = 100, .max_links_bytes = 4096 };

	*p = (struct place){ .roles = ROLE_ADMIN | ROLE_VIEWER };
	fakes = (struct fakes){ .place = p };
	log_set_max_priority(LOG_ALERT - 1);
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/dormouse-admin-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->loop = loop_new();
	assert_int_equal(db_open(p->dir, &p->db), 0);
	p->db_io = loop_io_new(p->loop, db_fd(p->db), LOOP_READ, on_db, p);
	assert_int_equal(audit_log_open(p->db, p->dir, "test", &p->audit), 0);
	assert_int_equal(image_cache_open(p->dir, 16 << 20, &p->images), 0);
	assert_int_equal(devices_open(&(struct devices_config){ .db = p->db }, &p->devices), 0);
	p->registry = registry_new(&limits, p->db);
	p->config.file = file;
	p->config.state_dir = p->dir;
	p->config.http.token_file = p->config.http.cert_file = p->config.http.key_file = none;
	p->admin = (struct admin){ .c = place_admin_config(p), .config = &p->config, .http = http_server_new(p->loop, NULL, NULL),
				   .events = events_stream_open(p->loop), .started_at = { 1700000000000 } };
}

void place_answer_done(struct answer *a)
{
	json_doc_free(a->doc);
	buf_done(&a->body);
	*a = (struct answer){ 0 };
}

void place_close(struct place *p)
{
	place_answer_done(&p->answer);
	db_flush(p->db);
	http_server_free(p->admin.http);
	events_stream_close(p->admin.events);
	registry_free(p->registry);
	devices_close(p->devices);
	image_cache_close(p->images);
	audit_log_close(p->audit);
	loop_io_free(p->db_io);
	db_close(p->db);
	loop_free(p->loop);
	scratch_remove(p->dir);
}

/* ---- a face of its own ---- */

static const char *face_query(struct api_call *c, const char *key)
{
	const struct place *p = c->face;

	for (size_t i = 0; i < PLACE_QUERIES_MAX && p->query[i][0]; i++)
		if (strcmp(p->query[i][0], key) == 0)
			return p->query[i][1];
	return NULL;
}

static void face_reply(struct api_call *c, int status, const char *type, struct span body)
{
	struct place *p = c->face;

	assert_false(p->answer.is_there);      /* exactly once */
	p->answer = (struct answer){ .is_there = true, .status = status, .allow = c->allow };
	assert_int_equal(text_copy(p->answer.type, sizeof(p->answer.type), span_str(type)), 0);
	buf_add(&p->answer.body, body);
}

static bool is_answered(void *ctx)
{
	return ((struct place *)ctx)->answer.is_there;
}

const struct answer *place_ask(struct place *p, enum http_method m, const char *path, const char *query, const char *body)
{
	_cleanup_free_ char *words = mem_strdup(query ? query : "");
	char *save = NULL, error[100];
	size_t n = 0;

	place_answer_done(&p->answer);
	memset(p->query, 0, sizeof(p->query));
	for (char *w = strtok_r(words, "&", &save); w; w = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(w, '=');
		assert_true(eq && n < PLACE_QUERIES_MAX);
		*eq = 0;
		p->query[n][0] = w;
		p->query[n++][1] = eq + 1;
	}
	struct api_call *c = api_call_new(&p->admin);
	c->method = m;
	c->roles = p->roles;
	c->is_coap = p->is_coap;
	c->query = face_query;
	c->reply = face_reply;
	c->face = p;
	(void)snprintf(c->who, sizeof(c->who), "tester");
	if (body && json_parse(span_str(body), &c->doc, error, sizeof(error)) < 0)
		fail_msg("%s: %s", body, error);
	c->body = c->doc ? json_root(c->doc) : NULL;
	api_run(c, path);
	if (!until(p->loop, is_answered, p, PLACE_PATIENCE_MS))
		fail_msg("no answer: %s", path);
	if (json_parse(buf_span(&p->answer.body), &p->answer.doc, error, sizeof(error)) < 0)
		fail_msg("%s: not JSON: %s: %s", path, error, buf_str(&p->answer.body));
	p->answer.root = json_root(p->answer.doc);
	return &p->answer;
}

int place_get(struct place *p, const char *path, const char *query)
{
	return place_ask(p, HTTP_GET, path, query, NULL)->status;
}

void place_assert_problem(const struct answer *a, int status, const char *why)
{
	const char *detail = json_get_str(a->root, "detail");
	int64_t n = 0;

	if (a->status != status || !detail || !strstr(detail, why))
		fail_msg("wanted %d and \"%s\", not %d: %s", status, why, a->status, buf_str((struct buf *)&a->body));
	assert_string_equal(a->type, "application/problem+json");
	assert_string_equal(json_get_str(a->root, "type"), "about:blank");
	assert_string_equal(json_get_str(a->root, "title"), http_status_title(status));
	assert_true(json_get_int(a->root, "status", &n) && n == status);
}

/* ---- things that are there ---- */

void place_add_device(struct place *p, const char *id)
{
	struct device d = { .state = DEVICE_ENROLLED };

	assert_int_equal(text_copy(d.id, sizeof(d.id), span_str(id)), 0);
	assert_int_equal(text_copy(d.driver, sizeof(d.driver), SPAN_LIT("coap-pull")), 0);
	assert_int_equal(devices_put(p->devices, &d, wall_now(), NULL, NULL), 0);
}

const char *place_add_endpoint(struct place *p, const char *name)
{
	const struct registry_request req = { .endpoint = span_str(name), .implied_base = SPAN_LIT("coap://[2001:db8::1]:1234"), .owner = "",
					      .device = "", .links = SPAN_LIT("</t>;rt=\"temperature\"") };
	struct registry_result res;

	assert_int_equal(registry_register(p->registry, &req, (struct registry_time){ mono_now(), wall_now() }, NULL, NULL, &res), 1);
	return registration_location(res.registration);
}

void place_add_update(const char *id, enum update_state state)
{
	struct update *u = &fakes.updates[fakes.n_updates++];

	assert_true(fakes.n_updates <= PLACE_UPDATES_MAX);
	*u = (struct update){ .state = state, .sequence = fakes.n_updates };
	assert_int_equal(text_copy(u->id, sizeof(u->id), span_str(id)), 0);
}

void place_add_job(const char *id, const char *update, const char *device, enum job_state state)
{
	struct job *j = &fakes.jobs[fakes.n_jobs++];

	assert_true(fakes.n_jobs <= PLACE_JOBS_MAX);
	*j = (struct job){ .state = state };
	assert_int_equal(text_copy(j->id, sizeof(j->id), span_str(id)), 0);
	assert_int_equal(text_copy(j->update, sizeof(j->update), span_str(update)), 0);
	assert_int_equal(text_copy(j->device, sizeof(j->device), span_str(device)), 0);
}
