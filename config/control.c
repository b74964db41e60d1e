/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket; see control.h. What is answered is made in report.c and
 * command.c. */
#include "config/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/command.h"
#include "config/daemon.h"
#include "config/report.h"
#include "util/acceptor.h"
#include "util/log.h"

#define MAX_CLIENTS   16
#define MAX_REQUEST   4096 /* bytes of a line, its end included */
#define CLIENT_IDLE_S 60

struct client {
	LIST_ENTRY(client) link;
	struct control *control;
	struct bufferevent *bev;
	bool ended; /* its side: nothing more will be asked */
};

struct control {
	struct daemon *daemon;
	struct sockaddr_un addr;
	struct stat made; /* what was bound: somebody may put another socket in its place */
	struct evconnlistener *listener;
	struct acceptor acceptor;
	LIST_HEAD(, client) clients;
	unsigned n_clients;
	struct log_limit limit;
};

static void client_free(struct client *client)
{
	LIST_REMOVE(client, link);
	client->control->n_clients--;
	bufferevent_free(client->bev);
	free(client);
}

static json_t *answer(struct daemon *daemon, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, 0, NULL);
	const char *name = json_string_value(json_object_get(request, "request"));
	json_t *result;

	if (!name)
		result = report_error(
			"expected {\"request\": \"status\" | \"list\" | \"counters\" | …}");
	else
		result = report(daemon, name, request);
	if (!result)
		result = command(daemon, name, request);
	if (!result)
		result = report_error("no such request");
	json_decref(request);
	return result;
}

static bool reply(struct client *client, const char *line, size_t len)
{
	struct evbuffer *out = bufferevent_get_output(client->bev);
	json_t *result = answer(client->control->daemon, line, len);
	char *text = json_dumps(result, JSON_COMPACT);
	bool good = text && evbuffer_add_printf(out, "%s\n", text) > 0;

	free(text);
	json_decref(result);
	return good;
}

/* The next request, the caller's; NULL: there is none yet. The last one of a client that has ended
 * its side needs no end of line: half an object is no JSON. */
static char *next_line(struct client *client, size_t *ret_len)
{
	struct evbuffer *in = bufferevent_get_input(client->bev);
	char *line = evbuffer_readln(in, ret_len, EVBUFFER_EOL_LF);

	if (line || !client->ended || !evbuffer_get_length(in))
		return line;
	*ret_len = evbuffer_get_length(in);
	line = malloc(*ret_len);
	if (line)
		evbuffer_remove(in, line, *ret_len);
	return line;
}

/* False: nothing more can come of it. */
static bool next_request(struct client *client)
{
	size_t len = 0;
	char *line = next_line(client, &len);
	bool good;

	if (line)
		good = len < MAX_REQUEST && reply(client, line, len);
	else
		good = !client->ended &&
		       evbuffer_get_length(bufferevent_get_input(client->bev)) < MAX_REQUEST;
	free(line);
	return good;
}

static bool has_answer(const struct client *client)
{
	return evbuffer_get_length(bufferevent_get_output(client->bev)) > 0;
}

/* One request at a time: the next one is read when the answer has left, so that a client that does
 * not read has one answer waiting, however many it asks for. (A watermark would do it, but libevent
 * crashes when it finds no memory for one.) */
static bool read_on(struct client *client)
{
	if (client->ended)
		return true;
	return (has_answer(client) ? bufferevent_disable(client->bev, EV_READ)
				   : bufferevent_enable(client->bev, EV_READ)) == 0;
}

static void serve(struct client *client)
{
	if (!has_answer(client) && (!next_request(client) || !read_on(client)))
		client_free(client);
}

static void on_ready(struct bufferevent *bev, void *arg)
{
	(void)bev;
	serve(arg);
}

/* The end, an error, or idle for too long. A client may end its side behind its last request: what
 * it asked for is still sent, as long as it goes on reading. */
static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct client *client = arg;

	(void)bev;
	if (what & BEV_EVENT_EOF) {
		client->ended = true;
		serve(client);
	} else {
		client_free(client);
	}
}

/* Says why, as far as the socket takes it at once. */
static void turn_away(int fd, const char *why)
{
	char text[128];
	int len = snprintf(text, sizeof(text), "{\"error\":\"%s\"}\n", why);

	if (send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("control socket: a client that is turned away: %s", strerror(errno));
	close(fd);
}

/* The socket's mode keeps others out, but somebody may have changed it. */
static bool is_allowed(struct control *control, int fd)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    (peer.uid == 0 || peer.uid == geteuid()))
		return true;
	log_limited(&control->limit, LOG_LEVEL_WARN, "control socket: user %u may not use it",
		    (unsigned)peer.uid);
	return false;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
		      int len, void *arg)
{
	const struct timeval idle = { .tv_sec = CLIENT_IDLE_S };
	struct control *control = arg;
	struct client *client;

	(void)addr;
	(void)len;
	if (!is_allowed(control, fd)) {
		turn_away(fd, "it is for root and the user of the daemon");
		return;
	}
	if (control->n_clients >= MAX_CLIENTS) {
		log_limited(&control->limit, LOG_LEVEL_WARN,
			    "control socket: %u clients are there, one more is turned away",
			    control->n_clients);
		turn_away(fd, "too many clients of the control socket");
		return;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		turn_away(fd, "out of memory");
		return;
	}
	client->control = control;
	client->bev = bufferevent_socket_new(evconnlistener_get_base(listener), fd,
					     BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev) {
		free(client);
		turn_away(fd, "out of memory");
		return;
	}
	LIST_INSERT_HEAD(&control->clients, client, link);
	control->n_clients++;
	bufferevent_setcb(client->bev, on_ready, on_ready, on_event, client);
	bufferevent_set_timeouts(client->bev, &idle, &idle);
	if (bufferevent_enable(client->bev, EV_READ | EV_WRITE) < 0)
		client_free(client);
}

/*
 * Makes room for our socket: one that is left over from a process that died is removed. Nothing
 * else is, be it a file that is named by mistake or a socket that somebody listens at, even if it
 * has no time for us now (EAGAIN). 0, -EEXIST or -EADDRINUSE; the rest is for bind() to tell.
 */
static int clear_path(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err = 0;

	if (lstat(addr->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
		err = -EADDRINUSE;
	else
		unlink(addr->sun_path);
	close(fd);
	return err;
}

static int bind_path(const struct sockaddr_un *addr)
{
	int fd, err = clear_path(addr);
	mode_t mask;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 || listen(fd, 8) < 0
		      ? -errno
		      : 0;
	umask(mask);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* Ours only: it may have been removed, and another daemon have taken the name since. */
static void remove_path(const struct control *control)
{
	struct stat st;

	if (lstat(control->addr.sun_path, &st) == 0 && st.st_dev == control->made.st_dev &&
	    st.st_ino == control->made.st_ino)
		unlink(control->addr.sun_path);
}

int control_new(struct daemon *daemon, const char *path, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int fd;

	if (!control)
		return -ENOMEM;
	control->daemon = daemon;
	control->limit = (struct log_limit)LOG_LIMIT_INIT(10);
	LIST_INIT(&control->clients);
	control->addr.sun_family = AF_UNIX;
	strncpy(control->addr.sun_path, path, sizeof(control->addr.sun_path) - 1);
	fd = bind_path(&control->addr);
	if (fd < 0) {
		log_err("control socket %s: %s", path,
			fd == -ENOENT       ? "its folder does not exist"
			: fd == -EADDRINUSE ? "another nvmetd has it"
			: fd == -EEXIST     ? "there is something else of this name"
					    : strerror(-fd));
		free(control);
		return fd;
	}
	lstat(path, &control->made); /* removed already: then nothing there will be ours */
	control->listener = evconnlistener_new(daemon->loop.base, on_accept, control,
					       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0,
					       fd);
	if (!control->listener) {
		remove_path(control);
		close(fd);
		free(control);
		return -ENOMEM;
	}
	if (acceptor_init(&control->acceptor, daemon->loop.base, control->listener,
			  "control socket")) {
		control_free(control);
		return -ENOMEM;
	}
	*ret_control = control;
	return 0;
}

void control_free(struct control *control)
{
	struct client *client;

	if (!control)
		return;
	while ((client = LIST_FIRST(&control->clients)) != NULL)
		client_free(client); /* NOLINT(clang-analyzer-unix.Malloc): it left the list */
	acceptor_fini(&control->acceptor);
	remove_path(control); /* while we hold the socket, no other one has its inode number */
	evconnlistener_free(control->listener);
	free(control);
}
