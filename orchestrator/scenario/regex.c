/* What a POSIX extended regular expression costs to compile: the C library writes "+" and
 * bounds out as copies, so a short text can ask for any amount of memory. */
#include <string.h>

#include "room.h"

enum { COST_MAX = 1 << 30, OF_ITSELF = 30, OF_A_SET = 3, DEPTH_MAX = 512 };

struct costs {
    int64_t sum, last;        /* of this group; of the piece that a repetition is of */
    int64_t outer[DEPTH_MAX]; /* sums of the groups around it */
    size_t depth;
};

static int64_t bounded(int64_t cost)
{
    return cost < COST_MAX ? cost : COST_MAX;
}

static void add(struct costs *c, int64_t cost)
{
    c->last = bounded(cost);
    c->sum = bounded(c->sum + c->last);
}

static void repeat(struct costs *c, int64_t times)
{
    int64_t more = times > 1 ? bounded(c->last * (times - 1)) : 0;
    c->sum = bounded(c->sum + more);
    c->last = bounded(c->last + more);
}

/* Behind the set that begins at `p`. */
static const char *skip_set(const char *p)
{
    p += p[1] == '^' ? 2 : 1;
    p += *p == ']';
    while (*p != '\0' && *p != ']') {
        const char *close = p[0] == '[' && p[1] != '\0' && strchr(":.=", p[1]) != NULL
                                ? strchr(p + 2, p[1])
                                : NULL;
        p = close != NULL && close[1] == ']' ? close + 2 : p + 1;
    }
    return *p == ']' ? p + 1 : p;
}

/* The greater number of "{2,5}", one more of "{2,}"; 0 when it is no bound. */
static int64_t bound_at(const char *p, const char **ret_behind)
{
    int64_t numbers[2] = {0, 0};
    int n = 0;
    bool open = false;
    for (p++; *p != '\0' && *p != '}'; p++) {
        if (*p == ',' && n == 0) {
            n = 1;
            open = p[1] == '}';
        } else if (*p >= '0' && *p <= '9') {
            numbers[n] = bounded(numbers[n] * 10 + (*p - '0'));
        } else {
            return 0;
        }
    }
    *ret_behind = *p == '}' ? p + 1 : p;
    int64_t most = numbers[0] > numbers[1] ? numbers[0] : numbers[1];
    return most + open > 1 ? most + open : 1;
}

static void open_group(struct costs *c)
{
    if (c->depth == DEPTH_MAX) {
        c->sum = COST_MAX;
        return;
    }
    c->outer[c->depth++] = c->sum;
    c->sum = c->last = 0;
}

static void close_group(struct costs *c)
{
    int64_t inner = c->sum;
    if (c->depth == 0)
        return;
    c->sum = c->outer[--c->depth];
    add(c, inner + 1);
}

int64_t probe_regex_cost(const char *pattern)
{
    struct costs c = {.depth = 0};
    for (const char *p = pattern; *p != '\0';) {
        const char *behind = p + 1;
        int64_t times = *p == '{' ? bound_at(p, &behind) : 0;
        if (times > 0) {
            repeat(&c, times);
        } else if (*p == '+') {
            repeat(&c, 2);
        } else if (*p == '(') {
            open_group(&c);
        } else if (*p == ')') {
            close_group(&c);
        } else if (*p == '[') {
            behind = skip_set(p);
            add(&c, OF_A_SET);
        } else if (*p != '*' && *p != '?') {
            behind += *p == '\\' && p[1] != '\0';
            add(&c, 1);
        }
        p = behind;
    }
    while (c.depth > 0)
        close_group(&c);
    return bounded(OF_ITSELF + c.sum);
}
