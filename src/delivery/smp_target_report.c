#include "delivery/smp_target_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

enum { REPORT_AGAIN_MS = 2000 };

struct report_wait {
	struct smp_driver *drv;
	char device[DEVICE_ID_BYTES];
	uint64_t serial;
};

/* May come at once, from within sink.report(); that is never called by the machine. */
static void report_done(void *arg, int error)
{
	struct report_wait *w = arg;
	struct smp_target *t = smp_target_find(w->drv, w->device);

	if (t && t->serial == w->serial) {
		t->is_reporting = false;
		t->goes_on = error == 0;
		t->has_report = error < 0 && error != -ENOENT;
		loop_timer_set(t->timer, t->has_report ? REPORT_AGAIN_MS : 0);
		if (error == -ENOENT)          /* nobody wants it any more */
			smp_target_quit(t);
	}
	free(w);
}

void smp_target_report_give(struct smp_target *t)
{
	struct report_wait *w = NEW(struct report_wait);
	struct node_report r = { .manifest_digest = t->manifest, .state = t->state, .result = t->result, .is_reverted = t->is_reverted,
				 .reason = span_str(t->reason), .has_sequence = t->result == OBJECT5_OK, .sequence = t->sequence };
	char version[MCUBOOT_VERSION_BYTES] = "";

	if (t->result == OBJECT5_OK)
		r.version = span_str(mcuboot_version_text(&t->looked.header.version, version));
	w->drv = t->drv;
	w->serial = t->serial;
	(void)text_copy(w->device, sizeof(w->device), span_str(t->device)); /* same size */
	t->has_report = false;
	t->is_reporting = true;
	t->drv->c.sink.report(t->drv->c.sink.ctx, t->device, &r, report_done, w);
}

void smp_target_report_set(struct smp_target *t, unsigned state, unsigned result, bool is_reverted, const char *reason)
{
	t->state = state;
	t->result = result;
	t->is_reverted = is_reverted;
	(void)text_copy(t->reason, sizeof(t->reason), span_sub(span_str(reason), 0, sizeof(t->reason) - 1)); /* clipped for people */
	t->has_report = true;
	t->goes_on = false;
	loop_timer_set(t->timer, 0);
}
