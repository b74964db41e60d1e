/* SPDX-License-Identifier: BSD-3-Clause */
/* The write cache in front of a file. */
#ifndef NVMETD_PCIE_EMUL_CACHE_H
#define NVMETD_PCIE_EMUL_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct emul_media;

/* For media->fd and media->size. 0 or -errno; close it in either case. */
int emul_cache_open(struct emul_media *media);
void emul_cache_close(struct emul_media *media);
/* `len` bytes of the cache were written: they are dirty now or, with FUA, in the
 * file. Any thread. */
void emul_cache_wrote(struct emul_media *media, uint64_t offset, uint64_t len, bool fua);
/* All that is dirty goes to the file. Any thread. */
void emul_cache_flush(struct emul_media *media);
/* The power is gone: the file is what is left. Nobody uses the medium meanwhile. */
void emul_cache_drop(struct emul_media *media);

#endif
