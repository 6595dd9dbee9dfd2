/* directory/rd_coap_internal.h - shared by rd_coap.c (registration) and rd_lookup.c (searching). */
#pragma once
#include "directory/lookup.h"
#include "directory/rd_coap.h"

struct op;
struct results;

struct rd_coap {
	struct rd_coap_config c;
	char *path;                            /* segments, each ends in NUL */
	size_t n_path;
	struct loop_timer *expire;
	struct mono expire_at;
	struct op *ops;                        /* waiting for their commit */
	struct results *results;
	struct wall refused_at, full_at;       /* last logged */
};

enum rd_access { RD_REGISTER, RD_LOOKUP };

/* 0, or fills res with the refusal and returns its code. */
int rd_refuse(struct rd_coap *rd, const struct coap_request *req, enum rd_access what, struct coap_response *res);
/* The link of a link-local registration or lookup (RD-65); loopback counts as one. */
uint32_t rd_link_scope(const struct coap_peer *peer);

struct results *rd_results_new(struct rd_coap *rd);
struct results *rd_results_free(struct results *rs);
