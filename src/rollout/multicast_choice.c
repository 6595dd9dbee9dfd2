#include "rollout/multicast_choice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const double LOSS_MAX = 0.9, OVERHEAD = 1.1, CONTROL_FRAMES = 70, SETUP_FRAMES = 4;

static void __attribute__((format(printf, 4, 5))) say(struct multicast_choice *c, bool multicast, const char *rule, const char *fmt, ...)
{
	va_list ap;

	c->multicast = multicast;
	c->rule = rule;
	va_start(ap, fmt);
	(void)vsnprintf(c->text, sizeof(c->text), fmt, ap); /* clipped for people */
	va_end(ap);
}

/* Images that have to be sent: not those that came inside the envelope. */
static const struct update_image *the_image(const struct update *u, size_t *ret_n)
{
	const struct update_image *found = NULL;

	*ret_n = 0;
	for (size_t i = 0; i < u->n_images; i++) {
		if (u->images[i].is_integrated)
			continue;
		found = &u->images[i];
		++*ret_n;
	}
	return found;
}

void multicast_choose_device(const struct multicast_device_facts *f, struct multicast_choice *ret)
{
	size_t n;
	const struct update_image *img = the_image(f->update, &n);

	*ret = (struct multicast_choice){ 0 };
	if (!f->is_configured || !f->in_group)
		say(ret, false, "group", "by unicast: the device is in no multicast group%s",
		    f->is_configured ? ", or did not register rt=mcd.n" : "; multicast is not configured");
	else if (f->is_in_session)
		say(ret, true, "session", "with the session of group %s that is under way", f->group);
	else if (f->has_image)
		say(ret, false, "transferred", "by unicast: it has the image already");
	else if (!f->is_up)
		say(ret, false, "interface", "by unicast: the interface of group %s is not there", f->group);
	else if (n != 1)
		say(ret, false, "images", "by unicast: the update has %zu images to send, and a session carries one", n);
	else if (img->bytes == 0 || img->bytes > f->bytes_max)
		say(ret, false, "size", "by unicast: an image of %llu bytes; a session carries 1 to %llu", (unsigned long long)img->bytes,
		    (unsigned long long)f->bytes_max);
	else if (f->was_left)
		say(ret, false, "left", "by unicast: it left the session of group %s", f->group);
	else
		say(ret, true, "group", "with group %s, when enough members need it", f->group);
}

void multicast_choose_gathering(const struct multicast_gathering_facts *f, struct multicast_choice *ret)
{
	double p = f->loss > LOSS_MAX ? LOSS_MAX : f->loss > 0 ? f->loss : 0; /* NaN counts as none */
	double good = 1 - p, n = (double)f->n_members;
	double fragments = f->fragment_bytes ? (double)((f->bytes + f->fragment_bytes - 1) / f->fragment_bytes) : 0;

	*ret = (struct multicast_choice){ .frames = (uint64_t)(OVERHEAD * fragments / good + CONTROL_FRAMES + SETUP_FRAMES * n / good),
					  .unicast_frames = (uint64_t)(n * fragments * (1 / (good * good) + 1 / good)) };
	if (f->n_members < f->min_members)
		say(ret, false, "members", "by unicast: %zu members of group %s need it, a session is held for %u and more", f->n_members, f->group,
		    f->min_members);
	else if (ret->frames >= ret->unicast_frames)
		say(ret, false, "frames", "by unicast: a session for %zu members of group %s takes about %llu frames, each alone %llu", f->n_members,
		    f->group, (unsigned long long)ret->frames, (unsigned long long)ret->unicast_frames);
	else
		say(ret, true, "frames", "by multicast: %zu members of group %s need it; about %llu frames instead of %llu", f->n_members, f->group,
		    (unsigned long long)ret->frames, (unsigned long long)ret->unicast_frames);
}
