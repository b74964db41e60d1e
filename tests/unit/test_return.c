/* SPDX-License-Identifier: BSD-3-Clause */
/* An SSD that was given back is looked for: once a second while it is away, and less and less often
 * while it is there and cannot be used. */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <stdio.h>

#include "config/daemon.h"
#include "tests/unit/sysfs.h"
#include "util/clock.h"

#define DEVICE "bus/pci/devices/0000:01:00.0"

static struct conf_ssd conf = { .name = "a", .spec = "0000:01:00.0" };
static struct daemon target;
static struct daemon_ssd *ssd = &target.ssds[0];

static void look(void)
{
	event_active(ssd->look_timer, EV_TIMEOUT, 0);
	event_base_loop(target.loop.base, EVLOOP_NONBLOCK);
	assert_true(evtimer_pending(ssd->look_timer, NULL));
}

static void set_up(void)
{
	target = (struct daemon){ .state = DAEMON_LIVE };
	assert_int_equal(loop_init(&target.loop), 0);
	ssd->daemon = &target;
	ssd->conf = &conf;
	sysfs_make(NULL, DEVICE);
	sysfs_make(NULL, "bus/pci/drivers/vfio-pci");
	sysfs_make(NULL, "bus/pci/drivers/nvme");
}

static void take_down(void)
{
	event_free(ssd->look_timer);
	loop_fini(&target.loop);
}

static void cannot_be_opened(void **state)
{
	static const unsigned pauses[] = { 2, 4, 8, 16, 32, 60, 60 };

	(void)state;
	set_up();
	sysfs_link(DEVICE "/driver", "../../drivers/nvme");
	apply_ssd_absent(NULL, ssd);
	assert_int_equal(ssd->look_s, 1);
	look();
	assert_int_equal(ssd->look_s, 1);
	sysfs_link(DEVICE "/driver", "../../drivers/vfio-pci"); /* and no IOMMU */
	for (size_t i = 0; i < ARRAY_SIZE(pauses); i++) {
		look();
		assert_int_equal(ssd->look_s, pauses[i]);
	}
	sysfs_link(DEVICE "/driver", "../../drivers/nvme");
	look();
	assert_int_equal(ssd->look_s, 1);
	take_down();
}

/* It was taken up just now, and is gone again. */
static void comes_to_nothing(void **state)
{
	(void)state;
	set_up();
	sysfs_link(DEVICE "/driver", "../../drivers/nvme");
	apply_ssd_absent(NULL, ssd);
	for (unsigned i = 1; i <= 32; i *= 2) {
		assert_int_equal(ssd->look_s, i);
		ssd->taken_up_ns = clock_now_ns();
		apply_ssd_absent(NULL, ssd);
	}
	assert_int_equal(ssd->look_s, 60);
	ssd->taken_up_ns = clock_now_ns() - 61 * NSEC_PER_SEC; /* it was there for a minute */
	apply_ssd_absent(NULL, ssd);
	assert_int_equal(ssd->look_s, 1);
	take_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cannot_be_opened),
		cmocka_unit_test(comes_to_nothing),
	};

	return cmocka_run_group_tests(tests, sysfs_new, sysfs_free);
}
