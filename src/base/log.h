/* base/log.h - one line for people, fields for programs. To the journal when started by
 * systemd (JOURNAL_STREAM), otherwise "message" to stderr, without the time,
 * led by "error: ", "warning: " or "debug: " where that is its level. One observer may also see
 * every event (the API's event stream). Never give it a secret; peer text must be escaped
 * (text_add_escaped) by the caller. base, codec, model and trust never call this.
 *
 * Fields are pairs of field name and value, ended by NULL: "GW_JOB", id, "GW_DEVICE", dev, NULL.
 * Known fields: GW_JOB GW_DEVICE GW_ENDPOINT GW_UPDATE GW_IMAGE GW_ROLLOUT GW_SOURCE GW_PEER GW_STATE
 * GW_RULE GW_REASON GW_ERRNO GW_PROGRESS. Loop thread only, but for log_line(). */
#pragma once
#include <syslog.h>

#include "base/events.h"
#include "base/time.h"

enum { LOG_FIELDS_MAX = 16 };

struct log_field {
	const char *name, *value;      /* borrowed for the call */
};

struct log_record {
	enum event_id event;
	int priority;                  /* LOG_ERR ... LOG_DEBUG */
	struct wall at;
	const char *text;
	const struct log_field *fields;
	size_t n_fields;
};

typedef void log_observer(void *ctx, const struct log_record *rec);

void log_open(const char *name, int max_priority);      /* stderr or journal, decided here */
void log_set_max_priority(int max_priority);
void log_set_observer(log_observer *fn, void *ctx);     /* NULL = none */
void log_event(enum event_id ev, int priority, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The fields follow the format's own arguments:  log_event_fields(EV_X, LOG_INFO, fields, n, "fmt", ...) */
void log_event_fields(enum event_id ev, int priority, const struct log_field *fields, size_t n_fields,
		      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Any thread; no fields, no observer. */
void log_line(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* log_fields(EV_JOB_STATE, LOG_INFO, ({ "GW_JOB", id }, { "GW_DEVICE", dev }), "job %s ...", ...) */
#define LOG_UNWRAP_(...) __VA_ARGS__
#define log_fields(ev_, prio_, fields_, ...)                                              \
	do {                                                                              \
		const struct log_field log_f_[] = { LOG_UNWRAP_ fields_ };                \
		log_event_fields((ev_), (prio_), log_f_, sizeof(log_f_) / sizeof(*log_f_), __VA_ARGS__); \
	} while (0)
