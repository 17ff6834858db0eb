/* Steps run inside a machine by its agent, one after another: copy, write, script, run,
 * service. Shell text gets values as environment variables; nothing is pasted into it. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "vars.h"

#define ASSET_BYTES_MAX (16U << 20)
#define FILES_MAX       2000
#define STEP_LIMIT_MS   600000
#define PUT_LIMIT_MS    60000

/* One file on its way into the guest. */
struct file_item {
    char *from; /* NULL: bytes in `data` */
    char *to;
    unsigned mode;
    bool folder;
};

struct steps_run {
    struct machine *m;
    const struct es_step *steps;
    size_t count, at;
    int team;
    on_steps done;
    void *arg;
    bool dead; /* forgotten; an answer may still come */
    /* the step in hand */
    struct file_item *files;
    size_t file_count, file_at;
    char *data;
    size_t data_len, data_off;
    bool script; /* the file put is to be run */
};

static void next_step(struct steps_run *run);
static void put_chunk(struct steps_run *run);

static void free_files(struct steps_run *run)
{
    for (size_t i = 0; i < run->file_count; i++) {
        es_free(run->files[i].from);
        es_free(run->files[i].to);
    }
    es_free(run->files);
    es_free(run->data);
    run->files = NULL;
    run->data = NULL;
    run->file_count = run->file_at = run->data_len = run->data_off = 0;
}

static void finish(struct steps_run *run, int status, const struct es_err *err)
{
    struct machine *m = run->m;
    on_steps done = run->done;
    void *arg = run->arg;
    m->steps = NULL;
    free_files(run);
    es_free(run);
    done(m, status, err, arg);
}

static const char *const kind_names[] = {"copy", "write", "script", "run", "service"};

static void fail(struct steps_run *run, struct es_err *err)
{
    const struct es_step *step = &run->steps[run->at];
    if (step->pos.file != NULL)
        es_err_prefix(err, "%s:%d: %s", step->pos.file, step->pos.line,
                      kind_names[step->kind]);
    else
        es_err_prefix(err, "%s", kind_names[step->kind]);
    finish(run, err->code, err);
}

/* True when the run was forgotten meanwhile; frees it. */
static bool gone(struct steps_run *run)
{
    if (!run->dead)
        return false;
    free_files(run);
    es_free(run);
    return true;
}

void steps_abort(struct machine *m)
{
    if (m->steps != NULL)
        m->steps->dead = true;
    m->steps = NULL;
}

static void call(struct steps_run *run, enum es_wire_op op, json_t *args,
                 int64_t limit_ms, on_op done)
{
    struct es_err err = {0};
    if (machine_call(run->m, op, args, limit_ms, ES_WIRE_DATA_MAX, done, run, &err) != 0)
        fail(run, &err);
}

static bool op_failed(struct steps_run *run, const struct es_result *result)
{
    struct es_err err = {0};
    if (result->ok)
        return false;
    es_err_set(&err, es_str_eq(result->error_code, "lost") ? ES_ECONN : ES_EGUEST,
               "%s: %s", result->error_code, result->error_text);
    fail(run, &err);
    return true;
}

/* ---------------------------------------------------------------- shell */

static void tail_text(const json_t *b64, struct es_buf *out)
{
    struct es_buf raw;
    es_buf_init(&raw, 1U << 20);
    if (json_is_string(b64) &&
        es_base64_decode(json_string_value(b64), json_string_length(b64), &raw) == 0 &&
        raw.len > 0) {
        while (raw.len > 0 &&
               (raw.data[raw.len - 1] == '\n' || raw.data[raw.len - 1] == ' '))
            raw.len--;
        size_t from = raw.len > 240 ? raw.len - 240 : 0;
        es_str_escape_terminal(out, raw.data + from, raw.len - from, false);
    }
    es_buf_finish(&raw);
}

static void on_exec(struct machine *m, const struct es_result *result, void *arg)
{
    struct steps_run *run = arg;
    (void)m;
    if (gone(run) || op_failed(run, result))
        return;
    const json_t *exit_code = json_object_get(result->evidence, "exit");
    if (json_is_integer(exit_code) && json_integer_value(exit_code) == 0) {
        free_files(run);
        run->at++;
        next_step(run);
        return;
    }
    struct es_err err = {0};
    struct es_buf text;
    es_buf_init(&text, 2048);
    tail_text(json_object_get(result->evidence, "stdout"), &text);
    es_buf_puts(&text, text.len > 0 ? " | " : "");
    tail_text(json_object_get(result->evidence, "stderr"), &text);
    if (json_is_true(json_object_get(result->evidence, "timeout")))
        es_err_set(&err, ES_EGUEST, "did not end in time; it said: %s",
                   es_buf_str(&text));
    else
        es_err_set(&err, ES_EGUEST, "ended with exit code %lld; it said: %s",
                   (long long)json_integer_value(exit_code), es_buf_str(&text));
    es_buf_finish(&text);
    fail(run, &err);
}

static void run_shell(struct steps_run *run, const char *shell, const char *program)
{
    const struct es_step *step = &run->steps[run->at];
    struct es_err err = {0};
    json_t *env = vars_env(run->m->range, run->team, run->m);
    char *line =
        shell != NULL ? vars_shell(run->m->range, run->team, shell, env, &err) : NULL;
    if (shell != NULL && line == NULL) {
        json_decref(env);
        fail(run, &err);
        return;
    }
    json_t *args =
        program != NULL
            ? json_pack("{s:[s], s:o, s:i}", "argv", program, "env", env, "keep", 8192)
            : json_pack("{s:s, s:o, s:i}", "shell", line, "env", env, "keep", 8192);
    es_free(line);
    call(run, ES_OP_EXEC, args, step->timeout_ms > 0 ? step->timeout_ms : STEP_LIMIT_MS,
         on_exec);
}

static void run_service(struct steps_run *run)
{
    const struct es_step *step = &run->steps[run->at];
    /* The name and the verb travel as arguments of the shell, not inside its text. */
    static const char script[] =
        "case $2 in started) v=start;; stopped) v=stop;; restarted) v=restart;; "
        "reloaded) v=reload;; "
        "enabled) v=enable;; disabled) v=disable;; *) v=$2;; esac\n"
        "if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then exec "
        "systemctl $v -- \"$1\"; fi\n"
        "case $v in enable|disable) exit 0;; esac\n"
        "exec /etc/init.d/\"$1\" $v";
    json_t *args = json_pack(
        "{s:[s,s,s,s,s,s], s:i}", "argv", "/bin/sh", "-c", script, "sh", step->text,
        step->service_state != NULL ? step->service_state : "started", "keep", 8192);
    call(run, ES_OP_EXEC, args, STEP_LIMIT_MS, on_exec);
}

/* ---------------------------------------------------------------- files */

static int add_file(struct steps_run *run, const char *from, const char *to,
                    unsigned mode, bool folder, struct es_err *err)
{
    struct file_item *files = es_grow(run->files, run->file_count + 1, sizeof *files);
    if (files == NULL)
        return es_err_nomem(err);
    run->files = files;
    if (run->file_count >= FILES_MAX)
        return es_err_set(err, ES_ELIMIT,
                          "%s holds more than %d files; pack them into an archive", from,
                          FILES_MAX);
    struct file_item *item = &files[run->file_count];
    *item = (struct file_item){.from = from != NULL ? es_strdup(from) : NULL,
                               .to = es_strdup(to),
                               .mode = mode,
                               .folder = folder};
    run->file_count++;
    return item->to == NULL || (from != NULL && item->from == NULL) ? es_err_nomem(err)
                                                                    : 0;
}

static int add_tree(struct steps_run *run, const char *from, const char *to, int mode,
                    int depth, struct es_err *err)
{
    struct stat st;
    if (lstat(from, &st) != 0)
        return es_err_set(err, ES_ENOENT, "the asset %s is gone", from);
    if (S_ISREG(st.st_mode))
        return add_file(run, from, to,
                        mode >= 0                  ? (unsigned)mode
                        : (st.st_mode & 0111) != 0 ? 0755U
                                                   : 0644U,
                        false, err);
    if (!S_ISDIR(st.st_mode) || depth > 16)
        return es_err_set(err, ES_EINVAL, "%s is neither a file nor a folder", from);
    int rc = add_file(run, NULL, to, 0755, true, err);
    DIR *dir = rc == 0 ? opendir(from) : NULL;
    for (struct dirent *entry;
         rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL;) {
        char a[PATH_BYTES], b[PATH_BYTES];
        if (es_str_eq(entry->d_name, ".") || es_str_eq(entry->d_name, ".."))
            continue;
        rc = es_str_printf(a, sizeof a, "%s/%s", from, entry->d_name);
        if (rc == 0)
            rc = es_str_printf(b, sizeof b, "%s/%s", to, entry->d_name);
        if (rc == 0)
            rc = add_tree(run, a, b, mode, depth + 1, err);
        else
            es_err_set(err, rc, "a path below %s is too long", from);
    }
    if (dir != NULL)
        closedir(dir);
    return rc;
}

static int read_asset(struct steps_run *run, const char *path, struct es_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > (off_t)ASSET_BYTES_MAX) {
        if (fd >= 0)
            close(fd);
        return es_err_set(err, ES_EIO,
                          "the asset %s cannot be read or is larger than 16 MiB", path);
    }
    size_t size = (size_t)st.st_size, off = 0;
    run->data = es_alloc(size + 1);
    while (run->data != NULL && off < size) {
        ssize_t n = read(fd, run->data + off, size - off);
        if (n <= 0)
            break;
        off += (size_t)n;
    }
    close(fd);
    if (run->data == NULL)
        return es_err_nomem(err);
    run->data[off] = '\0';
    run->data_len = off;
    return 0;
}

static void on_put(struct machine *m, const struct es_result *result, void *arg)
{
    struct steps_run *run = arg;
    (void)m;
    if (gone(run) || op_failed(run, result))
        return;
    if (run->data_off < run->data_len) {
        put_chunk(run);
        return;
    }
    es_free(run->data);
    run->data = NULL;
    run->data_len = run->data_off = 0;
    char program[PATH_BYTES];
    es_str_printf(program, sizeof program, "%s", run->files[run->file_at].to);
    if (++run->file_at < run->file_count) {
        put_chunk(run);
        return;
    }
    free_files(run);
    if (run->script) {
        run->script = false;
        run_shell(run, NULL, program);
        return;
    }
    run->at++;
    next_step(run);
}

static void on_folder(struct machine *m, const struct es_result *result, void *arg)
{
    struct steps_run *run = arg;
    (void)m;
    if (gone(run) || op_failed(run, result))
        return;
    if (++run->file_at < run->file_count) {
        put_chunk(run);
        return;
    }
    free_files(run);
    run->at++;
    next_step(run);
}

static void make_folder(struct steps_run *run, const struct file_item *file)
{
    const struct es_step *step = &run->steps[run->at];
    json_t *args =
        json_pack("{s:[s,s,s,s,s,s], s:i}", "argv", "/bin/sh", "-c",
                  "mkdir -p -- \"$1\" && { [ -z \"$2\" ] || chown -- \"$2\" \"$1\"; }",
                  "sh", file->to, step->owner != NULL ? step->owner : "", "keep", 2048);
    call(run, ES_OP_EXEC, args, PUT_LIMIT_MS, on_folder);
}

/* Sends the next piece of the file in hand, loading it first. */
static void put_chunk(struct steps_run *run)
{
    const struct es_step *step = &run->steps[run->at];
    const struct file_item *file = &run->files[run->file_at];
    struct es_err err = {0};
    if (file->folder) {
        make_folder(run, file);
        return;
    }
    if (run->data == NULL) {
        if (read_asset(run, file->from, &err) != 0) {
            fail(run, &err);
            return;
        }
        if (step->template_) {
            char *text = vars_expand(run->m->range, run->team, run->data, &err);
            if (text == NULL) {
                fail(run, &err);
                return;
            }
            es_free(run->data);
            run->data = text;
            run->data_len = strlen(text);
        }
    }
    size_t n = run->data_len - run->data_off;
    n = n < ES_WIRE_DATA_MAX ? n : ES_WIRE_DATA_MAX;
    bool last = run->data_off + n == run->data_len;
    char mode[8];
    es_str_printf(mode, sizeof mode, "%04o", file->mode);
    json_t *args =
        json_pack("{s:s, s:I, s:o, s:b, s:I, s:s, s:s*}", "path", file->to, "off",
                  (json_int_t)run->data_off, "data",
                  es_base64_json(run->data + run->data_off, n), "last", (int)last, "size",
                  (json_int_t)run->data_len, "mode", mode, "owner", step->owner);
    if (args != NULL && step->mtime_s >= 0)
        json_object_set_new(args, "mtime_s", json_integer(step->mtime_s));
    run->data_off += n;
    call(run, ES_OP_PUT, args, PUT_LIMIT_MS, on_put);
}

static int begin_files(struct steps_run *run, struct es_err *err)
{
    const struct es_step *step = &run->steps[run->at];
    char from[PATH_BYTES], to[PATH_BYTES];
    if (step->kind == ES_STEP_WRITE) {
        run->data = vars_expand(run->m->range, run->team, step->text, err);
        if (run->data == NULL)
            return err->code;
        run->data_len = strlen(run->data);
        return add_file(run, NULL, step->to,
                        step->mode >= 0 ? (unsigned)step->mode : 0644U, false, err);
    }
    if (es_str_printf(from, sizeof from, "%s/%s", run->m->range->scenario->dir,
                      step->from) != 0)
        return es_err_set(err, ES_ELIMIT, "the path of %s is too long", step->from);
    if (step->kind == ES_STEP_SCRIPT) {
        run->script = true;
        return add_file(run, from, "/run/enshu/step", 0700, false, err);
    }
    size_t len = strlen(from);
    while (len > 1 && from[len - 1] == '/')
        from[--len] = '\0';
    es_str_printf(to, sizeof to, "%s", step->to);
    len = strlen(to);
    bool into = len > 1 && to[len - 1] == '/';
    while (len > 1 && to[len - 1] == '/')
        to[--len] = '\0';
    struct stat st;
    if (into && stat(from, &st) == 0 && S_ISREG(st.st_mode)) {
        const char *base = strrchr(from, '/');
        if (es_str_printf(to + len, sizeof to - len, "/%s",
                          base != NULL ? base + 1 : from) != 0)
            return es_err_set(err, ES_ELIMIT, "the path %s is too long", step->to);
    }
    return add_tree(run, from, to, step->mode, 0, err);
}

static void next_step(struct steps_run *run)
{
    struct es_err err = {0};
    struct machine *m = run->m;
    if (run->at == run->count) {
        finish(run, 0, NULL);
        return;
    }
    const struct es_step *step = &run->steps[run->at];
    es_str_printf(m->detail, sizeof m->detail, "step %zu of %zu: %s %.80s", run->at + 1,
                  run->count, kind_names[step->kind],
                  step->kind == ES_STEP_RUN || step->kind == ES_STEP_SERVICE ? step->text
                  : step->to != NULL                                         ? step->to
                                     : step->from);
    bring_machine_progress(m);
    if (step->kind == ES_STEP_RUN)
        run_shell(run, step->text, NULL);
    else if (step->kind == ES_STEP_SERVICE)
        run_service(run);
    else if (begin_files(run, &err) != 0)
        fail(run, &err);
    else
        put_chunk(run);
}

void steps_start(struct machine *m, const struct es_step *steps, size_t count, int team,
                 on_steps done, void *arg)
{
    ES_ASSERT(m->steps == NULL);
    struct steps_run *run = es_calloc(1, sizeof *run);
    if (run == NULL) {
        struct es_err err = {0};
        es_err_nomem(&err);
        done(m, ES_ENOMEM, &err, arg);
        return;
    }
    *run = (struct steps_run){
        .m = m, .steps = steps, .count = count, .team = team, .done = done, .arg = arg};
    m->steps = run;
    next_step(run);
}
