/* tests/codec/vectors.h - files under tests/vectors, hex, and CBOR from diagnostic notation (RFC 8949 section 8,
 * the part we need): so that tests can say [20, {3: <<[-16, h'00']>>}, 3, 15] where they mean it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/buf.h"
#include "codec/cbor.h"

static inline void add_hex(struct buf *b, const char *hex)
{
	unsigned v;

	while (*hex) {
		if (*hex <= ' ') {
			hex++;
			continue;
		}
		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		buf_add_u8(b, (uint8_t)v);
		hex += 2;
	}
}

/* Appends a file of tests/vectors; .hex files as the bytes they mean. */
static inline void add_file(struct buf *b, const char *name)
{
	_cleanup_buf_ struct buf raw = { 0 };
	char path[512];
	size_t length = strlen(name), n;
	uint8_t part[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", VECTORS, name); /* our own short names */
	FILE *f = fopen(path, "rb");
	if (!f)
		fail_msg("no %s", path);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(&raw, SPAN(part, n));
	(void)fclose(f); /* only read */
	if (length > 4 && strcmp(name + length - 4, ".hex") == 0)
		add_hex(b, buf_str(&raw));
	else
		buf_add(b, buf_span(&raw));
}

static inline void diag_item(const char **s, struct buf *b);

static inline const char *diag_space(const char *s)
{
	while (*s && strchr(" \n\t,:", *s))
		s++;
	return s;
}

static inline void diag_group(const char **s, char end, struct buf *b)
{
	_cleanup_buf_ struct buf inner = { 0 };
	size_t n = 0;

	for (*s = diag_space(*s); **s != end; *s = diag_space(*s), n++)
		diag_item(s, &inner);
	*s += end == '>' ? 2 : 1;
	if (end == '>')
		cbor_put_bytes_head(b, inner.n);
	else if (end == ']')
		cbor_put_array(b, n);
	else
		cbor_put_map(b, n / 2);
	buf_add(b, buf_span(&inner));
}

static inline void diag_string(const char **s, char end, bool is_hex, struct buf *b)
{
	_cleanup_buf_ struct buf inner = { 0 };
	const char *from = *s;

	while (**s != end)
		(*s)++;
	buf_add(&inner, SPAN(from, (size_t)(*s - from)));
	(*s)++;
	if (end == '"') {
		cbor_put_text(b, buf_span(&inner));
	} else if (is_hex) {
		cbor_put_bytes_head(b, inner.n / 2);
		add_hex(b, buf_str(&inner));
	} else {
		cbor_put_bytes(b, buf_span(&inner));
	}
}

static inline void diag_number(const char **s, struct buf *b)
{
	bool negative = **s == '-';
	char *end;
	uint64_t v = strtoull(*s + negative, &end, 0);

	assert_ptr_not_equal(end, *s);
	*s = end;
	if (*end == '(') {
		cbor_put_tag(b, v);
		(*s)++;
		diag_item(s, b);
		assert_int_equal(*diag_space(*s), ')');
		*s = diag_space(*s) + 1;
	} else if (negative) {
		cbor_put_int(b, -(int64_t)v);
	} else {
		cbor_put_uint(b, v);
	}
}

static inline void diag_item(const char **s, struct buf *b)
{
	const char *p = *s = diag_space(*s);

	if (*p == '{' || *p == '[' || strncmp(p, "<<", 2) == 0) {
		*s += *p == '<' ? 2 : 1;
		diag_group(s, *p == '{' ? '}' : *p == '[' ? ']' : '>', b);
	} else if (strncmp(p, "h'", 2) == 0) {
		*s += 2;
		diag_string(s, '\'', true, b);
	} else if (*p == '\'' || *p == '"') {
		*s += 1;
		diag_string(s, *p, false, b);
	} else if (strncmp(p, "true", 4) == 0 || strncmp(p, "null", 4) == 0) {
		*s += 4;
		buf_add_u8(b, *p == 't' ? 0xf5 : 0xf6);
	} else if (strncmp(p, "false", 5) == 0) {
		*s += 5;
		buf_add_u8(b, 0xf4);
	} else {
		diag_number(s, b);
	}
}

/* Appends one item. */
static inline void add_diag(struct buf *b, const char *text)
{
	diag_item(&text, b);
	assert_int_equal(*diag_space(text), 0);
}
