/* Whatever a damaged store gives back: refused, or a session that steps, asks, sends within its bounds and can be kept again. */
#include <stdlib.h>

#include "delivery/mcast_session.h"
#include "fuzz.h"

enum { STEPS = 200 };

static void check(bool ok)
{
	if (!ok)
		abort();
}

static int op_send(void *ctx, struct span frame, size_t mic_bytes)
{
	uint8_t bytes[MCAST_FRAME_BYTES_MAX] = { 0 };
	struct mcast_frame f;

	(void)ctx;
	check(frame.n + mic_bytes <= sizeof(bytes));
	memcpy(bytes, frame.p, frame.n);
	check(mcast_frame_decode(SPAN(bytes, frame.n + mic_bytes), &f) == 0);
	return 0;
}

static int op_read(void *ctx, uint64_t offset, uint8_t *p, size_t n)
{
	(void)ctx;
	check(offset + n <= 32 * 1024);
	memset(p, (int)offset, n);
	return 0;
}

static void op_unicast(void *ctx, unsigned member, const char *device)
{
	(void)ctx;
	(void)member;
	check(device[0] != 0 && strlen(device) < DEVICE_ID_BYTES);
}

static void op_persist(void *ctx, struct span snapshot, uint32_t token)
{
	*(uint32_t *)ctx = token;
	check(snapshot.n > 0 && snapshot.n <= MCAST_SNAPSHOT_BYTES_MAX);
}

static void op_member(void *ctx, unsigned member, enum mcast_member_state was, enum mcast_member_state now, enum mcast_member_why why)
{
	(void)ctx;
	(void)member;
	check(was != now && was < MCAST_MEMBER_STATE_COUNT && now < MCAST_MEMBER_STATE_COUNT && why < MCAST_WHY_COUNT);
}

static void op_event(void *ctx, enum mcast_session_event ev, int64_t a, int64_t b)
{
	(void)ctx;
	(void)a;
	(void)b;
	check(ev < MCAST_SESSION_EVENT_COUNT);
}

/* The session of the seeds; tests/delivery/mcast_rig makes the same one. */
static void configure(struct mcast_session_config *c)
{
	*c = (struct mcast_session_config){ .sid = mcast_sid_of(7, 0x01020304), .size = 32 * 1024, .gid = 3, .z = 64, .k = 512, .log2_e = 12,
					    .alg = 1, .baseline_permille = UINT16_MAX, .seed = 1 };
	mcast_tuning_default(&c->tuning);
	mcast_link_profile(MCAST_LINK_802154, 0, &c->link);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint32_t token = 0, counted = 0;
	struct mcast_session_ops ops = { op_send, op_read, op_unicast, op_unicast, op_persist, op_member, op_event, &token };
	struct mcast_session_config cfg;
	struct mcast_session_view v;
	struct mcast_session *s;
	struct mono now = { 1000 };

	configure(&cfg);
	if (mcast_session_restore(&cfg, &ops, SPAN(data, n), now, &s) < 0)
		return 0;
	for (unsigned i = 0; i < STEPS; i++) {
		struct mono next = mcast_session_step(s, now);

		if (token)
			mcast_session_persisted(s, token);
		if (next.ms == INT64_MAX)
			break;
		now.ms = next.ms > now.ms ? next.ms : now.ms + 1;
	}
	mcast_session_view(s, now, &v);
	for (unsigned i = 0; i < MCAST_MEMBER_STATE_COUNT; i++)
		counted += v.members[i];
	check(counted == v.n_members && v.position <= v.n_fragments);
	mcast_session_free(s);
	return 0;
}
