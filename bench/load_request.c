#include <stdio.h>
#include <stdlib.h>

#include "load.h"

/* {ep} n000042, {rt} t2, {k} 42 */
static struct span expand(const char *text, uint32_t k, char ret[static TEXT_BYTES_MAX])
{
	size_t n = 0;

	while (*text && n + 16 < TEXT_BYTES_MAX) {
		if (strncmp(text, "{ep}", 4) == 0)
			n += (size_t)snprintf(ret + n, 16, "n%06u", k);
		else if (strncmp(text, "{rt}", 4) == 0)
			n += (size_t)snprintf(ret + n, 16, "t%u", k % load.types);
		else if (strncmp(text, "{k}", 3) == 0)
			n += (size_t)snprintf(ret + n, 16, "%u", k);
		else
			ret[n++] = *text;
		text += *text == '{' && strchr(text, '}') ? strchr(text, '}') - text + 1 : 1;
	}
	return SPAN(ret, n);
}

static uint8_t *put_parts(uint8_t *p, unsigned *last, unsigned number, struct span s, char separator)
{
	while (s.n > 0) {
		const uint8_t *end = memchr(s.p, separator, s.n);
		size_t n = end ? (size_t)(end - s.p) : s.n;

		if (n > 0)
			p = option_put(p, last, number, SPAN(s.p, n));
		s = span_sub(s, n + 1, s.n);
	}
	return p;
}

static uint8_t *put_links(uint8_t *p, uint32_t k)
{
	if (load.links)
		*p++ = 0xff;
	for (unsigned i = 0; i < load.links; i++)
		p += sprintf((char *)p, "%s</s/%u>;rt=\"t%u\";if=\"core.s\";ct=0", i ? "," : "", i, (k * load.links + i) % load.types);
	return p;
}

void request_begin(struct slot *s, uint16_t index)
{
	char text[TEXT_BYTES_MAX];
	struct span path = load.mode == LOAD_UPDATE ? span_str(load_location[s->endpoint]) : expand(load.path, s->endpoint, text);
	unsigned last = 0;
	uint8_t *p = s->datagram;

	*p++ = 0x44 | (load.non ? MESSAGE_NON : MESSAGE_CON) << 4;
	*p++ = load.mode == LOAD_REGISTER || load.mode == LOAD_UPDATE ? MESSAGE_POST : MESSAGE_GET;
	p += 2;
	*p++ = (uint8_t)(index >> 8);
	*p++ = (uint8_t)index;
	*p++ = (uint8_t)(s->generation >> 8);
	*p++ = (uint8_t)s->generation;
	if (load.n_etag)
		p = option_put(p, &last, OPT_ETAG, SPAN(load.etag, load.n_etag));
	p = put_parts(p, &last, OPT_URI_PATH, path, '/');
	if (load.mode == LOAD_REGISTER)
		p = option_put_uint(p, &last, OPT_CONTENT_FORMAT, 40);
	p = put_parts(p, &last, OPT_URI_QUERY, expand(load.query, s->endpoint, text), '&');
	s->n_head = (size_t)(p - s->datagram);
	s->last_option = last;
	s->received = 0;
	s->n_etag = 0;
	s->szx = load.szx;
	request_seal(s);
}

/* The caller has put s->mid. */
void request_seal(struct slot *s)
{
	struct block b = { .num = s->received >> (s->szx + 4), .szx = s->szx };
	uint8_t *p = s->datagram + s->n_head;
	unsigned last = s->last_option;

	s->datagram[2] = (uint8_t)(s->mid >> 8);
	s->datagram[3] = (uint8_t)s->mid;
	if (load.mode == LOAD_BLOCK && (s->received > 0 || load.has_szx))
		p = option_put_uint(p, &last, OPT_BLOCK2, block_value(&b));
	if (load.mode == LOAD_REGISTER)
		p = put_links(p, s->endpoint);
	s->n = (size_t)(p - s->datagram);
}
