/* The plan, and a kernel played against it: from every state the same end is reached, and nothing that another took down is raised. */
#include "radio/lowpan_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct lowpan_settings made = { .interface = "lowpan0", .kind = LOWPAN_802154, .create = true, .parent = "wpan0", .pan_id = 0xbeef,
					     .short_address = 1, .page = 0, .channel = 26, .address = { 0xfd, [15] = 1 }, .address_bits = 64 };

static const struct lowpan_facts fresh = { .has_radio = true, .pan_id = 0xffff, .short_address = 0xffff, .page = 0, .channel = 13 };

/* What the kernel does; it refuses what it refuses. */
static void take(enum lowpan_step step, const struct lowpan_settings *s, struct lowpan_facts *f)
{
	switch (step) {
	case LOWPAN_STEP_ASK:
		f->is_asked = true;
		break;
	case LOWPAN_STEP_LINK_DOWN:
		f->is_link_up = f->has_address = f->is_link_raised = f->is_radio_raised = false;
		break;
	case LOWPAN_STEP_RADIO_DOWN:
		f->is_radio_up = f->is_link_raised = f->is_radio_raised = false;
		break;
	case LOWPAN_STEP_PAN:
		assert_false(f->is_radio_up || f->is_link_up);
		f->pan_id = (int)s->pan_id;
		break;
	case LOWPAN_STEP_SHORT:
		assert_false(f->is_radio_up || f->is_link_up);
		f->short_address = (int)s->short_address;
		break;
	case LOWPAN_STEP_CHANNEL:
		f->channel = (int)s->channel;
		f->page = (int)s->page;
		break;
	case LOWPAN_STEP_ADD:
		assert_false(f->has_link);
		f->has_link = f->is_on_radio = true;
		break;
	case LOWPAN_STEP_RADIO_UP:
		f->is_radio_up = f->is_radio_raised = true;
		break;
	case LOWPAN_STEP_LINK_UP:
		assert_true(f->has_link && f->is_radio_up);
		f->is_link_up = f->is_link_raised = true;
		break;
	case LOWPAN_STEP_ADDRESS:
		assert_true(f->is_link_up);
		f->has_address = true;
		break;
	case LOWPAN_STEP_READY:
	case LOWPAN_STEP_AS_IT_IS:
	case LOWPAN_STEP_NO_RADIO:
	case LOWPAN_STEP_KEY:
	case LOWPAN_STEP_FOREIGN:
	case LOWPAN_STEP_TAKEN_DOWN:
	case LOWPAN_STEP_COUNT:
		fail_msg("%s is nothing to do", lowpan_step_text(step));
	}
}

static enum lowpan_step settle(const struct lowpan_settings *s, struct lowpan_facts *f)
{
	enum lowpan_step step = lowpan_plan(s, f);

	for (int i = 0; i < 20 && lowpan_step_acts(step); i++) {
		take(step, s, f);
		step = lowpan_plan(s, f);
	}
	return step;
}

static void a_fresh_radio_is_set_up(void **state)
{
	struct lowpan_facts f = fresh;

	assert_int_equal(settle(&made, &f), LOWPAN_STEP_READY);
	assert_int_equal(f.pan_id, 0xbeef);
	assert_int_equal(f.short_address, 1);
	assert_int_equal(f.channel, 26);
	assert_true(f.is_radio_up && f.is_link_up && f.has_address);
}

/* SLP-1: whatever is left, gone or wrong when it comes back. */
static void from_every_state_the_same_end_is_reached(void **state)
{
	for (unsigned bits = 0; bits < 1u << 7; bits++) {
		struct lowpan_facts f = fresh;
		bool link = bits & 1;

		f.has_link = f.is_on_radio = link;
		f.is_radio_up = bits & 2;
		f.is_link_up = link && bits & 4;
		f.has_address = link && bits & 8;
		f.is_asked = bits & 16;
		f.pan_id = bits & 32 ? 0xbeef : 0x1234;
		f.channel = bits & 64 ? 26 : 11;
		assert_int_equal(settle(&made, &f), LOWPAN_STEP_READY);
		assert_true(f.is_radio_up && f.is_link_up && f.has_address && f.pan_id == 0xbeef && f.channel == 26);
	}
}

static void what_another_took_down_is_left_down(void **state)
{
	struct lowpan_facts f = fresh;

	(void)settle(&made, &f);
	f.is_link_up = f.has_address = false;
	assert_int_equal(settle(&made, &f), LOWPAN_STEP_TAKEN_DOWN);
	f.is_link_up = true; /* and up again: the kernel forgot its address */
	assert_int_equal(lowpan_plan(&made, &f), LOWPAN_STEP_ADDRESS);
	assert_int_equal(settle(&made, &f), LOWPAN_STEP_READY);
	f.is_radio_up = false;
	assert_int_equal(settle(&made, &f), LOWPAN_STEP_TAKEN_DOWN);
	/* Made anew, with another index: nothing of it was raised by us. */
	f.has_link = f.is_link_up = f.is_link_raised = f.is_radio_raised = f.has_address = false;
	assert_int_equal(settle(&made, &f), LOWPAN_STEP_READY);
}

static void nothing_is_raised_with_a_key_that_cannot_be_set(void **state)
{
	struct lowpan_settings s = made;
	struct lowpan_facts f = fresh;

	s.has_key = true;
	assert_int_equal(settle(&s, &f), LOWPAN_STEP_KEY);
	assert_false(f.is_radio_up || f.has_link);
	assert_non_null(strstr(lowpan_step_text(LOWPAN_STEP_KEY), "CONFIG_IEEE802154_NL802154_EXPERIMENTAL"));
	s.create = false; /* nor is an address added to a link that somebody else has up */
	f.has_link = f.is_link_up = true;
	assert_int_equal(settle(&s, &f), LOWPAN_STEP_KEY);
	assert_false(f.has_address);
}

static void without_create_only_the_address_is_added(void **state)
{
	struct lowpan_settings s = made;
	struct lowpan_facts f = { 0 };

	s.create = false;
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_AS_IT_IS);
	f.has_link = true;
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_AS_IT_IS);
	f.is_link_up = true;
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_ADDRESS);
	assert_int_equal(settle(&s, &f), LOWPAN_STEP_READY);
	s.create = true; /* over BLE the kernel makes it, once a peer is connected */
	s.kind = LOWPAN_BLE;
	f = (struct lowpan_facts){ 0 };
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_AS_IT_IS);
	f.has_link = f.is_link_up = true;
	assert_int_equal(settle(&s, &f), LOWPAN_STEP_READY);
	assert_true(f.has_address);
	s.address_bits = 0;
	f.has_address = false;
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_READY);
}

static void what_is_not_ours_is_left_alone(void **state)
{
	struct lowpan_facts f = { 0 };
	struct lowpan_settings s = made;

	assert_int_equal(lowpan_plan(&made, &f), LOWPAN_STEP_NO_RADIO);
	f = fresh;
	f.has_link = true; /* a veth of that name, say */
	assert_int_equal(lowpan_plan(&made, &f), LOWPAN_STEP_FOREIGN);
	s.pan_id = LOWPAN_PAN_ANY;
	s.short_address = LOWPAN_SHORT_ANY;
	s.channel = LOWPAN_CHANNEL_ANY;
	f = fresh;
	f.is_asked = f.is_radio_up = f.has_link = f.is_on_radio = f.is_link_up = f.has_address = true;
	assert_int_equal(lowpan_plan(&s, &f), LOWPAN_STEP_READY); /* as it is */
}

static void every_step_has_words(void **state)
{
	for (int s = 0; s < LOWPAN_STEP_COUNT; s++)
		assert_true(strlen(lowpan_step_text((enum lowpan_step)s)) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fresh_radio_is_set_up),
		cmocka_unit_test(from_every_state_the_same_end_is_reached),
		cmocka_unit_test(what_another_took_down_is_left_down),
		cmocka_unit_test(nothing_is_raised_with_a_key_that_cannot_be_set),
		cmocka_unit_test(without_create_only_the_address_is_added),
		cmocka_unit_test(what_is_not_ours_is_left_alone),
		cmocka_unit_test(every_step_has_words),
	};

	return cmocka_run_group_tests_name("radio/lowpan_plan", tests, NULL, NULL);
}
