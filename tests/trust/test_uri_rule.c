/* SU-22: from where payloads may come. */
#include "help.h"

#include "trust/uri_rule.h"

static char *const no_hosts[] = { NULL };
static char acme[] = "fw.acme.example", below[] = "*.cdn.example", loopback[] = "127.0.0.1", v6[] = "2001:db8::1";
static char *const some_hosts[] = { acme, below, loopback, v6, NULL };

static const struct { const char *uri; bool any_public, listed; } rows[] = {
	{ "https://fw.acme.example/a.bin", true, true },
	{ "HTTPS://FW.ACME.EXAMPLE:8443/a.bin?x=1", true, true },
	{ "http://a.cdn.example/a", true, true },
	{ "http://cdn.example/a", true, false },
	{ "coap://fw.acme.example/a", true, true },
	{ "coaps://fw.acme.example/a", true, true },
	{ "https://evil.example/a", true, false },
	{ "https://fw.acme.example.evil.example/", true, false },
	{ "https://127.0.0.1:8443/a", false, true },
	{ "https://[2001:db8::1]/a", false, true },
	{ "https://[2a00:1450:4001::5]/a", true, false },
	{ "https://user@fw.acme.example/a", false, false },
	{ "https://user:pass@fw.acme.example/a", false, false },
	{ "file:///etc/passwd", false, false },
	{ "ftp://fw.acme.example/a", false, false },
	{ "data:,hello", false, false },
	{ "javascript:alert(1)", false, false },
	{ "https:///a", false, false },
	{ "https:a.bin", false, false },
	{ "images/a.bin", true, true },
	{ "/images/a.bin?v=2", true, true },
	{ "../a.bin", true, true },
	{ "//fw.acme.example/a", true, true },
	{ "//evil.example/a", true, false },
	{ "#inside", false, false },
	{ "", false, false },
	{ "https://localhost/a", false, false },
	{ "https://printer/a", false, false },
	{ "https://nas.local/a", false, false },
	{ "https://10.1.2.3/a", false, false },
	{ "https://100.64.0.1/a", false, false },
	{ "https://169.254.169.254/latest/meta-data", false, false },
	{ "https://172.16.0.1/a", false, false },
	{ "https://192.168.1.1/a", false, false },
	{ "https://0.0.0.0/a", false, false },
	{ "https://224.0.0.1/a", false, false },
	{ "https://127.1/a", false, false },
	{ "https://0x7f000001/a", false, false },
	{ "https://2130706433/a", false, false },
	{ "https://0x7f.0x1/a", false, false },
	{ "https://[::1]/a", false, false },
	{ "https://[::ffff:127.0.0.1]/a", false, false },
	{ "https://[fe80::1]/a", false, false },
	{ "https://[fd00::1]/a", false, false },
	{ "https://[2002:7f00:1::]/a", false, false },
	{ "https://8.8.8.8/a", true, false },
	{ "https://fw.acme.example\\@evil.example/", false, false },
	{ "https://fw.acme.example/a b", false, false },
	{ "https://fw%2eacme.example/", false, false },
	{ "https://fw.acme.example:99999/", false, false },
};

static void addresses_are_judged_by_scheme_host_and_form(void **state)
{
	char why[URI_RULE_WHY_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int listed = 0; listed < 2; listed++) {
			bool expect = listed ? rows[i].listed : rows[i].any_public;
			if (uri_rule_allows(span_str(rows[i].uri), listed ? some_hosts : no_hosts, why) != expect)
				fail_msg("'%s' with %s: expected %s; %s", rows[i].uri, listed ? "a list" : "no list", expect ? "allowed" : "refused", why);
			assert_true(expect || why[0]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(addresses_are_judged_by_scheme_host_and_form) };
	return cmocka_run_group_tests_name("trust/uri_rule", tests, NULL, NULL);
}
