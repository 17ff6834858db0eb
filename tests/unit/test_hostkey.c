/* range/hostkey: what OpenSSH itself says of the keys made here. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../orchestrator/range/hostkey.h"
#include "../support/guest.h"
#include "enshu/common/str.h"

static char dir[] = "/tmp/enshu-hostkey-XXXXXX";

static void setup(void)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    char command[128];
    es_str_printf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void key_of(unsigned char first, const char *comment, struct hostkey *key)
{
    unsigned char seed[HOSTKEY_SEED_BYTES];
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (unsigned char)(first + i);
    hostkey_make(seed, comment, key);
}

/* What a line of the shell in the folder prints. */
static void ask(const char *line, char *dst, size_t size)
{
    char command[512];
    es_str_printf(command, sizeof command, "cd %s && %s", dir, line);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    size_t n = fread(dst, 1, size - 1, out);
    dst[n] = '\0';
    ck_assert_msg(pclose(out) == 0, "%s", command);
}

static void write_key(const struct hostkey *key)
{
    char path[64];
    guest_write_file(dir, "key", key->private_text);
    es_str_printf(path, sizeof path, "%s/key", dir);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

START_TEST(openssh_reads_them)
{
    /* Every length of comment, so that every padding is met. */
    static const char comment[] = "a-node-of-a-name";
    struct hostkey key;
    char said[512];
    for (size_t len = 1; len < sizeof comment; len++) {
        char name[sizeof comment];
        es_str_printf(name, sizeof name, "%.*s", (int)len, comment);
        key_of((unsigned char)len, name, &key);
        write_key(&key);
        ask("ssh-keygen -y -P '' -f key", said, sizeof said);
        ck_assert_str_eq(said, key.public_text);
    }
    guest_write_file(dir, "public", key.public_text);
    ask("ssh-keygen -l -f key", said, sizeof said);
    ck_assert_ptr_nonnull(strstr(said, "256 SHA256:"));
    ck_assert_ptr_nonnull(strstr(said, " a-node-of-a-name (ED25519)"));
    char also[512];
    ask("ssh-keygen -l -f public", also, sizeof also);
    ck_assert_str_eq(also, said);
}
END_TEST

START_TEST(a_signature_of_one_fits_its_public_half)
{
    struct hostkey key;
    char said[512];
    key_of(100, "web", &key);
    write_key(&key);
    guest_write_file(dir, "data", "text");
    char allowed[HOSTKEY_TEXT_MAX + 8];
    es_str_printf(allowed, sizeof allowed, "web %s", key.public_text);
    guest_write_file(dir, "allowed", allowed);
    ask("ssh-keygen -q -Y sign -n test -f key data 2>&1 && ssh-keygen -Y verify -n test "
        "-f allowed -I web -s data.sig < data",
        said, sizeof said);
    ck_assert_ptr_nonnull(strstr(said, "Good \"test\" signature"));
}
END_TEST

START_TEST(seeds_make_the_difference)
{
    struct hostkey a, b, again;
    key_of(1, "web", &a);
    key_of(2, "web", &b);
    key_of(1, "web", &again);
    ck_assert_str_ne(a.public_text, b.public_text);
    ck_assert_str_ne(a.private_text, b.private_text);
    ck_assert_str_eq(a.public_text, again.public_text);
    ck_assert_str_eq(a.private_text, again.private_text);
}
END_TEST

Suite *hostkey_suite(void);
Suite *hostkey_suite(void)
{
    Suite *suite = suite_create("hostkey");
    TCase *tc = tcase_create("hostkey");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, openssh_reads_them);
    tcase_add_test(tc, a_signature_of_one_fits_its_public_half);
    tcase_add_test(tc, seeds_make_the_difference);
    suite_add_tcase(suite, tc);
    return suite;
}
