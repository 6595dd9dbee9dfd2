#include "store/audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "store/audit_key.h"
#include "store/audit_tree.h"
#include "store/db_internal.h"
#include "store/dir.h"

enum { CHECKPOINT_BYTES_MAX = 4096, ORIGIN_BYTES_MAX = 256 };

struct audit_log {
	struct db *db;
	int dirfd;
	char *origin;
	struct audit_key *key;
	uint64_t signed_size;
	struct buf checkpoint;                 /* the last one signed; of signed_size */
};

static int run_append(struct sql_conn *c, const struct sql_value *v, size_t n)
{
	return audit_tree_append(c, v[0].s, v[1].s);
}

static const struct db_op append = { .run = run_append };

/* --- the head as last signed, on disk --- */

/* Of our own file: origin, size, root. Its signature is not looked at: who can change it can change the key beside it. */
static int read_head(int dirfd, uint64_t *ret_size, struct digest *ret_root)
{
	_cleanup_free_ uint8_t *text = NULL;
	_cleanup_buf_ struct buf root = { 0 };
	size_t n;
	int r = file_read(dirfd, "audit.checkpoint", CHECKPOINT_BYTES_MAX, &text, &n);

	if (r < 0)
		return r;
	struct span line[3], rest = SPAN(text, n);
	for (size_t i = 0; i < 3; i++) {
		const uint8_t *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
		if (!end)
			return -EBADMSG;
		line[i] = SPAN(rest.p, (size_t)(end - rest.p));
		rest = span_sub(rest, line[i].n + 1, rest.n);
	}
	r = text_parse_u64(line[1], MERKLE_SIZE_MAX, ret_size, 0);
	if (r == 0)
		r = text_parse_base64(line[2], &root);
	if (r < 0 || root.n != DIGEST_BYTES)
		return -EBADMSG;
	memcpy(ret_root->b, root.p, DIGEST_BYTES);
	return 0;
}

/* Does the stored tree continue the last head that was signed? -EBADMSG: no. */
static int check_head(struct sql_conn *c, int dirfd)
{
	struct digest want, have;
	uint64_t signed_size, size;
	int r = read_head(dirfd, &signed_size, &want);

	if (r < 0)
		return 0; /* none, or one cut short by a power failure: nothing to compare with */
	r = audit_tree_size(c, &size);
	if (r < 0)
		return r;
	if (signed_size > size)
		return -EBADMSG;
	r = audit_tree_root(c, signed_size, &have);
	return r < 0 ? r : digest_eq(&want, &have) ? 0 : -EBADMSG;
}

/* --- open and close --- */

/* Signed-note key names: no spaces, no plus; and one line. */
static bool origin_is_valid(struct span s)
{
	if (!s.n || s.n > ORIGIN_BYTES_MAX || !text_is_clean(s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == ' ' || s.p[i] == '+')
			return false;
	return true;
}

static int open_key(struct audit_log *log)
{
	int r = check_head(db_reader(log->db), log->dirfd);

	if (r == -EBADMSG) {
		/* The database is another one than we signed for. One key must never sign two histories. */
		log_event(EV_AUDIT_FAILED, LOG_CRIT,
			  "the audit log does not continue the head that was signed last; a new log with a new key begins");
		r = audit_key_retire(log->dirfd);
	}
	return r < 0 ? r : audit_key_open(log->dirfd, log->origin, &log->key);
}

int audit_log_open(struct db *db, const char *state_dir, const char *origin, struct audit_log **ret)
{
	if (!origin_is_valid(span_str(origin)))
		return -EINVAL;
	struct audit_log *log = NEW(struct audit_log);
	*log = (struct audit_log){ .db = db, .dirfd = -1, .origin = mem_strdup(origin) };
	int r = dir_make(AT_FDCWD, state_dir, &log->dirfd);
	if (r == 0)
		r = open_key(log);
	if (r < 0) {
		audit_log_close(log);
		return r;
	}
	*ret = log;
	return 0;
}

struct audit_log *audit_log_close(struct audit_log *log)
{
	if (!log)
		return NULL;
	audit_key_close(log->key);
	buf_done(&log->checkpoint);
	closep(&log->dirfd);
	free(log->origin);
	free(log);
	return NULL;
}

const char *audit_log_public_key(const struct audit_log *log)
{
	return audit_key_public(log->key);
}

/* --- writing --- */

static void add_json_string(struct buf *b, struct span s)
{
	bool is_utf8 = text_is_utf8(s);

	buf_add_u8(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '"' || c == '\\')
			buf_printf(b, "\\%c", c);
		else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !is_utf8))
			buf_printf(b, "\\u%04x", c);
		else
			buf_add_u8(b, c);
	}
	buf_add_u8(b, '"');
}

/* One line: a line feed in JSON can only stand between tokens, where a space is as good. */
static void add_json_line(struct buf *b, struct span json)
{
	for (size_t i = 0; i < json.n; i++)
		buf_add_u8(b, json.p[i] == '\n' || json.p[i] == '\r' ? ' ' : json.p[i]);
}

void audit_log_append(struct audit_log *log, struct wall at, const char *kind, const char *subject, struct span json_object,
		      db_done_fn *done, void *ctx)
{
	_cleanup_buf_ struct buf entry = { .max = AUDIT_ENTRY_BYTES_MAX };
	char when[WALL_TEXT_BYTES];

	buf_printf(&entry, "{\"at\":\"%s\",\"kind\":", wall_text(at, when));
	add_json_string(&entry, span_str(kind));
	buf_add_str(&entry, ",\"subject\":");
	add_json_string(&entry, span_str(subject));
	if (json_object.n) {
		buf_add_str(&entry, ",\"data\":");
		add_json_line(&entry, json_object);
	}
	buf_add_u8(&entry, '}');
	if (buf_ok(&entry)) {
		DB_WRITE(log->db, &append, done, ctx, sql_text(subject), sql_blob(buf_span(&entry)));
		return;
	}
	log_event(EV_AUDIT_FAILED, LOG_ERR, "an audit entry of kind %s is over %d bytes and is left out", kind, AUDIT_ENTRY_BYTES_MAX);
	db_submit_error(log->db, -EMSGSIZE, done, ctx);
}

/* --- reading --- */

uint64_t audit_log_size(const struct audit_log *log)
{
	uint64_t n;

	return audit_tree_size(db_reader(log->db), &n) < 0 ? 0 : n;
}

struct reading {
	int (*fn)(void *ctx, uint64_t index, struct span entry);
	void *ctx;
};

static int read_row(void *ctx, sqlite3_stmt *row)
{
	const struct reading *k = ctx;

	return k->fn(k->ctx, (uint64_t)sqlite3_column_int64(row, 0), sql_column_blob(row, 1));
}

static int64_t clip(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

int audit_log_read(struct audit_log *log, uint64_t from, size_t max, int (*fn)(void *ctx, uint64_t index, struct span entry), void *ctx)
{
	const struct sql_value v[] = { sql_int(clip(from)), sql_int(clip(max)) };
	struct reading k = { fn, ctx };

	return sql_query(db_reader(log->db), "SELECT idx, entry FROM audit_entry WHERE idx >= ?1 ORDER BY idx LIMIT ?2", v, 2, read_row, &k);
}

int audit_log_find(struct audit_log *log, const char *subject, size_t max, int (*fn)(void *ctx, uint64_t index, struct span entry), void *ctx)
{
	const struct sql_value v[] = { sql_text(subject), sql_int(clip(max)) };
	struct reading k = { fn, ctx };

	return sql_query(db_reader(log->db),
			 "SELECT idx, entry FROM (SELECT idx, entry FROM audit_entry WHERE subject = ?1 ORDER BY idx DESC LIMIT ?2) ORDER BY idx",
			 v, 2, read_row, &k);
}

/* --- proving --- */

/* What was signed is remembered on disk before it leaves, so that a database put back to an older state is noticed. Not
 * synced: after a power failure an older head, or none, is compared. */
static int remember(const struct audit_log *log, struct span note)
{
	_cleanup_(tmpfile_discard) struct tmpfile tmp = { .fd = -1 };
	int r = tmpfile_create(&tmp, log->dirfd);

	if (r == 0)
		r = tmpfile_write(&tmp, note);
	if (r == 0 && renameat(log->dirfd, tmp.name, log->dirfd, "audit.checkpoint") < 0)
		r = -errno;
	if (r == 0)
		tmp.name[0] = 0; /* it has moved: discard only closes */
	return r;
}

static int sign_size(struct audit_log *log, uint64_t size)
{
	_cleanup_buf_ struct buf note = { .max = CHECKPOINT_BYTES_MAX };
	struct digest root;
	int r;

	if (log->checkpoint.n && log->signed_size == size)
		return 0;
	r = audit_tree_root(db_reader(log->db), size, &root);
	if (r < 0)
		return r;
	buf_printf(&note, "%s\n%llu\n", log->origin, (unsigned long long)size);
	text_add_base64(&note, SPAN_OF(root.b));
	buf_add_u8(&note, '\n');
	r = audit_key_sign(log->key, &note);
	if (r == 0)
		r = remember(log, buf_span(&note));
	if (r < 0)
		return r;
	buf_clear(&log->checkpoint);
	buf_add(&log->checkpoint, buf_span(&note));
	log->signed_size = size;
	return buf_ok(&log->checkpoint) ? 0 : -ENOMEM;
}

int audit_log_checkpoint(struct audit_log *log, struct buf *ret)
{
	uint64_t size;
	int r = audit_tree_size(db_reader(log->db), &size);

	if (r == 0)
		r = sign_size(log, size);
	if (r == 0)
		buf_add(ret, buf_span(&log->checkpoint));
	return r;
}

static int add_entry_line(void *ctx, uint64_t index, struct span entry)
{
	buf_add_str(ctx, "extra ");
	text_add_base64(ctx, entry);
	buf_add_u8(ctx, '\n');
	return 1;
}

int audit_log_prove(struct audit_log *log, uint64_t index, struct buf *ret)
{
	struct digest path[MERKLE_PATH_MAX];
	uint64_t size;
	size_t n;
	int r = audit_tree_size(db_reader(log->db), &size);

	if (r < 0)
		return r;
	if (index >= size)
		return -ENOENT;
	r = audit_tree_inclusion(db_reader(log->db), index, size, path, &n);
	if (r == 0)
		r = sign_size(log, size);
	if (r < 0)
		return r;
	buf_add_str(ret, "c2sp.org/tlog-proof@v1\n");
	r = audit_log_read(log, index, 1, add_entry_line, ret);
	if (r < 0)
		return r;
	buf_printf(ret, "index %llu\n", (unsigned long long)index);
	for (size_t i = 0; i < n; i++) {
		text_add_base64(ret, SPAN_OF(path[i].b));
		buf_add_u8(ret, '\n');
	}
	buf_add_u8(ret, '\n');
	buf_add(ret, buf_span(&log->checkpoint));
	return buf_ok(ret) ? 0 : -ENOMEM;
}

int audit_log_consistency(struct audit_log *log, uint64_t from, uint64_t size, struct digest ret[static AUDIT_PATH_MAX + 1], size_t *ret_n)
{
	uint64_t have;
	int r = audit_tree_size(db_reader(log->db), &have);

	if (r < 0)
		return r;
	if (from == 0 || from > size || size > have)
		return -ERANGE;
	return audit_tree_consistency(db_reader(log->db), from, size, ret, ret_n);
}

/* --- checking all of it --- */

int audit_log_check(const char *state_dir, uint64_t *ret_bad_index, uint64_t *ret_size)
{
	_cleanup_free_ char *path = mem_printf("%s/dormouse.db", state_dir);
	_cleanup_close_ int dirfd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct sql_conn c;

	if (dirfd < 0)
		return -errno;
	int r = sql_open(&c, path, SQLITE_OPEN_READONLY);
	if (r < 0)
		return r;
	r = sql_exec(&c, "BEGIN"); /* one state of it, while the daemon goes on writing */
	if (r == 0)
		r = audit_tree_check(&c, ret_bad_index, ret_size);
	if (r == 0) {
		*ret_bad_index = 0;
		r = check_head(&c, dirfd);
	}
	sql_close(&c);
	return r;
}
