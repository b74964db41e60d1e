/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands for the SSD itself; see passthru.h.
 *
 * Each is built from zero out of the fields that its specification defines, and its data length is
 * the one that the SSD will transfer, as for I/O. Three rules protect what the permission does not
 * cover. What changes more than one namespace (everything but self-test, Security Receive and
 * most SSDs' Format) needs an SSD that no other subsystem exports, and a host that sees and may
 * write all that this one does. A new block size needs an SSD without queue pairs until it is
 * known, because commands under way were measured with the old one. And a command without a
 * namespace needs a controller that sees one SSD, or nobody would know which.
 */
#include "target/passthru.h"

#include <stddef.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/log.h"

/* Base 3.1.3.4: bits 1:0 of an opcode say where its data goes. */
#define DIRECTION(opcode) ((opcode)&3)
enum { NO_DATA = 0, TO_SSD = 1, FROM_SSD = 2, BOTH_WAYS = 3 };

enum length { LENGTH_NONE, LENGTH_NUMD, LENGTH_CDW11, LENGTH_NDT };

struct command {
	uint32_t permission;
	enum length length;
	uint32_t effects;
	uint16_t oacs; /* the SSD has it; 0: told by another field */
	uint8_t opcode;
};

static const struct command commands[] = {
	{ NVMET_ALLOW_FORMAT, LENGTH_NONE,
	  NVME_EFFECTS_LBCC | NVME_EFFECTS_NCC | NVME_EFFECTS_CSE_SAME | NVME_EFFECTS_SCOPE_NS,
	  NVME_OACS_FORMAT, NVME_ADMIN_FORMAT },
	{ NVMET_ALLOW_SANITIZE, LENGTH_NONE,
	  NVME_EFFECTS_LBCC | NVME_EFFECTS_CSE_ALL | NVME_EFFECTS_SCOPE_SUBSYS, 0,
	  NVME_ADMIN_SANITIZE },
	{ NVMET_ALLOW_FIRMWARE, LENGTH_NUMD, NVME_EFFECTS_SCOPE_SUBSYS, NVME_OACS_FIRMWARE,
	  NVME_ADMIN_FW_DOWNLOAD },
	{ NVMET_ALLOW_FIRMWARE, LENGTH_NONE, NVME_EFFECTS_SCOPE_SUBSYS, NVME_OACS_FIRMWARE,
	  NVME_ADMIN_FW_COMMIT },
	{ NVMET_ALLOW_SECURITY, LENGTH_CDW11, NVME_EFFECTS_SCOPE_SUBSYS, NVME_OACS_SECURITY,
	  NVME_ADMIN_SECURITY_SEND },
	{ NVMET_ALLOW_SECURITY, LENGTH_CDW11, NVME_EFFECTS_SCOPE_SUBSYS, NVME_OACS_SECURITY,
	  NVME_ADMIN_SECURITY_RECV },
	{ NVMET_ALLOW_SELF_TEST, LENGTH_NONE, NVME_EFFECTS_SCOPE_NS | NVME_EFFECTS_SCOPE_CTRL,
	  NVME_OACS_SELF_TEST, NVME_ADMIN_SELF_TEST },
};
/* C0h .. FFh; what they do nobody knows, nor to what: no scope. */
static const struct command vendor = { NVMET_ALLOW_VENDOR, LENGTH_NDT,
				       NVME_EFFECTS_LBCC | NVME_EFFECTS_NCC | NVME_EFFECTS_CSE_ALL,
				       0, NVME_ADMIN_VENDOR };

uint32_t nvmet_permission_by_name(const char *name)
{
	static const struct {
		const char *name;
		uint32_t permission;
	} names[] = {
		{ "format", NVMET_ALLOW_FORMAT },       { "sanitize", NVMET_ALLOW_SANITIZE },
		{ "firmware", NVMET_ALLOW_FIRMWARE },   { "security", NVMET_ALLOW_SECURITY },
		{ "self-test", NVMET_ALLOW_SELF_TEST }, { "vendor", NVMET_ALLOW_VENDOR },
		{ "telemetry", NVMET_ALLOW_TELEMETRY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i].name, name) == 0)
			return names[i].permission;
	}
	return 0;
}

static const struct command *find(uint8_t opcode)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].opcode == opcode)
			return &commands[i];
	}
	return opcode >= NVME_ADMIN_VENDOR ? &vendor : NULL;
}

/* Whether the SSD has the command, by its own Identify Controller. */
static bool ssd_has(const struct nvmet_ssd *ssd, const struct command *command)
{
	const struct nvme_id_ctrl *id = &nvme_ctrl_info(ssd->ctrl)->id;

	if (command->permission == NVMET_ALLOW_SANITIZE)
		return le32_get(id->sanicap) != 0;
	if (command->permission == NVMET_ALLOW_VENDOR)
		return id->avscc & NVME_AVSCC_STANDARD;
	return (le16_get(id->oacs) & command->oacs) == command->oacs;
}

static bool all_have(const struct nvmet_subsystem *subsys, unsigned n_ssds,
		     const struct command *command)
{
	if (!(subsys->permissions & command->permission) || n_ssds == 0)
		return false;
	for (unsigned i = 0; i < n_ssds; i++) {
		if (!ssd_has(subsys->ssds[i], command))
			return false;
	}
	return true;
}

static bool offered(const struct nvmet_ctrl *ctrl, const struct command *command)
{
	return all_have(ctrl->subsys, ctrl->n_ssds, command);
}

/* An SSD has all commands of one permission, or none. */
uint32_t nvmet_passthru_offered(const struct nvmet_subsystem *subsys, unsigned n_ssds)
{
	uint32_t mask = all_have(subsys, n_ssds, &vendor) ? vendor.permission : 0;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (all_have(subsys, n_ssds, &commands[i]))
			mask |= commands[i].permission;
	}
	return mask;
}

/* --- Execution -------------------------------------------------------------------------------- */

/* Where a command goes: an SSD, and the NSID there (0 and NVME_NSID_ALL as the host said). */
struct destination {
	struct nvmet_ssd *ssd;
	const struct nvmet_ns *ns; /* NULL: none was named */
	uint32_t nsid;
};

static uint16_t find_destination(struct nvmet_req *req, struct destination *ret)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint32_t nsid = le32_get(req->cmd.nsid);

	ret->ns = nvmet_ctrl_ns(ctrl, nsid);
	ret->ssd = ret->ns ? ret->ns->ssd : ctrl->subsys->ssds[0];
	ret->nsid = ret->ns ? ret->ns->nvme_ns->nsid : nsid;
	if (ret->ns || ((nsid == 0 || nsid == NVME_NSID_ALL) && ctrl->n_ssds == 1))
		return 0;
	return nvmet_req_invalid_ns(req);
}

/* Says why, for the operator: the host sees only a number. */
static uint16_t deny(struct nvmet_req *req, const char *why)
{
	static struct log_limit limit = LOG_LIMIT_INIT(20); /* main thread only */

	log_limited(&limit, LOG_LEVEL_WARN, "%s: admin command %02xh refused: %s",
		    nvmet_ctrl_name(req->queue->ctrl), req->cmd.opcode, why);
	return nvmet_req_refuse(req, offsetof(struct nvme_sqe, opcode), NVME_SC_OPERATION_DENIED);
}

static bool used_by_others(const struct nvmet_subsystem *subsys, const struct nvmet_ssd *ssd)
{
	const struct nvmet_subsystem *other;

	TAILQ_FOREACH (other, &subsys->target->subsystems, link) {
		if (other != subsys && nvmet_subsystem_path_of(other, ssd) >= 0)
			return true;
	}
	return false;
}

/* Whether the host may write to all that its subsystem has on the SSD, also to what is not active
 * at the moment: its data is there all the same. */
static bool owns(const struct nvmet_ctrl *ctrl, const struct nvmet_ssd *ssd)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;

	for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
		const struct nvmet_ns *ns = subsys->ns[nsid];

		if (ns && ns->ssd == ssd &&
		    !(ns->enabled && nvmet_access_sees(ctrl->access, nsid) &&
		      nvmet_ctrl_may_write(ctrl, ns)))
			return false;
	}
	return true;
}

/* A command that reaches all of the SSD. */
static uint16_t check_whole(struct nvmet_req *req, const struct destination *to)
{
	if (!owns(req->queue->ctrl, to->ssd))
		return deny(req, "the host may not write to all namespaces of the SSD");
	if (used_by_others(req->queue->ctrl->subsys, to->ssd))
		return deny(req, "another subsystem exports namespaces of the SSD");
	return 0;
}

/* Base 5.14. */
static uint16_t check_format(struct nvmet_req *req, const struct destination *to)
{
	uint32_t cdw10 = nvmet_cdw10(req);
	unsigned format = NVME_FORMAT_INDEX(cdw10);
	uint16_t status;
	const struct nvme_id_ns *ns;

	if (!to->ns)
		return nvmet_req_invalid_ns(req);
	ns = &to->ns->nvme_ns->id;
	if (format > ns->nlbaf || ns->lbaf[format].lbads < 9 || le16_get(ns->lbaf[format].ms))
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw10),
					NVME_SC_INVALID_FORMAT);
	status = nvme_ctrl_format_reaches_all(to->ssd->ctrl, cdw10) ? check_whole(req, to) : 0;
	if (status)
		return status;
	/* Nor may queue pairs come before it is over: nvmet_ssd_get() sees to that. */
	if (to->ssd->n_shares && nvme_ctrl_format_changes(to->ssd->ctrl, to->nsid, cdw10))
		return deny(req, "a new block size needs an SSD without I/O queues: connect an "
				 "admin queue only");
	return 0;
}

static uint16_t check(struct nvmet_req *req, const struct destination *to)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;

	switch (req->cmd.opcode) {
	case NVME_ADMIN_SELF_TEST:
	case NVME_ADMIN_SECURITY_RECV:
		return 0;
	case NVME_ADMIN_FORMAT:
		if (to->ns && !nvmet_ctrl_may_write(ctrl, to->ns))
			return nvmet_req_refuse(req, offsetof(struct nvme_sqe, nsid),
						NVME_SC_NS_WRITE_PROTECTED);
		return check_format(req, to);
	default:
		return check_whole(req, to);
	}
}

static void passthru_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	uint16_t status = nvmet_status_from_ssd(cqe);

	req->cqe.dw0 = cqe->dw0;
	/* A new format, a new firmware: whatever it is, hosts hear of it by an event. */
	if (req->passthru_ssd)
		nvme_ctrl_rescan(req->passthru_ssd->ctrl);
	nvmet_req_complete(req, status);
}

static void send(struct nvmet_req *req, const struct destination *to)
{
	const struct nvme_sqe sqe = {
		.opcode = req->cmd.opcode,
		.nsid = le32_set(to->nsid),
		.cdw10 = req->cmd.cdw10,
		.cdw11 = req->cmd.cdw11,
		.cdw12 = req->cmd.cdw12,
		.cdw13 = req->cmd.cdw13,
		.cdw14 = req->cmd.cdw14,
		.cdw15 = req->cmd.cdw15,
	};
	int err;

	/* A transfer that the SSD cuts short must not show what was in the pages before. */
	if (req->dir == NVMET_DIR_READ)
		memset(req->data.va, 0, req->transfer_len);
	err = nvmet_host_forward(req, to->ssd, &sqe, req->transfer_len, passthru_done);
	if (err)
		nvmet_req_complete(req, nvmet_status_from_errno(err));
}

static void passthru(struct nvmet_req *req)
{
	static struct log_limit sent = LOG_LIMIT_INIT(500); /* main thread only */
	struct destination to;
	uint16_t status = find_destination(req, &to);

	if (!status)
		status = check(req, &to);
	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	log_limited(&sent, LOG_LEVEL_INFO, "%s: admin command %02xh, CDW10 %08xh, to %s",
		    nvmet_ctrl_name(req->queue->ctrl), req->cmd.opcode, nvmet_cdw10(req),
		    nvme_ctrl_name(to.ssd->ctrl));
	req->passthru_ssd = to.ssd;
	send(req, &to);
}

/* Data in bytes, as the SSD will count it. */
static uint64_t data_length(const struct nvmet_req *req, enum length length)
{
	switch (length) {
	case LENGTH_NUMD:
		return ((uint64_t)nvmet_cdw10(req) + 1) * 4;
	case LENGTH_CDW11:
		return nvmet_cdw11(req);
	case LENGTH_NDT:
		return DIRECTION(req->cmd.opcode) == NO_DATA ? 0 : (uint64_t)nvmet_cdw10(req) * 4;
	case LENGTH_NONE:
		break;
	}
	return 0;
}

uint16_t nvmet_parse_passthru(struct nvmet_req *req)
{
	const struct command *command = find(req->cmd.opcode);
	enum nvmet_dir dir = DIRECTION(req->cmd.opcode) == TO_SSD ? NVMET_DIR_WRITE
								  : NVMET_DIR_READ;
	uint64_t len;

	/* Vendor commands with data in both directions at once have no place in a fabric. */
	if (!command || req->queue->ctrl->subsys->discovery ||
	    !offered(req->queue->ctrl, command) || DIRECTION(req->cmd.opcode) == BOTH_WAYS)
		return nvmet_req_invalid_opcode(req);
	if (command->length == LENGTH_NDT && nvmet_cdw11(req)) /* NDM: a metadata buffer */
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw11));
	len = data_length(req, command->length);
	return nvmet_req_for_control(req, passthru, len ? dir : NVMET_DIR_NONE, len);
}

/* --- Log pages -------------------------------------------------------------------------------- */

uint32_t nvmet_passthru_log_permission(uint8_t lid)
{
	switch (lid) {
	case NVME_LOG_SELF_TEST:
		return NVMET_ALLOW_SELF_TEST;
	case NVME_LOG_TELEMETRY_HOST:
	case NVME_LOG_TELEMETRY_CTRL:
		return NVMET_ALLOW_TELEMETRY;
	case NVME_LOG_SANITIZE:
		return NVMET_ALLOW_SANITIZE;
	default:
		return 0;
	}
}

/* Retain Asynchronous Event is set: what the SSD raises is answered by us, for all hosts. */
void nvmet_passthru_log(struct nvmet_req *req)
{
	struct destination to;
	uint16_t status = find_destination(req, &to);

	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	req->passthru_ssd = NULL;
	req->cmd.cdw10 = le32_set(nvmet_cdw10(req) | NVME_LOG_RAE);
	to.nsid = NVME_NSID_ALL;
	send(req, &to);
}

/* --- What hosts are told ---------------------------------------------------------------------- */

void nvmet_passthru_identify(const struct nvmet_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;
	const struct nvme_id_ctrl *ssd;
	uint16_t oacs = 0;

	if (!ctrl->n_ssds)
		return;
	ssd = &nvme_ctrl_info(subsys->ssds[0]->ctrl)->id;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (offered(ctrl, &commands[i]))
			oacs |= commands[i].oacs;
	}
	id->oacs = le16_set(oacs);
	if (oacs & NVME_OACS_FORMAT)
		id->fna = ssd->fna;
	if (oacs & NVME_OACS_SELF_TEST) {
		id->edstt = ssd->edstt;
		id->dsto = ssd->dsto;
	}
	if (oacs & NVME_OACS_FIRMWARE) {
		id->frmw = ssd->frmw;
		id->fwug = ssd->fwug;
		memcpy(id->fr, ssd->fr, sizeof(id->fr));
	}
	if (offered(ctrl, find(NVME_ADMIN_SANITIZE)))
		id->sanicap = ssd->sanicap;
	if (offered(ctrl, &vendor))
		id->avscc = NVME_AVSCC_STANDARD;
	if (subsys->permissions & NVMET_ALLOW_TELEMETRY)
		id->lpa |= ssd->lpa & NVME_LPA_TELEMETRY;
}

void nvmet_passthru_effects(const struct nvmet_ctrl *ctrl, struct nvme_effects_log *log)
{
	for (unsigned opcode = 0; opcode < ARRAY_SIZE(log->acs); opcode++) {
		const struct command *command = find((uint8_t)opcode);

		if (command && DIRECTION(opcode) != BOTH_WAYS && offered(ctrl, command))
			log->acs[opcode] = le32_set(NVME_EFFECTS_CSUPP | command->effects);
	}
}
