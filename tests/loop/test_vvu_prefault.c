// SPDX-License-Identifier: BSD-2-Clause
/* Memory of front-ends that is there before the driver hears of it: all of it, in turns of the loop, whatever
 * happens to the file or to the session meanwhile; and whether its mappings can be large. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/pages.h"
#include "world.h"

#define BIG (64 * MIB)

static int sparse(uint64_t bytes, unsigned int flags)
{
	int fd = memfd_create("front-end", MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

/* Bytes of the file that have memory. */
static uint64_t resident(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void turn(struct world *w)
{
	event_base_loop(w->f.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* The table is on its way to the driver, and its memory being populated: not all of it yet. */
static void begin(struct world *w, const struct world_region *r)
{
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);

	w->dev->shm.prefault = true;
	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(1);
	msg.payload.mem.num_regions = 1;
	msg.payload.mem.regions[0] = (struct vhost_user_region){ .guest_phys_addr = r->gpa,
								 .memory_size = r->bytes,
								 .mmap_offset = r->offset };
	fake_proxy_message(&w->proxy, 1, 77, &msg, &r->fd, 1);
	while (!w->dev->shm.num)
		turn(w);
	assert_true(w->dev->session.populating);
	assert_true(resident(r->fd) < r->bytes);
}

static struct vhost_user_msg expect_table(struct world *w)
{
	return world_expect(w, VHOST_USER_SET_MEM_TABLE);
}

static void test_all_there(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, BIG, 0, sparse(BIG, 0) };
	struct vhost_user_msg msg = msg_u64(VHOST_USER_SET_OWNER, 0);
	uint64_t place;

	begin(w, &r);
	/* What comes behind it waits, too. */
	msg.hdr.size = 0;
	fake_proxy_message(&w->proxy, 1, 78, &msg, NULL, 0);
	turn(w);
	assert_true(w->dev->session.populating);
	assert_int_equal(gd_vvu_recv(&w->drv, &msg), 0);
	msg = expect_table(w);
	place = msg.payload.mem.regions[0].mmap_offset;
	assert_int_equal(place % 4096, 0);
	assert_int_equal(w->drv.resident, 1);
	assert_int_equal(resident(r.fd), BIG);
	world_expect(w, VHOST_USER_SET_OWNER);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	/* Named again, beside a new one: what was done is not done again. */
	struct world_region two[] = { r, { BIG, MIB, 0, sparse(MIB, 0) } };
	world_set_table(w, two, 2);
	msg = expect_table(w);
	assert_int_equal(msg.payload.mem.regions[0].mmap_offset, place);
	assert_int_equal(w->drv.resident, 3);
	assert_int_equal(resident(two[1].fd), MIB);
	world_answer(w, VHOST_USER_SET_MEM_TABLE, 0);
	fd_close(&r.fd);
	fd_close(&two[1].fd);
}

/* Only what belongs to the region, and regions that begin and end anywhere. */
static void test_part_of_file(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 5 * MIB + 0x3000, 3 * MIB + 0x1000, sparse(BIG, 0) };

	w->dev->shm.prefault = true;
	world_set_table(w, &r, 1);
	expect_table(w);
	assert_int_equal(resident(r.fd), r.bytes);
	assert_int_equal(w->drv.resident, vvu_explicit(w->dev) ? 1 : 0);
	fd_close(&r.fd);
}

static void test_not_asked(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, BIG, 0, sparse(BIG, 0) };

	world_set_table(w, &r, 1);
	expect_table(w);
	assert_int_equal(resident(r.fd), 0);
	assert_int_equal(w->drv.resident, 0);
	fd_close(&r.fd);
}

static void test_slot_message(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, sparse(4 * MIB, 0) };
	struct vhost_user_msg msg = msg_empty(VHOST_USER_ADD_MEM_REG);

	w->dev->shm.prefault = true;
	world_negotiate(w, VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS));
	msg.hdr.size = sizeof(msg.payload.mem_reg);
	msg.payload.mem_reg.region.memory_size = r.bytes;
	world_send(w, &msg, &r.fd, 1);
	msg = world_expect(w, VHOST_USER_ADD_MEM_REG);
	assert_int_equal(msg.payload.mem_reg.region.mmap_offset % 4096, 0);
	assert_int_equal(w->drv.resident, 1);
	assert_int_equal(resident(r.fd), r.bytes);
	fd_close(&r.fd);
}

/* A driver that did not accept the bit finds offsets as they were. */
static void test_old_driver(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, 4 * MIB, 0, sparse(4 * MIB, 0) };
	struct vhost_user_msg msg;

	w->dev->shm.prefault = true;
	w->dev->vp.dev.accepted &= ~BIT_ULL(VVU_F_RESIDENT_BIT);
	w->drv.offset_flags = false;
	world_set_table(w, &r, 1);
	msg = expect_table(w);
	assert_int_equal(msg.payload.mem.regions[0].mmap_offset, 0);
	assert_int_equal(resident(r.fd), r.bytes);
	fd_close(&r.fd);
}

static void test_truncated(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, BIG, 0, sparse(BIG, 0) };

	begin(w, &r);
	event_del(w->f.m.watcher->change); /* which would notice it first */
	assert_int_equal(ftruncate(r.fd, 0), 0);
	world_expect_end(w, true, "cannot be had");
	assert_false(w->dev->link.holding);
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	fd_close(&r.fd);
}

static void test_ended_meanwhile(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, BIG, 0, sparse(BIG, 0) };
	unsigned int fds = fake_num_fds();

	begin(w, &r);
	fake_proxy_text(&w->proxy, LINK_SESSION_DOWN, 1, "front-end: closed");
	fake_step(&w->f);
	assert_int_equal(w->dev->session.number, 0);
	assert_false(w->dev->session.populating);
	assert_int_equal(fake_num_fds(), fds);
	assert_true(resident(r.fd) < BIG);
	world_expect_nothing(w);
	/* The next one is not taken for the one that was held. */
	gd_vvu_set_up(&w->drv, true);
	world_next_session(w, 2);
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_OWNER);
	fake_proxy_message(&w->proxy, 2, 1, &msg, NULL, 0);
	world_expect(w, VHOST_USER_SET_OWNER);
	fd_close(&r.fd);
}

static void test_reset_meanwhile(void **state)
{
	struct world *w = *state;
	struct world_region r = { 0, BIG, 0, sparse(BIG, 0) };

	begin(w, &r);
	gd_virtio_reset(&w->drv.dev);
	assert_int_equal(fake_num_slots(&w->f), 1);
	fake_step(&w->f);
	assert_false(w->dev->session.populating);
	assert_true(resident(r.fd) < BIG);
	fd_close(&r.fd);
}

/* A region of huge pages: where it lies, and that it is there although nobody asked. */
static void huge(struct world *w, uint64_t page, unsigned int shift)
{
	struct world_region r = { 0, page, page, -1 };
	struct vhost_user_msg msg;
	void *reserved = MAP_FAILED;
	uint64_t offset;

	if (pages_free(page) >= 2) {
		r.fd = sparse(2 * page, MFD_HUGETLB | shift << MFD_HUGE_SHIFT);
		/* The kernel keeps them for the file from now on; others may have been quicker. */
		reserved = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, r.fd, 0);
	}
	if (reserved == MAP_FAILED) {
		printf("no two huge pages of %llu KiB are free: not tried\n",
		       (unsigned long long)page >> 10);
		fd_close(&r.fd);
		skip();
	}
	world_set_table(w, &r, 1);
	msg = expect_table(w);
	offset = msg.payload.mem.regions[0].mmap_offset;
	assert_int_equal((w->drv.shm_gpa + offset) % page, 0);
	assert_int_equal((uintptr_t)fake_memory(&w->f, w->drv.shm_gpa + offset, 1) % page, 0);
	assert_int_equal(resident(r.fd), page);
	assert_int_equal(w->drv.resident, 1);
	munmap(reserved, 2 * page);
	fd_close(&r.fd);
}

static void test_huge_2m(void **state)
{
	huge(*state, PAGE_2M, 21);
}

static void test_huge_1g(void **state)
{
	huge(*state, PAGE_1G, 30);
}

/*
 * End to end: guest-physical address (of the back-end's guest), host address and file offset agree modulo 2
 * MiB for every region, wherever in its file it begins, and no two regions share a page of 2 MiB.
 */
static void test_congruent(void **state)
{
	struct world *w = *state;
	static const uint64_t offsets[] = { 0,	     0x1000,   0x1ff000, 2 * MIB,
					    5 * MIB, 0x3ff000, MIB,	 0x123000 };
	struct world_region r[ARRAY_LEN(offsets)];
	uint64_t first[ARRAY_LEN(offsets)], last[ARRAY_LEN(offsets)];
	struct vhost_user_msg msg;

	for (unsigned int i = 0; i < ARRAY_LEN(r); i++) {
		uint64_t bytes = 3 * MIB + i * 0x5000;

		r[i] = (struct world_region){ i * 16 * MIB, bytes, offsets[i],
					      sparse(offsets[i] + bytes, 0) };
	}
	world_set_table(w, r, ARRAY_LEN(r));
	msg = expect_table(w);
	for (unsigned int i = 0; i < ARRAY_LEN(r); i++) {
		uint64_t gpa = w->drv.shm_gpa + msg.payload.mem.regions[i].mmap_offset;
		const uint8_t *host = fake_memory(&w->f, gpa, r[i].bytes);

		assert_non_null(host);
		assert_int_equal(gpa % PAGE_2M, r[i].offset % PAGE_2M);
		assert_int_equal((uintptr_t)host % PAGE_2M, r[i].offset % PAGE_2M);
		first[i] = gpa / PAGE_2M;
		last[i] = (gpa + r[i].bytes - 1) / PAGE_2M;
		for (unsigned int k = 0; k < i; k++)
			assert_true(last[k] < first[i] || last[i] < first[k]);
	}
	for (unsigned int i = 0; i < ARRAY_LEN(r); i++)
		fd_close(&r[i].fd);
}

#define EXPLICIT(test) cmocka_unit_test_setup_teardown(test, world_setup_explicit, world_teardown)
#define CLASSIC(test)  cmocka_unit_test_setup_teardown(test, world_setup_classic, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXPLICIT(test_all_there),	EXPLICIT(test_part_of_file),
		CLASSIC(test_part_of_file),	EXPLICIT(test_not_asked),
		EXPLICIT(test_slot_message),	EXPLICIT(test_old_driver),
		EXPLICIT(test_truncated),	EXPLICIT(test_ended_meanwhile),
		EXPLICIT(test_reset_meanwhile), EXPLICIT(test_huge_2m),
		EXPLICIT(test_huge_1g),		EXPLICIT(test_congruent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
