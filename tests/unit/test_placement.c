/* SPDX-License-Identifier: BSD-3-Clause */
/* NUMA: where the daemon goes on machines that a sysfs tree of our own describes. */
#include "tests/unit/unit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/conf.h"
#include "config/placement.h"
#include "pcie/numa.h"
#include "tests/unit/logged.h"
#include "tests/unit/sysfs.h"

static cpu_set_t everywhere; /* where this process may run */
static int here, there;      /* two of those CPUs: of node 0 and of node 1 */

static void node_of_ssd(int ssd, int node)
{
	char text[16];

	snprintf(text, sizeof(text), "%d\n", node);
	sysfs_make(text, "bus/pci/devices/0000:0%d:00.0/numa_node", ssd);
}

static int setup(void **state)
{
	if (sysfs_new(state) || sched_getaffinity(0, sizeof(everywhere), &everywhere))
		return -1;
	here = there = -1;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET((size_t)i, &everywhere))
			continue;
		here = here < 0 ? i : here;
		there = i;
	}
	return 0;
}

/* Two nodes with a CPU each, an SSD 0000:01:00.0 on node 1; this process may run on all CPUs. */
static int two_nodes(void **state)
{
	char cpu[16];

	(void)state;
	sysfs_make("0-1\n", "devices/system/node/online");
	snprintf(cpu, sizeof(cpu), "%d\n", here);
	sysfs_make(cpu, "devices/system/node/node0/cpulist");
	snprintf(cpu, sizeof(cpu), "%d\n", there);
	sysfs_make(cpu, "devices/system/node/node1/cpulist");
	node_of_ssd(1, 1);
	return sched_setaffinity(0, sizeof(everywhere), &everywhere);
}

/* Runs it on a configuration with these SSDs (NULL: no second one); what it logged is in `log`. */
static void run(const char *ssd, const char *other, int worker_cpu, char log[1024])
{
	struct conf conf = { .n_ssds = other ? 2 : 1, .workers = 1 };

	snprintf(conf.ssds[0].spec, sizeof(conf.ssds[0].spec), "%s", ssd);
	if (other)
		snprintf(conf.ssds[1].spec, sizeof(conf.ssds[1].spec), "%s", other);
	if (worker_cpu >= 0) {
		conf.worker_cpus[0] = (unsigned)worker_cpu;
		conf.n_worker_cpus = 1;
	}
	logged_begin();
	placement_near_ssds(&conf);
	logged_end(log, 1024);
}

static void expect_cpus(const cpu_set_t *expected)
{
	cpu_set_t cpus;

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	assert_true(CPU_EQUAL(&cpus, expected));
}

static void expect_moved(const char *log)
{
	char text[128];
	cpu_set_t node;

	CPU_ZERO(&node);
	CPU_SET((size_t)there, &node);
	expect_cpus(&node);
	snprintf(text, sizeof(text),
		 "the SSDs are on node 1: so are DMA memory and workers, on CPUs %d\n", there);
	assert_non_null(strstr(log, text));
}

static void expect_stayed(const char *log, const char *text)
{
	expect_cpus(&everywhere);
	if (*text)
		assert_non_null(strstr(log, text));
	else
		assert_string_equal(log, "");
}

static void need_two_cpus(void)
{
	if (here == there)
		skip_because("there is one CPU that it may run on");
}

/* All SSDs on one node: there; worker_cpus of that node are no reason against it. */
static void goes_to_the_ssds(void **state)
{
	char log[1024];

	need_two_cpus();
	run("1:0.0", NULL, -1, log);
	expect_moved(log);
	two_nodes(state);
	node_of_ssd(2, 1);
	run("0000:01:00.0", "0000:02:00.0", -1, log);
	expect_moved(log);
	two_nodes(state);
	run("1:0.0", NULL, there, log);
	expect_moved(log);
}

/* It makes no difference, or there is no one node: nothing happens, and nothing is said. */
static void stays(void **state)
{
	char log[1024];

	(void)state;
	node_of_ssd(2, 0);
	run("1:0.0", "2:0.0", -1, log);
	expect_stayed(log, "");
	run("1:0.0", "emulated:size=1G", -1, log);
	expect_stayed(log, "");
	run("emulated:size=1G", NULL, -1, log);
	expect_stayed(log, "");
	node_of_ssd(1, -1);
	run("1:0.0", NULL, -1, log);
	expect_stayed(log, "");
	node_of_ssd(1, 1);
	sysfs_make("\n", "devices/system/node/node1/cpulist");
	run("1:0.0", NULL, -1, log);
	expect_stayed(log, "");
	sysfs_make("1\n", "devices/system/node/online");
	run("1:0.0", NULL, -1, log);
	expect_stayed(log, "");
}

/* Workers elsewhere by configuration, or the whole daemon by somebody's taskset: a warning. */
static void warns(void **state)
{
	cpu_set_t only;
	char log[1024];

	(void)state;
	need_two_cpus();
	run("1:0.0", NULL, here, log);
	expect_stayed(log, "worker_cpus puts 1 of 1 workers on another node than the SSDs', which "
			   "is node 1");
	CPU_ZERO(&only);
	CPU_SET((size_t)here, &only);
	assert_int_equal(sched_setaffinity(0, sizeof(only), &only), 0);
	run("1:0.0", NULL, -1, log);
	expect_cpus(&only);
	assert_non_null(strstr(log, "on node 1, but nvmetd may not run on its CPUs"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(goes_to_the_ssds, two_nodes),
		cmocka_unit_test_setup(stays, two_nodes),
		cmocka_unit_test_setup(warns, two_nodes),
	};

	return cmocka_run_group_tests(tests, setup, sysfs_free);
}
