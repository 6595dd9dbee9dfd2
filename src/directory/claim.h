/* directory/claim.h - rules about what a node claims in its registration, for directory/devices.c. Pure. */
#pragma once
#include "directory/devices.h"

/* Something of the claimed model is not in m. */
bool claim_contradicts(const struct device_claim *c, const struct device_model *m);
/* What it reports of itself, but for its model. */
void claim_apply(const struct device_claim *claim, struct device *d);
