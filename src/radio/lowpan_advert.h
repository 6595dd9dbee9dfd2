/* radio/lowpan_advert.h - a prefix offered on one interface by router advertisements (RFC 4861 section 6.2): at start, now and then, and
 * when a node solicits. Sent on that interface alone; nothing is forwarded by it, and it names itself a default router only where the
 * kernel forwards. Needs CAP_NET_RAW. Loop thread. */
#pragma once
#include "io/loop.h"

enum {
	ADVERT_LIFETIME_S = 1800, ADVERT_VALID_S = 86400, ADVERT_PREFERRED_S = 14400,
	ADVERT_INITIAL = 3, ADVERT_INITIAL_MS = 16 * 1000, ADVERT_MIN_MS = 200 * 1000, ADVERT_MAX_MS = 600 * 1000,
	ADVERT_ANSWER_MS = 500, ADVERT_GAP_MS = 3000,  /* MAX_RA_DELAY_TIME, MIN_DELAY_BETWEEN_RAS */
};

struct lowpan_advert;

struct lowpan_advert_config {
	const char *interface;
	unsigned index;
	uint8_t prefix[16], bits;
	uint8_t lladdr[14];
	size_t n_lladdr;                       /* 0 = not told */
	uint32_t mtu;                          /* 0 = not told */
};

/* -EPERM without CAP_NET_RAW; -ENODEV; -errno. */
int lowpan_advert_open(struct loop *l, const struct lowpan_advert_config *c, struct lowpan_advert **ret);
/* Whether the kernel forwards packets of this interface: then it is advertised as a default router. */
void lowpan_advert_set_router(struct lowpan_advert *a, bool is_router);
struct lowpan_advert *lowpan_advert_close(struct lowpan_advert *a);
