// SPDX-License-Identifier: BSD-2-Clause
/* The hot path for: Any 64-bit processor. */
#include "core/net_priv.h"

#define HOT_BYTES 16
#define HOT_NAME  net_isa_sse2
#define HOT_TEXT  "sse2"
#include "core/net_hot.h"
