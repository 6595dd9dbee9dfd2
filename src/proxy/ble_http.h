/* proxy/ble_http.h - the ble: tree as HTTP resources below /hc/ble:/ (the form of RFC 8075's default mapping): GET and HEAD, PUT and
 * POST of values, and GET of a value as text/event-stream, which tells of every change until it is left. Who may was judged before by
 * whoever owns the server. Loop thread. */
#pragma once
#include "io/http_server.h"
#include "proxy/ble_tree.h"

struct ble_http;

enum { BLE_HTTP_ACCEPT_BYTES_MAX = 1024, BLE_HTTP_KEEPALIVE_MS = 15000 };

#define BLE_HTTP_PATH "/hc/"
#define BLE_HTTP_PREFIX "/hc/ble:/"

struct ble_http *ble_http_new(struct loop *l, struct ble_tree *t);
/* After the tree and the HTTP server. */
struct ble_http *ble_http_free(struct ble_http *h);
/* A request for a path below BLE_HTTP_PATH: answers it, now or later. roles: enum credential_role bits; who: for wrote(). */
void ble_http_serve(struct ble_http *h, struct http_exchange *x, const struct http_request *req, unsigned roles, const char *who);

/* The best format of an Accept header (NULL = none was sent) that the tree could answer in, or COAP_CF_NONE for any. -ENOENT: none.
 * *ret_stream: text/event-stream is wanted. */
int ble_http_accept(const char *accept, bool *ret_stream, int *ret_format);
/* The Content-Format of a Content-Type; COAP_CF_NONE when there is none; -ENOENT unknown. */
int ble_http_type(const char *type, int *ret_format);
