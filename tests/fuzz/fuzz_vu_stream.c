// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stream of vhost-user messages through the header check, the whole-message checks of both directions and of replies,
 * and the bookkeeping of regions.
 *
 * Input: le64 protocol features, u8 log2 of max_queues; then per message u8 (low nibble: fds, bits 4-5:
 * front-end, back-end or reply), header, payload. Messages live in buffers of exactly their size, so that a
 * check that reads a field before it has checked the size is an error of ASan.
 */
#include "fuzz.h"

#include "proto/vu_check.h"

static void check_invariants(const struct vu_regions *set)
{
	CHECK(set->num <= VHOST_USER_MEM_SLOTS_MAX);
	for (uint32_t i = 0; i < set->num; i++) {
		const struct vhost_user_region *a = &set->regions[i];
		uint64_t gpa;

		CHECK(a->memory_size > 0);
		CHECK(a->guest_phys_addr + a->memory_size > a->guest_phys_addr);
		CHECK(a->userspace_addr + a->memory_size > a->userspace_addr);
		for (uint32_t j = 0; j < i; j++) {
			const struct vhost_user_region *b = &set->regions[j];

			CHECK(a->guest_phys_addr + a->memory_size <= b->guest_phys_addr ||
			      b->guest_phys_addr + b->memory_size <= a->guest_phys_addr);
			CHECK(a->userspace_addr + a->memory_size <= b->userspace_addr ||
			      b->userspace_addr + b->memory_size <= a->userspace_addr);
		}
		CHECK(vu_regions_user_to_gpa(set, a->userspace_addr, &gpa));
		CHECK(gpa == a->guest_phys_addr);
		CHECK(vu_regions_user_to_gpa(set, a->userspace_addr + a->memory_size - 1, &gpa));
		CHECK(gpa == a->guest_phys_addr + a->memory_size - 1);
	}
}

/* What a checked message may be relied upon to have. */
static void use_frontend(const struct vhost_user_msg *msg, unsigned int num_fds,
			 const struct vu_limits *limits, struct vu_regions *set)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);
	uint32_t before = set->num;
	uint32_t index;
	uint64_t gpa;

	CHECK(info && info->id == msg->hdr.request);
	CHECK(num_fds <= VHOST_USER_TABLE_REGIONS_MAX);
	CHECK(info->gate == VHOST_USER_PROTOCOL_F_NONE ||
	      (limits->protocol_features & BIT_ULL(info->gate)));
	switch (msg->hdr.request) {
	case VHOST_USER_SET_MEM_TABLE:
		CHECK(num_fds == msg->payload.mem.num_regions);
		CHECK(vu_regions_set(set, &msg->payload.mem) == VU_RULE_NONE);
		CHECK(set->num == num_fds);
		break;
	case VHOST_USER_ADD_MEM_REG:
		CHECK(num_fds == 1);
		if (vu_regions_add(set, &msg->payload.mem_reg.region) == VU_RULE_NONE)
			CHECK(set->num == before + 1);
		else
			CHECK(set->num == before);
		break;
	case VHOST_USER_REM_MEM_REG:
		if (vu_regions_del(set, &msg->payload.mem_reg.region, &index) == VU_RULE_NONE)
			CHECK(set->num == before - 1 && index <= set->num);
		break;
	case VHOST_USER_SET_VRING_ADDR:
		CHECK(msg->payload.addr.index < limits->max_queues);
		if (vu_regions_user_to_gpa(set, msg->payload.addr.desc_user_addr, &gpa))
			CHECK(set->num > 0);
		break;
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		CHECK((msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK) < limits->max_queues);
		CHECK(num_fds == !(msg->payload.u64 & VHOST_USER_VRING_NOFD_MASK));
		break;
	case VHOST_USER_GET_CONFIG:
	case VHOST_USER_SET_CONFIG:
		CHECK(msg->payload.config.offset + msg->payload.config.size <=
		      VHOST_USER_CONFIG_MAX);
		break;
	default:
		break;
	}
	check_invariants(set);
	if (vu_expects_reply(msg, limits->protocol_features)) {
		struct vhost_user_msg reply;

		vu_make_u64_reply(&reply, msg->hdr.request, 1);
		CHECK(vu_msg_bytes(&reply) == 20);
		if (info->reply == VU_REPLY_ACK || info->reply == VU_REPLY_U64)
			CHECK(vu_check_reply(&reply, msg->hdr.request) == VU_RULE_NONE);
	}
}

static void one_message(struct input *in, const struct vu_limits *limits, struct vu_regions *set)
{
	uint8_t control = input_u8(in);
	unsigned int num_fds = control & 0xf;
	bool is_reply = (control & 0x20) != 0;
	struct vhost_user_header hdr;
	struct vhost_user_msg *msg;
	enum vu_rule rule;

	input_bytes(in, &hdr, sizeof(hdr));
	rule = vu_check_header(&hdr, is_reply);
	CHECK(vu_rule_text(rule) && vu_frontend_name(hdr.request) && vu_backend_name(hdr.request));
	if (rule)
		return;
	CHECK(hdr.size <= VHOST_USER_PAYLOAD_MAX);
	msg = malloc(sizeof(hdr) + hdr.size);
	if (!msg)
		return;
	msg->hdr = hdr;
	input_bytes(in, &msg->payload, hdr.size);
	if (is_reply) {
		rule = vu_check_reply(msg, control & 0x40 ? hdr.request : control);
		CHECK(rule != VU_RULE_NONE || vu_frontend_info(hdr.request));
	} else if (control & 0x10) {
		rule = vu_check_backend(msg, num_fds, limits);
		CHECK(rule != VU_RULE_NONE || vu_backend_info(hdr.request));
	} else {
		rule = vu_check_frontend(msg, num_fds, limits);
		if (!rule)
			use_frontend(msg, num_fds, limits, set);
	}
	CHECK(vu_rule_text(rule));
	free(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct vu_limits limits = { .protocol_features = input_u64(&in) };
	struct vu_regions set = { 0 };

	limits.max_queues = 1u << (input_u8(&in) % 9);
	while (input_left(&in))
		one_message(&in, &limits, &set);
	return 0;
}
