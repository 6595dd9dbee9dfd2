#include "store_test.h"

#include <sqlite3.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/random.h"
#include "store/update_store.h"

static struct { unsigned n_failed, n_recovered; } events;

static void count_events(void *ctx, const struct log_record *rec)
{
	events.n_failed += rec->event == EV_STORE_FAILED;
	events.n_recovered += rec->event == EV_STORE_RECOVERED;
}

static void events_reset(void)
{
	memset(&events, 0, sizeof(events));
	log_set_observer(count_events, NULL);
}

static void put(struct db *db, const char *key, const char *value, struct answers *a)
{
	kv_store_put(db, key, span_str(value), a ? note_answer : NULL, a);
}

static void expect(struct db *db, const char *key, const char *value)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	assert_int_equal(kv_store_get(db, key, &p, &n), value ? 0 : -ENOENT);
	if (value)
		assert_true(span_eq_str(SPAN(p, n), value));
}

static struct db *open_db(void)
{
	struct db *db;

	assert_int_equal(db_open(in_scratch("state"), &db), 0);
	return db;
}

static void what_was_written_is_there_after_reopening(void **state)
{
	struct answers a = { 0 };
	struct db *db = open_db();

	put(db, "a", "1", &a);
	put(db, "a", "2", &a);
	put(db, "empty", "", NULL);
	db_flush(db);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.n_failed, 0);
	assert_int_equal(db_queue_length(db), 0);
	expect(db, "a", "2");
	db_close(db);
	db = open_db();
	assert_false(db_was_reset(db));
	expect(db, "a", "2");
	expect(db, "empty", "");
	expect(db, "b", NULL);
	db_close(db);
}

static void closing_commits_what_is_queued_and_answers_it(void **state)
{
	struct answers a = { 0 };
	struct db *db = open_db();

	for (unsigned i = 0; i < 3 * DB_GROUP_MAX; i++)
		put(db, "n", "x", &a);
	put(db, "n", "last", &a);
	db_close(db);
	assert_int_equal(a.n, 3 * DB_GROUP_MAX + 1);
	assert_int_equal(a.n_failed, 0);
	db = open_db();
	expect(db, "n", "last");
	db_close(db);
}

struct ordered { unsigned *next, index; };

static void check_order(void *ctx, int error)
{
	const struct ordered *o = ctx;

	assert_int_equal(error, 0);
	assert_int_equal(*o->next, o->index);
	(*o->next)++;
}

static void answers_come_in_the_order_of_the_writes(void **state)
{
	struct ordered o[2500];
	unsigned next = 0;
	struct db *db = open_db();

	for (unsigned i = 0; i < 2500; i++) {
		o[i] = (struct ordered){ &next, i };
		kv_store_put(db, "k", SPAN_OF((uint8_t[]){ (uint8_t)i }), check_order, &o[i]);
	}
	db_flush(db);
	assert_int_equal(next, 2500);
	db_close(db);
}

static void one_turn_of_the_loop_answers_a_bounded_number(void **state)
{
	struct answers a = { 0 };
	struct db *db = open_db();

	for (unsigned i = 0; i < 4 * DB_DISPATCH_MAX; i++)
		put(db, "k", "v", &a);
	while (db_queue_length(db))
		sched_yield();
	for (unsigned before = 0; a.n < 4 * DB_DISPATCH_MAX; before = a.n) {
		db_dispatch(db);
		assert_true(a.n - before <= DB_DISPATCH_MAX);
	}
	db_close(db);
}

struct again { struct db *db; unsigned left; };

static void write_again(void *ctx, int error)
{
	struct again *g = ctx;

	assert_int_equal(error, 0);
	if (g->left-- > 0)
		kv_store_put(g->db, "again", SPAN_OF((uint8_t[]){ (uint8_t)g->left }), write_again, g);
}

static void an_answer_may_write_again(void **state)
{
	struct again g = { open_db(), 20 };

	kv_store_put(g.db, "again", SPAN_LIT("x"), write_again, &g);
	db_flush(g.db);
	assert_int_equal(g.left, UINT32_MAX);
	db_close(g.db);
}

/* The writer is kept busy by a lock from outside, so that the queue fills. */
static void a_full_queue_refuses_with_ebusy_and_keeps_what_it_has(void **state)
{
	struct answers good = { 0 }, refused = { 0 };
	struct db *db = open_db();
	sqlite3 *other;

	events_reset();
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (unsigned i = 0; i < DB_QUEUE_MAX; i++)
		put(db, "k", "v", &good);
	assert_int_equal(db_queue_length(db), DB_QUEUE_MAX);
	put(db, "over", "v", &refused);
	assert_int_equal(refused.n, 0); /* never from inside the call */
	db_dispatch(db);
	assert_int_equal(refused.n, 1);
	assert_int_equal(refused.last, -EBUSY);
	assert_int_equal(events.n_failed, 1);
	assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	db_flush(db);
	assert_int_equal(good.n, DB_QUEUE_MAX);
	assert_int_equal(good.n_failed, 0);
	assert_int_equal(events.n_recovered, 1);
	expect(db, "over", NULL);
	db_close(db);
	log_set_observer(NULL, NULL);
}

static void the_queue_is_bounded_in_bytes_too(void **state)
{
	struct answers a = { 0 }, big = { 0 };
	struct db *db = open_db();
	sqlite3 *other;
	const size_t n = DB_QUEUE_BYTES_MAX / 4;
	_cleanup_free_ uint8_t *bytes = calloc(1, n);

	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (unsigned i = 0; i < 5; i++)
		kv_store_put(db, "big", SPAN(bytes, n), note_answer, i < 3 ? &a : &big);
	sqlite3_close(other);
	db_flush(db);
	assert_int_equal(a.n_failed, 0);
	assert_int_equal(big.n, 2);
	assert_int_equal(big.n_failed, 2);
	assert_int_equal(big.last, -EBUSY);
	db_close(db);
}

static void what_is_written_between_begin_and_end_is_all_or_nothing(void **state)
{
	struct answers a = { 0 };
	struct update u = { .id = "u1", .n_components = 1 };
	struct db *db = open_db();
	sqlite3 *other;

	/* a trigger makes one statement of the unit fail */
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "CREATE TRIGGER no BEFORE INSERT ON update_verdict BEGIN SELECT RAISE(ABORT, 'no'); END",
				      NULL, NULL, NULL), SQLITE_OK);
	put(db, "before", "1", &a);
	db_begin(db);
	put(db, "inside", "1", &a);
	update_store_put(db, &u, SPAN_LIT("{}"), note_answer, &a); /* nested */
	put(db, "inside2", "1", &a);
	db_end(db);
	put(db, "after", "1", &a);
	db_flush(db);
	assert_int_equal(a.n, 5);
	assert_int_equal(a.n_failed, 3);
	expect(db, "before", "1");
	expect(db, "inside", NULL);
	expect(db, "inside2", NULL);
	expect(db, "after", "1");
	assert_int_equal(sqlite3_exec(other, "DROP TRIGGER no", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	update_store_put(db, &u, SPAN_LIT("{}"), note_answer, &a);
	db_flush(db);
	assert_int_equal(a.last, 0);
	db_begin(db); /* empty is fine */
	db_end(db);
	db_close(db);
}

static void files_are_for_their_owner_only(void **state)
{
	static const char *const names[] = { "dormouse.db", "dormouse.db-wal", "dormouse.db-shm", "dormouse.lock" };
	struct stat st;
	mode_t old = umask(0);
	struct db *db = open_db();

	put(db, "k", "v", NULL);
	db_flush(db);
	assert_int_equal(stat(in_scratch("state"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[160];
		(void)snprintf(path, sizeof(path), "%s/state/%s", scratch, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	db_close(db);
	umask(old);
}

static void a_second_daemon_on_the_same_directory_is_refused(void **state)
{
	struct db *db = open_db(), *second;

	assert_int_equal(db_open(in_scratch("state"), &second), -EBUSY);
	db_close(db);
	db_close(open_db());
}

static void a_file_of_a_newer_version_is_refused_and_left_alone(void **state)
{
	struct db *db = open_db();
	sqlite3 *other;

	db_close(db);
	assert_int_equal(sqlite3_open(in_scratch("state/dormouse.db"), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	assert_int_equal(db_open(in_scratch("state"), &db), -ENOTSUP);
	assert_int_equal(access(in_scratch("state/dormouse.db"), F_OK), 0);
}

static void places_that_cannot_be_are_an_error(void **state)
{
	struct db *db;
	char longest[5000];

	memset(longest, 'd', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(db_open(longest, &db), -ENAMETOOLONG);
	assert_int_equal(db_open(in_scratch("no/such/parent"), &db), -ENOENT);
	assert_int_equal(file_write_durable(AT_FDCWD, in_scratch("file"), SPAN_LIT("x")), 0);
	assert_int_equal(db_open(in_scratch("file"), &db), -ENOTDIR);
	assert_null(db_close(NULL));
}

static unsigned count_files(const char *prefix)
{
	DIR *dir = opendir(in_scratch("state"));
	unsigned n = 0;

	for (const struct dirent *de; (de = readdir(dir));)
		n += span_starts(span_str(de->d_name), span_str(prefix));
	closedir(dir);
	return n;
}

static void write_at(const char *path, off_t off, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, off), (ssize_t)n);
	close(fd);
}

static void fill_db(unsigned n)
{
	struct db *db = open_db();
	char key[32];

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "key-%u", i);
		put(db, key, "some value that takes its room in a page of the file", NULL);
	}
	db_close(db);
}

static void damage_header(const char *path) { write_at(path, 0, "not a database at all", 21); }
static void damage_cut(const char *path) { assert_int_equal(truncate(path, 4096 * 3), 0); }

static void damage_pages(const char *path)
{
	uint8_t noise[4096];
	struct stat st;

	memset(noise, 0x5a, sizeof(noise));
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 4096; at < st.st_size; at += 4096)
		write_at(path, at, noise, sizeof(noise));
}

static void a_damaged_file_is_set_aside_and_a_new_one_begins(void **state)
{
	static void (*const damages[])(const char *path) = { damage_header, damage_cut, damage_pages };

	for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		fill_db(2000);
		events_reset();
		damages[i](in_scratch("state/dormouse.db"));
		struct db *db = open_db();
		assert_true(db_was_reset(db));
		assert_int_equal(events.n_failed, 1);
		expect(db, "key-1", NULL);
		put(db, "new", "life", NULL);
		db_flush(db);
		expect(db, "new", "life");
		db_close(db);
		assert_true(count_files("dormouse.db.corrupt-") >= 1);
		db = open_db();
		assert_false(db_was_reset(db));
		db_close(db);
		scratch_drop(NULL);
		assert_int_equal(mkdir(scratch, 0700), 0);
	}
	log_set_observer(NULL, NULL);
}

/* --- kill -9 --- */

enum { KILL_ROUNDS = 50, KILL_KEYS = 64 };

static void acknowledge(void *ctx, int error)
{
	uint32_t n = (uint32_t)(uintptr_t)ctx;

	if (error || write(3, &n, sizeof(n)) != sizeof(n))
		_exit(1);
}

/* Writes numbers for ever, in units of two rows, and tells each acknowledged number through fd 3. */
static void writer_child(uint32_t from)
{
	struct db *db;
	char key[32], value[32];

	if (db_open(in_scratch("state"), &db) < 0 || db_was_reset(db))
		_exit(2);
	for (uint32_t n = from;; n++) {
		(void)snprintf(key, sizeof(key), "k%u", n % KILL_KEYS);
		(void)snprintf(value, sizeof(value), "%u", n);
		db_begin(db);
		kv_store_put(db, key, span_str(value), NULL, NULL);
		kv_store_put(db, "twin", span_str(value), acknowledge, (void *)(uintptr_t)n);
		db_end(db);
		while (db_queue_length(db) > 200)
			sched_yield();
		db_dispatch(db);
	}
}

static uint32_t value_of(struct db *db, const char *key)
{
	_cleanup_free_ uint8_t *p = NULL;
	size_t n;

	return kv_store_get(db, key, &p, &n) == 0 ? (uint32_t)strtoul((const char *)p, NULL, 10) : 0;
}

/* The newest number that is there: acknowledged, or committed just before the kill. */
static uint32_t check_after_kill(uint32_t last)
{
	struct db *db = open_db();
	uint32_t newest = 0;

	assert_false(db_was_reset(db));
	for (uint32_t k = 0; k < KILL_KEYS; k++) {
		char key[32];
		(void)snprintf(key, sizeof(key), "k%u", k);
		uint32_t v = value_of(db, key);
		newest = v > newest ? v : newest;
		if (v)
			assert_int_equal(v % KILL_KEYS, k);
		/* the last acknowledged write to this key, or a later one */
		uint32_t least = last >= KILL_KEYS ? last - (last - k) % KILL_KEYS : k && k <= last ? k : 0;
		assert_true(v >= least);
	}
	assert_true(newest >= last);
	assert_int_equal(value_of(db, "twin"), newest); /* never half of a unit */
	db_close(db);
	return newest;
}

static void everything_acknowledged_survives_kill_9(void **state)
{
	uint32_t last = 0, newest = 0;

	for (unsigned round = 0; round < KILL_ROUNDS; round++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fds[0]);
			if (fds[1] != 3 && dup2(fds[1], 3) < 0)
				_exit(3);
			writer_child(newest + 1);
		}
		close(fds[1]);
		/* after a random number of acknowledgements, at a random moment: no timing is assumed */
		uint32_t n, want = (uint32_t)random_below(400);
		for (uint32_t i = 0; i < want && read(fds[0], &n, sizeof(n)) == sizeof(n); i++)
			last = n;
		assert_int_equal(kill(pid, SIGKILL), 0);
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &n, sizeof(n)) == sizeof(n))
			last = n;
		close(fds[0]);
		newest = check_after_kill(last);
	}
	assert_true(last > KILL_ROUNDS);
}

/* --- no space, no writing --- */

enum { FULL_OK = 0, FULL_SKIP = 77 };

static int full_then_free(struct db *db, void (*make_free)(void), int want)
{
	_cleanup_free_ uint8_t *bytes = calloc(1, 256 * 1024);
	struct answers a = { 0 };

	events_reset();
	put(db, "first", "kept", &a);
	db_flush(db);
	if (a.n_failed)
		return 10;
	for (unsigned i = 0; i < 100; i++) {
		char key[32];
		(void)snprintf(key, sizeof(key), "big-%u", i);
		kv_store_put(db, key, SPAN(bytes, 256 * 1024), note_answer, &a);
		if (i % 10 == 9)
			db_flush(db);
	}
	if (!a.n_failed || a.last != want || events.n_failed != 1 || events.n_recovered)
		return 11;
	make_free();
	put(db, "second", "kept too", &a);
	db_flush(db);
	if (a.last || events.n_recovered != 1)
		return 12;
	expect(db, "first", "kept");
	expect(db, "second", "kept too");
	db_close(db);
	db = open_db();
	expect(db, "first", "kept");
	expect(db, "second", "kept too");
	db_close(db);
	return FULL_OK;
}

static void lift_limit(void)
{
	struct rlimit l;

	(void)getrlimit(RLIMIT_FSIZE, &l);
	l.rlim_cur = l.rlim_max;
	(void)setrlimit(RLIMIT_FSIZE, &l);
}

static int child_with_file_limit(void)
{
	struct rlimit l;
	struct db *db = open_db();

	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &l);
	l.rlim_cur = 1024 * 1024;
	(void)setrlimit(RLIMIT_FSIZE, &l);
	return full_then_free(db, lift_limit, -EFBIG);
}

static void grow_tmpfs(void)
{
	(void)mount("none", scratch, "", MS_REMOUNT, "size=64m");
}

static int child_on_small_tmpfs(void)
{
	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 || mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", scratch, "tmpfs", 0, "size=1m") < 0)
		return FULL_SKIP;
	return full_then_free(open_db(), grow_tmpfs, -ENOSPC);
}

static int child_on_read_only_disk(void)
{
	struct db *db;

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 || mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", scratch, "tmpfs", 0, "size=16m") < 0)
		return FULL_SKIP;
	db_close(open_db());
	if (mount("none", scratch, "", MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return FULL_SKIP;
	int r = db_open(in_scratch("state"), &db);
	if (r != -EROFS)
		return 20;
	if (mount("none", scratch, "", MS_REMOUNT, NULL) < 0)
		return FULL_SKIP;
	db_close(open_db());
	return FULL_OK;
}

static void run_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == FULL_SKIP)
		skip();
	assert_int_equal(WEXITSTATUS(status), FULL_OK);
}

static void a_write_that_does_not_fit_fails_alone_and_the_store_recovers(void **state)
{
	run_child(child_with_file_limit);
}

static void a_full_disk_fails_writes_once_logged_and_the_store_recovers(void **state)
{
	run_child(child_on_small_tmpfs);
}

static void a_read_only_disk_is_an_error_at_open(void **state)
{
	run_child(child_on_read_only_disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_there_after_reopening),
		TEST(closing_commits_what_is_queued_and_answers_it),
		TEST(answers_come_in_the_order_of_the_writes),
		TEST(one_turn_of_the_loop_answers_a_bounded_number),
		TEST(an_answer_may_write_again),
		TEST(a_full_queue_refuses_with_ebusy_and_keeps_what_it_has),
		TEST(the_queue_is_bounded_in_bytes_too),
		TEST(what_is_written_between_begin_and_end_is_all_or_nothing),
		TEST(files_are_for_their_owner_only),
		TEST(a_second_daemon_on_the_same_directory_is_refused),
		TEST(a_file_of_a_newer_version_is_refused_and_left_alone),
		TEST(places_that_cannot_be_are_an_error),
		TEST(a_damaged_file_is_set_aside_and_a_new_one_begins),
		TEST(everything_acknowledged_survives_kill_9),
		TEST(a_write_that_does_not_fit_fails_alone_and_the_store_recovers),
		TEST(a_full_disk_fails_writes_once_logged_and_the_store_recovers),
		TEST(a_read_only_disk_is_an_error_at_open),
	};

	log_open("test", LOG_EMERG);
	return cmocka_run_group_tests_name("store/db", tests, NULL, NULL);
}
