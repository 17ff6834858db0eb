/* The seed disc: ISO 9660 with Rock Ridge and Joliet, label CIDATA.
 *
 * Images from recipes look for the label and run `start`; stock cloud images find NoCloud's
 * meta-data and user-data, which do the same. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

#define AGENT_MAX (64U << 20)

/* Runs with any shell, from the disc. The agent's own exit is not expected; a pause keeps
 * a broken one from burning the machine. */
static const char start_script[] = "#!/bin/sh\n"
                                   "# Keeps the enshu agent of this disc running.\n"
                                   "dir=${0%/*}\n"
                                   "while :; do\n"
                                   "    \"$dir/enshu-agent\" </dev/null >/dev/null 2>&1\n"
                                   "    sleep 1\n"
                                   "done\n";

static const char user_data[] =
    "#cloud-config\n"
    "ssh_deletekeys: false\n"
    "bootcmd:\n"
    "  - - sh\n"
    "    - -c\n"
    "    - |\n"
    "      mkdir -p /run/enshu/seed\n"
    "      [ -f /run/enshu/seed/start ] || mount -o ro LABEL=CIDATA /run/enshu/seed\n"
    "      if command -v systemd-run >/dev/null 2>&1; then\n"
    "          systemd-run --unit=enshu-agent --property=Restart=always sh "
    "/run/enshu/seed/start\n"
    "      else\n"
    "          setsid sh /run/enshu/seed/start </dev/null >/dev/null 2>&1 &\n"
    "      fi\n";

struct disc {
    struct archive *archive;
    struct es_err *err;
    const char *path;
    int rc;
};

static void fail(struct disc *d)
{
    if (d->rc == 0)
        d->rc = es_err_set(d->err, ES_EIO, "cannot write the seed disc %s: %s", d->path,
                           archive_error_string(d->archive));
}

static void put(struct disc *d, const char *name, mode_t mode, const void *data,
                size_t len)
{
    struct archive_entry *entry = d->rc == 0 ? archive_entry_new() : NULL;
    if (d->rc != 0)
        return;
    if (entry == NULL) {
        d->rc = es_err_nomem(d->err);
        return;
    }
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, mode);
    archive_entry_set_mtime(entry, 1700000000, 0);
    archive_entry_set_size(entry, (la_int64_t)len);
    if (archive_write_header(d->archive, entry) != ARCHIVE_OK ||
        (len > 0 && archive_write_data(d->archive, data, len) != (la_ssize_t)len))
        fail(d);
    archive_entry_free(entry);
}

/* Host names and ids go into YAML; nothing but their own alphabet is let in. */
static bool plain_name(const char *s)
{
    size_t len = strlen(s);
    return len > 0 && len < 200 &&
           strspn(s,
                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
               len;
}

static void put_all(struct disc *d, const struct es_buf *agent, const char *instance_id,
                    const char *hostname)
{
    char meta[512];
    int n = snprintf(meta, sizeof meta, "instance-id: \"%s\"\nlocal-hostname: \"%s\"\n",
                     instance_id, hostname);
    put(d, "enshu-agent", 0755, agent->data, agent->len);
    put(d, "meta-data", 0644, meta, (size_t)n);
    put(d, "start", 0755, start_script, sizeof start_script - 1);
    put(d, "user-data", 0644, user_data, sizeof user_data - 1);
}

static int write_disc(const char *path, const struct es_buf *agent,
                      const char *instance_id, const char *hostname, struct es_err *err)
{
    struct disc d = {archive_write_new(), err, path, 0};
    if (d.archive == NULL)
        return es_err_nomem(err);
    if (archive_write_set_format_iso9660(d.archive) != ARCHIVE_OK ||
        archive_write_set_options(
            d.archive, "volume-id=CIDATA,rockridge=useful,joliet,pad") != ARCHIVE_OK ||
        archive_write_open_filename(d.archive, path) != ARCHIVE_OK)
        fail(&d);
    if (d.rc == 0)
        put_all(&d, agent, instance_id, hostname);
    if (d.rc == 0 && archive_write_close(d.archive) != ARCHIVE_OK)
        fail(&d);
    archive_write_free(d.archive);
    return d.rc;
}

int es_image_seed(const char *path, const char *agent_path, const char *instance_id,
                  const char *hostname, struct es_err *err)
{
    char temp[ES_IMAGE_PATH_MAX];
    struct es_buf agent;
    if (!plain_name(instance_id) || !plain_name(hostname))
        return es_err_set(err, ES_EINVAL,
                          "\"%.60s\" and \"%.60s\": ids and host names of seed discs are "
                          "letters, digits, dashes and dots",
                          instance_id, hostname);
    if (es_str_printf(temp, sizeof temp, "%s.new", path) != 0)
        return es_err_set(err, ES_ELIMIT, "the seed disc's path is too long");
    es_buf_init(&agent, AGENT_MAX);
    int rc = read_text(agent_path, AGENT_MAX, &agent, err);
    if (rc == 0)
        rc = write_disc(temp, &agent, instance_id, hostname, err);
    es_buf_finish(&agent);
    if (rc == 0 && (chmod(temp, 0644) != 0 || rename(temp, path) != 0))
        rc = es_err_set(err, ES_EIO, "cannot write the seed disc %s: %s", path,
                        strerror(errno));
    if (rc != 0)
        unlink(temp);
    return rc;
}
