/* SPDX-License-Identifier: BSD-2-Clause */
/* Between session.c (messages) and port.c (what they change). */
#ifndef VVU_CORE_PORT_PRIV_H
#define VVU_CORE_PORT_PRIV_H

#include "core/port.h"

/* What a handler of a message says. ACK_*: answered if the front-end asked for it. */
enum outcome {
	ACK_OK,
	ACK_FAILED,
	REPLIED,
	LATER,
	FAILED
};

static inline bool has(uint64_t features, unsigned int bit)
{
	return features & BIT_ULL(bit);
}

/* Around whatever the workers might see. */
void port_pause(struct port *port);
void port_resume(struct port *port);

/* Notes why the session must end; FAILED. */
enum outcome port_fail(struct port *port, const struct vhost_user_msg *msg, const char *why);
enum outcome port_fail_rule(struct port *port, const struct vhost_user_msg *msg, enum vu_rule rule);

/* Recomputes what the data path sees. */
void port_update(struct port *port);

void vring_start(struct port *port, struct vring *vr);
/* At this back-end for good; where it stopped stays noted for a successor. */
void vring_stop(struct vring *vr);
/* Before a stop that says where: a ring that this back-end has not run is where a predecessor stopped it. */
void vring_find(struct port *port, struct vring *vr);
/*
 * Calls the driver for what it was given last, if that is still to be decided (net_settle()) and wanted: once the ring
 * has stopped nobody can decide it, and whoever starts it next has no reason to call.
 */
void vring_settle(struct port *port, struct vring *vr);
/* Calls the driver of a ring that went on after a predecessor, once it can be called. */
void vring_call_due(struct port *port, struct vring *vr);
/* After a change of addresses or memory: the same ring at its (perhaps new) place, positions kept. */
void vring_move(struct port *port, struct vring *vr);
void port_stop_rings(struct port *port, bool disable);

/* Begins entering windows for msg (mapping.regions: the regions afterwards): LATER or FAILED. */
enum outcome mapping_begin(struct port *port, const struct vhost_user_msg *msg,
			   const struct vhost_user_region *regions, unsigned int num);
/*
 * A slice of it, while workers go on: nobody looks at windows that are being entered. 0 when there is more to do, else
 * what mapping_end() is to be told: 1 done, or negative, failed.
 */
int mapping_step(struct port *port);
/* Puts the windows into place: FAILED, or ACK_OK. */
enum outcome mapping_end(struct port *port, int ret);
/* Withdraws the region that REM_MEM_REG names; rings in it are broken by that. */
void port_unmap(struct port *port, const struct vhost_user_region *region);

#endif
