#include "delivery/smp_udp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

struct smp_udp {
	struct smp_udp_config c;
};

struct socket {
	struct smp_target *target;
	struct udp *udp;
};

static int on_node(void *ctx, const char *device, char ret[static SMP_NODE_KEY_BYTES], const char **why)
{
	struct smp_udp *p = ctx;
	char text[UDP_ADDRESS_TEXT_BYTES];
	struct udp_address a;

	int r = p->c.address(p->c.address_ctx, device, &a);
	if (r == -EDESTADDRREQ) {
		*why = "the device has no address here: give it one (dormousectl devices add ID --address HOST[:PORT])";
		return r;
	}
	*why = "the device's address is not one of IPv6 or IPv4";
	if (r < 0)
		return r == -ENODEV ? r : -EINVAL;
	(void)snprintf(ret, SMP_NODE_KEY_BYTES, "udp %s", udp_address_text(&a, text)); /* fits */
	return 0;
}

static void on_datagram(void *ctx, const struct udp_address *from, struct span datagram)
{
	struct socket *s = ctx;

	(void)from;
	smp_target_receive(s->target, datagram);
}

static int on_open(void *ctx, struct smp_target *t, const char *node, bool is_fresh, void **ret)
{
	struct smp_udp *p = ctx;
	struct socket *s = NEW(struct socket);
	struct udp_address a;

	(void)node;
	(void)is_fresh;
	s->target = t;
	int r = p->c.address(p->c.address_ctx, smp_target_device(t), &a);
	if (r == 0)
		r = udp_connect(p->c.smp.loop, &a, on_datagram, s, &s->udp);
	if (r < 0) {
		free(s);
		return -ENOTCONN;              /* no route to it now */
	}
	*ret = s;
	smp_target_up(t, p->c.message_bytes ? p->c.message_bytes(p->c.address_ctx, &a) : 0, 0);
	return 0;
}

static void on_send(void *carrier, struct span message)
{
	struct socket *s = carrier;

	(void)udp_send(s->udp, NULL, message); /* UDP: lost or not, an answer will tell */
}

static void on_close(void *carrier)
{
	struct socket *s = carrier;

	udp_close(s->udp);
	free(s);
}

static const struct smp_carrier_ops ops = { .name = "smp-udp", .node = on_node, .open = on_open, .send = on_send, .close = on_close,
					    .done = free };

int smp_udp_open(const struct smp_udp_config *c, struct delivery_driver **ret)
{
	struct smp_udp *p = NEW(struct smp_udp);

	p->c = *c;
	return smp_driver_open(&c->smp, &ops, p, ret);
}
