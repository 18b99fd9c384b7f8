/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front-end in memory for the tests of backend-vm/core: its "guest memory" is an array, its control channel a
 * function call, its notifiers counters. Rings are driven with vq_drv, or descriptor by descriptor where a test
 * is hostile.
 *
 * Guest-physical, user and "file" addresses all differ, so that a mix-up shows:
 *   guest-physical FAKE_GPA + x      user FAKE_USER + x      mmap_offset x
 */
#ifndef TESTS_UNIT_BE_FAKE_H
#define TESTS_UNIT_BE_FAKE_H

#include "core/switch.h"
#include "vq/vq_drv.h"

#define FAKE_GPA   UINT64_C(0x40000000)
#define FAKE_USER  UINT64_C(0x7f1200000000)
#define FAKE_BYTES (4u << 20)
#define FAKE_RINGS 4 /* that have ring memory */
#define FAKE_QUEUE 256
/* SET_VRING_BASE of an empty packed ring: both wrap counters are 1. */
#define FAKE_PACKED_BASE 0x80008000u

struct fake {
	struct port port;
	uint8_t *mem;
	uint32_t next; /* of fake_alloc() */
	struct vq_drv drv[FAKE_RINGS];
	uint32_t ring_at[FAKE_RINGS]; /* offsets into mem */
	uint64_t features;
	/* what the core did */
	unsigned int calls[PORT_VRINGS], errs[PORT_VRINGS];
	unsigned int kicks_bound[PORT_VRINGS];
	unsigned int kick_owner[PORT_VRINGS];
	bool kick_held[PORT_VRINGS];
	unsigned int replies;
	struct vhost_user_msg reply;
	unsigned int windows, begun, ended;
	char last_log[TEXT_MAX];
	/* what it shall meet */
	unsigned int steps; /* window steps each region takes */
	unsigned int steps_left;
	bool fail_window, fail_step, send_full, send_broken;
};

extern const struct be_ops fake_ops;

/* A port without session; options may be NULL (defaults). */
void fake_init(struct fake *f, const char *name, unsigned int index,
	       const struct be_options *options);
void fake_free(struct fake *f);

/*
 * A switch of ports a, b, c ... (not connected yet) in memory that was not zeroed. Its workers are stepped by the
 * test, in one thread; those from 1 on begin asleep, as far as pausing goes, since they are never in the middle of
 * anything.
 */
struct be_switch *fake_switch(struct fake *ports, unsigned int num, unsigned int workers,
			      const char *options, uint64_t now_ns);
void fake_switch_free(struct be_switch *sw, struct fake *ports, unsigned int num);
/* Tells all workers the time. */
void fake_time(struct be_switch *sw, uint64_t now_ns);
/* A round of one worker. Returns how much there was to do. */
unsigned int fake_step(struct be_switch *sw, unsigned int worker);
/* Rounds of all of them, until there is nothing left to do. */
void fake_finish(struct be_switch *sw);

/* Sends one message through port_message() and port_step() until it is done. Its result. */
int fake_send(struct fake *f, struct vhost_user_msg *msg, unsigned int num_fds);
int fake_u64(struct fake *f, uint32_t request, uint64_t value);
int fake_plain(struct fake *f, uint32_t request);
int fake_state(struct fake *f, uint32_t request, uint32_t index, uint32_t num);
int fake_vring_fd(struct fake *f, uint32_t request, unsigned int index, bool fd);
int fake_addr(struct fake *f, unsigned int index, uint32_t ring_at);
/* One region, or two adjacent halves. */
int fake_mem(struct fake *f, bool halves);

/* All of what QEMU sends until rings 2 * pair and 2 * pair + 1 run, in its order. */
void fake_connect(struct fake *f, uint64_t features);
void fake_start_pair(struct fake *f, unsigned int pair);
/* GET_VRING_BASE, fresh ring memory, KICK. */
void fake_restart_ring(struct fake *f, unsigned int ring);
void fake_disconnect(struct be_switch *sw, struct fake *f);

/* Memory of the front-end: offset, zeroed. */
uint32_t fake_alloc(struct fake *f, uint32_t bytes);
static inline struct gpa fake_gpa(uint32_t at)
{
	return gpa(FAKE_GPA + at);
}

/* Header bytes in front of each frame, as negotiated. */
unsigned int fake_hdr_len(const struct fake *f);

/* Makes a frame available for transmission (ring 1), header and frame in one buffer. hdr NULL: all zero. */
void fake_tx(struct fake *f, const struct virtio_net_hdr *hdr, const void *frame, uint32_t len);
/* Posts num receive buffers of len bytes (ring 0). */
void fake_rx_post(struct fake *f, unsigned int num, uint32_t len);
/* Takes a received frame, merged if need be: its length (header apart), or -1 when there is none. */
int fake_rx(struct fake *f, struct virtio_net_hdr *hdr, uint8_t *frame);
/* Takes back all transmitted buffers: how many. */
unsigned int fake_tx_done(struct fake *f);

#endif
