/* SPDX-License-Identifier: BSD-3-Clause */
/* What the emulated SSD stores its blocks on. Main thread, where nothing else is said. */
#ifndef NVMETD_PCIE_EMUL_MEDIA_H
#define NVMETD_PCIE_EMUL_MEDIA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "pcie/emul/mapping.h"
#include "util/sanitize.h"

struct emul_options;

struct emul_media {
	uint8_t *ram; /* NULL: a file */
	int fd;
	uint64_t size;
	bool volatile_cache; /* writes need a flush to be durable */
	bool in_memory;      /* a file on tmpfs: transfers never wait */
	uint32_t data_align; /* bytes: what the address of data must be a multiple of */
	struct emul_mapping mapping;
	uint8_t *backing; /* cache.c: the file itself */
	uint64_t *dirty;  /* cache.c: a bit for each page of `ram` that the file lacks; or NULL */
};

/* 0 or -errno (logged); close it in either case. */
int emul_media_open(const struct emul_options *options, struct emul_media *media);
void emul_media_close(struct emul_media *media);
/* Looks at the size of a file again that was opened without one; true: it is another one now. */
bool emul_media_resized(const struct emul_options *options, struct emul_media *media);
/* Makes a range read as zeroes. 0 or -errno (logged): the data may still be there. */
int emul_media_erase(struct emul_media *media, uint64_t offset, uint64_t len);
/* The same in memory, by any thread: whole pages go back to the system. */
void emul_media_deallocate(struct emul_media *media, uint64_t offset, uint64_t len);

/*
 * Between a medium in memory and a host's pages. Two hosts may write one block at once: which of
 * them wins is theirs to agree on. So ThreadSanitizer is told of the pages, and not of the medium.
 */
#if SANITIZE_THREAD
void emul_ram_write(uint8_t *ram, void *pages, size_t len);
void emul_ram_read(const uint8_t *ram, void *pages, size_t len);
bool emul_ram_equal(const uint8_t *ram, void *pages, size_t len);
#else
static inline void emul_ram_write(uint8_t *ram, void *pages, size_t len)
{
	memcpy(ram, pages, len);
}

static inline void emul_ram_read(const uint8_t *ram, void *pages, size_t len)
{
	memcpy(pages, ram, len);
}

static inline bool emul_ram_equal(const uint8_t *ram, void *pages, size_t len)
{
	return memcmp(ram, pages, len) == 0;
}
#endif

#endif
