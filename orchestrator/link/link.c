/* The life of a link. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "enshu/common/mem.h"
#include "link_inner.h"

const struct es_link_times es_link_times_default = {
    .sync_ms = 15000,
    .silent_ms = 75000,
    .slack_ms = 3000,
    .backoff_min_ms = 100,
    .backoff_max_ms = 5000,
    .refused_max_ms = 1000,
    .stable_ms = 10000,
};

#define TO(name) ES_SM_TO(ES_LINK_##name)
static const struct es_sm_state states[] = {
    [ES_LINK_IDLE] = {"IDLE", TO(CONNECTING) | TO(CLOSING)},
    [ES_LINK_CONNECTING] = {"CONNECTING", TO(SYNCING) | TO(BACKOFF) | TO(CLOSING)},
    [ES_LINK_SYNCING] = {"SYNCING", TO(UP) | TO(BACKOFF) | TO(CLOSING)},
    [ES_LINK_UP] = {"UP", TO(BACKOFF) | TO(CLOSING)},
    [ES_LINK_BACKOFF] = {"BACKOFF", TO(CONNECTING) | TO(CLOSING)},
    [ES_LINK_CLOSING] = {"CLOSING", TO(CLOSED)},
    [ES_LINK_CLOSED] = {"CLOSED", 0},
};

const char *es_link_state_name(enum es_link_state state)
{
    ES_ASSERT((size_t)state < ES_COUNT(states));
    return states[state].name;
}

enum es_link_state es_link_state(const struct es_link *link)
{
    return (enum es_link_state)es_sm_state(&link->sm);
}

uint64_t es_link_last_heard_ms(const struct es_link *link)
{
    return link->heard_ms;
}

const char *es_link_name(const struct es_link *link)
{
    return link->name;
}

/* Tells the user; check es_link_alive afterwards. */
static void move(struct es_link *link, enum es_link_state to, const struct es_err *why)
{
    es_sm_move(&link->sm, (int)to);
    if (link->events->on_state != NULL)
        link->events->on_state(link->ctx, link, to,
                               to == ES_LINK_UP ? &link->hello : NULL, why);
}

/* ------------------------------------------------------------------ closing */

static void destroy(struct es_link *link)
{
    if (link == NULL)
        return;
    es_link_requests_finish(link);
    es_lines_finish(&link->lines);
    es_buf_finish(&link->out);
    es_free(link->name);
    es_free(link->path);
    es_free(link);
}

static void maybe_closed(struct es_link *link)
{
    ES_ASSERT(link->handles >= 0);
    if (!link->closing || link->handles != 0)
        return;
    ES_ASSERT(!link->writing && !link->pipe_open);
    void (*on_closed)(void *) = link->on_closed;
    void *ctx = link->ctx;
    es_sm_move(&link->sm, ES_LINK_CLOSED);
    destroy(link);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct es_link *link = handle->data;
    link->handles--;
    maybe_closed(link);
}

static void close_pipe(struct es_link *link)
{
    if (!link->pipe_open)
        return;
    link->pipe_open = false;
    uv_close((uv_handle_t *)&link->pipe, on_handle_closed);
}

void es_link_close(struct es_link *link, void (*on_closed)(void *ctx))
{
    ES_ASSERT(!link->closing);
    link->closing = true;
    link->on_closed = on_closed;
    es_sm_move(&link->sm, ES_LINK_CLOSING);
    close_pipe(link);
    uv_close((uv_handle_t *)&link->state_timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->due_timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->throttle_timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->flush, on_handle_closed);
}

/* ------------------------------------------------------------------ connecting */

static uint32_t random_below(uint32_t limit)
{
    uint32_t r = 0;
    /* Without randomness the jitter is none; nothing else depends on it. */
    if (limit == 0 || uv_random(NULL, NULL, &r, sizeof r, 0, NULL) != 0)
        return 0;
    return r % limit;
}

static uint32_t backoff_ms(struct es_link *link, bool refused)
{
    uint32_t max = refused ? link->times.refused_max_ms : link->times.backoff_max_ms;
    uint32_t ms = link->times.backoff_min_ms;
    for (unsigned i = 0; i < link->failures && ms < max; i++)
        ms *= 2;
    if (ms > max)
        ms = max;
    if (link->failures < 31)
        link->failures++;
    return ms / 2 + random_below(ms / 2 + 1);
}

static void on_backoff_over(uv_timer_t *timer);

void es_link_drop(struct es_link *link, const struct es_err *why)
{
    ES_ASSERT(!link->closing && why->code != 0);
    enum es_link_state from = es_link_state(link);
    uint64_t now = uv_now(link->loop);
    if (from == ES_LINK_UP && now - link->up_since_ms >= link->times.stable_ms)
        link->failures = 0;
    close_pipe(link);
    uv_timer_stop(&link->throttle_timer);
    uv_prepare_stop(&link->flush);
    es_link_read_forget(link);
    uv_timer_start(&link->state_timer, on_backoff_over,
                   backoff_ms(link, from == ES_LINK_CONNECTING), 0);
    move(link, ES_LINK_BACKOFF, why);
}

static void drop_uv(struct es_link *link, const char *what, int uv_status)
{
    struct es_err why = {0};
    es_err_set(&why, ES_ECONN, "%s: %s %s: %s", link->name, what, link->path,
               uv_strerror(uv_status));
    es_link_drop(link, &why);
}

static void on_sync_late(uv_timer_t *timer)
{
    struct es_link *link = timer->data;
    struct es_err why = {0};
    es_err_set(&why, ES_ETIMEDOUT, "%s: no agent answered within %u ms", link->name,
               link->times.sync_ms);
    es_link_drop(link, &why);
}

static int make_nonce(struct es_link *link)
{
    unsigned char bytes[(sizeof link->nonce - 1) / 2];
    int rc = uv_random(NULL, NULL, bytes, sizeof bytes, 0, NULL);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(link->nonce + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct es_link *link = connect->data;
    if (!es_link_alive(link))
        return;
    if (status == 0)
        status = make_nonce(link);
    if (status != 0) {
        drop_uv(link, "cannot connect to", status);
        return;
    }
    es_buf_clear(&link->out);
    int rc = es_buf_putc(&link->out, '\n');
    if (rc == 0)
        rc = es_wire_put_sync(&link->out, link->nonce, NULL);
    if (rc != 0 || (rc = es_link_read_start(link)) != 0) {
        struct es_err why = {0};
        es_err_set(&why, rc, "%s: cannot read from %s: %s", link->name, link->path,
                   es_status_text(rc));
        es_link_drop(link, &why);
        return;
    }
    uv_timer_start(&link->state_timer, on_sync_late, link->times.sync_ms, 0);
    move(link, ES_LINK_SYNCING, NULL);
    if (es_link_alive(link))
        es_link_write_out(link);
}

static void connect_now(struct es_link *link)
{
    ES_ASSERT(!link->pipe_open && !link->writing);
    int rc = uv_pipe_init(link->loop, &link->pipe, 0);
    ES_ASSERT(rc == 0); /* cannot fail without IPC */
    link->pipe.data = link;
    link->connect.data = link;
    link->pipe_open = true;
    link->handles++;
    uv_pipe_connect(&link->connect, &link->pipe, link->path, on_connected);
    move(link, ES_LINK_CONNECTING, NULL);
}

static void on_backoff_over(uv_timer_t *timer)
{
    struct es_link *link = timer->data;
    /* The pipe of before is closed within a loop iteration; a back-off of no time at all
     * could still come first. */
    if (uv_is_closing((uv_handle_t *)&link->pipe) && link->handles > 4)
        uv_timer_start(timer, on_backoff_over, 1, 0);
    else
        connect_now(link);
}

static void on_silence(uv_timer_t *timer)
{
    struct es_link *link = timer->data;
    uint64_t silent = uv_now(link->loop) - link->heard_ms;
    if (silent < link->times.silent_ms) {
        uv_timer_start(timer, on_silence, link->times.silent_ms - silent, 0);
        return;
    }
    struct es_err why = {0};
    es_err_set(&why, ES_ETIMEDOUT, "%s: the agent has been silent for %llu ms",
               link->name, (unsigned long long)silent);
    es_link_drop(link, &why);
}

void es_link_came_up(struct es_link *link, const struct es_hello *hello)
{
    link->hello = *hello;
    link->up_since_ms = uv_now(link->loop);
    uv_timer_start(&link->state_timer, on_silence, link->times.silent_ms, 0);
    es_link_requests_renew(link);
    move(link, ES_LINK_UP, NULL);
    if (es_link_alive(link))
        es_link_requests_lost(link);
    if (es_link_alive(link))
        es_link_wants_flush(link);
}

/* ------------------------------------------------------------------ birth */

static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        action.sa_handler = SIG_IGN;
        sigaction(SIGPIPE, &action, NULL);
    }
}

static void init_handles(struct es_link *link)
{
    int rc = uv_timer_init(link->loop, &link->state_timer);
    rc |= uv_timer_init(link->loop, &link->due_timer);
    rc |= uv_timer_init(link->loop, &link->throttle_timer);
    rc |= uv_prepare_init(link->loop, &link->flush);
    ES_ASSERT(rc == 0); /* these only fill structs */
    link->state_timer.data = link;
    link->due_timer.data = link;
    link->throttle_timer.data = link;
    link->flush.data = link;
    link->handles = 4;
}

int es_link_create(uv_loop_t *loop, const char *name, const char *path,
                   const struct es_link_events *events, void *ctx,
                   struct es_link **ret_link, struct es_err *err)
{
    ES_ASSERT(events != NULL && events->on_result != NULL);
    size_t max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (*path == '\0' || strlen(path) > max)
        return es_err_set(err, ES_ELIMIT,
                          "%s: the path of the agent's socket has %zu bytes, a socket "
                          "address holds 1 to %zu; use a shorter state directory: %s",
                          name, strlen(path), max, path);
    struct es_link *link = es_calloc(1, sizeof *link);
    if (link == NULL)
        return es_err_nomem(err);
    link->name = es_strdup(name);
    link->path = es_strdup(path);
    if (link->name == NULL || link->path == NULL) {
        es_free(link->name);
        es_free(link->path);
        es_free(link);
        return es_err_nomem(err);
    }
    ignore_sigpipe();
    link->loop = loop;
    link->events = events;
    link->ctx = ctx;
    link->times = es_link_times_default;
    es_sm_init(&link->sm, states, ES_LINK_IDLE, link->name);
    es_list_init(&link->requests);
    es_lines_init(&link->lines);
    es_buf_init(&link->out, OUT_BYTES);
    init_handles(link);
    *ret_link = link;
    return 0;
}

void es_link_set_times(struct es_link *link, const struct es_link_times *times)
{
    ES_ASSERT(es_link_state(link) == ES_LINK_IDLE);
    ES_ASSERT(times->backoff_min_ms > 0);
    link->times = *times;
}

void es_link_open(struct es_link *link)
{
    ES_ASSERT(es_link_state(link) == ES_LINK_IDLE);
    ES_ASSERT(!uv_is_active((uv_handle_t *)&link->state_timer));
    uv_timer_start(&link->state_timer, on_backoff_over, 0, 0);
}
