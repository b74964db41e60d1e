/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is told of a cache that was lost: hosts that stay, come back, or are forgotten. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "pcie/ctrl.h"
#include "target/ctrl.h"
#include "target/losses.h"
#include "target/subsystem.h"
#include "tests/fuzz/rig.h"
#include "util/clock.h"

#define SECOND UINT64_C(1000000000)

static struct nvmet_losses losses;
static struct nvmet_subsystem *subsys;
static struct nvmet_ctrl host, other; /* what of them counts here */
static struct nvmet_queue queues[2];

static struct nvmet_path *begin(unsigned i, const struct nvmet_ctrl *ctrl)
{
	queues[i] = (struct nvmet_queue){ .ctrl = NULL };
	queues[i].paths[0].queue = &queues[i];
	nvmet_losses_join(&losses, &queues[i].paths[0], ctrl);
	return &queues[i].paths[0];
}

/* Of a queue that is live: it is at work with what it has to tell. */
static struct nvmet_path *begin_late(unsigned i, const struct nvmet_ctrl *ctrl)
{
	queues[i] = (struct nvmet_queue){ .ctrl = NULL };
	queues[i].paths[0].queue = &queues[i];
	queues[i].paths[0].late = true;
	nvmet_losses_join(&losses, &queues[i].paths[0], ctrl);
	return &queues[i].paths[0];
}

static bool told_later(struct nvmet_path *path, uint32_t nsid, unsigned seconds)
{
	return nvmet_losses_tell(&losses, path, nvmet_subsystem_ns(subsys, nsid),
				 clock_now_ns() + seconds * SECOND);
}

static bool told(struct nvmet_path *path, uint32_t nsid)
{
	return told_later(path, nsid, 0);
}

static void end(struct nvmet_path *path)
{
	nvmet_losses_leave(&losses, path);
}

static int setup(void **state)
{
	(void)state;
	host = (struct nvmet_ctrl){ .subsys = subsys, .hostnqn = "nqn.a" };
	other = (struct nvmet_ctrl){ .subsys = subsys, .hostnqn = "nqn.a", .hostid = { 1 } };
	nvmet_losses_init(&losses);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	nvmet_losses_fini(&losses);
	return 0;
}

/* A path that comes late leaves the queue's own alone; what is owed is told all the same. */
static void who_is_there_already(void **state)
{
	static const struct nvmet_ns_set none;
	struct nvmet_path *one, *two = begin_late(1, &host);

	(void)state;
	assert_false(told(two, 1));
	nvmet_losses_add(&losses);
	one = begin_late(0, &host);
	assert_memory_equal(&queues[0].untold, &none, sizeof(none));
	for (uint32_t nsid = 1; nsid <= 2; nsid++) {
		assert_true(told(one, nsid));
		assert_false(told(one, nsid));
		assert_true(told(two, nsid));
	}
	end(one);
	end(two);
}

/* Once each queue and namespace, and once more for the next loss. */
static void who_is_there(void **state)
{
	struct nvmet_path *one = begin(0, &host), *two = begin(1, &host);

	(void)state;
	assert_false(told(one, 1));
	for (unsigned i = 0; i < 2; i++) {
		nvmet_losses_add(&losses);
		for (uint32_t nsid = 1; nsid <= 2; nsid++) {
			assert_true(told(one, nsid));
			assert_false(told(one, nsid));
			assert_true(told(two, nsid));
			assert_false(told(two, nsid));
		}
	}
	end(one);
	end(two);
}

/* It is told when it comes back; a host that was never here is not. */
static void who_was_away(void **state)
{
	struct nvmet_path *path = begin(0, &host);

	(void)state;
	end(path);
	nvmet_losses_add(&losses);
	path = begin(0, &other);
	assert_false(told(path, 1));
	end(path);
	path = begin(0, &host);
	assert_true(told(path, 1));
	assert_false(told(path, 1));
	end(path);
}

/* Told, and gone at once: it may not have seen it. Then it has, of the namespace
 * that it flushed. */
static void who_may_not_have_seen_it(void **state)
{
	struct nvmet_path *path = begin(0, &host);

	(void)state;
	nvmet_losses_add(&losses);
	assert_true(told(path, 1));
	assert_false(told_later(path, 1, 59));
	end(path);
	path = begin(0, &host);
	assert_true(told(path, 1));
	assert_false(told_later(path, 1, 60));
	end(path);
	path = begin(0, &host);
	assert_false(told(path, 1));
	assert_true(told(path, 2));
	assert_false(told_later(path, 1, 60));
	nvmet_losses_add(&losses); /* and another, of which it does not know yet */
	end(path);
	path = begin(0, &host);
	assert_true(told(path, 1));
	assert_true(told(path, 2));
	end(path);
}

static void come_and_go(unsigned n)
{
	struct nvmet_ctrl many = { .subsys = subsys, .hostnqn = "nqn.many" };

	for (unsigned i = 0; i < n; i++) {
		many.hostid[0] = (uint8_t)i;
		many.hostid[1] = (uint8_t)(i >> 8);
		end(begin(1, &many));
	}
}

/* Each has an NQN of its own: they displace whoever has been away for longest. */
static void strangers_come_and_go(unsigned n, bool are_told)
{
	struct nvmet_ctrl many = { .subsys = subsys };

	for (unsigned i = 0; i < n; i++) {
		struct nvmet_path *path;

		snprintf(many.hostnqn, sizeof(many.hostnqn), "nqn.%u", i);
		path = begin(1, &many);
		if (are_told) {
			assert_true(told(path, 1));
			assert_true(told(path, 2));
			assert_false(told_later(path, 1, 60));
		}
		end(path);
	}
}

/* Those who are there stay in the list; strangers owe what those who were forgotten owe. */
static void who_was_forgotten(void **state)
{
	struct nvmet_path *path = begin(0, &host);

	(void)state;
	come_and_go(NVMET_LOSS_HOSTS);
	assert_int_equal(losses.n_hosts, NVMET_LOSS_HOSTS);
	assert_true(losses.forgot);
	end(begin(1, &other));
	assert_int_equal(losses.n_hosts, NVMET_LOSS_HOSTS);
	nvmet_losses_add(&losses);
	assert_true(told(path, 1));
	assert_false(told_later(path, 1, 60));
	end(path);
	path = begin(0, &host);
	assert_false(told(path, 1));
	host.hostid[0] = 77; /* a stranger */
	path = begin(1, &host);
	assert_true(told(path, 1));
	end(path);
}

/* Forgotten after the loss. */
static void who_was_forgotten_untold(void **state)
{
	(void)state;
	end(begin(0, &host));
	nvmet_losses_add(&losses);
	assert_false(losses.untold);
	strangers_come_and_go(NVMET_LOSS_HOSTS, false);
	assert_true(losses.forgot && losses.untold);
	assert_true(told(begin(0, &host), 1));
	end(&queues[0].paths[0]);
}

/* Forgotten before the loss; all who are still known have heard of it since. */
static void who_was_forgotten_before(void **state)
{
	(void)state;
	end(begin(0, &host));
	strangers_come_and_go(NVMET_LOSS_HOSTS, false);
	nvmet_losses_add(&losses);
	strangers_come_and_go(NVMET_LOSS_HOSTS, true);
	assert_true(told(begin(0, &host), 1));
	end(&queues[0].paths[0]);
}

/* One host NQN with many host IDs costs nobody else's memory. */
static void who_is_crowded_out(void **state)
{
	struct nvmet_path *path;

	(void)state;
	end(begin(0, &other)); /* will never come back, so it stays untold */
	end(begin(0, &host));
	nvmet_losses_add(&losses);
	path = begin(0, &host);
	assert_true(told(path, 1));
	assert_true(told(path, 2));
	assert_false(told_later(path, 1, 60));
	end(path);
	come_and_go(2 * NVMET_LOSS_HOSTS);
	path = begin(0, &host);
	assert_false(told(path, 1)); /* it knows */
	end(path);
}

/* Everybody has been told, and is forgotten then: strangers owe nothing. */
static void who_was_told_and_forgotten(void **state)
{
	struct nvmet_path *path = begin(0, &host);

	(void)state;
	nvmet_losses_add(&losses);
	assert_true(told(path, 1));
	assert_true(told(path, 2));
	assert_false(told_later(path, 1, 60));
	end(path);
	strangers_come_and_go(NVMET_LOSS_HOSTS, false);
	assert_true(losses.forgot);
	assert_false(losses.untold);
	path = begin(1, &other);
	assert_false(told(path, 1));
	end(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_there_already, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_away, setup, teardown),
		cmocka_unit_test_setup_teardown(who_may_not_have_seen_it, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_forgotten_untold, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_forgotten_before, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_crowded_out, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_told_and_forgotten, setup, teardown),
	};
	int failed;

	rig_init("emulated:size=1M,queues=2,namespaces=2");
	rig_start();
	subsys = nvmet_target_find(&rig.target, RIG_NQN);
	must(nvmet_subsystem_add_ns(subsys, 2, rig.ssds[0].ssd,
				    nvme_ctrl_ns(rig.ssds[0].ctrl, 1)) == 0);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
