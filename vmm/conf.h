/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of vvu-vmm (architecture.md section 7) as one struct. */
#ifndef VMM_CONF_H
#define VMM_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/hostlib/sandbox.h"

/* Functions 00:01.0 to 00:1f.7. */
#define CONF_VVU_MAX  248
#define CONF_CPUS_MAX 128

/* One --vvu option. */
struct conf_vvu {
	char *link;	 /* path of the proxy's link socket */
	char *port;	 /* a valid port name */
	uint64_t shm;	 /* bytes of the shared-memory BAR; 0: the default */
	uint32_t queues; /* 1..VVU_MAX_VHOST_QUEUES */
	uint32_t virtio_id;
	bool replace;  /* take the port over from the VMM that serves it */
	bool has_uuid; /* else derived from the port's name */
	uint8_t uuid[16];
};

enum conf_serial {
	CONF_SERIAL_STDIO,
	CONF_SERIAL_FILE,
	CONF_SERIAL_NONE
};

struct vmm_conf {
	char *kernel;
	char *initrd;	 /* NULL: none */
	char *cmdline;	 /* never NULL */
	uint64_t memory; /* bytes */
	uint64_t
		hugepages; /* size of the pages that guest RAM is to be made of; 0: ordinary ones */
	bool prefault;	   /* memory is there before it is used: guest RAM, front-ends' regions */
	uint32_t cpus;
	struct conf_vvu *vvu;
	unsigned int num_vvu;
	enum conf_serial serial;
	char *serial_path;
	char *pid_file;
	char *control;
	char *log_level;
	struct sandbox_conf sandbox;
	char *user; /* what sandbox.user points to */
};

enum conf_result {
	CONF_RUN,
	CONF_EXIT, /* --help or --version was printed */
	CONF_BAD,  /* error says which option is wrong and what to do about it */
};

/* error: one line without newline, at most error_size bytes. conf needs conf_free() in every case.
 */
enum conf_result conf_parse(struct vmm_conf *conf, int argc, char *const argv[], char *error,
			    size_t error_size);
void conf_free(struct vmm_conf *conf);

#endif
