/* See core_world.h. */
#include "core_world.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../orchestrator/image/internal.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static const char *below(const struct core_world *w, const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", w->dir, name);
    return path;
}

static void make_folder(const struct core_world *w, const char *name)
{
    ck_assert_msg(mkdir(below(w, name), 0755) == 0, "%s", name);
}

/* ---------------------------------------------------------------- images that are names */

/* What a finished build leaves in the cache, so that none is made. */
static void make_image(struct core_world *w)
{
    static const char *const files[] = {"kernel", "initrd", "root.qcow2"};
    char recipes[64], cache[96], digest[DIGEST_HEX + 1], path[256], link[256];
    struct es_err err = {0};
    snprintf(recipes, sizeof recipes, "%s/recipes", w->dir);
    snprintf(cache, sizeof cache, "%s/images", w->state);
    struct es_image_config config = {.recipes_dir = recipes, .cache_dir = cache};
    struct build b = {.config = &config};
    make_folder(w, "recipes");
    make_folder(w, "recipes/fake");
    make_folder(w, "recipes/common");
    write_file(below(w, "recipes/fake/recipe.yaml"),
               "enshu-image: 1\nbase: busybox\ndisk: 16 MiB\n");
    int rc = recipe_load(&b.arena, recipes, "fake", &b.recipe, &err);
    if (rc == 0)
        rc = digest_request(&b, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(digest_result(&b, digest), 0);
    make_folder(w, "state/images");
    make_folder(w, "state/images/fake");
    snprintf(path, sizeof path, "state/images/fake/%s", digest);
    make_folder(w, path);
    for (size_t i = 0; i < ES_COUNT(files); i++) {
        snprintf(path, sizeof path, "state/images/fake/%s/%s", digest, files[i]);
        write_file(below(w, path), "not bootable\n");
    }
    json_t *manifest = json_pack("{s:s, s:s, s:s, s:i}", "name", "fake", "digest", digest,
                                 "cmdline", "console=ttyS0", "bytes", 0);
    snprintf(path, sizeof path, "state/images/fake/%s/manifest.json", digest);
    ck_assert_int_eq(json_dump_file(manifest, below(w, path), 0), 0);
    json_decref(manifest);
    snprintf(link, sizeof link, "state/images/fake/req-%s", b.request);
    ck_assert_int_eq(symlink(digest, below(w, link)), 0);
    es_arena_finish(&b.arena);
}

/* ---------------------------------------------------------------- the loop */

static void on_guard(uv_timer_t *timer)
{
    struct core_world *w = timer->data;
    ck_assert_msg(uv_now(&w->loop) < w->deadline_ms, "nothing came of it in %d s",
                  CORE_LIMIT_MS / 1000);
}

static void expect_soon(struct core_world *w)
{
    uv_update_time(&w->loop);
    w->deadline_ms = uv_now(&w->loop) + CORE_LIMIT_MS;
}

void cw_step(struct core_world *w)
{
    uv_run(&w->loop, UV_RUN_ONCE);
}

static void on_pause(uv_timer_t *timer)
{
    struct core_world *w = timer->data;
    w->paused = false;
}

void cw_pause(struct core_world *w, uint64_t ms)
{
    w->paused = true;
    expect_soon(w);
    uv_timer_start(&w->pause, on_pause, ms, 0);
    while (w->paused)
        cw_step(w);
}

/* ---------------------------------------------------------------- agents */

static json_t *on_request(void *ctx, struct simagent *sim,
                          const struct es_request *request)
{
    struct core_agent *agent = ctx;
    if (request->op == ES_OP_EXEC) {
        agent->execs++;
        return json_pack("{s:i, s:s, s:s}", "exit", 0, "stdout", "aGk=", "stderr", "");
    }
    agent->personalised += request->op == ES_OP_PERSONALISE;
    if (request->op == ES_OP_PERSONALISE && agent->world->forks)
        simagent_restart(sim);
    if (request->op != ES_OP_PROBE)
        return json_pack("{s:b}", "sim", 1);
    if (agent->world->on_probe != NULL)
        agent->world->on_probe(agent, request->args);
    agent->probe_id = request->id;
    agent->probes++;
    for (int i = 0; i <= agent->extra; i++) {
        if (agent->world->on_told != NULL)
            agent->world->on_told(agent, simagent_counts(sim)->last_seq + 1);
        if (i < agent->extra)
            simagent_emit(sim, request->id, json_pack("{s:b}", "exists", agent->exists));
    }
    return json_pack("{s:b}", "exists", agent->exists);
}

static void on_acked(void *ctx, struct simagent *sim, const char *epoch, int64_t seq,
                     uint64_t waited_us)
{
    struct core_agent *agent = ctx;
    (void)sim;
    (void)epoch;
    (void)waited_us;
    if (agent->world->on_ack != NULL)
        agent->world->on_ack(agent, seq);
}

void cw_agents(struct core_world *w, bool exists)
{
    char path[128];
    for (size_t i = 0; i < w->plan->machine_count; i++) {
        struct core_agent *agent = &w->agents[i];
        if (w->plan->machines[i].team == 0)
            continue;
        if (agent->sim != NULL)
            simagent_close(agent->sim);
        int rc;
        snprintf(path, sizeof path, "%s/s/%.8s.%zu", w->state, w->plan->machines[0].uuid,
                 i);
        agent->exists = exists;
        agent->sim = simagent_create(&w->loop, path, &rc);
        ck_assert_msg(agent->sim != NULL, "%s: %s", path, uv_strerror(rc));
        simagent_on_request(agent->sim, on_request, agent);
        simagent_on_acked(agent->sim, on_acked, agent);
    }
}

struct core_agent *cw_agent(struct core_world *w, int team, const char *node)
{
    int index = es_plan_machine_of(w->plan, team, es_scenario_node(w->scenario, node));
    ck_assert_int_ge(index, 0);
    return &w->agents[index];
}

/* ---------------------------------------------------------------- opening, closing */

static void load(struct core_world *w, int teams)
{
    struct es_diags *diags = calloc(1, sizeof *diags);
    struct es_err err = {0};
    int rc = es_scenario_load(w->file, diags, &w->scenario, &err);
    ck_assert_msg(rc == 0, "%s %s %s", err.msg,
                  diags->count > 0 ? diags->items[0].path : "",
                  diags->count > 0 ? diags->items[0].text : "");
    es_diags_finish(diags);
    free(diags);
    rc = es_plan_make(w->scenario, CORE_RANGE, teams, true, &w->plan, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    w->agents = calloc(w->plan->machine_count, sizeof *w->agents);
    ck_assert_ptr_nonnull(w->agents);
    for (size_t i = 0; i < w->plan->machine_count; i++)
        w->agents[i] = (struct core_agent){
            .world = w, .index = (int)i, .plan = &w->plan->machines[i]};
}

void cw_write_node(struct core_world *w, const char *objects)
{
    char *text = NULL;
    ck_assert_int_gt(asprintf(&text, "<node><memory>67108864</memory>%s</node>", objects),
                     0);
    write_file(below(w, "node.xml"), text);
    free(text);
}

void cw_machines_run(struct core_world *w)
{
    struct es_buf text;
    char one[512];
    es_buf_init(&text, 1U << 20);
    for (size_t i = 0; i < w->plan->machine_count; i++) {
        const struct es_plan_machine *m = &w->plan->machines[i];
        if (m->team == 0)
            continue;
        snprintf(
            one, sizeof one,
            "<domain type='test'><name>%s</name><uuid>%s</uuid><memory>65536</memory>"
            "<metadata><enshu:object xmlns:enshu='https://enshu.org/libvirt/1' "
            "range='" CORE_RANGE "' team='%d' node='%s' kind='machine' hash='0' "
            "instance='1'/></metadata><os><type>hvm</type></os></domain>",
            m->name, m->uuid, m->team, w->scenario->nodes[m->node].name);
        ck_assert_int_eq(es_buf_puts(&text, one), 0);
    }
    cw_write_node(w, es_buf_str(&text));
    es_buf_finish(&text);
}

void cw_open(struct core_world *w, const char *scenario, int teams)
{
    memset(w, 0, sizeof *w);
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(uv_loop_init(&w->loop), 0);
    /* A socket's path is short; memory spares the disk, unless it is what is measured. */
    const char *chosen = getenv("ENSHU_CORE_DIR");
    snprintf(w->dir, sizeof w->dir, "%s/enshu-core-XXXXXX",
             chosen != NULL                  ? chosen
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    snprintf(w->state, sizeof w->state, "%s/state", w->dir);
    snprintf(w->socket, sizeof w->socket, "%s/sock", w->dir);
    snprintf(w->uri, sizeof w->uri, "test://%s/node.xml", w->dir);
    snprintf(w->file, sizeof w->file, "%s/scenario/scenario.yaml", w->dir);
    make_folder(w, "state");
    make_folder(w, "state/s");
    make_folder(w, "scenario");
    write_file(w->file, scenario);
    write_file(below(w, "agent"), "not an agent\n");
    cw_write_node(w, "");
    make_image(w);
    load(w, teams);
    uv_timer_init(&w->loop, &w->guard);
    uv_timer_init(&w->loop, &w->pause);
    w->guard.data = w->pause.data = w;
    uv_timer_start(&w->guard, on_guard, 100, 100);
}

static int on_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void cw_close(struct core_world *w)
{
    ck_assert_msg(w->pid == 0 && w->core == NULL, "the core still runs");
    for (size_t i = 0; i < w->plan->machine_count; i++)
        if (w->agents[i].sim != NULL)
            simagent_close(w->agents[i].sim);
    uv_close((uv_handle_t *)&w->guard, NULL);
    uv_close((uv_handle_t *)&w->pause, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&w->loop), 0);
    es_plan_destroy(w->plan);
    es_scenario_destroy(w->scenario);
    json_decref(w->result);
    json_decref(w->aside_result);
    json_decref(w->progress);
    if (w->account != NULL)
        w->account_end(w);
    free(w->agents);
    nftw(w->dir, on_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---------------------------------------------------------------- the program */

static void on_out_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
    static char bytes[4096];
    (void)handle;
    (void)wanted;
    *ret_buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_out_closed(uv_handle_t *handle)
{
    struct core_world *w = handle->data;
    w->out_open = false;
}

static void on_out(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct core_world *w = stream->data;
    if (count < 0) {
        uv_read_stop(stream);
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, on_out_closed);
    } else if (count > 0 && memmem(buf->base, (size_t)count, "ready on", 8) != NULL)
        w->is_ready = true;
}

void cw_exec(struct core_world *w, int out)
{
    const char *bin = getenv("ENSHU_BIN");
    char path[1024], recipes[64], agent[64], log[64];
    snprintf(path, sizeof path, "%s/enshud", bin != NULL ? bin : "");
    snprintf(recipes, sizeof recipes, "%s/recipes", w->dir);
    snprintf(agent, sizeof agent, "%s/agent", w->dir);
    /* A test that fails does not get to ending it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(log, sizeof log, "%s/core.log", w->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(out, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execl(path, path, "--state", w->state, "--uri", w->uri, "--accel", "tcg", "--recipes",
          recipes, "--agent", agent, "--socket", w->socket, (char *)NULL);
    fprintf(stderr, "cannot run %s\n", path);
    _exit(127);
}

/* What the program said last, for a test that fails. */
static const char *last_words(const struct core_world *w)
{
    static char text[4096];
    FILE *file = fopen(below(w, "core.log"), "r");
    if (file == NULL)
        return "nothing";
    if (fseek(file, -(long)sizeof text + 1, SEEK_END) != 0)
        rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

void cw_start(struct core_world *w)
{
    int fds[2];
    while (w->out_open) /* of the one before */
        cw_step(w);
    ck_assert_int_eq(pipe(fds), 0);
    w->pid = fork();
    ck_assert_int_ge(w->pid, 0);
    if (w->pid == 0)
        cw_exec(w, fds[1]);
    close(fds[1]);
    w->is_ready = false;
    uv_pipe_init(&w->loop, &w->out, 0);
    w->out.data = w;
    w->out_open = true;
    ck_assert_int_eq(uv_pipe_open(&w->out, fds[0]), 0);
    uv_read_start((uv_stream_t *)&w->out, on_out_alloc, on_out);
    expect_soon(w);
    while (!w->is_ready) {
        ck_assert_msg(w->out_open, "enshud ended before it was ready: %s", last_words(w));
        cw_step(w);
    }
    cw_connect(w);
}

void cw_kill(struct core_world *w)
{
    int status;
    ck_assert_int_gt(w->pid, 0);
    ck_assert_int_eq(kill(w->pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(w->pid, &status, 0), w->pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "enshud had ended by itself: status %x", (unsigned)status);
    w->pid = 0;
    cw_disconnect(w);
}

/* ---------------------------------------------------------------- the rooms alone */

static void on_core_ready(void *ctx, int status, const struct es_err *err)
{
    struct core_world *w = ctx;
    w->is_ready = true;
    w->core_status = status;
    if (status != 0)
        w->err = *err;
}

static void on_core_shutdown(void *ctx)
{
    (void)ctx;
}

void cw_start_here(struct core_world *w)
{
    char recipes[64], agent[64];
    snprintf(recipes, sizeof recipes, "%s/recipes", w->dir);
    snprintf(agent, sizeof agent, "%s/agent", w->dir);
    struct es_range_config config = {.state_dir = w->state,
                                     .uri = w->uri,
                                     .accel = "tcg",
                                     .recipes_dir = recipes,
                                     .agent_path = agent,
                                     .root = w->root,
                                     .look_ms = w->look_ms};
    w->is_ready = false;
    int rc = es_range_core_create(&w->loop, &config, on_core_ready, on_core_shutdown, w,
                                  &w->core, &w->err);
    ck_assert_msg(rc == 0, "%s", w->err.msg);
    expect_soon(w);
    while (!w->is_ready)
        cw_step(w);
    ck_assert_msg(w->core_status == 0, "%s", w->err.msg);
    rc = es_control_create(&w->loop, w->core, w->socket, &w->control, &w->err);
    ck_assert_msg(rc == 0, "%s", w->err.msg);
    cw_connect(w);
}

static void on_closed_one(void *ctx)
{
    struct core_world *w = ctx;
    w->closing--;
}

void cw_end(struct core_world *w)
{
    int status;
    cw_disconnect(w);
    expect_soon(w);
    if (w->core != NULL) {
        w->closing = 1;
        es_control_close(w->control, on_closed_one, w);
        while (w->closing > 0)
            cw_step(w);
        w->closing = 1;
        es_range_core_close(w->core, on_closed_one, w);
        while (w->closing > 0)
            cw_step(w);
        w->core = NULL;
        return;
    }
    ck_assert_int_eq(kill(w->pid, SIGTERM), 0);
    while (w->out_open)
        cw_step(w);
    ck_assert_int_eq(waitpid(w->pid, &status, 0), w->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "enshud: status %x: %s",
                  (unsigned)status, last_words(w));
    w->pid = 0;
}

/* ---------------------------------------------------------------- calls */

static void on_progress(void *ctx, int64_t id, const json_t *event)
{
    struct core_world *w = ctx;
    if (id == w->call_id)
        json_array_append_new(w->progress, json_deep_copy(event));
}

static void on_answer(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err)
{
    struct core_world *w = ctx;
    if (id == w->aside_id) {
        w->aside_answered = true;
        json_decref(w->aside_result);
        w->aside_result = result != NULL ? json_deep_copy(result) : NULL;
    }
    if (id != w->call_id)
        return;
    w->answered = true;
    w->err = (struct es_err){0};
    if (err != NULL && err->code != 0)
        w->err = *err;
    json_decref(w->result);
    w->result = result != NULL ? json_deep_copy(result) : NULL;
}

static void on_client_closed(void *ctx, const struct es_err *why)
{
    struct core_world *w = ctx;
    (void)why;
    w->client_lost = true;
}

void cw_connect(struct core_world *w)
{
    static const struct es_client_events events = {.on_progress = on_progress,
                                                   .on_answer = on_answer,
                                                   .on_closed = on_client_closed};
    w->client_lost = false;
    int rc = es_client_connect(&w->loop, w->socket, &events, w, &w->client, &w->err);
    ck_assert_msg(rc == 0, "%s", w->err.msg);
}

void cw_disconnect(struct core_world *w)
{
    if (w->client == NULL)
        return;
    w->closing = 1;
    expect_soon(w);
    es_client_close(w->client, on_closed_one, w);
    w->client = NULL;
    while (w->closing > 0)
        cw_step(w);
}

static void begin(struct core_world *w, const char *method, json_t *params)
{
    json_decref(w->progress);
    w->progress = json_array();
    w->answered = false;
    expect_soon(w);
    int rc = es_client_call(w->client, method, params, &w->call_id, &w->err);
    ck_assert_msg(rc == 0, "%s: %s", method, w->err.msg);
}

static json_t *for_range(json_t *params)
{
    if (params == NULL)
        params = json_object();
    if (json_object_get(params, "range") == NULL)
        json_object_set_new(params, "range", json_string(CORE_RANGE));
    return params;
}

void cw_begin(struct core_world *w, const char *method, json_t *params)
{
    begin(w, method, for_range(params));
}

void cw_aside(struct core_world *w, const char *method, json_t *params)
{
    cw_begin(w, method, params);
    w->aside_id = w->call_id;
    w->aside_answered = false;
}

static int call(struct core_world *w, const char *method, json_t *params)
{
    begin(w, method, params);
    while (!w->answered) {
        ck_assert_msg(!w->client_lost, "%s: the core went away: %s", method,
                      last_words(w));
        cw_step(w);
    }
    return w->err.code;
}

int cw_try(struct core_world *w, const char *method, json_t *params)
{
    return call(w, method, for_range(params));
}

int cw_try_bare(struct core_world *w, const char *method)
{
    return call(w, method, NULL);
}

json_t *cw_call(struct core_world *w, const char *method, json_t *params)
{
    int rc = cw_try(w, method, params);
    ck_assert_msg(rc == 0, "%s: %s", method, w->err.msg);
    return w->result;
}

int cw_up(struct core_world *w)
{
    return cw_try(w, "up",
                  json_pack("{s:s, s:i}", "file", w->file, "teams", w->plan->team_count));
}

void cw_until(struct core_world *w, bool (*is_true)(const json_t *range, void *ctx),
              void *ctx)
{
    uint64_t limit = uv_now(&w->loop) + CORE_LIMIT_MS;
    for (;;) {
        json_t *ranges = json_object_get(cw_call(w, "status", NULL), "ranges");
        if (is_true(json_array_get(ranges, 0), ctx))
            return;
        if (uv_now(&w->loop) > limit) {
            char *text = json_dumps(json_array_get(ranges, 0), JSON_COMPACT);
            ck_abort_msg("it did not come true: %.4000s", text);
        }
        cw_pause(w, 50);
    }
}

const json_t *cw_named(const json_t *range, int team, const char *list, const char *name)
{
    const json_t *items = json_object_get(
        json_array_get(json_object_get(range, "teams"), (size_t)team - 1), list);
    for (size_t i = 0; i < json_array_size(items); i++)
        if (es_str_eq(
                json_string_value(json_object_get(json_array_get(items, i), "name")),
                name))
            return json_array_get(items, i);
    return NULL;
}

json_t *cw_events(struct core_world *w)
{
    json_t *events = json_array();
    json_int_t told = -1;
    size_t i;
    json_t *item;
    cw_call(w, "ledger.export", NULL);
    json_array_foreach (w->progress, i, item) {
        json_t *event =
            json_loads(json_string_value(json_object_get(item, "line")), 0, NULL);
        ck_assert_ptr_nonnull(event);
        if (json_object_get(event, "pos") != NULL)
            json_array_append(events, event);
        else if (json_is_true(json_object_get(event, "end")))
            told = json_integer_value(json_object_get(event, "events"));
        json_decref(event);
    }
    ck_assert_int_eq((json_int_t)json_array_size(events), told);
    return events;
}

size_t cw_count(const json_t *events, const char *name, json_int_t a)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        n += es_str_eq(json_string_value(json_object_get(event, "name")), name) &&
             (a < 0 || json_integer_value(json_object_get(event, "a")) == a);
    }
    return n;
}

void cw_assert_rescore(struct core_world *w)
{
    int rc = cw_try(w, "rescore", NULL); /* it waits for a commit in flight itself */
    ck_assert_msg(rc == 0, "rescore: %s", w->err.msg);
    ck_assert_msg(json_is_true(json_object_get(w->result, "equal")),
                  "the ledger's score is not the live one");
}
