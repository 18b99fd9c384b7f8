/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driver of the virtio-vhost-user device: a message channel, doorbells, kick notifications and windows on the
 * front-end's memory. abi/vvu.h has the device's side of the contract.
 *
 * Session life: gd_vvu_set_up(true) -> device sets FRONTEND_UP when a front-end is there -> messages by
 * gd_vvu_recv()/gd_vvu_send() -> the device clears both status bits when it is gone -> the caller forgets everything
 * about the front-end, then gd_vvu_set_up(true) again. A message that arrives before the status change is noticed
 * is legal.
 */
#ifndef VVU_GD_VVU_H
#define VVU_GD_VVU_H

#include "abi/vhost_user.h"
#include "abi/vvu.h"
#include "gd/virtio.h"

#define GD_VVU_RX_BUFFERS 16
#define GD_VVU_TX_BUFFERS 16

/* Different (irq, CPU) pairs that kicks of one device may raise at a time. */
#define GD_VVU_TARGETS_MAX 16

/* Where a kick goes: an MSI-X vector of the device, programmed when it is first used. */
struct gd_vvu_target {
	uint8_t irq;
	uint8_t cpu;
	bool programmed;
	uint16_t queues; /* bound to it */
};

struct gd_vvu {
	struct gd_virtio dev;
	struct gd_virtqueue rxq;
	struct gd_virtqueue txq;
	uint32_t max_queues;
	uint8_t uuid[16];
	uint8_t *doorbells;
	uint32_t doorbell_multiplier;
	uint8_t *notifications;
	uint64_t shm_gpa; /* of the shared-memory resource */
	uint64_t shm_size;
	bool explicit_offsets;
	bool offset_flags; /* VVU_F_RESIDENT with explicit offsets */
	uint32_t
		resident; /* of the message received last: bit i: all pages of its region i are there */
	uint8_t *rx_buffers; /* GD_VVU_RX_BUFFERS * VVU_MSG_MAX */
	uint8_t *tx_buffers;
	uint32_t tx_free; /* bit mask of free tx buffers */
	unsigned int work_irq;
	struct gd_vvu_target targets[GD_VVU_TARGETS_MAX];
	uint8_t kick_vectors[VVU_MAX_VHOST_QUEUES]; /* 0: not bound */
};

/*
 * Opens the device: features, queues, vectors. config_irq is raised when status changes, work_irq by rxq, txq and the
 * kicks that are bound. The device is left with BACKEND_UP clear. 0, or -errno (a log line says more).
 *
 * *v is zeroed before the first time; opening again (after a reset, after a failure) uses the same memory again.
 */
struct gd_vvu_conf {
	unsigned int bdf;
	unsigned int config_irq;
	unsigned int work_irq;
};
int gd_vvu_open(struct gd_vvu *v, const struct gd_platform *p, const struct gd_vvu_conf *conf);

uint32_t gd_vvu_status(struct gd_vvu *v); /* an exit */
void gd_vvu_set_up(struct gd_vvu *v, bool up);

/* Cheap (no exit): true when gd_vvu_recv() has something. */
bool gd_vvu_pending(struct gd_vvu *v);

/*
 * Before sleeping: as gd_vvu_pending(), and the next message will interrupt. gd_vvu_recv() asks for that only
 * when it finds nothing, so whoever stops receiving earlier must arm.
 */
bool gd_vvu_arm(struct gd_vvu *v);

/*
 * Takes one message; flags in the offsets of regions are taken out of it (gd_vvu.resident). 1, 0 (none), -EPROTO (the
 * device wrote something that is no message; reset it).
 */
int gd_vvu_recv(struct gd_vvu *v, struct vhost_user_msg *msg);

/*
 * Sends one message (a reply, or a request on the back-end channel). 0, -EAGAIN when every buffer is in flight,
 * -EINVAL (its size), -EPROTO (the device gave back what it had not got; reset it).
 */
int gd_vvu_send(struct gd_vvu *v, const struct vhost_user_msg *msg);

/*
 * From now on a kick of queue raises irq at a CPU (0: the boot CPU); one that came before and was not delivered yet
 * raises it once. It may be bound to another one at any time: no kick is lost, but one that came meanwhile may still
 * raise the old irq, so whoever polls the ring from now on looks at it after this returns.
 *
 * Lasts until the device is reset, over sessions. A few exits for a queue's first binding and a change, seven for
 * the first one of all to that irq and CPU, none for the same again; so drivers bind the queues they serve, when a
 * front-end gives them a kick. 0, -EINVAL (no such queue or irq), -ENOSPC (too many irqs and CPUs), -EIO.
 */
int gd_vvu_bind_kick_to(struct gd_vvu *v, unsigned int queue, unsigned int irq, unsigned int cpu);
/* The same to work_irq at the boot CPU. */
int gd_vvu_bind_kick(struct gd_vvu *v, unsigned int queue);

/* From now on a kick of queue raises nothing; it is remembered until the queue is bound again. 0, -EINVAL, -EIO. */
int gd_vvu_unbind_kick(struct gd_vvu *v, unsigned int queue);

void gd_vvu_call(struct gd_vvu *v, unsigned int queue);
void gd_vvu_err(struct gd_vvu *v, unsigned int queue);

/* True when a device-side failure needs a reset (DEVICE_NEEDS_RESET); an exit. */
bool gd_vvu_needs_reset(struct gd_vvu *v);

#endif
