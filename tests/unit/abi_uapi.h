/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VVU_TESTS_ABI_UAPI_H
#define VVU_TESTS_ABI_UAPI_H

#include <stdint.h>

struct abi_value {
	const char *name;
	uint64_t value;
};

/* Both have one entry per line of abi_uapi.inc and end with a NULL name. */
extern const struct abi_value abi_ours[];
extern const struct abi_value abi_theirs[];

#endif
