// SPDX-License-Identifier: BSD-2-Clause
/* Options: `--KEY VALUE` on the command line, {"KEY": VALUE} in a command. */
#include "load.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const help =
	"usage: vvu-load [EAL arguments] -- [options]\n"
	"\n"
	"Front-end side of measurements: sends and receives frames on all its ports, from one "
	"thread.\n"
	"Ports are given to DPDK: --vdev "
	"net_virtio_user0,path=P0.SOCK,queue_size=1024,mac=02:00:00:00:00:01\n"
	"\n"
	"  --mode flood|rtt|null    flood: as much as goes, or at a rate. rtt: round trips of "
	"single frames.\n"
	"                           null: flood over rings inside the process: what this program "
	"itself costs [flood]\n"
	"  --pattern pairs|uniform|self   ports 0 and 1, 2 and 3 ... to each other; to random "
	"others; each to itself [pairs]\n"
	"  --way echo|bounce        rtt: the frame comes back on its own port, or on its partner "
	"[echo]\n"
	"  --size BYTES[,BYTES...]  frame sizes without FCS, mixed evenly; over 9014 with --gso "
	"only [64]\n"
	"  --touch none|LIST        done to each frame: seq (number it, check order), write (write "
	"all of the\n"
	"                           payload), read (read and check all of the payload) [seq]\n"
	"  --flows N                UDP flows per port [1]\n"
	"  --rate N                 frames per second over all ports; 0: as many as go [0]\n"
	"  --burst N                frames per call, 1 to 256 [32]\n"
	"  --window N               send only while fewer than N frames are under way; 0: no limit "
	"[0]\n"
	"  --inflight N             rtt: frames under way [1]\n"
	"  --seconds S, --warmup S  length of a window, and of what goes before it [1, 0.1]\n"
	"  --quiet S                a frame that does not come within S seconds is lost [0.2]\n"
	"\n"
	"Fixed once started:\n"
	"  --control PATH           serve commands on this UNIX socket; otherwise run one window "
	"and print its result\n"
	"  --queues N               queue pairs per port, 1 to 4 [1]\n"
	"  --rxd N, --txd N         descriptors per ring [1024]\n"
	"  --free-thresh N          take transmit buffers back once fewer than N descriptors are "
	"free; 0: DPDK's [0]\n"
	"  --max-size BYTES         largest frame of any command [the largest of --size, at least "
	"1518]\n"
	"  --rx-buffer BYTES        of a receive buffer [2048 with mergeable ones, otherwise the "
	"largest frame]\n"
	"  --segment BYTES          of the pieces that frames over 9014 bytes are sent in [32768]\n"
	"  --gso                    negotiate TSO and LRO: frames up to 65535 bytes\n"
	"  --ports N                null mode: ports to make [2]\n"
	"\n"
	"A command is a line of JSON, and so is its answer: {\"cmd\":\"window\",\"size\":1518}. "
	"Options above the\n"
	"second heading may be given in it and hold for that run.\n"
	"  window    warm up, measure, stop sending, wait for the rest, answer with all counters\n"
	"  start     the same without end, answers at once; then: counters, gaps (longest time "
	"without a frame\n"
	"            since last asked), stop (answers like window)\n"
	"  info      ports, addresses, sizes\n"
	"  quit\n";

void conf_help(void)
{
	fputs(help, stdout);
}

enum kind {
	K_U32,
	K_REAL,
	K_MODE,
	K_PATTERN,
	K_WAY,
	K_TOUCH,
	K_SIZE,
	K_FLAG,
	K_PATH
};

struct option_def {
	const char *key;
	enum kind kind;
	bool fixed; /* once started */
	size_t offset;
	double min, max;
};

#define AT(field) offsetof(struct conf, field)

static const struct option_def defs[] = {
	{ "mode", K_MODE, false, AT(mode), 0, 0 },
	{ "pattern", K_PATTERN, false, AT(pattern), 0, 0 },
	{ "way", K_WAY, false, AT(way), 0, 0 },
	{ "size", K_SIZE, false, AT(size), FRAME_MIN, GSO_MAX },
	{ "touch", K_TOUCH, false, AT(touch), 0, 0 },
	{ "flows", K_U32, false, AT(flows), 1, 32768 },
	{ "rate", K_REAL, false, AT(rate), 0, 1e9 },
	{ "burst", K_U32, false, AT(burst), 1, BURST_MAX },
	{ "window", K_U32, false, AT(window), 0, 1 << 20 },
	{ "inflight", K_U32, false, AT(inflight), 1, 256 },
	{ "seconds", K_REAL, false, AT(seconds), 0.001, 86400 },
	{ "warmup", K_REAL, false, AT(warmup), 0, 3600 },
	{ "quiet", K_REAL, false, AT(quiet), 0.001, 60 },
	{ "control", K_PATH, true, AT(control), 0, 0 },
	{ "queues", K_U32, true, AT(queues), 1, QUEUES_MAX },
	{ "rxd", K_U32, true, AT(rxd), 64, 32768 },
	{ "txd", K_U32, true, AT(txd), 64, 32768 },
	{ "free-thresh", K_U32, true, AT(free_thresh), 0, 32768 },
	{ "max-size", K_U32, true, AT(max_size), FRAME_MIN, GSO_MAX },
	{ "rx-buffer", K_U32, true, AT(rx_buffer), 256, 65000 },
	{ "segment", K_U32, true, AT(segment), 1024, 65000 },
	{ "gso", K_FLAG, true, AT(gso), 0, 0 },
	{ "ports", K_U32, true, AT(ports), 1, PORTS_MAX },
};

static const struct option_def *find(const char *key)
{
	for (size_t i = 0; i < RTE_DIM(defs); i++) {
		if (!strcmp(defs[i].key, key))
			return &defs[i];
	}
	return NULL;
}

/* Index of value in words (`a|b|c`), or -1. */
static int word_index(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0;; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && !memcmp(words, value, len))
			return i;
		if (!words[n])
			return -1;
		words += n + 1;
	}
}

static bool real(const char *value, double min, double max, double *out)
{
	char *end;

	*out = strtod(value, &end);
	return *value && !*end && *out >= min && *out <= max;
}

static bool list_touch(const char *value, unsigned int *touch)
{
	char buf[64];
	char *save = NULL;

	*touch = 0;
	snprintf(buf, sizeof(buf), "%s", value);
	for (char *word = strtok_r(buf, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int bit = word_index("seq|write|read|none", word);

		if (bit < 0)
			return false;
		if (bit < 3)
			*touch |= 1u << bit;
	}
	return true;
}

static bool list_size(const char *value, const struct option_def *d, struct conf *conf)
{
	char buf[128];
	char *save = NULL;
	double v;

	conf->sizes = 0;
	snprintf(buf, sizeof(buf), "%s", value);
	for (char *word = strtok_r(buf, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		if (conf->sizes == SIZES_MAX || !real(word, d->min, d->max, &v))
			return false;
		conf->size[conf->sizes++] = (uint32_t)v;
	}
	return conf->sizes > 0;
}

static bool set_word(unsigned int *field, const char *words, const char *value)
{
	int i = word_index(words, value);

	if (i >= 0)
		*field = (unsigned int)i;
	return i >= 0;
}

static bool set(struct conf *conf, const struct option_def *d, const char *value)
{
	char *field = (char *)conf + d->offset;
	double v;

	switch (d->kind) {
	case K_U32:
		if (!real(value, d->min, d->max, &v) || v != (double)(uint32_t)v)
			return false;
		*(uint32_t *)(void *)field = (uint32_t)v;
		return true;
	case K_REAL:
		return real(value, d->min, d->max, (double *)(void *)field);
	case K_MODE:
		return set_word(&conf->mode, "flood|rtt|null", value);
	case K_PATTERN:
		return set_word(&conf->pattern, "pairs|uniform|self", value);
	case K_WAY:
		return set_word(&conf->way, "echo|bounce", value);
	case K_TOUCH:
		return list_touch(value, &conf->touch);
	case K_SIZE:
		return list_size(value, d, conf);
	case K_FLAG:
		*(bool *)field = true;
		return true;
	case K_PATH:
		if (strlen(value) >= sizeof(conf->control))
			return false;
		strcpy(conf->control, value);
		return true;
	}
	return false;
}

int conf_set(struct conf *conf, const char *key, const char *value, char *error, size_t size)
{
	const struct option_def *d = find(key);

	if (!d) {
		snprintf(error, size, "%s: no such option; see --help", key);
		return -EINVAL;
	}
	if (d->fixed) {
		snprintf(error, size, "%s is fixed once started: give --%s on the command line",
			 key, key);
		return -EINVAL;
	}
	if (!set(conf, d, value)) {
		snprintf(error, size, "%s: '%.40s' will not do; see --help", key, value);
		return -EINVAL;
	}
	return 0;
}

int conf_check(const struct conf *c, const struct load *l, char *error, size_t size)
{
	for (unsigned int i = 0; i < c->sizes; i++) {
		if (c->size[i] > FRAME_MAX && !l->tso) {
			snprintf(error, size,
				 "size %u: frames over %u bytes need --gso and a back-end with TSO",
				 c->size[i], FRAME_MAX);
			return -EINVAL;
		}
		if (c->size[i] > c->max_size) {
			snprintf(error, size, "size %u: start with --max-size %u", c->size[i],
				 c->size[i]);
			return -EINVAL;
		}
	}
	if (c->mode == MODE_NULL)
		return 0;
	if (c->mode == MODE_RTT ? c->way == WAY_BOUNCE : c->pattern != PATTERN_SELF) {
		bool pairs = c->mode == MODE_RTT || c->pattern == PATTERN_PAIRS;

		if (l->ports < 2 || (pairs && l->ports % 2)) {
			snprintf(error, size, "%u ports: this pattern needs %s", l->ports,
				 pairs ? "an even number" : "two at least");
			return -EINVAL;
		}
	}
	return 0;
}

static void defaults(struct conf *conf)
{
	*conf = (struct conf){
		.size = { 64 },
		.sizes = 1,
		.touch = TOUCH_SEQ,
		.flows = 1,
		.burst = 32,
		.inflight = 1,
		.seconds = 1,
		.warmup = 0.1,
		.quiet = 0.2,
		.queues = 1,
		.rxd = 1024,
		.txd = 1024,
		.max_size = 1518,
		.segment = 32768,
		.ports = 2,
	};
}

int conf_parse(struct conf *conf, int argc, char **argv)
{
	defaults(conf);
	for (int i = 1; i < argc; i++) {
		const char *key = strncmp(argv[i], "--", 2) ? NULL : argv[i] + 2;
		const struct option_def *d = key ? find(key) : NULL;
		const char *value = "";

		if (!d) {
			fprintf(stderr, "vvu-load: %s: no such option; see --help\n", argv[i]);
			return -EINVAL;
		}
		if (d->kind != K_FLAG) {
			if (++i == argc) {
				fprintf(stderr, "vvu-load: --%s needs a value\n", key);
				return -EINVAL;
			}
			value = argv[i];
		}
		if (!set(conf, d, value)) {
			fprintf(stderr, "vvu-load: --%s %s will not do; see --help\n", key, value);
			return -EINVAL;
		}
	}
	for (unsigned int i = 0; i < conf->sizes; i++)
		conf->max_size = RTE_MAX(conf->max_size, conf->size[i]);
	return 0;
}
