#include "smp_peripheral.h"

#include <assert.h>
#include <errno.h>

#include "codec/mcuboot.h"

static const uint8_t smp_service[BLE_UUID_BYTES] = { 0x8d, 0x53, 0xdc, 0x1d, 0x1d, 0xb7, 0x4c, 0xd3, 0x86, 0x8b, 0x8a, 0x52, 0x74, 0x60, 0xaa, 0x84 };
static const uint8_t smp_characteristic[BLE_UUID_BYTES] = { 0xda, 0x2e, 0x78, 0x28, 0xfb, 0xce, 0x4e, 0x01,
							    0xae, 0x9e, 0x26, 0x11, 0x74, 0x99, 0x7c, 0x48 };
static const uint8_t information[BLE_UUID_BYTES] = GATT_UUID16(0x180a), revision[BLE_UUID_BYTES] = GATT_UUID16(0x2a26);

static void on_restart(void *ctx)
{
	struct smp_peripheral *p = ctx;

	smp_server_tick(p->server, mono_now());
}

static void notify(struct smp_peripheral *p, struct span s)
{
	for (size_t at = 0; at < s.n; at += p->notify_bytes)
		fake_node_notify(p->node, p->handle, span_sub(s, at, p->notify_bytes));
}

static void answer(struct smp_peripheral *p, struct span message)
{
	_cleanup_buf_ struct buf reply = { 0 };
	static const uint8_t junk[40] = { 0x0b, 0xff, 0xff, 0xff, 1, 2, 3 };

	if (message.n > p->largest_message)
		p->largest_message = message.n;
	smp_server_handle(p->server, message, mono_now(), &reply);
	if (p->is_garbage) {
		notify(p, SPAN_OF(junk));
		return;
	}
	if (reply.n)
		notify(p, buf_span(&reply));
	int64_t ms = smp_server_wait_ms(p->server, mono_now());
	if (ms >= 0) { /* it restarts: its answer is lost with the link */
		loop_timer_set(p->restart, ms);
		fake_node_end(p->node, -ECONNRESET);
	}
}

static int on_write(void *ctx, uint16_t handle, struct span value, bool with_response)
{
	struct smp_peripheral *p = ctx;

	assert(handle == p->handle && !with_response);
	if (value.n > p->largest_write)
		p->largest_write = value.n;
	p->n_writes++;
	if (p->lost && p->lost(p->ctx)) {
		buf_clear(&p->in);
		return 0;
	}
	if (p->is_deaf)
		return 0;
	if (p->takes_no_parts)
		buf_clear(&p->in);
	buf_add(&p->in, value);
	if (p->in.n < SMP_HEADER_BYTES)
		return 0;
	size_t whole = SMP_HEADER_BYTES + ((size_t)p->in.p[2] << 8 | p->in.p[3]);
	assert(p->takes_no_parts || p->in.n <= whole); /* no message shares a write with another */
	if (p->in.n == whole) {
		_cleanup_buf_ struct buf message = p->in;
		p->in = (struct buf){ 0 };
		answer(p, buf_span(&message));
	}
	return 0;
}

static int on_read(void *ctx, uint16_t handle, uint8_t ret[static GATT_VALUE_BYTES_MAX])
{
	struct smp_peripheral *p = ctx;

	assert(handle == p->revision_handle);
	memcpy(ret, "rev-", 4);
	memcpy(ret + 4, smp_server_version(p->server), 6);     /* some count the end with it */
	return 10;
}

static void on_disconnected(void *ctx)
{
	buf_clear(&((struct smp_peripheral *)ctx)->in);
}

static const struct fake_node_ops node_ops = { .write = on_write, .read = on_read, .disconnected = on_disconnected };

void smp_peripheral_is(struct smp_peripheral *p, const struct smp_server_config *c)
{
	_cleanup_buf_ struct buf old = { 0 };

	smp_server_free(p->server);
	p->server = smp_server_new(c);
	mcuboot_image_make(&old, 0, 3000);
	int r = smp_server_put(p->server, 0, buf_span(&old));
	assert(r == 0);
}

void smp_peripheral_init(struct smp_peripheral *p, struct ble *b, struct loop *l, const char *id, const struct smp_server_config *c)
{
	p->node = fake_node_new(b, id, &node_ops, p);
	p->handle = fake_node_offers(p->node, smp_service, smp_characteristic, GATT_NOTIFY | GATT_WRITE_NO_RESPONSE);
	p->revision_handle = fake_node_offers(p->node, information, revision, GATT_READ);
	p->node->is_here = true;
	p->notify_bytes = 100;
	p->restart = loop_timer_new(l, on_restart, p);
	smp_peripheral_is(p, c);
}

void smp_peripheral_done(struct smp_peripheral *p)
{
	loop_timer_free(p->restart);
	p->server = smp_server_free(p->server);
	buf_done(&p->in);
}
