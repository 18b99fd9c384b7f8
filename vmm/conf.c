// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/vvu.h"
#include "vmm/conf.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"
#include "vmm/pages.h"

#define MEMORY_MIN     (UINT64_C(4) << 20)
#define MEMORY_MAX     (UINT64_C(1) << 42)
#define MEMORY_DEFAULT (UINT64_C(64) << 20)
#define SHM_MIN	       (UINT64_C(2) << 20)
#define SHM_MAX	       (UINT64_C(1) << 51)
#define CMDLINE_MAX    4095
#define VIRTIO_ID_DEF  53
#define VIRTIO_ID_MAX  63 /* modern virtio-pci: device IDs 0x1040 to 0x107f */

static const char usage_text[] =
	"usage: vvu-vmm --kernel FILE [OPTION ...]\n"
	"Runs one back-end VM on KVM, with virtio-vhost-user devices.\n"
	"\n"
	"  --kernel FILE        PVH ELF image or bzImage to boot\n"
	"  --initrd FILE        module passed to the image\n"
	"  --cmdline STRING     the image's command line\n"
	"  --memory SIZE        guest RAM, with suffix K, M or G (default 64M)\n"
	"  --hugepages[=SIZE]   guest RAM of huge pages of SIZE, 2M or 1G (default: the host's)\n"
	"  --prefault           have all memory there before it is used, the front-ends' too\n"
	"  --cpus N             virtual CPUs (default 1)\n"
	"  --vvu link=PATH,port=NAME[,shm=SIZE][,queues=N][,virtio-id=N][,uuid=UUID]\n"
	"          [,replace=on|off]\n"
	"                       a device that serves port NAME of the proxy whose link socket is\n"
	"                       PATH; repeat for more ports. replace=on: takes the port over from\n"
	"                       the VMM that serves it\n"
	"  --serial stdio|file=PATH|none\n"
	"                       where the first serial port goes (default stdio)\n"
	"  --control PATH       socket for status requests, one JSON object per line\n"
	"  --pid-file PATH      write the process ID there\n"
	"  --user USER          become USER (name or number) once /dev/kvm is open\n"
	"  --sandbox on|log|off give up what is not needed (default on; log: refuse no system "
	"call,\n"
	"                       have the kernel log it)\n"
	"  --log-level LEVEL    error, warn, info, debug or trace (default info)\n"
	"  --help, --version\n";

enum option_id {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_MEMORY,
	OPT_HUGEPAGES,
	OPT_PREFAULT,
	OPT_CPUS,
	OPT_VVU,
	OPT_SERIAL,
	OPT_CONTROL,
	OPT_PID_FILE,
	OPT_USER,
	OPT_SANDBOX,
	OPT_LOG_LEVEL,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option options[] = {
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "cmdline", required_argument, NULL, OPT_CMDLINE },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "hugepages", optional_argument, NULL, OPT_HUGEPAGES },
	{ "prefault", no_argument, NULL, OPT_PREFAULT },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "vvu", required_argument, NULL, OPT_VVU },
	{ "serial", required_argument, NULL, OPT_SERIAL },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "pid-file", required_argument, NULL, OPT_PID_FILE },
	{ "user", required_argument, NULL, OPT_USER },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

/* Where the parser is, and the error it leaves. */
struct parse {
	struct vmm_conf *conf;
	struct conf_vvu *vvu; /* the --vvu option being read */
	unsigned int seen;    /* options that may be given once, by option_id - OPT_KERNEL */
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int bad(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->error, p->error_size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int set_text(struct parse *p, char **field, const char *option, const char *text)
{
	if (!*text)
		return bad(p, "%s: is empty; give a value", option);
	*field = strdup(text);
	return *field ? 0 : bad(p, "%s: out of memory", option);
}

static int parse_uuid(const char *text, uint8_t out[16])
{
	unsigned int at = 0;

	for (unsigned int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		char c = text[i];

		if (dash ? c != '-' : !isxdigit((unsigned char)c))
			return -EINVAL;
		if (dash)
			continue;
		c = (char)tolower((unsigned char)c);
		out[at / 2] = (uint8_t)(out[at / 2] << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
		at++;
	}
	return text[36] ? -EINVAL : 0;
}

static int set_vvu_number(struct parse *p, const char *key, const char *value)
{
	struct conf_vvu *v = p->vvu;
	uint64_t size;

	if (!strcmp(key, "shm")) {
		if (prog_parse_size(value, &size) || size < SHM_MIN || size > SHM_MAX)
			return bad(p, "--vvu: shm=%s: give a size from 2M up, as in shm=64G",
				   value);
		v->shm = size;
		return 0;
	}
	if (!strcmp(key, "queues")) {
		if (prog_parse_u32(value, 1, VVU_MAX_VHOST_QUEUES, &v->queues))
			return bad(p, "--vvu: queues=%s: give a number from 1 to %u", value,
				   VVU_MAX_VHOST_QUEUES);
		return 0;
	}
	if (!strcmp(key, "virtio-id")) {
		if (prog_parse_u32(value, 1, VIRTIO_ID_MAX, &v->virtio_id))
			return bad(p, "--vvu: virtio-id=%s: give a number from 1 to %u", value,
				   VIRTIO_ID_MAX);
		return 0;
	}
	return bad(p,
		   "--vvu: unknown key '%s'; known are link, port, shm, queues, virtio-id, uuid, "
		   "replace",
		   key);
}

static int set_vvu_key(void *arg, const char *key, const char *value)
{
	struct parse *p = arg;
	struct conf_vvu *v = p->vvu;

	if (!value || !*value)
		return bad(p, "--vvu: '%s' has no value; write %s=...", key, *key ? key : "key");
	if (!strcmp(key, "link")) {
		if (v->link)
			return bad(p, "--vvu: link= is given twice; give one");
		return set_text(p, &v->link, "--vvu link", value);
	}
	if (!strcmp(key, "port")) {
		if (v->port)
			return bad(p, "--vvu: port= is given twice; repeat --vvu for another port");
		if (!prog_valid_port_name(value))
			return bad(p,
				   "--vvu: port=%s: a port name has 1 to 63 letters, digits, "
				   "'_', '.', '-' and starts with a letter or digit",
				   value);
		return set_text(p, &v->port, "--vvu port", value);
	}
	if (!strcmp(key, "replace")) {
		v->replace = !strcmp(value, "on");
		if (!v->replace && strcmp(value, "off"))
			return bad(p, "--vvu: replace=%s: give on or off", value);
		return 0;
	}
	if (!strcmp(key, "uuid")) {
		if (parse_uuid(value, v->uuid))
			return bad(p,
				   "--vvu: uuid=%s: write it as "
				   "01234567-89ab-cdef-0123-456789abcdef",
				   value);
		v->has_uuid = true;
		return 0;
	}
	return set_vvu_number(p, key, value);
}

static int add_vvu(struct parse *p, const char *list)
{
	struct vmm_conf *conf = p->conf;
	struct conf_vvu *more;
	int ret;

	if (conf->num_vvu == CONF_VVU_MAX)
		return bad(p, "--vvu: more than %u devices; use a second VM", CONF_VVU_MAX);
	more = realloc(conf->vvu, (conf->num_vvu + 1) * sizeof(*more));
	if (!more)
		return bad(p, "--vvu: out of memory");
	conf->vvu = more;
	p->vvu = &more[conf->num_vvu++];
	*p->vvu = (struct conf_vvu){ .queues = VVU_MAX_VHOST_QUEUES, .virtio_id = VIRTIO_ID_DEF };

	p->error[0] = '\0';
	ret = prog_each_option(list, set_vvu_key, p);
	if (ret)
		return p->error[0] ? ret : bad(p, "--vvu: cannot read '%.64s'", list);
	if (!p->vvu->link)
		return bad(p, "--vvu %.64s: link= is missing; name vvu-proxy's --link socket",
			   list);
	if (!p->vvu->port)
		return bad(p, "--vvu %.64s: port= is missing; name a --port of vvu-proxy", list);
	for (unsigned int i = 0; i + 1 < conf->num_vvu; i++) {
		if (!strcmp(conf->vvu[i].port, p->vvu->port) &&
		    !strcmp(conf->vvu[i].link, p->vvu->link))
			return bad(p, "--vvu: port %s is given twice; a port has one device",
				   p->vvu->port);
	}
	return 0;
}

static int set_serial(struct parse *p, const char *how)
{
	if (!strcmp(how, "stdio")) {
		p->conf->serial = CONF_SERIAL_STDIO;
		return 0;
	}
	if (!strcmp(how, "none")) {
		p->conf->serial = CONF_SERIAL_NONE;
		return 0;
	}
	if (!strncmp(how, "file=", 5) && how[5]) {
		p->conf->serial = CONF_SERIAL_FILE;
		return set_text(p, &p->conf->serial_path, "--serial", how + 5);
	}
	return bad(p, "--serial %s: give stdio, file=PATH or none", how);
}

static int set_memory(struct parse *p, const char *text)
{
	uint64_t *memory = &p->conf->memory;

	if (prog_parse_size(text, memory))
		return bad(p, "--memory %s: not a size; write it as 64M or 2G", text);
	if (*memory < MEMORY_MIN || *memory > MEMORY_MAX || *memory % 4096)
		return bad(p, "--memory %s: give a multiple of 4K from 4M to 4T", text);
	return 0;
}

static int set_hugepages(struct parse *p, const char *text)
{
	uint64_t *page = &p->conf->hugepages;

	if (!text)
		*page = pages_default_huge();
	else if (prog_parse_size(text, page) || (*page != PAGE_2M && *page != PAGE_1G))
		return bad(p, "--hugepages=%s: not a size of huge pages; give 2M or 1G", text);
	return 0;
}

static int set_cmdline(struct parse *p, const char *text)
{
	if (strlen(text) > CMDLINE_MAX)
		return bad(p, "--cmdline: %zu bytes; at most %u fit", strlen(text), CMDLINE_MAX);
	free(p->conf->cmdline);
	p->conf->cmdline = strdup(text);
	return p->conf->cmdline ? 0 : bad(p, "--cmdline: out of memory");
}

static int set_option(struct parse *p, int opt, const char *arg)
{
	struct vmm_conf *conf = p->conf;

	switch (opt) {
	case OPT_KERNEL:
		return set_text(p, &conf->kernel, "--kernel", arg);
	case OPT_INITRD:
		return set_text(p, &conf->initrd, "--initrd", arg);
	case OPT_CMDLINE:
		return set_cmdline(p, arg);
	case OPT_MEMORY:
		return set_memory(p, arg);
	case OPT_HUGEPAGES:
		return set_hugepages(p, arg);
	case OPT_PREFAULT:
		conf->prefault = true;
		return 0;
	case OPT_CPUS:
		if (prog_parse_u32(arg, 1, CONF_CPUS_MAX, &conf->cpus))
			return bad(p, "--cpus %s: give a number from 1 to %u", arg, CONF_CPUS_MAX);
		return 0;
	case OPT_VVU:
		return add_vvu(p, arg);
	case OPT_SERIAL:
		return set_serial(p, arg);
	case OPT_CONTROL:
		return set_text(p, &conf->control, "--control", arg);
	case OPT_PID_FILE:
		return set_text(p, &conf->pid_file, "--pid-file", arg);
	case OPT_USER:
		if (set_text(p, &conf->user, "--user", arg))
			return -EINVAL;
		conf->sandbox.user = conf->user;
		return 0;
	case OPT_SANDBOX:
		if (sandbox_parse_mode(arg, &conf->sandbox.mode))
			return bad(p, "--sandbox %s: give on, log or off", arg);
		return 0;
	case OPT_LOG_LEVEL:
		if (log_set_level(arg))
			return bad(p, "--log-level %s: give error, warn, info, debug or trace",
				   arg);
		return set_text(p, &conf->log_level, "--log-level", arg);
	}
	return bad(p, "unknown option");
}

static int parse_one(struct parse *p, int opt, const char *name)
{
	unsigned int bit = 1u << (opt - OPT_KERNEL);

	if (opt != OPT_VVU && (p->seen & bit))
		return bad(p, "--%s is given twice; give it once", name);
	p->seen |= bit;
	return set_option(p, opt, optarg);
}

enum conf_result conf_parse(struct vmm_conf *conf, int argc, char *const argv[], char *error,
			    size_t error_size)
{
	struct parse p = { .conf = conf, .error = error, .error_size = error_size };
	int opt, index = 0;

	*conf = (struct vmm_conf){ .memory = MEMORY_DEFAULT, .cpus = 1, .cmdline = strdup("") };
	opterr = 0;
	optind = 0; /* 0, not 1: start afresh, so that tests can parse many times */
	while ((opt = getopt_long(argc, argv, "+:", options, &index)) != -1) {
		switch (opt) {
		case OPT_HELP:
			fputs(usage_text, stdout);
			return CONF_EXIT;
		case OPT_VERSION:
			prog_print_version("vvu-vmm");
			return CONF_EXIT;
		case ':':
			bad(&p, "%s needs a value", argv[optind - 1]);
			return CONF_BAD;
		case '?':
			bad(&p, "unknown option %s", argv[optind - 1]);
			return CONF_BAD;
		default:
			if (parse_one(&p, opt, options[index].name))
				return CONF_BAD;
		}
	}
	if (optind < argc)
		bad(&p, "'%s' is no option", argv[optind]);
	else if (!conf->kernel)
		bad(&p, "--kernel is missing; name the image to boot");
	else if (!conf->cmdline)
		bad(&p, "out of memory");
	else
		return CONF_RUN;
	return CONF_BAD;
}

void conf_free(struct vmm_conf *conf)
{
	for (unsigned int i = 0; i < conf->num_vvu; i++) {
		free(conf->vvu[i].link);
		free(conf->vvu[i].port);
	}
	free(conf->vvu);
	free(conf->kernel);
	free(conf->initrd);
	free(conf->cmdline);
	free(conf->serial_path);
	free(conf->pid_file);
	free(conf->control);
	free(conf->log_level);
	free(conf->user);
	*conf = (struct vmm_conf){ 0 };
}
