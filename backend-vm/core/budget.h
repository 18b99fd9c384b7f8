/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a port's control plane may cost the others: messages, windows being entered, front-ends that come and
 * go. All of it happens between worker 0's rounds, and a message makes the other workers stand. So a port has a
 * budget of time: while frames are forwarded it pays BUDGET_FACTOR times what its messages take, in any case a
 * least price (the proxy, the VMM and the kernel have work with them, too), and what is unpaid may be at most
 * BUDGET_BURST_NS. Then its messages stay where they are: the device's queue gets full, the proxy stops reading
 * the front-end's socket.
 *
 * A start of QEMU's with all queue pairs is within the burst; nobody who behaves ever waits.
 */
#ifndef VVU_CORE_BUDGET_H
#define VVU_CORE_BUDGET_H

#include <stdbool.h>

#include "abi/base.h"
#include "proto/vu_check.h"

#define BUDGET_BURST_NS	  UINT64_C(500000000)
#define BUDGET_FACTOR	  10
#define BUDGET_MESSAGE_NS UINT64_C(250000)
#define BUDGET_FD_NS                                                                               \
	UINT64_C(1000000) /* of a message with fds: the VMM and the kernel change things */
#define BUDGET_SESSION_NS UINT64_C(5000000) /* of a front-end's coming and going */
/* Before messages are taken again there is room for a few. */
#define BUDGET_WAKE_NS UINT64_C(2000000)

struct budget {
	uint64_t until; /* all is paid */
};

static inline bool budget_ok(const struct budget *b, uint64_t now_ns)
{
	return b->until < now_ns + BUDGET_BURST_NS;
}

/* When it will be so again. */
static inline uint64_t budget_ok_at(const struct budget *b)
{
	return b->until < BUDGET_BURST_NS ? 0 : b->until - BUDGET_BURST_NS + BUDGET_WAKE_NS;
}

/* busy: somebody's frames were waiting meanwhile. */
static inline void budget_pay(struct budget *b, uint64_t now_ns, uint64_t took_ns, bool busy,
			      uint64_t least_ns)
{
	uint64_t price = busy ? took_ns * BUDGET_FACTOR : took_ns;

	if (b->until < now_ns)
		b->until = now_ns;
	b->until += price > least_ns ? price : least_ns;
}

static inline uint64_t budget_message_ns(const struct vhost_user_msg *msg)
{
	const struct vu_msg_info *info = vu_frontend_info(msg->hdr.request);

	return info && info->fds != VU_FDS_NONE ? BUDGET_FD_NS : BUDGET_MESSAGE_NS;
}

#endif
