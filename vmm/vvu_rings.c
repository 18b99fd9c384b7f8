// SPDX-License-Identifier: BSD-2-Clause
/*
 * Kicks and doorbells of a VVU device.
 *
 * A kick eventfd is bound to the MSI-X vector that the driver wrote for its notification (msix.h);
 * a doorbell's eventfd is an ioeventfd at the doorbell's address. In both directions the kernel
 * does the work.
 *
 * A doorbell write reaches user space only where the ioeventfd is not there: while it is changed
 * (the machine lock makes the write wait, so it signals the new eventfd), when the kernel refused
 * it, or through virtio's PCI_CFG window. A doorbell without an eventfd does nothing.
 *
 * KVM takes an eventfd for one interrupt in the whole host. A front-end that gives one twice breaks a rule; but the VM
 * that served it before may have been killed and not be gone yet, so a kick is tried again for a second before that is
 * said. What the front-end signals meanwhile the dead VM may swallow: therefore it is kicked once when it is attached.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/poke.h"
#include "vmm/vvu_priv.h"

#define BUSY_NS	      UINT64_C(1000000000)
#define BUSY_RETRY_US 2000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vvu_notifications_reset(struct vvu_dev *d)
{
	d->notification_select = 0;
	for (unsigned int i = 0; i < VVU_MAX_VHOST_QUEUES; i++) {
		msix_irq_unbind(&d->vp.msix, &d->kicks[i].irq);
		d->kicks[i].vector = VIRTIO_MSI_NO_VECTOR;
	}
}

void vvu_rings_init(struct vvu_dev *d)
{
	for (unsigned int i = 0; i < VVU_MAX_VHOST_QUEUES; i++) {
		d->kicks[i].fd = -1;
		d->kicks[i].irq.fd = -1;
		d->kicks[i].vector = VIRTIO_MSI_NO_VECTOR;
	}
	for (unsigned int i = 0; i < VVU_DOORBELLS_MAX; i++) {
		d->doorbells[i].fd = -1;
		d->doorbells[i].attached = PCI_BAR_UNMAPPED;
	}
}

/* The kernel's number of the eventfd behind fd, from 1; 0 when it does not say. */
static uint64_t kick_id(int fd)
{
	uint64_t id;

	return fd_eventfd_id(fd, &id) ? 0 : id + 1;
}

static bool kick_known(const struct vvu_dev *d, uint64_t id)
{
	for (unsigned int i = 0; id && i < d->max_queues; i++) {
		if (d->kicks[i].fd >= 0 && d->kicks[i].id == id)
			return true;
	}
	return false;
}

/* Somebody has the eventfd. 0: it will be tried again; -EBUSY: for long enough. */
static int kick_wait(struct vvu_dev *d, struct vvu_kick *kick)
{
	const struct timeval soon = { .tv_usec = BUSY_RETRY_US };
	uint64_t now = now_ns();

	if (!kick->busy_until)
		kick->busy_until = now + BUSY_NS;
	if (now >= kick->busy_until)
		return -EBUSY;
	evtimer_add(d->kick_timer, &soon);
	return 0;
}

/* Binds the kick to its vector, if it has both. */
static int kick_bind(struct vvu_dev *d, struct vvu_kick *kick)
{
	int ret;

	if (kick->fd < 0 || kick->vector == VIRTIO_MSI_NO_VECTOR)
		return 0;
	ret = msix_irq_bind(&d->vp.msix, &kick->irq, kick->vector, kick->fd);
	if (ret == -EBUSY)
		return kick_wait(d, kick);
	kick->busy_until = 0;
	return ret;
}

/* -EBUSY ends the session. */
static void kick_failed(struct vvu_dev *d, const struct vvu_kick *kick, int err)
{
	unsigned int queue = (unsigned int)(kick - d->kicks);

	if (err == -EBUSY)
		vvu_session_end(d, VVU_END_DEVICE,
				"SET_VRING_KICK: queue %u: the eventfd is already in use", queue);
	else
		log_peer(LOG_L_WARN, d->who, "kick of queue %u raises no interrupt: %s", queue,
			 strerror(-err));
}

void vvu_kick_failed(struct vvu_dev *d, struct msix_irq *irq, int err)
{
	struct vvu_kick *kick = container_of(irq, struct vvu_kick, irq);

	if (err == -EBUSY)
		err = kick_wait(d, kick);
	if (err)
		kick_failed(d, kick, err);
}

static void on_kick_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vvu_dev *d = arg;

	pthread_mutex_lock(&d->machine->lock);
	for (unsigned int i = 0; i < d->max_queues; i++) {
		struct vvu_kick *kick = &d->kicks[i];
		int ret;

		if (!kick->busy_until)
			continue;
		msix_irq_unbind(&d->vp.msix, &kick->irq);
		ret = kick_bind(d, kick);
		if (ret)
			kick_failed(d, kick, ret);
		else if (!kick->busy_until)
			poke_eventfd(kick->fd); /* the dead VM may have had a kick meant for us */
	}
	pthread_mutex_unlock(&d->machine->lock);
}

int vvu_rings_timer_init(struct vvu_dev *d)
{
	d->kick_timer = evtimer_new(d->machine->base, on_kick_timer, d);
	return d->kick_timer ? 0 : -ENOMEM;
}

void vvu_rings_timer_free(struct vvu_dev *d)
{
	if (d->kick_timer)
		event_free(d->kick_timer);
	d->kick_timer = NULL;
}

int vvu_kick_set(struct vvu_dev *d, unsigned int queue, int fd)
{
	struct vvu_kick *kick = &d->kicks[queue];
	int ret;

	/* The old one first: the front-end may send the same eventfd again. */
	msix_irq_unbind(&d->vp.msix, &kick->irq);
	fd_close(&kick->fd);
	kick->busy_until = 0;
	if (fd < 0)
		return 0;
	kick->id = kick_id(fd);
	if (kick_known(d, kick->id)) {
		fd_close(&fd);
		return -EBUSY;
	}
	kick->fd = fd;
	ret = kick_bind(d, kick);
	if (ret)
		fd_close(&kick->fd);
	return ret;
}

static void doorbell_detach(struct vvu_dev *d, struct vvu_doorbell *bell)
{
	struct machine *m = d->machine;

	if (bell->attached == PCI_BAR_UNMAPPED)
		return;
	m->ops->ioeventfd_del(m->ctx, bell->attached, bell->fd);
	bell->attached = PCI_BAR_UNMAPPED;
}

static void doorbell_attach(struct vvu_dev *d, unsigned int index)
{
	struct machine *m = d->machine;
	struct vvu_doorbell *bell = &d->doorbells[index];
	uint64_t bar = d->vp.fn.bars[VVU_BAR_REGS].gpa;
	uint64_t at = bar + VVU_DOORBELL_OFF + (uint64_t)index * VVU_DOORBELL_MULTIPLIER;
	int ret;

	if (bell->fd < 0 || bar == PCI_BAR_UNMAPPED)
		return;
	ret = m->ops->ioeventfd_add(m->ctx, at, bell->fd);
	if (ret)
		log_peer(LOG_L_WARN, d->who, "doorbell %u takes the slow way: %s", index,
			 strerror(-ret)); /* doorbell_write() */
	else
		bell->attached = at;
}

int vvu_doorbell_set(struct vvu_dev *d, unsigned int doorbell, int fd)
{
	struct vvu_doorbell *bell = &d->doorbells[doorbell];

	doorbell_detach(d, bell);
	fd_close(&bell->fd);
	bell->fd = fd;
	doorbell_attach(d, doorbell);
	return 0;
}

void vvu_doorbells_move(struct vvu_dev *d)
{
	for (unsigned int i = 0; i < VVU_DOORBELLS_MAX; i++) {
		if (d->doorbells[i].fd < 0)
			continue;
		doorbell_detach(d, &d->doorbells[i]);
		doorbell_attach(d, i);
	}
}

void vvu_rings_clear(struct vvu_dev *d)
{
	for (unsigned int i = 0; i < d->max_queues; i++)
		vvu_kick_set(d, i, -1);
	for (unsigned int i = 0; i < VVU_NUM_DOORBELLS(d->max_queues); i++) {
		if (d->doorbells[i].fd >= 0)
			vvu_doorbell_set(d, i, -1);
	}
}

static void doorbell_write(struct vvu_dev *d, uint64_t offset)
{
	uint64_t index = offset / VVU_DOORBELL_MULTIPLIER;

	if (index >= VVU_NUM_DOORBELLS(d->max_queues) || d->doorbells[index].fd < 0)
		return;
	d->counters.doorbells_slow++;
	poke_eventfd(d->doorbells[index].fd);
}

static void vector_write(struct vvu_dev *d, uint16_t vector)
{
	struct vvu_kick *kick;
	int ret;

	if (d->notification_select >= d->max_queues)
		return;
	kick = &d->kicks[d->notification_select];
	msix_irq_unbind(&d->vp.msix, &kick->irq);
	kick->vector = vector < d->vp.msix.num ? vector : VIRTIO_MSI_NO_VECTOR;
	ret = kick_bind(d, kick);
	if (!ret)
		return;
	kick->vector = VIRTIO_MSI_NO_VECTOR;
	if (ret == -EBUSY)
		kick_failed(d, kick, ret);
}

static struct vvu_notification_cfg notification_get(const struct vvu_dev *d)
{
	struct vvu_notification_cfg cfg = { .notification_select = d->notification_select,
					    .notification_msix_vector = VIRTIO_MSI_NO_VECTOR };

	if (d->notification_select < d->max_queues)
		cfg.notification_msix_vector = d->kicks[d->notification_select].vector;
	return cfg;
}

uint64_t vvu_rings_read(struct vvu_dev *d, uint64_t offset, unsigned int size)
{
	struct vvu_notification_cfg cfg = notification_get(d);
	uint64_t value = 0;

	if (offset < VVU_NOTIFICATION_OFF || offset + size > VVU_NOTIFICATION_OFF + sizeof(cfg))
		return 0;
	memcpy(&value, (uint8_t *)&cfg + (offset - VVU_NOTIFICATION_OFF), size);
	return value;
}

/* One 32-bit write may set both fields; the drafts' field widths work as well. */
void vvu_rings_write(struct vvu_dev *d, uint64_t offset, unsigned int size, uint64_t value)
{
	if (offset >= VVU_DOORBELL_OFF) {
		doorbell_write(d, offset - VVU_DOORBELL_OFF);
		return;
	}
	switch (offset - VVU_NOTIFICATION_OFF) {
	case offsetof(struct vvu_notification_cfg, notification_select):
		if (size >= 2)
			d->notification_select = (uint16_t)value;
		if (size == 4)
			vector_write(d, (uint16_t)(value >> 16));
		break;
	case offsetof(struct vvu_notification_cfg, notification_msix_vector):
		if (size == 2)
			vector_write(d, (uint16_t)value);
		break;
	}
}
