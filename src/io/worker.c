#include "io/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/mem.h"

enum { WORKER_DONE_PER_TURN = 32 };            /* done callbacks run before the loop looks at its descriptors again */

struct job {
	struct job *next;
	worker_fn *work;
	worker_done_fn *done;
	void *arg;
};

struct job_list {
	struct job *head, **tail;
};

struct worker_pool {
	struct loop *loop;
	struct loop_io *wake;
	int fd;                                /* eventfd: something is in `finished` */
	bool closing;                          /* loop thread's own */
	size_t n_jobs;                         /* loop thread's own: submitted, done not run */
	unsigned n_threads;
	pthread_t threads[WORKER_THREADS_MAX];

	pthread_mutex_t lock;                  /* guards the three below */
	pthread_cond_t more;
	struct job_list waiting, finished;
	bool stop;
};

static void list_init(struct job_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void list_add(struct job_list *list, struct job *j)
{
	j->next = NULL;
	*list->tail = j;
	list->tail = &j->next;
}

static struct job *list_take(struct job_list *list)
{
	struct job *j = list->head;

	if (j) {
		list->head = j->next;
		if (!list->head)
			list->tail = &list->head;
	}
	return j;
}

static void pool_wake_loop(struct worker_pool *w)
{
	uint64_t one = 1;

	(void)!write(w->fd, &one, sizeof(one)); /* EAGAIN: it is already as awake as can be */
}

static void *thread_main(void *arg)
{
	struct worker_pool *w = arg;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		struct job *j = list_take(&w->waiting);
		if (!j) {
			pthread_cond_wait(&w->more, &w->lock);
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		j->work(j->arg);
		pthread_mutex_lock(&w->lock);
		list_add(&w->finished, j);
		if (w->finished.head == j)     /* the first since the loop looked */
			pool_wake_loop(w);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void job_finish(struct worker_pool *w, struct job *j)
{
	assert(w->n_jobs > 0);
	w->n_jobs--;
	j->done(j->arg);
	free(j);
}

static void wake_cb(void *ctx, int fd, unsigned what)
{
	struct worker_pool *w = ctx;
	uint64_t n;

	(void)!read(fd, &n, sizeof(n)); /* only resets the counter */
	for (int i = 0; i < WORKER_DONE_PER_TURN; i++) {
		pthread_mutex_lock(&w->lock);
		struct job *j = list_take(&w->finished);
		bool more = w->finished.head != NULL;
		if (more && i == WORKER_DONE_PER_TURN - 1)
			pool_wake_loop(w);
		pthread_mutex_unlock(&w->lock);
		if (!j)
			return;
		job_finish(w, j);
		if (!more)
			return;
	}
}

/* Signals belong to the loop's thread. */
static int threads_start(struct worker_pool *w, unsigned n)
{
	sigset_t all, old;
	int r = 0;

	(void)sigfillset(&all); /* cannot fail */
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	while (r == 0 && w->n_threads < n) {
		r = pthread_create(&w->threads[w->n_threads], NULL, thread_main, w);
		if (r == 0)
			w->n_threads++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* it was valid before */
	return -r;
}

struct worker_pool *worker_pool_new(struct loop *l, unsigned n_threads)
{
	struct worker_pool *w = NEW(struct worker_pool);

	w->loop = l;
	list_init(&w->waiting);
	list_init(&w->finished);
	if (pthread_mutex_init(&w->lock, NULL) != 0 || pthread_cond_init(&w->more, NULL) != 0)
		abort();
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd >= 0)
		w->wake = loop_io_new(l, w->fd, LOOP_READ, wake_cb, w);
	if (!w->wake) {
		int e = errno;
		worker_pool_free(w);
		errno = e;
		return NULL;
	}
	int r = threads_start(w, n_threads < 1 ? 1 : n_threads > WORKER_THREADS_MAX ? WORKER_THREADS_MAX : n_threads);
	if (r < 0 && w->n_threads == 0) {      /* fewer than asked is still a pool */
		worker_pool_free(w);
		errno = -r;
		return NULL;
	}
	return w;
}

struct worker_pool *worker_pool_free(struct worker_pool *w)
{
	struct job *j;

	if (!w)
		return NULL;
	w->closing = true;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_threads; i++)
		(void)pthread_join(w->threads[i], NULL); /* our own joinable threads */
	while ((j = list_take(&w->finished)))
		job_finish(w, j);
	while ((j = list_take(&w->waiting)))
		job_finish(w, j);
	loop_io_free(w->wake);
	closep(&w->fd);
	(void)pthread_cond_destroy(&w->more); /* nobody waits any more */
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
	return NULL;
}

int worker_submit(struct worker_pool *w, worker_fn *work, worker_done_fn *done, void *arg)
{
	if (w->closing)
		return -ESHUTDOWN;
	if (w->n_jobs >= WORKER_QUEUE_MAX)
		return -EBUSY;
	struct job *j = NEW(struct job);
	*j = (struct job){ .work = work, .done = done, .arg = arg };
	w->n_jobs++;
	pthread_mutex_lock(&w->lock);
	list_add(&w->waiting, j);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	return 0;
}
