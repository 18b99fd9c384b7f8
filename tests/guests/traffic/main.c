// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reset in mid-traffic: the peer sends requests as fast as they are answered, kicks and rewrites
 * tables, while the guest resets the device at some point in each round and starts anew. Each new
 * session must be whole: no message of the old one in it, none missing.
 */
#include "vvu.h"

#define ROUNDS 30

static unsigned int expected; /* the peer numbers its messages per session */

/* Answers messages until that many have come; returns false when something is wrong. */
static bool serve(unsigned int messages)
{
	struct vhost_user_msg msg;

	while (messages--) {
		if (!vvu_next(&msg))
			return false;
		if (msg.hdr.request == VHOST_USER_SET_VRING_BASE) {
			if (!CHECKF(msg.payload.state.num == expected, "message %u, wanted %u",
				    msg.payload.state.num, expected))
				return false;
			expected++;
		}
		if (msg.hdr.request == VHOST_USER_GET_FEATURES)
			vvu_reply(&msg, FEATURES);
		else if (msg.hdr.flags & VHOST_USER_NEED_REPLY_MASK)
			vvu_reply(&msg, 0);
		gd_vvu_call(&vvu, 0);
	}
	return true;
}

int rt_main(const char *cmdline)
{
	uint32_t seed = 7;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		seed = seed * 1664525 + 1013904223;
		expected = 0;
		if (!vvu_open())
			break;
		gd_vvu_set_up(&vvu, true);
		if (round == 0)
			rt_printf("PEER flood %u\n", ROUNDS);
		if (!serve(1 + (seed >> 24)))
			break;
		/* By way of the reset inside vvu_open(), or by the status bit first. */
		if (seed & 0x800000)
			gd_vvu_set_up(&vvu, false);
	}
	if (vvu_open())
		CHECK(session_up());
	return verdict();
}
