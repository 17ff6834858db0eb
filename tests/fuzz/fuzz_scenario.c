/* Fuzz entry for scenarios: the text is loaded as a scenario from memory, and what is said
 * about it is formatted.
 *
 * What is checked besides memory: a scenario is given exactly when there are no errors, a
 * refusal has a reason, references lie inside their lists, every condition has its place in
 * the order, loading again says the same, nothing leaks. */
#include <stdint.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/scenario.h"
#include "fuzz.h"

static void check_index(int index, size_t count)
{
    ES_ASSERT(index >= -1 && (index < 0 || (size_t)index < count));
}

static void check_conditions(const struct es_scenario *s)
{
    bool *placed = es_calloc(s->conditions_count + 1, sizeof *placed);
    ES_ASSERT(placed != NULL);
    for (size_t i = 0; i < s->conditions_count; i++) {
        const struct es_condition *c = &s->conditions[s->condition_order[i]];
        check_index(c->node, s->nodes_count);
        check_index(c->prober, s->networks_count);
        check_index(c->fact, s->facts_count);
        check_index(c->after.fact, s->facts_count);
        for (size_t k = 0; k < c->part_count; k++)
            ES_ASSERT(c->parts[k] >= 0 && placed[c->parts[k]]);
        ES_ASSERT(c->control < 0 || placed[c->control]);
        ES_ASSERT(!placed[s->condition_order[i]]);
        placed[s->condition_order[i]] = true;
        ES_ASSERT(c->kind != ES_COND_PROBE || json_is_object(c->probe.look));
    }
    es_free(placed);
}

static void check_scenario(const struct es_scenario *s)
{
    ES_ASSERT(s->name != NULL && s->title.count > 0 && strlen(s->hash) == 64);
    check_conditions(s);
    for (size_t i = 0; i < s->nodes_count; i++) {
        const struct es_node *node = &s->nodes[i];
        ES_ASSERT(es_scenario_node(s, node->name) == (int)i && node->recipe != NULL);
        for (size_t k = 0; k < node->nic_count; k++)
            ES_ASSERT(node->nics[k].how != ES_NIC_AUTO && node->nics[k].network >= 0);
    }
    for (size_t i = 0; i < s->facts_count; i++)
        ES_ASSERT(es_scenario_fact(s, s->facts[i].name) == (int)i);
    for (size_t i = 0; i < s->objectives_count; i++)
        ES_ASSERT(s->objectives[i].when >= 0);
}

/* Loads once; what is said goes to `out`. */
static void load(const char *text, size_t size, struct es_buf *out)
{
    static struct es_diags diags;
    struct es_scenario *scenario = NULL;
    struct es_err err = {0};
    int rc = es_scenario_parse("fuzz.yaml", text, size, &diags, &scenario, &err);
    ES_ASSERT(rc == 0 || rc == ES_ESCENARIO || rc == ES_ENOMEM);
    ES_ASSERT((rc == 0) == (scenario != NULL));
    ES_ASSERT((rc == ES_ESCENARIO) == (diags.error_count > 0));
    es_diags_format(&diags, out);
    if (scenario != NULL)
        check_scenario(scenario);
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
}

int fuzz_scenario(const uint8_t *data, size_t size)
{
    struct es_buf first, second;
    es_buf_init(&first, 1U << 20);
    es_buf_init(&second, 1U << 20);
    load((const char *)data, size, &first);
    load((const char *)data, size, &second);
    ES_ASSERT(strcmp(es_buf_str(&first), es_buf_str(&second)) == 0);
    es_buf_finish(&first);
    es_buf_finish(&second);
    ES_ASSERT(es_mem_live_count() == 0);
    return 0;
}
FUZZ_MAIN(fuzz_scenario)
