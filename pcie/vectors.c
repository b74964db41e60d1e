/* SPDX-License-Identifier: BSD-3-Clause */
/* The interrupt vectors of an SSD, an eventfd each: the admin queue's, and those of I/O queue
 * pairs. Main thread. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pcie/ctrl_internal.h"
#include "pcie/device.h"
#include "util/num.h"

static int make_fds(struct nvme_ctrl *ctrl)
{
	unsigned n = num_min(ctrl->dev->n_vectors, ctrl->params.max_queues + 1);

	ctrl->irq_fds = calloc(n + 1, sizeof(ctrl->irq_fds[0]));
	if (!ctrl->irq_fds)
		return -ENOMEM;
	for (ctrl->n_irqs = 0; ctrl->n_irqs < n; ctrl->n_irqs++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return -errno;
		ctrl->irq_fds[ctrl->n_irqs] = fd;
	}
	return 0;
}

int nvme_vectors_on(struct nvme_ctrl *ctrl)
{
	const bool first = !ctrl->irq_fds;
	int err = first ? make_fds(ctrl) : 0;

	while (!err && ctrl->n_irqs) {
		err = ctrl->dev->ops->set_interrupts(ctrl->dev, ctrl->irq_fds, ctrl->n_irqs);
		if (err != -ENOSPC || !first || ctrl->dev->n_vectors >= ctrl->n_irqs)
			return err;
		while (ctrl->n_irqs > ctrl->dev->n_vectors)
			close(ctrl->irq_fds[--ctrl->n_irqs]);
		err = 0;
	}
	return err;
}

void nvme_vectors_fini(struct nvme_ctrl *ctrl)
{
	while (ctrl->n_irqs)
		close(ctrl->irq_fds[--ctrl->n_irqs]);
	free(ctrl->irq_fds);
	ctrl->irq_fds = NULL;
}
