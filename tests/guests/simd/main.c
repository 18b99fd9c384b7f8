// SPDX-License-Identifier: BSD-2-Clause
/*
 * Vector registers in ring 3: what CPUID offers can be used (XCR0 is set up), and nothing of it is
 * lost over calls of ring 0, interrupts and idling, since ring 0 touches none of them.
 */
#include "common.h"
#include "ring0.h"

#define CPUID1_ECX_OSXSAVE BIT_U32(27)
#define CPUID1_ECX_AVX	   BIT_U32(28)
#define CPUID7_EBX_AVX2	   BIT_U32(5)
#define CPUID7_EBX_AVX512F BIT_U32(16)
#define XCR0_AVX	   0x6
#define XCR0_AVX512	   0xe6

static uint8_t want[64] __attribute__((aligned(64)));
static uint8_t got[64] __attribute__((aligned(64)));

static void cpuid(uint32_t leaf, uint32_t *r)
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}

static uint64_t xgetbv(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/* An interrupt in a window, one that ends idling, a timer, and a page-table change. */
static void disturb(void)
{
	ring0_call3(RING0_IPI, 0, 0x4000 | (VECTOR_IRQ_BASE + 3), 0);
	rt_irq_window();
	CHECK(rt_irq_take(3));
	ring0_call3(RING0_IPI, 0, 0x4000 | (VECTOR_IRQ_BASE + 4), 0);
	rt_idle(UINT64_MAX);
	CHECK(rt_irq_take(4));
	rt_idle(rt_now_ns() + 1000000);
	ring0_call3(RING0_MAP, WINDOW_VA_BASE, BIT_ULL(40), 1);
	ring0_call3(RING0_UNMAP, WINDOW_VA_BASE, 1, 0);
}

/* The compiler knows nothing of what is in the register between load and store. */
#define CHECK_KEPT(name, bytes, load, store)                                                       \
	do {                                                                                       \
		memset(got, 0, sizeof(got));                                                       \
		__asm__ volatile(load : : "m"(want) : "memory");                                   \
		disturb();                                                                         \
		__asm__ volatile(store : "=m"(got) : : "memory");                                  \
		CHECKF(memcmp(got, want, bytes) == 0, "%s was lost", name);                        \
	} while (0)

static void try_avx(void *arg)
{
	__asm__ volatile("vpaddb %%ymm1, %%ymm1, %%ymm1" : : : "memory");
}

int rt_main(const char *cmdline)
{
	uint32_t one[4], seven[4];
	bool avx;

	for (unsigned int i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 3 + 1);
	cpuid(1, one);
	cpuid(7, seven);
	avx = one[2] & CPUID1_ECX_OSXSAVE && one[2] & CPUID1_ECX_AVX;
	CHECK_KEPT("xmm15", 16, "movdqa %0, %%xmm15", "movdqa %%xmm15, %0");
	if (avx) {
		CHECKF((xgetbv() & XCR0_AVX) == XCR0_AVX, "XCR0 %#lx", xgetbv());
		CHECK(rt_catch(try_avx, NULL, NULL, NULL) == -1);
		CHECK_KEPT("ymm15", 32, "vmovdqa %0, %%ymm15", "vmovdqa %%ymm15, %0");
	}
	if (avx && seven[1] & CPUID7_EBX_AVX512F && (xgetbv() & XCR0_AVX512) == XCR0_AVX512)
		CHECK_KEPT("zmm31", 64, "vmovdqa64 %0, %%zmm31", "vmovdqa64 %%zmm31, %0");
	rt_printf("AVX %s, AVX2 %s, XCR0 %#lx\n", avx ? "yes" : "no",
		  avx && seven[1] & CPUID7_EBX_AVX2 ? "yes" : "no",
		  one[2] & CPUID1_ECX_OSXSAVE ? xgetbv() : 0);
	return verdict();
}
