/* config/check.h - what must hold between keys: TLS needs both files, a source needs the key that its kind
 * asks for, nothing is open to the world by default. */
#pragma once
#include "config/load.h"

void check_config(struct loader *l);
