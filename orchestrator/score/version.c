/* Debian's order of package versions, deb-version(7): [epoch:]upstream[-revision]; runs of
 * digits as numbers, the rest letters before others, with ~ before even the end. */
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static int weight(char c)
{
    if (c == '\0' || digit(c))
        return 0;
    if (c == '~')
        return -1;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return c;
    return (unsigned char)c + 256;
}

static int compare_numbers(const char **a, const char *a_end, const char **b,
                           const char *b_end)
{
    while (*a < a_end && **a == '0')
        (*a)++;
    while (*b < b_end && **b == '0')
        (*b)++;
    const char *x = *a, *y = *b;
    while (x < a_end && digit(*x))
        x++;
    while (y < b_end && digit(*y))
        y++;
    size_t x_len = (size_t)(x - *a), y_len = (size_t)(y - *b);
    int order = x_len != y_len ? (x_len < y_len ? -1 : 1) : memcmp(*a, *b, x_len);
    *a = x;
    *b = y;
    return order;
}

static int compare_parts(const char *a, const char *a_end, const char *b,
                         const char *b_end)
{
    while (a < a_end || b < b_end) {
        while ((a < a_end && !digit(*a)) || (b < b_end && !digit(*b))) {
            int x = a < a_end ? weight(*a) : 0, y = b < b_end ? weight(*b) : 0;
            if (x != y)
                return x < y ? -1 : 1;
            /* Equal weights: both step over a character, or one stands at digits. */
            a += a < a_end && !digit(*a);
            b += b < b_end && !digit(*b);
        }
        int order = compare_numbers(&a, a_end, &b, b_end);
        if (order != 0)
            return order;
    }
    return 0;
}

static const char *after_epoch(const char *version, const char **ret_epoch_end)
{
    const char *colon = strchr(version, ':');
    *ret_epoch_end = colon != NULL ? colon : version;
    return colon != NULL ? colon + 1 : version;
}

int judge_version_cmp(const char *a, const char *b)
{
    ES_ASSERT(a != NULL && b != NULL);
    const char *a_epoch_end, *b_epoch_end, *a_epoch = a, *b_epoch = b;
    a = after_epoch(a, &a_epoch_end);
    b = after_epoch(b, &b_epoch_end);
    int order = compare_parts(a_epoch, a_epoch_end, b_epoch, b_epoch_end);
    if (order != 0)
        return order;
    const char *a_end = a + strlen(a), *b_end = b + strlen(b);
    const char *a_dash = strrchr(a, '-'), *b_dash = strrchr(b, '-');
    order = compare_parts(a, a_dash != NULL ? a_dash : a_end, b,
                          b_dash != NULL ? b_dash : b_end);
    if (order != 0)
        return order;
    return compare_parts(a_dash != NULL ? a_dash + 1 : a_end, a_end,
                         b_dash != NULL ? b_dash + 1 : b_end, b_end);
}
