#include "node/node_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "base/tmpfile.h"
#include "codec/cbor.h"

enum { PART_NAME_BYTES = 5 + DIGEST_HEX_BYTES, STATE_BYTES_MAX = 4096, FORMAT = 1 };
enum state_key { KEY_FORMAT, KEY_INSTALLED, KEY_SEQUENCE, KEY_VERSION, KEY_PHASE, KEY_OFFER, KEY_RESULT, KEY_REASON, KEY_GROUPS, KEY_COUNT };

static size_t n_groups(const struct node_durable *d)
{
	size_t n = 0;

	while (n < NODE_GROUPS && d->groups[n].is_used)
		n++;
	return n;
}

static void put_groups(const struct node_durable *d, struct buf *ret)
{
	cbor_put_array(ret, n_groups(d));
	for (size_t i = 0; i < n_groups(d); i++) {
		const struct node_group *g = &d->groups[i];
		cbor_put_array(ret, 4);
		cbor_put_uint(ret, g->gid);
		cbor_put_bytes(ret, SPAN_OF(g->key));
		cbor_put_bytes(ret, SPAN_OF(g->address));
		cbor_put_uint(ret, g->port);
	}
}

void node_state_encode(const struct node_durable *d, struct buf *ret)
{
	cbor_put_map(ret, KEY_COUNT - !d->has_installed - (n_groups(d) == 0));
	cbor_put_uint(ret, KEY_FORMAT);
	cbor_put_uint(ret, FORMAT);
	if (d->has_installed) {
		cbor_put_uint(ret, KEY_INSTALLED);
		cbor_put_bytes(ret, SPAN_OF(d->installed.b));
	}
	cbor_put_uint(ret, KEY_SEQUENCE);
	cbor_put_uint(ret, d->sequence);
	cbor_put_uint(ret, KEY_VERSION);
	cbor_put_str(ret, d->version);
	cbor_put_uint(ret, KEY_PHASE);
	cbor_put_uint(ret, d->phase);
	cbor_put_uint(ret, KEY_OFFER);
	cbor_put_bytes(ret, SPAN_OF(d->offer.b));
	cbor_put_uint(ret, KEY_RESULT);
	cbor_put_uint(ret, d->result);
	cbor_put_uint(ret, KEY_REASON);
	cbor_put_str(ret, d->reason);
	if (n_groups(d) > 0) {
		cbor_put_uint(ret, KEY_GROUPS);
		put_groups(d, ret);
	}
}

static int digest_take(struct cbor *c, struct digest *ret)
{
	struct span s = cbor_bytes(c);

	if (s.n != DIGEST_BYTES)
		return -EBADMSG;
	memcpy(ret->b, s.p, DIGEST_BYTES);
	return 0;
}

static int groups_take(struct cbor *c, struct node_durable *d)
{
	size_t n = cbor_array(c);

	if (n == 0 || n > NODE_GROUPS)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		struct node_group *g = &d->groups[i];
		size_t items = cbor_array(c);
		uint64_t gid = cbor_uint(c);
		struct span key = cbor_bytes(c), address = cbor_bytes(c);
		uint64_t port = cbor_uint(c);
		if (items != 4 || gid > UINT8_MAX || key.n != sizeof(g->key) || address.n != sizeof(g->address) || port > UINT16_MAX)
			return -EBADMSG;
		g->is_used = true;
		g->gid = (uint8_t)gid;
		memcpy(g->key, key.p, key.n);
		memcpy(g->address, address.p, address.n);
		g->port = (uint16_t)port;
	}
	return 0;
}

static int field_take(struct cbor *c, uint64_t key, struct node_durable *d)
{
	uint64_t v;

	switch (key) {
	case KEY_FORMAT:
		return cbor_uint(c) == FORMAT ? 0 : -ENOTSUP;
	case KEY_INSTALLED:
		d->has_installed = true;
		return digest_take(c, &d->installed);
	case KEY_SEQUENCE:
		d->sequence = cbor_uint(c);
		return 0;
	case KEY_VERSION:
		return text_copy(d->version, sizeof(d->version), cbor_text(c));
	case KEY_PHASE:
		v = cbor_uint(c);
		d->phase = (enum node_phase)(v < NODE_PHASE_COUNT ? v : 0);
		return v < NODE_PHASE_COUNT ? 0 : -EBADMSG;
	case KEY_OFFER:
		return digest_take(c, &d->offer);
	case KEY_RESULT:
		v = cbor_uint(c);
		d->result = (unsigned)v;
		return v < 256 ? 0 : -EBADMSG;
	case KEY_REASON:
		return text_copy(d->reason, sizeof(d->reason), cbor_text(c));
	case KEY_GROUPS:
		return groups_take(c, d);
	default:
		return -EBADMSG;
	}
}

int node_state_decode(struct span in, struct node_durable *ret)
{
	struct node_durable d = { 0 };
	struct cbor c = cbor_reader(in);
	unsigned seen = 0;

	if (cbor_check(in, CBOR_KEYS_SORTED, NULL) < 0)
		return -EBADMSG;
	for (size_t n = cbor_map(&c); n > 0 && cbor_ok(&c); n--) {
		uint64_t key = cbor_uint(&c);
		int r = field_take(&c, key, &d);
		if (r < 0)
			return r;
		seen |= 1u << key;
	}
	if (!cbor_at_end(&c) || (seen | 1u << KEY_INSTALLED | 1u << KEY_GROUPS) != (1u << KEY_COUNT) - 1)
		return -EBADMSG;
	*ret = d;
	return 0;
}

int node_store_open(struct node_store *s, const char *dir, uint64_t start_sequence, struct node_durable *ret_state)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t n = 0;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	s->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return -errno;
	int r = file_read(s->dirfd, "state", STATE_BYTES_MAX, &bytes, &n);
	if (r < 0 || node_state_decode(SPAN(bytes, n), ret_state) < 0)
		*ret_state = (struct node_durable){ .sequence = start_sequence };
	return 0;
}

void node_store_close(struct node_store *s)
{
	if (s->dirfd >= 0)
		(void)close(s->dirfd); /* a directory: nothing to lose */
	s->dirfd = -1;
}

int node_store_save(struct node_store *s, const struct node_durable *d)
{
	_cleanup_buf_ struct buf b = { 0 };

	node_state_encode(d, &b);
	return file_write_durable(s->dirfd, "state", buf_span(&b));
}

int node_store_put_envelope(struct node_store *s, struct span envelope)
{
	return file_write_durable(s->dirfd, "envelope", envelope);
}

int node_store_get_envelope(struct node_store *s, struct buf *ret)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t n = 0;

	int r = file_read(s->dirfd, "envelope", NODE_ENVELOPE_BYTES_MAX, &bytes, &n);
	if (r < 0)
		return r;
	buf_add(ret, SPAN(bytes, n));
	return buf_ok(ret) ? 0 : -ENOMEM;
}

static char *part_name(const struct digest *image, char ret[static PART_NAME_BYTES])
{
	char hex[DIGEST_HEX_BYTES];

	(void)snprintf(ret, PART_NAME_BYTES, "part-%s", digest_hex(image, hex)); /* fits */
	return ret;
}

uint64_t node_part_bytes(struct node_store *s, const struct digest *image)
{
	char name[PART_NAME_BYTES];
	struct stat st;

	return fstatat(s->dirfd, part_name(image, name), &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : (uint64_t)st.st_size;
}

int node_part_write(struct node_store *s, const struct digest *image, uint64_t off, struct span data)
{
	char name[PART_NAME_BYTES];
	_cleanup_close_ int fd = openat(s->dirfd, part_name(image, name), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < data.n;) {
		ssize_t n = pwrite(fd, data.p + done, data.n - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	/* Now and then to the flash: what a lost power takes away is at most this much, and the digest of the whole
	 * finds it out. */
	if (off / NODE_SYNC_BYTES != (off + data.n) / NODE_SYNC_BYTES && fdatasync(fd) < 0)
		return -errno;
	return 0;
}

static int digest_named(int dirfd, const char *name, struct digest *ret, uint64_t *ret_bytes)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : file_digest(fd, ret, ret_bytes);
}

int node_part_digest(struct node_store *s, const struct digest *image, struct digest *ret, uint64_t *ret_bytes)
{
	char name[PART_NAME_BYTES];

	return digest_named(s->dirfd, part_name(image, name), ret, ret_bytes);
}

/* Is this file that image? An image of no bytes never has a file. */
static bool is_image(int dirfd, const char *name, const struct digest *image)
{
	struct digest d;
	uint64_t bytes;

	return digest_named(dirfd, name, &d, &bytes) >= 0 && digest_eq(&d, image);
}

int node_part_install(struct node_store *s, const struct digest *image, size_t component)
{
	char part[PART_NAME_BYTES], slot[32];

	(void)snprintf(slot, sizeof(slot), "slot-%zu", component); /* fits */
	if (!is_image(s->dirfd, part_name(image, part), image))
		return is_image(s->dirfd, slot, image) ? 0 : -EBADMSG;
	_cleanup_close_ int fd = openat(s->dirfd, part, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || renameat(s->dirfd, part, s->dirfd, slot) < 0 || fsync(s->dirfd) < 0)
		return -errno;
	return 0;
}

void node_part_drop(struct node_store *s, const struct digest *image)
{
	char name[PART_NAME_BYTES];

	(void)unlinkat(s->dirfd, part_name(image, name), 0); /* not there is as good */
}

void node_parts_sweep(struct node_store *s, const struct digest *keep, size_t n_keep)
{
	char name[PART_NAME_BYTES];
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		bool wanted = strncmp(e->d_name, "part-", 5) != 0 && strncmp(e->d_name, ".tmp-", 5) != 0;
		for (size_t i = 0; i < n_keep && !wanted; i++)
			wanted = !strcmp(e->d_name, part_name(&keep[i], name));
		if (!wanted)
			(void)unlinkat(s->dirfd, e->d_name, 0); /* a leftover: the next sweep tries again */
	}
	if (d)
		(void)closedir(d); /* readers only */
	else if (fd >= 0)
		(void)close(fd); /* likewise */
}

const struct node_group *node_group_find(const struct node_durable *d, unsigned gid)
{
	for (size_t i = 0; i < NODE_GROUPS; i++)
		if (d->groups[i].is_used && d->groups[i].gid == gid)
			return &d->groups[i];
	return NULL;
}

bool node_group_keep(struct node_durable *d, const struct node_group *g)
{
	if (!memcmp(&d->groups[0], g, sizeof(*g)))
		return false;
	if (d->groups[0].is_used && d->groups[0].gid != g->gid)
		d->groups[1] = d->groups[0];
	d->groups[0] = *g;
	return true;
}
