/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight region of a session (abi/inflight.h): where a back-end notes how far it is in each
 * ring, so that the next one can go on there. The proxy makes it, keeps the fd, and zeroes slots; it
 * does not map or read it.
 */
#ifndef HOST_PROXY_INFLIGHT_H
#define HOST_PROXY_INFLIGHT_H

#include <stdint.h>

#include "abi/inflight.h"
#include "abi/vhost_user.h"

/* A sealed memfd for that many rings, zeroed; or -errno. */
int inflight_make(uint32_t rings);
/* SET_INFLIGHT_FD for it. */
void inflight_message(struct vhost_user_msg *msg, uint32_t rings);
/* The ring starts anew, where SET_VRING_BASE says. 0 or -errno. */
int inflight_zero(int fd, uint32_t ring);

#endif
