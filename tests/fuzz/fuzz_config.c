/* The configuration: any bytes are refused with an explanation in clean text, or give a configuration that prints
 * to TOML which loads back to the same. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/load.h"
#include "fuzz.h"

static void must_load_back(const struct config *c)
{
	_cleanup_(config_freep) struct config *again = NULL;
	_cleanup_buf_ struct buf text = { 0 }, error = { 0 }, diff = { 0 };

	config_print(c, &text);
	if (config_parse(buf_span(&text), "/etc/d.toml", &again, &error) < 0 || config_diff(c, again, &diff) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_buf_ struct buf error = { 0 };
	int r = config_parse(SPAN(data, n), "/etc/d.toml", &c, &error);

	if ((r < 0) != (error.n > 0) || !text_is_utf8(buf_span(&error)))
		abort();
	if (r == 0)
		must_load_back(c);
	return 0;
}
