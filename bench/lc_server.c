/* lc_server: a server as libcoap's manual pages show it, to compare with. /small is 16 bytes; /img is an image, by
 * libcoap's own block transfer, or with "own" cut by the handler (one ETag, nothing kept between blocks).
 * usage: lc_server PORT IMAGE_BYTES [own] */
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { IMAGE_BYTES_MAX = 64 << 20, TURN_MS = 200 };

static uint8_t *image;
static size_t image_bytes;
static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
	(void)signo;
	stop = 1;
}

static void get_small(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request, const coap_string_t *query,
		      coap_pdu_t *response)
{
	(void)resource, (void)session, (void)request, (void)query;
	coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
	coap_add_data(response, 16, (const uint8_t *)"0123456789abcdef");
}

static void get_image(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request, const coap_string_t *query,
		      coap_pdu_t *response)
{
	coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
	coap_add_data_large_response(resource, session, request, response, query, COAP_MEDIATYPE_APPLICATION_OCTET_STREAM, -1,
				     0xa1b2c3d4, image_bytes, image, NULL, NULL);
}

static void get_image_own(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
			  const coap_string_t *query, coap_pdu_t *response)
{
	coap_block_t b;
	uint8_t v[4];
	size_t bytes, off, n;

	(void)resource, (void)session, (void)query;
	if (!coap_get_block(request, COAP_OPTION_BLOCK2, &b))
		b = (coap_block_t){ .szx = 6 };
	bytes = (size_t)16 << b.szx;
	off = b.num * bytes;
	if (off >= image_bytes) {
		coap_pdu_set_code(response, COAP_RESPONSE_CODE_BAD_REQUEST);
		return;
	}
	n = image_bytes - off < bytes ? image_bytes - off : bytes;
	coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
	coap_add_option(response, COAP_OPTION_ETAG, 4, (const uint8_t *)"\xa1\xb2\xc3\xd4");
	coap_add_option(response, COAP_OPTION_BLOCK2,
			coap_encode_var_safe(v, sizeof(v), b.num << 4 | (unsigned)(off + n < image_bytes) << 3 | b.szx), v);
	coap_add_data(response, n, image + off);
}

static void add(coap_context_t *ctx, const char *path, coap_method_handler_t fn)
{
	coap_resource_t *r = coap_resource_init(coap_make_str_const(path), 0);

	coap_register_request_handler(r, COAP_REQUEST_GET, fn);
	coap_add_resource(ctx, r);
}

int main(int argc, char **argv)
{
	bool own = argc == 4 && strcmp(argv[3], "own") == 0;
	coap_context_t *ctx;
	coap_address_t a;

	if (argc < 3 || argc > 4 || (image_bytes = strtoul(argv[2], NULL, 10)) == 0 || image_bytes > IMAGE_BYTES_MAX) {
		fprintf(stderr, "usage: lc_server PORT IMAGE_BYTES [own]\n");
		return 2;
	}
	image = mem_new(image_bytes, 1);
	for (size_t i = 0; i < image_bytes; i++)
		image[i] = (uint8_t)(i * 2654435761u >> 13);
	coap_startup();
	coap_set_log_level(LOG_CRIT);
	coap_address_init(&a);
	a.size = sizeof(a.addr.sin);
	a.addr.sin = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ctx = coap_new_context(NULL);
	if (!ctx || !coap_new_endpoint(ctx, &a, COAP_PROTO_UDP)) {
		fprintf(stderr, "lc_server: cannot listen on port %s\n", argv[1]);
		return 1;
	}
	if (!own)
		coap_context_set_block_mode(ctx, COAP_BLOCK_USE_LIBCOAP);
	add(ctx, "small", get_small);
	add(ctx, "img", own ? get_image_own : get_image);
	(void)signal(SIGTERM, on_signal);
	(void)signal(SIGINT, on_signal);
	while (!stop)
		coap_io_process(ctx, TURN_MS);
	coap_free_context(ctx);
	coap_cleanup();
	return 0;
}
