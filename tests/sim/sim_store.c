/* The writer thread of store/db.c on a leash: the linker hands us its waiting (--wrap=pthread_cond_wait) and its start. */
#include "sim_store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/sql.h"

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __real_sql_exec(struct sql_conn *c, const char *text);
int __wrap_sql_exec(struct sql_conn *c, const char *text);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool may_go, waits, is_free;           /* guarded by lock */
	bool is_dead, is_full;                 /* read by the writer while the loop waits */
} leash = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static struct {
	struct db *db;
	struct loop_timer *commit, *dispatch;
	void (*committed)(void *ctx);
	void *ctx;
} store;

/* ---- the writer's side ---- */

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	pthread_mutex_unlock(lock);
	pthread_mutex_lock(&leash.lock);
	leash.waits = true;
	pthread_cond_broadcast(&leash.changed);
	while (!leash.may_go)
		(void)__real_pthread_cond_wait(&leash.changed, &leash.lock);
	leash.may_go = leash.waits = false;
	pthread_mutex_unlock(&leash.lock);
	return pthread_mutex_lock(lock);
}

int __wrap_sql_exec(struct sql_conn *c, const char *text)
{
	if (strcmp(text, "BEGIN IMMEDIATE") == 0) {
		if (__atomic_load_n(&leash.is_dead, __ATOMIC_ACQUIRE))
			return -EIO;
		if (__atomic_load_n(&leash.is_full, __ATOMIC_ACQUIRE))
			return -ENOSPC;
	}
	return __real_sql_exec(c, text);
}

/* ---- the loop's side ---- */

static void wait_until_it_waits(void)
{
	pthread_mutex_lock(&leash.lock);
	while (!leash.waits || leash.may_go)
		(void)__real_pthread_cond_wait(&leash.changed, &leash.lock);
	pthread_mutex_unlock(&leash.lock);
}

static void let_go_once(void)
{
	pthread_mutex_lock(&leash.lock);
	leash.may_go = true;
	pthread_cond_broadcast(&leash.changed);
	pthread_mutex_unlock(&leash.lock);
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
	if (leash.is_free)
		let_go_once();
	return 0;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	leash.may_go = leash.waits = leash.is_free = false; /* no other thread yet */
	int r = __real_pthread_create(thread, attr, fn, arg);
	if (r == 0)
		wait_until_it_waits();
	return r;
}

static bool has_news(struct db *db)
{
	struct pollfd p = { .fd = db_fd(db), .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void on_dispatch(void *ctx)
{
	db_dispatch(store.db);
	if (has_news(store.db))
		loop_timer_set(store.dispatch, 0);
}

static void commit(void)
{
	let_go_once();
	wait_until_it_waits();
	if (store.committed)
		store.committed(store.ctx);
}

static void on_commit(void *ctx)
{
	sim_note(2, db_queue_length(store.db));
	commit();
	loop_timer_set(store.dispatch, sim_between(0, 3));
}

/* After each event of the loop: has somebody written something? */
static void after(void *ctx)
{
	if (!store.db || loop_timer_armed(store.commit) || db_queue_length(store.db) == 0)
		return;
	loop_timer_set(store.commit, sim_chance(0.01) ? sim_between(1000, 6000) : sim_between(1, 40)); /* a slow disk now and then */
}

int sim_db_open(const char *dir, struct loop *l, struct db **ret)
{
	leash.is_dead = leash.is_full = false;
	int r = db_open(dir, ret);
	if (r < 0)
		return r;
	store.db = *ret;
	store.commit = loop_timer_new(l, on_commit, NULL);
	store.dispatch = loop_timer_new(l, on_dispatch, NULL);
	sim_set_after(after, NULL);
	return 0;
}

void sim_db_set_committed(void (*fn)(void *ctx), void *ctx)
{
	store.committed = fn;
	store.ctx = ctx;
}

void sim_db_die(void)
{
	__atomic_store_n(&leash.is_dead, true, __ATOMIC_RELEASE);
}

void sim_db_fill(bool is_full)
{
	__atomic_store_n(&leash.is_full, is_full, __ATOMIC_RELEASE);
}

void sim_db_let_go(struct db *db)
{
	while (!leash.is_dead && (db_queue_length(db) > 0 || has_news(db))) {
		if (db_queue_length(db) > 0)
			commit();
		db_dispatch(db);
	}
	sim_set_after(NULL, NULL);
	store.commit = loop_timer_free(store.commit);
	store.dispatch = loop_timer_free(store.dispatch);
	store.db = NULL;
	leash.is_free = true;
	let_go_once();
}
