/* tests/store/store_test.h - a scratch directory for each test and a few shorthands. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/tmpfile.h"
#include "store/db.h"
#include "../scratch.h"

static char scratch[64];

static int scratch_make(void **state)
{
	(void)snprintf(scratch, sizeof(scratch), "/tmp/dormouse-test-XXXXXX");
	*state = mkdtemp(scratch);
	return *state ? 0 : -1;
}

static int scratch_drop(void **state)
{
	scratch_remove(scratch);
	return 0;
}

static inline const char *in_scratch(const char *name)
{
	static char path[4][256];
	static unsigned i;

	i = (i + 1) % 4;
	(void)snprintf(path[i], sizeof(path[i]), "%s/%s", scratch, name);
	return path[i];
}

struct answers {
	unsigned n, n_failed;
	int last;
};

static inline void note_answer(void *ctx, int error)
{
	struct answers *a = ctx;

	a->n++;
	a->n_failed += error != 0;
	a->last = error;
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, scratch_make, scratch_drop)
