#include "store_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "base/mem.h"
#include "base/random.h"
#include "store/image_cache.h"

enum { QUOTA = 1024 * 1024 };

static struct image_cache *open_cache(uint64_t quota)
{
	struct image_cache *c;

	assert_int_equal(image_cache_open(in_scratch("state"), quota, &c), 0);
	return c;
}

static struct digest put_bytes(struct image_cache *c, uint8_t fill, size_t n)
{
	_cleanup_free_ uint8_t *p = mem_new(n, 1);
	struct digest d, expect;

	memset(p, fill, n);
	expect = digest_of(SPAN(p, n));
	assert_int_equal(image_cache_put(c, SPAN(p, n), &d), 0);
	assert_true(digest_eq(&d, &expect));
	image_cache_added(c, &d, n);
	return d;
}

static const char *path_of(const char *dir, const struct digest *d)
{
	char hex[DIGEST_HEX_BYTES], name[120];

	(void)snprintf(name, sizeof(name), "state/%s/%s", dir, digest_hex(d, hex));
	return in_scratch(name);
}

static void damage(const char *path, off_t at)
{
	uint8_t b;

	assert_int_equal(chmod(path, 0600), 0);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= 1;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static void what_was_put_is_served_after_verification_and_after_reopening(void **state)
{
	_cleanup_(image_file_unrefp) struct image_file *f = NULL;
	struct image_cache *c = open_cache(QUOTA);
	struct digest d = put_bytes(c, 'a', 5000);
	uint8_t back[100];
	uint64_t bytes;

	assert_true(image_cache_has(c, &d, &bytes));
	assert_int_equal(bytes, 5000);
	assert_int_equal(image_cache_get(c, &d, &f), -EAGAIN);
	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	assert_int_equal(image_file_bytes(f), 5000);
	assert_true(digest_eq(image_file_digest(f), &d));
	assert_int_equal(image_file_read(f, 4900, back, 100), 0);
	assert_int_equal(back[99], 'a');
	assert_int_equal(image_file_read(f, 4901, back, 100), -ERANGE);
	assert_int_equal(image_file_read(f, UINT64_MAX, back, 1), -ERANGE);
	assert_int_equal(image_file_read(f, 5000, back, 0), 0);
	f = image_file_unref(f);
	assert_int_equal(image_cache_get(c, &d, &f), 0);
	image_cache_close(c); /* an open file outlives it */
	assert_int_equal(image_file_read(f, 0, back, 100), 0);
	f = image_file_unref(f);
	c = open_cache(QUOTA);
	assert_int_equal(image_cache_count(c), 1);
	assert_int_equal(image_cache_bytes(c), 5000);
	assert_int_equal(image_cache_get(c, &d, &f), -EAGAIN); /* a new process looks again */
	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	image_cache_close(c);
}

static void files_are_for_their_owner_only_and_not_for_writing(void **state)
{
	struct image_cache *c = open_cache(QUOTA);
	struct digest d = put_bytes(c, 'a', 10);
	struct stat st;

	assert_int_equal(stat(path_of("images", &d), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(stat(in_scratch("state/images"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	image_cache_close(c);
}

static void an_empty_image_is_an_image(void **state)
{
	_cleanup_(image_file_unrefp) struct image_file *f = NULL;
	struct image_cache *c = open_cache(QUOTA);
	struct digest d = put_bytes(c, 0, 0);

	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	assert_int_equal(image_file_bytes(f), 0);
	image_cache_close(c);
}

static void what_is_not_there_is_enoent(void **state)
{
	struct image_file *f;
	struct digest d = digest_of(SPAN_LIT("nothing"));
	struct image_cache *c = open_cache(QUOTA);

	assert_false(image_cache_has(c, &d, NULL));
	assert_int_equal(image_cache_get(c, &d, &f), -ENOENT);
	assert_int_equal(image_cache_verify(c, &d, &f), -ENOENT);
	assert_int_equal(image_cache_remove(c, &d), -ENOENT);
	image_cache_unpin(c, &d); /* harmless */
	d = put_bytes(c, 'a', 10);
	assert_int_equal(unlink(path_of("images", &d)), 0); /* behind our back */
	assert_int_equal(image_cache_verify(c, &d, &f), -ENOENT);
	assert_false(image_cache_has(c, &d, NULL));
	assert_int_equal(image_cache_bytes(c), 0);
	image_cache_close(c);
}

/* SU-26 */
static void a_file_that_is_not_its_name_is_dropped_at_every_place(void **state)
{
	static const off_t places[] = { 0, 1, 128 * 1024 - 1, 128 * 1024, 299999 };
	struct image_file *f;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct image_cache *c = open_cache(QUOTA);
		struct digest d = put_bytes(c, 'a', 300000);
		image_cache_pin(c, &d);
		damage(path_of("images", &d), places[i]);
		assert_int_equal(image_cache_verify(c, &d, &f), -EBADMSG);
		assert_false(image_cache_has(c, &d, NULL));
		assert_int_equal(access(path_of("images", &d), F_OK), -1);
		assert_int_equal(image_cache_bytes(c), 0);
		put_bytes(c, 'a', 300000); /* fetched again */
		assert_int_equal(image_cache_verify(c, &d, &f), 0);
		image_file_unref(f);
		assert_int_equal(image_cache_remove(c, &d), -EBUSY); /* the pin is still held */
		image_cache_unpin(c, &d);
		assert_int_equal(image_cache_remove(c, &d), 0);
		image_cache_close(c);
	}
}

static void a_file_changed_after_verification_is_noticed_before_it_is_served_again(void **state)
{
	struct image_file *f;
	struct image_cache *c = open_cache(QUOTA);
	struct digest d = put_bytes(c, 'a', 1000);

	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	image_file_unref(f);
	assert_int_equal(image_cache_get(c, &d, &f), 0);
	image_file_unref(f);
	damage(path_of("images", &d), 500);
	assert_int_equal(image_cache_get(c, &d, &f), -EAGAIN);
	assert_int_equal(image_cache_verify(c, &d, &f), -EBADMSG);
	assert_int_equal(image_cache_get(c, &d, &f), -ENOENT);
	/* truncated, and put again over a bad one */
	put_bytes(c, 'a', 1000);
	assert_int_equal(chmod(path_of("images", &d), 0600), 0);
	assert_int_equal(truncate(path_of("images", &d), 999), 0);
	put_bytes(c, 'a', 1000);
	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	image_file_unref(f);
	/* a directory or a link under a digest's name is never followed */
	assert_int_equal(unlink(path_of("images", &d)), 0);
	assert_int_equal(symlink("/etc/passwd", path_of("images", &d)), 0);
	assert_int_equal(image_cache_verify(c, &d, &f), -EBADMSG);
	assert_int_equal(image_cache_count(c), 0);
	image_cache_close(c);
}

/* --- making room --- */

static void the_longest_unused_goes_first_and_pinned_ones_never(void **state)
{
	struct image_file *f;
	struct image_cache *c = open_cache(1000);
	struct digest a = put_bytes(c, 'a', 300), b = put_bytes(c, 'b', 300), d = put_bytes(c, 'd', 300);

	image_cache_pin(c, &b);
	assert_int_equal(image_cache_verify(c, &a, &f), 0); /* used: now d is the oldest that is not pinned */
	image_file_unref(f);
	assert_int_equal(image_cache_reserve(c, 100), 0);
	assert_int_equal(image_cache_count(c), 3);
	assert_int_equal(image_cache_reserve(c, 101), 0);
	assert_false(image_cache_has(c, &d, NULL));
	assert_true(image_cache_has(c, &a, NULL));
	assert_int_equal(image_cache_reserve(c, 700), 0);
	assert_false(image_cache_has(c, &a, NULL));
	assert_true(image_cache_has(c, &b, NULL));
	assert_int_equal(image_cache_reserve(c, 701), -ENOSPC);
	assert_true(image_cache_has(c, &b, NULL));
	image_cache_pin(c, &b);
	image_cache_unpin(c, &b);
	assert_int_equal(image_cache_reserve(c, 701), -ENOSPC); /* counted */
	image_cache_unpin(c, &b);
	assert_int_equal(image_cache_reserve(c, 1001), -ENOSPC);
	assert_true(image_cache_has(c, &b, NULL)); /* what can never fit evicts nothing */
	assert_int_equal(image_cache_reserve(c, 1000), 0);
	assert_int_equal(image_cache_count(c), 0);
	assert_int_equal(image_cache_reserve(c, UINT64_MAX), -ENOSPC);
	image_cache_close(c);
}

static void a_pin_may_come_before_its_image(void **state)
{
	struct image_cache *c = open_cache(1000);
	struct digest d = digest_of(SPAN_LIT("aaaaaaaaaa"));

	image_cache_pin(c, &d);
	assert_false(image_cache_has(c, &d, NULL));
	assert_int_equal(image_cache_count(c), 0);
	put_bytes(c, 'a', 10);
	assert_int_equal(image_cache_reserve(c, 1000), -ENOSPC);
	image_cache_unpin(c, &d);
	assert_int_equal(image_cache_reserve(c, 1000), 0);
	image_cache_close(c);
}

static void an_image_that_is_being_served_may_be_evicted_and_is_served_to_the_end(void **state)
{
	struct image_file *f;
	struct image_cache *c = open_cache(1000);
	struct digest d = put_bytes(c, 'a', 900);
	uint8_t b;

	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	assert_int_equal(image_cache_reserve(c, 1000), 0);
	assert_false(image_cache_has(c, &d, NULL));
	assert_int_equal(image_file_read(f, 899, &b, 1), 0);
	assert_int_equal(b, 'a');
	image_file_unref(f);
	image_cache_close(c);
}

static void a_smaller_quota_is_kept_at_the_next_reservation(void **state)
{
	struct image_cache *c = open_cache(1000);

	put_bytes(c, 'a', 400);
	put_bytes(c, 'b', 400);
	image_cache_set_quota(c, 500);
	assert_int_equal(image_cache_reserve(c, 50), 0);
	assert_int_equal(image_cache_bytes(c), 400);
	image_cache_close(c);
}

static void after_a_restart_the_oldest_file_goes_first(void **state)
{
	struct image_cache *c = open_cache(1000);
	struct digest a = put_bytes(c, 'a', 400), b = put_bytes(c, 'b', 400);
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };

	image_cache_close(c);
	assert_int_equal(utimensat(AT_FDCWD, path_of("images", &b), old, 0), 0);
	c = open_cache(1000);
	assert_int_equal(image_cache_reserve(c, 500), 0);
	assert_true(image_cache_has(c, &a, NULL));
	assert_false(image_cache_has(c, &b, NULL));
	image_cache_close(c);
}

struct listing { unsigned n, n_verified, pins; uint64_t bytes; struct image_cache *c; };

static void list_one(void *ctx, const struct digest *d, uint64_t bytes, unsigned pins, bool is_verified, struct wall used_at)
{
	struct listing *l = ctx;

	l->n++;
	l->n_verified += is_verified;
	l->pins += pins;
	l->bytes += bytes;
	assert_true(used_at.ms > 0);
	assert_true(image_cache_has(l->c, d, NULL)); /* calling the cache from here is fine */
}

static void the_list_tells_what_is_there(void **state)
{
	struct image_file *f;
	struct image_cache *c = open_cache(QUOTA);
	struct digest a = put_bytes(c, 'a', 100), missing = { { 1 } };
	struct listing l = { .c = c };

	put_bytes(c, 'b', 200);
	image_cache_pin(c, &a);
	image_cache_pin(c, &missing);
	assert_int_equal(image_cache_verify(c, &a, &f), 0);
	image_file_unref(f);
	image_cache_each(c, list_one, &l);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.n_verified, 1);
	assert_int_equal(l.pins, 1);
	assert_int_equal(l.bytes, 300);
	image_cache_close(c);
}

static void more_images_than_may_stay_open_are_all_served(void **state)
{
	enum { N = 300 };
	struct digest d[N];
	struct image_file *f;
	struct image_cache *c = open_cache(QUOTA);

	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(image_cache_put(c, SPAN(&i, sizeof(i)), &d[i]), 0);
		assert_int_equal(image_cache_verify(c, &d[i], &f), 0);
		image_file_unref(f);
	}
	for (unsigned i = 0; i < N; i++) {
		unsigned back;
		assert_int_equal(image_cache_get(c, &d[i], &f), 0);
		assert_int_equal(image_file_read(f, 0, (uint8_t *)&back, sizeof(back)), 0);
		assert_int_equal(back, i);
		image_file_unref(f);
	}
	image_cache_close(c);
}

static void the_start_sweeps_temporary_files_and_leaves_foreign_ones(void **state)
{
	struct image_cache *c = open_cache(QUOTA);

	image_cache_close(c);
	assert_int_equal(file_write_durable(AT_FDCWD, in_scratch("state/x"), SPAN_LIT("x")), 0);
	assert_int_equal(rename(in_scratch("state/x"), in_scratch("state/images/.tmp-00")), 0);
	assert_int_equal(file_write_durable(AT_FDCWD, in_scratch("state/x"), SPAN_LIT("x")), 0);
	assert_int_equal(rename(in_scratch("state/x"), in_scratch("state/images/notes.txt")), 0);
	assert_int_equal(mkdir(in_scratch("state/images/0000000000000000000000000000000000000000000000000000000000000000"), 0700), 0);
	c = open_cache(QUOTA);
	assert_int_equal(image_cache_count(c), 0);
	assert_int_equal(access(in_scratch("state/images/.tmp-00"), F_OK), -1);
	assert_int_equal(access(in_scratch("state/images/notes.txt"), F_OK), 0);
	image_cache_close(c);
}

/* --- downloads --- */

static void a_download_resumes_where_it_was_and_is_committed_once(void **state)
{
	struct image_partial *p, *q;
	struct image_file *f;
	struct digest d = digest_of(SPAN_LIT("hello world"));
	uint64_t from;
	struct image_cache *c = open_cache(QUOTA);

	assert_int_equal(image_partial_open(c, &d, 11, &p, &from), 0);
	assert_int_equal(from, 0);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("hello")), 0);
	assert_int_equal(image_partial_open(c, &d, 11, &q, &from), -EBUSY);
	image_partial_close(p);
	image_cache_close(c);
	c = open_cache(QUOTA);
	assert_int_equal(image_partial_open(c, &d, 11, &p, &from), 0);
	assert_int_equal(from, 5);
	assert_int_equal(image_partial_write(p, 7, SPAN_LIT("x")), -EINVAL); /* a hole */
	assert_int_equal(image_partial_write(p, 5, SPAN_LIT(" world!")), -EFBIG);
	assert_int_equal(image_partial_write(p, 4, SPAN_LIT("o world")), 0); /* overlap is fine */
	assert_int_equal(image_partial_write(p, 11, SPAN_NONE), 0);
	assert_int_equal(image_partial_write(p, 11, SPAN_LIT("!")), -EFBIG);
	assert_int_equal(image_partial_write(p, UINT64_MAX, SPAN_LIT("!")), -EINVAL);
	assert_false(image_cache_has(c, &d, NULL));
	assert_int_equal(image_partial_commit(p), 0);
	assert_int_equal(image_partial_commit(p), -EALREADY);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("j")), -EINVAL);
	image_partial_close(p);
	assert_true(image_cache_has(c, &d, NULL));
	assert_int_equal(access(path_of("partial", &d), F_OK), -1);
	assert_int_equal(image_cache_verify(c, &d, &f), 0);
	image_file_unref(f);
	image_cache_close(c);
}

/* SU-19: a wrong digest or size is never cached */
static void a_download_with_other_content_or_size_is_removed(void **state)
{
	static const char *const bodies[] = { "hello worlD", "hello worl", "", "jello world" };
	struct digest d = digest_of(SPAN_LIT("hello world"));
	struct image_partial *p;
	uint64_t from;
	struct image_cache *c = open_cache(QUOTA);

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		assert_int_equal(image_partial_open(c, &d, 11, &p, &from), 0);
		assert_int_equal(from, 0);
		assert_int_equal(image_partial_write(p, 0, span_str(bodies[i])), 0);
		assert_int_equal(image_partial_commit(p), -EBADMSG);
		image_partial_close(p);
		assert_false(image_cache_has(c, &d, NULL));
		assert_int_equal(access(path_of("partial", &d), F_OK), -1);
		assert_int_equal(access(path_of("images", &d), F_OK), -1);
	}
	/* the right bytes, but the manifest said another size */
	assert_int_equal(image_partial_open(c, &d, 12, &p, &from), 0);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("hello world")), 0);
	assert_int_equal(image_partial_commit(p), -EBADMSG);
	image_partial_close(p);
	image_cache_close(c);
}

static void a_download_longer_than_promised_starts_again(void **state)
{
	struct digest d = digest_of(SPAN_LIT("hello world"));
	struct image_partial *p;
	uint64_t from;
	struct image_cache *c = open_cache(QUOTA);

	assert_int_equal(image_partial_open(c, &d, 100, &p, &from), 0);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("hello world and more")), 0);
	image_partial_close(p);
	assert_int_equal(image_partial_open(c, &d, 11, &p, &from), 0);
	assert_int_equal(from, 0);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("hello")), 0);
	assert_int_equal(image_partial_reset(p), 0);
	assert_int_equal(image_partial_write(p, 5, SPAN_LIT(" ")), -EINVAL);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("hello world")), 0);
	assert_int_equal(image_partial_commit(p), 0);
	image_partial_close(p);
	image_cache_close(c);
}

static void open_downloads_count_in_full_and_closed_ones_make_room_last(void **state)
{
	struct digest d = { { 1 } }, e = { { 2 } };
	struct image_partial *p, *q;
	uint64_t from;
	struct image_cache *c = open_cache(1000);

	put_bytes(c, 'a', 100);
	assert_int_equal(image_partial_open(c, &d, 600, &p, &from), 0);
	assert_int_equal(image_cache_reserve(c, 400), 0); /* the image went */
	assert_int_equal(image_cache_count(c), 0);
	assert_int_equal(image_cache_reserve(c, 401), -ENOSPC);
	assert_int_equal(image_partial_open(c, &e, 300, &q, &from), 0);
	assert_int_equal(image_partial_write(q, 0, SPAN("0123456789", 10)), 0);
	image_partial_close(q); /* closed: counts what it has, and may go */
	assert_int_equal(image_cache_reserve(c, 390), 0);
	assert_int_equal(access(path_of("partial", &e), F_OK), 0);
	assert_int_equal(image_cache_reserve(c, 391), 0);
	assert_int_equal(access(path_of("partial", &e), F_OK), -1);
	image_partial_close(p);
	image_cache_close(c);
}

static void a_download_left_alone_for_weeks_is_dropped(void **state)
{
	struct digest d = { { 1 } };
	struct timespec old[2] = { { .tv_sec = time(NULL) - 15 * 86400 }, { .tv_sec = time(NULL) - 15 * 86400 } };
	struct image_partial *p;
	uint64_t from;
	struct image_cache *c = open_cache(QUOTA);

	assert_int_equal(image_partial_open(c, &d, 600, &p, &from), 0);
	assert_int_equal(image_partial_write(p, 0, SPAN_LIT("x")), 0);
	image_partial_close(p);
	image_cache_close(c);
	assert_int_equal(utimensat(AT_FDCWD, path_of("partial", &d), old, 0), 0);
	c = open_cache(QUOTA);
	assert_int_equal(access(path_of("partial", &d), F_OK), -1);
	image_cache_close(c);
}

/* --- kill -9 --- */

enum { BODY_BYTES = 64 * 1024, KILL_ROUNDS = 40 };

/* No two seeds have the same: a child that finds all it would fetch has nothing to commit. */
static void body_make(uint8_t *body, unsigned seed)
{
	for (size_t i = 0; i < BODY_BYTES; i++)
		body[i] = (uint8_t)(seed * 31 + i * i / 7);
	memcpy(body, &seed, sizeof(seed));
}

/* Downloads bodies one after the other, from where it stands; tells each committed one through fd 3. */
static void download_child(void)
{
	static uint8_t body[BODY_BYTES];
	struct image_cache *c;

	if (image_cache_open(in_scratch("state"), UINT64_MAX, &c) < 0)
		_exit(2);
	for (unsigned seed = 0;; seed++) {
		struct image_partial *p;
		uint64_t from;
		body_make(body, seed);
		struct digest d = digest_of(SPAN_OF(body));
		if (image_cache_has(c, &d, NULL))
			continue;
		if (image_partial_open(c, &d, BODY_BYTES, &p, &from) < 0 || from > BODY_BYTES)
			_exit(3);
		for (; from < BODY_BYTES; from += 4096 - from % 4096)
			if (image_partial_write(p, from, span_sub(SPAN_OF(body), from, 4096 - from % 4096)) < 0)
				_exit(4);
		if (image_partial_commit(p) < 0)
			_exit(5);
		image_partial_close(p);
		if (write(3, &seed, sizeof(seed)) != sizeof(seed))
			_exit(6);
	}
}

static void committed_images_survive_kill_9_and_downloads_resume(void **state)
{
	static uint8_t body[BODY_BYTES];
	unsigned seed = 0, last = 0, n_committed = 0;

	for (unsigned round = 0; round < KILL_ROUNDS; round++) {
		int fds[2], status;
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fds[0]);
			if (fds[1] != 3 && dup2(fds[1], 3) < 0)
				_exit(7);
			download_child();
		}
		close(fds[1]);
		for (uint64_t i = random_below(4); i && read(fds[0], &seed, sizeof(seed)) == sizeof(seed); i--, n_committed++)
			last = seed;
		for (uint64_t i = random_below(200); i; i--)
			sched_yield(); /* somewhere within the next one */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		for (; read(fds[0], &seed, sizeof(seed)) == sizeof(seed); n_committed++)
			last = seed;
		close(fds[0]);
	}
	assert_true(n_committed > 0);
	struct image_cache *c = open_cache(UINT64_MAX);
	for (seed = 0; seed <= last; seed++) {
		struct image_file *f;
		body_make(body, seed);
		struct digest d = digest_of(SPAN_OF(body));
		assert_int_equal(image_cache_verify(c, &d, &f), 0);
		image_file_unref(f);
	}
	image_cache_close(c);
}

/* --- threads --- */

struct shared { struct image_cache *c; struct digest d[4]; };

static void *verify_many(void *arg)
{
	struct shared *s = arg;
	struct image_file *f;
	uint8_t b;

	for (unsigned i = 0; i < 200; i++) {
		const struct digest *d = &s->d[i % 4];
		if (image_cache_verify(s->c, d, &f) < 0 || image_file_read(f, 1, &b, 1) < 0)
			return arg;
		image_file_unref(f);
		if (i % 50 == 0 && image_cache_put(s->c, SPAN(&i, sizeof(i)), NULL) < 0)
			return arg;
	}
	return NULL;
}

static void workers_verify_and_put_beside_the_loop(void **state)
{
	struct shared s = { .c = open_cache(QUOTA) };
	pthread_t t[2];
	void *bad[2];
	uint8_t b;

	for (unsigned i = 0; i < 4; i++)
		s.d[i] = put_bytes(s.c, (uint8_t)i, 10000);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, verify_many, &s), 0);
	for (unsigned i = 0; i < 2000; i++) {
		struct image_file *f;
		image_cache_pin(s.c, &s.d[i % 4]);
		if (image_cache_get(s.c, &s.d[i % 4], &f) == 0) {
			assert_int_equal(image_file_read(f, 0, &b, 1), 0);
			assert_int_equal(b, i % 4);
			image_file_unref(f);
		}
		assert_int_equal(image_cache_reserve(s.c, 1000), 0);
		image_cache_unpin(s.c, &s.d[i % 4]);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(t[i], &bad[i]), 0);
		assert_null(bad[i]);
	}
	image_cache_close(s.c);
}

/* --- no space --- */

static int child_on_small_tmpfs(void)
{
	static uint8_t body[600 * 1024];
	struct image_cache *c;
	struct image_partial *p;
	struct image_file *f;
	struct digest d, big;
	uint64_t from;

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 || mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", scratch, "tmpfs", 0, "size=1m") < 0)
		return 77;
	if (image_cache_open(in_scratch("state"), 100 << 20, &c) < 0 || image_cache_put(c, SPAN_OF(body), &d) < 0)
		return 10;
	body[0] = 1;
	big = digest_of(SPAN_OF(body));
	if (image_cache_put(c, SPAN_OF(body), NULL) != -ENOSPC || image_partial_open(c, &big, sizeof(body), &p, &from) < 0 ||
	    image_partial_write(p, 0, SPAN_OF(body)) != -ENOSPC)
		return 11;
	image_partial_close(p);
	if (image_cache_verify(c, &d, &f) < 0) /* what is there is served all the same */
		return 12;
	image_file_unref(f);
	/* the disk is smaller than the quota: room is made all the same */
	if (image_cache_reserve(c, sizeof(body)) < 0 || image_cache_has(c, &d, NULL) || image_cache_put(c, SPAN_OF(body), &d) < 0)
		return 13;
	image_cache_pin(c, &d);
	if (image_cache_reserve(c, sizeof(body)) != -ENOSPC)
		return 14;
	if (mount("none", scratch, "", MS_REMOUNT | MS_RDONLY, NULL) == 0) {
		if (image_cache_put(c, SPAN_LIT("x"), NULL) != -EROFS || image_partial_open(c, &(struct digest){ { 9 } }, 1, &p, &from) != -EROFS ||
		    image_cache_verify(c, &d, &f) < 0)
			return 15;
		image_file_unref(f);
		image_cache_unpin(c, &d);
		if (image_cache_remove(c, &d) != -EROFS || image_cache_reserve(c, sizeof(body)) != -ENOSPC || !image_cache_has(c, &d, NULL))
			return 16;
		if (mount("none", scratch, "", MS_REMOUNT, NULL) < 0 || image_partial_open(c, &(struct digest){ { 9 } }, 1, &p, &from) < 0)
			return 17;
		image_partial_close(p);
	}
	image_cache_close(c);
	return 0;
}

static void a_full_or_read_only_disk_is_an_error_and_no_more(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(child_on_small_tmpfs());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_is_served_after_verification_and_after_reopening),
		TEST(files_are_for_their_owner_only_and_not_for_writing),
		TEST(an_empty_image_is_an_image),
		TEST(what_is_not_there_is_enoent),
		TEST(a_file_that_is_not_its_name_is_dropped_at_every_place),
		TEST(a_file_changed_after_verification_is_noticed_before_it_is_served_again),
		TEST(the_longest_unused_goes_first_and_pinned_ones_never),
		TEST(a_pin_may_come_before_its_image),
		TEST(an_image_that_is_being_served_may_be_evicted_and_is_served_to_the_end),
		TEST(a_smaller_quota_is_kept_at_the_next_reservation),
		TEST(after_a_restart_the_oldest_file_goes_first),
		TEST(the_list_tells_what_is_there),
		TEST(more_images_than_may_stay_open_are_all_served),
		TEST(the_start_sweeps_temporary_files_and_leaves_foreign_ones),
		TEST(a_download_resumes_where_it_was_and_is_committed_once),
		TEST(a_download_with_other_content_or_size_is_removed),
		TEST(a_download_longer_than_promised_starts_again),
		TEST(open_downloads_count_in_full_and_closed_ones_make_room_last),
		TEST(a_download_left_alone_for_weeks_is_dropped),
		TEST(committed_images_survive_kill_9_and_downloads_resume),
		TEST(workers_verify_and_put_beside_the_loop),
		TEST(a_full_or_read_only_disk_is_an_error_and_no_more),
	};

	return cmocka_run_group_tests_name("store/image_cache", tests, NULL, NULL);
}
