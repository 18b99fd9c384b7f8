/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mapped memory of front-ends. A front-end can cut the file short at any time; the access that finds out gets SIGBUS,
 * the handler puts private zero pages over the window, and the port's session ends after the round.
 */
#ifndef BACKEND_HOSTED_HWINDOW_H
#define BACKEND_HOSTED_HWINDOW_H

#include "hosted/hport.h"

/* Maps the region at mmap_offset of the file. NULL with *why. The fd stays the caller's. */
void *hwindow_map(struct hport *hp, int fd, const struct vhost_user_region *region,
		  const char **why);
void hwindow_unmap(struct hport *hp, void *ptr);

/* Installs the handler. 0 or -errno. */
int hwindow_catch_sigbus(void);

#endif
