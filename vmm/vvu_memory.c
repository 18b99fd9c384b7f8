// SPDX-License-Identifier: BSD-2-Clause
/*
 * The messages that change what the window shows: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG, and the proxy's
 * SET_INFLIGHT_FD (abi/inflight.h).
 *
 * Everything is checked before anything changes: the regions against each other (vu_regions_*()),
 * the fds' kind and length. In the explicit layout new regions are placed beside the old ones,
 * which leave when the driver has answered. In the classic layout a new table takes the old one's
 * place at once.
 */
#include <errno.h>
#include <string.h>

#include "vmm/hostlib/fds.h"
#include "vmm/pages.h"
#include "vmm/vvu_priv.h"

/* No token: marks what a failed table has added. */
#define NEW_REGION UINT32_MAX

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
	if (++d->session.last_token >= NEW_REGION)
		d->session.last_token = 1;
	return d->session.last_token;
}

/* What an explicit-layout table changes, to be able to take it back. */
struct table_change {
	uint32_t token;
	unsigned int before; /* regions that were there */
	uint32_t leaving[VVU_REGIONS_MAX];
};

/* From here on the old regions leave with the answer, but for those that the table names again. */
static void change_begin(struct vvu_dev *d, struct table_change *c)
{
	struct vvu_shm *shm = &d->shm;

	c->token = new_token(d);
	c->before = shm->num;
	for (unsigned int i = 0; i < shm->num; i++) {
		c->leaving[i] = shm->regions[i].leaving;
		if (!shm->regions[i].leaving && !shm->regions[i].inflight)
			shm->regions[i].leaving = c->token;
	}
}

static void change_undo(struct vvu_dev *d, const struct table_change *c)
{
	struct vvu_shm *shm = &d->shm;

	for (unsigned int i = 0; i < shm->num; i++)
		shm->regions[i].leaving = i < c->before ? c->leaving[i] : NEW_REGION;
	vvu_shm_remove_leaving(shm, NEW_REGION);
}

/*
 * One region of a table in the explicit layout. Front-ends send their table again whenever anything
 * changes; a region that is there already stays where it is, so that nothing has to be mapped, and
 * faulted in, a second time.
 */
static int place_region(struct vvu_dev *d, struct vhost_user_region *r, int *fd, const char **why)
{
	struct vvu_region *reg = vvu_shm_find(&d->shm, r, *fd);
	int ret;

	if (!reg) {
		ret = add(d, r, fd, VVU_SHM_PLACE, why);
		if (ret)
			return ret;
		reg = &d->shm.regions[d->shm.num - 1];
	}
	reg->leaving = 0;
	r->mmap_offset = reg->offset;
	return 0;
}

static int set_explicit(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	struct vhost_user_mem_table *table = &p->pkt.body.msg.payload.mem;
	struct table_change change;
	int ret = 0;

	change_begin(d, &change);
	for (unsigned int i = 0; !ret && i < table->num_regions; i++)
		ret = place_region(d, &table->regions[i], &p->fds[i], why);
	if (ret)
		change_undo(d, &change);
	*token = change.token;
	return ret;
}

static int set_classic(struct vvu_dev *d, struct wire_packet *p, const char **why)
{
	struct vhost_user_mem_table *table = &p->pkt.body.msg.payload.mem;

	vvu_shm_clear(&d->shm);
	for (unsigned int i = 0; i < table->num_regions; i++) {
		if (add(d, &table->regions[i], &p->fds[i], vvu_shm_classic_end(&d->shm), why))
			return -EPROTO; /* whatever it was: the old table is gone already */
	}
	return 0;
}

static int set_table(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	const struct vhost_user_mem_table *table = &p->pkt.body.msg.payload.mem;
	struct vu_regions regions = d->session.regions;
	enum vu_rule rule = vu_regions_set(&regions, table);
	int ret = 0;

	if (rule != VU_RULE_NONE)
		return peer_error(why, vu_rule_text(rule));
	for (unsigned int i = 0; !ret && i < table->num_regions; i++)
		ret = check_fd(&table->regions[i], p->fds[i], why);
	if (!ret)
		ret = vvu_explicit(d) ? set_explicit(d, p, token, why) : set_classic(d, p, why);
	if (!ret)
		d->session.regions = regions;
	return ret;
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
	return !reg->leaving && !reg->inflight && reg->r.guest_phys_addr == r->guest_phys_addr &&
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

/* A second one takes the first one's place, which goes when the driver has answered. */
static int set_inflight(struct vvu_dev *d, struct wire_packet *p, uint32_t *token, const char **why)
{
	struct vhost_user_inflight *in = &p->pkt.body.msg.payload.inflight;
	const struct vhost_user_region r = { .memory_size = in->mmap_size };
	unsigned int old = d->shm.num;
	int ret;

	if (in->num_queues > d->max_queues || in->mmap_offset)
		return peer_error(why, vu_rule_text(VU_RULE_VALUE));
	ret = check_fd(&r, p->fds[0], why);
	if (ret)
		return ret;
	if (fd_page_size(p->fds[0]) != PAGE_4K)
		return peer_error(why, "huge pages are not for positions of rings");
	ret = vvu_shm_add(&d->shm, &r, p->fds[0], VVU_SHM_TOP);
	if (ret) {
		map_error(ret, why);
		return 1; /* no fault of the front-end's */
	}
	p->fds[0] = -1;
	for (unsigned int i = 0; i < old; i++) {
		struct vvu_region *reg = &d->shm.regions[i];

		if (!reg->inflight || reg->leaving)
			continue;
		if (!*token)
			*token = new_token(d);
		reg->leaving = *token;
	}
	in->mmap_offset = d->shm.regions[old].offset;
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
	case VHOST_USER_SET_INFLIGHT_FD:
		return set_inflight(d, p, token, why);
	default:
		return remove_region(d, p, token, why);
	}
}
