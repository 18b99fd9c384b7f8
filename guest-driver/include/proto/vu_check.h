/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks of vhost-user messages: pure functions over bytes and counts. No fds, no allocation, no state but the
 * caller's. Proxy, device, driver and hosted back-end all use these, so that they can't disagree.
 *
 * A failed check names its rule: struct vu_error is what a log line and a SESSION_DOWN notice are made of.
 */
#ifndef VVU_PROTO_VU_CHECK_H
#define VVU_PROTO_VU_CHECK_H

#include <stdbool.h>

#include "abi/vhost_user.h"

/* One row of the message tables. */
struct vu_msg_info {
	const char *name;
	uint32_t id;
	enum vhost_user_protocol_feature gate;
	enum vu_payload payload;
	enum vu_fds fds;
	enum vu_reply reply;
	enum vu_needs needs;
	enum vu_relay relay;
};

/* The row of a request, or NULL when the protocol knows none of that number. */
const struct vu_msg_info *vu_frontend_info(uint32_t request);
const struct vu_msg_info *vu_backend_info(uint32_t request);

/* The specification's name for a log line ("SET_MEM_TABLE"), or "unknown request"; never NULL. */
const char *vu_frontend_name(uint32_t request);
const char *vu_backend_name(uint32_t request);

/* Which rule a message broke. */
enum vu_rule {
	VU_RULE_NONE = 0,
	VU_RULE_VERSION,   /* flags bits 0-1 are not 1 */
	VU_RULE_FLAGS,	   /* unknown flag, REPLY on a request, or no REPLY on a reply */
	VU_RULE_UNKNOWN,   /* no such request */
	VU_RULE_REFUSED,   /* relay column says REFUSE */
	VU_RULE_GATE,	   /* its protocol feature was not negotiated */
	VU_RULE_SIZE,	   /* payload size not what the message has */
	VU_RULE_FDS,	   /* too many or missing fds */
	VU_RULE_INDEX,	   /* vring index out of range */
	VU_RULE_REGIONS,   /* number of regions: 0, more than supported */
	VU_RULE_REGION,	   /* a region is empty, wraps, or is not page-aligned (4096) */
	VU_RULE_OVERLAP,   /* regions overlap, in guest-physical or in user addresses */
	VU_RULE_ORDER,	   /* needs something that has not happened */
	VU_RULE_FEATURES,  /* sets a feature that was not offered */
	VU_RULE_VALUE,	   /* a field has a value the specification does not allow */
	VU_RULE_ADDRESS,   /* an address in no region */
	VU_RULE_FD_KIND,   /* an fd is not of the kind the message carries */
	VU_RULE_FD_LENGTH, /* the file is shorter than claimed */
	VU_RULE_DUPLICATE, /* the same eventfd twice; a second SET_BACKEND_REQ_FD */
	VU_RULE_REPLY,	   /* a reply nobody asked for, or of another request */
	VU_RULE_SPACE,	   /* does not fit (shared memory, slots) */
	VU_RULE_COUNT,
};

/* A short sentence for each rule, never NULL. */
const char *vu_rule_text(enum vu_rule rule);

/* Header of any message, from the first 12 bytes. Size is bounded by VHOST_USER_PAYLOAD_MAX whatever the request. */
enum vu_rule vu_check_header(const struct vhost_user_header *hdr, bool is_reply);

/*
 * A whole front-end request against its table row: flags, gate (negotiated: protocol features acknowledged), payload
 * size, number of fds, and every rule that needs no memory of earlier messages (indices below max_queues, regions,
 * reserved bits). msg->payload holds msg->hdr.size bytes. The relay column is the caller's business
 * (vu_frontend_info(), VU_RULE_REFUSED).
 *
 * A SET_MEM_TABLE may also have the size of the whole struct with all eight regions, since some front-ends send
 * that; the regions from num_regions on are not looked at.
 */
struct vu_limits {
	uint64_t protocol_features; /* acknowledged by SET_PROTOCOL_FEATURES */
	uint32_t max_queues;	    /* virtqueues */
};
enum vu_rule vu_check_frontend(const struct vhost_user_msg *msg, unsigned int num_fds,
			       const struct vu_limits *limits);

/* A request of the back-end on its own channel. */
enum vu_rule vu_check_backend(const struct vhost_user_msg *msg, unsigned int num_fds,
			      const struct vu_limits *limits);

/* A reply to the front-end request with number request: flags, size, echoed request number. */
enum vu_rule vu_check_reply(const struct vhost_user_msg *msg, uint32_t request);

/* True when the front-end request, as sent, will be answered (own reply, or NEED_REPLY with REPLY_ACK negotiated). */
bool vu_expects_reply(const struct vhost_user_msg *msg, uint64_t protocol_features);

/* Fills in a reply of the same request with a u64 payload (also the REPLY_ACK form: 0 success). */
void vu_make_u64_reply(struct vhost_user_msg *reply, uint32_t request, uint64_t value);

/* Bytes of the message on the wire. */
static inline uint32_t vu_msg_bytes(const struct vhost_user_msg *msg)
{
	return (uint32_t)sizeof(msg->hdr) + msg->hdr.size;
}

/*
 * The regions of a session as the relay and the device keep them, in the order they came: adding checks overlap in both
 * address spaces. Zeroed is empty.
 */
struct vu_regions {
	uint32_t num;
	struct vhost_user_region regions[VHOST_USER_MEM_SLOTS_MAX];
	uint8_t repeats[VHOST_USER_MEM_SLOTS_MAX]; /* how often the region was added again */
};

/* Replaces all regions by those of a checked SET_MEM_TABLE. VU_RULE_NONE, or the old ones stay. */
enum vu_rule vu_regions_set(struct vu_regions *set, const struct vhost_user_mem_table *table);
/* Adds one (ADD_MEM_REG) at the end. VU_RULE_REGION, _OVERLAP or _SPACE (all slots taken). */
enum vu_rule vu_regions_add(struct vu_regions *set, const struct vhost_user_region *region);
/*
 * Removes the one with the same guest address, user address and size (vhost-user §REM_MEM_REG); *index: where it was.
 * The others keep their order. VU_RULE_ADDRESS when there is none.
 */
enum vu_rule vu_regions_del(struct vu_regions *set, const struct vhost_user_region *region,
			    uint32_t *index);
/*
 * QEMU before 8.0 adds and removes each region once per queue pair. vu_regions_repeat(): true, and counted,
 * when this very region is there already; vu_regions_unrepeat(): true, and uncounted, when the region has been
 * repeated. Either way there is nothing to do but to acknowledge. False: to be added, removed or refused as
 * usual.
 */
bool vu_regions_repeat(struct vu_regions *set, const struct vhost_user_region *region);
bool vu_regions_unrepeat(struct vu_regions *set, const struct vhost_user_region *region);
/* Translates a user address of the front-end to guest-physical; false when no region has it. */
bool vu_regions_user_to_gpa(const struct vu_regions *set, uint64_t user, uint64_t *out);

#endif
