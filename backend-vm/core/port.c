// SPDX-License-Identifier: BSD-2-Clause
/*
 * The back-end's side of a vhost-user session: one port, one front-end.
 *
 * A message is checked against the table of abi/vhost_user.h, then handled by one short function. Messages arrive in the order
 * real front-ends send them, which is not the specification's ideal: NUM, CALL, ERR and ENABLE come before the
 * memory table, ENABLE before SET_FEATURES. So each of them only records, and what the data path may do is computed anew
 * after every message (port_update()).
 *
 * A ring runs from SET_VRING_KICK to GET_VRING_BASE (vhost-user §Starting and stopping rings), independently of its being
 * enabled. A broken one waits for both in that order.
 *
 * Windows on memory are entered a slice at a time: the message is answered when all are in, other ports go on
 * meanwhile, and no further message of this port is taken.
 */
#include "core/port.h"

#include "abi/virtio_config.h"

#define MTU_MIN 68

static const uint64_t offload_features =
	VIRTIO_NET_FEATURE(F_CSUM) | VIRTIO_NET_FEATURE(F_GUEST_CSUM) | VIRTIO_NET_FEATURE(F_HOST_TSO4) |
	VIRTIO_NET_FEATURE(F_HOST_TSO6) | VIRTIO_NET_FEATURE(F_HOST_ECN) |
	VIRTIO_NET_FEATURE(F_GUEST_TSO4) | VIRTIO_NET_FEATURE(F_GUEST_TSO6) |
	VIRTIO_NET_FEATURE(F_GUEST_ECN);

static const uint64_t base_features =
	VIRTIO_FEATURE(F_VERSION_1) | VIRTIO_FEATURE(F_INDIRECT_DESC) | VIRTIO_FEATURE(F_EVENT_IDX) |
	VIRTIO_FEATURE(F_ANY_LAYOUT) | BIT_ULL(VHOST_USER_F_PROTOCOL_FEATURES_BIT) |
	VIRTIO_NET_FEATURE(F_MRG_RXBUF) | VIRTIO_NET_FEATURE(F_MTU) | VIRTIO_NET_FEATURE(F_MQ);

/* What a handler of a message says. ACK_*: answered if the front-end asked for it. */
enum outcome { ACK_OK, ACK_FAILED, REPLIED, LATER, FAILED };

static bool has(uint64_t features, unsigned int bit)
{
	return features & BIT_ULL(bit);
}

/* Notes why the session must end. */
static enum outcome port_fail(struct port *port, const struct vhost_user_msg *msg, const char *why)
{
	text_init(&port->reason);
	text_add(&port->reason, vu_frontend_name(msg->hdr.request));
	text_add(&port->reason, ": ");
	text_add(&port->reason, why);
	return FAILED;
}

static enum outcome port_fail_rule(struct port *port, const struct vhost_user_msg *msg, enum vu_rule rule)
{
	return port_fail(port, msg, vu_rule_text(rule));
}

static void port_log_ring(struct port *port, enum be_log_level level, const struct vring *vr, const char *what)
{
	struct text t;

	text_init(&t);
	text_add(&t, "ring ");
	text_add_u64(&t, vr->index);
	text_add(&t, ": ");
	text_add(&t, what);
	port->ops->log(port->ctx, level, port->name, t.s);
}

/* Sends *reply; keeps it for port_step() when the channel is full. */
static enum outcome port_reply(struct port *port, const struct vhost_user_msg *reply)
{
	int ret = port->ops->send(port->ctx, reply);

	if (ret == -EAGAIN) {
		port->reply = *reply;
		port->reply_waits = true;
		return REPLIED;
	}
	if (ret)
		return port_fail(port, reply, "the reply could not be sent");
	port->reply_waits = false;
	return REPLIED;
}

static enum outcome port_reply_u64(struct port *port, const struct vhost_user_msg *msg, uint64_t value)
{
	struct vhost_user_msg reply;

	vu_make_u64_reply(&reply, msg->hdr.request, value);
	return port_reply(port, &reply);
}

/* ---- data path ---- */

static void port_update_features(struct port *port)
{
	uint64_t f = port->features;

	port->mrg_rxbuf = has(f, VIRTIO_NET_F_MRG_RXBUF_BIT);
	port->hdr_len = has(f, VIRTIO_F_VERSION_1_BIT) || port->mrg_rxbuf ? VIRTIO_NET_HDR_LEN :
									    VIRTIO_NET_HDR_LEN_LEGACY;
	/* virtio 1.2 §5.1.3.1: segmentation offloads require the checksum offload of the same direction. */
	port->tx_csum = has(f, VIRTIO_NET_F_CSUM_BIT);
	port->tx_tso4 = port->tx_csum && has(f, VIRTIO_NET_F_HOST_TSO4_BIT);
	port->tx_tso6 = port->tx_csum && has(f, VIRTIO_NET_F_HOST_TSO6_BIT);
	port->tx_ecn = has(f, VIRTIO_NET_F_HOST_ECN_BIT);
	port->rx_csum = has(f, VIRTIO_NET_F_GUEST_CSUM_BIT);
	port->rx_tso4 = port->rx_csum && has(f, VIRTIO_NET_F_GUEST_TSO4_BIT);
	port->rx_tso6 = port->rx_csum && has(f, VIRTIO_NET_F_GUEST_TSO6_BIT);
	port->rx_ecn = has(f, VIRTIO_NET_F_GUEST_ECN_BIT);
	port->mtu_frame = port->mtu ? port->mtu + 14u : 0;
}

/* Recomputes what the data path sees. */
static void port_update(struct port *port)
{
	bool auto_enabled = !has(port->features, VHOST_USER_F_PROTOCOL_FEATURES_BIT);
	/* The classic layout puts a new table in the place of the old one before we hear of it. */
	bool paused = port->mapping.active && port->mapping.msg.hdr.request == VHOST_USER_SET_MEM_TABLE;

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
}

/* ---- rings ---- */

void port_ring_broken(struct port *port, struct vring *vr)
{
	struct text t;

	if (vr->state == VRING_BROKEN)
		return;
	vr->base = vr->vq.last_avail;
	vq_dev_stop(&vr->vq);
	text_init(&t);
	text_add(&t, "stopped, broken: ");
	text_add(&t, vq_broken_name(vr->vq.broken));
	port_log_ring(port, BE_LOG_WARN, vr, t.s);
	vr->state = VRING_BROKEN;
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

static void vring_start(struct port *port, struct vring *vr)
{
	struct vq_dev_conf conf = {
		.map = &port->map,
		.desc = vring_part(port, vr->addr.desc_user_addr),
		.avail = vring_part(port, vr->addr.avail_user_addr),
		.used = vring_part(port, vr->addr.used_user_addr),
		.size = vr->num,
		.avail_base = vr->base,
		.event_idx = has(port->features, VIRTIO_F_EVENT_IDX_BIT),
		.indirect = has(port->features, VIRTIO_F_INDIRECT_DESC_BIT),
	};

	vr->state = VRING_STARTED;
	vr->dirty = false;
	if (vq_dev_start(&vr->vq, &conf)) {
		vr->vq.last_avail = vr->base;
		port_ring_broken(port, vr);
		return;
	}
	vq_dev_kick_disable(&vr->vq);
	port_log_ring(port, BE_LOG_DEBUG, vr, "started");
}

static void vring_stop(struct vring *vr)
{
	if (vr->state == VRING_STARTED) {
		vq_dev_stop(&vr->vq);
		vr->base = vr->vq.last_avail;
	}
	vr->state = VRING_STOPPED;
	vr->dirty = false;
}

/* After a change of addresses or memory: the same ring at its (perhaps new) place, positions kept. */
static void vring_move(struct port *port, struct vring *vr)
{
	if (vr->state != VRING_STARTED)
		return;
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

static enum outcome mapping_begin(struct port *port, const struct vhost_user_msg *msg,
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

/* Puts the windows of the finished mapping into the port's map. */
static enum outcome mapping_apply(struct port *port)
{
	struct port_mapping *m = &port->mapping;
	unsigned int slot = 0;

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
		    memmap_add(&port->map, gpa(r->guest_phys_addr), r->memory_size, m->windows[i].window)) {
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

static enum outcome mapping_step(struct port *port)
{
	struct port_mapping *m = &port->mapping;
	int ret = port->ops->window_step(port->ctx, m->windows[m->done].window);

	if (ret < 0) {
		mapping_abort(port);
		return port_fail(port, &m->msg, "the region cannot be mapped");
	}
	if (ret > 0)
		m->done++;
	return m->done == m->num ? mapping_apply(port) : LATER;
}

static enum outcome on_mem_table(struct port *port, const struct vhost_user_msg *msg)
{
	enum vu_rule rule;

	port->mapping.regions.num = 0;
	rule = vu_regions_set(&port->mapping.regions, &msg->payload.mem);
	if (rule)
		return port_fail_rule(port, msg, rule);
	return mapping_begin(port, msg, msg->payload.mem.regions, msg->payload.mem.num_regions);
}

static enum outcome on_add_mem_reg(struct port *port, const struct vhost_user_msg *msg)
{
	const struct vhost_user_region *r = &msg->payload.mem_reg.region;
	enum vu_rule rule;

	port->mapping.regions = port->regions;
	rule = vu_regions_add(&port->mapping.regions, r);
	if (rule)
		return port_fail_rule(port, msg, rule);
	return mapping_begin(port, msg, r, 1);
}

static enum outcome on_rem_mem_reg(struct port *port, const struct vhost_user_msg *msg)
{
	const struct vhost_user_region *r = &msg->payload.mem_reg.region;
	uint32_t index;
	enum vu_rule rule = vu_regions_del(&port->regions, r, &index);

	if (rule)
		return port_fail_rule(port, msg, rule);
	memmap_del(&port->map, gpa(r->guest_phys_addr), r->memory_size);
	port_move_rings(port);
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		struct port_window *w = &port->windows[i];

		if (w->window && w->region.guest_phys_addr == r->guest_phys_addr)
			window_end(port, w);
	}
	return ACK_OK;
}

/* ---- messages ---- */

static enum outcome on_set_features(struct port *port, const struct vhost_user_msg *msg)
{
	if (msg->payload.u64 & ~port->offered)
		return port_fail_rule(port, msg, VU_RULE_FEATURES);
	port->features = msg->payload.u64;
	return ACK_OK;
}

static enum outcome on_set_protocol_features(struct port *port, const struct vhost_user_msg *msg)
{
	if (msg->payload.u64 & ~port->offered_protocol)
		return port_fail_rule(port, msg, VU_RULE_FEATURES);
	port->protocol_features = msg->payload.u64;
	return ACK_OK;
}

static enum outcome on_vring_addr(struct port *port, const struct vhost_user_msg *msg)
{
	struct vring *vr = &port->vrings[msg->payload.addr.index];

	vr->addr = msg->payload.addr;
	vr->addr_set = true;
	vring_move(port, vr);
	return ACK_OK;
}

static enum outcome on_get_vring_base(struct port *port, const struct vhost_user_msg *msg)
{
	struct vhost_user_msg reply = *msg;
	struct vring *vr = &port->vrings[msg->payload.state.index];

	vring_stop(vr);
	/* The kick belonged to this run of the ring; CALL and ERR stay until replaced. */
	vr->has_kick = false;
	reply.hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	reply.hdr.size = sizeof(reply.payload.state);
	reply.payload.state.num = vr->base;
	port_update(port);
	return port_reply(port, &reply);
}

static enum outcome on_vring_fd(struct port *port, const struct vhost_user_msg *msg)
{
	unsigned int index = msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	bool present = !(msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK);
	struct vring *vr = &port->vrings[index];
	const char *why = "the fd is unusable";
	int ret;

	switch (msg->hdr.request) {
	case VHOST_USER_SET_VRING_KICK:
		ret = port->ops->bind_kick(port->ctx, index, present, &why);
		vr->has_kick = present;
		if (!ret && vr->state == VRING_STOPPED)
			vring_start(port, vr);
		break;
	case VHOST_USER_SET_VRING_CALL:
		ret = port->ops->bind_call(port->ctx, index, present, &why);
		vr->has_call = present;
		break;
	default:
		ret = port->ops->bind_err(port->ctx, index, present, &why);
		vr->has_err = present;
		break;
	}
	return ret ? port_fail(port, msg, why) : ACK_OK;
}

static void port_stop_rings(struct port *port, bool disable)
{
	for (unsigned int i = 0; i < PORT_VRINGS; i++) {
		vring_stop(&port->vrings[i]);
		if (disable)
			port->vrings[i].enable = false;
	}
}

static enum outcome on_set_status(struct port *port, const struct vhost_user_msg *msg)
{
	if (msg->payload.u64 > UINT8_MAX)
		return port_fail_rule(port, msg, VU_RULE_VALUE);
	port->status = msg->payload.u64;
	/* Virtio status 0 is a reset of the device; the front-end starts its rings again afterwards. */
	if (!port->status)
		port_stop_rings(port, false);
	return ACK_OK;
}

static enum outcome on_get_config(struct port *port, const struct vhost_user_msg *msg)
{
	struct vhost_user_msg reply = *msg;
	struct vhost_user_config *c = &reply.payload.config;
	struct virtio_net_config config = {
		.status = VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = PORT_PAIRS_MAX,
		.mtu = port->mtu ? port->mtu : 1500,
	};
	const uint8_t *from = (const uint8_t *)&config;

	for (unsigned int i = 0; i < sizeof(config.mac); i++)
		config.mac[i] = port->mac[i];
	reply.hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	if (c->size > VHOST_USER_CONFIG_MAX || c->offset > VHOST_USER_CONFIG_MAX - c->size) {
		/* vhost-user §GET_CONFIG: a zero-length payload is the error reply. */
		reply.hdr.size = 0;
		return port_reply(port, &reply);
	}
	for (uint32_t i = 0; i < c->size; i++)
		c->region[i] = c->offset + i < sizeof(config) ? from[c->offset + i] : 0;
	return port_reply(port, &reply);
}

static enum outcome on_set_mtu(struct port *port, const struct vhost_user_msg *msg)
{
	if (msg->payload.u64 < MTU_MIN || msg->payload.u64 > UINT16_MAX)
		return ACK_FAILED;
	port->mtu = (uint16_t)msg->payload.u64;
	return ACK_OK;
}

static enum outcome on_rarp(struct port *port, const struct vhost_user_msg *msg)
{
	for (unsigned int i = 0; i < 6; i++)
		port->rarp_mac[i] = (uint8_t)(msg->payload.u64 >> (8 * i));
	port->rarp = true;
	return ACK_OK;
}

static enum outcome on_backend_req(struct port *port, const struct vhost_user_msg *msg)
{
	const char *why = "the socket is unusable";

	return port->ops->bind_backend_req(port->ctx, &why) ? port_fail(port, msg, why) : ACK_OK;
}

/* Messages that only set or get a number. */
static enum outcome on_simple(struct port *port, const struct vhost_user_msg *msg)
{
	struct vring *vr = &port->vrings[msg->payload.state.index % PORT_VRINGS];

	switch (msg->hdr.request) {
	case VHOST_USER_SET_OWNER:
		port->owned = true;
		return ACK_OK;
	case VHOST_USER_SET_VRING_NUM:
		vr->num = msg->payload.state.num;
		return ACK_OK;
	case VHOST_USER_SET_VRING_BASE:
		vr->base = (uint16_t)msg->payload.state.num;
		return ACK_OK;
	case VHOST_USER_SET_VRING_ENABLE:
		if (msg->payload.state.num > 1)
			return port_fail_rule(port, msg, VU_RULE_VALUE);
		vr->enable = msg->payload.state.num;
		return ACK_OK;
	case VHOST_USER_RESET_OWNER:
	case VHOST_USER_RESET_DEVICE:
		port_stop_rings(port, true);
		port->status = 0;
		return ACK_OK;
	case VHOST_USER_GET_FEATURES:
		return port_reply_u64(port, msg, port->offered);
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return port_reply_u64(port, msg, port->offered_protocol);
	case VHOST_USER_GET_QUEUE_NUM:
		/* Network front-ends read this as queue pairs. */
		return port_reply_u64(port, msg, PORT_PAIRS_MAX);
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		return port_reply_u64(port, msg, VHOST_USER_MEM_SLOTS_MAX);
	case VHOST_USER_GET_STATUS:
		return port_reply_u64(port, msg, port->status);
	default:
		return port_fail_rule(port, msg, VU_RULE_REFUSED);
	}
}

static enum outcome port_dispatch(struct port *port, const struct vhost_user_msg *msg)
{
	switch (msg->hdr.request) {
	case VHOST_USER_SET_FEATURES:
		return on_set_features(port, msg);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return on_set_protocol_features(port, msg);
	case VHOST_USER_SET_MEM_TABLE:
		return on_mem_table(port, msg);
	case VHOST_USER_ADD_MEM_REG:
		return on_add_mem_reg(port, msg);
	case VHOST_USER_REM_MEM_REG:
		return on_rem_mem_reg(port, msg);
	case VHOST_USER_SET_VRING_ADDR:
		return on_vring_addr(port, msg);
	case VHOST_USER_GET_VRING_BASE:
		return on_get_vring_base(port, msg);
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		return on_vring_fd(port, msg);
	case VHOST_USER_SET_STATUS:
		return on_set_status(port, msg);
	case VHOST_USER_GET_CONFIG:
		return on_get_config(port, msg);
	case VHOST_USER_SET_CONFIG:
		return ACK_FAILED; /* nothing in it can be written (virtio 1.2 §5.1.4.1) */
	case VHOST_USER_NET_SET_MTU:
		return on_set_mtu(port, msg);
	case VHOST_USER_SEND_RARP:
		return on_rarp(port, msg);
	case VHOST_USER_SET_BACKEND_REQ_FD:
		return on_backend_req(port, msg);
	default:
		return on_simple(port, msg);
	}
}

/* Fds that belong to a message, for channels on which they don't arrive. */
static unsigned int fds_due(const struct vu_msg_info *info, const struct vhost_user_msg *msg)
{
	switch (info->fds) {
	case VU_FDS_PER_REGION:
		return msg->payload.mem.num_regions;
	case VU_FDS_VRING:
		return msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK ? 0 : 1;
	case VU_FDS_ONE_MEMORY:
	case VU_FDS_ONE_EVENT:
	case VU_FDS_ONE_SOCKET:
		return 1;
	default:
		return 0;
	}
}

static enum vu_rule port_check(const struct port *port, const struct vhost_user_msg *msg, unsigned int num_fds)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);
	struct vu_limits limits = { port->protocol_features, PORT_VRINGS };
	unsigned int index = msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	enum vu_rule rule;

	if (!info)
		return VU_RULE_UNKNOWN;
	if (info->relay == VU_RELAY_REFUSE)
		return VU_RULE_REFUSED;
	rule = vu_check_frontend(msg, num_fds == PORT_FDS_AS_DUE ? fds_due(info, msg) : num_fds, &limits);
	if (rule)
		return rule;
	if (info->needs == VU_NEEDS_MEMORY && !port->regions.num)
		return VU_RULE_ORDER;
	if (info->needs == VU_NEEDS_VRING_ADDR && !port->vrings[index].addr_set)
		return VU_RULE_ORDER;
	return VU_RULE_NONE;
}

/* Sends the answer that REPLY_ACK asks for, if it does. */
static enum outcome port_ack(struct port *port, const struct vhost_user_msg *msg, uint64_t value)
{
	bool negotiated = port->protocol_features & VHOST_USER_PF_MASK(REPLY_ACK);

	if (!(msg->hdr.flags & VHOST_USER_NEED_REPLY_MASK) || !(negotiated || port->ack_always))
		return REPLIED;
	return port_reply_u64(port, msg, value);
}

static int port_finish(struct port *port, const struct vhost_user_msg *msg, enum outcome outcome)
{
	if (outcome == ACK_OK || outcome == ACK_FAILED)
		outcome = port_ack(port, msg, outcome == ACK_FAILED);
	port_update(port);
	if (outcome != FAILED)
		return 0;
	port->counters[CTR_SESSION_ERRORS]++;
	return -EPROTO;
}

int port_message(struct port *port, const struct vhost_user_msg *msg, unsigned int num_fds)
{
	enum vu_rule rule = port_check(port, msg, num_fds);

	port->counters[CTR_MESSAGES]++;
	return port_finish(port, msg, rule ? port_fail_rule(port, msg, rule) : port_dispatch(port, msg));
}

int port_step(struct port *port)
{
	if (port->reply_waits) {
		struct vhost_user_msg reply = port->reply;

		return port_finish(port, &reply, port_reply(port, &reply));
	}
	if (port->mapping.active)
		return port_finish(port, &port->mapping.msg, mapping_step(port));
	return 0;
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
		vr->index = (uint8_t)i;
		vr->num = 0;
		vr->base = 0;
		vr->addr_set = false;
		vr->enable = false;
		vr->has_kick = false;
		vr->has_call = false;
		vr->has_err = false;
		vr->dirty = false;
	}
	port_update(port);
}

void port_init(struct port *port, const struct port_conf *conf)
{
	unsigned int n = 0;

	for (; conf->name[n] && n < BE_PORT_NAME_MAX; n++)
		port->name[n] = conf->name[n];
	port->name[n] = '\0';
	port->index = conf->index;
	port->ops = conf->ops;
	port->ctx = conf->ctx;
	port->ack_always = conf->ack_always;
	port->offered = base_features | (conf->options->offload ? offload_features : 0);
	port->offered_protocol = VHOST_USER_PF_CARRIED & ~(conf->mem_slots ? 0 : VHOST_USER_PF_EXPLICIT_ONLY);
	port->config_mtu = conf->options->mtu;
	port_set_mac(port, conf->options);
	port->mapping.active = false;
	port->mapping.num = 0;
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++)
		port->windows[i].window = NULL;
	for (unsigned int i = 0; i < CTR_COUNT; i++)
		port->counters[i] = 0;
	port_reset(port);
}

void port_connect(struct port *port)
{
	port_reset(port);
	port->connected = true;
	port->counters[CTR_SESSIONS]++;
}

void port_disconnect(struct port *port)
{
	port_stop_rings(port, true);
	mapping_abort(port);
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++)
		window_end(port, &port->windows[i]);
	port_reset(port);
}
