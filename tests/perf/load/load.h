/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vvu-load: a DPDK application whose ports are front-ends of the thing under test.
 *
 * One thread does everything: it sends and receives on all ports in turn, so that the other processor is left to the
 * back-end, and between two runs it waits for commands. What the parts are:
 *
 *   options   the command line; the same words are accepted as keys of a command
 *   ports     ethdev: mempools, queues, start and stop
 *   frames    what frames look like: headers, the mark that tells them apart, the pattern of their payload
 *   flood     sends, receives, counts
 *   rtt       round trips and their histogram (hist)
 *   control   commands as lines of JSON
 *   report    results as JSON
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#define PORTS_MAX  64
#define QUEUES_MAX 4
#define BURST_MAX  256
#define SIZES_MAX  8
#define DRAWS	   8192 /* destinations drawn ahead per port; a power of two */
#define FRAME_MIN  64
#define FRAME_MAX  9014	 /* larger ones are TCP segments to be cut (GSO) */
#define GSO_MAX	   65535 /* total length of IPv4 is 16 bits wide */

enum mode {
	MODE_FLOOD,
	MODE_RTT,
	MODE_NULL
};
enum pattern {
	PATTERN_PAIRS,
	PATTERN_UNIFORM,
	PATTERN_SELF
};
enum way {
	WAY_ECHO,
	WAY_BOUNCE
};

#define TOUCH_SEQ   1 /* write a sequence number into each frame, check order on arrival */
#define TOUCH_WRITE 2 /* write the whole payload of each frame */
#define TOUCH_READ  4 /* read the whole payload and check it */

struct conf {
	enum mode mode;
	enum pattern pattern;
	enum way way;
	unsigned int touch;
	uint32_t size[SIZES_MAX];
	unsigned int sizes;
	unsigned int flows;
	unsigned int burst;
	unsigned int window;   /* frames under way at most, all ports together; 0: no limit */
	unsigned int inflight; /* rtt: frames under way */
	double rate;	       /* frames per second, all ports together; 0: no limit */
	double seconds, warmup;
	double quiet; /* a run has ended when nothing has come for so many seconds */
	/* Fixed once the ports have been started: */
	unsigned int queues, rxd, txd, free_thresh;
	unsigned int ports; /* MODE_NULL only: ports to create */
	uint32_t max_size, rx_buffer, segment;
	bool gso;
	char control[108];
};

struct counters {
	uint64_t tx, rx, tx_bytes, rx_bytes;
	uint64_t full;	    /* bursts that did not fit into the ring */
	uint64_t stray;	    /* received, but of another run, another port's or none of ours */
	uint64_t reordered; /* came after a later one of the same flow */
	uint64_t damaged;   /* wrong length or payload */
	uint64_t damaged_bytes;
};

/* Longest times between two bursts that came, in TSC cycles. */
struct gaps {
	uint64_t last;	  /* when something came; 0: nothing yet */
	uint64_t longest; /* of the window */
	uint64_t recent;  /* since somebody asked */
};

struct txq {
	struct rte_mempool *pool;
	struct rte_mbuf *pending[BURST_MAX];
	unsigned int at, num; /* of pending */
	uint64_t seq;	      /* of the next frame; never goes back */
	uint64_t next;	      /* TSC of the next burst, when paced */
	unsigned int draw;
};

struct fport {
	uint16_t id;
	struct rte_ether_addr mac;
	struct txq txq[QUEUES_MAX];
	struct counters count;
	struct gaps gaps;
	uint64_t *last;		     /* [source port][flow]: 1 + sequence number seen last */
	uint64_t address[PORTS_MAX]; /* first 8 bytes of a frame to that port */
	uint8_t draws[DRAWS];
};

struct load {
	struct conf conf;  /* as on the command line */
	struct conf now;   /* of this run: overridden by its command */
	struct conf built; /* what the frames in the pools were built for */
	struct fport *port;
	unsigned int ports;
	struct rte_mempool *rx_pool;
	bool scatter, tso;
	unsigned int last_flows;
	uint32_t epoch;	    /* number of the run */
	uint64_t hz;	    /* of the TSC */
	uint64_t under_way; /* frames sent and not come yet */
};

/* Where counters stood at one moment. */
struct snapshot {
	uint64_t tsc, busy;
	struct counters count[PORTS_MAX];
};

struct result {
	struct snapshot begin, end; /* of the window that counts */
	struct counters whole;	    /* of the run, warm-up and drain included; all ports */
	struct hist *hist;
	uint64_t timeouts;
};

/*
 * Asked about once per millisecond during a run. Returns true when the run is to stop. `l` is consistent then:
 * commands may read counters.
 */
typedef bool (*tick_fn)(struct load *l, void *arg, const struct snapshot *begin, uint64_t busy);

/* Set by signals. */
extern volatile bool load_ending;

/* options.c. On error: one line on stderr, -EINVAL. */
int conf_parse(struct conf *conf, int argc, char **argv);
int conf_set(struct conf *conf, const char *key, const char *value, char *error, size_t size);
int conf_check(const struct conf *conf, const struct load *l, char *error, size_t size);
void conf_help(void);

/* ports.c */
int ports_start(struct load *l);
void ports_stop(struct load *l);
int ports_announce(struct load *l);
uint64_t ports_discard(struct load *l);

/* flood.c, rtt.c: one run; tick may be NULL. seconds == 0: until tick says so. */
int flood_run(struct load *l, tick_fn tick, void *arg, struct result *result);
int rtt_run(struct load *l, tick_fn tick, void *arg, struct result *result);
void snapshot_take(const struct load *l, uint64_t busy, struct snapshot *s);

/* control.c: serves commands until told to quit. */
int control_serve(struct load *l);

#endif
