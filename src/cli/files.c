#include "cli/files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "codec/json.h"

static int read_fd(int fd, size_t max, struct buf *ret)
{
	uint8_t chunk[16384];

	ret->max = max;
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_add(ret, SPAN(chunk, n));
		if (!buf_ok(ret))
			return -EFBIG;
	}
}

int files_read(const char *path, size_t max, struct buf *ret)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (!strcmp(path, "-")) {
		r = read_fd(STDIN_FILENO, max, ret);
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : read_fd(fd, max, ret);
	}
	if (r == -EFBIG)
		(void)cli_error("%s: larger than %zu bytes, the most that is read", path, max);
	else if (r < 0)
		(void)cli_error("%s: %s", path, strerror(-r));
	return r;
}

/* Only hex digits and white space, and some of the former. */
static bool is_hex_text(struct span s, size_t *ret_digits)
{
	*ret_digits = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (isxdigit(s.p[i]))
			(*ret_digits)++;
		else if (!isspace(s.p[i]))
			return false;
	}
	return *ret_digits > 0 && *ret_digits % 2 == 0;
}

int files_read_binary(const char *path, size_t max, struct buf *ret)
{
	size_t digits, n = 0;
	int r = files_read(path, max * 2, ret);

	if (r < 0)
		return r;
	if (!is_hex_text(buf_span(ret), &digits)) {
		if (ret->n <= max)
			return 0;
		(void)cli_error("%s: larger than %zu bytes, the most that is read", path, max);
		return -EFBIG;
	}
	for (size_t i = 0; i < ret->n; i++) /* white space out; then pairs in place */
		if (isxdigit(ret->p[i]))
			ret->p[n++] = ret->p[i];
	for (size_t i = 0; i < n / 2; i++)
		(void)text_parse_hex(SPAN(ret->p + 2 * i, 2), &ret->p[i], 1); /* digits were checked */
	ret->n = n / 2;
	return 0;
}

/* The base64 between the first BEGIN and END lines; -ENOENT when there is no armour. */
static int pem_unwrap(struct span in, struct buf *ret)
{
	static const char begin[] = "-----BEGIN ", end[] = "-----END ";
	_cleanup_buf_ struct buf b64 = { 0 };
	const uint8_t *p = memmem(in.p, in.n, begin, sizeof(begin) - 1);
	const uint8_t *stop = in.p + in.n;

	if (!p)
		return -ENOENT;
	p = memchr(p, '\n', (size_t)(stop - p));
	const uint8_t *e = p ? memmem(p, (size_t)(stop - p), end, sizeof(end) - 1) : NULL;
	if (!e)
		return -EBADMSG;
	for (; p < e; p++)
		if (!isspace(*p))
			buf_add_u8(&b64, *p);
	return text_parse_base64(buf_span(&b64), ret);
}

int files_read_der(const char *path, struct buf *ret)
{
	_cleanup_buf_ struct buf raw = { 0 };
	int r = files_read(path, FILES_OBJECT_BYTES_MAX, &raw);

	if (r < 0)
		return r;
	r = pem_unwrap(buf_span(&raw), ret);
	if (r == -ENOENT) {
		buf_add(ret, buf_span(&raw));
		return 0;
	}
	if (r < 0)
		(void)cli_error("%s: this is not whole PEM (a BEGIN line without its END, or bad base64)", path);
	return r;
}

int files_read_line(const char *path, struct buf *ret)
{
	int r = files_read(path, 4096, ret);

	while (r >= 0 && ret->n && isspace(ret->p[ret->n - 1]))
		ret->p[--ret->n] = '\0';
	return r;
}

static int write_all(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s = span_sub(s, (size_t)n, s.n);
	}
	return 0;
}

static int write_file(const char *path, struct span bytes, unsigned mode)
{
	_cleanup_free_ char *dir = mem_strdup(path);
	char *slash = strrchr(dir, '/');
	_cleanup_(tmpfile_discard) struct tmpfile tmp = { .fd = -1 };
	_cleanup_close_ int dirfd = -1;

	if (slash)
		slash[slash == dir] = '\0';
	dirfd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	int r = tmpfile_create(&tmp, dirfd);
	if (r < 0)
		return r;
	r = tmpfile_write(&tmp, bytes);
	if (r < 0)
		return r;
	if (fchmod(tmp.fd, mode) < 0)
		return -errno;
	return tmpfile_publish(&tmp, slash ? path + (slash - dir) + 1 : path);
}

int files_write(const char *path, struct span bytes, unsigned mode)
{
	int r = strcmp(path, "-") != 0 ? write_file(path, bytes, mode) : write_all(STDOUT_FILENO, bytes);

	if (r < 0)
		(void)cli_error("%s: cannot write: %s", path, strerror(-r));
	return r;
}

/* --- anchors ------------------------------------------------------------------------------------ */

struct anchor_file {
	char *name;
	struct buf pem, mac_key;
	char **vendor_ids, **class_ids, **hosts;       /* NULL-terminated, owned */
	enum revocation_mode mode;
	uint32_t grace_s;
	bool require_eku, no_identity, is_narrowed;
};

struct files_anchors {
	struct anchor_file *all;
	size_t n;
};

static char **list_free(char **l)
{
	for (char **s = l; s && *s; s++)
		free(*s);
	free(l);
	return NULL;
}

static char **list_of(const char *one)
{
	char **l = NEW_N(char *, 2);

	l[0] = mem_strdup(one);
	return l;
}

struct files_anchors *files_anchors_new(void)
{
	return NEW(struct files_anchors);
}

struct files_anchors *files_anchors_free(struct files_anchors *a)
{
	for (size_t i = 0; a && i < a->n; i++) {
		struct anchor_file *f = &a->all[i];
		free(f->name);
		buf_done(&f->pem);
		buf_done(&f->mac_key);
		list_free(f->vendor_ids);
		list_free(f->class_ids);
		list_free(f->hosts);
	}
	if (a)
		free(a->all);
	free(a);
	return NULL;
}

static struct anchor_file *add(struct files_anchors *a, const char *name)
{
	a->all = mem_resize(a->all, a->n + 1, sizeof(*a->all));
	a->all[a->n] = (struct anchor_file){ .name = mem_strdup(name), .vendor_ids = list_of("any") };
	return &a->all[a->n++];
}

void files_anchors_add_mac(struct files_anchors *a, const char *name, struct span key)
{
	buf_add(&add(a, name)->mac_key, key);
}

static int list_from_json(const char *file, const struct json_value *o, const char *key, char ***list)
{
	const struct json_value *v = json_get(o, key);
	size_t n = v ? json_n(v) : 0;

	if (!v)
		return 0;
	char **l = NEW_N(char *, n + 1);
	for (size_t i = 0; json_is_array(v) && i < n; i++)
		if (json_as_str(json_at(v, i)))
			l[i] = mem_strdup(json_as_str(json_at(v, i)));
	if (!json_is_array(v) || (n && !l[n - 1])) {
		list_free(l);
		(void)cli_error("%s: \"%s\" wants a list of strings", file, key);
		return -EINVAL;
	}
	list_free(*list);
	*list = l;
	return 0;
}

static int narrow_from(const char *file, const struct json_value *o, struct anchor_file *f)
{
	static const char *const modes[] = { [REVOCATION_HARD] = "hard", [REVOCATION_GRACE] = "grace", [REVOCATION_SOFT] = "soft" };
	const char *mode = json_get_str(o, "revocation");
	int64_t grace = 0;
	size_t m = 0;

	if (list_from_json(file, o, "vendor_ids", &f->vendor_ids) < 0 || list_from_json(file, o, "class_ids", &f->class_ids) < 0 ||
	    list_from_json(file, o, "hosts", &f->hosts) < 0)
		return -EINVAL;
	while (mode && m < 3 && strcmp(modes[m], mode) != 0)
		m++;
	if (m == 3) {
		(void)cli_error("%s: \"revocation\" is hard, grace, or soft, not \"%s\"", file, mode);
		return -EINVAL;
	}
	f->is_narrowed = true;
	f->mode = (enum revocation_mode)m;
	if (json_get_int(o, "grace_s", &grace))
		f->grace_s = grace < 0 ? 0 : grace > UINT32_MAX ? UINT32_MAX : (uint32_t)grace;
	(void)json_get_bool(o, "require_code_signing", &f->require_eku);       /* absent = false */
	(void)json_get_bool(o, "allow_unidentified", &f->no_identity);         /* absent = false */
	return 0;
}

/* NAME.json, when it is there. */
static int narrow(const char *dir, const char *name, struct anchor_file *f)
{
	_cleanup_free_ char *path = mem_printf("%s/%s.json", dir, name);
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_(json_doc_freep) struct json_doc *doc = NULL;
	char error[200];

	if (access(path, F_OK) < 0)
		return 0;
	int r = files_read(path, FILES_CONFIG_BYTES_MAX, &text);
	if (r < 0)
		return r;
	r = json_parse(buf_span(&text), &doc, error, sizeof(error));
	if (r < 0 || !json_is_object(json_root(doc))) {
		(void)cli_error("%s: %s", path, r < 0 ? error : "an object is wanted");
		return -EINVAL;
	}
	return narrow_from(path, json_root(doc), f);
}

static bool is_anchor_name(const char *name)
{
	static const char *const ends[] = { ".pem", ".crt", ".cer", ".pub", ".cosekey", ".hex" };
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; name[0] != '.' && dot && i < sizeof(ends) / sizeof(*ends); i++)
		if (!strcmp(dot, ends[i]))
			return true;
	return false;
}

static int load_one(struct files_anchors *a, const char *dir, const char *file)
{
	_cleanup_free_ char *path = mem_printf("%s/%s", dir, file);
	_cleanup_free_ char *name = mem_strdup(file);
	char *dot = strrchr(name, '.');

	if (a->n >= TRUST_ANCHORS_MAX) {
		(void)cli_error("%s: more than %d anchors", dir, TRUST_ANCHORS_MAX);
		return -E2BIG;
	}
	if (dot)
		*dot = '\0';
	bool is_mac = !strcmp(file + strlen(name), ".hex");
	struct anchor_file *f = add(a, name);
	int r = is_mac ? files_read_binary(path, FILES_CONFIG_BYTES_MAX, &f->mac_key) : files_read(path, FILES_CONFIG_BYTES_MAX, &f->pem);
	return r < 0 ? r : narrow(dir, name, f);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int only_anchors(const struct dirent *e)
{
	return is_anchor_name(e->d_name);
}

static int load_dir(struct files_anchors *a, const char *dir)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, only_anchors, by_name), r = 0;

	if (n < 0) {
		r = -errno;
		(void)cli_error("%s: %s", dir, strerror(-r));
		return r;
	}
	for (int i = 0; i < n; i++) {
		if (r >= 0)
			r = load_one(a, dir, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (r >= 0 && n == 0) {
		(void)cli_error("%s: no anchors: wants certificates or public keys in files named *.pem, *.crt, *.pub", dir);
		return -ENOENT;
	}
	return r;
}

int files_anchors_load(const char *path, struct files_anchors **ret)
{
	_cleanup_(files_anchors_freep) struct files_anchors *a = files_anchors_new();
	_cleanup_free_ char *dir = mem_strdup(path);
	char *slash = strrchr(dir, '/');
	struct stat st;
	int r;

	if (stat(path, &st) < 0) {
		r = -errno;
		(void)cli_error("%s: %s", path, strerror(-r));
		return r;
	}
	if (S_ISDIR(st.st_mode)) {
		r = load_dir(a, path);
	} else {
		if (slash)
			*slash = '\0';
		r = load_one(a, slash ? (*dir ? dir : "/") : ".", slash ? slash + 1 : path);
	}
	if (r < 0)
		return r;
	*ret = TAKE(a);
	return 0;
}

int files_anchors_build(const struct files_anchors *a, bool must_identify, struct trust_anchors **ret)
{
	_cleanup_free_ struct trust_anchor_config *configs = NEW_N(struct trust_anchor_config, a->n + 1);
	static const char *const none[] = { NULL }, *const every[] = { "*", NULL };
	char error[240] = "";

	for (size_t i = 0; i < a->n; i++) {
		const struct anchor_file *f = &a->all[i];
		configs[i] = (struct trust_anchor_config){
			.name = f->name,
			.pem = buf_span(&f->pem),
			.mac_key = buf_span(&f->mac_key),
			.vendor_ids = (const char *const *)f->vendor_ids,
			.class_ids = f->class_ids ? (const char *const *)f->class_ids : none,
			.hosts = f->hosts ? (const char *const *)f->hosts : f->is_narrowed ? none : every,
			.mode = f->mode,
			.grace_s = f->grace_s,
			.require_eku_code_signing = f->require_eku,
			.requires_no_identity = f->is_narrowed ? f->no_identity : !must_identify,
		};
	}
	int r = trust_anchors_build(configs, a->n, ret, error, sizeof(error));
	if (r < 0)
		(void)cli_error("%s", error);
	return r;
}
