/* cli/cmd_verify.c - dormousectl verify: judge an envelope offline, with the daemon's own code. Exit 0 accepted,
 * 3 rejected, 4 not decodable, 5 could not decide; 1 and 2 when the question itself was wrong. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/out.h"
#include "trust/delegate.h"
#include "trust/verdict.h"

enum { OBJECTS_MAX = 64 };

struct question {
	const char *file, *anchors, *device, *payload;
	struct revocation_object objects[OBJECTS_MAX];
	struct buf bytes[OBJECTS_MAX];
	size_t n_objects;
	uint8_t mac_key[DELEGATE_KEY_BYTES_MAX];
	size_t n_mac_key;
	struct trust_facts facts;
	struct trust_device_facts device_facts;
};

static void question_done(struct question *q)
{
	for (size_t i = 0; i < q->n_objects; i++)
		buf_done(&q->bytes[i]);
	mem_wipe(q->mac_key, sizeof(q->mac_key));
}

static int add_object(struct question *q, enum revocation_kind kind, const char *path)
{
	if (q->n_objects == OBJECTS_MAX) {
		(void)cli_error("more than %d revocation files", OBJECTS_MAX);
		return -E2BIG;
	}
	int r = files_read_der(path, &q->bytes[q->n_objects]);
	if (r < 0)
		return r;
	q->objects[q->n_objects] = (struct revocation_object){
		.kind = kind, .url = "", .der = buf_span(&q->bytes[q->n_objects]), .fetched_at = wall_now(),
	};
	q->n_objects++;
	return 0;
}

static int uuid_from(const char *file, const struct json_value *o, const char *key, uint8_t ret[static 16], bool *ret_has)
{
	const char *s = json_get_str(o, key);

	*ret_has = s != NULL;
	if (!s || text_parse_uuid(span_str(s), ret) >= 0)
		return 0;
	(void)cli_error("%s: \"%s\" is not a UUID", file, key);
	return -EINVAL;
}

/* {"vendor_id":UUID, "class_id":UUID, "sequence":N} */
static int read_device(struct question *q)
{
	struct trust_device_facts *d = &q->device_facts;
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	char error[200];
	int64_t sequence;
	int r = files_read(q->device, FILES_CONFIG_BYTES_MAX, &text);

	if (r < 0)
		return r;
	r = json_parse(buf_span(&text), &doc, error, sizeof(error));
	if (r < 0 || !json_is_object(json_root(doc))) {
		(void)cli_error("%s: %s", q->device, r < 0 ? error : "an object is wanted: {\"vendor_id\":..., \"class_id\":..., \"sequence\":...}");
		return -EINVAL;
	}
	if (uuid_from(q->device, json_root(doc), "vendor_id", d->vendor_id, &d->has_vendor) < 0 ||
	    uuid_from(q->device, json_root(doc), "class_id", d->class_id, &d->has_class) < 0)
		return -EINVAL;
	d->has_sequence = json_get_int(json_root(doc), "sequence", &sequence) && sequence >= 0;
	d->sequence = d->has_sequence ? (uint64_t)sequence : 0;
	q->facts.device = d;
	return 0;
}

enum { OPT_ANCHORS = 256, OPT_CRL, OPT_OCSP, OPT_DEVICE, OPT_AT, OPT_NO_REVOCATION, OPT_MAC_KEY, OPT_UNTAGGED, OPT_PAYLOAD };

static int take_option(struct question *q, int c)
{
	switch (c) {
	case OPT_ANCHORS:
		q->anchors = optarg;
		return 0;
	case OPT_CRL:
		return add_object(q, REVOCATION_CRL, optarg);
	case OPT_OCSP:
		return add_object(q, REVOCATION_OCSP, optarg);
	case OPT_DEVICE:
		q->device = optarg;
		q->facts.use_before_is_advice = false;
		return 0;
	case OPT_PAYLOAD:
		q->payload = optarg;
		return 0;
	case OPT_AT:
		q->facts.use_before_is_advice = false;
		if (wall_parse(span_str(optarg), &q->facts.now) >= 0)
			return 0;
		(void)cli_error("--at wants a time like 2026-11-22T09:00:00Z or seconds since 1970, not \"%s\"", optarg);
		return -EINVAL;
	case OPT_NO_REVOCATION:
		q->facts.skip_revocation = true;
		return 0;
	case OPT_UNTAGGED:
		q->facts.allow_untagged = true;
		return 0;
	case OPT_MAC_KEY:
		if (text_parse_hex_var(span_str(optarg), q->mac_key, sizeof(q->mac_key), &q->n_mac_key) >= 0 &&
		    q->n_mac_key >= DELEGATE_KEY_BYTES_MIN)
			return 0;
		(void)cli_error("--mac-key wants %d to %d bytes in hex", DELEGATE_KEY_BYTES_MIN, DELEGATE_KEY_BYTES_MAX);
		return -EINVAL;
	default:
		return -EINVAL;
	}
}

static int parse(struct question *q, int argc, char **argv)
{
	static const struct option options[] = {
		{ "anchors", required_argument, NULL, OPT_ANCHORS },
		{ "crl", required_argument, NULL, OPT_CRL },
		{ "ocsp", required_argument, NULL, OPT_OCSP },
		{ "device", required_argument, NULL, OPT_DEVICE },
		{ "at", required_argument, NULL, OPT_AT },
		{ "no-revocation", no_argument, NULL, OPT_NO_REVOCATION },
		{ "mac-key", required_argument, NULL, OPT_MAC_KEY },
		{ "allow-untagged", no_argument, NULL, OPT_UNTAGGED },
		{ "payload", required_argument, NULL, OPT_PAYLOAD },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (take_option(q, c) < 0)
			return CLI_USAGE;
	if (optind + 1 != argc)
		return cli_usage("verify");
	q->file = argv[optind];
	return CLI_OK;
}

static int load_anchors(const struct question *q, struct trust_anchors **ret)
{
	_cleanup_(files_anchors_freep) struct files_anchors *a = NULL;

	if (!q->anchors && !q->n_mac_key)
		(void)cli_error("no --anchors DIR: nobody is trusted, so this can only be rejected");
	if (q->anchors) {
		int r = files_anchors_load(q->anchors, &a);
		if (r < 0)
			return r;
	} else {
		a = files_anchors_new();
	}
	if (q->n_mac_key)
		files_anchors_add_mac(a, "mac-key", SPAN(q->mac_key, q->n_mac_key));
	return files_anchors_build(a, q->device != NULL, ret);
}

/* SU-19: is this file one of the payloads the manifest names? Changes the outcome to rejected when it is not. */
static int judge_payload(const struct question *q, const struct suit_manifest *m, struct verdict *v)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct verdict_rule rule = { .id = "SU-19", .name = "payload", .outcome = RULE_FAIL };
	int r = files_read(q->payload, FILES_OBJECT_BYTES_MAX, &bytes);

	if (r < 0)
		return r;
	struct digest d = digest_of(buf_span(&bytes));
	for (size_t i = 0; i < m->n_images && rule.outcome != RULE_PASS; i++)
		(void)verdict_payload_ok(&m->images[i], &d, bytes.n, &rule); /* the rule says it */
	if (rule.outcome != RULE_PASS && v->outcome == TRUST_ACCEPTED)
		v->outcome = TRUST_REJECTED;
	if (v->n_rules < TRUST_RULES_MAX)
		v->rules[v->n_rules++] = rule;
	return 0;
}

static void print_verdict(const struct cli *cli, const struct verdict *v)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (cli->json) {
		verdict_json(v, &b);
		out_json(buf_span(&b));
		return;
	}
	verdict_text(v, &b);
	fputs(buf_str(&b), stdout);
	for (size_t i = 0; i < v->n_needs && v->outcome == TRUST_UNDECIDED; i++)
		printf("needs %s from %s: give it with %s FILE, or judge without by --no-revocation\n",
		       v->needs[i].kind == REVOCATION_CRL ? "a CRL" : "an OCSP response",
		       v->needs[i].url[0] ? v->needs[i].url : "its issuer", v->needs[i].kind == REVOCATION_CRL ? "--crl" : "--ocsp");
}

static int exit_of(const struct verdict *v)
{
	if (!v->decodable)
		return CLI_NOT_DECODABLE;
	switch (v->outcome) {
	case TRUST_ACCEPTED:
		return CLI_OK;
	case TRUST_UNDECIDED:
		return CLI_UNDECIDED;
	case TRUST_REJECTED:
		break;
	}
	return CLI_REJECTED;
}

static int answer(const struct cli *cli, struct question *q)
{
	_cleanup_free_ struct suit_manifest *manifest = NEW(struct suit_manifest);
	_cleanup_free_ struct verdict *v = NEW(struct verdict);
	_cleanup_buf_ struct buf envelope = { 0 };
	struct trust_anchors *anchors = NULL;
	struct suit_envelope env;

	if (files_read_binary(q->file, SUIT_ENVELOPE_BYTES_MAX, &envelope) < 0 || load_anchors(q, &anchors) < 0 ||
	    (q->device && read_device(q) < 0)) {
		trust_anchors_unref(anchors);
		return CLI_FAILED;
	}
	q->facts.revocation = q->objects;
	q->facts.n_revocation = q->n_objects;
	verdict_judge(anchors, &q->facts, buf_span(&envelope), &env, manifest, v);
	int r = q->payload ? judge_payload(q, manifest, v) : 0;
	print_verdict(cli, v);
	trust_anchors_unref(anchors);
	return r < 0 ? CLI_FAILED : exit_of(v);
}

int cmd_verify(const struct cli *cli, int argc, char **argv)
{
	_cleanup_free_ struct question *q = NEW(struct question);

	q->facts.now = wall_now();
	q->facts.use_before_is_advice = true;
	int r = parse(q, argc, argv);
	if (r == CLI_OK)
		r = answer(cli, q);
	question_done(q);
	return r;
}
