/* The fake's life, its thread, calls with their faults, and the record of them. */
#include "fake_bluez_internal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/mem.h"

int64_t fake_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void fake_lock(struct fake_bluez *f)
{
	(void)pthread_mutex_lock(&f->lock);
}

void fake_unlock(struct fake_bluez *f)
{
	const uint64_t one = 1;

	if (f->bus)
		(void)sd_bus_flush(f->bus); /* a dead bus is noticed by the thread */
	(void)pthread_mutex_unlock(&f->lock);
	assert_int_equal(write(f->wake, &one, sizeof(one)), sizeof(one));
}

void fake_reply(sd_bus_message *m)
{
	(void)sd_bus_reply_method_return(m, NULL); /* who asked may be gone */
}

void fake_reply_error(sd_bus_message *m, const char *error, const char *text)
{
	(void)sd_bus_reply_method_errorf(m, error, "%s", text); /* the same */
}

/* ---- calls ---- */

static bool ends_with(const char *path, const char *where)
{
	size_t n = strlen(path), w = strlen(where);

	return n >= w && strcmp(path + n - w, where) == 0;
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What WriteValue says of its kind; the message is rewound. */
static void type_of(sd_bus_message *m, char ret[static 16])
{
	const void *p;
	const char *key, *type;
	size_t n;

	ret[0] = 0;
	if (sd_bus_message_read_array(m, 'y', &p, &n) >= 0 && sd_bus_message_enter_container(m, 'a', "{sv}") >= 0)
		while (!ret[0] && sd_bus_message_enter_container(m, 'e', "sv") > 0) {
			if (sd_bus_message_read(m, "s", &key) > 0 && strcmp(key, "type") == 0 && sd_bus_message_read(m, "v", "s", &type) > 0)
				(void)snprintf(ret, 16, " %s", type);
			else
				(void)sd_bus_message_skip(m, "v");
			(void)sd_bus_message_exit_container(m);
		}
	(void)sd_bus_message_rewind(m, true);
}

static void record(struct fake_bluez *f, sd_bus_message *m, const char *method)
{
	char type[16] = "";

	if (strcmp(method, "WriteValue") == 0)
		type_of(m, type);
	buf_printf(&f->log, "%s %s%s\n", base_of(sd_bus_message_get_path(m)), method, type);
}

static struct fake_fault *fault_of(struct fake_bluez *f, const char *path, const char *method, bool is_delay)
{
	for (size_t i = 0; i < f->n_faults; i++) {
		struct fake_fault *x = &f->faults[i];

		if (x->times != 0 && (x->delay_ms > 0) == is_delay && strcmp(x->method, method) == 0 && ends_with(path, x->where))
			return x;
	}
	return NULL;
}

static void pend(struct fake_bluez *f, sd_bus_message *m, int64_t due)
{
	size_t n = 0;

	assert_true(f->n_pending < FAKE_PENDING_MAX);
	f->pending[f->n_pending++] = (struct fake_pending){ sd_bus_message_ref(m), due };
	for (size_t i = 0; i < f->n_pending; i++)
		n += strcmp(sd_bus_message_get_member(f->pending[i].m), "Connect") == 0;
	if (n > f->connects_at_once)
		f->connects_at_once = n;
}

static void unpend(struct fake_bluez *f, size_t i)
{
	sd_bus_message_unref(f->pending[i].m);
	f->pending[i] = f->pending[--f->n_pending];
}

void fake_pending_fail(struct fake_bluez *f, const char *path, const char *method, const char *error, const char *text)
{
	for (size_t i = f->n_pending; i-- > 0;) {
		sd_bus_message *m = f->pending[i].m;

		if (strcmp(sd_bus_message_get_path(m), path) || strcmp(sd_bus_message_get_member(m), method))
			continue;
		fake_reply_error(m, error, text);
		unpend(f, i);
	}
}

static void act(struct fake_bluez *f, sd_bus_message *m)
{
	const char *path = sd_bus_message_get_path(m), *method = sd_bus_message_get_member(m);
	struct fake_adapter *a = fake_adapter_at(f, path);
	struct fake_dev *d = fake_dev_at(f, path);
	struct fake_chr *c = fake_chr_at(f, path);
	struct fake_fault *x = fault_of(f, path, method, false);
	bool is_done;

	if (x && x->times > 0)
		x->times--;
	if (x) {
		if (x->error[0])
			fake_reply_error(m, x->error, x->text);
		else
			pend(f, m, 0);
		return;
	}
	if (strcmp(path, "/org/bluez") == 0)
		is_done = fake_agent_call(f, m, method);
	else if (!a && !d && !c) {
		fake_reply_error(m, SD_BUS_ERROR_UNKNOWN_OBJECT, "no such object");
		return;
	} else
		is_done = a ? fake_adapter_call(f, a, m, method) : d ? fake_dev_call(f, d, m, method) : fake_chr_call(f, c, m, method);
	if (!is_done)
		fake_reply_error(m, SD_BUS_ERROR_UNKNOWN_METHOD, "no such method");
}

/* The real one reads, and writes with response, one at a time on each characteristic. */
static bool is_in_progress(struct fake_bluez *f, sd_bus_message *m)
{
	const char *path = sd_bus_message_get_path(m), *method = sd_bus_message_get_member(m);
	char type[16] = "";

	if (!strcmp(method, "WriteValue"))
		type_of(m, type);
	if (strcmp(method, "ReadValue") != 0 && strcmp(type, " request") != 0)
		return false;
	for (size_t i = 0; i < f->n_pending; i++)
		if (!strcmp(sd_bus_message_get_path(f->pending[i].m), path) && !strcmp(sd_bus_message_get_member(f->pending[i].m), method))
			return true;
	return false;
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fake_bluez *f = userdata;
	const char *iface = sd_bus_message_get_interface(m), *method = sd_bus_message_get_member(m), *path = sd_bus_message_get_path(m);

	(void)error;
	if (!iface || !strcmp(iface, "org.freedesktop.DBus.Peer") || !strcmp(iface, "org.freedesktop.DBus.Introspectable"))
		return 0;
	record(f, m, method);
	struct fake_fault *x = fault_of(f, path, method, true);
	if (x && is_in_progress(f, m))
		fake_reply_error(m, "org.bluez.Error.InProgress", "Operation already in progress");
	else if (x)
		pend(f, m, fake_now() + x->delay_ms);
	else if (!strcmp(method, "GetManagedObjects") && !strcmp(path, "/"))
		fake_reply_objects(f, m);
	else if (!strcmp(iface, "org.freedesktop.DBus.Properties") && !strcmp(method, "GetAll"))
		fake_reply_all(f, m);
	else if (!strcmp(iface, "org.freedesktop.DBus.Properties") && !strcmp(method, "Set"))
		return fake_set(f, m) ? 1 : 0;
	else
		act(f, m);
	return 1;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *name, *old, *new;

	(void)error;
	if (sd_bus_message_read(m, "sss", &name, &old, &new) > 0 && !new[0])
		fake_client_gone(userdata, name);
	return 0;
}

/* ---- bluetoothd comes and goes ---- */

static void service_begin(struct fake_bluez *f)
{
	assert_true(sd_bus_new(&f->bus) >= 0);
	assert_true(sd_bus_set_address(f->bus, f->daemon.address) >= 0);
	assert_true(sd_bus_set_bus_client(f->bus, true) >= 0);
	assert_true(sd_bus_negotiate_fds(f->bus, true) >= 0);
	assert_true(sd_bus_start(f->bus) >= 0);
	assert_true(sd_bus_add_fallback(f->bus, NULL, "/", on_call, f) >= 0);
	assert_true(sd_bus_match_signal(f->bus, NULL, "org.freedesktop.DBus", NULL, "org.freedesktop.DBus", "NameOwnerChanged", on_owner, f) >= 0);
	assert_true(sd_bus_request_name(f->bus, "org.bluez", 0) >= 0);
}

static void forget_links(struct fake_bluez *f)
{
	for (size_t i = 0; i < f->n_chrs; i++)
		fake_chr_hang_up(&f->chrs[i]);
	for (size_t i = 0; i < f->n_devs; i++) {
		struct fake_dev *d = &f->devs[i];

		d->is_exported = d->has_services = d->is_exported && d->is_paired;
		d->is_connected = d->is_resolved = d->has_rssi = d->is_pairing = false;
		d->resolve_at = 0;
		d->pair_call = sd_bus_message_unref(d->pair_call);
	}
	for (size_t i = 0; i < FAKE_ADAPTERS_MAX; i++) {
		f->adapters[i].discoverer[0] = 0;
		f->adapters[i].n_monitors = 0;
	}
	f->agent_owner[0] = 0;
}

static void service_end(struct fake_bluez *f)
{
	while (f->n_pending > 0)
		unpend(f, f->n_pending - 1);
	forget_links(f);
	if (f->bus)
		sd_bus_close(f->bus);
	f->bus = sd_bus_unref(f->bus);
}

void fake_bluez_stop(struct fake_bluez *f)
{
	fake_lock(f);
	f->is_wanted = false;
	service_end(f);
	fake_unlock(f);
}

void fake_bluez_start(struct fake_bluez *f)
{
	fake_lock(f);
	f->is_wanted = true;
	if (!f->bus)
		service_begin(f);
	fake_unlock(f);
}

void fake_bluez_bus_stop(struct fake_bluez *f)
{
	fake_lock(f);
	service_end(f);
	private_bus_stop(&f->daemon);
	fake_unlock(f);
}

void fake_bluez_bus_start(struct fake_bluez *f)
{
	fake_lock(f);
	private_bus_start(&f->daemon);
	if (f->is_wanted)
		service_begin(f);
	fake_unlock(f);
}

/* ---- the thread ---- */

static void turn_bus(struct fake_bluez *f)
{
	int r = 1;

	for (int i = 0; f->bus && r > 0 && i < FAKE_TURN_MAX; i++)
		r = sd_bus_process(f->bus, NULL);
	if (f->bus && r < 0)
		service_end(f);
}

static void turn_due(struct fake_bluez *f)
{
	int64_t now = fake_now();

	for (size_t i = f->n_pending; i-- > 0;) {
		if (i >= f->n_pending || f->pending[i].due == 0 || f->pending[i].due > now)
			continue;
		sd_bus_message *m = sd_bus_message_ref(f->pending[i].m);
		unpend(f, i);
		act(f, m);
		sd_bus_message_unref(m);
	}
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].resolve_at && f->devs[i].resolve_at <= now)
			fake_dev_due(f, &f->devs[i]);
	for (size_t i = 0; i < f->n_chrs; i++)
		fake_chr_read(f, &f->chrs[i]);
}

static void soonest(int64_t *ms, int64_t due, int64_t now)
{
	int64_t in = due > now ? due - now : 0;

	if (due && in < *ms)
		*ms = in;
}

static int timeout_of(struct fake_bluez *f)
{
	int64_t ms = 1000, now = fake_now();
	uint64_t us;

	for (size_t i = 0; i < f->n_pending; i++)
		soonest(&ms, f->pending[i].due, now);
	for (size_t i = 0; i < f->n_devs; i++)
		soonest(&ms, f->devs[i].resolve_at, now);
	if (f->bus && sd_bus_get_timeout(f->bus, &us) >= 0 && us != UINT64_MAX)
		soonest(&ms, (int64_t)(us / 1000) + 1, now);
	return (int)ms;
}

static size_t poll_set(struct fake_bluez *f, struct pollfd *p)
{
	size_t n = 0;

	p[n++] = (struct pollfd){ .fd = f->wake, .events = POLLIN };
	if (f->bus)
		p[n++] = (struct pollfd){ .fd = sd_bus_get_fd(f->bus), .events = (short)sd_bus_get_events(f->bus) };
	for (size_t i = 0; i < f->n_chrs; i++)
		if (f->chrs[i].write_fd >= 0 && !f->chrs[i].is_stalled)
			p[n++] = (struct pollfd){ .fd = f->chrs[i].write_fd, .events = POLLIN };
	return n;
}

static void *run(void *arg)
{
	struct fake_bluez *f = arg;
	struct pollfd p[FAKE_CHARACTERISTICS_MAX + 2];
	uint64_t wakes;

	(void)pthread_mutex_lock(&f->lock);
	while (!f->quit) {
		turn_bus(f);
		turn_due(f);
		if (f->bus)
			(void)sd_bus_flush(f->bus); /* a dead bus is noticed in the next turn */
		size_t n = poll_set(f, p);
		int ms = timeout_of(f);
		(void)pthread_mutex_unlock(&f->lock);
		(void)poll(p, n, ms);
		(void)pthread_mutex_lock(&f->lock);
		(void)!read(f->wake, &wakes, sizeof(wakes)); /* not blocking */
	}
	(void)pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct fake_bluez *fake_bluez_new(void)
{
	struct fake_bluez *f = NEW(struct fake_bluez);

	(void)pthread_mutex_init(&f->lock, NULL);
	f->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	f->next_handle = 0x0010;
	private_bus_start(&f->daemon);
	f->is_wanted = true;
	service_begin(f);
	assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
	return f;
}

struct fake_bluez *fake_bluez_free(struct fake_bluez *f)
{
	if (!f)
		return NULL;
	fake_lock(f);
	f->quit = true;
	fake_unlock(f);
	(void)pthread_join(f->thread, NULL);
	service_end(f);
	private_bus_done(&f->daemon);
	for (size_t i = 0; i < f->n_chrs; i++) {
		buf_done(&f->chrs[i].value);
		buf_done(&f->chrs[i].written);
	}
	buf_done(&f->log);
	(void)close(f->wake);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
	return NULL;
}

const char *fake_bluez_bus(const struct fake_bluez *f)
{
	return f->daemon.address;
}

/* ---- faults and the record ---- */

static void fault_add(struct fake_bluez *f, const struct fake_fault *x)
{
	fake_lock(f);
	assert_true(f->n_faults < FAKE_FAULTS_MAX);
	f->faults[f->n_faults++] = *x;
	fake_unlock(f);
}

void fake_fail(struct fake_bluez *f, const char *where, const char *method, int times, const char *error, const char *text)
{
	struct fake_fault x = { .times = times };

	(void)snprintf(x.where, sizeof(x.where), "%s", where ? where : "");
	(void)snprintf(x.method, sizeof(x.method), "%s", method);
	(void)snprintf(x.error, sizeof(x.error), "%s", error ? error : "");
	(void)snprintf(x.text, sizeof(x.text), "%s", text ? text : "");
	fault_add(f, &x);
}

void fake_delay(struct fake_bluez *f, const char *where, const char *method, unsigned ms)
{
	struct fake_fault x = { .times = -1, .delay_ms = ms ? ms : 1 };

	(void)snprintf(x.where, sizeof(x.where), "%s", where ? where : "");
	(void)snprintf(x.method, sizeof(x.method), "%s", method);
	fault_add(f, &x);
}

void fake_mend(struct fake_bluez *f)
{
	fake_lock(f);
	f->n_faults = 0;
	fake_unlock(f);
}

char *fake_call_log(struct fake_bluez *f)
{
	fake_lock(f);
	char *log = mem_strndup(buf_span(&f->log));
	fake_unlock(f);
	return log;
}

size_t fake_calls(struct fake_bluez *f, const char *where, const char *method)
{
	char *log = fake_call_log(f), *rest = log, *line;
	size_t n = 0;

	while ((line = strsep(&rest, "\n"))) {
		char *words = line, *at = strsep(&words, " "), *what = strsep(&words, " ");

		n += what && strcmp(what, method) == 0 && (!where || ends_with(at, where));
	}
	free(log);
	return n;
}

size_t fake_connects_at_once(struct fake_bluez *f)
{
	fake_lock(f);
	size_t n = f->connects_at_once;
	fake_unlock(f);
	return n;
}
