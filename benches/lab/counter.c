// An upstream that counts: every request, when its first bytes arrive, in a file that others have mapped as well. So
// looking at the count costs the upstream nothing and is exact: what has been answered has been counted before.
//
// usage: counter PORT FILE SLOW_MS [PREFIX]
//
// HTTP/1.1 with keep-alive, requests without a body. The answer's body is the request's x-generation, or `-`. A path
// that begins with PREFIX, /slow where nothing is said, is answered after SLOW_MS. FILE has room for one number of 64 bits: requests so far.
// Connections that say nothing, like those of a health check that only connects, are not counted.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 16384 };

struct connection { int fd, waits; uint64_t due; size_t got; struct connection *next; char buffer[ROOM]; };

static uint64_t *requests;
static struct connection *first, **last = &first;  // those that are slow; all are as slow, so the oldest is due first
static uint64_t slow_ns;
static const char *slow_path = "/slow";

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t *shared(const char *path) {
    int fd = open(path, O_RDWR);
    if (fd < 0) fail(path);
    void *page = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) fail("mmap");
    return page;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    return fd;
}

static void arrived(void) { __atomic_store_n(requests, *requests + 1, __ATOMIC_RELEASE); }

// Answers the head that ends at `end` and keeps what follows it. The next request may have come with it.
static void answer(struct connection *c) {
    char *end = strstr(c->buffer, "\r\n\r\n"), text[512];
    *end = 0;
    const char *generation = strcasestr(c->buffer, "\r\nx-generation:");
    generation = generation ? generation + 15 + strspn(generation + 15, " ") : "-";
    int length = strcspn(generation, "\r");
    if (length > 100) length = 100;
    int size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%.*s",
                        length, length, generation);
    c->got -= end + 4 - c->buffer;
    memmove(c->buffer, end + 4, c->got + 1);
    if (c->got) arrived();
    if (c->fd >= 0) send(c->fd, text, size, MSG_NOSIGNAL);
}

static void take_all(struct connection *c) {
    while (!c->waits && strstr(c->buffer, "\r\n\r\n")) {
        if (slow_ns && !strncmp(strchr(c->buffer, ' ') + 1, slow_path, strlen(slow_path))) {
            c->waits = 1;
            c->due = now_ns() + slow_ns;
            c->next = NULL;
            *last = c;
            last = &c->next;
            return;
        }
        answer(c);
    }
}

// 0 when the connection is over.
static int readable(struct connection *c) {
    ssize_t n = recv(c->fd, c->buffer + c->got, ROOM - 1 - c->got, 0);
    if (n <= 0) return 0;
    if (!c->got) arrived();
    c->got += n;
    c->buffer[c->got] = 0;
    take_all(c);
    return 1;
}

// Answers those whose time has come; gives the milliseconds until the next one's.
static int answer_slow(void) {
    while (first) {
        uint64_t now = now_ns();
        if (first->due > now) return (first->due - now) / 1000000 + 1;
        struct connection *c = first;
        if (!(first = c->next)) last = &first;
        c->waits = 0;
        if (c->fd < 0) { free(c); continue; }
        answer(c);
        take_all(c);
    }
    return -1;
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) { fprintf(stderr, "usage: counter PORT FILE SLOW_MS [PREFIX]\n"); return 2; }
    if (argc == 5) slow_path = argv[4];
    requests = shared(argv[2]);
    slow_ns = strtoull(argv[3], NULL, 10) * 1000000;
    int listener = listen_on(atoi(argv[1])), poll = epoll_create1(0), on = 1;
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, answer_slow());
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c) {
                if (readable(c)) continue;
                close(c->fd);
                c->fd = -1;
                if (!c->waits) free(c);
                continue;
            }
            for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                if (!(c = calloc(1, sizeof *c))) fail("calloc");
                c->fd = fd;
                e.data.ptr = c;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
            }
        }
    }
}
