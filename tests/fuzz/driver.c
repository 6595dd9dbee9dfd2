/* Runs a fuzzer without libFuzzer: each seed, every short truncation of it, and seeded mutations. The
 * same arguments give the same inputs; FUZZ_RUNS and FUZZ_SEED in the environment change how many and which.
 * Inputs are copied to blocks of their exact size, so that a sanitizer sees the first byte read too far. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SEEDS_MAX = 512, INPUT_BYTES_MAX = 64 * 1024, RUNS_DEFAULT = 4000, TRUNCATED_BYTES_MAX = 256, EDITS_MAX = 6 };

struct seed {
	char *name;
	uint8_t *p;
	size_t n;
};

static struct seed seeds[SEEDS_MAX];
static size_t n_seeds;
static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13; /* xorshift64: repeatable, which is all that matters here */
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t below(size_t n)
{
	return n ? (size_t)(next_random() % n) : 0;
}

static void run(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	if (n)
		memcpy(copy, p, n);
	(void)LLVMFuzzerTestOneInput(copy, n); /* always 0 */
	free(copy);
}

static void add_file(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f || n_seeds == SEEDS_MAX) {
		fprintf(stderr, "%s: cannot be used as a seed\n", path);
		exit(1);
	}
	uint8_t *p = malloc(INPUT_BYTES_MAX);
	if (!p)
		abort();
	seeds[n_seeds].n = fread(p, 1, INPUT_BYTES_MAX, f);
	seeds[n_seeds].p = p;
	seeds[n_seeds++].name = strdup(path);
	(void)fclose(f); /* only read */
}

static void add_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d))) {
		char name[4096];
		int n = snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (n > 0 && (size_t)n < sizeof(name) && stat(name, &st) == 0 && S_ISREG(st.st_mode))
			add_file(name);
	}
	if (d)
		(void)closedir(d); /* only read */
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct seed *)a)->name, ((const struct seed *)b)->name);
}

/* One edit in place; returns the new length. p has room for INPUT_BYTES_MAX. */
static size_t edit(uint8_t *p, size_t n)
{
	static const uint8_t telling[] = { 0x00, 0x01, 0x17, 0x18, 0x1f, 0x5f, 0x7f, 0x80, 0x9f, 0xbf, 0xd8, 0xf6, 0xff };
	const struct seed *other = &seeds[below(n_seeds)];
	size_t at = below(n), k;

	switch (next_random() % 7) {
	case 0:
		if (n)
			p[at] ^= (uint8_t)(1u << below(8));
		return n;
	case 1:
		if (n)
			p[at] = (uint8_t)next_random();
		return n;
	case 2:
		if (n)
			p[at] = telling[below(sizeof(telling))];
		return n;
	case 3: /* cut out some bytes */
		k = below(n - at < 16 ? n - at + 1 : 16);
		memmove(p + at, p + at + k, n - at - k);
		return n - k;
	case 4: /* double some bytes */
		k = below(n - at < 16 ? n - at + 1 : 16);
		if (n + k > INPUT_BYTES_MAX)
			return n;
		memmove(p + at + k, p + at, n - at);
		return n + k;
	case 5: /* end early */
		return at;
	default: /* go on as another seed does */
		if (other->n <= at)
			return n;
		k = below(other->n - at + 1);
		memcpy(p + at, other->p + at, k);
		return at + k > n ? at + k : n;
	}
}

static void mutate_once(void)
{
	static uint8_t p[INPUT_BYTES_MAX];
	const struct seed *s = &seeds[below(n_seeds)];
	size_t n = s->n;

	memcpy(p, s->p, n);
	for (size_t i = 1 + below(EDITS_MAX); i > 0; i--)
		n = edit(p, n);
	run(p, n);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v ? strtoull(v, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static const uint8_t simplest[] = "\x00";

	for (int i = 1; i < argc; i++)
		add_folder(argv[i]);
	if (n_seeds == 0)
		seeds[n_seeds++] = (struct seed){ strdup("none"), memcpy(calloc(1, 1), simplest, 1), 1 };
	qsort(seeds, n_seeds, sizeof(seeds[0]), by_name);
	random_state = env_number("FUZZ_SEED", 0x9e3779b97f4a7c15u) | 1;
	run(NULL, 0);
	for (size_t i = 0; i < n_seeds; i++) {
		run(seeds[i].p, seeds[i].n);
		for (size_t n = 0; n < seeds[i].n && n < TRUNCATED_BYTES_MAX; n++)
			run(seeds[i].p, n);
	}
	uint64_t runs = env_number("FUZZ_RUNS", RUNS_DEFAULT);
	for (uint64_t i = 0; i < runs; i++)
		mutate_once();
	printf("%zu seeds, %llu mutations\n", n_seeds, (unsigned long long)runs);
	for (size_t i = 0; i < n_seeds; i++) {
		free(seeds[i].name);
		free(seeds[i].p);
	}
	return 0;
}
