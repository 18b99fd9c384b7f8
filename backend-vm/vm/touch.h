/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading windows once before frames come: the first access to a page costs up to 15 us while the hypervisor maps it,
 * which no frame should have to wait for. Only windows whose pages the device says are all there (VVU_OFFSET_RESIDENT)
 * are read: for them it costs nobody memory.
 */
#ifndef BACKEND_VM_TOUCH_H
#define BACKEND_VM_TOUCH_H

#include <stdbool.h>

#include "abi/vhost_user.h"
#include "gd/platform.h"

struct touch {
	unsigned int num;
	struct touch_window {
		void *at;
		uint64_t size;
		bool ready; /* in the page tables */
	} windows[2 * VHOST_USER_MEM_SLOTS_MAX];
};

/* A window that is to be read when it is ready, and until it is taken out again. All of them do nothing for others. */
void touch_add(struct touch *t, void *window, uint64_t size);
void touch_ready(struct touch *t, const void *window);
void touch_del(struct touch *t, const void *window);

/* True while there is something to read. */
bool touch_due(const struct touch *t);

/* Reads a slice. Bytes of the window that has been finished by this, else 0. */
uint64_t touch_step(struct touch *t, const struct gd_platform *p);

#endif
