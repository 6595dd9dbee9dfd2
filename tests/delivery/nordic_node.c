#include "nordic_node.h"

#include <assert.h>

#include "base/cursor.h"
#include "codec/zip.h"

void nordic_node_init(struct nordic_node *n)
{
	n->packets_are_whole = true;
	n->prn_least = UINT16_MAX;
}

void nordic_node_done(struct nordic_node *n)
{
	buf_done(&n->init);
	buf_done(&n->data);
	buf_done(&n->pending);
	for (size_t i = 0; i < n->n_installed; i++)
		buf_done(&n->installed[i]);
}

static void answer(struct nordic_node *n, const void *p, size_t bytes)
{
	if (!n->mute_at || n->n_commands < n->mute_at)
		n->answer(n->ctx, SPAN(p, bytes));
}

static void put32(uint8_t *to, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

static void install(struct nordic_node *n, bool is_application)
{
	assert(n->n_installed < NORDIC_PARTS_MAX);
	buf_add(&n->installed[n->n_installed++], buf_span(&n->data));
	buf_clear(&n->data);
	buf_clear(&n->init);
	n->has_init = false;
	n->executed = 0;
	n->restarts(n->ctx, is_application);
}

/* ---- Secure DFU ---- */

static void answer_crc(struct nordic_node *n)
{
	const struct buf *b = n->is_data ? &n->data : &n->init;
	uint8_t out[11] = { 0x60, NORDIC_CRC_GET, NORDIC_OK };

	put32(out + 3, (uint32_t)b->n);
	put32(out + 7, zip_crc32(0, buf_span(b)));
	answer(n, out, sizeof(out));
}

static void refuse(struct nordic_node *n, uint8_t op, uint8_t result, uint8_t extended)
{
	const uint8_t out[] = { 0x60, op, result, extended };

	n->n_refused++;
	answer(n, out, result == NORDIC_EXTENDED ? 4 : 3);
}

static void done(struct nordic_node *n, uint8_t op)
{
	refuse(n, op, NORDIC_OK, 0);
	n->n_refused--;
}

static void select_object(struct nordic_node *n, uint8_t type)
{
	const struct buf *b = type == NORDIC_DATA ? &n->data : &n->init;
	uint8_t out[15] = { 0x60, NORDIC_SELECT, NORDIC_OK };

	n->is_data = type == NORDIC_DATA;
	put32(out + 3, type == NORDIC_DATA ? (n->object_bytes ? n->object_bytes : 4096) : (n->init_bytes_max ? n->init_bytes_max : 512));
	put32(out + 7, (uint32_t)b->n);
	put32(out + 11, zip_crc32(0, buf_span(b)));
	answer(n, out, sizeof(out));
}

static void create(struct nordic_node *n, uint8_t type, uint32_t size)
{
	n->n_creates++;
	n->since_receipt = 0;
	n->is_data = type == NORDIC_DATA;
	if (!n->is_data) {
		buf_clear(&n->init);
		buf_clear(&n->data);
		n->executed = 0;
		n->has_init = false;
		n->init_size = size;
	} else if (!n->has_init) {
		refuse(n, NORDIC_CREATE, NORDIC_NOT_PERMITTED, 0);
		return;
	} else {
		n->data.n = n->executed;       /* what was begun is gone */
		n->object_size = size;
	}
	done(n, NORDIC_CREATE);
}

static void execute_init(struct nordic_node *n)
{
	struct nordic_init in;

	if (n->init.n == 0 || n->init.n != n->init_size || nordic_init_decode(buf_span(&n->init), &in) < 0) {
		refuse(n, NORDIC_EXECUTE, NORDIC_EXTENDED, NORDIC_EX_INIT);
		return;
	}
	bool is_application = in.kind == NORDIC_APPLICATION;
	if (is_application ? in.version < n->version : in.version <= n->system_version && n->system_version) {
		refuse(n, NORDIC_EXECUTE, NORDIC_EXTENDED, NORDIC_EX_VERSION);
		return;
	}
	n->has_init = true;
	n->kind = in.kind;
	n->init_version = in.version;
	n->image_bytes = in.application_bytes + in.softdevice_bytes + in.bootloader_bytes;
	done(n, NORDIC_EXECUTE);
}

static void execute_data(struct nordic_node *n)
{
	if (n->data.n == n->executed) {
		refuse(n, NORDIC_EXECUTE, NORDIC_NOT_PERMITTED, 0);
		return;
	}
	n->n_executes++;
	n->executed = (uint32_t)n->data.n;
	if (n->executed < n->image_bytes || !n->goes_silently)
		done(n, NORDIC_EXECUTE);
	if (n->executed == n->image_bytes) {
		if (n->kind != NORDIC_APPLICATION)
			n->system_version = n->init_version;
		install(n, n->kind == NORDIC_APPLICATION);
	}
}

static void secure_command(struct nordic_node *n, uint8_t op, struct cursor *c)
{
	switch (op) {
	case NORDIC_SELECT:
		select_object(n, cur_u8(c));
		break;
	case NORDIC_CREATE: {
		uint8_t type = cur_u8(c);
		create(n, type, cur_le32(c));
		break;
	}
	case NORDIC_SET_PRN:
		n->prn = cur_le16(c);
		n->since_receipt = 0;
		if (n->prn && n->prn < n->prn_least)
			n->prn_least = n->prn;
		done(n, op);
		break;
	case NORDIC_CRC_GET:
		answer_crc(n);
		break;
	case NORDIC_EXECUTE:
		if (n->is_data)
			execute_data(n);
		else
			execute_init(n);
		break;
	default:
		refuse(n, op, NORDIC_BAD_OP, 0);
	}
	assert(cur_at_end(c));
}

static void secure_packet(struct nordic_node *n, struct span value)
{
	struct buf *b = n->is_data ? &n->data : &n->init;
	size_t limit = n->is_data ? n->executed + n->object_size : n->init_size;

	if (b->n + value.n > limit)
		return;                        /* a packet too much */
	buf_add(b, value);
	if (b->n < limit && value.n % 4)
		n->packets_are_whole = false;
	if (n->is_data && n->prn && ++n->since_receipt == n->prn) {
		n->since_receipt = 0;
		answer_crc(n);
	}
}

/* ---- Legacy DFU ---- */

static void legacy_answer(struct nordic_node *n, uint8_t op, uint8_t status)
{
	const uint8_t out[] = { 0x10, op, status };

	answer(n, out, sizeof(out));
}

static void legacy_command(struct nordic_node *n, uint8_t op, struct cursor *c)
{
	n->legacy_op = op;
	switch (op) {
	case LEGACY_START:
		n->legacy_kind = cur_u8(c);
		n->legacy_has_sizes = false;
		if (n->legacy_in_use)
			legacy_answer(n, op, LEGACY_BAD_STATE);
		else if (n->legacy_start_status)
			legacy_answer(n, op, n->legacy_start_status);
		n->legacy_in_use = true;
		buf_clear(&n->init);
		buf_clear(&n->data);
		break;
	case LEGACY_INIT:
		if (cur_u8(c) == 1)
			legacy_answer(n, op, n->init.n >= 14 ? LEGACY_OK : LEGACY_FAILED);
		break;
	case LEGACY_SET_PRN:
		n->prn = cur_le16(c);
		break;
	case LEGACY_RECEIVE:
		n->since_receipt = 0;
		break;
	case LEGACY_VALIDATE:
		n->legacy_is_valid = !n->legacy_validate_status;
		legacy_answer(n, op, n->legacy_validate_status ? n->legacy_validate_status : LEGACY_OK);
		break;
	case LEGACY_ACTIVATE:
		assert(n->legacy_is_valid);
		n->legacy_in_use = false;
		install(n, n->legacy_kind == 4);
		break;
	case LEGACY_RESET:
		n->n_resets++;
		n->legacy_in_use = false;
		n->restarts(n->ctx, false);
		break;
	default:
		legacy_answer(n, op, LEGACY_NOT_SUPPORTED);
	}
	assert(cur_at_end(c));
}

static void legacy_packet(struct nordic_node *n, struct span value)
{
	assert(value.n <= 20);
	if (n->legacy_op == LEGACY_START) {
		assert(value.n == sizeof(n->sizes));
		memcpy(n->sizes, value.p, sizeof(n->sizes));
		n->image_bytes = 0;
		for (unsigned i = 0; i < 3; i++)
			n->image_bytes += (uint32_t)n->sizes[4 * i] | (uint32_t)n->sizes[4 * i + 1] << 8 | (uint32_t)n->sizes[4 * i + 2] << 16;
		n->legacy_has_sizes = true;
		legacy_answer(n, LEGACY_START, LEGACY_OK);
	} else if (n->legacy_op == LEGACY_INIT) {
		buf_add(&n->init, value);
	} else if (n->legacy_op == LEGACY_RECEIVE) {
		buf_add(&n->data, value);
		if (n->data.n == n->image_bytes) {
			legacy_answer(n, LEGACY_RECEIVE, LEGACY_OK);
		} else if (n->prn && ++n->since_receipt == n->prn) {
			uint8_t out[5] = { 0x11 };
			n->since_receipt = 0;
			put32(out + 1, (uint32_t)n->data.n);
			answer(n, out, sizeof(out));
		}
	}
}

/* ---- both ---- */

static bool is_refused(struct nordic_node *n, uint8_t op)
{
	if (!n->refuse_from || op != n->refuse_op)
		return false;
	if (n->refuse_from > 1) {
		n->refuse_from--;
		return false;
	}
	if (n->refuse_n && --n->refuse_n == 0)
		n->refuse_from = 0;
	refuse(n, op, n->refuse_result, n->refuse_extended);
	return true;
}

void nordic_node_command(struct nordic_node *n, struct span value)
{
	struct cursor c = { .s = value };
	uint8_t op = cur_u8(&c);

	n->n_commands++;
	if (n->mute_at && n->n_commands >= n->mute_at)
		return;
	if (n->is_legacy) {
		legacy_command(n, op, &c);
	} else if (!is_refused(n, op)) {
		secure_command(n, op, &c);
		if (n->pending.n) {
			secure_packet(n, buf_span(&n->pending));
			buf_clear(&n->pending);
		}
	}
}

void nordic_node_packet(struct nordic_node *n, struct span value)
{
	n->n_packets++;
	if (value.n > n->packet_max)
		n->packet_max = value.n;
	if (n->lose_at && n->n_packets == n->lose_at) {
		n->lose_at = n->lose_every ? n->lose_at + n->lose_every : 0;
		return;
	}
	if (n->is_legacy) {
		legacy_packet(n, value);
	} else if (n->late_packets && n->data.n + value.n == n->image_bytes) { /* the very last ones */
		n->late_packets--;
		buf_add(&n->pending, value);
	} else {
		secure_packet(n, value);
	}
}

void nordic_node_link(struct nordic_node *n)
{
	if (n->n_links++ > 0)
		n->mute_at = 0;
	n->prn = 0;
	n->since_receipt = 0;
	buf_clear(&n->pending);
	if (n->forgets) {
		n->data.n = n->executed;
		if (!n->has_init)
			buf_clear(&n->init);
	}
}
