/* The certificate of a rehearsal: what was seen, on which images and versions. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "rehearsal.h"

static json_t *conditions_json(const struct es_scenario *s, const struct seen *seen)
{
    json_t *list = json_array();
    for (size_t c = 0; c < s->conditions_count; c++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:I, s:I}", "condition", s->conditions[c].name,
                            "starts", s->conditions[c].starts_pass ? "pass" : "fail",
                            "seen_pass_ex_ms", (json_int_t)seen[c].pass_ex_ms,
                            "seen_fail_ex_ms", (json_int_t)seen[c].fail_ex_ms));
    return list;
}

static json_t *images_json(const struct range *r)
{
    json_t *images = json_object();
    for (size_t n = 0; n < r->scenario->nodes_count; n++)
        json_object_set_new(images, r->scenario->nodes[n].name,
                            json_pack("{s:s, s:s, s:s}", "image", r->images[n].name,
                                      "digest", r->images[n].digest, "mould",
                                      r->mould_hash[n]));
    return images;
}

static json_t *objectives_json(const struct range *r)
{
    json_t *met = json_object();
    for (size_t i = 0; i < r->scenario->objectives_count; i++) {
        struct es_objective_state state;
        es_score_objective(r->score, 1, (int)i, &state);
        json_object_set_new(met, r->scenario->objectives[i].name,
                            json_boolean(state.status == ES_OBJ_MET));
    }
    return met;
}

json_t *certificate_make(const struct range *range, const struct seen *seen,
                         json_t *problems, json_t *timings, int64_t took_ms)
{
    const struct es_scenario *s = range->scenario;
    const struct es_hyp_info *info = &range->core->info;
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_pack(
        "{s:s, s:s, s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:O, s:O, s:I, "
        "s:i}",
        "scenario", s->name, "version", s->version != NULL ? s->version : "", "hash",
        s->hash, "proved", json_array_size(problems) == 0, "when", when, "enshu",
        ES_VERSION, "libvirt", info->libvirt_version, "qemu", info->qemu_version,
        "accelerator", range->accel, "images", images_json(range), "conditions",
        conditions_json(s, seen), "objectives_met", objectives_json(range), "stages",
        timings, "problems", problems, "took_ms", (json_int_t)took_ms, "speed_permille",
        (int)range->clock.speed_permille);
}

void certificate_write(const struct es_range_core *core,
                       const struct es_scenario *scenario, const json_t *certificate,
                       char *path, size_t size)
{
    es_str_printf(path, size, "%s/certificates", core->state_dir);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        es_log_warn("cannot make %s: %s", path, strerror(errno));
    es_str_printf(path, size, "%s/certificates/%s-%.12s.json", core->state_dir,
                  scenario->name, scenario->hash);
    if (certificate == NULL || json_dump_file(certificate, path, JSON_INDENT(1)) != 0) {
        es_log_error("cannot write %s", path);
        path[0] = '\0';
    }
}
