/* base/text.h - checked conversions between bytes and text. Pure; no allocation except
 * where a struct buf is given. Everything returns -EBADMSG for text that is not exactly right. */
#pragma once
#include "base/buf.h"

enum text_flags { TEXT_LEADING_ZEROS = 1 };

enum { TEXT_UUID_BYTES = 37 };

/* Decimal digits only, the whole span; -ERANGE over max. */
int text_parse_u64(struct span s, uint64_t max, uint64_t *ret, unsigned flags);
int text_hex_digit(uint8_t c);                 /* its value; -1: not one */
/* Lower or upper hex, exactly n bytes. */
int text_parse_hex(struct span s, uint8_t *ret, size_t n);
/* Hex of any even length up to max bytes; ret_n is the number of bytes. */
int text_parse_hex_var(struct span s, uint8_t *ret, size_t max, size_t *ret_n);
/* Writes 2n characters and a NUL; returns ret. */
char *text_hex(struct span s, char *ret);
void text_add_hex(struct buf *b, struct span s);
/* RFC 9562 text form, either case; ret is 16 bytes. */
int text_parse_uuid(struct span s, uint8_t ret[static 16]);
char *text_uuid(const uint8_t uuid[static 16], char ret[static TEXT_UUID_BYTES]);
/* Base64 (RFC 4648 section 4, strict padding) and base64url without padding. */
void text_add_base64(struct buf *b, struct span s);
void text_add_base64url(struct buf *b, struct span s);
int text_parse_base64(struct span s, struct buf *ret);
int text_parse_base64url(struct span s, struct buf *ret);
/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool text_is_utf8(struct span s);
/* Valid UTF-8 without U+0000-001F and U+007F-009F. */
bool text_is_clean(struct span s);
/* Append peer text for people and logs: bad bytes and controls as \xNN, bidi controls as \u{...},
 * a backslash twice; at most max_bytes of input, then "...". */
void text_add_escaped(struct buf *b, struct span s, size_t max_bytes);
/* Bounded copy into a NUL-terminated array; -EMSGSIZE when it does not fit. */
int text_copy(char *ret, size_t ret_bytes, struct span s);
