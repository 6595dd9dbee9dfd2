/* Whatever the kernel, or who plays it, sends. */
#include "codec/netlink.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = { .s = SPAN(data, size) };
	char why[NETLINK_TEXT_BYTES];
	struct netlink_neighbour n;
	struct netlink_message m;
	struct netlink_address a;
	struct netlink_wpan w;
	struct netlink_link l;
	uint16_t family;
	int error;

	while (netlink_next(&c, &m) > 0) {
		(void)netlink_error_decode(&m, &error, why); /* none may crash */
		(void)netlink_link_decode(&m, &l);
		(void)netlink_address_decode(&m, &a);
		(void)netlink_neighbour_decode(&m, &n);
		(void)netlink_family_decode(&m, &family);
		(void)netlink_wpan_decode(&m, &w);
	}
	return 0;
}
