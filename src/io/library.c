#include "io/library.h"

#include <coap3/coap.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <openssl/crypto.h>

void io_library_versions(struct buf *ret)
{
	buf_printf(ret, "%s, libevent %s, curl %s, %s", coap_package_version(), event_get_version(), curl_version_info(CURLVERSION_NOW)->version,
		   OpenSSL_version(OPENSSL_VERSION));
}
