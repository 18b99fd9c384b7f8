// SPDX-License-Identifier: BSD-2-Clause
#include "core/switch.h"

#define OUT_FLOOD FDB_NO_PORT

/* Neither an address nor a group. */
#define NO_MAC UINT64_MAX

/* Learns the source. CTR_COUNT, or the reason to drop the frame. */
static enum port_counter switch_learn(struct worker *w, struct port *port, uint64_t src)
{
	if (!src || fdb_is_group(src))
		return CTR_DROP_BAD_SOURCE;
	switch (fdb_learn(&w->fdb, src, port->index, w->now)) {
	case FDB_PINNED:
		return CTR_DROP_PINNED;
	case FDB_LEARNED:
		worker_count(w, port, CTR_ADDRESSES_LEARNED, 1);
		worker_tell_learned(w, src, port);
		break;
	case FDB_MOVED:
		worker_count(w, port, CTR_ADDRESSES_MOVED, 1);
		worker_tell_learned(w, src, port);
		break;
	case FDB_REFRESHED:
		worker_tell_learned(w, src, port);
		break;
	case FDB_HELD:
		worker_count(w, port, CTR_ADDRESSES_HELD, 1);
		break;
	case FDB_FULL:
		worker_count(w, port, CTR_ADDRESSES_FULL, 1);
		break;
	case FDB_KNOWN:
		break;
	}
	return CTR_COUNT;
}

/* Changes when earlier look-ups may have become wrong, and when sources are to be refreshed. */
static inline uint64_t switch_stamp(const struct worker *w)
{
	return (uint64_t)w->now << 32 | w->fdb.generation;
}

/* What the caches don't know. */
static __attribute__((noinline)) void switch_decide_slow(struct worker *w, struct port *port,
							 struct vring_cache *cache,
							 struct net_frame *f)
{
	uint64_t dst = fdb_mac(f->bytes), src = fdb_mac(f->bytes + 6);

	if (cache->stamp != switch_stamp(w) || cache->src != src) {
		cache->src = NO_MAC;
		cache->dst = NO_MAC;
		f->drop = (uint8_t)switch_learn(w, port, src);
		cache->stamp = switch_stamp(w);
		if (f->drop != CTR_COUNT)
			return;
		cache->src = src;
	}
	cache->out = fdb_is_group(dst) ? OUT_FLOOD : fdb_lookup(&w->fdb, dst, w->now);
	cache->dst = dst;
	f->out = (uint8_t)cache->out;
}

static inline void switch_decide(struct worker *w, struct port *port, struct vring_cache *cache,
				 struct net_frame *f)
{
	uint64_t dst = fdb_mac(f->bytes), src = fdb_mac(f->bytes + 6);

	if ((dst ^ cache->dst) | (src ^ cache->src) | (cache->stamp ^ switch_stamp(w)))
		switch_decide_slow(w, port, cache, f);
	else
		f->out = (uint8_t)cache->out;
	if (f->drop == CTR_COUNT && f->out == port->index)
		f->drop = CTR_DROP_SAME_PORT;
}

/* To every other port that listens. Returns how many got it. */
static unsigned int switch_flood(struct worker *w, const struct port *from, struct net_frame *f)
{
	struct be_switch *sw = w->sw;
	unsigned int num = 0;

	for (unsigned int i = 0; i < sw->num_ports; i++) {
		struct port *to = sw->ports[i];

		if (to == from || !to->num_rx)
			continue;
		if (!worker_deliver(w, to, f))
			worker_count(w, to, CTR_DROP_WORKER_BUSY, 1);
		num++;
	}
	if (num)
		w->burst.extra += (uint64_t)(num - 1) * TURN_COPY(f->len);
	return num;
}

void switch_burst(struct worker *w)
{
	struct net_burst *burst = &w->burst;
	struct port *port = burst->port;
	unsigned int copies = 0;

	for (unsigned int i = 0; i < burst->num; i++) {
		if (burst->frames[i].drop == CTR_COUNT)
			switch_decide(w, port, &burst->vr->cache, &burst->frames[i]);
	}
	for (unsigned int i = 0; i < burst->num; i++) {
		struct net_frame *f = &burst->frames[i];
		unsigned int num;

		/*
		 * A flooded frame uses up as much of the sender's turn as it makes copies; the rest waits for
		 * the next.
		 */
		if (copies >= NET_BURST && copies > i) {
			net_tx_untake(w, burst->num - i);
			break;
		}
		num = w->isa->forward(w, i);
		if (num) {
			copies += num;
			i += num - 1;
		} else if (f->drop != CTR_COUNT) {
			worker_count(w, port, f->drop, 1);
		} else if (f->out != OUT_FLOOD) {
			if (!worker_deliver(w, w->sw->ports[f->out], f)) {
				worker_put_back(w, i);
				break;
			}
			copies++;
		} else {
			num = switch_flood(w, port, f);
			worker_count(w, port, num ? CTR_RX_FLOODED : CTR_DROP_NO_PORT, 1);
			copies += num;
		}
	}
}

/* SEND_RARP: tells the other ports' networks where the (migrated) guest is now. */
static void switch_rarp(struct worker *w, struct port *port)
{
	struct net_frame *f = &w->rarp;
	struct vring_cache cache = { 0 };

	port->rarp = false;
	if (w->sw->app != BE_APP_SWITCH)
		return;
	*f = (struct net_frame){ .bytes = w->rarp_bytes,
				 .len = FRAME_RARP_LEN,
				 .head_len = FRAME_RARP_LEN,
				 .drop = CTR_COUNT };
	w->burst.port = port; /* for what becomes of it, as if it had sent it */
	frame_make_rarp(w->rarp_bytes, port->rarp_mac);
	switch_decide(w, port, &cache, f);
	if (f->drop == CTR_COUNT)
		switch_flood(w, port, f);
	net_flush(w);
	worker_publish_mail(w);
}

void switch_rarps(struct worker *w)
{
	for (unsigned int p = 0; p < w->sw->num_ports; p++) {
		if (w->sw->ports[p]->rarp)
			switch_rarp(w, w->sw->ports[p]);
	}
}

/* Rings that workers found broken are stopped here, ports that flood kicks held off. */
static void switch_attend(struct be_switch *sw)
{
	switch_pause(sw);
	for (unsigned int p = 0; p < sw->num_ports; p++) {
		struct port *port = sw->ports[p];

		for (unsigned int i = 0; i < PORT_VRINGS; i++) {
			if (port->vrings[i].failed)
				port_ring_broken(port, &port->vrings[i]);
		}
	}
	switch_hold_kicks(sw);
	switch_resume(sw);
}

unsigned int switch_poll(struct be_switch *sw)
{
	unsigned int frames = worker_round(&sw->workers[0]);

	if (__atomic_load_n(&sw->attention, __ATOMIC_RELAXED)) {
		__atomic_store_n(&sw->attention, 0, __ATOMIC_RELAXED);
		switch_attend(sw);
	}
	return frames;
}

void switch_ask_attention(struct be_switch *sw)
{
	__atomic_store_n(&sw->attention, 1, __ATOMIC_RELEASE);
}

/* Every worker's table has every pin. */
static int switch_pin_all(struct be_switch *sw, uint64_t mac, unsigned int port)
{
	int ret = 0;

	for (unsigned int i = 0; i < sw->num_workers && !ret; i++)
		ret = fdb_pin(&sw->workers[i].fdb, mac, port);
	return ret;
}

static int switch_pin(struct be_switch *sw, const struct be_options *o, struct text *error)
{
	for (unsigned int i = 0; i < o->num_macs; i++) {
		for (unsigned int p = 0; p < sw->num_ports; p++) {
			unsigned int c = 0;
			const char *a = o->macs[i].port, *b = sw->ports[p]->name;

			while (a[c] && a[c] == b[c])
				c++;
			if (a[c] != b[c] ||
			    !switch_pin_all(sw, o->macs[i].mac, sw->ports[p]->index))
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

size_t switch_bytes(unsigned int workers)
{
	return ALIGN_UP(sizeof(struct be_switch), (size_t)64) + workers * sizeof(struct worker) +
	       workers * (workers - 1) * sizeof(struct mailbox);
}

struct be_switch *switch_make(void *mem, unsigned int workers)
{
	struct be_switch *sw = mem;
	uint8_t *behind = (uint8_t *)mem + ALIGN_UP(sizeof(*sw), (size_t)64);

	*sw = (struct be_switch){ .num_workers = workers };
	sw->workers = (struct worker *)(void *)behind;
	for (unsigned int i = 0; i < workers; i++)
		worker_init(&sw->workers[i], sw, i);
	sw->boxes = (struct mailbox *)(void *)&sw->workers[workers];
	for (unsigned int i = 0; i < workers * (workers - 1); i++)
		mailbox_init(&sw->boxes[i]);
	return sw;
}

void switch_set_ops(struct be_switch *sw, const struct switch_ops *ops)
{
	sw->ops = *ops;
}

void switch_add_port(struct be_switch *sw, struct port *port)
{
	sw->ports[sw->num_ports++] = port;
	port->sw = sw;
}

int switch_init(struct be_switch *sw, const struct be_options *o, uint64_t seed, struct text *error)
{
	sw->app = o->app;
	for (unsigned int i = 0; i < sw->num_workers; i++)
		fdb_init(&sw->workers[i].fdb, seed, o->age, sw->num_ports);
	return switch_pin(sw, o, error);
}

void switch_set_time(struct be_switch *sw, uint64_t now_ns)
{
	worker_set_time(&sw->workers[0], now_ns);
	if (sw->held)
		switch_release_kicks(sw);
}

void switch_port_down(struct be_switch *sw, struct port *port)
{
	switch_pause(sw);
	for (unsigned int i = 0; i < sw->num_workers; i++)
		fdb_flush(&sw->workers[i].fdb, port->index);
	switch_resume(sw);
}

uint64_t switch_counter(const struct be_switch *sw, const struct port *port, enum port_counter c)
{
	uint64_t sum = __atomic_load_n(&port->counters[c], __ATOMIC_RELAXED);

	for (unsigned int i = 0; i < sw->num_workers; i++)
		sum += __atomic_load_n(&sw->workers[i].counters[port->index].v[c],
				       __ATOMIC_RELAXED);
	return sum;
}

uint64_t switch_frames_delivered(const struct be_switch *sw)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < sw->num_ports; p++)
		sum += switch_counter(sw, sw->ports[p], CTR_TX_FRAMES);
	return sum;
}

uint64_t switch_frames_dropped(const struct be_switch *sw)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < sw->num_ports; p++) {
		for (unsigned int c = CTR_DROP_FIRST; c < CTR_DROP_END; c++)
			sum += switch_counter(sw, sw->ports[p], c);
	}
	return sum;
}
