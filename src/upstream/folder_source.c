/* The `folder` source: a drop folder for sites without a network (inotify, and a slow look for file systems
 * that do not tell). Every *.suit or *.cbor file is an envelope; payloads are files beside it, named by the
 * last segment of their URI. Whoever drops files there moves them in when complete, payloads first. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <uthash.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "upstream/source.h"

enum { LOOK_MS = 200, FILES_MAX = 4096, PIECE_BYTES = 128 * 1024, FILE_NAME_BYTES = 256 };

struct file {                                  /* an envelope as it lies there */
	char name[FILE_NAME_BYTES];
	uint64_t ino, size;
	int64_t mtime_ns;
};

struct seen {                                  /* as it was when it was handed over */
	struct file file;
	unsigned look;                         /* the last look that found it */
	UT_hash_handle hh;
};

struct folder_source {
	struct source s;
	int dirfd, inotify_fd;
	struct loop_io *io;
	struct loop_timer *timer;              /* coalesces a burst of changes; also the slow look */
	struct seen *seen;
	unsigned look;
	struct listing *list;                  /* what the last look found, handed over one by one; or being made */
	size_t at;
	bool is_listing, look_again, has_failed;
	struct reading *reading;               /* under way; NULL = none */
};

static bool is_envelope_name(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n < FILE_NAME_BYTES &&
	       ((n > 5 && strcmp(name + n - 5, ".suit") == 0) || (n > 5 && strcmp(name + n - 5, ".cbor") == 0));
}

static struct seen *seen_find(const struct folder_source *f, const char *name)
{
	struct seen *e;

	HASH_FIND(hh, f->seen, name, strlen(name), e);
	return e;
}

static bool file_is_new(const struct folder_source *f, const struct file *file)
{
	struct seen *e = seen_find(f, file->name);

	if (e)
		e->look = f->look;
	return !e || e->file.ino != file->ino || e->file.size != file->size || e->file.mtime_ns != file->mtime_ns;
}

static void seen_put(struct folder_source *f, const struct file *file)
{
	struct seen *e = seen_find(f, file->name);

	if (!e) {
		e = NEW(struct seen);
		e->file = *file;
		HASH_ADD_KEYPTR(hh, f->seen, e->file.name, strlen(e->file.name), e);
	}
	e->file = *file;
	e->look = f->look;
}

static void seen_drop(struct folder_source *f, struct seen *e)
{
	HASH_DEL(f->seen, e);
	free(e);
}

struct reading {                               /* one envelope file, read on a worker */
	char name[FILE_NAME_BYTES], path[600];
	int dirfd;                             /* own */
	size_t max;
	struct file file;
	uint8_t *bytes;
	size_t n;
	int error;
	struct folder_source *folder;          /* NULL once the source was stopped */
};

static void next_file(struct folder_source *f);

static void reading_work(void *arg)
{
	struct reading *r = arg;

	r->error = file_read(r->dirfd, r->name, r->max, &r->bytes, &r->n);
}

static void reading_done(void *arg)
{
	struct reading *r = arg;
	struct folder_source *f = r->folder;

	if (f) {
		struct seen *e = seen_find(f, r->name);
		f->reading = NULL;
		f->s.status.polled_at = wall_now();
		if (r->error < 0 && e)
			seen_drop(f, e); /* tried again at the next look */
		f->has_failed |= r->error < 0;
		if (r->error < 0)
			source_failed(&f->s, "%s: %s", r->name, r->error == -EFBIG ? "larger than cache.envelope_max" : strerror(-r->error));
		else
			source_found(&f->s, r->path, SPAN(r->bytes, r->n), &f->s.memory);
		next_file(f);
	}
	free(r->bytes);
	close(r->dirfd);
	free(r);
}

static bool read_file(struct folder_source *f, const struct file *file)
{
	struct reading *r = NEW(struct reading);

	r->folder = f;
	r->error = -ECANCELED;                 /* unless a worker gets to it */
	r->max = source_config(&f->s)->envelope_bytes_max;
	(void)text_copy(r->name, sizeof(r->name), span_str(file->name)); /* same size */
	(void)snprintf(r->path, sizeof(r->path), "file://%.300s/%.255s", f->s.row.path, file->name);
	r->dirfd = fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3);
	if (r->dirfd < 0 || worker_submit(source_config(&f->s)->workers, reading_work, reading_done, r) < 0) {
		if (r->dirfd >= 0)
			close(r->dirfd);
		free(r);
		return false;
	}
	f->reading = r;
	seen_put(f, file);
	return true;
}

static void seen_clear(struct folder_source *f)
{
	struct seen *e, *tmp;

	HASH_ITER(hh, f->seen, e, tmp)
		seen_drop(f, e);
}

/* ---- looking: the folder is listed on a worker; a network file system may take its time ---- */

struct listing {
	struct folder_source *folder;          /* NULL once the source was stopped */
	int dirfd, error;                      /* own */
	struct file *files;
	size_t n;
	bool is_cut;                           /* there are more than FILES_MAX */
};

static struct listing *listing_free(struct listing *l)
{
	if (l) {
		if (l->dirfd >= 0)
			close(l->dirfd);
		free(l->files);
		free(l);
	}
	return NULL;
}

static void listing_add(struct listing *l, int fd, const char *name)
{
	struct stat st;

	if (!is_envelope_name(name) || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	l->is_cut = l->n == FILES_MAX;
	if (l->is_cut)
		return;
	if ((l->n & (l->n - 1)) == 0)
		l->files = mem_resize(l->files, l->n ? l->n * 2 : 1, sizeof(*l->files));
	struct file *f = &l->files[l->n++];
	*f = (struct file){ .ino = st.st_ino, .size = (uint64_t)st.st_size,
			    .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
	(void)text_copy(f->name, sizeof(f->name), span_str(name)); /* checked by is_envelope_name */
}

static void listing_work(void *arg)
{
	struct listing *l = arg;
	struct dirent *de;
	int fd = openat(l->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	l->error = d ? 0 : -errno;
	if (!d && fd >= 0)
		close(fd);
	while (d && !l->is_cut && (de = readdir(d)))
		listing_add(l, fd, de->d_name);
	if (d)
		closedir(d);
}

/* The look is over: the next is due in a while, or at once when something changed meanwhile. */
static void look_end(struct folder_source *f)
{
	int64_t in_ms = f->look_again ? LOOK_MS : (int64_t)f->s.row.poll_s * 1000;

	f->list = listing_free(f->list);
	f->look_again = false;
	if (!f->has_failed)
		source_ok(&f->s);
	f->s.status.next_poll_at = wall_add_ms(wall_now(), in_ms);
	loop_timer_set(f->timer, in_ms);
}

/* Hand over the next file that is new; its end comes back here. */
static void next_file(struct folder_source *f)
{
	while (f->at < f->list->n) {
		const struct file *file = &f->list->files[f->at++];
		if (!file_is_new(f, file))
			continue;
		if (read_file(f, file))
			return;
		f->look_again = true; /* the workers are busy */
	}
	look_end(f);
}

static void listing_done(void *arg)
{
	struct listing *l = arg;
	struct folder_source *f = l->folder;
	struct seen *e, *tmp;

	if (!f) {
		listing_free(l);
		return;
	}
	f->is_listing = false;
	f->at = 0;
	f->has_failed = l->error < 0 || l->is_cut;
	if (l->error < 0)
		source_failed(&f->s, "%s: %s", f->s.row.path, strerror(-l->error));
	else if (l->is_cut)
		source_failed(&f->s, "%s: more than %d envelopes; remove old ones", f->s.row.path, FILES_MAX);
	f->look++;
	for (size_t i = 0; i < l->n; i++)
		(void)file_is_new(f, &l->files[i]); /* marks what is still there */
	HASH_ITER(hh, f->seen, e, tmp)
		if (l->error == 0 && e->look != f->look)
			seen_drop(f, e);
	next_file(f);
}

static void on_look(void *ctx)
{
	struct folder_source *f = ctx;

	if (f->list) {
		f->look_again = true;
		return;
	}
	struct listing *l = NEW(struct listing);
	l->folder = f;
	l->error = -ECANCELED;
	l->dirfd = fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3);
	if (l->dirfd < 0 || worker_submit(source_config(&f->s)->workers, listing_work, listing_done, l) < 0) {
		listing_free(l);
		loop_timer_set(f->timer, LOOK_MS);
		return;
	}
	f->list = l;
	f->is_listing = true;
}

static void on_inotify(void *ctx, int fd, unsigned what)
{
	struct folder_source *f = ctx;
	char events[4096];

	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		; /* what changed does not matter: look */
	loop_timer_set(f->timer, LOOK_MS);
}

static void folder_source_poll(struct source *s)
{
	struct folder_source *f = (struct folder_source *)s;

	if (f->dirfd < 0 && f->s.ops->start(s) < 0)
		return;
	loop_timer_set(f->timer, 0);
}

static void folder_close(struct folder_source *f)
{
	if (f->io)
		f->io = loop_io_free(f->io);
	if (f->inotify_fd >= 0)
		close(f->inotify_fd);
	if (f->dirfd >= 0)
		close(f->dirfd);
	f->inotify_fd = f->dirfd = -1;
}

static void folder_source_forget(struct source *s)
{
	seen_clear((struct folder_source *)s);
}

static void on_timer(void *ctx)
{
	struct folder_source *f = ctx;

	struct stat st;

	if (f->dirfd >= 0 && fstat(f->dirfd, &st) == 0 && st.st_nlink == 0)
		folder_close(f); /* removed; there may be another one in its place */
	if (f->dirfd < 0)
		folder_source_poll(&f->s);
	else
		on_look(f);
}

static int folder_source_start(struct source *s)
{
	struct folder_source *f = (struct folder_source *)s;

	if (!f->timer) {
		f->dirfd = f->inotify_fd = -1;
		f->timer = loop_timer_new(source_config(s)->loop, on_timer, f);
	}
	loop_timer_set(f->timer, (int64_t)s->row.poll_s * 1000);
	f->dirfd = open(s->row.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dirfd < 0) {
		int err = errno;
		source_failed(s, "%s: %s; create the folder and make it readable for the daemon", s->row.path, strerror(err));
		return -err;
	}
	f->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->inotify_fd >= 0 && inotify_add_watch(f->inotify_fd, s->row.path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) >= 0)
		f->io = loop_io_new(source_config(s)->loop, f->inotify_fd, LOOP_READ, on_inotify, f);
	loop_timer_set(f->timer, 0);
	return 0;
}

static void folder_source_stop(struct source *s)
{
	struct folder_source *f = (struct folder_source *)s;

	if (f->reading)
		f->reading->folder = NULL;
	if (f->is_listing)
		f->list->folder = NULL; /* its worker ends it */
	else
		f->list = listing_free(f->list);
	loop_timer_free(f->timer);
	folder_close(f);
	seen_clear(f);
}

/* ---- payloads: read in pieces on a worker, handed over on the loop ---- */

struct folder_payload {
	struct upstream_payload *p;            /* NULL once cancelled */
	struct worker_pool *workers;
	int fd;
	uint64_t off;
	ssize_t got;
	int error;
	uint8_t piece[PIECE_BYTES];
};

static void piece_work(void *arg)
{
	struct folder_payload *fp = arg;

	fp->got = pread(fp->fd, fp->piece, sizeof(fp->piece), (off_t)fp->off);
	fp->error = fp->got < 0 ? -errno : 0;
}

static void payload_end(struct folder_payload *fp, int error)
{
	struct upstream_payload *p = fp->p;

	close(fp->fd);
	free(fp);
	if (p)
		source_payload_end(p, error, error ? strerror(-error) : NULL);
}

static void piece_done(void *arg)
{
	struct folder_payload *fp = arg;

	if (!fp->p || fp->error < 0 || fp->got == 0) {
		payload_end(fp, fp->error);
		return;
	}
	int r = fp->p->req.piece(fp->p->req.ctx, fp->off, SPAN(fp->piece, fp->got));
	fp->off += (uint64_t)fp->got;
	if (r >= 0)
		r = worker_submit(fp->workers, piece_work, piece_done, fp);
	if (r < 0)
		payload_end(fp, r);
}

/* The file beside the envelope: the last segment of the URI, and nothing that leaves the folder. */
static int payload_name(const char *uri, char ret[static FILE_NAME_BYTES])
{
	struct span u = span_str(uri);

	for (size_t i = 0; i < u.n; i++)
		if (u.p[i] == '?' || u.p[i] == '#')
			u.n = i;
	for (size_t i = u.n; i > 0; i--)
		if (u.p[i - 1] == '/') {
			u = span_sub(u, i, u.n);
			break;
		}
	if (u.n == 0 || u.p[0] == '.' || !text_is_clean(u))
		return -EINVAL;
	return text_copy(ret, FILE_NAME_BYTES, u);
}

static int folder_source_payload(struct source *s, const struct upstream_payload_request *req, struct upstream_payload *p)
{
	struct folder_source *f = (struct folder_source *)s;
	char name[FILE_NAME_BYTES];
	struct stat st;

	int r = payload_name(req->uri, name);
	if (r < 0)
		return r;
	if (f->dirfd < 0)
		return -ENOENT;
	int fd = openat(f->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > req->max_bytes) {
		close(fd);
		return -EFBIG;
	}
	struct folder_payload *fp = NEW(struct folder_payload);
	fp->p = p;
	fp->workers = source_config(s)->workers;
	fp->fd = fd;
	fp->off = req->from;
	r = worker_submit(fp->workers, piece_work, piece_done, fp);
	if (r < 0) {
		close(fd);
		free(fp);
		return r;
	}
	p->impl = fp;
	return 0;
}

static void folder_source_payload_cancel(struct upstream_payload *p)
{
	struct folder_payload *fp = p->impl;

	fp->p = NULL; /* its worker ends it */
}

const struct source_ops folder_source_ops = {
	.kind = "folder", .bytes = sizeof(struct folder_source), .start = folder_source_start, .poll = folder_source_poll, .forget = folder_source_forget,
	.stop = folder_source_stop, .payload = folder_source_payload, .payload_cancel = folder_source_payload_cancel,
};
