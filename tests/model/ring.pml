/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One virtqueue between a driver and a device worker, both of which sleep: is any wake-up lost?
 *
 *   driver    publishes buffers in bursts, decides after each burst whether to kick; takes used ones; when there is nothing
 *             to do it spins, or asks for a call, looks again and waits for the call eventfd
 *   worker    polls, gives back, decides whether to call; when there is nothing to do it goes on spinning, or asks for
 *             a kick, looks again, and sleeps: rt_idle() and ring0_idle of the appliance, or epoll_wait() of vvu-backend
 *   irq       raises the kick's interrupt on the worker's CPU where interrupts are on: the handler sets a flag
 *
 * Processors have store buffers (tso.pml). A lost wake-up is an invalid end state: the driver waits for ever, the worker
 * sleeps. Names of functions are those of vq_drv.c, vq_dev.c, irq.c and start.S.
 *
 * Rings (one of): SPLIT_FLAGS, SPLIT_EVENT, PACKED_FLAGS, PACKED_EVENT. Ring positions are 2 bits wide here, 16 there;
 * ENTRIES buffers pass, so that they wrap.
 * Variants: HOSTED (epoll instead of interrupts), ALWAYS (the worker never sleeps), DEFERRED (vq_dev_call_hint() and
 * vq_dev_call_settle() instead of vq_dev_call_needed()), SHADOW_LOST (interrupts come in between sti and hlt), LIMITED (now
 * and then the port has used up its rate limit: its ring is left alone, not armed, and the worker sleeps until a timer).
 * Mistakes that must be found: the macros MISTAKE_*.
 */
#define TSO_CPUS 2
#define TSO_DEPTH 2

#define DRIVER 0
#define DEVICE 1

#ifndef ENTRIES
#define ENTRIES 5
#endif
#define SIZE	2 /* of the ring */
#define BITS(v) ((v) & 3)

#if defined(PACKED_FLAGS) || defined(PACKED_EVENT)
#define PACKED
#endif

#ifdef PACKED
/*
 * DESC + i: the flags of descriptor i, AVAIL bit and USED bit. An event area is one 32-bit word here: its flags, and in
 * DESC mode offset and wrap counter. Positions are counted from the start: the lowest bit is the offset in the
 * ring, the next one the inverted wrap counter.
 */
#define TSO_WORDS    4
#define DESC	     0
#define AVAIL_BIT    1
#define USED_BIT     2
#define SLOT(pos)    (DESC + ((pos) & 1))
#define WRAP(pos)    (1 - (((pos) >> 1) & 1))
#define MAKE_AVAIL(pos) (WRAP(pos) -> AVAIL_BIT : USED_BIT)
#define MAKE_USED(pos)	(WRAP(pos) -> AVAIL_BIT | USED_BIT : 0)
#define KICK_EVENT   2
#define CALL_EVENT   3
#define SEES_AVAIL(pos) (LOAD(DEVICE, SLOT(pos)) == MAKE_AVAIL(pos))
#define SEES_USED(pos)	(LOAD(DRIVER, SLOT(pos)) == MAKE_USED(pos))
#define PUBLISH_AVAIL(pos) store(DRIVER, SLOT(pos), MAKE_AVAIL(pos))
#define PUBLISH_USED(pos)  store(DEVICE, SLOT(pos), MAKE_USED(pos))
#else
#define TSO_WORDS    4
#define AVAIL_IDX    0
#define USED_IDX     1
#define KICK_EVENT   2 /* avail_event, or used.flags */
#define CALL_EVENT   3 /* used_event, or avail.flags */
#define SEES_AVAIL(pos) (LOAD(DEVICE, AVAIL_IDX) != BITS(pos))
#define SEES_USED(pos)	(LOAD(DRIVER, USED_IDX) != BITS(pos))
#define PUBLISH_AVAIL(pos) store(DRIVER, AVAIL_IDX, BITS((pos) + 1))
#define PUBLISH_USED(pos)  store(DEVICE, USED_IDX, BITS((pos) + 1))
#endif

/* What stands in an event word: the flags' "no", or a position. Packed event areas have both. */
#define NO	4
#if defined(PACKED_EVENT)
/* virtio 1.2 §2.8.10; an event of the round before lies SIZE behind. Bytes here, 16 bits there. */
#define BYTE(v) ((v) & 255)
#define ASK(pos) (((pos) & 1) | (WRAP(pos) << 1))
#define AT(event, new) (((event) & 1) - (((event) >> 1) == WRAP(new) -> 0 : SIZE))
#define KICK_WANTED(event, new, old) \
	((event) != NO && BYTE(((new) & 1) - AT(event, new) - 1) < BYTE((new) - (old)))
/* vq_packed_call_wanted(): positions over two laps of the ring. */
#define LAPS	   (2 * SIZE)
#define POS(event) (((event) & 1) + (((event) >> 1) -> 0 : SIZE))
#define CALL_WANTED(event, new, old) \
	((event) != NO && \
	 ((new) - (old) >= LAPS || BITS(new) - POS(event) + (BITS(new) > POS(event) -> 0 : LAPS) <= (new) - (old)))
#elif defined(SPLIT_EVENT)
/* "Moving an index from old to new passes event", virtio 1.2 §2.7.7.2. */
#ifdef MISTAKE_EVENT_ONE_LATE
#define ASK(pos) BITS((pos) + 1)
#else
#define ASK(pos) BITS(pos)
#endif
#define KICK_WANTED(event, new, old) (BITS((new) - (event) - 1) < BITS((new) - (old)))
#ifdef MISTAKE_UNCALLED_WRAPS
#define CALL_WANTED(event, new, old) KICK_WANTED(event, new, old)
#else
/* vq_split_call_wanted(): vq->uncalled does not wrap. */
#define CALL_WANTED(event, new, old) ((new) - (old) >= 4 || KICK_WANTED(event, new, old))
#endif
#else
#define ASK(pos) 0
#define KICK_WANTED(event, new, old) ((event) != NO)
#define CALL_WANTED(event, new, old) ((event) != NO)
#endif
#ifdef SPLIT_EVENT
#define DONT(pos) BITS((pos) - 1) /* as far from being passed as can be; there is no "never" */
#else
#define DONT(pos) NO
#endif

#include "tso.pml"

bool kick;	   /* the kick's eventfd, or its interrupt pending at the local APIC */
bool call;	   /* the call's eventfd */
bool irqs_on;	   /* IF of the worker's CPU */
bool at_hlt;	   /* between sti and hlt, where interrupts get in only if the shadow of sti is lost */
bool step_over;	   /* the handler returns behind the hlt that it has interrupted */
bool halted;
bool irq_flag;	   /* rt_irq_flags[] */
bool irq_any;	   /* rt_irq_any */

#ifdef LIMITED
#define LIMITS 2 /* how often */
bool timer; /* the local APIC's, or the timeout of epoll_wait() */
bool due;

proctype deadline()
{
end_deadline:
	do
	:: atomic {
		timer && irqs_on ->
		timer = false;
		due = true;
		irq_any = true;
		halted = false;
		if
		:: at_hlt -> step_over = true
		:: else
		fi
	   }
	od
}
#endif

proctype irq()
{
end_irq:
	do
	:: atomic {
		kick && irqs_on ->
		kick = false;
		irq_flag = true;
		irq_any = true;
		halted = false;
#ifndef MISTAKE_NO_STEP_OVER
		if
		:: at_hlt -> step_over = true
		:: else
		fi
#endif
	   }
	od
}

/* A notification goes through the kernel or leaves the VM: the store buffer is empty by then. */
inline notify(cpu, what)
{
	FENCE(cpu);
	what = true
}

/* ---- driver ---- */

/* vq_drv_kick_needed() */
inline drv_kick()
{
	if
	:: sent != kicked ->
#ifndef MISTAKE_DRIVER_NO_FENCE_AFTER_INDEX
		FENCE(DRIVER);
#endif
		event = LOAD(DRIVER, KICK_EVENT);
		if
		:: KICK_WANTED(event, sent, kicked) -> notify(DRIVER, kick)
		:: else
		fi;
		atomic { kicked = sent; event = 0 }
	:: else
	fi
}

/* vq_drv_arm(), then the wait for the eventfd, then take it. */
inline drv_sleep()
{
	store(DRIVER, CALL_EVENT, ASK(taken));
#ifndef MISTAKE_DRIVER_NO_FENCE_BEFORE_LOOK
	FENCE(DRIVER);
#endif
#ifdef MISTAKE_DRIVER_NO_SECOND_LOOK
	if
	:: true -> atomic { call -> call = false }
	fi;
#else
	if
	:: SEES_USED(taken)
	:: else -> atomic { call -> call = false }
	fi;
#endif
	store(DRIVER, CALL_EVENT, DONT(taken))
}

proctype driver()
{
	byte sent, taken, kicked, event;

	do
	:: sent < ENTRIES && sent - taken < SIZE ->
		PUBLISH_AVAIL(sent);
		sent++;
		if
		:: drv_kick()
		:: sent - kicked < SIZE && sent < ENTRIES /* more in this burst */
		fi
	:: taken < sent ->
		drv_kick();
		if
		:: SEES_USED(taken) -> taken++
		:: else ->
			if
			:: SEES_USED(taken) /* spins */
			:: drv_sleep()
			fi
		fi
	:: taken == ENTRIES -> break
	od
}

/* ---- worker ---- */

#ifdef DEFERRED
/* vq_dev_call_hint(): no barrier. A "yes" stands, a "no" is asked again after the round's fence. */
inline dev_call()
{
	event = LOAD(DEVICE, CALL_EVENT);
	if
	:: CALL_WANTED(event, last, called) ->
		notify(DEVICE, call);
		called = last
	:: else
	fi;
	event = 0
}

/* vq_dev_fence() and vq_dev_call_settle(), before the worker looks for work again. */
inline dev_settle()
{
	if
	:: last != called ->
#ifndef MISTAKE_SETTLE_WITHOUT_FENCE
		FENCE(DEVICE);
#endif
		event = LOAD(DEVICE, CALL_EVENT);
		if
		:: CALL_WANTED(event, last, called) -> notify(DEVICE, call)
		:: else
		fi;
		atomic { called = last; event = 0 }
	:: else
	fi
}
#else
/* vq_dev_call_needed() */
inline dev_call()
{
#ifndef MISTAKE_DEVICE_NO_FENCE_AFTER_INDEX
	FENCE(DEVICE);
#endif
	event = LOAD(DEVICE, CALL_EVENT);
	if
	:: CALL_WANTED(event, last, called) -> notify(DEVICE, call)
	:: else
	fi;
	atomic { called = last; event = 0 }
}

inline dev_settle()
{
	skip
}
#endif

/* Sleeps until a kick; the label is where a worker may be when all is done. */
#ifdef HOSTED
inline idle()
{
	skip;
end_idle:
#ifdef LIMITED
	if
	:: atomic { kick -> kick = false }
	:: atomic { timer -> timer = false }
	fi
#else
	atomic { kick -> kick = false }
#endif
}

#define TAKE_IRQS kick = false /* events are looked at without waiting */
#else
#ifdef SHADOW_LOST
inline sti_hlt()
{
	atomic { irqs_on = true; at_hlt = true };
	atomic {
		halted = !step_over;
		step_over = false;
		at_hlt = false
	}
}
#else
inline sti_hlt()
{
	atomic { irqs_on = true; halted = true }
}
#endif

/* rt_idle(), ring0_idle and ring0_wait. */
inline idle()
{
	irq_any = false;
	do
	:: irq_flag -> break
#ifdef LIMITED
	:: due -> break
#endif
	:: else ->
#ifdef MISTAKE_LOOK_BEFORE_CLI
		irqs_on = true;
#endif
		if
		:: irq_any -> break
		:: else ->
			sti_hlt();
end_idle:
			!halted;
			irqs_on = false
		fi
	od;
	irqs_on = false
}

/* rt_irq_window() and rt_irq_take(): what comes while polling. */
inline irq_window()
{
	irqs_on = true;
	irqs_on = false;
	irq_flag = false
}

#define TAKE_IRQS irq_flag = false
#endif

/* vq_dev_kick_enable(): true when there is work already. */
inline dev_arm()
{
	store(DEVICE, KICK_EVENT, ASK(last));
#ifndef MISTAKE_DEVICE_NO_FENCE_BEFORE_LOOK
	FENCE(DEVICE);
#endif
#ifdef MISTAKE_DEVICE_NO_SECOND_LOOK
	work = false
#else
	work = SEES_AVAIL(last)
#endif
}

inline dev_sleep()
{
	TAKE_IRQS;
	dev_arm();
#ifdef MISTAKE_TAKE_IRQS_LATE
	TAKE_IRQS;
#endif
	if
	:: work
	:: else -> idle()
	fi;
	work = false;
	store(DEVICE, KICK_EVENT, DONT(last));
	TAKE_IRQS
}

#ifdef LIMITED
/* worker_arm() without a ring that is limited, and the deadline of poller_sleep(). Others' kicks end the sleep, too. */
inline limited_sleep()
{
	TAKE_IRQS;
#ifndef MISTAKE_LIMITED_WITHOUT_DEADLINE
	timer = true;
#endif
	idle();
	atomic { timer = false; due = false };
	TAKE_IRQS
}
#endif

proctype worker()
{
	byte last, called, event, batch, limits;
	bool work;

	store(DEVICE, KICK_EVENT, DONT(0));
end_poll:
	do
	:: SEES_AVAIL(last) ->
		PUBLISH_USED(last);
		last++;
		batch++;
		if
		:: dev_call(); batch = 0
		:: batch < SIZE && SEES_AVAIL(last) /* more in this burst */
		fi
	:: !SEES_AVAIL(last) && last != called -> dev_settle()
#ifndef ALWAYS
	:: !SEES_AVAIL(last) && last == called -> dev_sleep()
#ifdef LIMITED
	:: limits < LIMITS && last == called -> limits++; limited_sleep()
#endif
#ifndef HOSTED
	:: kick -> irq_window()
#endif
#endif
	od
}

init {
	byte unused;

	atomic {
		run drain(DRIVER);
		run drain(DEVICE);
		run driver();
		run worker();
#ifndef HOSTED
		run irq();
#ifdef LIMITED
		run deadline()
#endif
#endif
	}
}
