/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a worker receives. Data of a write that comes whole and with one recv, in the capsule or
 * after an R2T, stays where it came to lie until the SSD is done with it: the memory is DMA memory,
 * and the SSD takes the data from there. It is lent to the command, which needs no pages then, and
 * nothing is copied.
 *
 * The memory has parts. A worker receives into one of them, behind what is still lent of it, or
 * from its start when nothing is; with no room left it goes on in a part of which nothing is lent.
 * When all are in use (the SSD is slow) it receives into spare memory that is never lent: then data
 * is copied into pages of the command's own, and what hosts may hold is bounded by pages.h as ever.
 * Worker, where nothing else is said.
 */
#ifndef NVMETD_TRANSPORT_INBOX_H
#define NVMETD_TRANSPORT_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcie/dma.h"

#define INBOX_ROOM  (256u << 10) /* bytes of one recv */
#define INBOX_ALIGN 8u           /* PDUs are so in memory as they are in their stream */
#define INBOX_PARTS 4u

struct inbox {
	struct dma_buf mem; /* the worker's; may be none */
	uint8_t *spare;     /* INBOX_ROOM bytes */
	size_t part_len;
	unsigned part;              /* that is received into */
	size_t used;                /* bytes of it */
	unsigned lent[INBOX_PARTS]; /* commands that have data there */
};

/* `mem` outlives it. Main thread, as the next: 0 or -ENOMEM. */
int inbox_init(struct inbox *inbox, const struct dma_buf *mem);
/* Nothing is lent. Also for one that was never initialised but zero. */
void inbox_fini(struct inbox *inbox);

/*
 * INBOX_ROOM bytes to receive into. The first of them will be byte `position` of its stream; each
 * is aligned to INBOX_ALIGN as it is there. They stay the caller's until the next call.
 */
uint8_t *inbox_room(struct inbox *inbox, uint64_t position);
/* Of the room, what lies before `end` was filled. */
void inbox_filled(struct inbox *inbox, const uint8_t *end);

/* Lends `len` bytes that were received, if they lie in DMA memory and their IOVA is a multiple of
 * `align`, a power of two. */
bool inbox_lend(struct inbox *inbox, const uint8_t *bytes, size_t len, uint32_t align,
		struct dma_buf *ret);
/* The command is over; sets buf->va to NULL. */
void inbox_take_back(struct inbox *inbox, struct dma_buf *buf);

#endif
