/* trust/delegate.h - the gateway's own proof for a node that has only a shared key (decision 10):
 * a tagged, detached COSE_Mac0 (HMAC 256/256) over the same auth digest the vendor signed. */
#pragma once
#include "codec/suit.h"

enum { DELEGATE_KEY_BYTES_MIN = 16, DELEGATE_KEY_BYTES_MAX = 64 };

/* The envelope with our Mac0 added to the authentication wrapper; kid = the device's credential name.
 * 0; -EINVAL key or kid of an unfit length; what suit_envelope_add_auth() says. */
int delegate_add_mac0(const struct suit_envelope *env, struct span key, struct span kid, struct buf *ret);
/* The node's side: does one Mac0 block (HMAC 256/256) verify with this key? 1 yes, 0 no. */
int delegate_check_mac0(const struct suit_envelope *env, struct span key);
