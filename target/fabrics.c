/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fabrics commands: Connect, Property Get and Set, Disconnect. NVM Express Base
 * Specification 2.0, 6.
 *
 * Connect is checked in the order of the specification's fields; each refusal names the field by
 * IPO and IATTR (6.3, figure "Connect Response"). An I/O queue is answered only when every SSD of
 * the subsystem has given it a queue pair: no command ever waits for one.
 */
#include "target/fabrics.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "security/keyring.h"
#include "target/assoc.h"
#include "target/auth.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"
#include "util/log.h"

static const struct nvmf_connect_cmd *connect_cmd(const struct nvmet_req *req)
{
	return (const struct nvmf_connect_cmd *)&req->cmd;
}

static const struct nvmf_property_cmd *property_cmd(const struct nvmet_req *req)
{
	return (const struct nvmf_property_cmd *)&req->cmd;
}

/* --- Connect ---------------------------------------------------------------------------------- */

/* Invalid parameter: `offset` in the command or in the data (Base 6.3). */
static uint16_t refuse_field(struct nvmet_req *req, uint32_t iattr, size_t offset)
{
	req->cqe.dw0 = le32_set(iattr | (uint32_t)offset);
	return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
}

#define REFUSE_CMD(req, field) refuse_field(req, 0, offsetof(struct nvmf_connect_cmd, field))
#define REFUSE_DATA(req, field) \
	refuse_field(req, NVMF_CONNECT_IATTR_DATA, offsetof(struct nvmf_connect_data, field))

/* For operators. */
static const char *explain(uint16_t status, uint32_t dw0)
{
	const uint32_t subnqn = NVMF_CONNECT_IATTR_DATA |
				(uint32_t)offsetof(struct nvmf_connect_data, subnqn);
	const uint32_t qid = (uint32_t)offsetof(struct nvmf_connect_cmd, qid);

	switch (status & ~(NVME_STATUS_DNR | NVME_STATUS_MORE | NVME_STATUS_CRD_MASK)) {
	case NVME_SC_CONNECT_INVALID_HOST:
		return "the subsystem is not for this host (hosts, --allow-host), or not without "
		       "TLS";
	case NVME_SC_CONNECT_INVALID_PARAM:
		if (dw0 == subnqn)
			return "there is no such subsystem";
		if (dw0 == qid)
			return "its controller has no queue of this number, is not enabled, shuts "
			       "down or was given no entry sizes (CC)";
		return "a field is not valid";
	case NVME_SC_CONNECT_BUSY:
		return "limits.controllers, limits.controllers_per_host or the SSDs' queues are "
		       "used up, an older connection of this host is still being closed, or an SSD "
		       "is being formatted";
	default:
		return "it cannot be done";
	}
}

/* Every refusal is one line in the log that says who wanted what. */
static void log_refusal(struct nvmet_req *req, const struct nvmf_connect_data *data,
			uint16_t status)
{
	static struct log_limit limit = LOG_LIMIT_INIT(20); /* main thread only */

	req->queue->target->refused.connects++;
	log_limited(&limit, LOG_LEVEL_WARN,
		    "%s: Connect of queue %u by host %.223s to %.223s refused: %s (status "
		    "%x/%02xh, DW0 %08xh)",
		    req->queue->peer, le16_get(connect_cmd(req)->qid),
		    memchr(data->hostnqn, 0, NVMF_NQN_FIELD) ? data->hostnqn : "(no NUL)",
		    memchr(data->subnqn, 0, NVMF_NQN_FIELD) ? data->subnqn : "(no NUL)",
		    explain(status, le32_get(req->cqe.dw0)), NVME_STATUS_SCT(status),
		    NVME_STATUS_SC(status), le32_get(req->cqe.dw0));
}

void nvmet_connect_finish(struct nvmet_req *req, uint16_t status)
{
	static struct log_limit connected = LOG_LIMIT_INIT(500); /* main thread only */
	struct nvmet_queue *queue = req->queue;

	queue->connect = NULL;
	queue->looked_around = false; /* refused, it may be sent again */
	if (status) {
		queue->flow_control = false; /* there is no queue whose SQHD could count */
		log_refusal(req, req->data.va, status);
	} else {
		req->cqe.dw0 = le32_set(queue->ctrl->cntlid |
					(queue->must_authenticate ? NVMF_CONNECT_ATR : 0));
		if (queue->must_authenticate)
			nvmet_auth_expect(queue);
		if (!queue->flow_control)
			req->cqe.sqhd = le16_set(0xffff);
		log_limited(&connected, LOG_LEVEL_INFO, "%s: queue %u of %s (%u entries, %s)",
			    queue->peer, queue->qid, nvmet_ctrl_name(queue->ctrl), queue->entries,
			    queue->worker->name);
	}
	nvmet_req_complete(req, status);
}

/*
 * What TLS has proved must be what Connect says. A host that has a key for TLS must use it, also
 * where others may come without; but the discovery log is for everybody.
 */
static uint16_t check_tls(struct nvmet_req *req, const struct nvmf_connect_data *data,
			  const struct nvmet_subsystem *subsys)
{
	static struct log_limit limit = LOG_LIMIT_INIT(20); /* main thread only */
	const struct psk_identity *tls = req->queue->tls;

	if (tls && strcmp(tls->hostnqn, data->hostnqn) != 0)
		return REFUSE_DATA(req, hostnqn);
	if (tls && strcmp(tls->subnqn, data->subnqn) != 0)
		return REFUSE_DATA(req, subnqn);
	if (tls || subsys->discovery ||
	    !keyring_has(subsys->target->keys, KEY_USE_TLS, data->hostnqn, data->subnqn))
		return 0;
	log_limited(&limit, LOG_LEVEL_WARN, "%s: host %s has a key for TLS and must use it",
		    req->queue->peer, data->hostnqn);
	return NVME_SC_CONNECT_INVALID_HOST | NVME_STATUS_DNR;
}

/* The common part of both kinds: formats, names, who may come in. */
static uint16_t check_connect(struct nvmet_req *req, const struct nvmf_connect_data *data,
			      struct nvmet_subsystem **ret_subsys)
{
	const struct nvmf_connect_cmd *cmd = connect_cmd(req);
	struct nvmet_subsystem *subsys;

	if (le16_get(cmd->recfmt) != 0)
		return NVME_SC_CONNECT_FORMAT | NVME_STATUS_DNR;
	if (le16_get(cmd->sqsize) == 0)
		return REFUSE_CMD(req, sqsize);
	if (!memchr(data->subnqn, 0, NVMF_NQN_FIELD) || !nvmet_nqn_valid(data->subnqn))
		return REFUSE_DATA(req, subnqn);
	if (!memchr(data->hostnqn, 0, NVMF_NQN_FIELD) || !nvmet_nqn_valid(data->hostnqn))
		return REFUSE_DATA(req, hostnqn);
	subsys = nvmet_target_find(req->queue->target, data->subnqn);
	if (!subsys)
		return REFUSE_DATA(req, subnqn);
	if (!nvmet_subsystem_host_allowed(subsys, data->hostnqn))
		return NVME_SC_CONNECT_INVALID_HOST | NVME_STATUS_DNR;
	*ret_subsys = subsys;
	req->queue->must_authenticate = nvmet_auth_required(subsys, data->hostnqn);
	if (req->queue->must_authenticate && nvmet_auth_prepare(req->queue))
		return nvmet_status_from_errno(-ENOMEM);
	return check_tls(req, data, subsys);
}

static void queue_identify(struct nvmet_req *req)
{
	const struct nvmf_connect_cmd *cmd = connect_cmd(req);

	req->queue->qid = le16_get(cmd->qid);
	req->queue->entries = (uint16_t)(le16_get(cmd->sqsize) + 1);
	req->queue->flow_control = !(cmd->cattr & NVMF_CATTR_DISABLE_SQFC);
}

/* I/O controllers and discovery controllers are counted apart: anybody may have the latter, and
 * must not shut out hosts by it. */
static bool too_many_ctrls(const struct nvmet_queue *queue, const char *hostnqn, bool discovery)
{
	const struct nvmet_limits *limits = &queue->target->limits;
	const struct nvmet_host_ctrls ctrls = nvmet_host_count_ctrls(queue, hostnqn, discovery);
	unsigned n = queue->target->n_discovery_ctrls;

	if (!discovery)
		n = queue->target->n_ctrls - n;
	return (limits->controllers &&
		(n >= limits->controllers ||
		 ctrls.of_net >= nvmet_peer_net_limit(limits->controllers))) ||
	       (limits->controllers_per_host && ctrls.of_host >= limits->controllers_per_host);
}

static uint16_t connect_admin(struct nvmet_req *req, const struct nvmf_connect_data *data,
			      struct nvmet_subsystem *subsys)
{
	const struct nvmf_connect_cmd *cmd = connect_cmd(req);
	struct nvmet_ctrl *ctrl;
	int err;

	if (le16_get(data->cntlid) != NVMF_CNTLID_DYNAMIC)
		return REFUSE_DATA(req, cntlid);
	if (le16_get(cmd->sqsize) >= NVMET_MAX_ENTRIES)
		return REFUSE_CMD(req, sqsize);
	if (too_many_ctrls(req->queue, data->hostnqn, subsys->discovery))
		return NVME_SC_CONNECT_BUSY; /* no DNR: the host tries again */
	err = nvmet_ctrl_new(subsys, data, le32_get(cmd->kato), &ctrl);
	if (err)
		return err == -ENOSPC ? NVME_SC_CONNECT_BUSY : nvmet_status_from_errno(err);
	ctrl->proven = !req->queue->must_authenticate;
	queue_identify(req);
	nvmet_ctrl_add_queue(ctrl, req->queue);
	return 0;
}

/* An I/O queue comes with the same proof as its admin queue (the same key, or none). */
static bool same_tls(const struct psk_identity *a, const struct psk_identity *b)
{
	char a_text[PSK_IDENTITY_MAX + 1], b_text[PSK_IDENTITY_MAX + 1];

	if (!a || !b)
		return a == b;
	psk_identity_format(a, a_text);
	psk_identity_format(b, b_text);
	return strcmp(a_text, b_text) == 0;
}

/* Of an I/O queue it may be left out: 0 (Base 6.3). */
static bool same_host_id(const struct nvmet_ctrl *ctrl, const struct nvmf_connect_data *data)
{
	static const uint8_t none[sizeof(data->hostid)];

	return memcmp(data->hostid, ctrl->hostid, sizeof(none)) == 0 ||
	       memcmp(data->hostid, none, sizeof(none)) == 0;
}

static uint16_t check_connect_io(struct nvmet_req *req, const struct nvmf_connect_data *data,
				 struct nvmet_subsystem *subsys, struct nvmet_ctrl **ret_ctrl)
{
	const struct nvmf_connect_cmd *cmd = connect_cmd(req);
	struct nvmet_ctrl *ctrl = nvmet_ctrl_find(subsys, le16_get(data->cntlid));
	uint16_t qid = le16_get(cmd->qid);

	if (!ctrl || ctrl->dead)
		return REFUSE_DATA(req, cntlid);
	/* The whole name, not a prefix: host names differ late. */
	if (strcmp(ctrl->hostnqn, data->hostnqn) != 0)
		return REFUSE_DATA(req, hostnqn);
	if (!same_host_id(ctrl, data))
		return REFUSE_DATA(req, hostid);
	if (!same_tls(req->queue->tls, ctrl->queues[0]->tls))
		return REFUSE_DATA(req, cntlid);
	if (!nvmet_auth_done(ctrl->queues[0]))
		return NVME_SC_AUTH_REQUIRED | NVME_STATUS_DNR;
	if (qid > ctrl->max_qid)
		return REFUSE_CMD(req, qid);
	if (le16_get(cmd->sqsize) > NVME_CAP_MQES(ctrl->cap))
		return REFUSE_CMD(req, sqsize);
	if (!nvmet_ctrl_takes_io_queues(ctrl))
		return REFUSE_CMD(req, qid);
	*ret_ctrl = ctrl;
	return 0;
}

/* What was taken so far is given back before the host is told, so that it may try again at once. */
static void connect_path_put(struct nvmet_queue *queue)
{
	struct nvmet_ctrl *ctrl = queue->ctrl;

	if (--queue->paths_left)
		return;
	queue->n_paths = 0;
	queue->ctrl = NULL;
	nvmet_ctrl_remove_queue(ctrl, queue);
	nvmet_connect_finish(queue->connect, queue->connect_status);
}

static void connect_undo(struct nvmet_queue *queue, uint16_t status)
{
	unsigned n_paths = queue->n_paths;

	queue->connect_status = status;
	queue->paths_left = 1;
	for (unsigned i = 0; i < n_paths; i++) {
		if (queue->paths[i].share) {
			queue->paths_left++;
			nvmet_ssd_put(queue, i, connect_path_put);
		}
	}
	connect_path_put(queue);
}

/* One SSD has answered; goes on with the next, or answers the host. */
static void connect_got_path(struct nvmet_queue *queue, int err)
{
	const struct nvmet_ctrl *ctrl = queue->ctrl;

	while (!err) {
		if (queue->dying || ctrl->dead) {
			connect_undo(queue, NVME_SC_CONNECT_INVALID_PARAM);
			return;
		}
		if (queue->n_paths >= nvmet_ctrl_ssds_ahead(ctrl)) {
			nvmet_connect_finish(queue->connect, 0);
			return;
		}
		queue->n_paths++;
		err = nvmet_ssd_get(ctrl->subsys->ssds[queue->n_paths - 1], queue,
				    queue->n_paths - 1, queue->entries, connect_got_path);
	}
	if (err != -EINPROGRESS)
		connect_undo(queue, NVME_SC_CONNECT_BUSY); /* no DNR: the host tries again */
}

/* A number that is in use is out of sequence (Base 6.3), once that connection was found alive. */
static void connect_io(struct nvmet_req *req, struct nvmet_ctrl *ctrl)
{
	struct nvmet_queue *queue = req->queue,
			   *old = ctrl->queues[le16_get(connect_cmd(req)->qid)];

	if (old) {
		if (!nvmet_assoc_wait_for_queue(req, old))
			nvmet_connect_finish(req, NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR);
		return;
	}
	if (!queue->latency) /* else it is left from a Connect that was refused */
		queue->latency = nvmet_latency_new();
	if (!queue->latency) {
		nvmet_connect_finish(req, NVME_SC_CONNECT_BUSY); /* no DNR: the host tries again */
		return;
	}
	queue_identify(req);
	nvmet_ctrl_add_queue(ctrl, queue);
	queue->connect = req;
	queue->n_paths = 0;
	connect_got_path(queue, 0);
}

void nvmet_connect(struct nvmet_req *req)
{
	const struct nvmf_connect_data *data = req->data.va;
	struct nvmet_subsystem *subsys;
	struct nvmet_ctrl *ctrl;
	uint16_t status;

	status = check_connect(req, data, &subsys);
	if (!status && le16_get(connect_cmd(req)->qid) == 0) {
		if (nvmet_assoc_wait(req, subsys))
			return;
		status = connect_admin(req, data, subsys);
	} else if (!status) {
		status = check_connect_io(req, data, subsys, &ctrl);
		if (!status) {
			connect_io(req, ctrl);
			return;
		}
	}
	nvmet_connect_finish(req, status);
}

/* Once a connection (Base 6.3): a second one is out of sequence, also while the
 * first is at work. */
static uint16_t check_connect_is_first(const struct nvmet_queue *queue)
{
	bool first = !queue->live && !queue->connecting && !queue->disconnected;

	return first ? 0 : NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR;
}

static void execute_connect(struct nvmet_req *req)
{
	/* Asked again: while the data of one was coming another may have got ahead of it. */
	uint16_t status = check_connect_is_first(req->queue);

	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	req->queue->connecting = true;
	nvmet_req_to_control(req);
}

static uint16_t parse_connect(struct nvmet_req *req)
{
	uint16_t status = check_connect_is_first(req->queue);

	if (status)
		return status;
	req->execute = execute_connect;
	req->control = nvmet_connect;
	return nvmet_req_expect(req, NVMET_DIR_WRITE, sizeof(struct nvmf_connect_data));
}

/* --- Properties ------------------------------------------------------------------------------- */

struct property {
	uint32_t offset;
	uint8_t size; /* as in ATTRIB: 0 = 4 bytes, 1 = 8 bytes */
};

/* Whether the command names a property that exists, with its size. */
static uint16_t check_property(struct nvmet_req *req)
{
	static const struct property properties[] = {
		{ NVME_REG_CAP, 1 },  { NVME_REG_VS, 0 },   { NVME_REG_CC, 0 },
		{ NVME_REG_CSTS, 0 }, { NVME_REG_CRTO, 0 },
	};
	const struct nvmf_property_cmd *cmd = property_cmd(req);

	for (size_t i = 0; i < ARRAY_SIZE(properties); i++) {
		if (properties[i].offset != le32_get(cmd->offset))
			continue;
		if (properties[i].size == (cmd->attrib & 7))
			return 0;
		return nvmet_req_invalid_field(req, offsetof(struct nvmf_property_cmd, attrib));
	}
	return nvmet_req_invalid_field(req, offsetof(struct nvmf_property_cmd, offset));
}

static void property_get(struct nvmet_req *req)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint64_t value = 0;

	switch (le32_get(property_cmd(req)->offset)) {
	case NVME_REG_CAP:
		value = ctrl->cap;
		break;
	case NVME_REG_VS:
		value = NVMET_VERSION;
		break;
	case NVME_REG_CC:
		value = ctrl->cc;
		break;
	case NVME_REG_CSTS:
		value = ctrl->csts;
		break;
	case NVME_REG_CRTO:
		value = NVME_CAP_TO(ctrl->cap); /* CRWMT; it is ready when its media are */
		break;
	}
	req->cqe.dw0 = le32_set((uint32_t)value);
	req->cqe.dw1 = le32_set((uint32_t)(value >> 32));
	nvmet_req_complete(req, 0);
}

static void property_set(struct nvmet_req *req)
{
	uint16_t status =
		nvmet_ctrl_set_cc(req->queue->ctrl, (uint32_t)le64_get(property_cmd(req)->value));

	if (status)
		req->error_loc = offsetof(struct nvmf_property_cmd, value);
	nvmet_req_complete(req, status);
}

static uint16_t parse_property(struct nvmet_req *req, nvmet_control_fn *control)
{
	uint16_t status;

	if (req->queue->qid != 0)
		return NVME_SC_INVALID_QUEUE_TYPE | NVME_STATUS_DNR;
	status = check_property(req);
	/* Hosts read properties to learn which there are. To nvme-cli (show-regs) one is missing
	 * only if the status is Invalid Field and nothing else, so DNR is left out. */
	if (status)
		return control == property_get ? status & (uint16_t)~NVME_STATUS_DNR : status;
	if (control == property_set && le32_get(property_cmd(req)->offset) != NVME_REG_CC)
		return nvmet_req_invalid_field(req, offsetof(struct nvmf_property_cmd, offset));
	return nvmet_req_for_control(req, control, NVMET_DIR_NONE, 0);
}

/* --- Disconnect ------------------------------------------------------------------------------- */

/* The host closes the connection next, or connects another queue of that number; until it does, the
 * queue takes no command. Nothing is done for it any more after this answer (Base 6.4). */
static void execute_disconnect(struct nvmet_req *req)
{
	struct nvmet_queue *queue = req->queue;

	queue->live = false;
	queue->disconnected = true;
	queue->disconnect = req;
	if (queue->ops->is_last(queue))
		nvmet_queue_end_disconnect(queue);
}

static uint16_t parse_disconnect(struct nvmet_req *req)
{
	const struct nvmf_disconnect_cmd *cmd = (const struct nvmf_disconnect_cmd *)&req->cmd;

	if (req->queue->qid == 0)
		return NVME_SC_INVALID_QUEUE_TYPE | NVME_STATUS_DNR;
	if (le16_get(cmd->recfmt) != 0)
		return nvmet_req_refuse(req, offsetof(struct nvmf_disconnect_cmd, recfmt),
					NVME_SC_CONNECT_FORMAT);
	req->execute = execute_disconnect;
	return nvmet_req_expect(req, NVMET_DIR_NONE, 0);
}

uint16_t nvmet_parse_fabrics(struct nvmet_req *req)
{
	const struct nvmf_cmd *cmd = (const struct nvmf_cmd *)&req->cmd;

	if (cmd->fctype == NVMF_CONNECT)
		return parse_connect(req);
	if (!req->queue->live)
		return NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR;
	if (cmd->fctype == NVMF_AUTH_SEND || cmd->fctype == NVMF_AUTH_RECV)
		return nvmet_parse_auth(req);
	if (!req->queue->trusted)
		return NVME_SC_AUTH_REQUIRED | NVME_STATUS_DNR;
	switch (cmd->fctype) {
	case NVMF_PROPERTY_GET:
		return parse_property(req, property_get);
	case NVMF_PROPERTY_SET:
		return parse_property(req, property_set);
	case NVMF_DISCONNECT:
		return parse_disconnect(req);
	default:
		return nvmet_req_refuse(req, offsetof(struct nvmf_cmd, fctype),
					NVME_SC_INVALID_OPCODE);
	}
}
