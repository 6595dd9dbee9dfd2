/* The configured anchors, and CRLs shipped beside them, read from their files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "app/gateway.h"
#include "base/mem.h"
#include "base/tmpfile.h"

enum { ANCHOR_FILE_BYTES_MAX = 256 * 1024, CRL_FILE_BYTES_MAX = 8 * 1024 * 1024 };

static void configs_free(struct trust_anchor_config *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((void *)rows[i].pem.p);
	free(rows);
}

int gateway_anchors_load(const struct config *c, struct trust_anchors **ret, struct buf *error)
{
	struct trust_anchor_config *rows = NEW_N(struct trust_anchor_config, c->n_anchors);
	char text[300] = "";
	int r = 0;

	for (size_t i = 0; i < c->n_anchors && r == 0; i++) {
		const struct config_anchor *a = &c->anchors[i];
		uint8_t *bytes;
		size_t n;
		r = file_read(AT_FDCWD, a->file, ANCHOR_FILE_BYTES_MAX, &bytes, &n);
		if (r < 0) {
			buf_printf(error, "anchor %s: %s: %s\n", a->name, a->file, strerror(-r));
			break;
		}
		rows[i] = (struct trust_anchor_config){
			.name = a->name, .pem = SPAN(bytes, n), .vendor_ids = (const char *const *)a->vendor_ids,
			.class_ids = (const char *const *)a->class_ids, .hosts = (const char *const *)a->hosts,
			.mode = a->revocation == CONFIG_SOFT ? REVOCATION_SOFT : a->revocation == CONFIG_GRACE ? REVOCATION_GRACE : REVOCATION_HARD,
			.grace_s = a->grace_s, .require_eku_code_signing = a->require_code_signing, .requires_no_identity = a->allow_unidentified,
		};
	}
	if (r == 0) {
		r = trust_anchors_build(rows, c->n_anchors, ret, text, sizeof(text));
		if (r < 0)
			buf_printf(error, "%s\n", text);
	}
	configs_free(rows, c->n_anchors);
	return r;
}

int gateway_crls_load(const struct config *c, struct intake *in, struct buf *error)
{
	for (size_t i = 0; i < c->n_anchors; i++) {
		for (char **file = c->anchors[i].crl_files; *file; file++) {
			uint8_t *bytes;
			size_t n;
			int r = file_read(AT_FDCWD, *file, CRL_FILE_BYTES_MAX, &bytes, &n);
			if (r < 0) {
				buf_printf(error, "anchor %s: CRL %s: %s\n", c->anchors[i].name, *file, strerror(-r));
				return r;
			}
			intake_add_revocation_file(in, REVOCATION_CRL, *file, SPAN(bytes, n));
			free(bytes);
		}
	}
	return 0;
}
