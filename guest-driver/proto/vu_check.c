// SPDX-License-Identifier: BSD-2-Clause
/*
 * Order of the checks: header, row of the table, gate, size, fields, fds. Each later one relies on the earlier:
 * no field is read before the payload's size is known to be that of the message.
 */
#include "vu_region.h"

#include "abi/inflight.h"
#include "abi/virtio_ring.h"

/* Bits of the u64 of SET_VRING_KICK, CALL and ERR that mean something. */
#define VRING_U64_KNOWN (VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NOFD_MASK)

enum vu_rule vu_check_header(const struct vhost_user_header *hdr, bool is_reply)
{
	if ((hdr->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return VU_RULE_VERSION;
	if (hdr->flags & ~(uint32_t)VHOST_USER_FLAGS_KNOWN)
		return VU_RULE_FLAGS;
	if (((hdr->flags & VHOST_USER_REPLY_MASK) != 0) != is_reply)
		return VU_RULE_FLAGS;
	if (hdr->size > VHOST_USER_PAYLOAD_MAX)
		return VU_RULE_SIZE;
	return VU_RULE_NONE;
}

/* Sizes of the kinds of payload that have one size. */
static uint32_t fixed_size(enum vu_payload payload)
{
	switch (payload) {
	case VU_PAYLOAD_U64:
		return sizeof(le64);
	case VU_PAYLOAD_STATE:
		return sizeof(struct vhost_user_vring_state);
	case VU_PAYLOAD_ADDR:
		return sizeof(struct vhost_user_vring_addr);
	case VU_PAYLOAD_MEM_REG:
		return sizeof(struct vhost_user_mem_reg);
	case VU_PAYLOAD_LOG:
		return sizeof(struct vhost_user_log);
	case VU_PAYLOAD_INFLIGHT:
		return sizeof(struct vhost_user_inflight);
	default:
		return 0;
	}
}

static enum vu_rule check_mem_table(const struct vhost_user_msg *msg)
{
	struct vhost_user_header hdr = msg->hdr;
	const struct vhost_user_mem_table *table = &msg->payload.mem;
	uint32_t num;

	if (hdr.size < VHOST_USER_MEM_TABLE_BYTES(0))
		return VU_RULE_SIZE;
	num = table->num_regions;
	if (num == 0 || num > VHOST_USER_TABLE_REGIONS_MAX)
		return VU_RULE_REGIONS;
	if (hdr.size != VHOST_USER_MEM_TABLE_BYTES(num) && hdr.size != sizeof(*table))
		return VU_RULE_SIZE;
	return VU_RULE_NONE;
}

static enum vu_rule check_config(const struct vhost_user_msg *msg)
{
	const struct vhost_user_config *config = &msg->payload.config;

	if (msg->hdr.size < VHOST_USER_CONFIG_HDR)
		return VU_RULE_SIZE;
	if (config->size > VHOST_USER_CONFIG_MAX ||
	    config->offset > VHOST_USER_CONFIG_MAX - config->size)
		return VU_RULE_VALUE;
	if (msg->hdr.size != VHOST_USER_CONFIG_HDR + config->size)
		return VU_RULE_SIZE;
	return VU_RULE_NONE;
}

/* The payload's size, and the counts inside it that decide the size. */
static enum vu_rule check_size(const struct vhost_user_msg *msg, enum vu_payload payload)
{
	switch (payload) {
	case VU_PAYLOAD_MEM_TABLE:
		return check_mem_table(msg);
	case VU_PAYLOAD_CONFIG:
		return check_config(msg);
	case VU_PAYLOAD_OPAQUE:
		return VU_RULE_NONE;
	default:
		return msg->hdr.size == fixed_size(payload) ? VU_RULE_NONE : VU_RULE_SIZE;
	}
}

static enum vu_rule check_state(const struct vhost_user_msg *msg, const struct vu_limits *limits)
{
	const struct vhost_user_vring_state *state = &msg->payload.state;

	if (state->index >= limits->max_queues)
		return VU_RULE_INDEX;
	switch (msg->hdr.request) {
	case VHOST_USER_SET_VRING_NUM:
		return state->num >= 1 && state->num <= VRING_SIZE_MAX ? VU_RULE_NONE
								       : VU_RULE_VALUE;
	case VHOST_USER_SET_VRING_ENABLE:
		return state->num <= 1 ? VU_RULE_NONE : VU_RULE_VALUE;
	default:
		return VU_RULE_NONE;
	}
}

static enum vu_rule check_u64(const struct vhost_user_msg *msg, const struct vu_limits *limits)
{
	uint64_t v = msg->payload.u64;

	switch (msg->hdr.request) {
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		if (v & ~(uint64_t)VRING_U64_KNOWN)
			return VU_RULE_VALUE;
		return (v & VHOST_USER_VRING_INDEX_MASK) < limits->max_queues ? VU_RULE_NONE
									      : VU_RULE_INDEX;
	case VHOST_USER_NET_SET_MTU: /* virtio_net_config.mtu has 16 bits */
		return v <= UINT16_MAX ? VU_RULE_NONE : VU_RULE_VALUE;
	case VHOST_USER_SET_STATUS: /* device status is a byte (virtio 1.2 §2.1) */
		return v <= UINT8_MAX ? VU_RULE_NONE : VU_RULE_VALUE;
	default:
		return VU_RULE_NONE;
	}
}

/* What proxy, device and driver tell each other (abi/inflight.h); no front-end gets here. */
static enum vu_rule check_inflight(const struct vhost_user_inflight *inflight)
{
	if (!inflight->num_queues || inflight->queue_size ||
	    inflight->mmap_size != INFLIGHT_BYTES(inflight->num_queues) ||
	    inflight->mmap_offset % sizeof(struct inflight_ring))
		return VU_RULE_VALUE;
	return VU_RULE_NONE;
}

/* Fields of a front-end request whose payload has the right size. */
static enum vu_rule check_fields(const struct vhost_user_msg *msg, const struct vu_msg_info *info,
				 const struct vu_limits *limits)
{
	switch (info->payload) {
	case VU_PAYLOAD_U64:
		return check_u64(msg, limits);
	case VU_PAYLOAD_STATE:
		return check_state(msg, limits);
	case VU_PAYLOAD_ADDR:
		if (msg->payload.addr.index >= limits->max_queues)
			return VU_RULE_INDEX;
		/* The only flag that there is asks for the log, which nobody offers. */
		return msg->payload.addr.flags ? VU_RULE_VALUE : VU_RULE_NONE;
	case VU_PAYLOAD_MEM_TABLE:
		return vu_region_check_all(msg->payload.mem.regions, msg->payload.mem.num_regions);
	case VU_PAYLOAD_MEM_REG:
		return vu_region_check(&msg->payload.mem_reg.region);
	case VU_PAYLOAD_CONFIG:
		if (msg->hdr.request != VHOST_USER_SET_CONFIG)
			return VU_RULE_NONE;
		return msg->payload.config.flags & ~(uint32_t)VHOST_USER_CONFIG_F_WRITABLE_MASK
			       ? VU_RULE_VALUE
			       : VU_RULE_NONE;
	case VU_PAYLOAD_INFLIGHT:
		return msg->hdr.request == VHOST_USER_SET_INFLIGHT_FD
			       ? check_inflight(&msg->payload.inflight)
			       : VU_RULE_NONE;
	default:
		return VU_RULE_NONE;
	}
}

static enum vu_rule check_fds(const struct vhost_user_msg *msg, const struct vu_msg_info *info,
			      unsigned int num_fds)
{
	unsigned int least = 0;
	unsigned int most = 0;

	switch (info->fds) {
	case VU_FDS_NONE:
		break;
	case VU_FDS_ONE_MEMORY:
	case VU_FDS_ONE_EVENT:
	case VU_FDS_ONE_SOCKET:
		least = 1;
		most = 1;
		break;
	case VU_FDS_PER_REGION:
		least = msg->payload.mem.num_regions;
		most = least;
		break;
	case VU_FDS_OPTIONAL_MEMORY:
		most = 1;
		break;
	case VU_FDS_VRING:
		most = !(msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK);
		least = most;
		break;
	}
	return num_fds >= least && num_fds <= most ? VU_RULE_NONE : VU_RULE_FDS;
}

static bool gate_open(const struct vu_msg_info *info, uint64_t protocol_features)
{
	return info->gate == VHOST_USER_PROTOCOL_F_NONE ||
	       (protocol_features & BIT_ULL(info->gate));
}

/* What requests of both directions have in common. */
static enum vu_rule check_request(const struct vhost_user_msg *msg, const struct vu_msg_info *info,
				  const struct vu_limits *limits)
{
	struct vhost_user_header hdr = msg->hdr;
	enum vu_rule rule = vu_check_header(&hdr, false);

	if (rule)
		return rule;
	if (!info)
		return VU_RULE_UNKNOWN;
	if (!gate_open(info, limits->protocol_features))
		return VU_RULE_GATE;
	return check_size(msg, info->payload);
}

enum vu_rule vu_check_frontend(const struct vhost_user_msg *msg, unsigned int num_fds,
			       const struct vu_limits *limits)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);
	enum vu_rule rule = check_request(msg, info, limits);

	if (!rule)
		rule = check_fields(msg, info, limits);
	if (!rule)
		rule = check_fds(msg, info, num_fds);
	return rule;
}

enum vu_rule vu_check_backend(const struct vhost_user_msg *msg, unsigned int num_fds,
			      const struct vu_limits *limits)
{
	const struct vu_msg_info *info = vu_backend_info(msg->hdr.request);
	enum vu_rule rule = check_request(msg, info, limits);

	if (!rule && info->payload == VU_PAYLOAD_STATE &&
	    msg->payload.state.index >= limits->max_queues)
		rule = VU_RULE_INDEX;
	if (!rule)
		rule = check_fds(msg, info, num_fds);
	return rule;
}

enum vu_rule vu_check_reply(const struct vhost_user_msg *msg, uint32_t request)
{
	const struct vu_msg_info *info = vu_frontend_info(request);
	struct vhost_user_header hdr = msg->hdr;
	enum vu_rule rule = vu_check_header(&hdr, true);

	if (rule)
		return rule;
	if (!info || hdr.request != request)
		return VU_RULE_REPLY;
	switch (info->reply) {
	case VU_REPLY_STATE:
		return check_size(msg, VU_PAYLOAD_STATE);
	case VU_REPLY_INFLIGHT:
		return check_size(msg, VU_PAYLOAD_INFLIGHT);
	case VU_REPLY_CONFIG:
		/* No payload at all says that the back-end could not (vhost-user §GET_CONFIG). */
		return hdr.size == 0 ? VU_RULE_NONE : check_size(msg, VU_PAYLOAD_CONFIG);
	default:
		return check_size(msg, VU_PAYLOAD_U64);
	}
}

bool vu_expects_reply(const struct vhost_user_msg *msg, uint64_t protocol_features)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);

	if (!info)
		return false;
	if (info->reply != VU_REPLY_ACK)
		return true;
	return (msg->hdr.flags & VHOST_USER_NEED_REPLY_MASK) &&
	       (protocol_features & VHOST_USER_PF_MASK(REPLY_ACK));
}

void vu_make_u64_reply(struct vhost_user_msg *reply, uint32_t request, uint64_t value)
{
	reply->hdr = (struct vhost_user_header){
		.request = request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK,
		.size = sizeof(le64),
	};
	reply->payload.u64 = value;
}
