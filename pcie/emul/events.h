/* SPDX-License-Identifier: BSD-3-Clause */
/* Events, and what makes them happen. */
#ifndef NVMETD_PCIE_EMUL_EVENTS_H
#define NVMETD_PCIE_EMUL_EVENTS_H

#include <stdint.h>

struct emul;
struct nvme_sqe;

/* The command is an Asynchronous Event Request. Main thread. */
uint16_t emul_async_event(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);
/* A queue has seen so many commands: what is to happen after them, happens. Any thread. */
void emul_events_count(struct emul *emul, unsigned n_commands);
/* Takes over the size that a file has now. Main thread. */
void emul_follow_medium(struct emul *emul);

#endif
