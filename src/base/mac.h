/* base/mac.h - AES-CMAC (RFC 4493) and HKDF-SHA256 (RFC 5869), by OpenSSL: what the multicast frames are
 * authenticated with. Contexts allocate (and abort when memory is gone); a context is for one thread at a time. */
#pragma once
#include "base/span.h"

enum { MAC_CMAC_KEY_BYTES = 16, MAC_CMAC_BYTES = 16, MAC_HKDF_BYTES_MAX = 255 * 32 };

struct mac_cmac;

/* A key made ready once: a tag then costs one pass over the bytes. The key is copied; _free wipes it. */
struct mac_cmac *mac_cmac_new(const uint8_t key[static MAC_CMAC_KEY_BYTES]);
struct mac_cmac *mac_cmac_free(struct mac_cmac *m);
/* The tag of the concatenation a | b; either may be empty. */
void mac_cmac_tag(struct mac_cmac *m, struct span a, struct span b, uint8_t ret[static MAC_CMAC_BYTES]);
/* The same with a key used once. */
void mac_cmac_once(const uint8_t key[static MAC_CMAC_KEY_BYTES], struct span a, struct span b, uint8_t ret[static MAC_CMAC_BYTES]);

/* n bytes of key from ikm; salt and info may be empty. 0 < n <= MAC_HKDF_BYTES_MAX. */
void mac_hkdf_sha256(struct span salt, struct span ikm, struct span info, uint8_t *ret, size_t n);

static inline void mac_cmac_freep(struct mac_cmac **m) { mac_cmac_free(*m); }
