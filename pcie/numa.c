/* SPDX-License-Identifier: BSD-3-Clause */
/* NUMA as sysfs shows it; see numa.h. */
#include "pcie/numa.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "pcie/pci.h"

#define LIST_MAX 4096 /* of a file: a page */

/* First line of a file of sysfs, without its end. 0 or -errno. */
__attribute__((format(printf, 3, 4))) static int read_line(char *line, int size, const char *fmt,
							   ...)
{
	char path[PATH_MAX];
	int len = snprintf(path, sizeof(path), "%s/", pci_sysfs());
	va_list args;
	FILE *file;

	va_start(args, fmt);
	vsnprintf(path + len, sizeof(path) - (size_t)len, fmt, args);
	va_end(args);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	line[0] = '\0'; /* of an empty list there may be no line at all */
	if (!fgets(line, size, file) && ferror(file))
		len = -EIO;
	fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return len < 0 ? len : 0;
}

/* A number below CPU_SETSIZE at *text, which moves on behind it; -1: there is none. */
static int take_number(const char **text)
{
	int value = 0;

	if (**text < '0' || **text > '9')
		return -1;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		value = value * 10 + (**text - '0');
		if (value >= CPU_SETSIZE)
			return -1;
	}
	return value;
}

int numa_parse_list(const char *text, cpu_set_t *set)
{
	CPU_ZERO(set);
	while (*text) {
		int first = take_number(&text), last = first;

		if (*text == '-') {
			text++;
			last = take_number(&text);
		}
		if (first < 0 || last < first || (*text && *text != ','))
			return -EINVAL;
		for (int i = first; i <= last; i++)
			CPU_SET((size_t)i, set);
		if (*text && !*++text)
			return -EINVAL;
	}
	return 0;
}

static bool is_in(int cpu, const cpu_set_t *set)
{
	return cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, set);
}

void numa_format_list(const cpu_set_t *set, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < CPU_SETSIZE; i++) {
		int first = i;
		char item[16];
		size_t len;

		if (!is_in(i, set))
			continue;
		while (is_in(i + 1, set))
			i++;
		len = (size_t)snprintf(item, sizeof(item), i > first ? "%s%d-%d" : "%s%d",
				       used ? "," : "", first, i);
		if (used + len + sizeof("...") > size) {
			memcpy(text + used, "...", sizeof("..."));
			return;
		}
		memcpy(text + used, item, len + 1);
		used += len;
	}
}

unsigned numa_n_nodes(void)
{
	char line[LIST_MAX];
	cpu_set_t nodes;

	if (read_line(line, sizeof(line), "devices/system/node/online") ||
	    numa_parse_list(line, &nodes) || CPU_COUNT(&nodes) == 0)
		return 1;
	return (unsigned)CPU_COUNT(&nodes);
}

int numa_node_cpus(int node, cpu_set_t *cpus)
{
	char line[LIST_MAX];
	int err = read_line(line, sizeof(line), "devices/system/node/node%d/cpulist", node);

	return err ? err : numa_parse_list(line, cpus);
}

int numa_node_of(const char *spec)
{
	char bdf[PCI_BDF_SIZE], line[16];
	int node;

	if (pci_parse_bdf(spec, bdf) ||
	    read_line(line, sizeof(line), "bus/pci/devices/%s/numa_node", bdf) ||
	    sscanf(line, "%d", &node) != 1 || node < 0)
		return NUMA_NO_NODE;
	return node;
}
