/* The audit log as the store writes it, judged as the command line does: with the public key alone. */
#include "store_test.h"

#include "base/log.h"
#include "store/audit_log.h"
#include "trust/tlog_note.h"

static void open_both(struct db **db, struct audit_log **log)
{
	assert_int_equal(db_open(in_scratch("state"), db), 0);
	assert_int_equal(audit_log_open(*db, in_scratch("state"), "gateway.example/audit", log), 0);
}

static void append(struct db *db, struct audit_log *log, uint64_t n)
{
	char data[32];

	(void)snprintf(data, sizeof(data), "{\"n\":%llu}", (unsigned long long)n);
	audit_log_append(log, (struct wall){ 0 }, "test", "subject", span_str(data), NULL, NULL);
	db_flush(db);
}

/* TL-1, TL-4: every index of every size up to 130 */
static void every_proof_verifies_with_the_public_key_alone(void **state)
{
	struct audit_log *log;
	struct tlog_key key;
	struct db *db;

	open_both(&db, &log);
	assert_int_equal(tlog_key_parse(span_str(audit_log_public_key(log)), &key), 0);
	for (uint64_t size = 1; size <= 130; size++) {
		append(db, log, size - 1);
		for (uint64_t i = 0; i < size; i++) {
			_cleanup_buf_ struct buf proof = { 0 }, entry = { 0 };
			struct tlog_proof p;
			char n[32];
			assert_int_equal(audit_log_prove(log, i, &proof), 0);
			assert_int_equal(tlog_proof_verify(buf_span(&proof), &key, SPAN_NONE, &p, &entry), 0);
			assert_int_equal(p.index, i);
			assert_int_equal(p.checkpoint.size, size);
			(void)snprintf(n, sizeof(n), "\"n\":%llu}", (unsigned long long)i);
			assert_non_null(strstr(buf_str(&entry), n));
			assert_int_equal(tlog_proof_verify(buf_span(&proof), &key, SPAN_LIT("another entry"), &p, NULL), -ENODATA);
		}
	}
	audit_log_close(log);
	db_close(db);
}

/* TL-5: a later head continues an earlier one; another log's does not */
static void heads_of_one_log_are_consistent_and_of_two_are_not(void **state)
{
	struct tlog_checkpoint heads[40], foreign;
	struct digest path[AUDIT_PATH_MAX + 1];
	struct audit_log *log;
	struct tlog_key key;
	struct db *db;
	size_t n;

	open_both(&db, &log);
	append(db, log, 1000);
	append(db, log, 1001);
	_cleanup_buf_ struct buf other = { 0 };
	assert_int_equal(tlog_key_parse(span_str(audit_log_public_key(log)), &key), 0);
	assert_int_equal(audit_log_checkpoint(log, &other), 0);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&other), &key, &foreign), 0);
	audit_log_close(log);
	db_close(db);
	scratch_drop(NULL);
	assert_int_equal(mkdir(scratch, 0700), 0);

	open_both(&db, &log);
	struct tlog_checkpoint c;
	assert_int_equal(tlog_key_parse(span_str(audit_log_public_key(log)), &key), 0);
	assert_int_equal(tlog_checkpoint_verify(buf_span(&other), &key, &c), -EKEYREJECTED); /* another key */
	for (uint64_t i = 1; i < 40; i++) {
		_cleanup_buf_ struct buf head = { 0 };
		append(db, log, i);
		assert_int_equal(audit_log_checkpoint(log, &head), 0);
		assert_int_equal(tlog_checkpoint_verify(buf_span(&head), &key, &heads[i]), 0);
		heads[i].origin = SPAN_NONE; /* borrowed from the note, which goes */
		for (uint64_t j = 1; j <= i; j++) {
			assert_int_equal(audit_log_consistency(log, j, i, path, &n), 0);
			assert_true(merkle_consistency_ok(j, i, &heads[j].root, &heads[i].root, path, n));
			if (j == 2)
				assert_false(merkle_consistency_ok(j, i, &foreign.root, &heads[i].root, path, n));
		}
	}
	audit_log_close(log);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_proof_verifies_with_the_public_key_alone),
		TEST(heads_of_one_log_are_consistent_and_of_two_are_not),
	};

	log_open("test", LOG_EMERG);
	return cmocka_run_group_tests_name("store/audit_offline", tests, NULL, NULL);
}
