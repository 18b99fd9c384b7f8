// SPDX-License-Identifier: BSD-2-Clause
/* The values of abi_uapi.inc as our headers have them; the error numbers are those of freestanding code. */
#ifndef VVU_FREESTANDING
#define VVU_FREESTANDING 1
#endif
#include "abi/errno.h"
#include "abi/pci.h"
#include "abi/vhost_user.h"
#include "abi/virtio_config.h"
#include "abi/virtio_net.h"
#include "abi/virtio_pci.h"
#include "abi/virtio_ring.h"
#include "abi_uapi.h"

#define V(name, ours, theirs) { #name, (uint64_t)(ours) },
#define S(expr)		      { #expr, (uint64_t)(expr) },

const struct abi_value abi_ours[] = {
#include "abi_uapi.inc"
	{ 0 },
};
