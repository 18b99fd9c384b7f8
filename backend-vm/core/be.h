/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the device logic needs from the world, and all it knows of it: a control channel, windows on the front-end's
 * memory, and notifiers. One set of functions per port; ctx is the implementer's.
 *
 *   backend-vm/vm/      the virtio-vhost-user device does all three
 *   backend-vm/hosted/  a UNIX socket, mmap() and eventfds
 *   tests/unit/         arrays in memory
 *
 * Everything is called by worker 0 (pause.h), the others standing, with these exceptions: call() by any worker; send(),
 * window_step() and log() while others may run.
 */
#ifndef VVU_CORE_BE_H
#define VVU_CORE_BE_H

#include <stdbool.h>

#include "abi/base.h"
#include "abi/errno.h"
#include "abi/vhost_user.h"

enum be_log_level {
	BE_LOG_ERROR,
	BE_LOG_WARN,
	BE_LOG_INFO,
	BE_LOG_DEBUG
};

struct be_ops {
	/* Control channel: sends a reply. 0; -EAGAIN when it cannot be sent now (tried again later); else the channel
	 * is broken and the session about to end. */
	int (*send)(void *ctx, const struct vhost_user_msg *msg);

	/*
	 * Memory windows. begin: the place at which the region (number index of the message in hand) will
	 * appear, or NULL with
	 * *why. step: enters a slice: 1 all of it is there, 0 call again, negative: failed. end: the region is not
	 * used any more; also for a window whose steps failed or were not finished.
	 */
	void *(*window_begin)(void *ctx, const struct vhost_user_region *region, unsigned int index,
			      const char **why);
	int (*window_step)(void *ctx, void *window);
	void (*window_end)(void *ctx, void *window, uint64_t size);

	/*
	 * Notifiers. bind_* take the fd of the message in hand, where fds exist; present is false when the front-end
	 * gave none. 0, or negative with *why when it is unusable (the session ends).
	 */
	int (*bind_kick)(void *ctx, unsigned int queue, bool present, const char **why);
	int (*bind_call)(void *ctx, unsigned int queue, bool present, const char **why);
	int (*bind_err)(void *ctx, unsigned int queue, bool present, const char **why);
	int (*bind_backend_req)(void *ctx, const char **why);
	/*
	 * Kicks of this transmit ring are to wake that worker, which will be the one that waits for them. NULL: they
	 * wake worker 0, which is the only one.
	 */
	void (*route_kick)(void *ctx, unsigned int queue, unsigned int worker);
	/*
	 * Kicks of this ring are to wake nobody, although it keeps its notifier; or they are again to wake the worker
	 * they are for. NULL: there is no such thing.
	 */
	void (*hold_kick)(void *ctx, unsigned int queue, bool hold, unsigned int worker);
	void (*call)(void *ctx, unsigned int queue);
	void (*err)(void *ctx, unsigned int queue);

	/* One line about a port. */
	void (*log)(void *ctx, enum be_log_level level, const char *port, const char *text);
};

#endif
