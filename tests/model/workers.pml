/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two workers that mail each other and sleep, one of which pauses the other (backend-vm/core/pause.h, mailbox.h): is a
 * wake-up lost, and is a paused worker ever found at work?
 *
 *   worker 0  posts mail, takes mail, sleeps; PAUSES times it makes worker 1 stand, empties its mailbox for it, gives it
 *             a ring with work, and lets it go on
 *   worker 1  posts mail, takes mail, does the rings' work, sleeps
 *
 * A worker that still has something to send may be woken by a driver's kick at any time; apart from that only by wake(),
 * which is an interrupt or an eventfd, modelled in ring.pml, and just a flag here. A worker that waits for ever, asleep
 * or for the other's acknowledgement, is an invalid end state; the other errors are assertions.
 *
 * Mistakes that must be found: the macros MISTAKE_*.
 */
#define TSO_CPUS  2
#define TSO_DEPTH 2

#ifndef MAILS
#define MAILS 2
#endif
#ifndef PAUSES
#define PAUSES 1
#endif
#define SLEEPS 2 /* of each worker, then it spins */

#define TSO_WORDS 8
#define HEAD	  0 /* + worker that posts */
#define ASLEEP	  2 /* + worker */
#define REQUEST	  4
#define ACK	  5
#define READ	  6 /* of worker 1: what it has taken, or worker 0 for it */
#define GIVEN	  7 /* rings with work that worker 1 was given */

#include "tso.pml"

bool woken_up[2]; /* what wake() leaves behind */
bool changing;	  /* worker 0 works on what is worker 1's */
bool touching;	  /* worker 1 does */
bool over;	  /* worker 0 has sent and received all, and changes nothing any more */

/* worker_wake(): one barrier, then once per sleep is enough. */
inline wake_other(self)
{
#ifndef MISTAKE_WAKER_NO_FENCE
	FENCE(self);
#endif
	seen_asleep = LOAD(self, ASLEEP + 1 - self);
	if
	:: (seen_asleep & 1) && seen_asleep != woken ->
		FENCE(self);
		atomic { woken = seen_asleep; woken_up[1 - self] = true }
	:: else
	fi;
	seen_asleep = 0
}

inline post(self)
{
	if
	:: sent < MAILS ->
		sent++;
		store(self, HEAD + self, sent);
		wake_other(self)
	:: true
	fi
}

#ifdef MISTAKE_EVENTS_TAKEN_LATE
#define TAKE_EVENTS(self) woken_up[self] = false
#else
#define TAKE_EVENTS(self) skip
#endif

/* Asleep until wake(), a kick, or another event. */
#define WAIT(self, event) \
	TAKE_EVENTS(self); \
	if \
	:: atomic { woken_up[self] -> woken_up[self] = false } \
	:: sent < MAILS \
	:: event \
	fi

#ifdef MISTAKE_ASLEEP_WITHOUT_NUMBER
#define NUMBER(n) ((n) & 1)
#else
#define NUMBER(n) (n)
#endif

#ifdef MISTAKE_NO_SECOND_LOOK
#define LOOK(nothing) true
#else
#define LOOK(nothing) (nothing)
#endif

/* worker_fall_asleep() up to the look */
inline fall_asleep(self)
{
	naps++;
	store(self, ASLEEP + self, NUMBER(naps));
#ifndef MISTAKE_SLEEPER_NO_FENCE
	FENCE(self)
#endif
}

/* worker_rise() without the gate */
inline rise(self)
{
	naps++;
	store(self, ASLEEP + self, NUMBER(naps));
#ifndef MISTAKE_RISER_NO_FENCE
	FENCE(self)
#endif
}

/* switch_pause() and switch_resume() with a change in between */
inline pause_and_change()
{
	store(0, REQUEST, request + 1);
#ifndef MISTAKE_PAUSE_NO_FENCE
	FENCE(0);
#endif
	(LOAD(0, ASLEEP + 1) & 1) || LOAD(0, ACK) == request + 1;
	changing = true;
	assert(!touching);
	taken_for = LOAD(0, READ);
	assert(taken_for <= sent);
	store(0, READ, sent);
	got = LOAD(0, HEAD + 1);
	store(0, GIVEN, pauses + 1);
	changing = false;
	store(0, REQUEST, request + 2);
	atomic { pauses++; request = request + 2; taken_for = 0 };
#ifndef MISTAKE_RESUME_WITHOUT_WAKE
	wake_other(0)
#endif
}

proctype worker0()
{
	byte sent, got, naps, woken, seen_asleep, request, pauses, taken_for;

	do
	:: true ->
		got = LOAD(0, HEAD + 1);
		if
		:: sent < MAILS && (got == MAILS || sent <= got) -> post(0)
		:: sent < MAILS -> post(0)
		:: pauses < PAUSES -> pause_and_change()
		:: woken_up[0] -> woken_up[0] = false /* events are looked at without waiting, too */
		:: naps < 2 * SLEEPS ->
			fall_asleep(0);
			if
			:: LOOK(LOAD(0, HEAD + 1) == got) -> WAIT(0, pauses < PAUSES || got == MAILS)
			:: else
			fi;
			rise(0)
		:: LOAD(0, HEAD + 1) != got
		:: sent == MAILS && got == MAILS && pauses == PAUSES -> break
		fi
	od;
	over = true;
	/* worker_leave() */
	naps++;
	store(0, ASLEEP + 0, NUMBER(naps | 1))
}

/* worker_gate() and worker_stand() */
inline gate()
{
	do
	:: asked = LOAD(1, REQUEST);
		if
		:: asked == seen -> break
		:: else
		fi;
		if
		:: asked & 1 ->
			store(1, ACK, asked);
			LOAD(1, REQUEST) != asked;
			seen = asked + 1
		:: else -> seen = asked
		fi
	od;
	asked = 0
}

proctype worker1()
{
	byte sent, naps, woken, seen_asleep, seen, asked, head, done;

	do
	:: true ->
		gate();
		touching = true;
		assert(!changing);
		head = LOAD(1, HEAD + 0);
		if
		:: LOAD(1, READ) != head -> store(1, READ, head)
		:: else
		fi;
		done = LOAD(1, GIVEN);
		post(1);
		assert(!changing);
		touching = false;
		if
		:: naps < 2 * SLEEPS ->
			fall_asleep(1);
			if
			:: LOOK(LOAD(1, HEAD + 0) == LOAD(1, READ) && LOAD(1, REQUEST) == seen) ->
				WAIT(1, over && LOAD(1, READ) == MAILS && done == PAUSES)
			:: else
			fi;
			rise(1)
		:: sent < MAILS || LOAD(1, HEAD + 0) != LOAD(1, READ) || LOAD(1, REQUEST) != seen ||
			(over && LOAD(1, READ) == MAILS && done == PAUSES)
		fi;
		if
		:: sent == MAILS && over && LOAD(1, READ) == MAILS && done == PAUSES -> break
		:: else
		fi
	od;
	naps++;
	store(1, ASLEEP + 1, NUMBER(naps | 1))
}

init {
	atomic {
		run drain(0);
		run drain(1);
		run worker0();
		run worker1()
	}
}
