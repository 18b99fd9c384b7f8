// SPDX-License-Identifier: BSD-2-Clause
/*
 * vvu-vmm: one back-end VM.
 *
 * Start: 1. options; 2. the main loop and its signals; 3. the VM: hypervisor, --user, memory, vCPUs,
 * image, devices (vm.c); 4. control socket and pid file; 5. what is not needed any more is given up
 * (confine.h); 6. the vCPU threads, each confined before it runs the guest; 7. this thread is
 * confined, too; 8. "ready" (a VM that replaces another: when it serves), and the loop runs whatever
 * is not a vCPU until the guest powers off or a signal says stop. The end undoes it in reverse.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/conf.h"
#include "vmm/confine.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"
#include "vmm/status.h"
#include "vmm/vm.h"

static void write_pid_file(const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f) != 0)
		die("--pid-file %s: %m", path);
}

/* Unless the VM that replaced this one has written its own there. */
static void remove_pid_file(const char *path)
{
	FILE *f = fopen(path, "re");
	int pid = 0;

	if (f && fscanf(f, "%d", &pid) == 1 && pid == getpid())
		unlink(path);
	if (f)
		fclose(f);
}

static struct event_base *create_loop(void)
{
	struct event_base *base = NULL;

	/* vCPU threads arm events of the main loop. */
	if (evthread_use_pthreads() == 0)
		base = event_base_new();
	if (!base || prog_stop_on_signals(base))
		die("cannot set up the event loop: %m");
	return base;
}

static int run(const struct vmm_conf *conf)
{
	struct event_base *base = create_loop();
	struct control *control = NULL;
	bool replaces;
	struct vm vm;

	vm_create(&vm, conf, base);
	replaces = vm.replacing > 0;
	if (conf->control) {
		control = control_open(base, conf->control, status_control, &vm);
		if (!control)
			die("--control %s: %m", conf->control);
	}
	if (conf->pid_file)
		write_pid_file(conf->pid_file);
	prog_open_notify();
	confine_close_off(conf);
	vm_start(&vm);
	sandbox_confine(CONFINE_MAIN);
	if (!replaces)
		prog_ready(); /* else when it serves (vm_devices.c) */
	event_base_dispatch(base);

	control_close(control);
	vm_destroy(&vm);
	if (conf->pid_file)
		remove_pid_file(conf->pid_file);
	event_base_free(base);
	return vm.exit_status;
}

int main(int argc, char *argv[])
{
	struct vmm_conf conf;
	char error[512];
	int status = 0;

	log_open("vvu-vmm");
	switch (conf_parse(&conf, argc, argv, error, sizeof(error))) {
	case CONF_BAD:
		die_usage("%s", error);
	case CONF_EXIT:
		break;
	case CONF_RUN:
		status = run(&conf);
		break;
	}
	conf_free(&conf);
	return status;
}
