// SPDX-License-Identifier: BSD-2-Clause
/* abi/cpu.h against the compiler's own look at the CPU. (tests/guests/simd uses what it says.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi/cpu.h"

static void isa(void **state)
{
	unsigned int want = GD_CPU_SSE2;

	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2"))
		want |= GD_CPU_AVX2;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl"))
		want |= GD_CPU_AVX512;
	assert_int_equal(gd_cpu_isa(), want);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(isa) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
