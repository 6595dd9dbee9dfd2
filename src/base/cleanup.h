/* base/cleanup.h - scope-bound release, in the manner of systemd: _cleanup_(fn) calls
 * fn(&variable) when the variable goes out of scope. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn_) __attribute__((cleanup(fn_)))
#define _printf_(fmt_, args_) __attribute__((format(printf, fmt_, args_)))
#define _unused_ __attribute__((unused))

/* Give away what a cleanup variable holds. */
#define TAKE(var_)                               \
	({                                       \
		__typeof__(var_) *take_ = &(var_); \
		__typeof__(var_) out_ = *take_;    \
		*take_ = NULL;                   \
		out_;                            \
	})

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing left to do about an error here */
}

static inline void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f); /* readers only; writers check fclose themselves */
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)
