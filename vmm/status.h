/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's answers (docs/man/vvu-vmm.1, CONTROL SOCKET). */
#ifndef VMM_STATUS_H
#define VMM_STATUS_H

#include <json-c/json.h>

struct vm;

/*
 * A control_fn whose arg is the VM. {"cmd":"status"} gives:
 *
 *   vcpus       [{"index", "user_exits": returns from KVM_RUN, and KVM's "exits", "io_exits",
 * "mmio_exits", "irq_injections", "halt_exits"}], one object per vCPU; what KVM does not count is
 * left out exits       the same, summed wakeups     voluntary context switches of threads other
 * than vCPUs, so far rss_kib     RssAnon + RssFile of this process; guest memory is neither memory,
 * tsc_khz, restarts devices     {name: state} counters    {name: value} as the guest publishes
 * them; counters_error says why there are none
 *
 * Nothing of it makes a vCPU exit, or waits for the guest.
 *
 * {"cmd":"reset"} restarts the guest, {"cmd":"nmi"} sends its first vCPU an NMI; both answer at once.
 */
int status_control(void *arg, const char *cmd, struct json_object *request,
		   struct json_object *reply, const char **error);

#endif
