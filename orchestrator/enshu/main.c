/* enshu: reads the command line, runs one command, ends with the exit code of its status
 * (tbl/status.h). */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0';
}

/* "ja_JP.UTF-8" to "ja"; the first of the usual variables that says something. */
static const char *language(void)
{
    static char lang[9];
    static const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    const char *value = NULL;
    for (size_t i = 0; i < ES_COUNT(names) && value == NULL; i++)
        if (is_set(names[i]))
            value = getenv(names[i]);
    size_t len = value != NULL ? strcspn(value, "_.@") : 0;
    if (len < 2 || len >= sizeof lang || strncmp(value, "POSIX", 5) == 0)
        return "en";
    memcpy(lang, value, len);
    lang[len] = '\0';
    return lang;
}

static void look_at_terminal(struct cli *cli)
{
    cli->tty_out = isatty(STDOUT_FILENO) == 1;
    bool is_dumb = es_str_eq(getenv("TERM"), "dumb") || !is_set("TERM");
    cli->tty_err = isatty(STDERR_FILENO) == 1 && !is_dumb;
    cli->screen = cli->tty_out && !is_dumb;
    cli->color = cli->tty_out && !is_dumb && !is_set("NO_COLOR");
    cli->lang = cli->opt[OPT_lang] != NULL ? cli->opt[OPT_lang] : language();
}

static int run(struct cli *cli, int argc, char **argv, struct es_err *err)
{
    int rc = options_parse(cli, argc, argv, err);
    if (rc != 0)
        return rc;
    look_at_terminal(cli);
    if (cli->command == NULL)
        return run_help(cli, err);
    if (cli->opt[OPT_help] != NULL) {
        help_command(cli->command, stdout);
        return 0;
    }
    return cli->command->run(cli, err);
}

static int finish_output(int code)
{
    /* A reader that has gone away (`enshu … | head`) is no failure of ours. */
    if (fflush(stdout) == 0 || errno == EPIPE)
        return code;
    fprintf(stderr, "enshu: cannot write the result: %s\n", strerror(errno));
    return code != 0 ? code : es_status_exit(ES_EIO);
}

int main(int argc, char **argv)
{
    struct cli cli = {.lang = "en"};
    struct es_err err = {0};
    es_wire_use_allocator();
    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    int rc = run(&cli, argc, argv, &err);
    progress_end(&cli);
    core_close(&cli);
    if (rc != 0 && err.msg[0] != '\0') {
        fflush(stdout);
        fputs("enshu: ", stderr);
        out_safe(stderr, err.msg);
        fputc('\n', stderr);
    }
    return finish_output(rc != 0 ? es_status_exit(rc) : cli.exit_code);
}
