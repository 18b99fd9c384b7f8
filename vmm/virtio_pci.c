// SPDX-License-Identifier: BSD-2-Clause
/* Virtio over PCI, device side: register decode, capabilities, notifications; see virtio_pci.h. */
#include "vmm/virtio_pci.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"

#define VIRTIO_PCI_REVISION 1 /* virtio 1.2 §4.1.2.1: modern only */
#define VIRTIO_PCI_SUBSYS   0x1100

static struct virtio_dev_queue *selected_queue(struct virtio_pci *vp)
{
	return vp->queue_select < vp->dev.num_queues ? &vp->dev.queues[vp->queue_select] : NULL;
}

/* The structure as it reads now; the caller takes the bytes it was asked for. */
static void common_get(struct virtio_pci *vp, struct virtio_pci_common_cfg *cfg)
{
	const struct virtio_dev *dev = &vp->dev;
	const struct virtio_dev_queue *q = selected_queue(vp);

	memset(cfg, 0, sizeof(*cfg));
	cfg->device_feature_select = vp->device_feature_select;
	if (vp->device_feature_select < 2)
		cfg->device_feature = (uint32_t)(dev->offered >> (32 * vp->device_feature_select));
	cfg->driver_feature_select = vp->driver_feature_select;
	if (vp->driver_feature_select < 2)
		cfg->driver_feature = (uint32_t)(dev->accepted >> (32 * vp->driver_feature_select));
	cfg->config_msix_vector = dev->config_vector;
	cfg->num_queues = (uint16_t)dev->num_queues;
	cfg->device_status = dev->status;
	cfg->config_generation = dev->generation;
	cfg->queue_select = vp->queue_select;
	if (!q) {
		/* virtio 1.2 §4.1.4.3.1: a queue that is not there has size 0. */
		cfg->queue_msix_vector = VIRTIO_MSI_NO_VECTOR;
		return;
	}
	cfg->queue_size = q->size;
	cfg->queue_msix_vector = q->vector;
	cfg->queue_enable = q->enabled;
	cfg->queue_notify_off = vp->queue_select;
	cfg->queue_desc = q->desc;
	cfg->queue_driver = q->driver;
	cfg->queue_device = q->device;
}

/* virtio 1.2 §4.1.5.1.2: a vector that can't be used reads back as NO_VECTOR. */
static uint16_t checked_vector(const struct virtio_pci *vp, uint16_t vector)
{
	return vector < vp->msix.num ? vector : VIRTIO_MSI_NO_VECTOR;
}

/* A queue's 64-bit address, written whole or by halves. Fixed once the queue is enabled. */
static void write_address(struct virtio_pci *vp, uint64_t *field, unsigned int at,
			  unsigned int size, uint64_t value)
{
	struct virtio_dev_queue *q = selected_queue(vp);

	if (!q || q->enabled)
		return;
	memcpy((uint8_t *)field + at, &value, size);
}

static void common_write_queue(struct virtio_pci *vp, unsigned int offset, unsigned int size,
			       uint64_t value)
{
	struct virtio_dev_queue *q = selected_queue(vp);
	unsigned int field = (unsigned int)ALIGN_DOWN(offset, 8u);

	if (!q)
		return;
	if (size == 2) {
		switch (offset) {
		case offsetof(struct virtio_pci_common_cfg, queue_size):
			virtio_dev_set_queue_size(&vp->dev, vp->queue_select, (uint16_t)value);
			break;
		case offsetof(struct virtio_pci_common_cfg, queue_msix_vector):
			q->vector = checked_vector(vp, (uint16_t)value);
			break;
		case offsetof(struct virtio_pci_common_cfg, queue_enable):
			if (value == 1)
				virtio_dev_enable_queue(&vp->dev, vp->queue_select);
			break;
		}
		return;
	}
	if ((size != 4 && size != 8) || !IS_ALIGNED(offset, size))
		return;
	switch (field) {
	case offsetof(struct virtio_pci_common_cfg, queue_desc):
		write_address(vp, &q->desc, offset - field, size, value);
		break;
	case offsetof(struct virtio_pci_common_cfg, queue_driver):
		write_address(vp, &q->driver, offset - field, size, value);
		break;
	case offsetof(struct virtio_pci_common_cfg, queue_device):
		write_address(vp, &q->device, offset - field, size, value);
		break;
	}
}

/* virtio 1.2 §4.1.3.1: drivers use each field's own width. Anything else has no effect. */
static void common_write(struct virtio_pci *vp, unsigned int offset, unsigned int size,
			 uint64_t value)
{
	switch (offset << 4 | size) {
	case offsetof(struct virtio_pci_common_cfg, device_feature_select) << 4 | 4:
		vp->device_feature_select = (uint32_t)value;
		break;
	case offsetof(struct virtio_pci_common_cfg, driver_feature_select) << 4 | 4:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case offsetof(struct virtio_pci_common_cfg, driver_feature) << 4 | 4:
		virtio_dev_set_features(&vp->dev, vp->driver_feature_select, (uint32_t)value);
		break;
	case offsetof(struct virtio_pci_common_cfg, config_msix_vector) << 4 | 2:
		vp->dev.config_vector = checked_vector(vp, (uint16_t)value);
		break;
	case offsetof(struct virtio_pci_common_cfg, device_status) << 4 | 1:
		virtio_dev_set_status(&vp->dev, (uint8_t)value);
		break;
	case offsetof(struct virtio_pci_common_cfg, queue_select) << 4 | 2:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		common_write_queue(vp, offset, size, value);
	}
}

static uint64_t copy_out(const void *from, uint64_t bytes, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;

	if (offset + size > bytes)
		return UINT64_MAX;
	memcpy(&value, (const uint8_t *)from + offset, size);
	return value;
}

static uint64_t device_config_read(struct virtio_pci *vp, uint64_t offset, unsigned int size)
{
	uint8_t config[VIRTIO_PCI_NOTIFY_OFF - VIRTIO_PCI_DEVICE_OFF] = { 0 };

	if (offset + size > vp->dev.config_bytes)
		return UINT64_MAX;
	vp->dev.ops->config_get(&vp->dev, config);
	return copy_out(config, sizeof(config), offset, size);
}

static uint64_t regs_read(struct virtio_pci *vp, uint64_t offset, unsigned int size)
{
	struct virtio_pci_common_cfg common;
	uint8_t isr;

	if (offset < sizeof(common)) {
		common_get(vp, &common);
		return copy_out(&common, sizeof(common), offset, size);
	}
	if (offset == VIRTIO_PCI_ISR_OFF) {
		isr = vp->isr; /* reading clears it (virtio 1.2 §4.1.4.5) */
		vp->isr = 0;
		return isr;
	}
	if (offset >= VIRTIO_PCI_DEVICE_OFF && offset < VIRTIO_PCI_NOTIFY_OFF)
		return device_config_read(vp, offset - VIRTIO_PCI_DEVICE_OFF, size);
	if (offset >= VIRTIO_PCI_TYPE_OFF && vp->type->read)
		return vp->type->read(vp, offset, size);
	return 0;
}

/* Reached when the ioeventfd is not there (not running yet, another device in its place, PCI_CFG
 * access). */
static void notify_write(struct virtio_pci *vp, uint64_t offset)
{
	unsigned int queue = (unsigned int)(offset / VIRTIO_PCI_NOTIFY_MULT);

	if (queue < vp->dev.num_queues && virtio_dev_queue_ready(&vp->dev, queue))
		eventfd_write(vp->notify[queue].fd, 1);
}

static void regs_write(struct virtio_pci *vp, uint64_t offset, unsigned int size, uint64_t value)
{
	if (offset < sizeof(struct virtio_pci_common_cfg)) {
		common_write(vp, (unsigned int)offset, size, value);
	} else if (offset >= VIRTIO_PCI_DEVICE_OFF && offset < VIRTIO_PCI_NOTIFY_OFF) {
		offset -= VIRTIO_PCI_DEVICE_OFF;
		if (size <= 4 && offset + size <= vp->dev.config_bytes)
			vp->dev.ops->config_write(&vp->dev, (unsigned int)offset, size,
						  (uint32_t)value);
	} else if (offset >= VIRTIO_PCI_NOTIFY_OFF && offset < VIRTIO_PCI_TYPE_OFF) {
		notify_write(vp, offset - VIRTIO_PCI_NOTIFY_OFF);
	} else if (offset >= VIRTIO_PCI_TYPE_OFF && vp->type->write) {
		vp->type->write(vp, offset, size, value);
	}
}

static struct virtio_pci *of_fn(struct pci_fn *fn)
{
	return container_of(fn, struct virtio_pci, fn);
}

static uint64_t fn_bar_read(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = of_fn(fn);

	if (bar == VIRTIO_PCI_REGS_BAR)
		return regs_read(vp, offset, size);
	if (bar == VIRTIO_PCI_MSIX_BAR)
		return msix_read(&vp->msix, offset, size);
	return UINT64_MAX;
}

static void fn_bar_write(struct pci_fn *fn, unsigned int bar, uint64_t offset, unsigned int size,
			 uint64_t value)
{
	struct virtio_pci *vp = of_fn(fn);

	if (bar == VIRTIO_PCI_REGS_BAR)
		regs_write(vp, offset, size, value);
	else if (bar == VIRTIO_PCI_MSIX_BAR)
		msix_write(&vp->msix, offset, size, value);
}

static void notify_detach(struct virtio_pci *vp, struct virtio_pci_notify *n)
{
	struct machine *m = vp->dev.machine;

	if (n->attached == PCI_BAR_UNMAPPED)
		return;
	m->ops->ioeventfd_del(m->ctx, n->attached, n->fd);
	n->attached = PCI_BAR_UNMAPPED;
}

static void notify_attach(struct virtio_pci *vp, struct virtio_pci_notify *n)
{
	struct machine *m = vp->dev.machine;
	uint64_t bar = vp->fn.bars[VIRTIO_PCI_REGS_BAR].gpa;
	uint64_t at = bar + VIRTIO_PCI_NOTIFY_OFF + (uint64_t)n->queue * VIRTIO_PCI_NOTIFY_MULT;
	int ret;

	if (n->attached != PCI_BAR_UNMAPPED || bar == PCI_BAR_UNMAPPED)
		return;
	ret = m->ops->ioeventfd_add(m->ctx, at, n->fd);
	if (ret)
		log_peer(LOG_L_WARN, vp->fn.name, "notifications of queue %u take the slow way: %s",
			 n->queue, strerror(-ret)); /* notify_write() does the same */
	else
		n->attached = at;
}

static void notify_update(struct virtio_pci *vp)
{
	bool wanted = (vp->dev.status & VIRTIO_STATUS_DRIVER_OK) &&
		      vp->fn.bars[VIRTIO_PCI_REGS_BAR].gpa != PCI_BAR_UNMAPPED;

	for (unsigned int i = 0; i < vp->dev.num_queues; i++) {
		if (wanted)
			notify_attach(vp, &vp->notify[i]);
		else
			notify_detach(vp, &vp->notify[i]);
	}
}

static void fn_bar_moved(struct pci_fn *fn, unsigned int bar, uint64_t gpa)
{
	struct virtio_pci *vp = of_fn(fn);

	if (bar == VIRTIO_PCI_REGS_BAR)
		notify_update(vp);
	if (vp->type->bar_moved)
		vp->type->bar_moved(vp, bar, gpa);
}

/*
 * The PCI_CFG capability (virtio 1.2 §4.1.4.9): a window on a BAR through configuration space.
 * Gives the access that its fields describe, if it is one.
 */
static bool cfg_access(struct virtio_pci *vp, unsigned int *bar, uint32_t *offset,
		       unsigned int *size)
{
	struct virtio_pci_cap cap;

	memcpy(&cap, vp->fn.config + vp->cfg_cap, sizeof(cap));
	*bar = cap.bar;
	*offset = cap.offset;
	*size = cap.length;
	if (cap.length != 1 && cap.length != 2 && cap.length != 4)
		return false;
	if (*bar > VIRTIO_PCI_MSIX_BAR || !IS_ALIGNED(*offset, *size))
		return false;
	return (uint64_t)*offset + *size <= vp->fn.bars[*bar].size;
}

static bool cfg_data_touched(const struct virtio_pci *vp, unsigned int reg, unsigned int size)
{
	unsigned int at = vp->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return reg < at + 4 && at < reg + size;
}

static void fn_config_reading(struct pci_fn *fn, unsigned int reg, unsigned int size)
{
	struct virtio_pci *vp = of_fn(fn);
	unsigned int bar, bytes;
	uint32_t offset, value;

	if (!cfg_data_touched(vp, reg, size) || !cfg_access(vp, &bar, &offset, &bytes))
		return;
	value = (uint32_t)fn_bar_read(fn, bar, offset, bytes);
	memcpy(fn->config + vp->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), &value,
	       bytes);
}

static void fn_config_written(struct pci_fn *fn, unsigned int reg, unsigned int size)
{
	struct virtio_pci *vp = of_fn(fn);
	unsigned int bar, bytes;
	uint32_t offset, value = 0;

	msix_config_written(&vp->msix, reg, size);
	if (!cfg_data_touched(vp, reg, size) || !cfg_access(vp, &bar, &offset, &bytes))
		return;
	memcpy(&value, fn->config + vp->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data),
	       bytes);
	fn_bar_write(fn, bar, offset, bytes, value);
}

static void transport_power_on(struct virtio_pci *vp)
{
	vp->isr = 0;
	vp->device_feature_select = 0;
	vp->driver_feature_select = 0;
	vp->queue_select = 0;
}

static void fn_reset(struct pci_fn *fn)
{
	struct virtio_pci *vp = of_fn(fn);

	virtio_dev_reset(&vp->dev);
	transport_power_on(vp);
	msix_reset(&vp->msix);
}

static const struct pci_fn_ops fn_ops = {
	.bar_read = fn_bar_read,
	.bar_write = fn_bar_write,
	.bar_moved = fn_bar_moved,
	.config_reading = fn_config_reading,
	.config_written = fn_config_written,
	.reset = fn_reset,
};

static void transport_interrupt(struct virtio_dev *dev, uint16_t vector, uint8_t isr)
{
	struct virtio_pci *vp = virtio_pci_of(dev);

	vp->isr |= isr;
	msix_notify(&vp->msix, vector);
}

static void transport_running(struct virtio_dev *dev, bool running)
{
	struct virtio_pci *vp = virtio_pci_of(dev);

	if (running) {
		notify_update(vp);
		return;
	}
	for (unsigned int i = 0; i < dev->num_queues; i++)
		notify_detach(vp, &vp->notify[i]);
	vp->isr = 0;
}

static const struct virtio_transport_ops transport_ops = { transport_interrupt, transport_running };

static void notify_event(evutil_socket_t fd, short what, void *arg)
{
	struct virtio_pci_notify *n = arg;
	struct virtio_dev *dev = &n->vp->dev;
	eventfd_t count;

	if (eventfd_read((int)fd, &count) && errno != EAGAIN)
		return;
	pthread_mutex_lock(&dev->machine->lock);
	if (virtio_dev_queue_ready(dev, n->queue))
		dev->ops->queue_notify(dev, n->queue);
	pthread_mutex_unlock(&dev->machine->lock);
}

static int notify_init(struct virtio_pci *vp, unsigned int queue)
{
	struct virtio_pci_notify *n = &vp->notify[queue];

	n->vp = vp;
	n->queue = queue;
	n->attached = PCI_BAR_UNMAPPED;
	n->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (n->fd < 0)
		return -errno;
	n->event = event_new(vp->dev.machine->base, n->fd, EV_READ | EV_PERSIST, notify_event, n);
	if (!n->event || event_add(n->event, NULL))
		return -ENOMEM;
	return 0;
}

static int add_cap(struct virtio_pci *vp, uint8_t type, uint32_t offset, uint32_t length)
{
	struct virtio_pci_notify_cap cap = {
		.cap = { .cap_vndr = PCI_CAP_ID_VENDOR,
			 .cap_len = sizeof(struct virtio_pci_cap),
			 .cfg_type = type,
			 .bar = VIRTIO_PCI_REGS_BAR,
			 .offset = offset,
			 .length = length },
		.notify_off_multiplier = VIRTIO_PCI_NOTIFY_MULT,
	};

	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
		cap.cap.cap_len = sizeof(cap);
	return pci_fn_add_cap(&vp->fn, &cap, cap.cap.cap_len);
}

static int add_cfg_cap(struct virtio_pci *vp)
{
	static const struct virtio_pci_cfg_cap writable = {
		.cap = { .bar = 0xff, .offset = UINT32_MAX, .length = UINT32_MAX },
		.pci_cfg_data = { 0xff, 0xff, 0xff, 0xff },
	};
	struct virtio_pci_cfg_cap cap = {
		.cap = { .cap_vndr = PCI_CAP_ID_VENDOR,
			 .cap_len = sizeof(cap),
			 .cfg_type = VIRTIO_PCI_CAP_PCI_CFG },
	};
	int ret = pci_fn_add_cap(&vp->fn, &cap, sizeof(cap));

	if (ret < 0)
		return ret;
	vp->cfg_cap = (unsigned int)ret;
	pci_fn_writable(&vp->fn, vp->cfg_cap, &writable, sizeof(writable));
	return 0;
}

static int add_caps(struct virtio_pci *vp)
{
	int ret;

	ret = add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_OFF,
		      sizeof(struct virtio_pci_common_cfg));
	if (ret >= 0)
		ret = add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_NOTIFY_OFF,
			      vp->dev.num_queues * VIRTIO_PCI_NOTIFY_MULT);
	if (ret >= 0)
		ret = add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_ISR_OFF, 1);
	if (ret >= 0)
		ret = add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE_OFF,
			      vp->dev.config_bytes);
	if (ret >= 0)
		ret = add_cfg_cap(vp);
	return ret < 0 ? ret : 0;
}

int virtio_pci_init(struct virtio_pci *vp, const struct virtio_pci_conf *conf)
{
	const struct pci_ids ids = {
		.vendor = PCI_VENDOR_VIRTIO,
		.device = (uint16_t)(PCI_DEVICE_VIRTIO_MODERN + conf->virtio_id),
		.class = conf->class,
		.revision = VIRTIO_PCI_REVISION,
		.subsys_vendor = PCI_VENDOR_VIRTIO,
		.subsys = VIRTIO_PCI_SUBSYS,
	};
	int ret;

	vp->type = conf->type;
	vp->dev.name = conf->name;
	vp->dev.transport = &transport_ops;
	for (unsigned int i = 0; i < VIRTIO_DEV_QUEUES_MAX; i++)
		vp->notify[i].fd = -1;
	transport_power_on(vp);
	pci_fn_init(&vp->fn, conf->name, &ids, &fn_ops);
	pci_fn_add_bar(&vp->fn, VIRTIO_PCI_REGS_BAR, conf->regs_bytes, false, false);
	ret = msix_init(&vp->msix, vp->dev.machine, &vp->fn, VIRTIO_PCI_MSIX_BAR,
			conf->num_vectors);
	if (!ret)
		ret = add_caps(vp);
	for (unsigned int i = 0; !ret && i < vp->dev.num_queues; i++)
		ret = notify_init(vp, i);
	if (ret)
		virtio_pci_free(vp);
	return ret;
}

void virtio_pci_free(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < VIRTIO_DEV_QUEUES_MAX; i++) {
		struct virtio_pci_notify *n = &vp->notify[i];

		if (n->event)
			event_free(n->event);
		n->event = NULL;
		fd_close(&n->fd);
	}
	msix_free(&vp->msix);
}
