/*
 * net [ask] run ADDRESS [NAME...]: streams and datagrams between this guest and a peer; workload.h has the protocol.
 * net serve: the peer, on the host or in a second guest; prints NET-SERVING when it can be asked.
 *
 *   one TCP connection:  order ──>  what it says  ──> one byte when it is done
 *     SINK      the peer reads n blocks of the connection        SOURCE   the peer sends n blocks on it
 *     CATCH     the peer takes n datagrams                       THROW    the peer sends n datagrams
 *
 * Whoever takes datagrams confirms each STRIDE-th and the last; whoever sends has at most WINDOW unconfirmed. So none is
 * lost to a full socket, and a batch has ended when all have arrived. Every wait is bounded by the sockets' time-outs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include "workload.h"

#define PORT 7000
#define BLOCK (64u << 10)
/* With the headers of UDP, IPv4 and Ethernet and its check sum, a frame of 64 bytes: the smallest there is. */
#define DATAGRAM 18
#define WINDOW 256
#define STRIDE 32
#define TIME_OUT 60
#define ATTEMPTS 10

enum what { SINK, SOURCE, CATCH, THROW };

struct order {
    uint32_t what, n, window, stride;
};

static int stream, datagrams;
static char block[BLOCK];

static void bounded(int fd)
{
    struct timeval limit = {.tv_sec = TIME_OUT};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        die("SO_RCVTIMEO");
}

static struct sockaddr_in place(in_addr_t address)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = address};
    return place;
}

static int bound(int type)
{
    int fd = socket(AF_INET, type, 0), yes = 1, room = 8 << 20;
    struct sockaddr_in any = place(htonl(INADDR_ANY));
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
        die("bind");
    /* A window of datagrams must fit, and each takes a page or more there. */
    if (type == SOCK_DGRAM && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        die("SO_RCVBUFFORCE");
    return fd;
}

static void read_all(void *to, size_t size)
{
    if (recv(stream, to, size, MSG_WAITALL) != (ssize_t)size)
        die("the peer's stream");
}

static void write_all(const void *from, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t part = send(stream, (const char *)from + sent, size - sent, 0);
        if (part <= 0)
            die("the stream to the peer");
        sent += part;
    }
}

static void sink(unsigned n)
{
    for (uint64_t left = (uint64_t)n * BLOCK; left;) {
        ssize_t part = recv(stream, block, left < BLOCK ? left : BLOCK, 0);
        if (part <= 0)
            die("the peer's stream");
        left -= part;
    }
}

static void source(unsigned n)
{
    while (n--)
        write_all(block, BLOCK);
}

static void throw(unsigned n, unsigned window)
{
    char datagram[DATAGRAM] = {0};
    uint32_t confirmed = 0;
    for (unsigned sent = 0; confirmed < n;) {
        for (; sent < n && sent - confirmed < window; sent++)
            if (send(datagrams, datagram, sizeof datagram, 0) != sizeof datagram)
                die("a datagram to the peer");
        if (recv(datagrams, datagram, sizeof datagram, 0) != sizeof datagram)
            die("a confirmation");
        memcpy(&confirmed, datagram, sizeof confirmed);
    }
}

static void catch(unsigned n, unsigned stride)
{
    char datagram[DATAGRAM];
    for (uint32_t got = 1; got <= n; got++) {
        if (recv(datagrams, datagram, sizeof datagram, 0) != sizeof datagram)
            die("a datagram of the peer");
        if (got % stride && got != n)
            continue;
        memcpy(datagram, &got, sizeof got);
        if (send(datagrams, datagram, sizeof datagram, 0) != sizeof datagram)
            die("a confirmation to the peer");
    }
}

static uint64_t exchange(enum what what, unsigned n, unsigned window, unsigned stride)
{
    struct order order = {what, n, window, stride};
    char done;
    uint64_t start = now();
    write_all(&order, sizeof order);
    switch (what) {
    case SINK:
        source(n);
        break;
    case SOURCE:
        sink(n);
        break;
    case CATCH:
        throw(n, window);
        break;
    case THROW:
        catch(n, stride);
        break;
    }
    read_all(&done, 1);
    return now() - start;
}

#define EXCHANGE(name, what, window, stride)      \
    static uint64_t name(unsigned n)              \
    {                                             \
        return exchange(what, n, window, stride); \
    }

EXCHANGE(tcp_out, SINK, 0, 1)
EXCHANGE(tcp_in, SOURCE, 0, 1)
EXCHANGE(udp_out, CATCH, WINDOW, STRIDE)
EXCHANGE(udp_in, THROW, WINDOW, STRIDE)
EXCHANGE(udp_turn, CATCH, 1, 1)

static const struct workload NET[] = {
    {"tcp-out", tcp_out, 64},
    {"tcp-in", tcp_in, 64},
    {"udp-out", udp_out, 1024},
    {"udp-in", udp_in, 1024},
    {"udp-turn", udp_turn, 100},
};

/* Takes up a peer's address for datagrams, and the connection's settings. */
static void join(struct sockaddr_in *peer)
{
    int yes = 1;
    peer->sin_port = htons(PORT);
    if (connect(datagrams, (struct sockaddr *)peer, sizeof *peer) < 0)
        die("connect");
    if (setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) < 0)
        die("TCP_NODELAY");
}

static void serve(void)
{
    int listener = bound(SOCK_STREAM);
    struct order order;
    if (listen(listener, 1) < 0)
        die("listen");
    printf("NET-SERVING\n");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        stream = accept(listener, (struct sockaddr *)&peer, &size);
        if (stream < 0)
            die("accept");
        bounded(stream);
        join(&peer);
        while (recv(stream, &order, sizeof order, MSG_WAITALL) == sizeof order) {
            switch ((enum what)order.what) {
            case SINK:
                sink(order.n);
                break;
            case SOURCE:
                source(order.n);
                break;
            case CATCH:
                catch(order.n, order.stride);
                break;
            case THROW:
                throw(order.n, order.window);
                break;
            }
            write_all("", 1);
        }
        close(stream);
    }
}

/* The link may need a moment, and the kernel itself waits for an answer to its ARP requests before it gives up. */
static void connect_to(const char *address)
{
    struct sockaddr_in peer = place(inet_addr(address));
    for (int attempt = 0;; attempt++) {
        stream = socket(AF_INET, SOCK_STREAM, 0);
        if (stream < 0)
            die("socket");
        bounded(stream);
        if (!connect(stream, (struct sockaddr *)&peer, sizeof peer))
            break;
        if (errno != EHOSTUNREACH || attempt == ATTEMPTS)
            die(address);
        close(stream);
    }
    join(&peer);
}

int main(int argc, char **argv)
{
    int ask = argc > 1 && !strcmp(argv[1], "ask");
    argc -= ask;
    argv += ask;
    signal(SIGPIPE, SIG_IGN);
    datagrams = bound(SOCK_DGRAM);
    bounded(datagrams);
    if (argc == 2 && !strcmp(argv[1], "serve")) {
        serve();
    } else if (argc >= 3 && !strcmp(argv[1], "run")) {
        connect_to(argv[2]);
        run_workloads(NET, COUNT(NET), ask, argc - 3, argv + 3);
        return 0;
    }
    fprintf(stderr, "net: use: net serve, or net [ask] run ADDRESS [NAME...]\n");
    return 2;
}
