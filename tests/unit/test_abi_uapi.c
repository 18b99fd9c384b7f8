// SPDX-License-Identifier: BSD-2-Clause
/* Our constants and layouts equal those of Linux's user-space headers, line by line of abi_uapi.inc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi_uapi.h"

static void same_values(void **state)
{
	unsigned int wrong = 0;
	size_t i;

	for (i = 0; abi_ours[i].name && abi_theirs[i].name; i++) {
		assert_string_equal(abi_ours[i].name, abi_theirs[i].name);
		if (abi_ours[i].value == abi_theirs[i].value)
			continue;
		print_error("%s: %#llx, Linux has %#llx\n", abi_ours[i].name,
			    (unsigned long long)abi_ours[i].value,
			    (unsigned long long)abi_theirs[i].value);
		wrong++;
	}
	assert_null(abi_ours[i].name);
	assert_null(abi_theirs[i].name);
	assert_true(i > 100);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(same_values) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
