/* A compressed kernel (bzImage) as the plain ELF file within. QEMU reads a bzImage into each
 * machine's own memory, but maps an ELF file, so that all machines share it, and the guest
 * need not unpack it. The entry is PVH's, which the file must offer in a Xen note; such a
 * kernel does not randomise its own address.
 *
 * Offsets are of the x86 boot protocol's setup header, versions 2.08 and later
 * (Documentation/arch/x86/boot.rst of Linux). */
#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "internal.h"

#define KERNEL_MAX_BYTES  (64L << 20)
#define VMLINUX_MAX_BYTES (512L << 20)

#define SECTORS_AT 0x1f1 /* u8, of real-mode code */
#define MAGIC_AT   0x202 /* "HdrS", then u16 version */
#define OFFSET_AT  0x248 /* u32, from the protected-mode code on */
#define LENGTH_AT  0x24c /* u32 */

#define NOTE_PVH 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

static uint32_t le32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The compressed part; the length of what it becomes follows it in all formats but gzip,
 * which has it itself. */
static bool find_payload(const unsigned char *image, size_t size, size_t *ret_at,
                         size_t *ret_len)
{
    if (size < 0x260 || memcmp(image + MAGIC_AT, "HdrS", 4) != 0 ||
        (image[MAGIC_AT + 4] | image[MAGIC_AT + 5] << 8) < 0x0208)
        return false;
    size_t sectors = image[SECTORS_AT] != 0 ? image[SECTORS_AT] : 4;
    size_t at = (sectors + 1) * 512 + le32(image + OFFSET_AT);
    size_t len = le32(image + LENGTH_AT);
    if (at >= size || len > size - at || len < 8)
        return false;
    bool is_gzip = image[at] == 0x1f && image[at + 1] == 0x8b;
    *ret_at = at;
    *ret_len = is_gzip ? len : len - 4;
    return true;
}

static bool unpack(const unsigned char *data, size_t len, int out)
{
    char block[65536];
    struct archive_entry *entry;
    struct archive *a = archive_read_new();
    la_ssize_t n = -1;
    long total = 0;
    if (a != NULL && archive_read_support_filter_all(a) >= ARCHIVE_WARN &&
        archive_read_support_format_raw(a) == ARCHIVE_OK &&
        archive_read_open_memory(a, data, len) == ARCHIVE_OK &&
        archive_read_next_header(a, &entry) == ARCHIVE_OK)
        while ((n = archive_read_data(a, block, sizeof block)) > 0) {
            total += n;
            if (total > VMLINUX_MAX_BYTES || write(out, block, (size_t)n) != n)
                break;
        }
    archive_read_free(a);
    return n == 0 && total > 0;
}

static bool read_at(int fd, void *dst, size_t len, uint64_t at)
{
    return at <= INT64_MAX && pread(fd, dst, len, (off_t)at) == (ssize_t)len;
}

static bool notes_have_pvh(int fd, const Elf64_Phdr *segment)
{
    Elf64_Nhdr note;
    char name[4];
    for (uint64_t at = 0; at + sizeof note <= segment->p_filesz;) {
        if (!read_at(fd, &note, sizeof note, segment->p_offset + at))
            return false;
        if (note.n_type == NOTE_PVH && note.n_namesz == 4 &&
            read_at(fd, name, 4, segment->p_offset + at + sizeof note) &&
            memcmp(name, "Xen", 4) == 0)
            return true;
        at += sizeof note + ((note.n_namesz + 3ULL) & ~3ULL) +
              ((note.n_descsz + 3ULL) & ~3ULL);
    }
    return false;
}

static bool has_pvh(int fd)
{
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    if (!read_at(fd, &head, sizeof head, 0) ||
        memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64 ||
        head.e_phentsize != sizeof segment || head.e_phnum > 64)
        return false;
    for (unsigned i = 0; i < head.e_phnum; i++)
        if (read_at(fd, &segment, sizeof segment, head.e_phoff + i * sizeof segment) &&
            segment.p_type == PT_NOTE && notes_have_pvh(fd, &segment))
            return true;
    return false;
}

bool vmlinux_extract(const char *image_path, const char *to)
{
    unsigned char *image = es_alloc(KERNEL_MAX_BYTES);
    size_t at, len;
    bool good = false;
    int in = open(image_path, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t size = 0, n = 0;
    while (image != NULL && in >= 0 && size < KERNEL_MAX_BYTES &&
           (n = read(in, image + size, (size_t)(KERNEL_MAX_BYTES - size))) > 0)
        size += n;
    if (image != NULL && in >= 0 && out >= 0 && n == 0)
        good = find_payload(image, (size_t)size, &at, &len) &&
               unpack(image + at, len, out) && has_pvh(out);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (!good)
        unlink(to);
    es_free(image);
    return good;
}
