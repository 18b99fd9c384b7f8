// SPDX-License-Identifier: BSD-2-Clause
/* The message tables of abi/vhost_user.h as data, and the words for log lines. */
#include "proto/vu_check.h"

#define ROW(name_, id_, gate_, payload_, fds_, reply_, needs_, relay_)                             \
	[id_] = {                                                                                  \
		.name = #name_,                                                                    \
		.id = (id_),                                                                       \
		.gate = VHOST_USER_PROTOCOL_F_##gate_,                                             \
		.payload = VU_PAYLOAD_##payload_,                                                  \
		.fds = VU_FDS_##fds_,                                                              \
		.reply = VU_REPLY_##reply_,                                                        \
		.needs = VU_NEEDS_##needs_,                                                        \
		.relay = VU_RELAY_##relay_,                                                        \
	},

/* Indexed by request; numbers that nothing has leave an empty row. */
static const struct vu_msg_info frontend_rows[] = { VHOST_USER_FRONTEND_MESSAGES(ROW) };
static const struct vu_msg_info backend_rows[] = { VHOST_USER_BACKEND_MESSAGES(ROW) };

static const struct vu_msg_info *row(const struct vu_msg_info *rows, uint32_t num, uint32_t request)
{
	return request < num && rows[request].name ? &rows[request] : NULL;
}

const struct vu_msg_info *vu_frontend_info(uint32_t request)
{
	return row(frontend_rows, ARRAY_LEN(frontend_rows), request);
}

const struct vu_msg_info *vu_backend_info(uint32_t request)
{
	return row(backend_rows, ARRAY_LEN(backend_rows), request);
}

const char *vu_frontend_name(uint32_t request)
{
	const struct vu_msg_info *info = vu_frontend_info(request);

	return info ? info->name : "unknown request";
}

const char *vu_backend_name(uint32_t request)
{
	const struct vu_msg_info *info = vu_backend_info(request);

	return info ? info->name : "unknown request";
}

const char *vu_rule_text(enum vu_rule rule)
{
	static const char *const texts[VU_RULE_COUNT] = {
		[VU_RULE_NONE] = "no rule broken",
		[VU_RULE_VERSION] = "the version in the header's flags is not 1",
		[VU_RULE_FLAGS] = "the header's flags do not fit",
		[VU_RULE_UNKNOWN] = "the protocol has no such request",
		[VU_RULE_REFUSED] = "the request is not supported",
		[VU_RULE_GATE] = "its protocol feature was not negotiated",
		[VU_RULE_SIZE] = "the payload does not have the message's size",
		[VU_RULE_FDS] = "too many or missing file descriptors",
		[VU_RULE_INDEX] = "the vring index is out of range",
		[VU_RULE_REGIONS] = "the number of regions is 0 or more than supported",
		[VU_RULE_REGION] = "a region is empty, wraps or is not page-aligned",
		[VU_RULE_OVERLAP] = "regions overlap",
		[VU_RULE_ORDER] = "something it needs has not been sent before",
		[VU_RULE_FEATURES] = "it sets a feature that was not offered",
		[VU_RULE_VALUE] = "a field has a value that is not allowed",
		[VU_RULE_ADDRESS] = "an address is in no region",
		[VU_RULE_FD_KIND] = "a file descriptor is of the wrong kind",
		[VU_RULE_FD_LENGTH] = "the file is shorter than claimed",
		[VU_RULE_DUPLICATE] = "the same file descriptor or message came twice",
		[VU_RULE_REPLY] = "the reply does not belong to the request",
		[VU_RULE_SPACE] = "it does not fit into the space there is",
	};

	if ((unsigned int)rule >= VU_RULE_COUNT)
		return "unknown rule";
	return texts[rule];
}
