#include "base/merkle.h"

/* The prefixes keep a leaf from being taken for a node (RFC 9162 section 2.1.1). */
static const uint8_t leaf_prefix = 0, node_prefix = 1;

struct digest merkle_empty(void)
{
	return digest_of(SPAN_NONE);
}

struct digest merkle_leaf(struct span entry)
{
	return digest_of2(SPAN(&leaf_prefix, 1), entry);
}

struct digest merkle_node(const struct digest *left, const struct digest *right)
{
	uint8_t both[1 + 2 * DIGEST_BYTES];

	both[0] = node_prefix;
	memcpy(both + 1, left->b, DIGEST_BYTES);
	memcpy(both + 1 + DIGEST_BYTES, right->b, DIGEST_BYTES);
	return digest_of(SPAN_OF(both));
}

/* RFC 9162 section 2.1.3.2 */
bool merkle_inclusion_ok(uint64_t index, uint64_t size, const struct digest *leaf, const struct digest *path, size_t n_path,
			 const struct digest *root)
{
	uint64_t fn = index, sn = size - 1;
	struct digest r = *leaf;

	if (index >= size || size > MERKLE_SIZE_MAX || n_path > MERKLE_PATH_MAX)
		return false;
	for (size_t i = 0; i < n_path; i++) {
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn) {
			r = merkle_node(&path[i], &r);
			while (!(fn & 1) && fn) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			r = merkle_node(&r, &path[i]);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && digest_eq(&r, root);
}

/* RFC 9162 section 2.1.4.2 */
bool merkle_consistency_ok(uint64_t size1, uint64_t size2, const struct digest *root1, const struct digest *root2,
			   const struct digest *path, size_t n_path)
{
	uint64_t fn = size1 - 1, sn = size2 - 1;
	struct digest fr, sr;
	size_t i = 0;

	if (size1 == 0 || size1 > size2 || size2 > MERKLE_SIZE_MAX || n_path > MERKLE_PATH_MAX + 1)
		return false;
	if (size1 == size2)
		return n_path == 0 && digest_eq(root1, root2);
	if (n_path == 0)
		return false;
	fr = size1 & (size1 - 1) ? path[i++] : *root1; /* a full tree is its own first node */
	sr = fr;
	for (; fn & 1; fn >>= 1)
		sn >>= 1;
	for (; i < n_path; i++) {
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn) {
			fr = merkle_node(&path[i], &fr);
			sr = merkle_node(&path[i], &sr);
			while (!(fn & 1) && fn) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			sr = merkle_node(&sr, &path[i]);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && digest_eq(&fr, root1) && digest_eq(&sr, root2);
}
