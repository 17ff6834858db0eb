/* What reaches the terminal: escaping, columns, colours, numbers. Widths are the C
 * library's in a UTF-8 locale, so Japanese takes two columns a character. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "cli.h"
#include "enshu/common/str.h"

#define TEXT_MAX 65536

/* Bytes and columns of the next character; one byte and one column where there is none. */
static size_t next_char(const char *text, size_t left, int *ret_width)
{
    wchar_t wide;
    mbstate_t state = {0};
    size_t n = mbrtowc(&wide, text, left, &state);
    if (n == 0 || n > left) {
        *ret_width = 1;
        return 1;
    }
    int width = wcwidth(wide);
    *ret_width = width < 0 ? 0 : width;
    return n;
}

/* An escaped copy in `safe`, which the caller finishes; "" when memory is out. */
static const char *escaped(struct es_buf *safe, const char *text)
{
    es_buf_init(safe, TEXT_MAX);
    size_t len = strlen(text);
    es_str_escape_terminal(safe, text, len < 8192 ? len : 8192, false);
    return es_buf_status(safe) == 0 ? es_buf_str(safe) : "";
}

static int plain_width(const char *text)
{
    int sum = 0;
    for (size_t left = strlen(text); left > 0;) {
        int width;
        size_t n = next_char(text, left, &width);
        sum += width;
        text += n;
        left -= n;
    }
    return sum;
}

int text_width(const char *text)
{
    struct es_buf safe;
    int width = plain_width(escaped(&safe, text));
    es_buf_finish(&safe);
    return width;
}

void text_fit(struct es_buf *out, const char *text, int width, bool pad)
{
    struct es_buf safe;
    const char *at = escaped(&safe, text);
    bool cut = plain_width(at) > width;
    int room = cut ? width - 1 : width, used = 0;
    for (size_t left = strlen(at); left > 0;) {
        int columns;
        size_t n = next_char(at, left, &columns);
        if (used + columns > room)
            break;
        es_buf_append(out, at, n);
        used += columns;
        at += n;
        left -= n;
    }
    if (cut && width > 0) {
        es_buf_puts(out, "…");
        used++;
    }
    for (; pad && used < width; used++)
        es_buf_putc(out, ' ');
    es_buf_finish(&safe);
}

void out_safe(FILE *file, const char *text)
{
    struct es_buf safe;
    fputs(escaped(&safe, text), file);
    es_buf_finish(&safe);
}

void out_bytes(FILE *file, bool is_tty, const char *data, size_t len)
{
    if (!is_tty) {
        fwrite(data, 1, len, file);
        return;
    }
    struct es_buf safe;
    es_buf_init(&safe, 4 * len + 1);
    es_str_escape_terminal(&safe, data, len, true);
    fputs(es_buf_str(&safe), file);
    es_buf_finish(&safe);
}

int out_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
    return 0;
}

int terminal_width(int fd, int def)
{
    struct winsize size;
    int64_t columns;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    const char *text = getenv("COLUMNS");
    return text != NULL && es_str_int(text, 20, 1000, &columns) == 0 ? (int)columns : def;
}

const char *out_color(const struct cli *cli, enum out_color color)
{
    static const char *const codes[] = {"\x1b[0m",  "\x1b[1m",  "\x1b[2m",
                                        "\x1b[31m", "\x1b[32m", "\x1b[33m"};
    return cli->color ? codes[color] : "";
}

char *text_clock(int64_t ex_ms, char *dst, size_t size)
{
    int64_t s = (ex_ms < 0 ? -ex_ms : ex_ms) / 1000;
    snprintf(dst, size, "%s%" PRId64 ":%02d:%02d", ex_ms < 0 ? "-" : "", s / 3600,
             (int)(s / 60 % 60), (int)(s % 60));
    return dst;
}

char *text_points(int64_t mpts, char *dst, size_t size)
{
    int64_t whole = (mpts < 0 ? -mpts : mpts) / 1000,
            rest = (mpts < 0 ? -mpts : mpts) % 1000;
    int n = snprintf(dst, size, "%s%" PRId64, mpts < 0 ? "-" : "", whole);
    if (rest != 0 && n > 0 && (size_t)n < size)
        snprintf(dst + n, size - (size_t)n, ".%d",
                 (int)(rest / 100 != 0 ? rest / 100 : 1));
    return dst;
}

char *text_bytes(int64_t bytes, char *dst, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ES_COUNT(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(dst, size, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return dst;
}

const char *member_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

int64_t member_int(const json_t *object, const char *key, int64_t def)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : def;
}

bool member_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

const json_t *member_list(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_array(value) ? value : NULL;
}

json_t *member_items(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key), *list = json_array(), *item;
    const char *name;
    if (json_is_array(value)) {
        json_decref(list);
        return json_incref(value);
    }
    json_object_foreach (value, name, item) {
        json_t *copy = json_copy(item);
        json_object_set_new(copy, "name", json_string(name));
        json_array_append_new(list, copy);
    }
    return list;
}

const char *team_title(const json_t *team)
{
    const char *name = member_text(team, "name");
    return *name != '\0' ? name : member_text(team, "id");
}

int64_t met_at(const json_t *objective)
{
    return member_int(objective, "met_ex_ms", member_int(objective, "met_ms", -1));
}

const char *member_title(const struct cli *cli, const json_t *object)
{
    const json_t *title = json_object_get(object, "title");
    if (json_is_string(title) && json_string_length(title) > 0)
        return json_string_value(title);
    const char *text = member_text(title, cli->lang);
    if (*text == '\0' && json_object_size(title) > 0)
        text = json_string_value(
            json_object_iter_value(json_object_iter((json_t *)(uintptr_t)title)));
    return text != NULL && *text != '\0' ? text : member_text(object, "name");
}
