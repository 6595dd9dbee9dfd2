#include "delivery/smp_target_internal.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

struct held {
	char key[SMP_NODE_KEY_BYTES];
	UT_hash_handle hh;
};

struct smp_lock {
	struct held *held;
};

struct smp_lock *smp_lock_new(void)
{
	return NEW(struct smp_lock);
}

struct smp_lock *smp_lock_free(struct smp_lock *k)
{
	struct held *h, *tmp;

	if (!k)
		return NULL;
	HASH_ITER(hh, k->held, h, tmp) {
		HASH_DEL(k->held, h);
		free(h);
	}
	free(k);
	return NULL;
}

bool smp_lock_take(struct smp_lock *k, const char *key)
{
	struct held *h = NULL;

	if (!k)
		return true;
	HASH_FIND_STR(k->held, key, h);
	if (h)
		return false;
	h = NEW(struct held);
	(void)text_copy(h->key, sizeof(h->key), span_str(key)); /* keys are no longer than that */
	HASH_ADD_STR(k->held, key, h);
	return true;
}

void smp_lock_give(struct smp_lock *k, const char *key)
{
	struct held *h = NULL;

	if (k)
		HASH_FIND_STR(k->held, key, h);
	if (!h)
		return;
	HASH_DEL(k->held, h);
	free(h);
}
