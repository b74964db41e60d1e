/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's objects where no host gets: refusals of their makers, events that the SSD or the
 * operator raises, errors as statuses.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/ns.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/transport.h"
#include "target/worker.h"
#include "tests/fuzz/rig.h"
#include "transport/tcp.h"
#include "util/check.h"

static void errors_have_a_status(void **state)
{
	static const struct {
		int err;
		uint16_t status;
	} table[] = {
		{ 0, NVME_SC_SUCCESS },
		{ -EAGAIN, NVME_SC_NS_NOT_READY },
		{ -EBUSY, NVME_SC_NS_NOT_READY },
		{ -ENOMEM, NVME_SC_NS_NOT_READY },
		{ -ENODEV, NVME_SC_HOST_PATH_ERROR },
		{ -ETIMEDOUT, NVME_SC_HOST_PATH_ERROR },
		{ -EINVAL, NVME_SC_INVALID_FIELD | NVME_STATUS_DNR },
		{ -EOPNOTSUPP, NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR },
		{ -EIO, NVME_SC_INTERNAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_int_equal(nvmet_status_from_errno(table[i].err), table[i].status);
}

/* --- Names and hosts -------------------------------------------------------------------------- */

static void names(void **state)
{
	char text[NVMF_NQN_MAX + 2] = "nqn.";

	(void)state;
	assert_true(nvmet_nqn_valid("nqn.a"));
	assert_false(nvmet_nqn_valid("nqn."));
	assert_false(nvmet_nqn_valid("iqn.a"));
	assert_false(nvmet_nqn_valid("nqn.a b"));
	assert_false(nvmet_nqn_valid("nqn.a\x7f"));
	memset(text + 4, 'x', NVMF_NQN_MAX - 4);
	assert_true(nvmet_nqn_valid(text));
	text[NVMF_NQN_MAX] = 'x';
	assert_false(nvmet_nqn_valid(text));
}

static void subsystems_and_hosts(void **state)
{
	struct nvmet_subsystem *subsys, *other;

	(void)state;
	assert_int_equal(nvmet_subsystem_new(&rig.target, "no name", &subsys), -EINVAL);
	assert_int_equal(nvmet_subsystem_new(&rig.target, "nqn.new", &subsys), 0);
	assert_int_equal(nvmet_subsystem_new(&rig.target, "nqn.new", &other), -EEXIST);
	assert_int_equal(nvmet_subsystem_allow_host(subsys, "no name", NULL), -EINVAL);
	assert_int_equal(nvmet_subsystem_allow_host(subsys, "nqn.b", NULL), 0);
	assert_int_equal(nvmet_subsystem_allow_host(subsys, "nqn.a", NULL), 0);
	assert_int_equal(nvmet_subsystem_allow_host(subsys, "nqn.a", NULL), -EEXIST);
	assert_true(nvmet_subsystem_host_allowed(subsys, "nqn.a"));
	assert_false(nvmet_subsystem_host_allowed(subsys, "nqn.c"));
	nvmet_subsystem_free(subsys);
	nvmet_subsystem_free(NULL);
	assert_null(nvmet_target_find(&rig.target, "nqn.new"));
}

static void namespaces(void **state)
{
	struct nvme_ns *ns = nvme_ctrl_ns(rig.ssds[0].ctrl, 0);
	struct nvme_ns with_metadata = *ns;
	struct nvmet_ssd *ssds[NVMET_MAX_SSDS];
	struct nvmet_subsystem *subsys;
	char name[32];

	(void)state;
	/* Separate, and more of it than its protection information. */
	with_metadata.id.lbaf[nvme_id_ns_format(&with_metadata.id)].ms = le16_set(16);
	with_metadata.id.dps = 1;
	assert_int_equal(nvmet_subsystem_new(&rig.target, "nqn.new", &subsys), 0);
	assert_int_equal(nvmet_subsystem_add_ns(subsys, 1, rig.ssds[0].ssd, &with_metadata),
			 -ENOTSUP);
	assert_int_equal(nvmet_subsystem_add_ns(subsys, NVMET_MAX_NSID + 1, rig.ssds[0].ssd, ns),
			 -EINVAL);
	assert_int_equal(nvmet_subsystem_add_ns(subsys, 1, rig.ssds[0].ssd, ns), 0);
	assert_int_equal(nvmet_subsystem_add_ns(subsys, 1, rig.ssds[0].ssd, ns), -EEXIST);
	assert_int_equal(nvmet_subsystem_add_ns(subsys, 0, rig.ssds[0].ssd, ns), 0);
	assert_non_null(nvmet_subsystem_ns(subsys, 2)); /* the lowest free one */
	for (unsigned i = 0; i < NVMET_MAX_SSDS; i++) {
		snprintf(name, sizeof(name), "ssd%u", i);
		assert_int_equal(nvmet_ssd_new(&rig.target, rig.ssds[0].ctrl, name, &ssds[i]), 0);
		assert_int_equal(nvmet_subsystem_add_ns(subsys, 0, ssds[i], ns),
				 i + 1 < NVMET_MAX_SSDS ? 0 : -ENOSPC);
	}
	nvmet_subsystem_free(subsys);
	for (unsigned i = 0; i < NVMET_MAX_SSDS; i++)
		nvmet_ssd_free(ssds[i]);
	nvmet_ssd_free(NULL);
}

/* --- A controller, and a queue that only keeps what it is answered ---------------------------- */

static struct nvmet_queue queue;
static struct nvmet_ctrl *ctrl;
static struct nvmet_req answered[32];
static unsigned n_answered;

static void op_queue_response(struct nvmet_req *req)
{
	assert_in_range(n_answered, 0, ARRAY_SIZE(answered) - 1);
	answered[n_answered++] = *req;
}

static const struct nvmet_transport_ops ops = { .queue_response = op_queue_response };

static int make_ctrl(void **state)
{
	const struct nvmf_connect_data data = { .hostnqn = "nqn.h" };

	(void)state;
	queue = (struct nvmet_queue){ .target = &rig.target,
				      .worker = &rig.workers[0],
				      .ops = &ops };
	n_answered = 0;
	must(nvmet_ctrl_new(nvmet_target_find(&rig.target, RIG_NQN), &data, 0, &ctrl) == 0);
	nvmet_ctrl_add_queue(ctrl, &queue);
	return 0;
}

static int free_ctrl(void **state)
{
	(void)state;
	ctrl->dead = true;
	nvmet_aen_abort_all(ctrl, NVME_SC_ABORTED_SQ_DELETION);
	rig_settle();
	nvmet_ctrl_remove_queue(ctrl, &queue); /* the last: frees the controller */
	rig_expect_clean();
	return 0;
}

static void ask(struct nvmet_req *req, uint16_t cid)
{
	*req = (struct nvmet_req){ .queue = &queue, .on_control = true };
	req->cmd.opcode = NVME_ADMIN_AER;
	req->cmd.cid = le16_set(cid);
	queue.control_outstanding++;
	nvmet_aen_request(ctrl, req);
	rig_settle();
}

static bool comes(uint32_t dw0)
{
	unsigned before = n_answered;
	static struct nvmet_req req;

	nvmet_aen_raise(ctrl, dw0);
	ask(&req, 1);
	if (n_answered == before) {
		assert_int_equal(nvmet_aen_abort(ctrl, 2), 0);
		assert_int_equal(nvmet_aen_abort(ctrl, 1), 1);
		rig_settle();
		return false;
	}
	assert_int_equal(le32_get(answered[before].cqe.dw0), dw0);
	nvmet_aen_log_read(ctrl, (uint8_t)(dw0 >> 16));
	return true;
}

/* Each kind of event reaches a host that configured it, and no other. */
static void events(void **state)
{
	static const struct {
		uint32_t dw0, config;
	} table[] = {
		{ NVME_AER_DW0(NVME_AER_SMART, 0, NVME_LOG_SMART), 1u << 2 },
		{ NVME_AER_DW0(NVME_AER_SMART, 0, NVME_LOG_SMART), 1u << 4 },
		{ NVME_AER_DW0(NVME_AER_SMART, 1, NVME_LOG_SMART), 1u << 1 },
		{ NVME_AER_DW0(NVME_AER_SMART, 2, NVME_LOG_SMART), 1u << 0 },
		{ NVME_AER_DW0(NVME_AER_SMART, 9, NVME_LOG_SMART), NVME_AEC_SMART },
		{ NVME_AER_DW0(NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED, NVME_LOG_CHANGED_NS),
		  NVME_AEC_NS_ATTR },
		{ NVME_AER_DW0(NVME_AER_NOTICE, NVME_AER_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY),
		  NVME_AEC_DISCOVERY },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ctrl->aen.config = ~table[i].config;
		if (table[i].config != NVME_AEC_SMART && (table[i].dw0 & 0xff07) != 1)
			assert_false(comes(table[i].dw0));
		ctrl->aen.config = table[i].config;
		assert_true(comes(table[i].dw0));
	}
	ctrl->aen.config = UINT32_MAX;
	assert_true(comes(NVME_AER_DW0(NVME_AER_ERROR, 0, NVME_LOG_ERROR)));
	assert_false(comes(NVME_AER_DW0(NVME_AER_NOTICE, 0x55, 0)));
	assert_false(comes(NVME_AER_DW0(5, 0, 0)));
}

/* Once per log page until it is read; at most eight; a page that is read takes its event along. */
static void events_wait(void **state)
{
	static struct nvmet_req reqs[NVMET_AERL + 2]; /* the teardown ends them */

	(void)state;
	for (uint8_t lid = 1; lid <= 9; lid++)
		nvmet_aen_raise(ctrl, NVME_AER_DW0(NVME_AER_ERROR, 0, lid));
	nvmet_aen_raise(ctrl, NVME_AER_DW0(NVME_AER_ERROR, 1, 3));
	assert_int_equal(ctrl->aen.n_pending, 8);
	nvmet_aen_log_read(ctrl, 2);
	assert_int_equal(ctrl->aen.n_pending, 7);
	ask(&reqs[0], 7);
	assert_int_equal(n_answered, 1);
	assert_int_equal(le32_get(answered[0].cqe.dw0), NVME_AER_DW0(NVME_AER_ERROR, 0, 1));
	for (uint8_t lid = 3; lid <= 8; lid++)
		nvmet_aen_log_read(ctrl, lid);
	assert_int_equal(ctrl->aen.n_pending, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(reqs); i++)
		ask(&reqs[i], (uint16_t)i);
	assert_int_equal(n_answered, 2); /* one more than AERL allows */
	assert_int_equal(nvme_cqe_status(&answered[1].cqe), NVME_SC_AER_LIMIT | NVME_STATUS_DNR);
}

/* An SSD's event is for the hosts of subsystems that use it, if it is about health. */
static void events_of_an_ssd(void **state)
{
	static struct nvmet_req req;

	(void)state;
	ctrl->aen.config = UINT32_MAX;
	ask(&req, 1);
	nvmet_aen_from_ssd(rig.ssds[0].ssd, NVME_AER_DW0(NVME_AER_ERROR, 0, NVME_LOG_ERROR));
	rig_settle();
	assert_int_equal(n_answered, 0);
	nvmet_aen_from_ssd(rig.ssds[0].ssd, NVME_AER_DW0(NVME_AER_SMART, 1, NVME_LOG_SMART));
	rig_settle();
	assert_int_equal(n_answered, 1);
}

/* --- Abort ------------------------------------------------------------------------------------ */

static unsigned n_sought;

static enum nvmet_abort_result op_abort(struct nvmet_queue *of, uint16_t cid,
					struct nvmet_req **ret_req)
{
	(void)of;
	(void)cid;
	(void)ret_req;
	n_sought++;
	return NVMET_ABORT_DONE;
}

static const struct nvmet_transport_ops ops_with_abort = { .abort = op_abort };

static void send_aborts(struct nvmet_req *reqs, unsigned n, uint16_t cid)
{
	for (unsigned i = 0; i < n; i++) {
		reqs[i] = (struct nvmet_req){ .queue = &queue };
		reqs[i].cmd.opcode = NVME_ADMIN_ABORT;
		reqs[i].cmd.flags = 0x40;
		reqs[i].cmd.sgl.type = 0x5a;
		reqs[i].cmd.cdw10 = le32_set((uint32_t)cid << 16 | 1);
		assert_int_equal(nvmet_req_parse(&reqs[i], 0), 0);
		reqs[i].execute(&reqs[i]);
	}
	rig_settle();
}

/* As many at once as Identify's ACL says; nobody looks for what is not there. */
static void aborts_are_limited(void **state)
{
	static struct nvmet_req reqs[NVMET_ACL + 3];
	const unsigned most = NVMET_ACL + 1;
	struct nvmet_queue io = {
		.target = &rig.target, .worker = &rig.workers[0], .ops = &ops_with_abort, .qid = 1
	};

	(void)state;
	must(nvmet_queue_init(&io) == 0);
	nvmet_queue_cid_set(&io, 7);
	nvmet_ctrl_add_queue(ctrl, &io);
	nvmet_ctrl_set_cc(ctrl, 0x00460001);
	queue.live = queue.trusted = true;
	send_aborts(reqs, ARRAY_SIZE(reqs), 7);
	assert_int_equal(n_answered, ARRAY_SIZE(reqs));
	for (unsigned i = 0; i < n_answered; i++) {
		bool too_many = i < n_answered - most; /* these do not wait for the worker */

		assert_int_equal(nvme_cqe_status(&answered[i].cqe),
				 too_many ? NVME_SC_ABORT_LIMIT : 0);
		assert_int_equal(le32_get(answered[i].cqe.dw0), 0);
	}
	assert_int_equal(n_sought, most);
	n_answered = 0;
	send_aborts(reqs, most, 8);
	assert_int_equal(n_answered, most);
	for (unsigned i = 0; i < n_answered; i++)
		assert_int_equal(le32_get(answered[i].cqe.dw0), 1);
	assert_int_equal(n_sought, most);
	nvmet_ctrl_remove_queue(ctrl, &io);
	nvmet_queue_fini(&io);
}

/* --- Shares of the SSD's admin queue ---------------------------------------------------------- */

/* A command that goes to the SSD. */
static void ask_ssd(struct nvmet_queue *from, struct nvmet_req *req)
{
	*req = (struct nvmet_req){ .queue = from };
	req->cmd.opcode = NVME_ADMIN_GET_FEATURES;
	req->cmd.flags = 0x40;
	req->cmd.sgl.type = 0x5a;
	req->cmd.cdw10 = le32_set(NVME_FEAT_ARBITRATION);
	assert_int_equal(nvmet_req_parse(req, 0), 0);
	req->execute(req);
}

/* One command of a host comes to its turn behind the share of another that has many, not behind
 * all of them; and all of those end, in their order. */
static void share_of_a_host(void **state)
{
	const struct nvmf_connect_data data = { .hostnqn = "nqn.other" };
	static struct nvmet_req flood[3 * NVMET_HOST_SHARE], modest;
	struct nvmet_queue other = queue;
	struct nvmet_ctrl *other_ctrl;

	(void)state;
	must(nvmet_ctrl_new(ctrl->subsys, &data, 0, &other_ctrl) == 0);
	nvmet_ctrl_add_queue(other_ctrl, &other);
	nvmet_ctrl_set_cc(ctrl, 0x00460001);
	nvmet_ctrl_set_cc(other_ctrl, 0x00460001);
	queue.live = queue.trusted = other.live = other.trusted = true;
	for (unsigned i = 0; i < ARRAY_SIZE(flood); i++)
		ask_ssd(&queue, &flood[i]);
	ask_ssd(&other, &modest);
	rig_settle();
	assert_int_equal(n_answered, ARRAY_SIZE(flood) + 1);
	for (unsigned i = 0; i < n_answered; i++) {
		assert_int_equal(nvme_cqe_status(&answered[i].cqe), 0);
		assert_ptr_equal(answered[i].queue, i == NVMET_HOST_SHARE ? &other : &queue);
	}
	other_ctrl->dead = true;
	nvmet_ctrl_remove_queue(other_ctrl, &other);
}

/* --- Listening -------------------------------------------------------------------------------- */

static void addresses(void **state)
{
	const struct nvmet_port *port;

	(void)state;
	assert_int_equal(nvme_tcp_listen(rig.tcp, "no address", "0", NVMET_TLS_OFF), -EINVAL);
	assert_int_equal(nvme_tcp_listen(rig.tcp, "127.0.0.1", "no port", NVMET_TLS_OFF), -EINVAL);
	assert_int_equal(nvme_tcp_listen(rig.tcp, "203.0.113.77", "0", NVMET_TLS_OFF),
			 -EADDRNOTAVAIL);
	assert_int_equal(nvme_tcp_listen(rig.tcp, "0.0.0.0", "0", NVMET_TLS_OFF), 0);
	port = TAILQ_FIRST(&rig.target.ports);
	while (TAILQ_NEXT(port, link))
		port = TAILQ_NEXT(port, link);
	assert_true(port->wildcard);
	assert_int_equal(nvme_tcp_listen(rig.tcp, "127.0.0.1", port->trsvcid, NVMET_TLS_OFF),
			 -EADDRINUSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_have_a_status),
		cmocka_unit_test(names),
		cmocka_unit_test(subsystems_and_hosts),
		cmocka_unit_test(namespaces),
		cmocka_unit_test_setup_teardown(events, make_ctrl, free_ctrl),
		cmocka_unit_test_setup_teardown(events_wait, make_ctrl, free_ctrl),
		cmocka_unit_test_setup_teardown(events_of_an_ssd, make_ctrl, free_ctrl),
		cmocka_unit_test_setup_teardown(aborts_are_limited, make_ctrl, free_ctrl),
		cmocka_unit_test_setup_teardown(share_of_a_host, make_ctrl, free_ctrl),
		cmocka_unit_test(addresses),
	};
	int failed;

	rig_init("emulated:size=1M,queues=2,namespaces=2");
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
