/* Compiles a scenario into flat tables: who reads what, in which order, into which part. */
#include "fold.h"

#include <string.h>

#include "enshu/common/str.h"

/* ---- order of conditions */

static void count_reader(const struct es_condition *cond, int *waits)
{
    *waits = (int)cond->part_count + (cond->control >= 0 ? 1 : 0);
}

/* Called when the parts are done. */
static void mark_waiting(struct model *model, int index)
{
    const struct es_condition *cond = &model->scenario->conditions[index];
    bool waits = cond->kind == ES_COND_FACT || cond->after.set;
    for (size_t i = 0; i < cond->part_count; i++)
        waits = waits || model->conds[cond->parts[i]].waits;
    model->conds[index].waits = waits;
}

/* Kahn's algorithm over parts and controls; what reads has the higher rank. */
static int order_conditions(struct model *model, struct es_err *err)
{
    size_t n = model->conditions, done = 0, ready = 0;
    int *waits = es_calloc(n + 1, sizeof *waits);
    if (waits == NULL)
        return es_err_nomem(err);
    for (size_t c = 0; c < n; c++) {
        count_reader(&model->scenario->conditions[c], &waits[c]);
        if (waits[c] == 0)
            model->order[ready++] = (int)c;
    }
    for (; done < ready; done++) {
        int cond = model->order[done];
        model->conds[cond].rank = (int)done;
        mark_waiting(model, cond);
        LISTS_EACH(reader, &model->readers, cond)
        if (--waits[*reader] == 0)
            model->order[ready++] = *reader;
    }
    es_free(waits);
    if (done < n)
        return es_err_set(err, ES_EINVAL,
                          "conditions of the scenario read each other in a circle; "
                          "run enshu validate on it");
    return 0;
}

/* ---- one condition */

static int prober_node(const struct es_scenario *scenario, int network)
{
    for (size_t i = 0; i < scenario->nodes_count; i++) {
        const struct es_node *node = &scenario->nodes[i];
        for (size_t nic = 0; node->is_prober && nic < node->nic_count; nic++)
            if (node->nics[nic].network == network)
                return (int)i;
    }
    return -1;
}

static bool looks_out(enum es_probe_kind kind)
{
    enum { IN, OUT };
    static const int place[] = {
#define X(name, where, does) where,
        ES_PROBE_MAP(X)
#undef X
    };
    return (size_t)kind < ES_COUNT(place) && place[kind] == OUT;
}

static void compile_condition(struct model *model, size_t i)
{
    const struct es_condition *cond = &model->scenario->conditions[i];
    struct cond_def *def = &model->conds[i];
    def->kind = cond->kind;
    def->control = cond->control;
    def->for_ms = cond->for_ms;
    def->present = cond->probe.present;
    def->node = -1;
    if (cond->kind == ES_COND_PROBE) {
        def->outward = cond->prober >= 0 || looks_out(cond->probe.kind);
        def->node =
            cond->prober >= 0 ? prober_node(model->scenario, cond->prober) : cond->node;
    }
    def->fact_pass = model_fact(model, ES_FACT_CONDITION_PASS, (int)i);
    def->fact_fail = model_fact(model, ES_FACT_CONDITION_FAIL, (int)i);
    ES_ASSERT(def->control < (int)model->conditions);
    ES_ASSERT(def->node < (int)model->nodes);
    ES_ASSERT(cond->for_ms >= 0 && cond->every_ms >= 0 && cond->timeout_ms >= 0);
}

static int link_conditions(struct model *model)
{
    struct pairs readers = {0}, facts = {0}, nodes = {0};
    for (size_t i = 0; i < model->conditions; i++) {
        const struct es_condition *cond = &model->scenario->conditions[i];
        for (size_t p = 0; p < cond->part_count; p++) {
            ES_ASSERT((size_t)cond->parts[p] < model->conditions);
            pairs_add(&readers, cond->parts[p], (int)i);
        }
        if (cond->control >= 0) {
            pairs_add(&readers, cond->control, (int)i);
            model->conds[cond->control].controls = true;
        }
        if (cond->kind == ES_COND_FACT) {
            ES_ASSERT(cond->fact >= 0);
            pairs_add(&facts, cond->fact, (int)i);
            if (cond->within_ms >= 0 && cond->of >= 0)
                pairs_add(&facts, cond->of, (int)i);
        }
        if (model->conds[i].node >= 0)
            pairs_add(&nodes, model->conds[i].node, (int)i);
    }
    int a = pairs_to_lists(&readers, model->conditions, &model->readers);
    int b = pairs_to_lists(&facts, model->facts, &model->fact_readers);
    int c = pairs_to_lists(&nodes, model->nodes, &model->conds_of);
    return a != 0 || b != 0 || c != 0 ? ES_ENOMEM : 0;
}

static int link_judging(struct model *model)
{
    struct pairs objectives = {0}, phases = {0};
    for (size_t i = 0; i < model->objectives; i++) {
        ES_ASSERT((size_t)model->scenario->objectives[i].when < model->conditions);
        pairs_add(&objectives, model->scenario->objectives[i].when, (int)i);
    }
    for (size_t i = 0; i < model->phases; i++)
        if (model->scenario->phases[i].done >= 0)
            pairs_add(&phases, model->scenario->phases[i].done, (int)i);
    int a = pairs_to_lists(&objectives, model->conditions, &model->objectives_of);
    int b = pairs_to_lists(&phases, model->conditions, &model->phases_of);
    return a != 0 || b != 0 ? ES_ENOMEM : 0;
}

/* ---- anchors */

static void add_anchor(struct model *model, struct pairs *pairs, enum timer_kind kind,
                       size_t subject, const struct es_anchor *from)
{
    ES_ASSERT(from->fact < (int)model->facts);
    model->anchors[model->anchor_count] =
        (struct anchor){kind, (int)subject, from->offset_ms};
    int row = from->fact >= 0 ? from->fact : (int)model->facts;
    pairs_add(pairs, row, (int)model->anchor_count++);
}

static int link_anchors(struct model *model)
{
    static const struct es_anchor start = {true, -1, 0};
    const struct es_scenario *scenario = model->scenario;
    struct pairs pairs = {0};
    model->anchors =
        es_calloc(model->conditions + 2 * model->objectives + model->phases + 1,
                  sizeof *model->anchors);
    if (model->anchors == NULL)
        return ES_ENOMEM;
    for (size_t i = 0; i < model->conditions; i++)
        if (scenario->conditions[i].after.set)
            add_anchor(model, &pairs, TIMER_AFTER, i, &scenario->conditions[i].after);
    for (size_t i = 0; i < model->phases; i++) {
        const struct es_phase *phase = &scenario->phases[i];
        /* Without `from` a phase follows the one before it, see phase_judge. */
        if (phase->from.set || i == 0)
            add_anchor(model, &pairs, TIMER_FROM, i,
                       phase->from.set ? &phase->from : &start);
    }
    for (size_t i = 0; i < model->objectives; i++) {
        const struct es_objective *objective = &scenario->objectives[i];
        add_anchor(model, &pairs, TIMER_OPENS, i,
                   objective->opens.set ? &objective->opens : &start);
        if (objective->closes.set)
            add_anchor(model, &pairs, TIMER_CLOSES, i, &objective->closes);
    }
    return pairs_to_lists(&pairs, model->facts + 1, &model->anchors_of);
}

/* ---- facts and parts */

static int index_facts(struct model *model)
{
    size_t stride = 1;
    const size_t counts[] = {model->conditions, model->objectives, model->phases,
                             model->nodes};
    for (size_t i = 0; i < ES_COUNT(counts); i++)
        stride = counts[i] > stride ? counts[i] : stride;
    size_t kinds = ES_FACT_NODE_DOWN + 1;
    model->fact_stride = stride;
    model->fact_index = es_calloc(kinds * stride, sizeof *model->fact_index);
    if (model->fact_index == NULL)
        return ES_ENOMEM;
    for (size_t i = 0; i < kinds * stride; i++)
        model->fact_index[i] = -1;
    for (size_t i = 0; i < model->facts; i++) {
        const struct es_fact *fact = &model->scenario->facts[i];
        ES_ASSERT((size_t)fact->kind < kinds && (size_t)fact->subject < stride);
        model->fact_index[(size_t)fact->kind * stride + (size_t)fact->subject] = (int)i;
    }
    return 0;
}

int model_fact(const struct model *model, enum es_fact_kind kind, int subject)
{
    ES_ASSERT(subject >= 0 && (size_t)subject < model->fact_stride);
    return model->fact_index[(size_t)kind * model->fact_stride + (size_t)subject];
}

int model_part(const struct model *model, const char *name)
{
    for (size_t i = 0; i < model->part_count; i++)
        if (es_str_eq(model->parts[i], name))
            return (int)i;
    return -1;
}

static int part_of(struct model *model, const char *name, const char *fallback,
                   const char *what, const char *who, int *ret_part, struct es_err *err)
{
    name = name != NULL ? name : fallback;
    int part = model_part(model, name);
    if (part < 0 && model->scenario->scoring.part_count > 0)
        return es_err_set(err, ES_EINVAL,
                          "%s %s counts for part %s, which scoring.parts does not name; "
                          "run enshu validate on the scenario",
                          what, who, name);
    if (part < 0) {
        part = (int)model->part_count++;
        model->parts[part] = name;
        model->weights[part] = 1;
    }
    *ret_part = part;
    return 0;
}

static int make_parts(struct model *model, struct es_err *err)
{
    const struct es_scenario *scenario = model->scenario;
    const struct es_scoring *scoring = &scenario->scoring;
    size_t room = scoring->part_count + model->objectives + model->services + 1;
    model->parts = es_calloc(room, sizeof *model->parts);
    model->weights = es_calloc(room, sizeof *model->weights);
    model->objective_part = es_calloc(model->objectives + 1, sizeof(int));
    model->service_part = es_calloc(model->services + 1, sizeof(int));
    if (model->parts == NULL || model->weights == NULL || model->objective_part == NULL ||
        model->service_part == NULL)
        return es_err_nomem(err);
    for (; model->part_count < scoring->part_count; model->part_count++) {
        model->parts[model->part_count] = scoring->parts[model->part_count].name;
        model->weights[model->part_count] = scoring->parts[model->part_count].weight;
    }
    int status = 0;
    for (size_t i = 0; i < model->objectives && status == 0; i++)
        status = part_of(model, scenario->objectives[i].part, "handling", "objective",
                         scenario->objectives[i].name, &model->objective_part[i], err);
    for (size_t i = 0; i < model->services && status == 0; i++) {
        ES_ASSERT((size_t)scenario->services[i].condition < model->conditions);
        ES_ASSERT(scenario->services[i].round_ms > 0);
        status = part_of(model, scenario->services[i].part, "uptime", "service",
                         scenario->services[i].name, &model->service_part[i], err);
    }
    return status;
}

/* ---- all of it */

int model_make(const struct es_scenario *scenario, struct model *model,
               struct es_err *err)
{
    *model = (struct model){
        .scenario = scenario,
        .conditions = scenario->conditions_count,
        .facts = scenario->facts_count,
        .objectives = scenario->objectives_count,
        .phases = scenario->phases_count,
        .services = scenario->services_count,
        .nodes = scenario->nodes_count,
        .scaled = !es_str_eq(scenario->scoring.model, "uptime"),
    };
    model->conds = es_calloc(model->conditions + 1, sizeof *model->conds);
    model->order = es_calloc(model->conditions + 1, sizeof *model->order);
    int status = model->conds == NULL || model->order == NULL ? ES_ENOMEM : 0;
    if (status == 0)
        status = index_facts(model);
    for (size_t i = 0; i < model->conditions && status == 0; i++)
        compile_condition(model, i);
    if (status == 0)
        status = link_conditions(model);
    if (status == 0)
        status = link_judging(model);
    if (status == 0)
        status = link_anchors(model);
    if (status != 0)
        status = es_err_nomem(err);
    if (status == 0)
        status = order_conditions(model, err);
    if (status == 0)
        status = make_parts(model, err);
    if (status != 0) {
        model_finish(model);
        return status;
    }
    model_set_speed(model, 1000);
    return 0;
}

/* `every` has a floor of one real second and time-outs are real time: at other speeds both
 * last longer on the exercise clock. An answer may also come late by its time-out, which
 * counts beside `every` only where speed has blown it up. */
void model_set_speed(struct model *model, int32_t permille)
{
    ES_ASSERT(permille >= 1 && permille <= ES_CLOCK_SPEED_MAX);
    for (size_t i = 0; i < model->conditions; i++) {
        const struct es_condition *cond = &model->scenario->conditions[i];
        int64_t every_ms = cond->every_ms > permille ? cond->every_ms : permille;
        int64_t timeout_ms = mul_div(cond->timeout_ms, permille, 1000);
        int64_t blown_ms =
            timeout_ms > cond->timeout_ms ? timeout_ms - cond->timeout_ms : 0;
        /* Looks so rare are not worth to be put together. */
        int64_t late_ms = mul_div(ES_SCORE_STEADY_MS, permille, 1000);
        if (cond->kind != ES_COND_PROBE || 2 * every_ms > late_ms)
            late_ms = 0;
        model->conds[i].late_ms = late_ms;
        model->conds[i].gap_ms = 2 * every_ms + blown_ms;
        model->conds[i].stale_ms = 3 * every_ms + timeout_ms + late_ms;
    }
}

void model_finish(struct model *model)
{
    es_free(model->conds);
    es_free(model->order);
    es_free(model->anchors);
    lists_finish(&model->readers);
    lists_finish(&model->objectives_of);
    lists_finish(&model->phases_of);
    lists_finish(&model->fact_readers);
    lists_finish(&model->anchors_of);
    lists_finish(&model->conds_of);
    es_free(model->fact_index);
    es_free(model->parts);
    es_free(model->weights);
    es_free(model->objective_part);
    es_free(model->service_part);
    *model = (struct model){0};
}
