/* SPDX-License-Identifier: Apache-2.0
 *
 * A record: a head of fixed size, the sender, the nonce or session id, each with its NUL.
 * Numbers are those of the machine: the files never leave it.
 */
#include "peers/nonces_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/envelope.h"
#include "peers/hash.h"
#include "runtime/clock.h"

#define TEXTS_MAX   (ENVELOPE_ID_MAX + 1 + ENVELOPE_NONCE_MAX + 1)
#define READ_BYTES  65536
#define PATH_BYTES  4096
#define RECORD_MARK 0x70614e31u /* says that this is one, and in which form */

struct head {
    uint32_t mark, check; /* of everything after it */
    uint64_t wall_us, newest_us;
    uint32_t kind, texts_len;
};

static_assert(sizeof(struct head) == 32, "no padding: it goes to the file as it is");

struct record {
    struct head head;
    char texts[TEXTS_MAX];
};

struct nonces_file {
    const struct alloc *alloc;
    uint64_t window_us;
    int fds[2];
    pthread_mutex_t mutex; /* guards the rest */
    unsigned current;
    uint64_t began_us; /* when the current one was empty */
};

static uint32_t check_of(const struct head *head, const char *sender, const char *text)
{
    uint64_t numbers[] = {head->wall_us, head->newest_us, head->kind, head->texts_len};
    uint32_t check = 0;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        check = (check ^ (uint32_t)numbers[i] ^ (uint32_t)(numbers[i] >> 32)) * 16777619u;
    return check ^ (hash_bytes(sender, strlen(sender)) * 31) ^
           (hash_bytes(text, strlen(text)) * 17);
}

static void cut(int fd, off_t len)
{
    while (ftruncate(fd, len) != 0 && errno == EINTR)
        ;
}

/* ---- Reading ---- */

/* @return bytes of the record at `bytes`, 0: there is no whole and sound one */
static size_t read_record(const char *bytes, size_t len, struct record *ret)
{
    const char *end;

    if (len < sizeof(ret->head))
        return 0;
    memcpy(&ret->head, bytes, sizeof(ret->head));
    if (ret->head.mark != RECORD_MARK || ret->head.texts_len > TEXTS_MAX ||
        ret->head.texts_len > len - sizeof(ret->head))
        return 0;
    memcpy(ret->texts, bytes + sizeof(ret->head), ret->head.texts_len);
    end = memchr(ret->texts, '\0', ret->head.texts_len);
    if (end == NULL ||
        memchr(end + 1, '\0', ret->head.texts_len - 1 - (size_t)(end - ret->texts)) == NULL ||
        ret->head.check != check_of(&ret->head, ret->texts, end + 1))
        return 0;
    return sizeof(ret->head) + ret->head.texts_len;
}

struct reading {
    struct nonces *nonces;
    uint64_t now_ns, wall_us;
    uint64_t last_ns; /* times do not go back, whatever the wall clock did */
};

static void restore(struct reading *reading, const struct record *record)
{
    const struct head *head = &record->head;
    uint64_t age_us = head->wall_us < reading->wall_us ? reading->wall_us - head->wall_us : 0;
    uint64_t age_ns = age_us * 1000;
    uint64_t at_ns = reading->now_ns > age_ns ? reading->now_ns - age_ns : 1;
    const char *text = record->texts + strlen(record->texts) + 1;

    if (age_us > reading->nonces->window_ns / 1000 ||
        (head->kind != NONCES_NONCE && head->kind != NONCES_SESSION))
        return;
    if (at_ns < reading->last_ns)
        at_ns = reading->last_ns;
    reading->last_ns = at_ns;
    (void)nonces_restore(reading->nonces, (enum nonces_kind)head->kind, record->texts, text,
                         head->newest_us, at_ns, reading->now_ns);
}

/* What is damaged is cut off, with what follows it: what is appended then can be read. */
static void read_file(struct reading *reading, int fd, char buffer[READ_BYTES])
{
    size_t len = 0;
    off_t good = 0;
    ssize_t got;

    while ((got = pread(fd, buffer + len, READ_BYTES - len, good + (off_t)len)) > 0) {
        size_t at = 0, taken;
        struct record record = {.texts = ""};

        len += (size_t)got;
        while ((taken = read_record(buffer + at, len - at, &record)) > 0) {
            restore(reading, &record);
            at += taken;
        }
        good += (off_t)at;
        memmove(buffer, buffer + at, len - at);
        len -= at;
        if (len >= sizeof(record))
            break;
    }
    cut(fd, good);
}

/* When it was begun; 0: it holds nothing. */
static uint64_t began_us(int fd)
{
    char bytes[sizeof(struct record)];
    ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
    struct record record = {.texts = ""};

    return got > 0 && read_record(bytes, (size_t)got, &record) > 0 ? record.head.wall_us : 0;
}

/* ---- Opening ---- */

static void path_of(char path[PATH_BYTES], const char *dir, const char *node, unsigned which)
{
    snprintf(path, PATH_BYTES, "%s/nonces-%s.%u", dir, node, which);
}

/* @return the reason it cannot be used, or NULL */
static const char *open_one(const char *path, int *ret_fd)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat stat;

    *ret_fd = fd;
    if (fd < 0)
        return strerror(errno);
    if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        return "not a file";
    return flock(fd, LOCK_EX | LOCK_NB) == 0 ? NULL : "another process uses it";
}

static parley_status open_both(struct nonces_file *file, const char *state_dir,
                               const char *node_id, char *error, size_t error_len)
{
    char path[PATH_BYTES];

    for (unsigned i = 0; i < 2; i++) {
        const char *reason;

        path_of(path, state_dir, node_id, i);
        reason = open_one(path, &file->fds[i]);
        if (reason != NULL) {
            snprintf(error, error_len, "%.*s: %s", (int)error_len / 2, path, reason);
            return PARLEY_ESYSTEM;
        }
    }
    return PARLEY_OK;
}

/* The one that began later is the one that is written. */
static parley_status read_both(struct nonces_file *file, struct nonces *nonces,
                               uint64_t now_ns, uint64_t wall_us)
{
    char *buffer = alloc_bytes(file->alloc, READ_BYTES);
    struct reading reading = {.nonces = nonces, .now_ns = now_ns, .wall_us = wall_us};

    if (buffer == NULL)
        return PARLEY_ENOMEM;
    file->current = began_us(file->fds[1]) > began_us(file->fds[0]);
    file->began_us = began_us(file->fds[file->current]);
    if (file->began_us == 0 || file->began_us > wall_us)
        file->began_us = wall_us;
    read_file(&reading, file->fds[!file->current], buffer);
    read_file(&reading, file->fds[file->current], buffer);
    alloc_free(file->alloc, buffer);
    return PARLEY_OK;
}

parley_status nonces_file_open(struct nonces *nonces, const char *state_dir,
                               const char *node_id, uint64_t now_ns, uint64_t wall_us,
                               char *error, size_t error_len)
{
    struct nonces_file *file = alloc_zeroed(nonces->alloc, sizeof(*file));
    parley_status status;

    if (file == NULL)
        return PARLEY_ENOMEM;
    file->alloc = nonces->alloc;
    file->window_us = nonces->window_ns / 1000;
    file->fds[0] = file->fds[1] = -1;
    if (pthread_mutex_init(&file->mutex, NULL) != 0) {
        alloc_free(nonces->alloc, file);
        return PARLEY_ESYSTEM;
    }
    status = open_both(file, state_dir, node_id, error, error_len);
    if (status == PARLEY_OK)
        status = read_both(file, nonces, now_ns, wall_us);
    if (status == PARLEY_OK)
        nonces->file = file;
    else
        nonces_file_close(file);
    return status;
}

void nonces_file_close(struct nonces_file *file)
{
    if (file == NULL)
        return;
    for (unsigned i = 0; i < 2; i++) {
        if (file->fds[i] >= 0)
            close(file->fds[i]);
    }
    pthread_mutex_destroy(&file->mutex);
    alloc_free(file->alloc, file);
}

/* ---- Writing ---- */

/* @return the descriptor to append to */
static int turn(struct nonces_file *file, uint64_t wall_us)
{
    int fd;

    pthread_mutex_lock(&file->mutex);
    if (wall_us > file->began_us && wall_us - file->began_us > file->window_us) {
        file->current ^= 1;
        file->began_us = wall_us;
        cut(file->fds[file->current], 0);
    }
    fd = file->fds[file->current];
    pthread_mutex_unlock(&file->mutex);
    return fd;
}

void nonces_file_add(struct nonces_file *file, enum nonces_kind kind, const char *sender,
                     const char *text, uint64_t newest_us, uint64_t wall_us)
{
    size_t sender_len = strlen(sender) + 1, text_len = strlen(text) + 1;
    struct record record = {
        .head = {.mark = RECORD_MARK,
                 .wall_us = wall_us,
                 .newest_us = newest_us,
                 .kind = kind,
                 .texts_len = (uint32_t)(sender_len + text_len)},
    };
    ssize_t written;

    if (file == NULL || sender_len + text_len > TEXTS_MAX)
        return;
    memcpy(record.texts, sender, sender_len);
    memcpy(record.texts + sender_len, text, text_len);
    record.head.check = check_of(&record.head, sender, text);
    do {
        written =
            write(turn(file, wall_us), &record, sizeof(record.head) + record.head.texts_len);
    } while (written < 0 && errno == EINTR);
}
