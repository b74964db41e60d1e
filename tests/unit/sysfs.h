/* SPDX-License-Identifier: BSD-3-Clause */
/* A sysfs tree of a test's own, in a folder that is gone afterwards; pci_set_sysfs() is told. */
#ifndef NVMETD_TESTS_SYSFS_H
#define NVMETD_TESTS_SYSFS_H

/* For cmocka's group setup and teardown. */
int sysfs_new(void **state);
int sysfs_free(void **state);

/* A file with this text, or, with NULL, a folder; and the folders on the way to it. */
__attribute__((format(printf, 2, 3))) void sysfs_make(const char *text, const char *fmt, ...);
/* A symbolic link in a folder that exists, instead of an older one. */
void sysfs_link(const char *path, const char *target);

#endif
