/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One page over HTTP/1.1 (RFC 9112); see http.h.
 *
 * A client READs until the empty line behind its headers, of which only the first line counts; then
 * it WRITEs the answer; then it is ENDING: our side is closed, and what still comes is thrown away
 * until the client has closed its own, because a close with bytes unread would take the answer with
 * it. libevent's own server has no limit on connections and no time limit on a whole request, and
 * no way to see a connection that is silent.
 */
#include "config/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util/acceptor.h"
#include "util/check.h"
#include "util/log.h"

#define BACKLOG      128
#define THROWN_MAX   65536 /* bytes behind a request */

#define OK           200
#define BAD_REQUEST  400
#define NOT_FOUND    404
#define NOT_ALLOWED  405
#define TOO_LARGE    431
#define OUR_FAULT    500
#define NO_SUCH_HTTP 505

enum client_state { READING, WRITING, ENDING };

struct client {
	TAILQ_ENTRY(client) link;
	struct http *http;
	struct bufferevent *bev;
	struct event *deadline;
	enum client_state state;
	int status;   /* of the answer; 0: the request line is not here yet */
	bool head;    /* the answer goes without the page */
	bool ended;   /* its side */
	size_t taken; /* bytes, of what the state reads */
};

struct http {
	struct http_page page;
	struct evconnlistener *listener;
	struct acceptor acceptor;
	struct event *breath;         /* it is over: accept again */
	TAILQ_HEAD(, client) clients; /* in the order in which they came */
	unsigned n_clients;
	struct log_limit limit;
};

static void client_free(struct client *client)
{
	TAILQ_REMOVE(&client->http->clients, client, link);
	client->http->n_clients--;
	if (client->deadline)
		event_free(client->deadline);
	if (client->bev)
		bufferevent_free(client->bev);
	free(client);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;

	(void)fd;
	(void)what;
	log_debug("%s: a client took too long to %s", client->http->page.name,
		  client->state == READING ? "ask" : "take its answer");
	client_free(client);
}

static void set_deadline(struct client *client, int seconds)
{
	const struct timeval patience = { .tv_sec = seconds };

	evtimer_add(client->deadline, &patience);
}

/* --- The request --------------------------------------------------------------------------------
 */

/* "GET /metrics HTTP/1.1", in pieces from then on. The status of the answer. */
static int judge(char *line, const char *path, bool *ret_head)
{
	const char *method = strsep(&line, " "), *target = strsep(&line, " "), *version = line;
	size_t len;

	if (!target || !version || strncmp(version, "HTTP/", 5) != 0 || strchr(version, ' '))
		return BAD_REQUEST;
	if (strcmp(version, "HTTP/1.0") != 0 && strcmp(version, "HTTP/1.1") != 0)
		return NO_SUCH_HTTP;
	*ret_head = strcmp(method, "HEAD") == 0;
	if (!*ret_head && strcmp(method, "GET") != 0)
		return NOT_ALLOWED;
	if (strncasecmp(target, "http://", 7) == 0) {
		target = strchr(target + 7, '/'); /* as a proxy would be asked */
		if (!target)
			return NOT_FOUND;
	}
	len = strcspn(target, "?");
	return len == strlen(path) && memcmp(target, path, len) == 0 ? OK : NOT_FOUND;
}

/* Takes what there is of it. True once `status` is that of the answer. */
static bool take_request(struct client *client, struct evbuffer *in)
{
	char *line;
	size_t len;

	while ((line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF)) != NULL) {
		bool last = client->status && len == 0;

		client->taken += len + 2;
		if (!client->status)
			client->status = strlen(line) == len ? judge(line, client->http->page.path,
								     &client->head)
							     : BAD_REQUEST;
		free(line);
		if (last && client->taken <= HTTP_REQUEST_MAX)
			return true;
	}
	if (client->taken + evbuffer_get_length(in) < HTTP_REQUEST_MAX)
		return false;
	client->status = TOO_LARGE;
	return true;
}

/* --- The answer ---------------------------------------------------------------------------------
 */

static const char *reason(int status)
{
	switch (status) {
	case OK:
		return "OK";
	case BAD_REQUEST:
		return "Bad Request";
	case NOT_FOUND:
		return "Not Found";
	case NOT_ALLOWED:
		return "Method Not Allowed";
	case TOO_LARGE:
		return "Request Header Fields Too Large";
	case NO_SUCH_HTTP:
		return "HTTP Version Not Supported";
	default:
		return "Internal Server Error";
	}
}

/* False: out of memory. */
static bool write_answer(struct client *client, struct evbuffer *out, struct evbuffer *body)
{
	const struct http_page *page = &client->http->page;
	time_t now = time(NULL);
	char date[40] = "";
	struct tm tm;

	if (client->status == OK && page->write(page->arg, body)) {
		client->status = OUR_FAULT;
		evbuffer_drain(body, evbuffer_get_length(body));
	}
	if (client->status != OK && evbuffer_add_printf(body, "%s: here is GET %s\n",
							reason(client->status), page->path) < 0)
		return false;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	if (evbuffer_add_printf(out,
				"HTTP/1.1 %d %s\r\n"
				"Date: %s\r\n"
				"Content-Type: %s\r\n"
				"Content-Length: %zu\r\n"
				"%sConnection: close\r\n\r\n",
				client->status, reason(client->status), date,
				client->status == OK ? page->type : "text/plain",
				evbuffer_get_length(body),
				client->status == NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "") < 0)
		return false;
	return client->head || evbuffer_add_buffer(out, body) == 0;
}

static void answer(struct client *client)
{
	struct evbuffer *body = evbuffer_new();
	bool good;

	client->state = WRITING;
	client->taken = 0;
	set_deadline(client, HTTP_ANSWER_S);
	good = body && write_answer(client, bufferevent_get_output(client->bev), body);
	if (body)
		evbuffer_free(body);
	if (!good)
		client_free(client);
}

/* --- Connections --------------------------------------------------------------------------------
 */

static void on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct client *client = arg;

	if (client->state == READING) {
		if (take_request(client, in))
			answer(client);
		return;
	}
	client->taken += evbuffer_get_length(in);
	evbuffer_drain(in, evbuffer_get_length(in));
	if (client->taken > THROWN_MAX)
		client_free(client);
}

/* The answer is in the socket. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct client *client = arg;

	if (client->state != WRITING)
		return;
	client->state = ENDING;
	if (client->ended || shutdown(bufferevent_getfd(bev), SHUT_WR) < 0)
		client_free(client);
}

/* Who has asked may end its side, and still wants the answer. */
static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct client *client = arg;

	(void)bev;
	if ((what & BEV_EVENT_EOF) && client->state == WRITING)
		client->ended = true;
	else
		client_free(client);
}

/* Whose place a new one gets: who owes us the end, or else the request, or else takes its answer,
 * for longest. */
static struct client *find_slowest(const struct http *http)
{
	static const enum client_state order[] = { ENDING, READING, WRITING };
	struct client *client;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		TAILQ_FOREACH (client, &http->clients, link) {
			if (client->state == order[i])
				return client;
		}
	}
	return NULL;
}

static void make_room(struct http *http)
{
	struct client *client;

	if (http->n_clients < HTTP_MAX_CLIENTS)
		return;
	client = find_slowest(http);
	must(client);
	if (client->state != ENDING)
		log_limited(&http->limit, LOG_LEVEL_WARN,
			    "%s: %u connections are there: the one that %s for longest is closed",
			    http->page.name, http->n_clients,
			    client->state == READING ? "has not asked" : "takes its answer");
	client_free(client);
}

static void breath_over(evutil_socket_t fd, short what, void *arg)
{
	const struct http *http = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(http->listener);
}

/* When all places are taken, one connection a wake-up comes in: what has been asked already is
 * read before anybody is judged to be silent. */
static void take_breath(const struct http *http)
{
	const struct timeval none = { 0 };

	if (http->n_clients < HTTP_MAX_CLIENTS)
		return;
	evconnlistener_disable(http->listener);
	evtimer_add(http->breath, &none);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
		      int len, void *arg)
{
	struct event_base *base = evconnlistener_get_base(listener);
	struct http *http = arg;
	struct client *client;

	(void)addr;
	(void)len;
	take_breath(http);
	make_room(http);
	client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return;
	}
	client->http = http;
	TAILQ_INSERT_TAIL(&http->clients, client, link);
	http->n_clients++;
	client->deadline = evtimer_new(base, on_deadline, client);
	client->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev || !client->deadline) {
		if (!client->bev)
			close(fd);
		client_free(client);
		return;
	}
	bufferevent_setcb(client->bev, on_read, on_written, on_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, HTTP_REQUEST_MAX);
	set_deadline(client, HTTP_REQUEST_S);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
}

int http_new(struct event_base *base, const struct sockaddr *addr, int addr_len,
	     const struct http_page *page, struct http **ret_http)
{
	const unsigned options = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
	struct http *http = calloc(1, sizeof(*http));
	int err;

	if (!http)
		return -ENOMEM;
	http->page = *page;
	http->limit = (struct log_limit)LOG_LIMIT_INIT(10);
	TAILQ_INIT(&http->clients);
	http->breath = evtimer_new(base, breath_over, http);
	if (!http->breath) {
		http_free(http);
		return -ENOMEM;
	}
	errno = 0;
	http->listener =
		evconnlistener_new_bind(base, on_accept, http, options, BACKLOG, addr, addr_len);
	if (!http->listener ||
	    acceptor_init(&http->acceptor, base, http->listener, http->page.name)) {
		err = errno ? -errno : -ENOMEM;
		http_free(http);
		return err;
	}
	*ret_http = http;
	return 0;
}

int http_fd(const struct http *http)
{
	return evconnlistener_get_fd(http->listener);
}

void http_free(struct http *http)
{
	struct client *client;

	if (!http)
		return;
	while ((client = TAILQ_FIRST(&http->clients)) != NULL)
		client_free(client); /* NOLINT(clang-analyzer-unix.Malloc): it left the list */
	acceptor_fini(&http->acceptor);
	if (http->breath)
		event_free(http->breath);
	if (http->listener)
		evconnlistener_free(http->listener);
	free(http);
}
