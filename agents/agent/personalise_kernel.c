/* personalise: what the kernel holds: randomness, clock, forwarding. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "personalise.h"

#define RANDOM_MAX 1024
#define SEED_BYTES 512

/* ------------------------------------------------------------------ randomness */

static int feed_kernel(const struct es_buf *bytes, struct es_err *err)
{
    union {
        struct rand_pool_info info;
        char room[sizeof(struct rand_pool_info) + RANDOM_MAX];
    } pool;
    int rc = 0;
    pool.info.entropy_count = (int)bytes->len * 8;
    pool.info.buf_size = (int)bytes->len;
    memcpy(pool.room + offsetof(struct rand_pool_info, buf), bytes->data, bytes->len);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool.info) != 0)
        rc = es_probe_errno(err, "/dev/urandom", "takes no randomness", errno);
    /* Kernels before 4.14 lack it and mix on the next read; ENODATA: a kernel that had no
     * randomness yet, and seeds itself from what it was just given. */
    else if (ioctl(fd, RNDRESEEDCRNG) != 0 && errno != EINVAL && errno != ENOTTY &&
             errno != ENODATA)
        rc = es_probe_errno(err, "/dev/urandom", "cannot be reseeded", errno);
    if (fd >= 0)
        close(fd);
    sodium_memzero(&pool, sizeof pool);
    return rc;
}

/* What a guest keeps for its next boot is the same in all copies of its disk. */
static int renew_seeds(const struct es_personalise *p, struct es_err *err)
{
    static const char *const files[] = {"/var/lib/systemd/random-seed",
                                        "/var/lib/urandom/random-seed"};
    unsigned char seed[SEED_BYTES];
    int rc = 0;
    for (size_t i = 0; i < ES_COUNT(files) && rc == 0; i++)
        if (es_personalise_exists(p, files[i]) &&
            getrandom(seed, sizeof seed, 0) == (ssize_t)sizeof seed)
            rc = es_etc_write(p->root, files[i], seed, sizeof seed, 0600, err);
    sodium_memzero(seed, sizeof seed);
    return rc;
}

/* Two guests that continue from one moment would draw the same random numbers. */
int es_personalise_random(const struct es_personalise *p, struct es_err *err)
{
    const char *text;
    struct es_buf bytes;
    int rc = es_personalise_text(p, "random", &text, err);
    if (rc != 0)
        return rc;
    es_buf_init(&bytes, RANDOM_MAX);
    rc = es_base64_decode(text, strlen(text), &bytes);
    if (rc != 0)
        rc = es_err_set(err, rc, "not base64 of at most %d bytes", RANDOM_MAX);
    else if (*p->root == '\0' && bytes.len > 0)
        rc = feed_kernel(&bytes, err);
    es_buf_finish(&bytes);
    return rc != 0 ? rc : renew_seeds(p, err);
}

/* ------------------------------------------------------------------ clock, forwarding */

/* A step of the wall clock; what counts with the monotonic one, the agent among it, does
 * not notice. */
int es_personalise_clock(const struct es_personalise *p, struct es_err *err)
{
    struct es_probe probe = {.args = p->args};
    struct timespec now;
    int64_t want_us;
    int rc = es_probe_arg_int(&probe, "time_us", 0, 1, ES_WIRE_INT_MAX, &want_us, err);
    if (rc != 0 || *p->root != '\0')
        return rc;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (llabs(want_us - now_us) <= 1000000)
        return 0;
    now.tv_sec = want_us / 1000000;
    now.tv_nsec = want_us % 1000000 * 1000;
    return clock_settime(CLOCK_REALTIME, &now) == 0
               ? 0
               : es_probe_errno(err, "clock", "cannot be set", errno);
}

int es_personalise_forward(const struct es_personalise *p, struct es_err *err)
{
    static const char path[] = "/proc/sys/net/ipv4/ip_forward";
    struct es_probe probe = {.args = p->args};
    char full[PATH_MAX];
    bool on;
    int rc = es_probe_arg_bool(&probe, "forward", false, &on, err);
    if (rc != 0 || !on || (*p->root != '\0' && !es_personalise_exists(p, path)))
        return rc;
    es_str_printf(full, sizeof full, "%s%s", p->root, path);
    int fd = open(full, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1\n", 2) != 2)
        rc = es_probe_errno(err, path, "cannot be written", errno);
    if (fd >= 0)
        close(fd);
    return rc;
}
