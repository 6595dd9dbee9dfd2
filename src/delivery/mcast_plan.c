#include "delivery/mcast_plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const double loss_unknown = 0.2, dispersion_default = 2, loss_most = 0.95, loss_none = 1e-4;

static double clamp(double v, double least, double most)
{
	return v < least ? least : v > most ? most : v;
}

static unsigned ceil_count(double v, unsigned most)
{
	return v <= 0 ? 0 : v >= most ? most : (unsigned)ceil(v);
}

/* ---- K ---- */

/* What four sigma of a generation of k fragments may lose. */
static double lost_at(unsigned k, double p, double dispersion)
{
	return k * p + 4 * sqrt(dispersion * k * p * (1 - p));
}

static bool k_decodes(const struct mcast_plan_size *in, unsigned k)
{
	double p = in->loss < 0 ? loss_unknown : clamp(in->loss, 0, loss_most);
	double dispersion = in->dispersion > 0 ? in->dispersion : dispersion_default;

	return lost_at(k, p, dispersion) <= in->lost_max && (in->k_max == 0 || k <= in->k_max);
}

unsigned mcast_plan_k(const struct mcast_plan_size *in)
{
	static const unsigned sizes[] = { 1024, 512, 256, 128 };
	unsigned fits = 0;                     /* smallest that cuts the object at all */

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct mcast_geometry geo;

		if (mcast_geometry_of(in->size, in->z, sizes[i], in->log2_e, &geo) < 0)
			continue;
		if (fits == 0 || in->k_max == 0 || sizes[i] <= in->k_max)
			fits = sizes[i];
		if (sizes[i] == 1024 && geo.n_generations < in->interleave)
			continue;
		if (k_decodes(in, sizes[i]))
			return sizes[i];
	}
	return fits;
}

/* ---- sample and estimate ---- */

unsigned mcast_plan_sample(uint32_t n_fragments, unsigned n_members, unsigned least, unsigned most)
{
	unsigned s = n_fragments / 100 < least ? least : n_fragments / 100 > most ? most : n_fragments / 100;

	return s < n_members ? s : n_members;
}

uint8_t mcast_plan_prob(unsigned n_expected, unsigned n_members)
{
	unsigned share;

	if (n_expected >= n_members)
		return 255;
	share = (n_expected * 256 + n_members / 2) / n_members;
	return (uint8_t)(share > 1 ? share - 1 : 0);
}

unsigned mcast_plan_slots(unsigned n_expected)
{
	if (n_expected >= MCAST_PLAN_SLOTS_MAX / 2)
		return MCAST_PLAN_SLOTS_MAX;
	return 2 * n_expected > MCAST_PLAN_SLOTS_MIN ? 2 * n_expected : MCAST_PLAN_SLOTS_MIN;
}

static int order_u16(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

void mcast_plan_loss(uint16_t *permille, unsigned n, uint32_t n_sent, struct mcast_plan_loss *ret)
{
	double median, limit, sum = 0, squares = 0, usual, variance;
	unsigned used = 0;

	if (n > MCAST_PLAN_SAMPLES_MAX)
		n = MCAST_PLAN_SAMPLES_MAX;
	qsort(permille, n, sizeof(permille[0]), order_u16);
	median = (permille[(n - 1) / 2] + permille[n / 2]) / 2000.0;
	limit = 2 * median + 0.01;
	for (unsigned i = 0; i < n && permille[i] / 1000.0 <= limit; i++, used++)
		sum += permille[i] / 1000.0;
	*ret = (struct mcast_plan_loss){ .p = used ? sum / used : median, .n_used = used, .n_outliers = n - used };
	for (unsigned i = 0; i < used; i++)
		squares += (permille[i] / 1000.0 - ret->p) * (permille[i] / 1000.0 - ret->p);
	if (used < 2 || n_sent == 0)
		return;
	variance = squares / (used - 1);
	usual = ret->p * (1 - ret->p) / n_sent;
	if (variance > 2 * usual)
		ret->v = variance - usual;
}

/* ---- parity ---- */

/* P. J. Acklam's rational approximation of the inverse normal distribution. */
double mcast_plan_quantile(double q)
{
	static const double a[] = { -3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.383577518672690e+02,
				    -3.066479806614716e+01, 2.506628277459239e+00 };
	static const double b[] = { -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
				    -1.328068155288572e+01 };
	static const double c[] = { -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00,
				    4.374664141464968e+00, 2.938163982698783e+00 };
	static const double d[] = { 7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00 };
	double t, r;

	q = clamp(q, 1e-12, 1 - 1e-12);
	if (q > 1 - 0.02425)
		return -mcast_plan_quantile(1 - q);
	if (q < 0.02425) {
		t = sqrt(-2 * log(q));
		return (((((c[0] * t + c[1]) * t + c[2]) * t + c[3]) * t + c[4]) * t + c[5]) /
		       ((((d[0] * t + d[1]) * t + d[2]) * t + d[3]) * t + 1);
	}
	t = q - 0.5;
	r = t * t;
	return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * t /
	       (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

unsigned mcast_plan_proactive(unsigned m, const struct mcast_plan_loss *loss, unsigned n_members, unsigned n_generations, unsigned c)
{
	double p = clamp(loss->p, 0, loss_most), share, z;

	if (p <= loss_none || n_members == 0 || n_generations == 0)
		return 0;
	share = (double)c / ((double)n_members * n_generations);
	z = mcast_plan_quantile(1 - (share < 0.5 ? share : 0.5));
	return ceil_count((m * p + z * sqrt(m * p + (double)m * m * loss->v) + 1.6) / (1 - p), 4 * m);
}

unsigned mcast_plan_repair(unsigned d, double p)
{
	p = clamp(p, 0, loss_most);
	return ceil_count((d + sqrt(d * p)) / (1 - p), 64 * (d + 1));
}

unsigned mcast_plan_trimmed_deficit(unsigned d, unsigned l)
{
	return d <= l ? d : l * 9 / 10;
}

unsigned mcast_plan_trim(unsigned m, unsigned d, unsigned l, double p)
{
	double f;

	if (d <= l || d == 0)
		return 0;
	p = clamp(p, 0, loss_most);
	f = (d - 0.9 * l) / (d * (1 - p));
	return ceil_count(clamp(f, 0, 1) * m, m);
}

bool mcast_plan_unicast_cheaper(unsigned hops, uint32_t sum_d, double p, unsigned sends_per_frame, uint32_t sum_r)
{
	p = clamp(p, 0, loss_most);
	return hops * (double)sum_d * 2 / ((1 - p) * (1 - p)) < (double)sends_per_frame * sum_r;
}

/* ---- pace ---- */

uint32_t mcast_plan_gap(uint32_t gap_ms, uint32_t pace_ms, double p, double baseline)
{
	if (baseline < 0)
		baseline = p;
	if (p > 1.5 * baseline)
		return gap_ms >= 4 * pace_ms ? 8 * pace_ms : 2 * gap_ms;
	if (p <= 1.1 * baseline)
		return gap_ms - gap_ms / 10 < pace_ms ? pace_ms : gap_ms - gap_ms / 10;
	return gap_ms;
}

/* ---- windows ---- */

unsigned mcast_plan_window(const struct mcast_geometry *geo, unsigned first, uint32_t length_ms, uint32_t gap_ms, uint32_t slot_ms,
			   double p)
{
	double overhead = 2.0 * MCAST_PLAN_SLOTS_MIN * slot_ms + 6.0 * gap_ms, room = length_ms - overhead;
	double stretch = gap_ms * (1 + 1.0 / 128);             /* ANNOUNCE between the data */
	unsigned n = 0;

	p = clamp(p, 0, loss_most);
	for (unsigned g = first; g < geo->n_generations; g++, n++) {
		unsigned m = mcast_geometry_generation(geo, g).m;

		room -= stretch * (m + (m * p + 3 * sqrt(m * p) + 1.6) / (1 - p));
		if (room < 0)
			break;
	}
	return n ? n : 1;
}

unsigned mcast_plan_windows(const struct mcast_geometry *geo, uint32_t length_ms, uint32_t gap_ms, uint32_t slot_ms, double p)
{
	double frames = length_ms / (gap_ms ? gap_ms : 1), rest = 0;
	unsigned n = 0;

	for (unsigned g = 0; g < geo->n_generations; n++) {
		unsigned m = mcast_geometry_generation(geo, g).m;

		if (m > frames)                                /* one generation goes over several windows */
			rest += m / (frames > 8 ? frames - 8 : 1);
		g += mcast_plan_window(geo, g, length_ms, gap_ms, slot_ms, p);
	}
	return n + ceil_count(rest, 65535 - n);
}

/* ---- theory ---- */

double mcast_plan_bound(uint32_t n_fragments, double p, unsigned n_members)
{
	double z;

	p = clamp(p, 0, loss_most);
	if (n_members < 1)
		n_members = 1;
	z = n_members == 1 ? 0 : mcast_plan_quantile((n_members - 0.375) / (n_members + 0.25));        /* Blom */
	return n_fragments / (1 - p) + z * sqrt(n_fragments * p) / (1 - p);
}

/* ---- session ids ---- */

int mcast_plan_sid(uint32_t counter, uint32_t random, const uint8_t live[static 32], struct mcast_sid *ret)
{
	if (counter == UINT32_MAX)
		return -EOVERFLOW;
	for (unsigned i = 0; i < 256; i++) {
		struct mcast_sid sid = mcast_sid_of(counter + 1, (random & ~0xffu) | ((random + i) & 0xff));
		uint8_t b = mcast_sid8(&sid);

		if (live[b / 8] >> (b % 8) & 1)
			continue;
		*ret = sid;
		return 0;
	}
	return -EBUSY;
}
