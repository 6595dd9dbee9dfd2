/* The routes over radio/lowpan, which is played here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "place.h"
#include "radio/lowpan.h"

static int played;                             /* stands for the lowpan: only its address counts */

static const struct lowpan_view views[] = {
	{ .name = "bt0", .kind = LOWPAN_BLE, .is_configured = true, .state = "debugfs is for root alone", .has_error = true, .pan_id = -1,
	  .short_address = -1, .page = -1, .channel = -1 },
	{ .name = "lowpan0", .kind = LOWPAN_802154, .index = 4, .is_up = true, .is_configured = true, .mtu = 1280, .block_bytes = 64, .parent = "wpan0",
	  .pan_id = 0xbeef, .short_address = 1, .page = 0, .channel = 26, .address = "fd00:15:4::1/64", .is_advertising = true, .n_neighbours = 2,
	  .state = "ready", .tx_packets = 7, .airtime_us = 360000000, .airtime_permille = 100, .level = AIRTIME_OVER, .wait_s = 90 },
	{ .name = "wpan1", .kind = LOWPAN_THREAD, .index = 9, .is_up = true, .state = "ready", .pan_id = -1, .short_address = -1, .page = -1, .channel = -1 },
};

const char *lowpan_kind_name(enum lowpan_kind k)
{
	static const char *const names[] = { "other", "802.15.4", "ble", "thread" };

	return names[k];
}

bool lowpan_next(const struct lowpan *p, const char *after, struct lowpan_view *ret)
{
	for (size_t i = 0; p && i < sizeof(views) / sizeof(*views); i++)
		if (!after || strcmp(views[i].name, after) > 0) {
			*ret = views[i];
			return true;
		}
	return false;
}

size_t lowpan_neighbours(const struct lowpan *p, const char *name, struct lowpan_neighbour_view *ret, size_t max)
{
	if (strcmp(name, "lowpan0") != 0 || max < 2)
		return 0;
	ret[0] = (struct lowpan_neighbour_view){ .address = "fd00:15:4::2", .lladdr = "ea:fc:e7:ff:f9:ff:40:6a", .state = "reachable" };
	ret[1] = (struct lowpan_neighbour_view){ .address = "fe80::9", .state = "failed" };
	return 2;
}

static void assert_says(struct place *p, const char *what)
{
	if (!strstr(buf_str(&p->answer.body), what))
		fail_msg("%s is not in %s", what, buf_str(&p->answer.body));
}

static void radios_come_in_pages(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_get(p, "radios", NULL), 200);
	assert_says(p, "\"name\":\"bt0\"");
	assert_says(p, "\"total\":3,\"next\":null");
	assert_int_equal(place_get(p, "radios", "limit=2"), 200);
	assert_says(p, "\"next\":\"lowpan0\"");
	assert_int_equal(place_get(p, "radios", "limit=2&after=lowpan0"), 200);
	assert_says(p, "\"name\":\"wpan1\"");
	assert_says(p, "\"total\":3,\"next\":null");
}

static void one_radio_says_what_it_is_and_what_it_lacks(void **state)
{
	struct place *p = *state;

	assert_int_equal(place_get(p, "radios/lowpan0", NULL), 200);
	assert_says(p, "\"kind\":\"802.15.4\",\"is_there\":true,\"is_up\":true,\"is_configured\":true,\"state\":\"ready\",\"has_error\":false,\"parent\":\"wpan0\","
		       "\"pan_id\":48879,\"short_address\":1,\"page\":0,\"channel\":26,\"address\":\"fd00:15:4::1/64\",\"is_advertising\":true");
	assert_says(p, "\"airtime_ms\":360000,");
	assert_says(p, "\"airtime_permille\":100,\"budget_permille\":100,\"budget\":\"over\",\"wait_s\":90");
	assert_says(p, "{\"address\":\"fd00:15:4::2\",\"link_address\":\"ea:fc:e7:ff:f9:ff:40:6a\",\"state\":\"reachable\"}");
	assert_says(p, "{\"address\":\"fe80::9\",\"link_address\":null,\"state\":\"failed\"}");
	assert_int_equal(place_get(p, "radios/bt0", NULL), 200);
	assert_says(p, "\"is_there\":false");
	assert_says(p, "\"pan_id\":null");
	assert_says(p, "\"budget\":null");
	assert_says(p, "\"has_error\":true");
	place_assert_problem(place_ask(p, HTTP_GET, "radios/lowpan7", NULL, NULL), 404, "no radio of that name");
}

static int setup(void **state)
{
	static struct place p;

	p = (struct place){ 0 };
	place_open(&p);
	p.admin.c.lowpan = (struct lowpan *)&played;
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
		cmocka_unit_test_setup_teardown(radios_come_in_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(one_radio_says_what_it_is_and_what_it_lacks, setup, teardown),
	};

	return cmocka_run_group_tests_name("admin/api_radios", tests, NULL, NULL);
}
