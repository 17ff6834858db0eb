/* What makes a machine its team's own, after each start of its agent, and for a fork after
 * it was continued: one request with randomness, clock, names, addresses, accounts and host
 * keys; then the scenario's own steps; for the mould its setup; at the end the node's
 * `ready` probe until it passes. */
#include <crypt.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hostkey.h"
#include "inner.h"
#include "programme.h"
#include "vars.h"

#define PERSONALISE_LIMIT_MS 60000
#define QUIET_LIMIT_MS       120000
#define READY_EVERY_MS       1000
#define READY_PROBE_MS       10000
#define READY_LIMIT_MS       300000
/* A mould whose `ready` may rest on steps that only teams have is not waited for longer. */
#define MOULD_READY_MS 10000

static json_t *account_list(struct machine *m, struct es_err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->node->account_count; i++) {
        const struct es_account *account = &m->node->accounts[i];
        static const char itoa64[] =
            "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        char password[256], setting[48], purpose[160];
        unsigned char salt[16];
        struct crypt_data data;
        if (m->mould && account->password == NULL)
            password[0] = '\0';
        else if (vars_password(m->range, m->plan->team, m->plan->node, account, password,
                               sizeof password) != 0) {
            json_decref(list);
            es_err_set(err, ES_ELIMIT, "the password of %s is too long", account->user);
            return NULL;
        }
        es_str_printf(purpose, sizeof purpose, "salt/%s/%.64s", m->node->name,
                      account->user);
        vars_derive(m->range, purpose, m->plan->team, salt, sizeof salt);
        int n = snprintf(setting, sizeof setting, "$6$rounds=1000$");
        for (size_t k = 0; k < sizeof salt; k++)
            setting[n++] = itoa64[salt[k] & 63];
        setting[n] = '\0';
        memset(&data, 0, sizeof data);
        const char *hash = password[0] != '\0' ? crypt_r(password, setting, &data) : "!";
        sodium_memzero(password, sizeof password);
        const char *set = m->own_done ? NULL : hash != NULL ? hash : "!";
        json_array_append_new(list, json_pack("{s:s, s:s*, s:b}", "user", account->user,
                                              "hash", set, "create", 1));
    }
    return list;
}

/* Named by their place in the scenario, whichever of them the machine has: the mould lacks
 * those on shared networks, a fork gets them last. */
static json_t *nic_list(const struct machine *m)
{
    json_t *list = json_array();
    size_t place = 0;
    for (size_t i = 0; i < m->plan->nic_count; i++) {
        char address[16], name[16];
        const struct es_plan_nic *nic = &m->plan->nics[i];
        while (m->node->nics[place].network != nic->network)
            place++;
        es_str_printf(name, sizeof name, "eth%zu", place);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:i, s:s}", "mac", nic->mac,
                                        "address", es_ip4_format(nic->addr, address),
                                        "prefix", nic->prefix, "name", name));
    }
    return list;
}

/* The same over restarts and resets of the machine, another in every team and range. */
static json_t *key_list(const struct machine *m)
{
    unsigned char seed[HOSTKEY_SEED_BYTES];
    struct hostkey key;
    char purpose[ES_NAME_MAX + 16];
    es_str_printf(purpose, sizeof purpose, "host-key/%s", m->node->name);
    vars_derive(m->range, purpose, m->plan->team, seed, sizeof seed);
    hostkey_make(seed, m->node->name, &key);
    json_t *list = json_pack("[{s:s, s:s, s:s}]", "type", "ed25519", "private",
                             key.private_text, "public", key.public_text);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(&key, sizeof key);
    return list;
}

bool machine_forwards(const struct machine *m)
{
    for (size_t i = 0; i < m->range->scenario->networks_count; i++)
        if (m->range->scenario->networks[i].gateway == m->plan->node)
            return true;
    return false;
}

static json_t *host_list(const struct machine *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->plan->host_count; i++) {
        char address[16];
        json_array_append_new(
            list, json_pack("[s, s]", es_ip4_format(m->plan->hosts[i].addr, address),
                            m->plan->hosts[i].name));
    }
    return list;
}

/* What was stopped before the freeze. Later on it is the trainees' whether it runs. */
static json_t *restart_list(const struct machine *m)
{
    const char *names[ES_MAX_SERVICES_OF];
    json_t *list = json_array();
    if (!m->forked || !m->node->before_services || m->own_done)
        return list;
    size_t count = es_node_services(m->node, names);
    for (size_t i = 0; i < count && i < ES_COUNT(names); i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static json_int_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (json_int_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static json_t *personalise_args(struct machine *m, struct es_err *err)
{
    unsigned char random[48], id[16];
    char machine_id[33], purpose[64], gateway[16], dns[16];
    json_t *accounts = account_list(m, err);
    if (accounts == NULL)
        return NULL;
    randombytes_buf(random, sizeof random);
    es_str_printf(purpose, sizeof purpose, "machine-id/%s/%u", m->node->name,
                  machine_is_kept(m) ? m->disk_number : m->instance);
    vars_derive(m->range, purpose, m->plan->team < 0 ? 0 : m->plan->team, id, sizeof id);
    sodium_bin2hex(machine_id, sizeof machine_id, id, sizeof id);
    json_t *args = json_pack(
        "{s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:b, s:b, s:o}", "hostname",
        m->node->name, "machine_id", machine_id, "random",
        es_base64_json(random, sizeof random), "time_us", now_us(), "nics", nic_list(m),
        "hosts", host_list(m), "accounts", accounts, "host_keys", key_list(m), "forward",
        (int)machine_forwards(m), "fork", (int)m->forked, "restart", restart_list(m));
    if (args == NULL) {
        es_err_nomem(err);
        return NULL;
    }
    if (m->plan->gateway != 0)
        json_object_set_new(args, "gateway",
                            json_string(es_ip4_format(m->plan->gateway, gateway)));
    if (m->plan->dns != 0)
        json_object_set_new(args, "dns", json_string(es_ip4_format(m->plan->dns, dns)));
    return args;
}

/* A deliberate end of the link answers every open request; nobody waits for those. */
static bool left(const struct machine *m)
{
    return m->link == NULL;
}

static bool failed(struct machine *m, const char *step, const struct es_result *result)
{
    struct es_err err = {0};
    if (result->ok)
        return false;
    es_err_set(&err, ES_EGUEST, "%s: %s", result->error_code, result->error_text);
    if (es_str_eq(result->error_code, "timeout") || es_str_eq(result->error_code, "lost"))
        err.code = ES_ETIMEDOUT; /* worth another try, unlike an answer that says no */
    machine_fail(m, step, &err);
    return true;
}

/* ---------------------------------------------------------------- the last part: ready */

static void begin_ready(struct machine *m);

static void become_ready(struct machine *m)
{
    m->on_timer = NULL;
    m->own_done = true;
    m->took.ready_us = machine_lap_us(m);
    programme_note(m, "ready");
    machine_set(m, M_READY, "");
    range_machine_event(m, ES_MEV_READY, NULL);
    machine_settle(m, true, NULL);
}

static void on_ready_probe(struct machine *m, const struct es_result *result, void *arg)
{
    struct vars v = {.range = m->range, .team = m->plan->team < 0 ? 0 : m->plan->team};
    char why[200] = "";
    (void)arg;
    if (left(m) || machine_state(m) != M_CHECKING)
        return;
    enum es_outcome outcome = ES_OUTCOME_UNKNOWN;
    if (result->ok)
        outcome = es_judge(&m->node->ready, result->evidence, NULL, vars_value, &v, why,
                           sizeof why);
    else
        es_str_printf(why, sizeof why, "%s: %.150s", result->error_code,
                      result->error_text);
    if (outcome == ES_OUTCOME_PASS) {
        become_ready(m);
        return;
    }
    if ((int64_t)uv_now(m->range->core->loop) > m->ready_until_ms) {
        if (m->freezing && m->node->personalise_count > 0) {
            become_ready(m); /* what makes it ready is perhaps among a team's own steps */
            return;
        }
        struct es_err err = {0};
        es_err_set(&err, ES_EGUEST,
                   "its `ready` probe did not pass in time; last seen: %s", why);
        machine_fail(m, "ready", &err);
        return;
    }
    machine_set(m, M_CHECKING, why);
    machine_timer(m, READY_EVERY_MS, begin_ready);
}

static void begin_ready(struct machine *m)
{
    struct es_err err = {0};
    if (!m->node->has_ready) {
        become_ready(m);
        return;
    }
    json_t *look = vars_look(m->range, m->plan->team < 0 ? 0 : m->plan->team,
                             m->node->ready.kind, m->node->ready.look, &err);
    if (look == NULL) {
        machine_fail(m, "ready", &err);
        return;
    }
    json_object_set_new(look, "kind",
                        json_string(es_probe_kind_name(m->node->ready.kind)));
    if (machine_call(m, ES_OP_PROBE, look, READY_PROBE_MS, ES_WIRE_DATA_MAX,
                     on_ready_probe, NULL, &err) != 0)
        machine_timer(m, READY_EVERY_MS, begin_ready);
}

void machine_check_ready(struct machine *m)
{
    es_str_printf(m->done_epoch, sizeof m->done_epoch, "%s", m->epoch);
    int64_t patience_ms =
        m->node->ready_timeout_ms > 0 ? m->node->ready_timeout_ms : READY_LIMIT_MS;
    if (m->freezing && m->node->personalise_count > 0 && patience_ms > MOULD_READY_MS)
        patience_ms = MOULD_READY_MS;
    m->ready_until_ms = (int64_t)uv_now(m->range->core->loop) + patience_ms;
    machine_set(m, M_CHECKING, "checking that it is ready");
    begin_ready(m);
}

/* ---------------------------------------------------------------- setup and steps */

static void begin_steps(struct machine *m);

static void on_setup(struct machine *m, int status, const struct es_err *err, void *arg)
{
    (void)arg;
    if (status == 0 && machine_state(m) == M_SETUP && !m->mould && !m->setup_done) {
        m->setup_done = true;
        programme_note(m, "setup");
        begin_steps(m);
        return;
    }
    if (status != 0) {
        machine_fail(m, machine_state(m) == M_SETUP ? "setup" : "personalise", err);
        return;
    }
    if (m->mould && !m->freezing) /* its disk is what is kept: teams' are checked */
        become_ready(m);
    else
        machine_check_ready(m);
}

static void baselines_keep(const struct machine *m)
{
    char name[ES_PLAN_NAME_MAX + 16];
    struct es_err err = {0};
    char *text = json_dumps(m->baselines, JSON_COMPACT);
    es_str_printf(name, sizeof name, "baseline/%s", m->plan->name);
    if (text == NULL || m->range->store == NULL ||
        es_store_put_blob(m->range->store, name, text, strlen(text), &err) != 0)
        es_log_warn("%s: passwords as they were at first are lost at a restart of the "
                    "core: %s",
                    m->label, err.msg);
    es_free(text);
}

void baselines_restore(struct machine *m)
{
    char name[ES_PLAN_NAME_MAX + 16];
    struct es_err err = {0};
    struct es_buf text;
    es_buf_init(&text, 1U << 20);
    es_str_printf(name, sizeof name, "baseline/%s", m->plan->name);
    if (es_store_get_blob(m->range->store, name, &text, &err) == 0) {
        json_t *kept = json_loadb(es_buf_str(&text), text.len, 0, NULL);
        if (json_is_object(kept))
            json_object_update(m->baselines, kept);
        json_decref(kept);
    }
    es_buf_finish(&text);
}

static void on_baseline(struct machine *m, const struct es_result *result, void *arg)
{
    char *user = arg;
    if (!left(m) && result->ok && m->baselines != NULL) {
        json_object_set(m->baselines, user, result->evidence);
        baselines_keep(m);
    }
    es_free(user);
}

/* Passwords as they are now: what `password: {changed: true}` is compared with. */
static void keep_baselines(struct machine *m)
{
    const struct es_scenario *s = m->range->scenario;
    struct es_err ignored = {0};
    for (size_t c = 0; c < s->conditions_count; c++) {
        const struct es_condition *condition = &s->conditions[c];
        if (condition->kind != ES_COND_PROBE ||
            condition->probe.kind != ES_PROBE_password ||
            condition->node != m->plan->node)
            continue;
        const char *user =
            json_string_value(json_object_get(condition->probe.look, "user"));
        char *kept = user != NULL ? es_strdup(user) : NULL;
        if (kept != NULL &&
            machine_call(m, ES_OP_PROBE,
                         json_pack("{s:s, s:s}", "kind", "password", "user", user), 10000,
                         4096, on_baseline, kept, &ignored) != 0)
            es_free(kept);
    }
}

static void begin_steps(struct machine *m)
{
    /* The mould has no machines of range scope: those are set up themselves. */
    if (m->freezing) { /* was set up, and has no team whose steps these would be */
        machine_check_ready(m);
        return;
    }
    if (m->mould || (m->plan->team < 0 && m->node->setup_count > 0 && !m->setup_done)) {
        machine_set(m, M_SETUP, "setting up");
        steps_start(m, m->node->setup, m->node->setup_count, 0, on_setup, NULL);
        return;
    }
    /* On a kept disk passwords are compared with what this range found. */
    if (!m->own_done || (machine_is_kept(m) && json_object_size(m->baselines) == 0))
        keep_baselines(m);
    steps_start(m, m->node->personalise, m->node->personalise_count,
                m->plan->team < 0 ? 0 : m->plan->team, on_setup, NULL);
}

/* A fork begins an epoch with this result; what was known of the one before is the
 * mould's. */
static void take_epoch(struct machine *m, const struct es_result *result)
{
    if (result->seq == 0 || es_str_eq(result->epoch, m->epoch))
        return;
    es_str_printf(m->epoch, sizeof m->epoch, "%s", result->epoch);
    es_str_printf(m->seq_epoch, sizeof m->seq_epoch, "%s", result->epoch);
    m->seq_taken = m->seq_held = m->seq_acked = 0;
    m->seq_seen = result->seq;
}

static void on_personalised(struct machine *m, const struct es_result *result, void *arg)
{
    (void)arg;
    if (left(m) || failed(m, "personalise", result))
        return;
    machine_release_boot(m);
    m->took.personalise_us = machine_lap_us(m);
    take_epoch(m, result);
    begin_steps(m);
}

void machine_personalise(struct machine *m)
{
    struct es_err err = {0};
    machine_set(m, M_PERSONALISING, "personalising");
    m->step_ns = uv_hrtime();
    json_t *args = personalise_args(m, &err);
    if (args == NULL || machine_call(m, ES_OP_PERSONALISE, args, PERSONALISE_LIMIT_MS,
                                     4096, on_personalised, NULL, &err) != 0)
        machine_fail(m, "personalise", &err);
}

void machine_set_clock(struct machine *m)
{
    struct es_err err = {0};
    m->clock_stale = false;
    if (machine_call(m, ES_OP_PERSONALISE, json_pack("{s:I}", "time_us", now_us()),
                     PERSONALISE_LIMIT_MS, 4096, NULL, NULL, &err) != 0)
        es_log_warn("%s: its clock is late: %s", m->label, err.msg);
}

int machine_quiet(struct machine *m, on_op done, void *arg, struct es_err *err)
{
    return machine_call(m, ES_OP_QUIET, json_object(), QUIET_LIMIT_MS, 65536, done, arg,
                        err);
}
