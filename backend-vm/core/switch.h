/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The applications: `switch`, a learning Ethernet switch of up to 32 ports, and `echo`, which returns each
 * frame to its port with the addresses swapped. Both work on bursts of net.h and know nothing of rings.
 *
 * The ports are served by one or more workers (worker.h); worker 0 is the control plane's.
 */
#ifndef VVU_CORE_SWITCH_H
#define VVU_CORE_SWITCH_H

#include "core/worker.h"

struct be_switch {
	enum be_application app;
	unsigned int num_ports;
	struct port *ports[BE_PORTS_MAX];
	unsigned int num_workers;
	struct worker *workers;
	struct mailbox *boxes; /* switch_box() */
	struct switch_ops ops;
	unsigned int paused;
	uint32_t attention; /* some worker marked a ring as failed, or a port as flooding kicks */
	uint32_t held;	    /* ports whose kicks are held off */
};

/* Bytes of a switch with 1 to WORKERS_MAX workers, and how it is made in them; mem is 64-aligned, borrowed. */
size_t switch_bytes(unsigned int workers);
struct be_switch *switch_make(void *mem, unsigned int workers);

/* The mailbox from one worker to another. */
static inline struct mailbox *switch_box(const struct be_switch *sw, unsigned int from,
					 unsigned int to)
{
	return &sw->boxes[from * (sw->num_workers - 1) + to - (to > from)];
}

/* Then: how workers wake each other (ops may be NULL with one worker). */
void switch_set_ops(struct be_switch *sw, const struct switch_ops *ops);

/* Then: the ports, already set up, borrowed. */
void switch_add_port(struct be_switch *sw, struct port *port);

/* At last. seed: not to be guessed. 0, or -EINVAL with *error (an address cannot be pinned). */
int switch_init(struct be_switch *sw, const struct be_options *o, uint64_t seed,
		struct text *error);

/* Tells worker 0 the time. */
void switch_set_time(struct be_switch *sw, uint64_t now_ns);

/* A round of worker 0, and what others want of the control plane. Returns the frames it took. */
unsigned int switch_poll(struct be_switch *sw);

/* The port's front-end has gone: forget what was learned there. Call after port_disconnect(). Pauses the workers. */
void switch_port_down(struct be_switch *sw, struct port *port);

/* Rings came, went or changed: deals them out to the workers, which stand (spread.c). */
void switch_spread(struct be_switch *sw);

/* Any worker: the control plane is to look for failed rings. */
void switch_ask_attention(struct be_switch *sw);

/* Counters: of a port, and over all ports. */
uint64_t switch_counter(const struct be_switch *sw, const struct port *port, enum port_counter c);
uint64_t switch_frames_delivered(const struct be_switch *sw);
uint64_t switch_frames_dropped(const struct be_switch *sw);

/* The application's part of a burst (switch.c, echo.c): sets drop or out of every frame and delivers. */
void switch_burst(struct worker *w);
void echo_burst(struct worker *w);

/* Floods what SEND_RARP asked for; worker 0. */
void switch_rarps(struct worker *w);

#endif
