// SPDX-License-Identifier: BSD-2-Clause
/* The values of abi_uapi.inc as Linux and libc have them. */
#include <errno.h>
#include <stddef.h>

#include <linux/pci_regs.h>
#include <linux/vhost.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "abi_uapi.h"

/* In virtio_pci.h since Linux 6.3 only; the value has been the specification's all along. */
#ifndef VIRTIO_PCI_ISR_CONFIG
#define VIRTIO_PCI_ISR_CONFIG 0x2
#endif

#define V(name, ours, theirs) { #name, (uint64_t)(theirs) },
#define S(expr)		      { #expr, (uint64_t)(expr) },

const struct abi_value abi_theirs[] = {
#include "abi_uapi.inc"
	{ 0 },
};
