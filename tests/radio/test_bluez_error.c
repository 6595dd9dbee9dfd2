#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "radio/bluez.h"

#define FAILED "org.bluez.Error.Failed"

/* BLE-10, and the texts of BlueZ 5.66 */
static const struct {
	const char *name, *text;
	int error;
} rows[] = {
	{ "org.bluez.Error.NotPermitted", "Read not permitted", -EPERM },
	{ "org.bluez.Error.NotPermitted", "Write acquired", -EPERM },
	{ "org.bluez.Error.NotAuthorized", "Operation Not Authorized", -EACCES },
	{ "org.bluez.Error.NotSupported", "Operation is not supported", -EOPNOTSUPP },
	{ "org.bluez.Error.InvalidValueLength", "Invalid value length", -EMSGSIZE },
	{ "org.bluez.Error.InvalidOffset", "Invalid offset", -EMSGSIZE },
	{ "org.bluez.Error.InProgress", "In Progress", -EBUSY },
	{ "org.bluez.Error.NotConnected", "Not Connected", -ENOTCONN },
	{ "org.bluez.Error.NotReady", "Resource Not Ready", -ENOTCONN },
	{ "org.bluez.Error.AuthenticationFailed", "Authentication Failed", -EACCES },
	{ "org.bluez.Error.AlreadyExists", "Already Exists", -EEXIST },
	{ "org.bluez.Error.DoesNotExist", "Does Not Exist", -ENOENT },
	{ "org.freedesktop.DBus.Error.UnknownObject", "Method \"Connect\" ... doesn't exist", -ENOENT },
	{ "org.freedesktop.DBus.Error.NoReply", "Message recipient disconnected from message bus without replying", -ETIMEDOUT },
	{ FAILED, "Not connected", -ENOTCONN },
	{ FAILED, "le-connection-abort-by-local", -ECONNABORTED },
	{ FAILED, "le-connection-abort-by-remote", -ECONNRESET },
	{ FAILED, "le-connection-timeout", -ETIMEDOUT },
	{ FAILED, "le-connection-refused", -ECONNREFUSED },
	{ FAILED, "le-connection-concurrent-connection-limit", -EBUSY },
	{ FAILED, "le-connection-unknown", -EIO },
	{ FAILED, "Operation failed with ATT error: 0x01 (Invalid Handle)", -ENOENT },
	{ FAILED, "Operation failed with ATT error: 0x02", -EPERM },
	{ FAILED, "Operation failed with ATT error: 0x03", -EPERM },
	{ FAILED, "Operation failed with ATT error: 0x05", -EACCES },
	{ FAILED, "Operation failed with ATT error: 0x0d", -EMSGSIZE },
	{ FAILED, "Operation failed with ATT error: 0x0f", -EACCES },
	{ FAILED, "Operation failed with ATT error: 0x0e", -EIO },
	{ FAILED, "Operation failed with ATT error: 0x80", -EIO },
	{ FAILED, "Operation failed with ATT error: 0xffffffffffffffffffff", -EIO },
	{ FAILED, NULL, -EIO },
	{ NULL, NULL, -EIO },
	{ "", "", -EIO },
};

static void refusals_are_told_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(bluez_error(rows[i].name, rows[i].text), rows[i].error);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(refusals_are_told_apart) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
