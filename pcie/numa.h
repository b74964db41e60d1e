/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NUMA as sysfs (pci_set_sysfs()) shows it: the node of an SSD, the CPUs of a node. Main thread.
 */
#ifndef NVMETD_PCIE_NUMA_H
#define NVMETD_PCIE_NUMA_H

#include <sched.h>
#include <stddef.h>

#define NUMA_NO_NODE (-1)

/*
 * "0-3,8" → the set; an empty text is an empty set. 0, or -EINVAL: it is no such list, or a number
 * is CPU_SETSIZE or more.
 */
int numa_parse_list(const char *text, cpu_set_t *set);
/* The set as such a list; what does not fit into `size` (16 or more) ends with "...". */
void numa_format_list(const cpu_set_t *set, char *text, size_t size);

/* Nodes that are online; 1 where the kernel knows of none. */
unsigned numa_n_nodes(void);
/* The CPUs of a node. 0 or -errno; there may be none (a node of memory alone). */
int numa_node_cpus(int node, cpu_set_t *cpus);
/* The node of a PCI function, "0000:01:00.0". NUMA_NO_NODE: it has none, or it is no
 * PCI function. */
int numa_node_of(const char *spec);

#endif
