/* Help, from the tables. */
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

#define STR_(x) #x

static void lines(FILE *file, const char *text, const char *indent)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        fprintf(file, "%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
}

static void option_lines(const struct cli_command *command, FILE *file)
{
    fputs("\nOptions:\n", file);
    for (const char *at = command->options + strspn(command->options, " ");
         *at != '\0';) {
        size_t len = strcspn(at, " ");
        for (int id = 0; id < OPT_COUNT; id++) {
            const struct cli_option *option = &cli_options[id];
            if (strlen(option->name) != len || strncmp(option->name, at, len) != 0)
                continue;
            char word[40];
            es_str_printf(word, sizeof word, "--%s%s%s", option->name,
                          option->arg != NULL ? " " : "",
                          option->arg != NULL ? option->arg : "");
            fprintf(file, "  %-18s  %s\n", word, option->text);
        }
        at += len;
        at += strspn(at, " ");
    }
}

void help_command(const struct cli_command *command, FILE *file)
{
    fprintf(file, "enshu %s%s%s: %s\n", command->name, *command->args != '\0' ? " " : "",
            command->args, command->summary);
    if (*command->details != '\0') {
        fputc('\n', file);
        lines(file, command->details, "");
    }
    option_lines(command, file);
    fputs("\nExamples:\n", file);
    lines(file, command->examples, "  ");
}

static void overview(FILE *file)
{
    fputs("enshu: cyber exercises on real virtual machines\n\n"
          "  enshu COMMAND [OPTION...] [ARGUMENT...]\n\n",
          file);
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        fprintf(file, "  %-14s %s\n", c->name, c->summary);
    fputs("\nFrom a scenario to a score:\n"
          "  enshud &\n"
          "  enshu up scenarios/city-hall --teams 2\n"
          "  enshu start && enshu watch\n"
          "  enshu stop && enshu score && enshu down\n"
          "\nMore: enshu help COMMAND, enshu help exit-codes, enshu help methods\n",
          file);
}

static int exit_codes(void)
{
    puts("Exit codes of enshu:\n\n"
         "   0  done\n"
         "   1  not proved (rehearse), or doctor found what keeps ranges from running");
    static const struct {
        int exit_code;
        const char *text, *name;
    } all[] = {
#define X(name, number, exit_code, text) {exit_code, text, #name},
        ES_STATUS_MAP(X)
#undef X
    };
    for (int code = 2; code < 128; code++) {
        const char *comma = "";
        for (size_t i = 0; i < ES_COUNT(all); i++) {
            if (all[i].exit_code != code)
                continue;
            if (*comma == '\0')
                printf("  %2d  ", code);
            printf("%s%s (%s)", comma, all[i].text, all[i].name);
            comma = ", ";
        }
        if (*comma != '\0')
            putchar('\n');
    }
    puts("\nenshud ends with the same ones. enshu exec ends with the exit code of the "
         "guest's\n"
         "command, or 128 plus the number of the signal that ended it.");
    return 0;
}

static int methods(void)
{
    puts("Methods of the control socket (JSON-RPC 2.0, one message a line; a parameter "
         "with \"!\"\nis required; STREAM sends progress before its answer):\n");
#define X(name, function, kind, params, result)                                          \
    printf("%s  %s\n    params: %s\n    result: %s\n", name, STR_(kind),                 \
           *(params) != '\0' ? (params) : "none", result);
    ES_METHOD_MAP(X)
#undef X
    return 0;
}

/* For completion: one a line, with tabs between. */
static int commands(void)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
        printf("%s\t%s\t%s\n", c->name, c->args, c->options + strspn(c->options, " "));
    return 0;
}

static int options(void)
{
    for (int id = 0; id < OPT_COUNT; id++)
        printf("%s\t%s\n", cli_options[id].name,
               cli_options[id].arg != NULL ? cli_options[id].arg : "");
    return 0;
}

int run_help(struct cli *cli, struct es_err *err)
{
    static const struct {
        const char *name;
        int (*print)(void);
    } topics[] = {{"exit-codes", exit_codes},
                  {"methods", methods},
                  {"commands", commands},
                  {"options", options}};
    if (cli->arg_count == 0) {
        overview(stdout);
        return 0;
    }
    for (size_t i = 0; i < ES_COUNT(topics); i++)
        if (strcmp(cli->args[0], topics[i].name) == 0)
            return topics[i].print();
    char name[64];
    es_str_printf(name, sizeof name, "%s%s%s", cli->args[0],
                  cli->arg_count > 1 ? " " : "", cli->arg_count > 1 ? cli->args[1] : "");
    size_t len = strlen(name);
    int shown = 0;
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        if (strncmp(c->name, name, len) != 0 ||
            (c->name[len] != '\0' && c->name[len] != ' '))
            continue;
        if (shown++ > 0)
            putchar('\n');
        help_command(c, stdout);
    }
    return shown > 0 ? 0
                     : es_err_set(err, ES_EINVAL, "no help on \"%.60s\"; see: enshu help",
                                  name);
}

static const char version_text[] = ES_VERSION;

int run_version(struct cli *cli, struct es_err *err)
{
    json_t *core = NULL;
    struct es_err why = {0};
    int rc = core_call(cli, "version", NULL, NULL, &core, &why);
    if (rc != 0 && rc != ES_ECONN) {
        *err = why;
        return rc;
    }
    if (cli->json) {
        json_t *all = json_pack("{s:s, s:o}", "version", version_text, "core",
                                core != NULL ? core : json_null());
        out_json(all);
        json_decref(all);
        return 0;
    }
    printf("enshu %s\n", version_text);
    if (core == NULL) {
        puts("no core is running");
        return 0;
    }
    printf("core  ");
    out_safe(stdout, member_text(core, "version"));
    printf(", pid %lld\n", (long long)member_int(core, "pid", 0));
    static const char *const keys[] = {"state", "uri", "accel"};
    for (size_t i = 0; i < ES_COUNT(keys); i++) {
        printf("%-10s  ", keys[i]);
        out_safe(stdout, member_text(core, keys[i]));
        putchar('\n');
    }
    printf("libvirt     %s\n",
           member_true(core, "hypervisor") ? "connected" : "not connected");
    json_decref(core);
    return 0;
}
