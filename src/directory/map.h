/* directory/map.h - uthash with a hash keyed by a secret of this process (SipHash-1-3), so that peers who choose
 * their names cannot make them collide. Include this instead of <uthash.h>. */
#pragma once
#include "base/span.h"

#define HASH_FUNCTION(key_, n_, hashv_) ((hashv_) = map_hash((key_), (n_)))
#include <uthash.h>

unsigned map_hash(const void *key, size_t n);
