// SPDX-License-Identifier: BSD-2-Clause
/*
 * Driver of the virtio-vhost-user device (abi/vvu.h).
 *
 * Two MSI-X vectors at the boot CPU: configuration changes, and everything else (rxq, txq, kicks),
 * since whoever is woken looks at all of it anyway and each programmed vector costs exits. One more
 * for each CPU, or other irq, that kicks are bound to.
 *
 * Of its two queues the driver owns fixed buffers of VVU_MSG_MAX bytes. All of the rx ones are
 * always with the device, except while gd_vvu_recv() copies one out.
 */
#include "gd/vvu.h"

#include "abi/errno.h"
#include "drv.h"

#define VECTOR_CONFIG 0
#define VECTOR_WORK   1
#define VECTOR_TARGET 2 /* and up: targets[] */

#define DOORBELL_WIDTH 2 /* any will do; the multiplier is at least this */

_Static_assert(sizeof(struct vhost_user_msg) <= VVU_MSG_MAX, "every message fits a buffer");

static int fail(struct gd_vvu *v, const char *what, int err)
{
	gd_log(v->dev.p, GD_LOG_ERROR, "vvu %02x: %s (%d)", v->dev.pci.bdf, what, err);
	return err;
}

/* Interrupts: both vectors, the queues' being set with them. */
static int open_vectors(struct gd_vvu *v, const struct gd_vvu_conf *conf)
{
	int err = gd_msix_set(&v->dev.pci, VECTOR_CONFIG, conf->config_irq, 0);

	if (!err)
		err = gd_msix_set(&v->dev.pci, VECTOR_WORK, conf->work_irq, 0);
	if (!err)
		err = gd_msix_enable(&v->dev.pci);
	if (!err)
		err = gd_virtio_config_vector(&v->dev, VECTOR_CONFIG);
	return err;
}

static int open_queues(struct gd_vvu *v)
{
	const struct gd_platform *p = v->dev.p;
	int err = gd_virtio_queue(&v->dev, &v->rxq, VVU_QUEUE_RX, GD_VVU_RX_BUFFERS, VECTOR_WORK);

	if (!err)
		err = gd_virtio_queue(&v->dev, &v->txq, VVU_QUEUE_TX, GD_VVU_TX_BUFFERS,
				      VECTOR_WORK);
	if (err)
		return err;
	if (!v->rx_buffers)
		v->rx_buffers = p->alloc(p->ctx, GD_VVU_RX_BUFFERS * VVU_MSG_MAX, 4096);
	if (!v->tx_buffers)
		v->tx_buffers = p->alloc(p->ctx, GD_VVU_TX_BUFFERS * VVU_MSG_MAX, 4096);
	if (!v->rx_buffers || !v->tx_buffers)
		return -ENOMEM;
	v->tx_free = (uint32_t)BIT_ULL(v->txq.vq.size) - 1;
	return 0;
}

/* The device's own capabilities; their sizes follow from max_queues. */
static int open_caps(struct gd_vvu *v)
{
	const struct gd_virtio_cap *doorbell =
		gd_virtio_find_cap(&v->dev, VIRTIO_PCI_CAP_DOORBELL_CFG, 0);
	const struct gd_virtio_cap *notification =
		gd_virtio_find_cap(&v->dev, VIRTIO_PCI_CAP_NOTIFICATION_CFG, 0);
	const struct gd_virtio_cap *shm =
		gd_virtio_find_cap(&v->dev, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, VVU_SHMID_MEMORY);

	v->max_queues =
		gd_virtio_config_read(&v->dev, offsetof(struct vvu_config, max_vhost_queues), 4);
	if (v->max_queues == 0 || v->max_queues > VVU_MAX_VHOST_QUEUES)
		return -EIO;
	if (!doorbell || doorbell->extra < DOORBELL_WIDTH)
		return -EIO;
	v->doorbell_multiplier = doorbell->extra;
	v->doorbells = gd_virtio_map_cap(&v->dev, doorbell,
					 (uint64_t)(VVU_NUM_DOORBELLS(v->max_queues) - 1) *
							 doorbell->extra +
						 DOORBELL_WIDTH);
	v->notifications =
		gd_virtio_map_cap(&v->dev, notification, sizeof(struct vvu_notification_cfg));
	if (!v->doorbells || !v->notifications || !shm)
		return -EIO;
	v->shm_size = shm->length;
	v->shm_gpa = gd_pci_gpa(&v->dev.pci, shm->bar, shm->offset, shm->length);
	if (!v->shm_gpa)
		return -EIO;
	for (unsigned int i = 0; i < sizeof(v->uuid); i += 4) {
		uint32_t word =
			gd_virtio_config_read(&v->dev, offsetof(struct vvu_config, uuid) + i, 4);

		__builtin_memcpy(v->uuid + i, &word, sizeof(word));
	}
	return 0;
}

static int post_rx(struct gd_vvu *v, unsigned int i)
{
	const struct gd_platform *p = v->dev.p;

	return vq_drv_add(&v->rxq.vq, p->to_gpa(p->ctx, v->rx_buffers + i * VVU_MSG_MAX),
			  VVU_MSG_MAX, true, i);
}

int gd_vvu_open(struct gd_vvu *v, const struct gd_platform *p, const struct gd_vvu_conf *conf)
{
	int err = gd_virtio_open(&v->dev, p, conf->bdf);

	v->work_irq = conf->work_irq;
	__builtin_memset(v->targets, 0, sizeof(v->targets));
	__builtin_memset(v->kick_vectors, 0, sizeof(v->kick_vectors));
	if (err)
		return fail(v, "cannot open the device", err);
	err = gd_virtio_negotiate(&v->dev,
				  VIRTIO_FEATURE(F_EVENT_IDX) | VIRTIO_FEATURE(F_RING_PACKED) |
					  VIRTIO_FEATURE(F_IN_ORDER) |
					  BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT) |
					  BIT_ULL(VVU_F_RESIDENT_BIT),
				  VIRTIO_FEATURE(F_VERSION_1));
	if (err)
		return fail(v, "features cannot be negotiated", err);
	v->explicit_offsets = v->dev.features & BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT);
	v->offset_flags = v->explicit_offsets && v->dev.features & BIT_ULL(VVU_F_RESIDENT_BIT);
	err = open_caps(v);
	if (err)
		return fail(v, "a capability is missing or makes no sense", err);
	err = open_vectors(v, conf);
	if (err)
		return fail(v, "MSI-X cannot be set up", err);
	err = open_queues(v);
	if (err)
		return fail(v, "queues cannot be set up", err);
	gd_virtio_driver_ok(&v->dev);
	for (unsigned int i = 0; i < v->rxq.vq.size; i++)
		post_rx(v, i);
	gd_virtqueue_kick(&v->rxq);
	return 0;
}

/* The MSI-X vector that raises irq at cpu, or -errno. One that no queue uses is programmed anew. */
static int target_vector(struct gd_vvu *v, unsigned int irq, unsigned int cpu)
{
	int err, slot = -1;

	if (irq >= GD_IRQ_MAX || cpu > UINT8_MAX)
		return -EINVAL;
	if (irq == v->work_irq && cpu == 0)
		return VECTOR_WORK;
	for (int i = 0; i < GD_VVU_TARGETS_MAX && VECTOR_TARGET + i < v->dev.pci.msix_size; i++) {
		const struct gd_vvu_target *t = &v->targets[i];

		if (t->programmed && t->irq == irq && t->cpu == cpu)
			return VECTOR_TARGET + i;
		if (!t->queues && (slot < 0 || (v->targets[slot].programmed && !t->programmed)))
			slot = i;
	}
	if (slot < 0)
		return -ENOSPC;
	v->targets[slot].programmed = false;
	err = gd_msix_set(&v->dev.pci, VECTOR_TARGET + (unsigned int)slot, irq, cpu);
	if (err)
		return err;
	v->targets[slot] = (struct gd_vvu_target){ .irq = (uint8_t)irq,
						   .cpu = (uint8_t)cpu,
						   .programmed = true };
	return VECTOR_TARGET + slot;
}

static int write_kick_vector(struct gd_vvu *v, unsigned int queue, uint16_t number)
{
	const size_t select = offsetof(struct vvu_notification_cfg, notification_select);
	const size_t vector = offsetof(struct vvu_notification_cfg, notification_msix_vector);

	/* Our device takes both fields at once, which saves an exit; others want field by field. */
	drv_write(v->dev.p, v->notifications, select, 4, (uint32_t)number << 16 | queue);
	if (drv_read(v->dev.p, v->notifications, vector, 2) == number)
		return 0;
	drv_write(v->dev.p, v->notifications, select, 2, queue);
	drv_write(v->dev.p, v->notifications, vector, 2, number);
	return drv_read(v->dev.p, v->notifications, vector, 2) == number ? 0 : -EIO;
}

static void count_target(struct gd_vvu *v, unsigned int vector, int by)
{
	if (vector >= VECTOR_TARGET)
		v->targets[vector - VECTOR_TARGET].queues += (uint16_t)by;
}

int gd_vvu_bind_kick_to(struct gd_vvu *v, unsigned int queue, unsigned int irq, unsigned int cpu)
{
	int vector, err;

	if (queue >= v->max_queues)
		return -EINVAL;
	vector = target_vector(v, irq, cpu);
	if (vector < 0 || vector == v->kick_vectors[queue])
		return vector < 0 ? vector : 0;
	err = write_kick_vector(v, queue, (uint16_t)vector);
	count_target(v, v->kick_vectors[queue], -1);
	v->kick_vectors[queue] = err ? 0 : (uint8_t)vector;
	count_target(v, v->kick_vectors[queue], 1);
	return err;
}

int gd_vvu_unbind_kick(struct gd_vvu *v, unsigned int queue)
{
	int err;

	if (queue >= v->max_queues)
		return -EINVAL;
	err = write_kick_vector(v, queue, VIRTIO_MSI_NO_VECTOR);
	if (err)
		return err;
	count_target(v, v->kick_vectors[queue], -1);
	v->kick_vectors[queue] = 0;
	return 0;
}

int gd_vvu_bind_kick(struct gd_vvu *v, unsigned int queue)
{
	return gd_vvu_bind_kick_to(v, queue, v->work_irq, 0);
}

uint32_t gd_vvu_status(struct gd_vvu *v)
{
	return gd_virtio_config_read(&v->dev, offsetof(struct vvu_config, status), 4);
}

void gd_vvu_set_up(struct gd_vvu *v, bool up)
{
	gd_virtio_config_write(&v->dev, offsetof(struct vvu_config, status), 4,
			       up ? VVU_STATUS_BACKEND_UP : 0);
}

bool gd_vvu_pending(struct gd_vvu *v)
{
	return vq_drv_pending(&v->rxq.vq);
}

bool gd_vvu_arm(struct gd_vvu *v)
{
	return vq_drv_arm(&v->rxq.vq);
}

/* A message as the device wrote it: header, then exactly the payload that the header announces. */
static int copy_message(struct vhost_user_msg *msg, const uint8_t *from, uint32_t written)
{
	*msg = (struct vhost_user_msg){ 0 };
	if (written < sizeof(msg->hdr))
		return -EPROTO;
	__builtin_memcpy(&msg->hdr, from, sizeof(msg->hdr));
	if (msg->hdr.size > VHOST_USER_PAYLOAD_MAX || msg->hdr.size != written - sizeof(msg->hdr))
		return -EPROTO;
	__builtin_memcpy(&msg->payload, from + sizeof(msg->hdr), msg->hdr.size);
	return 1;
}

static void take_offset_flags(struct gd_vvu *v, struct vhost_user_msg *msg)
{
	struct vhost_user_region *r = &msg->payload.mem_reg.region;
	unsigned int num = 1;

	v->resident = 0;
	if (!v->offset_flags || (msg->hdr.flags & VHOST_USER_REPLY_MASK))
		return;
	if (msg->hdr.request == VHOST_USER_SET_MEM_TABLE) {
		r = msg->payload.mem.regions;
		num = msg->payload.mem.num_regions;
		if (num > VHOST_USER_TABLE_REGIONS_MAX)
			return;
	} else if (msg->hdr.request != VHOST_USER_ADD_MEM_REG) {
		return;
	}
	for (unsigned int i = 0; i < num; i++) {
		if (r[i].mmap_offset & VVU_OFFSET_RESIDENT)
			v->resident |= BIT_U32(i);
		r[i].mmap_offset &= ~VVU_OFFSET_FLAGS_MASK;
	}
}

int gd_vvu_recv(struct gd_vvu *v, struct vhost_user_msg *msg)
{
	uint64_t cookie;
	uint32_t written;
	int got = vq_drv_get_used(&v->rxq.vq, &cookie, &written);

	if (got <= 0)
		return got;
	got = copy_message(msg, v->rx_buffers + cookie * VVU_MSG_MAX, written);
	if (got < 0)
		return fail(v, "the device wrote something that is no message", got);
	post_rx(v, (unsigned int)cookie);
	gd_virtqueue_kick(&v->rxq);
	take_offset_flags(v, msg);
	return 1;
}

int gd_vvu_send(struct gd_vvu *v, const struct vhost_user_msg *msg)
{
	const struct gd_platform *p = v->dev.p;
	uint32_t written, len = (uint32_t)sizeof(msg->hdr) + msg->hdr.size;
	uint64_t cookie;
	uint8_t *buffer;
	unsigned int i;
	int got;

	if (msg->hdr.size > VHOST_USER_PAYLOAD_MAX)
		return -EINVAL;
	while ((got = vq_drv_get_used(&v->txq.vq, &cookie, &written)) > 0)
		v->tx_free |= BIT_U32(cookie);
	if (got < 0)
		return got;
	if (!v->tx_free)
		return -EAGAIN;
	i = (unsigned int)__builtin_ctz(v->tx_free);
	buffer = v->tx_buffers + i * VVU_MSG_MAX;
	__builtin_memcpy(buffer, msg, len);
	got = vq_drv_add(&v->txq.vq, p->to_gpa(p->ctx, buffer), len, false, i);
	if (got)
		return got;
	v->tx_free &= ~BIT_U32(i);
	gd_virtqueue_kick(&v->txq);
	return 0;
}

static void ring_doorbell(struct gd_vvu *v, unsigned int index)
{
	drv_write(v->dev.p, v->doorbells, (size_t)index * v->doorbell_multiplier, DOORBELL_WIDTH,
		  0);
}

void gd_vvu_call(struct gd_vvu *v, unsigned int queue)
{
	if (queue < v->max_queues)
		ring_doorbell(v, VVU_DOORBELL_CALL(queue));
}

void gd_vvu_err(struct gd_vvu *v, unsigned int queue)
{
	if (queue < v->max_queues)
		ring_doorbell(v, VVU_DOORBELL_ERR(v->max_queues, queue));
}

bool gd_vvu_needs_reset(struct gd_vvu *v)
{
	return gd_virtio_status(&v->dev) & VIRTIO_STATUS_DEVICE_NEEDS_RESET;
}
