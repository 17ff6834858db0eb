/* enshu-agent: runs as root inside a guest, answers the core over a virtio-serial port. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../probe/askpass.h"
#include "agent.h"
#include "enshu/common/log.h"

static const char help[] =
    "usage: enshu-agent [--port PATH] [--root DIR] [--version] [--help]\n"
    "Observes and prepares this guest for enshu, over the virtio-serial port\n"
    "org.enshu.agent.0.\n"
    "  --port PATH  use this device, terminal or Unix socket instead\n"
    "  --root DIR   for tests: account and system files are those below DIR\n";

/* 0, 1, 2 exist and belong to nobody's socket. */
static void own_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd >= 3)
        close(fd);
}

static void survive(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t none;
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    if (chdir("/") != 0)
        es_log_warn("cannot change to /");
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "-900", 4) < 0)
        es_log_debug("no right to be spared when memory is out");
    close(fd);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"root", required_argument, NULL, 'r'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static struct es_agent agent;
    const char *port = NULL, *root = "";
    struct es_err err = {0};
    int c;
    if (es_ssh_askpass())
        return 0;
    es_wire_use_allocator();
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'p':
            port = optarg;
            break;
        case 'r':
            root = optarg;
            break;
        case 'v':
            puts("enshu-agent " ES_VERSION);
            return 0;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            fputs(help, stderr);
            return 64;
        }
    }
    own_descriptors();
    survive();
    if (es_agent_init(&agent, root, &err) != 0 ||
        es_port_open(&agent.port, &agent, port, &err) != 0) {
        es_log_error("enshu-agent: %s", err.msg);
        return es_status_exit(err.code);
    }
    uv_run(&agent.loop, UV_RUN_DEFAULT);
    uv_loop_close(&agent.loop);
    es_session_finish_all(&agent.session);
    return 0;
}
