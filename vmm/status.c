// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/hostlib/log.h"
#include "vmm/hostlib/sandbox.h"
#include "vmm/pages.h"
#include "vmm/stats_page.h"
#include "vmm/status.h"
#include "vmm/vm.h"

/* A message to the local APIC with ID 0 whose delivery mode is NMI (SDM vol. 3, 11.11.1 and 11.11.2). */
#define MSI_TO_VCPU_0 0xfee00000
#define MSI_NMI	      0x400

/* JSON's integers end at 2^63 - 1 in json-c; a hostile counter may not. */
static void put(struct json_object *obj, const char *key, uint64_t value)
{
	json_object_object_add(obj, key,
			       value <= INT64_MAX ? json_object_new_int64((int64_t)value)
						  : json_object_new_uint64(value));
}

static void add_vcpus(const struct vm *vm, struct json_object *reply)
{
	struct json_object *list = json_object_new_array();
	struct json_object *total = json_object_new_object();
	uint64_t user_exits = 0, sum[KVM_STAT_NUM] = { 0 };
	bool have[KVM_STAT_NUM] = { false };

	for (unsigned int i = 0; i < vm->num_vcpus; i++) {
		const struct vcpu *vcpu = &vm->vcpus[i];
		struct json_object *obj = json_object_new_object();
		uint64_t value = __atomic_load_n(&vcpu->exits, __ATOMIC_RELAXED);

		put(obj, "index", i);
		put(obj, "user_exits", value);
		user_exits += value;
		for (unsigned int s = 0; s < KVM_STAT_NUM; s++) {
			if (kvm_stats_read(&vcpu->stats, s, &value))
				continue;
			put(obj, kvm_stat_names[s], value);
			sum[s] += value;
			have[s] = true;
		}
		json_object_array_add(list, obj);
	}
	put(total, "user_exits", user_exits);
	for (unsigned int s = 0; s < KVM_STAT_NUM; s++) {
		if (have[s])
			put(total, kvm_stat_names[s], sum[s]);
	}
	json_object_object_add(reply, "vcpus", list);
	json_object_object_add(reply, "exits", total);
}

/* Sum of the values of the lines "KEY:  N ..." of a file of /proc whose keys are in keys. */
static uint64_t proc_sum(const char *path, const char *const *keys, unsigned int num)
{
	FILE *f = fopen(path, "re");
	uint64_t sum = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		for (unsigned int i = 0; i < num; i++) {
			size_t len = strlen(keys[i]);

			if (!strncmp(line, keys[i], len) && line[len] == ':')
				sum += strtoull(line + len + 1, NULL, 10);
		}
	}
	if (f)
		fclose(f);
	return sum;
}

static bool is_vcpu_thread(const struct vm *vm, int tid)
{
	for (unsigned int i = 0; i < vm->num_vcpus; i++) {
		if (__atomic_load_n(&vm->vcpus[i].tid, __ATOMIC_RELAXED) == tid)
			return true;
	}
	return false;
}

static uint64_t count_wakeups(const struct vm *vm)
{
	static const char *const key[] = { "voluntary_ctxt_switches" };
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	uint64_t sum = 0;

	while (dir && (entry = readdir(dir))) {
		char path[64];
		int tid = atoi(entry->d_name);

		if (tid <= 0 || is_vcpu_thread(vm, tid))
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
		sum += proc_sum(path, key, 1);
	}
	if (dir)
		closedir(dir);
	return sum;
}

static void add_process(const struct vm *vm, struct json_object *reply)
{
	static const char *const keys[] = { "RssAnon", "RssFile" };

	put(reply, "wakeups", count_wakeups(vm));
	put(reply, "rss_kib", proc_sum("/proc/self/status", keys, ARRAY_LEN(keys)));
	put(reply, "memory", vm->mem.size);
	put(reply, "memory_page", vm->mem.page ? vm->mem.page : PAGE_4K);
	put(reply, "tsc_khz", vm->tsc_khz);
	put(reply, "restarts", vm->restarts);
}

static void add_kvm(const struct kvm *kvm, struct json_object *reply)
{
	struct json_object *o = json_object_new_object();

	put(o, "slots", __atomic_load_n(&kvm->num_slots, __ATOMIC_RELAXED));
	put(o, "ioeventfds", __atomic_load_n(&kvm->num_ioeventfds, __ATOMIC_RELAXED));
	put(o, "irqfds", __atomic_load_n(&kvm->num_irqfds, __ATOMIC_RELAXED));
	put(o, "routes", kvm->routing->nr);
	json_object_object_add(reply, "kvm", o);
}

static void add_counter(void *arg, const char *name, uint64_t value)
{
	put(arg, name, value);
}

static void add_counters(struct vm *vm, struct json_object *reply)
{
	struct json_object *counters = json_object_new_object();
	const char *why = "the guest announced no statistics page";
	int ret = -ENOENT;

	if (vm->exitport.stats_gpa)
		ret = stats_page_read(&vm->machine.ram, gpa(vm->exitport.stats_gpa), add_counter,
				      counters, &why);
	json_object_object_add(reply, "counters", counters);
	if (ret < 0)
		json_object_object_add(reply, "counters_error", json_object_new_string(why));
}

int status_control(void *arg, const char *cmd, struct json_object *request,
		   struct json_object *reply, const char **error)
{
	struct vm *vm = arg;
	struct json_object *devices;

	if (!strcmp(cmd, "reset")) {
		log_info(NULL, "control: reset");
		vm_reboot(vm);
		return 0;
	}
	if (!strcmp(cmd, "nmi")) {
		log_info(NULL, "control: NMI to vCPU 0");
		kvm_msi_send(&vm->kvm, MSI_TO_VCPU_0, MSI_NMI);
		return 0;
	}
	if (strcmp(cmd, "status"))
		return -ENOENT;
	add_vcpus(vm, reply);
	add_process(vm, reply);
	devices = json_object_new_object();
	pthread_mutex_lock(&vm->machine.lock);
	machine_device_status(&vm->machine, devices);
	add_kvm(&vm->kvm, reply);
	add_counters(vm, reply);
	pthread_mutex_unlock(&vm->machine.lock);
	json_object_object_add(reply, "devices", devices);
	sandbox_status(reply);
	return 0;
}
