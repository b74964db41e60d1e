/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI functions in sysfs; see pci.h. */
#include "pcie/pci.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"

#define CLASS_NVME 0x010802 /* mass storage, non-volatile memory, NVM Express */

static const char *sysfs = "/sys";

void pci_set_sysfs(const char *root)
{
	sysfs = root;
}

const char *pci_sysfs(void)
{
	return sysfs;
}

int pci_parse_bdf(const char *text, char bdf[PCI_BDF_SIZE])
{
	unsigned domain = 0, bus, device, function;
	int used = 0;

	/* scanf would also take spaces, signs and 0x. */
	if (text[strspn(text, "0123456789abcdefABCDEF:.")] != '\0')
		return -EINVAL;
	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &used) != 4 ||
	    text[used] != '\0') {
		domain = 0;
		used = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &used) != 3 ||
		    text[used] != '\0')
			return -EINVAL;
	}
	if (domain > 0xffff || bus > 0xff || device > 0x1f || function > 7)
		return -EINVAL;
	snprintf(bdf, PCI_BDF_SIZE, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, device & 0x1f,
		 function & 7);
	return 0;
}

/* Where the last component of a symbolic link points; "" when there is none. */
static void link_name(const char *bdf, const char *what, char *name, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", sysfs, bdf, what);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0) {
		name[0] = '\0';
		return;
	}
	target[len] = '\0';
	snprintf(name, size, "%s", basename(target));
}

void pci_driver(const char *bdf, char *name, size_t size)
{
	link_name(bdf, "driver", name, size);
}

static int read_class(const char *bdf, unsigned *ret_class)
{
	char path[PATH_MAX];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/class", sysfs, bdf);
	file = fopen(path, "re");
	if (!file)
		return -ENOENT;
	n = fscanf(file, "0x%x", ret_class);
	fclose(file);
	return n == 1 ? 0 : -ENODEV;
}

/* The commands that give a function to vfio-pci, whoever has it now. */
static void log_bind_commands(const char *bdf, const char *driver)
{
	log_err("%s: to give it to vfio-pci (nothing on it may be mounted):", bdf);
	log_err("    modprobe vfio-pci");
	log_err("    echo vfio-pci > /sys/bus/pci/devices/%s/driver_override", bdf);
	if (*driver)
		log_err("    echo %s > /sys/bus/pci/devices/%s/driver/unbind", bdf, bdf);
	log_err("    echo %s > /sys/bus/pci/drivers_probe", bdf);
	log_err("  or: nvmetd-bind bind %s", bdf);
}

int pci_check(const char *bdf, int *ret_group)
{
	char driver[64], group[32];
	unsigned class_code;
	int err = read_class(bdf, &class_code);

	if (err == -ENOENT) {
		log_err("%s: there is no such PCI function (see lspci -D)", bdf);
		return err;
	}
	if (err || class_code != CLASS_NVME) {
		log_err("%s: it is no NVMe controller: its class is %06x, expected %06x", bdf,
			class_code, CLASS_NVME);
		return -ENODEV;
	}
	link_name(bdf, "iommu_group", group, sizeof(group));
	if (!group[0]) {
		log_err("%s: it has no IOMMU group: switch the IOMMU on in the firmware "
			"(VT-d, AMD-Vi) and in the kernel (intel_iommu=on or amd_iommu=on)",
			bdf);
		return -ENOTSUP;
	}
	pci_driver(bdf, driver, sizeof(driver));
	if (strcmp(driver, "vfio-pci") != 0) {
		log_err("%s: it is bound to %s, not to vfio-pci", bdf,
			driver[0] ? driver : "no driver");
		log_bind_commands(bdf, driver);
		return -EBUSY;
	}
	*ret_group = atoi(group);
	return 0;
}

void pci_log_group(int group, const char *bdf)
{
	char path[PATH_MAX], driver[64];
	struct dirent *entry;
	DIR *dir;

	log_err("%s: its IOMMU group %d is not viable: every device of it must be bound "
		"to vfio-pci, or to no driver",
		bdf, group);
	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%d/devices", sysfs, group);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, bdf) == 0)
			continue;
		pci_driver(entry->d_name, driver, sizeof(driver));
		if (driver[0] && strcmp(driver, "vfio-pci") != 0 && strcmp(driver, "pcieport") != 0)
			log_err("%s: %s of the same group is bound to %s: echo %s > "
				"/sys/bus/pci/devices/%s/driver/unbind",
				bdf, entry->d_name, driver, entry->d_name, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

int pci_vfio_cdev(const char *bdf)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int number = -ENOENT;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/vfio-dev", sysfs, bdf);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (sscanf(entry->d_name, "vfio%d", &number) == 1)
			break;
	}
	if (dir)
		closedir(dir);
	return number;
}
