// SPDX-License-Identifier: BSD-2-Clause
/* The first code in ring 3: what every image needs, in the order in which the parts need each
 * other. */
#include "internal.h"

#include "io.h"

#define CPUID1_ECX_XSAVE BIT_U32(26)
#define XCR0_X87	 BIT_ULL(0)

struct rt_boot rt_boot;

/*
 * Lets ring 3 use AVX. Where the VMM has set XCR0 already it stays: hosts that emulate ring 0 have
 * no xsetbv. (Ring 0 set CR4.OSXSAVE, so xgetbv may be used here.)
 */
void enable_avx(void)
{
	if (rt_boot.cpuid1_ecx & CPUID1_ECX_XSAVE && rt_boot.xcr0_supported > XCR0_X87 &&
	    io_xgetbv() == XCR0_X87)
		ring0_call3(RING0_XSETBV, rt_boot.xcr0_supported, 0, 0);
}

bool rt_is_vvu_machine(void)
{
	static const char signature[12] = MACHINE_CPUID_SIGNATURE;

	return memcmp(rt_boot.hv_signature, signature, sizeof(signature)) == 0;
}

void rt_start3(void)
{
	enable_avx();
	clock_init();
	heap_init();
	rt_exit(rt_main(rt_boot.cmdline));
}
