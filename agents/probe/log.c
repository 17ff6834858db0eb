/* log: lines of a text or log file that match.
 *
 * Keys:     path; match: a POSIX extended regular expression, tried on each line's bytes;
 *           last (1 MiB, at most 16 MiB): how many bytes from the end are searched; max
 *           (20, at most 500): how many lines are given.
 * Evidence: exists; when it does: count of all matching lines; lines_b64, the last `max` of
 *           them in order, each cut at 2 KiB, together at most 40 KiB. */
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe.h"

#define LINE_MAX_BYTES 2048U

/* The end of the file: from the first whole line on. */
static int read_tail(struct es_probe *p, int fd, const char *path, int64_t last,
                     char **ret_data, size_t *ret_len, struct es_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return es_probe_errno(err, path, "cannot be looked at", errno);
    if (!S_ISREG(st.st_mode))
        return es_err_set(err, ES_ENOTSUP, "%s: not a regular file", path);
    off_t start = st.st_size > last ? st.st_size - last : 0;
    size_t size = (size_t)(st.st_size - start), len = 0;
    char *data = es_arena_alloc(&p->arena, size + 1);
    ssize_t n = 0;
    if (data == NULL)
        return es_err_nomem(err);
    while (len < size && (n = pread(fd, data + len, size - len, start + (off_t)len)) > 0)
        len += (size_t)n;
    if (n < 0)
        return es_probe_errno(err, path, "cannot be read", errno);
    data[len] = '\0';
    if (start > 0) {
        char *newline = memchr(data, '\n', len);
        size_t skip = newline != NULL ? (size_t)(newline - data) + 1 : len;
        data += skip, len -= skip;
    }
    *ret_data = data;
    *ret_len = len;
    return 0;
}

struct match {
    const char *line;
    size_t len;
};

/* Counts the matching lines and keeps the last `max` in a ring. */
static int64_t search(const regex_t *regex, char *data, size_t len, struct match *ring,
                      int64_t max)
{
    int64_t count = 0;
    for (char *line = data, *end = data + len; line < end;) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        char *stop = newline != NULL ? newline : end;
        regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)(stop - line)};
        if (regexec(regex, line, 1, &range, REG_STARTEND) == 0) {
            ring[count % max] = (struct match){line, (size_t)(stop - line)};
            count++;
        }
        line = stop + 1;
    }
    return count;
}

static void tell_lines(struct es_probe *p, const struct match *ring, int64_t count,
                       int64_t max)
{
    size_t left = ES_PROBE_LIST_MAX, room = ES_PROBE_LIST_MAX;
    int64_t first = count;
    es_probe_set(p, "lines_b64", json_array());
    /* From the end, as many as fit; then told in order. */
    while (first > 0 && count - first < max) {
        size_t len = ring[(first - 1) % max].len;
        len = (len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES) + 3;
        if (len > room)
            break;
        room -= len;
        first--;
    }
    for (int64_t i = first; i < count; i++) {
        const struct match *m = &ring[i % max];
        es_probe_add_bytes(p, "lines_b64", m->line,
                           m->len < LINE_MAX_BYTES ? m->len : LINE_MAX_BYTES, &left);
    }
}

ES_PROBE_LOOK(log)
{
    const char *path, *pattern;
    int64_t last, max;
    int rc = es_probe_arg_text(p, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "match", true, &pattern, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "last", 1 << 20, 1, 16 << 20, &last, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "max", 20, 1, 500, &max, err);
    if (rc != 0)
        return rc;
    const char *full = es_probe_path(p, path);
    struct match *ring = es_arena_alloc(&p->arena, (size_t)max * sizeof *ring);
    if (full == NULL || ring == NULL)
        return es_err_nomem(err);
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        es_probe_set_bool(p, "exists", false);
        return 0;
    }
    if (fd < 0)
        return es_probe_errno(err, path, "cannot be opened", errno);
    char *data = NULL;
    size_t len = 0;
    rc = read_tail(p, fd, path, last, &data, &len, err);
    close(fd);
    if (rc != 0)
        return rc;
    regex_t regex;
    int code = regcomp(&regex, pattern, REG_EXTENDED);
    if (code != 0) {
        char why[128];
        regerror(code, &regex, why, sizeof why);
        return es_err_set(err, ES_EINVAL, "match: %s", why);
    }
    int64_t count = search(&regex, data, len, ring, max);
    regfree(&regex);
    es_probe_set_bool(p, "exists", true);
    es_probe_set_int(p, "count", count);
    tell_lines(p, ring, count, max);
    return 0;
}
