// SPDX-License-Identifier: BSD-2-Clause
/*
 * Vector registers in ring 3: what CPUID offers can be used (XCR0 is set up), and nothing of it is
 * lost over calls of ring 0, interrupts and idling, since ring 0 touches none of them.
 */
#include "common.h"
#include "abi/cpu.h"
#include "io.h"
#include "ring0.h"

static uint8_t want[64] __attribute__((aligned(64)));
static uint8_t got[64] __attribute__((aligned(64)));

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

static void try_avx2(void *arg)
{
	__asm__ volatile("vpaddb %%ymm1, %%ymm1, %%ymm1" : : : "memory");
}

static void try_avx512(void *arg)
{
	__asm__ volatile("vpaddb %%zmm1, %%zmm1, %%zmm1; vpaddb %%ymm17, %%ymm17, %%ymm17"
			 :
			 :
			 : "memory");
}

int rt_main(const char *cmdline)
{
	unsigned int isa = gd_cpu_isa();

	for (unsigned int i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 3 + 1);
	CHECK(isa & GD_CPU_SSE2);
	CHECK_KEPT("xmm15", 16, "movdqa %0, %%xmm15", "movdqa %%xmm15, %0");
	if (isa & GD_CPU_AVX2) {
		CHECK(rt_catch(try_avx2, NULL, NULL, NULL) == -1);
		CHECK_KEPT("ymm15", 32, "vmovdqa %0, %%ymm15", "vmovdqa %%ymm15, %0");
	}
	if (isa & GD_CPU_AVX512) {
		CHECK(isa & GD_CPU_AVX2);
		CHECK(rt_catch(try_avx512, NULL, NULL, NULL) == -1);
		CHECK_KEPT("zmm31", 64, "vmovdqa64 %0, %%zmm31", "vmovdqa64 %%zmm31, %0");
	}
	/* Nothing that the CPU offers was forgotten to be enabled. */
	if (rt_boot.cpuid1_ecx & BIT_U32(26))
		CHECKF((io_xgetbv() & 0xe7) == rt_boot.xcr0_supported, "XCR0 %#lx, supported %#x",
		       io_xgetbv(), rt_boot.xcr0_supported);
	rt_printf("AVX2 %s, AVX-512 %s\n", isa & GD_CPU_AVX2 ? "yes" : "no",
		  isa & GD_CPU_AVX512 ? "yes" : "no");
	return verdict();
}
