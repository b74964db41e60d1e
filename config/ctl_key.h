/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetctl key: makes keys, shows what is in files with keys, and what to type on a host. It needs
 * no daemon. */
#ifndef NVMETD_CONFIG_CTL_KEY_H
#define NVMETD_CONFIG_CTL_KEY_H

/* argv[0] is "key". Returns the exit status. */
int ctl_key(int argc, char **argv);

#endif
