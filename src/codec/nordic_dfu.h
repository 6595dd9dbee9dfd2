/* codec/nordic_dfu.h - Nordic Semiconductor's firmware updates over Bluetooth LE: the distribution package (a zip with a manifest, init
 * packets and images), the messages of Secure DFU (SDK 12 and later) and of Legacy DFU (before). Pure, but for the memory of an opened
 * package; any thread.
 *
 * What an init packet says is checked against its image, so that what the node would refuse is not sent by radio. Its signature is the
 * node's to check: only the node has the key. A Legacy init packet has no signature at all, only a CRC of 16 bits. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"

enum {
	NORDIC_PACKAGE_BYTES_MAX = 2 * 1024 * 1024 + 64 * 1024,        /* the zip */
	NORDIC_IMAGE_BYTES_MAX = 2 * 1024 * 1024,                      /* all images of a package, unpacked */
	NORDIC_INIT_BYTES_MAX = 512,           /* no bootloader takes more */
	NORDIC_MANIFEST_BYTES_MAX = 16 * 1024,
	NORDIC_FILE_BYTES_MAX = 128,           /* names in the manifest */
	NORDIC_PARTS_MAX = 2,
	NORDIC_SOFTDEVICES_MAX = 32,           /* in an init packet */
	NORDIC_REASON_BYTES = 128,
	NORDIC_NAME_BYTES_MAX = 8,             /* of a node in its bootloader, as we give it */
};

enum nordic_kind { NORDIC_APPLICATION, NORDIC_SOFTDEVICE, NORDIC_BOOTLOADER, NORDIC_SOFTDEVICE_BOOTLOADER, NORDIC_KIND_COUNT };
const char *nordic_kind_name(enum nordic_kind k);      /* as in the manifest: "softdevice_bootloader" */

/* ---- the package ---- */

enum nordic_hash { NORDIC_NO_HASH, NORDIC_CRC, NORDIC_SHA128, NORDIC_SHA256, NORDIC_SHA512 };

struct nordic_init {                           /* Secure DFU's init packet, as far as it concerns us */
	bool is_signed, is_debug;
	bool has_version, has_hardware;
	uint32_t version, hardware;
	enum nordic_kind kind;
	uint32_t softdevice_bytes, bootloader_bytes, application_bytes;
	uint32_t softdevices[NORDIC_SOFTDEVICES_MAX];  /* one of which the node must have */
	size_t n_softdevices;
	enum nordic_hash hash_kind;
	struct span hash;                      /* borrowed; as it stands there: last byte first */
};

/* A protobuf `Packet`; fields that are not known are passed over. -EBADMSG malformed, or not an init command; -EMSGSIZE over
 * NORDIC_INIT_BYTES_MAX; -ENOTSUP another command, or a kind that is not known. */
int nordic_init_decode(struct span dat, struct nordic_init *ret);

struct nordic_part {                           /* one image, brought in one go; the node restarts behind it */
	enum nordic_kind kind;
	struct buf init, image;                /* owned by the package */
	uint32_t softdevice_bytes, bootloader_bytes, application_bytes;
	bool has_version;
	uint32_t version;                      /* the init packet's; compared by the node */
};

struct nordic_package {
	bool is_legacy;
	struct nordic_part parts[NORDIC_PARTS_MAX];    /* in the order of their delivery: what is below the application comes first */
	size_t n_parts;
};

/* Unpacks and checks everything that can be checked before radio is used (NDFU-1): the manifest, names, sizes, CRCs, hash and kind.
 * -EBADMSG, -EMSGSIZE, -ENOTSUP, -ENOMEM, with the reason for people. Takes a while: [worker]. */
int nordic_package_open(struct span zip, struct nordic_package *ret, char reason[static NORDIC_REASON_BYTES]);
void nordic_package_done(struct nordic_package *p);
uint64_t nordic_package_bytes(const struct nordic_package *p);         /* of all images */
/* CRC-16 CCITT from 0xffff, as Legacy DFU has it. */
uint16_t nordic_crc16(struct span bytes);

/* ---- Secure DFU ---- */

enum nordic_op { NORDIC_CREATE = 0x01, NORDIC_SET_PRN = 0x02, NORDIC_CRC_GET = 0x03, NORDIC_EXECUTE = 0x04, NORDIC_SELECT = 0x06 };
enum nordic_object { NORDIC_COMMAND = 0x01, NORDIC_DATA = 0x02 };
enum nordic_result {
	NORDIC_OK = 0x01, NORDIC_BAD_OP = 0x02, NORDIC_BAD_PARAMETER = 0x03, NORDIC_NO_RESOURCES = 0x04, NORDIC_BAD_OBJECT = 0x05,
	NORDIC_BAD_TYPE = 0x07, NORDIC_NOT_PERMITTED = 0x08, NORDIC_OP_FAILED = 0x0a, NORDIC_EXTENDED = 0x0b,
};
enum nordic_extended {                         /* the byte behind NORDIC_EXTENDED */
	NORDIC_EX_NONE = 0x00, NORDIC_EX_CODE = 0x01, NORDIC_EX_FORMAT = 0x02, NORDIC_EX_COMMAND = 0x03, NORDIC_EX_INIT = 0x04,
	NORDIC_EX_VERSION = 0x05, NORDIC_EX_HARDWARE = 0x06, NORDIC_EX_SOFTDEVICE = 0x07, NORDIC_EX_UNSIGNED = 0x08, NORDIC_EX_HASH_TYPE = 0x09,
	NORDIC_EX_HASH = 0x0a, NORDIC_EX_SIGNATURE_TYPE = 0x0b, NORDIC_EX_SIGNATURE = 0x0c, NORDIC_EX_SPACE = 0x0d,
};

struct nordic_request {
	enum nordic_op op;
	enum nordic_object object;             /* create, select */
	uint32_t bytes;                        /* create */
	uint16_t prn;                          /* receipts: one behind so many packets; 0 = none */
};
enum { NORDIC_REQUEST_BYTES_MAX = 6 + NORDIC_NAME_BYTES_MAX };
size_t nordic_request_encode(const struct nordic_request *r, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX]);

struct nordic_response {
	uint8_t op, result, extended;
	uint32_t max_bytes;                    /* select */
	uint32_t offset, crc;                  /* select, CRC; receipts come as answers to CRC */
};
/* -EBADMSG: too short for what it says, or no response. */
int nordic_response_decode(struct span in, struct nordic_response *ret);
/* "the firmware's version is lower than the node's" (NDFU-6); by result and extended error, for people. */
const char *nordic_error_text(uint8_t result, uint8_t extended);

/* ---- into the bootloader (buttonless) ---- */

enum nordic_buttonless_op { NORDIC_ENTER = 0x01, NORDIC_SET_NAME = 0x02 };
size_t nordic_enter_encode(uint8_t ret[static NORDIC_REQUEST_BYTES_MAX]);
/* The name that the node advertises in its bootloader; at most NORDIC_NAME_BYTES_MAX. */
size_t nordic_name_encode(struct span name, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX]);
/* 0x20, op, result: 1 = done. -EBADMSG. */
int nordic_buttonless_decode(struct span in, uint8_t *ret_op, uint8_t *ret_result);

/* ---- Legacy DFU ---- */

enum nordic_legacy_op {
	LEGACY_START = 0x01, LEGACY_INIT = 0x02, LEGACY_RECEIVE = 0x03, LEGACY_VALIDATE = 0x04, LEGACY_ACTIVATE = 0x05, LEGACY_RESET = 0x06,
	LEGACY_SIZE = 0x07, LEGACY_SET_PRN = 0x08,
};
enum nordic_legacy_status { LEGACY_OK = 1, LEGACY_BAD_STATE = 2, LEGACY_NOT_SUPPORTED = 3, LEGACY_BAD_SIZE = 4, LEGACY_BAD_CRC = 5,
			    LEGACY_FAILED = 6 };

/* arg: start: what comes (legacy_kind_bits()); init: 0 begin, 1 end; receipts: how many packets. */
size_t legacy_request_encode(enum nordic_legacy_op op, uint16_t arg, uint8_t ret[static NORDIC_REQUEST_BYTES_MAX]);
uint8_t legacy_kind_bits(enum nordic_kind k);
enum { LEGACY_SIZES_BYTES = 12 };
void legacy_sizes_encode(const struct nordic_part *p, uint8_t ret[static LEGACY_SIZES_BYTES]);

struct legacy_response {
	bool is_receipt;                       /* then only bytes; otherwise op and status */
	uint8_t op, status;
	uint32_t bytes;
};
int legacy_response_decode(struct span in, struct legacy_response *ret);
const char *legacy_status_text(uint8_t status);
