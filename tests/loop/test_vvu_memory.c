// SPDX-License-Identifier: BSD-2-Clause
/* The shared-memory window: both layouts, replacing, removing, revoking, and memory that is not
 * what it says. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "world.h"

/* The word that the guest sees at offset of the window; fails the test when it sees nothing. */
static uint64_t seen(struct world *w, uint64_t offset)
{
	const uint8_t *p = fake_memory(&w->f, w->drv.shm_gpa + offset, 8);
	uint64_t word;

	assert_non_null(p);
	memcpy(&word, p, sizeof(word));
	return word;
}

static bool shown(struct world *w, uint64_t offset)
{
	return fake_memory(&w->f, w->drv.shm_gpa + offset, 8) != NULL;
}

static void check_region(struct world *w, uint64_t offset, const struct world_region *r,
			 uint64_t tag)
{
	assert_int_equal(seen(w, offset), memory_word(r->offset, tag));
	assert_int_equal(seen(w, offset + r->bytes - 4096),
			 memory_word(r->offset + r->bytes - 4096, tag));
	/* Nothing before it and behind it. */
	if (offset)
		assert_false(shown(w, offset - 8));
	assert_false(shown(w, offset + r->bytes));
}

static struct vhost_user_msg expect_table(struct world *w, const struct world_region *r,
					  unsigned int num)
{
	struct vhost_user_msg msg = world_expect(w, VHOST_USER_SET_MEM_TABLE);

	assert_int_equal(msg.payload.mem.num_regions, num);
	assert_int_equal(msg.hdr.size, VHOST_USER_MEM_TABLE_BYTES(num));
	for (unsigned int i = 0; i < num; i++) {
		assert_int_equal(msg.payload.mem.regions[i].guest_phys_addr, r[i].gpa);
		assert_int_equal(msg.payload.mem.regions[i].memory_size, r[i].bytes);
	}
	return msg;
}

static void close_regions(struct world_region *r, unsigned int num)
{
	for (unsigned int i = 0; i < num; i++)
		fd_close(&r[i].fd);
}

static void test_explicit(void **state)
{
	struct world *w = *state;
	struct world_region r[] = {
		{ 0, 4 * MIB, 0, make_memory(4 * MIB, 1) },
		{ 4 * MIB, MIB, 3 * MIB + 0x5000, make_memory(8 * MIB, 2) },
		{ UINT64_C(4) << 30, 0x3000, 0x1000, make_memory(MIB, 3) },
	};
	uint64_t offset[3];
	struct vhost_user_msg msg;

	world_set_table(w, r, 3);
	msg = expect_table(w, r, 3);
	/* The device wants an answer that the front-end did not ask for. */
	assert_true(msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK);
	for (unsigned int i = 0; i < 3; i++) {
		offset[i] = msg.payload.mem.regions[i].mmap_offset;
		check_region(w, offset[i], &r[i], i + 1);
		/* Congruent, so that large pages can be used. */
		assert_int_equal((w->drv.shm_gpa + offset[i]) % (2 * MIB), r[i].offset % (2 * MIB));
		assert_int_equal((uintptr_t)fake_memory(&w->f, w->drv.shm_gpa + offset[i], 1) %
					 (2 * MIB),
				 r[i].offset % (2 * MIB));
	}
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	assert_int_equal(fake_num_slots(&w->f), 1 + 3);
	/* Writes of the guest reach the front-end. */
	*fake_memory(&w->f, w->drv.shm_gpa + offset[1], 1) = 0x5a;
	uint8_t byte;
	assert_int_equal(pread(r[1].fd, &byte, 1, (off_t)r[1].offset), 1);
	assert_int_equal(byte, 0x5a);
	close_regions(r, 3);
}

static void test_replace(void **state)
{
	struct world *w = *state;
	struct world_region a = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };
	struct world_region b = { 0, 4 * MIB, 0, make_memory(4 * MIB, 2) };
	struct world_region c = { 0, 4 * MIB, 0, make_memory(4 * MIB, 3) };
	unsigned int fds = fake_num_fds();
	uint64_t old, new;

	world_set_table(w, &a, 1);
	old = expect_table(w, &a, 1).payload.mem.regions[0].mmap_offset;
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(fake_num_fds(), fds + 1);
	world_set_table(w, &b, 1);
	new = expect_table(w, &b, 1).payload.mem.regions[0].mmap_offset;
	assert_int_not_equal(old, new);
	/* Both, until the driver has answered. */
	assert_int_equal(seen(w, old), memory_word(0, 1));
	assert_int_equal(seen(w, new), memory_word(0, 2));
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_false(shown(w, old));
	assert_int_equal(seen(w, new), memory_word(0, 2));
	assert_int_equal(fake_num_fds(), fds + 1);
	/* Two replacements on the way at once; each answer takes its own away. */
	world_set_table(w, &a, 1);
	world_set_table(w, &c, 1);
	old = expect_table(w, &a, 1).payload.mem.regions[0].mmap_offset;
	expect_table(w, &c, 1);
	assert_int_equal(fake_num_slots(&w->f), 1 + 3);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_false(shown(w, new));
	assert_true(shown(w, old));
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	close_regions(&a, 1);
	close_regions(&b, 1);
	close_regions(&c, 1);
}

/* A table that names a region again: it stays where it is, whatever else changes. */
static void test_named_again(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) },
				    { 4 * MIB, MIB, 0, make_memory(MIB, 2) } };
	struct world_region moved = { 8 * MIB, 4 * MIB, 0, r[0].fd };
	uint64_t place;
	unsigned int fds;

	world_set_table(w, r, 1);
	place = expect_table(w, r, 1).payload.mem.regions[0].mmap_offset;
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	fds = fake_num_fds();
	world_set_table(w, r, 2);
	assert_int_equal(expect_table(w, r, 2).payload.mem.regions[0].mmap_offset, place);
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(seen(w, place), memory_word(0, 1));
	assert_int_equal(fake_num_fds(), fds + 1);
	/* Taken out and, before the driver has answered, put in again. */
	world_set_table(w, &r[1], 1);
	world_set_table(w, r, 2);
	expect_table(w, &r[1], 1);
	assert_int_equal(expect_table(w, r, 2).payload.mem.regions[0].mmap_offset, place);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(seen(w, place), memory_word(0, 1));
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	/* A table that fails changes nothing. */
	w->f.fail_slot_add = 1;
	world_set_table(w, (struct world_region[]){ r[1], moved }, 2);
	world_proxy_expect(w, LINK_RESULT);
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	world_set_table(w, r, 2);
	assert_int_equal(expect_table(w, r, 2).payload.mem.regions[0].mmap_offset, place);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	/* The same file at another address is another region. */
	world_set_table(w, &moved, 1);
	assert_int_not_equal(expect_table(w, &moved, 1).payload.mem.regions[0].mmap_offset, place);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	close_regions(r, 2);
}

static void test_answer_asked_for(void **state)
{
	struct world *w = *state;
	struct world_region a = { 0, MIB, 0, make_memory(MIB, 1) };
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);

	world_negotiate(w, VHOST_USER_PF_MASK(REPLY_ACK));
	msg.hdr.flags |= VHOST_USER_NEED_REPLY_MASK;
	/* The whole struct, as some front-ends send it: what is behind the last region does not
	 * reach the driver. */
	msg.hdr.size = sizeof(msg.payload.mem);
	msg.payload.mem.num_regions = 1;
	msg.payload.mem.regions[0].memory_size = MIB;
	msg.payload.mem.regions[1].userspace_addr = 0x7fff12345678;
	world_send(w, &msg, &a.fd, 1);
	expect_table(w, &a, 1);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 1);
	world_proxy_expect(w, LINK_BACKEND);
	assert_int_equal(w->proxy.in.pkt.body.msg.payload.u64, 1);
	assert_int_equal(w->dev->session.number, 1);
	close_regions(&a, 1);
}

static void test_refused_by_driver(void **state)
{
	struct world *w = *state;
	struct world_region a = { 0, MIB, 0, make_memory(MIB, 1) };

	world_set_table(w, &a, 1);
	expect_table(w, &a, 1);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 1);
	world_expect_end(w, true, "SET_MEM_TABLE");
	close_regions(&a, 1);
}

static void test_not_answered(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, MIB, 0, make_memory(MIB, 1) },
				    { 0, MIB, 0, make_memory(MIB, 2) } };

	/* Nothing has to go: there is time. */
	world_set_table(w, &r[0], 1);
	expect_table(w, &r[0], 1);
	fake_wait(&w->f, 1300);
	assert_int_equal(w->dev->session.number, 1);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	world_set_table(w, &r[1], 1);
	expect_table(w, &r[1], 1);
	while (w->dev->session.number)
		fake_wait(&w->f, 50);
	world_expect_end(w, true, "did not answer");
	close_regions(r, 2);
}

/* While the process was stopped, so was the guest. */
static void test_stopped_meanwhile(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, MIB, 0, make_memory(MIB, 1) },
				    { 0, MIB, 0, make_memory(MIB, 2) } };

	for (unsigned int i = 0; i < 2; i++) {
		world_set_table(w, &r[i], 1);
		expect_table(w, &r[i], 1);
		usleep(1300000);
		fake_wait(&w->f, 1);
		assert_int_equal(w->dev->session.number, 1);
		world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	}
	close_regions(r, 2);
}

static struct vhost_user_msg region_msg(uint32_t request, const struct world_region *r)
{
	struct vhost_user_msg msg = msg_empty(request);

	msg.hdr.size = sizeof(msg.payload.mem_reg);
	msg.payload.mem_reg.region = (struct vhost_user_region){ .guest_phys_addr = r->gpa,
								 .memory_size = r->bytes,
								 .userspace_addr = r->gpa,
								 .mmap_offset = r->offset };
	return msg;
}

static void test_slots(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 2 * MIB, 0, make_memory(2 * MIB, 9) };
	struct vhost_user_msg msg;
	uint64_t offset[VHOST_USER_MEM_SLOTS_MAX];

	world_negotiate(w, VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS) | VHOST_USER_PF_MASK(REPLY_ACK));
	for (unsigned int i = 0; i < VHOST_USER_MEM_SLOTS_MAX; i++) {
		r.gpa = i * 2 * MIB;
		msg = region_msg(VHOST_USER_ADD_MEM_REG, &r);
		world_send(w, &msg, &r.fd, 1);
		msg = world_expect(w, VHOST_USER_ADD_MEM_REG);
		assert_int_equal(msg.hdr.flags, VHOST_USER_VERSION);
		offset[i] = msg.payload.mem_reg.region.mmap_offset;
		assert_int_equal(seen(w, offset[i]), memory_word(0, 9));
	}
	assert_int_equal(fake_num_slots(&w->f), 1 + VHOST_USER_MEM_SLOTS_MAX);
	/* Remove one: shown until the answer; its place is free for the next one. */
	r.gpa = 5 * 2 * MIB;
	msg = region_msg(VHOST_USER_REM_MEM_REG, &r);
	world_send(w, &msg, NULL, 0);
	msg = world_expect(w, VHOST_USER_REM_MEM_REG);
	assert_true(msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK);
	assert_true(shown(w, offset[5]));
	world_answer(w, VHOST_USER_REM_MEM_REG, 0);
	assert_false(shown(w, offset[5]));
	assert_int_equal(fake_proxy_recv(&w->proxy), 0);
	msg = region_msg(VHOST_USER_ADD_MEM_REG, &r);
	world_send(w, &msg, &r.fd, 1);
	msg = world_expect(w, VHOST_USER_ADD_MEM_REG);
	assert_int_equal(msg.payload.mem_reg.region.mmap_offset, offset[5]);
	/* One too many. */
	r.gpa = 1000 * MIB;
	msg = region_msg(VHOST_USER_ADD_MEM_REG, &r);
	world_send(w, &msg, &r.fd, 1);
	world_expect_end(w, true, "ADD_MEM_REG");
	close_regions(&r, 1);
}

static void test_slots_unknown(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 2 * MIB, 0, -1 };
	struct vhost_user_msg msg = region_msg(VHOST_USER_REM_MEM_REG, &r);

	world_negotiate(w, VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS));
	world_send(w, &msg, NULL, 0);
	world_expect_end(w, true, "REM_MEM_REG");
}

static void test_classic(void **state)
{
	struct world *w = *state;
	struct world_region r[] = {
		{ 0, 4 * MIB, 0, make_memory(4 * MIB, 1) },
		{ 4 * MIB, MIB, 0x5000, make_memory(8 * MIB, 2) },
		{ UINT64_C(4) << 30, 0x3000, 0x1000, make_memory(MIB, 3) },
	};
	struct world_region b = { 0, 2 * MIB, 0x2000, make_memory(4 * MIB, 4) };
	struct vhost_user_msg msg;

	world_set_table(w, r, 3);
	msg = expect_table(w, r, 3);
	assert_false(msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK);
	/* mmap_offset + memory_size bytes each, back to back, the first mmap_offset bytes not
	 * there. */
	assert_int_equal(msg.payload.mem.regions[1].mmap_offset, 0x5000);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	assert_int_equal(seen(w, 4 * MIB - 4096), memory_word(4 * MIB - 4096, 1));
	assert_false(shown(w, 4 * MIB));
	check_region(w, 4 * MIB + 0x5000, &r[1], 2);
	check_region(w, 5 * MIB + 0x5000 + 0x1000, &r[2], 3);
	/* A new one takes its place at once. */
	world_set_table(w, &b, 1);
	check_region(w, 0x2000, &b, 4);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	expect_table(w, &b, 1);
	close_regions(r, 3);
	close_regions(&b, 1);
}

static void end_shows_zeros(struct world *w, struct world_region *r, unsigned int num,
			    uint64_t offset)
{
	struct vhost_user_msg msg;
	int efd = eventfd(0, EFD_NONBLOCK);
	unsigned int fds = fake_num_fds(), kicks = w->f.kicks;

	world_set_table(w, r, num);
	msg = msg_u64(VHOST_USER_SET_VRING_CALL, 0);
	world_send(w, &msg, &efd, 1);
	assert_int_equal(fake_num_fds(), fds + num + 2); /* two: the doorbell's, the fake's own */
	assert_int_not_equal(seen(w, offset), 0);
	/* In the same turn of the loop in which the end is read: */
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_equal(seen(w, offset), 0);
	assert_int_equal(fake_num_fds(), fds);
	assert_int_equal(w->f.kicks, kicks + 1);
	/* The guest may go on writing; the file does not see it. */
	*fake_memory(&w->f, w->drv.shm_gpa + offset, 1) = 0x77;
	uint8_t byte;
	assert_int_equal(pread(r[0].fd, &byte, 1, (off_t)r[0].offset), 1);
	assert_int_not_equal(byte, 0x77);
	close(efd);
}

static void test_end_explicit(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, 4 * MIB, 0x3000, make_memory(8 * MIB, 1) },
				    { 4 * MIB, MIB, 0, make_memory(4 * MIB, 2) } };

	end_shows_zeros(w, r, 2, 0x3000);
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	/* The driver is done with it; its CPU does not wait for the slots to go. */
	gd_vvu_set_up(&w->drv, true);
	assert_int_equal(fake_num_slots(&w->f), 1 + 2);
	fake_step(&w->f);
	assert_int_equal(fake_num_slots(&w->f), 1);
	close_regions(r, 2);
}

static void test_end_classic(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0x3000, make_memory(8 * MIB, 1) };

	end_shows_zeros(w, &r, 1, 0x3000);
	/* Or it says nothing: then for one second. */
	while (fake_num_slots(&w->f) > 1)
		fake_wait(&w->f, 50);
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	close_regions(&r, 1);
}

static void test_reset(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };

	world_set_table(w, &r, 1);
	gd_virtio_reset(&w->drv.dev);
	assert_int_equal(fake_num_slots(&w->f), 1);
	fake_step(&w->f);
	close_regions(&r, 1);
}

static void test_move_window(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };

	world_set_table(w, &r, 1);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	fake_pci_write(&w->f, WORLD_BDF, PCI_BAR_0 + 12, 4, 0xa0);
	assert_false(shown(w, 0));
	w->drv.shm_gpa = UINT64_C(0xa000000000);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	/* Beyond what the CPU has, over RAM: shown nowhere, and back again. */
	fake_pci_write(&w->f, WORLD_BDF, PCI_BAR_0 + 12, 4, 0xffff0000);
	assert_int_equal(fake_num_slots(&w->f), 1);
	fake_pci_write(&w->f, WORLD_BDF, PCI_BAR_0 + 12, 4, 0xa0);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	fake_pci_write(&w->f, WORLD_BDF, PCI_COMMAND, 2, 0);
	assert_false(shown(w, 0));
	fake_pci_write(&w->f, WORLD_BDF, PCI_COMMAND, 2, PCI_COMMAND_MEMORY_MASK);
	assert_int_equal(seen(w, 4 * MIB - 4096), memory_word(4 * MIB - 4096, 1));
	close_regions(&r, 1);
}

static void test_truncated(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };
	bool repaired;

	world_set_table(w, &r, 1);
	pthread_mutex_lock(&w->f.m.lock);
	repaired = machine_memory_fault(&w->f.m, MACHINE_GPA_UNKNOWN);
	pthread_mutex_unlock(&w->f.m.lock);
	assert_false(repaired); /* nothing is wrong yet */
	assert_int_equal(ftruncate(r.fd, MIB), 0);
	pthread_mutex_lock(&w->f.m.lock);
	repaired = machine_memory_fault(&w->f.m, MACHINE_GPA_UNKNOWN);
	pthread_mutex_unlock(&w->f.m.lock);
	assert_true(repaired);
	assert_int_equal(seen(w, 4 * MIB - 4096), 0);
	world_expect_end(w, true, "truncated");
	close_regions(&r, 1);
}

/* No vCPU touches it: the change of its length is noticed all the same, in whichever of two regions of one file. */
static void test_truncated_unseen(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, MIB, 0, make_memory(4 * MIB, 1) },
				    { 4 * MIB, MIB, 2 * MIB, -1 } };

	r[1].fd = dup(r[0].fd);
	world_set_table(w, r, 2);
	assert_int_equal(w->f.watchers, 0);
	assert_int_equal(ftruncate(r[0].fd, 3 * MIB), 0);
	fake_wait(&w->f, 100);
	assert_int_equal(seen(w, 0), memory_word(0, 1)); /* still as long as was claimed */
	assert_int_equal(ftruncate(r[0].fd, 3 * MIB - 1), 0);
	while (seen(w, 0))
		fake_wait(&w->f, 10);
	assert_int_equal(seen(w, 0), 0);
	world_expect_end(w, true, "truncated");
	close_regions(r, 2);
}

static void beat(struct world *w)
{
	pthread_mutex_lock(&w->f.m.lock);
	machine_memory_check(&w->f.m);
	pthread_mutex_unlock(&w->f.m.lock);
}

/* A file system with a limit: the region is looked at with each beat, as long as it is there. */
static void test_beats(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, MIB, 0,
				  open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) };

	if (r.fd < 0 || ftruncate(r.fd, MIB)) {
		print_message("skipped: no /dev/shm\n");
		fd_close(&r.fd);
		skip();
	}
	beat(w);
	world_set_table(w, &r, 1);
	assert_int_equal(w->f.watchers, 1);
	beat(w);
	assert_int_equal(w->f.watchers, 1); /* holes, but room for them */
	assert_int_equal(ftruncate(r.fd, 0), 0);
	beat(w);
	assert_int_equal(w->f.watchers, 0);
	assert_int_equal(seen(w, 0), 0);
	world_expect_end(w, true, "truncated");
	close_regions(&r, 1);
}

/* No inotify: its length is looked at with each beat. */
static void test_not_to_be_watched(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, MIB, 0, make_memory(MIB, 1) };
	int inotify = w->f.m.watcher->inotify;

	w->f.m.watcher->inotify = -1;
	world_set_table(w, &r, 1);
	w->f.m.watcher->inotify = inotify;
	assert_int_equal(w->f.watchers, 1);
	beat(w);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	assert_int_equal(ftruncate(r.fd, MIB - 4096), 0);
	fake_wait(&w->f, 100);
	assert_int_equal(seen(w, 0), memory_word(0, 1));
	beat(w);
	assert_int_equal(w->f.watchers, 0);
	world_expect_end(w, true, "truncated");
	close_regions(&r, 1);
}

/* KVM says where: that settles it, though nothing is wrong with the file any more. */
static void test_fault_at(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, MIB, 0, make_memory(MIB, 1) };
	const uint64_t outside[] = { w->drv.shm_gpa - 8, w->drv.shm_gpa + MIB, 0,
				     MACHINE_GPA_UNKNOWN };
	bool repaired;

	world_set_table(w, &r, 1);
	for (unsigned int i = 0; i < ARRAY_LEN(outside); i++) {
		pthread_mutex_lock(&w->f.m.lock);
		repaired = machine_memory_fault(&w->f.m, outside[i]);
		pthread_mutex_unlock(&w->f.m.lock);
		assert_false(repaired);
	}
	pthread_mutex_lock(&w->f.m.lock);
	repaired = machine_memory_fault(&w->f.m, w->drv.shm_gpa + MIB - 4096);
	pthread_mutex_unlock(&w->f.m.lock);
	assert_true(repaired);
	assert_int_equal(seen(w, 0), 0);
	world_expect_end(w, true, "could not provide");
	close_regions(&r, 1);
}

static int ordinary_file(void)
{
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int read_only_memory(void)
{
	char path[64];
	int fd = make_memory(4 * MIB, 1), ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return ro;
}

/* Tables that end the session, each in a session of its own. */
static void test_bad_tables(void **state)
{
	struct world *w = *state;
	const struct world_region bad[] = {
		{ 0, 4 * MIB, 4096, make_memory(4 * MIB, 1) },	     /* beyond the end */
		{ 0, 4 * MIB, 1, make_memory(8 * MIB, 1) },	     /* not aligned */
		{ 0, 4096, UINT64_MAX - 4095, make_memory(MIB, 1) }, /* wraps */
		{ UINT64_MAX - 4095, 2 * MIB, 0, make_memory(4 * MIB, 1) },
		{ 0, 0, 0, make_memory(4 * MIB, 1) },
		{ 100, 4 * MIB, 0, make_memory(8 * MIB, 1) },
		{ 0, 4096, 0, ordinary_file() },
		{ 0, 4096, 0, read_only_memory() },
		{ 0, 4096, 0, eventfd(0, 0) },
	};
	unsigned int fds = fake_num_fds();
	uint32_t session = 1;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);

		assert_true(bad[i].fd >= 0);
		msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(1);
		msg.payload.mem.num_regions = 1;
		msg.payload.mem.regions[0] = region_msg(0, &bad[i]).payload.mem_reg.region;
		fake_proxy_message(&w->proxy, session, 1, &msg, &bad[i].fd, 1);
		world_expect_end(w, true, "SET_MEM_TABLE");
		assert_int_equal(fake_num_slots(&w->f), 1);
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, ++session);
	}
	assert_int_equal(fake_num_fds(), fds);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		close(bad[i].fd);
}

static void test_too_large(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, WORLD_SHM + 4096, 0, memfd_create("sparse", 0) };

	assert_int_equal(ftruncate(r.fd, WORLD_SHM + 4096), 0);
	world_set_table(w, &r, 1);
	world_expect_end(w, true, "shm=");
	close_regions(&r, 1);
}

static void test_overlap(void **state)
{
	struct world *w = *state;
	struct world_region r[] = { { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) },
				    { 2 * MIB, 4 * MIB, 0, make_memory(4 * MIB, 2) } };

	world_set_table(w, r, 2);
	world_expect_end(w, true, "SET_MEM_TABLE");
	close_regions(r, 2);
}

/* Trouble on our side: the front-end is told that it failed, and the session goes on with the old
 * table. */
static void test_no_slot(void **state)
{
	struct world *w = *state;
	struct world_region a = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };
	struct world_region b[] = { { 0, 4 * MIB, 0, make_memory(4 * MIB, 2) },
				    { 8 * MIB, 4 * MIB, 0, make_memory(4 * MIB, 3) } };
	unsigned int fds;

	world_set_table(w, &a, 1);
	expect_table(w, &a, 1);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	fds = fake_num_fds();
	w->f.fail_slot_add = 1;
	world_set_table(w, b, 2);
	world_expect_nothing(w);
	world_proxy_expect(w, LINK_RESULT);
	assert_int_equal(w->proxy.in.pkt.hdr.seq, 77);
	assert_int_equal(fake_num_fds(), fds);
	assert_int_equal(w->dev->session.number, 1);
	check_region(w, 0, &a, 1);
	assert_int_equal(fake_num_slots(&w->f), 1 + 1);
	world_set_table(w, b, 2);
	expect_table(w, b, 2);
	close_regions(&a, 1);
	close_regions(b, 2);
}

/* A hugetlb file of bytes with a word in each page of 4 KiB; -1: this host has no huge pages to spare. */
static int make_huge_memory(uint64_t bytes, uint64_t tag)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	uint64_t *words;

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)bytes) || fallocate(fd, 0, 0, (off_t)bytes)) {
		close(fd);
		return -1;
	}
	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(words != MAP_FAILED);
	for (uint64_t i = 0; i < bytes / 8; i += 512)
		words[i] = memory_word(i * 8, tag);
	munmap(words, bytes);
	return fd;
}

/* Huge pages: mapped whole, shown as far as the region goes. The second region begins inside a page. */
static void huge_pages(struct world *w)
{
	struct world_region r[] = { { 0, 4 * MIB, 0, make_huge_memory(4 * MIB, 1) },
				    { 4 * MIB, MIB, 2 * MIB + 0x3000,
				      make_huge_memory(4 * MIB, 2) } };
	uint64_t at[2] = { 0, 4 * MIB + 2 * MIB + 0x3000 };
	struct vhost_user_msg msg;

	if (r[0].fd < 0 || r[1].fd < 0) {
		close_regions(r, 2);
		print_message("skipped: no free huge pages of 2 MiB (vm.nr_hugepages)\n");
		skip();
	}
	world_set_table(w, r, 2);
	msg = expect_table(w, r, 2);
	for (unsigned int i = 0; i < 2; i++) {
		if (w->drv.explicit_offsets)
			at[i] = msg.payload.mem.regions[i].mmap_offset;
		assert_int_equal(seen(w, at[i]), memory_word(r[i].offset, i + 1));
		assert_int_equal(seen(w, at[i] + r[i].bytes - 4096),
				 memory_word(r[i].offset + r[i].bytes - 4096, i + 1));
	}
	assert_false(shown(w, at[1] - 8));
	assert_false(shown(w, at[1] + MIB));
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_equal(seen(w, at[0] + 3 * MIB), 0);
	assert_int_equal(seen(w, at[1]), 0);
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	assert_int_equal(fake_num_slots(&w->f), 1);
	close_regions(r, 2);
}

static void test_huge_pages(void **state)
{
	huge_pages(*state);
}

/* One port after another, the whole life: nothing adds up. */
static void test_no_leak(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, make_memory(4 * MIB, 1) };
	unsigned int fds = fake_num_fds();

	for (uint32_t session = 1; session < 50; session++) {
		struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);

		msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(1);
		msg.payload.mem.num_regions = 1;
		msg.payload.mem.regions[0].memory_size = 4 * MIB;
		fake_proxy_message(&w->proxy, session, 1, &msg, &r.fd, 1);
		expect_table(w, &r, 1);
		fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, session, "front-end: closed");
		fake_step(&w->f);
		assert_int_equal(fake_num_fds(), fds);
		gd_vvu_set_up(&w->drv, true);
		world_next_session(w, session + 1);
	}
	assert_int_equal(fake_num_slots(&w->f), 1);
	close_regions(&r, 1);
}

#define EXPLICIT(test) cmocka_unit_test_setup_teardown(test, world_setup_explicit, world_teardown)
#define CLASSIC(test)  cmocka_unit_test_setup_teardown(test, world_setup_classic, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXPLICIT(test_explicit),
		EXPLICIT(test_replace),
		EXPLICIT(test_named_again),
		EXPLICIT(test_answer_asked_for),
		EXPLICIT(test_refused_by_driver),
		EXPLICIT(test_not_answered),
		EXPLICIT(test_stopped_meanwhile),
		EXPLICIT(test_slots),
		EXPLICIT(test_slots_unknown),
		CLASSIC(test_classic),
		EXPLICIT(test_end_explicit),
		CLASSIC(test_end_classic),
		EXPLICIT(test_reset),
		EXPLICIT(test_move_window),
		EXPLICIT(test_truncated),
		EXPLICIT(test_truncated_unseen),
		EXPLICIT(test_beats),
		EXPLICIT(test_not_to_be_watched),
		EXPLICIT(test_fault_at),
		EXPLICIT(test_bad_tables),
		EXPLICIT(test_too_large),
		CLASSIC(test_too_large),
		EXPLICIT(test_overlap),
		EXPLICIT(test_no_slot),
		EXPLICIT(test_no_leak),
		EXPLICIT(test_huge_pages),
		CLASSIC(test_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
