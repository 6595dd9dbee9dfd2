/* base/mem.h - allocation of sizes that we choose: running out of memory aborts.
 * For a size that a peer chooses use malloc() behind a named _MAX and return -ENOMEM. */
#pragma once
#include "base/span.h"

void *mem_new(size_t n, size_t size);                  /* zeroed */
void *mem_resize(void *p, size_t n, size_t size);      /* new part not zeroed */
char *mem_strdup(const char *s);                       /* NULL in, NULL out */
char *mem_strndup(struct span s);                      /* NUL-terminated copy */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_wipe(void *p, size_t n);                      /* not optimised away */

#define NEW(type_) ((type_ *)mem_new(1, sizeof(type_)))
#define NEW_N(type_, n_) ((type_ *)mem_new((n_), sizeof(type_)))
