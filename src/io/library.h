/* io/library.h - which libraries the wires are made of, for --version. */
#pragma once
#include "base/buf.h"

/* "libcoap 4.3.1, libevent 2.1.12-stable, curl 7.88.1, OpenSSL 3.0.15", as they are loaded now. */
void io_library_versions(struct buf *ret);
