/*
 * storm N S: N processes work the memory management for S rounds each, then "STORM ok N".
 *
 *   parent --fork--> worker 1..N, each round: mmap, fill, mprotect (with a fault caught on purpose),
 *                    fork a child that sees the parent's page and changes its own copy, exec of this
 *                    program as a checker, threads that share an address space, munmap
 *
 * Every value read back is checked: a lost write, a stale TLB entry or a page shared that should not
 * be ends the run with a "STORM bad" line and status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 64
#define PAGE 4096

static sigjmp_buf fault_back;

static void on_fault(int signal_number)
{
    siglongjmp(fault_back, signal_number);
}

static void bad(const char *what, unsigned worker, unsigned round)
{
    printf("STORM bad worker %u round %u: %s (errno %d)\n", worker, round, what, errno);
    fflush(stdout);
    _exit(1);
}

/* A thread writes its own half of the mapping while the other thread has write access taken away elsewhere. */
struct half {
    unsigned char *from;
    unsigned char value;
};

static void *fill_half(void *argument)
{
    struct half *half = argument;
    for (int page = 0; page < PAGES / 2; page++)
        memset(half->from + page * PAGE, half->value, PAGE);
    return NULL;
}

static int reap(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void one_round(unsigned worker, unsigned round)
{
    unsigned char value = (unsigned char)(worker * 31 + round * 7 + 1);
    unsigned char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        bad("mmap", worker, round);

    struct half lower = {area, value}, upper = {area + PAGES / 2 * PAGE, (unsigned char)(value + 1)};
    pthread_t thread;
    if (pthread_create(&thread, NULL, fill_half, &upper))
        bad("pthread_create", worker, round);
    fill_half(&lower);
    pthread_join(thread, NULL);
    for (int page = 0; page < PAGES; page++)
        if (area[page * PAGE + (round % PAGE)] != (page < PAGES / 2 ? lower.value : upper.value))
            bad("a write was lost", worker, round);

    /* Read-only must fault, and must keep its contents; the fault must be gone after the right returns. */
    if (mprotect(area, PAGE, PROT_READ))
        bad("mprotect", worker, round);
    if (sigsetjmp(fault_back, 1) == 0) {
        *(volatile unsigned char *)area = 0;
        bad("a write to a read-only page went through", worker, round);
    }
    if (area[0] != value)
        bad("a read-only page changed", worker, round);
    if (mprotect(area, PAGE, PROT_READ | PROT_WRITE))
        bad("mprotect back", worker, round);
    area[0] = value;

    /* Copy on write, both ways. */
    pid_t child = fork();
    if (child < 0)
        bad("fork", worker, round);
    if (child == 0) {
        if (area[PAGE] != value)
            _exit(2);
        memset(area, 0xee, PAGES * PAGE);
        for (int page = 0; page < PAGES; page++)
            if (area[page * PAGE] != 0xee)
                _exit(3);
        _exit(0);
    }
    area[2 * PAGE] = 0x55;
    int status = reap(child);
    if (status)
        bad(status == 2 ? "a child saw wrong data" : "a child's copy was wrong", worker, round);
    if (area[PAGE] != value || area[2 * PAGE] != 0x55)
        bad("a child's write reached its parent", worker, round);

    /* A new program. */
    child = vfork();
    if (child < 0)
        bad("vfork", worker, round);
    if (child == 0) {
        execl("/proc/self/exe", "storm", "check", (char *)NULL);
        _exit(4);
    }
    if ((status = reap(child)) != 42)
        bad("exec'd program gave a wrong status", worker, round);

    /* A hole, then the same address anew: zero, not yesterday's page. */
    if (munmap(area + 3 * PAGE, PAGE))
        bad("munmap of one page", worker, round);
    if (sigsetjmp(fault_back, 1) == 0) {
        (void)*(volatile unsigned char *)(area + 3 * PAGE);
        bad("an unmapped page is still readable", worker, round);
    }
    unsigned char *again = mmap(area + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (again != area + 3 * PAGE || again[round % PAGE] != 0)
        bad("a fresh page is not zero", worker, round);
    if (munmap(area, PAGES * PAGE))
        bad("munmap", worker, round);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "check"))
        return 42;
    if (argc != 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: storm PROCESSES ROUNDS\n");
        return 2;
    }
    unsigned workers = (unsigned)atoi(argv[1]), rounds = (unsigned)atoi(argv[2]), failed = 0;
    for (unsigned worker = 0; worker < workers; worker++) {
        pid_t child = fork();
        if (child < 0)
            bad("fork of a worker", worker, 0);
        if (child == 0) {
            struct sigaction action = {.sa_handler = on_fault};
            sigaction(SIGSEGV, &action, NULL);
            sigaction(SIGBUS, &action, NULL);
            for (unsigned round = 0; round < rounds; round++)
                one_round(worker, round);
            _exit(0);
        }
    }
    for (unsigned worker = 0; worker < workers; worker++) {
        int status = reap(-1);
        if (status) {
            failed++;
            printf("STORM bad: a worker ended with %d\n", status);
        }
    }
    if (failed)
        return 1;
    printf("STORM ok %u\n", workers);
    return 0;
}
