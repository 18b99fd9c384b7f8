// SPDX-License-Identifier: BSD-2-Clause
/* Virtio devices, the part that no transport and no device type changes; see virtio_dev.h. */
#include "vmm/virtio_dev.h"

#include <string.h>

#include "vmm/hostlib/log.h"

/* Bits the driver may set; DEVICE_NEEDS_RESET is the device's. */
#define DRIVER_STATUS                                                                              \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |              \
	 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED)

static void power_on(struct virtio_dev *dev)
{
	dev->accepted = 0;
	dev->status = 0;
	dev->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned int i = 0; i < dev->num_queues; i++) {
		struct virtio_dev_queue *q = &dev->queues[i];

		memset(q, 0, sizeof(*q));
		q->size = dev->queue_max;
		q->vector = VIRTIO_MSI_NO_VECTOR;
	}
}

void virtio_dev_init(struct virtio_dev *dev)
{
	power_on(dev);
	dev->generation = 0;
}

void virtio_dev_set_features(struct virtio_dev *dev, unsigned int select, uint32_t value)
{
	unsigned int shift = select * 32;

	if (select > 1 || (dev->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	dev->accepted &= ~(UINT64_C(0xffffffff) << shift);
	dev->accepted |= (uint64_t)value << shift;
}

/* virtio 1.2 §3.1.1 step 5, §6.2: the device refuses a set it did not offer or can't work with. */
static bool features_ok(struct virtio_dev *dev)
{
	if (dev->accepted & ~dev->offered)
		return false;
	if (!(dev->accepted & VIRTIO_FEATURE(F_VERSION_1)))
		return false;
	return dev->ops->features_ok(dev, dev->accepted);
}

void virtio_dev_set_status(struct virtio_dev *dev, uint8_t value)
{
	uint8_t added;

	if (value == 0) {
		virtio_dev_reset(dev);
		return;
	}
	/* virtio 1.2 §2.1.1: the driver MUST NOT clear a bit other than by reset; bits stay. */
	added = (uint8_t)(value & DRIVER_STATUS & ~dev->status);
	if ((added & VIRTIO_STATUS_FEATURES_OK) && !features_ok(dev))
		added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	dev->status |= (uint8_t)(added & ~VIRTIO_STATUS_DRIVER_OK);
	if (!(added & VIRTIO_STATUS_DRIVER_OK) || !(dev->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	dev->status |= VIRTIO_STATUS_DRIVER_OK;
	if (dev->transport)
		dev->transport->running(dev, true);
	dev->ops->driver_ok(dev);
}

void virtio_dev_set_queue_size(struct virtio_dev *dev, unsigned int queue, uint16_t size)
{
	if (queue >= dev->num_queues || dev->queues[queue].enabled)
		return;
	/*
	 * virtio 1.2 §4.1.4.3.2: not above what was offered, and a power of two unless the ring is packed (§2.8).
	 * Anything else is not taken. Features that change afterwards are found by vq_dev_start().
	 */
	if (!size || size > dev->queue_max)
		return;
	if ((size & (size - 1)) && !(dev->accepted & VIRTIO_FEATURE(F_RING_PACKED)))
		return;
	dev->queues[queue].size = size;
}

void virtio_dev_enable_queue(struct virtio_dev *dev, unsigned int queue)
{
	struct virtio_dev_queue *q;
	struct vq_dev_conf conf;

	if (queue >= dev->num_queues || !(dev->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	q = &dev->queues[queue];
	if (q->enabled)
		return;
	conf = (struct vq_dev_conf){
		.map = &dev->machine->ram,
		.desc = gpa(q->desc),
		.avail = gpa(q->driver),
		.used = gpa(q->device),
		.size = q->size,
		.base = dev->accepted & VIRTIO_FEATURE(F_RING_PACKED) ? 0x8000 : 0,
		.packed = dev->accepted & VIRTIO_FEATURE(F_RING_PACKED),
		.in_order = dev->accepted & VIRTIO_FEATURE(F_IN_ORDER),
		.event_idx = dev->accepted & VIRTIO_FEATURE(F_EVENT_IDX),
		.indirect = dev->accepted & VIRTIO_FEATURE(F_INDIRECT_DESC),
	};
	if (vq_dev_start(&q->vq, &conf)) {
		virtio_dev_needs_reset(dev, vq_broken_name(q->vq.broken));
		return;
	}
	q->enabled = true;
}

void virtio_dev_reset(struct virtio_dev *dev)
{
	if (dev->transport)
		dev->transport->running(dev, false);
	for (unsigned int i = 0; i < dev->num_queues; i++) {
		if (dev->queues[i].enabled)
			vq_dev_stop(&dev->queues[i].vq);
	}
	dev->ops->reset(dev);
	power_on(dev);
}

bool virtio_dev_queue_ready(const struct virtio_dev *dev, unsigned int queue)
{
	return queue < dev->num_queues && dev->queues[queue].enabled &&
	       (dev->status & VIRTIO_STATUS_DRIVER_OK) &&
	       !(dev->status & VIRTIO_STATUS_DEVICE_NEEDS_RESET);
}

void virtio_dev_needs_reset(struct virtio_dev *dev, const char *why)
{
	if (dev->status & VIRTIO_STATUS_DEVICE_NEEDS_RESET)
		return;
	dev->status |= VIRTIO_STATUS_DEVICE_NEEDS_RESET;
	log_peer(LOG_L_WARN, dev->name, "device needs a reset: %s", why);
	/* virtio 1.2 §2.1.2: a configuration change notification, if DRIVER_OK is set. */
	virtio_dev_config_changed(dev);
}

void virtio_dev_call(struct virtio_dev *dev, unsigned int queue)
{
	if (dev->transport)
		dev->transport->interrupt(dev, dev->queues[queue].vector,
					  VIRTIO_PCI_ISR_QUEUE_MASK);
}

void virtio_dev_config_changed(struct virtio_dev *dev)
{
	dev->generation++;
	if (dev->transport && (dev->status & VIRTIO_STATUS_DRIVER_OK))
		dev->transport->interrupt(dev, dev->config_vector, VIRTIO_PCI_ISR_CONFIG_MASK);
}
