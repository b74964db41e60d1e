/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections are counted in all, by address and by IPv6 network, and nothing is left of those that
 * are gone. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "target/target.h"
#include "transport/peers.h"
#include "util/check.h"

static struct peers peers;
static const struct nvmet_limits limits = {
	.connections = 32, .connections_per_host = 20, .handshakes = 16, .handshakes_per_host = 3
};

static struct nvmet_peer_addr addr(const char *text)
{
	struct nvmet_peer_addr bytes;

	assert_int_equal(inet_pton(AF_INET6, text, bytes.bytes), 1);
	return bytes;
}

/* The number-th address of a form, "PREFIX*SUFFIX". */
static struct nvmet_peer_addr nth(const char *form, unsigned number)
{
	const char *star = strchr(form, '*');
	char text[INET6_ADDRSTRLEN];

	if (!star)
		return addr(form);
	snprintf(text, sizeof(text), "%.*s%x%s", (int)(star - form), form, number, star + 1);
	return addr(text);
}

/* How many connections may come, each from an address of its own; they leave again. */
static unsigned n_half_open(const char *form, const char **ret_why)
{
	struct nvmet_peer_addr from[64];
	unsigned n = 0;

	for (; n < ARRAY_SIZE(from); n++) {
		from[n] = nth(form, n + 1);
		*ret_why = peers_enter(&peers, &limits, &from[n]);
		if (*ret_why)
			break;
	}
	for (unsigned i = 0; i < n; i++)
		peers_leave(&peers, &from[i], true);
	return n;
}

static unsigned n_finished(const char *form, const char **ret_why)
{
	struct nvmet_peer_addr from[64];
	unsigned n = 0;

	for (; n < ARRAY_SIZE(from); n++) {
		from[n] = nth(form, n + 1);
		*ret_why = peers_enter(&peers, &limits, &from[n]);
		if (*ret_why)
			break;
		peers_handshake_over(&peers, &from[n]);
	}
	for (unsigned i = 0; i < n; i++)
		peers_leave(&peers, &from[i], false);
	return n;
}

static int nothing_left(void **state)
{
	(void)state;
	assert_int_equal(peers.all.conns, 0);
	assert_int_equal(peers.all.handshakes, 0);
	for (size_t i = 0; i < ARRAY_SIZE(peers.buckets); i++)
		assert_true(LIST_EMPTY(&peers.buckets[i]));
	return 0;
}

static void one_address(void **state)
{
	const struct nvmet_peer_addr from = addr("2001:db8::1");
	const char *why;

	(void)state;
	assert_int_equal(n_half_open("2001:db8::", &why), 3);
	assert_string_equal(why, "limits.handshakes_per_host is reached");
	assert_int_equal(n_finished("::ffff:192.0.2.1", &why), 20);
	assert_string_equal(why, "limits.connections_per_host is reached");
	assert_null(peers_enter(&peers, &limits, &from));
	peers_leave(&peers, &from, true);
}

/* However many addresses it has, others have an eighth. */
static void one_network(void **state)
{
	const struct nvmet_peer_addr other = addr("2001:db8:0:1::");
	const char *why;

	(void)state;
	assert_int_equal(n_half_open("2001:db8::*:0:0:1", &why), 14);
	assert_string_equal(why, "its IPv6 network (/64) has 7/8 of limits.handshakes");
	assert_int_equal(n_finished("2001:db8::*", &why), 28);
	assert_string_equal(why, "its IPv6 network (/64) has 7/8 of limits.connections");
	assert_null(peers_enter(&peers, &limits, &other));
	assert_int_equal(n_half_open("2001:db8::*", &why), 14);
	peers_leave(&peers, &other, true);
}

/* What has no network ends where all connections do. */
static void no_network(void **state)
{
	static const char *const forms[] = { "::ffff:c000:*", "fe80::*", "febf::*", "::*",
					     "2001:db8:0:*::1" };
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		assert_int_equal(n_half_open(forms[i], &why), 16);
		assert_string_equal(why, "limits.handshakes is reached");
		assert_int_equal(n_finished(forms[i], &why), 32);
		assert_string_equal(why, "limits.connections is reached");
	}
}

/* Small limits are whole, and 0 is none. */
static void parts(void **state)
{
	(void)state;
	assert_int_equal(nvmet_peer_net_limit(0), 0);
	assert_int_equal(nvmet_peer_net_limit(1), 1);
	assert_int_equal(nvmet_peer_net_limit(7), 7);
	assert_int_equal(nvmet_peer_net_limit(8), 7);
	assert_int_equal(nvmet_peer_net_limit(4096), 3584);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(one_address, nothing_left),
		cmocka_unit_test_teardown(one_network, nothing_left),
		cmocka_unit_test_teardown(no_network, nothing_left),
		cmocka_unit_test(parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
