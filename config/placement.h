/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NUMA: where threads and memory are, compared with where the SSDs are. Main thread, before memory
 * is allocated and before there are other threads.
 */
#ifndef NVMETD_CONFIG_PLACEMENT_H
#define NVMETD_CONFIG_PLACEMENT_H

struct conf;

/*
 * When all SSDs are on one of the machine's nodes, keeps this thread on the CPUs of that node, as
 * far as it may run there. Memory comes from the node of the CPU that first touches it, and threads
 * inherit their CPUs, so DMA memory and workers are there as well; each as long as there is room:
 * what the node does not have comes from another one. worker_cpus that name other nodes are
 * somebody's decision: a warning, and nothing else. What it does, and what it cannot do, is logged.
 */
void placement_near_ssds(const struct conf *conf);

#endif
