/* The one door with everything behind it real: folder source, judge, cache, store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "intake/intake.h"
#include "trust/sign.h"
#include "../disk_full.h"
#include "../scratch.h"
#include "../until.h"

enum { IMAGE_BYTES = 300000, PATIENCE_MS = 25000 };

static const uint8_t vendor_id[16] = { 0xfa, 0x6b, 0x4a, 0x53, 0xd5, 0xad, 0x5f, 0xdf, 0xbe, 0x9d, 0xe6, 0x63, 0xe4, 0xd4, 0x1f, 0xfe };
static const uint8_t class_id[16] = { 0x14, 0x92, 0xaf, 0x14, 0x25, 0x69, 0x5e, 0x48, 0xbf, 0x42, 0x9b, 0x2d, 0x51, 0xf2, 0xab, 0x45 };

struct fixture {
	char dir[64], drop[80];
	struct loop *loop;
	struct worker_pool *workers;
	struct db *db;
	struct loop_io *db_io;
	struct audit_log *audit;
	struct image_cache *images;
	struct http_client *http;
	struct revocation_source *revocation;
	struct upstream *upstream;
	struct trust_anchors *anchors;
	struct intake *intake;
	struct buf key_pem, public_pem, foreign_pem;
	uint8_t image[IMAGE_BYTES];
	enum rollout_policy policy;
	size_t n_remembered;
	char wanted[UPDATE_ID_BYTES];
	enum update_state wanted_state;
};

static void on_db(void *ctx, int fd, unsigned what)
{
	(void)fd;
	(void)what;
	db_dispatch(((struct fixture *)ctx)->db);
}

static enum rollout_policy on_policy(void *ctx, const char *source, const struct update *u)
{
	(void)source;
	(void)u;
	return ((struct fixture *)ctx)->policy;
}

static void on_changed(void *ctx, const struct update *u, enum update_state old)
{
	(void)ctx;
	(void)u;
	(void)old;
}

static void on_found(void *ctx, const char *source, const char *uri, struct span envelope, upstream_taken_fn *taken, void *arg)
{
	intake_found(((struct fixture *)ctx)->intake, source, uri, envelope, taken, arg);
}

static bool on_recall(void *ctx, const char *source, struct upstream_memory *ret)
{
	(void)ctx;
	(void)source;
	(void)ret;
	return false;
}

static void on_remember(void *ctx, const char *source, const struct upstream_memory *m)
{
	(void)source;
	(void)m;
	((struct fixture *)ctx)->n_remembered++;
}

static void open_all(struct fixture *f)
{
	struct buf error = { 0 };
	char text[200], name[] = "drop", kind[] = "folder", empty[] = "";
	const char *const any[] = { "any", NULL }, *const none[] = { NULL };
	struct trust_anchor_config anchor = { .name = "author", .pem = buf_span(&f->public_pem), .vendor_ids = any, .class_ids = none,
					      .hosts = none };
	struct config_source row = { .name = name, .kind = kind, .url = empty, .path = f->drop, .ca_file = empty, .poll_s = 1,
				     .timeout_s = 5, .backoff_max_s = 5 };

	f->loop = loop_new();
	f->workers = worker_pool_new(f->loop, 2);
	assert_int_equal(db_open(f->dir, &f->db), 0);
	f->db_io = loop_io_new(f->loop, db_fd(f->db), LOOP_READ, on_db, f);
	assert_int_equal(audit_log_open(f->db, f->dir, "test", &f->audit), 0);
	assert_int_equal(image_cache_open(f->dir, 16 << 20, &f->images), 0);
	assert_int_equal(trust_anchors_build(&anchor, 1, &f->anchors, text, sizeof(text)), 0);
	f->http = http_client_new(f->loop);
	f->revocation = revocation_source_new(&(struct revocation_source_config){ .loop = f->loop, .http = f->http, .timeout_s = 5 });
	f->upstream = upstream_new(&(struct upstream_config){ .loop = f->loop, .workers = f->workers, .http = f->http,
		.envelope_bytes_max = 1 << 20, .found = on_found, .recall = on_recall, .remember = on_remember, .ctx = f });
	assert_int_equal(intake_open(&(struct intake_config){ .loop = f->loop, .workers = f->workers, .db = f->db, .audit = f->audit,
		.images = f->images, .upstream = f->upstream, .revocation = f->revocation, .anchors = f->anchors,
		.image_bytes_max = 1 << 20, .refresh_max_s = 60, .policy = on_policy, .changed = on_changed, .ctx = f }, &f->intake), 0);
	intake_begin(f->intake);
	assert_int_equal(upstream_apply(f->upstream, &row, 1, &error), 0);
	buf_done(&error);
}

static void close_all(struct fixture *f)
{
	intake_stop(f->intake);
	f->workers = worker_pool_free(f->workers);
	db_flush(f->db);
	f->revocation = revocation_source_free(f->revocation);
	f->intake = intake_close(f->intake);
	f->upstream = upstream_free(f->upstream);
	f->http = http_client_free(f->http);
	trust_anchors_unref(f->anchors);
	f->images = image_cache_close(f->images);
	f->audit = audit_log_close(f->audit);
	loop_io_free(f->db_io);
	f->db = db_close(f->db);
	f->loop = loop_free(f->loop);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct buf unused = { 0 };

	log_set_max_priority(LOG_ALERT - 1);
	snprintf(f->dir, sizeof(f->dir), "/tmp/dormouse-intake-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->drop, sizeof(f->drop), "%s/drop", f->dir);
	assert_int_equal(mkdir(f->drop, 0700), 0);
	assert_int_equal(sign_key_generate(SIGN_P256, &f->key_pem, &f->public_pem), 0);
	assert_int_equal(sign_key_generate(SIGN_P256, &f->foreign_pem, &unused), 0);
	buf_done(&unused);
	for (size_t i = 0; i < IMAGE_BYTES; i++)
		f->image[i] = (uint8_t)(i * 7 + i / 251);
	f->policy = POLICY_AUTO;
	open_all(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close_all(f);
	buf_done(&f->key_pem);
	buf_done(&f->public_pem);
	buf_done(&f->foreign_pem);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static void drop(struct fixture *f, const char *name, struct span bytes)
{
	int fd = open(f->drop, O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	assert_int_equal(file_write_durable(fd, name, bytes), 0);
	close(fd);
}

/* An envelope for the image, fetched as fw.bin or integrated; the update's id goes to f->wanted. */
static void make_envelope(struct fixture *f, uint64_t sequence, bool is_integrated, struct span pem, struct buf *ret)
{
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, auth = { 0 }, cose = { 0 };
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	char error[200];
	size_t n_members;
	struct span image = SPAN(f->image, is_integrated ? 1000 : IMAGE_BYTES);
	struct suit_author_component comp = { .id = { SPAN_LIT("main") }, .n_id = 1, .digest = digest_of(image), .size = image.n,
					      .uri = is_integrated ? "#fw" : "fw.bin", .payload = is_integrated ? image : SPAN_NONE };
	struct suit_author a = { .sequence = sequence, .vendor_id = vendor_id, .class_id = class_id, .components = &comp, .n_components = 1,
				 .version_text = "1.0" };

	assert_int_equal(suit_manifest_encode(&a, &manifest, &members, &n_members), 0);
	suit_auth_digest_encode(buf_span(&manifest), &auth);
	assert_int_equal(sign_key_load(pem, 0, &key, error, sizeof(error)), 0);
	assert_int_equal(sign_auth_digest(key, SPAN_NONE, SPAN_NONE, buf_span(&auth), &cose, error, sizeof(error)), 0);
	struct span block = buf_span(&cose);
	assert_int_equal(suit_envelope_encode(buf_span(&manifest), buf_span(&auth), &block, 1, buf_span(&members), n_members, ret), 0);
	struct suit_envelope *env = NEW(struct suit_envelope);
	enum suit_problem problem;
	assert_int_equal(suit_envelope_decode(buf_span(ret), 0, env, &problem), 0);
	digest_hex(&env->manifest_digest, f->wanted);
	free(env);
}

static void run_until(struct fixture *f, bool (*test)(void *ctx))
{
	const struct update *u;

	if (until(f->loop, test, f, PATIENCE_MS))
		return;
	for (u = intake_update_next(f->intake, NULL); u; u = intake_update_next(f->intake, u->id))
		print_error("update %.12s %s: %s\n", u->id, update_state_name(u->state), u->reason);
	fail_msg("did not happen");
}

static bool wanted_is(void *ctx)
{
	struct fixture *f = ctx;
	const struct update *u = intake_update(f->intake, f->wanted);

	return u && u->state == f->wanted_state && db_queue_length(f->db) == 0;
}

static void wait_for(struct fixture *f, enum update_state s)
{
	f->wanted_state = s;
	run_until(f, wanted_is);
}

static const struct update *rejected(struct fixture *f)
{
	const struct update *u;

	for (u = intake_update_next(f->intake, NULL); u; u = intake_update_next(f->intake, u->id))
		if (u->state == UPDATE_REJECTED)
			return u;
	return NULL;
}

static bool has_rejected(void *ctx)
{
	struct fixture *f = ctx;

	return rejected(f) && db_queue_length(f->db) == 0;
}

static bool two_taken(void *ctx)
{
	struct fixture *f = ctx;

	return f->n_remembered >= 2;
}

static void a_signed_update_comes_in_with_its_payload(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };

	make_envelope(f, 1, false, buf_span(&f->key_pem), &env);
	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
	const struct update *u = intake_update(f->intake, f->wanted);
	assert_true(u->approved);
	assert_int_equal(u->sequence, 1);
	assert_int_equal(u->n_images, 1);
	assert_string_equal(u->anchor, "author");
	assert_true(image_cache_has(f->images, &u->images[0].digest, NULL));
	uint8_t *verdict;
	size_t n;
	assert_int_equal(update_store_verdict(f->db, u->id, &verdict, &n), 0);
	assert_non_null(memmem(verdict, n, "SU-5", 4));
	free(verdict);
}

static void an_integrated_payload_needs_no_fetch(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };

	make_envelope(f, 1, true, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
}

static void a_payload_that_is_not_what_was_signed_holds_the_update_until_it_is(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };

	make_envelope(f, 1, false, buf_span(&f->key_pem), &env);
	f->image[IMAGE_BYTES / 2] ^= 1; /* SU-19 */
	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_HELD);
	const struct update *u = intake_update(f->intake, f->wanted);
	assert_false(image_cache_has(f->images, &u->images[0].digest, NULL));
	f->image[IMAGE_BYTES / 2] ^= 1;
	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	wait_for(f, UPDATE_AVAILABLE);
}

static void a_foreign_signature_is_rejected_under_the_digest_of_its_bytes(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf bad = { 0 }, good = { 0 };

	make_envelope(f, 1, false, buf_span(&f->foreign_pem), &bad);
	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	drop(f, "a.suit", buf_span(&bad));
	run_until(f, has_rejected);
	assert_null(intake_update(f->intake, f->wanted));
	make_envelope(f, 1, false, buf_span(&f->key_pem), &good); /* the same manifest, signed by the vendor */
	drop(f, "a.suit", buf_span(&good));
	wait_for(f, UPDATE_AVAILABLE);
}

static void an_older_sequence_is_rejected_and_a_newer_one_supersedes(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf two = { 0 }, one = { 0 }, three = { 0 };
	char second[UPDATE_ID_BYTES];

	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	make_envelope(f, 2, false, buf_span(&f->key_pem), &two);
	memcpy(second, f->wanted, sizeof(second));
	drop(f, "a.suit", buf_span(&two));
	wait_for(f, UPDATE_AVAILABLE);
	make_envelope(f, 1, false, buf_span(&f->key_pem), &one);
	drop(f, "b.suit", buf_span(&one));
	run_until(f, has_rejected);
	assert_non_null(strstr(rejected(f)->reason, "SU-12"));
	make_envelope(f, 3, false, buf_span(&f->key_pem), &three);
	drop(f, "c.suit", buf_span(&three));
	wait_for(f, UPDATE_AVAILABLE);
	assert_int_equal(intake_update(f->intake, second)->state, UPDATE_SUPERSEDED);
	close_all(f); /* SU-13: the sequence is known after a restart */
	open_all(f);
	wait_for(f, UPDATE_AVAILABLE);
	assert_int_equal(intake_update(f->intake, second)->state, UPDATE_SUPERSEDED);
}

static void what_was_under_way_goes_on_after_a_restart(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };

	make_envelope(f, 1, false, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_VERIFIED); /* no payload there */
	close_all(f);
	drop(f, "fw.bin", SPAN(f->image, IMAGE_BYTES));
	open_all(f);
	wait_for(f, UPDATE_AVAILABLE);
}

static void an_operator_approves_and_recalls(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };
	const struct update *u;

	f->policy = POLICY_APPROVE;
	make_envelope(f, 1, true, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
	assert_int_equal(intake_update_find(f->intake, "12345", &u), -ENOENT); /* too short */
	char prefix[9] = { 0 };
	memcpy(prefix, f->wanted, 8);
	assert_int_equal(intake_update_find(f->intake, prefix, &u), 0);
	assert_false(u->approved);
	assert_int_equal(intake_approve(f->intake, u->id, "somebody", NULL, NULL), 0);
	assert_int_equal(intake_approve(f->intake, u->id, "somebody", NULL, NULL), -EALREADY);
	assert_true(u->approved);
	assert_int_equal(intake_recall(f->intake, u->id, "somebody", "it breaks radios", NULL, NULL), 0);
	assert_int_equal(u->state, UPDATE_RECALLED);
	drop(f, "b.suit", buf_span(&env)); /* again from the source: there is no way back */
	run_until(f, two_taken);
	assert_int_equal(u->state, UPDATE_RECALLED);
}

static void an_anchor_that_goes_takes_its_updates_with_it(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };
	struct trust_anchors *empty;
	char text[200];

	make_envelope(f, 1, true, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
	assert_int_equal(trust_anchors_build(NULL, 0, &empty, text, sizeof(text)), 0);
	intake_set_anchors(f->intake, empty);
	trust_anchors_unref(empty);
	wait_for(f, UPDATE_RECALLED);
}

static void rubbish_is_rejected_with_a_reason(void **state)
{
	struct fixture *f = *state;

	drop(f, "a.suit", SPAN_LIT("this is not an envelope"));
	run_until(f, has_rejected);
	assert_true(rejected(f)->reason[0]);
}

static void set_result(void *ctx, int error)
{
	*(int *)ctx = error;
}

static bool db_is_well(void *ctx)
{
	struct fixture *f = ctx;

	return !db_is_failing(f->db) && db_queue_length(f->db) == 0;
}

static void with_a_full_disk_an_approval_is_undone_and_a_recall_stands(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };
	int result = 1;

	f->policy = POLICY_APPROVE;
	make_envelope(f, 1, true, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
	db_flush(f->db);
	disk_full(true);
	assert_int_equal(intake_approve(f->intake, f->wanted, "somebody", set_result, &result), 0);
	db_flush(f->db);
	assert_true(result < 0);
	assert_false(intake_update(f->intake, f->wanted)->approved);
	assert_int_equal(intake_recall(f->intake, f->wanted, "somebody", "", set_result, &result), 0);
	db_flush(f->db);
	assert_true(result < 0);
	assert_int_equal(intake_update(f->intake, f->wanted)->state, UPDATE_RECALLED);
	assert_int_equal(intake_recall(f->intake, f->wanted, "somebody", "", set_result, &result), 0); /* may be asked again */
	db_flush(f->db);
	disk_full(false);
	run_until(f, db_is_well); /* by itself */
	close_all(f);
	open_all(f);
	assert_int_equal(intake_update(f->intake, f->wanted)->state, UPDATE_RECALLED);
	assert_false(intake_update(f->intake, f->wanted)->approved);
}

static bool is_back(void *ctx)
{
	struct fixture *f = ctx;
	const struct update *u = intake_update(f->intake, f->wanted);

	return u->state == UPDATE_AVAILABLE && image_cache_has(f->images, &u->envelope, NULL);
}

static void a_lost_envelope_is_asked_of_its_source_again(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf env = { 0 };
	char path[200], hex[DIGEST_HEX_BYTES];

	make_envelope(f, 1, true, buf_span(&f->key_pem), &env);
	drop(f, "a.suit", buf_span(&env));
	wait_for(f, UPDATE_AVAILABLE);
	const struct update *u = intake_update(f->intake, f->wanted);
	snprintf(path, sizeof(path), "%s/images/%s", f->dir, digest_hex(&u->envelope, hex));
	assert_int_equal(unlink(path), 0);
	intake_refresh(f->intake);
	run_until(f, two_taken);
	run_until(f, is_back);
}

static void a_newer_update_that_waits_for_approval_supersedes_nothing_yet(void **state)
{
	struct fixture *f = *state;
	_cleanup_buf_ struct buf one = { 0 }, two = { 0 };
	char first[UPDATE_ID_BYTES];

	make_envelope(f, 1, true, buf_span(&f->key_pem), &one);
	memcpy(first, f->wanted, sizeof(first));
	drop(f, "a.suit", buf_span(&one));
	wait_for(f, UPDATE_AVAILABLE);
	f->policy = POLICY_APPROVE;
	make_envelope(f, 2, true, buf_span(&f->key_pem), &two);
	drop(f, "b.suit", buf_span(&two));
	wait_for(f, UPDATE_AVAILABLE);
	assert_int_equal(intake_update(f->intake, first)->state, UPDATE_AVAILABLE);
	assert_int_equal(intake_approve(f->intake, f->wanted, "somebody", NULL, NULL), 0);
	db_flush(f->db);
	assert_int_equal(intake_update(f->intake, first)->state, UPDATE_SUPERSEDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_signed_update_comes_in_with_its_payload, setup, teardown),
		cmocka_unit_test_setup_teardown(an_integrated_payload_needs_no_fetch, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_that_is_not_what_was_signed_holds_the_update_until_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_foreign_signature_is_rejected_under_the_digest_of_its_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(an_older_sequence_is_rejected_and_a_newer_one_supersedes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_under_way_goes_on_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(an_operator_approves_and_recalls, setup, teardown),
		cmocka_unit_test_setup_teardown(an_anchor_that_goes_takes_its_updates_with_it, setup, teardown),
		cmocka_unit_test_setup_teardown(rubbish_is_rejected_with_a_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(with_a_full_disk_an_approval_is_undone_and_a_recall_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lost_envelope_is_asked_of_its_source_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_newer_update_that_waits_for_approval_supersedes_nothing_yet, setup, teardown),
	};
	return cmocka_run_group_tests_name("intake/intake", tests, NULL, NULL);
}
