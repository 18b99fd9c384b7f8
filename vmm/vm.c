// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "abi/machine.h"
#include "vmm/hostlib/log.h"
#include "vmm/pages.h"
#include "vmm/vm.h"

/* --- machine_ops: the VM is their ctx --- */

static int op_slot_add(void *ctx, uint64_t gpa, uint64_t size, void *host)
{
	return kvm_slot_add(&((struct vm *)ctx)->kvm, gpa, size, host);
}

static void op_slot_del(void *ctx, int slot)
{
	kvm_slot_del(&((struct vm *)ctx)->kvm, slot);
}

static int op_ioeventfd_add(void *ctx, uint64_t gpa, int fd)
{
	return kvm_ioeventfd(&((struct vm *)ctx)->kvm, gpa, fd, true);
}

static void op_ioeventfd_del(void *ctx, uint64_t gpa, int fd)
{
	kvm_ioeventfd(&((struct vm *)ctx)->kvm, gpa, fd, false);
}

static int op_route_add(void *ctx, uint64_t addr, uint32_t data)
{
	return kvm_route_add(&((struct vm *)ctx)->kvm, addr, data);
}

static int op_route_set(void *ctx, int gsi, uint64_t addr, uint32_t data)
{
	return kvm_route_set(&((struct vm *)ctx)->kvm, gsi, addr, data);
}

static void op_route_del(void *ctx, int gsi)
{
	kvm_route_del(&((struct vm *)ctx)->kvm, gsi);
}

static int op_irqfd_add(void *ctx, int gsi, int fd)
{
	return kvm_irqfd(&((struct vm *)ctx)->kvm, gsi, fd, true);
}

static void op_irqfd_del(void *ctx, int gsi, int fd)
{
	kvm_irqfd(&((struct vm *)ctx)->kvm, gsi, fd, false);
}

static void op_msi_send(void *ctx, uint64_t addr, uint32_t data)
{
	kvm_msi_send(&((struct vm *)ctx)->kvm, addr, data);
}

static void op_irq_line(void *ctx, unsigned int irq, int level)
{
	kvm_irq_line(&((struct vm *)ctx)->kvm, irq, level);
}

static void op_power_off(void *ctx, int status)
{
	if (status)
		log_error("guest", "ended with status %d", status);
	vm_power_off(ctx, status);
}

static void op_reboot(void *ctx)
{
	vm_reboot(ctx);
}

static void op_kick_vcpus(void *ctx)
{
	vm_kick(ctx);
}

static void op_watch_memory(void *ctx, bool on)
{
	struct vm *vm = ctx;

	if (on)
		pulse_hold(&vm->pulse);
	else
		pulse_release(&vm->pulse);
}

static void on_beat(void *arg)
{
	struct vm *vm = arg;

	pthread_mutex_lock(&vm->machine.lock);
	machine_memory_check(&vm->machine);
	pthread_mutex_unlock(&vm->machine.lock);
}

static const struct machine_ops vm_machine_ops = {
	.slot_add = op_slot_add,
	.slot_del = op_slot_del,
	.ioeventfd_add = op_ioeventfd_add,
	.ioeventfd_del = op_ioeventfd_del,
	.route_add = op_route_add,
	.route_set = op_route_set,
	.route_del = op_route_del,
	.irqfd_add = op_irqfd_add,
	.irqfd_del = op_irqfd_del,
	.msi_send = op_msi_send,
	.irq_line = op_irq_line,
	.power_off = op_power_off,
	.reboot = op_reboot,
	.kick_vcpus = op_kick_vcpus,
	.watch_memory = op_watch_memory,
};

/* --- who may run when --- */

bool vm_may_run(struct vm *vm)
{
	bool run;

	if (__atomic_load_n(&vm->state, __ATOMIC_SEQ_CST) == VM_RUN)
		return true;
	pthread_mutex_lock(&vm->run_lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->run_cond);
	while (vm->state == VM_PARK)
		pthread_cond_wait(&vm->run_cond, &vm->run_lock);
	vm->parked--;
	run = vm->state == VM_RUN;
	pthread_mutex_unlock(&vm->run_lock);
	return run;
}

void vm_kick(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->num_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
}

static void set_state(struct vm *vm, enum vm_state state)
{
	pthread_mutex_lock(&vm->run_lock);
	__atomic_store_n(&vm->state, state, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&vm->run_cond);
	pthread_mutex_unlock(&vm->run_lock);
}

static void request(struct vm *vm, enum vm_request what, int status)
{
	bool news;

	pthread_mutex_lock(&vm->run_lock);
	news = what > vm->request;
	if (news) {
		vm->request = what;
		if (what == VM_REQUEST_POWER_OFF)
			vm->exit_status = status ? 1 : 0;
		if (vm->state == VM_RUN)
			__atomic_store_n(&vm->state, VM_PARK, __ATOMIC_SEQ_CST);
	}
	pthread_mutex_unlock(&vm->run_lock);
	if (news) {
		vm_kick(vm);
		event_active(vm->request_event, EV_TIMEOUT, 0);
	}
}

void vm_power_off(struct vm *vm, int status)
{
	request(vm, VM_REQUEST_POWER_OFF, status);
}

void vm_reboot(struct vm *vm)
{
	request(vm, VM_REQUEST_REBOOT, 0);
}

/* Loads the image and puts every vCPU into its start state. 0, or -errno after a line said why. */
static int boot_state(struct vm *vm, bool first)
{
	struct loader_conf conf = {
		.kernel = vm->conf->kernel,
		.initrd = vm->conf->initrd,
		.cmdline = vm->conf->cmdline,
		.ram_low = vm->mem.low,
		.ram_high = vm->mem.high,
	};
	char error[512];
	int ret;

	ret = loader_load(&conf, &vm->machine.ram, &vm->entry, error, sizeof(error));
	if (ret) {
		log_error(NULL, "%s", error);
		return ret;
	}
	/* What another image in the same file needs after a restart it does not get. */
	if (first && (vm->entry.needs & MACHINE_NEEDS_PIT_MASK))
		kvm_add_pit(&vm->kvm);
	for (unsigned int i = 0; i < vm->num_vcpus; i++) {
		const char *what;

		ret = vcpu_reset(&vm->vcpus[i], &vm->entry, first, &what);
		if (ret) {
			log_error(NULL, "cannot set up vCPU %u: %s: %s", i, what, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static int reboot(struct vm *vm)
{
	int ret;

	pthread_mutex_lock(&vm->run_lock);
	while (vm->parked < vm->num_vcpus)
		pthread_cond_wait(&vm->run_cond, &vm->run_lock);
	if (vm->request == VM_REQUEST_REBOOT)
		vm->request = VM_REQUEST_NONE;
	pthread_mutex_unlock(&vm->run_lock);

	log_info("guest", "restarts");
	vm->restarts++;
	pthread_mutex_lock(&vm->machine.lock);
	machine_reset_devices(&vm->machine);
	ret = mem_clear(&vm->mem);
	if (ret)
		log_error(NULL, "cannot clear guest memory: %s", strerror(-ret));
	else if ((ret = kvm_reset(&vm->kvm)))
		log_error(NULL, "cannot reset the interrupt controllers: %s", strerror(-ret));
	else
		ret = boot_state(vm, false);
	pthread_mutex_unlock(&vm->machine.lock);
	return ret;
}

/* Main loop: carries out what a vCPU or a device asked for. */
static void on_request(evutil_socket_t fd, short what, void *arg)
{
	struct vm *vm = arg;
	enum vm_request wanted;

	pthread_mutex_lock(&vm->run_lock);
	wanted = vm->request;
	pthread_mutex_unlock(&vm->run_lock);

	if (wanted == VM_REQUEST_REBOOT) {
		if (reboot(vm))
			vm_power_off(vm, 1);
		else
			set_state(vm, VM_RUN);
	} else if (wanted == VM_REQUEST_POWER_OFF) {
		event_base_loopbreak(vm->base);
	}
}

/* --- building it --- */

/* One line that says what lacks and what helps. */
static void warn_no_huge_pages(const struct vmm_conf *conf, const char *what, int err)
{
	unsigned long long kib = conf->hugepages >> 10;
	unsigned long long need = (conf->memory + conf->hugepages - 1) / conf->hugepages;
	long long free = pages_free(conf->hugepages);

	if (free < 0)
		log_warn(NULL,
			 "--hugepages: this host has no huge pages of %llu KiB; give another size; "
			 "going "
			 "on with ordinary memory",
			 kib);
	else
		log_warn(NULL,
			 "--hugepages: guest RAM takes %llu huge pages of %llu KiB, the host has "
			 "%lld "
			 "free (%s: %s); raise vm.nr_hugepages "
			 "(/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages); going on with "
			 "ordinary memory",
			 need, kib, free, what, strerror(-err), kib);
}

static void create_memory(struct vm *vm)
{
	struct mem_conf conf = { .bytes = vm->conf->memory,
				 .page = vm->conf->hugepages,
				 .prefault = vm->conf->prefault };
	struct machine *m = &vm->machine;
	const char *what;
	int ret;

	if (conf.bytes > MACHINE_MMIO32_BASE &&
	    MACHINE_RAM_HIGH_BASE + conf.bytes - MACHINE_MMIO32_BASE > BIT_ULL(m->phys_bits))
		die("--memory: more than the guest's %u address bits reach; give less",
		    m->phys_bits);
	ret = mem_create(&vm->mem, &conf, &m->ram, &what);
	if (ret && conf.page) {
		warn_no_huge_pages(vm->conf, what, ret);
		conf.page = 0;
		ret = mem_create(&vm->mem, &conf, &m->ram, &what);
	}
	if (ret)
		die("--memory: %s: %s; give less, or free memory", what, strerror(-ret));
	if (conf.prefault && pages_populate(vm->mem.host, PAGE_4K) == -EOPNOTSUPP)
		log_warn(NULL, "--prefault: this kernel cannot (Linux 5.14 or newer can)");
	vm->ram_slots[0] = kvm_slot_add(&vm->kvm, 0, vm->mem.low, vm->mem.host);
	if (vm->mem.high && vm->ram_slots[0] >= 0)
		vm->ram_slots[1] = kvm_slot_add(&vm->kvm, MACHINE_RAM_HIGH_BASE, vm->mem.high,
						vm->mem.host + vm->mem.low);
	for (unsigned int i = 0; i < ARRAY_LEN(vm->ram_slots); i++) {
		if (vm->ram_slots[i] < 0)
			die("KVM_SET_USER_MEMORY_REGION: %s", strerror(-vm->ram_slots[i]));
	}
}

static void create_vcpus(struct vm *vm)
{
	struct cpuid_conf conf = { .cpus = vm->num_vcpus, .tsc_deadline = vm->kvm.tsc_deadline };
	struct kvm_cpuid2 *cpuid;
	int khz;

	if (vm->num_vcpus > vm->kvm.max_vcpus)
		die("--cpus %u: KVM allows %u; give less", vm->num_vcpus, vm->kvm.max_vcpus);
	vm->vcpus = calloc(vm->num_vcpus, sizeof(vm->vcpus[0]));
	if (!vm->vcpus)
		die("out of memory");
	for (unsigned int i = 0; i < vm->num_vcpus; i++)
		vcpu_create(&vm->vcpus[i], vm, i);

	khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
	if (khz <= 0)
		die("KVM_GET_TSC_KHZ: %m; the host's TSC is unstable, which guests can't use");
	vm->tsc_khz = conf.tsc_khz = (uint32_t)khz;
	cpuid = cpuid_build(vm->kvm.supported, &conf);
	if (!cpuid)
		die("out of memory");
	for (unsigned int i = 0; i < vm->num_vcpus; i++)
		vcpu_set_cpuid(&vm->vcpus[i], cpuid);
	free(cpuid);
}

void vm_create(struct vm *vm, const struct vmm_conf *conf, struct event_base *base)
{
	int ret;

	*vm = (struct vm){ .conf = conf, .base = base, .num_vcpus = conf->cpus };
	pthread_mutex_init(&vm->run_lock, NULL);
	pthread_cond_init(&vm->run_cond, NULL);
	vm->request_event = event_new(base, -1, 0, on_request, vm);
	if (!vm->request_event)
		die("out of memory");
	if (vcpu_init_signal())
		die("sigaction: %m");
	ret = pulse_init(&vm->pulse, base, on_beat, vm);
	if (ret)
		die("timer_create: %s", strerror(-ret));

	kvm_open(&vm->kvm);
	sandbox_become_user(&conf->sandbox, "kvm");
	if (machine_init(&vm->machine, kvm_phys_bits(&vm->kvm), base, &vm_machine_ops, vm))
		die("out of memory");
	create_memory(vm);
	create_vcpus(vm);
	if (boot_state(vm, true))
		exit(1);
	vm_devices_create(vm);
}

void vm_start(struct vm *vm)
{
	vm_devices_start(vm);
	for (unsigned int i = 0; i < vm->num_vcpus; i++) {
		int ret = vcpu_start(&vm->vcpus[i]);

		if (ret)
			die("cannot start the thread of vCPU %u: %s", i, strerror(-ret));
	}
}

void vm_destroy(struct vm *vm)
{
	set_state(vm, VM_QUIT);
	vm_kick(vm);
	for (unsigned int i = 0; i < vm->num_vcpus; i++)
		vcpu_join(&vm->vcpus[i]);

	vm_devices_destroy(vm);
	for (unsigned int i = 0; i < vm->num_vcpus; i++)
		vcpu_destroy(&vm->vcpus[i]);
	free(vm->vcpus);
	kvm_close(&vm->kvm);
	mem_destroy(&vm->mem);
	machine_free(&vm->machine);
	event_free(vm->request_event);
	pulse_free(&vm->pulse);
	pthread_cond_destroy(&vm->run_cond);
	pthread_mutex_destroy(&vm->run_lock);
}
