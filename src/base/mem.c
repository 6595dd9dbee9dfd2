#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void *mem_new(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

void *mem_resize(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n ? n : 1, size);

	if (!q)
		abort();
	return q;
}

char *mem_strdup(const char *s)
{
	return s ? mem_strndup(span_str(s)) : NULL;
}

char *mem_strndup(struct span s)
{
	char *p = mem_new(s.n + 1, 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	return p;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	int r = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (r < 0)
		abort();
	return p;
}

void mem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}
