/* model/source.h - where updates come from, as configured and as last seen. */
#pragma once
#include "base/time.h"
#include "model/rollout.h"

enum { SOURCE_NAME_BYTES = 64 };

struct source_status {
	char name[SOURCE_NAME_BYTES];
	const char *kind;                      /* "https", "folder" */
	char location[512];
	bool is_ok;
	char error[200];                       /* last error, for people; "" */
	struct wall polled_at, next_poll_at;
	unsigned failures;                     /* in a row */
};
