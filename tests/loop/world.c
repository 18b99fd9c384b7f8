// SPDX-License-Identifier: BSD-2-Clause
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#include "vmm/hostlib/fds.h"

void world_init(struct world *w)
{
	struct vvu_dev_conf conf = { .port = WORLD_PORT,
				     .shm_bytes = WORLD_SHM,
				     .max_queues = VVU_MAX_VHOST_QUEUES,
				     .virtio_id = VIRTIO_ID_VHOST_USER };

	memset(w, 0, sizeof(*w));
	w->fds = fake_num_fds();
	fake_init(&w->f, 40);
	fake_proxy_init(&w->proxy);
	conf.link_path = w->proxy.path;
	w->dev = vvu_dev_new(&w->f.m, w->f.pci, &conf);
	assert_non_null(w->dev);
	assert_int_equal(pci_host_assign(w->f.pci), 0);
}

void world_free(struct world *w)
{
	vvu_dev_free(w->dev);
	assert_int_equal(fake_num_slots(&w->f), 1); /* RAM */
	assert_int_equal(fake_num_ioevents(&w->f), 0);
	assert_int_equal(fake_num_irqfds(&w->f), 0);
	assert_int_equal(fake_num_routes(&w->f), 0);
	fake_proxy_free(&w->proxy);
	fake_free(&w->f);
	assert_int_equal(fake_num_fds(), w->fds);
}

void world_link(struct world *w)
{
	const struct link_hello *hello = &w->proxy.in.pkt.body.hello;

	vvu_dev_start(w->dev);
	fake_step(&w->f);
	assert_true(fake_proxy_accept(&w->proxy));
	world_proxy_expect(w, LINK_HELLO);
	assert_int_equal(hello->magic, LINK_MAGIC);
	assert_int_equal(hello->version, LINK_VERSION);
	assert_string_equal(hello->port, WORLD_PORT);
	fake_proxy_notice(&w->proxy, LINK_WELCOME, 0);
	fake_step(&w->f);
}

/* VVU_LOOP_RINGS: the rings to be negotiated, "split" or "packed", with "-inorder" or without. Not set: all offered. */
static uint64_t rings_withheld(void)
{
	const char *rings = getenv("VVU_LOOP_RINGS");
	uint64_t withheld = 0;

	if (rings && !strstr(rings, "packed"))
		withheld |= VIRTIO_FEATURE(F_RING_PACKED);
	if (rings && !strstr(rings, "inorder"))
		withheld |= VIRTIO_FEATURE(F_IN_ORDER);
	return withheld;
}

void world_driver(struct world *w, bool explicit_layout)
{
	const struct gd_vvu_conf conf = { .bdf = WORLD_BDF,
					  .config_irq = WORLD_CONFIG_IRQ,
					  .work_irq = WORLD_WORK_IRQ };

	w->dev->vp.dev.offered &= ~rings_withheld();
	if (!explicit_layout)
		w->dev->vp.dev.offered &= ~BIT_ULL(VVU_F_EXPLICIT_OFFSETS_BIT);
	assert_int_equal(gd_vvu_open(&w->drv, &w->f.platform, &conf), 0);
	for (unsigned int i = 0; i < WORLD_KICKS; i++)
		assert_int_equal(gd_vvu_bind_kick(&w->drv, i), 0);
	assert_int_equal(w->drv.explicit_offsets, explicit_layout);
	assert_int_equal(gd_vvu_status(&w->drv), 0);
	gd_vvu_set_up(&w->drv, true);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), VVU_STATUS_BACKEND_UP);
}

void world_next_session(struct world *w, uint32_t number)
{
	fake_proxy_notice(&w->proxy, LINK_SESSION_UP, number);
	fake_step(&w->f);
	assert_int_equal(gd_vvu_status(&w->drv), VVU_STATUS_BACKEND_UP | VVU_STATUS_FRONTEND_UP);
	assert_true(fake_take_msis(&w->f, WORLD_CONFIG_IRQ) > 0);
	fake_take_msis(&w->f, WORLD_WORK_IRQ);
}

void world_session(struct world *w, bool explicit_layout, uint32_t number)
{
	world_driver(w, explicit_layout);
	world_proxy_expect(w, LINK_BACKEND_UP);
	world_next_session(w, number);
}

static int setup(void **state, bool driver, bool explicit_layout)
{
	struct world *w = calloc(1, sizeof(*w));

	world_init(w);
	world_link(w);
	if (driver)
		world_session(w, explicit_layout, 1);
	*state = w;
	return 0;
}

int world_setup_linked(void **state)
{
	return setup(state, false, false);
}

int world_setup_explicit(void **state)
{
	return setup(state, true, true);
}

int world_setup_classic(void **state)
{
	return setup(state, true, false);
}

int world_teardown(void **state)
{
	world_free(*state);
	free(*state);
	return 0;
}

struct vhost_user_msg world_expect(struct world *w, uint32_t request)
{
	struct vhost_user_msg msg;

	fake_step(&w->f);
	assert_int_equal(gd_vvu_recv(&w->drv, &msg), 1);
	assert_int_equal(msg.hdr.request, request);
	fake_step(&w->f);
	return msg;
}

void world_expect_nothing(struct world *w)
{
	struct vhost_user_msg msg;

	fake_step(&w->f);
	assert_int_equal(gd_vvu_recv(&w->drv, &msg), 0);
}

void world_send(struct world *w, const struct vhost_user_msg *msg, const int *fds,
		unsigned int num_fds)
{
	fake_proxy_message(&w->proxy, 1, 77, msg, fds, num_fds);
	fake_step(&w->f);
}

void world_answer(struct world *w, uint32_t request, uint64_t value)
{
	struct vhost_user_msg msg = msg_u64(request, value);

	msg.hdr.flags |= VHOST_USER_REPLY_MASK;
	assert_int_equal(gd_vvu_send(&w->drv, &msg), 0);
	fake_step(&w->f);
}

void world_proxy_expect(struct world *w, enum link_kind kind)
{
	assert_int_equal(fake_proxy_recv(&w->proxy), kind);
}

void world_expect_end(struct world *w, bool tell, const char *text)
{
	fake_step(&w->f);
	assert_int_equal(w->dev->session.number, 0);
	assert_int_equal(gd_vvu_status(&w->drv), 0);
	assert_true(fake_take_msis(&w->f, WORLD_CONFIG_IRQ) > 0);
	if (!tell)
		return;
	world_proxy_expect(w, LINK_SESSION_DOWN);
	if (!strstr(w->proxy.in.pkt.body.text.text, text))
		fail_msg("\"%s\" is not about \"%s\"", w->proxy.in.pkt.body.text.text, text);
}

void world_negotiate(struct world *w, uint64_t features)
{
	struct vhost_user_msg msg = msg_u64(VHOST_USER_SET_PROTOCOL_FEATURES, features);

	world_send(w, &msg, NULL, 0);
	msg = world_expect(w, VHOST_USER_SET_PROTOCOL_FEATURES);
	assert_int_equal(msg.payload.u64, features);
}

void world_set_table(struct world *w, const struct world_region *regions, unsigned int num)
{
	struct vhost_user_msg msg = msg_empty(VHOST_USER_SET_MEM_TABLE);
	int fds[VHOST_USER_TABLE_REGIONS_MAX];

	msg.hdr.size = VHOST_USER_MEM_TABLE_BYTES(num);
	msg.payload.mem.num_regions = num;
	for (unsigned int i = 0; i < num; i++) {
		msg.payload.mem.regions[i] = (struct vhost_user_region){
			.guest_phys_addr = regions[i].gpa,
			.memory_size = regions[i].bytes,
			.userspace_addr = regions[i].gpa,
			.mmap_offset = regions[i].offset,
		};
		fds[i] = regions[i].fd;
	}
	world_send(w, &msg, fds, num);
}
