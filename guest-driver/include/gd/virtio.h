/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio over PCI, modern transport, driver side (virtio 1.2 §3.1, §4.1). */
#ifndef VVU_GD_VIRTIO_H
#define VVU_GD_VIRTIO_H

#include "abi/virtio_config.h"
#include "gd/pci.h"
#include "vq/vq_drv.h"

struct gd_virtio {
	struct gd_pci_dev pci;
	const struct gd_platform *p;
	uint8_t *common; /* struct virtio_pci_common_cfg, by gd_platform.mmio_* */
	uint8_t *notify;
	uint64_t notify_length;
	uint32_t notify_multiplier;
	uint8_t *device; /* NULL: none */
	const struct gd_virtio_cap *device_cap;
	uint64_t features; /* negotiated */
};

/* Zeroed before its first use; ring memory is used again when the device is set up anew. */
struct gd_virtqueue {
	struct vq_drv vq;
	void *mem;
	uint32_t mem_bytes;
	struct gd_virtio *dev;
	unsigned int index;
	uint8_t *notify_addr;
};

/* Opens the function, resets the device and sets ACKNOWLEDGE and DRIVER. 0, -ENODEV (not modern virtio), -EIO. */
int gd_virtio_open(struct gd_virtio *dev, const struct gd_platform *p, unsigned int bdf);

/* The first capability of that type and id, NULL: none. Mapping it checks that it has min bytes and lies in its BAR. */
const struct gd_virtio_cap *gd_virtio_find_cap(const struct gd_virtio *dev, uint8_t cfg_type,
					       uint8_t id);
void *gd_virtio_map_cap(struct gd_virtio *dev, const struct gd_virtio_cap *cap, uint64_t min);

/* Negotiates wanted & offered; required ones must be offered. Sets FEATURES_OK. 0 or -ENOTSUP. */
int gd_virtio_negotiate(struct gd_virtio *dev, uint64_t wanted, uint64_t required);

/* Sets queue index up with at most size entries and MSI-X vector (VIRTIO_MSI_NO_VECTOR: none). 0, -errno. */
int gd_virtio_queue(struct gd_virtio *dev, struct gd_virtqueue *q, unsigned int index,
		    unsigned int size, uint16_t vector);
int gd_virtio_config_vector(struct gd_virtio *dev, uint16_t vector);
void gd_virtio_driver_ok(struct gd_virtio *dev);
uint8_t gd_virtio_status(struct gd_virtio *dev);

/* Writes 0 to device_status and waits until it reads 0 (virtio 1.2 §4.1.4.3.2). */
void gd_virtio_reset(struct gd_virtio *dev);

/* Notifies the device of new buffers if it asked for it. */
void gd_virtqueue_kick(struct gd_virtqueue *q);

/* Device configuration, width 1, 2 or 4. Outside of it: reads 0, writes nothing. */
uint32_t gd_virtio_config_read(struct gd_virtio *dev, unsigned int offset, unsigned int width);
void gd_virtio_config_write(struct gd_virtio *dev, unsigned int offset, unsigned int width,
			    uint32_t v);

#endif
