/* An org.bluez for system tests, on a bus of its own: tests/radio/fake_bluez behind a command line. Prints the bus address, then answers
 * each line of its input with "ok ..." or "what":
 *
 *	adapter NAME ADDRESS
 *	node ADDRESS NAME [UUID]
 *	characteristic ADDRESS SERVICE UUID FLAGS          -> the handle, in hex; FLAGS as in fake_bluez.h, in hex
 *	value HANDLE HEX        notify HANDLE HEX          -> 1 when somebody had subscribed
 *	written HANDLE          subscriber HANDLE          -> hex; 1 or 0
 *	calls WHERE METHOD                                 -> how many; WHERE may be *
 *	fail WHERE METHOD TIMES ERROR TEXT      mend
 *	pairing ADDRESS none|just-works|shown|asked|confirm PASSKEY
 *	disconnect ADDRESS      remove ADDRESS      stop      start
 *
 * Ends with its input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "fake_bluez.h"

enum { WORDS_MAX = 6, LINE_BYTES = 4096, KEPT_MAX = 256 };

static char *kept[KEPT_MAX];                   /* texts of nodes must stay */
static size_t n_kept;

static const char *keep(const char *s)
{
	if (n_kept == KEPT_MAX || !(kept[n_kept] = strdup(s)))
		abort();
	return kept[n_kept++];
}

static uint16_t handle_of(const char *s)
{
	return (uint16_t)strtoul(s, NULL, 16);
}

static const char *where_of(const char *s)
{
	return strcmp(s, "*") == 0 ? NULL : s;
}

static size_t hex_of(const char *s, uint8_t ret[static LINE_BYTES])
{
	size_t n = 0;

	return text_parse_hex_var(span_str(s), ret, LINE_BYTES, &n) == 0 ? n : 0;
}

static void answer_written(struct fake_bluez *f, uint16_t handle)
{
	uint8_t bytes[LINE_BYTES];
	char hex[2 * LINE_BYTES + 1];
	size_t n = fake_written(f, handle, bytes, sizeof(bytes));

	(void)printf("ok %s\n", text_hex(SPAN(bytes, n < sizeof(bytes) ? n : sizeof(bytes)), hex));
}

/* What makes something. False: another word. */
static bool make(struct fake_bluez *f, char *const *w, size_t n)
{
	if (strcmp(w[0], "adapter") == 0 && n == 3) {
		fake_adapter_add(f, keep(w[1]), keep(w[2]), 0);
		(void)puts("ok");
	} else if (strcmp(w[0], "node") == 0 && n >= 3) {
		fake_node_add(f, &(struct fake_node){ .address = keep(w[1]), .name = keep(w[2]), .is_random = true, .uuids = { n > 3 ? keep(w[3]) : NULL } });
		(void)puts("ok");
	} else if (strcmp(w[0], "characteristic") == 0 && n == 5) {
		(void)printf("ok %04x\n", fake_characteristic_add(f, keep(w[1]), keep(w[2]), keep(w[3]), (unsigned)strtoul(w[4], NULL, 16)));
	} else {
		return false;
	}
	return true;
}

static bool values(struct fake_bluez *f, char *const *w, size_t n)
{
	uint8_t bytes[LINE_BYTES];

	if (strcmp(w[0], "value") == 0 && n == 3) {
		fake_value_set(f, handle_of(w[1]), SPAN(bytes, hex_of(w[2], bytes)));
		(void)puts("ok");
	} else if (strcmp(w[0], "notify") == 0 && n == 3) {
		(void)printf("ok %d\n", fake_notify(f, handle_of(w[1]), SPAN(bytes, hex_of(w[2], bytes))));
	} else if (strcmp(w[0], "written") == 0 && n == 2) {
		answer_written(f, handle_of(w[1]));
	} else if (strcmp(w[0], "subscriber") == 0 && n == 2) {
		(void)printf("ok %d\n", fake_has_subscriber(f, handle_of(w[1])));
	} else if (strcmp(w[0], "calls") == 0 && n == 3) {
		(void)printf("ok %zu\n", fake_calls(f, where_of(w[1]), w[2]));
	} else {
		return false;
	}
	return true;
}

static enum fake_pairing pairing_of(const char *s)
{
	static const char *const names[] = { [FAKE_PAIR_NEVER] = "none", [FAKE_PAIR_JUST_WORKS] = "just-works", [FAKE_PAIR_SHOWN] = "shown",
					     [FAKE_PAIR_ASKED] = "asked", [FAKE_PAIR_CONFIRM] = "confirm" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i], s) == 0)
			return (enum fake_pairing)i;
	return FAKE_PAIR_NEVER;
}

static bool trouble(struct fake_bluez *f, char *const *w, size_t n)
{
	if (strcmp(w[0], "fail") == 0 && n == 6)
		fake_fail(f, where_of(keep(w[1])), keep(w[2]), atoi(w[3]), keep(w[4]), keep(w[5]));
	else if (strcmp(w[0], "mend") == 0)
		fake_mend(f);
	else if (strcmp(w[0], "disconnect") == 0 && n == 2)
		fake_node_disconnect(f, w[1], true);
	else if (strcmp(w[0], "pairing") == 0 && n == 4)
		fake_node_pairing(f, w[1], pairing_of(w[2]), (uint32_t)strtoul(w[3], NULL, 10));
	else if (strcmp(w[0], "remove") == 0 && n == 2)
		fake_node_remove(f, w[1]);
	else if (strcmp(w[0], "stop") == 0)
		fake_bluez_stop(f);
	else if (strcmp(w[0], "start") == 0)
		fake_bluez_start(f);
	else
		return false;
	(void)puts("ok");
	return true;
}

int main(void)
{
	struct fake_bluez *f = fake_bluez_new();
	char line[LINE_BYTES];

	(void)printf("%s\n", fake_bluez_bus(f));
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		char *w[WORDS_MAX], *save = NULL;
		size_t n = 0;
		for (char *s = strtok_r(line, " \n", &save); s && n < WORDS_MAX; s = strtok_r(NULL, n == WORDS_MAX - 1 ? "\n" : " \n", &save))
			w[n++] = s;
		if (n && !make(f, w, n) && !values(f, w, n) && !trouble(f, w, n))
			(void)puts("what");
		(void)fflush(stdout);
	}
	(void)fake_bluez_free(f); /* returns NULL */
	while (n_kept)
		free(kept[--n_kept]);
	return 0;
}
