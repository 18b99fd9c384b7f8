/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all virtio devices do alike, independent of the transport: status machine, features, queues,
 * reset (virtio 1.2 §2.1, §2.2, §2.7, §3.1). The transport (virtio_pci.c) calls the setters with
 * whatever the guest wrote; every value is checked here.
 *
 * The machine lock serialises everything here.
 */
#ifndef VMM_VIRTIO_DEV_H
#define VMM_VIRTIO_DEV_H

#include <stdbool.h>

#include "abi/virtio_config.h"
#include "abi/virtio_pci.h"
#include "vmm/machine.h"
#include "vq/vq_dev.h"

#define VIRTIO_DEV_QUEUES_MAX 2

struct virtio_dev;

struct virtio_dev_ops {
	/* The driver accepted features (a subset of the offered ones, VERSION_1 among them). False
	 * refuses FEATURES_OK. */
	bool (*features_ok)(struct virtio_dev *dev, uint64_t features);
	void (*driver_ok)(struct virtio_dev *dev);
	/* Queues are stopped already, status and features still the old ones. */
	void (*reset)(struct virtio_dev *dev);
	/* The driver notified a running queue. On the main loop. */
	void (*queue_notify)(struct virtio_dev *dev, unsigned int queue);
	/* Copy of the device configuration; a write of size 1, 2 or 4 that lies inside it. */
	void (*config_get)(struct virtio_dev *dev, void *config);
	void (*config_write)(struct virtio_dev *dev, unsigned int offset, unsigned int size,
			     uint32_t value);
};

/* What the transport does for the device. */
struct virtio_transport_ops {
	void (*interrupt)(struct virtio_dev *dev, uint16_t vector, uint8_t isr);
	/* DRIVER_OK was set (notifications are wanted) or the device was reset. */
	void (*running)(struct virtio_dev *dev, bool running);
};

struct virtio_dev_queue {
	struct vq_dev vq;
	uint16_t size;
	uint16_t vector;
	bool enabled;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
};

struct virtio_dev {
	struct machine *machine;
	const struct virtio_dev_ops *ops;
	const struct virtio_transport_ops *transport;
	const char *name; /* for log lines */
	uint64_t offered;
	uint64_t accepted; /* final once FEATURES_OK is set */
	uint8_t status;
	uint8_t generation;
	uint16_t config_vector;
	unsigned int config_bytes;
	unsigned int num_queues;
	uint16_t queue_max;
	struct virtio_dev_queue queues[VIRTIO_DEV_QUEUES_MAX];
};

/* Power-on state. offered: feature mask; VIRTIO_F_VERSION_1 is required of the driver. */
void virtio_dev_init(struct virtio_dev *dev);

/* Writes of the driver. */
void virtio_dev_set_features(struct virtio_dev *dev, unsigned int select, uint32_t value);
void virtio_dev_set_status(struct virtio_dev *dev, uint8_t value);
void virtio_dev_set_queue_size(struct virtio_dev *dev, unsigned int queue, uint16_t size);
void virtio_dev_enable_queue(struct virtio_dev *dev, unsigned int queue);

/* Back to power-on state, as a driver's write of 0 to the status. */
void virtio_dev_reset(struct virtio_dev *dev);

/* The queue can be used: enabled, DRIVER_OK, nothing needs a reset. */
bool virtio_dev_queue_ready(const struct virtio_dev *dev, unsigned int queue);

/* The device can't go on until the driver resets it: sets DEVICE_NEEDS_RESET and says why in one
 * line. */
void virtio_dev_needs_reset(struct virtio_dev *dev, const char *why);

/* Interrupts: used buffers on queue; configuration changed (which also moves the generation). */
void virtio_dev_call(struct virtio_dev *dev, unsigned int queue);
void virtio_dev_config_changed(struct virtio_dev *dev);

#endif
