#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../private_bus.h"
#include "../until.h"
#include "base/mem.h"
#include "io/dbus.h"

enum { WAIT_MS = 10 * 1000 };

struct place {
	struct private_bus daemon;
	struct loop *loop;
	struct dbus *dbus, *peer;
	size_t n_up, n_down, n_peer_up, n_answers, n_signals;
	sd_bus_slot *slot, *call;
	char error[64];
};

static void on_up(void *ctx, sd_bus *bus)
{
	struct place *p = ctx;

	p->n_up++;
	assert_ptr_equal(bus, dbus_bus(p->dbus));
}

static void on_down(void *ctx, int error)
{
	struct place *p = ctx;

	p->n_down++;
	assert_true(error < 0);
	assert_null(dbus_bus(p->dbus));
	p->slot = sd_bus_slot_unref(p->slot);
	p->call = sd_bus_slot_unref(p->call);
}

static void on_peer_up(void *ctx, sd_bus *bus)
{
	((struct place *)ctx)->n_peer_up++;
}

static void on_peer_down(void *ctx, int error)
{
}

static const struct dbus_ops ops = { .up = on_up, .down = on_down }, peer_ops = { .up = on_peer_up, .down = on_peer_down };

static int setup(void **state)
{
	struct place *p = NEW(struct place);

	p->loop = loop_new();
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	sd_bus_slot_unref(p->slot);
	sd_bus_slot_unref(p->call);
	dbus_free(p->dbus);
	dbus_free(p->peer);
	loop_free(p->loop);
	private_bus_done(&p->daemon);
	free(p);
	return 0;
}

static bool is_up(void *ctx)
{
	return dbus_bus(((struct place *)ctx)->dbus) != NULL;
}

static bool is_down(void *ctx)
{
	return !is_up(ctx);
}

static bool peer_is_up(void *ctx)
{
	return ((struct place *)ctx)->n_peer_up > 0;
}

static bool is_answered(void *ctx)
{
	return ((struct place *)ctx)->n_answers > 0;
}

static void begin(struct place *p)
{
	private_bus_start(&p->daemon);
	p->dbus = dbus_new(p->loop, p->daemon.address, &ops, p);
	assert_null(dbus_bus(p->dbus)); /* nothing happens at once */
	assert_true(until(p->loop, is_up, p, WAIT_MS));
}

static void it_comes_up_by_itself_and_again_after_each_loss(void **state)
{
	struct place *p = *state;

	begin(p);
	for (size_t i = 1; i <= 3; i++) {
		assert_int_equal(p->n_up, i);
		private_bus_stop(&p->daemon);
		assert_true(until(p->loop, is_down, p, WAIT_MS));
		assert_int_equal(p->n_down, i);
		private_bus_start(&p->daemon);
		assert_true(until(p->loop, is_up, p, WAIT_MS));
	}
}

static void a_bus_that_is_not_there_is_waited_for(void **state)
{
	struct place *p = *state;

	private_bus_start(&p->daemon);
	private_bus_stop(&p->daemon);
	p->dbus = dbus_new(p->loop, p->daemon.address, &ops, p);
	(void)loop_run_for(p->loop, 100);
	assert_int_equal(p->n_up + p->n_down, 0);
	private_bus_start(&p->daemon);
	assert_true(until(p->loop, is_up, p, WAIT_MS));
	assert_int_equal(p->n_down, 0);
}

static void an_address_that_is_none_harms_nobody(void **state)
{
	static const char *const bad[] = { "nonsense", "unix:path=/nonexistent/bus", "unix:", "tcp:host=127.0.0.1,port=1" };
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		p->dbus = dbus_new(p->loop, bad[i], &ops, p);
		(void)loop_run_for(p->loop, 20);
		dbus_touch(p->dbus);
		assert_null(dbus_bus(p->dbus));
		p->dbus = dbus_free(p->dbus);
	}
	assert_int_equal(p->n_up + p->n_down, 0);
}

static int on_answer(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct place *p = ctx;
	const sd_bus_error *e = sd_bus_message_get_error(m);

	p->n_answers++;
	(void)snprintf(p->error, sizeof(p->error), "%s", e ? e->name : "");
	return 0;
}

/* The peer's loop is ours: it stays silent when its calls are not handled. */
static int on_ask(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct place *p = ctx;

	p->call = sd_bus_slot_unref(p->call); /* closed while its answer is being waited for */
	return 1;
}

static const sd_bus_vtable silent[] = { SD_BUS_VTABLE_START(0), SD_BUS_METHOD("Ask", "", "", on_ask, SD_BUS_VTABLE_UNPRIVILEGED), SD_BUS_VTABLE_END };

static void with_peer(struct place *p)
{
	begin(p);
	p->peer = dbus_new(p->loop, p->daemon.address, &peer_ops, p);
	assert_true(until(p->loop, peer_is_up, p, WAIT_MS));
}

static void an_answer_that_does_not_come_is_an_error_in_time(void **state)
{
	struct place *p = *state;
	sd_bus_message *m = NULL;
	const char *name;

	with_peer(p);
	assert_true(sd_bus_add_object_vtable(dbus_bus(p->peer), &p->slot, "/x", "x.X", silent, &(struct place){ 0 }) >= 0);
	assert_true(sd_bus_get_unique_name(dbus_bus(p->peer), &name) >= 0);
	assert_true(sd_bus_message_new_method_call(dbus_bus(p->dbus), &m, name, "/x", "x.X", "Ask") >= 0);
	assert_true(sd_bus_call_async(dbus_bus(p->dbus), &p->call, m, on_answer, p, 100 * 1000) >= 0);
	sd_bus_message_unref(m);
	dbus_touch(p->dbus);
	struct mono began = mono_now();
	assert_true(until(p->loop, is_answered, p, WAIT_MS));
	assert_in_range(mono_diff_ms(mono_now(), began), 90, 5000);
	assert_string_equal(p->error, "org.freedesktop.DBus.Error.NoReply");
}

static int on_signal(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	((struct place *)ctx)->n_signals++;
	return 0;
}

static bool has_all_signals(void *ctx)
{
	return ((struct place *)ctx)->n_signals == 5000;
}

/* More than a socket takes at once, both ways, in turns. */
static void a_flood_goes_through_in_turns(void **state)
{
	struct place *p = *state;
	char big[2048];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	with_peer(p);
	assert_true(sd_bus_add_match_async(dbus_bus(p->peer), &p->slot, "type='signal',interface='x.X'", on_signal, NULL, p) >= 0);
	dbus_touch(p->peer);
	(void)loop_run_for(p->loop, 50);
	for (int i = 0; i < 5000; i++)
		assert_true(sd_bus_emit_signal(dbus_bus(p->dbus), "/x", "x.X", "Said", "s", big) >= 0);
	dbus_touch(p->dbus);
	assert_true(until(p->loop, has_all_signals, p, 3 * WAIT_MS));
}

#define TEST(fn_) cmocka_unit_test_setup_teardown(fn_, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_comes_up_by_itself_and_again_after_each_loss),
		TEST(a_bus_that_is_not_there_is_waited_for),
		TEST(an_address_that_is_none_harms_nobody),
		TEST(an_answer_that_does_not_come_is_an_error_in_time),
		TEST(a_flood_goes_through_in_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
