/* The real kernel's answers: its loopback interface is everywhere. */
#include "io/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

struct asked {
	struct loop *loop;
	int n_links, n_done, n_wanted, error;
	bool has_lo;
	char why[NETLINK_TEXT_BYTES];
};

static void on_part(void *ctx, const struct netlink_message *m)
{
	struct asked *a = ctx;
	struct netlink_link l;

	assert_int_equal(m->type, RTM_NEWLINK);
	assert_int_equal(netlink_link_decode(m, &l), 0);
	a->n_links++;
	a->has_lo = a->has_lo || strcmp(l.name, "lo") == 0;
}

static void on_done(void *ctx, int error, const char *why)
{
	struct asked *a = ctx;

	a->error = error;
	(void)snprintf(a->why, sizeof(a->why), "%s", why);
	if (++a->n_done == a->n_wanted)
		loop_stop(a->loop);
}

static void dumps_and_single_questions_have_their_end(void **state)
{
	struct asked a = { .loop = loop_new(), .n_wanted = 3 };
	_cleanup_buf_ struct buf b = { 0 };
	struct netlink *n;

	if (netlink_open(a.loop, NETLINK_ROUTE, NULL, 0, NULL, &a, &n) < 0)
		skip();
	netlink_encode_dump(&b, RTM_GETLINK, AF_UNSPEC);
	assert_int_equal(netlink_request(n, &b, on_part, on_done, &a), 0);
	netlink_encode_link_get(&b, 1);
	assert_int_equal(netlink_request(n, &b, on_part, on_done, &a), 0);
	netlink_encode_dump(&b, RTM_GETADDR, AF_INET6);
	assert_int_equal(netlink_request(n, &b, NULL, on_done, &a), 0);
	assert_int_equal(a.n_done, 0); /* never from inside */
	assert_int_equal(loop_run_for(a.loop, 5000), 0);
	assert_int_equal(a.n_done, 3);
	assert_int_equal(a.error, 0);
	assert_true(a.has_lo && a.n_links >= 2);
	netlink_close(n);
	loop_free(a.loop);
}

static void what_the_kernel_refuses_ends_with_its_errno(void **state)
{
	struct asked a = { .loop = loop_new(), .n_wanted = 1 };
	_cleanup_buf_ struct buf b = { 0 };
	struct netlink *n;

	if (netlink_open(a.loop, NETLINK_ROUTE, NULL, 0, NULL, &a, &n) < 0)
		skip();
	netlink_encode_link_get(&b, INT32_MAX);
	assert_int_equal(netlink_request(n, &b, NULL, on_done, &a), 0);
	assert_int_equal(loop_run_for(a.loop, 5000), 0);
	assert_int_equal(a.error, -ENODEV);
	netlink_close(n);
	loop_free(a.loop);
}

static void too_many_and_broken_requests_are_refused(void **state)
{
	struct asked a = { .loop = loop_new(), .n_wanted = -1 };
	_cleanup_buf_ struct buf b = { .max = 4 }, good = { 0 };
	struct netlink *n;

	if (netlink_open(a.loop, NETLINK_ROUTE, NULL, 0, NULL, &a, &n) < 0)
		skip();
	netlink_encode_link_get(&b, 1);
	assert_int_equal(netlink_request(n, &b, NULL, on_done, &a), -EINVAL);
	netlink_encode_link_get(&good, 1);
	for (int i = 0; i < NETLINK_REQUESTS_MAX; i++)
		assert_int_equal(netlink_request(n, &good, NULL, on_done, &a), 0);
	assert_int_equal(netlink_request(n, &good, NULL, on_done, &a), -ENOSPC);
	netlink_close(n); /* nobody is called */
	assert_int_equal(a.n_done, 0);
	loop_free(a.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dumps_and_single_questions_have_their_end),
		cmocka_unit_test(what_the_kernel_refuses_ends_with_its_errno),
		cmocka_unit_test(too_many_and_broken_requests_are_refused),
	};

	return cmocka_run_group_tests_name("io/netlink", tests, NULL, NULL);
}
