#include "store_test.h"

#include <sqlite3.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "store/device_store.h"
#include "store/job_store.h"
#include "store/registration_store.h"
#include "store/update_store.h"

static struct db *open_db(void)
{
	struct db *db;

	assert_int_equal(db_open(in_scratch("state"), &db), 0);
	return db;
}

static struct db *reopen(struct db *db)
{
	db_close(db);
	return open_db();
}

static void assert_zero(void *ctx, int error)
{
	assert_int_equal(error, 0);
	if (ctx)
		++*(unsigned *)ctx;
}

/* --- registrations (RD-50, RD-60) --- */

struct seen { unsigned n; char order[16][16]; struct wall expires[16]; };

static int see_registration(void *ctx, const struct registration_row *row)
{
	struct seen *s = ctx;

	(void)snprintf(s->order[s->n], sizeof(s->order[0]), "%.15s", row->location);
	s->expires[s->n++] = row->expires_at;
	if (strcmp(row->location, "l2") == 0) {
		assert_string_equal(row->endpoint, "node2");
		assert_string_equal(row->sector, "hall");
		assert_true(span_eq(row->base, SPAN_LIT("coap://[fe80::1]\0x")));
		assert_true(row->base_is_explicit);
		assert_true(row->lifetime_s == UINT32_MAX);
		assert_true(row->order == UINT64_MAX);
		assert_true(span_eq(row->attributes, SPAN_LIT("\x01\x00\x02")));
		assert_true(span_eq(row->links, SPAN_LIT("</a>;rt=\"x\"")));
		assert_string_equal(row->owner, "psk-2");
		assert_string_equal(row->device, "dev2");
	}
	return 0;
}

static void put_registration(struct db *db, const char *location, uint64_t order, int64_t expires_ms)
{
	struct registration_row row = {
		.location = location, .endpoint = "node2", .sector = "hall", .base = SPAN_LIT("coap://[fe80::1]\0x"),
		.base_is_explicit = true, .lifetime_s = UINT32_MAX, .expires_at = { expires_ms }, .order = order,
		.attributes = SPAN_LIT("\x01\x00\x02"), .links = SPAN_LIT("</a>;rt=\"x\""), .owner = "psk-2", .device = "dev2",
	};

	registration_store_put(db, &row, assert_zero, NULL);
}

static void registrations_come_back_in_their_order_with_their_lease(void **state)
{
	struct seen s = { 0 };
	struct db *db = open_db();

	put_registration(db, "l3", 3, 300);
	put_registration(db, "l1", 1, 100);
	put_registration(db, "l4", 4, 400);
	registration_store_touch(db, "l3", (struct wall){ 333 }, assert_zero, NULL);
	registration_store_touch(db, "nobody", (struct wall){ 1 }, assert_zero, NULL);
	registration_store_delete(db, "l4", assert_zero, NULL);
	registration_store_delete(db, "nobody", assert_zero, NULL);
	put_registration(db, "l1", 5, 500); /* registered again: last */
	db = reopen(db);
	assert_int_equal(registration_store_load(db, see_registration, &s), 0);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.order[0], "l3");
	assert_int_equal(s.expires[0].ms, 333);
	assert_string_equal(s.order[1], "l1");
	assert_int_equal(s.expires[1].ms, 500);
	put_registration(db, "l2", UINT64_MAX, INT64_MAX);
	db = reopen(db);
	s.n = 0;
	assert_int_equal(registration_store_load(db, see_registration, &s), 0);
	assert_int_equal(s.n, 3);
	db_close(db);
}

static int stop_at_two(void *ctx, const struct registration_row *row)
{
	return ++*(unsigned *)ctx == 2 ? -ECANCELED : 0;
}

static void a_reader_may_stop_a_load(void **state)
{
	unsigned n = 0;
	struct db *db = open_db();

	for (uint64_t i = 0; i < 5; i++)
		put_registration(db, (char[]){ (char)('a' + i), 0 }, i, 1);
	db_flush(db);
	assert_int_equal(registration_store_load(db, stop_at_two, &n), -ECANCELED);
	assert_int_equal(n, 2);
	struct seen s = { 0 };
	assert_int_equal(registration_store_load(db, see_registration, &s), 0); /* and again from the start */
	assert_int_equal(s.n, 5);
	db_close(db);
}

enum { MANY = 50000 };

static int count_registration(void *ctx, const struct registration_row *row)
{
	++*(unsigned *)ctx;
	return 0;
}

static void fifty_thousand_registrations(void **state)
{
	char location[16], links[400];
	unsigned n_done = 0, n = 0;
	struct db *db = open_db();
	struct mono t0 = mono_now();

	memset(links, 'l', sizeof(links));
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(location, sizeof(location), "%08x", i * 2654435761u);
		struct registration_row row = { .location = location, .endpoint = location, .sector = "", .lifetime_s = 90000,
						.order = i, .links = SPAN_OF(links), .owner = "", .device = location,
						.base = SPAN_LIT("coap://[2001:db8::1]:5683") };
		registration_store_put(db, &row, assert_zero, &n_done);
		if (db_queue_length(db) > DB_QUEUE_MAX / 2)
			db_flush(db);
	}
	db_flush(db);
	struct mono t1 = mono_now();
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(location, sizeof(location), "%08x", i * 2654435761u);
		registration_store_touch(db, location, (struct wall){ i }, assert_zero, &n_done);
		if (db_queue_length(db) > DB_QUEUE_MAX / 2)
			db_flush(db);
	}
	db_flush(db);
	struct mono t2 = mono_now();
	assert_int_equal(n_done, 2 * MANY);
	db_close(db);
	struct mono t3 = mono_now();
	db = open_db();
	struct mono t4 = mono_now();
	assert_int_equal(registration_store_load(db, count_registration, &n), 0);
	struct mono t5 = mono_now();
	assert_int_equal(n, MANY);
	db_close(db);
	print_message("50000 registrations: put %lld ms, touch %lld ms, open %lld ms, load %lld ms\n", (long long)mono_diff_ms(t1, t0),
		      (long long)mono_diff_ms(t2, t1), (long long)mono_diff_ms(t4, t3), (long long)mono_diff_ms(t5, t4));
}

/* --- devices and credentials --- */

static struct device a_device(void)
{
	struct device d = {
		.id = "node-1", .name = "the node in the h\xc3\xa4ll", .state = DEVICE_ENROLLED,
		.model = { .has_vendor = true, .vendor_id = { 1, 2, 3 }, .has_class = true, .class_id = { 4 }, .hw_revision = "B2" },
		.n_components = 2,
		.components = {
			{ .id = { 0x81, 0x41, 0 }, .n_id = 3, .has_sequence = true, .sequence = UINT64_MAX, .has_manifest = true,
			  .manifest = { { 9, 8, 7 } }, .version = "1.2.3" },
			{ .id = { 0 }, .n_id = 1, .version = "" },
		},
		.wake = { .kind = WAKE_WINDOW, .period_s = UINT32_MAX, .window_s = 20 },
		.proof = PROOF_MAC, .driver = "coap-pull", .identity = "psk-node-1",
		.enrolled_at = { 1000 }, .last_seen = { -5 }, .last_addr = "[2001:db8::1]:5683", .address = "[2001:db8::2]:1337",
	};

	return d;
}

static int take_device(void *ctx, const struct device *d)
{
	*(struct device *)ctx = *d;
	return 0;
}

static void a_device_comes_back_as_it_was(void **state)
{
	struct device d = a_device(), back = { 0 };
	struct db *db = open_db();

	device_store_put(db, &d, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(device_store_load(db, take_device, &back), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	/* fewer components, no model */
	d.n_components = 0;
	memset(d.components, 0, sizeof(d.components));
	memset(&d.model, 0, sizeof(d.model));
	device_store_put(db, &d, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(device_store_load(db, take_device, &back), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	device_store_delete(db, "node-1", assert_zero, NULL);
	memset(&back, 0, sizeof(back));
	db = reopen(db);
	assert_int_equal(device_store_load(db, take_device, &back), 0);
	assert_string_equal(back.id, "");
	db_close(db);
}

static int count_device(void *ctx, const struct device *d)
{
	++*(unsigned *)ctx;
	return 0;
}

static void a_row_that_is_not_understood_is_left_out_and_the_others_load(void **state)
{
	struct device d = a_device();
	unsigned n = 0;
	struct db *db = open_db();
	sqlite3 *other;

	device_store_put(db, &d, assert_zero, NULL);
	strcpy(d.id, "node-2");
	device_store_put(db, &d, assert_zero, NULL);
	db_close(db);
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "UPDATE device SET state = 'dreaming' WHERE id = 'node-1'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	db = open_db();
	assert_int_equal(device_store_load(db, count_device, &n), 0);
	assert_int_equal(n, 1);
	db_close(db);
}

static int take_credential(void *ctx, const struct credential *c)
{
	struct credential *out = ctx;

	out[c->kind] = *c;
	return 0;
}

static void assert_same_credential(const struct credential *a, const struct credential *b)
{
	assert_string_equal(a->identity, b->identity);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->roles, b->roles);
	assert_true(span_eq(SPAN(a->secret, a->n_secret), SPAN(b->secret, b->n_secret)));
	assert_string_equal(a->device, b->device);
}

static void credentials_are_kept_by_identity_and_kind(void **state)
{
	struct credential psk = { .identity = "id", .kind = CREDENTIAL_PSK, .roles = ROLE_DEVICE | ROLE_ADMIN, .n_secret = CREDENTIAL_SECRET_MAX,
				  .device = "node-1" };
	struct credential mac = { .identity = "id", .kind = CREDENTIAL_MAC, .roles = ROLE_DEVICE, .n_secret = 1 };
	struct credential back[2] = { 0 };
	struct db *db = open_db();

	memset(psk.secret, 0x5c, sizeof(psk.secret));
	credential_store_put(db, &psk, assert_zero, NULL);
	credential_store_put(db, &mac, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(credential_store_load(db, take_credential, back), 0);
	assert_same_credential(&back[0], &psk);
	assert_same_credential(&back[1], &mac);
	credential_store_delete(db, "id", CREDENTIAL_PSK, assert_zero, NULL);
	memset(back, 0, sizeof(back));
	db = reopen(db);
	assert_int_equal(credential_store_load(db, take_credential, back), 0);
	assert_string_equal(back[0].identity, "");
	assert_string_equal(back[1].identity, "id");
	db_close(db);
}

static bool file_contains(const char *path, struct span needle)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	if (file_read(AT_FDCWD, path, 64 << 20, &p, &n) < 0)
		return false;
	return memmem(p, n, needle.p, needle.n) != NULL;
}

static void a_deleted_secret_is_not_left_in_the_file(void **state)
{
	static const char secret[] = "this-secret-must-go-away-0123456";
	struct credential c = { .identity = "id", .kind = CREDENTIAL_PSK, .n_secret = sizeof(secret) - 1 };
	struct db *db = open_db();

	memcpy(c.secret, secret, sizeof(secret) - 1);
	credential_store_put(db, &c, assert_zero, NULL);
	db = reopen(db);
	assert_true(file_contains(in_scratch("state/dormouse.db"), SPAN_LIT(secret)));
	credential_store_delete(db, "id", CREDENTIAL_PSK, assert_zero, NULL);
	db = reopen(db);
	assert_false(file_contains(in_scratch("state/dormouse.db"), SPAN_LIT(secret)));
	db_close(db);
}

/* --- updates --- */

static struct update *an_update(void)
{
	struct update *u = NEW(struct update);

	*u = (struct update){
		.state = UPDATE_AVAILABLE, .envelope = { { 1, 2 } }, .envelope_bytes = UINT64_MAX, .sequence = UINT64_MAX - 1,
		.n_components = 2,
		.components = { { .id = { 0x81 }, .n_id = 1, .vendor_id = { { 1 }, { 2 } }, .n_vendor_id = 2, .class_id = { { 3 } }, .n_class_id = 1 },
				{ .id = { 0x82 }, .n_id = 64 } },
		.n_images = 1, .images = { { .digest = { { 7 } }, .bytes = 12345, .uri = "https://vendor.example/a.bin", .component = 1,
					     .is_integrated = true, .is_cached = true } },
		.source = "vendor", .uri = "https://vendor.example/a.suit", .anchor = "vendor-ca", .description = "text", .version = "2.0",
		.approved = true, .approved_by = "anna", .found_at = { 1 }, .state_at = { 2 }, .approved_at = { 3 },
		.has_use_before = true, .use_before_s = -7, .reason = "all rules passed",
	};
	memset(u->id, 'f', UPDATE_ID_BYTES - 1);
	return u;
}

static int take_update(void *ctx, const struct update *u)
{
	*(struct update *)ctx = *u;
	return 0;
}

static void an_update_comes_back_with_its_images_and_its_verdict(void **state)
{
	_cleanup_free_ struct update *u = an_update(), *back = NEW(struct update);
	_cleanup_free_ uint8_t *verdict = NULL;
	size_t n;
	struct db *db = open_db();

	update_store_put(db, u, SPAN_LIT("{\"accepted\":true}"), assert_zero, NULL);
	u->state = UPDATE_RECALLED;
	u->has_use_before = false;
	u->use_before_s = 0;
	u->n_components = 1;
	memset(&u->components[1], 0, sizeof(u->components[1]));
	update_store_put(db, u, SPAN_NONE, assert_zero, NULL); /* the verdict stays */
	db = reopen(db);
	assert_int_equal(update_store_load(db, take_update, back), 0);
	assert_memory_equal(u, back, sizeof(*u));
	assert_int_equal(update_store_verdict(db, u->id, &verdict, &n), 0);
	assert_true(span_eq_str(SPAN(verdict, n), "{\"accepted\":true}"));
	update_store_delete(db, u->id, assert_zero, NULL);
	db_flush(db);
	free(verdict);
	verdict = NULL;
	assert_int_equal(update_store_verdict(db, u->id, &verdict, &n), -ENOENT);
	db_close(db);
}

static void a_full_update_comes_back(void **state)
{
	_cleanup_free_ struct update *u = an_update(), *back = NEW(struct update);
	struct db *db = open_db();

	u->n_components = UPDATE_COMPONENTS_MAX;
	u->n_images = UPDATE_IMAGES_MAX;
	for (size_t i = 0; i < UPDATE_COMPONENTS_MAX; i++) {
		u->components[i].n_id = 64;
		u->components[i].n_vendor_id = u->components[i].n_class_id = UPDATE_MODELS_MAX;
		u->components[i].class_id[UPDATE_MODELS_MAX - 1][15] = (uint8_t)i;
	}
	for (size_t i = 0; i < UPDATE_IMAGES_MAX; i++) {
		memset(u->images[i].uri, 'u', UPDATE_URI_BYTES - 1);
		u->images[i].bytes = i;
	}
	update_store_put(db, u, SPAN_NONE, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(update_store_load(db, take_update, back), 0);
	assert_memory_equal(u, back, sizeof(*u));
	db_close(db);
}

/* --- sequences (SU-13), revocation, sources --- */

static int take_sequence(void *ctx, const struct sequence_row *row)
{
	struct sequence_row *out = ctx;

	assert_true(row->n_component < 8);
	out[row->n_component] = *row;
	return 0;
}

static void assert_same_sequence(const struct sequence_row *a, const struct sequence_row *b)
{
	assert_memory_equal(a->vendor_id, b->vendor_id, 16);
	assert_memory_equal(a->class_id, b->class_id, 16);
	assert_memory_equal(a->component, b->component, sizeof(a->component));
	assert_int_equal(a->n_component, b->n_component);
	assert_true(a->sequence == b->sequence);
	assert_true(digest_eq(&a->manifest, &b->manifest));
}

static void sequences_are_kept_per_vendor_class_and_component(void **state)
{
	struct sequence_row a = { .vendor_id = { 1 }, .class_id = { 2 }, .component = { 3 }, .n_component = 1, .sequence = 5, .manifest = { { 1 } } };
	struct sequence_row b = a, back[8] = { 0 };
	struct db *db = open_db();

	b.n_component = 2;
	b.sequence = UINT64_MAX;
	sequence_store_put(db, &a, assert_zero, NULL);
	sequence_store_put(db, &b, assert_zero, NULL);
	a.sequence = 6;
	sequence_store_put(db, &a, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(sequence_store_load(db, take_sequence, back), 0);
	assert_same_sequence(&back[1], &a);
	assert_same_sequence(&back[2], &b);
	db_close(db);
}

static void a_damaged_sequence_is_an_error_because_it_guards_against_rollback(void **state)
{
	struct sequence_row a = { .n_component = 1 }, back[8];
	struct db *db = open_db();
	sqlite3 *other;

	sequence_store_put(db, &a, assert_zero, NULL);
	db_close(db);
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "UPDATE sequence SET manifest = x'00'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	db = open_db();
	assert_int_equal(sequence_store_load(db, take_sequence, back), -EBADMSG);
	db_close(db);
}

static int see_revocation(void *ctx, const struct revocation_row *row)
{
	assert_string_equal(row->key, "crl:1");
	assert_string_equal(row->url, "http://ca.example/1.crl");
	assert_int_equal(row->kind, 1);
	assert_true(span_eq(row->der, SPAN_LIT("\x30\x00\x01")));
	assert_int_equal(row->fetched_at.ms, 77);
	return assert_zero(ctx, 0), 0;
}

static int see_source(void *ctx, const struct source_row *row)
{
	assert_string_equal(row->name, "vendor");
	assert_string_equal(row->etag, "\"abc\"");
	assert_string_equal(row->last_modified, "");
	assert_int_equal(row->last_envelope.b[0], 9);
	assert_int_equal(row->polled_at.ms, 88);
	return assert_zero(ctx, 0), 0;
}

static void revocation_objects_and_source_state_are_kept(void **state)
{
	struct revocation_row r = { .key = "crl:1", .url = "http://ca.example/1.crl", .kind = 1, .der = SPAN_LIT("\x30\x00\x01"), .fetched_at = { 77 } };
	struct source_row s = { .name = "vendor", .etag = "\"abc\"", .last_modified = NULL, .last_envelope = { { 9 } }, .polled_at = { 88 } };
	unsigned n = 0;
	struct db *db = open_db();

	revocation_store_put(db, &r, assert_zero, NULL);
	source_store_put(db, &s, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(revocation_store_load(db, see_revocation, &n), 0);
	assert_int_equal(source_store_load(db, see_source, &n), 0);
	assert_int_equal(n, 2);
	revocation_store_delete(db, "crl:1", assert_zero, NULL);
	db_flush(db);
	assert_int_equal(revocation_store_load(db, see_revocation, &n), 0);
	assert_int_equal(n, 2);
	db_close(db);
}

/* --- jobs and rollouts --- */

static int take_job(void *ctx, const struct job *j)
{
	struct job *out = ctx;

	out[j->attempts] = *j;
	return 0;
}

static void jobs_come_back_in_every_state(void **state)
{
	struct job jobs[JOB_STATE_COUNT] = { 0 }, back[JOB_STATE_COUNT] = { 0 };
	struct db *db = open_db();

	for (unsigned i = 0; i < JOB_STATE_COUNT; i++) {
		struct job *j = &jobs[i];
		(void)snprintf(j->device, sizeof(j->device), "node-%u", i);
		memset(j->update, 'e', sizeof(j->update) - 1);
		job_id_of(j->update, j->device, j->id);
		memset(j->rollout, 'd', sizeof(j->rollout) - 1);
		memset(j->reason, 'r', sizeof(j->reason) - 1);
		j->state = (enum job_state)i;
		j->attempts = i;
		j->result = i;
		j->sent_bytes = 1;
		j->total_bytes = UINT64_MAX;
		j->created_at.ms = i;
		j->state_at.ms = -1;
		job_store_put(db, j, assert_zero, NULL);
	}
	db = reopen(db);
	assert_int_equal(job_store_load(db, take_job, back), 0);
	assert_memory_equal(jobs, back, sizeof(jobs));
	job_store_delete(db, jobs[3].id, assert_zero, NULL);
	memset(back, 0, sizeof(back));
	db_flush(db);
	assert_int_equal(job_store_load(db, take_job, back), 0);
	assert_string_equal(back[3].id, "");
	assert_string_equal(back[4].id, jobs[4].id);
	db_close(db);
}

static int take_rollout(void *ctx, const struct rollout *r)
{
	*(struct rollout *)ctx = *r;
	return 0;
}

static void a_rollout_comes_back(void **state)
{
	struct rollout r = { .id = "00112233445566778899aabbccddeeff", .update = "ffff", .state = ROLLOUT_WAITING, .created_at = { 5 }, .state_at = { 6 } };
	struct rollout back = { 0 };
	struct db *db = open_db();

	rollout_store_put(db, &r, assert_zero, NULL);
	r.state = ROLLOUT_DONE;
	rollout_store_put(db, &r, assert_zero, NULL);
	db = reopen(db);
	assert_int_equal(rollout_store_load(db, take_rollout, &back), 0);
	assert_string_equal(back.id, r.id);
	assert_string_equal(back.update, r.update);
	assert_int_equal(back.state, ROLLOUT_DONE);
	assert_int_equal(back.created_at.ms, 5);
	assert_int_equal(back.state_at.ms, 6);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registrations_come_back_in_their_order_with_their_lease),
		TEST(a_reader_may_stop_a_load),
		TEST(fifty_thousand_registrations),
		TEST(a_device_comes_back_as_it_was),
		TEST(a_row_that_is_not_understood_is_left_out_and_the_others_load),
		TEST(credentials_are_kept_by_identity_and_kind),
		TEST(a_deleted_secret_is_not_left_in_the_file),
		TEST(an_update_comes_back_with_its_images_and_its_verdict),
		TEST(a_full_update_comes_back),
		TEST(sequences_are_kept_per_vendor_class_and_component),
		TEST(a_damaged_sequence_is_an_error_because_it_guards_against_rollback),
		TEST(revocation_objects_and_source_state_are_kept),
		TEST(jobs_come_back_in_every_state),
		TEST(a_rollout_comes_back),
	};

	log_open("test", LOG_EMERG);
	return cmocka_run_group_tests_name("store/stores", tests, NULL, NULL);
}
