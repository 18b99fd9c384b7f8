// SPDX-License-Identifier: BSD-2-Clause
#include "cpu.h"

#include "rt/rt.h"

#define ROUNDS_PER_CLOCK 16
#define AWAKE_NS	 UINT64_C(20000000) /* before interrupts are let in without a reason */

struct cpu {
	struct worker *w;
	struct poller poller;
	uint64_t next_window_ns, last_window_ns;
	bool polling;		/* there was a window since it slept */
	bool soon;		/* the next one is to come soon */
	uint32_t windows_ended; /* when it forgot its translations last */
};

static struct cpu cpus[WORKERS_MAX];
static uint32_t windows_ended;
static struct stats_page *stats;
static uint32_t stats_requests;

static void op_wake(void *ctx, unsigned int worker)
{
	rt_cpu_wake(worker);
}

/* Before a worker that stood or slept goes on. */
static void op_resumed(void *ctx, unsigned int worker)
{
	uint32_t ended = __atomic_load_n(&windows_ended, __ATOMIC_RELAXED);

	if (cpus[worker].windows_ended == ended)
		return;
	cpus[worker].windows_ended = ended;
	rt_tlb_flush();
}

void cpu_window_ended(void)
{
	__atomic_store_n(&windows_ended, windows_ended + 1, __ATOMIC_RELAXED);
}

void cpu_stats(struct be_switch *sw)
{
	stats_page_share(sw, stats, &stats_requests);
}

/* Forgets the flags of kicks. True: there was one in vain. */
static bool take_kicks(struct cpu *cpu, bool polling)
{
	struct worker *w = cpu->w;
	bool any = false;

	for (unsigned int i = 0; i < w->sw->num_ports; i++) {
		if (!rt_irq_take(cpu_kick_irq(i)))
			continue;
		any |= worker_kicked(w, w->sw->ports[i], polling);
	}
	return any;
}

/* Soon after a kick in vain, and else now and then, it is looked whether somebody floods us with kicks. */
static void cpu_window(struct cpu *cpu, uint64_t now, bool worked)
{
	if (!cpu->soon && !(worked && now >= cpu->last_window_ns + KICKS_CHECK_NS))
		return;
	rt_irq_window();
	/* The first time since it slept kicks may come that were asked for. */
	cpu->soon = !cpu->polling;
	cpu->soon |= take_kicks(cpu, cpu->polling);
	cpu->polling = true;
	cpu->last_window_ns = now;
	cpu->next_window_ns = now + KICKS_WINDOW_NS;
}

/*
 * A kick that comes after the rings were armed raises the flag, so the flag is forgotten before. One that came
 * earlier has left its work in the ring, where arming finds it.
 */
static void cpu_sleep(struct cpu *cpu, uint64_t now)
{
	struct worker *w = cpu->w;
	uint64_t deadline;

	take_kicks(cpu, cpu->polling);
	if (!poller_sleep(&cpu->poller, w, now, &deadline))
		return;
	cpu_stats(w->sw);
	if (worker_fall_asleep(w)) {
		rt_idle(deadline);
		worker_rise(w);
	}
	worker_disarm(w);
	now = rt_now_ns();
	worker_set_time(w, now);
	cpu->soon = take_kicks(cpu, false);
	cpu->polling = false;
	cpu->next_window_ns = now + (cpu->soon ? KICKS_WINDOW_NS : AWAKE_NS);
	poller_work(&cpu->poller, now);
}

static void cpu_main(void *arg)
{
	struct cpu *cpu = arg;
	unsigned int rounds = 0;
	bool worked = false;

	worker_rise(cpu->w);
	for (;;) {
		bool work = worker_round(cpu->w) > 0;
		uint64_t now;

		worked |= work;
		if (++rounds < ROUNDS_PER_CLOCK && (work || poller_spins(&cpu->poller)))
			continue;
		rounds = 0;
		now = rt_now_ns();
		worker_set_time(cpu->w, now);
		if (now >= cpu->next_window_ns)
			cpu_window(cpu, now, worked);
		if (worked)
			poller_work(&cpu->poller, now);
		else
			cpu_sleep(cpu, now);
		worked = false;
	}
}

unsigned int cpu_count(void)
{
	unsigned int num = rt_cpu_count();

	return num < WORKERS_MAX ? num : WORKERS_MAX;
}

void cpu_open(struct be_switch *sw)
{
	static const struct switch_ops ops = { .wake = op_wake, .resumed = op_resumed };

	switch_set_ops(sw, &ops);
}

int cpu_start(struct be_switch *sw, const struct be_options *options, struct stats_page *page,
	      unsigned int *cpu)
{
	stats = page;
	for (*cpu = 1; *cpu < sw->num_workers; (*cpu)++) {
		struct cpu *c = &cpus[*cpu];
		int ret;

		c->w = &sw->workers[*cpu];
		poller_init(&c->poller, options, rt_now_ns());
		ret = rt_cpu_start(*cpu, cpu_main, c);
		if (ret)
			return ret;
	}
	return 0;
}
