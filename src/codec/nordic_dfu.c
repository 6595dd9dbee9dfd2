#include "codec/nordic_dfu.h"

#include <errno.h>

#include "base/cursor.h"

enum { RESPONSE = 0x60, BUTTONLESS_RESPONSE = 0x20, LEGACY_RESPONSE = 0x10, LEGACY_RECEIPT = 0x11 };

static size_t put_le(uint8_t *to, uint32_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(v >> (8 * i));
	return n;
}

/* ---- Secure DFU ---- */

size_t nordic_request_encode(const struct nordic_request *r, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX])
{
	size_t n = 0;

	ret[n++] = (uint8_t)r->op;
	switch (r->op) {
	case NORDIC_CREATE:
		ret[n++] = (uint8_t)r->object;
		n += put_le(ret + n, r->bytes, 4);
		break;
	case NORDIC_SELECT:
		ret[n++] = (uint8_t)r->object;
		break;
	case NORDIC_SET_PRN:
		n += put_le(ret + n, r->prn, 2);
		break;
	case NORDIC_CRC_GET:
	case NORDIC_EXECUTE:
		break;
	}
	return n;
}

int nordic_response_decode(struct span in, struct nordic_response *ret)
{
	struct nordic_response r = { 0 };
	struct cursor c = { .s = in };

	if (cur_u8(&c) != RESPONSE)
		return -EBADMSG;
	r.op = cur_u8(&c);
	r.result = cur_u8(&c);
	if (r.result == NORDIC_EXTENDED && cur_left(&c) > 0)   /* the first bootloaders left the second byte out */
		r.extended = cur_u8(&c);
	if (r.result == NORDIC_OK && r.op == NORDIC_SELECT)
		r.max_bytes = cur_le32(&c);
	if (r.result == NORDIC_OK && (r.op == NORDIC_SELECT || r.op == NORDIC_CRC_GET)) {
		r.offset = cur_le32(&c);
		r.crc = cur_le32(&c);
	}
	if (!cur_ok(&c))
		return -EBADMSG;
	*ret = r;
	return 0;
}

static const char *extended_text(uint8_t extended)
{
	static const char *const texts[] = {
		[NORDIC_EX_NONE] = "refused, and the node does not say why",
		[NORDIC_EX_CODE] = "refused, with an error code that the node itself does not know",
		[NORDIC_EX_FORMAT] = "the format of the command was not right",
		[NORDIC_EX_COMMAND] = "the node does not know the command of the init packet",
		[NORDIC_EX_INIT] = "the init packet is invalid: it has a field that is wrong, or lacks one",
		[NORDIC_EX_VERSION] = "the firmware's version is lower than the one on the node",
		[NORDIC_EX_HARDWARE] = "the firmware is for another hardware version",
		[NORDIC_EX_SOFTDEVICE] = "the firmware needs another SoftDevice than the node has",
		[NORDIC_EX_UNSIGNED] = "the init packet has no signature, and the node wants one",
		[NORDIC_EX_HASH_TYPE] = "the node does not know the kind of hash in the init packet",
		[NORDIC_EX_HASH] = "the hash of the firmware could not be computed by the node",
		[NORDIC_EX_SIGNATURE_TYPE] = "the node does not know the kind of signature",
		[NORDIC_EX_SIGNATURE] = "the signature, or the hash of the firmware, is not right: it is not from this node's vendor",
		[NORDIC_EX_SPACE] = "the node has no room for this firmware",
	};

	return extended < sizeof(texts) / sizeof(*texts) ? texts[extended] : "refused with an extended error that is not known";
}

const char *nordic_error_text(uint8_t result, uint8_t extended)
{
	switch (result) {
	case NORDIC_OK:
		return "done";
	case NORDIC_BAD_OP:
		return "the node does not know the command";
	case NORDIC_BAD_PARAMETER:
		return "a parameter is missing or wrong";
	case NORDIC_NO_RESOURCES:
		return "the node has no memory for it";
	case NORDIC_BAD_OBJECT:
		return "the object does not fit the firmware, its hash or its signature";
	case NORDIC_BAD_TYPE:
		return "the node does not know this kind of object";
	case NORDIC_NOT_PERMITTED:
		return "not permitted in the node's present state";
	case NORDIC_OP_FAILED:
		return "the operation failed on the node";
	case NORDIC_EXTENDED:
		return extended_text(extended);
	default:
		return "refused with a result that is not known";
	}
}

/* ---- buttonless ---- */

size_t nordic_enter_encode(uint8_t ret[static NORDIC_REQUEST_BYTES_MAX])
{
	ret[0] = NORDIC_ENTER;
	return 1;
}

size_t nordic_name_encode(struct span name, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX])
{
	struct span s = span_sub(name, 0, NORDIC_NAME_BYTES_MAX);

	ret[0] = NORDIC_SET_NAME;
	ret[1] = (uint8_t)s.n;
	if (s.n)
		memcpy(ret + 2, s.p, s.n);
	return 2 + s.n;
}

int nordic_buttonless_decode(struct span in, uint8_t *ret_op, uint8_t *ret_result)
{
	struct cursor c = { .s = in };
	bool is_response = cur_u8(&c) == BUTTONLESS_RESPONSE;
	uint8_t op = cur_u8(&c), result = cur_u8(&c);

	if (!is_response || !cur_ok(&c))
		return -EBADMSG;
	*ret_op = op;
	*ret_result = result;
	return 0;
}

/* ---- Legacy DFU ---- */

size_t legacy_request_encode(enum nordic_legacy_op op, uint16_t arg, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX])
{
	ret[0] = (uint8_t)op;
	switch (op) {
	case LEGACY_START:
	case LEGACY_INIT:
		ret[1] = (uint8_t)arg;
		return 2;
	case LEGACY_SET_PRN:
		return 1 + put_le(ret + 1, arg, 2);
	case LEGACY_RECEIVE:
	case LEGACY_VALIDATE:
	case LEGACY_ACTIVATE:
	case LEGACY_RESET:
	case LEGACY_SIZE:
		break;
	}
	return 1;
}

uint8_t legacy_kind_bits(enum nordic_kind k)
{
	switch (k) {
	case NORDIC_SOFTDEVICE:
		return 1;
	case NORDIC_BOOTLOADER:
		return 2;
	case NORDIC_SOFTDEVICE_BOOTLOADER:
		return 3;
	case NORDIC_APPLICATION:
	case NORDIC_KIND_COUNT:
		break;
	}
	return 4;
}

void legacy_sizes_encode(const struct nordic_part *p, uint8_t ret[static LEGACY_SIZES_BYTES])
{
	(void)put_le(ret, p->softdevice_bytes, 4);     /* always four bytes */
	(void)put_le(ret + 4, p->bootloader_bytes, 4);
	(void)put_le(ret + 8, p->application_bytes, 4);
}

int legacy_response_decode(struct span in, struct legacy_response *ret)
{
	struct legacy_response r = { 0 };
	struct cursor c = { .s = in };
	uint8_t head = cur_u8(&c);

	if (head == LEGACY_RECEIPT) {
		r.is_receipt = true;
		r.bytes = cur_le32(&c);
	} else if (head == LEGACY_RESPONSE) {
		r.op = cur_u8(&c);
		r.status = cur_u8(&c);
		if (r.op == LEGACY_SIZE && cur_left(&c) > 0)
			r.bytes = cur_le32(&c);
	} else {
		return -EBADMSG;
	}
	if (!cur_ok(&c))
		return -EBADMSG;
	*ret = r;
	return 0;
}

const char *legacy_status_text(uint8_t status)
{
	static const char *const texts[] = {
		[LEGACY_OK] = "done",
		[LEGACY_BAD_STATE] = "not possible in the node's present state",
		[LEGACY_NOT_SUPPORTED] = "the node does not support it",
		[LEGACY_BAD_SIZE] = "the firmware is larger than the node has room for",
		[LEGACY_BAD_CRC] = "what arrived has another CRC",
		[LEGACY_FAILED] = "the operation failed on the node",
	};

	return status >= LEGACY_OK && status < sizeof(texts) / sizeof(*texts) ? texts[status] : "refused with a status that is not known";
}
