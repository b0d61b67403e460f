/*
 * What the guest programs of the benches share: workloads, timed in batches.
 *
 *   for each workload: warm up, then SAMPLES batches of N operations, timed by CLOCK_MONOTONIC
 *     COSTS-AT NAME              with "ask": waits for a line on standard input before it goes on
 *     COSTS NAME N ns ns ns ...  a batch each
 *   COSTS-AT end, COSTS-DONE
 *
 * Whoever watches the console reads counters at COSTS-AT: between two of them lies one workload, whose
 * operations number (SAMPLES + 1) * N, for the warm-up is a batch too.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 5
#define COUNT(list) (sizeof(list) / sizeof *(list))

struct workload {
    const char *name;
    /* Does n operations and answers the nanoseconds they took. */
    uint64_t (*run)(unsigned n);
    unsigned n;
};

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

static void at(const char *name, int ask)
{
    char line[16];
    printf("COSTS-AT %s\n", name);
    fflush(stdout);
    if (ask && !fgets(line, sizeof line, stdin))
        die("standard input");
}

/* Runs those of the list whose names are given, or all when none is. */
static void run_workloads(const struct workload *list, unsigned count, int ask, int names, char **name)
{
    for (unsigned w = 0; w < count; w++) {
        uint64_t ns[SAMPLES];
        int wanted = names == 0;
        for (int i = 0; i < names; i++)
            wanted |= !strcmp(name[i], list[w].name);
        if (!wanted)
            continue;
        at(list[w].name, ask);
        list[w].run(list[w].n);
        for (int i = 0; i < SAMPLES; i++)
            ns[i] = list[w].run(list[w].n);
        printf("COSTS %s %u", list[w].name, list[w].n);
        for (int i = 0; i < SAMPLES; i++)
            printf(" %llu", (unsigned long long)ns[i]);
        printf("\n");
    }
    at("end", ask);
    printf("COSTS-DONE\n");
}
