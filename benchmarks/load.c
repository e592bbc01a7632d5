/* The benchmark's client, over epoll. Commands come a line each on stdin; one line of JSON answers each.
 *
 *   open PORT CONNECTIONS EXACT        connect, so that connecting is not measured. EXACT 1: documents must be
 *                                      the provider's, byte for byte
 *   closed FILE SECONDS LIMIT          each connection sends again when it has its answer, LIMIT in all at most
 *   poisson FILE TOKENS RATE SECONDS   arrivals by a Poisson process, the same in every run
 *   overload FILE RATE SECONDS         the same for documents, where a 503 with retry-after is a refusal, not wrong
 *   spread FILE TOKENS OVER_MS         one request on every connection, their starts spread over a time
 *   close
 *
 * FILE is a request as it goes over the wire; "user-0000" in it becomes each of the 2,000 users in turn.
 * TOKENS is what each stream must bring, 0 for documents. All times are CLOCK_MONOTONIC.
 */

#define _GNU_SOURCE
#include "answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { USERS = 2000, EVENTS = 256, READ_BYTES = 65536, REQUEST_BYTES = 16384, EXAMPLE_BYTES = 400 };

static const uint64_t GRACE_NS = 20000000000u; /* for answers after the last arrival */
static const uint64_t WATCH_NS = 10000000u;    /* it looks up at least this often, to see itself held up */
static const uint64_t GAP_NS = 50000000u;      /* a longer one between two chunks is noticed by a reader… */
static const uint64_t EXCESS_NS = 30000000u;   /* …and not the provider's if this much was added to its own */

/* Seconds of something, once per answer or chunk. */
struct sample {
    double *values;
    size_t size, room;
};

struct link {
    int fd;
    bool busy;
    uint64_t since_ns, read_ns; /* when the answer under way was asked for; when its last bytes came */
    uint64_t token_ns, sent_ns; /* the last chunk: when it came (0: none yet), when the provider sent it */
    struct load *load;
    struct answer answer;
};

struct load {
    int poll, port;
    bool exact;
    struct link *links;
    size_t size, busy;
    size_t *idle, idle_first, idle_size; /* a ring of the links that wait for work */
    char request[REQUEST_BYTES], *user;
    size_t request_size;
    unsigned tokens;
    bool again;    /* closed: a link that is done sends at once */
    bool may_shed; /* overload: a request may be refused */
    uint64_t deadline_ns;
    size_t sent, limit, broken, candidate, gaps, own_gaps;
    uint64_t woke_ns, held_ns, longest_held_ns; /* how long the client itself was kept from looking */
    struct sample latency, first_token, delay, refusal;
    char example[EXAMPLE_BYTES];
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void record(struct sample *sample, uint64_t ns) {
    if (sample->size == sample->room) {
        sample->room = sample->room ? 2 * sample->room : 65536;
        sample->values = realloc(sample->values, sample->room * sizeof *sample->values);
        if (!sample->values) fail("realloc");
    }
    sample->values[sample->size++] = (double)ns / 1e9;
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* `"name": {"p50": …, "p99": …, "max": …}` in seconds; null without a value. */
static void print_sample(const char *name, struct sample *sample) {
    if (!sample->size) {
        printf(", \"%s\": null", name);
        return;
    }
    qsort(sample->values, sample->size, sizeof *sample->values, by_value);
    printf(", \"%s\": {\"p50\": %.9f, \"p99\": %.9f, \"max\": %.9f}", name, sample->values[sample->size / 2],
           sample->values[sample->size * 99 / 100], sample->values[sample->size - 1]);
}

static void print_result(struct load *load, double seconds) {
    printf("{\"answers\": %zu, \"broken\": %zu, \"example\": \"%s\", \"candidate\": %zu, \"seconds\": %.6f",
           load->latency.size, load->broken, load->example, load->candidate, seconds);
    printf(", \"chunks\": %zu, \"gaps\": %zu, \"own_gaps\": %zu, \"held_up_s\": %.6f", load->delay.size,
           load->gaps, load->own_gaps, (double)load->longest_held_ns / 1e9);
    print_sample("latency_s", &load->latency);
    print_sample("first_token_s", &load->first_token);
    print_sample("delay_s", &load->delay);
    printf(", \"refused\": %zu", load->refusal.size);
    print_sample("refusal_s", &load->refusal);
    printf("}\n");
    fflush(stdout);
}

/* Count a wrong answer, and keep what the first one was, as text that needs no escapes. */
static void blame(struct load *load, const char *what, const char *head, const char *body) {
    if (load->broken++) return;
    snprintf(load->example, sizeof load->example, "%s: %s%s", what, head, body);
    for (char *place = load->example; *place; place++)
        if (*place < ' ' || *place > '~' || *place == '"' || *place == '\\') *place = ' ';
}

static void watch(struct link *link) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(link->load->poll, EPOLL_CTL_ADD, link->fd, &event)) fail("epoll_ctl");
}

static bool dial(struct link *link) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)link->load->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(link->fd, (struct sockaddr *)&address, sizeof address)) {
        blame(link->load, "connect", strerror(errno), "");
        close(link->fd);
        link->fd = -1;
        return false;
    }
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(link->fd, F_SETFL, O_NONBLOCK);
    watch(link);
    return true;
}

static void wait_for_work(struct load *load, struct link *link) {
    load->idle[(load->idle_first + load->idle_size++) % load->size] = (size_t)(link - load->links);
}

static void end(struct link *link) {
    link->busy = false;
    link->load->busy--;
}

/* A link whose answer was wrong is not used again in this run. */
static void spoil(struct link *link, const char *what) {
    struct answer *answer = &link->answer;
    answer->head[answer->head_size] = answer->body[answer->body_size] = 0;
    blame(link->load, what, answer->head, answer->body);
    end(link);
    close(link->fd);
    link->fd = -1;
}

static void ask(struct link *link, uint64_t since_ns) {
    struct load *load = link->load;
    size_t user = load->sent++ % USERS;
    if (load->user)
        for (char *digit = load->user + 4; digit-- > load->user; user /= 10) *digit = (char)('0' + user % 10);
    begin_answer(&link->answer, load->tokens > 0);
    link->since_ns = since_ns;
    link->token_ns = link->sent_ns = 0;
    link->busy = true;
    load->busy++;
    if (send(link->fd, load->request, load->request_size, MSG_NOSIGNAL) != (ssize_t)load->request_size)
        spoil(link, "the request could not be sent");
}

/* A chunk of a stream has come: the first token, or a gap to the one before. */
static void take_token(void *context, uint64_t sent_ns) {
    struct link *link = context;
    struct load *load = link->load;
    uint64_t now = link->read_ns;
    record(&load->delay, now > sent_ns ? now - sent_ns : 0);
    if (!link->token_ns) {
        record(&load->first_token, now - link->since_ns);
    } else if (now - link->token_ns > GAP_NS) {
        uint64_t made = sent_ns - link->sent_ns + EXCESS_NS, gap = now - link->token_ns;
        if (gap > made + load->held_ns)
            load->gaps++;
        else if (gap > made)
            load->own_gaps++;
    }
    link->token_ns = now;
    link->sent_ns = sent_ns;
}

static void finish(struct link *link) {
    struct load *load = link->load;
    if (load->may_shed && is_refusal(&link->answer)) {
        record(&load->refusal, link->read_ns - link->since_ns);
        end(link);
        wait_for_work(load, link);
        return;
    }
    if (!is_good(&link->answer, load->tokens, load->exact)) {
        spoil(link, "not as it should be");
        return;
    }
    record(&load->latency, link->read_ns - link->since_ns);
    load->candidate += strcasestr(link->answer.head, "\r\nx-canary-arm: candidate") != NULL;
    end(link);
    if (!load->again)
        wait_for_work(load, link);
    else if (link->read_ns < load->deadline_ns && load->sent < load->limit && !load->broken)
        ask(link, now_ns());
}

/* What has come on a link. A server may close one that idles: it is dialled again. */
static void read_link(struct link *link) {
    char bytes[READ_BYTES];
    ssize_t got = recv(link->fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (!link->busy) {
        close(link->fd);
        if (!dial(link)) link->fd = -1;
        return;
    }
    link->read_ns = now_ns();
    if (got > 0) take(&link->answer, bytes, (size_t)got, take_token, link);
    if (got <= 0 || link->answer.progress == BROKEN)
        spoil(link, got <= 0 ? "the connection was lost" : "not HTTP as it should be");
    else if (link->answer.progress == WHOLE)
        finish(link);
}

/* Wait until a time for whatever comes first, and note how long the client was kept from looking. */
static void turn(struct load *load, uint64_t until_ns) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), wait_ns = until_ns > now ? until_ns - now : 0;
    if (wait_ns > WATCH_NS) wait_ns = WATCH_NS;
    struct timespec wait = timespec_of(wait_ns);
    int ready = epoll_pwait2(load->poll, events, EVENTS, &wait, NULL);
    uint64_t woke_ns = now_ns(), took_ns = woke_ns - load->woke_ns;
    load->held_ns = took_ns > wait_ns ? took_ns - wait_ns : 0;
    load->woke_ns = woke_ns;
    if (load->held_ns > load->longest_held_ns) load->longest_held_ns = load->held_ns;
    for (int number = 0; number < ready; number++) read_link(events[number].data.ptr);
}

static void give_up(struct load *load) {
    for (size_t number = 0; number < load->size; number++)
        if (load->links[number].busy) spoil(&load->links[number], "no end in time");
}

static void run_closed(struct load *load, double seconds, size_t limit) {
    load->deadline_ns = now_ns() + (uint64_t)(seconds * 1e9);
    load->again = true;
    load->limit = limit;
    for (size_t number = 0; number < load->size && load->sent < limit; number++)
        ask(&load->links[number], now_ns());
    while (load->busy && now_ns() < load->deadline_ns + GRACE_NS) turn(load, load->deadline_ns + GRACE_NS);
    give_up(load);
}

/* A request at each time of `due_ns`. One that finds no free link waits, and counts from when it was due. */
static void run_arrivals(struct load *load, const uint64_t *due_ns, size_t size) {
    size_t next = 0, starved = 0;
    uint64_t over_ns = due_ns[size - 1] + GRACE_NS;
    load->idle_first = load->idle_size = 0;
    for (size_t number = 0; number < load->size; number++) wait_for_work(load, &load->links[number]);
    while ((next < size || load->busy) && !load->broken) {
        uint64_t now = now_ns();
        if (now > over_ns) break;
        for (; next < size && due_ns[next] <= now && load->idle_size; next++) {
            struct link *link = &load->links[load->idle[load->idle_first]];
            load->idle_first = (load->idle_first + 1) % load->size;
            load->idle_size--;
            ask(link, next < starved ? due_ns[next] : now_ns());
        }
        while (starved < size && due_ns[starved] <= now) starved++;
        turn(load, next < size && load->idle_size ? due_ns[next] : over_ns);
    }
    if (next < size && !load->broken) blame(load, "no free connection in time", "", "");
    give_up(load);
}

/* A small generator of our own (xorshift64*), so that arrivals are the same everywhere. */
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 2685821657736338717u) >> 11) / 9007199254740992.0;
}

static void run_poisson(struct load *load, double rate, double seconds) {
    size_t size = (size_t)(rate * seconds) + 1;
    uint64_t *due_ns = calloc(size, sizeof *due_ns), state = 7;
    if (!due_ns) fail("calloc");
    double due = (double)now_ns();
    for (size_t number = 0; number < size; number++) {
        due_ns[number] = (uint64_t)due;
        due -= log(1.0 - uniform(&state)) / rate * 1e9;
    }
    run_arrivals(load, due_ns, size);
    free(due_ns);
}

static void run_spread(struct load *load, double over_ms) {
    uint64_t *due_ns = calloc(load->size, sizeof *due_ns), start = now_ns();
    if (!due_ns) fail("calloc");
    for (size_t number = 0; number < load->size; number++)
        due_ns[number] = start + (uint64_t)(over_ms * 1e6 * (double)number / (double)load->size);
    run_arrivals(load, due_ns, load->size);
    free(due_ns);
}

static void close_links(struct load *load) {
    for (size_t number = 0; number < load->size; number++)
        if (load->links[number].fd >= 0) close(load->links[number].fd);
    free(load->links);
    free(load->idle);
    load->links = NULL;
    load->idle = NULL;
    load->size = 0;
}

static void open_links(struct load *load, int port, size_t size, bool exact) {
    close_links(load);
    load->port = port;
    load->exact = exact;
    load->links = calloc(size, sizeof *load->links);
    load->idle = calloc(size, sizeof *load->idle);
    if (!load->links || !load->idle) fail("calloc");
    load->size = size;
    for (size_t number = 0; number < size; number++) {
        load->links[number].load = load;
        load->links[number].fd = -1;
    }
    for (size_t number = 0; number < size && dial(&load->links[number]); number++) continue;
}

/* Forget the run before, and read the request that this one sends. */
static void prepare(struct load *load, const char *path, unsigned tokens) {
    load->sent = load->broken = load->candidate = load->gaps = load->own_gaps = load->busy = 0;
    load->latency.size = load->first_token.size = load->delay.size = load->refusal.size = 0;
    load->longest_held_ns = 0;
    load->woke_ns = now_ns();
    load->example[0] = 0;
    load->again = load->may_shed = false;
    load->tokens = tokens;
    if (!path) return;
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    load->request_size = fread(load->request, 1, sizeof load->request - 1, file);
    fclose(file);
    load->user = memmem(load->request, load->request_size, "user-0000", 9);
    if (load->user) load->user += 5;
}

/* Carry out one command. False when it is not one. */
static bool carry_out(struct load *load, const char *command) {
    char path[1024];
    double first, second;
    unsigned tokens;
    size_t count;
    int port, exact;
    if (sscanf(command, "open %d %zu %d", &port, &count, &exact) == 3) {
        prepare(load, NULL, 0);
        open_links(load, port, count, exact);
    } else if (sscanf(command, "closed %1023s %lf %zu", path, &first, &count) == 3) {
        prepare(load, path, 0);
        run_closed(load, first, count);
    } else if (sscanf(command, "poisson %1023s %u %lf %lf", path, &tokens, &first, &second) == 4) {
        prepare(load, path, tokens);
        run_poisson(load, first, second);
    } else if (sscanf(command, "overload %1023s %lf %lf", path, &first, &second) == 3) {
        prepare(load, path, 0);
        load->may_shed = true;
        run_poisson(load, first, second);
    } else if (sscanf(command, "spread %1023s %u %lf", path, &tokens, &first) == 3) {
        prepare(load, path, tokens);
        run_spread(load, first);
    } else if (!strcmp(command, "close\n")) {
        prepare(load, NULL, 0);
        close_links(load);
    } else {
        return false;
    }
    return true;
}

int main(void) {
    char *command = NULL;
    size_t room = 0;
    struct load load = {.poll = epoll_create1(0)};
    while (getline(&command, &room, stdin) > 0) {
        uint64_t start = now_ns();
        if (!carry_out(&load, command)) {
            fprintf(stderr, "not a command: %s", command);
            return 2;
        }
        print_result(&load, (double)(now_ns() - start) / 1e9);
    }
    free(command);
    return 0;
}
