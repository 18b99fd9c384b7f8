/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vector instructions may be used: the CPU has them, and the state they need is enabled (XCR0). Works in ring 3
 * of the runtime, where every CPU that it starts has the same, and in host programs.
 *
 * CPUID can be a VM exit: ask once.
 */
#ifndef VVU_ABI_CPU_H
#define VVU_ABI_CPU_H

#include "abi/base.h"

/* Masks; each includes those before it. SSE2 is part of the architecture. */
#define GD_CPU_SSE2   0x1u
#define GD_CPU_AVX2   0x2u
#define GD_CPU_AVX512 0x4u /* F, BW and VL */

#define GD_CPU_1_ECX_OSXSAVE BIT_U32(27)
#define GD_CPU_1_ECX_AVX     BIT_U32(28)
#define GD_CPU_7_EBX_AVX2    BIT_U32(5)
#define GD_CPU_7_EBX_AVX512  (BIT_U32(16) | BIT_U32(30) | BIT_U32(31))
#define GD_CPU_XCR0_AVX	     0x06u
#define GD_CPU_XCR0_AVX512   0xe6u

static inline void gd_cpuid(uint32_t leaf, uint32_t regs[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3])
			 : "a"(leaf), "c"(0));
}

static inline unsigned int gd_cpu_isa(void)
{
	uint32_t one[4], seven[4], max[4], xcr0, high;

	gd_cpuid(0, max);
	gd_cpuid(1, one);
	if (max[0] < 7 || !(one[2] & GD_CPU_1_ECX_OSXSAVE) || !(one[2] & GD_CPU_1_ECX_AVX))
		return GD_CPU_SSE2;
	__asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
	gd_cpuid(7, seven);
	if ((xcr0 & GD_CPU_XCR0_AVX) != GD_CPU_XCR0_AVX || !(seven[1] & GD_CPU_7_EBX_AVX2))
		return GD_CPU_SSE2;
	if ((xcr0 & GD_CPU_XCR0_AVX512) != GD_CPU_XCR0_AVX512 ||
	    (seven[1] & GD_CPU_7_EBX_AVX512) != GD_CPU_7_EBX_AVX512)
		return GD_CPU_SSE2 | GD_CPU_AVX2;
	return GD_CPU_SSE2 | GD_CPU_AVX2 | GD_CPU_AVX512;
}

#endif
