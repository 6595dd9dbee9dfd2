#include "store/audit_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/time.h"
#include "base/tmpfile.h"

enum { ED25519_KEY_BYTES = 32, ED25519_SIGNATURE_BYTES = 64, KEY_ID_BYTES = 4, NOTE_ED25519 = 1, PEM_BYTES_MAX = 4096 };

struct audit_key {
	char *name;
	uint8_t id[KEY_ID_BYTES];
	EVP_PKEY *key;
	struct buf public_text;
};

static EVP_PKEY *from_pem(struct span pem)
{
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	if (key && !EVP_PKEY_is_a(key, "ED25519")) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

static int load(int dirfd, EVP_PKEY **ret)
{
	uint8_t *pem;
	size_t n;
	int r = file_read(dirfd, "audit.key", PEM_BYTES_MAX, &pem, &n);

	if (r < 0)
		return r;
	if (fchmodat(dirfd, "audit.key", 0600, 0) < 0)
		r = -errno;
	*ret = r < 0 ? NULL : from_pem(SPAN(pem, n));
	mem_wipe(pem, n);
	free(pem);
	return r < 0 ? r : *ret ? 0 : -EBADMSG;
}

static int make(int dirfd, EVP_PKEY **ret)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem;
	long n;
	int r = -EIO;

	if (key && bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 && (n = BIO_get_mem_data(bio, &pem)) > 0)
		r = file_write_durable(dirfd, "audit.key", SPAN(pem, (size_t)n));
	BIO_free(bio);
	if (r < 0)
		EVP_PKEY_free(key);
	else
		*ret = key;
	return r;
}

/* c2sp.org/signed-note, "Ed25519 signatures" */
static int name_key(struct audit_key *k)
{
	uint8_t public[1 + ED25519_KEY_BYTES] = { NOTE_ED25519 };
	size_t n = ED25519_KEY_BYTES;
	_cleanup_buf_ struct buf named = { 0 };

	if (EVP_PKEY_get_raw_public_key(k->key, public + 1, &n) != 1 || n != ED25519_KEY_BYTES)
		return -EIO;
	buf_printf(&named, "%s\n", k->name);
	buf_add(&named, SPAN_OF(public));
	struct digest d = digest_of(buf_span(&named));
	memcpy(k->id, d.b, KEY_ID_BYTES);
	buf_printf(&k->public_text, "%s+", k->name);
	text_add_hex(&k->public_text, SPAN_OF(k->id));
	buf_add_u8(&k->public_text, '+');
	text_add_base64(&k->public_text, SPAN_OF(public));
	return buf_ok(&named) && buf_ok(&k->public_text) ? 0 : -ENOMEM;
}

static int publish(int dirfd, const struct audit_key *k)
{
	_cleanup_buf_ struct buf line = { 0 };

	buf_printf(&line, "%s\n", audit_key_public(k));
	return file_write_durable(dirfd, "audit.pub", buf_span(&line));
}

int audit_key_open(int dirfd, const char *name, struct audit_key **ret)
{
	struct audit_key *k = NEW(struct audit_key);

	k->name = mem_strdup(name);
	int r = load(dirfd, &k->key);
	bool is_new = r == -ENOENT;
	if (is_new)
		r = make(dirfd, &k->key);
	if (r == 0)
		r = name_key(k);
	if (r == 0 && (is_new || faccessat(dirfd, "audit.pub", F_OK, 0) < 0))
		r = publish(dirfd, k);
	if (r < 0) {
		audit_key_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

struct audit_key *audit_key_close(struct audit_key *k)
{
	if (!k)
		return NULL;
	EVP_PKEY_free(k->key);
	buf_done(&k->public_text);
	free(k->name);
	free(k);
	return NULL;
}

const char *audit_key_public(const struct audit_key *k)
{
	return buf_str(&k->public_text);
}

int audit_key_sign(const struct audit_key *k, struct buf *note)
{
	uint8_t line[KEY_ID_BYTES + ED25519_SIGNATURE_BYTES];
	size_t n = ED25519_SIGNATURE_BYTES;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && buf_ok(note) && EVP_DigestSignInit(md, NULL, NULL, NULL, k->key) == 1 &&
		  EVP_DigestSign(md, line + KEY_ID_BYTES, &n, note->p, note->n) == 1;

	EVP_MD_CTX_free(md);
	if (!ok)
		return -EIO;
	memcpy(line, k->id, KEY_ID_BYTES);
	buf_printf(note, "\n\u2014 %s ", k->name);
	text_add_base64(note, SPAN_OF(line));
	buf_add_u8(note, '\n');
	return buf_ok(note) ? 0 : -ENOMEM;
}

int audit_key_retire(int dirfd)
{
	static const char *const files[] = { "audit.key", "audit.pub", "audit.checkpoint" };
	long long now = (long long)wall_s(wall_now());
	char to[64];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		(void)snprintf(to, sizeof(to), "%s.retired-%lld", files[i], now); /* fits */
		if (renameat(dirfd, files[i], dirfd, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return fsync(dirfd) < 0 ? -errno : 0;
}
