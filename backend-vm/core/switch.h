/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The applications: `switch`, a learning Ethernet switch of up to 32 ports, and `echo`, which returns each
 * frame to its port with the addresses swapped. Both work on bursts of net.h and know nothing of rings.
 *
 * One round of switch_poll() takes one burst of every transmit ring that has one. A burst is decided first (learn, look
 * up), then delivered, then every receiver touched and the sender are told once.
 */
#ifndef VVU_CORE_SWITCH_H
#define VVU_CORE_SWITCH_H

#include "core/fdb.h"
#include "core/net.h"

struct be_switch {
	enum be_application app;
	unsigned int num_ports;
	struct port *ports[BE_PORTS_MAX];
	uint32_t now; /* seconds, for the table */
	uint64_t bursts;
	uint64_t polls;
	uint64_t sleeps;
	struct fdb fdb;
	struct net_burst burst;
	struct net_frame rarp;
	struct net_scratch scratch;
};

/* ports: already set up, borrowed. seed: not to be guessed. 0, or -EINVAL with *error (an address cannot be pinned). */
int switch_init(struct be_switch *sw, const struct be_options *o, uint64_t seed,
		struct text *error);
void switch_add_port(struct be_switch *sw, struct port *port);

/* The clock of ageing and of the move limit; to be told every now and then. */
void switch_set_time(struct be_switch *sw, uint64_t now_ns);

/* One round. Returns the frames it took. */
unsigned int switch_poll(struct be_switch *sw);

/* The port's front-end has gone: forget what was learned there. Call after port_disconnect(). */
void switch_port_down(struct be_switch *sw, struct port *port);

/*
 * Asks every transmit ring for a kick. Returns true when there is work already; then (and after waking up)
 * switch_disarm() before polling on.
 */
bool switch_arm(struct be_switch *sw);
void switch_disarm(struct be_switch *sw);

/* True when some ring has no kick fd: such rings must be looked at every millisecond (vhost-user §SET_VRING_KICK). */
bool switch_must_poll(const struct be_switch *sw);

/* Counters over all ports. */
uint64_t switch_frames_delivered(const struct be_switch *sw);
uint64_t switch_frames_dropped(const struct be_switch *sw);

/* The application's part of a burst (switch.c, echo.c): sets drop or out of every frame and delivers. */
void switch_burst(struct be_switch *sw, struct net_burst *burst);
void echo_burst(struct be_switch *sw, struct net_burst *burst);

#endif
