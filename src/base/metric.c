#include "base/metric.h"

#include <inttypes.h>
#include <stdatomic.h>

static const struct {
	enum metric_kind kind;
	const char *name, *label, *help;
} table[METRIC_COUNT] = {
#define ROW_(id_, kind_, name_, label_, help_) [id_] = { kind_, name_, label_, help_ },
	METRIC_LIST(ROW_)
#undef ROW_
};

static _Atomic int64_t values[METRIC_COUNT];

void metric_add(enum metric m, int64_t n)
{
	atomic_fetch_add_explicit(&values[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t v)
{
	atomic_store_explicit(&values[m], v, memory_order_relaxed);
}

void metric_max(enum metric m, int64_t v)
{
	int64_t old = metric_get(m);

	while (v > old &&
	       !atomic_compare_exchange_weak_explicit(&values[m], &old, v, memory_order_relaxed, memory_order_relaxed))
		;
}

int64_t metric_get(enum metric m)
{
	return atomic_load_explicit(&values[m], memory_order_relaxed);
}

void metric_render(struct buf *b)
{
	const char *last = "";

	for (size_t i = 0; i < METRIC_COUNT; i++) {
		if (strcmp(table[i].name, last) != 0) {
			last = table[i].name;
			buf_printf(b, "# HELP %s %s\n", last, table[i].help);
			buf_printf(b, "# TYPE %s %s\n", last, table[i].kind == METRIC_GAUGE ? "gauge" : "counter");
		}
		bool labelled = table[i].label[0] != 0;
		buf_printf(b, "%s%s%s%s %" PRId64 "\n", last, labelled ? "{" : "", table[i].label, labelled ? "}" : "",
			   metric_get((enum metric)i));
	}
}
