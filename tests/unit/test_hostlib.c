// SPDX-License-Identifier: BSD-2-Clause
/* Option values, sockets, log lines and their limit, kinds of fds, control sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/hostlib/block.h"
#include "vmm/hostlib/control.h"
#include "vmm/hostlib/fds.h"
#include "vmm/hostlib/log.h"
#include "vmm/hostlib/prog.h"

static char dir[] = "/tmp/vvu-unit-XXXXXX";
static char path[128];

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "4096", 0, 4096 },
		{ "1K", 0, 1024 },
		{ "64M", 0, UINT64_C(64) << 20 },
		{ "2g", 0, UINT64_C(2) << 30 },
		{ "1T", 0, UINT64_C(1) << 40 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -EINVAL, 0 },
		{ "17179869184G", -EINVAL, 0 },
		{ "16777216T", -EINVAL, 0 },
		{ "16777215T", 0, UINT64_C(16777215) << 40 },
		{ "", -EINVAL, 0 },
		{ "K", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1KB", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 0;

		assert_int_equal(prog_parse_size(cases[i].text, &value), cases[i].ret);
		if (!cases[i].ret)
			assert_int_equal(value, cases[i].value);
	}
}

static void test_u32(void **state)
{
	uint32_t v;

	assert_int_equal(prog_parse_u32("10", 1, 10, &v), 0);
	assert_int_equal(v, 10);
	assert_int_equal(prog_parse_u32("4294967295", 0, UINT32_MAX, &v), 0);
	assert_int_equal(v, UINT32_MAX);
	assert_int_equal(prog_parse_u32("4294967296", 0, UINT32_MAX, &v), -EINVAL);
	assert_int_equal(prog_parse_u32("99999999999999999999999", 0, UINT32_MAX, &v), -EINVAL);
	assert_int_equal(prog_parse_u32("11", 1, 10, &v), -EINVAL);
	assert_int_equal(prog_parse_u32("0", 1, 10, &v), -EINVAL);
	assert_int_equal(prog_parse_u32("", 0, 10, &v), -EINVAL);
	assert_int_equal(prog_parse_u32("1a", 0, 10, &v), -EINVAL);
}

static int collect(void *arg, const char *key, const char *value)
{
	char *out = arg;

	if (!strcmp(key, "stop"))
		return 5;
	sprintf(out + strlen(out), "[%s|%s]", key, value ? value : "-");
	return 0;
}

static void test_option_lists(void **state)
{
	char out[256] = "", *big = malloc(10000);

	assert_int_equal(prog_each_option("a=1,b,c=,d=x=y", collect, out), 0);
	assert_string_equal(out, "[a|1][b|-][c|][d|x=y]");
	out[0] = '\0';
	assert_int_equal(prog_each_option(",a,", collect, out), 0);
	assert_string_equal(out, "[|-][a|-][|-]");
	out[0] = '\0';
	assert_int_equal(prog_each_option("a,stop,b", collect, out), 5);
	assert_string_equal(out, "[a|-]");
	assert_non_null(big);
	memset(big, 'x', 9999);
	big[9999] = '\0';
	assert_int_equal(prog_each_option(big, collect, out), -EINVAL);
	big[4096] = '\0';
	assert_int_equal(prog_each_option(big, collect, out), -EINVAL);
	free(big);
}

static void test_port_names(void **state)
{
	char name[65];

	assert_true(prog_valid_port_name("p0"));
	assert_true(prog_valid_port_name("a_b.c-d"));
	assert_false(prog_valid_port_name(""));
	assert_false(prog_valid_port_name("-a"));
	assert_false(prog_valid_port_name("a b"));
	assert_false(prog_valid_port_name("a/b"));
	assert_false(prog_valid_port_name("caf\xc3\xa9"));
	memset(name, 'a', sizeof(name));
	name[64] = '\0';
	assert_false(prog_valid_port_name(name));
	name[63] = '\0';
	assert_true(prog_valid_port_name(name));
}

static void test_sockets(void **state)
{
	char longpath[200];
	unsigned int uid;
	struct stat st;
	int l, c, a, pid;

	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(prog_connect_unix(path, SOCK_STREAM), -ENOENT);
	l = prog_listen_unix(path, SOCK_STREAM, 0600);
	assert_true(l >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(prog_listen_unix(path, SOCK_STREAM, 0600), -EADDRINUSE);
	assert_int_equal(prog_listen_unix(path, SOCK_SEQPACKET, 0600), -EADDRINUSE);
	c = prog_connect_unix(path, SOCK_STREAM);
	assert_true(c >= 0);
	assert_int_equal(prog_peer_uid(c, &uid), 0);
	assert_int_equal(uid, getuid());
	assert_int_equal(prog_peer_pid(c, &pid), 0);
	assert_int_equal(pid, getpid());
	close(c);
	/* The two probes of the refused listeners may be ahead of it. */
	while ((a = accept(l, NULL, NULL)) >= 0)
		close(a);
	close(l);
	assert_int_equal(prog_connect_unix(path, SOCK_STREAM), -ECONNREFUSED);
	l = prog_listen_unix(path, SOCK_SEQPACKET, 0660);
	assert_true(l >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	close(l);
	assert_int_equal(unlink(path), 0);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(prog_listen_unix(path, SOCK_STREAM, 0600), -ENOTSOCK);
	unlink(path);
	memset(longpath, 'a', sizeof(longpath));
	longpath[sizeof(longpath) - 1] = '\0';
	assert_int_equal(prog_listen_unix(longpath, SOCK_STREAM, 0600), -ENAMETOOLONG);
}

/* What fn writes to standard error. */
static void captured(void (*fn)(void), char *out, size_t bytes)
{
	int saved = dup(STDERR_FILENO), p[2];
	ssize_t n;

	assert_int_equal(pipe(p), 0);
	dup2(p[1], STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	close(p[1]);
	n = read(p[0], out, bytes - 1);
	out[n > 0 ? n : 0] = '\0';
	close(p[0]);
	close(saved);
}

static void one_line(void)
{
	log_warn("port a", "said %s", "two\nlines\x1b");
	log_debug("port a", "not shown");
}

static void long_line(void)
{
	char big[3000];

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_error(NULL, "%s", big);
}

static void flood_lines(void)
{
	for (int i = 0; i < 1000; i++)
		log_peer(LOG_L_INFO, NULL, "flood %d", i);
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* At most so many windows of the limit have begun since then, however slow we are. */
static unsigned int windows_since(time_t start)
{
	return (unsigned int)(seconds() - start) + 2;
}

static void test_log(void **state)
{
	static char out[65536];
	struct log_limit limit = { 0 };
	unsigned int passed = 0, told = 0, suppressed, lines = 0;
	time_t start;

	log_open("unit");
	captured(one_line, out, sizeof(out));
	assert_string_equal(out, "unit: warn: port a: said two?lines?\n");
	captured(long_line, out, sizeof(out));
	assert_true(strlen(out) < 1100 && out[strlen(out) - 1] == '\n');
	start = seconds();
	captured(flood_lines, out, sizeof(out));
	for (char *c = out; *c; c++)
		lines += *c == '\n';
	assert_in_range(lines, 10, 10 * windows_since(start));
	start = seconds();
	for (int i = 0; i < 25; i++) {
		passed += log_limit_pass(&limit, &suppressed);
		told += suppressed;
	}
	assert_in_range(passed, 10, 10 * windows_since(start));
	/* The next window tells what the last one left out. */
	limit.window_ns -= UINT64_C(2000000000);
	assert_true(log_limit_pass(&limit, &suppressed));
	assert_int_equal(told + suppressed, 25 - passed);
	assert_true(log_limit_pass(&limit, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_int_equal(log_set_level("loud"), -EINVAL);
	assert_int_equal(log_set_level("debug"), 0);
	assert_true(log_enabled(LOG_L_DEBUG) && !log_enabled(LOG_L_TRACE));
	assert_int_equal(log_set_level("info"), 0);
}

static void test_kinds_of_fds(void **state)
{
	const char *why = NULL;
	char file[160];
	int mem = memfd_create("m", MFD_CLOEXEC), efd = eventfd(0, EFD_CLOEXEC), sv[2], ro, disk,
	    p[2];
	int efd2 = eventfd(0, EFD_CLOEXEC), dupe = dup(efd);

	assert_int_equal(ftruncate(mem, 8192), 0);
	assert_int_equal(fd_check_memory(mem, 8192, &why), 0);
	assert_int_equal(fd_check_memory(mem, 8193, &why), -EINVAL);
	assert_string_equal(why, "memory file is shorter than claimed");
	assert_int_equal(fd_check_memory(mem, UINT64_MAX, &why), -EINVAL);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", mem);
	ro = open(file, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fd_check_memory(ro, 4096, &why), -EINVAL);
	close(ro);
	ro = open(file, O_PATH | O_CLOEXEC);
	assert_int_equal(fd_check_memory(ro, 4096, &why), -EINVAL);
	disk = open("/proc/self/comm", O_RDWR | O_CLOEXEC);
	assert_int_equal(fd_check_memory(disk, 0, &why), -EINVAL);
	assert_int_equal(fd_check_memory(efd, 0, &why), -EINVAL);
	assert_int_equal(fd_page_size(mem), 4096);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(fd_check_eventfd(efd, &why), 0);
	assert_int_equal(fd_check_eventfd(mem, &why), -EINVAL);
	assert_int_equal(fd_check_eventfd(p[0], &why), -EINVAL);
	assert_int_equal(fd_check_eventfd(sv[0], &why), -EINVAL);
	assert_int_equal(fd_check_eventfd(-1, &why), -EINVAL);
	assert_int_equal(fd_check_unix_stream(sv[0], &why), 0);
	assert_int_equal(fd_check_unix_stream(efd, &why), -EINVAL);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_int_equal(fd_check_unix_stream(sv[0], &why), -EINVAL);
	assert_true(fd_same_eventfd(efd, dupe));
	assert_false(fd_same_eventfd(efd, efd2));
	assert_false(fd_same_eventfd(efd, mem));
	close(sv[0]);
	close(sv[1]);
	close(p[0]);
	close(p[1]);
	close(ro);
	close(disk);
	close(mem);
	close(dupe);
	close(efd2);
	fd_close(&efd);
	assert_int_equal(efd, -1);
	fd_close(&efd);
	assert_true(fd_raise_limit() > 0);
}

/* Takes the connection that the request comes on. */
struct taker {
	struct control *control;
	int sock;
};

static int answer(void *arg, const char *cmd, struct json_object *request,
		  struct json_object *reply, const char **error)
{
	struct taker *t = arg;

	if (!strcmp(cmd, "bad")) {
		*error = "it is bad";
		return -EINVAL;
	}
	if (!strcmp(cmd, "take")) {
		assert_true(control_peer(t->control) >= 0);
		t->sock = control_take(t->control);
		return 0;
	}
	if (strcmp(cmd, "status"))
		return -ENOENT;
	json_object_object_add(reply, "n", json_object_new_int(7));
	return 0;
}

static void ask(struct event_base *base, const char *line, char *out, size_t bytes)
{
	int fd = prog_connect_unix(path, SOCK_STREAM);
	ssize_t n = -1;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	for (int i = 0; i < 50 && n < 0; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		n = read(fd, out, bytes - 1);
	}
	assert_true(n >= 0);
	out[n] = '\0';
	close(fd);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static char big_reply[1024];

static void test_control(void **state)
{
	struct event_base *base = event_base_new();
	struct control *c;
	char out[1024], big[6000];

	snprintf(path, sizeof(path), "%s/c", dir);
	c = control_open(base, path, answer, NULL);
	assert_non_null(c);
	ask(base, "{\"cmd\":\"status\"}\n", out, sizeof(out));
	assert_string_equal(out, "{\"n\":7,\"ok\":true}\n");
	ask(base, "{\"cmd\":\"nope\"}\n", out, sizeof(out));
	assert_string_equal(out, "{\"ok\":false,\"error\":\"unknown command\"}\n");
	ask(base, "{\"cmd\":\"bad\"}\n", out, sizeof(out));
	assert_string_equal(out, "{\"ok\":false,\"error\":\"it is bad\"}\n");
	ask(base, "{\"cmd\":7}\n", out, sizeof(out));
	assert_non_null(strstr(out, "\"ok\":false"));
	ask(base, "rubbish\n", out, sizeof(out));
	assert_non_null(strstr(out, "\"ok\":false"));
	ask(base, "{\"cmd\":\"status\"}\n{\"cmd\":\"status\"}\n", out, sizeof(out));
	assert_string_equal(out, "{\"n\":7,\"ok\":true}\n{\"n\":7,\"ok\":true}\n");
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	ask(base, big, out, sizeof(out));
	assert_string_equal(out, ""); /* closed */
	assert_null(control_open(base, path, answer, NULL));
	assert_int_equal(errno, EADDRINUSE);
	control_close(c);
	assert_int_equal(access(path, F_OK), -1);
	event_base_free(base);
}

static void test_control_taken(void **state)
{
	struct event_base *base = event_base_new();
	struct taker t = { .sock = -1 };
	char out[16];
	int fd, twice;

	snprintf(path, sizeof(path), "%s/c", dir);
	t.control = control_open(base, path, answer, &t);
	assert_non_null(t.control);
	assert_true(control_has_file(t.control));
	fd = prog_connect_unix(path, SOCK_STREAM);
	assert_int_equal(write(fd, "{\"cmd\":\"take\"}\n", 15), 15);
	while (t.sock < 0)
		event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	/* No reply, and it is open. */
	assert_int_equal(read(fd, out, sizeof(out)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(t.sock, "hello", 5), 5);
	assert_int_equal(read(fd, out, sizeof(out)), 5);
	/* Others are served as ever. */
	ask(base, "{\"cmd\":\"nope\"}\n", big_reply, sizeof(big_reply));
	assert_string_equal(big_reply, "{\"ok\":false,\"error\":\"unknown command\"}\n");
	fd_close(&t.sock);
	assert_int_equal(read(fd, out, sizeof(out)), 0);
	close(fd);

	/* A duplicate of the listening socket, served by another; the file is nobody's. */
	twice = dup(control_socket(t.control));
	assert_true(control_set_file(t.control, NULL));
	control_close(t.control);
	assert_int_equal(access(path, F_OK), 0);
	t.control = control_serve(base, twice, NULL, answer, &t);
	assert_non_null(t.control);
	assert_false(control_has_file(t.control));
	ask(base, "{\"cmd\":\"nope\"}\n", big_reply, sizeof(big_reply));
	assert_string_equal(big_reply, "{\"ok\":false,\"error\":\"unknown command\"}\n");
	assert_true(control_set_file(t.control, path));
	control_close(t.control);
	assert_int_equal(access(path, F_OK), -1);
	event_base_free(base);
}

/* More than a socket holds, with fds, while the other end reads. */
static void test_block(void **state)
{
	static char data[1 << 20], got[1 << 20];
	int fds[BLOCK_FDS_MAX], more[BLOCK_FDS_MAX], pair[2];
	unsigned int num;
	pid_t child;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	memset(data, 0x5a, sizeof(data));
	for (unsigned int i = 0; i < BLOCK_FDS_MAX; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK);
		assert_int_equal(eventfd_write(fds[i], i + 1), 0);
	}
	assert_int_equal(block_send(pair[0], data, 4, fds, BLOCK_FDS_MAX + 1, 1000), -EINVAL);
	child = fork();
	if (!child)
		_exit(block_send(pair[0], data, 4, fds, BLOCK_FDS_MAX, 60000) ||
		      block_send(pair[0], data, sizeof(data), fds, 3, 60000));
	assert_int_equal(block_recv(pair[1], got, 4, more, &num, 60000), 0);
	assert_int_equal(num, BLOCK_FDS_MAX);
	for (unsigned int i = 0; i < num; i++) {
		assert_true(fd_same_eventfd(fds[i], more[i]));
		assert_int_equal(fcntl(more[i], F_GETFD), FD_CLOEXEC);
	}
	fds_close(more, num);
	assert_int_equal(block_recv(pair[1], got, sizeof(got), more, &num, 60000), 0);
	assert_int_equal(num, 3);
	assert_memory_equal(data, got, sizeof(got));
	fds_close(more, num);
	assert_int_equal(waitpid(child, &(int){ 0 }, 0), child);
	/* Nothing comes, nobody reads, nobody is there. */
	assert_int_equal(block_recv(pair[1], got, 1, more, &num, 1), -ETIMEDOUT);
	assert_int_equal(block_send(pair[0], data, sizeof(data), NULL, 0, 1), -ETIMEDOUT);
	fd_close(&pair[1]);
	assert_int_equal(block_send(pair[0], data, 1, NULL, 0, 1000), -EPIPE);
	assert_int_equal(block_recv(pair[0], got, 1, more, &num, 1000), -ECONNRESET);
	assert_int_equal(num, 0);
	fds_close(fds, BLOCK_FDS_MAX);
	fd_close(&pair[0]);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	      cmocka_unit_test(test_u32),
		cmocka_unit_test(test_option_lists),  cmocka_unit_test(test_port_names),
		cmocka_unit_test(test_sockets),	      cmocka_unit_test(test_log),
		cmocka_unit_test(test_kinds_of_fds),  cmocka_unit_test(test_control),
		cmocka_unit_test(test_control_taken), cmocka_unit_test(test_block),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
