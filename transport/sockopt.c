/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket options; see sockopt.h. */
#include "transport/sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
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

/* What a sysctl lists; where /proc shows none (as under our unit), how to ask for it. */
static void read_names(const char *sysctl, char *names, int size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", sysctl);
	file = fopen(path, "re");
	if (!file || !fgets(names, size, file))
		snprintf(names, (size_t)size, "see sysctl net.ipv4.%s", sysctl);
	names[strcspn(names, "\n")] = '\0';
	if (file)
		fclose(file);
}

/* The same for all sockets, so it is told once. */
static void refused_congestion(const char *name, int err)
{
	static struct log_limit limit = LOG_LIMIT_INIT(1);
	char names[256]; /* of a few words */

	if (err == ENOENT) {
		read_names("tcp_available_congestion_control", names, sizeof(names));
		log_limited(
			&limit, LOG_LEVEL_WARN,
			"tcp.congestion: the kernel has no \"%s\" (only: %s): modprobe tcp_%s, or "
			"name another one, and start again; until then it is the system's",
			name, names, name);
	} else if (err == EPERM) {
		read_names("tcp_allowed_congestion_control", names, sizeof(names));
		log_limited(
			&limit, LOG_LEVEL_WARN,
			"tcp.congestion: \"%s\" takes CAP_NET_ADMIN (others do not: %s): add it to "
			"sysctl net.ipv4.tcp_allowed_congestion_control, or name another one, and "
			"start again; until then it is the system's",
			name, names);
	} else {
		log_limited(&limit, LOG_LEVEL_WARN, "tcp.congestion: \"%s\": %s", name,
			    strerror(err));
	}
}

static void set_congestion(int fd, const char *name)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0)
		refused_congestion(name, errno);
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
	if (options->congestion[0])
		set_congestion(fd, options->congestion);
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
