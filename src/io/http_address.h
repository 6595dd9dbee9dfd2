/* io/http_address.h - may a vendor's name lead us there? Pure. */
#pragma once
#include "base/span.h"

struct sockaddr;

/* Globally reachable unicast (IANA special-purpose address registries): not loopback, private, link-local, shared,
 * multicast, documentation or reserved, nor one of these inside an IPv6 transition address. */
bool http_address_is_public(const struct sockaddr *sa);
bool http_address_text_is_public(const char *ip);      /* numeric, no brackets; false for anything else */
