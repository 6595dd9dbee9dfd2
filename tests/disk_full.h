/* tests/disk_full.h - writes of this process fail with EFBIG, as if the disk were full. Include after cmocka.h. */
#pragma once
#include <signal.h>
#include <sys/resource.h>

static inline void disk_full(bool is_full)
{
	static struct rlimit before;
	struct rlimit l;

	(void)signal(SIGXFSZ, SIG_IGN);
	if (is_full) {
		assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
		l = before;
		l.rlim_cur = 0;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
	} else {
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	}
}
