// SPDX-License-Identifier: BSD-2-Clause
/*
 * What is special about a message of the front-end: what the record keeps of it, and how the copy
 * that goes on differs.
 */
#include "host-proxy/relay_priv.h"

#include <string.h>

#include "host-proxy/inflight.h"
#include "host-proxy/port.h"
#include "vmm/hostlib/fds.h"

/*
 * Stands for a ring address that is in no region: unaligned for each part of a ring, and in no
 * region either, since a region ends before the last byte. The back-end breaks that ring (and only
 * that one) when it is started, and learns nothing of the front-end's address.
 */
#define RING_NOWHERE UINT64_MAX

/* The file behind a region must be memory, and hold the region. */
static enum vu_rule check_memory_fd(int fd, const struct vhost_user_region *r, struct passage *p)
{
	if (fd_check_memory(fd, 0, &p->why) < 0)
		return VU_RULE_FD_KIND;
	return fd_check_memory(fd, r->mmap_offset + r->memory_size, &p->why) < 0 ? VU_RULE_FD_LENGTH
										 : VU_RULE_NONE;
}

/* The record takes the fds of this and the next. */
static enum vu_rule set_mem_table(struct session *s, struct wire_msg *in, struct passage *p)
{
	const struct vhost_user_mem_table *table = &in->msg.payload.mem;
	struct vhost_user_mem_table *out = &p->pkt.body.msg.payload.mem;
	enum vu_rule rule;

	if (table->num_regions > s->port->offers.limits.max_mem_slots)
		return VU_RULE_SPACE;
	for (uint32_t i = 0; i < table->num_regions; i++) {
		rule = check_memory_fd(in->fds[i], &table->regions[i], p);
		if (rule)
			return rule;
	}
	rule = memory_set(&s->memory, table, in->fds);
	if (rule)
		return rule;
	out->padding = 0;
	for (uint32_t i = 0; i < out->num_regions; i++)
		out->regions[i].userspace_addr = out->regions[i].guest_phys_addr;
	p->pkt.body.msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(out->num_regions);
	p->fds = s->memory.fds;
	p->num_fds = in->num_fds;
	p->changes_memory = true;
	in->num_fds = 0;
	return VU_RULE_NONE;
}

static enum vu_rule add_mem_reg(struct session *s, struct wire_msg *in, struct passage *p)
{
	const struct vhost_user_region *region = &in->msg.payload.mem_reg.region;
	struct vhost_user_mem_reg *out = &p->pkt.body.msg.payload.mem_reg;
	enum vu_rule rule = check_memory_fd(in->fds[0], region, p);

	if (!rule && s->memory.regions.num >= s->port->offers.limits.max_mem_slots)
		rule = VU_RULE_SPACE;
	if (!rule)
		rule = memory_add(&s->memory, region, in->fds[0]);
	if (rule)
		return rule;
	out->padding = 0;
	out->region.userspace_addr = out->region.guest_phys_addr;
	p->fds = &s->memory.fds[s->memory.regions.num - 1];
	p->num_fds = 1;
	p->changes_memory = true;
	in->num_fds = 0;
	return VU_RULE_NONE;
}

/* An fd is of no use here, and goes no further (vhost-user §REM_MEM_REG). */
static enum vu_rule rem_mem_reg(struct session *s, const struct wire_msg *in, struct passage *p)
{
	struct vhost_user_mem_reg *out = &p->pkt.body.msg.payload.mem_reg;
	enum vu_rule rule = memory_del(&s->memory, &in->msg.payload.mem_reg.region);

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

	return vu_regions_user_to_gpa(&s->memory.regions, user, &out) ? out : RING_NOWHERE;
}

void relay_ring_addresses(const struct session *s, struct vhost_user_vring_addr *addr)
{
	addr->desc_user_addr = ring_address(s, addr->desc_user_addr);
	addr->avail_user_addr = ring_address(s, addr->avail_user_addr);
	addr->used_user_addr = ring_address(s, addr->used_user_addr);
}

static enum vu_rule set_vring_addr(struct session *s, struct passage *p)
{
	struct vhost_user_vring_addr *addr = &p->pkt.body.msg.payload.addr;
	struct session_ring *ring = &s->rings[addr->index];

	ring->addr = *addr;
	ring->has_addr = true;
	relay_ring_addresses(s, addr);
	return VU_RULE_NONE;
}

/* What the last run left of the ring's position says nothing about the run that this message begins. */
static enum vu_rule forget_position(struct session *s, uint32_t index, struct passage *p)
{
	struct session_ring *ring = &s->rings[index];

	if (ring->running)
		return VU_RULE_NONE;
	ring->served = false;
	if (s->state != SESSION_UP || !s->inflight_told || index >= s->inflight_rings ||
	    !inflight_zero(s->inflight, index))
		return VU_RULE_NONE;
	p->why = "the region of ring positions fails";
	return VU_RULE_SPACE;
}

static void note_vring_fd(const struct session *s, struct session_ring *ring, enum ring_fd kind)
{
	ring->told[kind] = true;
	if (kind != RING_KICK)
		return;
	ring->running = true;
	if (s->state == SESSION_UP)
		session_ring_served(s, ring);
}

static enum vu_rule set_vring_fd(struct session *s, struct wire_msg *in, enum ring_fd kind,
				 struct passage *p)
{
	uint32_t index = (uint32_t)(in->msg.payload.u64 & VHOST_USER_VRING_INDEX_MASK);
	struct session_ring *ring = &s->rings[index];
	enum vu_rule rule = kind == RING_KICK ? forget_position(s, index, p) : VU_RULE_NONE;
	uint64_t id;

	if (rule)
		return rule;
	if (!in->num_fds) {
		fd_close(&ring->fds[kind]);
		note_vring_fd(s, ring, kind);
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
	note_vring_fd(s, ring, kind);
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
	s->has_features = true;
	return VU_RULE_NONE;
}

/*
 * A back-end that keeps ring positions is asked to, and gets the region for them next
 * (relay_send_inflight()).
 */
bool relay_internal_features(struct session *s, const struct port_offers *offers,
			     uint64_t *features)
{
	*features = offers->protocol_is_current ? offers->protocol & VHOST_USER_PF_INTERNAL : 0;
	if (!*features || s->inflight >= 0)
		return true;
	s->inflight_rings = s->num_rings;
	s->inflight = inflight_make(s->num_rings);
	return s->inflight >= 0;
}

static enum vu_rule set_protocol_features(struct session *s, uint64_t features, struct passage *p)
{
	uint64_t internal;

	if (features & ~s->protocol_offered)
		return VU_RULE_FEATURES;
	if (!relay_internal_features(s, &s->port->offers, &internal)) {
		p->why = "no memory for ring positions";
		return VU_RULE_SPACE;
	}
	p->pkt.body.msg.payload.u64 |= internal;
	s->protocol = features;
	s->has_protocol = true;
	return VU_RULE_NONE;
}

/*
 * A reset of the device: rings are set up anew before they run again. Where a back-end has stopped them may still be
 * asked (QEMU sends SET_STATUS 0 before GET_VRING_BASE), so what was served stays so.
 */
static enum vu_rule stop_rings(struct session *s, bool disable, struct passage *p)
{
	for (uint32_t i = 0; i < s->num_rings; i++) {
		struct session_ring *ring = &s->rings[i];

		p->stops_rings |= ring->running;
		if (ring->running || (disable && ring->has_enable))
			records_ring(s, i);
		ring->running = false;
		if (disable)
			ring->has_enable = ring->enabled = false;
	}
	return VU_RULE_NONE;
}

static enum vu_rule set_status(struct session *s, uint64_t status, struct passage *p)
{
	s->status = status;
	s->has_status = true;
	return status ? VU_RULE_NONE : stop_rings(s, false, p);
}

static enum vu_rule set_vring_state(struct session *s, const struct vhost_user_msg *msg,
				    struct passage *p)
{
	struct session_ring *ring = &s->rings[msg->payload.state.index];

	switch (msg->hdr.request) {
	case VHOST_USER_SET_VRING_NUM:
		ring->num = msg->payload.state.num;
		ring->has_num = true;
		break;
	case VHOST_USER_SET_VRING_BASE:
		ring->base = msg->payload.state.num;
		ring->has_base = true;
		return forget_position(s, msg->payload.state.index, p);
	default:
		ring->enabled = msg->payload.state.num != 0;
		ring->has_enable = true;
	}
	return VU_RULE_NONE;
}

enum vu_rule relay_translate(struct session *s, struct wire_msg *in, struct passage *p)
{
	const struct vhost_user_msg *msg = &in->msg;

	switch (msg->hdr.request) {
	case VHOST_USER_SET_OWNER:
		s->has_owner = true;
		return VU_RULE_NONE;
	case VHOST_USER_SET_FEATURES:
		return set_features(s, msg->payload.u64);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return set_protocol_features(s, msg->payload.u64, p);
	case VHOST_USER_NET_SET_MTU:
		s->mtu = msg->payload.u64;
		s->has_mtu = true;
		return VU_RULE_NONE;
	case VHOST_USER_SET_STATUS:
		return set_status(s, msg->payload.u64, p);
	case VHOST_USER_RESET_OWNER:
	case VHOST_USER_RESET_DEVICE:
		s->has_status = false;
		s->status = 0;
		return stop_rings(s, true, p);
	case VHOST_USER_SET_MEM_TABLE:
		return set_mem_table(s, in, p);
	case VHOST_USER_ADD_MEM_REG:
		return add_mem_reg(s, in, p);
	case VHOST_USER_REM_MEM_REG:
		return rem_mem_reg(s, in, p);
	case VHOST_USER_SET_VRING_NUM:
	case VHOST_USER_SET_VRING_BASE:
	case VHOST_USER_SET_VRING_ENABLE:
		return set_vring_state(s, msg, p);
	case VHOST_USER_SET_VRING_ADDR:
		return set_vring_addr(s, p);
	case VHOST_USER_SET_VRING_KICK:
		return set_vring_fd(s, in, RING_KICK, p);
	case VHOST_USER_SET_VRING_CALL:
		return set_vring_fd(s, in, RING_CALL, p);
	case VHOST_USER_SET_VRING_ERR:
		return set_vring_fd(s, in, RING_ERR, p);
	case VHOST_USER_SET_BACKEND_REQ_FD:
		return set_backend_req_fd(s, in, p);
	default:
		return VU_RULE_NONE;
	}
}
