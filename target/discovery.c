/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The discovery log page (Base 5.16.1.23): for each port, the subsystems that this host may use,
 * and the discovery subsystem itself. A host learns nothing of what it may not use.
 *
 * The page is never made whole: entry by entry, what falls into the window that was asked for is
 * copied. The window comes from the network; a page ends where its last entry does.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "target/commands.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/num.h"

#define ADMIN_ENTRIES 32 /* what hosts are advised to take for an admin queue; more are allowed */

/* The part of the page that the host reads. */
struct window {
	uint8_t *buf;
	uint64_t offset, len;
};

/* Copies what of [at, at + size) lies in the window. */
static void put(const struct window *window, uint64_t at, const void *data, size_t size)
{
	uint64_t from = num_max(at, window->offset);
	uint64_t to = num_min(at + size, window->offset + window->len);

	if (from < to)
		memcpy(window->buf + (from - window->offset), (const uint8_t *)data + (from - at),
		       to - from);
}

static void fill_entry(struct nvmf_disc_entry *entry, const struct nvmet_subsystem *subsys,
		       const struct nvmet_port *port, const struct nvmet_queue *queue)
{
	static const uint8_t treq[] = {
		[NVMET_TLS_OFF] = NVMF_TREQ_NOT_SPECIFIED,
		[NVMET_TLS_OPTIONAL] = NVMF_TREQ_NOT_REQUIRED,
		[NVMET_TLS_REQUIRED] = NVMF_TREQ_REQUIRED,
	};

	*entry = (struct nvmf_disc_entry){
		.trtype = NVMF_TRTYPE_TCP,
		.adrfam = port->adrfam,
		.subtype = subsys->discovery ? NVMF_SUBTYPE_CURRENT_DISCOVERY : NVMF_SUBTYPE_NVM,
		.treq = treq[port->tls] | NVMF_TREQ_SQFC_DISABLE,
		.portid = le16_set(port->portid),
		.cntlid = le16_set(NVMF_CNTLID_DYNAMIC),
		.asqsz = le16_set(ADMIN_ENTRIES),
		.eflags = le16_set(subsys->discovery ? NVMF_EFLAGS_DUPRETINFO | NVMF_EFLAGS_EPCSD
						     : 0),
	};
	snprintf(entry->trsvcid, sizeof(entry->trsvcid), "%s", port->trsvcid);
	snprintf(entry->subnqn, sizeof(entry->subnqn), "%s", subsys->nqn);
	/* A host that came to one of the machine's addresses can come to it again. */
	snprintf(entry->traddr, sizeof(entry->traddr), "%s",
		 port->wildcard ? queue->local_addr : port->traddr);
	entry->tsas[0] = port->tls == NVMET_TLS_OFF ? NVMF_TSAS_SECTYPE_NONE
						    : NVMF_TSAS_SECTYPE_TLS13;
}

/* An address that this host could not use is not told: a wildcard port of the other family. */
static bool reachable(const struct nvmet_port *port, const struct nvmet_queue *queue)
{
	bool v6 = strchr(queue->local_addr, ':') != NULL;

	return !port->wildcard || (port->adrfam == NVMF_ADRFAM_IPV6) == v6;
}

static uint64_t put_entries(const struct window *window, const struct nvmet_ctrl *ctrl,
			    const struct nvmet_queue *queue)
{
	const struct nvmet_target *target = queue->target;
	const struct nvmet_port *port;
	const struct nvmet_subsystem *subsys;
	struct nvmf_disc_entry entry;
	uint64_t n = 0;

	TAILQ_FOREACH (port, &target->ports, link) {
		TAILQ_FOREACH (subsys, &target->subsystems, link) {
			if (!reachable(port, queue) ||
			    !nvmet_subsystem_host_allowed(subsys, ctrl->hostnqn))
				continue;
			fill_entry(&entry, subsys, port, queue);
			put(window, sizeof(struct nvmf_disc_log) + n * sizeof(entry), &entry,
			    sizeof(entry));
			n++;
		}
	}
	return n;
}

uint16_t nvmet_discovery_log(struct nvmet_req *req, uint64_t offset)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	struct window window = { .buf = req->data.va, .offset = offset, .len = req->transfer_len };
	struct nvmf_disc_log header = { .genctr = le64_set(req->queue->target->genctr) };
	uint64_t end, n;

	memset(req->data.va, 0, req->transfer_len);
	/* The window may not wrap; nothing lies up there anyway. */
	if (num_add_overflow(offset, req->transfer_len, &end))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12));
	n = put_entries(&window, ctrl, req->queue);
	if (offset > sizeof(header) + n * sizeof(struct nvmf_disc_entry))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12));
	header.numrec = le64_set(n);
	put(&window, 0, &header, sizeof(header));
	return 0;
}
