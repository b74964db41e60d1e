/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket options; see sockopt.h. */
#include "transport/sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "util/log.h"

#define DSCP_SHIFT 2 /* below it: congestion notification */

static void set(int fd, int level, int option, int value, const char *name)
{
	static struct log_limit limit = LOG_LIMIT_INIT(5);

	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		log_limited(&limit, LOG_LEVEL_WARN, "%s: %s", name, strerror(errno));
}

void sockopt_listening(int fd, int family, const struct nvme_tcp_options *options)
{
	int tos = (int)(options->dscp << DSCP_SHIFT);

	/* Small PDUs must not wait for one another; what belongs together is sent
	 * together anyway. */
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	/* A host that vanished without a word and has no keep-alive timer is noticed
	 * all the same. */
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE");
	if (options->busy_poll_us)
		set(fd, SOL_SOCKET, SO_BUSY_POLL, (int)options->busy_poll_us, "SO_BUSY_POLL");
	if (tos && family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_TCLASS, tos, "IPV6_TCLASS");
	else if (tos)
		set(fd, IPPROTO_IP, IP_TOS, tos, "IP_TOS");
}

void sockopt_accepted(int fd, const struct nvme_tcp_options *options)
{
	if (options->priority)
		set(fd, SOL_SOCKET, SO_PRIORITY, (int)options->priority, "SO_PRIORITY");
}

void sockopt_reset(int fd)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)); /* else it ends with a FIN */
}
