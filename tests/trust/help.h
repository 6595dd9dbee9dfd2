/* tests/trust/help.h - files, hex and anchors for the tests of trust/. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "codec/json.h"
#include "trust/verdict.h"

#define VECTOR(path_) VECTORS "/" path_

/* Asserts that it can be read; ret is owned by the caller. */
void help_read(const char *path, struct buf *ret);
/* A ".hex" file (spaces and newlines skipped) or any other as it is. */
void help_read_vector(const char *folder, const char *name, struct buf *ret);
void help_hex(const char *hex, struct buf *ret);
struct json_doc *help_json(const char *path);

/* One anchor for every vendor from PEM text; mode hard. */
struct trust_anchors *help_anchor(struct span pem);
/* The anchor of a file under vectors/suit/keys: PEM, or a hex MAC key; exempt from SU-14, as the examples need it. */
struct trust_anchors *help_anchor_file(const char *name);

const struct verdict_rule *help_rule(const struct verdict *v, const char *id, enum rule_outcome o);    /* NULL = none such */
/* Says on failure what the verdict was. */
void help_assert_outcome(const struct verdict *v, enum trust_outcome o, const char *what);
