// SPDX-License-Identifier: BSD-2-Clause
#include "core/switch.h"

#define OUT_FLOOD FDB_NO_PORT

/* Learns the source. CTR_COUNT, or the reason to drop the frame. */
static enum port_counter switch_learn(struct be_switch *sw, struct port *port, uint64_t src)
{
	if (src == port->last_src && sw->now == port->last_src_now &&
	    sw->fdb.generation == port->last_gen)
		return CTR_COUNT;
	if (!src || fdb_is_group(src))
		return CTR_DROP_BAD_SOURCE;
	switch (fdb_learn(&sw->fdb, src, port->index, sw->now)) {
	case FDB_PINNED:
		return CTR_DROP_PINNED;
	case FDB_LEARNED:
		port->counters[CTR_ADDRESSES_LEARNED]++;
		break;
	case FDB_MOVED:
		port->counters[CTR_ADDRESSES_MOVED]++;
		break;
	case FDB_HELD:
		port->counters[CTR_ADDRESSES_HELD]++;
		break;
	case FDB_FULL:
		port->counters[CTR_ADDRESSES_FULL]++;
		break;
	case FDB_KNOWN:
		break;
	}
	port->last_src = src;
	port->last_src_now = sw->now;
	return CTR_COUNT;
}

/* The port a frame goes to, or OUT_FLOOD. */
static unsigned int switch_lookup(struct be_switch *sw, struct port *port, uint64_t dst)
{
	unsigned int out;

	if (fdb_is_group(dst))
		return OUT_FLOOD;
	if (dst == port->last_dst && sw->now == port->last_dst_now &&
	    sw->fdb.generation == port->last_gen)
		return port->last_out;
	out = fdb_lookup(&sw->fdb, dst, sw->now);
	port->last_dst = dst;
	port->last_dst_now = sw->now;
	port->last_out = out;
	return out;
}

static void switch_decide(struct be_switch *sw, struct port *port, struct net_frame *f)
{
	uint64_t dst = fdb_mac(f->head), src = fdb_mac(f->head + 6);

	f->drop = (uint8_t)switch_learn(sw, port, src);
	if (sw->fdb.generation != port->last_gen) {
		/* The table changed: what both caches hold besides src is stale. */
		port->last_gen = sw->fdb.generation;
		port->last_dst = 0;
	}
	if (f->drop != CTR_COUNT)
		return;
	f->out = (uint8_t)switch_lookup(sw, port, dst);
	if (f->out == port->index)
		f->drop = CTR_DROP_SAME_PORT;
}

/* To every other port that listens. Returns how many got it. */
static unsigned int switch_flood(struct be_switch *sw, const struct port *from, struct net_frame *f,
				 uint32_t *touched)
{
	unsigned int num = 0;

	for (unsigned int i = 0; i < sw->num_ports; i++) {
		struct port *to = sw->ports[i];

		if (to == from || !to->num_rx)
			continue;
		net_deliver(to, f, &sw->scratch);
		*touched |= BIT_U32(i);
		num++;
	}
	return num;
}

static void switch_flush(struct be_switch *sw, uint32_t touched)
{
	while (touched) {
		unsigned int i = (unsigned int)__builtin_ctz(touched);

		touched &= touched - 1;
		net_rx_flush(sw->ports[i]);
	}
}

void switch_burst(struct be_switch *sw, struct net_burst *burst)
{
	struct port *port = burst->port;
	uint32_t touched = 0;
	unsigned int copies = 0;

	for (unsigned int i = 0; i < burst->num; i++) {
		if (burst->frames[i].drop == CTR_COUNT)
			switch_decide(sw, port, &burst->frames[i]);
	}
	for (unsigned int i = 0; i < burst->num; i++) {
		struct net_frame *f = &burst->frames[i];

		/*
		 * A flooded frame uses up as much of the sender's turn as it makes copies; the rest waits for
		 * the next.
		 */
		if (copies >= NET_BURST && copies > i) {
			net_tx_untake(burst, burst->num - i);
			break;
		}
		if (f->drop != CTR_COUNT) {
			port->counters[f->drop]++;
		} else if (f->out != OUT_FLOOD) {
			net_deliver(sw->ports[f->out], f, &sw->scratch);
			touched |= BIT_U32(f->out);
			copies++;
		} else {
			unsigned int num = switch_flood(sw, port, f, &touched);

			port->counters[num ? CTR_RX_FLOODED : CTR_DROP_NO_PORT]++;
			copies += num;
		}
	}
	switch_flush(sw, touched);
}

/* virtio-net: a disabled transmit ring is emptied, its frames go nowhere (vhost-user §Ring states). */
static void discard_burst(struct net_burst *burst)
{
	burst->port->counters[CTR_DROP_DISABLED] += burst->num;
}

/* SEND_RARP: tells the other ports' networks where the (migrated) guest is now. */
static void switch_rarp(struct be_switch *sw, struct port *port)
{
	struct net_frame *f = &sw->rarp;
	uint32_t touched = 0;

	port->rarp = false;
	if (sw->app != BE_APP_SWITCH)
		return;
	*f = (struct net_frame){ .len = FRAME_RARP_LEN,
				 .head_len = FRAME_RARP_LEN,
				 .drop = CTR_COUNT };
	frame_make_rarp(f->head, port->rarp_mac);
	switch_decide(sw, port, f);
	if (f->drop == CTR_COUNT)
		switch_flood(sw, port, f, &touched);
	switch_flush(sw, touched);
}

unsigned int switch_poll(struct be_switch *sw)
{
	struct net_burst *burst = &sw->burst;
	unsigned int total = 0;

	sw->polls++;
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		if (port->rarp)
			switch_rarp(sw, port);
		/* num_tx shrinks when a ring turns out to be broken. */
		for (unsigned int i = 0; i < port->num_tx; i++) {
			struct vring *vr = port->tx[i];

			if (!net_tx_burst(port, vr, burst))
				continue;
			if (!vr->enabled)
				discard_burst(burst);
			else if (sw->app == BE_APP_ECHO)
				echo_burst(sw, burst);
			else
				switch_burst(sw, burst);
			net_tx_done(burst);
			sw->bursts++;
			total += burst->num;
		}
	}
	return total;
}

static int switch_pin(struct be_switch *sw, const struct be_options *o, struct text *error)
{
	for (unsigned int i = 0; i < o->num_macs; i++) {
		for (unsigned int p = 0; p < sw->num_ports; p++) {
			unsigned int c = 0;
			const char *a = o->macs[i].port, *b = sw->ports[p]->name;

			while (a[c] && a[c] == b[c])
				c++;
			if (a[c] != b[c] || !fdb_pin(&sw->fdb, o->macs[i].mac, sw->ports[p]->index))
				continue;
			text_init(error);
			text_add(error, "port ");
			text_add(error, b);
			text_add(error, ": no room to pin another address");
			return -EINVAL;
		}
	}
	return 0;
}

void switch_add_port(struct be_switch *sw, struct port *port)
{
	sw->ports[sw->num_ports++] = port;
}

int switch_init(struct be_switch *sw, const struct be_options *o, uint64_t seed, struct text *error)
{
	sw->app = o->app;
	fdb_init(&sw->fdb, seed, o->age, sw->num_ports);
	return switch_pin(sw, o, error);
}

void switch_set_time(struct be_switch *sw, uint64_t now_ns)
{
	sw->now = (uint32_t)(now_ns / 1000000000u);
}

void switch_port_down(struct be_switch *sw, struct port *port)
{
	fdb_flush(&sw->fdb, port->index);
}

bool switch_arm(struct be_switch *sw)
{
	bool work = false;

	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < port->num_tx; i++)
			work |= vq_dev_kick_enable(&port->tx[i]->vq);
	}
	return work;
}

void switch_disarm(struct be_switch *sw)
{
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < port->num_tx; i++)
			vq_dev_kick_disable(&port->tx[i]->vq);
	}
}

bool switch_must_poll(const struct be_switch *sw)
{
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		const struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < port->num_tx; i++) {
			if (!port->tx[i]->has_kick)
				return true;
		}
	}
	return false;
}

uint64_t switch_frames_delivered(const struct be_switch *sw)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < sw->num_ports; p++)
		sum += sw->ports[p]->counters[CTR_TX_FRAMES];
	return sum;
}

uint64_t switch_frames_dropped(const struct be_switch *sw)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < sw->num_ports; p++) {
		for (unsigned int c = CTR_DROP_FIRST; c < CTR_DROP_END; c++)
			sum += sw->ports[p]->counters[c];
	}
	return sum;
}
