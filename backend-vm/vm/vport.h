/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port of the appliance: core/be.h over one virtio-vhost-user device.
 *
 *   CLOSED --front-end up, or a message--> OPEN --both status bits clear--> CLOSED (and back-end up again)
 *                                           |
 *                                           +--our own error--> ENDING --both status bits clear--> CLOSED
 *
 * The status register costs an exit, so it is read only when the device's configuration interrupt was taken.
 */
#ifndef BACKEND_VM_VPORT_H
#define BACKEND_VM_VPORT_H

#include "core/budget.h"
#include "core/switch.h"
#include "gd/vvu.h"
#include "touch.h"

enum vport_state {
	VPORT_CLOSED,
	VPORT_OPEN,
	VPORT_ENDING,
	VPORT_BROKEN
};

struct vport {
	struct port port;
	struct gd_vvu dev;
	struct gd_vvu_conf conf;
	const struct gd_platform *p;
	struct be_switch *sw;
	enum vport_state state;
	uint64_t classic_pos; /* classic layout: where the next region of a table lies */
	bool dead;	      /* the device broke its contract: reset it */
	uint32_t pass_on;     /* workers whose kicks raise work_irq */
	struct touch touch;
	struct budget budget;
	bool ready_due; /* the device is to be told that the back-end is there */
	uint64_t log_since_ns;
	unsigned int log_lines, log_left_out; /* since then */
};

struct vport_conf {
	const char *name;
	unsigned int index;
	unsigned int bdf;
	const struct gd_platform *p;
	const struct be_options *options;
	struct be_switch *sw;
};

/* Opens the device and sets up the port, still without back-end up. 0, or -errno (a line was logged). */
int vport_open(struct vport *vp, const struct vport_conf *conf);

/* Tells the device that the back-end is there. */
void vport_ready(struct vport *vp);

/* The configuration interrupt was taken: looks at the device's status. */
void vport_status(struct vport *vp);

/* work_irq was raised: wakes other workers whose kick that may have been. */
void vport_kicked(struct vport *vp);

/* Does what is due on the control channel. True when there was something. busy: frames are being forwarded. */
bool vport_control(struct vport *vp, bool busy);

/*
 * Before sleeping, after arming kicks: asks the device to interrupt for the next message. True when
 * vport_control() has something to do already. No exit. A port that has used up its budget is left alone:
 * *deadline comes down to when it has one again.
 */
bool vport_arm(struct vport *vp, uint64_t now_ns, uint64_t *deadline_ns);

#endif
