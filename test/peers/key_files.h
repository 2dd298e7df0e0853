/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory of a test's own, and key files in it.
 */
#ifndef PARLEY_TEST_KEY_FILES_H
#define PARLEY_TEST_KEY_FILES_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/identity_file.h"
#include "test/check.h"

static char key_dir[64];

static inline bool key_dir_make(void)
{
    snprintf(key_dir, sizeof(key_dir), "/tmp/parley-keys-XXXXXX");
    return CHECK(mkdtemp(key_dir) != NULL);
}

/* Of 16 paths at a time. */
static inline const char *key_path(const char *name)
{
    static char paths[16][400];
    static unsigned next;
    char *path = paths[next++ % 16];

    snprintf(path, sizeof(paths[0]), "%s/%s", key_dir, name);
    return path;
}

static inline void key_dir_remove(void)
{
    DIR *directory = opendir(key_dir);
    const struct dirent *file;

    while (directory != NULL && (file = readdir(directory)) != NULL) {
        if (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0 &&
            unlink(key_path(file->d_name)) != 0)
            rmdir(key_path(file->d_name));
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(key_dir);
}

static inline const char *key_text(const char *name, const char *text, mode_t mode)
{
    const char *path = key_path(name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t len = strlen(text);

    CHECK(file >= 0 && write(file, text, len) == (ssize_t)len && fchmod(file, mode) == 0);
    close(file);
    return path;
}

/* A seed of our own: `number` and 31 zero bytes. */
static inline void key_seed(uint8_t number, uint8_t seed[IDENTITY_SEED_BYTES])
{
    memset(seed, 0, IDENTITY_SEED_BYTES);
    seed[0] = number;
}

/* Its public key in hex; 64 at a time. */
static inline const char *key_hex(uint8_t number)
{
    static char texts[64][IDENTITY_KEY_HEX + 1];
    static unsigned next;
    char *text = texts[next++ % 64];
    uint8_t seed[IDENTITY_SEED_BYTES];
    struct identity *identity = NULL;
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    key_seed(number, seed);
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    identity_hex(identity_public(identity), text);
    identity_free(identity);
    return text;
}

/* The identity file of such a seed. */
static inline const char *key_file(const char *name, uint8_t number)
{
    uint8_t seed[IDENTITY_SEED_BYTES];
    const char *path = key_path(name);
    char error[256] = "";

    key_seed(number, seed);
    if (!CHECK_STATUS(identity_file_write(path, seed, true, error, sizeof(error)), OK))
        CHECK_TEXT(error, "");
    return path;
}

#endif
