// SPDX-License-Identifier: BSD-2-Clause
/* What the messages of session.c change: rings, windows on memory, and what the data path sees of both. */
#include "core/port_priv.h"

#include "abi/virtio_config.h"
#include "core/switch.h"

static const uint64_t offload_features =
	VIRTIO_NET_FEATURE(F_CSUM) | VIRTIO_NET_FEATURE(F_GUEST_CSUM) |
	VIRTIO_NET_FEATURE(F_HOST_TSO4) | VIRTIO_NET_FEATURE(F_HOST_TSO6) |
	VIRTIO_NET_FEATURE(F_HOST_ECN) | VIRTIO_NET_FEATURE(F_GUEST_TSO4) |
	VIRTIO_NET_FEATURE(F_GUEST_TSO6) | VIRTIO_NET_FEATURE(F_GUEST_ECN);

static const uint64_t base_features =
	VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_INDIRECT_DESC) |
	VIRTIO_FEATURE(F_EVENT_IDX) | VIRTIO_FEATURE(F_ANY_LAYOUT) | VIRTIO_FEATURE(F_RING_PACKED) |
	VIRTIO_FEATURE(F_IN_ORDER) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) |
	VIRTIO_NET_FEATURE(F_MRG_RXBUF) | VIRTIO_NET_FEATURE(F_MTU) | VIRTIO_NET_FEATURE(F_MQ);

void port_pause(struct port *port)
{
	if (port->sw)
		switch_pause(port->sw);
}

void port_resume(struct port *port)
{
	if (port->sw)
		switch_resume(port->sw);
}

/* Notes why the session must end. */
enum outcome port_fail(struct port *port, const struct vhost_user_msg *msg, const char *why)
{
	text_init(&port->reason);
	text_add(&port->reason, vu_frontend_name(msg->hdr.request));
	text_add(&port->reason, ": ");
	text_add(&port->reason, why);
	return FAILED;
}

enum outcome port_fail_rule(struct port *port, const struct vhost_user_msg *msg, enum vu_rule rule)
{
	return port_fail(port, msg, vu_rule_text(rule));
}

static void port_log_ring(struct port *port, enum be_log_level level, const struct vring *vr,
			  const char *what)
{
	struct text t;

	text_init(&t);
	text_add(&t, "ring ");
	text_add_u64(&t, vr->index);
	text_add(&t, ": ");
	text_add(&t, what);
	port->ops->log(port->ctx, level, port->name, t.s);
}

/* ---- data path ---- */

static void port_update_features(struct port *port)
{
	uint64_t f = port->features;

	port->mrg_rxbuf = has(f, VIRTIO_NET_F_MRG_RXBUF_BIT);
	port->hdr_len = has(f, VIRTIO_F_VERSION_1_BIT) || port->mrg_rxbuf
				? VIRTIO_NET_HDR_LEN
				: VIRTIO_NET_HDR_LEN_LEGACY;
	/* virtio 1.2 §5.1.3.1: segmentation offloads require the checksum offload of the same direction. */
	port->tx_csum = has(f, VIRTIO_NET_F_CSUM_BIT);
	port->tx_tso4 = port->tx_csum && has(f, VIRTIO_NET_F_HOST_TSO4_BIT);
	port->tx_tso6 = port->tx_csum && has(f, VIRTIO_NET_F_HOST_TSO6_BIT);
	port->tx_ecn = has(f, VIRTIO_NET_F_HOST_ECN_BIT);
	port->rx_csum = has(f, VIRTIO_NET_F_GUEST_CSUM_BIT);
	port->rx_tso4 = port->rx_csum && has(f, VIRTIO_NET_F_GUEST_TSO4_BIT);
	port->rx_tso6 = port->rx_csum && has(f, VIRTIO_NET_F_GUEST_TSO6_BIT);
	port->rx_ecn = has(f, VIRTIO_NET_F_GUEST_ECN_BIT);
	/* A VLAN tag does not count towards the MTU. */
	port->frame_limit = port->mtu ? port->mtu + 14u + 4u : UINT32_MAX;
}

/* Recomputes what the data path sees. */
void port_update(struct port *port)
{
	bool auto_enabled = !has(port->features, VHOST_USER_F_PROTOCOL_FEATURES_BIT);
	/* The classic layout puts a new table in the place of the old one before we hear of it. */
	bool paused =
		port->mapping.active && port->mapping.msg.hdr.request == VHOST_USER_SET_MEM_TABLE;

	port_update_features(port);
	port->num_tx = 0;
	port->num_rx = 0;
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		struct vring *vr = &port->vrings[i];

		vr->enabled = vr->state == VRING_STARTED && (vr->enable || auto_enabled);
		if (paused || vr->state != VRING_STARTED)
			continue;
		if (vring_is_tx(i))
			port->tx[port->num_tx++] = vr;
		else if (vr->enabled)
			port->rx[port->num_rx++] = vr;
	}
	if (port->sw)
		switch_spread(port->sw);
}

/* ---- rings ---- */

void vring_return_ahead(struct vring *vr)
{
	if (vr->ahead.num > vr->ahead.used)
		vq_dev_unget(&vr->vq, vr->ahead.num - vr->ahead.used);
	vr->ahead.put = 0;
	vr->ahead.used = 0;
	vr->ahead.num = 0;
}

void port_ring_broken(struct port *port, struct vring *vr)
{
	struct text t;

	if (vr->state == VRING_BROKEN)
		return;
	vring_return_ahead(vr);
	vr->base = vq_dev_base(&vr->vq);
	vq_dev_stop(&vr->vq);
	text_init(&t);
	text_add(&t, "stopped, broken: ");
	text_add(&t, vq_broken_name(vr->vq.broken));
	port_log_ring(port, BE_LOG_WARN, vr, t.s);
	vr->state = VRING_BROKEN;
	vr->failed = false;
	share_reset(vr);
	vr->dirty = false;
	port->counters[CTR_RING_ERRORS]++;
	if (vr->has_err)
		port->ops->err(port->ctx, vr->index);
	port_update(port);
}

/* Guest-physical address of a ring part; one that is in no region gives one that no region has. */
static struct gpa vring_part(const struct port *port, uint64_t user)
{
	uint64_t v;

	return gpa(vu_regions_user_to_gpa(&port->regions, user, &v) ? v : UINT64_MAX);
}

/* Where the ring's positions are kept; NULL: nowhere. */
static struct inflight_ring *vring_track(const struct port *port, const struct vring *vr)
{
	struct inflight_ring *rings = port->inflight.window;

	return vr->index < port->num_inflight ? &rings[vr->index] : NULL;
}

void vring_call_due(struct port *port, struct vring *vr)
{
	if (!vr->call_due || !vr->has_call)
		return;
	vr->call_due = false;
	port->counters[CTR_CALLS]++;
	port->ops->call(port->ctx, vr->index);
}

void vring_settle(struct port *port, struct vring *vr)
{
	if (!vr->unsettled || !vr->has_call || !vq_dev_call_needed(&vr->vq))
		return;
	port->counters[CTR_CALLS]++;
	port->ops->call(port->ctx, vr->index);
}

void vring_start(struct port *port, struct vring *vr)
{
	struct vq_dev_conf conf = {
		.map = &vr->map,
		.desc = vring_part(port, vr->addr.desc_user_addr),
		.avail = vring_part(port, vr->addr.avail_user_addr),
		.used = vring_part(port, vr->addr.used_user_addr),
		.size = vr->num,
		.base = vr->base,
		.packed = has(port->features, VIRTIO_F_RING_PACKED_BIT),
		.in_order = has(port->features, VIRTIO_F_IN_ORDER_BIT),
		.event_idx = has(port->features, VIRTIO_F_EVENT_IDX_BIT),
		.indirect = has(port->features, VIRTIO_F_INDIRECT_DESC_BIT),
		.track = vring_track(port, vr),
		.resume = vr->inherited,
	};

	vr->state = VRING_STARTED;
	vr->inherited = false;
	vr->failed = false;
	share_reset(vr);
	vr->dirty = false;
	vr->map = port->map;
	if (vq_dev_start(&vr->vq, &conf)) {
		port_ring_broken(port, vr);
		return;
	}
	vq_dev_kick_disable(&vr->vq);
	vr->call_due = vr->vq.resumed;
	vring_call_due(port, vr);
	port_log_ring(port, BE_LOG_DEBUG, vr,
		      vr->vq.resumed ? "goes on where another back-end was" : "started");
}

/*
 * Where the ring has stopped stays noted (abi/inflight.h): if this back-end dies before the front-end's side hears of
 * it, the next one is asked again.
 */
void vring_stop(struct vring *vr)
{
	if (vr->state == VRING_STARTED) {
		vring_return_ahead(vr);
		vq_dev_stop(&vr->vq);
		vr->base = vq_dev_base(&vr->vq);
	}
	vr->state = VRING_STOPPED;
	vr->call_due = false;
	vr->routed = false;
	vr->failed = false;
	share_reset(vr);
	vr->dirty = false;
}

/*
 * A ring that a reset has stopped, with nobody asking where before a predecessor died. It is found as a start finds it;
 * no worker sees the ring run.
 */
void vring_find(struct port *port, struct vring *vr)
{
	if (vr->state == VRING_STOPPED && vr->inherited && vr->addr_set &&
	    vq_track_runs(vring_track(port, vr)))
		vring_start(port, vr);
	vr->inherited = false;
}

/* After a change of addresses or memory: the same ring at its (perhaps new) place, positions kept. */
void vring_move(struct port *port, struct vring *vr)
{
	if (vr->state != VRING_STARTED)
		return;
	vring_return_ahead(vr);
	vr->map = port->map;
	vr->vq.conf.desc = vring_part(port, vr->addr.desc_user_addr);
	vr->vq.conf.avail = vring_part(port, vr->addr.avail_user_addr);
	vr->vq.conf.used = vring_part(port, vr->addr.used_user_addr);
	if (vq_dev_remap(&vr->vq))
		port_ring_broken(port, vr);
}

static void port_move_rings(struct port *port)
{
	for (unsigned int i = 0; i < PORT_VRINGS; i++)
		vring_move(port, &port->vrings[i]);
}

void port_stop_rings(struct port *port, bool disable)
{
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		vring_stop(&port->vrings[i]);
		if (disable)
			port->vrings[i].enable = false;
	}
}

/* ---- memory ---- */

static void window_end(struct port *port, struct port_window *w)
{
	if (w->window)
		port->ops->window_end(port->ctx, w->window, w->region.memory_size);
	w->window = NULL;
}

static void mapping_abort(struct port *port)
{
	for (unsigned int i = 0; i < port->mapping.num; i++)
		window_end(port, &port->mapping.windows[i]);
	port->mapping.num = 0;
	port->mapping.active = false;
}

enum outcome mapping_begin(struct port *port, const struct vhost_user_msg *msg,
			   const struct vhost_user_region *regions, unsigned int num)
{
	struct port_mapping *m = &port->mapping;

	m->msg = *msg;
	m->num = 0;
	m->done = 0;
	for (unsigned int i = 0; i < num; i++) {
		const char *why = "no room for the region";
		struct port_window *w = &m->windows[i];

		w->region = regions[i];
		w->window = port->ops->window_begin(port->ctx, &regions[i], i, &why);
		if (!w->window) {
			mapping_abort(port);
			return port_fail(port, msg, why);
		}
		m->num++;
	}
	m->active = true;
	return LATER;
}

/* The rings' positions are kept in that window from now on, or (all zero) nowhere. */
static void port_track(struct port *port, struct port_window window, unsigned int num)
{
	struct port_window old = port->inflight;

	port->inflight = window;
	port->num_inflight = num;
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		struct vring *vr = &port->vrings[i];

		vr->inherited = vr->state == VRING_STOPPED && vring_track(port, vr);
		if (vr->state == VRING_STARTED)
			vq_dev_track(&vr->vq, vring_track(port, vr));
	}
	window_end(port, &old);
}

/* Puts the windows of the finished mapping into the port's map. */
static enum outcome mapping_apply(struct port *port)
{
	struct port_mapping *m = &port->mapping;
	unsigned int slot = 0;

	if (m->msg.hdr.request == VHOST_USER_SET_INFLIGHT_FD) {
		m->active = false;
		m->num = 0;
		port_track(port, m->windows[0], m->msg.payload.inflight.num_queues);
		return ACK_OK;
	}
	if (m->msg.hdr.request == VHOST_USER_SET_MEM_TABLE) {
		for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++)
			window_end(port, &port->windows[i]);
		memmap_init(&port->map);
	}
	for (unsigned int i = 0; i < m->num; i++) {
		const struct vhost_user_region *r = &m->windows[i].region;

		while (slot < VHOST_USER_MEM_SLOTS_MAX && port->windows[slot].window)
			slot++;
		if (slot == VHOST_USER_MEM_SLOTS_MAX ||
		    memmap_add(&port->map, gpa(r->guest_phys_addr), r->memory_size,
			       m->windows[i].window)) {
			mapping_abort(port);
			return port_fail_rule(port, &m->msg, VU_RULE_SPACE);
		}
		port->windows[slot] = m->windows[i];
		m->windows[i].window = NULL;
	}
	port->regions = m->regions;
	m->active = false;
	m->num = 0;
	port_move_rings(port);
	return ACK_OK;
}

int mapping_step(struct port *port)
{
	struct port_mapping *m = &port->mapping;
	int ret = port->ops->window_step(port->ctx, m->windows[m->done].window);

	if (ret > 0)
		m->done++;
	if (ret < 0)
		return ret;
	return m->done == m->num;
}

enum outcome mapping_end(struct port *port, int ret)
{
	if (ret > 0)
		return mapping_apply(port);
	mapping_abort(port);
	return port_fail(port, &port->mapping.msg, "the region cannot be mapped");
}

/* Withdraws the region that REM_MEM_REG names; rings in it are broken by that. */
void port_unmap(struct port *port, const struct vhost_user_region *region)
{
	memmap_del(&port->map, gpa(region->guest_phys_addr), region->memory_size);
	port_move_rings(port);
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		struct port_window *w = &port->windows[i];

		if (w->window && w->region.guest_phys_addr == region->guest_phys_addr)
			window_end(port, w);
	}
}

/* ---- life ---- */

static void port_set_mac(struct port *port, const struct be_options *o)
{
	for (unsigned int i = 0; i < o->num_macs; i++) {
		unsigned int c = 0;

		while (o->macs[i].port[c] && o->macs[i].port[c] == port->name[c])
			c++;
		if (o->macs[i].port[c] != port->name[c])
			continue;
		for (unsigned int b = 0; b < sizeof(port->mac); b++)
			port->mac[b] = (uint8_t)(o->macs[i].mac >> (8 * b));
		return;
	}
}

static void port_set_limit(struct port *port, const struct be_options *o)
{
	const struct be_option_limit *l = be_options_limit(o, port->name);

	rate_init(&port->limit, l ? l->bits : 0, l ? l->packets : 0);
}

static void port_reset(struct port *port)
{
	port->connected = false;
	port->owned = false;
	port->features = 0;
	port->protocol_features = 0;
	port->status = 0;
	port->mtu = port->config_mtu;
	port->regions.num = 0;
	port->reply_waits = false;
	port->rarp = false;
	memmap_init(&port->map);
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		struct vring *vr = &port->vrings[i];

		vr->state = VRING_STOPPED;
		vr->port = port;
		vr->index = (uint8_t)i;
		vr->num = 0;
		vr->base = 0;
		vr->addr_set = false;
		vr->enable = false;
		vr->has_kick = false;
		vr->has_call = false;
		vr->has_err = false;
		vr->inherited = false;
		vr->call_due = false;
		vr->routed = false;
		vr->failed = false;
		share_reset(vr);
		vr->dirty = false;
	}
	port_update(port);
}

void port_init(struct port *port, const struct port_conf *conf)
{
	unsigned int n = 0;

	for (; n < BE_PORT_NAME_MAX && conf->name[n]; n++)
		port->name[n] = conf->name[n];
	port->name[n] = '\0';
	port->sw = NULL;
	port->index = conf->index;
	port->ops = conf->ops;
	port->ctx = conf->ctx;
	port->ack_always = conf->ack_always;
	port->offered = base_features | (conf->options->offload ? offload_features : 0);
	port->offered_protocol =
		(VHOST_USER_PF_CARRIED & ~(conf->mem_slots ? 0 : VHOST_USER_PF_EXPLICIT_ONLY)) |
		(conf->inflight ? VHOST_USER_PF_INTERNAL : 0);
	port->config_mtu = conf->options->mtu;
	port_set_mac(port, conf->options);
	port_set_limit(port, conf->options);
	port->kicks = (struct kick_hold){ 0 };
	port->mapping.active = false;
	port->mapping.num = 0;
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++)
		port->windows[i].window = NULL;
	port->inflight.window = NULL;
	port->num_inflight = 0;
	for (unsigned int i = 0; i < CTR_COUNT; i++)
		port->counters[i] = 0;
	for (unsigned int i = 0; i < PORT_PAIRS_MAX; i++)
		port->owner[i] = WORKER_NONE;
	port_reset(port);
}

void port_connect(struct port *port)
{
	port_pause(port);
	port_reset(port);
	port->connected = true;
	port->counters[CTR_SESSIONS]++;
	port_resume(port);
}

void port_disconnect(struct port *port)
{
	port_pause(port);
	/* First: what is kept there outlives this back-end's part in the session. */
	port_track(port, (struct port_window){ 0 }, 0);
	port_stop_rings(port, true);
	mapping_abort(port);
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++)
		window_end(port, &port->windows[i]);
	port_reset(port);
	port_resume(port);
}
