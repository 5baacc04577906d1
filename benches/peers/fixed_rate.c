// An open-loop load: requests are due at random times (exponential gaps) of a fixed mean rate, whatever becomes of the
// ones before. Each takes a free keep-alive connection; with none free it waits, and its waiting counts: latency runs
// from the moment it was due to the last byte of its answer. So nothing is left out when the proxy stalls (what is
// called coordinated omission).
//
// usage: fixed_rate PORT CONNECTIONS RATE SECONDS REQUEST
//
// One thread, epoll with a timeout of nanoseconds. The first tenth is warm-up and not counted, but for the largest.
// Prints one line of key=value. Requests that are unanswered one second after the last was due count as if answered
// then; `sent` says how many were made at all.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 16384 };

struct connection { int fd; long request; size_t got; char buffer[ROOM]; };

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void fail(const char *what) { perror(what); exit(1); }

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

// 0: not yet whole; 1: a whole answer with status 200; -1: anything else.
static int whole(struct connection *c) {
    c->buffer[c->got] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) return c->got == ROOM - 1 ? -1 : 0;
    if (strncmp(c->buffer, "HTTP/1.1 200", 12)) return -1;
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    if (!length || length > end) return -1;
    return c->got >= (size_t)(end + 4 - c->buffer) + strtoul(length + 17, NULL, 10);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// When each request is due, in nanoseconds from the start.
static uint64_t *plan(long total, double rate) {
    uint64_t *due = malloc(total * sizeof *due);
    double at = 0;
    srand48(42);
    for (long i = 0; i < total; i++) { at += -log(1 - drand48()) / rate; due[i] = (uint64_t)(at * 1e9); }
    return due;
}

static struct connection **open_all(int poll, int port, int count) {
    struct connection *all = calloc(count, sizeof *all), **bench = malloc(count * sizeof *bench);
    for (int i = 0; i < count; i++) {
        all[i].fd = connect_to(port);
        bench[i] = &all[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    return bench;
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: fixed_rate PORT CONNECTIONS RATE SECONDS REQUEST\n"); return 2; }
    int connections = atoi(argv[2]), idle = connections, poll = epoll_create1(0);
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    const char *request = argv[5];
    size_t length = strlen(request);
    long total = (long)(rate * seconds), sent = 0, answered = 0, failed = 0, first = total / 10;
    uint64_t *due = plan(total, rate), *latency = calloc(total, sizeof *latency), now;
    struct connection **bench = open_all(poll, atoi(argv[1]), connections);
    struct epoll_event events[256];
    prctl(PR_SET_TIMERSLACK, 1UL);

    uint64_t start = now_ns() + 10000000, end = start + due[total - 1] + 1000000000, finished = start;
    for (long i = 0; i < total; i++) due[i] += start;
    while (answered + failed < total && failed < connections && (now = now_ns()) < end) {
        while (sent < total && idle && due[sent] <= now) {
            struct connection *c = bench[--idle];
            c->request = sent++;
            c->got = 0;
            if (send(c->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) { failed++; close(c->fd); }
        }
        uint64_t next = sent < total && idle ? due[sent] : end;
        uint64_t wait = next > (now = now_ns()) ? next - now : 0;
        struct timespec patience = {wait / 1000000000, wait % 1000000000};
        int ready = epoll_pwait2(poll, events, 256, &patience, NULL);
        if (ready < 0) fail("epoll_pwait2");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t n = recv(c->fd, c->buffer + c->got, ROOM - 1 - c->got, 0);
            if (n < 0 && errno == EAGAIN) continue;
            if (n > 0) c->got += n;
            int state = n > 0 ? whole(c) : -1;
            if (!state) continue;
            if (state < 0) { failed++; close(c->fd); continue; }
            finished = now_ns();
            latency[c->request] = finished - due[c->request];
            answered++;
            bench[idle++] = c;
        }
    }
    now = now_ns();
    for (long i = 0; i < total; i++)
        if (!latency[i]) latency[i] = now > due[i] ? now - due[i] : 0;
    qsort(latency + first, total - first, sizeof *latency, ascending);
    uint64_t *counted = latency + first, largest = latency[total - 1];
    for (long i = 0; i < first; i++)
        if (latency[i] > largest) largest = latency[i];
    printf("answered=%ld failed=%ld seconds=%.4f p50_us=%.1f p99_us=%.1f max_us=%.1f total=%ld sent=%ld\n", answered, failed,
           (finished - start) / 1e9, counted[(total - first) / 2] / 1e3, counted[(total - first) * 99 / 100] / 1e3, largest / 1e3, total,
           sent);
    return 0;
}
