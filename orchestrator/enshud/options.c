/* The words of enshud. */
#include <getopt.h>
#include <stdio.h>

#include "enshu/common/str.h"
#include "enshud.h"

static const char text[] =
    "enshud: the core of enshu; runs ranges and serves the control socket\n"
    "\n"
    "  enshud [OPTION...]\n"
    "\n"
    "  --state DIR       ledgers, images, disks, sockets\n"
    "                    (default: $ENSHU_STATE, else ~/.local/state/enshu)\n"
    "  --uri URI         the libvirt to use (default: a private one, started by itself)\n"
    "  --accel kvm|tcg   the accelerator (default: found out by booting a probe guest)\n"
    "  --recipes DIR     image recipes (default: those that came with the program)\n"
    "  --agent PATH      the agent for seed discs (default: the one that came along)\n"
    "  --socket PATH     the control socket (default: " SOCKET_NAME
    " in the state folder)\n"
    "  --help, --version\n"
    "\n"
    "It stays in the foreground and says \"enshud: ready on SOCKET\" on standard "
    "output.\n"
    "SIGTERM and SIGINT end it; machines go on, and the next enshud finds them again.\n"
    "ENSHU_LOG=debug says more. Exit codes: enshu help exit-codes\n"
    "\n"
    "Examples:\n"
    "  enshud &\n"
    "  enshud --uri qemu:///system --state /var/lib/enshu\n";

void options_help(void)
{
    fputs(text, stdout);
}

static int check(const struct options *options, struct es_err *err)
{
    if (options->accel != NULL && !es_str_eq(options->accel, "kvm") &&
        !es_str_eq(options->accel, "tcg"))
        return es_err_set(err, ES_EINVAL, "--accel %.20s: must be kvm or tcg",
                          options->accel);
    return 0;
}

int options_read(struct options *options, int argc, char **argv, struct es_err *err)
{
    static const struct option longs[] = {{"state", required_argument, NULL, 's'},
                                          {"uri", required_argument, NULL, 'u'},
                                          {"accel", required_argument, NULL, 'a'},
                                          {"recipes", required_argument, NULL, 'r'},
                                          {"agent", required_argument, NULL, 'g'},
                                          {"socket", required_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    opterr = 0; /* one line, ours */
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        const char **value = c == 's'   ? &options->state
                             : c == 'u' ? &options->uri
                             : c == 'a' ? &options->accel
                             : c == 'r' ? &options->recipes
                             : c == 'g' ? &options->agent
                             : c == 'k' ? &options->socket
                                        : NULL;
        if (value != NULL)
            *value = optarg;
        else if (c == 'h')
            options->help = true;
        else if (c == 'v')
            options->version = true;
        else
            return es_err_set(err, ES_EINVAL, "%.60s %s; see: enshud --help",
                              argv[optind - 1],
                              c == ':' ? "needs a value" : "is no option");
    }
    if (optind < argc)
        return es_err_set(err, ES_EINVAL, "unexpected \"%.60s\"; see: enshud --help",
                          argv[optind]);
    return check(options, err);
}
