#define SD_JOURNAL_SUPPRESS_LOCATION
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { TEXT_BYTES = 2048, FIELD_BYTES = 512, FIELDS_OURS = 5 };

static struct {
	char name[64];
	bool journal;
	_Atomic int max_priority;
	log_observer *observer;
	void *observer_ctx;
	bool observing;                /* an observer that logs must not be called again */
} out = { .name = "dormouse", .max_priority = LOG_INFO };

/* Whether stderr is the stream that the service manager connected to the journal (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
	const char *want = getenv("JOURNAL_STREAM");
	char have[64];
	struct stat st;

	if (!want || fstat(STDERR_FILENO, &st) < 0)
		return false;
	(void)snprintf(have, sizeof(have), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino); /* fits */
	return strcmp(want, have) == 0;
}

void log_open(const char *name, int max_priority)
{
	(void)snprintf(out.name, sizeof(out.name), "%s", name); /* a long name may be cut */
	out.journal = stderr_is_journal();
	log_set_max_priority(max_priority);
}

void log_set_max_priority(int max_priority)
{
	atomic_store(&out.max_priority, max_priority);
}

void log_set_observer(log_observer *fn, void *ctx)
{
	out.observer = fn;
	out.observer_ctx = ctx;
}

/* One record stays one line, whatever got into its arguments. */
static void text_make(char text[static TEXT_BYTES], const char *fmt, va_list ap)
{
	int n = vsnprintf(text, TEXT_BYTES, fmt, ap);

	if (n < 0)
		(void)snprintf(text, TEXT_BYTES, "(unprintable message)"); /* fits */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	if (n < TEXT_BYTES)
		return;
	size_t end = TEXT_BYTES - 4;
	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) /* not in the middle of a character */
		end--;
	memcpy(text + end, "...", 4);
}

/* Notice and below speak for themselves; a person wants the worse ones marked. */
static const char *level_prefix(int priority)
{
	switch (priority) {
	case LOG_EMERG:
	case LOG_ALERT:
	case LOG_CRIT:
	case LOG_ERR:
		return "error: ";
	case LOG_WARNING:
		return "warning: ";
	case LOG_DEBUG:
		return "debug: ";
	default:
		return "";
	}
}

static void emit_stderr(int priority, const char *text)
{
	const char *level = level_prefix(priority);
	struct iovec iov[] = {
		{ (void *)(uintptr_t)level, strlen(level) },
		{ (void *)(uintptr_t)text, strlen(text) },
		{ (void *)(uintptr_t)"\n", 1 },
	};
	ssize_t n;

	do /* one call, so that lines of several threads do not mix */
		n = writev(STDERR_FILENO, iov, 3);
	while (n < 0 && errno == EINTR);
}

static int emit_journal(enum event_id ev, int priority, const struct log_field *fields, size_t n_fields, const char *text)
{
	char store[LOG_FIELDS_MAX + FIELDS_OURS][FIELD_BYTES];
	char message[TEXT_BYTES + 8];
	struct iovec iov[LOG_FIELDS_MAX + FIELDS_OURS];
	int n = 0;

#define ADD_(...)                                                                     \
	do {                                                                          \
		(void)snprintf(store[n], sizeof(store[n]), __VA_ARGS__); /* may be cut */ \
		iov[n] = (struct iovec){ store[n], strlen(store[n]) };                \
		n++;                                                                  \
	} while (0)
	(void)snprintf(message, sizeof(message), "MESSAGE=%s", text); /* fits */
	ADD_("PRIORITY=%d", priority);
	ADD_("SYSLOG_IDENTIFIER=%s", out.name);
	if (ev != EV_GENERIC) {
		ADD_("MESSAGE_ID=%s", event_message_id(ev));
		ADD_("GW_EVENT=%s", event_slug(ev));
	}
	for (size_t i = 0; i < n_fields && i < LOG_FIELDS_MAX; i++)
		if (fields[i].name && fields[i].value)
			ADD_("%s=%s", fields[i].name, fields[i].value);
#undef ADD_
	iov[n++] = (struct iovec){ message, strlen(message) };
	return sd_journal_sendv(iov, n);
}

static void emit(enum event_id ev, int priority, const struct log_field *fields, size_t n_fields, const char *text)
{
	if (priority > atomic_load(&out.max_priority))
		return;
	if (out.journal && emit_journal(ev, priority, fields, n_fields, text) >= 0)
		return;
	emit_stderr(priority, text);
}

static void observe(enum event_id ev, int priority, const struct log_field *fields, size_t n_fields, const char *text)
{
	if (!out.observer || out.observing)
		return;
	const struct log_record rec = {
		.event = ev,
		.priority = priority,
		.at = wall_now(),
		.text = text,
		.fields = fields,
		.n_fields = n_fields,
	};

	out.observing = true;
	out.observer(out.observer_ctx, &rec);
	out.observing = false;
}

void log_event(enum event_id ev, int priority, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	text_make(text, fmt, ap);
	va_end(ap);
	emit(ev, priority, NULL, 0, text);
	observe(ev, priority, NULL, 0, text);
}

void log_event_fields(enum event_id ev, int priority, const struct log_field *fields, size_t n_fields, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	text_make(text, fmt, ap);
	va_end(ap);
	emit(ev, priority, fields, n_fields, text);
	observe(ev, priority, fields, n_fields, text);
}

void log_line(int priority, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	text_make(text, fmt, ap);
	va_end(ap);
	emit(EV_GENERIC, priority, NULL, 0, text);
}
