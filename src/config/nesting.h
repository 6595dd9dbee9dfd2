/* config/nesting.h - a look at TOML text before the parser sees it: how deep would its tree be? The parser builds
 * and frees tables by recursion and bounds brackets only, not dotted keys. Pure. */
#pragma once
#include "base/span.h"

enum { NESTING_KEY_PARTS_MAX = 8, NESTING_BRACKETS_MAX = 8 };

/* 0, or the first line that goes deeper than the limits. Text that is not TOML may pass; the parser refuses it. */
unsigned nesting_too_deep(struct span text);
