#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/tmpfile.h"
#include "config/load.h"
#include "config/value.h"

static struct config *parse(const char *text)
{
	struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };
	int r = config_parse(span_str(text), "/etc/d.toml", &c, &error);

	if (r < 0)
		print_message("%s", buf_str(&error));
	assert_int_equal(r, 0);
	return c;
}

static const char *const configs[] = {
	"",
	"state_dir = '/a \"quoted\" \\ path/\xc3\xa9'\n[log]\nlevel = 'debug'\n",
	"[coap]\nlisten = []\nblock1_peer_bytes = 12345\n[http]\nsocket_mode = 0\nlisten = ['unix:x.sock']\n[cache]\nquota_bytes = 1073741825\n",
	"[[source]]\nname='a'\nkind='https'\nurl='https://h/x?y=1'\npolicy='auto'\n[[source]]\nname='b'\nkind='folder'\npath='in'\n"
	"[[anchor]]\nname='r'\nfile='r.pem'\nvendor_ids=['any']\nclass_ids=['1492af14-2569-5e48-bf42-9b2d51f2ab45']\nrevocation='soft'\n"
	"[[policy]]\nclass_id='1492af14-2569-5e48-bf42-9b2d51f2ab45'\npolicy='auto'\n",
	("[multicast]\nenabled=true\ngather_s='5 min'\n[[multicast_group]]\nname='g'\ninterface='lowpan0'\naddress='239.1.2.3'\nlink='868'\n"
	"devices=['a','b']\nsectors=['hall']\n"),
	("[[lowpan]]\ninterface='lowpan0'\ncreate=true\nparent='wpan0'\npan_id=0xbeef\nshort_address=1\nchannel=26\naddress='fd00::1/64'\n"
	"advertise=true\nblock_bytes=128\nairtime_permille=100\n[[lowpan]]\ninterface='bt0'\nkind='ble'\ncreate=true\n"
	"peers=['01:23:45:67:89:AB','random c1:23:45:67:89:ab']\n[[lowpan]]\ninterface='wpan7'\nkind='thread'\n"),
};

static void what_is_printed_loads_back_the_same(void **state)
{
	for (size_t i = 0; i < sizeof(configs) / sizeof(*configs); i++) {
		_cleanup_buf_ struct buf one = { 0 }, two = { 0 }, diff = { 0 };
		_cleanup_(config_freep) struct config *a = parse(configs[i]);

		config_print(a, &one);
		_cleanup_(config_freep) struct config *b = parse(buf_str(&one));
		config_print(b, &two);
		assert_string_equal(buf_str(&one), buf_str(&two));
		assert_int_equal(config_diff(a, b, &diff), 0);
	}
}

/* Every number of the schema at both ends of its range. */
static void numbers_print_and_load_at_both_ends_of_their_range(void **state)
{
	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		uint64_t field[1 + sizeof(struct config) / sizeof(uint64_t)];
		if (k->type != SCHEMA_U32 && k->type != SCHEMA_U64)
			continue;
		assert_true(k->min <= k->max);
		assert_true(k->type == SCHEMA_U64 || k->max <= UINT32_MAX);
		assert_true(k->max <= INT64_MAX);
		for (int end = 0; end < 2; end++) {
			uint64_t v = end ? k->max : k->min, back = 0;
			_cleanup_buf_ struct buf why = { 0 };
			struct toml_row row = { .value = { .type = TOML_INTEGER, .number = (int64_t)v } };
			assert_int_equal(value_set(k, field, "", &row, &why), 0);
			memcpy(&back, value_field(k, field), k->type == SCHEMA_U32 ? 4 : 8);
			assert_true(back == v);
		}
	}
}

static void a_diff_names_what_changed_and_what_needs_a_restart(void **state)
{
	_cleanup_(config_freep) struct config *a = parse("[log]\nlevel='info'\n[[source]]\nname='gone'\nkind='folder'\npath='/x'\n"
							 "[[source]]\nname='kept'\nkind='folder'\npath='/x'\n");
	_cleanup_(config_freep) struct config *b = parse("[log]\nlevel='debug'\n[worker]\nthreads=4\n"
							 "[[source]]\nname='kept'\nkind='folder'\npath='/y'\n"
							 "[[source]]\nname='new'\nkind='folder'\npath='/x'\n");
	_cleanup_buf_ struct buf diff = { 0 };

	assert_int_equal(config_diff(a, b, &diff), 5);
	assert_string_equal(buf_str(&diff), "log.level: \"info\" -> \"debug\"\n"
					    "worker.threads: 2 -> 4 (needs a restart)\n"
					    "source[gone]: removed\n"
					    "source[kept].path: \"/x\" -> \"/y\"\n"
					    "source[new]: added\n");
}

static void files_that_cannot_be_read_are_told(void **state)
{
	char file[] = "/tmp/dormouse-check-XXXXXX";
	_cleanup_close_ int fd = mkstemp(file);
	_cleanup_free_ char *text = mem_printf("[http]\ntoken_file = '%s'\n[admin]\ncredentials_file = '/none'\n"
					       "[[anchor]]\nname = 'a'\nfile = '%s'\nvendor_ids = ['any']\ncrl_files = ['/none.crl']\n", file, file);
	_cleanup_(config_freep) struct config *c = parse(text), *defaults = parse("");
	_cleanup_buf_ struct buf error = { 0 };

	assert_int_equal(config_check_files(defaults, &error), 0);
	assert_int_equal(config_check_files(c, &error), -EINVAL);
	assert_string_equal(buf_str(&error), "admin.credentials_file: /none: No such file or directory\n"
					     "anchor.crl_files: /none.crl: No such file or directory\n");
	buf_clear(&error);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(config_check_files(c, &error), -EINVAL);
	assert_non_null(strstr(buf_str(&error), "http.token_file: "));
	assert_non_null(strstr(buf_str(&error), ": others than its owner may open it; chmod 600 would be right\n"));
	unlink(file);
}

/* conf/dormouse.toml is what the schema says: every key, at its default, under its line. After a change of the schema,
 * `test-config-print --sample >conf/dormouse.toml` writes it anew. */
static void the_sample_file_is_complete_and_holds_the_defaults(void **state)
{
	_cleanup_buf_ struct buf want = { 0 }, diff = { 0 };
	_cleanup_free_ uint8_t *have = NULL;
	size_t n;

	assert_int_equal(file_read(AT_FDCWD, SAMPLE, 1 << 20, &have, &n), 0);
	config_print_sample(&want);
	if (!span_eq(buf_span(&want), SPAN(have, n)))
		fail_msg("conf/dormouse.toml differs from the schema; write it with: test-config-print --sample >conf/dormouse.toml");
	_cleanup_(config_freep) struct config *sample = parse((char *)have), *defaults = parse("");
	assert_int_equal(config_diff(defaults, sample, &diff), 0);
	assert_int_equal(sample->n_sources + sample->n_anchors + sample->n_policies + sample->n_multicast_groups + sample->n_lowpans, 0);
}

/* Taking the # off the examples gives a configuration that is accepted. */
static void the_examples_in_the_sample_are_right(void **state)
{
	_cleanup_buf_ struct buf sample = { 0 }, text = { 0 };

	config_print_sample(&sample);
	for (char *line = strtok((char *)sample.p, "\n"); line; line = strtok(NULL, "\n"))
		buf_printf(&text, "%s\n", line[0] == '#' && line[1] != ' ' ? line + 1 : line);
	_cleanup_(config_freep) struct config *c = parse(buf_str(&text));
	assert_int_equal(c->n_sources, 1);
	assert_int_equal(c->n_anchors, 1);
	assert_int_equal(c->n_policies, 1);
	assert_string_equal(c->sources[0].kind, "https");
}

static void rows_of_the_schema_are_in_order(void **state)
{
	for (size_t i = 0; i < schema_n_keys; i++) {
		const struct schema_key *k = &schema_keys[i];
		assert_true(k->table < schema_n_tables);
		assert_true(i == 0 || k->table >= schema_keys[i - 1].table);
		assert_ptr_equal(schema_find_key(schema_table_of(k), span_str(k->key)), k);
		assert_true(strlen(k->line) > 10 && strlen(k->line) < 120);
		assert_true(k->line[strlen(k->line) - 1] != '.');
		assert_true(!k->required || schema_is_array(schema_table_of(k)));
	}
}

int main(int argc, char **argv)
{
	unsetenv("STATE_DIRECTORY");
	if (argc == 2 && strcmp(argv[1], "--sample") == 0) {
		_cleanup_buf_ struct buf sample = { 0 };
		config_print_sample(&sample);
		return fputs(buf_str(&sample), stdout) < 0;
	}
	if (argc == 2 && strcmp(argv[1], "--keys") == 0) { /* for the check of the man page */
		for (size_t i = 0; i < schema_n_keys; i++) {
			_cleanup_buf_ struct buf b = { 0 };
			schema_add_path(&b, &schema_keys[i]);
			buf_add_str(&b, "\t");
			value_print_text(&schema_keys[i], schema_keys[i].def, &b);
			printf("%s\t%s\n", buf_str(&b), schema_keys[i].restart ? "restart" : "");
		}
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_loads_back_the_same),
		cmocka_unit_test(numbers_print_and_load_at_both_ends_of_their_range),
		cmocka_unit_test(a_diff_names_what_changed_and_what_needs_a_restart),
		cmocka_unit_test(files_that_cannot_be_read_are_told),
		cmocka_unit_test(the_sample_file_is_complete_and_holds_the_defaults),
		cmocka_unit_test(the_examples_in_the_sample_are_right),
		cmocka_unit_test(rows_of_the_schema_are_in_order),
	};

	return cmocka_run_group_tests_name("config/print", tests, NULL, NULL);
}
