/* cli/files.h - the files an operator names: envelopes (binary, or hex as the drafts print them),
 * PEM or DER objects, anchors in a directory. Everything read is bounded; errors are printed. */
#pragma once
#include "cli/cli.h"
#include "trust/trust.h"

enum { FILES_OBJECT_BYTES_MAX = 32 * 1024 * 1024, FILES_CONFIG_BYTES_MAX = 1024 * 1024 };

/* The whole file; "-" is standard input. Prints what is wrong. 0 or -errno. */
int files_read(const char *path, size_t max, struct buf *ret);
/* The same; a file of nothing but hex digits and white space is decoded. */
int files_read_binary(const char *path, size_t max, struct buf *ret);
/* The same; PEM armour is taken off (the first block). */
int files_read_der(const char *path, struct buf *ret);
/* Text of one line: trailing white space cut. For keys and tokens. */
int files_read_line(const char *path, struct buf *ret);
/* Durable replacement of path; "-" is standard output. mode applies to new files. */
int files_write(const char *path, struct span bytes, unsigned mode);

/* Anchors as configured by a directory of PEM files (or one PEM file): each file is an anchor named after it that may
 * sign for any vendor, any host, and nobody in particular (SU-14: whether an update is for a node is a matter of --device);
 * NAME.json beside it narrows that: {"vendor_ids":[...], "class_ids":[...], "hosts":[...], "revocation":"hard|grace|soft",
 * "grace_s":N, "require_code_signing":bool, "allow_unidentified":bool}. A file NAME.hex is an HMAC key. */
struct files_anchors;
int files_anchors_load(const char *path, struct files_anchors **ret);
struct files_anchors *files_anchors_free(struct files_anchors *a);
/* One more, a symmetric key: for Mac0 envelopes. */
void files_anchors_add_mac(struct files_anchors *a, const char *name, struct span key);
struct files_anchors *files_anchors_new(void);
/* must_identify: no anchor is exempt from SU-14, but where its NAME.json says so. */
int files_anchors_build(const struct files_anchors *a, bool must_identify, struct trust_anchors **ret);

static inline void files_anchors_freep(struct files_anchors **a) { files_anchors_free(*a); }
