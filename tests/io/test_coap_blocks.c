/* io/coap_endpoint: blocks that suit the link to a peer (SLP-2; RFC 7959 sections 2.3 and 2.4), by our client and by datagrams. */
#include "coap_fixture.h"

enum { O_PATH = 11, O_BLOCK2 = 23, O_BLOCK1 = 27, O_OBSERVE = 6 };

static size_t limit;
static uint16_t next_mid = 7000;

static size_t on_blocks(void *ctx, const struct coap_peer *peer)
{
	assert_true(peer->is_loopback);
	return limit;
}

static struct raw ask(struct fixture *f, uint8_t method, const char *path, int64_t block2)
{
	struct raw m;

	raw_start(&m, CON, method, next_mid++, "bl");
	raw_text(&m, O_PATH, path);
	if (block2 >= 0)
		raw_uint(&m, O_BLOCK2, (uint32_t)block2);
	return raw_exchange(f, &m);
}

static void a_size_asked_for_is_met_or_undercut_and_never_exceeded(void **state)
{
	static const struct { size_t limit; int64_t asked; uint32_t got; } rows[] = {
		{ 0, -1, 6 }, { 0, 6, 6 }, { 0, 2, 2 },        /* no wish of the link's */
		{ 64, -1, 2 },                                 /* nothing asked: what suits */
		{ 64, 6, 2 }, { 64, 3, 2 },                    /* larger asked: what suits */
		{ 64, 2, 2 }, { 64, 0, 0 },                    /* smaller asked: that */
		{ 1024, -1, 6 }, { 100, -1, 2 }, { 10, -1, 0 }, /* between sizes: the smaller; never below 16 */
	};
	struct fixture *f = *state;

	coap_endpoint_set_blocks(f->e, on_blocks, f);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		limit = rows[i].limit;
		struct raw r = ask(f, COAP_M_GET, "image", rows[i].asked < 0 ? -1 : (int64_t)block(0, false, (unsigned)rows[i].asked));
		assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(0, true, rows[i].got));
	}
}

/* Who asks for a later block in a certain size knows why: it goes on with what it was told, or goes on where it stood. */
static void later_blocks_come_as_they_are_asked_for(void **state)
{
	struct fixture *f = *state;

	limit = 64;
	coap_endpoint_set_blocks(f->e, on_blocks, f);
	struct raw r = ask(f, COAP_M_GET, "image", block(1, false, 2));
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(1, true, 2));
	r = ask(f, COAP_M_GET, "image", block(5, false, 6));
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(5, true, 6));
	r = ask(f, COAP_M_GET, "image", block(9, false, 0)); /* smaller in the middle */
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(9, true, 0));
}

static void whole_bodies_arrive_in_small_blocks(void **state)
{
	struct coap_call_request q = a_get("big");
	struct fixture *f = *state;

	limit = 64;
	coap_endpoint_set_blocks(f->e, on_blocks, f);
	f->big_bytes = 5000;
	call(f, &q); /* made once, kept while it is fetched */
	assert_got(f, COAP_205_CONTENT, NULL);
	assert_int_equal(f->got.body.n, 5000);
	assert_int_equal(f->n_big, 1);
	assert_pattern(buf_span(&f->got.body), 0, 1);
	q = a_get("image/a");
	q.body_max = 100000;
	call(f, &q);
	assert_int_equal(f->got.body.n, 100000);
	assert_pattern(buf_span(&f->got.body), 0, 0);
	get(f, "hello"); /* what fits has no Block2 at all */
	assert_got(f, COAP_205_CONTENT, "hello");
	q = a_get("nowhere");
	call(f, &q); /* nor has a diagnostic payload */
	assert_got(f, COAP_404_NOT_FOUND, NULL);
}

static void uploads_are_asked_to_go_on_in_smaller_blocks(void **state)
{
	struct fixture *f = *state;
	struct raw m, r;

	limit = 64;
	coap_endpoint_set_blocks(f->e, on_blocks, f);
	raw_start(&m, CON, COAP_M_PUT, next_mid++, "up");
	raw_text(&m, O_PATH, "store");
	raw_uint(&m, O_BLOCK1, block(0, true, 6));
	raw_payload(&m, 1024, 0);
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_231_CONTINUE);
	assert_int_equal(raw_find_uint(&r, O_BLOCK1), block(0, true, 2)); /* all 1024 bytes are taken (RFC 7959 section 2.3) */
	raw_start(&m, CON, COAP_M_PUT, next_mid++, "up");
	raw_text(&m, O_PATH, "store");
	raw_uint(&m, O_BLOCK1, block(16, false, 2));
	raw_payload(&m, 10, 1024);
	r = raw_exchange(f, &m);
	assert_int_equal(r.b[1], COAP_204_CHANGED);
	assert_int_equal(f->stored.n, 1034);
	assert_pattern(buf_span(&f->stored), 0, 0);
	send_body(f, COAP_M_PUT, "store", 5000, 6); /* our client does as it is asked */
	assert_got(f, COAP_204_CHANGED, NULL);
	assert_int_equal(f->stored.n, 5000);
	assert_pattern(buf_span(&f->stored), 0, 0);
}

static void notifications_too(void **state)
{
	struct fixture *f = *state;
	struct raw m, r;

	limit = 64;
	coap_endpoint_set_blocks(f->e, on_blocks, f);
	f->big_bytes = 200;
	raw_start(&m, CON, COAP_M_GET, next_mid++, "ob");
	raw_uint(&m, O_OBSERVE, 0);
	raw_text(&m, O_PATH, "big");
	r = raw_exchange(f, &m);
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(0, true, 2));
	coap_endpoint_changed(f->e, "big");
	r = raw_receive(f, 2000);
	assert_true(r.n > 0);
	assert_int_equal(raw_find_uint(&r, O_BLOCK2), block(0, true, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(a_size_asked_for_is_met_or_undercut_and_never_exceeded),
		fixture_test(later_blocks_come_as_they_are_asked_for),
		fixture_test(whole_bodies_arrive_in_small_blocks),
		fixture_test(uploads_are_asked_to_go_on_in_smaller_blocks),
		fixture_test(notifications_too),
	};

	return cmocka_run_group_tests_name("io/coap_blocks", tests, NULL, NULL);
}
