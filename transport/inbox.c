/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive memory; see inbox.h. */
#include "transport/inbox.h"

#include <errno.h>
#include <stdlib.h>

#include "util/check.h"
#include "util/num.h"

int inbox_init(struct inbox *inbox, const struct dma_buf *mem)
{
	*inbox = (struct inbox){ .mem = *mem, .part_len = mem->len / INBOX_PARTS };
	inbox->spare = malloc(INBOX_ROOM);
	return inbox->spare ? 0 : -ENOMEM;
}

void inbox_fini(struct inbox *inbox)
{
	for (unsigned i = 0; i < INBOX_PARTS; i++)
		must(inbox->lent[i] == 0);
	free(inbox->spare);
}

static uint8_t *part_start(const struct inbox *inbox)
{
	return (uint8_t *)inbox->mem.va + inbox->part * inbox->part_len;
}

static bool has_room(const struct inbox *inbox)
{
	return inbox->used + INBOX_ALIGN + INBOX_ROOM <= inbox->part_len;
}

/* Goes on in a part that nobody has anything of. False: there is none. */
static bool turn_over(struct inbox *inbox)
{
	for (unsigned i = 0; i < INBOX_PARTS; i++) {
		if (inbox->lent[i])
			continue;
		inbox->part = i;
		inbox->used = 0;
		return has_room(inbox);
	}
	return false;
}

uint8_t *inbox_room(struct inbox *inbox, uint64_t position)
{
	if (!inbox->lent[inbox->part])
		inbox->used = 0;
	if (!has_room(inbox) && !turn_over(inbox))
		return inbox->spare;
	return part_start(inbox) + inbox->used + position % INBOX_ALIGN;
}

void inbox_filled(struct inbox *inbox, const uint8_t *end)
{
	uintptr_t start = (uintptr_t)inbox->mem.va + inbox->part * inbox->part_len;
	uintptr_t at = (uintptr_t)end - start; /* beyond the part: it was the spare */

	if (at <= inbox->part_len)
		inbox->used = num_round_up((size_t)at, INBOX_ALIGN);
}

bool inbox_lend(struct inbox *inbox, const uint8_t *bytes, size_t len, uint32_t align,
		struct dma_buf *ret)
{
	uintptr_t at = (uintptr_t)bytes - (uintptr_t)inbox->mem.va;

	if (at >= inbox->mem.len || (at & (align - 1)))
		return false;
	must(at / inbox->part_len == inbox->part);
	inbox->lent[inbox->part]++;
	*ret = (struct dma_buf){
		.va = (uint8_t *)inbox->mem.va + at,
		.iova = inbox->mem.iova + at,
		.len = len,
	};
	return true;
}

void inbox_take_back(struct inbox *inbox, struct dma_buf *buf)
{
	size_t at = (size_t)((uint8_t *)buf->va - (uint8_t *)inbox->mem.va);

	must(inbox->lent[at / inbox->part_len]-- > 0);
	buf->va = NULL;
}
