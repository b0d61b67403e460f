/*
 * io [ask] block DEVICE [NAME...]: transfers of this guest's disk, past its page cache (workload.h has the protocol).
 *
 *   io_submit keeps DEPTH transfers under way; one operation is one transfer
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/fs.h>
#include <unistd.h>
#include "workload.h"

#define DEPTH 32
#define SMALL 4096u
#define LARGE (1u << 20)

static int disk;
static uint64_t disk_bytes;
static char *buffers;
static aio_context_t context;

/* Where transfer number i goes. */
static uint64_t place(unsigned i, unsigned size, int random)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    uint64_t slots = disk_bytes / size;
    if (!random)
        return i % slots * size;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % slots * size;
}

static uint64_t transfer(unsigned n, unsigned size, unsigned depth, int opcode, int random)
{
    struct iocb blocks[DEPTH];
    struct iocb *ready[DEPTH];
    struct io_event events[DEPTH];
    unsigned begun = 0, done = 0, count = 0;
    uint64_t start = now();
    for (unsigned slot = 0; slot < depth; slot++) {
        memset(&blocks[slot], 0, sizeof blocks[slot]);
        blocks[slot].aio_data = slot;
        blocks[slot].aio_fildes = disk;
        blocks[slot].aio_lio_opcode = opcode;
        blocks[slot].aio_buf = (uint64_t)(uintptr_t)(buffers + (size_t)slot * LARGE);
        blocks[slot].aio_nbytes = size;
        ready[count++] = &blocks[slot];
    }
    while (done < n) {
        if (count > n - begun)
            count = n - begun;
        for (unsigned i = 0; i < count; i++)
            ready[i]->aio_offset = place(begun + i, size, random);
        for (unsigned sent = 0; sent < count;) {
            long taken = syscall(SYS_io_submit, context, (long)(count - sent), ready + sent);
            if (taken <= 0)
                die("io_submit");
            sent += taken;
        }
        begun += count;
        long ended = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        if (ended <= 0)
            die("io_getevents");
        for (long i = 0; i < ended; i++) {
            if (events[i].res != size) {
                fprintf(stderr, "io: a transfer of %u bytes ended with %lld\n", size, (long long)events[i].res);
                exit(1);
            }
            ready[i] = &blocks[events[i].data];
        }
        count = ended;
        done += ended;
    }
    return now() - start;
}

#define TRANSFER(name, size, depth, opcode, random)     \
    static uint64_t name(unsigned n)                    \
    {                                                   \
        return transfer(n, size, depth, opcode, random); \
    }

TRANSFER(random_read_1, SMALL, 1, IOCB_CMD_PREAD, 1)
TRANSFER(random_read_32, SMALL, DEPTH, IOCB_CMD_PREAD, 1)
TRANSFER(random_write_1, SMALL, 1, IOCB_CMD_PWRITE, 1)
TRANSFER(random_write_32, SMALL, DEPTH, IOCB_CMD_PWRITE, 1)
TRANSFER(sequential_read_1, LARGE, 1, IOCB_CMD_PREAD, 0)
TRANSFER(sequential_read_32, LARGE, DEPTH, IOCB_CMD_PREAD, 0)
TRANSFER(sequential_write_1, LARGE, 1, IOCB_CMD_PWRITE, 0)
TRANSFER(sequential_write_32, LARGE, DEPTH, IOCB_CMD_PWRITE, 0)

static const struct workload BLOCK[] = {
    {"read-4k-qd1", random_read_1, 100},
    {"read-4k-qd32", random_read_32, 320},
    {"write-4k-qd1", random_write_1, 100},
    {"write-4k-qd32", random_write_32, 320},
    {"read-1m-qd1", sequential_read_1, 4},
    {"read-1m-qd32", sequential_read_32, 32},
    {"write-1m-qd1", sequential_write_1, 4},
    {"write-1m-qd32", sequential_write_32, 32},
};

static void open_disk(const char *path)
{
    disk = open(path, O_RDWR | O_DIRECT);
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &disk_bytes) < 0)
        die(path);
    if (disk_bytes < DEPTH * (uint64_t)LARGE) {
        fprintf(stderr, "io: %s is too small\n", path);
        exit(1);
    }
    buffers = mmap(NULL, DEPTH * (size_t)LARGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (buffers == MAP_FAILED)
        die("mmap");
    if (syscall(SYS_io_setup, (long)DEPTH, &context) < 0)
        die("io_setup");
}

int main(int argc, char **argv)
{
    int ask = argc > 1 && !strcmp(argv[1], "ask");
    argc -= ask;
    argv += ask;
    if (argc < 3 || strcmp(argv[1], "block")) {
        fprintf(stderr, "io: use: io [ask] block DEVICE [NAME...]\n");
        return 2;
    }
    open_disk(argv[2]);
    run_workloads(BLOCK, COUNT(BLOCK), ask, argc - 3, argv + 3);
    return 0;
}
