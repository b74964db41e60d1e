/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the process ends itself, because memory would be used by two: each in a child, which must
 * die of that and say so.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/emul.h"
#include "pcie/emul/uring.h"
#include "util/check.h"

#define PATIENCE_S 120

static int dma_err; /* what stop_dma() says; 1: there is no such thing */
static bool medium_answers;

bool __real_emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns);
bool __wrap_emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns);

bool __wrap_emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns)
{
	return __real_emul_uring_drain(sq, delayed, deadline_ns) && medium_answers;
}

static int failing_reset(struct pcie_device *dev)
{
	(void)dev;
	return -EIO;
}

static int stop_dma(struct pcie_device *dev)
{
	(void)dev;
	return dma_err;
}

static void over(struct nvme_ctrl *ctrl, const char *why, void *arg)
{
	(void)ctrl;
	(void)why;
	loop_stop(arg);
}

static bool again; /* what is up is brought up once more */

static void ready(struct nvme_ctrl *ctrl, void *arg)
{
	if (again)
		nvme_ctrl_start(ctrl);
	loop_stop(arg);
}

static void created(void *arg, int err, struct nvme_qpair *qp)
{
	must(!err && qp);
	loop_stop(arg);
}

/* Brings an SSD up, with operations that were changed, as far as it goes; if it is ready it gets a
 * queue pair, and is reset. */
static void run_ssd(const char *spec, void (*change)(struct pcie_device_ops *ops))
{
	static const struct nvme_ctrl_events events = { .ready = ready, .failed = over };
	static struct loop loop;
	struct nvme_ctrl_params params = { .loop = &loop,
					   .max_transfer = 1u << 20,
					   .max_queues = 1,
					   .command_timeout_ms = 200,
					   .io_timeout_ms = 200,
					   .patience_ms = 200,
					   .events = &events,
					   .arg = &loop };
	struct emul_options options;
	struct pcie_device_ops ops;
	struct dma_arena *arena;
	struct nvme_ctrl *ctrl;
	char err[128];

	must(loop_init(&loop) == 0);
	must(dma_arena_new(16u << 20, &arena) == 0);
	must(dma_pool_new(arena, 16u << 20, &params.pool) == 0);
	must(emul_options_parse(spec, &options, err, sizeof(err)) == 0);
	must(emul_device_open(&options, &params.dev) == 0);
	ops = *params.dev->ops;
	change(&ops);
	params.dev->ops = &ops;
	must(dma_arena_map(arena, params.dev) == 0);
	must(nvme_ctrl_new(&params, &ctrl) == 0);
	nvme_ctrl_start(ctrl);
	loop_run(&loop);
	if (!nvme_ctrl_is_ready(ctrl))
		return;
	must(nvme_ctrl_create_qpair(ctrl, 16, &loop, created, &loop) == 0);
	loop.stopping = false;
	loop_run(&loop);
	params.dev->ops->reset(params.dev);
}

/* --- What ends it ----------------------------------------------------------------------------- */

static void broken_invariant(void)
{
	must(dma_err == 2);
}

static void no_reset(struct pcie_device_ops *ops)
{
	ops->reset = failing_reset;
	ops->stop_dma = dma_err == 1 ? NULL : stop_dma;
}

static void cannot_be_reset(void)
{
	run_ssd("emulated:size=1M,fault.never_ready=1", no_reset);
}

static void unchanged(struct pcie_device_ops *ops)
{
	(void)ops;
}

static void brought_up_twice(void)
{
	again = true;
	run_ssd("emulated:size=1M", unchanged);
}

static void medium_hangs(void)
{
	run_ssd("emulated:file=test_last_resort.disk,size=1M", unchanged);
}

/* --- The children ----------------------------------------------------------------------------- */

/* Runs it in a child; returns what wait() says, and what the child said. */
static int in_child(void (*function)(void), char *said, size_t size)
{
	const struct rlimit no_core = { 0 };
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL); /* the test program has its own for its asserts */
		alarm(PATIENCE_S);
		function();
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void dies_of(void (*function)(void), const char *why)
{
	char said[8192];
	int status = in_child(function, said, sizeof(said));

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, why))
		fail_msg("status %x, expected SIGABRT and \"%s\": %s", (unsigned)status, why, said);
}

static void invariant(void **state)
{
	(void)state;
	dies_of(broken_invariant, "dma_err == 2");
}

/* No state of the controller follows another one but as its table says. */
static void state_that_cannot_follow(void **state)
{
	(void)state;
	dies_of(brought_up_twice, "state_next[ctrl->state]");
}

/* It could still write to pages that are about to be used again. */
static void ssd_that_cannot_be_stopped(void **state)
{
	char said[8192];

	(void)state;
	dma_err = 1;
	dies_of(cannot_be_reset, "it cannot be kept from DMA: ending");
	dma_err = -EIO;
	dies_of(cannot_be_reset, "it cannot be kept from DMA: ending");
	dma_err = 0;
	assert_int_equal(in_child(cannot_be_reset, said, sizeof(said)), 0);
	assert_null(strstr(said, "ending"));
}

/* The kernel could still write to them. */
static void medium_that_hangs(void **state)
{
	char said[8192];

	(void)state;
	dies_of(medium_hangs, "its file does not answer: ending");
	medium_answers = true;
	assert_int_equal(in_child(medium_hangs, said, sizeof(said)), 0);
	assert_null(strstr(said, "ending"));
	unlink("test_last_resort.disk");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(invariant),
		cmocka_unit_test(state_that_cannot_follow),
		cmocka_unit_test(ssd_that_cannot_be_stopped),
		cmocka_unit_test(medium_that_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
