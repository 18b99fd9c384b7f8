// SPDX-License-Identifier: BSD-2-Clause
/*
 * A back-end that never lets go: it reads its front-end's memory for as long as it gets any, also after the
 * session is over and after it has said that it gave a region up. tests/e2e/revocation.py is the front-end,
 * which writes its time into the first word of each region all the time: the freshest one that was ever seen
 * tells the difference of the clocks.
 *
 * Prints `WATCHING n` when it has read all n regions of a table, `GONE last L rest R` when it has read nothing but
 * zeros (or all ones, where the window shows nothing) of them for a while: when it was by the front-end's clock that
 * something else was read last, and how many words of all their pages still say something else.
 */
#include "vvu.h"

#define WINDOWS	 8
#define AFTER_NS 100000000ull /* read on after the last word that said something */

struct window {
	volatile uint64_t *words;
	uint64_t bytes;
	uint64_t gpa;
	uint64_t last; /* when it said something, by our clock */
	bool leaving;  /* removed, but not by us */
};

static struct window windows[WINDOWS];
static int64_t behind; /* the front-end's clock, the least that was seen */

static bool says_something(uint64_t word)
{
	return word != 0 && word != UINT64_MAX;
}

/* Reads each window's clock; true: one says something. */
static bool look(bool leaving)
{
	bool any = false;

	for (unsigned int i = 0; i < WINDOWS; i++) {
		struct window *w = &windows[i];
		uint64_t word, now;

		if (!w->words || w->leaving != leaving)
			continue;
		word = *w->words;
		if (!says_something(word))
			continue;
		now = rt_now_ns();
		w->last = now;
		if ((int64_t)(now - word) < behind)
			behind = (int64_t)(now - word);
		any = true;
	}
	return any;
}

/* Goes on reading what leaves until it has said nothing for so long. */
static void read_on(uint64_t after)
{
	uint64_t last = 0, rest = 0, end = rt_now_ns() + after;

	while (rt_now_ns() < end)
		if (look(true))
			end = rt_now_ns() + after;
	for (unsigned int i = 0; i < WINDOWS; i++) {
		struct window *w = &windows[i];

		if (!w->words || !w->leaving)
			continue;
		for (uint64_t at = 0; at < w->bytes / 8; at++) {
			/* Where nothing is shown each read is an exit: the page's first word will do. */
			if (at % 512 == 0 && w->words[at] == UINT64_MAX)
				at += 511;
			else
				rest += says_something(w->words[at]);
		}
		if (w->last > last)
			last = w->last;
		rt_platform()->window_end(NULL, (void *)(uintptr_t)w->words);
		*w = (struct window){ 0 };
	}
	rt_printf("GONE last %lu rest %lu\n", last - (uint64_t)behind, rest);
}

static void leave(uint64_t gpa)
{
	for (unsigned int i = 0; i < WINDOWS; i++)
		windows[i].leaving |=
			windows[i].words && (gpa == UINT64_MAX || windows[i].gpa == gpa);
}

static void enter(const struct vhost_user_region *r)
{
	for (unsigned int i = 0; i < WINDOWS; i++) {
		if (windows[i].words)
			continue;
		windows[i].words = map_region(r);
		windows[i].bytes = r->memory_size;
		windows[i].gpa = r->guest_phys_addr;
		return;
	}
	CHECKF(false, "too many regions");
}

/* Until each has been read. */
static void watch(unsigned int num)
{
	uint64_t end = rt_now_ns() + SLOW_NS;
	unsigned int seen = 0;

	behind = INT64_MAX;

	while (seen < num && rt_now_ns() < end) {
		look(false);
		seen = 0;
		for (unsigned int i = 0; i < WINDOWS; i++)
			seen += windows[i].words && windows[i].last;
	}
	rt_printf("WATCHING %u\n", seen);
}

/* Answers a message; true: regions were given up. */
static bool serve(const struct vhost_user_msg *msg)
{
	const struct vhost_user_mem_table *table = &msg->payload.mem;
	bool left = false;

	switch (msg->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		vvu_reply(msg, BIT_ULL(30) | BIT_ULL(32));
		return false;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		vvu_reply(msg,
			  VHOST_USER_PF_MASK(REPLY_ACK) | VHOST_USER_PF_MASK(CONFIGURE_MEM_SLOTS));
		return false;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		vvu_reply(msg, WINDOWS);
		return false;
	case VHOST_USER_SET_MEM_TABLE:
		left = windows[0].words != NULL;
		leave(UINT64_MAX);
		for (uint32_t i = 0; i < table->num_regions; i++)
			enter(&table->regions[i]);
		watch(table->num_regions);
		break;
	case VHOST_USER_REM_MEM_REG:
		left = true;
		leave(msg->payload.mem_reg.region.guest_phys_addr);
		break;
	default:
		break;
	}
	if (msg->hdr.flags & VHOST_USER_NEED_REPLY_MASK)
		vvu_reply(msg, 0);
	return left;
}

int rt_main(const char *cmdline)
{
	uint64_t after = strcmp(cmdline, "patient") == 0 ? 15 * AFTER_NS : AFTER_NS;
	struct vhost_user_msg msg;

	if (!vvu_open())
		return verdict();
	gd_vvu_set_up(&vvu, true);
	for (;;) {
		if (gd_vvu_recv(&vvu, &msg) == 1) {
			if (serve(&msg))
				read_on(after);
			continue;
		}
		look(false);
		rt_irq_window();
		if (!rt_irq_take(CONFIG_IRQ) || gd_vvu_status(&vvu) & VVU_STATUS_FRONTEND_UP)
			continue;
		if (gd_vvu_status(&vvu) & VVU_STATUS_BACKEND_UP)
			continue; /* the first session is yet to come */
		leave(UINT64_MAX);
		read_on(after);
		gd_vvu_set_up(&vvu, true);
	}
}
