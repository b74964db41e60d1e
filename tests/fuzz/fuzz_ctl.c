/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket, with a host connected so that there is something to tell. An input is what a
 * client sends, in parts: 255 ends a part, 254 too, and lets a minute pass. Each line, and what is
 * left when the client ends its side, is answered with one JSON object, or the connection ends.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/control.h"
#include "target/nvmf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "util/check.h"

#define TIME_PASSES 254 /* no byte of UTF-8 from here on */

static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static struct host host;

static void connect_host(void)
{
	const struct nvmf_connect_cmd cmd = {
		.opcode = NVME_OPCODE_FABRICS,
		.flags = 0x40,
		.fctype = NVMF_CONNECT,
		.sgl = { .length = le32_set(sizeof(struct nvmf_connect_data)), .type = 0x01 },
		.sqsize = le16_set(31),
	};
	const struct nvmf_connect_data data = {
		.cntlid = le16_set(NVMF_CNTLID_DYNAMIC),
		.subnqn = RIG_NQN,
		.hostnqn = "nqn.za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87-not-ASCII"
	};

	host_open(&host, rig_connect());
	host_send_icreq(&host, 0, 0);
	rig_settle();
	must(host_receive(&host));
	host_send_command(&host, (const struct nvme_sqe *)&cmd, &data, sizeof(data), 0);
	rig_settle();
	must(host_receive(&host) && host.entries);
}

static void clean_up(void)
{
	host_close(&host);
	rig_stop(); /* removes the socket */
	addr.sun_path[strlen(addr.sun_path) - strlen("/control")] = '\0';
	rmdir(addr.sun_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char folder[] = "/tmp/fuzz_ctl.XXXXXX";

	(void)argc;
	(void)argv;
	must(mkdtemp(folder));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control", folder);
	rig_init("emulated:size=1M,queues=2");
	rig_start();
	connect_host();
	must(control_new(&rig, addr.sun_path, &rig.control) == 0);
	atexit(clean_up);
	return 0;
}

/* Accepting, reading and answering are wake-ups of their own. */
static void settle(void)
{
	for (unsigned i = 0; i < 8; i++)
		rig_turn();
}

static char answers[1 << 20];
static size_t n_answers; /* bytes of them: the beginning of a line */

/* The whole lines of what has come; returns their number. */
static unsigned take_lines(void)
{
	char *line = answers, *end;
	unsigned lines = 0;

	while ((end = memchr(line, '\n', n_answers)) != NULL) {
		json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);

		if (!json_is_object(object))
			fuzz_fail("no JSON object: %.*s", (int)(end - line), line);
		json_decref(object);
		n_answers -= (size_t)(end + 1 - line);
		line = end + 1;
		lines++;
	}
	memmove(answers, line, n_answers);
	return lines;
}

/* All that comes now, and what there is room for then. */
static unsigned receive(int fd)
{
	unsigned lines = 0;
	ssize_t n;

	do {
		settle();
		n = recv(fd, answers + n_answers, sizeof(answers) - n_answers, MSG_DONTWAIT);
		n_answers += n > 0 ? (size_t)n : 0;
		lines += take_lines();
	} while (n > 0);
	return lines;
}

static unsigned count_lines(const uint8_t *bytes, size_t len)
{
	unsigned lines = 0;

	for (size_t i = 0; i < len; i++)
		lines += bytes[i] == '\n';
	return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned asked = 0, answered = 0;
	bool rest = false; /* the end of what was sent is no end of line */

	n_answers = 0;
	must(fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	while (size) {
		size_t len = 0;
		ssize_t n;

		while (len < size && data[len] < TIME_PASSES)
			len++;
		n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			asked += count_lines(data, (size_t)n);
			rest = data[n - 1] != '\n';
		}
		answered += receive(fd);
		if (len < size && data[len] == TIME_PASSES)
			rig_sleep(61000);
		len += len < size;
		data += len;
		size -= len;
	}
	shutdown(fd, SHUT_WR);
	answered += receive(fd);
	asked += rest;
	if (n_answers)
		fuzz_fail("an answer without an end");
	if (answered > asked)
		fuzz_fail("%u answers to %u requests", answered, asked);
	close(fd);
	settle();
	return 0;
}
