/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/be.h for programs that have the front-end's memory in one piece and need nothing else of the world: ctx is that
 * memory, offset 0 of the "file"; replies, notifiers and log lines go nowhere. be_stub_say() sends a message that the
 * port has to take.
 */
#ifndef TESTS_BE_STUB_H
#define TESTS_BE_STUB_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/port.h"

static int be_stub_send(void *ctx, const struct vhost_user_msg *msg)
{
	return 0;
}

static void *be_stub_begin(void *ctx, const struct vhost_user_region *r, unsigned int index,
			   const char **why)
{
	return (uint8_t *)ctx + r->mmap_offset;
}

static int be_stub_step(void *ctx, void *window)
{
	return 1;
}

static void be_stub_end(void *ctx, void *window, uint64_t size)
{
}

static int be_stub_bind(void *ctx, unsigned int queue, bool present, const char **why)
{
	return 0;
}

static int be_stub_bind_req(void *ctx, const char **why)
{
	return 0;
}

static void be_stub_notify(void *ctx, unsigned int queue)
{
}

static void be_stub_log(void *ctx, enum be_log_level level, const char *port, const char *text)
{
}

static const struct be_ops be_stub_ops = {
	.send = be_stub_send,
	.window_begin = be_stub_begin,
	.window_step = be_stub_step,
	.window_end = be_stub_end,
	.bind_kick = be_stub_bind,
	.bind_call = be_stub_bind,
	.bind_err = be_stub_bind,
	.bind_backend_req = be_stub_bind_req,
	.call = be_stub_notify,
	.err = be_stub_notify,
	.log = be_stub_log,
};

static inline void be_stub_say(struct port *port, uint32_t request, uint32_t size,
			       const void *payload)
{
	struct vhost_user_msg msg = { .hdr = { request, VHOST_USER_VERSION, size } };
	int ret;

	memcpy(&msg.payload, payload, size);
	ret = port_message(port, &msg, PORT_FDS_AS_DUE);
	while (!ret && port_busy(port))
		ret = port_step(port);
	if (!ret)
		return;
	fprintf(stderr, "request %u refused: %s\n", request, port->reason.s);
	abort();
}

#endif
