/* SPDX-License-Identifier: BSD-2-Clause */
/* A fake machine with one VVU device, the driver library on it, and a fake proxy at the other end
 * of its link. */
#ifndef TESTS_LOOP_WORLD_H
#define TESTS_LOOP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_machine.h"
#include "fake_proxy.h"
#include "gd/vvu.h"
#include "vmm/vvu_priv.h"

#define WORLD_BDF	 8
#define WORLD_PORT	 "port0"
#define WORLD_CONFIG_IRQ 7
#define WORLD_WORK_IRQ	 8
#define WORLD_KICKS	 8
#define WORLD_SHM	 (UINT64_C(1) << 30)
#define MIB		 (UINT64_C(1) << 20)

struct world {
	struct fake_machine f;
	struct fake_proxy proxy;
	struct vvu_dev *dev;
	struct gd_vvu drv;
	unsigned int fds; /* open before anything was made */
};

/* Device and proxy, nothing connected; fails the test unless everything is closed again at the end.
 */
void world_init(struct world *w);
void world_free(struct world *w);
/* Takes the link up to WELCOME. */
void world_link(struct world *w);
/* Opens the driver and sets BACKEND_UP. explicit false: the device does not offer the explicit
 * layout. */
void world_driver(struct world *w, bool explicit_layout);
/* All of it up to FRONTEND_UP of session number; interrupts counted so far are forgotten. */
void world_session(struct world *w, bool explicit_layout, uint32_t number);
/* The same from where the last session ended. */
void world_next_session(struct world *w, uint32_t number);

/* cmocka fixtures: linked; session 1 up with explicit offsets; with the classic layout. */
int world_setup_linked(void **state);
int world_setup_explicit(void **state);
int world_setup_classic(void **state);
int world_teardown(void **state);

/* The next message at the driver, which must be request. */
struct vhost_user_msg world_expect(struct world *w, uint32_t request);
void world_expect_nothing(struct world *w);
/* Sends it as the front-end of session 1, seq 77, and steps. */
void world_send(struct world *w, const struct vhost_user_msg *msg, const int *fds,
		unsigned int num_fds);
/* The driver answers with a u64. */
void world_answer(struct world *w, uint32_t request, uint64_t value);
/* The next packet at the proxy, which must be of kind. */
void world_proxy_expect(struct world *w, enum link_kind kind);
/* The session has ended with a reason that contains text; tell: the proxy was told. Both status
 * bits are clear. */
void world_expect_end(struct world *w, bool tell, const char *text);

/* Features that open everything: as a front-end's SET_PROTOCOL_FEATURES; the driver takes the
 * message. */
void world_negotiate(struct world *w, uint64_t features);

struct world_region {
	uint64_t gpa;
	uint64_t bytes;
	uint64_t offset; /* in the file */
	int fd;
};
/* SET_MEM_TABLE; the message is not taken by the driver. */
void world_set_table(struct world *w, const struct world_region *regions, unsigned int num);

#endif
