// SPDX-License-Identifier: BSD-2-Clause
/*
 * The back-end's side of a vhost-user session: one port, one front-end.
 *
 * A message is checked against the table of abi/vhost_user.h, then handled by one short function. Messages
 * arrive in the order real front-ends send them, which is not the specification's ideal: NUM, CALL, ERR and
 * ENABLE come before the memory table, ENABLE before SET_FEATURES. So each of them only records, and what the
 * data path may do is computed anew (port_update()) after every message that it might see anything of; only for those
 * do the workers stand.
 *
 * A ring runs from SET_VRING_KICK to GET_VRING_BASE (vhost-user §Starting and stopping rings), independently of
 * its being enabled. A broken one waits for both in that order.
 *
 * Windows on memory are entered a slice at a time: the message is answered when all are in, other ports go on
 * meanwhile, and no further message of this port is taken.
 */
#include "core/port_priv.h"

#include "abi/virtio_config.h"

#define MTU_MIN 68

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

static enum outcome port_reply_u64(struct port *port, const struct vhost_user_msg *msg,
				   uint64_t value)
{
	struct vhost_user_msg reply;

	vu_make_u64_reply(&reply, msg->hdr.request, value);
	return port_reply(port, &reply);
}

/* ---- memory ---- */

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

	if (vu_regions_repeat(&port->regions, r))
		return ACK_OK;
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
	enum vu_rule rule;

	if (vu_regions_unrepeat(&port->regions, r))
		return ACK_OK;
	rule = vu_regions_del(&port->regions, r, &index);
	if (rule)
		return port_fail_rule(port, msg, rule);
	port_unmap(port, r);
	return ACK_OK;
}

/* Where rings go on after a death (abi/inflight.h), and where this back-end leaves word for the next. */
static enum outcome on_inflight(struct port *port, const struct vhost_user_msg *msg)
{
	const struct vhost_user_region r = {
		.memory_size = msg->payload.inflight.mmap_size,
		.mmap_offset = msg->payload.inflight.mmap_offset,
	};

	return mapping_begin(port, msg, &r, 1);
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

	vring_find(port, vr);
	vring_settle(port, vr);
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
		vr->routed = false;
		if (!ret && vr->state == VRING_STOPPED)
			vring_start(port, vr);
		if (!ret && present && port->kicks.held && port->ops->hold_kick)
			port->ops->hold_kick(port->ctx, index, true, vr->owner);
		break;
	case VHOST_USER_SET_VRING_CALL:
		ret = port->ops->bind_call(port->ctx, index, present, &why);
		vr->has_call = present;
		if (!ret)
			vring_call_due(port, vr);
		break;
	default:
		ret = port->ops->bind_err(port->ctx, index, present, &why);
		vr->has_err = present;
		break;
	}
	return ret ? port_fail(port, msg, why) : ACK_OK;
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
		/* Split rings: 16 bits; packed: both positions (vhost-user §Ring states). */
		vr->base = msg->payload.state.num;
		if (!has(port->features, VIRTIO_F_RING_PACKED_BIT))
			vr->base &= UINT16_MAX;
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
	case VHOST_USER_SET_INFLIGHT_FD:
		return on_inflight(port, msg);
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

static enum vu_rule port_check(const struct port *port, const struct vhost_user_msg *msg,
			       unsigned int num_fds)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);
	struct vu_limits limits = { port->protocol_features, PORT_VRINGS };
	unsigned int index = msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	enum vu_rule rule;

	if (!info)
		return VU_RULE_UNKNOWN;
	if (info->relay == VU_RELAY_REFUSE)
		return VU_RULE_REFUSED;
	rule = vu_check_frontend(msg, num_fds == PORT_FDS_AS_DUE ? fds_due(info, msg) : num_fds,
				 &limits);
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

static int port_failed(struct port *port)
{
	port->counters[CTR_SESSION_ERRORS]++;
	return -EPROTO;
}

static int port_answered(struct port *port, const struct vhost_user_msg *msg, enum outcome outcome)
{
	if (outcome == ACK_OK || outcome == ACK_FAILED)
		outcome = port_ack(port, msg, outcome == ACK_FAILED);
	return outcome == FAILED ? port_failed(port) : 0;
}

static int port_finish(struct port *port, const struct vhost_user_msg *msg, enum outcome outcome)
{
	int ret = port_answered(port, msg, outcome);

	port_update(port);
	return ret;
}

/* Not those that set nothing, or only what the control plane alone looks at: when a ring starts, say. */
static bool concerns_workers(const struct vhost_user_msg *msg)
{
	switch (msg->hdr.request) {
	case VHOST_USER_GET_FEATURES:
	case VHOST_USER_GET_PROTOCOL_FEATURES:
	case VHOST_USER_GET_QUEUE_NUM:
	case VHOST_USER_GET_MAX_MEM_SLOTS:
	case VHOST_USER_GET_CONFIG:
	case VHOST_USER_GET_STATUS:
	case VHOST_USER_SET_CONFIG:
	case VHOST_USER_SET_OWNER:
	case VHOST_USER_SET_PROTOCOL_FEATURES:
	case VHOST_USER_SET_VRING_NUM:
	case VHOST_USER_SET_VRING_BASE:
		return false;
	default:
		return true;
	}
}

int port_message(struct port *port, const struct vhost_user_msg *msg, unsigned int num_fds)
{
	enum vu_rule rule = port_check(port, msg, num_fds);
	int ret;

	/* Workers look at it (kicks.c). */
	__atomic_store_n(&port->counters[CTR_MESSAGES], port->counters[CTR_MESSAGES] + 1,
			 __ATOMIC_RELAXED);
	/* One that is refused changes nothing either; the end of the session does. */
	if (rule)
		return port_answered(port, msg, port_fail_rule(port, msg, rule));
	if (!concerns_workers(msg))
		return port_answered(port, msg, port_dispatch(port, msg));
	port_pause(port);
	ret = port_finish(port, msg, port_dispatch(port, msg));
	port_resume(port);
	return ret;
}

int port_step(struct port *port)
{
	int ret;

	if (port->reply_waits) {
		struct vhost_user_msg reply = port->reply;

		return port_reply(port, &reply) == FAILED ? port_failed(port) : 0;
	}
	if (!port->mapping.active)
		return 0;
	ret = mapping_step(port);
	if (!ret)
		return 0;
	port_pause(port);
	ret = port_finish(port, &port->mapping.msg, mapping_end(port, ret));
	port_resume(port);
	return ret;
}
