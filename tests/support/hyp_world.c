/* See hyp_world.h. */
#include "hyp_world.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define LIMIT_MS 120000

static void fill_scenario(struct hyp_world *w)
{
    w->networks[0] = (struct es_network){
        .name = "office", .net = 0x0a140000, .prefix = 24, .gateway = -1, .dns = -1};
    w->networks[1] = (struct es_network){.name = "game",
                                         .net = 0x0a3c0000,
                                         .prefix = 16,
                                         .scope = ES_SCOPE_RANGE,
                                         .slice = 24,
                                         .gateway = -1,
                                         .dns = -1};
    w->nics[0] = (struct es_nic){.network = 0, .how = ES_NIC_AUTO};
    w->nics[1] = (struct es_nic){.network = 1, .how = ES_NIC_AUTO};
    static const char *const names[] = {"web", "pc", "judge"};
    for (int i = 0; i < 3; i++)
        w->nodes[i] = (struct es_node){.name = names[i],
                                       .recipe = "tiny",
                                       .memory_bytes = 128LL << 20,
                                       .disk_bytes = 64LL << 20,
                                       .cpus = 1,
                                       .nics = &w->nics[i == 2],
                                       .nic_count = i == 0 ? 2 : 1};
    w->nodes[2].scope = ES_SCOPE_RANGE;
    w->scenario = (struct es_scenario){.name = "drill",
                                       .networks = w->networks,
                                       .networks_count = 2,
                                       .nodes = w->nodes,
                                       .nodes_count = 3};
}

void hw_init(struct hyp_world *w)
{
    memset(w, 0, sizeof *w);
    es_wire_use_allocator(); /* as every program of ours does */
    fill_scenario(w);
    snprintf(w->dir, sizeof w->dir, "/tmp/enshu-hyp-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    ck_assert_int_eq(uv_loop_init(&w->loop), 0);
}

void hw_on_event(void *ctx, const char *machine, enum es_hyp_event event,
                 const char *detail)
{
    struct hyp_world *w = ctx;
    if (w->event_count == HW_EVENTS_MAX)
        return;
    struct hyp_world_event *e = &w->events[w->event_count++];
    e->event = event;
    snprintf(e->machine, sizeof e->machine, "%s", machine != NULL ? machine : "");
    snprintf(e->detail, sizeof e->detail, "%s", detail != NULL ? detail : "");
}

void hw_done(void *ctx, int status, const struct es_err *err)
{
    struct hyp_world *w = ctx;
    ck_assert_int_gt(w->pending, 0);
    w->pending--;
    w->status = status;
    memset(&w->err, 0, sizeof w->err);
    if (err != NULL)
        w->err = *err;
    ck_assert_int_eq(w->err.code, status);
}

static bool nothing_pending(struct hyp_world *w)
{
    return w->pending == 0;
}

static void on_limit(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle->data = NULL;
}

void hw_wait_for(struct hyp_world *w, bool (*is_true)(struct hyp_world *w))
{
    bool late = false;
    uv_timer_t timer;
    uv_timer_init(&w->loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, on_limit, LIMIT_MS, 0);
    while (!is_true(w) && !late)
        uv_run(&w->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    while (timer.data != NULL)
        uv_run(&w->loop, UV_RUN_NOWAIT);
    ck_assert_msg(!late, "the hypervisor did not answer within %d s", LIMIT_MS / 1000);
}

void hw_wait(struct hyp_world *w)
{
    hw_wait_for(w, nothing_pending);
}

bool hw_saw(struct hyp_world *w, const char *machine, enum es_hyp_event event)
{
    for (size_t i = 0; i < w->event_count; i++)
        if (strcmp(w->events[i].machine, machine) == 0 && w->events[i].event == event)
            return true;
    return false;
}

static const char *awaited_machine;
static enum es_hyp_event awaited_event;

static bool saw_awaited(struct hyp_world *w)
{
    return hw_saw(w, awaited_machine, awaited_event);
}

void hw_wait_event(struct hyp_world *w, const char *machine, enum es_hyp_event event)
{
    awaited_machine = machine;
    awaited_event = event;
    hw_wait_for(w, saw_awaited);
}

void hw_open(struct hyp_world *w, const char *uri)
{
    struct es_hyp_config config = {
        .uri = uri, .accel = "tcg", .on_event = hw_on_event, .ctx = w};
    struct es_err err = {0};
    int rc;
    snprintf(w->uri, sizeof w->uri, "%s", uri);
    w->pending++;
    rc = es_hyp_open(&w->loop, &config, hw_done, w, &w->hyp, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    hw_wait(w);
}

void hw_open_test(struct hyp_world *w, const char *node_xml)
{
    char path[96], uri[160];
    snprintf(path, sizeof path, "%s/node.xml", w->dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(node_xml, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    snprintf(uri, sizeof uri, "test://%s", path);
    hw_open(w, uri);
    ck_assert_msg(w->status == 0, "%s", w->err.msg);
}

void hw_make_plan(struct hyp_world *w, const char *range, int teams)
{
    struct es_err err = {0};
    es_plan_destroy(w->plan);
    w->plan = NULL;
    int rc = es_plan_make(&w->scenario, range, teams, false, &w->plan, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

static int remove_one(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
    (void)sb;
    (void)type;
    (void)ftw;
    return remove(path);
}

static bool is_closed(struct hyp_world *w)
{
    return w->hyp == NULL;
}

static void on_closed(void *ctx)
{
    ((struct hyp_world *)ctx)->hyp = NULL;
}

void hw_finish(struct hyp_world *w)
{
    if (w->hyp != NULL)
        es_hyp_close(w->hyp, on_closed, w);
    hw_wait_for(w, is_closed);
    es_plan_destroy(w->plan);
    es_free(w->objects);
    ck_assert_int_eq(uv_loop_close(&w->loop), 0); /* no handle is left */
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

/* ------------------------------------------------------------------ calls */

static int answer(struct hyp_world *w, int rc)
{
    if (rc != 0) {
        w->pending--;
        w->status = rc;
        es_err_set(&w->err, rc, "%s", es_status_text(rc));
    }
    hw_wait(w);
    return w->status;
}

int hw_network(struct hyp_world *w, size_t network)
{
    w->pending++;
    return answer(w, es_hyp_network_apply(w->hyp, w->plan->range,
                                          &w->plan->networks[network], hw_done, w));
}

int hw_start(struct hyp_world *w, const struct es_hyp_machine *spec)
{
    w->pending++;
    return answer(w, es_hyp_machine_start(w->hyp, spec, hw_done, w));
}

int hw_stop(struct hyp_world *w, const char *name, bool gracefully)
{
    w->pending++;
    return answer(w, es_hyp_machine_stop(w->hyp, name, gracefully, hw_done, w));
}

int hw_remove(struct hyp_world *w, const char *range)
{
    w->pending++;
    return answer(w, es_hyp_range_remove(w->hyp, range, hw_done, w));
}

static void on_list(void *ctx, int status, const struct es_hyp_object *objects,
                    size_t count, const struct es_err *err)
{
    struct hyp_world *w = ctx;
    es_free(w->objects);
    w->objects = NULL;
    w->object_count = 0;
    if (count > 0) {
        w->objects = es_calloc(count, sizeof *objects);
        if (w->objects != NULL) {
            memcpy(w->objects, objects, count * sizeof *objects);
            w->object_count = count;
        }
    }
    hw_done(w, status, err);
}

int hw_list(struct hyp_world *w, const char *range)
{
    w->pending++;
    return answer(w, es_hyp_list(w->hyp, range, on_list, w));
}

const struct es_hyp_object *hw_find(struct hyp_world *w, const char *name)
{
    for (size_t i = 0; i < w->object_count; i++)
        if (strcmp(w->objects[i].name, name) == 0)
            return &w->objects[i];
    return NULL;
}

struct es_hyp_machine hw_spec(struct hyp_world *w, int team, int node)
{
    int at = es_plan_machine_of(w->plan, team, node);
    ck_assert_int_ge(at, 0);
    return (struct es_hyp_machine){.plan = w->plan,
                                   .machine = &w->plan->machines[at],
                                   .kernel = "/images/tiny/kernel",
                                   .initrd = "/images/tiny/initrd",
                                   .cmdline = "console=ttyS0 quiet",
                                   .disk = "/range/disk.qcow2",
                                   .seed = "/range/seed.iso",
                                   .channel = "/range/agent.sock",
                                   .instance = 1};
}

#ifdef __SANITIZE_THREAD__
/* libvirt and glib are not built for the thread sanitizer: their own locking is not seen. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libvirt.so\nrace:libglib-2.0.so\nrace:libgobject-2.0.so\n"
           "mutex:libvirt.so\n";
}
#endif
