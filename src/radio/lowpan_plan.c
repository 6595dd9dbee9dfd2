#include "radio/lowpan_plan.h"

#include "codec/netlink.h"

static bool differs(uint32_t wanted, uint32_t none, int is)
{
	return wanted != none && (uint32_t)is != wanted;
}

static bool wants_address(const struct lowpan_settings *s, const struct lowpan_facts *f)
{
	return s->address_bits > 0 && f->is_link_up && !f->has_address;
}

static bool is_channel_wrong(const struct lowpan_settings *s, const struct lowpan_facts *f)
{
	return s->channel != LOWPAN_CHANNEL_ANY && (f->channel != (int)s->channel || f->page != (int)s->page);
}

/* These change only while radio and interface are down. */
static enum lowpan_step plan_radio(const struct lowpan_settings *s, const struct lowpan_facts *f)
{
	bool pan = differs(s->pan_id, LOWPAN_PAN_ANY, f->pan_id);
	bool address = differs(s->short_address, LOWPAN_SHORT_ANY, f->short_address);

	if (!f->is_asked)
		return LOWPAN_STEP_ASK;
	if ((pan || address) && f->has_link && f->is_link_up)
		return LOWPAN_STEP_LINK_DOWN;
	if ((pan || address) && f->is_radio_up)
		return LOWPAN_STEP_RADIO_DOWN;
	if (pan)
		return LOWPAN_STEP_PAN;
	if (address)
		return LOWPAN_STEP_SHORT;
	return is_channel_wrong(s, f) ? LOWPAN_STEP_CHANNEL : LOWPAN_STEP_READY;
}

static enum lowpan_step plan_link(const struct lowpan_facts *f)
{
	if (!f->has_link)
		return LOWPAN_STEP_ADD;
	if (!f->is_radio_up)
		return f->is_radio_raised ? LOWPAN_STEP_TAKEN_DOWN : LOWPAN_STEP_RADIO_UP;
	if (!f->is_link_up)
		return f->is_link_raised ? LOWPAN_STEP_TAKEN_DOWN : LOWPAN_STEP_LINK_UP;
	return LOWPAN_STEP_READY;
}

enum lowpan_step lowpan_plan(const struct lowpan_settings *s, const struct lowpan_facts *f)
{
	enum lowpan_step step;

	if (s->has_key)
		return LOWPAN_STEP_KEY;
	if (!s->create || s->kind != LOWPAN_802154) { /* another makes it: a border router, or the kernel once a peer is connected */
		if (!f->has_link || !f->is_link_up)
			return LOWPAN_STEP_AS_IT_IS;
		return wants_address(s, f) ? LOWPAN_STEP_ADDRESS : LOWPAN_STEP_READY;
	}
	if (!f->has_radio)
		return LOWPAN_STEP_NO_RADIO;
	if (f->has_link && !f->is_on_radio)
		return LOWPAN_STEP_FOREIGN;
	step = plan_radio(s, f);
	if (step == LOWPAN_STEP_READY)
		step = plan_link(f);
	if (step == LOWPAN_STEP_READY && wants_address(s, f))
		step = LOWPAN_STEP_ADDRESS;
	return step;
}

const char *lowpan_step_text(enum lowpan_step s)
{
	static const char *const texts[LOWPAN_STEP_COUNT] = {
		[LOWPAN_STEP_READY] = "ready", [LOWPAN_STEP_AS_IT_IS] = "waits for whoever makes it", [LOWPAN_STEP_NO_RADIO] = "the radio is not there",
		[LOWPAN_STEP_KEY] = ("key_file is set, and link-layer keys cannot be set on this kernel (they need CONFIG_IEEE802154_NL802154_EXPERIMENTAL, "
				    "which Debian leaves off): nothing is raised, rather than without encryption"),
		[LOWPAN_STEP_FOREIGN] = "an interface of that name stands on something else",
		[LOWPAN_STEP_TAKEN_DOWN] = "taken down by another, and left so", [LOWPAN_STEP_ASK] = "asking for the radio's settings",
		[LOWPAN_STEP_LINK_DOWN] = "taking it down", [LOWPAN_STEP_RADIO_DOWN] = "taking the radio down",
		[LOWPAN_STEP_PAN] = "setting the PAN id", [LOWPAN_STEP_SHORT] = "setting the short address", [LOWPAN_STEP_CHANNEL] = "setting the channel",
		[LOWPAN_STEP_ADD] = "making it", [LOWPAN_STEP_RADIO_UP] = "bringing the radio up", [LOWPAN_STEP_LINK_UP] = "bringing it up",
		[LOWPAN_STEP_ADDRESS] = "adding its address",
	};

	return texts[s];
}

bool lowpan_step_acts(enum lowpan_step s)
{
	return s >= LOWPAN_STEP_ASK;
}
