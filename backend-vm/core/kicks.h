/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kick floods. A front-end can signal its kick eventfd as often as it likes, and each time costs the CPU that
 * waits for it an interrupt. One that kicks in vain, more than KICKS_IN_VAIN times in a second, is held off:
 * its kicks wake nobody any more, and its rings are looked at every millisecond instead, as rings without a
 * kick fd are. After a second, or longer each time it turns out too early, it is let on again.
 *
 * In vain is a kick for which there was no frame, and one that came while the rings were polled, when drivers
 * are told not to kick; of those the interrupt window sees one at most, so each counts for KICKS_SEEN. Kicks
 * that bring work are never too many: somebody asked for them. Messages raise the same interrupt at worker 0,
 * so one that came with a message counts for nothing, KICKS_EXCUSED times a second.
 *
 * An honest driver decides to kick, and may then lose the processor for as long as the machine is busy. So a
 * kick may come before its frame is taken, or long after (KICKS_DUE); and each time the rings were armed, be it
 * for a moment only, one kick per ring may still be on its way while they are polled again.
 */
#ifndef VVU_CORE_KICKS_H
#define VVU_CORE_KICKS_H

#include <stdbool.h>

#include "abi/base.h"

struct be_switch;
struct port;
struct worker;

#define KICKS_IN_VAIN 50u /* a second; a CPU under such a flood hardly gets round to counting */
#define KICKS_EXCUSED 500u
/* Frames taken for which a kick may still come; so many a second are for frames to come. */
#define KICKS_DUE  16u
#define KICKS_SEEN 5u
#define KICKS_WINDOW_NS                                                                            \
	UINT64_C(1000000) /* between looks for interrupts once there was one while polling */
#define KICKS_CHECK_NS                                                                             \
	UINT64_C(2000000000) /* between such looks without a reason: each costs exits */
#define KICKS_HOLD_NS	UINT64_C(1000000000)
#define KICKS_HOLD_MAX	UINT64_C(16000000000)
#define KICKS_FORGET_NS UINT64_C(60000000000)

/* Of one port, by one worker. */
struct kick_watch {
	uint64_t since_ns;
	uint64_t frames; /* taken of the port when it kicked last, and its messages */
	uint64_t messages;
	uint64_t arms; /* how often rings had been armed, and kicks that may still come of it */
	uint32_t late;
	uint32_t due; /* frames that have had no kick */
	uint32_t in_vain;
	uint32_t excused; /* by messages */
};

/* Of one port. */
struct kick_hold {
	bool held;
	uint32_t asked; /* by any worker */
	uint64_t until_ns;
	uint64_t hold_ns;
};

/* The worker was interrupted by a kick of the port. polling: it has not slept since the last look. True: in vain. */
bool worker_kicked(struct worker *w, struct port *port, bool polling);

/* Worker 0, the others standing: holds off ports for which that was asked. */
void switch_hold_kicks(struct be_switch *sw);
/* Worker 0: lets those on again whose time is over. */
void switch_release_kicks(struct be_switch *sw);

#endif
