// SPDX-License-Identifier: BSD-2-Clause
/*
 * Checks of vhost-user messages. The first half goes through the message tables: for every row a good message
 * is made from the row's own columns, and each column is then violated. The second half has the rules of single
 * fields.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "abi/inflight.h"
#include "proto/vu_check.h"

#define GIB	   0x40000000ull
#define MAX_QUEUES 4

static const struct vu_limits open_limits = { .protocol_features = UINT64_MAX,
					      .max_queues = MAX_QUEUES };

static const struct vhost_user_region low_region = { 0, 0xa0000, 0x7f0000000000, 0 };
static const struct vhost_user_region high_region = { GIB, GIB, 0x7f0040000000, GIB };

/* Payload bytes of a good message of this kind; fills in what the size depends on. */
static uint32_t good_payload(struct vhost_user_msg *msg, enum vu_payload payload)
{
	switch (payload) {
	case VU_PAYLOAD_NONE:
	case VU_PAYLOAD_OPAQUE:
		return 0;
	case VU_PAYLOAD_U64:
		return 8;
	case VU_PAYLOAD_STATE:
		msg->payload.state.num = 1;
		return 8;
	case VU_PAYLOAD_ADDR:
		return 40;
	case VU_PAYLOAD_MEM_TABLE:
		msg->payload.mem.num_regions = 2;
		msg->payload.mem.regions[0] = low_region;
		msg->payload.mem.regions[1] = high_region;
		return 8 + 2 * 32;
	case VU_PAYLOAD_MEM_REG:
		msg->payload.mem_reg.region = low_region;
		return 40;
	case VU_PAYLOAD_LOG:
		return 16;
	case VU_PAYLOAD_CONFIG:
		msg->payload.config.size = 12;
		return 12 + 12;
	case VU_PAYLOAD_INFLIGHT:
		msg->payload.inflight.num_queues = MAX_QUEUES;
		msg->payload.inflight.mmap_size = INFLIGHT_BYTES(MAX_QUEUES);
		return 24;
	}
	fail();
	return 0;
}

static unsigned int good_fds(enum vu_fds fds)
{
	switch (fds) {
	case VU_FDS_NONE:
	case VU_FDS_OPTIONAL_MEMORY:
		return 0;
	case VU_FDS_PER_REGION:
		return 2;
	case VU_FDS_ONE_MEMORY:
	case VU_FDS_VRING:
	case VU_FDS_ONE_EVENT:
	case VU_FDS_ONE_SOCKET:
		return 1;
	}
	fail();
	return 0;
}

static struct vhost_user_msg good_message(const struct vu_msg_info *info)
{
	struct vhost_user_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.hdr.request = info->id;
	msg.hdr.flags = VHOST_USER_VERSION;
	msg.hdr.size = good_payload(&msg, info->payload);
	return msg;
}

typedef enum vu_rule (*check_fn)(const struct vhost_user_msg *msg, unsigned int num_fds,
				 const struct vu_limits *limits);

/* The message in a buffer of just its size, so that a read beyond the payload is an error of ASan. */
static enum vu_rule check_exact(check_fn check, const struct vhost_user_msg *msg,
				unsigned int num_fds, const struct vu_limits *limits)
{
	struct vhost_user_msg *copy = malloc(vu_msg_bytes(msg));
	enum vu_rule rule;

	assert_non_null(copy);
	memcpy(copy, msg, vu_msg_bytes(msg));
	rule = check(copy, num_fds, limits);
	free(copy);
	return rule;
}

static void expect(const char *what, const struct vu_msg_info *info, enum vu_rule got,
		   enum vu_rule want)
{
	if (got != want)
		fail_msg("%s %s: %s, expected: %s", info->name, what, vu_rule_text(got),
			 vu_rule_text(want));
}

static void check_sizes(check_fn check, const struct vu_msg_info *info)
{
	struct vhost_user_msg msg = good_message(info);
	uint32_t good = msg.hdr.size;

	for (uint32_t size = 0; size <= VHOST_USER_PAYLOAD_MAX; size++) {
		enum vu_rule want = VU_RULE_SIZE;

		msg.hdr.size = size;
		if (size == good || info->payload == VU_PAYLOAD_OPAQUE)
			want = VU_RULE_NONE;
		if (info->payload == VU_PAYLOAD_MEM_TABLE &&
		    size == sizeof(struct vhost_user_mem_table))
			want = VU_RULE_NONE; /* the whole struct */
		expect("size", info, check_exact(check, &msg, good_fds(info->fds), &open_limits),
		       want);
	}
	msg.hdr.size = UINT32_MAX;
	expect("size", info, check(&msg, good_fds(info->fds), &open_limits), VU_RULE_SIZE);
}

static void check_row(check_fn check, const struct vu_msg_info *info)
{
	struct vhost_user_msg msg = good_message(info);
	unsigned int fds = good_fds(info->fds);
	struct vu_limits closed = open_limits;

	expect("good", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_NONE);
	check_sizes(check, info);

	for (unsigned int n = 0; n < 12; n++) {
		bool good = n == fds || (info->fds == VU_FDS_OPTIONAL_MEMORY && n == 1);

		expect("fds", info, check_exact(check, &msg, n, &open_limits),
		       good ? VU_RULE_NONE : VU_RULE_FDS);
	}

	if (info->gate != VHOST_USER_PROTOCOL_F_NONE) {
		closed.protocol_features = ~BIT_ULL(info->gate);
		expect("gate", info, check_exact(check, &msg, fds, &closed), VU_RULE_GATE);
	}

	msg.hdr.flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY_MASK;
	expect("need_reply", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_NONE);
	msg.hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
	expect("reply flag", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_FLAGS);
	msg.hdr.flags = VHOST_USER_VERSION | 0x10;
	expect("unknown flag", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_FLAGS);
	msg.hdr.flags = 2;
	expect("version", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_VERSION);
	msg.hdr.flags = 0;
	expect("version", info, check_exact(check, &msg, fds, &open_limits), VU_RULE_VERSION);
}

static void every_frontend_row(void **state)
{
	unsigned int rows = 0;

	for (uint32_t request = 0; request < 300; request++) {
		const struct vu_msg_info *info = vu_frontend_info(request);

		if (!info) {
			assert_string_equal(vu_frontend_name(request), "unknown request");
			continue;
		}
		assert_int_equal(info->id, request);
		assert_string_equal(vu_frontend_name(request), info->name);
		check_row(vu_check_frontend, info);
		rows++;
	}
	assert_int_equal(rows, 45);
	assert_null(vu_frontend_info(UINT32_MAX));
}

static void every_backend_row(void **state)
{
	unsigned int rows = 0;

	for (uint32_t request = 0; request < 300; request++) {
		const struct vu_msg_info *info = vu_backend_info(request);

		if (!info)
			continue;
		assert_int_equal(info->id, request);
		assert_string_equal(vu_backend_name(request), info->name);
		check_row(vu_check_backend, info);
		rows++;
	}
	assert_int_equal(rows, 10);
	assert_string_equal(vu_backend_name(0), "unknown request");
}

static void unknown_requests(void **state)
{
	struct vhost_user_msg msg = { .hdr = { .flags = VHOST_USER_VERSION } };
	const uint32_t numbers[] = { 0, 46, 1000, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		msg.hdr.request = numbers[i];
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_UNKNOWN);
		assert_int_equal(vu_check_backend(&msg, 0, &open_limits), VU_RULE_UNKNOWN);
		assert_false(vu_expects_reply(&msg, UINT64_MAX));
	}
}

/* Every row has the right kind of answer, and only that is taken for one. */
static void replies(void **state)
{
	for (uint32_t request = 1; request < VHOST_USER_REQUEST_END; request++) {
		const struct vu_msg_info *info = vu_frontend_info(request);
		const enum vu_payload kinds[] = {
			[VU_REPLY_ACK] = VU_PAYLOAD_U64,
			[VU_REPLY_U64] = VU_PAYLOAD_U64,
			[VU_REPLY_STATE] = VU_PAYLOAD_STATE,
			[VU_REPLY_CONFIG] = VU_PAYLOAD_CONFIG,
			[VU_REPLY_INFLIGHT] = VU_PAYLOAD_INFLIGHT,
		};
		struct vhost_user_msg msg = {
			.hdr = { request, VHOST_USER_VERSION | VHOST_USER_REPLY_MASK, 0 }
		};

		msg.hdr.size = good_payload(&msg, kinds[info->reply]);
		expect("reply", info, vu_check_reply(&msg, request), VU_RULE_NONE);
		expect("other request", info, vu_check_reply(&msg, request + 1), VU_RULE_REPLY);
		msg.hdr.size++;
		expect("reply size", info, vu_check_reply(&msg, request), VU_RULE_SIZE);
		msg.hdr.size = 0;
		expect("empty reply", info, vu_check_reply(&msg, request),
		       info->reply == VU_REPLY_CONFIG ? VU_RULE_NONE : VU_RULE_SIZE);
		msg.hdr.flags = VHOST_USER_VERSION;
		expect("no reply flag", info, vu_check_reply(&msg, request), VU_RULE_FLAGS);
	}
}

static void who_expects_a_reply(void **state)
{
	struct vhost_user_msg msg = { .hdr = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 } };

	assert_true(vu_expects_reply(&msg, 0));
	msg.hdr.request = VHOST_USER_SET_OWNER;
	assert_false(vu_expects_reply(&msg, UINT64_MAX));
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	assert_true(vu_expects_reply(&msg, VHOST_USER_PF_MASK(REPLY_ACK)));
	assert_false(vu_expects_reply(&msg, ~VHOST_USER_PF_MASK(REPLY_ACK)));

	vu_make_u64_reply(&msg, VHOST_USER_SET_OWNER, 7);
	assert_int_equal(vu_check_reply(&msg, VHOST_USER_SET_OWNER), VU_RULE_NONE);
	assert_int_equal(msg.payload.u64, 7);
	assert_int_equal(vu_msg_bytes(&msg), 20);
}

static void vring_indices(void **state)
{
	const uint32_t states[] = { VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
				    VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ENABLE };
	const uint32_t u64s[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
				  VHOST_USER_SET_VRING_ERR };
	struct vhost_user_msg msg;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		msg = good_message(vu_frontend_info(states[i]));
		msg.payload.state.index = MAX_QUEUES - 1;
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_NONE);
		msg.payload.state.index = MAX_QUEUES;
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_INDEX);
		msg.payload.state.index = UINT32_MAX;
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_INDEX);
	}
	for (size_t i = 0; i < ARRAY_LEN(u64s); i++) {
		msg = good_message(vu_frontend_info(u64s[i]));
		msg.payload.u64 = MAX_QUEUES;
		assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_INDEX);
		msg.payload.u64 = VHOST_USER_VRING_NOFD_MASK | (MAX_QUEUES - 1);
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_NONE);
		assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_FDS);
		msg.payload.u64 = 0x200;
		assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
		msg.payload.u64 = BIT_ULL(63);
		assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
	}
	msg = good_message(vu_frontend_info(VHOST_USER_SET_VRING_ADDR));
	msg.payload.addr.index = MAX_QUEUES;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_INDEX);
	msg.payload.addr.index = 0;
	msg.payload.addr.flags = 2;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_VALUE);
	msg.payload.addr.flags = VHOST_VRING_F_LOG_MASK;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_VALUE);
	msg.payload.addr.flags = 0;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_NONE);
	msg = good_message(vu_backend_info(VHOST_USER_BACKEND_VRING_CALL));
	msg.payload.state.index = MAX_QUEUES;
	assert_int_equal(vu_check_backend(&msg, 0, &open_limits), VU_RULE_INDEX);
}

static void field_values(void **state)
{
	const struct {
		uint32_t request;
		uint32_t num;
		enum vu_rule rule;
	} cases[] = {
		{ VHOST_USER_SET_VRING_NUM, 0, VU_RULE_VALUE },
		{ VHOST_USER_SET_VRING_NUM, 32768, VU_RULE_NONE },
		{ VHOST_USER_SET_VRING_NUM, 32769, VU_RULE_VALUE },
		{ VHOST_USER_SET_VRING_ENABLE, 0, VU_RULE_NONE },
		{ VHOST_USER_SET_VRING_ENABLE, 2, VU_RULE_VALUE },
		{ VHOST_USER_SET_VRING_BASE, UINT32_MAX, VU_RULE_NONE },
	};
	struct vhost_user_msg msg;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		msg = good_message(vu_frontend_info(cases[i].request));
		msg.payload.state.num = cases[i].num;
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), cases[i].rule);
	}
	msg = good_message(vu_frontend_info(VHOST_USER_NET_SET_MTU));
	msg.payload.u64 = 65535;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_NONE);
	msg.payload.u64 = 65536;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_VALUE);
	msg = good_message(vu_frontend_info(VHOST_USER_SET_INFLIGHT_FD));
	msg.payload.inflight.queue_size = 1;
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
	msg = good_message(vu_frontend_info(VHOST_USER_SET_INFLIGHT_FD));
	msg.payload.inflight.num_queues++;
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
	msg.payload.inflight.mmap_size += sizeof(struct inflight_ring);
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_NONE);
	msg.payload.inflight.mmap_offset = 64;
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
	msg = good_message(vu_frontend_info(VHOST_USER_SET_INFLIGHT_FD));
	msg.payload.inflight.num_queues = 0;
	msg.payload.inflight.mmap_size = 0;
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_VALUE);
	msg = good_message(vu_frontend_info(VHOST_USER_SET_STATUS));
	msg.payload.u64 = 0xff;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_NONE);
	msg.payload.u64 = 0x100;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_VALUE);
}

static void config_space(void **state)
{
	const struct {
		uint32_t offset, size, bytes, flags;
		enum vu_rule rule;
	} cases[] = {
		{ 0, 256, 268, 0, VU_RULE_NONE },	 { 0, 257, 268, 0, VU_RULE_VALUE },
		{ 256, 0, 12, 0, VU_RULE_NONE },	 { 256, 1, 13, 0, VU_RULE_VALUE },
		{ UINT32_MAX, 2, 14, 0, VU_RULE_VALUE }, { 2, UINT32_MAX, 14, 0, VU_RULE_VALUE },
		{ 0, 8, 19, 0, VU_RULE_SIZE },		 { 0, 8, 21, 0, VU_RULE_SIZE },
		{ 0, 8, 20, 1, VU_RULE_NONE },		 { 0, 8, 20, 2, VU_RULE_VALUE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vhost_user_msg msg = good_message(vu_frontend_info(VHOST_USER_SET_CONFIG));

		msg.hdr.size = cases[i].bytes;
		msg.payload.config.offset = cases[i].offset;
		msg.payload.config.size = cases[i].size;
		msg.payload.config.flags = cases[i].flags;
		assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), cases[i].rule);
	}
}

static void region_counts(void **state)
{
	struct vhost_user_msg msg = good_message(vu_frontend_info(VHOST_USER_SET_MEM_TABLE));

	for (uint32_t i = 0; i < VHOST_USER_TABLE_REGIONS_MAX; i++)
		msg.payload.mem.regions[i] = (struct vhost_user_region){ i * GIB, GIB, i * GIB, 0 };
	for (uint32_t num = 1; num <= VHOST_USER_TABLE_REGIONS_MAX; num++) {
		msg.payload.mem.num_regions = num;
		msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(num);
		assert_int_equal(check_exact(vu_check_frontend, &msg, num, &open_limits),
				 VU_RULE_NONE);
		assert_int_equal(check_exact(vu_check_frontend, &msg, num - 1, &open_limits),
				 VU_RULE_FDS);
		msg.hdr.size--;
		assert_int_equal(check_exact(vu_check_frontend, &msg, num, &open_limits),
				 VU_RULE_SIZE);
	}
	msg.hdr.size = sizeof(struct vhost_user_mem_table);
	msg.payload.mem.num_regions = 0;
	assert_int_equal(vu_check_frontend(&msg, 0, &open_limits), VU_RULE_REGIONS);
	msg.payload.mem.num_regions = 9;
	assert_int_equal(vu_check_frontend(&msg, 9, &open_limits), VU_RULE_REGIONS);
	msg.payload.mem.num_regions = 0x08000001; /* times 32 wraps to one region */
	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(1);
	assert_int_equal(vu_check_frontend(&msg, 1, &open_limits), VU_RULE_REGIONS);
}

static void rule_texts(void **state)
{
	for (int i = 0; i < VU_RULE_COUNT; i++) {
		assert_non_null(vu_rule_text((enum vu_rule)i));
		assert_string_not_equal(vu_rule_text((enum vu_rule)i), "unknown rule");
	}
	assert_string_equal(vu_rule_text((enum vu_rule)VU_RULE_COUNT), "unknown rule");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_frontend_row),  cmocka_unit_test(every_backend_row),
		cmocka_unit_test(unknown_requests),    cmocka_unit_test(replies),
		cmocka_unit_test(who_expects_a_reply), cmocka_unit_test(vring_indices),
		cmocka_unit_test(field_values),	       cmocka_unit_test(config_space),
		cmocka_unit_test(region_counts),       cmocka_unit_test(rule_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
