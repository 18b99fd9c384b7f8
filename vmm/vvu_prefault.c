// SPDX-License-Identifier: BSD-2-Clause
/*
 * Having a front-end's memory there before the driver uses it, so that no frame waits for a page.
 *
 * A region that wants it (all of them with --prefault, else those on hugetlbfs) is populated between its
 * being mapped and its message being given to the driver: the message stays held in the link, and with it
 * whatever the front-end says after it. The main loop does that in pieces of 2 MiB, a few of them per
 * turn, and does not hold the machine lock meanwhile: other ports' messages and the vCPUs go on.
 *
 * A piece is populated by madvise(), not by a load or store: a file that was truncated, or huge pages that
 * are used up, are an error there, which ends its session. If that ends while the lock is not held,
 * the piece finds the zero pages that were put in place, which go within a second.
 *
 * Without --prefault nobody has asked for the time it takes: then it is given up after a while.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <time.h>

#include "vmm/hostlib/log.h"
#include "vmm/pages.h"
#include "vmm/vvu_priv.h"

#define PIECE	   PAGE_2M
#define TURN_NS	   UINT64_C(500000)
#define UNASKED_NS UINT64_C(250000000)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool unfinished(const struct vvu_region *reg)
{
	return reg->populate && !reg->leaving && reg->fd >= 0 &&
	       reg->populated < reg->r.memory_size;
}

static struct vvu_region *next_region(struct vvu_shm *shm)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		if (unfinished(&shm->regions[i]))
			return &shm->regions[i];
	}
	return NULL;
}

static void give_up(struct vvu_shm *shm)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		if (unfinished(&shm->regions[i]))
			shm->regions[i].populate = false;
	}
}

static void failed(struct vvu_dev *d, const struct vvu_region *reg, int err)
{
	if (err == -EOPNOTSUPP) {
		log_debug(d->who, "this kernel cannot populate memory (Linux 5.14 or newer can)");
		give_up(&d->shm);
		return;
	}
	vvu_session_end(d, VVU_END_DEVICE,
			"memory at 0x%llx of the front-end cannot be had (%s): %s",
			(unsigned long long)reg->r.guest_phys_addr + reg->populated, strerror(-err),
			err == -EFAULT ? "its file is too short now, or huge pages are used up"
				       : "the host's memory is used up");
}

/* Where pages are larger than a piece, all of the page has come with it. */
static void populated(struct vvu_region *reg, uint64_t bytes)
{
	uint64_t end = ALIGN_UP(reg->offset + reg->populated + bytes, reg->page) - reg->offset;

	reg->populated = end < reg->r.memory_size ? end : reg->r.memory_size;
}

/* One piece, the lock let go meanwhile. False: nothing left to do. */
static bool populate_piece(struct vvu_dev *d)
{
	uint32_t session = d->session.number;
	struct vvu_region *reg = next_region(&d->shm);
	uint64_t offset, bytes, end;
	int ret;

	if (!reg)
		return false;
	offset = reg->offset;
	end = ALIGN_UP(offset + reg->populated + 1, PIECE) - offset;
	bytes = (end < reg->r.memory_size ? end : reg->r.memory_size) - reg->populated;

	pthread_mutex_unlock(&d->machine->lock);
	ret = pages_populate(d->shm.base + offset + reg->populated, bytes);
	pthread_mutex_lock(&d->machine->lock);

	if (d->session.number != session || !d->session.populating)
		return false;
	reg = next_region(&d->shm); /* others may have left before it */
	if (!reg || reg->offset != offset)
		return true;
	if (ret)
		failed(d, reg, ret);
	else
		populated(reg, bytes);
	return true;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval at_once = { 0 };
	struct vvu_dev *d = arg;
	struct vvu_session *s = &d->session;
	uint64_t now, end = now_ns() + TURN_NS;
	bool more = true;

	pthread_mutex_lock(&d->machine->lock);
	do {
		more = s->populating && populate_piece(d);
		now = now_ns();
	} while (more && now < end);
	if (more && s->populate_until && now > s->populate_until) {
		log_debug(d->who, "not all huge pages are there yet; the rest comes as it is used");
		give_up(&d->shm);
	}
	if (more) {
		evtimer_add(s->populate_timer, &at_once);
	} else if (s->populating) {
		s->populating = false;
		vvu_link_work(d);
	}
	pthread_mutex_unlock(&d->machine->lock);
}

bool vvu_prefault_begin(struct vvu_dev *d)
{
	const struct timeval at_once = { 0 };
	struct vvu_session *s = &d->session;

	if (!next_region(&d->shm))
		return false;
	s->populating = true;
	s->populate_until = d->shm.prefault ? 0 : now_ns() + UNASKED_NS;
	evtimer_add(s->populate_timer, &at_once);
	return true;
}

void vvu_prefault_cancel(struct vvu_dev *d)
{
	d->session.populating = false;
	d->session.carried_out = false;
	event_del_noblock(d->session.populate_timer);
}

static bool resident(const struct vvu_shm *shm, uint64_t offset)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		const struct vvu_region *reg = &shm->regions[i];

		if (reg->offset == offset)
			return reg->populated == reg->r.memory_size;
	}
	return false;
}

void vvu_prefault_mark(const struct vvu_dev *d, struct vhost_user_msg *msg)
{
	struct vhost_user_region *r = &msg->payload.mem_reg.region;
	unsigned int num = 1;

	if (!vvu_explicit(d) || !(d->vp.dev.accepted & BIT_ULL(VVU_F_RESIDENT_BIT)))
		return;
	if (msg->hdr.request == VHOST_USER_SET_MEM_TABLE) {
		r = msg->payload.mem.regions;
		num = msg->payload.mem.num_regions;
	} else if (msg->hdr.request != VHOST_USER_ADD_MEM_REG) {
		return;
	}
	for (unsigned int i = 0; i < num; i++) {
		if (resident(&d->shm, r[i].mmap_offset))
			r[i].mmap_offset |= VVU_OFFSET_RESIDENT;
	}
}

int vvu_prefault_init(struct vvu_dev *d)
{
	d->session.populate_timer = evtimer_new(d->machine->base, on_turn, d);
	return d->session.populate_timer ? 0 : -ENOMEM;
}

void vvu_prefault_free(struct vvu_dev *d)
{
	if (d->session.populate_timer)
		event_free(d->session.populate_timer);
	d->session.populate_timer = NULL;
}
