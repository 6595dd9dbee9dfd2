/* Secure DFU's init packet: protocol buffers, read by hand as far as it concerns us. Messages in it nest three deep, by name. */
#include <errno.h>

#include "base/cursor.h"
#include "codec/nordic_dfu.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, VARINT_BYTES_MAX = 10, FIELDS_MAX = 64 };
enum { COMMAND_INIT = 1 };

struct field {
	uint32_t number;
	unsigned wire;
	uint64_t value;                        /* varint, 32, 64 */
	struct span bytes;
};

static uint64_t varint(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
		uint8_t b = cur_u8(c);

		if (i == VARINT_BYTES_MAX - 1 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << (7 * i);
		if (!(b & 0x80))
			return v;
	}
	c->bad = true;
	return 0;
}

/* false: the end, or c is bad. */
static bool field_next(struct cursor *c, struct field *f)
{
	if (cur_left(c) == 0)
		return false;
	uint64_t key = varint(c);
	*f = (struct field){ .number = (uint32_t)(key >> 3), .wire = key & 7 };
	switch (f->wire) {
	case WIRE_VARINT:
		f->value = varint(c);
		break;
	case WIRE_64:
		f->value = cur_le(c, 8);
		break;
	case WIRE_32:
		f->value = cur_le32(c);
		break;
	case WIRE_BYTES: {
		uint64_t n = varint(c);
		if (n > cur_left(c))
			c->bad = true;
		f->bytes = cur_take(c, (size_t)n);
		break;
	}
	default:                               /* groups were given up long ago */
		c->bad = true;
	}
	if (key >> 3 == 0 || key >> 3 > UINT32_MAX)
		c->bad = true;
	return cur_ok(c);
}

/* A message of one kind is read by one function, called for each of its fields. */
typedef int field_fn(void *ctx, const struct field *f);

static int message_read(struct span in, field_fn *fn, void *ctx)
{
	struct cursor c = { .s = in };
	struct field f;
	unsigned n = 0;

	while (field_next(&c, &f)) {
		int r = ++n > FIELDS_MAX ? -EBADMSG : fn(ctx, &f);
		if (r < 0)
			return r;
	}
	return cur_at_end(&c) ? 0 : -EBADMSG;
}

static int take_u32(const struct field *f, uint32_t *ret)
{
	if (f->wire != WIRE_VARINT || f->value > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)f->value;
	return 0;
}

static int add_softdevice(struct nordic_init *in, uint64_t v)
{
	if (v > UINT32_MAX || in->n_softdevices == NORDIC_SOFTDEVICES_MAX)
		return -EBADMSG;
	in->softdevices[in->n_softdevices++] = (uint32_t)v;
	return 0;
}

/* Packed or one by one: readers take both. */
static int take_softdevices(struct nordic_init *in, const struct field *f)
{
	struct cursor c = { .s = f->bytes };
	int r = 0;

	if (f->wire == WIRE_VARINT)
		return add_softdevice(in, f->value);
	if (f->wire != WIRE_BYTES)
		return -EBADMSG;
	while (r == 0 && cur_left(&c) > 0) {
		uint64_t v = varint(&c);
		r = cur_ok(&c) ? add_softdevice(in, v) : -EBADMSG;
	}
	return r == 0 && !cur_at_end(&c) ? -EBADMSG : r;
}

static int on_hash_field(void *ctx, const struct field *f)
{
	struct nordic_init *in = ctx;
	uint32_t v;

	if (f->number == 1) {
		if (take_u32(f, &v) < 0)
			return -EBADMSG;
		if (v > NORDIC_SHA512)
			return -ENOTSUP;
		in->hash_kind = (enum nordic_hash)v;
	} else if (f->number == 2) {
		if (f->wire != WIRE_BYTES)
			return -EBADMSG;
		in->hash = f->bytes;
	}
	return 0;
}

static int on_init_field(void *ctx, const struct field *f)
{
	struct nordic_init *in = ctx;
	uint32_t v;
	int r = 0;

	switch (f->number) {
	case 1:
		in->has_version = true;
		return take_u32(f, &in->version);
	case 2:
		in->has_hardware = true;
		return take_u32(f, &in->hardware);
	case 3:
		return take_softdevices(in, f);
	case 4:
		r = take_u32(f, &v);
		if (r == 0 && v >= NORDIC_KIND_COUNT)
			return -ENOTSUP;
		if (r == 0)
			in->kind = (enum nordic_kind)v;
		return r;
	case 5:
		return take_u32(f, &in->softdevice_bytes);
	case 6:
		return take_u32(f, &in->bootloader_bytes);
	case 7:
		return take_u32(f, &in->application_bytes);
	case 8:
		return f->wire == WIRE_BYTES ? message_read(f->bytes, on_hash_field, in) : -EBADMSG;
	case 9:
		r = take_u32(f, &v);
		in->is_debug = r == 0 && v != 0;
		return r;
	default:                               /* boot validation and what is to come: the node's */
		return 0;
	}
}

struct command {
	uint32_t op;
	bool has_init;
	struct span init;
};

static int on_command_field(void *ctx, const struct field *f)
{
	struct command *c = ctx;

	if (f->number == 1)
		return take_u32(f, &c->op);
	if (f->number != 2)
		return 0;
	if (f->wire != WIRE_BYTES || c->has_init)
		return -EBADMSG;
	c->has_init = true;
	c->init = f->bytes;
	return 0;
}

struct packet {
	bool has_command, has_signed, has_signature;
	struct span command, signed_command;
};

static int on_signed_field(void *ctx, const struct field *f)
{
	struct packet *p = ctx;

	if (f->number != 1 && f->number != 3)
		return 0;
	if (f->wire != WIRE_BYTES)
		return -EBADMSG;
	if (f->number == 3) {
		p->has_signature = f->bytes.n > 0;
		return 0;
	}
	if (p->has_command)
		return -EBADMSG;
	p->has_command = true;
	p->command = f->bytes;
	return 0;
}

static int on_packet_field(void *ctx, const struct field *f)
{
	struct packet *p = ctx;

	if (f->number != 1 && f->number != 2)
		return 0;
	if (f->wire != WIRE_BYTES || (f->number == 1 ? p->has_command : p->has_signed))
		return -EBADMSG;
	if (f->number == 1) {
		p->has_command = true;
		p->command = f->bytes;
	} else {
		p->has_signed = true;
		p->signed_command = f->bytes;
	}
	return 0;
}

int nordic_init_decode(struct span dat, struct nordic_init *ret)
{
	struct nordic_init in = { .kind = NORDIC_APPLICATION };
	struct command c = { 0 };
	struct packet p = { 0 };

	if (dat.n > NORDIC_INIT_BYTES_MAX)
		return -EMSGSIZE;
	int r = message_read(dat, on_packet_field, &p);
	if (r == 0 && p.has_command == p.has_signed)   /* one of the two */
		r = -EBADMSG;
	if (r == 0 && p.has_signed)
		r = message_read(p.signed_command, on_signed_field, &p);
	if (r == 0 && (!p.has_command || (p.has_signed && !p.has_signature)))
		r = -EBADMSG;
	if (r == 0)
		r = message_read(p.command, on_command_field, &c);
	if (r < 0)
		return r;
	if (c.op != COMMAND_INIT)
		return -ENOTSUP;
	if (!c.has_init)
		return -EBADMSG;
	in.is_signed = p.has_signed;
	r = message_read(c.init, on_init_field, &in);
	if (r == 0)
		*ret = in;
	return r;
}
