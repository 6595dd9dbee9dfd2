/* bench/mcast - what multicast costs: frames on the air over the least there can be, by the gateway's own session and the receiver
 * core in a simulated radio cell (tests/sim/mcast_cell.h: what a frame is, what is counted, what is not).
 *
 *   mcast [--seeds N] [--only TEXT] [--json]     the figures, each with its target; 1 when one is missed
 *   mcast --try [--nodes N] [--loss P] [--burst B] [--bad N:P] [--kib S] [--k K] [--seed S] [--seeds N] [--trace] [--invited]
 *              [--sleepers N] [--sleep-ms T] [--link-retries N] [--unfinished C] [--sample S]     one cell, to look into it */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mcast_cell.h"

enum { SEEDS = 20, FIGURES_MAX = 6 };

struct figure {
	const char *name;
	double target;
	bool at_least;
	double (*of)(const struct mcast_cell_result *r);
};

struct scene {
	const char *name;
	unsigned n_nodes, kib, k;
	double loss, burst;
	unsigned n_bad;                        /* so many of them lose bad_loss */
	double bad_loss;
	struct figure figures[FIGURES_MAX];
};

static double of_ratio(const struct mcast_cell_result *r) { return r->ratio; }
static double of_ratio_bursty(const struct mcast_cell_result *r) { return r->ratio_bursty; }
static double of_control(const struct mcast_cell_result *r) { return (double)r->control; }
static double of_listened(const struct mcast_cell_result *r) { return r->listened; }
static double of_unicast(const struct mcast_cell_result *r) { return r->unicast / (r->ratio * r->bound); }
static double of_unicast_retried(const struct mcast_cell_result *r) { return r->unicast_retried / (r->ratio * r->bound); }

#define RATIO(most_) { "frames over the bound", most_, false, of_ratio }

static const struct scene scenes[] = {
	{ "N=100 p=10 % 128 KiB", 100, 128, 512, 0.1, 0, 0, 0, { RATIO(1.06), { "control frames", 70, false, of_control },
	  { "radio on, frames over F", 1.13, false, of_listened }, { "unicast over multicast", 190, true, of_unicast },
	  { "unicast with retries of the link over multicast", 0, true, of_unicast_retried } } },
	{ "N=100 p=10 % 32 KiB", 100, 32, 512, 0.1, 0, 0, 0, { RATIO(1.06) } },
	{ "N=100 p=10 % 512 KiB", 100, 512, 512, 0.1, 0, 0, 0, { RATIO(1.05) } },
	{ "N=1000 p=10 % 128 KiB", 1000, 128, 512, 0.1, 0, 0, 0, { RATIO(1.08) } },
	{ "N=10 p=10 % 128 KiB", 10, 128, 512, 0.1, 0, 0, 0, { RATIO(1.05) } },
	{ "N=100 p=1 % 128 KiB", 100, 128, 512, 0.01, 0, 0, 0, { RATIO(1.06) } },
	{ "N=100 p=5 % 128 KiB", 100, 128, 512, 0.05, 0, 0, 0, { RATIO(1.06) } },
	{ "N=100 p=20 % 128 KiB", 100, 128, 512, 0.2, 0, 0, 0, { RATIO(1.07) } },
	{ "N=100 p=10 % in bursts of 4, 128 KiB", 100, 128, 512, 0.1, 4, 0, 0, { RATIO(1.08),
	  { "frames over the bound of these bursts", 1.08, false, of_ratio_bursty } } },
	{ "N=100 p=10 %, 10 of them 30 %, K=256", 100, 128, 256, 0.1, 0, 10, 0.3, { RATIO(1.12) } },
};

static void scene_config(const struct scene *s, uint64_t seed, struct mcast_cell_config *ret)
{
	mcast_cell_defaults(ret);
	ret->seed = seed;
	ret->object_bytes = s->kib * 1024;
	ret->k = (uint16_t)s->k;
	ret->classes[0] = (struct mcast_class){ s->n_nodes - s->n_bad, s->loss, s->burst };
	ret->classes[1] = (struct mcast_class){ s->n_bad, s->bad_loss, s->burst };
	ret->n_classes = s->n_bad ? 2 : 1;
}

static double mean(const double *v, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += v[i];
	return sum / n;
}

static double deviation(const double *v, unsigned n)
{
	double m = mean(v, n), sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (v[i] - m) * (v[i] - m);
	return n > 1 ? sqrt(sum / (n - 1)) : 0;
}

static void print_row(const char *scene, const struct figure *fig, double m, double sd, double with_setup, bool held)
{
	int digits = m < 10 ? 4 : 1;

	printf("| %s | %s | ", scene, fig->name);
	if (fig->target > 0)
		printf("%s %g", fig->at_least ? ">=" : "<=", fig->target);
	printf(" | %.*f | %.*f | ", digits, m, digits, sd);
	if (with_setup > 0)
		printf("%.3f", with_setup);
	printf(" | %s |\n", fig->target > 0 ? held ? "held" : "missed" : "");
}

static bool print_scene(const struct scene *s, const struct mcast_cell_result *r, unsigned n, bool json)
{
	bool held = true;
	double *v = calloc(n, sizeof(*v)), *setup = calloc(n, sizeof(*setup));

	if (!v || !setup)
		abort();
	for (unsigned i = 0; i < n; i++)
		setup[i] = r[i].ratio_with_setup;
	for (unsigned f = 0; f < FIGURES_MAX && s->figures[f].name; f++) {
		const struct figure *fig = &s->figures[f];

		for (unsigned i = 0; i < n; i++)
			v[i] = fig->of(&r[i]);
		double m = mean(v, n);
		bool ok = fig->at_least ? m >= fig->target : m <= fig->target;

		held &= ok;
		if (json)
			printf("{\"scene\": \"%s\", \"figure\": \"%s\", \"target\": %g, \"at_least\": %s, \"mean\": %.5g, \"sd\": %.3g, "
			       "\"runs\": %u, \"held\": %s, \"with_setup\": %.4g}\n", s->name, fig->name, fig->target,
			       fig->at_least ? "true" : "false", m, deviation(v, n), n, ok ? "true" : "false", mean(setup, n));
		else
			print_row(s->name, fig, m, deviation(v, n), f ? 0 : mean(setup, n), ok);
		fflush(stdout);
	}
	free(v);
	free(setup);
	return held;
}

static bool run_scenes(unsigned seeds, const char *only, bool json)
{
	struct mcast_cell_result *r = calloc(seeds, sizeof(*r));
	bool held = true;

	if (!r)
		abort();
	if (!json)
		printf("| cell | figure | target | mean of %u runs | sd | with setup | |\n|---|---|---|---|---|---|---|\n", seeds);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		if (!strstr(scenes[i].name, only))
			continue;
		for (unsigned k = 0; k < seeds; k++) {
			struct mcast_cell_config c;

			scene_config(&scenes[i], k + 1, &c);
			mcast_cell_run(&c, &r[k]);
			held &= mcast_cell_kept(&c, &r[k]);
		}
		held &= print_scene(&scenes[i], r, seeds, json);
	}
	free(r);
	return held;
}

static void print_run(const struct mcast_cell_config *c, const struct mcast_cell_result *r)
{
	printf("seed %llu: ratio %.4f (with setup %.4f, bursty %.4f) bound %.1f; sent %llu: systematic %llu parity %llu trim %llu status %llu "
	       "echo %llu announce %llu end %llu; reports %llu pull %llu fallback %llu setup %llu descriptor %llu; loss %.4f rounds %u; "
	       "ready %u of %u, by unicast %u, pulled %u, spoiled %u, restarts %u; listened %.4f, %.4f of the time; %.1f s active, %.1f s in all; "
	       "%llu events\n", (unsigned long long)c->seed, r->ratio, r->ratio_with_setup, r->ratio_bursty, r->bound, (unsigned long long)r->sent_total,
	       (unsigned long long)r->sent[MCAST_SENT_SYSTEMATIC], (unsigned long long)r->sent[MCAST_SENT_PARITY],
	       (unsigned long long)r->sent[MCAST_SENT_TRIM], (unsigned long long)r->sent[MCAST_SENT_STATUS],
	       (unsigned long long)r->sent[MCAST_SENT_ECHO], (unsigned long long)r->sent[MCAST_SENT_ANNOUNCE],
	       (unsigned long long)r->sent[MCAST_SENT_END], (unsigned long long)r->reports, (unsigned long long)r->pull,
	       (unsigned long long)r->fallback, (unsigned long long)r->setup, (unsigned long long)r->descriptor, r->loss, r->rounds, r->ready,
	       r->nodes, r->by_unicast, r->pulled, r->spoiled, r->restarts, r->listened, r->listened_ms, (double)r->active_ms / 1000,
	       (double)r->end_ms / 1000, (unsigned long long)r->events);
}

static bool run_try(struct mcast_cell_config *c, unsigned seeds)
{
	struct mcast_cell_result *r = calloc(seeds, sizeof(*r));
	double *v = calloc(seeds, sizeof(*v));
	bool kept = true;

	if (!r || !v)
		abort();
	for (unsigned k = 0; k < seeds; k++, c->seed++) {
		mcast_cell_run(c, &r[k]);
		print_run(c, &r[k]);
		kept &= mcast_cell_kept(c, &r[k]);
		v[k] = r[k].ratio;
	}
	printf("mean ratio %.4f, sd %.4f\n", mean(v, seeds), deviation(v, seeds));
	free(r);
	free(v);
	return kept;
}

enum { OPT_SEEDS = 1, OPT_ONLY, OPT_JSON, OPT_TRY, OPT_NODES, OPT_LOSS, OPT_BURST, OPT_BAD, OPT_KIB, OPT_K, OPT_SEED, OPT_TRACE, OPT_INVITED,
       OPT_SLEEPERS, OPT_SLEEP_MS, OPT_RETRIES, OPT_UNFINISHED, OPT_SAMPLE };

static const struct option options[] = {
	{ "seeds", required_argument, NULL, OPT_SEEDS }, { "only", required_argument, NULL, OPT_ONLY }, { "json", no_argument, NULL, OPT_JSON },
	{ "try", no_argument, NULL, OPT_TRY }, { "nodes", required_argument, NULL, OPT_NODES }, { "loss", required_argument, NULL, OPT_LOSS },
	{ "burst", required_argument, NULL, OPT_BURST }, { "bad", required_argument, NULL, OPT_BAD }, { "kib", required_argument, NULL, OPT_KIB },
	{ "k", required_argument, NULL, OPT_K }, { "seed", required_argument, NULL, OPT_SEED }, { "trace", no_argument, NULL, OPT_TRACE },
	{ "invited", no_argument, NULL, OPT_INVITED }, { "sleepers", required_argument, NULL, OPT_SLEEPERS },
	{ "sleep-ms", required_argument, NULL, OPT_SLEEP_MS }, { "link-retries", required_argument, NULL, OPT_RETRIES }, { "unfinished", required_argument, NULL, OPT_UNFINISHED },
	{ "sample", required_argument, NULL, OPT_SAMPLE }, { 0 },
};

struct asked {
	struct mcast_cell_config c;
	unsigned seeds;
	const char *only;
	bool json, is_try;
};

static bool take(struct asked *a, int opt, const char *value)
{
	struct mcast_cell_config *c = &a->c;

	switch (opt) {
	case OPT_SEEDS: a->seeds = (unsigned)atoi(value); break;
	case OPT_ONLY: a->only = value; break;
	case OPT_JSON: a->json = true; break;
	case OPT_TRY: a->is_try = true; break;
	case OPT_NODES: c->classes[0].n = (unsigned)atoi(value); break;
	case OPT_LOSS: c->classes[0].loss = atof(value); break;
	case OPT_BURST: c->classes[0].burst = atof(value); break;
	case OPT_BAD:
		c->n_classes = 2;
		return sscanf(value, "%u:%lf", &c->classes[1].n, &c->classes[1].loss) == 2;
	case OPT_KIB: c->object_bytes = (uint32_t)atoi(value) * 1024; break;
	case OPT_K: c->k = (uint16_t)atoi(value); break;
	case OPT_SEED: c->seed = strtoull(value, NULL, 10); break;
	case OPT_TRACE: c->trace = true; break;
	case OPT_INVITED: c->invited = true; break;
	case OPT_SLEEPERS: c->sleepers = (unsigned)atoi(value); break;
	case OPT_SLEEP_MS: c->sleep_ms = (uint32_t)atoi(value); break;
	case OPT_RETRIES: c->link_retries = (unsigned)atoi(value); break;
	case OPT_UNFINISHED: c->tuning.unfinished = (uint16_t)atoi(value); break;
	case OPT_SAMPLE: c->tuning.sample_max = (uint16_t)atoi(value); break;
	default: return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct asked a = { .only = "" };

	mcast_cell_defaults(&a.c);
	a.c.seed = 1;
	for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!take(&a, opt, optarg))
			return 2;
	if (!a.seeds)
		a.seeds = a.is_try ? 1 : SEEDS;
	return (a.is_try ? run_try(&a.c, a.seeds) : run_scenes(a.seeds, a.only, a.json)) ? 0 : 1;
}
