/* SPDX-License-Identifier: BSD-3-Clause */
/* nvmetctl's side of the control socket. A daemon that hangs, or has too many clients, must not
 * make us hang or die: each wait has an end, and what went wrong is said so that somebody can act.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/ctl.h"
#include "config/ctl_text.h"

#define ANSWER_TIMEOUT_S 10

static int connect_to(const struct sockaddr_un *addr)
{
	const struct timeval patience = { .tv_sec = ANSWER_TIMEOUT_S };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static const char *why_not_connected(int err)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		return "does nvmetd run, with this control socket?";
	case -EACCES:
	case -EPERM:
		return "it is for root and the user of the daemon";
	case -EAGAIN:
		return "the daemon takes no client: it hangs, or has too many";
	default:
		return "is this nvmetd's control socket?";
	}
}

/* What is not sent is not answered; a daemon that has closed the socket may have
 * said why before. */
static void send_request(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);

	if (text && send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
		send(fd, "\n", 1, MSG_NOSIGNAL);
	free(text);
	shutdown(fd, SHUT_WR);
}

/* Sends it, and reads the answer. *ret_error: what went wrong, or NULL. */
static json_t *exchange(int fd, const json_t *request, const char **ret_error)
{
	FILE *stream = fdopen(fd, "r");
	json_t *answer;

	*ret_error = NULL;
	if (!stream) {
		close(fd);
		*ret_error = strerror(errno);
		return NULL;
	}
	send_request(fd, request);
	errno = 0;
	answer = json_loadf(stream, JSON_DISABLE_EOF_CHECK, NULL);
	if (!answer && ferror(stream) && errno == EAGAIN)
		*ret_error = "no answer within 10 s: the daemon hangs, or is very busy";
	else if (!answer && (ferror(stream) || feof(stream)))
		*ret_error = "the connection ended before there was an answer: see nvmetd's log";
	else if (!json_is_object(answer))
		*ret_error = "what came is no answer: is this nvmetd's control socket?";
	fclose(stream);
	return answer;
}

int ctl_ask(const char *path, const json_t *request, json_t **ret_answer)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *error;
	int fd;

	*ret_answer = NULL;
	if (strlen(path) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "nvmetctl: %s: too long for a UNIX socket\n", path);
		return -EINVAL;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = connect_to(&addr);
	if (fd < 0) {
		fprintf(stderr, "nvmetctl: %s: %s (%s)\n", path, strerror(-fd),
			why_not_connected(fd));
		return fd;
	}
	*ret_answer = exchange(fd, request, &error);
	if (!error)
		return 0;
	fprintf(stderr, "nvmetctl: %s: %s\n", path, error);
	json_decref(*ret_answer);
	*ret_answer = NULL;
	return -EIO;
}

void ctl_print_error(const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));

	fprintf(stderr, "nvmetctl: ");
	ctl_text_print(stderr, error ? error : "the daemon refused, and did not say why");
	fprintf(stderr, "\n");
}
