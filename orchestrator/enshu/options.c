/* Words to command, options and arguments, by the tables. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

static const char *command_at(const void *ctx, size_t i)
{
    return ((const struct cli_command *)ctx)[i].name;
}

/* Two words win over one: "score explain" over "score". Returns how many words fit. */
static int match(const char *name, int argc, char **argv)
{
    const char *space = strchr(name, ' ');
    if (space == NULL)
        return strcmp(name, argv[0]) == 0 ? 1 : 0;
    size_t len = (size_t)(space - name);
    return argc > 1 && strlen(argv[0]) == len && strncmp(name, argv[0], len) == 0 &&
                   strcmp(space + 1, argv[1]) == 0
               ? 2
               : 0;
}

static int find_command(struct cli *cli, int argc, char **argv, int *ret_words,
                        struct es_err *err)
{
    *ret_words = 0;
    bool is_group = false;
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        int words = match(c->name, argc, argv);
        if (words > *ret_words) {
            *ret_words = words;
            cli->command = c;
        }
        size_t len = strlen(argv[0]);
        is_group =
            is_group || (strncmp(c->name, argv[0], len) == 0 && c->name[len] == ' ');
    }
    if (*ret_words > 0)
        return 0;
    if (is_group)
        return es_err_set(err, ES_EINVAL, "%s what? see: enshu help %s", argv[0],
                          argv[0]);
    const char *near = es_str_nearest(argv[0], command_at, cli_commands);
    return es_err_set(err, ES_EINVAL, "no command \"%.60s\"%s%s%s; see: enshu help",
                      argv[0], near != NULL ? " (did you mean \"" : "",
                      near != NULL ? near : "", near != NULL ? "\"?)" : "");
}

static bool has_word(const char *words, const char *word, size_t len)
{
    for (const char *at = words; (at = strstr(at, word)) != NULL; at += len)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

static const char *option_at(const void *ctx, size_t i)
{
    (void)ctx;
    return i < OPT_COUNT ? cli_options[i].name : NULL;
}

/* argv[*at] is an option; its value may be the next word. */
static int take_option(struct cli *cli, int argc, char **argv, int *at,
                       struct es_err *err)
{
    if (argv[*at][1] != '-')
        return es_err_set(err, ES_EINVAL,
                          "no option %.60s; a word that begins with \"-\" "
                          "stands behind --",
                          argv[*at]);
    const char *name = argv[*at] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    for (int id = 0; id < OPT_COUNT; id++) {
        const struct cli_option *option = &cli_options[id];
        if (strlen(option->name) != len || strncmp(option->name, name, len) != 0)
            continue;
        if (cli->command != NULL &&
            !has_word(cli->command->options, option->name, strlen(option->name)))
            return es_err_set(err, ES_EINVAL,
                              "--%s is no option of %s; see: enshu help %s", option->name,
                              cli->command->name, cli->command->name);
        if (option->arg == NULL && value != NULL)
            return es_err_set(err, ES_EINVAL, "--%s takes no value", option->name);
        if (option->arg != NULL && value == NULL) {
            if (*at + 1 >= argc)
                return es_err_set(err, ES_EINVAL, "--%s needs a value: %s", option->name,
                                  option->arg);
            value = argv[++*at];
        }
        cli->opt[id] = value != NULL ? value : "";
        return 0;
    }
    char word[64];
    es_str_printf(word, sizeof word, "%.*s", len < 60 ? (int)len : 60, name);
    const char *near = es_str_nearest(word, option_at, NULL);
    return es_err_set(err, ES_EINVAL, "no option --%s%s%s%s", word,
                      near != NULL ? " (did you mean --" : "", near != NULL ? near : "",
                      near != NULL ? "?)" : "; see: enshu help");
}

/* "-" alone is a word, and so is everything behind "--". */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strcmp(word, "--") != 0;
}

static bool is_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

static int check_args(const struct cli *cli, struct es_err *err)
{
    const struct cli_command *c = cli->command;
    if (cli->opt[OPT_help] != NULL)
        return 0;
    if (cli->arg_count < c->min_args)
        return es_err_set(err, ES_EINVAL, "%s needs %s; see: enshu help %s", c->name,
                          c->args, c->name);
    if (cli->arg_count > c->max_args)
        return es_err_set(err, ES_EINVAL,
                          "%s: \"%.80s\" is one word too many; see: enshu "
                          "help %s",
                          c->name, cli->args[c->max_args], c->name);
    return 0;
}

/* Arguments are gathered at the front of argv. */
static int take_rest(struct cli *cli, int argc, char **argv, struct es_err *err)
{
    cli->args = argv;
    bool only_args = false;
    for (int i = 0; i < argc; i++) {
        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && is_help(argv[i])) {
            cli->opt[OPT_help] = "";
        } else if (!only_args && is_option(argv[i])) {
            int rc = take_option(cli, argc, argv, &i, err);
            if (rc != 0)
                return rc;
        } else {
            argv[cli->arg_count++] = argv[i];
            /* Options may stand between the machine and its command. */
            only_args = only_args || (cli->command->raw && cli->arg_count > 1);
        }
    }
    return check_args(cli, err);
}

/* `enshu image --help`, where image is only the first word of commands. */
static bool asks_for_group(int argc, char **argv)
{
    size_t len = strlen(argv[0]);
    bool is_group = false;
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        if (strcmp(c->name, argv[0]) == 0)
            return false;
        is_group =
            is_group || (strncmp(c->name, argv[0], len) == 0 && c->name[len] == ' ');
    }
    return is_group && argc > 1 && is_help(argv[1]);
}

int options_parse(struct cli *cli, int argc, char **argv, struct es_err *err)
{
    static char version_word[] = "version", help_word[] = "help";
    int i = 1, words = 0;
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        argv[1] = version_word;
    for (; i < argc && is_option(argv[i]) && !is_help(argv[i]); i++) {
        int rc = take_option(cli, argc, argv, &i, err);
        if (rc != 0)
            return rc;
    }
    if (i >= argc || is_help(argv[i])) {
        cli->opt[OPT_help] = "";
        return 0;
    }
    if (asks_for_group(argc - i, argv + i)) {
        argv[i + 1] = argv[i];
        argv[i] = help_word;
    }
    int rc = find_command(cli, argc - i, argv + i, &words, err);
    if (rc == 0)
        rc = take_rest(cli, argc - i - words, argv + i + words, err);
    cli->json = cli->opt[OPT_json] != NULL;
    return rc;
}

int option_int(const struct cli *cli, enum cli_option_id id, int64_t min, int64_t max,
               int64_t def, int64_t *ret, struct es_err *err)
{
    *ret = def;
    if (cli->opt[id] == NULL || es_str_int(cli->opt[id], min, max, ret) == 0)
        return 0;
    return es_err_set(err, ES_EINVAL, "--%s %.40s: must be a number from %lld to %lld",
                      cli_options[id].name, cli->opt[id], (long long)min, (long long)max);
}

int option_duration(const struct cli *cli, enum cli_option_id id, int64_t *ret_ms,
                    struct es_err *err)
{
    if (cli->opt[id] == NULL || es_str_duration(cli->opt[id], ret_ms) == 0)
        return 0;
    return es_err_set(err, ES_EINVAL,
                      "--%s %.40s: must be a duration such as 90s or 1h30m",
                      cli_options[id].name, cli->opt[id]);
}

const char *option_by(const struct cli *cli)
{
    const char *by = cli->opt[OPT_by] != NULL ? cli->opt[OPT_by] : getenv("USER");
    return by != NULL && *by != '\0' && es_utf8_valid(by, strlen(by)) ? by : NULL;
}
