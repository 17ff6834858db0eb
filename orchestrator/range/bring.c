/* `up`: from a file to machines that are ready. Images and moulds first, each once; then
 * all machines at a time, as many booting as the host carries. Called again for a range
 * that stands half, it drives only what is missing. */
#include <stdatomic.h>
#include <string.h>

#include "capacity.h"
#include "fanout.h"
#include "inner.h"
#include "moulds.h"

struct bring {
    struct range *range;
    struct bring_request request;
    size_t waiting;      /* machines not yet settled */
    struct es_err first; /* the first failure */
    size_t failures;
    bool mould_phase;
    struct fanout fanout;
    size_t held;        /* calls and jobs that will come back here */
    bool left;          /* the range ends; answered */
    atomic_bool cancel; /* for the images' worker */
};

static void begin_moulds(struct bring *b);
static void begin_freeze(struct bring *b);
static void begin_teams(struct bring *b);

static void tell(struct bring *b, json_t *event)
{
    if (b->request.progress != NULL)
        b->request.progress(event, b->request.arg);
    else
        json_decref(event);
}

static void tell_step(struct bring *b, const char *step, const char *text)
{
    tell(b, json_pack("{s:s, s:s}", "step", step, "text", text));
}

void bring_machine_progress(struct machine *m)
{
    struct bring *b = m->range->bring;
    if (b == NULL)
        return;
    if (fanout_tells(m))
        tell(b, machine_progress_json(m));
    json_t *summary = fanout_summary(&b->fanout, b->range);
    if (summary != NULL)
        tell(b, summary);
}

static void free_bring(struct bring *b)
{
    es_free(b);
}

static void hold(struct bring *b)
{
    b->held++;
    range_hold(b->range);
}

/* True when nobody waits any more. */
static bool release(struct bring *b)
{
    struct range *r = b->range;
    bool left = b->left;
    if (--b->held == 0 && left)
        free_bring(b);
    return range_release(r) || left;
}

static void tell_aborted(struct range *r)
{
    void (*then)(struct range *, void *) = r->on_aborted;
    r->aborting = false;
    r->on_aborted = NULL;
    if (then != NULL)
        then(r, r->aborted_arg);
}

void bring_cancel(struct range *r)
{
    struct bring *b = r->bring;
    struct es_err err = {0};
    if (b == NULL)
        return;
    r->bring = NULL;
    b->left = true;
    atomic_store(&b->cancel, true);
    for (size_t i = 0; i < r->machine_count; i++)
        r->machines[i].on_settled = NULL;
    es_err_set(&err, ES_ECANCELED, "range %s: the core ends; repeat it to go on",
               r->name);
    b->request.done(r, err.code, &err, b->request.arg);
    b->request.progress = NULL;
    if (b->held == 0)
        free_bring(b);
    tell_aborted(r);
}

static void finish(struct bring *b, int status, const struct es_err *err)
{
    struct range *r = b->range;
    struct es_err given_up = {0};
    if (r->aborting && status == 0) {
        status = es_err_set(&given_up, ES_ECANCELED, "range %s is taken down", r->name);
        err = &given_up;
    }
    r->bring = NULL;
    r->phase = status == 0 ? R_UP : R_FAILED;
    range_changed(r);
    ES_ASSERT(b->held == 0);
    b->request.done(r, status, err, b->request.arg);
    free_bring(b);
    tell_aborted(r);
}

/* Asked between its parts; then `b` is gone. */
static bool is_given_up(struct bring *b)
{
    bool given_up = b->range->aborting;
    if (given_up)
        finish(b, 0, NULL);
    return given_up;
}

void bring_abort(struct range *r, void (*then)(struct range *r, void *arg), void *arg)
{
    struct es_err err = {0};
    ES_ASSERT(r->bring != NULL && r->on_aborted == NULL);
    r->aborting = true;
    r->on_aborted = then;
    r->aborted_arg = arg;
    atomic_store(&r->bring->cancel, true);
    es_err_set(&err, ES_ECANCELED, "its range is taken down");
    for (size_t i = 0; i < r->machine_count && r->bring != NULL; i++)
        machine_abort(&r->machines[i], &err);
    if (r->awaits_freeze && r->bring != NULL) {
        r->awaits_freeze = false;
        finish(r->bring, 0, NULL);
    }
}

static void on_settled(struct machine *m, bool ok, const struct es_err *err)
{
    struct bring *b = m->settled_arg;
    if (!ok) {
        if (b->failures++ == 0)
            b->first = *err;
    }
    ES_ASSERT(b->waiting > 0);
    if (--b->waiting > 0)
        return;
    if (b->failures > 0) {
        struct es_err all = b->first;
        if (b->failures > 1)
            es_err_prefix(&all, "%zu machines failed; the first", b->failures);
        finish(b, all.code, &all);
    } else if (b->mould_phase)
        begin_freeze(b);
    else
        finish(b, 0, NULL);
}

/* ---------------------------------------------------------------- machines */

static bool wants_setup(const struct machine *m)
{
    return m->mould && m->node->setup_count > 0 && !mould_known(m->range, m->plan->node);
}

/* To be set up, or to be frozen. */
static bool moulds_come_up(const struct range *r)
{
    char why[200];
    for (size_t i = 0; i < r->machine_count; i++)
        if (wants_setup(&r->machines[i]))
            return true;
    return r->no_fork[0] == '\0' && !frozen_stands(r, why, sizeof why);
}

static void bring_machines(struct bring *b, bool mould)
{
    struct range *r = b->range;
    b->mould_phase = mould;
    fanout_begin(&b->fanout, r, mould);
    b->waiting = 1;
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        enum machine_state state = machine_state(m);
        if (m->mould != mould || state == M_READY || (mould && !wants_setup(m)))
            continue;
        b->waiting++;
        m->on_settled = mould ? mould_settled : on_settled;
        m->settled_arg = b;
        if (state == M_PLANNED || state == M_FAILED || state == M_DOWN ||
            state == M_FAULT)
            machine_bring_up(m);
    }
    if (--b->waiting == 0) {
        if (mould)
            begin_freeze(b);
        else
            finish(b, 0, NULL);
    }
}

/* ---------------------------------------------------------------- the ladder: fork, boot */

static void on_frozen(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct bring *b = arg;
    if (status != 0 && (r->mode == MODE_FORK || status == ES_ECONN)) {
        finish(b, status, err);
        return;
    }
    if (status != 0) {
        es_str_printf(r->no_fork, sizeof r->no_fork, "%s", err->msg);
        tell_step(b, "fork", "the moulds could not be frozen; machines are booted:");
        tell_step(b, "fork", r->no_fork);
    }
    begin_teams(b);
}

static void begin_freeze(struct bring *b)
{
    struct range *r = b->range;
    char why[200], user[ES_NAME_MAX + 1];
    struct es_err err = {0};
    if (is_given_up(b))
        return;
    if (r->no_fork[0] != '\0' || frozen_stands(r, why, sizeof why)) {
        begin_teams(b);
        return;
    }
    if (ladder_freezes_elsewhere(r)) {
        tell_step(b, "freeze", "waiting for another range that freezes the same moulds");
        r->awaits_freeze = true;
        return;
    }
    if (moulds_used(r->core, r->frozen_key, user))
        es_err_set(&err, ES_EBUSY,
                   "%s, and range %s stands on them; take that down first", why, user);
    if (err.code != 0 || ladder_room(r, &err) != 0) {
        on_frozen(r, err.code, &err, b);
        return;
    }
    tell_step(b, "freeze", "booting and freezing the moulds, once");
    freeze_begin(r, on_frozen, b);
}

void bring_freeze_ended(struct es_range_core *core)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        bool awaits = r->awaits_freeze && r->bring != NULL;
        r->awaits_freeze = false;
        if (awaits) /* and waits on, if it was not that one */
            begin_freeze(r->bring);
    }
}

static void begin_teams(struct bring *b)
{
    struct es_err err = {0};
    if (is_given_up(b))
        return;
    if (b->request.moulds_only) {
        finish(b, 0, NULL);
        return;
    }
    if (images_keep(b->range, &err) != 0) {
        finish(b, err.code, &err);
        return;
    }
    tell_step(b, "machines",
              b->range->no_fork[0] == '\0' ? "forking the teams' machines"
                                           : "booting the teams' machines");
    bring_machines(b, false);
}

void bring_mould_done(void *arg, struct machine *m, bool ok, const struct es_err *err)
{
    m->settled_arg = arg;
    on_settled(m, ok, err);
}

static void begin_moulds(struct bring *b)
{
    struct range *r = b->range;
    size_t needed = 0;
    for (size_t i = 0; i < r->machine_count; i++)
        needed += wants_setup(&r->machines[i]);
    if (needed > 0) {
        char text[96];
        es_str_printf(text, sizeof text, "setting up %zu mould machine%s, once", needed,
                      needed == 1 ? "" : "s");
        tell_step(b, "mould", text);
    }
    bring_machines(b, true);
}

static void on_ground(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct bring *b = arg;
    (void)r;
    if (release(b) || is_given_up(b))
        return;
    if (status != 0)
        finish(b, status, err);
    else
        begin_moulds(b);
}

static void on_found_line(const char *line, void *arg)
{
    tell_step(arg, "images", line);
}

static void on_found(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct bring *b = arg;
    if (release(b) || is_given_up(b))
        return;
    if (status != 0) {
        finish(b, status, err);
        return;
    }
    if (es_str_eq(r->accel, "tcg"))
        tell_step(b, "accelerator",
                  "no KVM: machines run on TCG, slower, and TCG is no security boundary");
    mould_disks(r);
    tell_step(b, "networks", "making networks");
    hold(b);
    ground_apply(r, moulds_come_up(r), on_ground, b);
}

static void begin_images(struct bring *b)
{
    tell_step(b, "images", "looking for images");
    hold(b);
    find_begin(b->range, &b->cancel, on_found_line, on_found, b);
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *info_err)
{
    struct bring *b = ctx;
    struct range *r = b->range;
    struct es_err err = {0};
    char text[256];
    if (release(b) || is_given_up(b))
        return;
    if (status != 0) {
        finish(b, status, info_err);
        return;
    }
    r->core->info = *info;
    ladder_choose(r);
    if (r->mode == MODE_FORK && r->no_fork[0] != '\0') {
        es_err_set(&err, ES_ENOTSUP, "machines cannot be forked here: %s", r->no_fork);
        finish(b, err.code, &err);
        return;
    }
    if (capacity_fits(r, text, sizeof text, &err) != 0) {
        finish(b, err.code, &err);
        return;
    }
    tell_step(b, "capacity", text);
    begin_images(b);
}

/* ---------------------------------------------------------------- the request */

static void on_loaded(struct es_range_core *core, const struct bring_request *request,
                      struct range *r, int status, const struct es_err *load_err)
{
    struct es_err err = status != 0 ? *load_err : (struct es_err){0};
    struct bring *b = status == 0 ? es_calloc(1, sizeof *b) : NULL;
    if (b == NULL) {
        if (status == 0) {
            r->phase = r->phase == R_UP ? R_UP : R_FAILED;
            es_err_nomem(&err);
        }
        request->done(NULL, err.code, &err, request->arg);
        return;
    }
    b->range = r;
    b->request = *request;
    b->request.file = b->request.name = b->request.accel = NULL; /* not ours to keep */
    es_str_printf(r->accel, sizeof r->accel, "%s",
                  request->accel != NULL ? request->accel : core->accel);
    r->mode = request->mode;
    r->bring = b;
    r->phase = R_BRINGING;
    hold(b);
    if (es_hyp_info(core->hyp, on_info, b) != 0) {
        release(b);
        es_err_nomem(&err);
        finish(b, err.code, &err);
    }
}

void bring_up(struct es_range_core *core, const struct bring_request *request)
{
    struct es_err err = {0};
    if (!core->hyp_up) {
        es_err_set(&err, ES_ECONN,
                   "libvirt at %s does not answer; `enshu doctor` says why", core->uri);
        request->done(NULL, err.code, &err, request->arg);
        return;
    }
    load_scenario(core, request, on_loaded);
}
