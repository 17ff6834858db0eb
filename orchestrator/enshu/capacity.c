/* The host in one line, of the answers' "capacity". */
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

static long long mib(const json_t *object, const char *key)
{
    return (long long)(member_int(object, key, 0) >> 20);
}

static void add_pressure(struct es_buf *out, const json_t *pressure, const char *name)
{
    const json_t *some = json_object_get(json_object_get(pressure, name), "some");
    if (json_is_number(some))
        es_buf_printf(out, ", %s %.1f %%", name, json_number_value(some));
}

void show_capacity(const json_t *capacity, struct es_buf *out)
{
    const json_t *memory = json_object_get(capacity, "memory");
    const json_t *machines = json_object_get(capacity, "machines");
    const json_t *pressure = json_object_get(capacity, "pressure");
    long long waiting = (long long)member_int(capacity, "waiting", 0);
    long long suspended = (long long)member_int(machines, "suspended", 0);
    if (!member_true(capacity, "measured")) {
        es_buf_printf(out, "host: not measured: %s", member_text(capacity, "why"));
        return;
    }
    es_buf_printf(out,
                  "host: memory %s: %lld of %lld MiB free, %lld reserve; %lld machines "
                  "keep %lld MiB and may take %lld more; pressure",
                  member_text(capacity, "level"), mib(memory, "available_bytes"),
                  mib(memory, "total_bytes"), mib(memory, "reserve_bytes"),
                  (long long)member_int(machines, "running", 0),
                  mib(machines, "private_bytes"), mib(memory, "promised_bytes"));
    size_t before = out->len;
    add_pressure(out, pressure, "memory");
    add_pressure(out, pressure, "cpu");
    add_pressure(out, pressure, "io");
    if (out->len == before)
        es_buf_puts(out, " is not told");
    else
        out->data[before] = ':'; /* the first one's comma */
    if (waiting > 0)
        es_buf_printf(out, "; %lld wait%s", waiting,
                      member_true(capacity, "waiting_for_memory") ? " for memory" : "");
    if (suspended > 0)
        es_buf_printf(out, "; %lld suspended", suspended);
}
