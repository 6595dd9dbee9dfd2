/* cli/cmd_audit.c - the audit log: entries from the API, proofs out of it, and their check without the daemon. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/api.h"
#include "cli/files.h"
#include "store/audit_log.h"
#include "trust/tlog_note.h"

static const struct column columns[] = {
	{ "INDEX", "index", COL_TEXT, NULL },          { "AT", "entry.at", COL_TIME, NULL },
	{ "KIND", "entry.kind", COL_TEXT, NULL },      { "SUBJECT", "entry.subject", COL_SHORT, NULL },
	{ "DATA", "entry.data", COL_TEXT, NULL },
};

struct audit_args {
	const char *subject, *key, *state, *out;
};

static int parse(int argc, char **argv, struct audit_args *ret)
{
	static const struct option options[] = {
		{ "subject", required_argument, NULL, 's' }, { "key", required_argument, NULL, 'k' },
		{ "state", required_argument, NULL, 'd' },   { "output", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (c == 's')
			ret->subject = optarg;
		else if (c == 'k')
			ret->key = optarg;
		else if (c == 'd')
			ret->state = optarg;
		else if (c == 'o')
			ret->out = optarg;
		else
			return CLI_USAGE;
	}
	return CLI_OK;
}

static int list(const struct cli *cli, const struct audit_args *args)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_add_str(&path, "audit");
	api_query_add(&path, "subject", args->subject);
	return api_list(cli, buf_str(&path), columns, sizeof(columns) / sizeof(*columns));
}

/* The text in one field of the answer: signed texts must come out byte for byte. */
static int text_field(const struct cli *cli, const char *path, const char *field, const char *out)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	int r = api_call(cli, "GET", path, SPAN_NONE, &a);

	if (r != CLI_OK)
		return r;
	const char *text = a.doc ? json_get_str(json_root(a.doc), field) : NULL;
	if (!text)
		return cli_error("the answer has no %s: is %s dormoused?", field, cli->api);
	return files_write(out ? out : "-", span_str(text), 0644) < 0 ? CLI_FAILED : CLI_OK;
}

static int prove(const struct cli *cli, const char *subject, const struct audit_args *args)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	_cleanup_buf_ struct buf path = { 0 }, text = { 0 };

	buf_add_str(&path, "audit/prove");
	api_query_add(&path, "subject", subject);
	int r = api_call(cli, "GET", buf_str(&path), SPAN_NONE, &a);
	if (r != CLI_OK)
		return r;
	if (!a.doc)
		return cli_error("the answer is not JSON: is %s dormoused?", cli->api);
	json_dump(json_root(a.doc), true, &text);
	buf_add_str(&text, "\n");
	if (files_write(args->out ? args->out : "-", buf_span(&text), 0644) < 0)
		return CLI_FAILED;
	if (args->out)
		fprintf(stderr, "check it anywhere: dormousectl audit verify %s --key KEY, where KEY is the gateway's audit.pub\n", args->out);
	return CLI_OK;
}

/* --key: the text itself, or a file with it. */
static int load_key(const char *arg, struct tlog_key *ret)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (!arg)
		return cli_error("verify wants --key: the gateway's audit.pub, or its text, got by a way you trust "
				 "(a key that came with the proof proves nothing)");
	if (tlog_key_parse(span_str(arg), ret) >= 0)
		return CLI_OK;
	if (files_read_line(arg, &text) < 0)
		return CLI_FAILED;
	if (tlog_key_parse(buf_span(&text), ret) < 0)
		return cli_error("%s: not the public key of a log (name+hash+base64, Ed25519)", arg);
	return CLI_OK;
}

static const char *reason_of(int error)
{
	switch (error) {
	case -EKEYREJECTED:
		return "not signed by this key";
	case -ENODATA:
		return "the path does not lead from this entry to the signed root";
	case -EMSGSIZE:
		return "larger than any proof of ours";
	default:
		return "malformed";
	}
}

static int verify_proof(const char *file, struct span text, const struct tlog_key *key)
{
	_cleanup_buf_ struct buf entry = { 0 }, shown = { 0 };
	struct tlog_proof p;
	int r = tlog_proof_verify(text, key, SPAN_NONE, &p, &entry);

	if (r < 0) {
		printf("%s: REFUSED: %s\n", file, reason_of(r));
		return CLI_REJECTED;
	}
	text_add_escaped(&shown, buf_span(&entry), AUDIT_ENTRY_BYTES_MAX);
	printf("%s: proven: entry %" PRIu64 " of %" PRIu64 ": %s\n", file, p.index, p.checkpoint.size, buf_str(&shown));
	return CLI_OK;
}

/* What `audit prove` wrote. The key in it is not looked at. */
static int verify_answer(const char *file, const struct json_value *root, const struct tlog_key *key)
{
	const struct json_value *proofs = json_get(root, "proofs");
	size_t n = proofs && json_is_array(proofs) ? json_n(proofs) : 0;
	int worst = n ? CLI_OK : cli_error("%s: holds no proofs", file);

	for (size_t i = 0; i < n; i++) {
		const char *text = json_get_str(json_at(proofs, i), "proof");
		int r = text ? verify_proof(file, span_str(text), key) : cli_error("%s: proof %zu has no text", file, i);
		worst = r > worst ? r : worst;
	}
	return worst;
}

static int verify_file(const char *file, const struct tlog_key *key)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	struct tlog_checkpoint cp;
	char error[120], hex[DIGEST_HEX_BYTES];

	if (files_read(file, FILES_OBJECT_BYTES_MAX, &text) < 0)
		return CLI_FAILED;
	if (json_parse(buf_span(&text), &doc, error, sizeof(error)) >= 0)
		return verify_answer(file, json_root(doc), key);
	int r = tlog_checkpoint_verify(buf_span(&text), key, &cp);
	if (r == 0) {
		printf("%s: signed head of %" PRIu64 " entries, root %s\n", file, cp.size, digest_hex(&cp.root, hex));
		return CLI_OK;
	}
	return verify_proof(file, buf_span(&text), key);
}

static int verify_state(const char *dir)
{
	uint64_t bad = 0, size = 0;
	int r = audit_log_check(dir, &bad, &size);

	if (r == -EBADMSG) {
		printf("%s: REFUSED: the log does not fit from entry %" PRIu64 " of %" PRIu64 "\n", dir, bad, size);
		return CLI_REJECTED;
	}
	if (r < 0)
		return cli_error("%s: cannot read the log: %s (a state directory of dormoused is wanted)", dir, strerror(-r));
	printf("%s: %" PRIu64 " entries, the tree is the one that was signed\n", dir, size);
	return CLI_OK;
}

/* Nothing named: the state directory of the daemon that we can ask, when it is on this machine. */
static int verify_daemon(const struct cli *cli)
{
	__attribute__((cleanup(api_answer_done))) struct api_answer a = { 0 };
	int r = api_call(cli, "GET", "status", SPAN_NONE, &a);

	if (r != CLI_OK)
		return r;
	const char *dir = a.doc ? json_get_str(json_root(a.doc), "state_dir") : NULL;
	return dir ? verify_state(dir) : cli_error("the daemon does not tell its state directory: give --state DIR");
}

static int verify(const struct cli *cli, const struct audit_args *args, int argc, char **argv)
{
	struct tlog_key key;
	int worst = CLI_OK;

	if (!args->state && optind == argc)
		return verify_daemon(cli);
	if (args->state)
		worst = verify_state(args->state);
	if (optind < argc && load_key(args->key, &key) != CLI_OK)
		return CLI_FAILED;
	for (int i = optind; i < argc; i++) {
		int r = verify_file(argv[i], &key);
		worst = r > worst ? r : worst;
	}
	return worst;
}

int cmd_audit(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "list");
	struct audit_args args = { 0 };

	if (parse(argc, argv, &args) != CLI_OK)
		return CLI_USAGE;
	if (!strcmp(verb, "verify"))
		return verify(cli, &args, argc, argv);
	if (!strcmp(verb, "prove") && optind + 1 == argc)
		return prove(cli, argv[optind], &args);
	if (optind != argc)
		return cli_usage("audit");
	if (!strcmp(verb, "list"))
		return list(cli, &args);
	if (!strcmp(verb, "checkpoint"))
		return text_field(cli, "audit/checkpoint", "checkpoint", args.out);
	if (!strcmp(verb, "key"))
		return text_field(cli, "audit/key", "key", args.out);
	return cli_usage("audit");
}
