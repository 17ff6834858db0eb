/* See lab.h. */
#include "lab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"

#define START_LIMIT_MS 120000

struct lab lab;
static pid_t core = -1;
static void (*end_also)(void);

static const char *const state_words[] = {
#define X(NAME, word) word,
    LAB_STATE_MAP(X)
#undef X
};
const char *const lab_step_keys[] = {
#define X(NAME, key, what) key,
    LAB_STEP_MAP(X)
#undef X
};
const char *const lab_step_texts[] = {
#define X(NAME, key, what) what,
    LAB_STEP_MAP(X)
#undef X
};

/* ------------------------------------------------------------------ helpers */

double lab_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int lab_sh(const char *fmt, ...)
{
    char line[8192];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return len > 0 && (size_t)len < sizeof line ? system(line) : -1;
}

char *lab_text(const char *fmt, ...)
{
    char *made = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&made, fmt, args) < 0)
        abort();
    va_end(args);
    return made;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double lab_median(const double *values, size_t count)
{
    double *sorted = malloc((count + 1) * sizeof *sorted);
    if (sorted == NULL)
        abort();
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_size);
    double median = count > 0 ? (sorted[(count - 1) / 2] + sorted[count / 2]) / 2 : 0;
    free(sorted);
    return median;
}

/* ------------------------------------------------------------------ the core */

void lab_close(void)
{
    if (end_also != NULL)
        end_also();
    end_also = NULL;
    if (core > 0) {
        lab_sh("%s/enshu down bench --state %s >/dev/null 2>&1", lab.bin, lab.state);
        kill(core, SIGTERM);
        waitpid(core, NULL, 0);
    }
    core = -1;
    lab_sh("%s/enshu-nest stop --state %s >/dev/null 2>&1; rm -rf %s", lab.bin, lab.state,
           lab.dir);
}

void lab_die(const char *what, const char *why)
{
    fprintf(stderr, "bench-%s: %s: %s\n", lab.name, what, why);
    lab_sh("tail -n 15 %s/core.log >&2", lab.dir);
    lab_close();
    exit(EXIT_FAILURE);
}

static void start_core(void)
{
    const char *accel = getenv("BENCH_ACCEL");
    char path[1024], log[64], socket[96];
    struct stat st;
    es_str_printf(path, sizeof path, "%s/enshud", lab.bin);
    es_str_printf(log, sizeof log, "%s/core.log", lab.dir);
    core = fork();
    if (core == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        if (accel != NULL)
            execl(path, path, "--state", lab.state, "--accel", accel, (char *)NULL);
        else
            execl(path, path, "--state", lab.state, (char *)NULL);
        _exit(127);
    }
    es_str_printf(socket, sizeof socket, "%s/enshud.sock", lab.state);
    for (double until = lab_now() + START_LIMIT_MS; stat(socket, &st) != 0;) {
        if (waitpid(core, NULL, WNOHANG) != 0) {
            core = -1;
            lab_die("enshud", "it ended before it was ready");
        }
        if (lab_now() > until)
            lab_die("enshud", "it does not come up");
        usleep(100000);
    }
}

static bool read_option(const struct lab_option *known, size_t count, const char *word)
{
    size_t len = strcspn(word, "=");
    for (size_t i = 0; i < count && word[len] == '='; i++) {
        if (strlen(known[i].name) != len || strncmp(known[i].name, word, len) != 0)
            continue;
        if (known[i].text == NULL)
            return es_str_int(word + len + 1, known[i].least, known[i].most,
                              known[i].number) == 0;
        *known[i].text = word + len + 1;
        return true;
    }
    return false;
}

void lab_options(const char *bench, const struct lab_option *known, size_t count,
                 int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!read_option(known, count, argv[i])) {
            fprintf(stderr, "bench-%s: %s; its first lines say what there is\n", bench,
                    argv[i]);
            exit(64);
        }
}

void lab_open(const char *name, void (*also_end)(void))
{
    const char *images = getenv("BENCH_IMAGES");
    char fallback[1024];
    lab.name = name;
    lab.bin = getenv("ENSHU_BIN") != NULL ? getenv("ENSHU_BIN") : "build/release/bin";
    lab.top = getenv("ENSHU_TOP") != NULL ? getenv("ENSHU_TOP") : ".";
    end_also = also_end;
    signal(SIGPIPE, SIG_IGN);
    es_str_printf(lab.dir, sizeof lab.dir, "/tmp/enshu-%s-XXXXXX", name);
    if (mkdtemp(lab.dir) == NULL || chmod(lab.dir, 0711) != 0) {
        fprintf(stderr, "bench-%s: %s: %s\n", name, lab.dir, strerror(errno));
        exit(EXIT_FAILURE);
    }
    es_str_printf(lab.state, sizeof lab.state, "%s/s", lab.dir);
    es_str_printf(fallback, sizeof fallback, "%s/build/images", lab.top);
    images = images != NULL ? images : fallback;
    if (lab_sh("mkdir -p %s %s %s/scenario && ln -s \"$(realpath %s)\" %s/images", images,
               lab.state, lab.dir, images, lab.state) != 0)
        lab_die(images, "no folder for images");
    start_core();
}

FILE *lab_scenario(const char *name, char *ret_path, size_t size)
{
    es_str_printf(ret_path, size, "%s/scenario/%s.yaml", lab.dir, name);
    FILE *file = fopen(ret_path, "we");
    if (file == NULL)
        lab_die(ret_path, strerror(errno));
    return file;
}

/* ------------------------------------------------------------------ `enshu` */

void lab_run_finish(struct lab_run *run)
{
    free(run->machines);
    *run = (struct lab_run){0};
}

static struct lab_machine *find(const struct lab_run *run, const char *name)
{
    for (size_t i = 0; name != NULL && i < run->count; i++)
        if (strcmp(run->machines[i].name, name) == 0)
            return &run->machines[i];
    return NULL;
}

static struct lab_machine *find_or_add(struct lab_run *run, const char *name)
{
    struct lab_machine *machine = find(run, name);
    if (machine != NULL)
        return machine;
    machine = realloc(run->machines, (run->count + 1) * sizeof *machine);
    if (machine == NULL)
        abort();
    run->machines = machine;
    machine += run->count++;
    *machine = (struct lab_machine){0};
    es_str_printf(machine->name, sizeof machine->name, "%.60s", name);
    return machine;
}

static void take_line(struct lab_run *run, const char *line, double at)
{
    json_t *json = json_loads(line, 0, NULL);
    const char *name = json_string_value(json_object_get(json, "machine"));
    const char *word = json_string_value(json_object_get(json, "state"));
    if (name != NULL && word != NULL && !es_str_starts(name, "mould/")) {
        struct lab_machine *machine = find_or_add(run, name);
        for (int s = 0; s < LAB_STATES; s++)
            if (strcmp(word, state_words[s]) == 0 && machine->at[s] <= 0)
                machine->at[s] = at;
    }
    json_decref(json);
}

static int call(struct lab_run *run, const char *words)
{
    char line[8192];
    struct lab_run unused = {0};
    struct lab_run *into = run != NULL ? run : &unused;
    es_str_printf(line, sizeof line, "%s/enshu %s --state %s --json 2>&1", lab.bin, words,
                  lab.state);
    lab_run_finish(into);
    lab.last[0] = '\0';
    double from = lab_now();
    FILE *out = popen(line, "re");
    while (out != NULL && fgets(line, sizeof line, out) != NULL) {
        take_line(into, line, lab_now() - from);
        if (line[0] != '}')
            es_str_printf(lab.last, sizeof lab.last, "%.1000s", line);
    }
    into->took = lab_now() - from;
    lab_run_finish(&unused);
    int status = out != NULL ? pclose(out) : -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int lab_enshu(struct lab_run *run, const char *fmt, ...)
{
    char words[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    return call(run, words);
}

void lab_do(struct lab_run *run, const char *fmt, ...)
{
    char words[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    if (call(run, words) != 0)
        lab_die(words, lab.last);
}

json_t *lab_json(const char *fmt, ...)
{
    char words[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    char *line =
        lab_text("%s/enshu %s --state %s --json 2>/dev/null", lab.bin, words, lab.state);
    FILE *out = popen(line, "re");
    json_t *json = out != NULL ? json_loadf(out, 0, NULL) : NULL;
    free(line);
    if (out == NULL || pclose(out) != 0 || json == NULL)
        lab_die(words, "no answer");
    return json;
}

/* ------------------------------------------------------------------ what was seen */

static void take_steps(struct lab_machine *machine, const json_t *took)
{
    for (int s = 0; s < LAB_STEPS; s++)
        machine->steps[s] =
            json_number_value(json_object_get(took, lab_step_keys[s])) / 1e3;
    machine->personalised =
        machine->at[LAB_PERSONALISING] + machine->steps[LAB_STEP_PERSONALISE];
}

void lab_steps(struct lab_run *run)
{
    json_t *status = lab_json("status");
    size_t i, k;
    json_t *range, *one;
    json_array_foreach (json_object_get(status, "ranges"), i, range)
        json_array_foreach (json_object_get(range, "machines"), k, one) {
            const char *name = json_string_value(json_object_get(one, "machine"));
            struct lab_machine *machine = find(run, name);
            if (machine != NULL)
                take_steps(machine, json_object_get(one, "took"));
        }
    json_decref(status);
}

double lab_last(const struct lab_run *run, enum lab_state state)
{
    double last = 0;
    for (size_t i = 0; i < run->count; i++)
        if (run->machines[i].at[state] > last)
            last = run->machines[i].at[state];
    return last;
}

double lab_last_personalised(const struct lab_run *run)
{
    double last = 0;
    for (size_t i = 0; i < run->count; i++)
        if (run->machines[i].personalised > last)
            last = run->machines[i].personalised;
    return last;
}

/* Median over all machines; `of` gives each its value, below 0: it has none. */
static double median_of(const struct lab_run *runs, size_t count,
                        double (*of)(const struct lab_machine *machine, const int *arg),
                        const int *arg)
{
    size_t all = 0, n = 0;
    for (size_t r = 0; r < count; r++)
        all += runs[r].count;
    double *values = malloc((all + 1) * sizeof *values);
    if (values == NULL)
        abort();
    for (size_t r = 0; r < count; r++)
        for (size_t i = 0; i < runs[r].count; i++) {
            values[n] = of(&runs[r].machines[i], arg);
            n += values[n] >= 0;
        }
    double median = lab_median(values, n);
    free(values);
    return median;
}

static double spent(const struct lab_machine *machine, const int *arg)
{
    double from = arg[0] == LAB_STATES ? 0 : machine->at[arg[0]],
           to = machine->at[arg[1]];
    return to > 0 && (from > 0 || arg[0] == LAB_STATES) ? to - from : -1;
}

double lab_median_spent(const struct lab_run *runs, size_t count, enum lab_state from,
                        enum lab_state to)
{
    const int arg[] = {(int)from, (int)to};
    return median_of(runs, count, spent, arg);
}

static double step_of(const struct lab_machine *machine, const int *arg)
{
    return machine->steps[*arg];
}

double lab_median_step(const struct lab_run *runs, size_t count, enum lab_step step)
{
    const int arg = (int)step;
    return median_of(runs, count, step_of, &arg);
}

/* ------------------------------------------------------------------ processes */

size_t lab_processes(const char *program,
                     void (*each)(pid_t pid, const char *bytes, size_t len, void *arg),
                     void *arg)
{
    static char bytes[65536];
    char path[300];
    size_t found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        es_str_printf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = entry->d_name[0] >= '0' && entry->d_name[0] <= '9'
                     ? open(path, O_RDONLY | O_CLOEXEC)
                     : -1;
        ssize_t len = fd >= 0 ? read(fd, bytes, sizeof bytes - 1) : -1;
        if (fd >= 0)
            close(fd);
        bytes[len > 0 ? len : 0] = '\0';
        if (len <= 0 || strstr(bytes, program) == NULL ||
            memmem(bytes, (size_t)len, lab.state, strlen(lab.state)) == NULL)
            continue;
        each((pid_t)atol(entry->d_name), bytes, (size_t)len, arg);
        found++;
    }
    if (proc != NULL)
        closedir(proc);
    return found;
}

double lab_cpu_s_of(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    es_str_printf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    const char *at = file != NULL && fgets(line, sizeof line, file) != NULL
                         ? strrchr(line, ')')
                         : NULL;
    if (at != NULL && sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                             &user, &system) != 2)
        user = system = 0;
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void add_cpu(pid_t pid, const char *bytes, size_t len, void *arg)
{
    double *sum = arg;
    (void)bytes;
    (void)len;
    *sum += lab_cpu_s_of(pid);
}

double lab_cpu_s(const char *program)
{
    double sum = 0;
    lab_processes(program, add_cpu, &sum);
    return sum;
}
