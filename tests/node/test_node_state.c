#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "node/node_state.h"
#include "../scratch.h"

static char *fresh_dir(void)
{
	static char path[64];

	(void)snprintf(path, sizeof(path), "/tmp/node-state-XXXXXX");
	assert_non_null(mkdtemp(path));
	return path;
}

static const struct node_durable full = {
	.has_installed = true, .installed = { { 1, 2, 3 } }, .sequence = UINT64_MAX, .version = "1.2.3", .phase = NODE_FAILED,
	.offer = { { 4, 5, 6 } }, .result = 5, .reason = "image does not match its digest",
	.groups = { { .is_used = true, .gid = 255, .key = { 1, 2 }, .address = { 0xff, 0x12 }, .port = 65535 },
		    { .is_used = true, .gid = 3, .key = { 9 }, .address = { 0xff, 0x15 }, .port = 1 } },
};

static void assert_same(const struct node_durable *a, const struct node_durable *b)
{
	assert_int_equal(a->has_installed, b->has_installed);
	assert_true(digest_eq(&a->installed, &b->installed));
	assert_true(a->sequence == b->sequence);
	assert_string_equal(a->version, b->version);
	assert_int_equal(a->phase, b->phase);
	assert_true(digest_eq(&a->offer, &b->offer));
	assert_int_equal(a->result, b->result);
	assert_string_equal(a->reason, b->reason);
	assert_memory_equal(a->groups, b->groups, sizeof(a->groups));
}

static void state_comes_back_as_it_was_written(void **state)
{
	const char *dir = fresh_dir();
	struct node_store s = { -1 };
	struct node_durable d;

	assert_int_equal(node_store_open(&s, dir, 7, &d), 0);
	assert_false(d.has_installed);
	assert_true(d.sequence == 7);
	assert_int_equal(d.phase, NODE_IDLE);
	assert_int_equal(node_store_save(&s, &full), 0);
	node_store_close(&s);
	assert_int_equal(node_store_open(&s, dir, 7, &d), 0);
	assert_same(&d, &full);
	node_store_close(&s);
	scratch_remove(dir);
}

static void damaged_state_counts_as_fresh(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	const char *dir = fresh_dir();
	struct node_store s = { -1 };
	struct node_durable d;

	node_state_encode(&full, &b);
	for (size_t n = 0; n < b.n; n++)
		assert_int_not_equal(node_state_decode(SPAN(b.p, n), &d), 0);
	for (size_t i = 0; i < b.n * 8; i++) {
		b.p[i / 8] ^= (uint8_t)(1u << i % 8);
		(void)node_state_decode(buf_span(&b), &d); /* read or refused, never harm */
		b.p[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(node_store_open(&s, dir, 3, &d), 0);
	int fd = openat(s.dirfd, "state", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, b.p, b.n - 1), (ssize_t)b.n - 1);
	close(fd);
	node_store_close(&s);
	assert_int_equal(node_store_open(&s, dir, 3, &d), 0);
	assert_true(d.sequence == 3 && !d.has_installed && d.phase == NODE_IDLE);
	node_store_close(&s);
	scratch_remove(dir);
}

static void an_image_grows_block_by_block_and_becomes_a_slot(void **state)
{
	const char *dir = fresh_dir();
	struct node_store s = { -1 };
	struct node_durable d;
	uint8_t image[200 * 1024], *p;
	struct digest id, got;
	uint64_t bytes;
	char path[128];

	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 7 + i / 256);
	id = digest_of(SPAN_OF(image));
	assert_int_equal(node_store_open(&s, dir, 0, &d), 0);
	assert_int_equal(node_part_bytes(&s, &id), 0);
	assert_int_equal(node_part_digest(&s, &id, &got, &bytes), -ENOENT);
	assert_int_equal(node_part_install(&s, &id, 0), -EBADMSG);
	for (size_t off = 0; off < sizeof(image); off += 1024) {
		assert_int_equal(node_part_bytes(&s, &id), off);
		assert_int_equal(node_part_write(&s, &id, off, SPAN(image + off, 1024)), 0);
		if (off == 100 * 1024)
			assert_int_equal(node_part_install(&s, &id, 0), -EBADMSG); /* half of it */
	}
	assert_int_equal(node_part_digest(&s, &id, &got, &bytes), 0);
	assert_true(digest_eq(&id, &got) && bytes == sizeof(image));
	assert_int_equal(node_part_install(&s, &id, 0), 0);
	assert_int_equal(node_part_install(&s, &id, 0), 0);    /* again is fine */
	assert_int_equal(node_part_bytes(&s, &id), 0);
	(void)snprintf(path, sizeof(path), "%s/slot-0", dir);
	p = malloc(sizeof(image));
	FILE *f = fopen(path, "r");
	assert_int_equal(fread(p, 1, sizeof(image), f), sizeof(image));
	fclose(f);
	assert_memory_equal(p, image, sizeof(image));
	free(p);
	node_store_close(&s);
	scratch_remove(dir);
}

static void leftovers_are_swept_and_the_wanted_kept(void **state)
{
	const char *dir = fresh_dir();
	struct node_store s = { -1 };
	struct node_durable d;
	struct digest a = digest_of(SPAN_LIT("a")), b = digest_of(SPAN_LIT("b"));
	_cleanup_buf_ struct buf envelope = { 0 };

	assert_int_equal(node_store_open(&s, dir, 0, &d), 0);
	assert_int_equal(node_part_write(&s, &a, 0, SPAN_LIT("xx")), 0);
	assert_int_equal(node_part_write(&s, &b, 0, SPAN_LIT("yyy")), 0);
	assert_int_equal(node_store_put_envelope(&s, SPAN_LIT("envelope")), 0);
	node_parts_sweep(&s, &b, 1);
	assert_int_equal(node_part_bytes(&s, &a), 0);
	assert_int_equal(node_part_bytes(&s, &b), 3);
	assert_int_equal(node_store_get_envelope(&s, &envelope), 0);
	assert_true(span_eq_str(buf_span(&envelope), "envelope"));
	node_part_drop(&s, &b);
	assert_int_equal(node_part_bytes(&s, &b), 0);
	node_store_close(&s);
	scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_comes_back_as_it_was_written),
		cmocka_unit_test(damaged_state_counts_as_fresh),
		cmocka_unit_test(an_image_grows_block_by_block_and_becomes_a_slot),
		cmocka_unit_test(leftovers_are_swept_and_the_wanted_kept),
	};

	return cmocka_run_group_tests_name("node/node_state", tests, NULL, NULL);
}
