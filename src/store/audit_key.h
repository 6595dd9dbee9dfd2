/* store/audit_key.h - inside store/ only: the Ed25519 key that signs the audit log's heads, as a C2SP
 * signed-note key. The secret is STATE/audit.key (PKCS #8 PEM, 0600), the public half STATE/audit.pub. */
#pragma once
#include "base/buf.h"

struct audit_key;

/* Loads the key, or makes it where there is none. */
int audit_key_open(int dirfd, const char *name, struct audit_key **ret);
struct audit_key *audit_key_close(struct audit_key *k);
const char *audit_key_public(const struct audit_key *k);       /* name+hash+base64 */
/* Adds the blank line and the signature line to a note's text. */
int audit_key_sign(const struct audit_key *k, struct buf *note);
/* The log this key signed for is gone: the key is put aside, so that a new one signs for the next. */
int audit_key_retire(int dirfd);
