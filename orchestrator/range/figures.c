/* Measured memory of forks, kept beside the mould they came from:
 *
 *   STATE/moulds/KEY/usage.json   {"scenario": …, "measured_s": …, "nodes": {NODE: bytes}}
 *
 * The mean over the forks of a node that have run for a while: right after the fork it
 * would say too little. A range whose own moulds were not measured yet takes the newest
 * figures of its scenario. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "capacity.h"
#include "moulds.h"

#define LOOKS_MIN     150 /* five minutes */
#define MOULDS_LOOKED 4096

static json_t *record_of(const char *state_dir, const char *key, const char *scenario)
{
    char path[PATH_BYTES + 320];
    if (es_str_printf(path, sizeof path, "%s/moulds/%s/usage.json", state_dir, key) != 0)
        return NULL;
    json_t *record = json_load_file(path, 0, NULL);
    if (json_is_object(json_object_get(record, "nodes")) &&
        es_str_eq(json_string_value(json_object_get(record, "scenario")), scenario))
        return record;
    json_decref(record);
    return NULL;
}

static json_int_t age_of(const json_t *record)
{
    return json_integer_value(json_object_get(record, "measured_s"));
}

static json_t *newest(const char *state_dir, const char *scenario)
{
    char path[PATH_BYTES + 16];
    json_t *best = NULL;
    es_str_printf(path, sizeof path, "%s/moulds", state_dir);
    DIR *dir = opendir(path);
    int left = MOULDS_LOOKED;
    for (struct dirent *entry;
         dir != NULL && left-- > 0 && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        json_t *record = record_of(state_dir, entry->d_name, scenario);
        if (record != NULL && (best == NULL || age_of(record) > age_of(best))) {
            json_decref(best);
            best = json_incref(record);
        }
        json_decref(record);
    }
    if (dir != NULL)
        closedir(dir);
    return best;
}

static json_t *nodes_of(json_t *record)
{
    json_t *nodes = json_incref(json_object_get(record, "nodes"));
    json_decref(record);
    return nodes;
}

json_t *es_range_measured(const char *state_dir, const char *scenario)
{
    return nodes_of(newest(state_dir, scenario));
}

void figures_read(struct range *r)
{
    const char *state = r->core->state_dir;
    json_t *own = r->frozen_key[0] != '\0'
                      ? record_of(state, r->frozen_key, r->scenario->name)
                      : NULL;
    json_t *nodes = nodes_of(own != NULL ? own : newest(state, r->scenario->name));
    for (size_t n = 0; n < r->scenario->nodes_count; n++) {
        json_int_t bytes =
            json_integer_value(json_object_get(nodes, r->scenario->nodes[n].name));
        if (bytes > 0)
            r->measured[n] = r->measured_kept[n] = bytes;
    }
    json_decref(nodes);
}

static void keep(struct range *r)
{
    char path[PATH_BYTES + 64], beside[PATH_BYTES + 64];
    json_t *nodes = json_object();
    for (size_t n = 0; n < r->scenario->nodes_count; n++)
        if (r->measured[n] > 0)
            json_object_set_new(nodes, r->scenario->nodes[n].name,
                                json_integer(r->measured[n]));
    json_t *record = json_pack("{s:s, s:I, s:o}", "scenario", r->scenario->name,
                               "measured_s", (json_int_t)time(NULL), "nodes", nodes);
    frozen_path(r, NULL, "usage.json", path, sizeof path);
    frozen_path(r, NULL, "usage.new", beside, sizeof beside);
    if (record == NULL || json_dump_file(record, beside, 0) != 0 ||
        rename(beside, path) != 0)
        es_log_warn("cannot write %s; forks are counted by estimate next time", path);
    else
        memcpy(r->measured_kept, r->measured,
               r->scenario->nodes_count * sizeof *r->measured);
    json_decref(record);
}

static bool differs(int64_t now, int64_t kept)
{
    int64_t apart = now > kept ? now - kept : kept - now;
    return apart > kept / 10;
}

void figures_note(struct range *r)
{
    bool news = false;
    for (size_t n = 0; n < r->scenario->nodes_count; n++) {
        int64_t sum = 0, count = 0;
        for (int team = 1; team <= r->team_count; team++) {
            const struct machine *m = range_machine(r, team, (int)n);
            if (m == NULL || m->plan->team != team || !m->forked || m->whole ||
                m->looks < LOOKS_MIN || m->private_bytes == 0)
                continue;
            sum += m->private_bytes;
            count++;
        }
        if (count == 0)
            continue;
        r->measured[n] = sum / count;
        news |= differs(r->measured[n], r->measured_kept[n]);
    }
    if (news && r->frozen_key[0] != '\0')
        keep(r);
}
