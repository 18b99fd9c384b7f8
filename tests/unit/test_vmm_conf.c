// SPDX-License-Identifier: BSD-2-Clause
/* vvu-vmm's command line: what is taken, and that every kind of nonsense is refused with a line
 * naming its option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "vmm/conf.h"

#define ARGS_MAX 300

/* Parses "a b c", words separated by blanks; '+' stands for a blank in a word, '^' for an empty
 * word. */
static enum conf_result parse(struct vmm_conf *conf, const char *line, char error[256])
{
	static char text[16384];
	char *argv[ARGS_MAX] = { (char[]){ "vvu-vmm" } };
	int argc = 1;

	assert_true(strlen(line) < sizeof(text));
	strcpy(text, line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		for (char *c = word; *c; c++)
			*c = *c == '+' ? ' ' : *c;
		argv[argc++] = *word == '^' ? word + 1 : word;
	}
	strcpy(error, "");
	return conf_parse(conf, argc, argv, error, 256);
}

static void refused(const char *line, const char *names)
{
	struct vmm_conf conf;
	char error[256];

	assert_int_equal(parse(&conf, line, error), CONF_BAD);
	if (!strstr(error, names))
		fail_msg("'%s' gives '%s', which does not name %s", line, error, names);
	assert_null(strchr(error, '\n'));
	conf_free(&conf);
}

static void defaults(void **state)
{
	struct vmm_conf conf;
	char error[256];

	assert_int_equal(parse(&conf, "--kernel k", error), CONF_RUN);
	assert_string_equal(conf.kernel, "k");
	assert_null(conf.initrd);
	assert_string_equal(conf.cmdline, "");
	assert_int_equal(conf.memory, 64 << 20);
	assert_int_equal(conf.hugepages, 0);
	assert_false(conf.prefault);
	assert_int_equal(conf.cpus, 1);
	assert_int_equal(conf.num_vvu, 0);
	assert_int_equal(conf.serial, CONF_SERIAL_STDIO);
	conf_free(&conf);
}

static void everything(void **state)
{
	static const uint8_t uuid[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					  0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10 };
	struct vmm_conf conf;
	char error[256];

	assert_int_equal(
		parse(&conf,
		      "--kernel=k --initrd i --cmdline switch+poll=always --memory 3G "
		      "--cpus 4 --serial file=/s --pid-file p --control c --log-level warn "
		      "--vvu link=/l,port=p0 "
		      "--vvu port=p1,link=/l,shm=1G,queues=2,virtio-id=43,"
		      "uuid=01234567-89AB-cdef-fedc-ba9876543210,replace=on",
		      error),
		CONF_RUN);
	assert_string_equal(conf.initrd, "i");
	assert_string_equal(conf.cmdline, "switch poll=always");
	assert_int_equal(conf.memory, 3ull << 30);
	assert_int_equal(conf.cpus, 4);
	assert_int_equal(conf.serial, CONF_SERIAL_FILE);
	assert_string_equal(conf.serial_path, "/s");
	assert_string_equal(conf.pid_file, "p");
	assert_string_equal(conf.control, "c");
	assert_int_equal(conf.num_vvu, 2);
	assert_string_equal(conf.vvu[0].link, "/l");
	assert_string_equal(conf.vvu[0].port, "p0");
	assert_int_equal(conf.vvu[0].shm, 0);
	assert_int_equal(conf.vvu[0].queues, 256);
	assert_int_equal(conf.vvu[0].virtio_id, 53);
	assert_false(conf.vvu[0].has_uuid);
	assert_int_equal(conf.vvu[1].shm, 1 << 30);
	assert_int_equal(conf.vvu[1].queues, 2);
	assert_int_equal(conf.vvu[1].virtio_id, 43);
	assert_true(conf.vvu[1].has_uuid);
	assert_false(conf.vvu[0].replace);
	assert_true(conf.vvu[1].replace);
	assert_memory_equal(conf.vvu[1].uuid, uuid, 16);
	conf_free(&conf);
}

static void huge_pages(void **state)
{
	struct vmm_conf conf;
	char error[256];

	assert_int_equal(parse(&conf, "--kernel k --hugepages --prefault", error), CONF_RUN);
	assert_true(conf.hugepages >= 2 << 20);
	assert_true(conf.prefault);
	conf_free(&conf);
	assert_int_equal(parse(&conf, "--kernel k --hugepages=1G", error), CONF_RUN);
	assert_int_equal(conf.hugepages, 1 << 30);
	assert_false(conf.prefault);
	conf_free(&conf);
}

static void nonsense(void **state)
{
	static const struct {
		const char *line;
		const char *names;
	} bad[] = {
		{ "--kernel k --vvu link=/l,port=p,replace=yes", "replace=yes" },
		{ "", "--kernel" },
		{ "--kernel", "--kernel" },
		{ "--kernel ^", "--kernel" },
		{ "--kernel k extra", "extra" },
		{ "--kernel k --kernel k", "--kernel" },
		{ "--kernel k --nonsense", "--nonsense" },
		{ "--kernel k -x", "-x" },
		{ "--kernel k --memory 0", "--memory" },
		{ "--kernel k --memory 1M", "--memory" },
		{ "--kernel k --memory 64Q", "--memory" },
		{ "--kernel k --memory -64M", "--memory" },
		{ "--kernel k --memory 67108865", "--memory" },
		{ "--kernel k --memory 99999999999999999999", "--memory" },
		{ "--kernel k --memory 9999999T", "--memory" },
		{ "--kernel k --hugepages=4K", "--hugepages" },
		{ "--kernel k --hugepages=", "--hugepages" },
		{ "--kernel k --hugepages --hugepages=2M", "--hugepages" },
		{ "--kernel k --prefault=yes", "--prefault" },
		{ "--kernel k --cpus 0", "--cpus" },
		{ "--kernel k --cpus 129", "--cpus" },
		{ "--kernel k --cpus two", "--cpus" },
		{ "--kernel k --cpus 4294967297", "--cpus" },
		{ "--kernel k --serial tty", "--serial" },
		{ "--kernel k --serial file=", "--serial" },
		{ "--kernel k --log-level loud", "--log-level" },
		{ "--kernel k --control ^", "--control" },
		{ "--kernel k --vvu ^", "--vvu" },
		{ "--kernel k --vvu port=p", "link=" },
		{ "--kernel k --vvu link=/l", "port=" },
		{ "--kernel k --vvu link=/l,port=", "port" },
		{ "--kernel k --vvu link=/l,port=a/b", "port=a/b" },
		{ "--kernel k --vvu link=/l,port=p,port=q", "port=" },
		{ "--kernel k --vvu link=/l,link=/l,port=p", "link=" },
		{ "--kernel k --vvu link=/l,port=p,color=red", "color" },
		{ "--kernel k --vvu link=/l,port=p,shm", "shm" },
		{ "--kernel k --vvu link=/l,port=p,shm=1M", "shm=1M" },
		{ "--kernel k --vvu link=/l,port=p,shm=big", "shm=big" },
		{ "--kernel k --vvu link=/l,port=p,queues=0", "queues=0" },
		{ "--kernel k --vvu link=/l,port=p,queues=257", "queues=257" },
		{ "--kernel k --vvu link=/l,port=p,virtio-id=0", "virtio-id=0" },
		{ "--kernel k --vvu link=/l,port=p,virtio-id=64", "virtio-id=64" },
		{ "--kernel k --vvu link=/l,port=p,uuid=1", "uuid=1" },
		{ "--kernel k --vvu link=/l,port=p,uuid=01234567-89ab-cdef-0123-456789abcdeff",
		  "uuid=" },
		{ "--kernel k --vvu link=/l,port=p,uuid=01234567x89ab-cdef-0123-456789abcdef",
		  "uuid=" },
		{ "--kernel k --vvu link=/l,port=p --vvu link=/l,port=p", "port p" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i].line, bad[i].names);
}

static void many_ports(void **state)
{
	static char line[16384];
	struct vmm_conf conf;
	char error[256];

	strcpy(line, "--kernel k");
	for (unsigned int i = 0; i < CONF_VVU_MAX; i++)
		sprintf(line + strlen(line), " --vvu=link=/l,port=p%u", i);
	assert_int_equal(parse(&conf, line, error), CONF_RUN);
	assert_int_equal(conf.num_vvu, CONF_VVU_MAX);
	assert_string_equal(conf.vvu[31].port, "p31");
	conf_free(&conf);
	strcat(line, " --vvu=link=/l,port=one-more");
	refused(line, "--vvu");
}

static void long_cmdline(void **state)
{
	static char line[8192] = "--kernel k --cmdline=";
	struct vmm_conf conf;
	char error[256];
	size_t base = strlen(line);

	memset(line + base, 'x', 4095);
	assert_int_equal(parse(&conf, line, error), CONF_RUN);
	assert_int_equal(strlen(conf.cmdline), 4095);
	conf_free(&conf);
	line[base + 4095] = 'x';
	refused(line, "--cmdline");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),   cmocka_unit_test(everything),
		cmocka_unit_test(huge_pages), cmocka_unit_test(nonsense),
		cmocka_unit_test(many_ports), cmocka_unit_test(long_cmdline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
