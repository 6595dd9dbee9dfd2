/* The routes over the multicast driver, which is played here: its views and what a person may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "delivery/multicast.h"
#include "place.h"

static struct {
	struct delivery_driver driver;
	size_t n_sessions, n_members;
	bool has_figures;
	int error;
	char done[64];
} played;

void multicast_groups(const struct delivery_driver *drv, multicast_group_view_fn *fn, void *arg)
{
	static const char *const names[] = { "hall", "roof", "yard" };

	for (size_t i = 0; i < 3; i++)
		if (!fn(arg, &(struct multicast_group_view){ .name = names[i], .interface = "lowpan0", .address = { 0xff, 0x03, [15] = 0x42 }, .port = 61616,
							     .link = "802.15.4", .gid = 7, .n_members = 30, .is_up = i != 1, .error = i == 1 ? ENODEV : 0 }))
			return;
}

void multicast_sessions(const struct delivery_driver *drv, multicast_session_view_fn *fn, void *arg)
{
	for (size_t i = 0; i < played.n_sessions; i++) {
		struct multicast_session_view v = { .group = "hall", .phase = "repair", .object_bytes = 131072, .n_members = 30, .has_session = played.has_figures };
		v.sid.b[7] = (uint8_t)(i + 1);
		v.s = (struct mcast_session_view){ .n_fragments = 2048, .loss_permille = 101, .loss = 0.101, .lower_bound = 2316, .ratio = 1.0443, .sent_total = 2419,
						   .sent = { [MCAST_SENT_PARITY] = 300 }, .members = { [MCAST_MEMBER_READY] = 28 }, .eta_ms = 4500 };
		if (!fn(arg, &v))
			return;
	}
}

int multicast_members(const struct delivery_driver *drv, const struct mcast_sid *sid, multicast_member_view_fn *fn, void *arg)
{
	static const char *const names[] = { "a", "b", "c", "d", "e" };

	if (sid->b[7] != 1)
		return -ENOENT;
	for (size_t i = 0; i < played.n_members; i++)
		if (!fn(arg, &(struct multicast_member_view){ .device = names[i], .job = "", .state = "joined", .why = "ack", .m = { .n_reports = 1, .loss_permille = 99 } }))
			break;
	return 0;
}

static int act(const char *what, const struct mcast_sid *sid)
{
	(void)snprintf(played.done, sizeof(played.done), "%s %u", what, sid->b[7]);
	return sid->b[7] == 1 ? played.error : -ENOENT;
}

int multicast_pause(struct delivery_driver *drv, const struct mcast_sid *sid) { return act("pause", sid); }
int multicast_resume(struct delivery_driver *drv, const struct mcast_sid *sid) { return act("resume", sid); }
int multicast_abort(struct delivery_driver *drv, const struct mcast_sid *sid) { return act("abort", sid); }

int multicast_rekey(struct delivery_driver *drv, const char *group)
{
	return strcmp(group, "hall") == 0 ? played.error : -ENOENT;
}

static const char *text(struct place *p)
{
	static char copy[65536];

	(void)snprintf(copy, sizeof(copy), "%s", buf_str(&p->answer.body)); /* large enough */
	return copy;
}

static void assert_says(struct place *p, const char *what)
{
	if (!strstr(text(p), what))
		fail_msg("%s is not in %s", what, text(p));
}

static void without_the_driver_it_is_told_how_to_have_it(void **state)
{
	struct place *p = *state;

	p->admin.c.multicast = NULL;
	place_assert_problem(place_ask(p, HTTP_GET, "multicast/sessions", NULL, NULL), 404, "multicast.enabled");
	place_assert_problem(place_ask(p, HTTP_GET, "multicast/groups", NULL, NULL), 404, "multicast.enabled");
	place_assert_problem(place_ask(p, HTTP_POST, "multicast/groups/hall/rekey", NULL, NULL), 404, "multicast.enabled");
	place_assert_problem(place_ask(p, HTTP_POST, "multicast/sessions/0000000000000001/pause", NULL, NULL), 404, "multicast.enabled");
}

static void groups_say_what_is_wrong_with_them(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_get(p, "multicast/groups", NULL), 200);
	assert_says(p, "\"name\":\"hall\",\"interface\":\"lowpan0\",\"address\":\"ff03::42\",\"port\":61616,\"link\":\"802.15.4\"");
	assert_says(p, "\"is_up\":false,\"error\":\"No such device\"");
	assert_says(p, "\"is_up\":true,\"error\":null");
	assert_null(strstr(text(p), "key\""));
	assert_int_equal(place_get(p, "multicast/groups", "limit=2"), 200);
	assert_says(p, "\"total\":3,\"next\":\"roof\"");
	assert_int_equal(place_get(p, "multicast/groups", "limit=2&after=roof"), 200);
	assert_says(p, "{\"items\":[{\"name\":\"yard\"");
	assert_says(p, "\"next\":null");
}

static void a_session_shows_its_figures_once_it_has_them(void **state)
{
	struct place *p = *state;

	played.n_sessions = 3;
	played.has_figures = false;
	assert_int_equal(place_get(p, "multicast/sessions/0000000000000002", NULL), 200);
	assert_says(p, "\"id\":\"0000000000000002\",\"group\":\"hall\"");
	assert_null(strstr(text(p), "ratio"));
	played.has_figures = true;
	assert_int_equal(place_get(p, "multicast/sessions/0000000000000002", NULL), 200);
	assert_says(p, "\"loss\":0.101");
	assert_says(p, "\"parity\":300");
	assert_says(p, "\"ready\":28");
	assert_says(p, "\"bound_frames\":2316.000,\"ratio\":1.044,\"eta_s\":4");
	place_assert_problem(place_ask(p, HTTP_GET, "multicast/sessions/0000000000000009", NULL, NULL), 404, "no multicast session");
	assert_int_equal(place_get(p, "multicast/sessions", "limit=2"), 200);
	assert_says(p, "\"total\":3,\"next\":\"0000000000000002\"");
	assert_int_equal(place_get(p, "multicast/sessions", "after=0000000000000002"), 200);
	assert_says(p, "{\"items\":[{\"id\":\"0000000000000003\"");
}

static void members_come_in_pages(void **state)
{
	struct place *p = *state;

	played.n_members = 5;
	assert_int_equal(place_get(p, "multicast/sessions/0000000000000001/members", "limit=3"), 200);
	assert_says(p, "\"total\":5,\"next\":\"c\"");
	assert_says(p, "\"job\":null,\"state\":\"joined\",\"why\":\"ack\",\"by_unicast\":false,\"deficit\":0,\"loss\":0.099");
	assert_int_equal(place_get(p, "multicast/sessions/0000000000000001/members", "limit=3&after=c"), 200);
	assert_says(p, "{\"items\":[{\"device\":\"d\"");
	place_assert_problem(place_ask(p, HTTP_GET, "multicast/sessions/0000000000000005/members", NULL, NULL), 404, "no multicast session");
	place_assert_problem(place_ask(p, HTTP_GET, "multicast/sessions/xyz/members", NULL, NULL), 404, "16 hex digits");
}

static void what_a_person_does_is_done_and_audited(void **state)
{
	static const char *const verbs[] = { "pause", "resume", "abort" };
	struct place *p = *state;
	char path[80], want[80];

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "multicast/sessions/0000000000000001/%s", verbs[i]);
		(void)snprintf(want, sizeof(want), "%s 1", verbs[i]);
		played.error = 0;
		assert_int_equal(place_ask(p, HTTP_POST, path, NULL, NULL)->status, 202);
		assert_string_equal(played.done, want);
		played.error = -EALREADY;
		place_assert_problem(place_ask(p, HTTP_POST, path, NULL, NULL), 409, "already");
		(void)snprintf(path, sizeof(path), "multicast/sessions/0000000000000002/%s", verbs[i]);
		place_assert_problem(place_ask(p, HTTP_POST, path, NULL, NULL), 404, "no multicast session");
	}
	played.error = 0;
	assert_int_equal(place_ask(p, HTTP_POST, "multicast/groups/hall/rekey", NULL, NULL)->status, 202);
	place_assert_problem(place_ask(p, HTTP_POST, "multicast/groups/cellar/rekey", NULL, NULL), 404, "no multicast group");
	db_flush(p->db);
	assert_int_equal(place_get(p, "audit", "subject=0000000000000001"), 200);
	assert_says(p, "\"action\":\"abort\"");
	assert_int_equal(place_get(p, "audit", "subject=hall"), 200);
	assert_says(p, "\"action\":\"rekey\"");
	p->roles = ROLE_VIEWER;
	place_assert_problem(place_ask(p, HTTP_POST, "multicast/groups/hall/rekey", NULL, NULL), 403, "admin role");
}

static int setup(void **state)
{
	static struct place p;

	p = (struct place){ 0 };
	place_open(&p);
	p.admin.c.multicast = &played.driver;
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	place_close(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_the_driver_it_is_told_how_to_have_it, setup, teardown),
		cmocka_unit_test_setup_teardown(groups_say_what_is_wrong_with_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_shows_its_figures_once_it_has_them, setup, teardown),
		cmocka_unit_test_setup_teardown(members_come_in_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_person_does_is_done_and_audited, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
