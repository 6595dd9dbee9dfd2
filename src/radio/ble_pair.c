/* Pairing when somebody asks for it, by the policy of the settings (BLZ-11), and forgetting of bonds. What bluetoothd wants to know
 * meanwhile comes through ble_agent.c. */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"
#include "radio/ble_state.h"

bool ble_may_pair(const struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES])
{
	return b->settings.pairing != BLE_PAIRING_OFF && ble_list_has(b->settings.pairing_nodes, address);
}

struct ble_pairing_job *ble_pairing_of(const struct ble *b, const char *path)
{
	struct ble_pairing_job *j;

	DL_FOREACH(b->pairings, j)
		if (j->path[0] && strcmp(j->path, path) == 0)
			return j;
	return NULL;
}

void ble_pairing_question_end(struct ble_pairing_job *j)
{
	if (!j->question)
		return;
	(void)sd_bus_reply_method_errorf(j->question, "org.bluez.Error.Canceled", "nobody answers"); /* a lost bus is noticed otherwise */
	j->question = sd_bus_message_unref(j->question);
	bluez_touch(j->ble->bluez);
}

static void job_free(struct ble_pairing_job *j)
{
	ble_pairing_question_end(j);
	bluez_cancel(j->call);
	ble_link_close(j->link);
	loop_timer_free(j->later);
	DL_DELETE(j->ble->pairings, j);
	j->ble->n_pairings--;
	free(j);
}

void ble_pairing_drop_all(struct ble *b)
{
	while (b->pairings)
		job_free(b->pairings);
}

static void on_later(void *ctx)
{
	struct ble_pairing_job *j = ctx;
	ble_done_fn *done = j->done;
	void *done_ctx = j->ctx;
	int error = j->error;
	char why[BLE_REASON_BYTES];

	(void)snprintf(why, sizeof(why), "%s", j->why); /* fits */
	job_free(j);
	if (done)
		done(done_ctx, error, why);
}

/* Told in the next turn. */
static void finish(struct ble_pairing_job *j, int error, const char *why)
{
	j->error = error;
	(void)snprintf(j->why, sizeof(j->why), "%s", why); /* cut where it is too long */
	j->path[0] = '\0';
	ble_pairing_question_end(j);
	loop_timer_set(j->later, 0);
}

static int job_new(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], ble_done_fn *done, void *ctx, struct ble_pairing_job **ret)
{
	struct ble_pairing_job *j;

	DL_FOREACH(b->pairings, j)
		if (memcmp(j->address, address, BLE_ADDRESS_BYTES) == 0)
			return -EBUSY;
	if (b->n_pairings >= BLE_PAIRINGS_MAX)
		return -EBUSY;
	j = NEW(struct ble_pairing_job);
	*j = (struct ble_pairing_job){ .ble = b, .done = done, .ctx = ctx };
	memcpy(j->address, address, BLE_ADDRESS_BYTES);
	j->later = loop_timer_new(b->loop, on_later, j);
	DL_APPEND(b->pairings, j);
	b->n_pairings++;
	*ret = j;
	return 0;
}

static int remove_device(struct ble_pairing_job *j, const struct bluez_device *d, bluez_answer_fn *fn)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(j->ble->bluez, d->adapter->object.path, BLUEZ_I_ADAPTER, "RemoveDevice", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "o", d->object.path);
	if (r >= 0)
		r = bluez_call(j->ble->bluez, m, BLUEZ_CALL_MS, fn, j, fn ? &j->call : NULL);
	sd_bus_message_unref(m);
	return r;
}

/* ---- pairing ---- */

/* NULL, or what makes a pairing that came about one that may not be. */
static const char *objection(const struct ble_pairing_job *j)
{
	const struct bluez_device *d = bluez_find_device(j->ble->bluez, j->path);

	/* bluetoothd asks nobody where the node can neither show nor ask for digits. */
	if (j->ble->settings.pairing == BLE_PAIRING_PASSKEY && !j->was_proved)
		return "the node pairs without a passkey, so nothing proves who it is (ble.pairing)";
	/* Who hid behind a private address is known only now. */
	if (j->was_private && !(d && ble_may_pair(j->ble, d->address)))
		return "the node behind this private address is none that may pair (ble.pairing_nodes)";
	return NULL;
}

static void on_paired(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_pairing_job *j = ctx;

	const char *but = error ? NULL : objection(j);

	j->call = NULL;
	if (but) {
		const struct bluez_device *d = bluez_find_device(j->ble->bluez, j->path);
		if (d)
			(void)remove_device(j, d, NULL); /* the bond goes again */
		finish(j, -EACCES, but);
	} else if (error == -EEXIST) {
		finish(j, 0, "");              /* it was bonded before */
	} else {
		finish(j, error, error ? why : "");
	}
}

static void on_link_ready(void *ctx)
{
	struct ble_pairing_job *j = ctx;
	const struct bluez_device *d = ble_link_device(j->link);

	if (!d || loop_timer_armed(j->later))
		return;
	if (bluez_is_bonded(d)) {
		finish(j, 0, "");
		return;
	}
	(void)snprintf(j->path, sizeof(j->path), "%s", d->object.path); /* fits */
	int r = bluez_call_plain(j->ble->bluez, d->object.path, BLUEZ_I_DEVICE, "Pair", BLUEZ_PAIR_MS, on_paired, j, &j->call);
	if (r < 0)
		finish(j, r, "bluetoothd is gone");
}

/* The link may end before bluetoothd has answered: that says no more than this. */
static void on_link_ended(void *ctx, int error, const char *why)
{
	struct ble_pairing_job *j = ctx;

	if (!j->call && !loop_timer_armed(j->later))
		finish(j, error, why);
}

static const struct ble_link_ops link_ops = { .ready = on_link_ready, .ended = on_link_ended };

int ble_pair(struct ble *b, const char *node, ble_done_fn *done, void *ctx)
{
	uint8_t address[BLE_ADDRESS_BYTES];
	struct ble_pairing_job *j;

	if (ble_address_parse(node, address) < 0)
		return -ENOENT;
	const struct ble_seen *s = ble_seen_find(b, address);
	if (!s)
		return -ENOENT;
	if (b->settings.pairing == BLE_PAIRING_OFF || (!s->node.is_private && !ble_may_pair(b, address)))
		return -EACCES;
	if (s->node.is_busy)
		return -EBUSY;
	int r = job_new(b, address, done, ctx, &j);
	if (r < 0)
		return r;
	j->was_private = s->node.is_private;
	r = ble_link_open_address(b, address, &(struct ble_link_wish){ .owner = "pairing", .wait_s = BLE_PAIR_WAIT_S }, &link_ops, j, &j->link);
	if (r < 0)
		job_free(j);
	return r;
}

int ble_passkey_answer(struct ble *b, const char *node, uint32_t passkey)
{
	uint8_t address[BLE_ADDRESS_BYTES];
	struct ble_pairing_job *j;

	if (ble_address_parse(node, address) < 0)
		return -ENOENT;
	DL_FOREACH(b->pairings, j)
		if (j->question && memcmp(j->address, address, sizeof(address)) == 0)
			break;
	if (!j)
		return -ENOENT;
	if (!j->is_confirmation)
		(void)sd_bus_reply_method_return(j->question, "u", passkey); /* a lost bus is noticed otherwise */
	else if (j->passkey == passkey)
		(void)sd_bus_reply_method_return(j->question, NULL);
	else
		(void)sd_bus_reply_method_errorf(j->question, "org.bluez.Error.Rejected", "the node shows something else");
	j->question = sd_bus_message_unref(j->question);
	bluez_touch(b->bluez);
	return 0;
}

/* ---- and not any more ---- */

static void on_removed(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble_pairing_job *j = ctx;

	j->call = NULL;
	finish(j, error, why);
}

static struct bluez_device *device_with(struct ble *b, const uint8_t address[static BLE_ADDRESS_BYTES], size_t nth)
{
	for (size_t i = 0; i < BLE_ADAPTERS_MAX; i++) {
		struct bluez_device *d = b->radios[i].adapter ? b->radios[i].adapter->devices : NULL;
		for (; d; d = d->next)
			if (b->radios[i].is_allowed && memcmp(d->address, address, BLE_ADDRESS_BYTES) == 0 && nth-- == 0)
				return d;
	}
	return NULL;
}

int ble_unpair(struct ble *b, const char *node, ble_done_fn *done, void *ctx)
{
	uint8_t address[BLE_ADDRESS_BYTES];
	struct ble_pairing_job *j;
	struct bluez_device *d;

	if (ble_address_parse(node, address) < 0 || !device_with(b, address, 0))
		return -ENOENT;
	const struct ble_seen *s = ble_seen_find(b, address);
	if (s && s->node.is_busy)
		return -EBUSY;
	int r = job_new(b, address, done, ctx, &j);
	if (r < 0)
		return r;
	for (size_t i = 1; (d = device_with(b, address, i)); i++)
		(void)remove_device(j, d, NULL); /* answered in this order */
	r = remove_device(j, device_with(b, address, 0), on_removed);
	if (r < 0)
		job_free(j);
	return r;
}
