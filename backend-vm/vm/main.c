// SPDX-License-Identifier: BSD-2-Clause
/*
 * The appliance: the switch in a VM of its own, one port per virtio-vhost-user device.
 *
 * Ring 3 on every vCPU. The boot CPU does what is in this file and is worker 0; the others are further workers
 * (cpu.c). Interrupts are off except where the loop lets them in: while sleeping, and now and then while
 * polling. They only raise flags; the flag of a device's configuration interrupt is why its status is read at
 * all.
 *
 * While traffic flows a round touches memory only: no exits, but the doorbells of receivers that want to be called.
 * Messages are seen in memory, too. What only an interrupt tells is that a front-end has gone; so interrupts are let in
 * while polling only if some port with a front-end has been quiet since the last time.
 */
#include "core/poll.h"
#include "core/stats.h"
#include "cpu.h"
#include "rt/rt.h"
#include "vport.h"

#define VIRTIO_VENDOR	  0x1af4
#define VIRTIO_MODERN	  0x1040
#define VIRTIO_MODERN_END 0x1100

#define ROUNDS_PER_CONTROL 16 /* between two looks at the control channels and the clock */
#define IRQ_WINDOW_NS                                                                              \
	UINT64_C(20000000) /* between two times that interrupts are let in while polling, ... */
#define IRQ_WINDOW_MAX_NS UINT64_C(100000000) /* ... at most */
#define STATS_EVERY_NS	  UINT64_C(50000000)
#define CTRL_IDLE_NS	  UINT64_C(100000000) /* a port that is ending is looked at this often */

struct appliance {
	const struct gd_platform *p;
	struct be_options options;
	struct be_switch *sw;
	struct stats_page *page;
	struct poller poller;
	unsigned int num;
	unsigned int bdfs[BE_PORTS_MAX];
	struct vport *ports[BE_PORTS_MAX];
	uint64_t next_window_ns, last_window_ns, woken_ns;
	uint64_t window_ns; /* doubles while nothing comes of it */
	bool polling;	    /* there was a window since it slept */
	bool soon;	    /* the next one is to come soon */
	uint64_t activity[BE_PORTS_MAX];
	uint64_t next_stats_ns;
};

static struct appliance app;

/* ---- finding devices ---- */

/* Devices with an id of the drafts' or of the user's choice are known by their doorbells. */
static bool has_doorbells(const struct gd_platform *p, unsigned int bdf)
{
	static struct gd_pci_dev dev;

	if (gd_pci_open(&dev, p, bdf))
		return false;
	for (unsigned int i = 0; i < dev.num_caps; i++) {
		if (dev.caps[i].cfg_type == VIRTIO_PCI_CAP_DOORBELL_CFG)
			return true;
	}
	return false;
}

static int found(void *arg, unsigned int bdf, uint16_t vendor, uint16_t device)
{
	struct appliance *a = arg;

	if (vendor != VIRTIO_VENDOR || device < VIRTIO_MODERN || device >= VIRTIO_MODERN_END)
		return 0;
	if (device != VIRTIO_MODERN + VIRTIO_ID_VHOST_USER && !has_doorbells(a->p, bdf))
		return 0;
	if (a->num == BE_PORTS_MAX) {
		rt_log(GD_LOG_WARN, "more than %u virtio-vhost-user devices: the rest is not used",
		       BE_PORTS_MAX);
		return 1;
	}
	a->bdfs[a->num++] = bdf;
	return 0;
}

/* Ports are named by names=, or p00, p01, ... in the order of their devices: a device does not know its port's name. */
static void name_port(const struct appliance *a, unsigned int i, char name[BE_PORT_NAME_MAX + 1])
{
	if (i < a->options.num_names)
		rt_snprintf(name, BE_PORT_NAME_MAX + 1, "%s", a->options.names[i]);
	else
		rt_snprintf(name, BE_PORT_NAME_MAX + 1, "p%02u", i);
}

static void *need(size_t size, size_t align)
{
	void *mem = rt_alloc(size, align);

	if (!mem) {
		rt_log(GD_LOG_ERROR, "out of memory: give the VM more (32 MiB is enough for 32 "
				     "ports, 64 MiB for 8 CPUs)");
		rt_exit(1);
	}
	return mem;
}

/* RDRAND where there is one; else the moment of boot, which nobody outside knows to the cycle. */
static uint64_t random_seed(void)
{
	uint32_t a = 1, b, c = 0, d;
	uint64_t v = rt_tsc();
	unsigned char ok = 0;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (c & BIT_U32(30)) {
		uint64_t r;

		__asm__ volatile("rdrand %0; setc %1" : "=r"(r), "=qm"(ok)::"cc");
		if (ok)
			v ^= r;
	}
	return v * UINT64_C(0x9e3779b97f4a7c15);
}

static void fail(const char *text)
{
	rt_log(GD_LOG_ERROR, "%s", text);
	rt_exit(1);
}

static void open_ports(struct appliance *a)
{
	const char *names[BE_PORTS_MAX];
	struct text error;

	for (unsigned int i = 0; i < a->num; i++) {
		char name[BE_PORT_NAME_MAX + 1];
		struct vport_conf conf = { name, i, a->bdfs[i], a->p, &a->options, a->sw };
		struct vport *vp = need(sizeof(*vp), 64);

		name_port(a, i, name);
		if (vport_open(vp, &conf)) {
			rt_log(GD_LOG_ERROR, "port %s: device %02x.%u cannot be used", name,
			       a->bdfs[i] >> 3, a->bdfs[i] & 7);
			rt_exit(1);
		}
		a->ports[i] = vp;
		names[i] = vp->port.name;
		switch_add_port(a->sw, &vp->port);
	}
	if (be_options_check(&a->options, names, a->num, &error))
		fail(error.s);
	if (a->options.num_names > a->num)
		fail("names=: more names than devices");
	if (switch_init(a->sw, &a->options, random_seed(), &error))
		fail(error.s);
}

static void announce_stats(struct appliance *a)
{
	a->page = need(stats_bytes(a->num, a->sw->num_workers), 4096);
	stats_page_init(a->sw, a->page);
	rt_stats_announce(a->page);
}

/* ---- the loop ---- */

/*
 * Flags of interrupts that came in. Those of work interrupts have done their service by waking us. True: some
 * were in vain.
 */
static bool take_irqs(struct appliance *a, bool polling)
{
	bool any = false;

	for (unsigned int i = 0; i < a->num; i++) {
		struct vport *vp = a->ports[i];

		if (rt_irq_take(vp->conf.work_irq)) {
			vport_kicked(vp);
			any |= worker_kicked(&a->sw->workers[0], &vp->port, polling);
		}
		if (rt_irq_take(vp->conf.config_irq))
			vport_status(vp);
	}
	return any;
}

static bool control(struct appliance *a, bool busy)
{
	bool work = false;

	for (unsigned int i = 0; i < a->num; i++)
		work |= vport_control(a->ports[i], busy);
	return work;
}

/* True when something came while kicks were being armed, or when some port cannot sleep long. */
static bool pending(struct appliance *a, uint64_t now, uint64_t *deadline)
{
	bool ending = false;

	for (unsigned int i = 0; i < a->num; i++) {
		if (vport_arm(a->ports[i], now, deadline))
			return true;
		ending |= a->ports[i]->state == VPORT_ENDING;
	}
	if (ending && *deadline > now + CTRL_IDLE_NS)
		*deadline = now + CTRL_IDLE_NS;
	return false;
}

static void check_ending(struct appliance *a)
{
	for (unsigned int i = 0; i < a->num; i++) {
		if (a->ports[i]->state == VPORT_ENDING)
			vport_status(a->ports[i]);
	}
}

/* True when every port that has a front-end shows by traffic or messages that it is there. */
static bool all_active(struct appliance *a)
{
	bool all = true;

	for (unsigned int i = 0; i < a->num; i++) {
		const struct port *port = &a->ports[i]->port;
		uint64_t sum = switch_counter(a->sw, port, CTR_RX_FRAMES) +
			       switch_counter(a->sw, port, CTR_TX_FRAMES) +
			       switch_counter(a->sw, port, CTR_MESSAGES);
		bool active = sum != a->activity[i];

		a->activity[i] = sum;
		all &= active || a->ports[i]->state == VPORT_CLOSED;
	}
	return all;
}

static void irq_window(struct appliance *a, uint64_t now, bool worked)
{
	bool active = all_active(a);
	/* Somebody may flood us with kicks, so a window comes from time to time in any case. */
	bool check = worked && now >= a->last_window_ns + KICKS_CHECK_NS;

	if (!a->soon && !check && (active || now < a->woken_ns + IRQ_WINDOW_NS)) {
		a->next_window_ns = now + IRQ_WINDOW_NS;
		return;
	}
	rt_irq_window();
	/* The first time since it slept kicks may come that were asked for. */
	a->soon = !a->polling && (a->soon || check);
	a->soon |= take_irqs(a, a->polling);
	a->polling = true;
	a->last_window_ns = now;
	a->window_ns = a->window_ns < IRQ_WINDOW_MAX_NS ? a->window_ns * 2 : IRQ_WINDOW_MAX_NS;
	if (active)
		a->window_ns = IRQ_WINDOW_NS;
	a->next_window_ns = now + (a->soon ? KICKS_WINDOW_NS : a->window_ns);
}

/* What is due by the clock while polling. */
static void timed(struct appliance *a, uint64_t now, bool worked)
{
	switch_set_time(a->sw, now);
	if (now >= a->next_window_ns)
		irq_window(a, now, worked);
	if (now >= a->next_stats_ns) {
		a->next_stats_ns = now + STATS_EVERY_NS;
		cpu_stats(a->sw);
		check_ending(a);
	}
}

static void sleep_until_work(struct appliance *a, uint64_t now)
{
	struct worker *w = &a->sw->workers[0];
	uint64_t deadline;

	take_irqs(a, a->polling);
	if (!poller_sleep(&a->poller, w, now, &deadline))
		return;
	if (!pending(a, now, &deadline) && worker_fall_asleep(w)) {
		cpu_stats(a->sw);
		rt_idle(deadline);
		worker_rise(w);
	}
	worker_disarm(w);
	now = rt_now_ns();
	a->window_ns = IRQ_WINDOW_NS;
	a->woken_ns = now;
	switch_set_time(a->sw, now);
	a->soon = take_irqs(a, false);
	a->polling = false;
	a->next_window_ns = now + (a->soon ? KICKS_WINDOW_NS : IRQ_WINDOW_NS);
	check_ending(a);
	poller_work(&a->poller, now);
}

static _Noreturn void run(struct appliance *a)
{
	uint64_t now = rt_now_ns();
	unsigned int rounds = 0;
	bool worked = false;

	poller_init(&a->poller, &a->options, now);
	a->window_ns = IRQ_WINDOW_NS;
	for (;;) {
		bool work = switch_poll(a->sw) > 0;

		worked |= work;
		if (++rounds < ROUNDS_PER_CONTROL && (work || poller_spins(&a->poller)))
			continue;
		rounds = 0;
		now = rt_now_ns();
		timed(a, now, worked);
		if (control(a, worked) || worked)
			poller_work(&a->poller, now);
		else
			sleep_until_work(a, now);
		worked = false;
	}
}

int rt_main(const char *cmdline)
{
	struct appliance *a = &app;
	struct text error;
	unsigned int cpu;

	a->p = rt_platform();
	be_options_init(&a->options);
	if (be_options_line(&a->options, cmdline, &error)) {
		rt_log(GD_LOG_ERROR, "command line: %s", error.s);
		return 1;
	}
	gd_pci_scan(a->p, found, a);
	if (!a->num) {
		rt_printf("appliance: no virtio-vhost-user device found: nothing to serve, "
			  "powering off\n");
		return 0;
	}
	a->sw = switch_make(need(switch_bytes(cpu_count()), 64), cpu_count());
	cpu_open(a->sw);
	open_ports(a);
	announce_stats(a);
	if (cpu_start(a->sw, &a->options, a->page, &cpu)) {
		rt_log(GD_LOG_ERROR, "CPU %u does not start", cpu);
		return 1;
	}
	for (unsigned int i = 0; i < a->num; i++)
		vport_ready(a->ports[i]);
	rt_log(GD_LOG_INFO, "%s: %u ports, %u CPUs, %zu KiB of memory left",
	       a->options.app == BE_APP_ECHO ? "echo" : "switch", a->num, a->sw->num_workers,
	       rt_free_bytes() / 1024);
	run(a);
}
