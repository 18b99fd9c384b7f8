/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Turns: how the ports that a worker serves share its time. What a port gets does not depend on how many rings
 * it has, how long its frames are, how many copies of them are made or what has to be done for their receivers.
 *
 * Each burst costs its port an estimate of the cycles it takes: so much per frame and per byte, and what copies to
 * several receivers and offloads in software add. An account per port sums that up. A port that has something to send
 * and is more than TURN_LEAD ahead of the poorest one that has so too waits for the next round: deficit round robin
 * with the debts noted instead of the deficits. Idleness earns nothing: a port that comes back begins where the
 * poorest is.
 *
 * While more than one port sends (in the last TURN_ROUNDS rounds), a port that had a costly burst lately gets about
 * TURN_COST per round: its bursts are cut, and when that is used up its other rings come first in the next rounds. What
 * others wait for it, TURN_LEAD and one round, is less than a ring of 256 entries takes up of short frames at a fair
 * share. A port alone has neither waits nor cuts, only its account kept: one addition per burst.
 *
 * What a port sends through a mailbox costs it at the worker that takes it from there, too. While rings of that worker
 * have frames, mail of a port that is TURN_MAIL_LEAD ahead of the poorest of them stays in the mailbox until the next
 * round; otherwise all of it is taken.
 *
 * A port with a rate limit (rate.h) that has used it up has nothing to send as far as all this goes, and
 * neither has one whose frames wait for room in a mailbox (mail.c).
 */
#ifndef VVU_CORE_TURNS_H
#define VVU_CORE_TURNS_H

#include <stdbool.h>

#include "abi/base.h"

struct worker;
struct port;
struct vring;

/* Cycles, about: of a frame without its bytes, and of 4 bytes. */
#define TURN_FRAME	       80u
#define TURN_BYTES(n)	       ((n) / 4)
#define TURN_COST	       16000u /* of one port's bursts of a round: one of long frames is within it */
#define TURN_LEAD	       8000u
#define TURN_MAIL_LEAD	       65536u
#define TURN_HEAVY	       4000u /* of a burst: one of short frames is not */
#define TURN_ROUNDS	       4096u /* that a port counts as sending after its last burst, or twice that */
#define TURN_COPY(len)	       (TURN_FRAME + TURN_BYTES(len))
#define TURN_BURST(num, bytes) ((num)*TURN_FRAME + TURN_BYTES(bytes))

/* Of one port, at one worker. */
struct turn {
	uint64_t spent;
	uint64_t began; /* spent, at the beginning of the round */
	uint32_t round; /* for which the rest was decided */
	bool waits;
	bool bounded;	 /* it has so much per round */
	bool cut;	 /* that was used up */
	uint16_t served; /* vrings that have to wait until the others have had theirs */
};

struct turns {
	uint32_t round;
	uint32_t ports;	  /* that have something to send this round */
	uint32_t sending; /* ... did since the last change of age */
	uint32_t sent;	  /* ... in the age before */
	uint32_t age_rounds;
	uint32_t heavy; /* had a costly burst since the last change of age */
	uint32_t were_heavy;
	bool contended;	  /* more than one of those */
	bool busy;	  /* some port had something to send in the last round */
	uint64_t poorest; /* of those that had something to send in the last round */
};

/* The ring has a burst: whether its port may have it now. */
bool turn_begin(struct worker *w, const struct vring *vr);

/* Puts back what of the burst the port may not have this time. Only if turn_cuts(). */
void turn_cut(struct worker *w);
bool turn_cuts(const struct worker *w, const struct port *port);

/* What the port's burst has cost. */
void turn_charge(struct worker *w, const struct port *port, uint64_t cost);
/* What is left of the burst, of so many bytes, has gone out: takes it from the port's limits. */
void turn_charge_limit(struct worker *w, uint64_t bytes);

/* Nothing of the port's burst could be sent: nobody waits for it in this round. */
void turn_passes(struct worker *w, const struct port *port);

/* There is mail of the port: whether it may be taken now. */
bool turn_mail(struct worker *w, const struct port *port);

/* The round is over. */
void turns_end(struct worker *w);

#endif
