/* tests/admin/place.h - what the API stands on: a real store, directory, cache and audit log in a folder of their own; what lies
 * behind intake, rollout and upstream is of place_fakes.c, which takes their places when the test is linked. Calls go straight to
 * the route table. Include after cmocka.h. */
#pragma once
#include "admin/api.h"
#include "store/update_store.h"

enum { PLACE_UPDATES_MAX = 8, PLACE_JOBS_MAX = 8, PLACE_SOURCES_MAX = 4, PLACE_QUERIES_MAX = 4, PLACE_PATIENCE_MS = 20000 };

struct answer {
	bool is_there;
	int status;
	unsigned allow;
	char type[40];
	struct buf body;
	struct json_doc *doc;
	const struct json_value *root;
};

struct place {
	char dir[64];
	struct loop *loop;
	struct db *db;
	struct loop_io *db_io;
	struct devices *devices;
	struct registry *registry;
	struct image_cache *images;
	struct audit_log *audit;
	struct config config;
	struct admin admin;                    /* without a server: the routes alone */
	struct answer answer;                  /* of the last call */
	unsigned roles;                        /* of who calls; admin and viewer at first */
	bool is_coap;
	const char *query[PLACE_QUERIES_MAX][2];
	int reload_error;                      /* what the reload says */
};

struct fakes {
	struct place *place;
	struct update updates[PLACE_UPDATES_MAX];
	size_t n_updates;
	struct job jobs[PLACE_JOBS_MAX];
	size_t n_jobs;
	struct rollout rollouts[PLACE_JOBS_MAX];
	size_t n_rollouts;
	struct source_status sources[PLACE_SOURCES_MAX];
	size_t n_sources;
	struct selection selection;
	bool clock_bad;
	int error;                             /* what the disk says to a decision */
	unsigned n_refreshed, n_polled;
	char who[API_WHO_BYTES], reason[64];
};
extern struct fakes fakes;

void place_open(struct place *p);
void place_close(struct place *p);
struct admin_config place_admin_config(struct place *p);
/* Waits for the answer; "k=v&k=v" in query, JSON in body, NULL = none. */
const struct answer *place_ask(struct place *p, enum http_method m, const char *path, const char *query, const char *body);
int place_get(struct place *p, const char *path, const char *query);   /* the status */
void place_answer_done(struct answer *a);
/* A problem with every member it must have, and why in its detail. */
void place_assert_problem(const struct answer *a, int status, const char *why);
void place_add_device(struct place *p, const char *id);
const char *place_add_endpoint(struct place *p, const char *name);     /* its location, borrowed */
void place_add_update(const char *id, enum update_state state);
void place_add_job(const char *id, const char *update, const char *device, enum job_state state);
