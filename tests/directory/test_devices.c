#include "directory/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "../disk_full.h"
#include "../scratch.h"

#define UUID_A "2f1b8cf0-8ed2-5a2e-8f44-0c9d0d0b3a01"
#define UUID_B "2f1b8cf08ed25a2e8f440c9d0d0b3a02"

static const struct wall now = { 1700000000000 };

struct world {
	struct devices *ds;
	struct devices_config config;
	char dir[64];
	int n_changed, n_removed, n_heard, n_done, error;
	char forgot[128], forgot_of[DEVICE_ID_BYTES];
};

static void on_changed(void *ctx, const struct device *d)
{
	assert_non_null(d);
	((struct world *)ctx)->n_changed++;
}

static void on_removed(void *ctx, const char *id)
{
	assert_true(*id);
	((struct world *)ctx)->n_removed++;
}

static void on_heard(void *ctx, const struct device *d)
{
	assert_non_null(d);
	((struct world *)ctx)->n_heard++;
}

static void on_forget(void *ctx, const char *identity)
{
	struct world *w = ctx;
	const struct device *d = devices_of_identity(w->ds, identity);

	strcpy(w->forgot, identity);
	strcat(w->forgot_of, d ? d->id : "");
}

static void on_done(void *ctx, int error)
{
	struct world *w = ctx;

	w->n_done++;
	w->error = error;
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);

	w->config = (struct devices_config){ .open = true, .changed = on_changed, .removed = on_removed, .heard = on_heard, .forget = on_forget, .ctx = w };
	assert_int_equal(devices_open(&w->config, &w->ds), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	devices_close(w->ds);
	free(w);
	return 0;
}

static struct coap_peer plain(void)
{
	return (struct coap_peer){ .addr = "127.0.0.1:4000", .is_loopback = true, .port = 4000 };
}

static struct coap_peer secure(const char *identity)
{
	struct coap_peer p = { .secure = true, .addr = "[2001:db8::1]:4000", .port = 4000 };

	strcpy(p.identity, identity);
	return p;
}

static void give_psk(struct world *w, const char *identity, const char *device, unsigned roles)
{
	struct credential c = { .kind = CREDENTIAL_PSK, .roles = roles, .n_secret = 16 };

	strcpy(c.identity, identity);
	strcpy(c.device, device);
	memset(c.secret, 7, 16);
	assert_int_equal(devices_credential_put(w->ds, &c, NULL, NULL), 0);
}

static void enrol(struct world *w, const char *id, const char *identity)
{
	struct device d = { .state = DEVICE_ENROLLED, .model = { .has_vendor = true, .has_class = true, .vendor_id = { 1 }, .class_id = { 2 } } };

	strcpy(d.id, id);
	strcpy(d.identity, identity);
	assert_int_equal(devices_put(w->ds, &d, now, NULL, NULL), 0);
}

static const char *claim(struct world *w, const struct coap_peer *peer, const char *ep, const char *text)
{
	struct span a[8];
	size_t n = 0;
	struct device_claim c;
	char device[DEVICE_ID_BYTES];
	const char *why;

	for (const char *p = text; *p; n++) {
		size_t len = strcspn(p, " ");
		a[n] = SPAN(p, len);
		p += len + (p[len] == ' ');
	}
	device_claim_parse(a, n, &c);
	if (devices_tie(w->ds, peer, span_str(ep), SPAN_NONE, device, &why) != 0)
		return NULL;
	c.device = device;
	c.endpoint = span_str(ep);
	return devices_claim(w->ds, peer, &c, now);
}

static void claims_are_parsed_or_left_out(void **state)
{
	static const struct {
		const char *attribute;
		bool model, sequence, wake, proof;
		int n_manifest;
	} rows[] = {
		{ "vid=" UUID_A, true, false, false, false, 0 }, { "cid=" UUID_B, true, false, false, false, 0 }, { "vid=x", false, false, false, false, 0 },
		{ "cid=2f1b8cf08ed25a2e8f440c9d0d0b3a0", false, false, false, false, 0 }, { "hw=rev B", true, false, false, false, 0 },
		{ "hw=0123456789012345678901234567890", true, false, false, false, 0 }, { "hw=01234567890123456789012345678901", false, false, false, false, 0 },
		{ "seq=0", false, true, false, false, 0 }, { "seq=18446744073709551615", false, true, false, false, 0 },
		{ "seq=18446744073709551616", false, false, false, false, 0 }, { "seq=-1", false, false, false, false, 0 }, { "seq=", false, false, false, false, 0 },
		{ "mfd=00ff", false, false, false, false, 2 }, { "mfd=0", false, false, false, false, 0 }, { "mfd=zz", false, false, false, false, 0 },
		{ "wake=0", false, false, true, false, 0 }, { "wake=60", false, false, true, false, 0 }, { "wake=always", false, false, true, false, 0 },
		{ "wake=polls,60", false, false, true, false, 0 }, { "wake=window,60,5", false, false, true, false, 0 }, { "wake=polls", false, false, false, false, 0 },
		{ "wake=polls,60,5", false, false, false, false, 0 }, { "wake=window,60", false, false, false, false, 0 }, { "wake=never", false, false, false, false, 0 },
		{ "proof=sig", false, false, false, true, 0 }, { "proof=signature", false, false, false, true, 0 }, { "proof=mac", false, false, false, true, 0 },
		{ "proof=none", false, false, false, true, 0 }, { "proof=x", false, false, false, false, 0 }, { "vid", false, false, false, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span a = span_str(rows[i].attribute);
		struct device_claim c;
		device_claim_parse(&a, 1, &c);
		if (c.has_model != rows[i].model || c.has_sequence != rows[i].sequence || c.has_wake != rows[i].wake || c.has_proof != rows[i].proof ||
		    c.n_manifest != rows[i].n_manifest)
			fail_msg("row %zu", i);
	}
	struct span w = SPAN_LIT("wake=window,60,5"), p = SPAN_LIT("wake=60");
	struct device_claim c;
	device_claim_parse(&w, 1, &c);
	assert_int_equal(c.wake.kind, WAKE_WINDOW);
	assert_int_equal(c.wake.period_s, 60);
	assert_int_equal(c.wake.window_s, 5);
	device_claim_parse(&p, 1, &c);
	assert_int_equal(c.wake.kind, WAKE_POLLS);
	assert_int_equal(c.wake.period_s, 60);
}

static void ids_are_made_of_endpoint_names(void **state)
{
	char a[DEVICE_ID_BYTES], b[DEVICE_ID_BYTES], c[DEVICE_ID_BYTES];

	(void)state;
	device_id_of_endpoint(SPAN_LIT("node1"), SPAN_NONE, a);
	assert_string_equal(a, "node1");
	device_id_of_endpoint(SPAN_LIT("urn:dev:mac:0024befffe804ff1"), SPAN_NONE, a);
	assert_true(strncmp(a, "urn-dev-mac-0024befffe804ff1.", 29) == 0);
	assert_true(device_id_is_valid(span_str(a)));
	device_id_of_endpoint(SPAN_LIT("urn-dev:mac:0024befffe804ff1"), SPAN_NONE, b);
	assert_string_not_equal(a, b); /* told apart although they look the same */
	device_id_of_endpoint(SPAN_LIT("node1"), SPAN_LIT("d"), b);
	device_id_of_endpoint(SPAN_LIT("node"), SPAN_LIT("1d"), c);
	assert_string_not_equal(b, c);
	device_id_of_endpoint(SPAN_LIT("::::"), SPAN_NONE, a);
	assert_true(device_id_is_valid(span_str(a)));
	device_id_of_endpoint(SPAN_LIT("012345678901234567890123456789012345678901234567890123456789::"), SPAN_NONE, a);
	assert_true(device_id_is_valid(span_str(a)));
	device_id_of_endpoint(SPAN_NONE, SPAN_NONE, a);
	assert_true(device_id_is_valid(span_str(a)));
}

static void an_unknown_endpoint_is_seen_and_gets_nothing(void **state)
{
	struct world *w = *state;
	struct coap_peer p = plain();
	char id[DEVICE_ID_BYTES];

	assert_string_equal(claim(w, &p, "n1", "vid=" UUID_A " cid=" UUID_B " seq=3 ver=1.0 wake=60 proof=mac"), "n1");
	const struct device *d = devices_get(w->ds, "n1");
	assert_int_equal(d->state, DEVICE_SEEN);
	assert_true(d->model.has_vendor && d->model.has_class);
	assert_int_equal(d->wake.period_s, 60);
	assert_int_equal(d->proof, PROOF_MAC);
	assert_int_equal(d->n_components, 1);
	assert_int_equal(d->components[0].sequence, 3);
	assert_string_equal(d->components[0].version, "1.0");
	assert_string_equal(d->last_addr, p.addr);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n1"), now, id), COAP_403_FORBIDDEN);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n2"), now, id), COAP_403_FORBIDDEN);
	assert_int_equal(devices_set_state(w->ds, "n1", DEVICE_ENROLLED, now, NULL, NULL), 0);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n1"), now, id), 0);
	assert_string_equal(id, "n1");
	assert_int_equal(devices_who(w->ds, &p, SPAN_NONE, now, id), COAP_401_UNAUTHORIZED);
	assert_int_equal(devices_set_state(w->ds, "n1", DEVICE_QUARANTINED, now, NULL, NULL), 0);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n1"), now, id), COAP_403_FORBIDDEN);
	assert_true(w->n_changed >= 3);
	assert_true(w->n_heard >= 1);
}

static void an_enrolled_model_is_not_changed_by_a_claim(void **state) /* AT-4 */
{
	struct world *w = *state;
	struct coap_peer p = plain();

	enrol(w, "n1", "");
	assert_string_equal(claim(w, &p, "n1", "vid=" UUID_A " cid=" UUID_B " hw=x seq=4"), "n1");
	const struct device *d = devices_get(w->ds, "n1");
	assert_int_equal(d->model.vendor_id[0], 1);
	assert_int_equal(d->model.class_id[0], 2);
	assert_string_equal(d->model.hw_revision, "");
	assert_int_equal(d->components[0].sequence, 4); /* a report */
	struct device blank = { .id = "n2", .state = DEVICE_ENROLLED };
	assert_int_equal(devices_put(w->ds, &blank, now, NULL, NULL), 0);
	assert_string_equal(claim(w, &p, "n2", "vid=" UUID_A " cid=" UUID_B), "n2");
	assert_false(devices_get(w->ds, "n2")->model.has_class); /* enrolled without one is without one */
}

static void loopback_enrols_itself_only_where_the_demo_switch_is_on(void **state)
{
	struct world *w = *state;
	struct coap_peer p = plain(), other = plain();
	char id[DEVICE_ID_BYTES];

	devices_set_open(w->ds, true, true, true);
	other.is_loopback = false;
	assert_string_equal(claim(w, &other, "far", "vid=" UUID_A " cid=" UUID_B), "far");
	assert_int_equal(devices_get(w->ds, "far")->state, DEVICE_SEEN);
	assert_string_equal(claim(w, &p, "n1", ""), "n1");
	assert_int_equal(devices_get(w->ds, "n1")->state, DEVICE_ENROLLED);
	assert_string_equal(claim(w, &p, "n1", "vid=" UUID_A " cid=" UUID_B), "n1");
	assert_true(devices_get(w->ds, "n1")->model.has_class);
	uint8_t first = devices_get(w->ds, "n1")->model.class_id[15];
	assert_string_equal(claim(w, &p, "n1", "vid=" UUID_B " cid=" UUID_A), "n1");
	assert_int_equal(devices_get(w->ds, "n1")->model.class_id[15], first);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n1"), now, id), 0);
}

static void plain_peers_are_heard_where_it_is_open_only(void **state) /* RD-86 */
{
	static const struct {
		bool open, anywhere, loopback, link_local, may;
	} rows[] = {
		{ false, false, true, false, false }, { false, true, true, false, false }, { true, false, true, false, true },
		{ true, false, false, true, true }, { true, false, false, false, false }, { true, true, false, false, true },
	};
	struct world *w = *state;
	char id[DEVICE_ID_BYTES];

	enrol(w, "n1", "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct coap_peer p = plain();
		p.is_loopback = rows[i].loopback;
		p.is_link_local = rows[i].link_local;
		devices_set_open(w->ds, rows[i].open, rows[i].anywhere, false);
		assert_int_equal(devices_may_plain(w->ds, &p), rows[i].may);
		assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("n1"), now, id), rows[i].may ? 0 : COAP_401_UNAUTHORIZED);
	}
}

static void a_security_identity_names_its_device(void **state)
{
	struct world *w = *state;
	struct coap_peer a = secure("psk-a"), b = secure("psk-b"), x = secure("x509:00ff"), p = plain(), nobody = secure("psk-z");
	char id[DEVICE_ID_BYTES];
	const char *why;

	enrol(w, "dev-a", "");
	enrol(w, "dev-b", "psk-b");
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	give_psk(w, "psk-b", "", ROLE_DEVICE);
	assert_int_equal(devices_who(w->ds, &a, SPAN_NONE, now, id), 0); /* by its credential */
	assert_string_equal(id, "dev-a");
	assert_int_equal(devices_who(w->ds, &a, SPAN_LIT("dev-a"), now, id), 0);
	assert_int_equal(devices_who(w->ds, &a, SPAN_LIT("dev-b"), now, id), COAP_403_FORBIDDEN);
	assert_int_equal(devices_who(w->ds, &b, SPAN_LIT("dev-b"), now, id), 0); /* by its identity */
	assert_int_equal(devices_who(w->ds, &nobody, SPAN_NONE, now, id), COAP_403_FORBIDDEN);
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("dev-a"), now, id), COAP_401_UNAUTHORIZED); /* must show its credential */
	assert_int_equal(devices_who(w->ds, &p, SPAN_LIT("dev-b"), now, id), COAP_401_UNAUTHORIZED);

	assert_int_equal(devices_tie(w->ds, &a, SPAN_NONE, SPAN_NONE, id, &why), 0); /* RD-23: the credential names it */
	assert_string_equal(id, "dev-a");
	assert_int_equal(devices_tie(w->ds, &a, SPAN_LIT("dev-b"), SPAN_NONE, id, &why), COAP_403_FORBIDDEN);
	assert_int_equal(devices_tie(w->ds, &p, SPAN_LIT("dev-b"), SPAN_NONE, id, &why), COAP_401_UNAUTHORIZED);
	assert_int_equal(devices_tie(w->ds, &a, SPAN_LIT("free-name"), SPAN_NONE, id, &why), 0);
	assert_string_equal(id, "dev-a");
	assert_string_equal(claim(w, &a, "free-name", ""), "dev-a");
	assert_int_equal(devices_who(w->ds, &a, SPAN_LIT("free-name"), now, id), 0); /* that is what it registered as */

	assert_string_equal(claim(w, &x, "dev-x", ""), "dev-x"); /* a certificate not seen before */
	assert_string_equal(devices_get(w->ds, "dev-x")->identity, "x509:00ff");
	assert_int_equal(devices_tie(w->ds, &x, SPAN_LIT("other"), SPAN_NONE, id, &why), 0);
	assert_string_equal(id, "dev-x");
	assert_null(claim(w, &p, "dev-x", ""));
}

static void an_operator_registers_for_others_without_becoming_them(void **state)
{
	struct world *w = *state;
	struct coap_peer tool = secure("tool"), reader = secure("reader");
	char id[DEVICE_ID_BYTES];
	const char *why;

	enrol(w, "dev-b", "psk-b");
	give_psk(w, "tool", "", ROLE_ADMIN);
	give_psk(w, "reader", "", ROLE_VIEWER);
	assert_int_equal(devices_tie(w->ds, &tool, SPAN_LIT("dev-b"), SPAN_NONE, id, &why), 0);
	assert_string_equal(id, "");
	assert_int_equal(devices_tie(w->ds, &reader, SPAN_LIT("dev-b"), SPAN_NONE, id, &why), COAP_403_FORBIDDEN);
	assert_int_equal(devices_roles(w->ds, "tool"), ROLE_ADMIN);
	assert_int_equal(devices_roles(w->ds, "nobody"), 0);
	assert_int_equal(devices_roles(w->ds, "x509:11"), ROLE_DEVICE);
}

static void retired_devices_are_turned_away(void **state)
{
	struct world *w = *state;
	struct coap_peer a = secure("psk-a"), p = plain();
	char id[DEVICE_ID_BYTES];
	uint8_t key[64];
	const char *why;

	enrol(w, "dev-a", "psk-a");
	enrol(w, "dev-p", "");
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), 16);
	assert_int_equal(devices_set_state(w->ds, "dev-a", DEVICE_RETIRED, now, NULL, NULL), 0);
	assert_string_equal(w->forgot, "psk-a");
	assert_int_equal(devices_set_state(w->ds, "dev-p", DEVICE_RETIRED, now, NULL, NULL), 0);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), -ENOENT);
	assert_int_equal(devices_tie(w->ds, &a, SPAN_NONE, SPAN_NONE, id, &why), COAP_403_FORBIDDEN);
	assert_int_equal(devices_tie(w->ds, &p, SPAN_LIT("dev-p"), SPAN_NONE, id, &why), COAP_403_FORBIDDEN);
}

static void only_so_many_unknown_devices_are_noted(void **state)
{
	struct world *w = *state;
	struct coap_peer p = plain();
	char name[16];

	for (int i = 0; i < DEVICES_SEEN_MAX + 50; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i); /* fits */
		if (i < DEVICES_SEEN_MAX)
			assert_string_equal(claim(w, &p, name, ""), name);
		else
			assert_null(claim(w, &p, name, ""));
	}
	assert_int_equal(devices_count(w->ds), DEVICES_SEEN_MAX);
	enrol(w, "mine", ""); /* people are not held up */
	size_t n = 0;
	for (const struct device *d = devices_next(w->ds, NULL); d; d = devices_next(w->ds, d->id))
		n++;
	assert_int_equal(n, DEVICES_SEEN_MAX + 1);
	assert_null(devices_next(w->ds, "none"));
	struct device_claim c = { .device = "late", .endpoint = SPAN_LIT("late") };
	assert_string_equal(devices_claim(w->ds, &p, &c, wall_add_ms(now, 25 * 3600 * 1000)), "late"); /* the stale ones made room */
	assert_int_equal(devices_count(w->ds), 2);
}

static void what_is_installed_takes_the_place_of_what_was_claimed(void **state)
{
	struct world *w = *state;
	struct coap_peer p = plain();
	struct digest manifest = digest_of(SPAN_LIT("m"));
	const uint8_t component[] = { 0x81, 0x41, 0x00 };
	char hex[DIGEST_HEX_BYTES], text[128];

	enrol(w, "n1", "");
	assert_non_null(claim(w, &p, "n1", "seq=3"));
	devices_installed(w->ds, "n1", SPAN_OF(component), 4, &manifest, "2.0");
	const struct device *d = devices_get(w->ds, "n1");
	assert_int_equal(d->n_components, 1);
	assert_int_equal(d->components[0].n_id, 3);
	assert_int_equal(d->components[0].sequence, 4);
	assert_true(d->components[0].has_manifest);
	assert_non_null(claim(w, &p, "n1", "seq=4")); /* the same: what is known of it stays */
	assert_true(d->components[0].has_manifest);
	(void)snprintf(text, sizeof(text), "mfd=%.8s", digest_hex(&manifest, hex)); /* fits */
	assert_non_null(claim(w, &p, "n1", text));
	assert_true(d->components[0].has_manifest);
	assert_non_null(claim(w, &p, "n1", "mfd=00"));
	assert_false(d->components[0].has_manifest);
	(void)snprintf(text, sizeof(text), "seq=5 mfd=%s", hex);
	assert_non_null(claim(w, &p, "n1", text));
	assert_true(d->components[0].has_manifest && digest_eq(&d->components[0].manifest, &manifest));
	assert_int_equal(d->components[0].sequence, 5);
	devices_installed(w->ds, "none", SPAN_OF(component), 4, &manifest, NULL);
}

static void identities_are_unique(void **state)
{
	struct world *w = *state;
	struct device d = { .id = "two", .identity = "psk", .state = DEVICE_ENROLLED }, bad = { .id = "a b" };

	enrol(w, "one", "psk");
	assert_int_equal(devices_put(w->ds, &d, now, NULL, NULL), -EEXIST);
	assert_int_equal(devices_put(w->ds, &bad, now, NULL, NULL), -EINVAL);
	enrol(w, "one", "psk2"); /* it gets another */
	assert_string_equal(w->forgot, "psk");
	assert_int_equal(devices_put(w->ds, &d, now, NULL, NULL), 0);
}

static void an_identity_is_forgotten_while_it_still_says_whose_it_was(void **state)
{
	struct world *w = *state;

	enrol(w, "dev-a", "");
	enrol(w, "dev-b", "x509:b");
	assert_string_equal(devices_of_identity(w->ds, "x509:b")->id, "dev-b");
	assert_null(devices_of_identity(w->ds, "psk"));
	assert_null(devices_of_identity(w->ds, ""));
	give_psk(w, "psk", "dev-a", ROLE_DEVICE);
	assert_string_equal(devices_of_identity(w->ds, "psk")->id, "dev-a");
	w->forgot_of[0] = 0;
	give_psk(w, "psk", "dev-b", ROLE_DEVICE); /* dev-a loses it */
	assert_string_equal(w->forgot_of, "dev-adev-b");
	w->forgot_of[0] = 0;
	assert_int_equal(devices_credential_remove(w->ds, "psk", CREDENTIAL_PSK, NULL, NULL), 0);
	assert_string_equal(w->forgot_of, "dev-b");
}

static void keys_are_found_rotated_and_removed(void **state)
{
	struct world *w = *state;
	struct credential mac = { .identity = "dev-a", .kind = CREDENTIAL_MAC, .secret = { 9 }, .n_secret = 32 }, bad = mac;
	uint8_t key[CREDENTIAL_SECRET_MAX], fresh[32];

	enrol(w, "dev-a", "");
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	assert_int_equal(devices_credential_put(w->ds, &mac, NULL, NULL), 0);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), 16);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, 15), -ENOENT);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk"), key, sizeof(key)), -ENOENT);
	assert_int_equal(devices_psk(w->ds, SPAN_NONE, key, sizeof(key)), -ENOENT);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("dev-a"), key, sizeof(key)), -ENOENT); /* the kinds are apart */
	assert_int_equal(devices_mac_key(w->ds, "dev-a", key, sizeof(key)), 32);
	assert_int_equal(key[0], 9);
	assert_int_equal(devices_credential_rotate(w->ds, "psk-a", CREDENTIAL_PSK, fresh, sizeof(fresh), NULL, NULL), 0);
	assert_string_equal(w->forgot, "psk-a");
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), 32);
	assert_memory_equal(key, fresh, 32);
	assert_int_equal(devices_credential_rotate(w->ds, "psk-a", CREDENTIAL_PSK, fresh, 15, NULL, NULL), -EINVAL);
	assert_int_equal(devices_credential_rotate(w->ds, "none", CREDENTIAL_PSK, fresh, 16, NULL, NULL), -ENOENT);
	bad.n_secret = 0;
	assert_int_equal(devices_credential_put(w->ds, &bad, NULL, NULL), -EINVAL);
	bad.n_secret = CREDENTIAL_SECRET_MAX + 1;
	assert_int_equal(devices_credential_put(w->ds, &bad, NULL, NULL), -EINVAL);
	assert_int_equal(devices_credential_remove(w->ds, "psk-a", CREDENTIAL_MAC, NULL, NULL), -ENOENT);
	const struct credential *c = devices_credential_next(w->ds, NULL);
	assert_string_equal(c->identity, "psk-a");
	assert_string_equal(devices_credential_next(w->ds, c)->identity, "dev-a");
	assert_int_equal(devices_remove(w->ds, "dev-a", NULL, NULL), 0);
	assert_null(devices_credential_next(w->ds, NULL)); /* they went with it */
	assert_int_equal(w->n_removed, 1);
	assert_int_equal(devices_remove(w->ds, "dev-a", NULL, NULL), -ENOENT);
}

static void who_talks_is_heard_once_a_second(void **state)
{
	struct world *w = *state;
	struct coap_peer a = secure("psk-a");
	char id[DEVICE_ID_BYTES];

	enrol(w, "dev-a", "psk-a");
	for (int ms = 0; ms < 3000; ms += 100)
		assert_int_equal(devices_who(w->ds, &a, SPAN_NONE, wall_add_ms(now, ms), id), 0);
	assert_int_equal(w->n_heard, 3);
	devices_heard(w->ds, &a, wall_add_ms(now, 10000));
	assert_int_equal(w->n_heard, 4);
	assert_int_equal(devices_get(w->ds, "dev-a")->last_seen.ms, now.ms + 10000);
}

/* ---- the store, and the file ---- */

static int disk_setup(void **state)
{
	struct world *w;

	(void)setup(state);
	w = *state;
	devices_close(w->ds);
	strcpy(w->dir, "/tmp/dormouse-devices-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(db_open(w->dir, &w->config.db), 0);
	assert_int_equal(devices_open(&w->config, &w->ds), 0);
	return 0;
}

static int disk_teardown(void **state)
{
	struct world *w = *state;

	devices_close(w->ds);
	db_close(w->config.db);
	scratch_remove(w->dir);
	free(w);
	return 0;
}

static void reopen(struct world *w)
{
	devices_close(w->ds);
	db_close(w->config.db);
	assert_int_equal(db_open(w->dir, &w->config.db), 0);
	assert_int_equal(devices_open(&w->config, &w->ds), 0);
}

static void what_was_removed_on_a_full_disk_does_not_come_back(void **state)
{
	struct world *w = *state;
	struct credential mac = { .identity = "dev-a", .kind = CREDENTIAL_MAC, .n_secret = 16 };
	uint8_t key[64];

	enrol(w, "dev-a", "");
	enrol(w, "dev-b", "");
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	give_psk(w, "psk-b", "dev-b", ROLE_DEVICE);
	assert_int_equal(devices_credential_put(w->ds, &mac, NULL, NULL), 0);
	db_flush(w->config.db);
	assert_int_equal(devices_save_again(w->ds), -1);
	disk_full(true);
	assert_int_equal(devices_remove(w->ds, "dev-a", on_done, w), 0);
	assert_int_equal(devices_credential_remove(w->ds, "psk-b", CREDENTIAL_PSK, NULL, NULL), 0);
	give_psk(w, "psk-c", "dev-b", ROLE_DEVICE);
	db_flush(w->config.db);
	assert_true(w->error < 0);
	assert_int_equal(w->n_removed, 0); /* nobody is told what may not last */
	assert_true(devices_save_again(w->ds) > 0); /* still full */
	db_flush(w->config.db);
	disk_full(false);
	assert_true(devices_save_again(w->ds) > 0);
	db_flush(w->config.db);
	assert_int_equal(devices_save_again(w->ds), -1);
	assert_int_equal(w->n_removed, 1);
	reopen(w);
	assert_null(devices_get(w->ds, "dev-a"));
	assert_non_null(devices_get(w->ds, "dev-b"));
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), -ENOENT);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-b"), key, sizeof(key)), -ENOENT);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-c"), key, sizeof(key)), 16);
	assert_int_equal(devices_mac_key(w->ds, "dev-a", key, sizeof(key)), -ENOENT);
}

static void a_device_that_came_again_after_a_failed_removal_stays(void **state)
{
	struct world *w = *state;

	enrol(w, "dev-a", "psk-a");
	db_flush(w->config.db);
	disk_full(true);
	assert_int_equal(devices_remove(w->ds, "dev-a", NULL, NULL), 0);
	db_flush(w->config.db);
	disk_full(false);
	enrol(w, "dev-a", "psk-a");
	assert_true(devices_save_again(w->ds) > 0);
	db_flush(w->config.db);
	reopen(w);
	assert_string_equal(devices_get(w->ds, "dev-a")->identity, "psk-a");
}

static void devices_and_keys_survive_a_restart(void **state)
{
	struct world *w = *state;
	struct coap_peer a = secure("psk-a"), p = plain();
	struct device d = { .id = "dev-a", .state = DEVICE_ENROLLED, .identity = "psk-a", .name = "a lamp" };
	char id[DEVICE_ID_BYTES];
	uint8_t key[64];

	assert_int_equal(devices_put(w->ds, &d, now, on_done, w), 0);
	assert_int_equal(w->n_done, 0);
	assert_int_equal(w->n_changed, 0); /* not told before it is on disk */
	give_psk(w, "psk-a", "dev-a", ROLE_DEVICE);
	assert_non_null(claim(w, &p, "seen", "seq=7 wake=window,60,5"));
	db_flush(w->config.db);
	assert_int_equal(w->n_done, 1);
	assert_int_equal(w->error, 0);
	assert_int_equal(w->n_changed, 2);
	reopen(w);
	assert_int_equal(devices_count(w->ds), 2);
	assert_string_equal(devices_get(w->ds, "dev-a")->name, "a lamp");
	assert_int_equal(devices_who(w->ds, &a, SPAN_NONE, now, id), 0);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), 16);
	assert_int_equal(devices_get(w->ds, "seen")->wake.window_s, 5);
	assert_int_equal(devices_get(w->ds, "seen")->components[0].sequence, 7);
	assert_int_equal(devices_remove(w->ds, "dev-a", on_done, w), 0);
	reopen(w); /* with the removal under way */
	assert_int_equal(w->n_done, 2);
	assert_null(devices_get(w->ds, "dev-a"));
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("psk-a"), key, sizeof(key)), -ENOENT);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void peoples_keys_come_from_a_file(void **state)
{
	static const char *const bad[] = {
		"ann\n", "ann admin\n", "ann owner 00112233445566778899aabbccddeeff\n", "ann admin 00112233445566778899aabbccddee\n", "ann admin 00112233445566778899aabbccddeef\n", "ann admin xx\n",
		"ann admin 00112233445566778899aabbccddeeff more\n", "ann admin 00112233445566778899aabbccddeeff\nann viewer 00112233445566778899aabbccddeeff\n", "taken admin 00112233445566778899aabbccddeeff\n",
	};
	struct world *w = *state;
	char path[128];
	uint8_t key[64];

	give_psk(w, "taken", "", ROLE_DEVICE);
	(void)snprintf(path, sizeof(path), "%s/people", w->dir); /* fits */
	_cleanup_buf_ struct buf error = { 0 };
	assert_int_equal(devices_read_credentials(w->ds, path, &error), -ENOENT);
	write_file(path, "# people\n\nann admin 00112233445566778899aabbccddeeff\n  bob\tviewer 00112233445566778899aabbccddeeff0011\r\n", 0640);
	assert_int_equal(devices_read_credentials(w->ds, path, &error), -EACCES); /* others may view it */
	assert_int_equal(devices_roles(w->ds, "ann"), 0);
	buf_clear(&error);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(devices_read_credentials(w->ds, path, &error), 0);
	assert_int_equal(error.n, 0);
	assert_int_equal(devices_roles(w->ds, "ann"), ROLE_ADMIN | ROLE_VIEWER);
	assert_int_equal(devices_roles(w->ds, "bob"), ROLE_VIEWER);
	assert_int_equal(devices_psk(w->ds, SPAN_LIT("bob"), key, sizeof(key)), 18);
	assert_int_equal(devices_credential_remove(w->ds, "ann", CREDENTIAL_PSK, NULL, NULL), -EPERM);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		buf_clear(&error);
		write_file(path, bad[i], 0600);
		if (devices_read_credentials(w->ds, path, &error) != -EINVAL || !error.n)
			fail_msg("row %zu", i);
		assert_int_equal(devices_roles(w->ds, "bob"), ROLE_VIEWER); /* what was there stays */
	}
	buf_clear(&error);
	write_file(path, "ann viewer 00112233445566778899aabbccddeeff\n", 0600);
	assert_int_equal(devices_read_credentials(w->ds, path, &error), 0);
	assert_int_equal(devices_roles(w->ds, "ann"), ROLE_VIEWER);
	assert_int_equal(devices_roles(w->ds, "bob"), 0);
	assert_int_equal(devices_read_credentials(w->ds, "", &error), 0); /* no file any more */
	assert_int_equal(devices_roles(w->ds, "ann"), 0);
	assert_int_equal(devices_read_credentials(w->ds, path, &error), 0);
	reopen(w);
	assert_int_equal(devices_roles(w->ds, "ann"), 0); /* not in the store */
	assert_int_equal(devices_roles(w->ds, "taken"), ROLE_DEVICE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims_are_parsed_or_left_out),
		cmocka_unit_test(ids_are_made_of_endpoint_names),
		cmocka_unit_test_setup_teardown(an_unknown_endpoint_is_seen_and_gets_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(an_enrolled_model_is_not_changed_by_a_claim, setup, teardown),
		cmocka_unit_test_setup_teardown(loopback_enrols_itself_only_where_the_demo_switch_is_on, setup, teardown),
		cmocka_unit_test_setup_teardown(plain_peers_are_heard_where_it_is_open_only, setup, teardown),
		cmocka_unit_test_setup_teardown(a_security_identity_names_its_device, setup, teardown),
		cmocka_unit_test_setup_teardown(an_operator_registers_for_others_without_becoming_them, setup, teardown),
		cmocka_unit_test_setup_teardown(retired_devices_are_turned_away, setup, teardown),
		cmocka_unit_test_setup_teardown(only_so_many_unknown_devices_are_noted, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_installed_takes_the_place_of_what_was_claimed, setup, teardown),
		cmocka_unit_test_setup_teardown(identities_are_unique, setup, teardown),
		cmocka_unit_test_setup_teardown(an_identity_is_forgotten_while_it_still_says_whose_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_are_found_rotated_and_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(who_talks_is_heard_once_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(devices_and_keys_survive_a_restart, disk_setup, disk_teardown),
		cmocka_unit_test_setup_teardown(what_was_removed_on_a_full_disk_does_not_come_back, disk_setup, disk_teardown),
		cmocka_unit_test_setup_teardown(a_device_that_came_again_after_a_failed_removal_stays, disk_setup, disk_teardown),
		cmocka_unit_test_setup_teardown(peoples_keys_come_from_a_file, disk_setup, disk_teardown),
	};

	log_set_max_priority(LOG_ERR);
	return cmocka_run_group_tests_name("directory/devices", tests, NULL, NULL);
}
