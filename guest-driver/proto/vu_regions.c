// SPDX-License-Identifier: BSD-2-Clause
#include "vu_region.h"

#define REGION_ALIGN 4096u

/*
 * A range's end has to be representable, which costs the very last byte of the address space and spares every later
 * comparison a special case.
 */
static bool wraps(uint64_t start, uint64_t size)
{
	return size > UINT64_MAX - start;
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

enum vu_rule vu_region_check(const struct vhost_user_region *r)
{
	if (r->memory_size == 0)
		return VU_RULE_REGION;
	/* User addresses are opaque (vhost-user §Memory access): no alignment is asked of them. */
	if (!IS_ALIGNED(r->guest_phys_addr | r->memory_size | r->mmap_offset, REGION_ALIGN))
		return VU_RULE_REGION;
	if (wraps(r->guest_phys_addr, r->memory_size) || wraps(r->userspace_addr, r->memory_size) ||
	    wraps(r->mmap_offset, r->memory_size))
		return VU_RULE_REGION;
	return VU_RULE_NONE;
}

bool vu_region_overlap(const struct vhost_user_region *a, const struct vhost_user_region *b)
{
	return ranges_overlap(a->guest_phys_addr, a->memory_size, b->guest_phys_addr,
			      b->memory_size) ||
	       ranges_overlap(a->userspace_addr, a->memory_size, b->userspace_addr, b->memory_size);
}

enum vu_rule vu_region_check_all(const struct vhost_user_region *regions, uint32_t num)
{
	for (uint32_t i = 0; i < num; i++) {
		enum vu_rule rule = vu_region_check(&regions[i]);

		if (rule)
			return rule;
		for (uint32_t j = 0; j < i; j++)
			if (vu_region_overlap(&regions[i], &regions[j]))
				return VU_RULE_OVERLAP;
	}
	return VU_RULE_NONE;
}

enum vu_rule vu_regions_set(struct vu_regions *set, const struct vhost_user_mem_table *table)
{
	uint32_t num = table->num_regions;
	enum vu_rule rule;

	if (num == 0 || num > VHOST_USER_TABLE_REGIONS_MAX)
		return VU_RULE_REGIONS;
	rule = vu_region_check_all(table->regions, num);
	if (rule)
		return rule;
	for (uint32_t i = 0; i < num; i++) {
		set->regions[i] = table->regions[i];
		set->repeats[i] = 0;
	}
	set->num = num;
	return VU_RULE_NONE;
}

enum vu_rule vu_regions_add(struct vu_regions *set, const struct vhost_user_region *region)
{
	enum vu_rule rule = vu_region_check(region);

	if (rule)
		return rule;
	for (uint32_t i = 0; i < set->num; i++)
		if (vu_region_overlap(region, &set->regions[i]))
			return VU_RULE_OVERLAP;
	if (set->num == VHOST_USER_MEM_SLOTS_MAX)
		return VU_RULE_SPACE;
	set->repeats[set->num] = 0;
	set->regions[set->num++] = *region;
	return VU_RULE_NONE;
}

/* REM_MEM_REG does not look at the offset (vhost-user §REM_MEM_REG). */
static bool same_place(const struct vhost_user_region *a, const struct vhost_user_region *b)
{
	return a->guest_phys_addr == b->guest_phys_addr && a->userspace_addr == b->userspace_addr &&
	       a->memory_size == b->memory_size;
}

enum vu_rule vu_regions_del(struct vu_regions *set, const struct vhost_user_region *region,
			    uint32_t *index)
{
	for (uint32_t i = 0; i < set->num; i++) {
		if (!same_place(&set->regions[i], region))
			continue;
		set->num--;
		for (uint32_t j = i; j < set->num; j++) {
			set->regions[j] = set->regions[j + 1];
			set->repeats[j] = set->repeats[j + 1];
		}
		*index = i;
		return VU_RULE_NONE;
	}
	return VU_RULE_ADDRESS;
}

bool vu_regions_repeat(struct vu_regions *set, const struct vhost_user_region *region)
{
	for (uint32_t i = 0; i < set->num; i++) {
		if (!same_place(&set->regions[i], region) ||
		    set->regions[i].mmap_offset != region->mmap_offset ||
		    set->repeats[i] == UINT8_MAX)
			continue;
		set->repeats[i]++;
		return true;
	}
	return false;
}

bool vu_regions_unrepeat(struct vu_regions *set, const struct vhost_user_region *region)
{
	for (uint32_t i = 0; i < set->num; i++) {
		if (!same_place(&set->regions[i], region) || !set->repeats[i])
			continue;
		set->repeats[i]--;
		return true;
	}
	return false;
}

bool vu_regions_user_to_gpa(const struct vu_regions *set, uint64_t user, uint64_t *out)
{
	for (uint32_t i = 0; i < set->num; i++) {
		const struct vhost_user_region *r = &set->regions[i];
		uint64_t offset = user - r->userspace_addr;

		if (offset < r->memory_size) {
			*out = r->guest_phys_addr + offset;
			return true;
		}
	}
	return false;
}
