// SPDX-License-Identifier: BSD-2-Clause
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include "frames.h"
#include "hist.h"
#include "report.h"

volatile bool load_ending;

static void on_signal(int number)
{
	load_ending = true;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Cycles of the TSC per second, better than the 10 MHz that DPDK rounds to. */
static uint64_t tsc_hz(void)
{
	double start = now_ns(), end;
	uint64_t tsc = rte_rdtsc();

	do
		end = now_ns();
	while (end - start < 50e6);
	return (uint64_t)((double)(rte_rdtsc() - tsc) * 1e9 / (end - start));
}

/* Without a control socket: one run, its result on stdout. */
static int run_once(struct load *l)
{
	static struct result result;
	static struct hist hist;
	char error[160];
	struct json_object *o;
	int r;

	result.hist = &hist;
	l->now = l->conf;
	if (conf_check(&l->now, l, error, sizeof(error))) {
		fprintf(stderr, "vvu-load: %s\n", error);
		return -1;
	}
	r = (l->now.mode == MODE_RTT ? rtt_run : flood_run)(l, NULL, NULL, &result);
	if (r)
		return r;
	o = report_run(l, &result);
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
	return 0;
}

int main(int argc, char **argv)
{
	static struct load l;
	int used, status = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			conf_help();
			return 0;
		}
	}
	used = rte_eal_init(argc, argv);
	if (used < 0) {
		fprintf(stderr,
			"vvu-load: DPDK does not start (%s); its own messages are above. Without "
			"huge pages: "
			"--no-huge -m 512; a --vdev must find its socket served\n",
			rte_strerror(rte_errno));
		return 1;
	}
	catch_signals();
	pattern_init();
	l.hz = tsc_hz();
	if (!conf_parse(&l.conf, argc - used, argv + used) && !ports_start(&l)) {
		int r = l.conf.control[0] ? control_serve(&l) : run_once(&l);

		status = r ? 1 : 0;
	}
	ports_stop(&l);
	rte_eal_cleanup();
	return status;
}
