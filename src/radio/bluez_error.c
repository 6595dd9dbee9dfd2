/* What bluetoothd and the bus answer when they refuse, as errno. Pure. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "radio/bluez.h"

static const struct {
	const char *name;
	int error;
} names[] = {
	{ "org.bluez.Error.NotPermitted", -EPERM },
	{ "org.bluez.Error.NotAuthorized", -EACCES },
	{ "org.bluez.Error.AuthenticationFailed", -EACCES },
	{ "org.bluez.Error.AuthenticationRejected", -EACCES },
	{ "org.bluez.Error.AuthenticationCanceled", -EACCES },
	{ "org.bluez.Error.AuthenticationTimeout", -EACCES },
	{ "org.bluez.Error.NotSupported", -EOPNOTSUPP },
	{ "org.bluez.Error.InvalidValueLength", -EMSGSIZE },
	{ "org.bluez.Error.InvalidOffset", -EMSGSIZE },
	{ "org.bluez.Error.InvalidArguments", -EINVAL },
	{ "org.bluez.Error.InProgress", -EBUSY },
	{ "org.bluez.Error.NotConnected", -ENOTCONN },
	{ "org.bluez.Error.NotReady", -ENOTCONN },
	{ "org.bluez.Error.NotAvailable", -ENOENT },
	{ "org.bluez.Error.DoesNotExist", -ENOENT },
	{ "org.bluez.Error.AlreadyConnected", -EISCONN },
	{ "org.bluez.Error.AlreadyExists", -EEXIST },
	{ "org.bluez.Error.ConnectionAttemptFailed", -ECONNREFUSED },
	{ "org.freedesktop.DBus.Error.UnknownObject", -ENOENT },
	{ "org.freedesktop.DBus.Error.UnknownMethod", -ENOENT },   /* bluetoothd says so of an object that is gone, too */
	{ "org.freedesktop.DBus.Error.UnknownInterface", -ENOENT },
	{ "org.freedesktop.DBus.Error.NoReply", -ETIMEDOUT },
	{ "org.freedesktop.DBus.Error.Timeout", -ETIMEDOUT },
	{ "org.freedesktop.DBus.Error.TimedOut", -ETIMEDOUT },
	{ "System.Error.ETIMEDOUT", -ETIMEDOUT },
	{ "org.freedesktop.DBus.Error.ServiceUnknown", -ENOTCONN },
	{ "org.freedesktop.DBus.Error.NameHasNoOwner", -ENOTCONN },
	{ "org.freedesktop.DBus.Error.Disconnected", -ENOTCONN },
	{ "System.Error.ECONNRESET", -ENOTCONN },
	{ "System.Error.ENOTCONN", -ENOTCONN },
	{ "org.freedesktop.DBus.Error.AccessDenied", -EACCES },
	{ "org.freedesktop.DBus.Error.LimitsExceeded", -EBUSY },
};

/* Words in the text of org.bluez.Error.Failed. */
static const struct {
	const char *words;
	int error;
} failed[] = {
	{ "Not connected", -ENOTCONN },
	{ "le-connection-abort-by-local", -ECONNABORTED },
	{ "le-connection-abort-by-remote", -ECONNRESET },
	{ "le-connection-terminate-by-local", -ECONNABORTED },
	{ "le-connection-refused", -ECONNREFUSED },
	{ "le-connection-timeout", -ETIMEDOUT },
	{ "le-connection-busy", -EBUSY },
	{ "le-connection-concurrent-connection-limit", -EBUSY },
	{ "le-connection-adapter-not-powered", -ENOTCONN },
	{ "le-connection-not-supported", -EOPNOTSUPP },
	{ "le-connection-canceled", -ECONNABORTED },
	{ "le-connection-gatt-browsing", -EBUSY },
	{ "le-connection-key-missing", -EACCES },
	{ "Software caused connection abort", -ECONNABORTED },         /* BlueZ before 5.63 */
	{ "Operation already in progress", -EBUSY },
	{ "Connection refused", -ECONNREFUSED },
	{ "Device or resource busy", -EBUSY },
	{ "Host is down", -ETIMEDOUT },
	{ "Operation timed out", -ETIMEDOUT },
	{ "Transport endpoint is not connected", -ENOTCONN },
	{ "Resource Not Ready", -ENOTCONN },
};

/* Core specification, Vol 3, Part F, 3.4.1.1. */
static int att_error(unsigned long code)
{
	switch (code) {
	case 0x01: /* invalid handle */
	case 0x0a: /* attribute not found */
		return -ENOENT;
	case 0x02: /* read not permitted */
	case 0x03: /* write not permitted */
		return -EPERM;
	case 0x05: /* insufficient authentication */
	case 0x08: /* insufficient authorization */
	case 0x0c: /* encryption key size too short */
	case 0x0f: /* insufficient encryption */
		return -EACCES;
	case 0x06: /* request not supported */
		return -EOPNOTSUPP;
	case 0x07: /* invalid offset */
	case 0x0d: /* invalid attribute value length */
		return -EMSGSIZE;
	case 0x09: /* prepare queue full */
	case 0x11: /* insufficient resources */
	case 0xfe: /* procedure already in progress */
		return -EBUSY;
	default:
		return -EIO;
	}
}

int bluez_error(const char *name, const char *text)
{
	const char *att = text ? strstr(text, "ATT error: 0x") : NULL;

	if (att)
		return att_error(strtoul(att + strlen("ATT error: "), NULL, 16));
	for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(name, names[i].name) == 0)
			return names[i].error;
	for (size_t i = 0; text && i < sizeof(failed) / sizeof(*failed); i++)
		if (strcasestr(text, failed[i].words))
			return failed[i].error;
	return -EIO;
}
