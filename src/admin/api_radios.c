/* Radios below IPv6: their interfaces, what the configuration made of them, neighbours, airtime. */
#include <stdlib.h>

#include "admin/api.h"
#include "base/mem.h"
#include "base/text.h"
#include "radio/lowpan.h"

enum { NEIGHBOURS_SHOWN = 1000 };

static void put_known(struct json_out *o, const char *key, int v)
{
	if (v < 0)
		json_null(o, key);
	else
		json_int(o, key, v);
}

static void put_fields(struct json_out *o, const struct lowpan_view *v)
{
	json_str(o, "name", v->name);
	json_str(o, "kind", lowpan_kind_name(v->kind));
	json_bool(o, "is_there", v->index != 0);
	json_bool(o, "is_up", v->is_up);
	json_bool(o, "is_configured", v->is_configured);
	json_str(o, "state", v->state);
	json_bool(o, "has_error", v->has_error);
	json_str(o, "parent", v->parent[0] ? v->parent : NULL);
	put_known(o, "pan_id", v->pan_id);
	put_known(o, "short_address", v->short_address);
	put_known(o, "page", v->page);
	put_known(o, "channel", v->channel);
	json_str(o, "address", v->address[0] ? v->address : NULL);
	json_bool(o, "is_advertising", v->is_advertising);
	json_uint(o, "mtu", v->mtu);
	json_uint(o, "block_bytes", v->block_bytes);
	json_uint(o, "neighbours", v->n_neighbours);
	json_uint(o, "rx_packets", v->rx_packets);
	json_uint(o, "tx_packets", v->tx_packets);
	json_uint(o, "rx_bytes", v->rx_bytes);
	json_uint(o, "tx_bytes", v->tx_bytes);
	json_uint(o, "airtime_ms", v->airtime_us / 1000);
	json_uint(o, "airtime_total_ms", v->airtime_total_us / 1000);
	json_uint(o, "airtime_permille", v->airtime_us / 3600000);     /* of the last hour */
	json_uint(o, "budget_permille", v->airtime_permille);
	json_str(o, "budget", v->airtime_permille ? airtime_level_name(v->level) : NULL);
	json_uint(o, "wait_s", v->wait_s);
}

void api_radios_list(struct api_call *c)
{
	const struct lowpan *p = c->admin->c.lowpan;
	const char *after = api_after(c);
	char last[LOWPAN_NAME_BYTES] = "";
	struct lowpan_view v;
	struct api_list l;
	size_t total = 0;

	api_list_begin(c, &l);
	for (bool more = p && lowpan_next(p, NULL, &v); more; more = lowpan_next(p, v.name, &v)) {
		total++;
		if (after && strcmp(v.name, after) <= 0)
			continue;
		if (api_list_full(&l)) {
			(void)text_copy(l.next, sizeof(l.next), span_str(last)); /* names are short */
			continue;
		}
		json_open_object(&l.o, NULL);
		put_fields(&l.o, &v);
		json_close_object(&l.o);
		l.n++;
		memcpy(last, v.name, sizeof(last));
	}
	api_list_end(c, &l, total);
}

static bool find(const struct lowpan *p, const char *name, struct lowpan_view *ret)
{
	for (bool more = lowpan_next(p, NULL, ret); more; more = lowpan_next(p, ret->name, ret))
		if (strcmp(ret->name, name) == 0)
			return true;
	return false;
}

void api_radio_show(struct api_call *c)
{
	const struct lowpan *p = c->admin->c.lowpan;
	struct lowpan_view v;
	struct buf b = { 0 };
	struct json_out o = json_writer(&b);

	if (!p || !find(p, c->param[0], &v)) {
		api_reply_problem(c, 404, "no radio of that name; dormousectl radios lists them");
		return;
	}
	_cleanup_free_ struct lowpan_neighbour_view *n = NEW_N(struct lowpan_neighbour_view, NEIGHBOURS_SHOWN);
	size_t count = lowpan_neighbours(p, v.name, n, NEIGHBOURS_SHOWN);
	json_open_object(&o, NULL);
	put_fields(&o, &v);
	json_open_array(&o, "neighbour_list");
	for (size_t i = 0; i < count && i < NEIGHBOURS_SHOWN; i++) {
		json_open_object(&o, NULL);
		json_str(&o, "address", n[i].address);
		json_str(&o, "link_address", n[i].lladdr[0] ? n[i].lladdr : NULL);
		json_str(&o, "state", n[i].state);
		json_close_object(&o);
	}
	json_close_array(&o);
	json_close_object(&o);
	api_reply_json(c, 200, &b);
}
