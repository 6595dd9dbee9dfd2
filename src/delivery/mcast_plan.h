/* delivery/mcast_plan.h - the decisions of MCD v1 as functions of numbers (man/dormouse-multicast.7): how large a
 * generation is, whom to ask, what the answers mean, how much parity to send, when unicast is cheaper, how fast to go.
 * Pure: no state, no clock, no memory. Losses are probabilities 0..1. */
#pragma once
#include "codec/mcast_frame.h"
#include "codec/mcast_geometry.h"

enum {
	MCAST_PLAN_SLOTS_MIN = 16,             /* of a report window */
	MCAST_PLAN_SLOTS_MAX = 16384,
	MCAST_PLAN_SAMPLES_MAX = 1024,         /* values mcast_plan_loss() looks at */
};

/* ---- C3: K ---- */

struct mcast_plan_size {
	uint32_t size;
	uint16_t z;
	uint8_t log2_e;
	uint16_t interleave;                   /* I */
	uint16_t lost_max;                     /* least L of the members */
	uint16_t k_max;                        /* least Kmax of the members; 0 = not said */
	double loss;                           /* of the worst member: last session's reports; < 0 = not known: 0.2 */
	double dispersion;                     /* of per-generation losses against binomial; <= 0 = 2 */
};

/* The largest of 1024, 512, 256, 128 whose generations the members can decode; 128 when none can, more when the object
 * would have over MCAST_GENERATIONS_MAX generations otherwise. 0 when nothing fits the object. */
unsigned mcast_plan_k(const struct mcast_plan_size *in);

/* ---- C6.3: sample and estimate ---- */

/* s: one answer for 100 fragments. Two, as first specified, say nothing more about the loss and cost a percent of the air. */
unsigned mcast_plan_sample(uint32_t n_fragments, unsigned n_members, unsigned least, unsigned most);   /* s */
uint8_t mcast_plan_prob(unsigned n_expected, unsigned n_members);      /* STATUS prob: (prob + 1) / 256 */
unsigned mcast_plan_slots(unsigned n_expected);                        /* W */

struct mcast_plan_loss {
	double p;                              /* mean first-pass loss without outliers */
	double v;                              /* variance beyond the binomial one; 0 unless it is clearly there */
	unsigned n_used, n_outliers;
};

/* permille is sorted in place; n >= 1 values; n_sent fragments were sent when they were measured. */
void mcast_plan_loss(uint16_t *permille, unsigned n, uint32_t n_sent, struct mcast_plan_loss *ret);

/* ---- C6.4, C6.5: parity ---- */

double mcast_plan_quantile(double q);          /* Phi^-1, 0 < q < 1; |error| < 1.2e-9 relative */
/* r_g: rows for a generation of m fragments, so that about c of the group's n_members * n_generations stay unfinished. */
unsigned mcast_plan_proactive(unsigned m, const struct mcast_plan_loss *loss, unsigned n_members, unsigned n_generations, unsigned c);
unsigned mcast_plan_repair(unsigned d, double p);                      /* fresh rows for a deficit d */

/* A deficit over what a matrix holds: which part of the systematic rows to repeat, then parity for 0.9 L. 0 when d <= l. */
unsigned mcast_plan_trim(unsigned m, unsigned d, unsigned l, double p);
unsigned mcast_plan_trimmed_deficit(unsigned d, unsigned l);           /* what is left to do by parity */

/* C6.6: h * sum_d * 2/(1-p)^2 < C * sum_r. */
bool mcast_plan_unicast_cheaper(unsigned hops, uint32_t sum_d, double p, unsigned sends_per_frame, uint32_t sum_r);

/* ---- C9: pace ---- */

/* The gap after a loss estimate; baseline < 0: none known, the estimate is its own. */
uint32_t mcast_plan_gap(uint32_t gap_ms, uint32_t pace_ms, double p, double baseline);

/* ---- C11: windows ---- */

/* How many generations from `first` on one window of length_ms holds, with their expected parity at loss p, the status
 * window and the control frames; at least 1. */
unsigned mcast_plan_window(const struct mcast_geometry *geo, unsigned first, uint32_t length_ms, uint32_t gap_ms, uint32_t slot_ms,
			   double p);
/* How many windows the object needs, without the carousel's. */
unsigned mcast_plan_windows(const struct mcast_geometry *geo, uint32_t length_ms, uint32_t gap_ms, uint32_t slot_ms, double p);

/* ---- what theory asks for ---- */

/* Frames until the worst of n_members has received n_fragments, each frame lost with probability p: the expected maximum
 * of n_members negative binomials. No scheme can do with less. */
double mcast_plan_bound(uint32_t n_fragments, double p, unsigned n_members);

/* ---- session ids ---- */

/* The group's next session id: counter + 1, and random bytes whose last one, sid8, no live session uses (`live`: a bit for
 * each of 256). -EOVERFLOW: the counter is used up, the group needs a new gid; -EBUSY: all 256 are in use. */
int mcast_plan_sid(uint32_t counter, uint32_t random, const uint8_t live[static 32], struct mcast_sid *ret);
/* The next STATUS seq: 1..255, then 1 again; 0 means "unsolicited". */
static inline uint8_t mcast_plan_seq(uint8_t seq, unsigned step) { return (uint8_t)((seq + step - 1) % 255 + 1); }
