/* SPDX-License-Identifier: BSD-3-Clause */
/* The way of an I/O command to the SSD and back. */
#ifndef NVMETD_TARGET_IO_H
#define NVMETD_TARGET_IO_H

#include <stdbool.h>
#include <stdint.h>

struct nvmet_queue;
struct nvmet_req;

/* Worker: req->execute of every I/O command; req->op is set, and its data is here. */
void nvmet_io_execute(struct nvmet_req *req);
/* The same for a fused pair, `first` and first->mate: next to each other, with one doorbell. */
void nvmet_io_execute_pair(struct nvmet_req *first);
/* Bytes that the address of the command's data must be a multiple of, for its SSD to take it from
 * there. The command is parsed. Worker. */
uint32_t nvmet_io_data_align(const struct nvmet_req *req);
/* Ends a command that waits for a place on the SSD's queue with Abort Requested (never a half of a
 * pair: they go together). Whether it did. */
bool nvmet_io_abort(struct nvmet_req *req);
/* Hands what was executed so far to the SSDs now, instead of at the end of the wake-up, and takes
 * what they have completed. */
void nvmet_io_advance(struct nvmet_queue *queue);

#endif
