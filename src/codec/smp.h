/* codec/smp.h - MCUmgr's Simple Management Protocol: the 8-byte header and the CBOR maps of the OS and image groups, as a
 * client and as a server need them. Versions 1 and 2 (header values 0 and 1) differ in how errors are written; all forms are read.
 *
 * Devices write maps of indefinite length, and some write numbers longer than needed. What comes in is first rewritten in
 * definite, shortest form (bounded), then held to cbor_check() like every other CBOR: no key twice, UTF-8, exact end. Pure. */
#pragma once
#include "base/cursor.h"
#include "codec/cbor.h"

enum {
	SMP_HEADER_BYTES = 8,
	SMP_BODY_BYTES_MAX = 4096,             /* of a message that is read */
	SMP_DEPTH_MAX = 8,
	SMP_IMAGES_MAX = 8,                    /* entries of an image list that are kept; more are refused */
	SMP_VERSION_BYTES = 32,
	SMP_HASH_BYTES_MAX = 64,
	SMP_SHA_BYTES = 32,
	SMP_REASON_BYTES = 64,
	SMP_PORT = 1337,
};

enum smp_op { SMP_READ, SMP_READ_REPLY, SMP_WRITE, SMP_WRITE_REPLY };
enum smp_version { SMP_V1, SMP_V2 };           /* as in the header; 2 and 3 are of the future */
enum smp_group { SMP_GROUP_OS = 0, SMP_GROUP_IMAGE = 1 };
enum { SMP_OS_ECHO = 0, SMP_OS_RESET = 5, SMP_OS_PARAMS = 6 };
enum { SMP_IMAGE_STATE = 0, SMP_IMAGE_UPLOAD = 1, SMP_IMAGE_ERASE = 5 };

/* Base errors: {rc: n}. */
enum smp_rc {
	SMP_OK = 0, SMP_UNKNOWN = 1, SMP_NOMEM = 2, SMP_INVAL = 3, SMP_TIMEOUT = 4, SMP_NOENT = 5, SMP_BADSTATE = 6, SMP_MSGSIZE = 7,
	SMP_NOTSUP = 8, SMP_CORRUPT = 9, SMP_BUSY = 10, SMP_DENIED = 11, SMP_TOO_OLD = 12, SMP_TOO_NEW = 13,
};

/* The image group's own, version 2: {err: {group: 1, rc: n}}. The names that we act upon. */
enum smp_image_rc {
	SMP_IMAGE_NO_IMAGE = 3, SMP_IMAGE_HASH_NOT_FOUND = 8, SMP_IMAGE_NO_FREE_SLOT = 9, SMP_IMAGE_ERASE_FAILED = 13,
	SMP_IMAGE_LENGTH_MISSING = 21, SMP_IMAGE_HEADER_SHORT = 22, SMP_IMAGE_BAD_MAGIC = 23, SMP_IMAGE_BAD_HASH = 24,
	SMP_IMAGE_RUNNING_IS_NEWER = 27, SMP_IMAGE_PENDING = 28, SMP_IMAGE_TOO_LARGE = 30, SMP_IMAGE_OVERRUN = 31,
	SMP_IMAGE_CONFIRM_DENIED = 32, SMP_IMAGE_TEST_OF_ACTIVE = 33,
};

struct smp_header {
	enum smp_op op;
	uint8_t version, flags;
	uint16_t body_bytes, group;
	uint8_t seq, command;
};

/* The next message of a datagram; body borrows. -EBADMSG: shorter than its header says, an op outside 0..3, reserved bits set;
 * -EMSGSIZE over SMP_BODY_BYTES_MAX. */
int smp_message_next(struct cursor *c, struct smp_header *ret, struct span *ret_body);

struct smp_error {                             /* all zero = success */
	bool has_group;                        /* rc is of that group; otherwise enum smp_rc */
	uint16_t group;
	uint32_t rc;
	char reason[SMP_REASON_BYTES];         /* "rsn", clipped; peer text */
};

struct smp_image {
	uint32_t image, slot;
	char version[SMP_VERSION_BYTES];       /* peer text */
	uint8_t hash[SMP_HASH_BYTES_MAX];
	uint8_t n_hash;                        /* 0 = not told */
	bool bootable, pending, confirmed, active, permanent;
};

struct smp_reply {
	struct smp_error error;
	bool has_off, has_match, match, has_params, has_images;
	uint64_t off;
	uint32_t buf_size, buf_count;
	struct smp_image images[SMP_IMAGES_MAX];
	size_t n_images;
};

struct smp_request {                           /* spans borrow from scratch */
	bool has_off, has_len, has_confirm, confirm, has_slot;
	uint64_t off, len;
	uint32_t image, slot;
	struct span data, sha, hash;           /* n 0 = not there */
};

/* Keys that are not known are passed over. -EBADMSG malformed, or a known key has another type; -E2BIG too deep; -EMSGSIZE over a
 * limit. */
int smp_reply_decode(struct span body, struct smp_reply *ret);
int smp_request_decode(struct span body, struct buf *scratch, struct smp_request *ret);

/* Whole messages. h gives op, version, group, sequence and command; the length is put in. */
void smp_request_encode(struct buf *b, const struct smp_header *h, const struct smp_request *req);
/* Maps without a length, and of an image's marks only those that are set; as old servers do: success says rc 0, but for a list,
 * which says splitStatus 0. */
enum { SMP_INDEFINITE = 1, SMP_RC_ZERO = 2 };
void smp_reply_encode(struct buf *b, const struct smp_header *h, const struct smp_reply *r, unsigned flags);

static inline bool smp_failed(const struct smp_error *e) { return e->rc != 0; }
static inline bool smp_is_base(const struct smp_error *e, enum smp_rc rc) { return !e->has_group && e->rc == (uint32_t)rc; }
static inline bool smp_is_image(const struct smp_error *e, enum smp_image_rc rc)
{
	return e->has_group && e->group == SMP_GROUP_IMAGE && e->rc == (uint32_t)rc;
}
/* For people: "no free slot (image error 9)", with what the device itself said, escaped. */
void smp_error_text(const struct smp_error *e, struct buf *ret);
