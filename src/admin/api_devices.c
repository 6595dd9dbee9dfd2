/* Devices, their credentials, and the endpoints they registered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/api.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/smp.h"
#include "io/udp.h"
#include "radio/ble.h"

enum { SECRET_BYTES_MIN = 16 };                 /* RFC 7925 4.2: as strong as the ciphers */

static void put_components(struct json_out *o, const struct device *d)
{
	json_open_array(o, "components");
	for (size_t i = 0; i < d->n_components; i++) {
		const struct device_component *c = &d->components[i];
		json_open_object(o, NULL);
		json_hex(o, "id", SPAN(c->id, c->n_id));
		json_str(o, "version", c->version);
		if (c->has_sequence)
			json_uint(o, "sequence", c->sequence);
		else
			json_str(o, "sequence", NULL);
		if (c->has_manifest)
			json_hex(o, "manifest", SPAN_OF(c->manifest.b));
		else
			json_str(o, "manifest", NULL);
		json_close_object(o);
	}
	json_close_array(o);
}

static void api_put_device(struct json_out *o, const char *key, const struct device *d)
{
	char uuid[TEXT_UUID_BYTES];

	json_open_object(o, key);
	json_str(o, "id", d->id);
	json_str(o, "name", d->name);
	json_str(o, "state", device_state_name(d->state));
	json_str(o, "vendor_id", d->model.has_vendor ? text_uuid(d->model.vendor_id, uuid) : NULL);
	json_str(o, "class_id", d->model.has_class ? text_uuid(d->model.class_id, uuid) : NULL);
	json_str(o, "hw_revision", d->model.hw_revision);
	json_str(o, "driver", d->driver);
	json_str(o, "address", d->address);
	json_str(o, "identity", d->identity);
	json_str(o, "proof", device_proof_name(d->proof));
	json_open_object(o, "wake");
	json_str(o, "kind", wake_kind_name(d->wake.kind));
	json_uint(o, "period_s", d->wake.period_s);
	json_uint(o, "window_s", d->wake.window_s);
	json_close_object(o);
	put_components(o, d);
	api_put_wall(o, "enrolled_at", d->enrolled_at);
	api_put_wall(o, "last_seen", d->last_seen);
	json_str(o, "last_addr", d->last_addr);
	json_close_object(o);
}

void api_devices_list(struct api_call *c)
{
	const struct devices *ds = c->admin->c.devices;
	const char *state = c->query(c, "state");
	const struct device *last = NULL;
	enum device_state wanted = DEVICE_SEEN;
	struct api_list l;

	if (state && device_state_parse(span_str(state), &wanted) < 0) {
		api_reply_problem(c, 400, "state= is seen, enrolled, quarantined or retired");
		return;
	}
	api_list_begin(c, &l);
	for (const struct device *d = devices_next(ds, api_after(c)); d; d = devices_next(ds, d->id)) {
		if (state && d->state != wanted)
			continue;
		if (api_list_full(&l)) {
			(void)text_copy(l.next, sizeof(l.next), span_str(last->id)); /* ids fit */
			break;
		}
		api_put_device(&l.o, NULL, d);
		l.n++;
		last = d;
	}
	api_list_end(c, &l, devices_count(ds));
}

void api_device_show(struct api_call *c)
{
	const struct device *d = devices_get(c->admin->c.devices, c->param[0]);
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!d) {
		api_reply_problem(c, 404, "no device \"%.70s\"", c->param[0]);
		return;
	}
	api_put_device(&o, NULL, d);
	api_reply_json(c, 200, &b);
}

/* A text member into an array; false and a 400 when it is there and wrong. */
static bool take_text(struct api_call *c, const char *key, char *ret, size_t ret_bytes)
{
	const char *v = json_get_str(c->body, key);

	if (!v)
		return true;
	if (!text_is_clean(span_str(v)) || text_copy(ret, ret_bytes, span_str(v)) < 0) {
		api_reply_problem(c, 400, "%s: at most %zu bytes of printable text", key, ret_bytes - 1);
		return false;
	}
	return true;
}

static bool take_uuid(struct api_call *c, const char *key, uint8_t ret[static 16], bool *ret_has)
{
	const char *v = json_get_str(c->body, key);

	if (!v)
		return true;
	if (text_parse_uuid(span_str(v), ret) < 0) {
		api_reply_problem(c, 400, "%s: a UUID such as 2f1b8cf0-8ed2-5a2e-8f44-0c9d0d0b3a01", key);
		return false;
	}
	*ret_has = true;
	return true;
}

static bool take_wake(struct api_call *c, struct wake_pattern *ret)
{
	const struct json_value *w = json_get(c->body, "wake");
	const char *kind = w ? json_get_str(w, "kind") : NULL;
	int64_t n;

	if (!w)
		return true;
	if (kind && wake_kind_parse(span_str(kind), &ret->kind) < 0) {
		api_reply_problem(c, 400, "wake.kind: always, polls or window");
		return false;
	}
	if (json_get_int(w, "period_s", &n) && n >= 0 && n <= UINT32_MAX)
		ret->period_s = (uint32_t)n;
	if (json_get_int(w, "window_s", &n) && n >= 0 && n <= UINT32_MAX)
		ret->window_s = (uint32_t)n;
	return true;
}

static bool take_words(struct api_call *c, struct device *d)
{
	const char *proof = json_get_str(c->body, "proof"), *driver = json_get_str(c->body, "driver");

	if (proof && device_proof_parse(span_str(proof), &d->proof) < 0) {
		api_reply_problem(c, 400, "proof: what the node checks: signature, mac or none");
		return false;
	}
	if (driver && !job_run_has_driver(rollout_run_jobs(c->admin->c.rollout), driver)) {
		api_reply_problem(c, 400, "driver: there is no \"%.40s\" here; coap-pull is for nodes that ask, "
				  "smp-udp for those that speak MCUmgr, smp-ble the same where Bluetooth is on, nordic-dfu for Nordic's bootloaders", driver);
		return false;
	}
	return true;
}

static bool take_address(struct api_call *c, struct device *d)
{
	struct udp_address a;
	char node[BLE_ID_BYTES];

	if (!take_text(c, "address", d->address, sizeof(d->address)))
		return false;
	if (d->address[0] && ble_id_parse(span_str(d->address), node) < 0 && udp_address_parse(span_str(d->address), SMP_PORT, &a) == -EINVAL) {
		api_reply_problem(c, 400, "address: an IPv6 or IPv4 address, with a port or without, or one of Bluetooth: "
				  "[2001:db8::1]:1337, 192.0.2.1, ble:01:23:45:67:89:AB");
		return false;
	}
	return true;
}

/* From the request into d; false when it was answered already. */
static bool take_device(struct api_call *c, struct device *d)
{
	if (!c->body || !json_is_object(c->body)) {
		api_reply_problem(c, 400, "give a JSON object: vendor_id, class_id, and optionally name, hw_revision, identity, proof, wake, driver, address");
		return false;
	}
	if (text_copy(d->id, sizeof(d->id), span_str(c->param[0])) < 0 || !device_id_is_valid(span_str(d->id))) {
		api_reply_problem(c, 400, "a device id is 1 to 63 of A-Z a-z 0-9 . _ -");
		return false;
	}
	return take_words(c, d) && take_text(c, "name", d->name, sizeof(d->name)) &&
	       take_text(c, "hw_revision", d->model.hw_revision, sizeof(d->model.hw_revision)) &&
	       take_address(c, d) && take_text(c, "driver", d->driver, sizeof(d->driver)) && take_text(c, "identity", d->identity, sizeof(d->identity)) &&
	       take_uuid(c, "vendor_id", d->model.vendor_id, &d->model.has_vendor) &&
	       take_uuid(c, "class_id", d->model.class_id, &d->model.has_class) && take_wake(c, &d->wake);
}

void api_device_put(struct api_call *c)
{
	const struct device *old = devices_get(c->admin->c.devices, c->param[0]);
	struct device *d = NEW(struct device);

	if (old)
		*d = *old;
	else
		(void)text_copy(d->driver, sizeof(d->driver), SPAN_LIT("coap-pull")); /* fits */
	d->state = DEVICE_ENROLLED;
	if (take_device(c, d)) {
		struct api_deed deed = api_deed_begin(c, "device", "put");
		int r = devices_put(c->admin->c.devices, d, wall_now(), api_reply_stored, c);
		api_deed_end(&deed, r >= 0);
		if (r == -EEXIST)
			api_reply_problem(c, 409, "the identity \"%.64s\" is another device's", d->identity);
		else if (r == -ENOSPC)
			api_reply_problem(c, 507, "there are %d devices already; remove some", DEVICES_MAX);
		else if (r < 0)
			api_reply_problem(c, 400, "not enrolled: %s", strerror(-r));
	}
	free(d);
}

void api_device_delete(struct api_call *c)
{
	struct api_deed deed = api_deed_begin(c, "device", "remove");
	int r = devices_remove(c->admin->c.devices, c->param[0], api_reply_stored, c);

	api_deed_end(&deed, r >= 0);
	if (r < 0)
		api_reply_problem(c, 404, "no device \"%.70s\"", c->param[0]);
}

void api_device_state(struct api_call *c)
{
	const char *word = c->body ? json_get_str(c->body, "state") : NULL;
	enum device_state s;

	if (!word || device_state_parse(span_str(word), &s) < 0 || s == DEVICE_SEEN) {
		api_reply_problem(c, 400, "give {\"state\": \"enrolled\" | \"quarantined\" | \"retired\"}");
		return;
	}
	struct api_deed deed = api_deed_begin(c, "device", device_state_name(s));
	int r = devices_set_state(c->admin->c.devices, c->param[0], s, wall_now(), api_reply_stored, c);
	api_deed_end(&deed, r >= 0);
	if (r < 0)
		api_reply_problem(c, 404, "no device \"%.70s\"", c->param[0]);
}

/* ---- endpoints ---- */

static void put_endpoint(struct json_out *o, const struct registration *reg, bool with_links)
{
	struct span attribute;
	size_t pos = 0;

	json_open_object(o, NULL);
	json_str(o, "location", registration_location(reg));
	json_span(o, "endpoint", registration_endpoint(reg));
	json_span(o, "sector", registration_sector(reg));
	json_span(o, "base", registration_base(reg));
	json_str(o, "device", registration_device(reg));
	json_str(o, "owner", registration_owner(reg));
	json_uint(o, "lifetime_s", registration_lifetime_s(reg));
	json_int(o, "expires_in_s", mono_diff_ms(registration_deadline(reg), mono_now()) / 1000);
	json_uint(o, "n_links", registration_n_links(reg));
	json_open_array(o, "attributes");
	while (registration_attribute(reg, &pos, &attribute))
		json_span(o, NULL, attribute);
	json_close_array(o);
	if (with_links)
		json_span(o, "links", registration_links(reg));
	json_close_object(o);
}

void api_endpoints_list(struct api_call *c)
{
	const struct registry *r = c->admin->c.registry;
	const char *after = api_after(c);
	uint64_t order = 0;
	struct api_list l;

	if (after && text_parse_u64(span_str(after), UINT64_MAX, &order, 0) < 0) {
		api_reply_problem(c, 400, "after= is the next value of the page before");
		return;
	}
	api_list_begin(c, &l);
	for (const struct registration *reg = registry_next(r, order); reg; reg = registry_next(r, registration_order(reg))) {
		if (api_list_full(&l)) {
			(void)snprintf(l.next, sizeof(l.next), "%llu", (unsigned long long)order); /* fits */
			break;
		}
		put_endpoint(&l.o, reg, false);
		l.n++;
		order = registration_order(reg);
	}
	api_list_end(c, &l, registry_counts(r).n_endpoints);
}

void api_endpoint_show(struct api_call *c)
{
	const struct registration *reg = registry_get(c->admin->c.registry, span_str(c->param[0]));
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!reg) {
		api_reply_problem(c, 404, "no registration \"%.40s\"", c->param[0]);
		return;
	}
	put_endpoint(&o, reg, true);
	api_reply_json(c, 200, &b);
}

/* An endpoint that lives registers again: this is for those that do not, and for their places in the directory. */
void api_endpoint_delete(struct api_call *c)
{
	struct api_deed deed = api_deed_begin(c, "registration", "remove");
	int r = registry_remove(c->admin->c.registry, span_str(c->param[0]), NULL, api_reply_stored, c);

	api_deed_end(&deed, r >= 0);
	if (r < 0)
		api_reply_problem(c, 404, "no registration \"%.40s\"", c->param[0]);
}

/* ---- credentials: secrets go in, never out ---- */

static const char *credential_kind_name(enum credential_kind k)
{
	return k == CREDENTIAL_PSK ? "psk" : "mac";
}

static bool credential_kind_of(const char *word, enum credential_kind *ret)
{
	*ret = word && strcmp(word, "mac") == 0 ? CREDENTIAL_MAC : CREDENTIAL_PSK;
	return !word || strcmp(word, credential_kind_name(*ret)) == 0;
}

static void put_credential(struct json_out *o, const struct credential *k)
{
	json_open_object(o, NULL);
	json_str(o, "identity", k->identity);
	json_str(o, "kind", credential_kind_name(k->kind));
	json_str(o, "device", k->device);
	json_open_array(o, "roles");
	if (k->roles & ROLE_DEVICE)
		json_str(o, NULL, "device");
	if (k->roles & ROLE_ADMIN)
		json_str(o, NULL, "admin");
	if (k->roles & ROLE_VIEWER)
		json_str(o, NULL, "viewer");
	json_close_array(o);
	json_close_object(o);
}

/* The cursor of a page: how many came before. */
void api_credentials_list(struct api_call *c)
{
	const struct devices *ds = c->admin->c.devices;
	const char *after = api_after(c);
	uint64_t skip = 0, total = 0;
	struct api_list l;

	if (after && text_parse_u64(span_str(after), UINT64_MAX, &skip, 0) < 0) {
		api_reply_problem(c, 400, "after= is the next value of the page before");
		return;
	}
	api_list_begin(c, &l);
	for (const struct credential *k = devices_credential_next(ds, NULL); k; k = devices_credential_next(ds, k)) {
		if (total++ < skip)
			continue;
		if (api_list_full(&l)) {
			(void)snprintf(l.next, sizeof(l.next), "%llu", (unsigned long long)(skip + l.n)); /* fits */
			continue;
		}
		put_credential(&l.o, k);
		l.n++;
	}
	api_list_end(c, &l, total);
}

static bool take_roles(struct api_call *c, unsigned *ret)
{
	const struct json_value *roles = json_get(c->body, "roles");

	*ret = roles ? 0 : ROLE_DEVICE;
	for (size_t i = 0; roles && i < json_n(roles); i++) {
		const char *word = json_as_str(json_at(roles, i));
		unsigned bit = !word ? 0 : strcmp(word, "device") == 0 ? ROLE_DEVICE : strcmp(word, "admin") == 0 ? ROLE_ADMIN :
			       strcmp(word, "viewer") == 0 ? ROLE_VIEWER : 0;
		if (!bit)
			return false;
		*ret |= bit;
	}
	return *ret != 0;
}

static void refuse_credential(struct api_call *c, int error)
{
	if (error == -EPERM)
		api_reply_problem(c, 409, "this identity stands in admin.credentials_file; change it there, then reload");
	else if (error == -ENOENT)
		api_reply_problem(c, 404, "no such credential");
	else
		api_reply_problem(c, 400, "an identity is 1 to %d bytes of printable text", DEVICE_IDENTITY_BYTES - 1);
}

void api_credential_put(struct api_call *c)
{
	struct credential k = { 0 };
	const char *hex = c->body ? json_get_str(c->body, "secret_hex") : NULL, *device = c->body ? json_get_str(c->body, "device") : NULL;

	if (!hex || text_parse_hex_var(span_str(hex), k.secret, sizeof(k.secret), &k.n_secret) < 0 || k.n_secret < SECRET_BYTES_MIN)
		api_reply_problem(c, 400, "secret_hex: %d to %d bytes in hex", SECRET_BYTES_MIN, CREDENTIAL_SECRET_MAX);
	else if (!take_roles(c, &k.roles) || !credential_kind_of(json_get_str(c->body, "kind"), &k.kind))
		api_reply_problem(c, 400, "roles: a list of device, admin, viewer; kind: psk or mac");
	else if (text_copy(k.identity, sizeof(k.identity), span_str(c->param[0])) < 0 || !text_is_clean(span_str(k.identity)))
		api_reply_problem(c, 400, "an identity is at most %d bytes of printable text", DEVICE_IDENTITY_BYTES - 1);
	else if (device && (text_copy(k.device, sizeof(k.device), span_str(device)) < 0 || !devices_get(c->admin->c.devices, device)))
		api_reply_problem(c, 404, "no device \"%.70s\"; enrol it first", device);
	else {
		struct api_deed deed = api_deed_begin(c, "credential", "put");
		int r = devices_credential_put(c->admin->c.devices, &k, api_reply_stored, c);
		api_deed_end(&deed, r >= 0);
		if (r < 0)
			refuse_credential(c, r);
	}
	mem_wipe(&k, sizeof(k));
}

void api_credential_delete(struct api_call *c)
{
	enum credential_kind kind;

	if (!credential_kind_of(c->query(c, "kind"), &kind)) {
		api_reply_problem(c, 400, "kind: psk or mac");
		return;
	}
	struct api_deed deed = api_deed_begin(c, "credential", "remove");
	int r = devices_credential_remove(c->admin->c.devices, c->param[0], kind, api_reply_stored, c);
	api_deed_end(&deed, r >= 0);
	if (r < 0)
		refuse_credential(c, r);
}
