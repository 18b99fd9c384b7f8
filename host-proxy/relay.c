// SPDX-License-Identifier: BSD-2-Clause
/*
 * From the front-end to the back-end: check, translate, send. (replies.c has the other direction.)
 *
 * A message is checked as a whole before anything of the record changes. What then can still fail
 * ends the session or its link, so the record needs no undoing; the one exception is a change of
 * memory that the device or the back-end acknowledges (session.h, memory_seq).
 */
#include "host-proxy/relay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host-proxy/link.h"
#include "host-proxy/port.h"
#include "vmm/hostlib/fds.h"

/*
 * Stands for a ring address that is in no region: unaligned for each part of a ring, and in no
 * region either, since a region ends before the last byte. The back-end breaks that ring (and only
 * that one) when it is started, and learns nothing of the front-end's address.
 */
#define RING_NOWHERE UINT64_MAX

/* A message on its way through. */
struct passage {
	struct link_packet pkt;
	const int *fds; /* borrowed from the message or from the record */
	unsigned int num_fds;
	bool expects_reply;
	bool changes_memory;
	const char *why; /* detail of a broken rule, or NULL */
};

uint64_t relay_protocol_mask(const struct session *s)
{
	return VHOST_USER_PF_CARRIED & s->port->link->back_end.protocol_features;
}

/* One answer, if the front-end waits for one and nothing is before it; the session ends next. */
static void acknowledge_failure(struct session *s, const struct vhost_user_msg *msg,
				const struct vu_msg_info *info)
{
	struct vhost_user_msg reply;

	if (!info || info->reply != VU_REPLY_ACK || !vu_expects_reply(msg, s->protocol) ||
	    s->num_pending || s->out_waits)
		return;
	vu_make_u64_reply(&reply, info->id, 1);
	wire_send(s->sock, &reply, NULL, 0);
}

static void refuse(struct session *s, const struct vhost_user_msg *msg, enum vu_rule rule,
		   const char *why)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);

	acknowledge_failure(s, msg, info);
	if (!info)
		session_end(s, BY_FRONT_END, true, "request %u: %s", msg->hdr.request,
			    vu_rule_text(rule));
	else
		session_end(s, BY_FRONT_END, true, "%s: %s%s%s%s", info->name, vu_rule_text(rule),
			    why ? " (" : "", why ? why : "", why ? ")" : "");
}

void relay_front_end_broken(struct session *s, enum vu_rule rule)
{
	if (s->in.have >= sizeof(s->in.in.msg.hdr))
		refuse(s, &s->in.in.msg, rule, NULL);
	else
		session_end(s, BY_FRONT_END, true, "message: %s", vu_rule_text(rule));
}

static enum vu_rule check_order(const struct session *s, const struct vu_msg_info *info,
				const struct vhost_user_msg *msg)
{
	uint32_t index;

	switch (info->needs) {
	case VU_NEEDS_MEMORY:
		return s->regions.num ? VU_RULE_NONE : VU_RULE_ORDER;
	case VU_NEEDS_VRING_ADDR:
		index = (uint32_t)(msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK);
		return s->rings[index].has_addr ? VU_RULE_NONE : VU_RULE_ORDER;
	default:
		return VU_RULE_NONE;
	}
}

static enum vu_rule check(const struct session *s, const struct vu_msg_info *info,
			  const struct wire_msg *in)
{
	const struct vu_limits limits = {
		.protocol_features = s->protocol,
		.max_queues = s->num_rings,
	};
	enum vu_rule rule = vu_check_frontend(&in->msg, in->num_fds, &limits);

	if (!rule && info->relay == VU_RELAY_REFUSE)
		rule = VU_RULE_REFUSED;
	if (!rule)
		rule = check_order(s, info, &in->msg);
	return rule;
}

/* The file behind a region must be memory, and hold the region. */
static enum vu_rule check_memory_fd(int fd, const struct vhost_user_region *r, struct passage *p)
{
	if (fd_check_memory(fd, 0, &p->why) < 0)
		return VU_RULE_FD_KIND;
	return fd_check_memory(fd, r->mmap_offset + r->memory_size, &p->why) < 0 ? VU_RULE_FD_LENGTH
										 : VU_RULE_NONE;
}

static enum vu_rule set_mem_table(struct session *s, const struct wire_msg *in, struct passage *p)
{
	const struct vhost_user_mem_table *table = &in->msg.payload.mem;
	struct vhost_user_mem_table *out = &p->pkt.body.msg.payload.mem;
	enum vu_rule rule;

	if (table->num_regions > s->port->link->back_end.max_mem_slots)
		return VU_RULE_SPACE;
	for (uint32_t i = 0; i < table->num_regions; i++) {
		rule = check_memory_fd(in->fds[i], &table->regions[i], p);
		if (rule)
			return rule;
	}
	rule = vu_regions_set(&s->regions, table);
	if (rule)
		return rule;
	out->padding = 0;
	for (uint32_t i = 0; i < out->num_regions; i++)
		out->regions[i].userspace_addr = out->regions[i].guest_phys_addr;
	p->pkt.body.msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(out->num_regions);
	p->fds = in->fds;
	p->num_fds = in->num_fds;
	p->changes_memory = true;
	return VU_RULE_NONE;
}

static enum vu_rule add_mem_reg(struct session *s, const struct wire_msg *in, struct passage *p)
{
	const struct vhost_user_region *region = &in->msg.payload.mem_reg.region;
	struct vhost_user_mem_reg *out = &p->pkt.body.msg.payload.mem_reg;
	enum vu_rule rule = check_memory_fd(in->fds[0], region, p);

	if (!rule && s->regions.num >= s->port->link->back_end.max_mem_slots)
		rule = VU_RULE_SPACE;
	if (!rule)
		rule = vu_regions_add(&s->regions, region);
	if (rule)
		return rule;
	out->padding = 0;
	out->region.userspace_addr = out->region.guest_phys_addr;
	p->fds = in->fds;
	p->num_fds = in->num_fds;
	p->changes_memory = true;
	return VU_RULE_NONE;
}

/* An fd is of no use here, and goes no further (vhost-user §REM_MEM_REG). */
static enum vu_rule rem_mem_reg(struct session *s, const struct wire_msg *in, struct passage *p)
{
	struct vhost_user_mem_reg *out = &p->pkt.body.msg.payload.mem_reg;
	uint32_t index;
	enum vu_rule rule = vu_regions_del(&s->regions, &in->msg.payload.mem_reg.region, &index);

	if (rule)
		return rule;
	out->padding = 0;
	out->region.userspace_addr = out->region.guest_phys_addr;
	p->changes_memory = true;
	return VU_RULE_NONE;
}

static uint64_t ring_address(const struct session *s, uint64_t user)
{
	uint64_t out;

	return vu_regions_user_to_gpa(&s->regions, user, &out) ? out : RING_NOWHERE;
}

static enum vu_rule set_vring_addr(struct session *s, struct passage *p)
{
	struct vhost_user_vring_addr *addr = &p->pkt.body.msg.payload.addr;

	addr->desc_user_addr = ring_address(s, addr->desc_user_addr);
	addr->avail_user_addr = ring_address(s, addr->avail_user_addr);
	addr->used_user_addr = ring_address(s, addr->used_user_addr);
	s->rings[addr->index].has_addr = true;
	return VU_RULE_NONE;
}

static enum vu_rule set_vring_fd(struct session *s, struct wire_msg *in, enum ring_fd kind,
				 struct passage *p)
{
	uint32_t index = (uint32_t)(in->msg.payload.u64 & VHOST_USER_VRING_INDEX_MASK);
	struct session_ring *ring = &s->rings[index];
	uint64_t id;

	if (!in->num_fds) {
		fd_close(&ring->fds[kind]);
		return VU_RULE_NONE;
	}
	if (fd_check_eventfd(in->fds[0], &p->why) < 0)
		return VU_RULE_FD_KIND;
	if (fd_eventfd_id(in->fds[0], &id) < 0) {
		p->why = "the kernel does not number its eventfds";
		return VU_RULE_FD_KIND;
	}
	if (proxy_find_eventfd(s->port->proxy, id, s->port, index, kind)) {
		p->why = "an eventfd has one place, on one ring of one port";
		return VU_RULE_DUPLICATE;
	}
	/* The record takes the fd. */
	fd_close(&ring->fds[kind]);
	ring->fds[kind] = in->fds[0];
	ring->ids[kind] = id;
	if (index >= s->rings_with_fds)
		s->rings_with_fds = index + 1;
	in->num_fds = 0;
	p->fds = &ring->fds[kind];
	p->num_fds = 1;
	return VU_RULE_NONE;
}

/* The back-end learns that there is a channel; the socket stays here. */
static enum vu_rule set_backend_req_fd(struct session *s, struct wire_msg *in, struct passage *p)
{
	if (fd_check_unix_stream(in->fds[0], &p->why) < 0)
		return VU_RULE_FD_KIND;
	if (s->had_channel)
		return VU_RULE_DUPLICATE;
	channel_open(s, in->fds[0]);
	in->num_fds = 0;
	return VU_RULE_NONE;
}

static enum vu_rule set_features(struct session *s, uint64_t features)
{
	/* A front-end may set more than was offered (DPDK does); what this chain cannot carry it
	 * may not. */
	if (features & RELAY_FEATURES_CLEARED)
		return VU_RULE_FEATURES;
	s->features = features;
	return VU_RULE_NONE;
}

static enum vu_rule set_protocol_features(struct session *s, uint64_t features)
{
	if (features & ~s->protocol_offered)
		return VU_RULE_FEATURES;
	s->protocol = features;
	return VU_RULE_NONE;
}

/* What is special about a message: the record, and the copy that is sent. */
static enum vu_rule translate(struct session *s, struct wire_msg *in, struct passage *p)
{
	switch (in->msg.hdr.request) {
	case VHOST_USER_SET_FEATURES:
		return set_features(s, in->msg.payload.u64);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return set_protocol_features(s, in->msg.payload.u64);
	case VHOST_USER_SET_MEM_TABLE:
		return set_mem_table(s, in, p);
	case VHOST_USER_ADD_MEM_REG:
		return add_mem_reg(s, in, p);
	case VHOST_USER_REM_MEM_REG:
		return rem_mem_reg(s, in, p);
	case VHOST_USER_SET_VRING_ADDR:
		return set_vring_addr(s, p);
	case VHOST_USER_SET_VRING_KICK:
		return set_vring_fd(s, in, RING_KICK, p);
	case VHOST_USER_SET_VRING_CALL:
		return set_vring_fd(s, in, RING_CALL, p);
	case VHOST_USER_SET_VRING_ERR:
		return set_vring_fd(s, in, RING_ERR, p);
	case VHOST_USER_SET_VRING_ENABLE:
		s->rings[in->msg.payload.state.index].enabled = in->msg.payload.state.num != 0;
		return VU_RULE_NONE;
	case VHOST_USER_SET_BACKEND_REQ_FD:
		return set_backend_req_fd(s, in, p);
	default:
		return VU_RULE_NONE;
	}
}

/* What the reply must agree with. */
static uint32_t reply_detail(const struct vhost_user_msg *msg)
{
	switch (msg->hdr.request) {
	case VHOST_USER_GET_VRING_BASE:
		return msg->payload.state.index;
	case VHOST_USER_GET_CONFIG:
		return msg->hdr.size;
	default:
		return 0;
	}
}

/* A region added once more, or removed while it has been added more than once: nobody else need hear of it. */
static bool repeated(struct session *s, const struct vhost_user_msg *msg)
{
	const struct vhost_user_region *region = &msg->payload.mem_reg.region;

	switch (msg->hdr.request) {
	case VHOST_USER_ADD_MEM_REG:
		return vu_regions_repeat(&s->regions, region);
	case VHOST_USER_REM_MEM_REG:
		return vu_regions_unrepeat(&s->regions, region);
	default:
		return false;
	}
}

/* Acknowledged here, in its turn. */
static void answer_here(struct session *s, const struct vu_msg_info *info, bool expects_reply)
{
	s->port->count.requests[info->id]++;
	if (!expects_reply)
		return;
	relay_expect_reply(s, info, ++s->seq, 0);
	s->pending[s->num_pending - 1].ready = true;
	relay_flush_answers(s);
}

void relay_front_end(struct session *s, struct wire_msg *in)
{
	const struct vu_msg_info *info = vu_frontend_info(in->msg.hdr.request);
	struct passage p = { .pkt.hdr = { .kind = LINK_FRONTEND, .session = s->id } };
	struct vu_regions before = s->regions;
	enum vu_rule rule = check(s, info, in);

	p.expects_reply = !rule && vu_expects_reply(&in->msg, s->protocol);
	if (!rule && repeated(s, &in->msg)) {
		answer_here(s, info, p.expects_reply);
		return;
	}
	memcpy(&p.pkt.body.msg, &in->msg, vu_msg_bytes(&in->msg));
	if (!p.expects_reply) /* whoever reads it next need not know what was negotiated */
		p.pkt.body.msg.hdr.flags &= ~(uint32_t)VHOST_USER_NEED_REPLY_MASK;
	if (!rule)
		rule = translate(s, in, &p);
	if (rule) {
		refuse(s, &in->msg, rule, p.why);
		return;
	}
	s->port->retry_ms = PORT_RETRY_MIN_MS;
	p.pkt.hdr.seq = ++s->seq;
	if (p.expects_reply)
		relay_expect_reply(s, info, s->seq, reply_detail(&in->msg));
	if (p.expects_reply && p.changes_memory) {
		s->memory_seq = s->seq;
		s->regions_before = before;
	}
	s->port->count.to_back_end++;
	s->port->count.requests[info->id]++;
	link_transmit(s->port->link, &p.pkt, vu_msg_bytes(&p.pkt.body.msg), p.fds, p.num_fds);
}
