/* store/mcast_store: keys, counters and sessions come back as they were; a database of version 1 gets their tables. */
#include "store_test.h"

#include <sqlite3.h>

#include "store/mcast_store.h"

static struct mcast_group_row groups[4];
static struct mcast_session_row sessions[4];
static char names[4][32];
static struct buf kept[4];
static size_t n_groups, n_sessions;

static int keep_group(void *ctx, const struct mcast_group_row *row)
{
	(void)ctx;
	groups[n_groups] = *row;
	(void)snprintf(names[n_groups], sizeof(names[0]), "%s", row->name);
	buf_clear(&kept[n_groups]);
	buf_add(&kept[n_groups], row->members);
	n_groups++;
	return 0;
}

static int keep_session(void *ctx, const struct mcast_session_row *row)
{
	(void)ctx;
	sessions[n_sessions] = *row;
	(void)snprintf(names[n_sessions], sizeof(names[0]), "%s", row->group);
	buf_clear(&kept[n_sessions]);
	buf_add(&kept[n_sessions], row->snapshot);
	n_sessions++;
	return 0;
}

static struct db *open_db(void)
{
	struct db *db;

	assert_int_equal(db_open(scratch, &db), 0);
	n_groups = n_sessions = 0;
	assert_int_equal(mcast_group_store_load(db, keep_group, NULL), 0);
	return db;
}

static void drop_kept(void)
{
	for (size_t i = 0; i < 4; i++)
		buf_done(&kept[i]);
}

static void a_group_comes_back_with_its_key_and_members(void **state)
{
	struct mcast_group_row row = { .name = "lamps", .gid = 255, .key = { 1, 2, 0, 255 }, .counter = UINT32_MAX,
				       .losses = { 0, 1, 1000, UINT16_MAX, UINT16_MAX }, .members = SPAN_LIT("node-1\0node-2\0") };
	struct answers a = { 0 };
	struct db *db = open_db();

	assert_int_equal(n_groups, 0);
	mcast_group_store_put(db, &row, note_answer, &a);
	mcast_group_store_put(db, &(struct mcast_group_row){ .name = "empty", .gid = 1 }, note_answer, &a);
	db_close(db);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.n_failed, 0);
	db = open_db();
	assert_int_equal(n_groups, 2);
	assert_string_equal(names[0], "empty");
	assert_int_equal(kept[0].n, 0);
	assert_string_equal(names[1], "lamps");
	assert_int_equal(groups[1].gid, 255);
	assert_memory_equal(groups[1].key, row.key, sizeof(row.key));
	assert_true(groups[1].counter == UINT32_MAX);
	assert_memory_equal(groups[1].losses, row.losses, sizeof(row.losses));
	assert_true(span_eq(buf_span(&kept[1]), row.members));
	db_close(db);
	drop_kept();
}

/* MCD C4: session counters strictly increase. */
static void a_counter_never_goes_back(void **state)
{
	struct db *db = open_db();

	mcast_group_store_put(db, &(struct mcast_group_row){ .name = "g", .gid = 1, .counter = 7 }, NULL, NULL);
	mcast_group_store_put(db, &(struct mcast_group_row){ .name = "g", .gid = 2, .counter = 3 }, NULL, NULL);
	db_close(db);
	db = open_db();
	assert_int_equal(groups[0].gid, 2);
	assert_int_equal(groups[0].counter, 7);
	db_close(db);
	drop_kept();
}

static void a_session_is_kept_until_it_is_removed(void **state)
{
	struct mcast_session_row row = { .sid = { 0, 0, 0, 1, 2, 3, 4, 5 }, .group = "g", .manifest = digest_of(SPAN_LIT("m")),
					 .image = digest_of(SPAN_LIT("i")), .snapshot = SPAN_LIT("first") };
	struct answers a = { 0 };
	struct db *db = open_db();

	mcast_session_store_put(db, &row, note_answer, &a);
	row.snapshot = SPAN_LIT("second");
	mcast_session_store_put(db, &row, note_answer, &a);
	db_close(db);
	assert_int_equal(a.n, 2);
	db = open_db();
	assert_int_equal(mcast_session_store_load(db, keep_session, NULL), 0);
	assert_int_equal(n_sessions, 1);
	assert_memory_equal(sessions[0].sid, row.sid, sizeof(row.sid));
	assert_string_equal(names[0], "g");
	assert_true(digest_eq(&sessions[0].manifest, &row.manifest));
	assert_true(digest_eq(&sessions[0].image, &row.image));
	assert_string_equal(buf_str(&kept[0]), "second");
	mcast_session_store_delete(db, row.sid, note_answer, &a);
	mcast_session_store_delete(db, row.sid, note_answer, &a); /* again: nothing */
	db_close(db);
	assert_int_equal(a.n, 4);
	assert_int_equal(a.n_failed, 0);
	db = open_db();
	n_sessions = 0;
	assert_int_equal(mcast_session_store_load(db, keep_session, NULL), 0);
	assert_int_equal(n_sessions, 0);
	db_close(db);
	drop_kept();
}

static void exec(const char *sql)
{
	sqlite3 *raw;

	assert_int_equal(sqlite3_open(in_scratch("dormouse.db"), &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(raw), SQLITE_OK);
}

static void a_database_of_version_1_gets_the_tables(void **state)
{
	struct db *db = open_db();

	db_close(db);
	exec("DROP TABLE mcast_group; DROP TABLE mcast_session; ALTER TABLE device DROP COLUMN address; PRAGMA user_version = 1");
	db = open_db();
	assert_false(db_was_reset(db));
	mcast_group_store_put(db, &(struct mcast_group_row){ .name = "g", .gid = 1 }, NULL, NULL);
	db_close(db);
	db = open_db();
	assert_int_equal(n_groups, 1);
	db_close(db);
	drop_kept();
}

static void rows_that_are_not_understood_are_left_out(void **state)
{
	struct db *db = open_db();

	db_close(db);
	exec("INSERT INTO mcast_group VALUES ('short-key', 1, x'00', 0, x'00000000000000000000', x'');"
	     "INSERT INTO mcast_group VALUES ('short-losses', 1, x'00000000000000000000000000000000', 0, x'00', x'');"
	     "INSERT INTO mcast_session VALUES (x'00', 'g', x'00', x'00', x'00')");
	db = open_db();
	assert_int_equal(n_groups, 0);
	assert_int_equal(mcast_session_store_load(db, keep_session, NULL), 0);
	assert_int_equal(n_sessions, 0);
	db_close(db);
	drop_kept();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_group_comes_back_with_its_key_and_members),
		TEST(a_counter_never_goes_back),
		TEST(a_session_is_kept_until_it_is_removed),
		TEST(a_database_of_version_1_gets_the_tables),
		TEST(rows_that_are_not_understood_are_left_out),
	};

	return cmocka_run_group_tests_name("store/mcast_store", tests, NULL, NULL);
}
