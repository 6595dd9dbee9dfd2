#include "directory/registry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/db.h"
#include "store/registration_store.h"
#include "../scratch.h"

static const struct registry_limits limits = { .max_endpoints = 5, .max_links = 3, .max_per_owner = 2, .max_links_bytes = 200, .grace_s = 60 };

struct world {
	struct registry *r;
	struct registry_time now;
	int n_changes[REGISTRY_REMOVED + 1];
};

static void count_change(void *ctx, const struct registration *reg, enum registry_change what)
{
	struct world *w = ctx;

	assert_non_null(reg);
	w->n_changes[what]++;
}

static int setup(void **state)
{
	struct world *w = NEW(struct world);

	w->r = registry_new(&limits, NULL);
	w->now = (struct registry_time){ { 1000000 }, { 1700000000000 } };
	registry_set_changed(w->r, count_change, w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	registry_free(w->r);
	free(w);
	return 0;
}

static void later(struct world *w, int64_t s)
{
	w->now.mono = mono_add_ms(w->now.mono, s * 1000);
	w->now.wall = wall_add_ms(w->now.wall, s * 1000);
}

static struct registry_request request(const char *ep, const char *links)
{
	return (struct registry_request){
		.endpoint = span_str(ep), .implied_base = SPAN_LIT("coap://[2001:db8::1]:1234"), .links = span_str(links), .owner = "", .device = "",
	};
}

static int put_request(struct world *w, const struct registry_request *req, char *ret_location)
{
	struct registry_result res;
	int e = registry_register(w->r, req, w->now, NULL, NULL, &res);

	if (e < 0) {
		assert_null(res.registration);
		assert_true(strlen(res.why) > 0);
	} else if (ret_location) {
		strcpy(ret_location, registration_location(res.registration));
	}
	return e;
}

static int put(struct world *w, const char *ep, const char *links, char *ret_location)
{
	struct registry_request req = request(ep, links);

	return put_request(w, &req, ret_location);
}

static int update(struct world *w, const char *location, const struct registry_request *req)
{
	struct registry_result res;

	return registry_update(w->r, span_str(location), req, w->now, NULL, NULL, &res);
}

static const struct registration *get(struct world *w, const char *location)
{
	return registry_get(w->r, span_str(location));
}

static void assert_span(struct span s, const char *want)
{
	char text[512];

	assert_true(s.n < sizeof(text));
	memcpy(text, s.n ? (const char *)s.p : "", s.n);
	text[s.n] = 0;
	assert_string_equal(text, want);
}

static void the_same_name_keeps_its_location(void **state) /* RD-20 RD-21 */
{
	struct world *w = *state;
	char a[REGISTRY_LOCATION_BYTES], b[REGISTRY_LOCATION_BYTES], c[REGISTRY_LOCATION_BYTES];

	assert_int_equal(put(w, "node1", "</a>", a), 1);
	assert_int_equal(put(w, "node1", "</b>,</c>", b), 0);
	assert_string_equal(a, b);
	assert_span(registration_links(get(w, a)), "</b>,</c>");
	assert_int_equal(registry_counts(w->r).n_endpoints, 1);
	assert_int_equal(registry_counts(w->r).n_links, 2);
	struct registry_request req = request("node1", "");
	req.sector = SPAN_LIT("sector"); /* ep is unique within d */
	assert_int_equal(put_request(w, &req, c), 1);
	assert_string_not_equal(a, c);
	assert_int_equal(strlen(a), 16);
	assert_int_equal(registry_counts(w->r).n_endpoints, 2);
	assert_ptr_equal(registry_find(w->r, SPAN_LIT("node1"), SPAN_LIT("sector")), get(w, c));
	assert_ptr_equal(registry_find(w->r, SPAN_LIT("node1"), SPAN_NONE), get(w, a));
	assert_null(registry_find(w->r, SPAN_LIT("node1sector"), SPAN_NONE));
}

static void names_are_short_clean_utf8(void **state) /* RD-22 */
{
	struct world *w = *state;
	char name[65] = { 0 };

	memset(name, 'x', 63);
	assert_int_equal(put(w, name, "", NULL), 1);
	struct registry_request req = request("d", "");
	req.sector = span_str(name);
	assert_int_equal(put_request(w, &req, NULL), 1);
	name[63] = 'x';
	assert_int_equal(put(w, name, "", NULL), -EINVAL);
	req.sector = span_str(name);
	assert_int_equal(put_request(w, &req, NULL), -EINVAL);
	assert_int_equal(put(w, "", "", NULL), -EINVAL);
	assert_int_equal(put(w, "a\nb", "", NULL), -EINVAL);
	assert_int_equal(put(w, "a\x7f", "", NULL), -EINVAL);
	assert_int_equal(put(w, "a\xc2\x80", "", NULL), -EINVAL);
	assert_int_equal(put(w, "a\xff", "", NULL), -EINVAL);
	assert_int_equal(put(w, "gr\xc3\xbc\xc3\x9f", "", NULL), 1);
}

static void a_registration_lives_for_its_lifetime_then_hides_then_goes(void **state) /* RD-24 RD-42 RD-47 */
{
	struct world *w = *state;
	struct registry_request req = request("n", "</a>"), refresh = { .implied_base = req.implied_base, .owner = "" };
	char at[REGISTRY_LOCATION_BYTES];

	req.has_lifetime = true;
	req.lifetime_s = 0;
	assert_int_equal(put_request(w, &req, NULL), -EINVAL);
	req.lifetime_s = 10;
	assert_int_equal(put_request(w, &req, at), 1);
	assert_int_equal(registry_expire(w->r, w->now), 10000);
	later(w, 9);
	assert_int_equal(update(w, at, &refresh), 0); /* the last lt again */
	later(w, 9);
	assert_int_equal(registry_expire(w->r, w->now), 1000);
	assert_non_null(get(w, at));
	later(w, 1);
	assert_int_equal(registry_expire(w->r, w->now), 60000);
	assert_null(get(w, at));
	assert_null(registry_find(w->r, SPAN_LIT("n"), SPAN_NONE));
	assert_int_equal(registry_counts(w->r).n_hidden, 1);
	later(w, 59);
	assert_int_equal(registry_expire(w->r, w->now), 1000);
	assert_int_equal(update(w, at, &refresh), 0);
	assert_non_null(get(w, at));
	later(w, 71);
	assert_int_equal(registry_expire(w->r, w->now), -1); /* both steps were due */
	assert_int_equal(update(w, at, &refresh), -ENOENT);
	assert_int_equal(registry_counts(w->r).n_hidden, 0);
	assert_int_equal(w->n_changes[REGISTRY_ADDED], 2);
	assert_int_equal(w->n_changes[REGISTRY_REFRESHED], 1);
	assert_int_equal(w->n_changes[REGISTRY_EXPIRED], 2);
}

static void without_lt_it_lives_25_hours_and_the_longest_is_136_years(void **state) /* RD-24 */
{
	struct world *w = *state;
	struct registry_request req = request("n", "");

	assert_int_equal(put_request(w, &req, NULL), 1);
	assert_int_equal(registry_expire(w->r, w->now), 90000 * 1000);
	req.has_lifetime = true;
	req.lifetime_s = UINT32_MAX;
	assert_int_equal(put_request(w, &req, NULL), 0);
	later(w, 90000);
	assert_int_equal(registry_expire(w->r, w->now), (UINT32_MAX - 90000LL) * 1000);
	req.lifetime_s = 1; /* sooner than before */
	assert_int_equal(put_request(w, &req, NULL), 0);
	assert_int_equal(registry_expire(w->r, w->now), 1000);
}

static void bases_are_checked(void **state) /* RD-25 RD-26 RD-27 */
{
	static const struct {
		const char *base;
		uint32_t scope;
		int error;
	} rows[] = {
		{ "coap://host", 0, 1 }, { "coaps://[2001:db8::2]:61616", 0, 0 }, { "coap+tcp://h:1", 0, 0 }, { "coap://h/path", 0, 0 },
		{ "foo", 0, -EINVAL }, { "/x", 0, -EINVAL }, { "coap:///x", 0, -EINVAL }, { "coap://h?x", 0, -EINVAL }, { "coap://h#x", 0, -EINVAL },
		{ "coap://u@h", 0, -EINVAL }, { "coap://[fe80::1%25eth0]", 1, -EINVAL }, { "coap://[fe80::1]", 0, -EINVAL },
		{ "coap://[fe80::1]", 3, 0 }, { "urn:x", 0, -EINVAL }, { "coap://h\xc3\xa4", 0, -EINVAL },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct registry_request req = request("n", "");
		req.base = span_str(rows[i].base);
		req.link_scope = rows[i].scope;
		if (put_request(w, &req, NULL) != rows[i].error)
			fail_msg("row %zu", i);
	}
	assert_int_equal(registration_link_scope(registry_next(w->r, 0)), 3);
}

static void an_update_without_base_moves_an_implied_base_only(void **state) /* RD-43 RD-44 */
{
	struct world *w = *state;
	struct registry_request req = request("n", "</a>"), up = { .implied_base = SPAN_LIT("coap://[2001:db8::9]"), .owner = "" };
	char at[REGISTRY_LOCATION_BYTES];

	assert_int_equal(put_request(w, &req, at), 1);
	assert_span(registration_base(get(w, at)), "coap://[2001:db8::1]:1234");
	assert_int_equal(update(w, at, &up), 0);
	assert_span(registration_base(get(w, at)), "coap://[2001:db8::9]");
	up.base = SPAN_LIT("coap://given");
	assert_int_equal(update(w, at, &up), 0);
	up.base = SPAN_NONE;
	assert_int_equal(update(w, at, &up), 0);
	assert_span(registration_base(get(w, at)), "coap://given");
	assert_int_equal(w->n_changes[REGISTRY_CHANGED], 2);
	assert_int_equal(w->n_changes[REGISTRY_REFRESHED], 1);
	assert_int_equal(put_request(w, &req, NULL), 0); /* replaced as a whole: implied again */
	assert_int_equal(update(w, at, &up), 0);
	assert_span(registration_base(get(w, at)), "coap://[2001:db8::9]");
	up.base = SPAN_LIT("nonsense");
	assert_int_equal(update(w, at, &up), -EINVAL);
	assert_span(registration_base(get(w, at)), "coap://[2001:db8::9]");
}

static void attributes_are_kept_and_overridden_by_key(void **state) /* RD-28 RD-45 */
{
	struct world *w = *state;
	const struct span first[] = { SPAN_LIT("foo=1"), SPAN_LIT("foo=2"), SPAN_LIT("et=a"), SPAN_LIT("flag"), SPAN_LIT("b=U&Q") };
	const struct span second[] = { SPAN_LIT("foo=3"), SPAN_LIT("new=x") };
	struct registry_request req = request("n", ""), up = { .implied_base = req.implied_base, .owner = "" };
	char at[REGISTRY_LOCATION_BYTES];
	struct span s;
	size_t pos = 0;

	req.attributes = first;
	req.n_attributes = 5;
	assert_int_equal(put_request(w, &req, at), 1);
	for (size_t i = 0; i < 5; i++) {
		assert_true(registration_attribute(get(w, at), &pos, &s));
		assert_true(span_eq(s, first[i]));
	}
	assert_false(registration_attribute(get(w, at), &pos, &s));
	up.attributes = second;
	up.n_attributes = 2;
	assert_int_equal(update(w, at, &up), 0);
	assert_true(registration_attribute_get(get(w, at), "foo", &s));
	assert_span(s, "3");
	assert_true(registration_attribute_get(get(w, at), "b", &s));
	assert_span(s, "U&Q");
	assert_true(registration_attribute_get(get(w, at), "new", &s));
	assert_false(registration_attribute_get(get(w, at), "flag", &s)); /* it has no value */
	pos = 0;
	size_t n = 0;
	while (registration_attribute(get(w, at), &pos, &s))
		n++;
	assert_int_equal(n, 5);
}

static void attributes_that_would_clash_are_refused(void **state) /* RD-29 */
{
	static const char *const bad[] = { "page=1", "count=1", "href=x", "anchor=x", "rt=x", "rt", "=x", "", "a b=x", "x=\x01", "x=\xff" };
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct registry_request req = request("n", "");
		struct span attribute = span_str(bad[i]);
		req.attributes = &attribute;
		req.n_attributes = 1;
		if (put_request(w, &req, NULL) != -EINVAL)
			fail_msg("row %zu", i);
	}
	assert_int_equal(registry_counts(w->r).n_endpoints, 0);
}

static void links_are_checked(void **state) /* RD-30 RD-31 RD-87 */
{
	struct world *w = *state;
	char long_link[256];

	assert_int_equal(put(w, "n", "", NULL), 1);
	assert_int_equal(put(w, "n", "<sensors/x>", NULL), -EBADMSG);
	assert_int_equal(put(w, "n", "<//h/x>", NULL), -EBADMSG);
	assert_int_equal(put(w, "n", "</x>;anchor=\"y\"", NULL), -EBADMSG);
	assert_int_equal(put(w, "n", "</x>;anchor=\"//h\"", NULL), -EBADMSG);
	assert_int_equal(put(w, "n", "nonsense", NULL), -EBADMSG);
	assert_int_equal(put(w, "n", "</1>,</2>,</3>", NULL), 0);
	assert_int_equal(put(w, "n", "</1>,</2>,</3>,</4>", NULL), -E2BIG);
	(void)snprintf(long_link, sizeof(long_link), "</%0197d>", 0); /* fits */
	assert_int_equal(put(w, "n", long_link, NULL), 0);
	(void)snprintf(long_link, sizeof(long_link), "</%0198d>", 0);
	assert_int_equal(put(w, "n", long_link, NULL), -EMSGSIZE);
	assert_int_equal(registration_links(registry_next(w->r, 0)).n, 200); /* what was there stays */
}

static void a_full_directory_refuses_new_names_only(void **state) /* RD-87 */
{
	struct world *w = *state;
	char name[16], at[REGISTRY_LOCATION_BYTES];

	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i); /* fits */
		assert_int_equal(put(w, name, "", at), i < 5 ? 1 : -ENOSPC);
	}
	assert_int_equal(put(w, "n3", "</new>", at), 0);
	assert_int_equal(registry_remove(w->r, span_str(at), "", NULL, NULL), 0);
	assert_int_equal(registry_remove(w->r, span_str(at), "", NULL, NULL), -ENOENT); /* RD-46 */
	assert_int_equal(put(w, "n7", "", NULL), 1);
	assert_int_equal(w->n_changes[REGISTRY_REMOVED], 1);
}

static void first_come_is_first_remembered(void **state) /* RD-80 RD-81 RD-82 RD-84 */
{
	struct world *w = *state;
	struct registry_request a = request("n", "</a>"), b = request("n", "</b>"), plain = request("n", "</c>");
	char at[REGISTRY_LOCATION_BYTES], again[REGISTRY_LOCATION_BYTES];

	a.owner = "alice";
	a.has_lifetime = b.has_lifetime = true;
	a.lifetime_s = b.lifetime_s = 10;
	b.owner = "bob";
	assert_int_equal(put_request(w, &a, at), 1);
	assert_int_equal(put_request(w, &b, NULL), -EACCES);
	assert_int_equal(put_request(w, &plain, NULL), -EACCES);
	assert_int_equal(update(w, at, &b), -EACCES);
	assert_int_equal(update(w, at, &plain), -EACCES);
	assert_int_equal(registry_remove(w->r, span_str(at), "bob", NULL, NULL), -EACCES);
	assert_int_equal(registry_remove(w->r, span_str(at), "", NULL, NULL), -EACCES);
	assert_span(registration_links(get(w, at)), "</a>");
	a.implied_base = SPAN_LIT("coap://[2001:db8::77]"); /* another address, the same credential */
	assert_int_equal(put_request(w, &a, again), 0);
	assert_string_equal(at, again);
	later(w, 11);
	(void)registry_expire(w->r, w->now);
	assert_int_equal(update(w, at, &b), -EACCES); /* hidden: still alice's to bring back */
	assert_int_equal(put_request(w, &b, again), 1); /* but the name is free */
	assert_string_not_equal(at, again);
	assert_int_equal(update(w, at, &a), -ENOENT);
	assert_int_equal(registry_remove(w->r, span_str(again), NULL, NULL, NULL), 0); /* the operator may */
	assert_int_equal(put_request(w, &plain, at), 1);
	assert_int_equal(put_request(w, &b, again), 0); /* nothing was remembered of a plain one */
	assert_string_equal(registration_owner(get(w, at)), "bob");
}

static void one_credential_has_its_share(void **state) /* RD-87 */
{
	struct world *w = *state;
	struct registry_request req = request("n1", "");
	char at[REGISTRY_LOCATION_BYTES];

	req.owner = "alice";
	assert_int_equal(put_request(w, &req, at), 1);
	req.endpoint = SPAN_LIT("n2");
	assert_int_equal(put_request(w, &req, NULL), 1);
	req.endpoint = SPAN_LIT("n3");
	assert_int_equal(put_request(w, &req, NULL), -EDQUOT);
	req.owner = "bob";
	assert_int_equal(put_request(w, &req, NULL), 1);
	assert_int_equal(registry_remove(w->r, span_str(at), "alice", NULL, NULL), 0);
	req.owner = "alice";
	req.endpoint = SPAN_LIT("n4");
	assert_int_equal(put_request(w, &req, NULL), 1);
}

/* For nodes that cannot register (BLE-9): as many as there are, and nobody else's to change. */
static void the_gateway_registers_what_it_must(void **state)
{
	struct world *w = *state;
	struct registry_request req = request("ble-1", "");
	char at[REGISTRY_LOCATION_BYTES];

	req.owner = REGISTRY_OWNER_GATEWAY;
	assert_int_equal(put_request(w, &req, at), 1);
	req.endpoint = SPAN_LIT("ble-2");
	assert_int_equal(put_request(w, &req, NULL), 1);
	req.endpoint = SPAN_LIT("ble-3");
	assert_int_equal(put_request(w, &req, NULL), 1); /* one over a credential's share */
	req.endpoint = SPAN_LIT("ble-1");
	req.owner = "";
	assert_int_equal(put_request(w, &req, NULL), -EACCES);
	req.owner = "alice";
	assert_int_equal(put_request(w, &req, NULL), -EACCES);
	assert_int_equal(registry_remove(w->r, span_str(at), "", NULL, NULL), -EACCES);
}

static void many_expire_in_batches(void **state)
{
	struct world *w = *state;
	struct registry_limits many = limits;
	char name[16];

	many.max_endpoints = 1000;
	many.grace_s = 0;
	registry_set_limits(w->r, &many);
	for (int i = 0; i < 1000; i++) {
		struct registry_request req = request("", "</a>;rt=x");
		(void)snprintf(name, sizeof(name), "n%d", i); /* fits */
		req.endpoint = span_str(name);
		req.has_lifetime = true;
		req.lifetime_s = (uint32_t)(1 + (i * 7919) % 100);
		assert_int_equal(put_request(w, &req, NULL), 1);
	}
	for (int s = 1; s <= 100; s++) {
		size_t before = registry_counts(w->r).n_endpoints;
		later(w, 1);
		while (registry_expire(w->r, w->now) == 0)
			;
		assert_int_equal(before - registry_counts(w->r).n_endpoints, 10);
	}
	assert_int_equal(registry_counts(w->r).bytes, 0);
	assert_int_equal(registry_expire(w->r, w->now), -1);
	assert_null(index_get(registry_index(w->r), INDEX_RT, SPAN_LIT("x")));
}

/* ---- with a real store ---- */

struct disk {
	char dir[64];
	struct db *db;
	int n_done, error;
};

static void count_done(void *ctx, int error)
{
	struct disk *d = ctx;

	d->n_done++;
	d->error = error;
}

static int disk_setup(void **state)
{
	struct disk *d = NEW(struct disk);

	strcpy(d->dir, "/tmp/dormouse-registry-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	assert_int_equal(db_open(d->dir, &d->db), 0);
	*state = d;
	return 0;
}

static int disk_teardown(void **state)
{
	struct disk *d = *state;

	d->db = db_close(d->db);
	scratch_remove(d->dir);
	free(d);
	return 0;
}

static void reopen(struct disk *d)
{
	d->db = db_close(d->db);
	assert_int_equal(db_open(d->dir, &d->db), 0);
}

static void registrations_survive_a_restart(void **state) /* RD-50 */
{
	struct disk *d = *state;
	struct registry_time now = { { 5000 }, { 1700000000000 } };
	struct registry *r = registry_new(&limits, d->db);
	const struct span attributes[] = { SPAN_LIT("et=a"), SPAN_LIT("flag") };
	struct registry_request req = request("n", "</a>;rt=x"), brief = request("brief", ""), gone = request("gone", "");
	struct registry_result res;
	char at[REGISTRY_LOCATION_BYTES], at_brief[REGISTRY_LOCATION_BYTES];
	struct span s;

	req.base = SPAN_LIT("coap://[fe80::1]");
	req.link_scope = 4;
	req.sector = SPAN_LIT("d");
	req.attributes = attributes;
	req.n_attributes = 2;
	req.owner = "alice";
	req.device = "dev";
	req.has_lifetime = brief.has_lifetime = gone.has_lifetime = true;
	req.lifetime_s = 100;
	brief.lifetime_s = 30;
	gone.lifetime_s = 1;
	assert_int_equal(registry_load(r, now), 0);
	assert_int_equal(registry_register(r, &req, now, count_done, d, &res), 1);
	strcpy(at, registration_location(res.registration));
	assert_int_equal(registry_register(r, &brief, now, count_done, d, &res), 1);
	strcpy(at_brief, registration_location(res.registration));
	assert_int_equal(registry_register(r, &gone, now, count_done, d, &res), 1);
	assert_int_equal(d->n_done, 0); /* not before the commit */
	now.mono.ms += 20000;
	now.wall.ms += 20000;
	assert_int_equal(registry_update(r, span_str(at), &(struct registry_request){ .owner = "alice" }, now, count_done, d, &res), 0);
	db_flush(d->db);
	assert_int_equal(d->n_done, 4);
	assert_int_equal(d->error, 0);
	registry_free(r);
	reopen(d);

	now.mono.ms = 77; /* a new boot: 50 s after the update of the first, 70 s after the second */
	now.wall.ms += 50000;
	r = registry_new(&limits, d->db);
	assert_int_equal(registry_load(r, now), 2);
	const struct registration *reg = registry_get(r, span_str(at));
	assert_non_null(reg);
	assert_span(registration_endpoint(reg), "n");
	assert_span(registration_sector(reg), "d");
	assert_span(registration_base(reg), "coap://[fe80::1]");
	assert_span(registration_links(reg), "</a>;rt=x");
	assert_string_equal(registration_owner(reg), "alice");
	assert_string_equal(registration_device(reg), "dev");
	assert_int_equal(registration_link_scope(reg), 4);
	assert_true(registration_attribute_get(reg, "et", &s));
	assert_int_equal(registration_deadline(reg).ms - now.mono.ms, 50000);
	assert_int_equal(registry_expire(r, now), 20000); /* the grace time of the second */
	assert_null(registry_get(r, span_str(at_brief)));
	assert_int_equal(registry_update(r, span_str(at_brief), &(struct registry_request){ .implied_base = req.base, .link_scope = 1 }, now,
					 NULL, NULL, &res), 0);
	assert_non_null(registry_get(r, span_str(at_brief)));
	assert_int_equal(registry_remove(r, span_str(at), "alice", count_done, d), 0);
	registry_free(r); /* with the delete under way */
	reopen(d);
	assert_int_equal(d->n_done, 5);
	r = registry_new(&limits, d->db);
	assert_int_equal(registry_load(r, now), 1);
	assert_non_null(registry_find(r, SPAN_LIT("brief"), SPAN_NONE));
	assert_int_equal(registry_register(r, &req, now, NULL, NULL, &res), 1);
	assert_true(registration_order(res.registration) > registration_order(registry_find(r, SPAN_LIT("brief"), SPAN_NONE)));
	registry_free(r);
}

static void a_clock_set_back_does_not_prolong_a_lifetime(void **state) /* RD-50 */
{
	struct disk *d = *state;
	struct registry_time now = { { 5000 }, { 1700000000000 } };
	struct registry *r = registry_new(&limits, d->db);
	struct registry_request req = request("n", "");
	struct registry_result res;

	assert_int_equal(registry_register(r, &req, now, NULL, NULL, &res), 1);
	registry_free(r);
	reopen(d);
	now.wall.ms = 0;
	r = registry_new(&limits, d->db);
	assert_int_equal(registry_load(r, now), 1);
	assert_int_equal(registry_expire(r, now), 90000 * 1000);
	registry_free(r);
}

static void damaged_rows_are_dropped(void **state)
{
	struct disk *d = *state;
	struct registry_time now = { { 5000 }, { 1700000000000 } };
	struct registration_row good = {
		.location = "0123456789abcdef", .endpoint = "n", .sector = "", .base = SPAN_LIT("coap://h"), .lifetime_s = 100,
		.expires_at = { 1700000050000 }, .order = 7, .attributes = SPAN_LIT("a=b\0"), .links = SPAN_LIT("</x>"), .owner = "", .device = "",
	}, row;

	registration_store_put(d->db, &good, NULL, NULL);
	row = good, row.location = "0123456789abcde1", registration_store_put(d->db, &row, NULL, NULL); /* the name a second time */
	row = good, row.location = "0123456789abcde2", row.endpoint = "m", row.links = SPAN_LIT("x"), registration_store_put(d->db, &row, NULL, NULL);
	row = good, row.location = "0123456789abcde3", row.endpoint = "m", row.base = SPAN_LIT("x"), registration_store_put(d->db, &row, NULL, NULL);
	row = good, row.location = "0123456789abcde4", row.endpoint = "", registration_store_put(d->db, &row, NULL, NULL);
	row = good, row.location = "0123456789abcde5", row.endpoint = "m", row.attributes = SPAN_LIT("x"), registration_store_put(d->db, &row, NULL, NULL);
	row = good, row.location = "0123456789abcde6", row.endpoint = "m", row.lifetime_s = 0, registration_store_put(d->db, &row, NULL, NULL);
	row = good, row.location = "0123456789abcdef0123", row.endpoint = "m", registration_store_put(d->db, &row, NULL, NULL);
	db_flush(d->db);
	struct registry *r = registry_new(&limits, d->db);
	assert_int_equal(registry_load(r, now), 1);
	assert_non_null(registry_get(r, SPAN_LIT("0123456789abcdef")));
	registry_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_same_name_keeps_its_location, setup, teardown),
		cmocka_unit_test_setup_teardown(names_are_short_clean_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(a_registration_lives_for_its_lifetime_then_hides_then_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(without_lt_it_lives_25_hours_and_the_longest_is_136_years, setup, teardown),
		cmocka_unit_test_setup_teardown(bases_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(an_update_without_base_moves_an_implied_base_only, setup, teardown),
		cmocka_unit_test_setup_teardown(attributes_are_kept_and_overridden_by_key, setup, teardown),
		cmocka_unit_test_setup_teardown(attributes_that_would_clash_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(links_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_directory_refuses_new_names_only, setup, teardown),
		cmocka_unit_test_setup_teardown(first_come_is_first_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(one_credential_has_its_share, setup, teardown),
		cmocka_unit_test_setup_teardown(the_gateway_registers_what_it_must, setup, teardown),
		cmocka_unit_test_setup_teardown(many_expire_in_batches, setup, teardown),
		cmocka_unit_test_setup_teardown(registrations_survive_a_restart, disk_setup, disk_teardown),
		cmocka_unit_test_setup_teardown(a_clock_set_back_does_not_prolong_a_lifetime, disk_setup, disk_teardown),
		cmocka_unit_test_setup_teardown(damaged_rows_are_dropped, disk_setup, disk_teardown),
	};

	return cmocka_run_group_tests_name("directory/registry", tests, NULL, NULL);
}
