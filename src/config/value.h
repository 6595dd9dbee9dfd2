/* config/value.h - one value of the configuration: from TOML or from text into its field, and back to TOML.
 * Follows the row of the schema. No files are opened; the environment is read for ${...} in paths. */
#pragma once
#include "config/schema.h"
#include "config/toml.h"

/* base: the struct that k->offset counts from. dir: where relative paths start, absolute, without a slash at its end.
 * The field's old value is freed. 0; -EINVAL: why has "what is wrong; what would be right" and the field is as it was. */
int value_set(const struct schema_key *k, void *base, const char *dir, const struct toml_row *row, struct buf *why);
/* The default into a zeroed field. Aborts on a default that breaks its own rule: that is our bug. */
void value_set_default(const struct schema_key *k, void *base);
void value_free(const struct schema_key *k, void *base);
/* As TOML. */
void value_print(const struct schema_key *k, const void *base, struct buf *ret);
/* A default or example, which stands as text in the schema, as TOML. */
void value_print_text(const struct schema_key *k, const char *text, struct buf *ret);

/* " (1 to 32)", " (10 to 86400 seconds)"; nothing for what is no number. */
void value_print_range(const struct schema_key *k, struct buf *ret);

static inline void *value_field(const struct schema_key *k, const void *base) { return (char *)(uintptr_t)base + k->offset; }
