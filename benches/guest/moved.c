/*
 * moved MIB HOST: a guest that is moved while it works, and can be asked over TCP.
 *
 *   MIB of noise ── dirtier: one word in each page, so many pages a second, round and round
 *   ticker ── every millisecond ──> HOST:7001, UDP: number of the tick, this guest's CLOCK_MONOTONIC (u64 each)
 *   port 7000, TCP, line by line:   rate N --> ok, the dirtier writes N pages a second from now on
 *                                   pause  --> the longest time between two ticks by this guest's own clock, ns, since last asked
 *                                   else   --> the line
 *
 * Prints MOVED-READY once it can be asked. A hypervisor may stop a guest's clock while it stands still: whoever takes the
 * ticks on the other side sees how long it stood.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 7000
#define TICKS 7001
#define PAGE 4096
#define MILLISECOND 1000000u
/* What the dirtier makes up for after it could not run. */
#define LATE (20 * MILLISECOND)

static unsigned char *memory;
static size_t pages;
static volatile uint64_t rate, longest;
static struct sockaddr_in host;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void rest(void)
{
    struct timespec time = {.tv_nsec = MILLISECOND};
    nanosleep(&time, NULL);
}

static void *dirty(void *unused)
{
    uint64_t last = now(), owed = 0;
    size_t page = 0;
    for (;; rest()) {
        uint64_t at = now(), passed = at - last;
        last = at;
        owed += (passed < LATE ? passed : LATE) * rate;
        for (; owed >= 1000000000u; owed -= 1000000000u) {
            ++*(uint64_t *)(memory + page * PAGE);
            page = (page + 1) % pages;
        }
    }
    return unused;
}

static void *tick(void *unused)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    uint64_t last = now();
    if (fd < 0)
        die("socket");
    for (uint64_t number = 0;; number++) {
        uint64_t at = now(), said[2] = {number, at};
        if (at - last > longest)
            longest = at - last;
        last = at;
        /* One that does not leave is missed over there. */
        (void)!sendto(fd, said, sizeof said, 0, (struct sockaddr *)&host, sizeof host);
        rest();
    }
    return unused;
}

static void *answer(void *fd)
{
    FILE *peer = fdopen((int)(intptr_t)fd, "r+");
    char line[2048];
    if (!peer)
        die("fdopen");
    setvbuf(peer, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, peer)) {
        char said[2048];
        if (!strncmp(line, "rate ", 5)) {
            rate = strtoull(line + 5, NULL, 10);
            strcpy(said, "ok\n");
        } else if (!strcmp(line, "pause\n")) {
            snprintf(said, sizeof said, "%llu\n", (unsigned long long)longest);
            longest = 0;
        } else {
            strcpy(said, line);
        }
        if (write(fileno(peer), said, strlen(said)) < 0)
            break;
    }
    fclose(peer);
    return NULL;
}

static void start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument))
        die("pthread_create");
}

int main(int argc, char **argv)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t noise = 88172645463325252u;
    if (argc != 3) {
        fprintf(stderr, "moved: use: moved MIB HOST\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    pages = strtoul(argv[1], NULL, 10) << 8;
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!pages || memory == MAP_FAILED)
        die("memory");
    for (size_t at = 0; at < pages * PAGE; at += sizeof noise) {
        /* Marsaglia's xorshift. */
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        *(uint64_t *)(memory + at) = noise;
    }
    host = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(TICKS), .sin_addr.s_addr = inet_addr(argv[2])};
    if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 4) < 0)
        die("port");
    start(dirty, NULL);
    start(tick, NULL);
    printf("MOVED-READY\n");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            start(answer, (void *)(intptr_t)fd);
    }
}
