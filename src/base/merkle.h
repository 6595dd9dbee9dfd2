/* base/merkle.h - the hash tree of RFC 6962 / RFC 9162 over SHA-256: hashes of leaves and nodes,
 * and the judgement of inclusion and consistency proofs (TL-1, TL-2, TL-6). Pure. */
#pragma once
#include "base/digest.h"

enum { MERKLE_PATH_MAX = 64 };                 /* hashes in an inclusion proof; a consistency proof may have one more */
#define MERKLE_SIZE_MAX (UINT64_C(1) << 63)    /* leaves */

struct digest merkle_empty(void);              /* the root of no leaves */
struct digest merkle_leaf(struct span entry);
struct digest merkle_node(const struct digest *left, const struct digest *right);

/* Is leaf the one at index in the tree of size leaves that has this root? path: leaf to root. */
bool merkle_inclusion_ok(uint64_t index, uint64_t size, const struct digest *leaf, const struct digest *path, size_t n_path,
			 const struct digest *root);
/* Is the tree of size2 leaves the one of size1 with leaves added at its end? size1 of 0 has nothing to be consistent with: no. */
bool merkle_consistency_ok(uint64_t size1, uint64_t size2, const struct digest *root1, const struct digest *root2,
			   const struct digest *path, size_t n_path);
