// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "vmm/cli/cli.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

static const struct {
	const char *name;
	int (*run)(int argc, char *argv[]);
	const char *what;
} verbs[] = {
	{ "run", cmd_run, "run a back-end VM, and start it again when it dies" },
	{ "replace", cmd_replace, "put a back-end VM in place of the one that runs" },
};

static void usage(void)
{
	printf("usage: vvu VERB ...\n\n");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		printf("  %-10s %s\n", verbs[i].name, verbs[i].what);
	printf("\n  --help, --version; vvu VERB --help\n");
}

int main(int argc, char *argv[])
{
	log_open("vvu");
	if (argc < 2)
		die_usage("do what? See vvu --help");
	if (!strcmp(argv[1], "--help")) {
		usage();
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		prog_print_version("vvu");
		return 0;
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].run(argc - 1, argv + 1);
	}
	die_usage("unknown verb '%s'; see vvu --help", argv[1]);
}
