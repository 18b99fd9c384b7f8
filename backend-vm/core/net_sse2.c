// SPDX-License-Identifier: BSD-2-Clause
/* The hot path for: Any 64-bit processor. */
#include "core/net_hot.h"
