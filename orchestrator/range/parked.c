/* RANGE/parked/: NAME.save, a machine each, and parked.json, which tells a core that comes
 * after which machines they are and what their agents were:
 *
 *   {"machines": [{"name", "epoch", "answered", "forked"}]} */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "park.h"

int parked_path(const struct range *r, const char *name, char *dst, size_t size)
{
    return es_str_printf(dst, size, "%s/" PARK_FOLDER "%s%s", r->dir,
                         *name != '\0' ? "/" : "", name);
}

void parked_file(const struct machine *m, char *dst, size_t size)
{
    char name[ES_PLAN_NAME_MAX + 8];
    es_str_printf(name, sizeof name, "%s.save", m->plan->name);
    parked_path(m->range, name, dst, size);
}

int64_t parked_bytes(const struct machine *m)
{
    char path[PATH_BYTES + ES_PLAN_NAME_MAX + 32];
    struct stat st;
    parked_file(m, path, sizeof path);
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

int parked_clear(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 32];
    if (parked_path(r, "", path, sizeof path) != 0)
        return es_err_set(err, ES_ELIMIT, "the path of range %s is too long", r->name);
    return es_tree_remove(AT_FDCWD, path, err);
}

static bool is_parked(const struct machine *m)
{
    enum machine_state state = machine_state(m);
    return state == M_PARKING || state == M_PARKED;
}

int parked_keep(const struct range *r, struct es_err *err)
{
    char folder[PATH_BYTES + 32], path[PATH_BYTES + 48], beside[PATH_BYTES + 48];
    json_t *list = json_array();
    for (size_t i = 0; i < r->machine_count; i++) {
        const struct machine *m = &r->machines[i];
        if (is_parked(m))
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:b, s:b}", "name", m->plan->name,
                                            "epoch", m->done_epoch, "answered",
                                            (int)m->answered, "forked", (int)m->forked));
    }
    json_t *json = json_pack("{s:o}", "machines", list);
    int rc = parked_path(r, "", folder, sizeof folder) |
             parked_path(r, "parked.json", path, sizeof path) |
             parked_path(r, "parked.new", beside, sizeof beside);
    if (rc != 0)
        es_err_set(err, rc, "the path of range %s is too long", r->name);
    else if (json == NULL)
        rc = es_err_nomem(err);
    /* QEMU is given the files open. */
    else if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        rc = es_err_set(err, ES_EIO, "cannot make %s: %s", folder, strerror(errno));
    else if (json_dump_file(json, beside, JSON_INDENT(1)) != 0 ||
             rename(beside, path) != 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    json_decref(json);
    return rc;
}

static struct machine *find(struct range *r, const char *name)
{
    for (size_t i = 0; i < r->machine_count; i++)
        if (es_str_eq(r->machines[i].plan->name, name))
            return &r->machines[i];
    return NULL;
}

int parked_restore(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 48];
    json_error_t json_err;
    size_t i;
    const json_t *one;
    if (r->phase == R_UP) { /* files that were to be removed hold nothing any more */
        if (parked_clear(r, err) != 0)
            es_log_warn("range %s: %s", r->name, err->msg);
        return 0;
    }
    parked_path(r, "parked.json", path, sizeof path);
    json_t *json = json_load_file(path, 0, &json_err);
    if (!json_is_array(json_object_get(json, "machines"))) {
        json_decref(json);
        return es_err_set(err, ES_ECORRUPT, "%s cannot be read: %s", path, json_err.text);
    }
    json_array_foreach (json_object_get(json, "machines"), i, one) {
        struct machine *m = find(r, json_string_value(json_object_get(one, "name")));
        const char *epoch = json_string_value(json_object_get(one, "epoch"));
        if (m == NULL)
            continue;
        es_str_printf(m->done_epoch, sizeof m->done_epoch, "%s",
                      epoch != NULL ? epoch : "");
        m->answered = json_is_true(json_object_get(one, "answered"));
        m->forked = json_is_true(json_object_get(one, "forked"));
        m->own_done = true;
        machine_set(m, r->phase == R_PARKING ? M_PARKING : M_PARKED, "");
    }
    json_decref(json);
    return 0;
}
