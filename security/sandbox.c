/* SPDX-License-Identifier: BSD-3-Clause */
/* Giving up what is not needed any more; see sandbox.h. */
#include "security/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "util/check.h"
#include "util/log.h"
#include "util/sanitize.h"

/* --- Privileges ------------------------------------------------------------------------------- */

static int become(const char *user)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(user);
	if (!pw) {
		int err = errno ? -errno : -ENOENT;

		log_err("user %s: %s", user, errno ? strerror(errno) : "there is no such user");
		return err;
	}
	if (initgroups(user, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0) {
		log_err("user %s: %s", user, strerror(errno));
		return -errno;
	}
	return 0;
}

/* Nothing is asked for when there is nothing to give up: a container may not even allow that. */
static int give_up_capabilities(void)
{
	if (capng_get_caps_process() == 0 &&
	    capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE)
		return 0;
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS);
}

int sandbox_drop(const char *user)
{
	int err = 0;

#ifdef M_ARENA_MAX
	/* One for all threads: to shrink an arena of a thread's own glibc opens a file, which ends
	 * a worker. That they share it costs nothing, since nothing is allocated per I/O. */
	mallopt(M_ARENA_MAX, 1);
#endif

	/* The bounding set first: to change it takes a capability, which is given up below. Without
	 * that it cannot be changed, and need not be. */
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_have_capability(CAPNG_BOUNDING_SET, CAP_SETPCAP) || geteuid() == 0)
		capng_apply(CAPNG_SELECT_BOUNDS);
	if (user && geteuid() == 0)
		err = become(user);
	if (err)
		return err;
	if (give_up_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		log_err("privileges cannot be given up: %s", strerror(errno));
		return -EPERM;
	}
	return 0;
}

/* --- System calls ----------------------------------------------------------------------------- */

/* Moving data, waiting, memory, time, and ending. */
static const int worker_calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(shutdown),
	SCMP_SYS(close),
	SCMP_SYS(setsockopt), /* kTLS */
	SCMP_SYS(getsockopt),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(preadv), /* an emulated SSD on a file in memory */
	SCMP_SYS(pwritev),
	SCMP_SYS(pwrite64), /* doorbells of an SSD whose BAR0 cannot be mapped */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(futex),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getrandom),
	SCMP_SYS(fstat), /* the log asks whether it writes to the journal */
	SCMP_SYS(newfstatat),
	SCMP_SYS(poll), /* and whether it has room for a line */
	SCMP_SYS(ppoll),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(membarrier),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(tgkill), /* abort() */
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Beyond it: files with keys, connections, queues and interrupts of SSDs, the control socket. */
static const int main_calls[] = {
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(lseek),
	SCMP_SYS(pread64),
	SCMP_SYS(fcntl),
	SCMP_SYS(ioctl),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs), /* where the file of an emulated SSD is that comes late */
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(flock),
	SCMP_SYS(dup),
	SCMP_SYS(dup3),
	SCMP_SYS(pipe2),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(eventfd2),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(memfd_create),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(mlock),
	SCMP_SYS(munlock),
	SCMP_SYS(prlimit64),
	SCMP_SYS(getrlimit),
	SCMP_SYS(setrlimit),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getppid),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
	SCMP_SYS(umask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(kill),
	SCMP_SYS(wait4),
};

/* Nobody but an intruder would try: of no role, or (the second part) not of a worker's. */
static const int hostile_calls[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(setuid),
	SCMP_SYS(setresuid),
	SCMP_SYS(mount),
	SCMP_SYS(bpf),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
};
static const int hostile_worker_calls[] = {
	SCMP_SYS(open),           SCMP_SYS(openat),
	SCMP_SYS(openat2),        SCMP_SYS(creat),
	SCMP_SYS(socket),         SCMP_SYS(socketpair),
	SCMP_SYS(connect),        SCMP_SYS(bind),
	SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_register),
	SCMP_SYS(pidfd_getfd),    SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
};

/* A call that this machine does not have is no reason to fail. */
static int add(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int err = seccomp_rule_add(ctx, action, calls[i], 0);

		if (err && err != -EDOM)
			return err;
	}
	return 0;
}

static int add_rules(scmp_filter_ctx ctx, enum sandbox_role role)
{
	int err = add(ctx, SCMP_ACT_ALLOW, worker_calls, ARRAY_SIZE(worker_calls));

	if (!err)
		err = add(ctx, SCMP_ACT_KILL_PROCESS, hostile_calls, ARRAY_SIZE(hostile_calls));
	if (!err && role == SANDBOX_MAIN)
		err = add(ctx, SCMP_ACT_ALLOW, main_calls, ARRAY_SIZE(main_calls));
	if (!err && role == SANDBOX_WORKER)
		err = add(ctx, SCMP_ACT_KILL_PROCESS, hostile_worker_calls,
			  ARRAY_SIZE(hostile_worker_calls));
	return err;
}

int sandbox_enter(enum sandbox_role role)
{
	scmp_filter_ctx ctx;
	int err;

	if (SANITIZED)
		return 0;
	ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return -ENOMEM;
	err = add_rules(ctx, role);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	if (err)
		log_err("system calls cannot be restricted: %s: a filter around this process "
			"(SystemCallFilter=, a container's profile) must allow seccomp(2)",
			strerror(-err));
	return err;
}
