// A closed-loop load that can tell a failure from an orderly end, which wrk and h2load cannot: wrk connects again
// without a word, h2load gives up at the first GOAWAY. For experiments in which the proxy itself leaves.
//
// usage: steady PORT CONNECTIONS PAUSE_US keep|new|h2 FILE
//
// keep: HTTP/1.1; a connection goes on until an answer says `Connection: close`, or until it is closed between two
// requests. new: a connection for each request. h2: HTTP/2 without TLS, one request at a time, until GOAWAY.
// Each connection pauses so long between an answer and its next request. A request fails when its connection cannot
// be made, or ends before the whole answer, or when it is not answered 200 within ten seconds. Nothing is tried again.
//
// The body of an answer is the number of the process that was passed (see counter.c, x-generation). FILE is shared
// with whoever drives the experiment: numbers of 64 bits, [0] written by the driver: connections made from now on
// belong to this process or a later one; an answer from an earlier one on such a connection is stale; [3] when this was
// written. [1] answered, [2] failed. SIGTERM: what is under way is waited for, then one line of key=value is printed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 32768 };
enum mode { KEEP, NEW, H2 };
static const uint64_t PATIENCE = 10000000000u, AGAIN = 50000000u;
static const char KEPT[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ONLY[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

struct connection {
    int fd, asked, used;
    uint64_t since, due;         // asked at; asks again at
    uint64_t begun, floor;       // the connection, and what [0] was then
    size_t got;
    char buffer[ROOM];
    uint32_t stream, taken;      // HTTP/2: the last stream; bytes of bodies since the window was last opened
    int leaving, good, body_size;
    char body[32];
};

static enum mode mode;
static int port, poll_fd;
static uint64_t *shared, pause_ns, last_stale;  // last_stale: how long after [3] the last connection was begun that was
static long connects, orderly, refused, unmade, cut, wrong, late, stale, unprocessed;
static volatile sig_atomic_t stopped;

static void stop(int signal) { (void)signal; stopped = 1; }
static void fail(const char *what) { perror(what); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

// A request that was not answered as it should be.
static void failed(struct connection *c, long *how) {
    ++*how;
    __atomic_add_fetch(&shared[2], 1, __ATOMIC_RELEASE);
    hang_up(c);
    c->asked = 0;
    c->due = now_ns() + AGAIN;
}

static void answered(struct connection *c, int is_good, long generation) {
    if (!is_good) { failed(c, &wrong); return; }
    if (generation < (long)c->floor) {
        stale++;
        if (c->begun - shared[3] > last_stale) last_stale = c->begun - shared[3];
    }
    __atomic_add_fetch(&shared[1], 1, __ATOMIC_RELEASE);
    c->asked = 0;
    c->due = pause_ns ? now_ns() + pause_ns : 0;
}

static int push(struct connection *c, const void *bytes, size_t size) { return send(c->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size; }

static size_t frame(uint8_t *to, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) {
    uint8_t head[9] = {size >> 16, size >> 8, size, type, flags, stream >> 24, stream >> 16, stream >> 8, stream};
    memcpy(to, head, 9);
    return 9;
}

static int connect_to(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE / 1000000000};
    int on = 1;
    c->floor = __atomic_load_n(&shared[0], __ATOMIC_ACQUIRE);
    c->begun = now_ns();
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket");
    connects++;
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) return 0;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
    c->got = c->stream = c->taken = c->leaving = c->used = 0;
    if (mode != H2) return 1;
    uint8_t hello[33] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    frame(hello + 24, 0, 4, 0, 0);
    return push(c, hello, 33);
}

// GET / to `x`: from the static table, and one literal.
static int ask_h2(struct connection *c) {
    static const uint8_t fields[] = {0x82, 0x86, 0x84, 0x01, 1, 'x'};
    uint8_t bytes[9 + sizeof fields];
    c->stream = c->stream ? c->stream + 2 : 1;
    c->good = c->body_size = 0;
    frame(bytes, sizeof fields, 1, 5, c->stream);
    memcpy(bytes + 9, fields, sizeof fields);
    return push(c, bytes, sizeof bytes);
}

static void ask(struct connection *c) {
    if (c->fd < 0 && !connect_to(c)) { failed(c, &unmade); return; }
    c->asked = 1;
    c->since = now_ns();
    int sent = mode == H2 ? ask_h2(c) : mode == NEW ? push(c, ONLY, sizeof ONLY - 1) : push(c, KEPT, sizeof KEPT - 1);
    // A connection that was closed between two requests, just before this one: the same as if it ends before the answer.
    if (!sent) failed(c, c->used ? &refused : &unmade);
}

// Takes an answer of HTTP/1.1 out of the buffer, where it is whole.
static void read_h1(struct connection *c) {
    c->buffer[c->got] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n"), *length;
    if (!end) return;
    *end = 0;
    length = strcasestr(c->buffer, "\r\ncontent-length:");
    size_t size = length ? strtoul(length + 17, NULL, 10) : 0, whole = end + 4 - c->buffer + size;
    int closes = strcasestr(c->buffer, "\r\nconnection: close") != NULL, is_good = length && !strncmp(c->buffer, "HTTP/1.1 200", 12);
    *end = '\r';
    if (c->got < whole) return;
    long generation = strtol(end + 4, NULL, 10);
    c->used = 1;
    answered(c, is_good && c->asked && c->got == whole, generation);
    c->got = 0;
    if (closes && mode == KEEP) orderly++;
    if (closes || mode == NEW) hang_up(c);
}

// What an HTTP/2 frame says. 0: it makes no sense.
static int take_frame(struct connection *c, uint8_t *at, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) {
    uint8_t bytes[17];
    uint32_t number = size >= 4 ? at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3] : 0;
    int ours = c->asked && stream == c->stream;
    if (type == 4 && !(flags & 1)) return push(c, bytes, frame(bytes, 0, 4, 1, 0));
    if (type == 6 && !(flags & 1)) {
        frame(bytes, 8, 6, 1, 0);
        memcpy(bytes + 9, at, 8);
        return push(c, bytes, 17);
    }
    if (type == 7) {
        c->leaving = 1;
        if (c->asked && (number & 0x7fffffff) < c->stream) {  // not processed, and never will be: it may be repeated
            unprocessed++;
            c->asked = 0;
            hang_up(c);
        }
        return 1;
    }
    if (type == 3 && ours) return 0;
    if (type == 1 && ours) {  // :status 200 is one byte of the static table; a change of the table's size may come first
        uint32_t first = (flags & 8 ? 1 : 0) + (flags & 32 ? 5 : 0);
        while (first < size && (at[first] & 0xe0) == 0x20) first++;
        c->good = first < size && at[first] == 0x88;
    }
    if (type == 0) {
        c->taken += size;
        for (uint32_t i = 0; ours && i < size && c->body_size < 31; i++) c->body[c->body_size++] = at[i];
        if (c->taken > 16384) {
            frame(bytes, 4, 8, 0, 0);
            uint8_t more[4] = {c->taken >> 24, c->taken >> 16, c->taken >> 8, c->taken};
            memcpy(bytes + 9, more, 4);
            c->taken = 0;
            if (!push(c, bytes, 13)) return 0;
        }
    }
    if (ours && type <= 1 && flags & 1) {
        c->body[c->body_size] = 0;
        c->used = 1;
        answered(c, c->good, strtol(c->body, NULL, 10));
    }
    return 1;
}

static void read_h2(struct connection *c) {
    uint8_t *at = (uint8_t *)c->buffer, *end = at + c->got;
    while (c->fd >= 0 && end - at >= 9) {
        uint32_t size = at[0] << 16 | at[1] << 8 | at[2], stream = (at[5] & 0x7f) << 24 | at[6] << 16 | at[7] << 8 | at[8];
        if (size > ROOM - 10) { failed(c, &wrong); return; }
        if ((uint32_t)(end - at - 9) < size) break;
        if (!take_frame(c, at + 9, size, at[3], at[4], stream)) { failed(c, &wrong); return; }
        at += 9 + size;
    }
    c->got = end - at;
    memmove(c->buffer, at, c->got);
    if (c->fd >= 0 && c->leaving && !c->asked) { orderly++; hang_up(c); }
}

static void readable(struct connection *c) {
    ssize_t n = recv(c->fd, c->buffer + c->got, ROOM - 1 - c->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        if (c->asked) { failed(c, c->got || !c->used ? &cut : &refused); return; }
        orderly++;
        hang_up(c);
        return;
    }
    c->got += n;
    if (mode == H2) read_h2(c); else read_h1(c);
    if (c->fd >= 0 && c->got >= ROOM - 1) failed(c, &wrong);
}

// Everybody who is due asks; who has waited for too long has failed. Gives how many wait for an answer.
static int look_at_all(struct connection *all, int count) {
    int under_way = 0;
    uint64_t now = now_ns();
    for (struct connection *c = all; c < all + count; c++) {
        if (c->asked && now > c->since + PATIENCE) failed(c, &late);
        if (!c->asked && !stopped && c->due <= now) ask(c);
        under_way += c->asked;
    }
    return under_way;
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: steady PORT CONNECTIONS PAUSE_US keep|new|h2 FILE\n"); return 2; }
    int count = atoi(argv[2]), file = open(argv[5], O_RDWR);
    port = atoi(argv[1]);
    pause_ns = strtoull(argv[3], NULL, 10) * 1000;
    mode = !strcmp(argv[4], "h2") ? H2 : !strcmp(argv[4], "new") ? NEW : KEEP;
    shared = mmap(NULL, 4 * sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || shared == MAP_FAILED) fail(argv[5]);
    poll_fd = epoll_create1(0);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct connection *all = calloc(count, sizeof *all);
    struct epoll_event events[256];
    if (!all) fail("calloc");
    for (int i = 0; i < count; i++) {
        all[i].fd = -1;
        all[i].due = now_ns() + pause_ns * i / count;  // not all at the same time
    }
    uint64_t started = now_ns();
    while (look_at_all(all, count) || !stopped) {
        int ready = epoll_wait(poll_fd, events, 256, pause_ns ? 1 : 10);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0) readable(c);
            if (!c->asked && !stopped && !c->due) ask(c);
        }
    }
    printf("answered=%lu failed=%lu seconds=%.3f connections=%ld orderly=%ld ", shared[1], shared[2], (now_ns() - started) / 1e9, connects,
           orderly);
    printf("unmade=%ld refused=%ld cut=%ld wrong=%ld late=%ld ", unmade, refused, cut, wrong, late);
    printf("stale=%ld last_stale_us=%.1f unprocessed=%ld\n", stale, last_stale / 1e3, unprocessed);
    return 0;
}
