/* SPDX-License-Identifier: BSD-3-Clause */
/* A sysfs tree of a test's own; see sysfs.h. */
#include "tests/unit/sysfs.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcie/pci.h"
#include "tests/unit/unit.h"

static char root[] = "/tmp/nvmetd-sysfs-XXXXXX";

int sysfs_new(void **state)
{
	(void)state;
	if (!mkdtemp(root))
		return -1;
	pci_set_sysfs(root);
	return 0;
}

int sysfs_free(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command); /* a folder that mkdtemp() made */
}

void sysfs_make(const char *text, const char *fmt, ...)
{
	char full[512];
	int len = snprintf(full, sizeof(full), "%s/", root);
	va_list args;
	FILE *file;

	va_start(args, fmt);
	vsnprintf(full + len, sizeof(full) - (size_t)len, fmt, args);
	va_end(args);
	for (char *slash = strchr(full + len, '/'); slash; slash = strchr(slash + 1, '/')) {
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

void sysfs_link(const char *path, const char *target)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}
