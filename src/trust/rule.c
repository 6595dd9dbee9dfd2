#include "trust/rule.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static void rule_fill(struct verdict_rule *ret, const char *id, const char *name, enum rule_outcome o, const char *fmt, va_list ap)
{
	*ret = (struct verdict_rule){ .name = name, .outcome = o };
	(void)snprintf(ret->id, sizeof(ret->id), "%s", id); /* ids are ours and short */
	(void)vsnprintf(ret->evidence, sizeof(ret->evidence), fmt, ap); /* cut on purpose */
	for (char *p = ret->evidence; *p; p++) {
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	}
}

void rule_set(struct verdict_rule *ret, const char *id, const char *name, enum rule_outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rule_fill(ret, id, name, o, fmt, ap);
	va_end(ap);
}

void rule_append(struct verdict *v, const struct verdict_rule *r)
{
	assert(v->n_rules <= TRUST_RULES_MAX);
	if (v->n_rules < TRUST_RULES_MAX)
		v->rules[v->n_rules++] = *r;
	else if (r->outcome < v->rules[TRUST_RULES_MAX - 1].outcome)
		v->rules[TRUST_RULES_MAX - 1] = *r;
}

void rule_add(struct verdict *v, const char *id, const char *name, enum rule_outcome o, const char *fmt, ...)
{
	struct verdict_rule r;
	va_list ap;

	va_start(ap, fmt);
	rule_fill(&r, id, name, o, fmt, ap);
	va_end(ap);
	rule_append(v, &r);
}

const char *trust_outcome_name(enum trust_outcome o)
{
	switch (o) {
	case TRUST_REJECTED:
		return "rejected";
	case TRUST_UNDECIDED:
		return "undecided";
	case TRUST_ACCEPTED:
		return "accepted";
	}
	return "rejected";
}

const char *rule_outcome_name(enum rule_outcome o)
{
	switch (o) {
	case RULE_FAIL:
		return "fail";
	case RULE_UNDECIDED:
		return "undecided";
	case RULE_PASS:
		return "pass";
	case RULE_WARN:
		return "warn";
	case RULE_SKIP:
		return "skip";
	}
	return "fail";
}
