/*
 * costs [ask] [NAME...]: what crossing between user and kernel costs in this very guest (workload.h has the protocol).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

#define PAGE 4096UL

/* What a stop of this program costs those who count. */
static uint64_t nothing(unsigned n)
{
    return n;
}

static uint64_t null_syscall(unsigned n)
{
    uint64_t start = now();
    while (n--)
        syscall(SYS_getppid);
    return now() - start;
}

static uint64_t read_zero(unsigned n)
{
    static int fd = -1;
    char byte;
    if (fd < 0 && (fd = open("/dev/zero", O_RDONLY)) < 0)
        die("/dev/zero");
    uint64_t start = now();
    while (n--)
        if (read(fd, &byte, 1) != 1)
            die("read");
    return now() - start;
}

static uint64_t yield(unsigned n)
{
    uint64_t start = now();
    while (n--)
        sched_yield();
    return now() - start;
}

static uint64_t clock_read(unsigned n)
{
    struct timespec at;
    uint64_t start = now();
    while (n--)
        clock_gettime(CLOCK_MONOTONIC, &at);
    return now() - start;
}

static volatile unsigned signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static uint64_t signal_self(unsigned n)
{
    signal(SIGUSR1, on_signal);
    pid_t self = getpid();
    uint64_t start = now();
    while (n--)
        kill(self, SIGUSR1);
    return now() - start;
}

/* Two processes hand a byte to and fro: n switches, half of them there. */
static uint64_t pipe_switch(unsigned n)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) || pipe(back))
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    uint64_t start = now();
    for (unsigned i = 0; i < n / 2; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            die("pipe");
    uint64_t took = now() - start;
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
    waitpid(child, NULL, 0);
    return took;
}

static unsigned char *pages(unsigned count)
{
    unsigned char *area = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        die("mmap");
    /* A huge page would be one fault for 512, and only where the guest's CPU has them. */
    madvise(area, count * PAGE, MADV_NOHUGEPAGE);
    return area;
}

static uint64_t page_fault(unsigned n)
{
    unsigned char *area = pages(n);
    uint64_t start = now();
    for (unsigned i = 0; i < n; i++)
        area[i * PAGE] = 1;
    uint64_t took = now() - start;
    munmap(area, n * PAGE);
    return took;
}

static unsigned char *guarded;

static void on_fault(int number)
{
    (void)number;
    mprotect(guarded, PAGE, PROT_READ | PROT_WRITE);
}

/* A write to a read-only page: fault, signal, two mprotects. */
static uint64_t protection_fault(unsigned n)
{
    guarded = pages(1);
    guarded[0] = 1;
    signal(SIGSEGV, on_fault);
    uint64_t start = now();
    while (n--) {
        mprotect(guarded, PAGE, PROT_READ);
        *(volatile unsigned char *)guarded = 1;
    }
    uint64_t took = now() - start;
    signal(SIGSEGV, SIG_DFL);
    munmap(guarded, PAGE);
    return took;
}

/* Rights of a page that is there taken away and given back: n pairs. */
static uint64_t mprotect_pair(unsigned n)
{
    unsigned char *area = pages(1);
    area[0] = 1;
    uint64_t start = now();
    while (n--) {
        mprotect(area, PAGE, PROT_READ);
        mprotect(area, PAGE, PROT_READ | PROT_WRITE);
    }
    uint64_t took = now() - start;
    munmap(area, PAGE);
    return took;
}

/* mmap of 64 pages, a write to each, munmap. */
static uint64_t mmap_touch_munmap(unsigned n)
{
    uint64_t start = now();
    while (n--) {
        unsigned char *area = pages(64);
        for (unsigned i = 0; i < 64; i++)
            area[i * PAGE] = 1;
        munmap(area, 64 * PAGE);
    }
    return now() - start;
}

static void reap(pid_t child)
{
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "costs: a child failed\n");
        exit(1);
    }
}

static uint64_t fork_exit(unsigned n)
{
    uint64_t start = now();
    while (n--) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        reap(child);
    }
    return now() - start;
}

static uint64_t fork_exec(unsigned n)
{
    uint64_t start = now();
    while (n--) {
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "costs", "exit", (char *)NULL);
            _exit(1);
        }
        reap(child);
    }
    return now() - start;
}

static void make(const char *goal)
{
    pid_t child = fork();
    if (child == 0) {
        char jobs[16];
        snprintf(jobs, sizeof jobs, "-j%ld", sysconf(_SC_NPROCESSORS_ONLN));
        execlp("make", "make", "-s", jobs, "-C", "/build", goal, (char *)NULL);
        _exit(1);
    }
    reap(child);
}

/* make, sh and tcc over the tree in /build: compile, archive, link. */
static uint64_t build(unsigned n)
{
    uint64_t took = 0;
    while (n--) {
        make("clean");
        uint64_t start = now();
        make("all");
        took += now() - start;
    }
    return took;
}

static const struct workload WORKLOADS[] = {
    {"nothing", nothing, 1},
    {"syscall", null_syscall, 20000},
    {"read", read_zero, 10000},
    {"yield", yield, 5000},
    {"clock", clock_read, 20000},
    {"signal", signal_self, 2000},
    {"pipe", pipe_switch, 2000},
    {"page-fault", page_fault, 1024},
    {"protection-fault", protection_fault, 500},
    {"mprotect-pair", mprotect_pair, 1000},
    {"mmap-64", mmap_touch_munmap, 20},
    {"fork-exit", fork_exit, 30},
    {"fork-exec", fork_exec, 15},
    {"build", build, 1},
};

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "exit"))
        return 0;
    int ask = argc > 1 && !strcmp(argv[1], "ask");
    run_workloads(WORKLOADS, COUNT(WORKLOADS), ask, argc - 1 - ask, argv + 1 + ask);
    return 0;
}
