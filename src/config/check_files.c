#include "config/config.h"

#include <errno.h>
#include <unistd.h>

#include "config/secret.h"

static int readable(const char *key, const char *path, struct buf *error)
{
	if (!*path || access(path, R_OK) == 0)
		return 0;
	int r = -errno;
	buf_printf(error, "%s: %s: %s\n", key, path, strerror(-r));
	return r;
}

static int secret(const char *key, const char *path, struct buf *error)
{
	_cleanup_buf_ struct buf why = { 0 };
	int r = *path ? config_secret_check(path, &why) : 0;

	if (r < 0)
		buf_printf(error, "%s: %s", key, buf_str(&why));
	return r;
}

int config_check_files(const struct config *c, struct buf *error)
{
	int bad = 0;

	bad |= readable("coap.cert_file", c->coap.cert_file, error);
	bad |= readable("coap.ca_file", c->coap.ca_file, error);
	bad |= secret("coap.key_file", c->coap.key_file, error);
	bad |= readable("http.cert_file", c->http.cert_file, error);
	bad |= secret("http.key_file", c->http.key_file, error);
	bad |= secret("http.token_file", c->http.token_file, error);
	bad |= secret("admin.credentials_file", c->admin.credentials_file, error);
	for (size_t i = 0; i < c->n_lowpans; i++)
		bad |= secret("lowpan.key_file", c->lowpans[i].key_file, error);
	for (size_t i = 0; i < c->n_sources; i++)
		bad |= readable("source.ca_file", c->sources[i].ca_file, error);
	for (size_t i = 0; i < c->n_anchors; i++) {
		bad |= readable("anchor.file", c->anchors[i].file, error);
		for (char **p = c->anchors[i].crl_files; *p; p++)
			bad |= readable("anchor.crl_files", *p, error);
	}
	return bad ? -EINVAL : 0;
}
