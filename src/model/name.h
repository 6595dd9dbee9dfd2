/* model/name.h - the words of an enum: an array of names indexed by its values, read backwards. Pure. */
#pragma once
#include <errno.h>

#include "base/span.h"

/* The index of s among n names, or -EBADMSG. */
static inline int name_parse(struct span s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_str(s, names[i]))
			return (int)i;
	return -EBADMSG;
}
