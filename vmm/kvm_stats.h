/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's own counters of a vCPU (KVM_GET_STATS_FD, Documentation/virt/kvm/api.rst §4.133). */
#ifndef VMM_KVM_STATS_H
#define VMM_KVM_STATS_H

#include <stdint.h>

/*
 * What a guest's exits cost, as far as KVM counts it honestly: its plain "exits" counts host timer
 * ticks on some hosts, so whoever measures leaves it out.
 */
enum kvm_stat {
	KVM_STAT_EXITS,
	KVM_STAT_IO_EXITS,
	KVM_STAT_MMIO_EXITS,
	KVM_STAT_IRQ_INJECTIONS,
	KVM_STAT_HALT_EXITS,
	KVM_STAT_NUM
};

extern const char *const kvm_stat_names[KVM_STAT_NUM];

struct kvm_stats {
	int fd;			   /* -1: not there */
	uint64_t at[KVM_STAT_NUM]; /* offset in fd, 0: KVM lacks it */
};

/* Reads the table of a statistics fd and keeps the fd, also on failure. 0 or -errno. */
int kvm_stats_init(struct kvm_stats *stats, int fd);
void kvm_stats_close(struct kvm_stats *stats);
/* One counter. 0, -ENOENT (KVM lacks it) or -errno. */
int kvm_stats_read(const struct kvm_stats *stats, enum kvm_stat stat, uint64_t *value);

#endif
