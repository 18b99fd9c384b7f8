// SPDX-License-Identifier: BSD-2-Clause
/* The modern virtio-pci transport, driver side (virtio 1.2 §3.1, §4.1). */
#include "abi/errno.h"
#include "drv.h"
#include "gd/virtio.h"

/* Common configuration, by field name. Fields are read and written with their own width (virtio 1.2
 * §4.1.3.1). */
#define FIELD_WIDTH(f) ((unsigned int)sizeof(((struct virtio_pci_common_cfg *)0)->f))
#define COMMON_READ(d, f)                                                                          \
	drv_read((d)->p, (d)->common, offsetof(struct virtio_pci_common_cfg, f), FIELD_WIDTH(f))
#define COMMON_WRITE(d, f, v)                                                                      \
	drv_write((d)->p, (d)->common, offsetof(struct virtio_pci_common_cfg, f), FIELD_WIDTH(f), v)

#define RESET_LOOKS 100000

const struct gd_virtio_cap *gd_virtio_find_cap(const struct gd_virtio *dev, uint8_t cfg_type,
					       uint8_t id)
{
	/* The first of a type that can be used is the one to use (virtio 1.2 §4.1.4.1). */
	for (unsigned int i = 0; i < dev->pci.num_caps; i++) {
		const struct gd_virtio_cap *cap = &dev->pci.caps[i];

		if (cap->cfg_type == cfg_type && cap->id == id && cap->bar < PCI_NUM_BARS)
			return cap;
	}
	return NULL;
}

void *gd_virtio_map_cap(struct gd_virtio *dev, const struct gd_virtio_cap *cap, uint64_t min)
{
	if (!cap || cap->length < min)
		return NULL;
	return gd_pci_map(&dev->pci, cap->bar, cap->offset, cap->length);
}

int gd_virtio_open(struct gd_virtio *dev, const struct gd_platform *p, unsigned int bdf)
{
	const struct gd_virtio_cap *notify;
	int err;

	*dev = (struct gd_virtio){ .p = p };
	err = gd_pci_open(&dev->pci, p, bdf);
	if (err)
		return err;
	if (dev->pci.vendor != PCI_VENDOR_VIRTIO || dev->pci.device < PCI_DEVICE_VIRTIO_MODERN)
		return -ENODEV;
	notify = gd_virtio_find_cap(dev, VIRTIO_PCI_CAP_NOTIFY_CFG, 0);
	dev->common = gd_virtio_map_cap(dev, gd_virtio_find_cap(dev, VIRTIO_PCI_CAP_COMMON_CFG, 0),
					sizeof(struct virtio_pci_common_cfg));
	dev->notify = gd_virtio_map_cap(dev, notify, 2);
	if (!dev->common || !dev->notify) {
		gd_log(p, GD_LOG_ERROR,
		       "pci %02x: a virtio capability is missing or outside its BAR", bdf);
		return -ENODEV;
	}
	dev->notify_length = notify->length;
	dev->notify_multiplier = notify->extra;
	dev->device_cap = gd_virtio_find_cap(dev, VIRTIO_PCI_CAP_DEVICE_CFG, 0);
	dev->device = gd_virtio_map_cap(dev, dev->device_cap, 1);
	gd_virtio_reset(dev);
	COMMON_WRITE(dev, device_status, VIRTIO_STATUS_ACKNOWLEDGE);
	COMMON_WRITE(dev, device_status, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	return 0;
}

int gd_virtio_negotiate(struct gd_virtio *dev, uint64_t wanted, uint64_t required)
{
	const uint8_t status =
		VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK;
	uint64_t offered;

	COMMON_WRITE(dev, device_feature_select, 0);
	offered = COMMON_READ(dev, device_feature);
	COMMON_WRITE(dev, device_feature_select, 1);
	offered |= (uint64_t)COMMON_READ(dev, device_feature) << 32;
	if (required & ~offered)
		return -ENOTSUP;
	dev->features = (wanted | required) & offered;
	COMMON_WRITE(dev, driver_feature_select, 0);
	COMMON_WRITE(dev, driver_feature, (uint32_t)dev->features);
	COMMON_WRITE(dev, driver_feature_select, 1);
	COMMON_WRITE(dev, driver_feature, (uint32_t)(dev->features >> 32));
	COMMON_WRITE(dev, device_status, status);
	/* virtio 1.2 §3.1.1 step 6: it MUST be read back. */
	if (!(COMMON_READ(dev, device_status) & VIRTIO_STATUS_FEATURES_OK))
		return -ENOTSUP;
	return 0;
}

/* Ring memory: that of the last time, when the driver starts anew, else fresh. NULL: none left. */
static void *ring_memory(struct gd_virtio *dev, struct gd_virtqueue *q, unsigned int size)
{
	uint32_t bytes = vq_drv_layout(size).bytes;

	if (!q->mem || q->mem_bytes < bytes) {
		q->mem = dev->p->alloc(dev->p->ctx, bytes, 4096);
		q->mem_bytes = bytes;
	} else {
		__builtin_memset(q->mem, 0, bytes);
	}
	return q->mem;
}

static void write_address(struct gd_virtio *dev, size_t field, const void *part)
{
	struct gpa at = dev->p->to_gpa(dev->p->ctx, part);

	drv_write(dev->p, dev->common, field, 4, (uint32_t)at.v);
	drv_write(dev->p, dev->common, field + 4, 4, (uint32_t)(at.v >> 32));
}

/* After the vector was written it reads back as NO_VECTOR when the device has no room (virtio 1.2
 * §4.1.5.1.2.1). */
static int set_queue_vector(struct gd_virtio *dev, uint16_t vector)
{
	if (vector == VIRTIO_MSI_NO_VECTOR)
		return 0;
	COMMON_WRITE(dev, queue_msix_vector, vector);
	return COMMON_READ(dev, queue_msix_vector) == vector ? 0 : -EBUSY;
}

int gd_virtio_queue(struct gd_virtio *dev, struct gd_virtqueue *q, unsigned int index,
		    unsigned int size, uint16_t vector)
{
	unsigned int max;
	uint64_t notify;
	int err;

	COMMON_WRITE(dev, queue_select, index);
	max = COMMON_READ(dev, queue_size);
	if (!max)
		return -ENODEV;
	if (max > VRING_SIZE_MAX || (max & (max - 1)))
		return -EIO;
	/* For what was asked for, not for what this device has: memory is never freed, and the next
	 * time may differ. */
	if (!ring_memory(dev, q, size))
		return -ENOMEM;
	if (size > max)
		size = max;
	err = vq_drv_init_mode(&q->vq, q->mem, size,
			       (struct vq_drv_mode){
				       .event_idx = dev->features & VIRTIO_FEATURE(F_EVENT_IDX),
				       .packed = dev->features & VIRTIO_FEATURE(F_RING_PACKED),
				       .in_order = dev->features & VIRTIO_FEATURE(F_IN_ORDER),
			       });
	if (err)
		return err;
	notify = (uint64_t)COMMON_READ(dev, queue_notify_off) * dev->notify_multiplier;
	if (notify + 2 > dev->notify_length)
		return -EIO;
	q->dev = dev;
	q->index = index;
	q->notify_addr = dev->notify + notify;
	if (size != max)
		COMMON_WRITE(dev, queue_size, size);
	err = set_queue_vector(dev, vector);
	if (err)
		return err;
	write_address(dev, offsetof(struct virtio_pci_common_cfg, queue_desc), q->vq.desc);
	write_address(dev, offsetof(struct virtio_pci_common_cfg, queue_driver), q->vq.avail);
	write_address(dev, offsetof(struct virtio_pci_common_cfg, queue_device), q->vq.used);
	COMMON_WRITE(dev, queue_enable, 1);
	return 0;
}

int gd_virtio_config_vector(struct gd_virtio *dev, uint16_t vector)
{
	COMMON_WRITE(dev, config_msix_vector, vector);
	return COMMON_READ(dev, config_msix_vector) == vector ? 0 : -EBUSY;
}

void gd_virtio_driver_ok(struct gd_virtio *dev)
{
	COMMON_WRITE(dev, device_status,
		     VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
			     VIRTIO_STATUS_DRIVER_OK);
}

uint8_t gd_virtio_status(struct gd_virtio *dev)
{
	return (uint8_t)COMMON_READ(dev, device_status);
}

void gd_virtio_reset(struct gd_virtio *dev)
{
	COMMON_WRITE(dev, device_status, 0);
	for (unsigned int i = 0; i < RESET_LOOKS; i++)
		if (COMMON_READ(dev, device_status) == 0)
			return;
	gd_log(dev->p, GD_LOG_ERROR, "pci %02x: the device does not finish its reset",
	       dev->pci.bdf);
}

void gd_virtqueue_kick(struct gd_virtqueue *q)
{
	if (vq_drv_kick_needed(&q->vq))
		drv_write(q->dev->p, q->notify_addr, 0, 2, q->index);
}

uint32_t gd_virtio_config_read(struct gd_virtio *dev, unsigned int offset, unsigned int width)
{
	if (!dev->device || offset + width > dev->device_cap->length)
		return 0;
	return drv_read(dev->p, dev->device, offset, width);
}

void gd_virtio_config_write(struct gd_virtio *dev, unsigned int offset, unsigned int width,
			    uint32_t v)
{
	if (dev->device && offset + width <= dev->device_cap->length)
		drv_write(dev->p, dev->device, offset, width, v);
}
