// SPDX-License-Identifier: BSD-2-Clause
/* The hot path for: Processors with AVX-512 F, BW and VL. */
#include "core/net_priv.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,prfchw"))),          \
			     apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,prfchw")
#endif

#define HOT_BYTES 64
#define HOT_NAME  net_isa_avx512
#define HOT_TEXT  "avx512"
#include "core/net_hot.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
