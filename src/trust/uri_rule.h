/* trust/uri_rule.h - from where may a payload come (SU-22, threats T5, T6): http, https, coap or coaps, or relative;
 * a host that the anchor names; no credentials, no local files, no addresses of our own network unless named. Pure. */
#pragma once
#include "base/span.h"

enum { URI_RULE_WHY_BYTES = 160 };

/* hosts: NULL-terminated; empty = any public host. why: what is wrong, printable; set when false. */
bool uri_rule_allows(struct span uri, char *const *hosts, char why[static URI_RULE_WHY_BYTES]);
