// SPDX-License-Identifier: BSD-2-Clause
/* SET_INFLIGHT_FD, which the proxy sends for itself (abi/inflight.h): a region of its own in the window. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/inflight.h"
#include "vmm/hostlib/fds.h"
#include "world.h"

#define QUEUES 4
#define BYTES  INFLIGHT_BYTES(QUEUES)

static uint8_t *at(struct world *w, uint64_t offset)
{
	return fake_memory(&w->f, w->drv.shm_gpa + offset, 8);
}

static uint64_t word(struct world *w, uint64_t offset)
{
	uint64_t v;

	assert_non_null(at(w, offset));
	memcpy(&v, at(w, offset), sizeof(v));
	return v;
}

static struct vhost_user_msg inflight_msg(void)
{
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_INFLIGHT_FD);

	msg.hdr.size = sizeof(msg.payload.inflight);
	msg.payload.inflight.mmap_size = BYTES;
	msg.payload.inflight.num_queues = QUEUES;
	return msg;
}

/* Sends it; what reached the driver. */
static struct vhost_user_msg set_inflight(struct world *w, int fd)
{
	struct vhost_user_msg msg = inflight_msg();

	world_send(w, &msg, &fd, 1);
	msg = world_expect(w, VHOST_USER_SET_INFLIGHT_FD);
	assert_int_equal(msg.payload.inflight.mmap_size, BYTES);
	assert_int_equal(msg.payload.inflight.num_queues, QUEUES);
	return msg;
}

static void negotiate(struct world *w)
{
	world_negotiate(w, VHOST_USER_PF_INTERNAL | VHOST_USER_PF_MASK(REPLY_ACK) |
				   VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS));
}

/* Shown, and left alone by whatever happens to the front-end's memory. */
static void test_beside_memory(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };
	int fd = make_memory(BYTES, 9);
	struct vhost_user_msg msg;
	uint64_t offset, memory;

	negotiate(w);
	msg = set_inflight(w, fd);
	offset = msg.payload.inflight.mmap_offset;
	assert_int_equal(offset % 4096, 0);
	assert_int_equal(offset, WORLD_SHM - BYTES);
	assert_int_equal(word(w, offset + BYTES - 4096), memory_word(BYTES - 4096, 9));
	assert_false(msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK);
	for (unsigned int i = 0; i < 3; i++) {
		r.gpa = i * 4 * MIB;
		world_set_table(w, &r, 1);
		msg = world_expect(w, VHOST_USER_SET_MEM_TABLE);
		memory = msg.payload.mem.regions[0].mmap_offset;
		assert_true(memory + 4 * MIB <= offset);
		world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
		assert_int_equal(word(w, memory), memory_word(0, 1));
		assert_int_equal(word(w, offset), memory_word(0, 9));
		assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	}
	/* What the guest writes is there for whoever maps it next. */
	*at(w, offset + 100) = 0x5a;
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, 100), 1);
	assert_int_equal(byte, 0x5a);
	close(fd);
	close(r.fd);
}

/* A region of the front-end that looks like it is not it. */
static void test_not_removed_as_memory(void **state)
{
	struct world *w = *state;
	int fd = make_memory(BYTES, 9), same = make_memory(BYTES, 3);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_ADD_MEM_REG);
	uint64_t offset;

	negotiate(w);
	offset = set_inflight(w, fd).payload.inflight.mmap_offset;
	msg.hdr.size = sizeof(msg.payload.mem_reg);
	msg.payload.mem_reg.region.memory_size = BYTES;
	world_send(w, &msg, &same, 1);
	world_expect(w, VHOST_USER_ADD_MEM_REG);
	msg.hdr.request = VHOST_USER_REM_MEM_REG;
	world_send(w, &msg, NULL, 0);
	world_expect(w, VHOST_USER_REM_MEM_REG);
	world_answer(w, VHOST_USER_REM_MEM_REG, 0);
	assert_int_equal(word(w, offset), memory_word(0, 9));
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	close(fd);
	close(same);
}

/* The first stays until the driver has answered for the second. */
static void test_second(void **state)
{
	struct world *w = *state;
	int first = make_memory(BYTES, 1), second = make_memory(BYTES, 2);
	uint64_t old, new;
	unsigned int fds = fake_num_fds();
	struct vhost_user_msg msg;

	negotiate(w);
	old = set_inflight(w, first).payload.inflight.mmap_offset;
	assert_int_equal(fake_num_fds(), fds + 1);
	msg = set_inflight(w, second);
	new = msg.payload.inflight.mmap_offset;
	assert_int_equal(new, old - BYTES);
	assert_true(msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK);
	assert_int_equal(word(w, old), memory_word(0, 1));
	assert_int_equal(word(w, new), memory_word(0, 2));
	world_answer(w, VHOST_USER_SET_INFLIGHT_FD, 0);
	assert_null(at(w, old));
	assert_int_equal(word(w, new), memory_word(0, 2));
	assert_int_equal(fake_num_fds(), fds + 1);
	/* The third finds the first one's place. */
	assert_int_equal(set_inflight(w, first).payload.inflight.mmap_offset, old);
	world_answer(w, VHOST_USER_SET_INFLIGHT_FD, 0);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	close(first);
	close(second);
}

static void test_revoked(void **state)
{
	struct world *w = *state;
	int fd = make_memory(BYTES, 9);
	unsigned int fds = fake_num_fds();
	uint64_t offset;

	negotiate(w);
	offset = set_inflight(w, fd).payload.inflight.mmap_offset;
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_equal(fake_num_fds(), fds);
	assert_int_equal(word(w, offset), 0);
	*at(w, offset) = 0x77;
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_not_equal(byte, 0x77);
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	assert_int_equal(fake_num_slots(&w->f), 1);
	close(fd);
}

static void test_bad(void **state)
{
	static const struct {
		uint64_t size, offset;
		uint16_t queues, queue_size;
	} bad[] = {
		{ BYTES, 4096, QUEUES, 0 },
		{ BYTES, 0, QUEUES, 256 },
		{ BYTES, 0, QUEUES - 1, 0 },
		{ BYTES - 4096, 0, QUEUES, 0 },
		{ 0, 0, 0, 0 },
		{ INFLIGHT_BYTES(VVU_MAX_VHOST_QUEUES + 1), 0, VVU_MAX_VHOST_QUEUES + 1, 0 },
		{ INFLIGHT_BYTES(2 * QUEUES), 0, 2 * QUEUES, 0 }, /* the file has less */
	};
	struct world *w = *state;
	unsigned int fds = fake_num_fds();

	for (uint32_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct vhost_user_msg msg =
			msg_u64(VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_INTERNAL);
		int fd = make_memory(BYTES, 1);

		fake_proxy_message(&w->proxy, i + 1, 1, &msg, NULL, 0);
		fake_step(&w->f);
		world_expect(w, VHOST_USER_SET_PROTOCOL_FEATURES);
		msg = inflight_msg();
		msg.payload.inflight.mmap_size = bad[i].size;
		msg.payload.inflight.mmap_offset = bad[i].offset;
		msg.payload.inflight.num_queues = bad[i].queues;
		msg.payload.inflight.queue_size = bad[i].queue_size;
		fake_proxy_message(&w->proxy, i + 1, 2, &msg, &fd, 1);
		fake_step(&w->f);
		close(fd);
		world_expect_end(w, true, "SET_INFLIGHT_FD");
		assert_int_equal(fake_num_fds(), fds);
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, i + 2);
	}
}

static void test_not_negotiated(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg = inflight_msg();
	int fd = make_memory(BYTES, 1);

	world_send(w, &msg, &fd, 1);
	world_expect_end(w, true, "SET_INFLIGHT_FD");
	close(fd);
}

/* The classic layout has no way to say where it is. */
static void test_classic(void **state)
{
	struct world *w = *state;
	struct vhost_user_msg msg =
		msg_u64(VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PF_INTERNAL);

	world_send(w, &msg, NULL, 0);
	world_expect_end(w, true, "SET_PROTOCOL_FEATURES");
}

/* No room, or the hypervisor will not: the proxy hears of it, the front-end is not blamed. */
static void test_not_carried_out(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, WORLD_SHM, 0, memfd_create("large", MFD_CLOEXEC) };
	struct vhost_user_msg msg = inflight_msg();
	int fd = make_memory(BYTES, 9);

	assert_int_equal(ftruncate(r.fd, WORLD_SHM), 0);
	negotiate(w);
	w->f.fail_slot_add = 1;
	world_send(w, &msg, &fd, 1);
	world_proxy_expect(w, LINK_RESULT);
	world_set_table(w, &r, 1);
	world_expect(w, VHOST_USER_SET_MEM_TABLE);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	world_send(w, &msg, &fd, 1);
	world_proxy_expect(w, LINK_RESULT);
	assert_int_equal(w->dev->session.number, 1);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	close(fd);
	close(r.fd);
}

#define EXPLICIT(test) cmocka_unit_test_setup_teardown(test, world_setup_explicit, world_teardown)
#define CLASSIC(test)  cmocka_unit_test_setup_teardown(test, world_setup_classic, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXPLICIT(test_beside_memory),
		EXPLICIT(test_not_removed_as_memory),
		EXPLICIT(test_second),
		EXPLICIT(test_revoked),
		EXPLICIT(test_bad),
		EXPLICIT(test_not_negotiated),
		EXPLICIT(test_not_carried_out),
		CLASSIC(test_classic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
