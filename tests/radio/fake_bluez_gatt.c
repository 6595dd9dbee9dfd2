/* The fake's characteristics: reading, writing, sockets, notifications. */
#include "fake_bluez_internal.h"

#include <sys/socket.h>

enum { FAKE_READS_MAX = 256 };

static struct fake_chr *chr_of(struct fake_bluez *f, uint16_t handle)
{
	for (size_t i = 0; i < f->n_chrs; i++)
		if (f->chrs[i].handle == handle)
			return &f->chrs[i];
	fail_msg("no characteristic %04x", handle);
	return NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0) {
		(void)shutdown(*fd, SHUT_RDWR); /* now, though the thread may still poll it */
		(void)close(*fd); /* nothing was written that could be lost */
	}
	*fd = -1;
}

void fake_chr_hang_up(struct fake_chr *c)
{
	close_fd(&c->write_fd);
	close_fd(&c->notify_fd);
	c->notifying[0] = 0;
}

static void keep(struct fake_bluez *f, struct fake_chr *c, struct span value)
{
	buf_add(&c->written, value);
	c->n_writes++;
	if (value.n > c->longest)
		c->longest = value.n;
	if (c->fn)
		c->fn(c->ctx, f, c->handle, value);
}

void fake_chr_read(struct fake_bluez *f, struct fake_chr *c)
{
	uint8_t data[1024];

	for (int i = 0; c->write_fd >= 0 && !c->is_stalled && i < FAKE_READS_MAX; i++) {
		ssize_t n = recv(c->write_fd, data, sizeof(data), MSG_DONTWAIT);

		if (n < 0)
			return;
		if (n == 0) { /* an end, or an empty packet: the client closed it */
			close_fd(&c->write_fd);
			fake_say_changed(f, c->path, FAKE_CHR_IFACE, "WriteAcquired");
			return;
		}
		keep(f, c, SPAN(data, (size_t)n));
	}
}

/* The client closes its end when it has heard enough. */
static void look_at_notify(struct fake_bluez *f, struct fake_chr *c)
{
	uint8_t byte;

	if (c->notify_fd < 0 || recv(c->notify_fd, &byte, 1, MSG_DONTWAIT) != 0)
		return;
	close_fd(&c->notify_fd);
	fake_say_changed(f, c->path, FAKE_CHR_IFACE, "NotifyAcquired");
}

/* ---- methods ---- */

static void acquire(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m, bool is_write)
{
	int *kept = is_write ? &c->write_fd : &c->notify_fd, fd[2];
	unsigned flags = is_write ? FAKE_WRITE_NO_RESPONSE : FAKE_NOTIFY | FAKE_INDICATE;
	uint16_t mtu = c->svc->dev->c.mtu ? c->svc->dev->c.mtu : 247;

	fake_chr_read(f, c); /* a client that closed it may have it again */
	look_at_notify(f, c);
	if (*kept >= 0 || (c->flags & FAKE_ACQUIRED) || (!is_write && c->notifying[0])) {
		fake_reply_error(m, "org.bluez.Error.NotPermitted", is_write ? "Write acquired" : "Notify acquired");
		return;
	}
	if ((c->flags & FAKE_NO_ACQUIRE) || !(c->flags & flags)) {
		fake_reply_error(m, "org.bluez.Error.NotSupported", "Operation is not supported");
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	*kept = fd[0];
	fake_say_changed(f, c->path, FAKE_CHR_IFACE, is_write ? "WriteAcquired" : "NotifyAcquired");
	(void)sd_bus_reply_method_return(m, "hq", fd[1], mtu); /* who asked may be gone */
	(void)close(fd[1]); /* the message has its own */
}

/* The real one says the value that was read to everybody, too. */
static void read_value(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m)
{
	sd_bus_message *r = NULL;

	if (!(c->flags & FAKE_READ)) {
		fake_reply_error(m, "org.bluez.Error.NotPermitted", "Read not permitted");
		return;
	}
	fake_say_changed(f, c->path, FAKE_CHR_IFACE, "Value");
	assert_true(sd_bus_message_new_method_return(m, &r) >= 0);
	assert_true(sd_bus_message_append_array(r, 'y', c->value.p, c->value.n) >= 0);
	(void)sd_bus_send(NULL, r, NULL); /* who asked may be gone */
	sd_bus_message_unref(r);
}

static void write_value(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m)
{
	const void *p;
	size_t n;

	if (c->write_fd >= 0) {
		fake_reply_error(m, "org.bluez.Error.NotPermitted", "Write acquired");
	} else if (!(c->flags & (FAKE_WRITE | FAKE_WRITE_NO_RESPONSE))) {
		fake_reply_error(m, "org.bluez.Error.NotSupported", "Operation is not supported");
	} else if (sd_bus_message_read_array(m, 'y', &p, &n) < 0 || n > 512) {
		fake_reply_error(m, "org.bluez.Error.InvalidArguments", "Invalid Length");
	} else {
		keep(f, c, SPAN(p, n));
		fake_reply(m);
	}
}

static void start_notify(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m)
{
	if (c->notify_fd >= 0) {
		fake_reply_error(m, "org.bluez.Error.NotPermitted", "Notify acquired");
	} else if (!(c->flags & (FAKE_NOTIFY | FAKE_INDICATE))) {
		fake_reply_error(m, "org.bluez.Error.NotSupported", "Operation is not supported");
	} else if (c->notifying[0]) {
		fake_reply_error(m, "org.bluez.Error.Failed", "Already notifying");
	} else {
		(void)snprintf(c->notifying, sizeof(c->notifying), "%s", sd_bus_message_get_sender(m));
		fake_say_changed(f, c->path, FAKE_CHR_IFACE, "Notifying");
		fake_reply(m);
	}
}

static void stop_notify(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m)
{
	if (!c->notifying[0]) {
		fake_reply_error(m, "org.bluez.Error.Failed", "No notify session started");
		return;
	}
	c->notifying[0] = 0;
	fake_say_changed(f, c->path, FAKE_CHR_IFACE, "Notifying");
	fake_reply(m);
}

bool fake_chr_call(struct fake_bluez *f, struct fake_chr *c, sd_bus_message *m, const char *method)
{
	struct fake_dev *d = c->svc->dev;

	if (!d->is_connected)
		fake_reply_error(m, "org.bluez.Error.Failed", "Not connected");
	else if ((c->flags & FAKE_NEEDS_BOND) && !d->is_paired)
		fake_reply_error(m, "org.bluez.Error.NotPermitted", "Not paired");
	else if (!strcmp(method, "ReadValue"))
		read_value(f, c, m);
	else if (!strcmp(method, "WriteValue"))
		write_value(f, c, m);
	else if (!strcmp(method, "AcquireWrite") || !strcmp(method, "AcquireNotify"))
		acquire(f, c, m, !strcmp(method, "AcquireWrite"));
	else if (!strcmp(method, "StartNotify"))
		start_notify(f, c, m);
	else if (!strcmp(method, "StopNotify"))
		stop_notify(f, c, m);
	else
		return false;
	return true;
}

/* ---- by the test ---- */

static struct fake_dev *dev_of(struct fake_bluez *f, const char *address)
{
	for (size_t i = 0; i < f->n_devs; i++)
		if (strcasecmp(f->devs[i].address, address) == 0)
			return &f->devs[i];
	fail_msg("no node %s", address);
	return NULL;
}

static struct fake_svc *service_of(struct fake_bluez *f, struct fake_dev *d, const char *uuid)
{
	for (size_t i = 0; i < f->n_services; i++)
		if (f->services[i].dev == d && strcasecmp(f->services[i].uuid, uuid) == 0)
			return &f->services[i];
	assert_true(f->n_services < FAKE_SERVICES_MAX);
	struct fake_svc *s = &f->services[f->n_services++];
	*s = (struct fake_svc){ .dev = d, .handle = f->next_handle++, .uuid = uuid };
	(void)snprintf(s->path, sizeof(s->path), "%.60s/service%04x", d->path, s->handle);
	return s;
}

uint16_t fake_characteristic_add(struct fake_bluez *f, const char *address, const char *service, const char *uuid, unsigned flags)
{
	fake_lock(f);
	struct fake_svc *s = service_of(f, dev_of(f, address), service);
	assert_true(f->n_chrs < FAKE_CHARACTERISTICS_MAX);
	struct fake_chr *c = &f->chrs[f->n_chrs];
	*c = (struct fake_chr){ .svc = s, .handle = f->next_handle, .uuid = uuid, .flags = flags, .write_fd = -1, .notify_fd = -1 };
	f->next_handle = (uint16_t)(f->next_handle + 3);
	(void)snprintf(c->path, sizeof(c->path), "%.80s/char%04x", s->path, c->handle);
	f->n_chrs++;
	uint16_t handle = c->handle;
	if (s->dev->has_services) {
		fake_say_added(f, s->path);
		fake_say_added(f, c->path);
	}
	fake_unlock(f);
	return handle;
}

void fake_value_set(struct fake_bluez *f, uint16_t handle, struct span value)
{
	fake_lock(f);
	struct fake_chr *c = chr_of(f, handle);
	buf_clear(&c->value);
	buf_add(&c->value, value);
	fake_unlock(f);
}

static bool notify(struct fake_bluez *f, struct fake_chr *c, struct span value)
{
	if (c->notify_fd >= 0)
		return send(c->notify_fd, value.p, value.n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)value.n;
	if (!c->notifying[0])
		return false;
	buf_clear(&c->value);
	buf_add(&c->value, value);
	fake_say_changed(f, c->path, FAKE_CHR_IFACE, "Value");
	return true;
}

void fake_notify_inside(struct fake_bluez *f, uint16_t handle, struct span value)
{
	(void)notify(f, chr_of(f, handle), value); /* nobody may have subscribed */
}

bool fake_notify(struct fake_bluez *f, uint16_t handle, struct span value)
{
	fake_lock(f);
	bool is_heard = notify(f, chr_of(f, handle), value);
	fake_unlock(f);
	return is_heard;
}

void fake_stall(struct fake_bluez *f, uint16_t handle, bool is_stalled)
{
	fake_lock(f);
	chr_of(f, handle)->is_stalled = is_stalled;
	fake_unlock(f);
}

void fake_hang_up(struct fake_bluez *f, uint16_t handle)
{
	fake_lock(f);
	fake_chr_hang_up(chr_of(f, handle));
	fake_unlock(f);
}

bool fake_has_subscriber(struct fake_bluez *f, uint16_t handle)
{
	fake_lock(f);
	struct fake_chr *c = chr_of(f, handle);
	look_at_notify(f, c);
	bool has = c->notify_fd >= 0 || c->notifying[0];
	fake_unlock(f);
	return has;
}

bool fake_is_acquired(struct fake_bluez *f, uint16_t handle)
{
	fake_lock(f);
	struct fake_chr *c = chr_of(f, handle);
	fake_chr_read(f, c);
	bool is = c->write_fd >= 0;
	fake_unlock(f);
	return is;
}

size_t fake_written(struct fake_bluez *f, uint16_t handle, uint8_t *ret, size_t max)
{
	fake_lock(f);
	struct span s = buf_span(&chr_of(f, handle)->written);
	if (ret && s.n)
		memcpy(ret, s.p, s.n < max ? s.n : max);
	fake_unlock(f);
	return s.n;
}

size_t fake_writes(struct fake_bluez *f, uint16_t handle)
{
	fake_lock(f);
	size_t n = chr_of(f, handle)->n_writes;
	fake_unlock(f);
	return n;
}

size_t fake_write_longest(struct fake_bluez *f, uint16_t handle)
{
	fake_lock(f);
	size_t n = chr_of(f, handle)->longest;
	fake_unlock(f);
	return n;
}

void fake_on_write(struct fake_bluez *f, uint16_t handle, fake_write_fn *fn, void *ctx)
{
	fake_lock(f);
	chr_of(f, handle)->fn = fn;
	chr_of(f, handle)->ctx = ctx;
	fake_unlock(f);
}
