#include "base/events.h"

#include <stddef.h>

static const struct {
	const char *slug, *message_id;
} table[EVENT_COUNT] = {
#define ROW_(id_, slug_, message_id_) [id_] = { slug_, message_id_ },
	EVENT_LIST(ROW_)
#undef ROW_
};

const char *event_slug(enum event_id ev)
{
	return (size_t)ev < EVENT_COUNT ? table[ev].slug : table[EV_GENERIC].slug;
}

const char *event_message_id(enum event_id ev)
{
	return (size_t)ev < EVENT_COUNT ? table[ev].message_id : table[EV_GENERIC].message_id;
}
