#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "load.h"

/* 64 buckets for each power of two: within 1.6 %. */
enum { SUB = 64, BUCKETS = SUB * 40 };
enum { REST_NS = 20 * 1000 * 1000, RESTS_MAX = 250 };
static const double REST_CPU_S = 0.0005;

struct histogram {
	uint64_t n, max, bucket[BUCKETS];
};

static uint64_t start_ns;

uint64_t load_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned exponent = ns < SUB ? 0 : 63u - (unsigned)__builtin_clzll(ns);
	size_t i = ns < SUB ? ns : (exponent - 5) * SUB + (ns >> (exponent - 6) & (SUB - 1));

	h->bucket[i < BUCKETS ? i : BUCKETS - 1]++;
	h->n++;
	if (ns > h->max)
		h->max = ns;
}

static double quantile_us(const struct histogram *h, double q)
{
	uint64_t want = (uint64_t)ceil(q * (double)h->n), seen = 0;

	for (unsigned i = 0; i < BUCKETS && h->n; i++) {
		unsigned exponent = i / SUB + 5;
		uint64_t width = i < SUB ? 1 : 1ull << (exponent - 6), low = i < SUB ? i : (1ull << exponent) + (i % SUB) * width;

		seen += h->bucket[i];
		if (seen >= want)
			return fmin((double)(low + width / 2), (double)h->max) / 1000;
	}
	return 0;
}

/* From the scheduler's own accounts of every thread: it holds on a machine that others use too. */
static double process_cpu_s(int pid)
{
	char path[320];
	double ns = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		unsigned long long v;
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		f = e->d_name[0] != '.' ? fopen(path, "r") : NULL;
		if (f && fscanf(f, "%llu", &v) == 1)
			ns += (double)v;
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return ns / 1e9;
}

static long process_rss_kib(int pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && kib < 0 && fgets(line, sizeof(line), f))
		(void)sscanf(line, "VmRSS: %ld", &kib); /* other lines leave it */
	if (f)
		fclose(f);
	return kib;
}

void result_start(struct load_result *r)
{
	uint64_t wraps = r->mid_wraps;

	free(r->operation);
	free(r->first);
	*r = (struct load_result){ .operation = NEW(struct histogram), .first = NEW(struct histogram), .mid_wraps = wraps };
	if (load.pid) {
		r->cpu_s = process_cpu_s(load.pid);
		r->rss_kib[0] = process_rss_kib(load.pid);
	}
	start_ns = load_now_ns();
}

/* What the server still has to do for what it has answered counts, too: writing to the disk, above all. */
static double cpu_s_at_rest(void)
{
	const struct timespec pause = { .tv_nsec = REST_NS };
	double before = process_cpu_s(load.pid), now = before;

	for (int i = 0; i < RESTS_MAX; i++) {
		(void)nanosleep(&pause, NULL); /* a signal ends it early: no harm */
		now = process_cpu_s(load.pid);
		if (now - before < REST_CPU_S)
			break;
		before = now;
	}
	return now;
}

void result_end(struct load_result *r)
{
	r->elapsed_s = (double)(load_now_ns() - start_ns) / 1e9;
	if (load.pid) {
		r->cpu_s = cpu_s_at_rest() - r->cpu_s;
		r->rss_kib[1] = process_rss_kib(load.pid);
	}
}

static void print_histogram(const char *name, const struct histogram *h)
{
	printf("\"%s\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},", name, quantile_us(h, .5), quantile_us(h, .99), (double)h->max / 1000);
}

void result_print(const struct load_result *r)
{
	const char *comma = "";

	printf("{\"elapsed_s\":%.3f,\"ok\":%llu,\"failed\":%llu,\"messages\":%llu,\"bytes\":%llu,", r->elapsed_s,
	       (unsigned long long)r->ok, (unsigned long long)r->failed, (unsigned long long)r->messages, (unsigned long long)r->bytes);
	printf("\"mismatched\":%llu,\"timed_out\":%llu,\"repeated\":%llu,\"stray\":%llu,\"send_errors\":%llu,\"mid_wraps\":%llu,",
	       (unsigned long long)r->mismatched, (unsigned long long)r->timed_out, (unsigned long long)r->repeated,
	       (unsigned long long)r->stray, (unsigned long long)r->send_errors, (unsigned long long)r->mid_wraps);
	print_histogram("operation_us", r->operation);
	print_histogram("first_us", r->first);
	printf("\"codes\":{");
	for (unsigned i = 0; i < 256; i++) {
		if (r->code[i] == 0)
			continue;
		printf("%s\"%u.%02u\":%llu", comma, i >> 5, i & 31, (unsigned long long)r->code[i]);
		comma = ",";
	}
	printf("},\"ops_s\":%.1f,\"cpu_us_per_op\":%.4f,\"cpu_us_per_message\":%.4f,\"rss_kib\":[%ld,%ld]}\n",
	       r->elapsed_s > 0 ? (double)r->ok / r->elapsed_s : 0, r->ok ? r->cpu_s * 1e6 / (double)r->ok : 0,
	       r->messages ? r->cpu_s * 1e6 / (double)r->messages : 0, r->rss_kib[0], r->rss_kib[1]);
}
