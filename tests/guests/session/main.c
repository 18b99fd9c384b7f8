// SPDX-License-Identifier: BSD-2-Clause
/*
 * A session from the guest's side: the front-end's memory in windows, doorbells, kicks that wake
 * the CPU, tables that change, and the end. The command line says which part.
 */
#include "io.h"
#include "smp.h"
#include "vvu.h"

#define REGION_PAGE 4096

static struct vhost_user_msg table;
static uint64_t *windows[VHOST_USER_TABLE_REGIONS_MAX];

static bool take_table(unsigned int regions)
{
	return vvu_next(&table) &&
	       CHECKF(table.hdr.request == VHOST_USER_SET_MEM_TABLE, "%u", table.hdr.request) &&
	       CHECK(table.payload.mem.num_regions == regions);
}

/* Has the peer send a memory table of that many regions; the acknowledgement is left to the caller.
 */
static bool get_table(unsigned int regions)
{
	rt_printf("PEER table %u\n", regions);
	return take_table(regions);
}

/* Acknowledges it if the device wants that, and waits for the peer. */
static void finish_table(void)
{
	struct vhost_user_msg msg;

	if (table.hdr.flags & VHOST_USER_NEED_REPLY_MASK)
		vvu_reply(&table, 0);
	if (vvu_next(&msg) &&
	    CHECKF(msg.hdr.request == VHOST_USER_GET_FEATURES, "%u", msg.hdr.request))
		vvu_reply(&msg, FEATURES);
}

static bool map_table(void)
{
	for (unsigned int r = 0; r < table.payload.mem.num_regions; r++) {
		const struct vhost_user_region *region = &table.payload.mem.regions[r];

		CHECKF(region->mmap_offset < vvu.shm_size &&
			       region->memory_size <= vvu.shm_size - region->mmap_offset,
		       "region %u at %#lx", r, region->mmap_offset);
		CHECKF(region->userspace_addr == region->guest_phys_addr || region->userspace_addr,
		       "region %u", r);
		windows[r] = map_region(region);
		if (!windows[r])
			return false;
	}
	return true;
}

static void unmap_table(void)
{
	for (unsigned int r = 0; r < table.payload.mem.num_regions; r++)
		rt_platform()->window_end(NULL, windows[r]);
}

static void check_table_content(void)
{
	for (unsigned int r = 0; r < table.payload.mem.num_regions; r++) {
		uint64_t pages = table.payload.mem.regions[r].memory_size / REGION_PAGE, bad = 0;

		for (uint64_t page = 0; page < pages; page++) {
			volatile uint64_t *word = windows[r] + page * (REGION_PAGE / 8);

			bad += *word != pattern(r, page);
			*word = ~pattern(r, page);
		}
		CHECKF(bad == 0, "region %u: %lu of %lu pages", r, bad, pages);
		peer_do("check %u", r); /* that it holds the complement now */
	}
}

/*
 * A window of a session that is over: zeros, and from a second later on nothing at all, which a CPU that is run late
 * finds at once.
 */
static bool is_revoked(volatile uint64_t *word)
{
	uint64_t value = *word;

	return value == 0 || value == UINT64_MAX;
}

static void memory(void)
{
	for (unsigned int regions = 1; regions <= VHOST_USER_TABLE_REGIONS_MAX;
	     regions = regions * 2 + 1) {
		if (!get_table(regions) || !map_table())
			return;
		finish_table();
		check_table_content();
		unmap_table();
		if (regions == 7)
			break;
	}
}

static void read_byte(void *arg)
{
	*(volatile uint8_t *)arg;
}

/* A new table: the old regions stay until they are given up, then the window shows nothing. */
static void replace(void)
{
	uint64_t *old;
	uint64_t old_pa;

	if (!get_table(2) || !map_table())
		return;
	finish_table();
	old = windows[0];
	old_pa = vvu.shm_gpa + table.payload.mem.regions[0].mmap_offset;
	if (!get_table(1))
		return;
	CHECKF(table.hdr.flags & VHOST_USER_NEED_REPLY_MASK,
	       "regions that leave have to be given up");
	CHECK(vvu.shm_gpa + table.payload.mem.regions[0].mmap_offset != old_pa);
	CHECKF(*old == pattern(0, 0), "the old region is still there: %#lx", *old);
	if (!map_table())
		return;
	CHECKF(*windows[0] == pattern(0, 0), "%#lx", *windows[0]);
	finish_table();
	peer_do("check-pattern 0"); /* by when the device has seen that the old table was given up
				     */
	CHECKF(*(volatile uint64_t *)old == UINT64_MAX, "the old region is gone: %#lx", *old);
	rt_platform()->window_end(NULL, old);
	CHECKF(rt_catch(read_byte, old, NULL, NULL) == 14, "a window that was withdrawn faults");
	CHECK(*windows[0] == pattern(0, 0));
}

static void doorbells(void)
{
	static const unsigned int queues[] = { 0, 1, 17, 255 };
	const struct gd_platform *p = vvu.dev.p;

	for (unsigned int i = 0; i < ARRAY_LEN(queues); i++) {
		unsigned int q = queues[i];

		peer_do("call-new %u", q);
		gd_vvu_call(&vvu, q);
		peer_do("expect-call %u 1", q);
		for (unsigned int width = 1; width <= 4; width *= 2)
			p->mmio_write(p->ctx, vvu.doorbells + q * vvu.doorbell_multiplier, width,
				      width * 0x01010101);
		*(volatile uint64_t *)(vvu.doorbells + (q & ~1u) * vvu.doorbell_multiplier) = 0;
		peer_do("expect-call %u %u", q, q & 1 ? 3 : 4);
		gd_vvu_err(&vvu, q);
		peer_do("expect-call %u 0", q);
		peer_do("err-new %u", q);
		gd_vvu_err(&vvu, q);
		peer_do("expect-err %u 1", q);
	}
	/* QEMU swaps the eventfd whenever its guest masks the vector. */
	for (unsigned int i = 0; i < 20; i++) {
		peer_do("call-new 0");
		gd_vvu_call(&vvu, 0);
		peer_do("expect-call 0 1");
	}
	peer_do("call-none 0");
	gd_vvu_call(&vvu, 0);
	peer_do("expect-call 0 0");
	gd_vvu_call(&vvu, 1);
	peer_do("expect-call 1 1");
}

/* Doorbells while the eventfd behind them is swapped all the time: each is seen by one or the
 * other. */
static void swap(void)
{
	unsigned int rung = 0;

	peer_do("call-new 0");
	rt_printf("PEER swap 0 200\n");
	do {
		gd_vvu_call(&vvu, 0);
		rung++;
		struct vhost_user_msg msg;

		if (gd_vvu_recv(&vvu, &msg) == 1 && msg.hdr.request == VHOST_USER_GET_FEATURES) {
			vvu_reply(&msg, FEATURES);
			break;
		}
	} while (true);
	peer_do("expect-swapped %u", rung);
}

static void kicks(void)
{
	for (unsigned int i = 0; i < 100; i++) {
		unsigned int q = i % NUM_KICKS;

		if (i < NUM_KICKS)
			peer_do("kick-new %u", q);
		rt_irq_window();
		rt_irq_take(WORK_IRQ);
		rt_printf("PEER kick-only %u\n", q);
		CHECK(wait_irq(WORK_IRQ));
	}
}

static void end_by_peer(void)
{
	for (unsigned int i = 0; i < 10; i++) {
		if (!get_table(1) || !map_table())
			return;
		finish_table();
		peer_do("kick-new 0");
		peer_do("call-new 0");
		rt_irq_window();
		rt_irq_take(CONFIG_IRQ);
		CHECK(*windows[0] == pattern(0, 0));
		rt_printf("PEER down\n");
		CHECK(wait_irq(CONFIG_IRQ));
		CHECK(wait_status(0));
		/* A poll loop that has not noticed yet never reads the front-end's memory. */
		CHECKF(is_revoked(windows[0]), "%#lx", *windows[0]);
		gd_vvu_call(&vvu, 0);
		unmap_table();
		if (!session_up())
			return;
	}
}

/*
 * A guest that takes no notice of the end and reads on, until the window shows nothing at all: of the
 * front-end's memory it gets nothing any more, and no fault. How often it has read zeros.
 */
static uint64_t read_to_the_end(void)
{
	uint64_t pages, zeros = 0, nothing = 0, others = 0, end;

	if (!get_table(1) || !map_table())
		return 0;
	finish_table();
	pages = table.payload.mem.regions[0].memory_size / REGION_PAGE;
	CHECK(*windows[0] == pattern(0, 0));
	rt_printf("PEER down\n");
	end = rt_now_ns() + SLOW_NS;
	while (!is_revoked(windows[0]) && rt_now_ns() < end)
		;
	end = rt_now_ns() + SLOW_NS;
	for (uint64_t page = 0; nothing < 100 && rt_now_ns() < end; page = (page + 1) % pages) {
		uint64_t word = *(volatile uint64_t *)(windows[0] + page * (REGION_PAGE / 8));

		zeros += word == 0;
		nothing += word == UINT64_MAX;
		others += word != 0 && word != UINT64_MAX;
	}
	CHECKF(!others, "%lu times zeros, %lu times something", zeros, others);
	CHECKF(nothing == 100, "the window still shows something");
	CHECK(gd_vvu_status(&vvu) == 0);
	unmap_table();
	return session_up() ? zeros : 0;
}

/* The zeros stay for a second, of which this CPU may be run for nothing: then it looks again. */
static void read_on(void)
{
	uint64_t zeros = 0;

	for (unsigned int i = 0; i < 20 && !zeros && !checks_failed; i++)
		zeros = read_to_the_end();
	CHECKF(zeros, "no zeros were seen");
}

static void end_by_guest(void)
{
	for (unsigned int i = 0; i < 10; i++) {
		if (!get_table(1))
			return;
		finish_table();
		gd_vvu_set_up(&vvu, false);
		CHECK(gd_vvu_status(&vvu) == 0);
		rt_printf("PEER await-down\n");
		if (!session_up())
			return;
	}
}

/* The proxy goes and comes back. */
static void proxy_gone(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		rt_irq_window();
		rt_irq_take(CONFIG_IRQ);
		rt_printf("PEER restart\n");
		CHECK(wait_irq(CONFIG_IRQ));
		CHECK(wait_status(0));
		if (!session_up())
			return;
	}
}

/* The front-end truncates a file that the guest is reading. */
static void truncated(void)
{
	uint64_t end = rt_now_ns() + SLOW_NS, sum = 0;

	if (!get_table(2) || !map_table())
		return;
	finish_table();
	rt_printf("PEER truncate 0\n");
	while (gd_vvu_status(&vvu) && rt_now_ns() < end)
		for (uint64_t page = 0;
		     page < table.payload.mem.regions[0].memory_size / REGION_PAGE; page++)
			sum += *(volatile uint64_t *)(windows[0] + page * (REGION_PAGE / 8));
	CHECK(gd_vvu_status(&vvu) == 0);
	CHECK(is_revoked(windows[0]) && is_revoked(windows[1]));
	rt_printf("read %#lx meanwhile\n", sum);
	unmap_table();
	session_up();
}

/* Until region 1 is revoked: a session has ended. Reads pages of region 0. */
static volatile uint64_t read_until, read_pages, read_sum;

static void read_damaged(unsigned int me)
{
	uint64_t sum = 0;

	while (!is_revoked(windows[1]) && rt_now_ns() < read_until)
		for (uint64_t page = 0; page < read_pages; page++)
			sum += *(volatile uint64_t *)(windows[0] + page * (REGION_PAGE / 8));
	CHECKF(is_revoked(windows[0]) && is_revoked(windows[1]), "CPU %u", me);
	read_sum += sum;
}

/*
 * The front-end damages region 0 while each CPU reads it (so many pages; 0: all) all the time and looks at
 * nothing else: it is the end of the session, and the end of region 1, too, that show it.
 */
static void damaged(const char *kind, const char *how, uint64_t pages)
{
	rt_printf("PEER table%s%s 2\n", *kind ? "-of " : "", kind);
	if (!take_table(2) || !map_table())
		return;
	finish_table();
	CHECK(*windows[0] == pattern(0, 0) && *windows[1] == pattern(1, 0));
	read_until = rt_now_ns() + SLOW_NS;
	read_pages = pages ? pages : table.payload.mem.regions[0].memory_size / REGION_PAGE;
	rt_printf("PEER %s 0\n", how);
	if (num_cpus > 1)
		smp_all(read_damaged);
	else
		read_damaged(0);
	CHECK(wait_status(0));
	rt_printf("read %#lx\n", read_sum);
	unmap_table();
	session_up();
}

/* All CPUs come upon the same missing page at the same time. */
static void truncated_cpus(void)
{
	if (!smp_start())
		return;
	for (unsigned int i = 0; i < 10; i++)
		damaged("", "truncate", 1);
	damaged("", "truncate", 0);
}

static void starved_cpus(void)
{
	if (!smp_start())
		return;
	damaged("small", "starve", 1);
}

static void truncated_unseen(void)
{
	damaged("", "truncate", 0);
}

static void starved_small(void)
{
	damaged("small", "starve", 0);
}

static void starved_huge(void)
{
	damaged("huge", "starve", 0);
}

/* A hole in memory of which there is more: zeros, and the session goes on. */
static void punched(void)
{
	uint64_t pages, bad = 0;

	rt_printf("PEER table-of sealed 2\n");
	if (!take_table(2) || !map_table())
		return;
	finish_table();
	pages = table.payload.mem.regions[0].memory_size / REGION_PAGE;
	for (unsigned int i = 0; i < 10; i++) {
		peer_do("punch 0");
		for (uint64_t page = 0; page < pages; page++) {
			volatile uint64_t *word = windows[0] + page * (REGION_PAGE / 8);

			bad += *word != 0;
			*word = ~pattern(0, page);
		}
		CHECKF(bad == 0, "%lu of %lu pages are not zero", bad, pages);
		peer_do("check 0");
		CHECK(*windows[1] == pattern(1, 0));
	}
	unmap_table();
}

/* An avail idx that jumps; a packed ring has none, there it is a buffer outside memory. */
static void break_ring(struct vq_drv *vq, uint16_t jump)
{
	uint16_t next = vq->avail_idx;
	struct vring_packed_desc *desc = &vq->ring[next & (vq->size - 1u)];

	if (!vq->mode.packed) {
		__atomic_store_n(&vq->avail->idx, (uint16_t)(next + jump), __ATOMIC_RELEASE);
		return;
	}
	for (unsigned int i = 0; i < vq->size; i++)
		vq->ring[i].addr = UINT64_MAX - 5;
	if (!vq->num_free)
		return;
	desc->len = 64;
	__atomic_store_n(&desc->flags,
			 next & vq->size ? VRING_PACKED_DESC_F_USED : VRING_PACKED_DESC_F_AVAIL,
			 __ATOMIC_RELEASE);
}

/* A driver that breaks its ring: the session ends, the device wants a reset, and is as new after
 * it. */
static void broken_ring(void)
{
	static const uint16_t jumps[] = { 1000, 0x8000, 0xff00 };

	for (unsigned int i = 0; i < ARRAY_LEN(jumps); i++) {
		struct vq_drv *vq = i & 1 ? &vvu.rxq.vq : &vvu.txq.vq;
		uint64_t end = rt_now_ns() + SLOW_NS;

		rt_irq_window();
		rt_irq_take(CONFIG_IRQ);
		break_ring(vq, jumps[i]);
		vvu.dev.p->mmio_write(vvu.dev.p->ctx, vvu.txq.notify_addr, 2, VVU_QUEUE_TX);
		if (i & 1)
			rt_printf("PEER message\n"); /* which looks at the rxq */
		while (!gd_vvu_needs_reset(&vvu) && rt_now_ns() < end)
			;
		CHECK(gd_vvu_needs_reset(&vvu));
		CHECK(wait_irq(CONFIG_IRQ));
		CHECK(gd_vvu_status(&vvu) == 0);
		gd_vvu_set_up(&vvu, true);
		CHECKF(gd_vvu_status(&vvu) == 0, "not before it is reset");
		rt_printf("PEER await-down\n");
		if (!vvu_open())
			return;
		CHECK(!gd_vvu_needs_reset(&vvu) && gd_vvu_status(&vvu) == 0);
		if (!session_up())
			return;
	}
}

/* The guest restarts in the middle of a session, three times in different ways; the peer knows how often. */
static void restart(void)
{
	struct vhost_user_msg msg;
	unsigned int session;

	rt_printf("PEER session-number\n");
	if (!vvu_next(&msg) || !CHECK(msg.hdr.request == VHOST_USER_SET_VRING_BASE))
		return;
	session = msg.payload.state.num;
	if (!vvu_expect_done() || !get_table(2) || !map_table())
		return;
	finish_table();
	CHECK(*windows[1] == pattern(1, 0));
	peer_do("kick-new 0");
	peer_do("call-new 0");
	if (session < 3)
		rt_printf("PEER await-down\n");
	if (session == 1)
		rt_reboot();
	if (session == 2)
		io_out8(0xcf9, 0x06);
	CHECKF(session == 3, "%u", session);
	gd_vvu_call(&vvu, 0);
	peer_do("expect-call 0 1");
	rt_irq_window();
	rt_irq_take(WORK_IRQ);
	rt_printf("PEER kick-only 0\n");
	CHECK(wait_irq(WORK_IRQ));
}

int rt_main(const char *cmdline)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} parts[] = {
		{ "memory", memory },
		{ "replace", replace },
		{ "doorbells", doorbells },
		{ "swap", swap },
		{ "kicks", kicks },
		{ "end-by-peer", end_by_peer },
		{ "end-by-guest", end_by_guest },
		{ "read-on", read_on },
		{ "proxy-gone", proxy_gone },
		{ "truncated", truncated },
		{ "truncated-unseen", truncated_unseen },
		{ "truncated-cpus", truncated_cpus },
		{ "starved-cpus", starved_cpus },
		{ "starved-small", starved_small },
		{ "starved-huge", starved_huge },
		{ "punched", punched },
		{ "broken-ring", broken_ring },
		{ "restart", restart },
	};

	if (!vvu_open() || !session_up())
		return verdict();
	for (unsigned int i = 0; i < ARRAY_LEN(parts); i++)
		if (strcmp(cmdline, parts[i].name) == 0)
			parts[i].fn();
	CHECKF(checks_done > 5, "no such part: %s", cmdline);
	return verdict();
}
