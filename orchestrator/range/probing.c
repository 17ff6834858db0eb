/* Which condition is looked at when, on the exercise clock: a heap of (team, condition)
 * slots by due time. What comes back goes to observe.c, as does a probe that cannot be
 * sent: the host can vouch for an outcome all the same. */
#include <string.h>

#include "inner.h"
#include "vars.h"

#define EVERY_FLOOR_REAL_MS 1000

static const struct es_condition *slot_condition(const struct range *r,
                                                 const struct probe_slot *slot)
{
    return &r->scenario->conditions[slot->condition];
}

/* ---------------------------------------------------------------- the heap */

static bool before(const struct range *r, size_t a, size_t b)
{
    return r->slots[r->heap[a]].due_ex_ms < r->slots[r->heap[b]].due_ex_ms;
}

static void swap(struct range *r, size_t a, size_t b)
{
    size_t t = r->heap[a];
    r->heap[a] = r->heap[b];
    r->heap[b] = t;
}

static void sift_down(struct range *r, size_t i)
{
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t child = left; child < left + 2 && child < r->slot_count; child++)
            if (before(r, child, least))
                least = child;
        if (least == i)
            return;
        swap(r, i, least);
        i = least;
    }
}

static struct machine *observer(struct range *r, const struct es_condition *condition,
                                int team)
{
    int node = condition->node;
    for (size_t i = 0; node < 0 && i < r->scenario->nodes_count; i++)
        if (r->scenario->nodes[i].is_prober &&
            r->scenario->nodes[i].nics[0].network == condition->prober)
            node = (int)i;
    return node >= 0 ? range_machine(r, team, node) : NULL;
}

int probing_init(struct range *r, struct es_err *err)
{
    size_t probes = 0;
    for (size_t c = 0; c < r->scenario->conditions_count; c++)
        probes += r->scenario->conditions[c].kind == ES_COND_PROBE;
    size_t count = probes * (size_t)r->team_count;
    r->slots = es_calloc(count, sizeof *r->slots);
    r->heap = es_calloc(count, sizeof *r->heap);
    r->slot_of = es_calloc(r->scenario->conditions_count, sizeof *r->slot_of);
    if (r->slots == NULL || r->heap == NULL || r->slot_of == NULL)
        return es_err_nomem(err);
    for (size_t c = 0; c < r->scenario->conditions_count; c++) {
        const struct es_condition *condition = &r->scenario->conditions[c];
        r->slot_of[c] = condition->kind == ES_COND_PROBE ? (int)r->slot_count : -1;
        if (condition->kind != ES_COND_PROBE)
            continue;
        for (int team = 1; team <= r->team_count; team++) {
            struct probe_slot *slot = &r->slots[r->slot_count];
            /* Spread over the period, so that machines are not asked all at once. */
            int64_t phase = (int64_t)((c * 7919 + (size_t)team * 104729) % 1000);
            *slot = (struct probe_slot){.team = team, .condition = (int)c, .last = -1};
            slot->machine = observer(r, condition, team);
            slot->due_ex_ms = condition->every_ms * phase / 4000;
            r->heap[r->slot_count] = r->slot_count;
            r->slot_count++;
        }
    }
    for (size_t i = r->slot_count; i-- > 0;)
        sift_down(r, i);
    return 0;
}

void probing_finish(struct range *r)
{
    es_free(r->slots);
    es_free(r->heap);
    es_free(r->slot_of);
    r->slots = NULL;
    r->heap = NULL;
    r->slot_of = NULL;
    r->slot_count = 0;
}

struct probe_slot *probing_slot(struct range *r, int team, int condition)
{
    if (r->slot_of == NULL || condition < 0 ||
        (size_t)condition >= r->scenario->conditions_count || team < 1 ||
        team > r->team_count || r->slot_of[condition] < 0)
        return NULL;
    return &r->slots[r->slot_of[condition] + team - 1];
}

void probing_forget(struct machine *m)
{
    for (size_t i = 0; i < m->range->slot_count; i++)
        if (m->range->slots[i].machine == m)
            m->range->slots[i].in_flight = false;
}

/* ---------------------------------------------------------------- asking */

/* What a probe asks the agent, for a condition or as its cover. */
static json_t *make_look(struct range *r, int team, const struct es_probe *probe,
                         struct es_err *err)
{
    json_t *look = vars_look(r, team, probe->kind, probe->look, err);
    if (look != NULL)
        json_object_set_new(look, "kind", json_string(es_probe_kind_name(probe->kind)));
    else if (err->code == 0)
        es_err_nomem(err);
    return look;
}

static int64_t send_look(struct range *r, const struct probe_slot *slot,
                         struct es_err *err)
{
    const struct es_condition *c = slot_condition(r, slot);
    struct es_request request = {
        .op = ES_OP_PROBE, .deadline_ms = c->timeout_ms, .max_bytes = ES_WIRE_LINE_MAX};
    request.args = make_look(r, slot->team, &c->probe, err);
    request.id = machine_probe_id(slot->machine, slot->team, slot->condition);
    int64_t id = request.id;
    return request.args != NULL && es_link_send(slot->machine->link, &request, err) == 0
               ? id
               : -1;
}

/* Nobody waits for what they find. */
static void send_covers(struct range *r, const struct probe_slot *slot)
{
    const struct es_condition *c = slot_condition(r, slot);
    for (size_t i = 0; i < c->cover_count; i++) {
        struct es_err ignored = {0};
        json_t *look = make_look(r, slot->team, &c->covers[i], &ignored);
        if (look != NULL)
            machine_call(slot->machine, ES_OP_PROBE, look, c->timeout_ms,
                         ES_WIRE_LINE_MAX, NULL, NULL, &ignored);
    }
}

static void ask(struct range *r, struct probe_slot *slot)
{
    const struct machine *m = slot->machine;
    struct es_err err = {0};
    if (m == NULL || m->link == NULL || machine_state(m) != M_READY) {
        observe_unasked(r, slot, NULL);
        return;
    }
    if (slot->in_flight)
        return; /* the last look is still under way; its deadline ends it */
    int64_t id = send_look(r, slot, &err);
    if (id < 0) {
        observe_unasked(r, slot, &err);
        return;
    }
    slot->in_flight = true;
    slot->busy_id = id;
    send_covers(r, slot);
}

static void on_tick(uv_timer_t *timer)
{
    probing_tick(timer->data);
}

/* The next moment anything can happen by itself; in real milliseconds. */
static int64_t next_wait(struct range *r)
{
    int64_t due = es_score_next_due(r->score), mono_ms = core_boottime_ms();
    if (r->slot_count > 0 && !r->unlisted && r->slots[r->heap[0]].due_ex_ms < due)
        due = r->slots[r->heap[0]].due_ex_ms;
    due = steady_due(r) < due ? steady_due(r) : due;
    int64_t wait = due == INT64_MAX ? -1 : es_clock_until(&r->clock, mono_ms, due);
    if (wait >= 0 && wait < 5 && (!range_quiet(r) || r->rebuild != NULL))
        wait = 5; /* what is due waits for the commit in flight, or for the fold */
    return wait < 0 || wait > 1000 ? 1000 : wait;
}

void probing_tick(struct range *r)
{
    if (r->phase == R_LEAVING || r->score == NULL)
        return;
    if (r->clock.state == ES_CLOCK_RUNNING) {
        int64_t now = range_now_ex(r);
        while (!r->unlisted && r->slot_count > 0 &&
               r->slots[r->heap[0]].due_ex_ms <= now) {
            struct probe_slot *slot = &r->slots[r->heap[0]];
            int64_t floor_ms =
                EVERY_FLOOR_REAL_MS * (int64_t)r->clock.speed_permille / 1000;
            int64_t every = slot_condition(r, slot)->every_ms;
            slot->due_ex_ms += every > floor_ms ? every : floor_ms;
            if (slot->due_ex_ms <= now) /* missed rounds are not made up for */
                slot->due_ex_ms = now + (every > floor_ms ? every : floor_ms);
            sift_down(r, 0);
            ask(r, slot);
        }
        steady_tick(r);
        if (range_quiet(r) && core_boottime_ms() - r->last_mark_ms > MARK_EVERY_MS)
            range_mark(r);
    }
    effects_tick(r);
    range_flush(r);
    range_advance(r);
    uv_timer_start(&r->tick, on_tick, (uint64_t)next_wait(r), 0);
}
