// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/cpuid.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/kvm.h"

/* Newer than Debian 12's <linux/kvm.h>: deleting one memory slot need not drop the mappings of all
 * (Linux 6.12). */
#ifndef KVM_X86_QUIRK_SLOT_ZAP_ALL
#define KVM_X86_QUIRK_SLOT_ZAP_ALL (1 << 7)
#endif

/* Intel needs three pages for a TSS and one for an identity map; they lie in the BIOS area below 4
 * GiB. */
#define IDENTITY_MAP_GPA 0xfffbc000u
#define TSS_GPA		 0xfffbd000u

struct capability {
	int number;
	const char *name;
	const char *why;
};

#define CAP(name, why)                                                                             \
	{                                                                                          \
		name, #name, why                                                                   \
	}
static const struct capability needed[] = {
	CAP(KVM_CAP_IRQCHIP, "interrupts are delivered without leaving the kernel"),
	CAP(KVM_CAP_USER_MEMORY, "guest memory is our memory"),
	CAP(KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "memory of front-ends comes and goes"),
	CAP(KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, "memory of front-ends comes and goes"),
	CAP(KVM_CAP_NR_MEMSLOTS, "each region of a front-end is a slot"),
	CAP(KVM_CAP_EXT_CPUID, "the guest needs a CPUID"),
	CAP(KVM_CAP_SET_TSS_ADDR, "Intel CPUs need it"),
	CAP(KVM_CAP_SET_IDENTITY_MAP_ADDR, "Intel CPUs need it"),
	CAP(KVM_CAP_IRQFD, "a front-end's kick becomes an interrupt inside the kernel"),
	CAP(KVM_CAP_IRQ_ROUTING, "MSI-X vectors need routes"),
	CAP(KVM_CAP_SIGNAL_MSI, "devices send MSI-X messages"),
	CAP(KVM_CAP_IOEVENTFD, "a doorbell signals a front-end inside the kernel"),
	CAP(KVM_CAP_IMMEDIATE_EXIT, "vCPUs are stopped without a race"),
	CAP(KVM_CAP_MP_STATE, "the guest can be restarted"),
	CAP(KVM_CAP_VCPU_EVENTS, "the guest can be restarted"),
	CAP(KVM_CAP_XCRS, "the guest's AVX state is enabled for it"),
	CAP(KVM_CAP_GET_TSC_KHZ, "the guest learns the rate of its clock from us"),
};

static void open_device(struct kvm *kvm)
{
	int version;

	kvm->dev_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->dev_fd < 0) {
		if (errno == EACCES || errno == EPERM)
			die("/dev/kvm: %m; join group kvm (usermod -aG kvm $USER) or run as root");
		if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
			die("/dev/kvm: %m; load kvm_intel or kvm_amd, and enable virtualisation in "
			    "the firmware or, in a VM, nested virtualisation");
		die("/dev/kvm: %m");
	}
	version = ioctl(kvm->dev_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		die("/dev/kvm: API version %d is not %d; a Linux kernel is needed", version,
		    KVM_API_VERSION);
}

static unsigned int check(const struct kvm *kvm, int capability)
{
	int ret = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, capability);

	return ret > 0 ? (unsigned int)ret : 0;
}

static void check_capabilities(struct kvm *kvm)
{
	for (unsigned int i = 0; i < ARRAY_LEN(needed); i++) {
		if (!check(kvm, needed[i].number))
			die("KVM lacks %s (%s); a newer host kernel is needed", needed[i].name,
			    needed[i].why);
	}
	kvm->max_slots = check(kvm, KVM_CAP_NR_MEMSLOTS);
	kvm->max_routes = check(kvm, KVM_CAP_IRQ_ROUTING);
	kvm->max_vcpus = check(kvm, KVM_CAP_MAX_VCPUS);
	if (!kvm->max_vcpus)
		kvm->max_vcpus = 1;
	kvm->ioeventfd_any_length = check(kvm, KVM_CAP_IOEVENTFD_ANY_LENGTH);
	kvm->tsc_deadline = check(kvm, KVM_CAP_TSC_DEADLINE_TIMER);
	kvm->binary_stats = check(kvm, KVM_CAP_BINARY_STATS_FD);
	kvm->can_pit = check(kvm, KVM_CAP_PIT2) && check(kvm, KVM_CAP_PIT_STATE2);
}

/*
 * Without this, deleting the slot of one port's region drops the mappings of all ports', which then
 * fault in again page by page. Kernels that lack it are only slower.
 */
static void disable_zap_all(const struct kvm *kvm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DISABLE_QUIRKS2,
				      .args = { KVM_X86_QUIRK_SLOT_ZAP_ALL } };

	if (!(check(kvm, KVM_CAP_DISABLE_QUIRKS2) & KVM_X86_QUIRK_SLOT_ZAP_ALL) ||
	    ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		log_debug("kvm", "removing a front-end's memory drops the mappings of all "
				 "front-ends; Linux 6.12 or newer does not need that");
}

static void create_irqchip(struct kvm *kvm)
{
	uint64_t identity = IDENTITY_MAP_GPA;

	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		die("KVM_SET_IDENTITY_MAP_ADDR: %m");
	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_GPA) < 0)
		die("KVM_SET_TSS_ADDR: %m");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		die("KVM_CREATE_IRQCHIP: %m");
	for (unsigned int i = 0; i < ARRAY_LEN(kvm->irqchips); i++) {
		kvm->irqchips[i].chip_id = i;
		if (ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &kvm->irqchips[i]) < 0)
			die("KVM_GET_IRQCHIP: %m");
	}
}

/* Linux guests without ACPI calibrate with it. */
void kvm_add_pit(struct kvm *kvm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (!kvm->can_pit)
		return;
	if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		die("KVM_CREATE_PIT2: %m");
	if (ioctl(kvm->vm_fd, KVM_GET_PIT2, &kvm->pit) < 0)
		die("KVM_GET_PIT2: %m");
	kvm->has_pit = true;
}

static void read_cpuid(struct kvm *kvm)
{
	for (unsigned int n = 128; n <= 1024; n *= 2) {
		struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));

		if (!c)
			die("out of memory");
		c->nent = n;
		if (ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, c) == 0) {
			kvm->supported = c;
			return;
		}
		free(c);
		if (errno != E2BIG)
			break;
	}
	die("KVM_GET_SUPPORTED_CPUID: %m");
}

void kvm_open(struct kvm *kvm)
{
	int bytes;

	*kvm = (struct kvm){ .dev_fd = -1, .vm_fd = -1 };
	open_device(kvm);
	do {
		kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0);
	} while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		die("KVM_CREATE_VM: %m");
	check_capabilities(kvm);
	disable_zap_all(kvm);
	create_irqchip(kvm);
	read_cpuid(kvm);
	bytes = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(struct kvm_run))
		die("KVM_GET_VCPU_MMAP_SIZE: %d: too small", bytes);
	kvm->run_bytes = (unsigned int)bytes;
	if (kvm_ops_init(kvm))
		die("out of memory");
}

void kvm_close(struct kvm *kvm)
{
	kvm_ops_free(kvm);
	free(kvm->supported);
	kvm->supported = NULL;
	fd_close(&kvm->vm_fd);
	fd_close(&kvm->dev_fd);
}

int kvm_reset(struct kvm *kvm)
{
	for (unsigned int i = 0; i < ARRAY_LEN(kvm->irqchips); i++) {
		if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &kvm->irqchips[i]) < 0)
			return -errno;
	}
	if (kvm->has_pit && ioctl(kvm->vm_fd, KVM_SET_PIT2, &kvm->pit) < 0)
		return -errno;
	return 0;
}

unsigned int kvm_phys_bits(const struct kvm *kvm)
{
	return cpuid_phys_bits(kvm->supported);
}
