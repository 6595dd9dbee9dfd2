/* The agent that bluetoothd asks while a node pairs. It speaks for pairings that we began and that the settings allow, for nothing else;
 * it is not the default agent of the machine (BLZ-11). */
#include <errno.h>

#include "base/log.h"
#include "radio/ble_state.h"

static int reject(sd_bus_message *m, const char *why)
{
	return sd_bus_reply_method_errorf(m, "org.bluez.Error.Rejected", "%s", why);
}

/* The pairing that a question is about; NULL = nobody's, or of one that may not. */
static struct ble_pairing_job *pairing_for(struct ble *b, sd_bus_message *m, const char **ret_path)
{
	if (!bluez_is_sender(b->bluez, m) || sd_bus_message_read(m, "o", ret_path) < 0)
		return NULL;
	return ble_pairing_of(b, *ret_path);
}

/* What is between us and the operator. */
static void tell(struct ble *b, const struct ble_pairing_job *j, uint32_t passkey, bool is_wanted)
{
	const struct ble_seen *s = ble_seen_find(b, j->address);

	if (s && b->ops->passkey)
		b->ops->passkey(b->ctx, &s->node, passkey, is_wanted);
}

static int ask(struct ble *b, struct ble_pairing_job *j, sd_bus_message *m)
{
	ble_pairing_question_end(j);           /* bluetoothd asks once at a time */
	j->question = sd_bus_message_ref(m);
	tell(b, j, 0, true);
	return 1;                              /* answered later */
}

static int on_request_passkey(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;
	const char *path;
	struct ble_pairing_job *j = pairing_for(b, m, &path);

	if (!j || b->settings.pairing != BLE_PAIRING_PASSKEY)
		return reject(m, "no such pairing");
	j->is_confirmation = false;
	j->was_proved = true;
	return ask(b, j, m);
}

/* Both show the same number: the operator reads the node's and gives it to us, and we compare. */
static int on_request_confirmation(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;
	const char *path;
	struct ble_pairing_job *j = pairing_for(b, m, &path);

	if (!j || b->settings.pairing != BLE_PAIRING_PASSKEY || sd_bus_message_read(m, "u", &j->passkey) < 0)
		return reject(m, "no such pairing");
	j->is_confirmation = true;
	j->was_proved = true;
	return ask(b, j, m);
}

static int on_display_passkey(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;
	const char *path;
	struct ble_pairing_job *j = pairing_for(b, m, &path);
	uint32_t passkey;
	uint16_t entered;

	if (!j || b->settings.pairing != BLE_PAIRING_PASSKEY || sd_bus_message_read(m, "uq", &passkey, &entered) < 0)
		return reject(m, "no such pairing");
	j->was_proved = true;
	if (entered == 0)                      /* it is said again with each digit that is typed */
		tell(b, j, passkey, false);
	return sd_bus_reply_method_return(m, NULL);
}

/* Whether a connection of ours pairs of itself: a node that just works. */
static bool is_pairing(const struct ble *b, const char *path)
{
	for (const struct ble_connection *c = b->connections; c; c = c->next)
		if (c->state == CONNECTION_PAIRING && c->device && strcmp(c->device->object.path, path) == 0)
			return true;
	return false;
}

/* Nothing proves who it is: fine where just-works is the policy. */
static int on_request_authorization(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;
	const char *path = "";
	struct ble_pairing_job *j = pairing_for(b, m, &path);

	if (b->settings.pairing != BLE_PAIRING_JUST_WORKS || !bluez_is_sender(b->bluez, m) || (!j && !is_pairing(b, path)))
		return reject(m, "no such pairing");
	return sd_bus_reply_method_return(m, NULL);
}

static int on_refused(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	return reject(m, "not a way for nodes to pair");
}

static int on_cancel(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;

	if (bluez_is_sender(b->bluez, m))
		for (struct ble_pairing_job *j = b->pairings; j; j = j->next)
			ble_pairing_question_end(j);
	return sd_bus_reply_method_return(m, NULL);
}

/* bluetoothd unregisters us. */
static int on_release(sd_bus_message *m, void *ctx, sd_bus_error *ret_error)
{
	struct ble *b = ctx;

	if (bluez_is_sender(b->bluez, m))
		b->has_agent = false;
	return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable agent_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Release", "", "", on_release, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RequestPinCode", "o", "s", on_refused, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("DisplayPinCode", "os", "", on_refused, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RequestPasskey", "o", "u", on_request_passkey, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("DisplayPasskey", "ouq", "", on_display_passkey, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RequestConfirmation", "ou", "", on_request_confirmation, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RequestAuthorization", "o", "", on_request_authorization, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("AuthorizeService", "os", "", on_refused, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Cancel", "", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void on_registered(void *ctx, sd_bus_message *answer, int error, const char *name, const char *why)
{
	struct ble *b = ctx;

	b->agent_call = NULL;
	b->has_agent = !error || error == -EEXIST;
	if (!b->has_agent)
		log_line(LOG_WARNING, "Bluetooth: nobody can pair, bluetoothd does not take our agent: %s", why);
}

static int call(struct ble *b, const char *member, const char *capability)
{
	sd_bus_message *m = NULL;
	int r = bluez_message(b->bluez, "/org/bluez", BLUEZ_I_AGENTS, member, &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "o", BLE_AGENT);
	if (r >= 0 && capability)
		r = sd_bus_message_append(m, "s", capability);
	if (r >= 0)
		r = capability ? bluez_call(b->bluez, m, BLUEZ_CALL_MS, on_registered, b, &b->agent_call) :
				 bluez_call(b->bluez, m, BLUEZ_CALL_MS, NULL, NULL, NULL);
	sd_bus_message_unref(m);
	return r;
}

void ble_agent_forget(struct ble *b)
{
	b->agent_call = bluez_cancel(b->agent_call);
	b->agent_slot = sd_bus_slot_unref(b->agent_slot);
	b->agent_for = BLE_PAIRING_OFF;
	b->has_agent = false;
}

void ble_agent_plan(struct ble *b)
{
	enum ble_pairing wanted = b->settings.pairing;

	if (bluez_state(b->bluez) != BLUEZ_THERE || wanted == b->agent_for)
		return;
	if (b->agent_for != BLE_PAIRING_OFF)
		(void)call(b, "UnregisterAgent", NULL); /* it may be gone already */
	ble_agent_forget(b);
	b->agent_for = wanted;
	if (wanted == BLE_PAIRING_OFF)
		return;
	int r = sd_bus_add_object_vtable(bluez_bus(b->bluez), &b->agent_slot, BLE_AGENT, "org.bluez.Agent1", agent_vtable, b);
	if (r >= 0)
		r = call(b, "RegisterAgent", wanted == BLE_PAIRING_PASSKEY ? "KeyboardDisplay" : "NoInputNoOutput");
	if (r < 0)
		log_line(LOG_WARNING, "Bluetooth: nobody can pair: %s", strerror(-r));
}
