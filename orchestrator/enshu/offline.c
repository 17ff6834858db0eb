/* Without a core. `enshu rescore FILE`: the score from a ledger file alone, kept by `down`
 * or exported as JSON lines; its scenario lies in it. `enshu ledger forget PERSON FILE`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/common/tree.h"
#include "enshu/score.h"
#include "enshu/store.h"

#define FILE_BYTES_MAX (64U << 20)

struct offline {
    char folder[64]; /* of our own, removed at the end */
    char ledger[96]; /* an import lies there */
    struct es_store *store;
    struct es_scenario *scenario;
    struct es_score *score;
    int team_count;
    char hash[65];
    struct es_err *err;
};

/* ------------------------------------------------------------------ the scenario */

static int put_file(const struct offline *o, const char *name, const struct es_buf *data)
{
    char path[512];
    if (strstr(name, "..") != NULL || name[0] == '/' ||
        es_str_printf(path, sizeof path, "%s/scenario/%s", o->folder, name) != 0)
        return es_err_set(o->err, ES_ECORRUPT, "the ledger's scenario has a file %.100s",
                          name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int rc = es_tree_make(path, 0700, o->err);
    *slash = '/';
    return rc == 0 ? es_tree_write(path, es_buf_str(data), data->len, 0600, o->err) : rc;
}

static int extract(struct offline *o, json_t **ret_index)
{
    struct es_buf data;
    es_buf_init(&data, FILE_BYTES_MAX);
    int rc = es_store_get_blob(o->store, "scenario", &data, o->err);
    json_t *index = rc == 0 ? json_loadb(es_buf_str(&data), data.len, 0, NULL) : NULL;
    size_t i;
    const json_t *name;
    if (rc == 0 && !json_is_array(json_object_get(index, "files")))
        rc =
            es_err_set(o->err, ES_ECORRUPT, "the ledger's scenario has no list of files");
    json_array_foreach (json_object_get(index, "files"), i, name) {
        char blob[256];
        const char *text = json_string_value(name);
        es_buf_clear(&data);
        if (rc == 0 &&
            (text == NULL || es_str_printf(blob, sizeof blob, "scenario/%s", text) != 0))
            rc = es_err_set(o->err, ES_ECORRUPT, "the ledger's list of files is damaged");
        rc = rc == 0 ? es_store_get_blob(o->store, blob, &data, o->err) : rc;
        rc = rc == 0 ? put_file(o, text, &data) : rc;
    }
    es_buf_finish(&data);
    *ret_index = index;
    return rc;
}

static int on_created(void *ctx, const struct es_event *event)
{
    struct offline *o = ctx;
    json_t *json = event->text != NULL ? json_loads(event->text, 0, NULL) : NULL;
    json_int_t teams = json_integer_value(json_object_get(json, "team_count"));
    o->team_count = teams >= 1 && teams <= ES_PLAN_TEAMS_MAX ? (int)teams : 0;
    const char *hash = json_string_value(json_object_get(json, "hash"));
    es_str_printf(o->hash, sizeof o->hash, "%s", hash != NULL ? hash : "");
    json_decref(json);
    return 0;
}

static int load_scenario(struct offline *o)
{
    char path[600];
    json_t *index = NULL;
    struct es_diags *diags = es_calloc(1, sizeof *diags);
    int rc = diags != NULL ? extract(o, &index) : es_err_nomem(o->err);
    const char *file = json_string_value(json_object_get(index, "file"));
    if (rc == 0 && (file == NULL || es_str_printf(path, sizeof path, "%s/scenario/%s",
                                                  o->folder, file) != 0))
        rc = es_err_set(o->err, ES_ECORRUPT,
                        "the ledger does not name its scenario's file");
    if (rc == 0)
        rc = es_scenario_load(path, diags, &o->scenario, o->err);
    /* The chain holds the scenario's hash; the files beside it must be those. */
    if (rc == 0 && !es_str_eq(o->scenario->hash, o->hash))
        rc =
            es_err_set(o->err, ES_ECORRUPT, "the scenario beside the ledger was changed");
    if (diags != NULL)
        es_diags_finish(diags);
    es_free(diags);
    json_decref(index);
    return rc;
}

/* ------------------------------------------------------------------ the fold */

static int on_correction(void *ctx, const struct es_event *event)
{
    struct offline *o = ctx;
    return es_score_correct(o->score, event, o->err);
}

static int on_event(void *ctx, const struct es_event *event)
{
    struct offline *o = ctx;
    return es_score_apply(o->score, event, o->err);
}

static int fold(struct offline *o)
{
    struct es_clock_mark mark;
    const uint32_t corrections =
        1U << ES_EV_VOID | 1U << ES_EV_POINTS | 1U << ES_EV_OVERRIDE;
    int rc = es_store_read_types(o->store, 1U << ES_EV_CREATED, on_created, o, o->err);
    if (rc == 0 && o->team_count < 1)
        rc = es_err_set(o->err, ES_ECORRUPT, "the ledger has no first event");
    if (rc == 0)
        rc = load_scenario(o);
    if (rc == 0)
        rc = es_score_create(o->scenario, o->team_count, NULL, NULL, &o->score, o->err);
    if (rc == 0)
        rc = es_store_read_types(o->store, corrections, on_correction, o, o->err);
    if (rc == 0)
        rc = es_store_read(o->store, 1, true, on_event, o, o->err);
    if (rc == 0 && es_store_last_mark(o->store, &mark) == 0)
        es_score_advance(o->score, mark.ex_ms);
    return rc;
}

static int open_ledger(struct offline *o, const char *path)
{
    char head = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return es_err_set(o->err, ES_ENOENT, "%s: %s", path, strerror(errno));
    head = (char)fgetc(file);
    fclose(file);
    if (head != '{')
        return es_store_open(path, false, &o->store, o->err);
    int rc = es_store_import(path, o->ledger, o->err);
    return rc == 0 ? es_store_open(o->ledger, false, &o->store, o->err) : rc;
}

static json_t *result_json(const struct offline *o)
{
    char digest[65];
    json_t *teams = json_array();
    es_score_digest(o->score, digest);
    for (int team = 1; team <= o->team_count; team++)
        json_array_append_new(teams,
                              json_pack("{s:i, s:I}", "team", team, "total_mpts",
                                        (json_int_t)es_score_total_mpts(o->score, team)));
    return json_pack("{s:I, s:s, s:o}", "events", (json_int_t)es_store_head(o->store),
                     "digest", digest, "teams", teams);
}

int offline_rescore(const char *path, json_t **ret_result, struct es_err *err)
{
    struct offline o = {.folder = "/tmp/enshu-rescore-XXXXXX", .err = err};
    if (mkdtemp(o.folder) == NULL)
        return es_err_set(err, ES_EIO, "cannot make a folder in /tmp: %s",
                          strerror(errno));
    es_str_printf(o.ledger, sizeof o.ledger, "%s/ledger.db", o.folder);
    int rc = open_ledger(&o, path);
    if (rc == 0)
        rc = fold(&o);
    if (rc == 0)
        *ret_result = result_json(&o);
    es_score_destroy(o.score);
    es_scenario_destroy(o.scenario);
    es_store_close(o.store);
    es_tree_remove(AT_FDCWD, o.folder, NULL);
    return rc;
}

int offline_forget(const char *path, const char *who, json_t **ret_result,
                   struct es_err *err)
{
    struct es_store *store = NULL;
    int count = 0;
    int rc = es_store_open(path, false, &store, err);
    if (rc == 0)
        rc = es_store_forget_person(store, who, &count, err);
    if (rc == 0)
        *ret_result = json_pack("{s:i}", "erased", count);
    es_store_close(store);
    return rc;
}
