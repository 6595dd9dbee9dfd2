/* tests/sim/mcast_bound.h - what no protocol can do better: the frames a sender must put on the air until the worst of N receivers
 * has heard F of them, each losing frames on its own. An ideal erasure code (any F frames are enough) without a single frame of
 * control needs exactly so many; the number a receiver needs is a negative binomial, so the bound is the mean of the largest of N
 * of them. N = 100, loss 10 %, F = 2048: 2316.5, where F/(1-p), the mean of one receiver, is 2275.6.
 *
 * For losses in bursts the same mean is taken from seeded draws of the channel (no closed form is worth it); it is larger than the
 * bound of independent losses of the same mean, as the worst of N receivers is worse off. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct mcast_class {                           /* receivers alike */
	unsigned n;
	double loss, burst;                    /* as in mcast_channel */
};

enum { MCAST_CLASSES_MAX = 4, MCAST_BOUND_DRAWS = 200 };

/* The mean of the largest; bursts are left out of it: independent losses of the same mean. */
double mcast_bound(const struct mcast_class *classes, unsigned n, unsigned fragments);
/* The same with the bursts, by draws. */
double mcast_bound_bursty(const struct mcast_class *classes, unsigned n, unsigned fragments, unsigned draws);
/* Unicast, stop and wait, a CoAP exchange of two frames a fragment. Without retries of the link, requests go out until an answer
 * came (1/(1-p)^2), and each request heard is answered (1/(1-p)); with them, each frame goes out until it is heard (2/(1-p)). */
double mcast_unicast_frames(const struct mcast_class *classes, unsigned n, unsigned fragments, bool link_retries);
