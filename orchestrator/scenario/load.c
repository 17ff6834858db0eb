/* The door: loading pass by pass, and release. */
#include <sodium.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

static void set_defaults(struct es_scenario *s)
{
    s->default_language = "ja";
    s->version = "";
    s->license = "";
    s->scoring.model = "drill";
    s->scoring.freeze.fact = -1;
    s->scoring.board_trainees = "own";
    s->scoring.board_public = "ranks";
    s->rehearse_speed_permille = 1000;
}

static struct es_scenario *scenario_new(void)
{
    struct es_scenario *s = es_calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->inner = es_arena_alloc(&s->arena, sizeof *s->inner);
    if (s->inner == NULL) {
        es_scenario_destroy(s);
        return NULL;
    }
    set_defaults(s);
    return s;
}

void es_scenario_destroy(struct es_scenario *scenario)
{
    if (scenario == NULL)
        return;
    for (size_t i = 0; scenario->inner != NULL && i < scenario->inner->json_count; i++)
        json_decref(scenario->inner->jsons[i]);
    struct es_arena arena = scenario->arena;
    es_arena_finish(&arena);
    es_free(scenario);
}

static bool out_of_memory(const struct load *ld)
{
    return ld->nomem || ld->temp.failed || ld->s->arena.failed || ld->diags->arena.failed;
}

static void bind_root(struct load *ld, struct es_yaml *root)
{
    if (root->type != ES_YAML_MAP) {
        load_error(ld, root->pos,
                   "a scenario is a map of sections, beginning with enshu: 1");
        return;
    }
    nodes_begin(ld);
    text_load_translations(ld);
    const struct es_yaml *conditions = es_yaml_get(root, "conditions");
    ld->starts_set = es_arena_alloc(
        &ld->temp, (conditions != NULL ? conditions->count : 0) + ES_MAX_CONDITIONS);
    if (ld->starts_set == NULL)
        return;
    bind_shape(ld, &scenario_shape, root, ld->s);
}

/* Everything after the text was read; memory failures end it between passes. */
static void run_passes(struct load *ld, struct es_yaml *root)
{
    void (*const passes[])(struct load *) = {
        refs_resolve,   address_assign, expand_check,           graph_order,
        solutions_join, check_all,      text_check_translations};
    files_read_includes(ld, root);
    if (out_of_memory(ld))
        return;
    bind_root(ld, root);
    if (root->partial)
        return; /* what is named may stand in what could not be read */
    for (size_t i = 0; i < ES_COUNT(passes); i++) {
        if (out_of_memory(ld))
            return;
        passes[i](ld);
    }
    if (!out_of_memory(ld) && ld->diags->error_count == 0)
        files_hash(ld);
}

static int finish(struct load *ld, int rc, struct es_scenario **ret_scenario,
                  struct es_err *err)
{
    bool nomem = rc == ES_ENOMEM || out_of_memory(ld);
    es_arena_finish(&ld->temp);
    if (rc != 0 && rc != ES_ESCENARIO && !nomem) {
        es_scenario_destroy(ld->s);
        return rc;
    }
    if (nomem || ld->diags->error_count > 0) {
        es_scenario_destroy(ld->s);
        if (nomem)
            return es_err_nomem(err);
        return es_err_set(err, ES_ESCENARIO, "the scenario has %zu error%s",
                          ld->diags->error_count, ld->diags->error_count == 1 ? "" : "s");
    }
    *ret_scenario = ld->s;
    return 0;
}

int es_scenario_load(const char *file, struct es_diags *diags,
                     struct es_scenario **ret_scenario, struct es_err *err)
{
    struct load ld = {.diags = diags, .s = scenario_new()};
    struct es_yaml *root = NULL;
    if (ld.s == NULL)
        return es_err_nomem(err);
    if (sodium_init() < 0) {
        es_scenario_destroy(ld.s);
        return es_err_set(err, ES_EINTERNAL, "libsodium cannot be used on this host");
    }
    int rc = files_read(&ld, file, &root, err);
    if (rc == 0)
        run_passes(&ld, root);
    return finish(&ld, rc, ret_scenario, err);
}

int es_scenario_parse(const char *name, const char *text, size_t len,
                      struct es_diags *diags, struct es_scenario **ret_scenario,
                      struct es_err *err)
{
    struct load ld = {.diags = diags, .s = scenario_new()};
    struct es_yaml *root = NULL;
    if (ld.s == NULL || sodium_init() < 0) {
        es_scenario_destroy(ld.s);
        return es_err_nomem(err);
    }
    struct source_file source = {es_arena_strdup(&ld.s->arena, name), text, len};
    ld.s->file = source.name;
    ld.s->dir = "";
    ld.sources = &source;
    ld.source_count = 1;
    int rc = source.name == NULL
                 ? ES_ENOMEM
                 : es_yaml_parse(&ld.s->arena, name, text, len, diags, &root);
    if (rc == 0)
        run_passes(&ld, root);
    return finish(&ld, rc, ret_scenario, err);
}
