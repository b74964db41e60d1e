/* SPDX-License-Identifier: BSD-3-Clause */
/* What a worker and the main thread can still do in their sandboxes: each try is a process of its
 * own, since what is given up does not come back. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "security/sandbox.h"
#include "util/check.h"
#include "util/sanitize.h"

enum end { ENDS_WELL, DIES, FAILS };

struct attempt {
	const char *name;
	enum sandbox_role role;
	bool (*run)(void); /* whether it worked */
	enum end end;
};

static int bar; /* a file, as VFIO's is: opened before the sandbox is entered */

static bool try_open(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool try_exec(void)
{
	char *const argv[] = { NULL };

	return execve("/bin/true", argv, argv) == 0;
}

static bool try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool try_uring(void)
{
	char params[256] = { 0 };

	return syscall(SYS_io_uring_setup, 8, params) >= 0;
}

static bool try_chroot(void)
{
	return chroot("/") == 0;
}

static bool try_data(void)
{
	int fds[2];
	char *memory = malloc(1 << 20);

	if (pipe(fds) == 0)
		return false; /* not a worker's */
	free(memory);
	return errno == EPERM && write(STDERR_FILENO, "", 0) == 0;
}

/* The kernel may hand BAR0 out for pwrite() alone. */
static bool try_doorbell(void)
{
	const uint32_t tail = 1;

	return pwrite(bar, &tail, sizeof(tail), 0x1000) == (ssize_t)sizeof(tail);
}

static void *thread_main(void *arg)
{
	const struct attempt *attempt = arg;

	if (sandbox_enter(attempt->role))
		_exit(3);
	_exit(attempt->run() ? 0 : 1);
}

/* In a thread of a new process, as a worker is. */
static int run(const struct attempt *attempt)
{
	pid_t pid = fork();
	pthread_t thread;
	int status;

	if (pid == 0) {
		struct attempt copy = *attempt;

		if (pthread_create(&thread, NULL, thread_main, &copy))
			_exit(4);
		pthread_join(thread, NULL);
		_exit(5);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void attempts(void **state)
{
	static const struct attempt rows[] = {
		{ "worker moves data", SANDBOX_WORKER, try_data, ENDS_WELL },
		{ "worker rings a doorbell", SANDBOX_WORKER, try_doorbell, ENDS_WELL },
		{ "worker opens a file", SANDBOX_WORKER, try_open, DIES },
		{ "worker starts a program", SANDBOX_WORKER, try_exec, DIES },
		{ "worker makes a socket", SANDBOX_WORKER, try_socket, DIES },
		{ "worker makes a ring", SANDBOX_WORKER, try_uring, DIES },
		{ "worker changes its root", SANDBOX_WORKER, try_chroot, FAILS },
		{ "main opens a file", SANDBOX_MAIN, try_open, ENDS_WELL },
		{ "main makes a socket", SANDBOX_MAIN, try_socket, ENDS_WELL },
		{ "main starts a program", SANDBOX_MAIN, try_exec, DIES },
		{ "main changes its root", SANDBOX_MAIN, try_chroot, FAILS },
	};

	(void)state;
	if (SANITIZED)
		skip_because("sanitizers make system calls of their own");
	bar = memfd_create("bar", MFD_CLOEXEC);
	assert_true(bar >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int status = run(&rows[i]);
		bool good;

		if (rows[i].end == DIES)
			good = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
		else
			good = WIFEXITED(status) &&
			       WEXITSTATUS(status) == (rows[i].end == ENDS_WELL ? 0 : 1);
		if (!good)
			fail_msg("%s: status %x", rows[i].name, (unsigned)status);
	}
	close(bar);
}

/* Capabilities are gone for good, whoever we are. */
static void drop(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		if (sandbox_drop(NULL))
			_exit(1);
		if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
			_exit(2);
		_exit(chroot("/") == 0 ? 3 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void unknown_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip_because("only root can become somebody else");
	if (fork() == 0)
		_exit(sandbox_drop("no-such-user-anywhere") == -ENOENT ? 0 : 1);
	int status;

	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attempts),
		cmocka_unit_test(drop),
		cmocka_unit_test(unknown_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
