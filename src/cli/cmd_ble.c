/* cli/cmd_ble.c - Bluetooth LE: adapters, nodes in range, and pairing with them. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/api.h"

enum { PAIRING_S = 120, DIGITS_MAX = 32 };

static const struct column adapter_columns[] = {
	{ "ADAPTER", "name", COL_TEXT, NULL },         { "ADDRESS", "address", COL_TEXT, NULL },
	{ "POWER", "is_powered", COL_BOOL, NULL },     { "SCANS", "is_scanning", COL_BOOL, NULL },
	{ "PASSIVE", "is_passive", COL_BOOL, NULL },   { "LINKS", "links", COL_TEXT, NULL },
	{ "BLUETOOTH", "state", COL_TEXT, NULL },
};

static const struct column node_columns[] = {
	{ "NODE", "id", COL_TEXT, NULL },              { "ADDRESS", "address", COL_TEXT, NULL },
	{ "TYPE", "address_type", COL_TEXT, NULL },    { "NAME", "name", COL_TEXT, NULL },
	{ "DEVICE", "device", COL_TEXT, NULL },        { "ADAPTER", "adapter", COL_TEXT, NULL },
	{ "RSSI", "rssi", COL_TEXT, NULL },            { "LINK", "is_connected", COL_BOOL, NULL },
	{ "BUSY", "is_busy", COL_BOOL, NULL },         { "BOND", "is_bonded", COL_BOOL, NULL },
	{ "HEARD", "heard_s", COL_SECONDS, NULL },
};

#define COLUMNS(c_) (c_), sizeof(c_) / sizeof(*(c_))

static void node_path(struct buf *path, const char *id, const char *rest)
{
	buf_add_str(path, "ble/nodes/");
	api_path_add(path, id);
	buf_add_str(path, rest);
}

static int send_passkey(const struct cli *cli, const char *id, const char *digits, const char *done)
{
	_cleanup_buf_ struct buf path = { 0 }, body = { 0 };
	struct json_out o = json_writer(&body);

	node_path(&path, id, "/passkey");
	json_open_object(&o, NULL);
	json_str(&o, "passkey", digits);
	json_close_object(&o);
	return api_do(cli, "POST", buf_str(&path), buf_span(&body), done);
}

/* The node shows six digits: of who sits here, or of somebody else by another call. */
static int ask_digits(const struct cli *cli, const char *id)
{
	char digits[DIGITS_MAX];

	if (!isatty(STDIN_FILENO)) {
		(void)printf("the node shows six digits: dormousectl ble passkey %s DIGITS\n", id);
		return CLI_OK;
	}
	(void)printf("the node shows six digits: ");
	(void)fflush(stdout); /* a terminal */
	if (!fgets(digits, sizeof(digits), stdin))
		return cli_error("no digits; the pairing ends by itself");
	digits[strcspn(digits, "\r\n")] = 0;
	return send_passkey(cli, id, digits, "told");
}

struct follow {
	bool was_shown, was_asked;
	int result;                            /* once it has ended */
};

/* What the node's "pairing" says; true: it has ended. */
static bool follow_one(const struct cli *cli, const char *id, const struct json_value *pairing, struct follow *f)
{
	const char *state = json_get_str(pairing, "state"), *why = json_get_str(pairing, "why"), *passkey = json_get_str(pairing, "passkey");
	bool is_wanted = false;

	if (!state || strcmp(state, "done") == 0) {
		f->result = CLI_OK;
		return true;
	}
	if (strcmp(state, "failed") == 0) {
		_cleanup_buf_ struct buf b = { 0 };

		text_add_escaped(&b, span_str(why ? why : "it failed"), 1024);
		f->result = cli_error("%s", buf_str(&b));
		return true;
	}
	if (passkey && !f->was_shown) {
		(void)printf("type %.6s at the node\n", strspn(passkey, "0123456789") == strlen(passkey) ? passkey : "?");
		(void)fflush(stdout); /* for who waits for it */
		f->was_shown = true;
	}
	(void)json_get_bool(pairing, "is_passkey_wanted", &is_wanted);
	if (is_wanted && !f->was_asked) {
		f->was_asked = true;
		if (ask_digits(cli, id) != CLI_OK) {
			f->result = CLI_FAILED;
			return true;
		}
	}
	return false;
}

/* Until it has ended; a node that is gone after its bond was forgotten is no mistake. */
static int follow(const struct cli *cli, const char *id, bool is_unpair, const char *done)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct follow f = { 0 };

	node_path(&path, id, "");
	for (int i = 0; i < PAIRING_S * 2; i++) {
		__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
		int r = api_call_quietly(cli, "GET", buf_str(&path), SPAN_NONE, &a);
		const struct json_value *pairing = a.doc ? json_get(json_root(a.doc), "pairing") : NULL;

		if (r != CLI_OK)
			return r;
		if (a.status == 404 && is_unpair)
			break;
		if (a.status >= 400)
			return api_print_problem(&a);
		if (!pairing || follow_one(cli, id, pairing, &f)) {
			if (f.result != CLI_OK)
				return f.result;
			break;
		}
		(void)nanosleep(&(struct timespec){ .tv_nsec = 500 * 1000 * 1000 }, NULL); /* shorter when a signal comes */
		if (i == PAIRING_S * 2 - 1)
			return cli_error("no end in %d seconds; dormousectl ble show %s tells how it goes on", PAIRING_S, id);
	}
	(void)printf("%s\n", done);
	return CLI_OK;
}

static int pair(const struct cli *cli, const char *id, bool is_unpair)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf path = { 0 };

	node_path(&path, id, is_unpair ? "/bond" : "/pair");
	if (cli->json)
		return api_do(cli, is_unpair ? "DELETE" : "POST", buf_str(&path), SPAN_NONE, "");
	int r = api_call(cli, is_unpair ? "DELETE" : "POST", buf_str(&path), SPAN_NONE, &a);
	return r != CLI_OK ? r : follow(cli, id, is_unpair, is_unpair ? "forgotten" : "paired");
}

int cmd_ble(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "nodes");
	_cleanup_buf_ struct buf path = { 0 };

	if (!strcmp(verb, "nodes") && argc == 1)
		return api_list(cli, "ble/nodes", COLUMNS(node_columns));
	if (!strcmp(verb, "adapters") && argc == 1)
		return api_list(cli, "ble/adapters", COLUMNS(adapter_columns));
	if (!strcmp(verb, "passkey") && argc == 3)
		return send_passkey(cli, argv[1], argv[2], "told");
	if (argc != 2)
		return cli_usage("ble");
	if (!strcmp(verb, "pair") || !strcmp(verb, "unpair"))
		return pair(cli, argv[1], !strcmp(verb, "unpair"));
	if (strcmp(verb, "show") != 0)
		return cli_usage("ble");
	node_path(&path, argv[1], "");
	return api_show(cli, buf_str(&path));
}
