// An open-loop load: requests are due at random times (exponential gaps) of a fixed mean rate, whatever becomes of the
// ones before. Each takes a free keep-alive connection; with none free it waits, and its waiting counts: latency runs
// from the moment it was due to the last byte of its answer. So nothing is left out when the proxy stalls (what is
// called coordinated omission).
//
// usage: fixed_rate PORT CONNECTIONS RATE SECONDS REQUEST
//
// One thread, epoll with a timeout of nanoseconds. The first tenth is warm-up and not counted. Prints
// one line of key=value. Requests that are unanswered one second after the last was due count as if answered then.
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

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: fixed_rate PORT CONNECTIONS RATE SECONDS REQUEST\n"); return 2; }
    int port = atoi(argv[1]), connections = atoi(argv[2]);
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    const char *request = argv[5];
    size_t length = strlen(request);
    long total = (long)(rate * seconds), sent = 0, answered = 0, failed = 0, first = total / 10, living = connections;

    uint64_t *due = malloc(total * sizeof *due), *latency = calloc(total, sizeof *latency);
    double at = 0;
    srand48(42);
    for (long i = 0; i < total; i++) { at += -log(1 - drand48()) / rate; due[i] = (uint64_t)(at * 1e9); }

    int poll = epoll_create1(0), idle = connections;
    struct connection *all = calloc(connections, sizeof *all), **bench = malloc(connections * sizeof *bench);
    struct epoll_event events[256];
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (int i = 0; i < connections; i++) {
        all[i].fd = connect_to(port);
        bench[i] = &all[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    uint64_t start = now_ns() + 10000000, end = start + due[total - 1] + 1000000000, finished = start;
    for (long i = 0; i < total; i++) due[i] += start;

    while (answered + failed < total && living) {
        uint64_t now = now_ns();
        if (now > end) break;
        while (sent < total && idle && due[sent] <= now) {
            struct connection *c = bench[--idle];
            c->request = sent++;
            c->got = 0;
            if (send(c->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) { failed++; living--; close(c->fd); }
        }
        uint64_t next = sent < total && idle ? due[sent] : end + 1;
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
            if (state < 0) { failed++; living--; close(c->fd); continue; }
            finished = now_ns();
            latency[c->request] = finished - due[c->request];
            answered++;
            bench[idle++] = c;
        }
    }
    uint64_t stopped = now_ns();
    long unanswered = 0;
    for (long i = 0; i < total; i++)
        if (!latency[i]) { unanswered++; latency[i] = stopped > due[i] ? stopped - due[i] : 0; }
    long counted = total - first;
    qsort(latency + first, counted, sizeof *latency, ascending);
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    printf("answered=%ld failed=%ld unanswered=%ld seconds=%.4f p50_us=%.1f p99_us=%.1f max_us=%.1f own_seconds=%.3f\n", answered, failed,
           unanswered - failed, (finished - start) / 1e9, latency[first + counted / 2] / 1e3,
           latency[first + counted * 99 / 100] / 1e3, latency[total - 1] / 1e3,
           own.tv_sec + own.tv_nsec / 1e9);
    return 0;
}
