#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cli/author.h"
#include "codec/cose.h"

static const struct {
	const char *name;
	int64_t alg;
	int kind;                              /* enum sign_key_kind that keygen makes for it; -1 = none */
} algs[] = {
	{ "esp256", COSE_ESP256, SIGN_P256 },   { "es256", COSE_ES256, SIGN_P256 },
	{ "esp384", COSE_ESP384, SIGN_P384 },   { "es384", COSE_ES384, SIGN_P384 },
	{ "ed25519", COSE_ED25519, SIGN_ED25519 }, { "eddsa", COSE_EDDSA, SIGN_ED25519 },
	{ "esp512", COSE_ESP512, -1 },          { "es512", COSE_ES512, -1 },
	{ "ps256", COSE_PS256, -1 },            { "ps384", COSE_PS384, -1 },            { "ps512", COSE_PS512, -1 },
};

const char *author_kind_names(void)
{
	return "p256, p384, ed25519";
}

const char *author_alg_names(void)
{
	return "esp256, es256, esp384, es384, ed25519, eddsa, esp512, es512, ps256, ps384, ps512";
}

int author_kind_parse(const char *text, enum sign_key_kind *ret)
{
	if (sign_key_kind_parse(span_str(text), ret) >= 0)
		return 0;
	for (size_t i = 0; i < sizeof(algs) / sizeof(*algs); i++) {
		if (strcasecmp(algs[i].name, text) != 0 || algs[i].kind < 0)
			continue;
		*ret = (enum sign_key_kind)algs[i].kind;
		return 0;
	}
	return -EINVAL;
}

int author_alg_parse(const char *text, int64_t *ret)
{
	for (size_t i = 0; i < sizeof(algs) / sizeof(*algs); i++) {
		if (strcasecmp(algs[i].name, text) != 0)
			continue;
		*ret = algs[i].alg;
		return 0;
	}
	return -EINVAL;
}
