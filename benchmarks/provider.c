/* The benchmark's provider: canned answers over epoll. It prints its port and serves until it is killed.
 *
 * A document comes `seed` milliseconds after it was asked for (0: at once).
 *
 * A body with "stream":true gets max_tokens chunks, one each `seed` milliseconds (0: as fast as they go),
 * each stamped with the time at which it was sent; a usage chunk follows when stream_options.include_usage
 * was asked.
 */

#define _GNU_SOURCE
#include "canned.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD "HTTP/1.1 200 OK\r\nx-request-id: req_canned\r\nopenai-processing-ms: 5\r\n"
#define STREAM_HEAD                                                                                          \
    HEAD "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
#define TOKEN                                                                                                \
    "[{\"index\":0,\"delta\":{\"content\":\" @0000000000000000000\"},"                                       \
    "\"logprobs\":null,\"finish_reason\":null}]"
#define FINISH "[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]"
#define DONE "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

enum { REQUEST_BYTES = 16384, OUT_BYTES = 2048, EVENTS = 256, BACKLOG = 4096, MS = 1000000 };

/* A piece of an answer, ready to be copied. `stamp` is where its digits go, 0 where it has none. */
struct text {
    char bytes[OUT_BYTES];
    size_t size, stamp;
};

/* A stream's pieces: [0] for callers who did not ask for usage, [1] for those who did. */
struct script {
    struct text document, token[2], end[2];
};

struct connection {
    int fd;
    bool queued, closed;
    const struct text *token, *end;
    unsigned left; /* chunks still to send; the end follows them */
    uint64_t pace_ns, due_ns;
    size_t held, out_size, out_sent;
    char request[REQUEST_BYTES + 1], out[OUT_BYTES];
};

/* Streams by the time of their next chunk: a binary heap. */
struct queue {
    struct connection **heap;
    size_t size, room;
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void push(struct queue *queue, struct connection *connection) {
    if (queue->size == queue->room) {
        queue->room = queue->room ? 2 * queue->room : 1024;
        queue->heap = realloc(queue->heap, queue->room * sizeof *queue->heap);
        if (!queue->heap) fail("realloc");
    }
    size_t at = queue->size++;
    for (size_t up; at && queue->heap[up = (at - 1) / 2]->due_ns > connection->due_ns; at = up)
        queue->heap[at] = queue->heap[up];
    queue->heap[at] = connection;
    connection->queued = true;
}

static struct connection *pop(struct queue *queue) {
    struct connection *first = queue->heap[0], *last = queue->heap[--queue->size];
    size_t at = 0;
    for (size_t down; (down = 2 * at + 1) < queue->size; at = down) {
        if (down + 1 < queue->size && queue->heap[down + 1]->due_ns < queue->heap[down]->due_ns) down++;
        if (queue->heap[down]->due_ns >= last->due_ns) break;
        queue->heap[at] = queue->heap[down];
    }
    queue->heap[at] = last;
    first->queued = false;
    return first;
}

/* Close; the memory goes when nothing points at it any more. */
static void drop(struct connection *connection) {
    if (!connection->closed) close(connection->fd);
    connection->closed = true;
    if (!connection->queued) free(connection);
}

/* Send what is held back. False when the socket is full; the next EPOLLOUT goes on. */
static bool flush(struct connection *connection) {
    while (connection->out_sent < connection->out_size) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
                            connection->out_size - connection->out_sent, MSG_NOSIGNAL);
        if (sent < 0) return false;
        connection->out_sent += (size_t)sent;
    }
    connection->out_size = connection->out_sent = 0;
    return true;
}

static void add(struct connection *connection, const struct text *text) {
    char *place = connection->out + connection->out_size;
    memcpy(place, text->bytes, text->size);
    connection->out_size += text->size;
    if (!text->stamp) return;
    uint64_t now = now_ns();
    for (char *digit = place + text->stamp + STAMP_DIGITS; digit-- > place + text->stamp; now /= 10)
        *digit = (char)('0' + now % 10);
}

/* Send a stream's next piece, and put it in the queue again unless it has ended or its caller is behind. */
static void step(struct queue *queue, struct connection *connection) {
    bool ends = !connection->left;
    add(connection, ends ? connection->end : connection->token);
    if (ends)
        connection->token = NULL;
    else
        connection->left--;
    connection->due_ns = connection->pace_ns ? connection->due_ns + connection->pace_ns : now_ns();
    if (flush(connection) && !ends) push(queue, connection);
}

/* The number after the first `"name":`, 0 without one. */
static unsigned number(const char *body, const char *name) {
    const char *found = strstr(body, name);
    return found ? (unsigned)strtoul(found + strlen(name), NULL, 10) : 0;
}

static void answer(struct queue *queue, const struct script *script, struct connection *connection,
                   const char *body) {
    connection->pace_ns = (uint64_t)number(body, "\"seed\":") * MS;
    connection->due_ns = now_ns();
    if (!strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true")) {
        connection->end = &script->document;
        connection->left = 0;
        connection->due_ns += connection->pace_ns;
        if (connection->pace_ns)
            push(queue, connection);
        else
            step(queue, connection);
        return;
    }
    bool counted = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
    connection->token = &script->token[counted];
    connection->end = &script->end[counted];
    connection->left = number(body, "\"max_tokens\":");
    if (!connection->left) connection->left = number(body, "\"max_completion_tokens\":");
    memcpy(connection->out, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    connection->out_size = sizeof STREAM_HEAD - 1;
    step(queue, connection);
}

/* Bytes of the first request held, head and body; 0 while it is not whole. */
static size_t whole(struct connection *connection, char **body) {
    connection->request[connection->held] = 0;
    char *end = strstr(connection->request, "\r\n\r\n");
    if (!end) return 0;
    *end = 0;
    const char *length = strcasestr(connection->request, "\r\ncontent-length:");
    *end = '\r';
    *body = end + 4;
    size_t size = (size_t)(*body - connection->request) + (length ? strtoul(length + 17, NULL, 10) : 0);
    return size <= connection->held ? size : 0;
}

/* Read what has come, and answer each whole request. False when the connection is over. */
static bool read_requests(struct queue *queue, const struct script *script, struct connection *connection) {
    for (;;) {
        ssize_t got =
            recv(connection->fd, connection->request + connection->held, REQUEST_BYTES - connection->held, 0);
        if (got < 0) return errno == EAGAIN;
        if (!got) return false;
        connection->held += (size_t)got;
        char *body;
        for (size_t size; (size = whole(connection, &body));) {
            char kept = connection->request[size];
            connection->request[size] = 0;
            answer(queue, script, connection, body);
            connection->request[size] = kept;
            memmove(connection->request, connection->request + size, connection->held - size);
            connection->held -= size;
        }
        if (connection->held < REQUEST_BYTES) return true; /* edge-triggered: more bytes are a new event */
    }
}

static void serve(struct queue *queue, const struct script *script, struct connection *connection,
                  uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP) || ((events & EPOLLIN) && !read_requests(queue, script, connection))) {
        drop(connection);
        return;
    }
    if ((events & EPOLLOUT) && connection->out_size && flush(connection) && connection->token)
        push(queue, connection);
}

static void accept_all(int poll, int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) fail("calloc");
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    }
}

static void append(struct text *text, const char *choices, const char *usage) {
    char data[1024];
    int size = snprintf(
        data, sizeof data,
        "data: {\"id\":\"chatcmpl-canned\",\"object\":\"chat.completion.chunk\",\"created\":1732400000,"
        "\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_canned\","
        "\"choices\":%s%s%s}\n\n",
        choices, *usage ? ",\"usage\":" : "", usage);
    text->size += (size_t)sprintf(text->bytes + text->size, "%x\r\n%s\r\n", (unsigned)size, data);
    const char *mark = strchr(text->bytes, STAMP_MARK);
    text->stamp = mark ? (size_t)(mark + 1 - text->bytes) : 0;
}

static void write_script(struct script *script) {
    memset(script, 0, sizeof *script);
    script->document.size = (size_t)sprintf(
        script->document.bytes, "%scontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", HEAD,
        sizeof ANSWER - 1, ANSWER);
    for (int counted = 0; counted < 2; counted++) {
        const char *null = counted ? "null" : "";
        append(&script->token[counted], TOKEN, null);
        append(&script->end[counted], FINISH, null);
        if (counted) append(&script->end[counted], "[]", USAGE);
        struct text *end = &script->end[counted];
        end->size += (size_t)sprintf(end->bytes + end->size, "%s", DONE);
    }
}

/* A listener on a free port of the loopback address. */
static int listen_anywhere(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size)) fail("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* Send what is due. What becomes due meanwhile waits for the next turn, so that requests are read too. */
static void send_due(struct queue *queue) {
    uint64_t now = now_ns();
    while (queue->size && queue->heap[0]->due_ns <= now) {
        struct connection *connection = pop(queue);
        if (connection->closed)
            free(connection);
        else
            step(queue, connection);
    }
}

int main(void) {
    static struct script script;
    struct queue queue = {0};
    struct epoll_event events[EVENTS];
    write_script(&script);
    int listener = listen_anywhere(), poll = epoll_create1(0);
    struct epoll_event accepting = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, listener, &accepting)) fail("epoll_ctl");
    for (;;) {
        uint64_t now = now_ns(), due = queue.size ? queue.heap[0]->due_ns : 0;
        struct timespec wait = timespec_of(due > now ? due - now : 0);
        int ready = epoll_pwait2(poll, events, EVENTS, queue.size ? &wait : NULL, NULL);
        for (int number = 0; number < ready; number++) {
            if (events[number].data.ptr)
                serve(&queue, &script, events[number].data.ptr, events[number].events);
            else
                accept_all(poll, listener);
        }
        send_due(&queue);
    }
}
