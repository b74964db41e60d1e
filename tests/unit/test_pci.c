/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI functions in a sysfs tree of our own: addresses, and each thing that can be in the way. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcie/pci.h"

#define BDF "0000:01:00.0"

static char root[] = "/tmp/nvmetd-pci-XXXXXX";

static void make(const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	if (!text) {
		mkdir(full, 0700);
		return;
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void link_to(const char *path, const char *target)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(root))
		return -1;
	pci_set_sysfs(root);
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command); /* a folder that mkdtemp() made */
}

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
	make("bus/pci/devices/" BDF "/class", "0x020000\n");
	assert_int_equal(pci_check(BDF, &group), -ENODEV);
	make("bus/pci/devices/" BDF "/class", "0x010802\n");
	assert_int_equal(pci_check(BDF, &group), -ENOTSUP);
	link_to("bus/pci/devices/" BDF "/iommu_group", "../../../kernel/iommu_groups/17");
	assert_int_equal(pci_check(BDF, &group), -EBUSY);
	link_to("bus/pci/devices/" BDF "/driver", "../../drivers/nvme");
	assert_int_equal(pci_check(BDF, &group), -EBUSY);
	pci_driver(BDF, driver, sizeof(driver));
	assert_string_equal(driver, "nvme");
	link_to("bus/pci/devices/" BDF "/driver", "../../drivers/vfio-pci");
	assert_int_equal(pci_check(BDF, &group), 0);
	assert_int_equal(group, 17);
}

static void device_cdev(void **state)
{
	(void)state;
	assert_int_equal(pci_vfio_cdev(BDF), -ENOENT);
	make("bus/pci/devices/" BDF "/vfio-dev/vfio3", NULL);
	assert_int_equal(pci_vfio_cdev(BDF), 3);
}

/* The message names the other device and its driver. */
static void group_members(void **state)
{
	char text[2048] = "";
	int pipes[2], saved = dup(2);

	(void)state;
	make("kernel/iommu_groups/17/devices/" BDF, NULL);
	make("kernel/iommu_groups/17/devices/0000:01:00.1", NULL);
	make("bus/pci/devices/0000:01:00.1/class", "0x030000\n");
	link_to("bus/pci/devices/0000:01:00.1/driver", "../../drivers/snd_hda_intel");
	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], 2);
	pci_log_group(17, BDF);
	dup2(saved, 2);
	assert_true(read(pipes[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "group 17 is not viable"));
	assert_non_null(strstr(text, "0000:01:00.1 of the same group is bound to snd_hda_intel"));
	assert_non_null(strstr(text, "/sys/bus/pci/devices/0000:01:00.1/driver/unbind"));
	close(pipes[0]);
	close(pipes[1]);
	close(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(one_obstacle_after_the_other),
		cmocka_unit_test(device_cdev),
		cmocka_unit_test(group_members),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
