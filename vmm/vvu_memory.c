// SPDX-License-Identifier: BSD-2-Clause
/*
 * The messages that change what the window shows: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.
 *
 * Everything is checked before anything changes: the regions against each other (vu_regions_*()),
 * the fds' kind and length. In the explicit layout new regions are placed beside the old ones,
 * which leave when the driver has answered. In the classic layout a new table takes the old one's
 * place at once.
 */
#include <errno.h>
#include <string.h>

#include "vmm/hostlib/fds.h"
#include "vmm/vvu_priv.h"

static int peer_error(const char **why, const char *text)
{
	*why = text;
	return -EPROTO;
}

/* What went wrong while mapping, in words. The front-end's table was fine if it is not for lack of
 * room. */
static int map_error(int err, const char **why)
{
	switch (err) {
	case -ENOSPC:
		return peer_error(why, "the memory does not fit the shared-memory window (shm=)");
	case -EINVAL:
		return peer_error(why, "huge pages need the explicit-offset layout here");
	case -ENOMEM:
		*why = "no memory or mappings left to show the region";
		return 1;
	default:
		*why = "the hypervisor could not show the region";
		return 1;
	}
}

static int check_fd(const struct vhost_user_region *r, int fd, const char **why)
{
	uint64_t need;

	if (__builtin_add_overflow(r->mmap_offset, r->memory_size, &need))
		return peer_error(why, "mmap offset and size wrap");
	return fd_check_memory(fd, need, why) ? -EPROTO : 0;
}

/* The fd is the window's from here on. */
static int add(struct vvu_dev *d, const struct vhost_user_region *r, int *fd, uint64_t at,
	       const char **why)
{
	int ret = vvu_shm_add(&d->shm, r, *fd, at);

	if (ret)
		return map_error(ret, why);
	*fd = -1;
	return 0;
}

static uint32_t new_token(struct vvu_dev *d)
{
	if (++d->session.last_token == 0)
		d->session.last_token = 1;
	return d->session.last_token;
}

/* Regions that stay are those that no request is to remove yet. */
static void leave_all(struct vvu_shm *shm, uint32_t token)
{
	for (unsigned int i = 0; i < shm->num; i++) {
		if (!shm->regions[i].leaving)
			shm->regions[i].leaving = token;
	}
}

/* Takes back what a failed table has added, and lets the old ones stay. */
static void undo(struct vvu_shm *shm, unsigned int added, uint32_t token)
{
	for (unsigned int i = shm->num - added; i < shm->num; i++)
		shm->regions[i].leaving = UINT32_MAX;
	vvu_shm_remove_leaving(shm, UINT32_MAX);
	for (unsigned int i = 0; i < shm->num; i++) {
		if (shm->regions[i].leaving == token)
			shm->regions[i].leaving = 0;
	}
}

static int set_table(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	struct vhost_user_mem_table *table = &p->pkt.body.msg.payload.mem;
	bool explicit = vvu_explicit(d);
	struct vu_regions regions = d->session.regions;
	enum vu_rule rule = vu_regions_set(&regions, table);
	unsigned int i;
	int ret = 0;

	if (rule != VU_RULE_NONE)
		return peer_error(why, vu_rule_text(rule));
	for (i = 0; !ret && i < table->num_regions; i++)
		ret = check_fd(&table->regions[i], p->fds[i], why);
	if (ret)
		return ret;
	if (explicit) {
		*token = new_token(d);
		leave_all(&d->shm, *token);
	} else {
		vvu_shm_clear(&d->shm);
	}
	for (i = 0; i < table->num_regions; i++) {
		struct vhost_user_region *r = &table->regions[i];
		uint64_t at = explicit ? VVU_SHM_PLACE : vvu_shm_classic_end(&d->shm);

		ret = add(d, r, &p->fds[i], at, why);
		if (ret)
			break;
		if (explicit)
			r->mmap_offset = d->shm.regions[d->shm.num - 1].offset;
	}
	if (ret) {
		undo(&d->shm, i, *token);
		return explicit ? ret : -EPROTO; /* classic: the old table is gone already */
	}
	d->session.regions = regions;
	return 0;
}

static int add_region(struct vvu_dev *d, struct wire_packet *p, const char **why)
{
	struct vhost_user_region *r = &p->pkt.body.msg.payload.mem_reg.region;
	struct vu_regions regions = d->session.regions;
	enum vu_rule rule = vu_regions_add(&regions, r);
	int ret;

	if (rule != VU_RULE_NONE)
		return peer_error(why, vu_rule_text(rule));
	ret = check_fd(r, p->fds[0], why);
	if (!ret)
		ret = add(d, r, &p->fds[0],
			  vvu_explicit(d) ? VVU_SHM_PLACE : vvu_shm_classic_end(&d->shm), why);
	if (ret)
		return ret;
	d->session.regions = regions;
	if (vvu_explicit(d))
		r->mmap_offset = d->shm.regions[d->shm.num - 1].offset;
	return 0;
}

static bool same_region(const struct vvu_region *reg, const struct vhost_user_region *r)
{
	return !reg->leaving && reg->r.guest_phys_addr == r->guest_phys_addr &&
	       reg->r.userspace_addr == r->userspace_addr && reg->r.memory_size == r->memory_size;
}

static int remove_region(struct vvu_dev *d, struct wire_packet *p, uint32_t *token,
			 const char **why)
{
	struct vhost_user_region *r = &p->pkt.body.msg.payload.mem_reg.region;
	uint32_t index;
	enum vu_rule rule = vu_regions_del(&d->session.regions, r, &index);

	if (rule != VU_RULE_NONE)
		return peer_error(why, vu_rule_text(rule));
	*token = new_token(d);
	for (unsigned int i = 0; i < d->shm.num; i++) {
		if (same_region(&d->shm.regions[i], r)) {
			d->shm.regions[i].leaving = *token;
			/* The specification has it ignored here; for the driver it says where the
			 * region was. */
			r->mmap_offset = d->shm.regions[i].offset;
		}
	}
	return 0;
}

int vvu_memory_message(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	*token = 0;
	switch (p->pkt.body.msg.hdr.request) {
	case VHOST_USER_SET_MEM_TABLE:
		return set_table(d, p, token, why);
	case VHOST_USER_ADD_MEM_REG:
		return add_region(d, p, why);
	default:
		return remove_region(d, p, token, why);
	}
}
