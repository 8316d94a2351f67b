/* A load generator and an upstream for the inline bench, so that neither is what is measured: one thread, epoll, no allocation per
 * request. Loopback only.
 *
 *   http_load serve PORT FILE                    answers every request with the bytes of FILE (a whole HTTP response), keep-alive
 *   http_load load  PORT FILE CONNECTIONS SECONDS RATE   sends the bytes of FILE (a whole HTTP request) over and over;
 *                                                RATE 0: as fast as answers come (closed loop), else requests per second (open loop:
 *                                                latency counts from when the request was due, so a stall is not hidden)
 *
 * Prints one JSON line. Responses must carry content-length or be chunked; only the status and the end are looked at.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
#define MAX_FDS 16384
#define MAX_SAMPLES (1 << 22)

struct connection {
    int fd, busy;
    size_t have, sent;
    double due;
    char in[BUFFER];
};

static struct connection *connections[MAX_FDS];
static char *message;
static size_t message_length;
static uint32_t *samples;
static size_t sample_count;
static uint64_t ok, not_ok, broken;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) die(path);
    message = malloc(1 << 20);
    message_length = fread(message, 1, 1 << 20, f);
    fclose(f);
}

static void set_options(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Length of the first whole message in the buffer, 0 when it is not whole yet. */
static size_t whole(const char *data, size_t length) {
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - data) + 4;
    for (const char *line = data; line < end; line++) {
        if (line != data && line[-1] != '\n') continue;
        if (!strncasecmp(line, "content-length:", 15)) {
            size_t total = head + strtoul(line + 15, NULL, 10);
            return total <= length ? total : 0;
        }
        if (!strncasecmp(line, "transfer-encoding:", 18)) {
            const char *last = memmem(data + head, length - head, "0\r\n\r\n", 5);
            return last ? (size_t)(last - data) + 5 : 0;
        }
    }
    return head;
}

static int send_all(struct connection *c) {
    while (c->sent < message_length) {
        ssize_t n = write(c->fd, message + c->sent, message_length - c->sent);
        if (n <= 0) return errno == EAGAIN ? 0 : -1;
        c->sent += (size_t)n;
    }
    return 0;
}

static void serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poller = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0 || client >= MAX_FDS) continue;
                set_options(client);
                connections[client] = calloc(1, sizeof(struct connection));
                connections[client]->fd = client;
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = client};
                epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            struct connection *c = connections[fd];
            ssize_t got = read(fd, c->in + c->have, BUFFER - c->have);
            if (got <= 0) {
                close(fd);
                free(c);
                connections[fd] = NULL;
                continue;
            }
            c->have += (size_t)got;
            size_t length;
            while ((length = whole(c->in, c->have))) {
                memmove(c->in, c->in + length, c->have - length);
                c->have -= length;
                c->sent = 0;
                send_all(c);
            }
        }
    }
}

static struct connection *connect_one(int poller, int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || fd >= MAX_FDS || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    set_options(fd);
    struct connection *c = connections[fd] = calloc(1, sizeof(struct connection));
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return c;
}

static void start(struct connection *c, double due) {
    c->busy = 1;
    c->due = due;
    c->sent = 0;
    c->have = 0;
    if (send_all(c)) broken++;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void load(int port, int count, double seconds, double rate) {
    int poller = epoll_create1(0), reserve = 0;
    struct connection **all = calloc((size_t)count, sizeof *all);
    struct epoll_event events[256];
    samples = malloc(sizeof(uint32_t) * MAX_SAMPLES);
    for (int i = 0; i < count; i++) all[i] = connect_one(poller, port);
    double begin = now(), end = begin + seconds, next = begin;
    if (rate <= 0)
        for (int i = 0; i < count; i++) start(all[i], now());
    for (;;) {
        double t = now();
        if (t >= end) break;
        if (rate > 0) {
            while (next <= t) {
                int tries = 0;
                while (tries < count && all[reserve]->busy) reserve = (reserve + 1) % count, tries++;
                if (tries == count) break; /* all busy: the request stays due, its wait counts */
                start(all[reserve], next);
                next += 1 / rate;
            }
        }
        /* Asleep until the next request is due: a generator that spins would take one of the cores that it measures. */
        double pause = rate > 0 ? next - now() : 0.1;
        if (pause < 0) pause = 0;
        struct timespec timeout = {.tv_sec = (time_t)pause, .tv_nsec = (long)((pause - (double)(time_t)pause) * 1e9)};
        int n = epoll_pwait2(poller, events, 256, &timeout, NULL);
        for (int i = 0; i < n; i++) {
            struct connection *c = connections[events[i].data.fd];
            ssize_t got = read(c->fd, c->in + c->have, BUFFER - c->have);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                broken++;
                epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
                close(c->fd);
                for (int k = 0; k < count; k++)
                    if (all[k] == c) {
                        all[k] = connect_one(poller, port);
                        if (rate <= 0) start(all[k], now());
                    }
                free(c);
                continue;
            }
            c->have += (size_t)got;
            if (!whole(c->in, c->have)) continue;
            if (sample_count < MAX_SAMPLES) samples[sample_count++] = (uint32_t)((now() - c->due) * 1e6);
            if (c->have > 12 && c->in[9] == '2') ok++;
            else not_ok++;
            c->busy = 0;
            if (rate <= 0) start(c, now());
        }
    }
    double spent = now() - begin;
    qsort(samples, sample_count, sizeof *samples, by_value);
    uint32_t p50 = sample_count ? samples[sample_count / 2] : 0, p99 = sample_count ? samples[sample_count * 99 / 100] : 0;
    printf("{\"requests\": %zu, \"ok\": %llu, \"not_ok\": %llu, \"broken\": %llu, \"seconds\": %.3f, \"per_second\": %.1f, "
           "\"p50_us\": %u, \"p99_us\": %u}\n",
           sample_count, (unsigned long long)ok, (unsigned long long)not_ok, (unsigned long long)broken, spent,
           (double)sample_count / spent, p50, p99);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "serve")) {
        read_file(argv[3]);
        serve(atoi(argv[2]));
    } else if (argc == 7 && !strcmp(argv[1], "load")) {
        read_file(argv[3]);
        load(atoi(argv[2]), atoi(argv[4]), atof(argv[5]), atof(argv[6]));
    } else {
        fprintf(stderr, "usage: http_load serve PORT FILE | load PORT FILE CONNECTIONS SECONDS RATE\n");
        return 2;
    }
    return 0;
}
