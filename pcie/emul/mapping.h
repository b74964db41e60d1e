/* SPDX-License-Identifier: BSD-3-Clause */
/* A file on tmpfs, mapped to be read. */
#ifndef NVMETD_PCIE_EMUL_MAPPING_H
#define NVMETD_PCIE_EMUL_MAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;

/* Constant while it is open, but for the bits. */
struct emul_mapping {
	const uint8_t *base;     /* NULL: there is none */
	uint64_t len;            /* whole pages; the file may have more, or fewer, by now */
	_Atomic uint64_t *known; /* one bit a page */
	size_t known_bytes;
};

/*
 * Of the `size` bytes of a file, whole pages. Without a mapping, which is no error, all
 * transfers are left to others. Main thread; no queue exists while it is closed.
 */
void emul_mapping_open(struct emul_mapping *mapping, int fd, uint64_t size);
void emul_mapping_close(struct emul_mapping *mapping);
/* Any thread. Reads `len` bytes; false: preadv must do it, all of it. */
bool emul_mapping_read(const struct emul_mapping *mapping, uint64_t offset, uint64_t len,
		       const struct iovec *iov, unsigned n);
/* preadv or pwritev have transferred `len` bytes. */
void emul_mapping_learn(const struct emul_mapping *mapping, uint8_t opcode, uint64_t offset,
			const struct iovec *iov, size_t len);
/* There is going to be a hole. */
void emul_mapping_forget(const struct emul_mapping *mapping, uint64_t offset, uint64_t len);

#endif
