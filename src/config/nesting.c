#include "config/nesting.h"

#include "base/cursor.h"

/* Past the end of a string that begins at pos with one or three quotes; a one-line string also ends with its line. */
static void skip_string(struct cursor *c)
{
	uint8_t quote = cur_u8(c);
	bool triple = cur_left(c) >= 2 && c->s.p[c->pos] == quote && c->s.p[c->pos + 1] == quote;
	unsigned run = 0;

	if (triple)
		c->pos += 2;
	while (cur_left(c)) {
		uint8_t ch = cur_u8(c);
		if (ch == '\\' && quote == '"') {
			(void)cur_u8(c); /* what is escaped ends nothing; past the end the loop stops */
			run = 0;
		} else if (ch == quote) {
			if (!triple || ++run == 3)
				break;
		} else {
			run = 0;
			if (!triple && ch == '\n') {
				c->pos--;
				break;
			}
		}
	}
}

static void skip_comment(struct cursor *c)
{
	while (cur_left(c) && c->s.p[c->pos] != '\n')
		c->pos++;
}

unsigned nesting_too_deep(struct span text)
{
	struct cursor c = { .s = text };
	unsigned line = 1, dots = 0, open = 0;
	size_t counted = 0;

	while (cur_left(&c)) {
		for (; counted < c.pos; counted++) /* strings may hold lines */
			line += text.p[counted] == '\n';
		switch (c.s.p[c.pos]) {
		case '"':
		case '\'':
			skip_string(&c);
			continue;
		case '#':
			skip_comment(&c);
			continue;
		case '.':
			dots++;
			break;
		case '[':
		case '{':
			open++;
			dots = 0;
			break;
		case ']':
		case '}':
			open -= open > 0;
			dots = 0;
			break;
		case '=':
		case ',':
		case '\n':
			dots = 0;
			break;
		default:
			break;
		}
		if (dots >= NESTING_KEY_PARTS_MAX || open > NESTING_BRACKETS_MAX)
			return line;
		c.pos++;
	}
	return 0;
}
