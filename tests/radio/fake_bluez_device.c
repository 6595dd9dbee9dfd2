/* The fake's adapters with discovery and monitors, its devices with connecting, and pairing through an agent. */
#include "fake_bluez_internal.h"

static void tell_monitors(struct fake_bluez *f, struct fake_dev *d)
{
	for (size_t i = 0; i < d->adapter->n_monitors; i++) {
		struct fake_monitor *n = &d->adapter->monitors[i];

		(void)sd_bus_call_method_async(f->bus, NULL, n->owner, n->path, FAKE_MONITOR_IFACE, "DeviceFound", NULL, NULL, "o", d->path);
	}
}

/* Heard over the air: its object, or its RSSI. */
static void heard(struct fake_bluez *f, struct fake_dev *d)
{
	struct fake_adapter *a = d->adapter;
	bool is_new = !d->is_exported;

	if (!f->bus || !a->name[0] || !a->is_on || (!a->discoverer[0] && !a->n_monitors))
		return;
	d->is_exported = d->has_rssi = true;
	if (is_new)
		fake_say_added(f, d->path);
	else
		fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "RSSI");
	if (is_new)
		tell_monitors(f, d);
}

static void hear_all(struct fake_bluez *f, struct fake_adapter *a)
{
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].adapter == a && !f->devs[i].c.is_silent && !f->devs[i].is_connected)
			heard(f, &f->devs[i]);
}

void fake_dev_lost(struct fake_bluez *f, struct fake_dev *d, bool is_signal_first)
{
	if (!d->is_connected)
		return;
	for (size_t i = 0; !is_signal_first && i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev == d)
			fake_chr_hang_up(&f->chrs[i]);
	d->is_connected = d->is_resolved = false;
	d->resolve_at = 0;
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "ServicesResolved");
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Connected");
	if (is_signal_first && f->bus)
		(void)sd_bus_flush(f->bus); /* a dead bus is noticed by the thread */
	for (size_t i = 0; i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev == d)
			fake_chr_hang_up(&f->chrs[i]);
}

void fake_dev_unexport(struct fake_bluez *f, struct fake_dev *d)
{
	if (!d->is_exported)
		return;
	fake_dev_lost(f, d, false);
	for (size_t i = 0; d->has_services && i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev == d)
			fake_say_removed(f, f->chrs[i].path, FAKE_CHR_IFACE);
	for (size_t i = 0; d->has_services && i < f->n_services; i++)
		if (f->services[i].dev == d)
			fake_say_removed(f, f->services[i].path, FAKE_SERVICE_IFACE);
	d->has_services = d->is_exported = d->is_paired = d->has_rssi = false;
	fake_say_removed(f, d->path, FAKE_DEVICE_IFACE);
}

/* ---- the adapter ---- */

static void stop_discovery(struct fake_bluez *f, struct fake_adapter *a)
{
	a->discoverer[0] = 0;
	fake_say_changed(f, a->path, FAKE_ADAPTER_IFACE, "Discovering");
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].adapter == a && f->devs[i].has_rssi && f->devs[i].is_exported) {
			f->devs[i].has_rssi = false;
			fake_say_gone(f, f->devs[i].path, FAKE_DEVICE_IFACE, "RSSI");
		}
}

static void start_discovery(struct fake_bluez *f, struct fake_adapter *a, sd_bus_message *m)
{
	if (!a->is_on) {
		fake_reply_error(m, "org.bluez.Error.NotReady", "Resource Not Ready");
	} else if (a->discoverer[0]) {
		fake_reply_error(m, "org.bluez.Error.InProgress", "Operation already in progress");
	} else {
		(void)snprintf(a->discoverer, sizeof(a->discoverer), "%s", sd_bus_message_get_sender(m));
		fake_reply(m);
		fake_say_changed(f, a->path, FAKE_ADAPTER_IFACE, "Discovering");
		hear_all(f, a);
	}
}

static void remove_device(struct fake_bluez *f, sd_bus_message *m)
{
	const char *path;
	struct fake_dev *d = sd_bus_message_read(m, "o", &path) > 0 ? fake_dev_at(f, path) : NULL;

	if (!d) {
		fake_reply_error(m, "org.bluez.Error.DoesNotExist", "Does Not Exist");
		return;
	}
	fake_dev_unexport(f, d);
	fake_reply(m);
	if (!d->c.is_silent)
		heard(f, d);
}

/* The objects of the application that registered: each monitor among them is activated. */
static int on_monitors(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fake_bluez *f = userdata;
	const char *path, *iface;

	(void)error;
	if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}") < 0)
		return 0;
	while (sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}") > 0) {
		bool is_monitor = false;

		assert_true(sd_bus_message_read(m, "o", &path) > 0);
		assert_true(sd_bus_message_enter_container(m, 'a', "{sa{sv}}") >= 0);
		while (sd_bus_message_enter_container(m, 'e', "sa{sv}") > 0) {
			assert_true(sd_bus_message_read(m, "s", &iface) > 0);
			is_monitor |= strcmp(iface, FAKE_MONITOR_IFACE) == 0;
			assert_true(sd_bus_message_skip(m, "a{sv}") >= 0);
			assert_true(sd_bus_message_exit_container(m) >= 0);
		}
		assert_true(sd_bus_message_exit_container(m) >= 0);
		assert_true(sd_bus_message_exit_container(m) >= 0);
		for (size_t i = 0; is_monitor && i < FAKE_ADAPTERS_MAX; i++) {
			struct fake_adapter *a = &f->adapters[i];

			if (!a->name[0] || !(a->flags & FAKE_ADAPTER_MONITORS) || a->n_monitors == FAKE_MONITORS_MAX)
				continue;
			struct fake_monitor *n = &a->monitors[a->n_monitors++];
			(void)snprintf(n->owner, sizeof(n->owner), "%s", sd_bus_message_get_sender(m));
			(void)snprintf(n->path, sizeof(n->path), "%s", path);
			(void)sd_bus_call_method_async(f->bus, NULL, n->owner, path, FAKE_MONITOR_IFACE, "Activate", NULL, NULL, NULL);
			hear_all(f, a);
		}
	}
	return 0;
}

static void register_monitor(struct fake_bluez *f, sd_bus_message *m)
{
	const char *root;

	if (sd_bus_message_read(m, "o", &root) <= 0) {
		fake_reply_error(m, "org.bluez.Error.InvalidArguments", "Invalid arguments in method call");
		return;
	}
	fake_reply(m);
	(void)sd_bus_call_method_async(f->bus, NULL, sd_bus_message_get_sender(m), root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
				       on_monitors, f, NULL);
}

bool fake_adapter_call(struct fake_bluez *f, struct fake_adapter *a, sd_bus_message *m, const char *method)
{
	bool has_monitors = a->flags & FAKE_ADAPTER_MONITORS;

	if (!strcmp(method, "StartDiscovery")) {
		start_discovery(f, a, m);
	} else if (!strcmp(method, "StopDiscovery")) {
		if (!a->discoverer[0]) {
			fake_reply_error(m, "org.bluez.Error.Failed", "No discovery started");
			return true;
		}
		fake_reply(m);
		stop_discovery(f, a);
	} else if (!strcmp(method, "SetDiscoveryFilter")) {
		fake_reply(m);
	} else if (!strcmp(method, "RemoveDevice")) {
		remove_device(f, m);
	} else if (has_monitors && !strcmp(method, "RegisterMonitor")) {
		register_monitor(f, m);
	} else if (has_monitors && !strcmp(method, "UnregisterMonitor")) {
		a->n_monitors = 0;
		fake_reply(m);
	} else {
		return false;
	}
	return true;
}

/* ---- the device ---- */

void fake_dev_due(struct fake_bluez *f, struct fake_dev *d)
{
	bool are_new = !d->has_services;

	d->resolve_at = 0;
	d->has_services = d->is_resolved = true;
	for (size_t i = 0; are_new && i < f->n_services; i++)
		if (f->services[i].dev == d)
			fake_say_added(f, f->services[i].path);
	for (size_t i = 0; are_new && i < f->n_chrs; i++)
		if (f->chrs[i].svc->dev == d)
			fake_say_added(f, f->chrs[i].path);
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "UUIDs");
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "ServicesResolved");
}

static void connected(struct fake_bluez *f, struct fake_dev *d)
{
	if (d->is_connected)
		return;
	d->is_connected = true;
	d->resolve_at = fake_now() + (d->c.resolve_ms ? d->c.resolve_ms : 10);
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Connected");
}

static void pair_end(struct fake_bluez *f, struct fake_dev *d, const char *error, const char *text)
{
	if (!d->is_pairing)
		return;
	d->is_pairing = false;
	if (!error) {
		connected(f, d);
		d->is_paired = true;
		fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Bonded");
		fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Paired");
	}
	if (d->pair_call && error)
		fake_reply_error(d->pair_call, error, text);
	else if (d->pair_call)
		fake_reply(d->pair_call);
	d->pair_call = sd_bus_message_unref(d->pair_call);
}

static int on_agent(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fake_bluez *f = userdata;
	uint32_t passkey = 0;

	(void)error;
	for (size_t i = 0; i < f->n_devs; i++) {
		struct fake_dev *d = &f->devs[i];

		if (!d->is_pairing)
			continue;
		if (sd_bus_message_is_method_error(m, NULL))
			pair_end(f, d, "org.bluez.Error.AuthenticationRejected", "Authentication Rejected");
		else if (d->c.pairing == FAKE_PAIR_ASKED && (sd_bus_message_read(m, "u", &passkey) <= 0 || passkey != d->c.passkey))
			pair_end(f, d, "org.bluez.Error.AuthenticationFailed", "Authentication Failed");
		else
			pair_end(f, d, NULL, NULL);
		return 0; /* one at a time */
	}
	return 0;
}

static void ask_agent(struct fake_bluez *f, struct fake_dev *d, const char *method, const char *types, ...)
{
	sd_bus_message *m = NULL;
	va_list ap;

	if (!f->agent_owner[0]) {
		pair_end(f, d, "org.bluez.Error.AuthenticationFailed", "Authentication Failed");
		return;
	}
	assert_true(sd_bus_message_new_method_call(f->bus, &m, f->agent_owner, f->agent_path, FAKE_AGENT_IFACE, method) >= 0);
	va_start(ap, types);
	assert_true(sd_bus_message_appendv(m, types, ap) >= 0);
	va_end(ap);
	assert_true(sd_bus_call_async(f->bus, NULL, m, on_agent, f, 60u * 1000 * 1000) >= 0);
	sd_bus_message_unref(m);
}

static void pair_begin(struct fake_bluez *f, struct fake_dev *d)
{
	d->is_pairing = true;
	switch (d->c.pairing) {
	case FAKE_PAIR_NEVER:
		pair_end(f, d, "org.bluez.Error.AuthenticationFailed", "Authentication Failed");
		break;
	case FAKE_PAIR_JUST_WORKS:
		if (d->pair_call)
			pair_end(f, d, NULL, NULL);
		else
			ask_agent(f, d, "RequestAuthorization", "o", d->path);
		break;
	case FAKE_PAIR_SHOWN:
		ask_agent(f, d, "DisplayPasskey", "ouq", d->path, d->c.passkey, 0);
		break;
	case FAKE_PAIR_ASKED:
		ask_agent(f, d, "RequestPasskey", "o", d->path);
		break;
	case FAKE_PAIR_CONFIRM:
		ask_agent(f, d, "RequestConfirmation", "ou", d->path, d->c.passkey);
		break;
	}
}

static void cancel_pairing(struct fake_bluez *f, struct fake_dev *d, sd_bus_message *m)
{
	if (!d->is_pairing) {
		fake_reply_error(m, "org.bluez.Error.DoesNotExist", "Does Not Exist");
		return;
	}
	if (f->agent_owner[0])
		(void)sd_bus_call_method_async(f->bus, NULL, f->agent_owner, f->agent_path, FAKE_AGENT_IFACE, "Cancel", NULL, NULL, NULL);
	pair_end(f, d, "org.bluez.Error.AuthenticationCanceled", "Authentication Canceled");
	fake_reply(m);
}

bool fake_dev_call(struct fake_bluez *f, struct fake_dev *d, sd_bus_message *m, const char *method)
{
	if (!strcmp(method, "Connect")) {
		if (!d->adapter->is_on) {
			fake_reply_error(m, "org.bluez.Error.NotReady", "Resource Not Ready");
			return true;
		}
		connected(f, d);
		fake_reply(m);
	} else if (!strcmp(method, "Disconnect")) {
		fake_pending_fail(f, d->path, "Connect", "org.bluez.Error.Failed", "le-connection-abort-by-local");
		fake_dev_lost(f, d, false);
		fake_reply(m);
	} else if (!strcmp(method, "Pair")) {
		if (d->is_paired || d->is_pairing) {
			fake_reply_error(m, d->is_paired ? "org.bluez.Error.AlreadyExists" : "org.bluez.Error.InProgress", "Already");
			return true;
		}
		if (d->resolve_at)
			return true;           /* the real one never answers while it reads services */
		d->pair_call = sd_bus_message_ref(m);
		pair_begin(f, d);
	} else if (!strcmp(method, "CancelPairing")) {
		cancel_pairing(f, d, m);
	} else {
		return false;
	}
	return true;
}

/* ---- the agent manager ---- */

bool fake_agent_call(struct fake_bluez *f, sd_bus_message *m, const char *method)
{
	const char *path, *capability;

	if (!strcmp(method, "RegisterAgent")) {
		if (sd_bus_message_read(m, "os", &path, &capability) <= 0 || f->agent_owner[0]) {
			fake_reply_error(m, "org.bluez.Error.AlreadyExists", "Already Exists");
			return true;
		}
		(void)snprintf(f->agent_owner, sizeof(f->agent_owner), "%s", sd_bus_message_get_sender(m));
		(void)snprintf(f->agent_path, sizeof(f->agent_path), "%s", path);
		buf_printf(&f->log, "agent %s\n", capability);
	} else if (!strcmp(method, "UnregisterAgent")) {
		f->agent_owner[0] = 0;
	} else if (strcmp(method, "RequestDefaultAgent") != 0) {
		return false;
	}
	fake_reply(m);
	return true;
}

void fake_client_gone(struct fake_bluez *f, const char *owner)
{
	if (strcmp(f->agent_owner, owner) == 0)
		f->agent_owner[0] = 0;
	for (size_t i = 0; i < FAKE_ADAPTERS_MAX; i++) {
		struct fake_adapter *a = &f->adapters[i];

		if (a->name[0] && strcmp(a->discoverer, owner) == 0)
			stop_discovery(f, a);
		if (a->n_monitors && strcmp(a->monitors[0].owner, owner) == 0)
			a->n_monitors = 0;
	}
	for (size_t i = 0; i < f->n_chrs; i++)
		if (strcmp(f->chrs[i].notifying, owner) == 0)
			f->chrs[i].notifying[0] = 0;
}

static void power(struct fake_bluez *f, struct fake_adapter *a, bool is_on)
{
	if (a->is_on == is_on)
		return;
	if (!is_on && a->discoverer[0])
		stop_discovery(f, a);
	for (size_t i = 0; !is_on && i < f->n_devs; i++)
		if (f->devs[i].adapter == a)
			fake_dev_lost(f, &f->devs[i], false);
	a->is_on = is_on;
	fake_say_changed(f, a->path, FAKE_ADAPTER_IFACE, "Powered");
}

bool fake_set(struct fake_bluez *f, sd_bus_message *m)
{
	const char *iface, *name, *path = sd_bus_message_get_path(m);
	struct fake_adapter *a = fake_adapter_at(f, path);
	struct fake_dev *d = fake_dev_at(f, path);
	int value;

	if (sd_bus_message_read(m, "ss", &iface, &name) <= 0 || sd_bus_message_read(m, "v", "b", &value) <= 0)
		return false;
	if (a && strcmp(name, "Powered") == 0) {
		power(f, a, value);
	} else if (d && strcmp(name, "Trusted") == 0) {
		d->is_trusted = value;
		fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Trusted");
	} else {
		fake_reply_error(m, SD_BUS_ERROR_UNKNOWN_PROPERTY, "no such property");
		return true;
	}
	fake_reply(m);
	return true;
}

/* ---- by the test ---- */

static struct fake_adapter *adapter_of(struct fake_bluez *f, const char *name)
{
	for (size_t i = 0; i < FAKE_ADAPTERS_MAX; i++)
		if (strcmp(f->adapters[i].name, name) == 0)
			return &f->adapters[i];
	fail_msg("no adapter %s", name);
	return NULL;
}

static struct fake_dev *dev_of(struct fake_bluez *f, const char *address)
{
	for (size_t i = 0; i < f->n_devs; i++)
		if (strcasecmp(f->devs[i].address, address) == 0)
			return &f->devs[i];
	fail_msg("no node %s", address);
	return NULL;
}

void fake_adapter_add(struct fake_bluez *f, const char *name, const char *address, unsigned flags)
{
	fake_lock(f);
	struct fake_adapter *a = adapter_of(f, "");
	*a = (struct fake_adapter){ .flags = flags, .is_on = !(flags & FAKE_ADAPTER_OFF) };
	(void)snprintf(a->name, sizeof(a->name), "%s", name);
	(void)snprintf(a->address, sizeof(a->address), "%s", address);
	(void)snprintf(a->path, sizeof(a->path), "/org/bluez/%.60s", name);
	fake_say_added(f, a->path);
	fake_unlock(f);
}

void fake_adapter_remove(struct fake_bluez *f, const char *name)
{
	fake_lock(f);
	struct fake_adapter *a = adapter_of(f, name);
	for (size_t i = 0; i < f->n_devs; i++)
		if (f->devs[i].adapter == a)
			fake_dev_unexport(f, &f->devs[i]);
	a->name[0] = 0;
	fake_say_removed(f, a->path, FAKE_ADAPTER_IFACE);
	fake_unlock(f);
}

void fake_adapter_power(struct fake_bluez *f, const char *name, bool is_on)
{
	fake_lock(f);
	power(f, adapter_of(f, name), is_on);
	fake_unlock(f);
}

void fake_node_add(struct fake_bluez *f, const struct fake_node *n)
{
	fake_lock(f);
	assert_true(f->n_devs < FAKE_NODES_MAX);
	struct fake_dev *d = &f->devs[f->n_devs++];
	*d = (struct fake_dev){ .c = *n, .adapter = adapter_of(f, n->adapter ? n->adapter : "hci0"), .rssi = n->rssi ? n->rssi : -60 };
	(void)snprintf(d->address, sizeof(d->address), "%s", n->address);
	(void)snprintf(d->path, sizeof(d->path), "/org/bluez/%.40s/dev_%.20s", n->adapter ? n->adapter : "hci0", n->address);
	for (char *p = strstr(d->path, "/dev_"); *p; p++)
		if (*p == ':')
			*p = '_';
	if (!n->is_silent)
		heard(f, d);
	fake_unlock(f);
}

void fake_node_remove(struct fake_bluez *f, const char *address)
{
	fake_lock(f);
	dev_of(f, address)->c.is_silent = true;
	fake_dev_unexport(f, dev_of(f, address));
	fake_unlock(f);
}

void fake_node_advertise(struct fake_bluez *f, const char *address, int rssi)
{
	fake_lock(f);
	struct fake_dev *d = dev_of(f, address);
	d->c.is_silent = false;
	d->rssi = rssi;
	heard(f, d);
	fake_unlock(f);
}

void fake_node_pairing(struct fake_bluez *f, const char *address, enum fake_pairing pairing, uint32_t passkey)
{
	fake_lock(f);
	struct fake_dev *d = dev_of(f, address);
	d->c.pairing = pairing;
	d->c.passkey = passkey;
	fake_unlock(f);
}

void fake_node_disconnect(struct fake_bluez *f, const char *address, bool is_signal_first)
{
	fake_lock(f);
	fake_dev_lost(f, dev_of(f, address), is_signal_first);
	fake_unlock(f);
}

void fake_node_resolve(struct fake_bluez *f, const char *address, const char *identity)
{
	fake_lock(f);
	struct fake_dev *d = dev_of(f, address);
	(void)snprintf(d->address, sizeof(d->address), "%s", identity);
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Address");
	fake_unlock(f);
}

bool fake_node_is_connected(struct fake_bluez *f, const char *address)
{
	fake_lock(f);
	bool is = dev_of(f, address)->is_connected;
	fake_unlock(f);
	return is;
}

bool fake_node_is_paired(struct fake_bluez *f, const char *address)
{
	fake_lock(f);
	bool is = dev_of(f, address)->is_paired;
	fake_unlock(f);
	return is;
}

void fake_node_asks_pairing(struct fake_bluez *f, const char *address)
{
	fake_lock(f);
	struct fake_dev *d = dev_of(f, address);
	if (!d->is_pairing && !d->is_paired)
		pair_begin(f, d);
	fake_unlock(f);
}

void fake_node_bonds(struct fake_bluez *f, const char *address)
{
	fake_lock(f);
	struct fake_dev *d = dev_of(f, address);
	d->is_paired = true;
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Bonded");
	fake_say_changed(f, d->path, FAKE_DEVICE_IFACE, "Paired");
	fake_unlock(f);
}

bool fake_is_discovering(struct fake_bluez *f, const char *adapter)
{
	fake_lock(f);
	bool is = adapter_of(f, adapter)->discoverer[0];
	fake_unlock(f);
	return is;
}

bool fake_has_agent(struct fake_bluez *f)
{
	fake_lock(f);
	bool has = f->agent_owner[0];
	fake_unlock(f);
	return has;
}
