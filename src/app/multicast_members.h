/* app/multicast_members.h - which device belongs to which multicast group, by what it registered and by the configuration:
 * enrolled, with a link of rt=mcd.n, and fitting the group's row. Where a device registered more than once, the registration
 * that came last gives its sector.
 *
 * Kept as registrations and devices change, so that a question, or a change of one device, costs the same however many there
 * are; only multicast_members_set_groups() goes through all. Borrows registry, devices and rows. No sockets, no clock. */
#pragma once
#include "config/config.h"
#include "directory/devices.h"
#include "directory/registry.h"

struct multicast_members;

struct multicast_members *multicast_members_new(const struct registry *registry, const struct devices *devices);
struct multicast_members *multicast_members_free(struct multicast_members *m);
/* At the start and after a reload: everything anew. */
void multicast_members_set_groups(struct multicast_members *m, const struct config_multicast_group *groups, size_t n);
/* A registration came, changed or went: as registry_changed_fn tells it. */
void multicast_members_registration(struct multicast_members *m, const struct registration *reg);
/* A device came, changed or went. */
void multicast_members_device(struct multicast_members *m, const char *device);
/* Index of its group, or -ENOENT. */
int multicast_members_group_of(struct multicast_members *m, const char *device);
/* How many devices that group has. */
size_t multicast_members_count(const struct multicast_members *m, size_t group);
