/* The modules started in order, and stopped from wherever starting ended; reading the configuration again (PO-10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/gateway.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tmpfile.h"
#include "trust/sign.h"
#include "../scratch.h"
#include "../until.h"

struct site {
	char dir[64];
	int dirfd;
	struct gateway g;
	bool is_up;
	struct buf last_error;                 /* of the log */
};

static void on_log(void *ctx, const struct log_record *rec)
{
	struct site *s = ctx;

	if (rec->priority <= LOG_ERR) {
		buf_clear(&s->last_error);
		buf_add_str(&s->last_error, rec->text);
	}
}

static void put_file(struct site *s, const char *name, const char *text)
{
	assert_int_equal(file_write_durable(s->dirfd, name, span_str(text)), 0);
	assert_int_equal(fchmodat(s->dirfd, name, 0600, 0), 0);
}

/* A configuration with everything on loopback and in the folder, and further lines. */
static void configure(struct site *s, const char *more)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "state_dir = \"%s/state\"\ncoap.listen = [\"coap://127.0.0.1:0\"]\nhttp.listen = [\"unix:%s/api.sock\"]\n%s\n",
		   s->dir, s->dir, more);
	put_file(s, "dormouse.toml", buf_str(&b));
}

static int try_start(struct site *s)
{
	_cleanup_buf_ struct buf error = { 0 };
	_cleanup_free_ char *file = mem_printf("%s/dormouse.toml", s->dir);
	struct config *c = NULL;

	if (config_load(file, &c, &error) < 0)
		fail_msg("%s", buf_str(&error));
	s->g = (struct gateway){ 0 };
	log_set_observer(on_log, s);           /* until the admin has its own */
	int r = gateway_start(&s->g, c);
	s->is_up = r == 0;
	return r;
}

static void stop(struct site *s)
{
	if (s->is_up)
		gateway_stop(&s->g);
	s->is_up = false;
}

static int setup(void **state)
{
	struct site *s = NEW(struct site);
	_cleanup_buf_ struct buf key = { 0 }, pub = { 0 };

	log_set_max_priority(LOG_ALERT - 1);
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/dormouse-app-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY);
	assert_true(s->dirfd >= 0);
	assert_int_equal(sign_key_generate(SIGN_P256, &key, &pub), 0);
	put_file(s, "acme.pem", buf_str(&pub));
	put_file(s, "broken.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
	configure(s, "");
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct site *s = *state;

	stop(s);
	log_set_observer(NULL, NULL);
	log_set_max_priority(LOG_ALERT - 1);
	close(s->dirfd);
	scratch_remove(s->dir);
	buf_done(&s->last_error);
	free(s);
	return 0;
}

#define ANCHOR(file_) "[[anchor]]\nname = \"acme\"\nfile = \"" file_ "\"\nvendor_ids = [\"any\"]\n"

static void it_starts_stops_and_starts_again(void **state)
{
	struct site *s = *state;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(try_start(s), 0);
		assert_non_null(coap_endpoint_address(s->g.coap, 0));
		assert_non_null(strstr(admin_http_address(s->g.admin, 0), "api.sock"));
		assert_null(admin_http_address(s->g.admin, 1));
		stop(s);
		assert_int_equal(faccessat(s->dirfd, "api.sock", F_OK, 0), -1);
	}
}

/* Each stops another module; what had started is stopped again, and the reason is told. */
static void whatever_cannot_start_is_told_and_nothing_is_left_running(void **state)
{
	static const struct { const char *more, *why; } rows[] = {
		{ ANCHOR("nowhere.pem"), "anchor acme" }, { ANCHOR("broken.pem"), "acme" },
		{ ANCHOR("acme.pem") "crl_files = [\"nowhere.crl\"]\n", "nowhere.crl" },
		{ "admin.credentials_file = \"nowhere\"\n", "nowhere" },
		{ "directory.lookup_ep_path = \"rd-lookup/res\"\n", "" }, { "delivery.path = \"rd\"\n", "" },
		{ "http.token_file = \"nowhere\"\n", NULL }, /* the observer of the log is the admin's by then */
	};
	struct site *s = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf error = { 0 };
		_cleanup_free_ char *file = mem_printf("%s/dormouse.toml", s->dir);
		struct config *c = NULL;
		configure(s, rows[i].more);
		if (config_load(file, &c, &error) < 0) /* seen before anything starts: as good */
			continue;
		config_free(c);
		buf_clear(&s->last_error);
		assert_true(try_start(s) < 0);
		if (rows[i].why && (!strstr(buf_str(&s->last_error), rows[i].why) || !strstr(buf_str(&s->last_error), "did not start")))
			fail_msg("%s: %s", rows[i].more, buf_str(&s->last_error));
		assert_null(s->g.loop);
		assert_null(s->g.db);
		assert_null(s->g.config);
	}
	configure(s, "");
	assert_int_equal(try_start(s), 0);
}

static void an_address_in_use_is_told_as_such(void **state)
{
	struct site *s = *state;
	_cleanup_buf_ struct buf more = { 0 };
	struct site other = { .dirfd = -1 };

	assert_int_equal(try_start(s), 0);
	(void)snprintf(other.dir, sizeof(other.dir), "%.40s/other", s->dir);
	assert_int_equal(mkdir(other.dir, 0700), 0);
	other.dirfd = open(other.dir, O_RDONLY | O_DIRECTORY);
	buf_printf(&more, "state_dir = \"%s/state\"\ncoap.listen = [\"%s\"]\nhttp.listen = [\"unix:%s/api.sock\"]\n", other.dir,
		   coap_endpoint_address(s->g.coap, 0), other.dir);
	put_file(&other, "dormouse.toml", buf_str(&more));
	assert_true(try_start(&other) < 0);
	assert_non_null(strstr(buf_str(&other.last_error), "coap.listen"));
	buf_done(&other.last_error);
	close(other.dirfd);
}

static void a_state_directory_has_one_owner(void **state)
{
	struct site *s = *state;
	struct site second = *s;

	assert_int_equal(try_start(s), 0);
	second.last_error = (struct buf){ 0 };
	assert_true(try_start(&second) < 0);
	assert_non_null(strstr(buf_str(&second.last_error), "the database cannot be opened"));
	buf_done(&second.last_error);
}

static int reload(struct site *s, struct buf *text)
{
	buf_clear(text);
	return gateway_reload(&s->g, text);
}

static void a_reload_changes_what_it_can_and_names_the_rest(void **state)
{
	struct site *s = *state;
	_cleanup_buf_ struct buf text = { 0 };

	assert_int_equal(try_start(s), 0);
	assert_int_equal(reload(s, &text), 0);
	assert_int_equal(text.n, 0);           /* nothing changed */
	configure(s, "log.level = \"debug\"\nworker.threads = 3\ncache.quota_bytes = \"1 GiB\"\n" ANCHOR("acme.pem"));
	assert_int_equal(reload(s, &text), 0);
	assert_non_null(strstr(buf_str(&text), "log.level: \"info\" -> \"debug\""));
	assert_non_null(strstr(buf_str(&text), "worker.threads: 2 -> 3 (needs a restart)"));
	assert_non_null(strstr(buf_str(&text), "cache.quota_bytes: \"2 GiB\" -> \"1 GiB\"\n"));
	assert_int_equal(gateway_log_priority(s->g.config), LOG_DEBUG);
	assert_int_equal(s->g.config->cache.quota_bytes, 1 << 30);
}

/* PO-10: the last good configuration stays, whole. */
static void a_refused_reload_changes_nothing(void **state)
{
	static const struct { const char *more, *why; } rows[] = {
		{ "nonsense = 1\n", "nonsense" }, { "log.level = \"loud\"\n", "log.level" }, { ANCHOR("nowhere.pem"), "nowhere.pem" },
		{ ANCHOR("broken.pem"), "acme" }, { ANCHOR("acme.pem") "crl_files = [\"nowhere.crl\"]\n", "nowhere.crl" },
		{ "admin.credentials_file = \"nowhere\"\n", "nowhere" }, { "[[", "dormouse.toml" },
	};
	struct site *s = *state;
	_cleanup_buf_ struct buf text = { 0 };

	configure(s, ANCHOR("acme.pem"));
	assert_int_equal(try_start(s), 0);
	const struct config *before = s->g.config;
	const struct trust_anchors *anchors = s->g.anchors;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		configure(s, rows[i].more);
		assert_true(reload(s, &text) < 0);
		if (!strstr(buf_str(&text), rows[i].why))
			fail_msg("%s: %s", rows[i].more, buf_str(&text));
		assert_ptr_equal(s->g.config, before);
		assert_ptr_equal(s->g.anchors, anchors);
	}
	assert_int_equal(unlinkat(s->dirfd, "dormouse.toml", 0), 0);
	assert_true(reload(s, &text) < 0);
	assert_ptr_equal(s->g.config, before);
}

static void words_for_log_levels_are_all_known(void **state)
{
	static const struct { const char *word; int priority; } rows[] = {
		{ "error", LOG_ERR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE }, { "info", LOG_INFO }, { "debug", LOG_DEBUG },
	};
	struct site *s = *state;
	_cleanup_free_ char *file = mem_printf("%s/dormouse.toml", s->dir);
	char line[40];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		_cleanup_buf_ struct buf error = { 0 };
		struct config *c = NULL;
		(void)snprintf(line, sizeof(line), "log.level = \"%s\"\n", rows[i].word);
		configure(s, line);
		assert_int_equal(config_load(file, &c, &error), 0);
		assert_int_equal(gateway_log_priority(c), rows[i].priority);
		config_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_starts_stops_and_starts_again, setup, teardown),
		cmocka_unit_test_setup_teardown(whatever_cannot_start_is_told_and_nothing_is_left_running, setup, teardown),
		cmocka_unit_test_setup_teardown(an_address_in_use_is_told_as_such, setup, teardown),
		cmocka_unit_test_setup_teardown(a_state_directory_has_one_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reload_changes_what_it_can_and_names_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_reload_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(words_for_log_levels_are_all_known, setup, teardown),
	};
	return cmocka_run_group_tests_name("app/gateway", tests, NULL, NULL);
}
