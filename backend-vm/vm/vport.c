// SPDX-License-Identifier: BSD-2-Clause
#include "vport.h"

#include "cpu.h"
#include "rt/rt.h"

/* Messages taken of one port before the data path gets its turn. */
#define MESSAGES_PER_TURN 8

/* Lines about one port in a second, which all its front-end can provoke: a console is slow. */
#define LOG_LINES 10
#define LOG_NS	  UINT64_C(1000000000)

/* ---- core/be.h ---- */

static int op_send(void *ctx, const struct vhost_user_msg *msg)
{
	struct vport *vp = ctx;
	int ret = gd_vvu_send(&vp->dev, msg);

	if (ret && ret != -EAGAIN)
		vp->dead = true;
	return ret;
}

static void *op_window_begin(void *ctx, const struct vhost_user_region *region, unsigned int index,
			     const char **why)
{
	struct vport *vp = ctx;
	uint64_t offset = region->mmap_offset;
	void *window;

	if (!vp->dev.explicit_offsets) {
		/* Back to back in message order, each behind as much as its file has before it
		 * (abi/vvu.h). */
		if (index == 0)
			vp->classic_pos = 0;
		if (region->mmap_offset > vp->dev.shm_size)
			goto outside;
		offset = vp->classic_pos + region->mmap_offset;
		vp->classic_pos = offset + region->memory_size;
	}
	if (offset > vp->dev.shm_size || region->memory_size > vp->dev.shm_size - offset)
		goto outside;
	window = vp->p->window_begin(vp->p->ctx, vp->dev.shm_gpa + offset, region->memory_size);
	if (!window)
		*why = "no room in the page tables for a region";
	else if (vp->dev.resident & BIT_U32(index))
		touch_add(&vp->touch, window, region->memory_size);
	return window;

outside:
	*why = "a region lies outside the shared-memory resource";
	return NULL;
}

static int op_window_step(void *ctx, void *window)
{
	struct vport *vp = ctx;

	int ret = vp->p->window_step(vp->p->ctx, window);

	if (ret > 0)
		touch_ready(&vp->touch, window);
	return ret;
}

static void op_window_end(void *ctx, void *window, uint64_t size)
{
	struct vport *vp = ctx;

	touch_del(&vp->touch, window);
	vp->p->window_end(vp->p->ctx, window);
	cpu_window_ended();
}

/*
 * The device holds the eventfd already. Only transmit rings (odd, virtio 1.2 §5.1.2) are ever waited for: the kick
 * of a receive ring says that there are more buffers, which nobody sleeps for.
 */
static int op_bind_kick(void *ctx, unsigned int queue, bool present, const char **why)
{
	struct vport *vp = ctx;

	/* With several CPUs, when it is known which one will wait for it. */
	if (!present || !(queue & 1) || vp->sw->num_workers > 1)
		return 0;
	*why = "the device does not bind its notification";
	return gd_vvu_bind_kick(&vp->dev, queue);
}

/* A device that has not got a vector for each CPU raises the boot CPU's, which passes it on. */
static void op_route_kick(void *ctx, unsigned int queue, unsigned int worker)
{
	struct vport *vp = ctx;

	if (vp->sw->num_workers == 1 ||
	    (worker && !gd_vvu_bind_kick_to(&vp->dev, queue, cpu_kick_irq(vp->port.index), worker)))
		return;
	if (gd_vvu_bind_kick(&vp->dev, queue))
		rt_log(GD_LOG_WARN, "%s: the device does not bind the notification of ring %u",
		       vp->port.name, queue);
	vp->pass_on |= BIT_U32(worker);
}

static void op_hold_kick(void *ctx, unsigned int queue, bool hold, unsigned int worker)
{
	struct vport *vp = ctx;

	if (hold)
		gd_vvu_unbind_kick(&vp->dev, queue);
	else if (vp->sw->num_workers > 1)
		op_route_kick(vp, queue, worker);
	else
		gd_vvu_bind_kick(&vp->dev, queue);
}

void vport_kicked(struct vport *vp)
{
	for (unsigned int i = 1; i < vp->sw->num_workers; i++) {
		if (vp->pass_on & BIT_U32(i))
			rt_cpu_wake(i);
	}
}

/* Doorbells are wired by the device before we see the message. */
static int op_bind(void *ctx, unsigned int queue, bool present, const char **why)
{
	return 0;
}

static int op_bind_backend_req(void *ctx, const char **why)
{
	return 0;
}

static void op_call(void *ctx, unsigned int queue)
{
	struct vport *vp = ctx;

	gd_vvu_call(&vp->dev, queue);
}

static void op_err(void *ctx, unsigned int queue)
{
	struct vport *vp = ctx;

	gd_vvu_err(&vp->dev, queue);
}

/* One more line about the port? *left_out: how many there were not since the last one. */
static bool log_pass(struct vport *vp, unsigned int *left_out)
{
	uint64_t now = rt_now_ns();

	if (now - vp->log_since_ns >= LOG_NS || !vp->log_since_ns) {
		vp->log_since_ns = now;
		vp->log_lines = 0;
	}
	if (vp->log_lines == LOG_LINES) {
		vp->log_left_out++;
		return false;
	}
	vp->log_lines++;
	*left_out = vp->log_left_out;
	vp->log_left_out = 0;
	return true;
}

static void op_log(void *ctx, enum be_log_level level, const char *port, const char *text)
{
	struct vport *vp = ctx;
	unsigned int left_out;
	static const enum gd_log_level levels[] = { GD_LOG_ERROR, GD_LOG_WARN, GD_LOG_INFO,
						    GD_LOG_DEBUG };

	if (level != BE_LOG_DEBUG && !log_pass(vp, &left_out))
		return;
	if (level != BE_LOG_DEBUG && left_out)
		rt_log(levels[level], "%s: %s (%u lines left out)", port, text, left_out);
	else
		rt_log(levels[level], "%s: %s", port, text);
}

static const struct be_ops vvu_ops = {
	.send = op_send,
	.window_begin = op_window_begin,
	.window_step = op_window_step,
	.window_end = op_window_end,
	.bind_kick = op_bind_kick,
	.route_kick = op_route_kick,
	.hold_kick = op_hold_kick,
	.bind_call = op_bind,
	.bind_err = op_bind,
	.bind_backend_req = op_bind_backend_req,
	.call = op_call,
	.err = op_err,
	.log = op_log,
};

/* ---- sessions ---- */

static void vport_begin(struct vport *vp)
{
	if (vp->state != VPORT_CLOSED)
		return;
	vp->state = VPORT_OPEN;
	port_connect(&vp->port);
	rt_log(GD_LOG_DEBUG, "%s: front-end connected", vp->port.name);
}

/* Forgets the front-end; what it still had in the queue is not for the next one. */
static void vport_forget(struct vport *vp)
{
	struct vhost_user_msg msg;

	port_disconnect(&vp->port);
	switch_port_down(vp->sw, &vp->port);
	while (gd_vvu_recv(&vp->dev, &msg) > 0)
		;
}

static void vport_reset(struct vport *vp)
{
	int ret;

	rt_log(GD_LOG_WARN, "%s: the device failed, resetting it", vp->port.name);
	port_disconnect(&vp->port);
	switch_port_down(vp->sw, &vp->port);
	vp->dead = false;
	ret = gd_vvu_open(&vp->dev, vp->p, &vp->conf);
	vp->state = ret ? VPORT_BROKEN : VPORT_CLOSED;
	if (ret)
		rt_log(GD_LOG_ERROR,
		       "%s: the device cannot be opened again (%d), port is out of use",
		       vp->port.name, ret);
	else
		vport_ready(vp);
}

/* Our side ends the session: the device says when that is done. */
static void vport_end(struct vport *vp)
{
	struct text line;

	text_init(&line);
	text_add(&line, "session ended: ");
	text_add(&line, vp->port.reason.s);
	op_log(vp, BE_LOG_WARN, vp->port.name, line.s);
	vp->state = VPORT_ENDING;
	gd_vvu_set_up(&vp->dev, false);
	vport_forget(vp);
	vport_status(vp);
}

void vport_status(struct vport *vp)
{
	uint32_t status;

	if (vp->state == VPORT_BROKEN)
		return;
	if (vp->dead || gd_vvu_needs_reset(&vp->dev)) {
		vport_reset(vp);
		return;
	}
	status = gd_vvu_status(&vp->dev);
	if (status & VVU_STATUS_FRONTEND_UP) {
		if (status & VVU_STATUS_BACKEND_UP)
			vport_begin(vp);
		return;
	}
	/* A message may be here before FRONTEND_UP was seen; BACKEND_UP tells whether its session
	 * still lives. */
	if (status & VVU_STATUS_BACKEND_UP)
		return;
	if (vp->state == VPORT_OPEN)
		rt_log(GD_LOG_DEBUG, "%s: front-end disconnected", vp->port.name);
	vport_forget(vp);
	vp->state = VPORT_CLOSED;
	/* Front-ends that come and go all the time have to wait for each other, not others for them. */
	budget_pay(&vp->budget, rt_now_ns(), 0, false, BUDGET_SESSION_NS);
	vp->ready_due = true;
}

void vport_ready(struct vport *vp)
{
	vp->ready_due = false;
	gd_vvu_set_up(&vp->dev, true);
}

static bool vport_due(const struct vport *vp)
{
	return vp->dead || vp->ready_due || port_busy(&vp->port) || touch_due(&vp->touch);
}

static bool vport_receives(const struct vport *vp)
{
	return vp->state != VPORT_BROKEN && vp->state != VPORT_ENDING;
}

bool vport_arm(struct vport *vp, uint64_t now_ns, uint64_t *deadline_ns)
{
	if (!vport_receives(vp))
		return false;
	if (!budget_ok(&vp->budget, now_ns)) {
		uint64_t at = budget_ok_at(&vp->budget);

		if (at < *deadline_ns)
			*deadline_ns = at;
		return false;
	}
	return vport_due(vp) || gd_vvu_arm(&vp->dev);
}

/* One message, or one slice of what it needs. False: enough for this turn. *least_ns grows by its least price. */
static bool vport_step(struct vport *vp, uint64_t *least_ns)
{
	struct vhost_user_msg msg;
	int ret;

	if (port_busy(&vp->port)) {
		if (port_step(&vp->port))
			vport_end(vp);
		/* One slice, then the other ports. */
		return false;
	}
	ret = gd_vvu_recv(&vp->dev, &msg);
	if (ret < 0)
		vp->dead = true;
	if (ret == 0)
		vp->port.counters[CTR_TOUCHED_KIB] += touch_step(&vp->touch, vp->p) / 1024;
	if (ret <= 0)
		return false;
	*least_ns += budget_message_ns(&msg);
	vport_begin(vp);
	if (port_message(&vp->port, &msg, PORT_FDS_AS_DUE)) {
		vport_end(vp);
		return false;
	}
	return true;
}

bool vport_control(struct vport *vp, bool busy)
{
	uint64_t start, least_ns = 0;

	if (!vport_receives(vp) || !(vport_due(vp) || gd_vvu_pending(&vp->dev)))
		return false;
	start = rt_now_ns();
	if (!budget_ok(&vp->budget, start)) {
		vp->port.counters[CTR_CONTROL_WAITS]++;
		return false;
	}
	if (vp->dead) {
		vport_reset(vp);
		return true;
	}
	if (vp->ready_due)
		vport_ready(vp);
	for (unsigned int i = 0; i < MESSAGES_PER_TURN && vport_step(vp, &least_ns); i++)
		;
	budget_pay(&vp->budget, start, rt_now_ns() - start, busy, least_ns);
	return true;
}

int vport_open(struct vport *vp, const struct vport_conf *conf)
{
	struct port_conf pc = {
		.name = conf->name,
		.index = conf->index,
		.ops = &vvu_ops,
		.ctx = vp,
		.options = conf->options,
	};
	int ret;

	vp->p = conf->p;
	vp->sw = conf->sw;
	vp->conf = (struct gd_vvu_conf){
		.bdf = conf->bdf,
		.config_irq = 2 * conf->index,
		.work_irq = 2 * conf->index + 1,
	};
	ret = gd_vvu_open(&vp->dev, vp->p, &vp->conf);
	if (ret)
		return ret;
	/* Explicit offsets: the device asks for answers the front-end did not ask for. */
	pc.ack_always = vp->dev.explicit_offsets;
	pc.mem_slots = vp->dev.explicit_offsets;
	pc.inflight = vp->dev.explicit_offsets;
	port_init(&vp->port, &pc);
	vp->state = VPORT_CLOSED;
	return 0;
}
