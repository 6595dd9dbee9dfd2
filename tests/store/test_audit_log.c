#include "store_test.h"

#include <sqlite3.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/merkle.h"
#include "store/audit_log.h"
#include "store/update_store.h"

struct fixture { struct db *db; struct audit_log *log; };

static struct fixture open_both(void)
{
	struct fixture f;

	assert_int_equal(db_open(in_scratch("state"), &f.db), 0);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "gateway.example/audit", &f.log), 0);
	return f;
}

static void close_both(struct fixture *f)
{
	f->log = audit_log_close(f->log);
	f->db = db_close(f->db);
}

static void append(struct fixture *f, unsigned n)
{
	char subject[32], data[64];

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(subject, sizeof(subject), "job-%u", i % 10);
		(void)snprintf(data, sizeof(data), "{\"n\":%u}", i);
		audit_log_append(f->log, (struct wall){ i }, "job-state", subject, span_str(data), NULL, NULL);
	}
	db_flush(f->db);
}

static int see_entry(void *ctx, uint64_t index, struct span entry)
{
	struct buf *b = ctx;

	buf_printf(b, "%llu:%.*s\n", (unsigned long long)index, SPAN_ARG(entry));
	return 0;
}

static void entries_are_single_json_lines_in_order(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct fixture f = open_both();
	struct answers a = { 0 };

	assert_int_equal(audit_log_size(f.log), 0);
	audit_log_append(f.log, (struct wall){ 1000 }, "approved", "up\"da\\te\x01", SPAN_LIT("{\"by\":\n\"anna\"}"), note_answer, &a);
	audit_log_append(f.log, (struct wall){ 2000 }, "recalled", "bad\xff" "utf8", SPAN_NONE, note_answer, &a);
	audit_log_append(f.log, (struct wall){ 3000 }, "seen", "kn\xc3\xb6" "del", SPAN_LIT("{}"), note_answer, &a);
	db_flush(f.db);
	assert_int_equal(a.n, 3);
	assert_int_equal(a.n_failed, 0);
	assert_int_equal(audit_log_size(f.log), 3);
	assert_int_equal(audit_log_read(f.log, 0, 100, see_entry, &b), 0);
	assert_string_equal(buf_str(&b),
		"0:{\"at\":\"1970-01-01T00:00:01.000Z\",\"kind\":\"approved\",\"subject\":\"up\\\"da\\\\te\\u0001\",\"data\":{\"by\": \"anna\"}}\n"
		"1:{\"at\":\"1970-01-01T00:00:02.000Z\",\"kind\":\"recalled\",\"subject\":\"bad\\u00ffutf8\"}\n"
		"2:{\"at\":\"1970-01-01T00:00:03.000Z\",\"kind\":\"seen\",\"subject\":\"kn\xc3\xb6" "del\",\"data\":{}}\n");
	close_both(&f);
}

static void reading_starts_anywhere_and_finding_gives_the_last_ones(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct fixture f = open_both();

	append(&f, 100);
	assert_int_equal(audit_log_read(f.log, 98, 100, see_entry, &b), 0);
	assert_true(span_starts(buf_span(&b), SPAN_LIT("98:")));
	buf_clear(&b);
	assert_int_equal(audit_log_read(f.log, UINT64_MAX, SIZE_MAX, see_entry, &b), 0);
	assert_int_equal(b.n, 0);
	assert_int_equal(audit_log_find(f.log, "job-3", 2, see_entry, &b), 0);
	assert_true(span_starts(buf_span(&b), SPAN_LIT("83:")));
	assert_non_null(strstr(buf_str(&b), "\n93:"));
	buf_clear(&b);
	assert_int_equal(audit_log_find(f.log, "job-", 10, see_entry, &b), 0);
	assert_int_equal(b.n, 0);
	close_both(&f);
}

static void an_entry_over_the_limit_is_refused(void **state)
{
	_cleanup_free_ char *big = mem_new(AUDIT_ENTRY_BYTES_MAX + 1, 1);
	struct answers a = { 0 };
	struct fixture f = open_both();

	memset(big, ' ', AUDIT_ENTRY_BYTES_MAX);
	audit_log_append(f.log, (struct wall){ 0 }, "k", "s", SPAN(big, AUDIT_ENTRY_BYTES_MAX), note_answer, &a);
	db_flush(f.db);
	assert_int_equal(a.last, -EMSGSIZE);
	assert_int_equal(audit_log_size(f.log), 0);
	audit_log_append(f.log, (struct wall){ 0 }, "k", "s", SPAN(big, AUDIT_ENTRY_BYTES_MAX - 100), note_answer, &a);
	db_flush(f.db);
	assert_int_equal(a.last, 0);
	close_both(&f);
}

/* One transaction with what it tells about: db_begin() around both. */
static void an_entry_is_committed_with_what_it_tells_about_or_not_at_all(void **state)
{
	struct answers a = { 0 };
	struct fixture f = open_both();
	uint8_t *p = NULL;
	size_t n;
	sqlite3 *other;

	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "CREATE TRIGGER no BEFORE INSERT ON audit_node WHEN NEW.level = 1 BEGIN SELECT RAISE(ABORT, 'no'); END",
				      NULL, NULL, NULL), SQLITE_OK);
	append(&f, 1);
	db_begin(f.db);
	kv_store_put(f.db, "state", SPAN_LIT("new"), note_answer, &a);
	audit_log_append(f.log, (struct wall){ 0 }, "state", "s", SPAN_NONE, note_answer, &a); /* completes a node of level 1 */
	db_end(f.db);
	db_flush(f.db);
	assert_int_equal(a.n_failed, 2);
	assert_int_equal(kv_store_get(f.db, "state", &p, &n), -ENOENT);
	assert_int_equal(audit_log_size(f.log), 1);
	assert_int_equal(sqlite3_exec(other, "DROP TRIGGER no", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	append(&f, 5);
	close_both(&f);
	uint64_t bad, size;
	assert_int_equal(audit_log_check(in_scratch("state"), &bad, &size), 0);
	assert_int_equal(size, 6);
}

/* --- proofs: every index of every size up to 130, judged by the arithmetic of base/merkle --- */

static struct digest root_of(const struct buf *checkpoint, uint64_t size)
{
	_cleanup_buf_ struct buf root = { 0 };
	char expect[64], line3[64];
	struct digest d;

	(void)snprintf(expect, sizeof(expect), "gateway.example/audit\n%llu\n", (unsigned long long)size);
	assert_true(span_starts(buf_span(checkpoint), span_str(expect)));
	assert_int_equal(sscanf(buf_str(checkpoint) + strlen(expect), "%63s", line3), 1);
	/* by hand: store's tests do not see codec or trust */
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t acc = 0;
	for (size_t i = 0; i < 43; i++) {
		acc = acc << 6 | (uint32_t)(strchr(alphabet, line3[i]) - alphabet);
		if (i % 4)
			buf_add_u8(&root, (uint8_t)(acc >> (6 - 2 * (i % 4))));
	}
	assert_int_equal(root.n, 32);
	memcpy(d.b, root.p, 32);
	return d;
}

static size_t count_lines(const char *p, const char *end)
{
	size_t n = 0;

	for (; p < end; p++)
		n += *p == '\n';
	return n;
}

static void every_entry_is_proven_at_every_size_up_to_130(void **state)
{
	struct digest roots[131], path[AUDIT_PATH_MAX + 1];
	struct fixture f = open_both();
	size_t n;

	for (uint64_t size = 1; size <= 130; size++) {
		_cleanup_buf_ struct buf head = { 0 };
		append(&f, 1);
		assert_int_equal(audit_log_checkpoint(f.log, &head), 0);
		roots[size] = root_of(&head, size);
		for (uint64_t i = 0; i < size; i++) {
			_cleanup_buf_ struct buf proof = { 0 };
			char index_line[32];
			assert_int_equal(audit_log_prove(f.log, i, &proof), 0);
			assert_true(span_starts(buf_span(&proof), SPAN_LIT("c2sp.org/tlog-proof@v1\nextra ")));
			(void)snprintf(index_line, sizeof(index_line), "\nindex %llu\n", (unsigned long long)i);
			const char *from = strstr(buf_str(&proof), index_line), *to = strstr(buf_str(&proof), "\n\ngateway.example/audit\n");
			assert_true(from && to);
			assert_true(count_lines(from, to + 1) - 2 <= 8);
			assert_string_equal(to + 2, buf_str(&head)); /* the checkpoint follows as it is */
		}
		_cleanup_buf_ struct buf none = { 0 };
		assert_int_equal(audit_log_prove(f.log, size, &none), -ENOENT);
	}
	/* consistency between every two of them */
	for (uint64_t to = 1; to <= 130; to++)
		for (uint64_t from = 1; from <= to; from++) {
			assert_int_equal(audit_log_consistency(f.log, from, to, path, &n), 0);
			assert_true(merkle_consistency_ok(from, to, &roots[from], &roots[to], path, n));
			if (from > 1)
				assert_false(merkle_consistency_ok(from, to, &roots[from - 1], &roots[to], path, n));
		}
	assert_int_equal(audit_log_consistency(f.log, 0, 1, path, &n), -ERANGE);
	assert_int_equal(audit_log_consistency(f.log, 2, 1, path, &n), -ERANGE);
	assert_int_equal(audit_log_consistency(f.log, 1, 131, path, &n), -ERANGE);
	close_both(&f);
}

static void an_empty_log_has_a_signed_head(void **state)
{
	_cleanup_buf_ struct buf head = { 0 };
	struct fixture f = open_both();

	assert_int_equal(audit_log_checkpoint(f.log, &head), 0);
	assert_true(span_starts(buf_span(&head), SPAN_LIT("gateway.example/audit\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\xe2\x80\x94 gateway.example/audit ")));
	close_both(&f);
	uint64_t bad, size;
	assert_int_equal(audit_log_check(in_scratch("state"), &bad, &size), 0);
}

static void the_key_stays_and_is_for_its_owner_only(void **state)
{
	struct stat st;
	struct fixture f = open_both();
	_cleanup_free_ char *key = mem_strdup(audit_log_public_key(f.log));

	assert_true(span_starts(span_str(key), SPAN_LIT("gateway.example/audit+")));
	assert_int_equal(stat(in_scratch("state/audit.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(access(in_scratch("state/audit.pub"), R_OK), 0);
	close_both(&f);
	assert_int_equal(chmod(in_scratch("state/audit.key"), 0644), 0);
	f = open_both();
	assert_string_equal(audit_log_public_key(f.log), key);
	assert_int_equal(stat(in_scratch("state/audit.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close_both(&f);
	assert_int_equal(file_write_durable(AT_FDCWD, in_scratch("state2"), SPAN_LIT("-----BEGIN PRIVATE KEY-----\nAAAA\n")), 0);
	assert_int_equal(rename(in_scratch("state2"), in_scratch("state/audit.key")), 0);
	struct audit_log *log;
	assert_int_equal(db_open(in_scratch("state"), &f.db), 0);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "gateway.example/audit", &log), -EBADMSG);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "two words", &log), -EINVAL);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "a+b", &log), -EINVAL);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "a\nb", &log), -EINVAL);
	assert_int_equal(audit_log_open(f.db, in_scratch("state"), "", &log), -EINVAL);
	db_close(f.db);
}

/* --- tampering --- */

static void sql(const char *text)
{
	sqlite3 *other;
	char *message = NULL;

	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	if (sqlite3_exec(other, text, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", text, message);
	sqlite3_close(other);
}

static void the_database_itself_refuses_changes_to_the_log(void **state)
{
	static const char *const tries[] = {
		"UPDATE audit_entry SET entry = 'x'", "DELETE FROM audit_entry WHERE idx = 3", "UPDATE audit_node SET hash = x'00'",
		"DELETE FROM audit_node",
	};
	struct fixture f = open_both();
	sqlite3 *other;

	append(&f, 5);
	close_both(&f);
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
		assert_int_not_equal(sqlite3_exec(other, tries[i], NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
}

static void tampering_is_found_with_the_first_index_that_does_not_fit(void **state)
{
	static const struct { const char *sql; uint64_t bad; } rows[] = {
		{ "UPDATE audit_entry SET entry = entry || ' ' WHERE idx = 17", 17 },
		{ "UPDATE audit_entry SET entry = '{}' WHERE idx = 0", 0 },
		{ "DELETE FROM audit_entry WHERE idx = 5", 5 },
		{ "UPDATE audit_node SET hash = zeroblob(32) WHERE level = 0 AND idx = 20", 20 },
		{ "UPDATE audit_node SET hash = zeroblob(32) WHERE level = 3 AND idx = 1", 15 },
		{ "DELETE FROM audit_node WHERE level = 2 AND idx = 0", 3 },
		{ "UPDATE audit_node SET hash = x'00' WHERE level = 0 AND idx = 9", 9 },
		{ "INSERT INTO audit_node VALUES (9, 9, zeroblob(32))", 30 },
		{ "DELETE FROM audit_entry WHERE idx = 29; DELETE FROM audit_node WHERE level = 0 AND idx = 29;"
		  "DELETE FROM audit_node WHERE level = 1 AND idx = 14", 0 },   /* cut off at the end: the signed head knows more */
		{ "UPDATE audit_entry SET idx = 100 WHERE idx = 29", 29 },
	};
	uint64_t bad, size;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf head = { 0 };
		struct fixture f = open_both();
		append(&f, 30);
		assert_int_equal(audit_log_checkpoint(f.log, &head), 0);
		assert_int_equal(audit_log_check(in_scratch("state"), &bad, &size), 0); /* while it runs */
		assert_int_equal(size, 30);
		close_both(&f);
		sql("DROP TRIGGER audit_entry_no_update; DROP TRIGGER audit_entry_no_delete; DROP TRIGGER audit_node_no_update;"
		    "DROP TRIGGER audit_node_no_delete");
		sql(rows[i].sql);
		assert_int_equal(audit_log_check(in_scratch("state"), &bad, &size), -EBADMSG);
		assert_int_equal(bad, rows[i].bad);
		scratch_drop(NULL);
		assert_int_equal(mkdir(scratch, 0700), 0);
	}
	assert_int_equal(audit_log_check(in_scratch("nowhere"), &bad, &size), -ENOENT);
}

static unsigned n_audit_failed;

static void count_events(void *ctx, const struct log_record *rec)
{
	n_audit_failed += rec->event == EV_AUDIT_FAILED;
}

static void copy_file(const char *from, const char *to)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	assert_int_equal(file_read(AT_FDCWD, from, 64 << 20, &p, &n), 0);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
	close(fd);
}

/* One key must never sign two histories. */
static void a_database_put_back_to_an_older_state_gets_a_new_key(void **state)
{
	_cleanup_buf_ struct buf head = { 0 };
	struct fixture f = open_both();
	_cleanup_free_ char *key = mem_strdup(audit_log_public_key(f.log));

	log_set_observer(count_events, NULL);
	append(&f, 10);
	close_both(&f);
	copy_file(in_scratch("state/dormouse.db"), in_scratch("backup"));
	f = open_both();
	append(&f, 10);
	assert_int_equal(audit_log_checkpoint(f.log, &head), 0);
	close_both(&f);
	f = open_both(); /* an honest restart changes nothing */
	assert_string_equal(audit_log_public_key(f.log), key);
	append(&f, 3); /* and neither does growing after the last head */
	close_both(&f);
	f = open_both();
	assert_string_equal(audit_log_public_key(f.log), key);
	assert_int_equal(n_audit_failed, 0);
	close_both(&f);
	copy_file(in_scratch("backup"), in_scratch("state/dormouse.db"));
	f = open_both();
	assert_int_equal(n_audit_failed, 1);
	assert_string_not_equal(audit_log_public_key(f.log), key);
	append(&f, 1);
	buf_clear(&head);
	assert_int_equal(audit_log_checkpoint(f.log, &head), 0);
	close_both(&f);
	/* a damaged database, too */
	f = open_both();
	_cleanup_free_ char *key2 = mem_strdup(audit_log_public_key(f.log));
	close_both(&f);
	assert_int_equal(truncate(in_scratch("state/dormouse.db"), 5000), 0);
	f = open_both();
	assert_true(db_was_reset(f.db));
	assert_string_not_equal(audit_log_public_key(f.log), key2);
	assert_int_equal(n_audit_failed, 2);
	close_both(&f);
	log_set_observer(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entries_are_single_json_lines_in_order),
		TEST(reading_starts_anywhere_and_finding_gives_the_last_ones),
		TEST(an_entry_over_the_limit_is_refused),
		TEST(an_entry_is_committed_with_what_it_tells_about_or_not_at_all),
		TEST(every_entry_is_proven_at_every_size_up_to_130),
		TEST(an_empty_log_has_a_signed_head),
		TEST(the_key_stays_and_is_for_its_owner_only),
		TEST(the_database_itself_refuses_changes_to_the_log),
		TEST(tampering_is_found_with_the_first_index_that_does_not_fit),
		TEST(a_database_put_back_to_an_older_state_gets_a_new_key),
	};

	log_open("test", LOG_EMERG);
	return cmocka_run_group_tests_name("store/audit_log", tests, NULL, NULL);
}
