// SPDX-License-Identifier: BSD-2-Clause
/* The hot path for: Processors with AVX2. */
#include "core/net_priv.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,prfchw"))), apply_to = function)
#else
#pragma GCC target("avx2,prfchw")
#endif

#define HOT_BYTES 32
#define HOT_NAME  net_isa_avx2
#define HOT_TEXT  "avx2"
#include "core/net_hot.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
