#include "store/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "store/db_internal.h"
#include "store/dir.h"
#include "store/migrate.h"

enum {
	GIVE_UP_AFTER = 8,                     /* failures in a row before the rest of a group fails unasked */
	CHECKPOINT_PAGES = 1000,               /* checkpoint when idle */
	CHECKPOINT_PAGES_MAX = 8000,           /* or even when busy */
	OPEN_PATH_BYTES = 4096,
};

/* One allocation: the entry, its values, their bytes. */
struct db_entry {
	struct db_entry *next;
	const struct db_op *op;                /* NULL: refused, error says why */
	db_done_fn *done;
	void *ctx;
	int error;
	bool is_joined;                        /* same transaction as the next */
	size_t bytes;                          /* of the allocation */
	size_t n_values;
	struct sql_value values[];
};

struct entry_list {
	struct db_entry *head, **tail;
	size_t n, bytes;
};

struct db {
	int dirfd, lockfd, eventfd;
	char path[OPEN_PATH_BYTES];
	bool was_reset;
	pthread_t thread;
	bool has_thread;
	struct sql_conn writer;                /* writer thread, once it runs */
	int wal_pages;                         /* writer thread */

	struct sql_conn reader;                /* the rest: loop thread */
	unsigned begin_depth;
	struct entry_list unit;                /* written since db_begin() */
	size_t n_open;                         /* submitted, not yet dispatched */
	bool is_failing;
	struct entry_list finished;            /* taken, waiting for their turn */

	pthread_mutex_t lock;                  /* guards what follows */
	pthread_cond_t more;
	struct entry_list queue, done;
	size_t n_running, running_bytes;
	bool is_stopping;
};

static void list_init(struct entry_list *l)
{
	*l = (struct entry_list){ .tail = &l->head };
}

static void list_add(struct entry_list *l, struct db_entry *e)
{
	e->next = NULL;
	*l->tail = e;
	l->tail = &e->next;
	l->n++;
	l->bytes += e->bytes;
}

static struct db_entry *list_pop(struct entry_list *l)
{
	struct db_entry *e = l->head;

	if (!e)
		return NULL;
	l->head = e->next;
	if (!l->head)
		l->tail = &l->head;
	l->n--;
	l->bytes -= e->bytes;
	return e;
}

static void list_move(struct entry_list *to, struct entry_list *from)
{
	if (from->head) {
		*to->tail = from->head;
		to->tail = from->tail;
		to->n += from->n;
		to->bytes += from->bytes;
	}
	list_init(from);
}

static struct db_entry *entry_new(const struct db_op *op, const struct sql_value *values, size_t n, db_done_fn *done, void *ctx)
{
	size_t bytes = sizeof(struct db_entry) + n * sizeof(*values);

	for (size_t i = 0; i < n; i++)
		bytes += values[i].s.n;
	struct db_entry *e = bytes <= DB_QUEUE_BYTES_MAX ? malloc(bytes) : NULL;
	if (!e)
		return NULL;
	*e = (struct db_entry){ .op = op, .done = done, .ctx = ctx, .bytes = bytes, .n_values = n };
	uint8_t *at = (uint8_t *)&e->values[n];
	for (size_t i = 0; i < n; i++) {
		e->values[i] = values[i];
		if (values[i].s.n)
			memcpy(at, values[i].s.p, values[i].s.n);
		e->values[i].s.p = at;
		at += values[i].s.n;
	}
	return e;
}

static struct db_entry *entry_error(int error, db_done_fn *done, void *ctx)
{
	struct db_entry *e = NEW(struct db_entry);

	*e = (struct db_entry){ .error = error, .done = done, .ctx = ctx, .bytes = sizeof(*e) };
	return e;
}

static void entry_free(struct db_entry *e)
{
	mem_wipe(e, e->bytes); /* a value may have been a secret */
	free(e);
}

/* --- writer thread --- */

static int entry_run(struct db *db, const struct db_entry *e)
{
	int r = 0;

	if (!e->op)
		return 0;
	if (e->op->run)
		return e->op->run(&db->writer, e->values, e->n_values);
	for (size_t i = 0; r == 0 && i < DB_OP_STATEMENTS_MAX && e->op->sql[i]; i++)
		r = sql_run(&db->writer, e->op->sql[i], e->values, e->n_values);
	return r;
}

/* first up to but not end (NULL = all), in one transaction: all or, with an error, nothing. */
static int transaction(struct db *db, struct db_entry *first, struct db_entry *end)
{
	int r = sql_exec(&db->writer, "BEGIN IMMEDIATE");

	for (struct db_entry *e = first; r == 0 && e != end; e = e->next)
		r = entry_run(db, e);
	if (r == 0)
		r = sql_exec(&db->writer, "COMMIT");
	if (r < 0 && !sqlite3_get_autocommit(db->writer.db))
		(void)sql_exec(&db->writer, "ROLLBACK"); /* the first error is the one to tell */
	metric_add(METRIC_STORE_COMMITS, r == 0);
	return r;
}

static struct db_entry *unit_end(struct db_entry *e)
{
	while (e->is_joined)
		e = e->next;
	return e->next;
}

static void fail_until(struct db_entry *e, const struct db_entry *end, int error)
{
	for (; e != end; e = e->next)
		if (e->op)
			e->error = error;
}

static void group_run(struct db *db, struct db_entry *list)
{
	unsigned n_failed = 0;

	if (transaction(db, list, NULL) == 0)
		return;
	/* Something in it failed and nothing is kept: now each on its own, to find out which. */
	for (struct db_entry *e = list, *end; e; e = end) {
		end = unit_end(e);
		int r = transaction(db, e, end);
		n_failed = r == 0 || r == -EINVAL ? 0 : n_failed + 1; /* EINVAL: this entry, not the disk */
		if (n_failed >= GIVE_UP_AFTER)
			end = NULL;
		if (r < 0)
			fail_until(e, end, r);
	}
}

static int on_wal(void *ctx, sqlite3 *sql, const char *name, int pages)
{
	struct db *db = ctx;

	db->wal_pages = pages;
	return SQLITE_OK;
}

/* After the done of the group went out, so that nobody waits for it. */
static void checkpoint(struct db *db, bool is_idle)
{
	int left = 0, moved = 0;

	if (db->wal_pages < (is_idle ? CHECKPOINT_PAGES : CHECKPOINT_PAGES_MAX))
		return;
	if (sqlite3_wal_checkpoint_v2(db->writer.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &left, &moved) == SQLITE_OK)
		db->wal_pages = left - moved;
	else
		db->wal_pages = 0; /* again when as many pages have come; the log keeps everything until then */
}

static void wake_loop(struct db *db)
{
	uint64_t one = 1;

	(void)!write(db->eventfd, &one, sizeof(one)); /* full means readable already */
}

/* With the lock held: up to DB_GROUP_MAX entries, never half of a unit. */
static struct entry_list take_group(struct db *db)
{
	struct entry_list group;
	struct db_entry *e;
	bool is_joined = false;

	list_init(&group);
	while ((group.n < DB_GROUP_MAX || is_joined) && (e = list_pop(&db->queue))) {
		is_joined = e->is_joined;
		list_add(&group, e);
	}
	return group;
}

static void *writer_main(void *arg)
{
	struct db *db = arg;

	pthread_mutex_lock(&db->lock);
	for (;;) {
		while (!db->queue.n && !db->is_stopping)
			pthread_cond_wait(&db->more, &db->lock);
		if (!db->queue.n)
			break;
		struct entry_list group = take_group(db);
		db->n_running = group.n;
		db->running_bytes = group.bytes;
		pthread_mutex_unlock(&db->lock);
		group_run(db, group.head);
		pthread_mutex_lock(&db->lock);
		list_move(&db->done, &group);
		db->n_running = db->running_bytes = 0;
		bool is_idle = !db->queue.n;
		pthread_mutex_unlock(&db->lock);
		wake_loop(db);
		checkpoint(db, is_idle);
		pthread_mutex_lock(&db->lock);
	}
	pthread_mutex_unlock(&db->lock);
	return NULL;
}

/* --- loop thread --- */

/* A unit goes in whole or is refused whole. */
static void enqueue(struct db *db, struct entry_list *unit)
{
	int refused = 0;

	for (struct db_entry *e = unit->head; e && unit->n > 1; e = e->next)
		if (!e->op)
			refused = e->error;
	pthread_mutex_lock(&db->lock);
	size_t n = db->queue.n + db->n_running, bytes = db->queue.bytes + db->running_bytes;
	if (n + unit->n > DB_QUEUE_MAX || bytes + unit->bytes > DB_QUEUE_BYTES_MAX)
		refused = -EBUSY;
	db->n_open += unit->n;
	if (!refused) {
		list_move(&db->queue, unit);
		pthread_cond_signal(&db->more);
	}
	metric_set(METRIC_STORE_QUEUE, (int64_t)(db->queue.n + db->n_running));
	pthread_mutex_unlock(&db->lock);
	if (!refused)
		return;
	for (struct db_entry *e; (e = list_pop(unit));) {
		list_add(&db->finished, entry_error(refused, e->done, e->ctx));
		entry_free(e);
	}
	wake_loop(db);
}

static void submit(struct db *db, struct db_entry *e)
{
	struct entry_list one;

	if (db->begin_depth) {
		e->is_joined = true;
		list_add(&db->unit, e);
		return;
	}
	list_init(&one);
	list_add(&one, e);
	enqueue(db, &one);
}

void db_submit(struct db *db, const struct db_op *op, const struct sql_value *values, size_t n, db_done_fn *done, void *ctx)
{
	struct db_entry *e = entry_new(op, values, n, done, ctx);

	submit(db, e ? e : entry_error(-ENOMEM, done, ctx));
}

void db_submit_error(struct db *db, int error, db_done_fn *done, void *ctx)
{
	submit(db, entry_error(error, done, ctx));
}

void db_begin(struct db *db)
{
	db->begin_depth++;
}

void db_end(struct db *db)
{
	assert(db->begin_depth);
	if (--db->begin_depth || !db->unit.n)
		return;
	for (struct db_entry *e = db->unit.head; e; e = e->next)
		e->is_joined = e->next != NULL;
	enqueue(db, &db->unit);
	list_init(&db->unit);
}

/* Once when it begins to fail, once when it is over. */
static void tell(struct db *db, int error)
{
	if (error && !db->is_failing)
		log_event(EV_STORE_FAILED, LOG_ERR, "the database cannot be written (%s); what was not acknowledged is not kept",
			  strerror(-error));
	else if (!error && db->is_failing)
		log_event(EV_STORE_RECOVERED, LOG_NOTICE, "the database can be written again");
	db->is_failing = error != 0;
}

void db_dispatch(struct db *db)
{
	uint64_t count;
	int error = 0;
	size_t n = 0, n_good = 0;

	(void)!read(db->eventfd, &count, sizeof(count)); /* nothing there is fine too */
	pthread_mutex_lock(&db->lock);
	list_move(&db->finished, &db->done);
	metric_set(METRIC_STORE_QUEUE, (int64_t)(db->queue.n + db->n_running));
	pthread_mutex_unlock(&db->lock);
	for (struct db_entry *e; n < DB_DISPATCH_MAX && (e = list_pop(&db->finished)); n++) {
		if (e->error && e->error != -EMSGSIZE)
			error = e->error;
		n_good += !e->error;
		db->n_open--;
		if (e->done)
			e->done(e->ctx, e->error);
		entry_free(e);
	}
	if (error || n_good)
		tell(db, error);
	if (db->finished.n)
		wake_loop(db);
}

bool db_is_failing(const struct db *db)
{
	return db->is_failing;
}

size_t db_queue_length(struct db *db)
{
	pthread_mutex_lock(&db->lock);
	size_t n = db->queue.n + db->n_running;
	pthread_mutex_unlock(&db->lock);
	return n;
}

void db_flush(struct db *db)
{
	struct pollfd p = { .fd = db->eventfd, .events = POLLIN };

	while (db->n_open) {
		(void)poll(&p, 1, -1); /* EINTR: look again */
		db_dispatch(db);
	}
}

int db_fd(struct db *db)
{
	return db->eventfd;
}

const char *db_library_version(void)
{
	return sqlite3_libversion();
}

bool db_was_reset(const struct db *db)
{
	return db->was_reset;
}

struct sql_conn *db_reader(struct db *db)
{
	return &db->reader;
}

static int copy_blob(void *ctx, sqlite3_stmt *row)
{
	struct span s = sql_column_blob(row, 0);
	uint8_t *p = malloc(s.n + 1);

	if (!p)
		return -ENOMEM;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	*(struct span *)ctx = SPAN(p, s.n);
	return 1;
}

int db_read_blob(struct db *db, const char *sql, const char *key, uint8_t **ret, size_t *ret_n)
{
	struct span s = SPAN_NONE;
	struct sql_value v = sql_text(key);
	int r = sql_query(&db->reader, sql, &v, 1, copy_blob, &s);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret = (uint8_t *)s.p; /* ours since copy_blob */
	*ret_n = s.n;
	return 0;
}

/* --- open and close --- */

/* Before SQLite sees it, so that the modes are ours; the -wal and -shm files inherit them. */
static int make_file(struct db *db)
{
	_cleanup_close_ int fd = openat(db->dirfd, "dormouse.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	return fchmod(fd, 0600) < 0 || fsync(db->dirfd) < 0 ? -errno : 0;
}

static int take_lock(struct db *db)
{
	db->lockfd = openat(db->dirfd, "dormouse.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (db->lockfd < 0)
		return -errno;
	if (flock(db->lockfd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

static int connect_writer(struct db *db)
{
	int r = make_file(db);

	if (r == 0)
		r = sql_open(&db->writer, db->path, SQLITE_OPEN_READWRITE);
	if (r < 0)
		return r;
	/* Where WAL is not possible (no shared memory on the file system) SQLite stays with its rollback journal: slower, as safe. */
	r = sql_exec(&db->writer,
		     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
		     "PRAGMA cell_size_check = ON; PRAGMA secure_delete = FAST; PRAGMA temp_store = MEMORY;"
		     "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 8388608");
	if (r == 0)
		r = migrate_check(&db->writer);
	if (r == 0)
		r = migrate(&db->writer);
	if (r < 0)
		sql_close(&db->writer);
	else
		(void)sqlite3_wal_hook(db->writer.db, on_wal, db); /* returns the hook before, none */
	return r;
}

static int set_aside(struct db *db)
{
	static const char *const files[] = { "dormouse.db", "dormouse.db-wal" };
	struct wall now = wall_now();
	char to[80];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		(void)snprintf(to, sizeof(to), "dormouse.db.corrupt-%lld%s", (long long)wall_s(now), i ? "-wal" : ""); /* fits */
		if (renameat(db->dirfd, files[i], db->dirfd, to) < 0 && errno != ENOENT)
			return -errno;
	}
	if (unlinkat(db->dirfd, "dormouse.db-shm", 0) < 0 && errno != ENOENT)
		return -errno;
	return fsync(db->dirfd) < 0 ? -errno : 0;
}

static int open_connections(struct db *db)
{
	int r = connect_writer(db);

	if (r == -EBADMSG) {
		r = set_aside(db);
		if (r < 0)
			return r;
		db->was_reset = true;
		log_event(EV_STORE_FAILED, LOG_CRIT, "the database %s was damaged; it is set aside as %s.corrupt-* and a new one begins",
			  db->path, db->path);
		r = connect_writer(db);
	}
	if (r == 0)
		r = sql_open(&db->reader, db->path, SQLITE_OPEN_READWRITE);
	if (r == 0)
		r = sql_exec(&db->reader, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF");
	return r;
}

/* Signals are the loop's: the thread inherits a full mask. */
static int start_thread(struct db *db)
{
	sigset_t all, old;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&db->thread, NULL, writer_main, db);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	db->has_thread = r == 0;
	return -r;
}

int db_open(const char *state_dir, struct db **ret)
{
	struct db *db = NEW(struct db);
	int r;

	db->dirfd = db->lockfd = -1;
	list_init(&db->unit);
	list_init(&db->finished);
	list_init(&db->queue);
	list_init(&db->done);
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->more, NULL);
	db->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r = db->eventfd < 0 ? -errno : 0;
	if (snprintf(db->path, sizeof(db->path), "%s/dormouse.db", state_dir) >= (int)sizeof(db->path))
		r = -ENAMETOOLONG;
	if (r == 0)
		r = dir_make(AT_FDCWD, state_dir, &db->dirfd);
	if (r == 0)
		r = take_lock(db);
	if (r == 0)
		r = open_connections(db);
	if (r == 0)
		r = start_thread(db);
	if (r < 0) {
		db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

static void stop_thread(struct db *db)
{
	db_flush(db);
	pthread_mutex_lock(&db->lock);
	db->is_stopping = true;
	pthread_cond_signal(&db->more);
	pthread_mutex_unlock(&db->lock);
	pthread_join(db->thread, NULL);
}

struct db *db_close(struct db *db)
{
	if (!db)
		return NULL;
	assert(!db->begin_depth);
	if (db->has_thread)
		stop_thread(db);
	sql_close(&db->reader);
	sql_close(&db->writer); /* the last one out moves the log into the file */
	closep(&db->eventfd);
	closep(&db->lockfd);
	closep(&db->dirfd);
	pthread_cond_destroy(&db->more);
	pthread_mutex_destroy(&db->lock);
	free(db);
	return NULL;
}
