#include "store/audit_tree.h"

#include <errno.h>

static const char node_get[] = "SELECT hash FROM audit_node WHERE level = ?1 AND idx = ?2";
static const char node_put[] = "INSERT INTO audit_node (level, idx, hash) VALUES (?1, ?2, ?3)";
static const char entry_put[] = "INSERT INTO audit_entry (idx, subject, entry) VALUES (?1, ?2, ?3)";

int audit_tree_size(struct sql_conn *c, uint64_t *ret)
{
	int64_t n;
	int r = sql_query_int(c, "SELECT coalesce(max(idx) + 1, 0) FROM audit_entry", &n);

	if (r == 0)
		*ret = (uint64_t)n;
	return r;
}

static int take_hash(void *ctx, sqlite3_stmt *row)
{
	int r = sql_column_bytes(row, 0, ((struct digest *)ctx)->b, DIGEST_BYTES);

	return r < 0 ? r : 1;
}

static int get_node(struct sql_conn *c, unsigned level, uint64_t idx, struct digest *ret)
{
	const struct sql_value v[] = { sql_int(level), sql_int((int64_t)idx) };
	int r = sql_query(c, node_get, v, 2, take_hash, ret);

	return r < 0 ? r : r == 1 ? 0 : -EBADMSG; /* a node that must be there is not */
}

static int put_node(struct sql_conn *c, unsigned level, uint64_t idx, const struct digest *hash)
{
	const struct sql_value v[] = { sql_int(level), sql_int((int64_t)idx), sql_blob(SPAN_OF(hash->b)) };

	return sql_run(c, node_put, v, 3);
}

int audit_tree_append(struct sql_conn *c, struct span subject, struct span entry)
{
	struct digest left, hash = merkle_leaf(entry);
	uint64_t idx;
	int r = audit_tree_size(c, &idx);

	if (r < 0)
		return r;
	const struct sql_value v[] = { sql_int((int64_t)idx), { .kind = SQL_TEXT, .s = subject }, sql_blob(entry) };
	r = sql_run(c, entry_put, v, 3);
	for (unsigned level = 0; r == 0; level++, idx >>= 1) {
		r = put_node(c, level, idx, &hash);
		if (r < 0 || !(idx & 1))
			break;
		r = get_node(c, level, idx - 1, &left);
		hash = merkle_node(&left, &hash);
	}
	return r;
}

static unsigned log2_floor(uint64_t n)
{
	return 63u - (unsigned)__builtin_clzll(n);
}

/* The largest power of two smaller than n; n > 1. */
static uint64_t split(uint64_t n)
{
	return UINT64_C(1) << log2_floor(n - 1);
}

/* The root over leaves lo up to hi, where lo is a multiple of the largest power of two that fits in between. */
static int range_root(struct sql_conn *c, uint64_t lo, uint64_t hi, struct digest *ret)
{
	struct digest parts[MERKLE_PATH_MAX], right;
	size_t n = 0;

	while (lo < hi) {
		unsigned level = log2_floor(hi - lo);
		int r = get_node(c, level, lo >> level, &parts[n++]);
		if (r < 0)
			return r;
		lo += UINT64_C(1) << level;
	}
	for (right = parts[--n]; n; n--)
		right = merkle_node(&parts[n - 1], &right);
	*ret = right;
	return 0;
}

int audit_tree_root(struct sql_conn *c, uint64_t size, struct digest *ret)
{
	if (size)
		return range_root(c, 0, size, ret);
	*ret = merkle_empty();
	return 0;
}

static void reverse(struct digest *d, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct digest t = d[i];
		d[i] = d[n - 1 - i];
		d[n - 1 - i] = t;
	}
}

/* RFC 6962 section 2.1.1, from the root down, then turned round. */
int audit_tree_inclusion(struct sql_conn *c, uint64_t index, uint64_t size, struct digest ret[static MERKLE_PATH_MAX], size_t *ret_n)
{
	uint64_t lo = 0, hi = size;
	size_t n = 0;
	int r = 0;

	while (r == 0 && hi - lo > 1) {
		uint64_t mid = lo + split(hi - lo);
		if (index < mid) {
			r = range_root(c, mid, hi, &ret[n++]);
			hi = mid;
		} else {
			r = range_root(c, lo, mid, &ret[n++]);
			lo = mid;
		}
	}
	reverse(ret, n);
	*ret_n = n;
	return r;
}

/* RFC 6962 section 2.1.2, the same way. */
int audit_tree_consistency(struct sql_conn *c, uint64_t from, uint64_t size, struct digest ret[static MERKLE_PATH_MAX + 1],
			   size_t *ret_n)
{
	uint64_t lo = 0, hi = size;
	size_t n = 0;
	int r = 0;

	while (r == 0 && from != hi) {
		uint64_t mid = lo + split(hi - lo);
		if (from <= mid) {
			r = range_root(c, mid, hi, &ret[n++]);
			hi = mid;
		} else {
			r = range_root(c, lo, mid, &ret[n++]);
			lo = mid;
		}
	}
	if (r == 0 && lo > 0)
		r = range_root(c, lo, hi, &ret[n++]);
	reverse(ret, n);
	*ret_n = n;
	return r;
}

struct check {
	struct sql_conn *c;
	uint64_t next, n_nodes;
	struct digest edge[MERKLE_PATH_MAX];   /* the last complete left node of each level */
};

static int check_entry(void *ctx, sqlite3_stmt *row)
{
	struct check *k = ctx;
	struct digest stored, hash = merkle_leaf(sql_column_blob(row, 1));
	uint64_t idx = (uint64_t)sqlite3_column_int64(row, 0);

	if (idx != k->next)
		return -EBADMSG;
	for (unsigned level = 0;; level++, idx >>= 1) {
		int r = get_node(k->c, level, idx, &stored);
		if (r < 0)
			return r;
		k->n_nodes++;
		if (!digest_eq(&stored, &hash))
			return -EBADMSG;
		if (!(idx & 1)) {
			k->edge[level] = hash;
			break;
		}
		hash = merkle_node(&k->edge[level], &hash);
	}
	k->next++;
	return 0;
}

int audit_tree_check(struct sql_conn *c, uint64_t *ret_bad, uint64_t *ret_size)
{
	struct check k = { .c = c };
	int64_t n_nodes;
	int r = sql_query(c, "SELECT idx, entry FROM audit_entry ORDER BY idx", NULL, 0, check_entry, &k);

	*ret_bad = *ret_size = k.next;
	if (r < 0)
		return r;
	r = sql_query_int(c, "SELECT count(*) FROM audit_node", &n_nodes);
	return r < 0 ? r : (uint64_t)n_nodes == k.n_nodes ? 0 : -EBADMSG;
}
