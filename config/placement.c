/* SPDX-License-Identifier: BSD-3-Clause */
/* NUMA; see placement.h. */
#include "config/placement.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "config/conf.h"
#include "pcie/numa.h"
#include "util/log.h"

#define CPUS_TEXT 128

/* The one that all SSDs are on; NUMA_NO_NODE: there is none, or it makes no difference. */
static int common_node(const struct conf *conf)
{
	int node = numa_node_of(conf->ssds[0].spec);

	for (unsigned i = 1; i < conf->n_ssds; i++) {
		if (numa_node_of(conf->ssds[i].spec) != node)
			return NUMA_NO_NODE;
	}
	return numa_n_nodes() > 1 ? node : NUMA_NO_NODE;
}

static unsigned count_workers_elsewhere(const struct conf *conf, const cpu_set_t *cpus)
{
	unsigned n = 0;

	for (unsigned i = 0; i < conf->n_worker_cpus; i++) {
		if (!CPU_ISSET(conf->worker_cpus[i], cpus))
			n++;
	}
	return n;
}

/* Narrows what this thread may use; an administrator may have narrowed it before us (taskset). */
static void move_to(int node, const cpu_set_t *node_cpus)
{
	char text[CPUS_TEXT];
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) {
		CPU_AND(&cpus, &cpus, node_cpus);
		numa_format_list(&cpus, text, sizeof(text));
		if (CPU_COUNT(&cpus) == 0) {
			log_warn("NUMA: the SSDs are on node %d, but nvmetd may not run on "
				 "its CPUs: DMA memory and workers are elsewhere",
				 node);
			return;
		}
		if (sched_setaffinity(0, sizeof(cpus), &cpus) == 0) {
			log_info("NUMA: the SSDs are on node %d: so are DMA memory and workers, on "
				 "CPUs %s",
				 node, text);
			return;
		}
	}
	log_warn("NUMA: the SSDs are on node %d; nvmetd cannot go there: %s", node,
		 strerror(errno));
}

void placement_near_ssds(const struct conf *conf)
{
	int node = common_node(conf);
	char text[CPUS_TEXT];
	cpu_set_t cpus;
	unsigned n;

	/* A node of memory alone has no CPU to go to. */
	if (node == NUMA_NO_NODE || numa_node_cpus(node, &cpus) || CPU_COUNT(&cpus) == 0)
		return;
	n = count_workers_elsewhere(conf, &cpus);
	if (n == 0) {
		move_to(node, &cpus);
		return;
	}
	numa_format_list(&cpus, text, sizeof(text));
	log_warn("NUMA: worker_cpus puts %u of %u workers on another node than the SSDs', which is "
		 "node %d, CPUs %s",
		 n, conf->n_worker_cpus, node, text);
}
