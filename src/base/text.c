#include "base/text.h"

#include <errno.h>

static const char hex_digits[] = "0123456789abcdef";

int text_parse_u64(struct span s, uint64_t max, uint64_t *ret, unsigned flags)
{
	uint64_t v = 0;

	if (s.n == 0 || (s.n > 1 && s.p[0] == '0' && !(flags & TEXT_LEADING_ZEROS)))
		return -EBADMSG;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return -EBADMSG;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = s.p[i] - '0';
		if (v > UINT64_MAX / 10 || v * 10 > UINT64_MAX - digit)
			return -ERANGE;
		v = v * 10 + digit;
	}
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int text_hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int text_parse_hex(struct span s, uint8_t *ret, size_t n)
{
	if (s.n % 2 || s.n / 2 != n)
		return -EBADMSG;
	for (size_t i = 0; i < s.n; i++)
		if (text_hex_digit(s.p[i]) < 0)
			return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)(text_hex_digit(s.p[2 * i]) << 4 | text_hex_digit(s.p[2 * i + 1]));
	return 0;
}

int text_parse_hex_var(struct span s, uint8_t *ret, size_t max, size_t *ret_n)
{
	if (s.n / 2 > max)
		return -EBADMSG;
	int r = text_parse_hex(s, ret, s.n / 2);
	if (r < 0)
		return r;
	*ret_n = s.n / 2;
	return 0;
}

char *text_hex(struct span s, char *ret)
{
	for (size_t i = 0; i < s.n; i++) {
		ret[2 * i] = hex_digits[s.p[i] >> 4];
		ret[2 * i + 1] = hex_digits[s.p[i] & 15];
	}
	ret[2 * s.n] = 0;
	return ret;
}

void text_add_hex(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		buf_add_u8(b, (uint8_t)hex_digits[s.p[i] >> 4]);
		buf_add_u8(b, (uint8_t)hex_digits[s.p[i] & 15]);
	}
}

/* 8-4-4-4-12: where the hyphens stand in the 36 characters. */
static bool uuid_hyphen_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int text_parse_uuid(struct span s, uint8_t ret[static 16])
{
	uint8_t hex[32];
	size_t n = 0;

	if (s.n != TEXT_UUID_BYTES - 1)
		return -EBADMSG;
	for (size_t i = 0; i < s.n; i++) {
		if (!uuid_hyphen_at(i))
			hex[n++] = s.p[i];
		else if (s.p[i] != '-')
			return -EBADMSG;
	}
	return text_parse_hex(SPAN_OF(hex), ret, 16);
}

char *text_uuid(const uint8_t uuid[static 16], char ret[static TEXT_UUID_BYTES])
{
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		if (uuid_hyphen_at(at))
			ret[at++] = '-';
		ret[at++] = hex_digits[uuid[i] >> 4];
		ret[at++] = hex_digits[uuid[i] & 15];
	}
	ret[at] = 0;
	return ret;
}

static void add_base64(struct buf *b, struct span s, const char *alphabet, bool pad)
{
	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		uint32_t v = (uint32_t)s.p[i] << 16;
		if (left > 1)
			v |= (uint32_t)s.p[i + 1] << 8;
		if (left > 2)
			v |= s.p[i + 2];
		buf_add_u8(b, (uint8_t)alphabet[v >> 18]);
		buf_add_u8(b, (uint8_t)alphabet[v >> 12 & 63]);
		if (left > 1 || pad)
			buf_add_u8(b, (uint8_t)(left > 1 ? alphabet[v >> 6 & 63] : '='));
		if (left > 2 || pad)
			buf_add_u8(b, (uint8_t)(left > 2 ? alphabet[v & 63] : '='));
	}
}

void text_add_base64(struct buf *b, struct span s)
{
	add_base64(b, s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

void text_add_base64url(struct buf *b, struct span s)
{
	add_base64(b, s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int sextet(uint8_t c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == (uint8_t)c62)
		return 62;
	return c == (uint8_t)c63 ? 63 : -1;
}

/* s holds no padding. One character left over cannot be, and unused low bits must be zero
 * (RFC 4648 section 3.5), so that every value has one text. On failure ret is as it was. */
static int parse_base64(struct span s, struct buf *ret, char c62, char c63)
{
	size_t before = ret->n;
	uint32_t acc = 0;
	unsigned bits = 0;
	bool wrong = s.n % 4 == 1;

	for (size_t i = 0; i < s.n && !wrong; i++) {
		int v = sextet(s.p[i], c62, c63);
		wrong = v < 0;
		acc = (acc << 6 | (uint32_t)(v & 63)) & 0xffffff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_add_u8(ret, (uint8_t)(acc >> bits));
		}
	}
	if (!buf_ok(ret))
		return -EMSGSIZE;
	if (wrong || (acc & ((1u << bits) - 1))) {
		ret->n = before;
		if (ret->p)
			ret->p[before] = 0;
		return -EBADMSG;
	}
	return 0;
}

int text_parse_base64(struct span s, struct buf *ret)
{
	if (s.n % 4)
		return -EBADMSG;
	for (int i = 0; i < 2 && s.n && s.p[s.n - 1] == '='; i++)
		s.n--;
	return parse_base64(s, ret, '+', '/');
}

int text_parse_base64url(struct span s, struct buf *ret)
{
	return parse_base64(s, ret, '-', '_');
}

/* The code point at s[at] and how many bytes it takes; 0 when it is not UTF-8. */
static size_t utf8_next(struct span s, size_t at, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t c = s.p[at];
	size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;
	if (n == 0 || n > s.n - at)
		return 0;
	uint32_t v = n == 1 ? c : c & (0x7fu >> n);

	for (size_t i = 1; i < n; i++) {
		if ((s.p[at + i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s.p[at + i] & 0x3f);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*ret = v;
	return n;
}

static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

/* What changes the order or the lines of the text around it (Unicode's bidi controls, and
 * the line and paragraph separators). */
static bool is_deceptive(uint32_t cp)
{
	return cp == 0x061c || cp == 0x200e || cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) ||
	       (cp >= 0x2066 && cp <= 0x2069);
}

static bool utf8_all(struct span s, bool controls_allowed)
{
	uint32_t cp;

	for (size_t i = 0, n; i < s.n; i += n) {
		n = utf8_next(s, i, &cp);
		if (n == 0 || (!controls_allowed && is_control(cp)))
			return false;
	}
	return true;
}

bool text_is_utf8(struct span s)
{
	return utf8_all(s, true);
}

bool text_is_clean(struct span s)
{
	return utf8_all(s, false);
}

void text_add_escaped(struct buf *b, struct span s, size_t max_bytes)
{
	uint32_t cp = 0;

	for (size_t i = 0, n; i < s.n; i += n) {
		n = utf8_next(s, i, &cp);
		bool bad = n == 0;
		n = bad ? 1 : n;
		if (n > max_bytes - i) {
			buf_add_str(b, "...");
			return;
		}
		if (bad || is_control(cp)) {
			for (size_t k = 0; k < n; k++)
				buf_printf(b, "\\x%02x", s.p[i + k]);
		} else if (is_deceptive(cp)) {
			buf_printf(b, "\\u{%04x}", cp);
		} else if (cp == '\\') {
			buf_add_str(b, "\\\\");
		} else {
			buf_add(b, span_sub(s, i, n));
		}
	}
}

int text_copy(char *ret, size_t ret_bytes, struct span s)
{
	if (s.n >= ret_bytes)
		return -EMSGSIZE;
	if (s.n)
		memcpy(ret, s.p, s.n);
	ret[s.n] = 0;
	return 0;
}
