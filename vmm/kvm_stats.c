// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/hostlib/fds.h"
#include "vmm/kvm_stats.h"

/* Far more than any kernel has; bounds what we allocate. */
#define DESCS_MAX     4096
#define NAME_SIZE_MAX 256

const char *const kvm_stat_names[KVM_STAT_NUM] = {
	[KVM_STAT_EXITS] = "exits",	      [KVM_STAT_IO_EXITS] = "io_exits",
	[KVM_STAT_MMIO_EXITS] = "mmio_exits", [KVM_STAT_IRQ_INJECTIONS] = "irq_injections",
	[KVM_STAT_HALT_EXITS] = "halt_exits",
};

static int read_at(int fd, void *dst, size_t len, uint64_t offset)
{
	ssize_t n = pread(fd, dst, len, (off_t)offset);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static void take_desc(struct kvm_stats *stats, const struct kvm_stats_header *h,
		      const struct kvm_stats_desc *desc)
{
	for (unsigned int i = 0; i < KVM_STAT_NUM; i++) {
		if (!strncmp(desc->name, kvm_stat_names[i], h->name_size) && desc->size >= 1)
			stats->at[i] = (uint64_t)h->data_offset + desc->offset;
	}
}

int kvm_stats_init(struct kvm_stats *stats, int fd)
{
	struct kvm_stats_header h;
	size_t desc_size;
	uint8_t *table;
	int ret;

	*stats = (struct kvm_stats){ .fd = fd };
	ret = read_at(fd, &h, sizeof(h), 0);
	if (ret)
		return ret;
	if (h.num_desc > DESCS_MAX || !h.name_size || h.name_size > NAME_SIZE_MAX)
		return -EPROTO;
	desc_size = sizeof(struct kvm_stats_desc) + h.name_size;
	table = malloc(desc_size * h.num_desc + 1);
	if (!table)
		return -ENOMEM;
	ret = read_at(fd, table, desc_size * h.num_desc, h.desc_offset);
	for (unsigned int i = 0; !ret && i < h.num_desc; i++)
		take_desc(stats, &h, (const void *)(table + i * desc_size));
	free(table);
	return ret;
}

void kvm_stats_close(struct kvm_stats *stats)
{
	fd_close(&stats->fd);
}

int kvm_stats_read(const struct kvm_stats *stats, enum kvm_stat stat, uint64_t *value)
{
	if (stats->fd < 0 || !stats->at[stat])
		return -ENOENT;
	return read_at(stats->fd, value, sizeof(*value), stats->at[stat]);
}
