/* cli/cmd_devices.c - devices, their credentials, and what is registered in the directory. Keys come from
 * files, never from the command line, where every user of the machine could read them. */
#include <getopt.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/api.h"
#include "cli/files.h"

enum { SECRET_BYTES_MIN = 16, SECRET_BYTES_MAX = 64 };

static const struct column device_columns[] = {
	{ "DEVICE", "id", COL_TEXT, NULL },            { "STATE", "state", COL_STATE, NULL },
	{ "SEQ", "components.0.sequence", COL_TEXT, NULL }, { "VERSION", "components.0.version", COL_TEXT, NULL },
	{ "WAKE", "wake.kind", COL_TEXT, NULL },       { "PROOF", "proof", COL_TEXT, NULL },
	{ "IDENTITY", "identity", COL_TEXT, NULL },    { "SEEN", "last_seen", COL_TIME, NULL },
	{ "NAME", "name", COL_TEXT, NULL },
};

static const struct column endpoint_columns[] = {
	{ "ENDPOINT", "endpoint", COL_TEXT, NULL },    { "SECTOR", "sector", COL_TEXT, NULL },
	{ "DEVICE", "device", COL_TEXT, NULL },        { "BASE", "base", COL_TEXT, NULL },
	{ "EXPIRES IN", "expires_in_s", COL_SECONDS, NULL }, { "LINKS", "n_links", COL_TEXT, NULL },
	{ "LOCATION", "location", COL_TEXT, NULL },
};

static const struct column credential_columns[] = {
	{ "IDENTITY", "identity", COL_TEXT, NULL },    { "KIND", "kind", COL_TEXT, NULL },
	{ "DEVICE", "device", COL_TEXT, NULL },        { "ROLES", "roles", COL_WORDS, NULL },
};

enum { OPT_STATE = 256, OPT_NAME, OPT_VENDOR, OPT_CLASS, OPT_HW, OPT_DRIVER, OPT_PROOF, OPT_IDENTITY, OPT_WAKE, OPT_PSK, OPT_MAC, OPT_ROLE, OPT_ADDRESS,
       OPT_DEVICE, OPT_COUNT };

struct device_args {
	const char *value[OPT_COUNT - OPT_STATE];      /* by option */
};

static const char *arg(const struct device_args *a, int opt)
{
	return a->value[opt - OPT_STATE];
}

static int parse(int argc, char **argv, struct device_args *ret)
{
	static const struct option options[] = {
		{ "state", required_argument, NULL, OPT_STATE },
		{ "name", required_argument, NULL, OPT_NAME },
		{ "vendor", required_argument, NULL, OPT_VENDOR },
		{ "class", required_argument, NULL, OPT_CLASS },
		{ "hw", required_argument, NULL, OPT_HW },
		{ "driver", required_argument, NULL, OPT_DRIVER },
		{ "address", required_argument, NULL, OPT_ADDRESS },
		{ "proof", required_argument, NULL, OPT_PROOF },
		{ "identity", required_argument, NULL, OPT_IDENTITY },
		{ "wake", required_argument, NULL, OPT_WAKE },
		{ "psk-file", required_argument, NULL, OPT_PSK },
		{ "mac-key-file", required_argument, NULL, OPT_MAC },
		{ "role", required_argument, NULL, OPT_ROLE },
		{ "device", required_argument, NULL, OPT_DEVICE },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c < OPT_STATE)
			return CLI_USAGE;
		ret->value[c - OPT_STATE] = optarg;
	}
	return CLI_OK;
}

static int list(const struct cli *cli, const struct device_args *args)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_add_str(&path, "devices");
	api_query_add(&path, "state", arg(args, OPT_STATE));
	return api_list(cli, buf_str(&path), device_columns, sizeof(device_columns) / sizeof(*device_columns));
}

static void put_model(struct json_out *j, const struct device_args *a)
{
	uint8_t vendor[16], class[16];
	char text[TEXT_UUID_BYTES];

	if (!arg(a, OPT_VENDOR))
		return;
	uuid_of_vendor(span_str(arg(a, OPT_VENDOR)), vendor);
	json_str(j, "vendor_id", text_uuid(vendor, text));
	if (!arg(a, OPT_CLASS))
		return;
	uuid_of_class(vendor, span_str(arg(a, OPT_CLASS)), class);
	json_str(j, "class_id", text_uuid(class, text));
}

/* "always", "polls,P", "window,P,W": the words of the registration (man dormouse-coap.7). */
static int put_wake(struct json_out *j, const char *wake)
{
	_cleanup_free_ char *copy = mem_strdup(wake);
	char *save = NULL, *kind = strtok_r(copy, ",", &save), *period = strtok_r(NULL, ",", &save), *window = strtok_r(NULL, ",", &save);
	uint64_t p = 0, w = 0;

	if (!kind || (period && text_parse_u64(span_str(period), UINT32_MAX, &p, 0) < 0) ||
	    (window && text_parse_u64(span_str(window), UINT32_MAX, &w, 0) < 0))
		return cli_error("--wake is always, polls,SECONDS, or window,SECONDS,SECONDS, not \"%s\"", wake);
	json_open_object(j, "wake");
	json_str(j, "kind", kind);
	json_uint(j, "period_s", p);
	json_uint(j, "window_s", w);
	json_close_object(j);
	return CLI_OK;
}

static void put_given(struct json_out *j, const char *key, const char *value)
{
	if (value)
		json_str(j, key, value);
}

static void device_path(struct buf *path, const char *id, const char *below)
{
	buf_add_str(path, "devices/");
	api_path_add(path, id);
	buf_add_str(path, below);
}

static int add(const struct cli *cli, const char *id, const struct device_args *a)
{
	_cleanup_buf_ struct buf path = { 0 }, body = { 0 };
	struct json_out j = json_writer(&body);

	if (arg(a, OPT_CLASS) && !arg(a, OPT_VENDOR))
		return cli_error("--class wants --vendor with it: classes are named by their vendor");
	json_open_object(&j, NULL);
	put_given(&j, "name", arg(a, OPT_NAME));
	put_model(&j, a);
	put_given(&j, "hw_revision", arg(a, OPT_HW));
	put_given(&j, "driver", arg(a, OPT_DRIVER));
	put_given(&j, "address", arg(a, OPT_ADDRESS));
	put_given(&j, "proof", arg(a, OPT_PROOF));
	put_given(&j, "identity", arg(a, OPT_IDENTITY));
	if (arg(a, OPT_WAKE) && put_wake(&j, arg(a, OPT_WAKE)) != CLI_OK)
		return CLI_USAGE;
	json_close_object(&j);
	device_path(&path, id, "");
	return api_do(cli, "PUT", buf_str(&path), buf_span(&body), "enrolled");
}

static int set_state(const struct cli *cli, const char *id, const char *state)
{
	_cleanup_buf_ struct buf path = { 0 }, body = { 0 };
	struct json_out j = json_writer(&body);

	json_open_object(&j, NULL);
	json_str(&j, "state", state);
	json_close_object(&j);
	device_path(&path, id, "/state");
	return api_do(cli, "POST", buf_str(&path), buf_span(&body), state);
}

static int by_path(const struct cli *cli, const char *id, const char *method, const char *done)
{
	_cleanup_buf_ struct buf path = { 0 };

	device_path(&path, id, "");
	return done ? api_do(cli, method, buf_str(&path), SPAN_NONE, done) : api_show(cli, buf_str(&path));
}

/* A key in hex in a file; checked here, so that a typing error is not sent. */
static int read_secret(const char *file, struct buf *ret)
{
	uint8_t secret[SECRET_BYTES_MAX];
	size_t n;

	if (files_read_line(file, ret) < 0)
		return CLI_FAILED;
	int r = text_parse_hex_var(buf_span(ret), secret, sizeof(secret), &n);
	mem_wipe(secret, sizeof(secret));
	if (r < 0 || n < SECRET_BYTES_MIN)
		return cli_error("%s: wants %d to %d bytes in hex", file, SECRET_BYTES_MIN, SECRET_BYTES_MAX);
	return CLI_OK;
}

static int put_credential(const struct cli *cli, const char *identity, const char *kind, const char *file, const struct device_args *a)
{
	_cleanup_buf_ struct buf path = { 0 }, body = { 0 }, secret = { 0 };
	struct json_out j = json_writer(&body);
	const char *role = arg(a, OPT_ROLE);

	if (read_secret(file, &secret) != CLI_OK)
		return CLI_FAILED;
	json_open_object(&j, NULL);
	json_str(&j, "kind", kind);
	json_span(&j, "secret_hex", buf_span(&secret));
	json_open_array(&j, "roles");
	json_str(&j, NULL, role ? role : "device");
	json_close_array(&j);
	put_given(&j, "device", arg(a, OPT_DEVICE));
	json_close_object(&j);
	buf_add_str(&path, "credentials/");
	api_path_add(&path, identity);
	int r = api_do(cli, "PUT", buf_str(&path), buf_span(&body), "stored");
	mem_wipe(secret.p, secret.n);
	mem_wipe(body.p, body.n);
	return r;
}

static int credential(const struct cli *cli, const char *identity, const struct device_args *a)
{
	int r = CLI_OK;

	if (!arg(a, OPT_PSK) && !arg(a, OPT_MAC))
		return cli_error("credential wants --psk-file FILE or --mac-key-file FILE: a key in hex");
	if (arg(a, OPT_PSK))
		r = put_credential(cli, identity, "psk", arg(a, OPT_PSK), a);
	if (r == CLI_OK && arg(a, OPT_MAC))
		r = put_credential(cli, identity, "mac", arg(a, OPT_MAC), a);
	return r;
}

int cmd_devices(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	struct device_args args = { 0 };

	if (parse(argc, argv, &args) != CLI_OK)
		return CLI_USAGE;
	if (!strcmp(verb, "list") && optind == argc)
		return list(cli, &args);
	if (optind + 1 != argc)
		return cli_usage("devices");
	const char *id = argv[optind];
	if (!strcmp(verb, "show"))
		return by_path(cli, id, "GET", NULL);
	if (!strcmp(verb, "add"))
		return add(cli, id, &args);
	if (!strcmp(verb, "enrol"))
		return set_state(cli, id, "enrolled");
	if (!strcmp(verb, "quarantine"))
		return set_state(cli, id, "quarantined");
	if (!strcmp(verb, "retire"))
		return set_state(cli, id, "retired");
	if (!strcmp(verb, "remove"))
		return by_path(cli, id, "DELETE", "removed");
	if (!strcmp(verb, "credential"))
		return credential(cli, id, &args);
	return cli_usage("devices");
}

int cmd_endpoints(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "list") && argc == 1)
		return api_list(cli, "endpoints", endpoint_columns, sizeof(endpoint_columns) / sizeof(*endpoint_columns));
	bool remove = !strcmp(verb, "remove");
	if (argc != 2 || (!remove && strcmp(verb, "show") != 0))
		return cli_usage("endpoints");
	buf_add_str(&path, "endpoints/");
	api_path_add(&path, argv[1]);
	return remove ? api_do(cli, "DELETE", buf_str(&path), SPAN_NONE, "removed") : api_show(cli, buf_str(&path));
}

int cmd_credentials(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "kind", required_argument, NULL, 'k' }, { NULL, 0, NULL, 0 } };
	const char *verb = cli_verb(&argc, argv, "list"), *kind = NULL;
	_cleanup_buf_ struct buf path = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'k')
			return CLI_USAGE;
		kind = optarg;
	}
	if (!strcmp(verb, "list") && optind == argc && !kind)
		return api_list(cli, "credentials", credential_columns, sizeof(credential_columns) / sizeof(*credential_columns));
	if (strcmp(verb, "remove") != 0 || optind + 1 != argc)
		return cli_usage("credentials");
	buf_add_str(&path, "credentials/");
	api_path_add(&path, argv[optind]);
	api_query_add(&path, "kind", kind);
	return api_do(cli, "DELETE", buf_str(&path), SPAN_NONE, "removed");
}
