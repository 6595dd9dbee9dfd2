/* cli/cmd_author.c - dormousectl author: make keys and envelopes, and show what is in one (author_inspect.c). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/author.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "trust/delegate.h"
#include "trust/sign.h"

enum { IMAGES_MAX = 8, IMAGE_BYTES_MAX = FILES_OBJECT_BYTES_MAX };

struct image_args {
	const char *file, *uri;
	bool integrated;
	char *component;                       /* owned; cut into its segments */
	char integrated_uri[80];
	struct buf bytes;
	uint8_t segment_bytes[SUIT_ID_SEGMENTS_MAX][SUIT_ID_SEGMENT_BYTES_MAX];
};

struct sign_args {
	const char *key, *chain, *alg, *kid, *vendor, *class, *out;
	uint8_t mac_key[DELEGATE_KEY_BYTES_MAX];
	size_t n_mac_key;
	uint8_t vendor_id[16], class_id[16];
	struct image_args images[IMAGES_MAX];
	size_t n_images;
	bool has_sequence;
	struct suit_author author;
};

static void sign_args_done(struct sign_args *a)
{
	for (size_t i = 0; i < a->n_images; i++) {
		free(a->images[i].component);
		buf_done(&a->images[i].bytes);
	}
	mem_wipe(a->mac_key, sizeof(a->mac_key));
}

enum {
	OPT_ALG = 256, OPT_PUBLIC, OPT_KEY, OPT_CHAIN, OPT_KID, OPT_VENDOR, OPT_CLASS, OPT_SEQUENCE, OPT_IMAGE, OPT_URI, OPT_INTEGRATED,
	OPT_COMPONENT, OPT_VERSION, OPT_DESCRIPTION, OPT_USE_BEFORE, OPT_SEVER, OPT_MAC_KEY,
};

/* The image the option belongs to: the last --image. */
static struct image_args *last_image(struct sign_args *a, const char *option)
{
	if (a->n_images)
		return &a->images[a->n_images - 1];
	(void)cli_error("%s belongs to an image: give --image FILE before it", option);
	return NULL;
}

static int take_image(struct sign_args *a)
{
	if (a->n_images == IMAGES_MAX) {
		(void)cli_error("more than %d images", IMAGES_MAX);
		return -E2BIG;
	}
	a->images[a->n_images++].file = optarg;
	return 0;
}

static int take_image_option(struct sign_args *a, int c)
{
	struct image_args *img = last_image(a, c == OPT_URI ? "--uri" : c == OPT_INTEGRATED ? "--integrated" : "--component");

	if (!img)
		return -EINVAL;
	if (c == OPT_URI) {
		img->uri = optarg;
	} else if (c == OPT_INTEGRATED) {
		img->integrated = true;
	} else {
		free(img->component);
		img->component = mem_strdup(optarg);
	}
	return 0;
}

static int take_number(struct sign_args *a, int c)
{
	struct wall t;

	if (c == OPT_SEQUENCE) {
		a->has_sequence = text_parse_u64(span_str(optarg), UINT64_MAX, &a->author.sequence, 0) >= 0;
		if (a->has_sequence)
			return 0;
		(void)cli_error("--sequence wants a number, not \"%s\"", optarg);
		return -EINVAL;
	}
	if (wall_parse(span_str(optarg), &t) < 0) {
		(void)cli_error("--use-before wants a time like 2027-01-01T00:00:00Z or seconds since 1970, not \"%s\"", optarg);
		return -EINVAL;
	}
	a->author.has_use_before = true;
	a->author.use_before_s = wall_s(t);
	return 0;
}

static int take_option(struct sign_args *a, int c)
{
	switch (c) {
	case OPT_KEY:
		a->key = optarg;
		return 0;
	case OPT_CHAIN:
		a->chain = optarg;
		return 0;
	case OPT_ALG:
		a->alg = optarg;
		return 0;
	case OPT_KID:
		a->kid = optarg;
		return 0;
	case OPT_VENDOR:
		a->vendor = optarg;
		return 0;
	case OPT_CLASS:
		a->class = optarg;
		return 0;
	case OPT_IMAGE:
		return take_image(a);
	case OPT_URI:
	case OPT_INTEGRATED:
	case OPT_COMPONENT:
		return take_image_option(a, c);
	case OPT_SEQUENCE:
	case OPT_USE_BEFORE:
		return take_number(a, c);
	case OPT_VERSION:
		a->author.version_text = optarg;
		return 0;
	case OPT_DESCRIPTION:
		a->author.description = optarg;
		return 0;
	case OPT_SEVER:
		a->author.sever_install = a->author.sever_text = true;
		return 0;
	case OPT_MAC_KEY:
		if (text_parse_hex_var(span_str(optarg), a->mac_key, sizeof(a->mac_key), &a->n_mac_key) >= 0 &&
		    a->n_mac_key >= DELEGATE_KEY_BYTES_MIN)
			return 0;
		(void)cli_error("--mac-key wants %d to %d bytes in hex", DELEGATE_KEY_BYTES_MIN, DELEGATE_KEY_BYTES_MAX);
		return -EINVAL;
	case 'o':
		a->out = optarg;
		return 0;
	default:
		return -EINVAL;
	}
}

/* What must be there is there. */
static int check_args(const struct sign_args *a)
{
	if (!a->key == !a->n_mac_key)
		return cli_error("wants --key PEM (or --mac-key HEX), one of them");
	if (!a->vendor || !a->class)
		return cli_error("wants --vendor DOMAIN|UUID and --class NAME|UUID: devices refuse an update that does not say for whom it is");
	if (!a->has_sequence)
		return cli_error("wants --sequence N, greater than that of every earlier update of this class");
	if (!a->n_images || !a->out)
		return cli_error("wants --image FILE and -o FILE");
	for (size_t i = 0; i < a->n_images; i++)
		if (!a->images[i].uri == !a->images[i].integrated)
			return cli_error("%s: wants --uri URI (where devices find it) or --integrated, one of them", a->images[i].file);
	return 0;
}

static int parse_sign(struct sign_args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "key", required_argument, NULL, OPT_KEY },
		{ "chain", required_argument, NULL, OPT_CHAIN },
		{ "alg", required_argument, NULL, OPT_ALG },
		{ "kid", required_argument, NULL, OPT_KID },
		{ "mac-key", required_argument, NULL, OPT_MAC_KEY },
		{ "vendor", required_argument, NULL, OPT_VENDOR },
		{ "class", required_argument, NULL, OPT_CLASS },
		{ "sequence", required_argument, NULL, OPT_SEQUENCE },
		{ "image", required_argument, NULL, OPT_IMAGE },
		{ "uri", required_argument, NULL, OPT_URI },
		{ "integrated", no_argument, NULL, OPT_INTEGRATED },
		{ "component", required_argument, NULL, OPT_COMPONENT },
		{ "version", required_argument, NULL, OPT_VERSION },
		{ "description", required_argument, NULL, OPT_DESCRIPTION },
		{ "use-before", required_argument, NULL, OPT_USE_BEFORE },
		{ "sever", no_argument, NULL, OPT_SEVER },
		{ "output", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "o:", options, NULL)) != -1)
		if (take_option(a, c) < 0)
			return -EINVAL;
	if (optind != argc) {
		(void)cli_error("what is \"%s\"?", argv[optind]);
		return -EINVAL;
	}
	return check_args(a) == CLI_OK ? 0 : -EINVAL;
}

/* "slot/0x01ff": segments between slashes, text or hex. Default: the one segment 0x00 of the drafts' examples. */
static int component_id(struct image_args *img, struct suit_author_component *ret)
{
	size_t n;

	if (!img->component) {
		ret->id[0] = SPAN(img->segment_bytes[0], 1);
		ret->n_id = 1;
		return 0;
	}
	for (char *save = NULL, *s = strtok_r(img->component, "/", &save); s; s = strtok_r(NULL, "/", &save)) {
		if (ret->n_id == SUIT_ID_SEGMENTS_MAX || strlen(s) > SUIT_ID_SEGMENT_BYTES_MAX)
			return cli_error("--component: at most %d segments of %d bytes", SUIT_ID_SEGMENTS_MAX, SUIT_ID_SEGMENT_BYTES_MAX);
		if (!strncmp(s, "0x", 2) &&
		    text_parse_hex_var(span_str(s + 2), img->segment_bytes[ret->n_id], SUIT_ID_SEGMENT_BYTES_MAX, &n) >= 0)
			ret->id[ret->n_id] = SPAN(img->segment_bytes[ret->n_id], n);
		else
			ret->id[ret->n_id] = span_str(s);
		ret->n_id++;
	}
	return ret->n_id ? 0 : cli_error("--component: no segment");
}

static int load_image(struct image_args *img, size_t index, struct suit_author_component *ret)
{
	if (files_read(img->file, IMAGE_BYTES_MAX, &img->bytes) < 0 || component_id(img, ret) != 0)
		return -EINVAL;
	if (!img->bytes.n)
		(void)cli_error("%s is empty; going on", img->file);
	(void)snprintf(img->integrated_uri, sizeof(img->integrated_uri), "#image-%zu", index); /* fits */
	ret->digest = digest_of(buf_span(&img->bytes));
	ret->size = img->bytes.n;
	ret->uri = img->integrated ? img->integrated_uri : img->uri;
	ret->payload = img->integrated ? buf_span(&img->bytes) : SPAN_NONE;
	return 0;
}

/* The authentication block: COSE_Sign1 by key, with the chain when there is one. */
static int sign_block(const struct sign_args *a, struct span auth_digest, struct buf *ret)
{
	_cleanup_buf_ struct buf pem = { 0 }, chain_pem = { 0 };
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	char error[200] = "";
	int64_t alg = 0;

	if (a->alg && author_alg_parse(a->alg, &alg) < 0)
		return cli_error("--alg is one of %s, not \"%s\"", author_alg_names(), a->alg);
	if (files_read(a->key, FILES_CONFIG_BYTES_MAX, &pem) < 0 ||
	    (a->chain && files_read(a->chain, FILES_CONFIG_BYTES_MAX, &chain_pem) < 0))
		return -EINVAL;
	int r = sign_key_load(buf_span(&pem), alg, &key, error, sizeof(error));
	mem_wipe(pem.p, pem.n);
	if (r < 0)
		return cli_error("%s: %s", a->key, error);
	r = sign_auth_digest(key, buf_span(&chain_pem), span_str(a->kid), auth_digest, ret, error, sizeof(error));
	return r < 0 ? cli_error("cannot sign: %s", error) : 0;
}

/* An envelope without any proof, then the MAC that the gateway would add. */
static int mac_envelope(const struct sign_args *a, struct span bare, struct buf *ret)
{
	enum suit_problem problem = SUIT_OK;
	struct suit_envelope env;
	int r = suit_envelope_decode(bare, 0, &env, &problem);

	if (r < 0 && problem != SUIT_NO_AUTH_BLOCK)
		return cli_error("the new envelope does not decode: %s", suit_problem_text(problem));
	r = delegate_add_mac0(&env, SPAN(a->mac_key, a->n_mac_key), span_str(a->kid), ret);
	return r < 0 ? cli_error("cannot compute the MAC: %s", strerror(-r)) : 0;
}

static int build(struct sign_args *a, struct buf *ret)
{
	struct suit_author_component components[IMAGES_MAX] = { 0 };
	_cleanup_buf_ struct buf manifest = { 0 }, members = { 0 }, digest = { 0 }, block = { 0 }, bare = { 0 };
	size_t n_members = 0;

	uuid_of_vendor(span_str(a->vendor), a->vendor_id);
	uuid_of_class(a->vendor_id, span_str(a->class), a->class_id);
	for (size_t i = 0; i < a->n_images; i++)
		if (load_image(&a->images[i], i, &components[i]) < 0)
			return CLI_FAILED;
	a->author.components = components;
	a->author.n_components = a->n_images;
	a->author.vendor_id = a->vendor_id;
	a->author.class_id = a->class_id;
	int r = suit_manifest_encode(&a->author, &manifest, &members, &n_members);
	if (r < 0)
		return cli_error("cannot make this manifest: %s", strerror(-r));
	suit_auth_digest_encode(buf_span(&manifest), &digest);
	if (!a->n_mac_key && sign_block(a, buf_span(&digest), &block) != 0)
		return CLI_FAILED;
	struct span blocks[] = { buf_span(&block) };
	r = suit_envelope_encode(buf_span(&manifest), buf_span(&digest), blocks, a->n_mac_key ? 0 : 1, buf_span(&members), n_members,
				 a->n_mac_key ? &bare : ret);
	if (r < 0)
		return cli_error("cannot make this envelope: %s", strerror(-r));
	return a->n_mac_key ? mac_envelope(a, buf_span(&bare), ret) : CLI_OK;
}

static int sign(const struct cli *cli, int argc, char **argv)
{
	_cleanup_free_ struct sign_args *a = NEW(struct sign_args);
	_cleanup_buf_ struct buf envelope = { 0 };
	int r = CLI_USAGE;

	if (parse_sign(a, argc, argv) >= 0) {
		r = build(a, &envelope);
		if (r == CLI_OK && files_write(a->out, buf_span(&envelope), 0644) < 0)
			r = CLI_FAILED;
	}
	sign_args_done(a);
	return r;
}

static int keygen(const struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "alg", required_argument, NULL, OPT_ALG },
		{ "output", required_argument, NULL, 'o' },
		{ "public", required_argument, NULL, OPT_PUBLIC },
		{ NULL, 0, NULL, 0 },
	};
	const char *alg = "p256", *out = NULL, *public = NULL;
	_cleanup_buf_ struct buf pem = { 0 }, pub = { 0 };
	enum sign_key_kind kind;
	int c;

	while ((c = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (c == OPT_ALG)
			alg = optarg;
		else if (c == 'o')
			out = optarg;
		else if (c == OPT_PUBLIC)
			public = optarg;
		else
			return CLI_USAGE;
	}
	if (!out || optind != argc) {
		(void)cli_error("author keygen wants -o KEY.pem, and takes --alg (%s) and --public PUB.pem", author_kind_names());
		return CLI_USAGE;
	}
	if (author_kind_parse(alg, &kind) < 0) {
		(void)cli_error("--alg is one of %s, not \"%s\"", author_kind_names(), alg);
		return CLI_USAGE;
	}
	int r = sign_key_generate(kind, &pem, &pub);
	if (r < 0)
		return cli_error("cannot make a key: %s", strerror(-r));
	r = files_write(out, buf_span(&pem), 0600);
	mem_wipe(pem.p, pem.n);
	if (r >= 0 && public)
		r = files_write(public, buf_span(&pub), 0644);
	return r < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_author(const struct cli *cli, int argc, char **argv)
{
	const char *verb = cli_verb(&argc, argv, "");

	if (!strcmp(verb, "keygen"))
		return keygen(cli, argc, argv);
	if (!strcmp(verb, "sign"))
		return sign(cli, argc, argv);
	if (!strcmp(verb, "inspect") && argc == 2)
		return author_inspect(cli, argv[1]);
	fputs("usage: dormousectl author keygen [--alg ALG] -o KEY.pem [--public PUB.pem]\n"
	      "       dormousectl author sign --key KEY.pem [--alg ALG] [--chain CERTS.pem] [--kid KID] --vendor DOMAIN|UUID --class NAME|UUID\n"
	      "                   --sequence N (--image FILE (--uri URI | --integrated) [--component ID])... [--version V]\n"
	      "                   [--description TEXT] [--use-before TIME] [--sever] -o ENVELOPE\n"
	      "       dormousectl author inspect ENVELOPE\n", stderr);
	return CLI_USAGE;
}
