/* store/audit_tree.h - inside store/ only: the audit log's tree in the database. Complete nodes are stored and never
 * change, so everything about an older size can be told later; a root or a proof costs some log2(size) small reads. */
#pragma once
#include "base/merkle.h"
#include "store/audit_log.h"
#include "store/sql.h"

int audit_tree_size(struct sql_conn *c, uint64_t *ret);
int audit_tree_root(struct sql_conn *c, uint64_t size, struct digest *ret);
/* Inside a transaction. */
int audit_tree_append(struct sql_conn *c, struct span subject, struct span entry);
/* Leaf to root. index < size <= what is stored. */
int audit_tree_inclusion(struct sql_conn *c, uint64_t index, uint64_t size, struct digest ret[static MERKLE_PATH_MAX], size_t *ret_n);
/* 0 < from <= size. */
int audit_tree_consistency(struct sql_conn *c, uint64_t from, uint64_t size, struct digest ret[static MERKLE_PATH_MAX + 1],
			   size_t *ret_n);
/* Compute everything again from the entries. -EBADMSG: ret_bad is the first index that does not fit. */
int audit_tree_check(struct sql_conn *c, uint64_t *ret_bad, uint64_t *ret_size);
