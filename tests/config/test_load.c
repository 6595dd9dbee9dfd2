#include "config/load.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/tmpfile.h"

/* What config_parse() says of text: "" when it accepts. */
static char *errors_of(const char *text)
{
	struct config *c = NULL;
	struct buf error = { 0 };
	size_t n;
	int r = config_parse(span_str(text), "/etc/d.toml", &c, &error);

	assert_true(r == 0 || r == -EINVAL);
	assert_int_equal(r < 0, error.n > 0);
	assert_int_equal(r < 0, c == NULL);
	config_free(c);
	if (!error.n) {
		buf_done(&error);
		return mem_strdup("");
	}
	return (char *)buf_take(&error, &n);
}

static struct config *good(const char *text)
{
	struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };
	int r = config_parse(span_str(text), "/etc/d.toml", &c, &error);

	if (r < 0)
		print_message("%s", buf_str(&error));
	assert_int_equal(r, 0);
	return c;
}

static void an_empty_file_gives_the_defaults(void **state)
{
	_cleanup_(config_freep) struct config *c = good("");

	assert_string_equal(c->file, "/etc/d.toml");
	assert_string_equal(c->state_dir, "/var/lib/dormouse");
	assert_string_equal(c->coap.listen[0], "coap://[::]:5683");
	assert_string_equal(c->coap.listen[1], "coaps://[::]:5684");
	assert_null(c->coap.listen[2]);
	assert_string_equal(c->http.listen[0], "127.0.0.1:8080");
	assert_string_equal(c->http.listen[1], "unix:/run/dormouse/api.sock");
	assert_string_equal(c->http.token_file, "");
	assert_int_equal(c->http.socket_mode, 0660);
	assert_int_equal(c->coap.receive_buffer_bytes, 4 * 1024 * 1024);
	assert_int_equal(c->directory.lifetime_default_s, 90000); /* RFC 9176 section 5 */
	assert_false(c->directory.open);                          /* RD-86 */
	assert_false(c->directory.auto_enrol);
	assert_false(c->admin.coap);
	assert_int_equal(c->directory.durable, CONFIG_DURABLE_COMMIT);
	assert_int_equal(c->n_sources + c->n_anchors + c->n_policies + c->n_multicast_groups + c->n_lowpans, 0);
	assert_false(c->multicast.enabled);
	assert_int_equal(c->multicast.lost_max, 160);             /* MCD C16 */
}

static void every_table_is_read(void **state)
{
	_cleanup_(config_freep) struct config *c = good(
		"state_dir = '/tmp/x'\n"
		"coap.listen = ['coap://127.0.0.1:0']\n"
		"[directory]\nopen = true\npath = 'rd2'\ndurable = 'memory'\n"
		"[cache]\nquota_bytes = '3 GiB'\nimage_max_bytes = 1048576\n"
		"[rollout]\nretry_s = '2 min'\nhistory_days = '2 weeks'\n"
		"[http]\nsocket_mode = 0o600\nlisten = ['unix:api.sock', '[::1]:80']\n"
		"[[source]]\nname = 'a'\nkind = 'https'\nurl = 'https://h.example/x.suit'\npolicy = 'auto'\npoll_s = '1 h'\n"
		"[[source]]\nname = 'b'\nkind = 'folder'\npath = 'drop/in'\n"
		"[[permit]]\nkind = 'legacy-dfu'\ndevice = 'tag'\nuntil = '2027-01-31T18:00:00+01:00'\nreason = 'why'\n"
		"[[anchor]]\nname = 'r'\nfile = './r.pem'\nvendor_ids = ['any']\nrevocation = 'grace'\ngrace_s = '3 days'\n"
		"crl_files = ['/a.crl', 'b.crl']\n"
		"[[policy]]\nclass_id = '1492af14-2569-5e48-bf42-9b2d51f2ab45'\npolicy = 'auto'\n");

	assert_string_equal(c->state_dir, "/tmp/x");
	assert_string_equal(c->coap.listen[0], "coap://127.0.0.1:0");
	assert_null(c->coap.listen[1]);
	assert_true(c->directory.open);
	assert_string_equal(c->directory.path, "rd2");
	assert_int_equal(c->directory.durable, CONFIG_DURABLE_MEMORY);
	assert_true(c->cache.quota_bytes == 3ull << 30);
	assert_int_equal(c->cache.image_max_bytes, 1048576);
	assert_int_equal(c->rollout.retry_s, 120);
	assert_int_equal(c->rollout.history_days, 14);
	assert_int_equal(c->http.socket_mode, 0600);
	assert_string_equal(c->http.listen[0], "unix:/etc/api.sock");
	assert_int_equal(c->n_sources, 2);
	assert_string_equal(c->sources[0].name, "a");
	assert_int_equal(c->sources[0].policy, CONFIG_AUTO);
	assert_int_equal(c->sources[0].poll_s, 3600);
	assert_string_equal(c->sources[0].path, "");
	assert_string_equal(c->sources[1].path, "/etc/drop/in");
	assert_int_equal(c->sources[1].policy, CONFIG_APPROVE);
	assert_int_equal(c->n_anchors, 1);
	assert_string_equal(c->anchors[0].file, "/etc/r.pem");
	assert_string_equal(c->anchors[0].vendor_ids[0], "any");
	assert_int_equal(c->anchors[0].revocation, CONFIG_GRACE);
	assert_int_equal(c->anchors[0].grace_s, 3 * 86400);
	assert_true(c->anchors[0].require_code_signing);
	assert_string_equal(c->anchors[0].crl_files[1], "/etc/b.crl");
	assert_int_equal(c->n_policies, 1);
	assert_int_equal(c->policies[0].policy, CONFIG_AUTO);
	assert_int_equal(c->n_permits, 1);
	assert_string_equal(c->permits[0].device, "tag");
	assert_string_equal(c->permits[0].reason, "why");
}

/* Each row: what is written, and a part of what is said of it. */
static const struct {
	const char *text, *says;
} refused[] = {
	/* multicast groups */
	{ "[[multicast_group]]\nname='g'\ninterface='eth0'\naddress='ff02::1'", "multicast_group.address: \"ff02::1\"" },
	{ "[[multicast_group]]\nname='g'\ninterface='eth0'\naddress='224.0.1.187'", "multicast_group.address" },
	{ "[[multicast_group]]\nname='g'\ninterface='eth0'\naddress='2001:db8::1'", "multicast_group.address" },
	{ "[[multicast_group]]\nname='g'\ninterface='an-interface-too-long'\naddress='ff03::4d43'", "multicast_group.interface" },
	{ "[[multicast_group]]\nname='a-name-of-thirty-two-bytes-is-too'\ninterface='e'\naddress='ff03::4d43'", "multicast_group.name" },
	{ "[[multicast_group]]\nname='g'\ninterface='e'\naddress='ff03::4d43'\nlink='thread'", "multicast_group.routers: missing" },
	{ "[[multicast_group]]\nname='g'\ninterface='e'\naddress='ff03::4d43'\nwindow_s=60\nwindow_period_s=30",
	  "multicast_group.window_period_s: shorter than the window; at least 60 would be right" },
	{ "[[multicast_group]]\nname='g'\ninterface='e'\naddress='ff03::1:2'\n[[multicast_group]]\nname='G'\ninterface='e'\naddress='ff03::1:2'",
	  "multicast_group.name: \"G\" is there already" },
	{ "[[multicast_group]]\nname='g'\naddress='ff03::1:2'", "multicast_group.interface" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\ncreate = true", "lowpan.parent: missing" },
	{ "[[lowpan]]\ninterface = 'wpan0'\ncreate = true\nkind = 'thread'", "create = false would be right" },
	{ "[[lowpan]]\ninterface = 'bt0'\ncreate = true\nkind = 'ble'", "lowpan.peers: missing" },
	{ "[[lowpan]]\ninterface = 'bt0'\nkind = 'ble'\npeers = ['hci0']", "a Bluetooth address" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\nparent = 'lowpan0'", "the interface itself" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\nadvertise = true", "lowpan.address: missing" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\nadvertise = true\naddress = 'fd00::1/48'", "/64 would be right" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\naddress = 'fd00::1'", "with its prefix length" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\naddress = 'fd00::1/129'", "with its prefix length" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\naddress = 'fe80::1/64'", "with its prefix length" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\naddress = 'ff02::1/64'", "with its prefix length" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\npan_id = 65536", "lowpan.pan_id" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\nblock_bytes = 100", "not a size of CoAP's blocks" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\nblock_bytes = 8", "not a size of CoAP's blocks" },
	{ "[[lowpan]]\ninterface = 'lowpan0'\n[[lowpan]]\ninterface = 'lowpan0'", "lowpan.interface: \"lowpan0\" is there already" },
	{ "[multicast]\nsample_min = 9\nsample_max = 8", "multicast.sample_min: more than sample_max; at most 8 would be right" },
	/* keys and tables that are not there */
	{ "\nlisten = 1", "/etc/d.toml:2: listen: unknown key; did you mean coap.listen?" },
	{ "[coap]\nlisen = []", "/etc/d.toml:2: coap.lisen: unknown key; did you mean coap.listen?" },
	{ "[[source]]\nname='a'\nkind='folder'\npath='/x'\npoll=3", "d.toml:5: source.poll: unknown key; did you mean source.poll_s?" },
	{ "[http]\nsession_timeout_s = 3", "http.session_timeout_s: unknown key; did you mean coap.session_timeout_s?" },
	{ "[coap]\nqqqqqqqqqq = 1", "coap.qqqqqqqqqq: unknown key; dormouse.toml(5) lists them" },
	{ "[caop]", "d.toml:1: caop: unknown table; did you mean [coap]?" },
	{ "[[sources]]", "sources: unknown table; did you mean [[source]]?" },
	{ "[zzz]", "zzz: unknown table; dormouse.toml(5) lists them" },
	{ "[coap.x]\ny = 1", "d.toml:1: coap.x: unknown key" },
	{ "[\"\"]\nstate_dir = '/x'", "unknown table" },
	{ "\"a\\u0000b\" = 1", "a\\x00b: unknown key" },
	{ "\"a\\nb\" = 1", "a\\x0ab: unknown key" },
	{ "[[coap]]", "coap: one table; [coap] would be right" },
	{ "[source]\nname = 'x'", "source: one of several tables; [[source]] would be right" },
	{ "coap = 3", "coap: an integer; [coap] with keys below it would be right" },
	{ "source = ['x']", "source: a list; [[source]] with keys below it would be right" },
	/* not TOML */
	{ "state_dir = '/x'\nstate_dir = '/y'", "d.toml:2: " },
	{ "[coap\n", "d.toml:1: " },
	{ "\n\n[.a]\nx = 1\n\n", "d.toml:3: not TOML: incomplete or misplaced" }, /* an assertion in toml++ 3.3.0 */
	{ "x = \"\xff\"", "d.toml:1: " },
	{ "x = 2\xc9\xac\n", "d.toml:1: " }, /* a hole in the tables of toml++ 3.3.0 */
	/* types */
	{ "state_dir = 3", "state_dir: an integer; a string would be right" },
	{ "[coap]\nlisten = 'coap://[::]:1'", "coap.listen: a string; a list of strings would be right" },
	{ "[coap]\nlisten = [3]", "coap.listen: an integer in the list; strings would be right" },
	{ "[coap]\nlisten = [['x']]", "coap.listen: a list in the list; strings would be right" },
	{ "[coap]\nforward_proxy = 1", "coap.forward_proxy: an integer; true or false would be right" },
	{ "[coap]\nforward_proxy = 'yes'", "coap.forward_proxy: a string; true or false would be right" },
	{ "[coap]\nmax_sessions = 1.5", "coap.max_sessions: a number with a point; an integer would be right" },
	{ "[coap]\nmax_sessions = true", "coap.max_sessions: a boolean; an integer would be right" },
	{ "[coap]\nmax_sessions = 1979-05-27", "coap.max_sessions: a date; an integer would be right" },
	{ "[log]\nlevel = {}", "log.level: a table; a string would be right" },
	/* ranges and units */
	{ "[worker]\nthreads = 0", "worker.threads: 0 is out of range; 1 to 32 would be right" },
	{ "[worker]\nthreads = 33", "worker.threads: 33 is out of range; 1 to 32 would be right" },
	{ "[worker]\nthreads = -1", "worker.threads: a negative number; an integer would be right" },
	{ "[worker]\nthreads = '2 min'", "worker.threads: \"2 min\"; an integer would be right" },
	{ "[cache]\nquota_bytes = '64 mb'", "cache.quota_bytes: \"64 mb\"; an integer of bytes, or a string such as \"64 MiB\" would be right" },
	{ "[cache]\nquota_bytes = '99999999999 GiB'", "cache.quota_bytes: \"99999999999 GiB\" is too large" },
	{ "[cache]\nquota_bytes = '99999999999999999999'", "is too large" },
	{ "[cache]\nquota_bytes = ''", "cache.quota_bytes: \"\"; an integer of bytes" },
	{ "[cache]\nquota_bytes = '1 KiB'", "cache.quota_bytes: \"1 KiB\" is out of range; \"1 MiB\" to" },
	{ "[rollout]\nretry_s = 'soon'", "rollout.retry_s: \"soon\"; an integer of seconds" },
	{ "[http]\nsocket_mode = 660", "http.socket_mode: 0o1224 is out of range; 0o0 to 0o777 would be right" },
	{ "[http]\nsocket_mode = '0888'", "http.socket_mode: \"0888\"; permissions such as 0o660" },
	/* words and shapes */
	{ "[log]\nlevel = 'loud'", "log.level: \"loud\" is none of the words; \"error\", \"warning\", \"notice\", \"info\" or \"debug\" would be right" },
	{ "[directory]\ndurable = ''", "directory.durable: \"\" is none of the words; \"commit\" or \"memory\" would be right" },
	{ "state_dir = ''", "state_dir: \"\"; the path of a file would be right" },
	{ "state_dir = \"/a\\nb\"", "state_dir: control characters; printable text would be right" },
	{ "state_dir = '${HOME}/x'", "state_dir: unknown variable in a path; ${CREDENTIALS_DIRECTORY}/" },
	{ "state_dir = '${STATE_DIRECTORYX}/x'", "state_dir: unknown variable in a path" },
	{ "state_dir = '${STATE_DIRECTORY}x'", "state_dir: unknown variable in a path" },
	{ "[http]\ntoken_file = '${CREDENTIALS_DIRECTORY}/t'", "http.token_file: CREDENTIALS_DIRECTORY is not set in the environment" },
	{ "[coap]\nlisten = ['coap://example.org:5683']", "coap.listen: \"coap://example.org:5683\"; an address such as" },
	{ "[coap]\nlisten = ['udp://[::]:1']", "an address such as" },
	{ "[coap]\nlisten = ['coap://[::]:65536']", "an address such as" },
	{ "[coap]\nlisten = ['coap://[::1']", "an address such as" },
	{ "[coap]\nlisten = ['coap://1.2.3:5']", "an address such as" },
	{ "[coap]\nlisten = ['coap://[fe80::1%]:5']", "an address such as" },
	{ "[coap]\nlisten = ['']", "coap.listen: an empty string in the list; leaving it out would be right" },
	{ "[coap]\nlisten = ['coap://[::]:1', 'coap://[::]:1']", "\"coap://[::]:1\" stands in the list twice; once would be right" },
	{ "[http]\nlisten = ['127.0.0.1']", "http.listen: \"127.0.0.1\"; \"127.0.0.1:8080\"" },
	{ "[http]\nlisten = ['unix:']", "http.listen: \"unix:\"; " },
	{ "[directory]\npath = '/rd'", "directory.path: \"/rd\"; path segments such as" },
	{ "[directory]\npath = 'a/../b'", "directory.path: \"a/../b\"; path segments" },
	{ "[directory]\npath = 'a/'", "directory.path: \"a/\"; path segments" },
	{ "[directory]\npath = 'a b'", "path segments" },
	{ "[audit]\norigin = ''", "audit.origin: \"\"; 1 to 63 letters" },
	{ "[audit]\norigin = 'a+b'", "audit.origin: \"a+b\"; 1 to 63 letters" },
	/* what one kind of source needs */
	{ "[[source]]", "d.toml:1: source.name: missing; Name in the log" },
	{ "[[source]]\nname='a'", "d.toml:1: source.kind: missing; " },
	{ "[[source]]\nname='a'\nkind='https'", "d.toml:3: source.url: missing; an https source needs the URL" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='https://h/x'\npath='/x'", "d.toml:5: source.path: an https source has none" },
	{ "[[source]]\nname='a'\nkind='folder'", "d.toml:3: source.path: missing; a folder source needs" },
	{ "[[source]]\nname='a'\nkind='folder'\npath='/x'\nurl='https://h/x'", "source.url: a folder source has none" },
	{ "[[source]]\nname='a'\nkind='ftp'\nurl='https://h/x'", "source.kind: \"ftp\" is none of the words; \"https\" or \"folder\"" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='http://h/x'", "source.url: plain http; https://, or allow_http = true" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='ftp://h/x'", "source.url: \"ftp://h/x\"; a URL such as" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='https://u:p@h/x'", "without user, password" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='https:///x'", "a URL such as" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='https://h/ x'", "a URL such as" },
	{ "[[source]]\nname='a'\nkind='folder'\npath='/x'\n[[source]]\nname='A'\nkind='folder'\npath='/y'",
	  "d.toml:6: source.name: \"A\" is there already" },
	{ "[[source]]\nname='a b'\nkind='folder'\npath='/x'", "source.name: \"a b\"; 1 to 63 letters" },
	{ "[[source]]\nname='a'\nkind='https'\nurl='https://h/x'\npoll_s=100\nbackoff_max_s=50", "d.toml:6: source.backoff_max_s: shorter than poll_s" },
	/* anchors and policies */
	{ "[[anchor]]\nname='a'\nfile='/x'", "anchor.vendor_ids: missing" },
	{ "[[anchor]]\nname='a'\nfile='/x'\nvendor_ids=[]", "anchor.vendor_ids: an empty list; at least one item would be right" },
	{ "[[anchor]]\nname='a'\nfile='/x'\nvendor_ids=['acme']", "anchor.vendor_ids: \"acme\"; a UUID such as" },
	{ "[[anchor]]\nname='a'\nfile='/x'\nvendor_ids=['any']\nhosts=['https://h']", "anchor.hosts: \"https://h\"; a host name such as" },
	{ "[[policy]]\nclass_id='1492af14-2569-5e48-bf42-9b2d51f2ab45'", "policy.policy: missing" },
	{ "[[policy]]\nclass_id='x'\npolicy='auto'", "policy.class_id: \"x\"; a UUID" },
	/* permits */
	{ "[[permit]]\ndevice='a'\nuntil='2027-01-31T18:00:00Z'\nreason='x'", "permit.kind: missing" },
	{ "[[permit]]\nkind='any'\ndevice='a'\nuntil='2027-01-31T18:00:00Z'\nreason='x'", "permit.kind: \"any\" is none of the words; \"legacy-dfu\"" },
	{ "[[permit]]\nkind='legacy-dfu'\ndevice='a'\nuntil='2027-01-31T18:00:00Z'", "permit.reason: missing" },
	{ "[[permit]]\nkind='legacy-dfu'\ndevice='a'\nuntil='tomorrow'\nreason='x'", "permit.until: \"tomorrow\"; a time such as" },
	{ "[[permit]]\nkind='legacy-dfu'\ndevice='a'\nuntil='1800000000'\nreason='x'", "permit.until: \"1800000000\"; a time such as" },
	{ "[[permit]]\nkind='legacy-dfu'\ndevice='a'\nuntil='2027-01-31T18:00:00'\nreason='x'", "a time such as" },
	/* doors */
	{ "[http]\ncert_file = '/c'", "d.toml:2: http.cert_file: a certificate without its key; http.key_file beside it" },
	{ "[coap]\nkey_file = '/k'", "coap.key_file: a key without its certificate; coap.cert_file beside it" },
	{ "[coap]\nca_file = '/k'", "coap.ca_file: client certificates without one of our own" },
	{ "[http]\nlisten = ['0.0.0.0:8080']", "d.toml:2: http.listen: 0.0.0.0:8080 is reachable by others and has no TLS" },
	{ "[http]\nlisten = ['[::]:8080']", "http.listen: [::]:8080 is reachable by others and asks for no token" },
	{ "[http]\nlisten = ['[::]:80']\ncert_file='/c'\nkey_file='/k'", "asks for no token" },
	{ "[http]\nlisten = ['[::]:80']\ntoken_file='/t'", "has no TLS" },
	{ "[directory]\nopen_anywhere = true", "directory.open_anywhere: means nothing alone" },
	{ "[directory]\nauto_enrol = true", "directory.auto_enrol: coap://[::]:5683 is open to others than this machine" },
	{ "[directory]\npath = 'fw'", "directory.path: the same path as delivery.path" },
	{ "[directory]\nlookup_ep_path = 'x'\nlookup_res_path = 'x'", "d.toml:3: directory.lookup_res_path: the same path as directory.lookup_ep_path" },
	{ "[admin]\ncoap = true", "admin.coap: nobody may use it; admin.credentials_file" },
	{ "[coap]\nlisten=['coap://[::]']\n[admin]\ncoap = true\ncredentials_file = '/c'", "admin.coap: no coaps:// address" },
	{ "[coap]\nblock1_peer_bytes = '32 MiB'", "coap.block1_peer_bytes: more for one peer than for all" },
	{ "[cache]\nimage_max_bytes = '3 GiB'", "cache.image_max_bytes: larger than the whole cache" },
};

static void every_mistake_is_told_with_its_line_and_what_would_be_right(void **state)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		_cleanup_free_ char *says = errors_of(refused[i].text);
		if (!strstr(says, refused[i].says))
			fail_msg("row %zu: %s\ngave: %s\nwanted: %s", i, refused[i].text, says, refused[i].says);
		assert_int_equal(strncmp(says, "/etc/d.toml:", 12), 0);
	}
}

static const char *const accepted[] = {
	"source = []",
	"source = [{ name = 'a', kind = 'folder', path = '/x' }]",
	"[coap]\nlisten = []\n[http]\nlisten = []",
	"[coap]\nlisten = ['coap://[fe80::1%eth0]:5683', 'coaps://192.0.2.1', 'coap://0.0.0.0:0']",
	"[http]\nlisten = ['[::1]:0', '127.9.9.9:1', '[::ffff:127.0.0.1]:1']",
	"[http]\nlisten = ['0.0.0.0:443']\ncert_file='c'\nkey_file='k'\ntoken_file='t'",
	"[coap]\nlisten=['coap://127.0.0.1:0','coaps://[::1]:0']\n[directory]\nopen = true\nauto_enrol = true",
	"[directory]\nopen = true\nopen_anywhere = true",
	"[admin]\ncoap = true\ncredentials_file = 'c'",
	"[[source]]\nname='a'\nkind='https'\nurl='http://127.0.0.1:8000/i.txt'\nallow_http=true\nallow_private=true",
	"[cache]\nquota_bytes = 2000000\nimage_max_bytes = '1 MB'",
	"[http]\nsocket_mode = '0600'",
	"state_dir = \"\"\"/x\\\n   \xc3\xa9\"\"\"", /* the same hole */
	"\xef\xbb\xbfstate_dir = '/x' # with a byte order mark\r\n",
};

static void what_is_right_is_accepted(void **state)
{
	for (size_t i = 0; i < sizeof(accepted) / sizeof(*accepted); i++) {
		_cleanup_free_ char *says = errors_of(accepted[i]);
		if (*says)
			fail_msg("%s\ngave: %s", accepted[i], says);
	}
}

static void all_mistakes_are_told_at_once_in_the_order_of_lines(void **state)
{
	_cleanup_free_ char *says = errors_of("[worker]\nthreads = 0\n[log]\nlevel = 'x'\n[[source]]\nname = 'a'\nkind = 'https'\n"
					      "[coap]\nnope = 1\ncert_file = '/c'\n");

	assert_string_equal(says, "/etc/d.toml:2: worker.threads: 0 is out of range; 1 to 32 would be right\n"
				  "/etc/d.toml:4: log.level: \"x\" is none of the words; \"error\", \"warning\", \"notice\", \"info\" or \"debug\" would be right\n"
				  "/etc/d.toml:9: coap.nope: unknown key; dormouse.toml(5) lists them\n"
				  "/etc/d.toml:10: coap.cert_file: a certificate without its key; coap.key_file beside it would be right\n"
				  "/etc/d.toml:7: source.url: missing; an https source needs the URL of an envelope or of an index\n");
}

static void a_refused_value_causes_no_second_complaint(void **state)
{
	_cleanup_free_ char *says = errors_of("[[source]]\nname = 'a'\nkind = 'https'\nurl = 'nonsense'\n");

	assert_null(strstr(says, "missing"));
	assert_ptr_equal(strchr(says, '\n'), says + strlen(says) - 1);
}

static void complaints_are_bounded(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	unsigned lines = 0;

	for (int i = 0; i < 5000; i++)
		buf_printf(&b, "x%d = 1\n", i);
	_cleanup_free_ char *says = errors_of(buf_str(&b));
	for (char *p = says; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, CONFIG_ERRORS_MAX + 1);
	assert_non_null(strstr(says, "\n... and more\n"));
}

static void limits_hold_and_one_more_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (int i = 0; i < CONFIG_SOURCES_MAX; i++)
		buf_printf(&b, "[[source]]\nname = 's%d'\nkind = 'folder'\npath = '/x'\n", i);
	_cleanup_free_ char *says = errors_of(buf_str(&b));
	assert_string_equal(says, "");
	buf_add_str(&b, "[[source]]\nname = 'one-more'\nkind = 'folder'\npath = '/x'\n");
	_cleanup_free_ char *more = errors_of(buf_str(&b));
	assert_string_equal(more, "/etc/d.toml:257: source: too many tables; at most 64 would be right\n");

	buf_clear(&b);
	buf_add_str(&b, "[[anchor]]\nname='a'\nfile='/x'\nvendor_ids=['any']\nhosts=[");
	for (int i = 0; i < CONFIG_LIST_MAX; i++)
		buf_printf(&b, "'h%d',", i);
	size_t n = b.n;
	buf_add_str(&b, "]\n");
	_cleanup_free_ char *list = errors_of(buf_str(&b));
	assert_string_equal(list, "");
	b.n = n;
	buf_add_str(&b, "'more']\n");
	_cleanup_free_ char *list_more = errors_of(buf_str(&b));
	assert_non_null(strstr(list_more, "anchor.hosts: too many items; at most 64 would be right"));

	buf_clear(&b);
	buf_add_str(&b, "state_dir = '/");
	memset(buf_grow(&b, CONFIG_STRING_BYTES_MAX), 'x', CONFIG_STRING_BYTES_MAX);
	buf_add_str(&b, "'\n");
	_cleanup_free_ char *text = errors_of(buf_str(&b));
	assert_non_null(strstr(text, "state_dir: too long; at most 4096 bytes would be right"));

	buf_clear(&b);
	memset(buf_grow(&b, CONFIG_FILE_BYTES_MAX), '\n', CONFIG_FILE_BYTES_MAX);
	_cleanup_free_ char *big = errors_of(buf_str(&b));
	assert_string_equal(big, "");
	buf_add_str(&b, "\n");
	_cleanup_free_ char *bigger = errors_of(buf_str(&b));
	assert_string_equal(bigger, "/etc/d.toml: too large; at most 1 MiB would be right\n");
}

/* The parser recurses; half a megabyte of "a." must not reach it. */
static void deep_nesting_is_refused_before_the_parser(void **state)
{
	static const char *const units[] = { "a.", "[", "{a=", "\"a\" . ", "'a'.", "[{a=" };

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		buf_add_str(&b, "\nx = ");
		if (units[i][0] != '[' && units[i][0] != '{')
			buf_clear(&b);
		for (int n = 0; n < 100000; n++)
			buf_add_str(&b, units[i]);
		_cleanup_free_ char *says = errors_of(buf_str(&b));
		assert_non_null(strstr(says, "nested too deep"));
	}
	_cleanup_free_ char *dots = errors_of("state_dir = '/a.b.c.d.e.f.g.h.i.j.k.l.m.n' # a.b.c.d.e.f.g.h.i.j.k\n"
					      "[audit]\norigin = \"a.b.c.d.e.f.g.h.i.j.k.l\"\n"
					      "[log]\nlevel = '''info'''\n");
	assert_string_equal(dots, "");
	_cleanup_free_ char *after = errors_of("state_dir = \"\"\"/a\\\"\n[[[[[[[[[[[[\n\"\"\"\na.b.c.d.e.f.g.h.i.j = 1\n");
	assert_non_null(strstr(after, "/etc/d.toml:4: nested too deep"));
}

static void a_file_is_refused_or_read_at_every_truncation(void **state)
{
	static const char text[] = "state_dir = \"/x\"\n[coap]\nlisten = [\"coap://[::1]:5683\"]\n"
				   "[[source]]\nname = 'a'\nkind = 'folder'\npath = '/d'\n";

	for (size_t n = 0; n < sizeof(text); n++) {
		_cleanup_free_ char *part = mem_strndup(SPAN(text, n));
		free(errors_of(part)); /* which of the two it is, errors_of() sees to */
	}
}

/* Files and drop-ins. */
static char dir[] = "/tmp/dormouse-config-XXXXXX";
static int dirfd_ = -1;

static int dir_make(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 || mkdirat(dirfd_, "dormouse.d", 0700) < 0 ? -1 : 0;
}

static int dir_remove(void **state)
{
	static const char *const names[] = { "dormouse.d/10-a.toml", "dormouse.d/20-b.toml", "dormouse.d/.hidden.toml",
					     "dormouse.d/notes.txt", "main.toml" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		(void)unlinkat(dirfd_, names[i], 0); /* not every test made each */
	(void)unlinkat(dirfd_, "dormouse.d", AT_REMOVEDIR);
	close(dirfd_);
	return rmdir(dir);
}

static void put(const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int load_main(struct config **ret, struct buf *error)
{
	_cleanup_free_ char *file = mem_printf("%s/main.toml", dir);

	return config_load(file, ret, error);
}

static void drop_ins_come_later_and_tables_add_up(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };

	put("main.toml", "[log]\nlevel = 'error'\n[coap]\nlisten = ['coap://[::1]:1']\n[[source]]\nname='m'\nkind='folder'\npath='drop'\n");
	put("dormouse.d/20-b.toml", "[log]\nlevel = 'debug'\n[[source]]\nname='b'\nkind='folder'\npath='drop'\n");
	put("dormouse.d/10-a.toml", "[log]\nlevel = 'notice'\n[coap]\nmax_sessions = 7\nlisten = []\n");
	put("dormouse.d/.hidden.toml", "nonsense");
	put("dormouse.d/notes.txt", "nonsense");
	assert_int_equal(load_main(&c, &error), 0);
	assert_string_equal(buf_str(&error), "");
	assert_string_equal(c->log.level, "debug");
	assert_int_equal(c->coap.max_sessions, 7);
	assert_null(c->coap.listen[0]);
	assert_int_equal(c->n_sources, 2);
	assert_string_equal(c->sources[0].name, "m");
	assert_string_equal(c->sources[1].name, "b");
	_cleanup_free_ char *beside_main = mem_printf("%s/drop", dir), *beside_dropin = mem_printf("%s/dormouse.d/drop", dir);
	assert_string_equal(c->sources[0].path, beside_main);
	assert_string_equal(c->sources[1].path, beside_dropin);
}

static void mistakes_of_all_files_are_told(void **state)
{
	struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };

	put("main.toml", "[log\n");
	put("dormouse.d/10-a.toml", "[worker]\nthreads = 99\n");
	put("dormouse.d/20-b.toml", "[http]\ncert_file = 'c'\n");
	assert_int_equal(load_main(&c, &error), -EINVAL);
	assert_null(c);
	assert_non_null(strstr(buf_str(&error), "/main.toml:1: "));
	assert_non_null(strstr(buf_str(&error), "/dormouse.d/10-a.toml:2: worker.threads: 99 is out of range"));
	assert_non_null(strstr(buf_str(&error), "/dormouse.d/20-b.toml:2: http.cert_file: a certificate without its key"));
}

static void a_missing_file_is_told(void **state)
{
	struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };

	assert_int_equal(config_load("/nonexistent/d.toml", &c, &error), -ENOENT);
	assert_string_equal(buf_str(&error), "/nonexistent/d.toml: No such file or directory\n");
	buf_clear(&error);
	assert_int_equal(config_load(dir, &c, &error), -EISDIR);
	assert_null(c);
}

static void directories_of_the_service_manager_are_filled_in(void **state)
{
	assert_int_equal(setenv("STATE_DIRECTORY", "/var/lib/private/dormouse:/other", 1), 0);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1), 0);
	_cleanup_(config_freep) struct config *c = good("[http]\ntoken_file = '${CREDENTIALS_DIRECTORY}/token'\n"
							"[coap]\ncert_file = '${STATE_DIRECTORY}/c'\nkey_file = '${CREDENTIALS_DIRECTORY}'");
	unsetenv("STATE_DIRECTORY");
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_string_equal(c->state_dir, "/var/lib/private/dormouse");
	assert_string_equal(c->http.token_file, "/run/credentials/x/token");
	assert_string_equal(c->coap.cert_file, "/var/lib/private/dormouse/c");
	assert_string_equal(c->coap.key_file, "/run/credentials/x");
}

int main(void)
{
	unsetenv("STATE_DIRECTORY");
	unsetenv("CREDENTIALS_DIRECTORY");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(every_table_is_read),
		cmocka_unit_test(every_mistake_is_told_with_its_line_and_what_would_be_right),
		cmocka_unit_test(what_is_right_is_accepted),
		cmocka_unit_test(all_mistakes_are_told_at_once_in_the_order_of_lines),
		cmocka_unit_test(a_refused_value_causes_no_second_complaint),
		cmocka_unit_test(complaints_are_bounded),
		cmocka_unit_test(limits_hold_and_one_more_is_refused),
		cmocka_unit_test(deep_nesting_is_refused_before_the_parser),
		cmocka_unit_test(a_file_is_refused_or_read_at_every_truncation),
		cmocka_unit_test(drop_ins_come_later_and_tables_add_up),
		cmocka_unit_test(mistakes_of_all_files_are_told),
		cmocka_unit_test(a_missing_file_is_told),
		cmocka_unit_test(directories_of_the_service_manager_are_filled_in),
	};

	return cmocka_run_group_tests_name("config/load", tests, dir_make, dir_remove);
}
