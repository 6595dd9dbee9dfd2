#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "rollout/multicast_choice.h"

static struct update one_image(uint64_t bytes)
{
	struct update u = { .n_images = 1 };

	u.images[0].bytes = bytes;
	return u;
}

static struct multicast_choice device(const struct update *u, void (*change)(struct multicast_device_facts *f))
{
	struct multicast_device_facts f = { .update = u, .is_configured = true, .in_group = true, .group = "hall", .is_up = true, .bytes_max = 1 << 20 };
	struct multicast_choice c;

	if (change)
		change(&f);
	multicast_choose_device(&f, &c);
	assert_true(c.text[0]);
	return c;
}

static void not_configured(struct multicast_device_facts *f) { f->is_configured = false; }
static void no_group(struct multicast_device_facts *f) { f->in_group = false; f->group = NULL; }
static void is_down(struct multicast_device_facts *f) { f->is_up = false; }
static void has_it(struct multicast_device_facts *f) { f->has_image = true; }
static void has_it_by_session(struct multicast_device_facts *f) { f->has_image = f->is_in_session = true; }
static void in_session_while_down(struct multicast_device_facts *f) { f->is_in_session = true; f->is_up = false; }
static void left(struct multicast_device_facts *f) { f->was_left = true; }

static void a_device_waits_for_a_session_only_when_it_can_have_one(void **state)
{
	struct update u = one_image(1 << 20);
	(void)state;

	struct multicast_choice c = device(&u, NULL);
	assert_true(c.multicast);
	assert_non_null(strstr(c.text, "hall"));
	const struct { void (*change)(struct multicast_device_facts *f); const char *rule; } rows[] = {
		{ not_configured, "group" }, { no_group, "group" }, { is_down, "interface" }, { left, "left" }, { has_it, "transferred" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = device(&u, rows[i].change);
		assert_false(c.multicast);
		assert_string_equal(c.rule, rows[i].rule);
	}
	assert_true(device(&u, in_session_while_down).multicast);      /* it waits there until the interface is back */
	assert_true(device(&u, has_it_by_session).multicast);
}

static void one_image_of_a_size_that_fits_is_what_a_session_carries(void **state)
{
	struct update u = one_image((1 << 20) + 1);
	(void)state;

	assert_string_equal(device(&u, NULL).rule, "size");
	u.images[0].bytes = 0;
	assert_string_equal(device(&u, NULL).rule, "size");
	u = one_image(5000);
	u.n_images = 2;
	u.images[1].bytes = 70;
	assert_string_equal(device(&u, NULL).rule, "images");
	u.images[1].is_integrated = true;      /* that one came with the envelope */
	assert_true(device(&u, NULL).multicast);
	u.images[0].is_integrated = true;
	assert_string_equal(device(&u, NULL).rule, "images");
}

static struct multicast_choice gathering(size_t n, uint64_t bytes, double loss)
{
	struct multicast_gathering_facts f = { .group = "hall", .n_members = n, .min_members = 3, .bytes = bytes, .fragment_bytes = 64, .loss = loss };
	struct multicast_choice c;

	multicast_choose_gathering(&f, &c);
	assert_true(c.text[0]);
	return c;
}

static void a_session_is_held_when_it_saves_frames(void **state)
{
	(void)state;

	struct multicast_choice c = gathering(2, 131072, 0.1);
	assert_false(c.multicast);
	assert_string_equal(c.rule, "members");
	c = gathering(3, 131072, 0.1);
	assert_true(c.multicast);
	assert_true(c.unicast_frames > 5 * c.frames);
	/* The sheet's figure: 100 nodes, 128 KiB, 10 %: 480 341 frames by unicast. */
	c = gathering(100, 131072, 0.1);
	assert_true(c.unicast_frames > 479000 && c.unicast_frames < 481500);
	assert_true(c.frames < c.unicast_frames / 150);
	/* A tiny image: the setup costs more than the image. */
	c = gathering(3, 100, 0);
	assert_false(c.multicast);
	assert_string_equal(c.rule, "frames");
	assert_non_null(strstr(c.text, "84 frames"));
}

static void nonsense_from_reports_is_bounded(void **state)
{
	const double losses[] = { -1, 1, 2, (double)NAN, (double)INFINITY };
	(void)state;

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		struct multicast_choice c = gathering(4096, 16 << 20, losses[i]);
		assert_true(c.multicast);
		assert_true(c.frames >= (16 << 20) / 64 && c.unicast_frames < UINT64_C(1) << 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_waits_for_a_session_only_when_it_can_have_one),
		cmocka_unit_test(one_image_of_a_size_that_fits_is_what_a_session_carries),
		cmocka_unit_test(a_session_is_held_when_it_saves_frames),
		cmocka_unit_test(nonsense_from_reports_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
