/* trust/tlog_note.h - judging transparency log texts offline (C2SP signed-note, tlog-checkpoint, tlog-proof; TL-1,
 * TL-3, TL-4, TL-6): is this head signed by the log we know, is this entry in it. One key, Ed25519. Pure. */
#pragma once
#include "base/buf.h"
#include "base/merkle.h"

enum { TLOG_NAME_BYTES = 257, TLOG_NOTE_BYTES_MAX = 256 * 1024, TLOG_SIGNATURES_MAX = 64, TLOG_EXTRA_BYTES_MAX = 64 * 1024 };

struct tlog_key {
	char name[TLOG_NAME_BYTES];            /* also the log's origin */
	uint8_t id[4];
	uint8_t public_key[32];
};

struct tlog_checkpoint {
	struct span origin;                    /* borrowed from the note */
	uint64_t size;
	struct digest root;
};

struct tlog_proof {
	uint64_t index;
	struct tlog_checkpoint checkpoint;
};

/* "name+hash+base64", a line feed at the end is fine. -ENOTSUP: not Ed25519; -EBADMSG: also when the hash is not the key's. */
int tlog_key_parse(struct span text, struct tlog_key *ret);
/* -EBADMSG malformed; -EKEYREJECTED: no signature of this key verifies, or one that claims to be does not, or the origin is
 * not the key's name; -EMSGSIZE over a limit. Signatures of other keys are ignored. */
int tlog_checkpoint_verify(struct span note, const struct tlog_key *key, struct tlog_checkpoint *ret);
/* The proof and its checkpoint. expect: the entry it must be about (TL-3); a span with p == NULL: the one on the extra line.
 * -ENODATA: the path does not lead from that entry to the root (or there is no entry); else as above. ret_entry (may be NULL)
 * gets the entry proven. */
int tlog_proof_verify(struct span proof, const struct tlog_key *key, struct span expect, struct tlog_proof *ret, struct buf *ret_entry);
