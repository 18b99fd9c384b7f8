// SPDX-License-Identifier: BSD-2-Clause
/* Which hot path this processor runs. */
#include "core/net.h"
#include "abi/cpu.h"

const struct net_isa *net_isa_choose(void)
{
	unsigned int isa = gd_cpu_isa();

	if (isa & GD_CPU_AVX512)
		return &net_isa_avx512;
	return isa & GD_CPU_AVX2 ? &net_isa_avx2 : &net_isa_sse2;
}
