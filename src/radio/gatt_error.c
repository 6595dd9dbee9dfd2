/* What bluetoothd answers to GATT operations, as gatt.h's errors (BLE-10). Pure. */
#include <errno.h>

#include "radio/gatt_internal.h"

int gatt_error(int error, const char *name, const char *text)
{
	if (error == 0)
		return 0;
	if (name && strcmp(name, "org.bluez.Error.NotPermitted") == 0 && text) {
		if (strcasestr(text, "acquired"))
			return -EBUSY;
		if (strcasestr(text, "paired"))
			return -EACCES;
	}
	if (name && strcmp(name, "org.bluez.Error.InvalidArguments") == 0 && text && (strcasestr(text, "length") || strcasestr(text, "offset")))
		return -EMSGSIZE;
	switch (error) {
	case -ENOENT:
	case -EPERM:
	case -EACCES:
	case -EMSGSIZE:
	case -EBUSY:
	case -EOPNOTSUPP:
	case -ETIMEDOUT:
	case -ENOTCONN:
		return error;
	case -ECONNABORTED:
	case -ECONNRESET:
	case -ECONNREFUSED:
		return -ENOTCONN;
	case -ENOSPC:
		return -EBUSY;
	default:
		return -EIO;
	}
}
