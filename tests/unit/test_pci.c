/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI functions and NUMA nodes in a sysfs tree of our own: addresses, and each thing that can be in
 * the way. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "pcie/numa.h"
#include "pcie/pci.h"
#include "tests/unit/logged.h"
#include "tests/unit/sysfs.h"

#define BDF "0000:01:00.0"

static void addresses(void **state)
{
	char bdf[PCI_BDF_SIZE];

	(void)state;
	assert_int_equal(pci_parse_bdf("01:00.0", bdf), 0);
	assert_string_equal(bdf, BDF);
	assert_int_equal(pci_parse_bdf("ABCD:ff:1f.7", bdf), 0);
	assert_string_equal(bdf, "abcd:ff:1f.7");
	assert_int_equal(pci_parse_bdf("01:20.0", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf("01:00.8", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf("01:00.0x", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf("", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf("nvme0", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf(" 1: 1.0", bdf), -EINVAL);
	assert_int_equal(pci_parse_bdf("0x1:00:0.0", bdf), -EINVAL);
}

static void one_obstacle_after_the_other(void **state)
{
	char driver[32];
	int group = -1;

	(void)state;
	assert_int_equal(pci_check(BDF, &group), -ENOENT);
	sysfs_make("0x020000\n", "bus/pci/devices/" BDF "/class");
	assert_int_equal(pci_check(BDF, &group), -ENODEV);
	sysfs_make("0x010802\n", "bus/pci/devices/" BDF "/class");
	assert_int_equal(pci_check(BDF, &group), -ENOTSUP);
	sysfs_link("bus/pci/devices/" BDF "/iommu_group", "../../../kernel/iommu_groups/17");
	assert_int_equal(pci_check(BDF, &group), -EBUSY);
	sysfs_link("bus/pci/devices/" BDF "/driver", "../../drivers/nvme");
	assert_int_equal(pci_check(BDF, &group), -EBUSY);
	pci_driver(BDF, driver, sizeof(driver));
	assert_string_equal(driver, "nvme");
	sysfs_link("bus/pci/devices/" BDF "/driver", "../../drivers/vfio-pci");
	assert_int_equal(pci_check(BDF, &group), 0);
	assert_int_equal(group, 17);
}

static void device_cdev(void **state)
{
	(void)state;
	assert_int_equal(pci_vfio_cdev(BDF), -ENOENT);
	sysfs_make(NULL, "bus/pci/devices/" BDF "/vfio-dev/vfio3");
	assert_int_equal(pci_vfio_cdev(BDF), 3);
}

/* The message names the other device and its driver. */
static void group_members(void **state)
{
	char text[2048];

	(void)state;
	sysfs_make(NULL, "kernel/iommu_groups/17/devices/" BDF);
	sysfs_make(NULL, "kernel/iommu_groups/17/devices/0000:01:00.1");
	sysfs_make("0x030000\n", "bus/pci/devices/0000:01:00.1/class");
	sysfs_link("bus/pci/devices/0000:01:00.1/driver", "../../drivers/snd_hda_intel");
	logged_begin();
	pci_log_group(17, BDF);
	logged_end(text, sizeof(text));
	assert_non_null(strstr(text, "group 17 is not viable"));
	assert_non_null(strstr(text, "0000:01:00.1 of the same group is bound to snd_hda_intel"));
	assert_non_null(strstr(text, "/sys/bus/pci/devices/0000:01:00.1/driver/unbind"));
}

static void expect_list(const char *text, const char *again)
{
	char formatted[64];
	cpu_set_t set;

	assert_int_equal(numa_parse_list(text, &set), 0);
	numa_format_list(&set, formatted, sizeof(formatted));
	assert_string_equal(formatted, again);
}

/* Lists of CPUs: what the kernel writes comes back the same, and nothing else is one. */
static void cpu_lists(void **state)
{
	static const char *const wrong[] = { "-",    "1-",     "-1",         "3-1", "1,",
					     ",1",   "1,,2",   "x",          "1x",  "1 ",
					     "1024", "0-1024", "99999999999" };
	char formatted[16];
	cpu_set_t set;

	(void)state;
	expect_list("", "");
	expect_list("0", "0");
	expect_list("0-3,8,10-11", "0-3,8,10-11");
	expect_list("2,1,0,5-5", "0-2,5");
	expect_list("1020-1023", "1020-1023");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(numa_parse_list(wrong[i], &set), -EINVAL);
	assert_int_equal(numa_parse_list("0,2,4,6,8,10,12,14", &set), 0);
	numa_format_list(&set, formatted, sizeof(formatted));
	assert_string_equal(formatted, "0,2,4,6,8,10...");
}

/* Nodes as sysfs has them, and where it has none. */
static void numa_nodes(void **state)
{
	cpu_set_t cpus;

	(void)state;
	assert_int_equal(numa_n_nodes(), 1);
	assert_int_equal(numa_node_cpus(0, &cpus), -ENOENT);
	assert_int_equal(numa_node_of(BDF), NUMA_NO_NODE);
	sysfs_make("0,2-3\n", "devices/system/node/online");
	sysfs_make("4-7,12-15\n", "devices/system/node/node2/cpulist");
	sysfs_make("\n", "devices/system/node/node3/cpulist");
	assert_int_equal(numa_n_nodes(), 3);
	assert_int_equal(numa_node_cpus(2, &cpus), 0);
	assert_int_equal(CPU_COUNT(&cpus), 8);
	assert_true(CPU_ISSET(12, &cpus) && !CPU_ISSET(8, &cpus));
	assert_int_equal(numa_node_cpus(3, &cpus), 0);
	assert_int_equal(CPU_COUNT(&cpus), 0);
	sysfs_make("-1\n", "bus/pci/devices/" BDF "/numa_node");
	assert_int_equal(numa_node_of(BDF), NUMA_NO_NODE);
	sysfs_make("2\n", "bus/pci/devices/" BDF "/numa_node");
	assert_int_equal(numa_node_of(BDF), 2);
	assert_int_equal(numa_node_of("1:0.0"), 2);
	assert_int_equal(numa_node_of("emulated:size=1G"), NUMA_NO_NODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),   cmocka_unit_test(one_obstacle_after_the_other),
		cmocka_unit_test(device_cdev), cmocka_unit_test(group_members),
		cmocka_unit_test(cpu_lists),   cmocka_unit_test(numa_nodes),
	};

	return cmocka_run_group_tests(tests, sysfs_new, sysfs_free);
}
