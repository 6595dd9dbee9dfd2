#include "directory/credentials.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "config/secret.h"
#include "directory/map.h"

struct entry {
	UT_hash_handle hh;
	struct credential c;
	bool is_static;
	size_t n_key;
	char key[1 + DEVICE_IDENTITY_BYTES];   /* kind, identity */
};

/* How many PSK credentials name a device. */
struct owner {
	UT_hash_handle hh;
	size_t n;
	char device[DEVICE_ID_BYTES];
};

struct credentials {
	struct entry *entries;
	struct owner *owners;
};

struct credentials *credentials_new(void)
{
	return NEW(struct credentials);
}

static size_t key_of(struct span identity, enum credential_kind kind, char ret[static 1 + DEVICE_IDENTITY_BYTES])
{
	if (!identity.n || identity.n >= DEVICE_IDENTITY_BYTES)
		return 0;
	ret[0] = (char)('0' + kind);
	memcpy(ret + 1, identity.p, identity.n);
	return identity.n + 1;
}

static struct entry *entry_of(const struct credential *c)
{
	return (struct entry *)((uint8_t *)(uintptr_t)c - offsetof(struct entry, c));
}

static void count_owner(struct credentials *cs, const struct credential *c, int by)
{
	struct owner *o;

	if (c->kind != CREDENTIAL_PSK || !c->device[0])
		return;
	HASH_FIND_STR(cs->owners, c->device, o);
	if (!o) {
		o = NEW(struct owner);
		memcpy(o->device, c->device, sizeof(o->device));
		HASH_ADD_STR(cs->owners, device, o);
	}
	o->n += (size_t)by;
	if (!o->n) {
		HASH_DEL(cs->owners, o);
		free(o);
	}
}

void credentials_remove(struct credentials *cs, const struct credential *c)
{
	struct entry *e = entry_of(c);

	count_owner(cs, c, -1);
	HASH_DEL(cs->entries, e);
	mem_wipe(e, sizeof(*e));
	free(e);
}

struct credentials *credentials_free(struct credentials *cs)
{
	struct entry *e, *tmp;

	if (!cs)
		return NULL;
	HASH_ITER(hh, cs->entries, e, tmp)
		credentials_remove(cs, &e->c);
	free(cs);
	return NULL;
}

static struct entry *find(const struct credentials *cs, struct span identity, enum credential_kind kind)
{
	char key[1 + DEVICE_IDENTITY_BYTES];
	size_t n = key_of(identity, kind, key);
	struct entry *e = NULL;

	if (n)
		HASH_FIND(hh, cs->entries, key, n, e);
	return e;
}

void credentials_put(struct credentials *cs, const struct credential *c, bool is_static)
{
	struct entry *e = find(cs, span_str(c->identity), c->kind);

	if (!e) {
		e = NEW(struct entry);
		e->n_key = key_of(span_str(c->identity), c->kind, e->key);
		HASH_ADD_KEYPTR(hh, cs->entries, e->key, e->n_key, e);
	} else {
		count_owner(cs, &e->c, -1);
	}
	e->c = *c;
	e->is_static = is_static;
	count_owner(cs, &e->c, 1);
}

const struct credential *credentials_get(const struct credentials *cs, struct span identity, enum credential_kind kind)
{
	const struct entry *e = find(cs, identity, kind);

	return e ? &e->c : NULL;
}

const struct credential *credentials_next(const struct credentials *cs, const struct credential *after)
{
	const struct entry *e = after ? entry_of(after)->hh.next : cs->entries;

	return e ? &e->c : NULL;
}

bool credentials_is_static(const struct credential *c)
{
	return entry_of(c)->is_static;
}

bool credentials_of_device(const struct credentials *cs, const char *device)
{
	const struct owner *o;

	HASH_FIND_STR(cs->owners, device, o);
	return o;
}

void credential_fresh_secret(struct credential *c, size_t n)
{
	c->n_secret = n;
	random_bytes(c->secret, n);
}

/* ---- the file ---- */

static struct span next_word(struct span *rest)
{
	size_t i = 0, start;

	while (i < rest->n && (rest->p[i] == ' ' || rest->p[i] == '\t' || rest->p[i] == '\r'))
		i++;
	start = i;
	while (i < rest->n && rest->p[i] != ' ' && rest->p[i] != '\t' && rest->p[i] != '\r')
		i++;
	struct span word = span_sub(*rest, start, i - start);
	*rest = span_sub(*rest, i, rest->n);
	return word;
}

/* NULL = good; else what is wrong. */
static const char *parse_line(struct span identity, struct span role, struct span key, struct span more, struct credential *ret)
{
	*ret = (struct credential){ .kind = CREDENTIAL_PSK };
	if (!key.n || more.n)
		return "give an identity, a role and a hex key";
	if (text_copy(ret->identity, sizeof(ret->identity), identity) < 0 || !text_is_clean(identity))
		return "an identity is at most 64 bytes of UTF-8";
	if (span_eq_str(role, "admin"))
		ret->roles = ROLE_ADMIN | ROLE_VIEWER;
	else if (span_eq_str(role, "viewer"))
		ret->roles = ROLE_VIEWER;
	else
		return "a role is viewer or admin";
	if (text_parse_hex_var(key, ret->secret, sizeof(ret->secret), &ret->n_secret) < 0 || ret->n_secret < CREDENTIAL_KEY_BYTES_MIN)
		return "a key is 16 to 64 bytes in hex";
	return NULL;
}

static void parse_file(struct credentials *cs, const char *file, struct span text, struct buf *error)
{
	struct credential c;
	unsigned line = 0;

	for (size_t at = 0, end; at < text.n; at = end + 1) {
		for (end = at; end < text.n && text.p[end] != '\n'; end++)
			;
		struct span rest = span_sub(text, at, end - at);
		struct span identity = next_word(&rest), role = next_word(&rest), key = next_word(&rest);
		line++;
		if (!identity.n || identity.p[0] == '#')
			continue;
		const char *wrong = parse_line(identity, role, key, next_word(&rest), &c);
		if (!wrong && credentials_get(cs, identity, CREDENTIAL_PSK))
			wrong = "this identity stands here twice";
		if (wrong)
			buf_printf(error, "%s:%u: %s\n", file, line, wrong);
		else
			credentials_put(cs, &c, true);
	}
	mem_wipe(&c, sizeof(c));
}

int credentials_read(struct credentials *cs, const char *file, struct buf *error)
{
	struct credentials *fresh = credentials_new();
	struct entry *e, *tmp;
	uint8_t *text = NULL;
	size_t n = 0, before = error->n;

	int r = file[0] ? config_secret_read(file, &text, &n, error) : 0;
	if (r >= 0)
		parse_file(fresh, file, SPAN(text, n), error);
	HASH_ITER(hh, fresh->entries, e, tmp) {
		const struct entry *have = find(cs, span_str(e->c.identity), e->c.kind);
		if (have && !have->is_static)
			buf_printf(error, "%s: the identity \"%s\" is used by a stored credential\n", file, e->c.identity);
	}
	if (r >= 0 && error->n == before) {
		HASH_ITER(hh, cs->entries, e, tmp)
			if (e->is_static)
				credentials_remove(cs, &e->c);
		HASH_ITER(hh, fresh->entries, e, tmp)
			credentials_put(cs, &e->c, true);
	} else if (r >= 0) {
		r = -EINVAL;
	}
	if (text)
		mem_wipe(text, n);
	free(text);
	credentials_free(fresh);
	return r;
}
