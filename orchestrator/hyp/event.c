/* See event.h. The life of a watch:
 *
 *   added [any] -> has a poll [loop] -> removed [any] -> its release called, freed [loop]
 *
 * A descriptor number may be closed and given out again between two turns of the loop, so
 * a poll whose last watch is gone is never used again: it is stopped before the releases
 * run (libvirt closes descriptors in them) and a new watch gets a new poll. */
#include "event.h"

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <string.h>

#include "enshu/common/list.h"
#include "enshu/common/mem.h"

#define RETRY_MS 20

struct poll {
    uv_poll_t uv; /* first: a handle is its poll */
    struct es_list link;
    int fd;
    int active; /* what uv was asked for; 0: stopped */
    bool broken;
};

struct item { /* a watch, or a timer when fd is -1 */
    struct es_list link;
    int id, fd;
    int events; /* VIR_EVENT_HANDLE_…; timers: unused */
    int freq_ms;
    uint64_t due_ms;
    bool removed;
    struct poll *poll;
    virEventHandleCallback on_handle;
    virEventTimeoutCallback on_timeout;
    virFreeCallback on_free;
    void *opaque;
};

static struct {
    uv_once_t once;
    uv_mutex_t lock; /* items, their fields but `poll`, bound */
    struct es_list items;
    int next_id;
    bool bound;
    /* [loop] */
    struct es_list polls;
    uv_loop_t *loop;
    uv_async_t async;
    uv_timer_t timer;
    int users, open_handles;
    bool closing;
    struct es_hyp_event_release *waiting;
} ev = {.once = UV_ONCE_INIT};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* The lock is held. */
static void wake(void)
{
    if (ev.bound)
        uv_async_send(&ev.async);
}

/* ------------------------------------------------------------------ libvirt's side [any] */

static int add(struct item proto)
{
    struct item *item = es_calloc(1, sizeof *item);
    if (item == NULL)
        return -1;
    *item = proto;
    uv_mutex_lock(&ev.lock);
    int id = item->id = ++ev.next_id;
    es_list_push(&ev.items, &item->link);
    wake();
    uv_mutex_unlock(&ev.lock);
    return id;
}

/* The lock is held. */
static struct item *find(int id, bool is_timer)
{
    ES_LIST_EACH (pos, tmp, &ev.items) {
        struct item *item = ES_CONTAINER(pos, struct item, link);
        if (item->id == id && !item->removed && (item->fd < 0) == is_timer)
            return item;
    }
    return NULL;
}

static int remove_item(int id, bool is_timer)
{
    uv_mutex_lock(&ev.lock);
    struct item *item = find(id, is_timer);
    if (item != NULL) {
        item->removed = true;
        wake();
    }
    uv_mutex_unlock(&ev.lock);
    return item != NULL ? 0 : -1;
}

static int on_add_handle(int fd, int events, virEventHandleCallback cb, void *opaque,
                         virFreeCallback on_free)
{
    if (fd < 0)
        return -1;
    return add((struct item){.fd = fd,
                             .events = events,
                             .on_handle = cb,
                             .opaque = opaque,
                             .on_free = on_free});
}

static void on_update_handle(int watch, int events)
{
    uv_mutex_lock(&ev.lock);
    struct item *item = find(watch, false);
    if (item != NULL && item->events != events) {
        item->events = events;
        wake();
    }
    uv_mutex_unlock(&ev.lock);
}

static int on_remove_handle(int watch)
{
    return remove_item(watch, false);
}

static int on_add_timeout(int freq_ms, virEventTimeoutCallback cb, void *opaque,
                          virFreeCallback on_free)
{
    return add((struct item){.fd = -1,
                             .freq_ms = freq_ms,
                             .due_ms = freq_ms > 0 ? now_ms() + (uint64_t)freq_ms : 0,
                             .on_timeout = cb,
                             .opaque = opaque,
                             .on_free = on_free});
}

static void on_update_timeout(int timer, int freq_ms)
{
    uv_mutex_lock(&ev.lock);
    struct item *item = find(timer, true);
    if (item != NULL) {
        item->freq_ms = freq_ms;
        item->due_ms = freq_ms > 0 ? now_ms() + (uint64_t)freq_ms : 0;
        wake();
    }
    uv_mutex_unlock(&ev.lock);
}

static int on_remove_timeout(int timer)
{
    return remove_item(timer, true);
}

/* ------------------------------------------------------------------ the loop's side */

static void sync_loop(void);

/* The next live watch of the poll (or timer, with NULL) after `after`. */
static struct item *next_item(const struct poll *poll, int after, uint64_t due)
{
    struct item *found = NULL;
    uv_mutex_lock(&ev.lock);
    ES_LIST_EACH (pos, tmp, &ev.items) {
        struct item *item = ES_CONTAINER(pos, struct item, link);
        if (item->removed || item->id <= after)
            continue;
        if (poll != NULL ? item->poll != poll || item->events == 0
                         : item->fd >= 0 || item->freq_ms < 0 || item->due_ms > due)
            continue;
        found = item;
        if (poll == NULL && item->freq_ms >= 0)
            item->due_ms = due + (uint64_t)item->freq_ms;
        break;
    }
    uv_mutex_unlock(&ev.lock);
    return found;
}

static int to_vir(int status, int events)
{
    if (status < 0)
        return VIR_EVENT_HANDLE_ERROR;
    return ((events & UV_READABLE) != 0 ? VIR_EVENT_HANDLE_READABLE : 0) |
           ((events & UV_WRITABLE) != 0 ? VIR_EVENT_HANDLE_WRITABLE : 0);
}

/* Items are freed in sync_loop alone, so they stay valid while called outside the lock. */
static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct poll *poll = (struct poll *)(void *)handle;
    int got = to_vir(status, events), after = 0;
    if (ev.closing)
        return;
    if (status < 0) {
        poll->active = 0; /* uv has stopped it */
        poll->broken = true;
    }
    for (struct item *item; (item = next_item(poll, after, 0)) != NULL;) {
        after = item->id;
        uv_mutex_lock(&ev.lock);
        int wanted = got & (item->events | VIR_EVENT_HANDLE_ERROR);
        uv_mutex_unlock(&ev.lock);
        if (wanted != 0)
            item->on_handle(item->id, item->fd, wanted, item->opaque);
    }
    sync_loop();
}

static void on_timer(uv_timer_t *handle)
{
    (void)handle;
    uint64_t due = now_ms();
    int after = 0;
    if (ev.closing)
        return;
    for (struct item *item; (item = next_item(NULL, after, due)) != NULL;) {
        after = item->id;
        item->on_timeout(item->id, item->opaque);
    }
    sync_loop();
}

static void tell_released(void)
{
    struct es_hyp_event_release *release = ev.waiting;
    ev.waiting = NULL;
    while (release != NULL) {
        struct es_hyp_event_release *next = release->next;
        release->on_closed(release);
        release = next;
    }
}

static void on_async(uv_async_t *handle)
{
    (void)handle;
    if (ev.closing)
        return;
    sync_loop();
    tell_released();
}

static void handle_closed(void)
{
    ES_ASSERT(ev.open_handles > 0);
    if (--ev.open_handles != 0)
        return;
    ev.closing = false;
    ev.loop = NULL;
    tell_released();
}

static void on_poll_closed(uv_handle_t *handle)
{
    es_free(handle);
    handle_closed();
}

static void on_own_closed(uv_handle_t *handle)
{
    (void)handle;
    handle_closed();
}

static void close_poll(struct poll *poll)
{
    es_list_remove(&poll->link);
    uv_poll_stop(&poll->uv);
    uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
}

static struct poll *make_poll(int fd)
{
    struct poll *poll = es_calloc(1, sizeof *poll);
    if (poll == NULL)
        return NULL;
    poll->fd = fd;
    if (uv_poll_init(ev.loop, &poll->uv, fd) != 0) {
        es_free(poll);
        return NULL;
    }
    ev.open_handles++;
    es_list_push(&ev.polls, &poll->link);
    return poll;
}

/* Takes removed items off the list; the lock is held. */
static void collect_removed(struct es_list *gone)
{
    ES_LIST_EACH (pos, tmp, &ev.items) {
        struct item *item = ES_CONTAINER(pos, struct item, link);
        if (!item->removed)
            continue;
        es_list_remove(pos);
        es_list_push(gone, pos);
    }
}

/* What uv shall wait for on the poll's descriptor; -1 when it has no watch left. */
static int wanted_of(const struct poll *poll)
{
    int wanted = -1;
    ES_LIST_EACH (pos, tmp, &ev.items) {
        const struct item *item = ES_CONTAINER(pos, struct item, link);
        if (item->poll != poll)
            continue;
        wanted = wanted < 0 ? 0 : wanted;
        wanted |= (item->events & VIR_EVENT_HANDLE_READABLE) != 0 ? UV_READABLE : 0;
        wanted |= (item->events & VIR_EVENT_HANDLE_WRITABLE) != 0 ? UV_WRITABLE : 0;
    }
    return wanted;
}

static struct poll *poll_of(int fd)
{
    ES_LIST_EACH (pos, tmp, &ev.polls) {
        struct poll *poll = ES_CONTAINER(pos, struct poll, link);
        if (poll->fd == fd)
            return poll;
    }
    return make_poll(fd);
}

/* Polls without watches go first: their descriptor may be another one's by now. */
static void sync_polls(void)
{
    ES_LIST_EACH (pos, tmp, &ev.polls) {
        struct poll *poll = ES_CONTAINER(pos, struct poll, link);
        if (wanted_of(poll) < 0)
            close_poll(poll);
    }
    ES_LIST_EACH (pos, tmp, &ev.items) {
        struct item *item = ES_CONTAINER(pos, struct item, link);
        if (item->fd >= 0 && item->poll == NULL)
            item->poll = poll_of(item->fd);
    }
    ES_LIST_EACH (pos, tmp, &ev.polls) {
        struct poll *poll = ES_CONTAINER(pos, struct poll, link);
        int wanted = wanted_of(poll);
        if (wanted == poll->active || (poll->broken && wanted != 0))
            continue;
        if (wanted == 0)
            uv_poll_stop(&poll->uv);
        else
            uv_poll_start(&poll->uv, wanted, on_poll);
        poll->active = wanted;
    }
}

static void sync_timer(void)
{
    uint64_t due = UINT64_MAX, now = now_ms();
    ES_LIST_EACH (pos, tmp, &ev.items) {
        const struct item *item = ES_CONTAINER(pos, struct item, link);
        if (item->fd < 0 && item->freq_ms >= 0 && item->due_ms < due)
            due = item->due_ms;
        if (item->fd >= 0 && item->poll == NULL) /* memory was out */
            due = due < now + RETRY_MS ? due : now + RETRY_MS;
    }
    if (due == UINT64_MAX) {
        uv_timer_stop(&ev.timer);
        return;
    }
    uv_update_time(ev.loop);
    uv_timer_start(&ev.timer, on_timer, due > now ? due - now : 0, 0);
}

static void sync_loop(void)
{
    for (;;) {
        struct es_list gone;
        es_list_init(&gone);
        uv_mutex_lock(&ev.lock);
        collect_removed(&gone);
        sync_polls();
        sync_timer();
        uv_mutex_unlock(&ev.lock);
        if (es_list_empty(&gone))
            return;
        ES_LIST_EACH (pos, tmp, &gone) {
            struct item *item = ES_CONTAINER(pos, struct item, link);
            es_list_remove(pos);
            if (item->on_free != NULL)
                item->on_free(item->opaque);
            es_free(item);
        }
    }
}

/* ------------------------------------------------------------------ binding */

static void register_once(void)
{
    uv_mutex_init(&ev.lock);
    es_list_init(&ev.items);
    es_list_init(&ev.polls);
    virEventRegisterImpl(on_add_handle, on_update_handle, on_remove_handle,
                         on_add_timeout, on_update_timeout, on_remove_timeout);
}

int es_hyp_event_acquire(uv_loop_t *loop, struct es_err *err)
{
    uv_once(&ev.once, register_once);
    if (ev.closing || (ev.users > 0 && ev.loop != loop))
        return es_err_set(err, ES_ESTATE,
                          "libvirt's events are bound to another loop; close it first");
    if (ev.users++ > 0)
        return 0;
    int rc = uv_async_init(loop, &ev.async, on_async);
    if (rc != 0) {
        ev.users = 0;
        return es_err_set(err, ES_EIO, "cannot watch libvirt's events: %s",
                          uv_strerror(rc));
    }
    uv_timer_init(loop, &ev.timer);
    ev.loop = loop;
    ev.open_handles = 2;
    uv_mutex_lock(&ev.lock);
    ev.bound = true;
    wake();
    uv_mutex_unlock(&ev.lock);
    return 0;
}

void es_hyp_event_release(struct es_hyp_event_release *release,
                          void (*on_closed)(struct es_hyp_event_release *release))
{
    ES_ASSERT(ev.users > 0 && !ev.closing);
    release->on_closed = on_closed;
    release->next = ev.waiting;
    ev.waiting = release;
    sync_loop();
    if (--ev.users > 0) {
        uv_async_send(&ev.async);
        return;
    }
    uv_mutex_lock(&ev.lock);
    ev.bound = false;
    ES_LIST_EACH (pos, tmp, &ev.items)
        ES_CONTAINER(pos, struct item, link)->poll = NULL;
    uv_mutex_unlock(&ev.lock);
    ev.closing = true;
    ES_LIST_EACH (pos, tmp, &ev.polls)
        close_poll(ES_CONTAINER(pos, struct poll, link));
    uv_close((uv_handle_t *)&ev.async, on_own_closed);
    uv_close((uv_handle_t *)&ev.timer, on_own_closed);
}
