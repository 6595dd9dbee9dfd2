#include "mcast_bound.h"

#include <math.h>

#include "mcast_air.h"

double mcast_bound(const struct mcast_class *classes, unsigned n, unsigned fragments)
{
	double log_pmf[MCAST_CLASSES_MAX], cdf[MCAST_CLASSES_MAX], mean = fragments;

	for (unsigned i = 0; i < n; i++) {
		log_pmf[i] = fragments * log1p(-classes[i].loss);
		cdf[i] = exp(log_pmf[i]);
	}
	/* The sum of P(largest > t); t frames have gone by. */
	for (unsigned t = fragments;; t++) {
		double all = 1;

		for (unsigned i = 0; i < n; i++)
			all *= pow(cdf[i] < 1 ? cdf[i] : 1, classes[i].n);
		if (all > 1 - 1e-9)
			return mean;
		mean += 1 - all;
		for (unsigned i = 0; i < n; i++) {
			log_pmf[i] += log(classes[i].loss) + log(t) - log(t + 1 - fragments);
			cdf[i] += exp(log_pmf[i]);
		}
	}
}

double mcast_bound_bursty(const struct mcast_class *classes, unsigned n, unsigned fragments, unsigned draws)
{
	double sum = 0;

	for (unsigned d = 0; d < draws; d++) {
		unsigned worst = 0;

		for (unsigned i = 0; i < n; i++)
			for (unsigned k = 0; k < classes[i].n; k++) {
				struct mcast_channel c;
				unsigned t = 0;

				mcast_channel_init(&c, 0xb0d << 16 | d, i << 16 | k, classes[i].loss, classes[i].burst);
				for (unsigned heard = 0; heard < fragments; t++)
					heard += mcast_channel_hears(&c);
				worst = t > worst ? t : worst;
			}
		sum += worst;
	}
	return sum / draws;
}

double mcast_unicast_frames(const struct mcast_class *classes, unsigned n, unsigned fragments, bool link_retries)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		double q = 1 - classes[i].loss;

		sum += classes[i].n * (link_retries ? 2 / q : 1 / (q * q) + 1 / q) * fragments;
	}
	return sum;
}
