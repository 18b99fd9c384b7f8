// SPDX-License-Identifier: BSD-2-Clause
/*
 * Windows on guest-physical addresses: they can be more, and larger, than the page tables of the
 * image itself have room for; they fault once withdrawn; none reaches what is ring 0's. Where there
 * is nothing behind them, reads give all ones.
 */
#include "common.h"
#include "ring0.h"

#define GIB	    BIT_ULL(30)
#define GPA_NOWHERE BIT_ULL(38) /* no RAM, no BAR, and all of it within 40 address bits */

static const struct gd_platform *p;

static void read_word(void *arg)
{
	*(volatile uint64_t *)arg;
}

static bool faults(const void *at)
{
	return rt_catch(read_word, (void *)(uintptr_t)at, NULL, NULL) == 14;
}

static uint8_t *enter(uint64_t gpa, uint64_t size)
{
	uint8_t *w = p->window_begin(p->ctx, gpa, size);
	int more;

	if (!CHECKF(w != NULL, "%#lx + %#lx", gpa, size))
		return NULL;
	CHECKF(((uintptr_t)w & (PAGE_2M - 1)) == (gpa & (PAGE_2M - 1)), "%p for %#lx", (void *)w,
	       gpa);
	CHECKF(faults(w), "nothing is entered yet");
	while ((more = p->window_step(p->ctx, w)) == 0)
		;
	CHECKF(more == 1, "%d", more);
	return more == 1 ? w : NULL;
}

/* Touching stays within the window: where nothing is behind it, each read is an exit. */
static void touch(void)
{
	static const uint64_t sizes[] = { 1, 4096, 4097, 300 * 4096 };
	uint8_t *w = p->window_begin(p->ctx, GPA_NOWHERE, PAGE_2M + 1);
	int more;

	CHECKF(p->window_touch(p->ctx, w) < 0, "nothing is entered yet");
	p->window_end(p->ctx, w);
	CHECKF(p->window_touch(p->ctx, w) < 0, "no such window");
	for (unsigned int i = 0; i < ARRAY_LEN(sizes); i++) {
		w = enter(GPA_NOWHERE + i * 1234, sizes[i]);
		if (!w)
			return;
		while ((more = p->window_touch(p->ctx, w)) == 0)
			;
		CHECKF(more == 1 && p->window_touch(p->ctx, w) == 1, "%d", more);
		p->window_end(p->ctx, w);
	}
}

static void check_ends(uint8_t *w, uint64_t size)
{
	CHECKF(*(volatile uint8_t *)w == 0xff, "first byte");
	CHECKF(*(volatile uint8_t *)(w + size - 1) == 0xff, "last byte");
	CHECKF(faults((void *)(ALIGN_UP((uintptr_t)w + size, (uintptr_t)PAGE_2M))),
	       "the page behind it");
}

static void large(void)
{
	static const uint64_t sizes[] = { 1, 4096, PAGE_2M + 1, GIB, 3 * GIB + 12345, 300 * GIB };
	uint8_t *w;

	for (unsigned int i = 0; i < ARRAY_LEN(sizes); i++) {
		w = enter(GPA_NOWHERE + i * 4096, sizes[i]);
		if (!w)
			return;
		check_ends(w, sizes[i]);
		p->window_end(p->ctx, w);
		CHECK(faults(w) && faults(w + sizes[i] - 1));
	}
}

/* Many at once, some of them withdrawn, and their places used again: no window shows another's
 * memory. */
static void many(void)
{
	static uint8_t *w[600];
	volatile uint64_t *ram = rt_alloc(PAGE_2M, PAGE_2M);

	if (!CHECK(ram != NULL))
		return;
	for (unsigned int i = 0; i < ARRAY_LEN(w); i++)
		w[i] = enter((uintptr_t)ram + i * 8, 8);
	for (unsigned int i = 0; i < ARRAY_LEN(w); i++)
		if (w[i])
			*(volatile uint64_t *)w[i] = i;
	for (unsigned int i = 0; i < ARRAY_LEN(w); i++)
		CHECKF(ram[i] == i, "window %u", i);
	for (unsigned int i = 0; i < ARRAY_LEN(w); i += 2)
		p->window_end(p->ctx, w[i]);
	for (unsigned int i = 1; i < ARRAY_LEN(w); i += 2)
		CHECKF(*(volatile uint64_t *)w[i] == i, "window %u", i);
	CHECK(faults(w[0]) && faults(w[298]));
	w[0] = enter((uintptr_t)ram + 0x1000, 8);
	CHECKF(w[0] == w[0] && *(volatile uint64_t *)w[0] == ram[0x200], "a place used again");
	p->window_end(p->ctx, w[0]);
	p->window_end(p->ctx, w[0]); /* once more does nothing */
	for (unsigned int i = 1; i < ARRAY_LEN(w); i += 2)
		p->window_end(p->ctx, w[i]);
}

static void refused(void)
{
	uint8_t *w;

	CHECK(!p->window_begin(p->ctx, BIT_ULL(40), 0));
	CHECK(!p->window_begin(p->ctx, BIT_ULL(40), UINT64_MAX));
	CHECK(!p->window_begin(p->ctx, UINT64_MAX - 4096, 4096));
	CHECKF(!p->window_begin(p->ctx, 0x100000, 4096), "ring 0's memory");
	CHECK(p->window_step(p->ctx, (void *)0x123456) < 0);
	w = p->window_begin(p->ctx, LAPIC_PA, 4096);
	CHECKF(w && p->window_step(p->ctx, w) < 0, "the local APIC");
	p->window_end(p->ctx, w);
	/* Ring 0 checks for itself. */
	CHECK((int64_t)ring0_call3(RING0_MAP, 0, BIT_ULL(40), 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, PAGE_2M, BIT_ULL(40), 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_BASE, 0, 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_BASE, BIT_ULL(40), BIT_ULL(50)) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_BASE + 1, BIT_ULL(40), 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_END, BIT_ULL(40), 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, 0xffff800000000000, BIT_ULL(40), 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_UNMAP, 0, 1, 0) < 0);
	CHECK((int64_t)ring0_call3(RING0_DONATE, WINDOW_VA_BASE, 0, 0) < 0);
	CHECK((int64_t)ring0_call3(RING0_DONATE, PAGE_2M, 0, 0) < 0);
	CHECK((int64_t)ring0_call3(12345, 0, 0, 0) == -38);
}

/* What became page tables is ring 0's for good. */
static void donated(void)
{
	uint8_t *mine = rt_alloc(PAGE_2M, PAGE_2M);

	if (!CHECK(mine != NULL) || !CHECK(ring0_call3(RING0_DONATE, (uintptr_t)mine, 0, 0) == 0))
		return;
	CHECK(faults(mine));
	CHECK((int64_t)ring0_call3(RING0_DONATE, (uintptr_t)mine, 0, 0) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, (uintptr_t)mine, (uintptr_t)mine, 1) < 0);
	CHECK((int64_t)ring0_call3(RING0_MAP, WINDOW_VA_BASE, (uintptr_t)mine - PAGE_2M, 2) < 0);
	CHECK((int64_t)ring0_call3(RING0_UNMAP, (uintptr_t)mine, 1, 0) < 0);
}

int rt_main(const char *cmdline)
{
	p = rt_platform();
	refused();
	many();
	touch();
	large();
	donated();
	many();
	return verdict();
}
