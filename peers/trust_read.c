/* SPDX-License-Identifier: Apache-2.0
 *
 * What a configuration names as identity and trusted keys, read from its files and checked.
 * Nothing of the runtime changes here.
 */
#include "peers/trust_load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/identity_file.h"

#define SUFFIX     ".pub"
#define REASON_MAX 160

/* ---- The identity ---- */

static parley_status read_seed(struct trust_load *load, uint8_t seed[IDENTITY_SEED_BYTES])
{
    const parley_options *options = load->options;
    char reason[512];
    parley_status status;

    if (options->identity_seed != NULL && options->identity_file != NULL) {
        snprintf(load->error, load->error_len,
                 "security.identity_file: expected none beside identity_seed");
        return PARLEY_EINVAL;
    }
    if (options->identity_seed != NULL) {
        memcpy(seed, options->identity_seed, IDENTITY_SEED_BYTES);
        return PARLEY_OK;
    }
    status = identity_file_read(options->identity_file, reason, sizeof(reason), seed);
    if (status != PARLEY_OK)
        snprintf(load->error, load->error_len, "security.identity_file: %s", reason);
    return status;
}

static parley_status load_self(struct trust_load *load)
{
    const struct alloc *alloc = &load->runtime->alloc;
    uint8_t seed[IDENTITY_SEED_BYTES];
    parley_status status;

    if (load->options->identity_seed == NULL && load->options->identity_file == NULL)
        return PARLEY_OK;
    status = read_seed(load, seed);
    if (status == PARLEY_OK) {
        load->self = alloc_zeroed(alloc, sizeof(*load->self));
        status = load->self != NULL ? identity_new(alloc, seed, &load->self->identity)
                                    : PARLEY_ENOMEM;
        if (load->self != NULL)
            load->self->garbage.kind = TRUST_SELF;
    }
    OPENSSL_cleanse(seed, sizeof(seed));
    return status;
}

/* ---- The directory ---- */

static parley_status refuse_file(struct trust_load *load, const char *name, const char *reason)
{
    snprintf(load->error, load->error_len, "security.trusted_keys_dir: %s%s%s: %s",
             load->options->trusted_keys_dir, name[0] != '\0' ? "/" : "", name, reason);
    return PARLEY_ECONFIG;
}

/* @return the entity's name's length; 0: not a key file's name */
static size_t entity_len(const char *name)
{
    size_t len = strlen(name), suffix = sizeof(SUFFIX) - 1;

    if (name[0] == '.' || len <= suffix || strcmp(name + len - suffix, SUFFIX) != 0)
        return 0;
    return len - suffix;
}

parley_status trust_load_add(struct trust_load *load, const char *entity,
                             const uint8_t key[IDENTITY_KEY_BYTES],
                             struct trust_entry **ret_entry)
{
    struct trust_entry *entry = NULL;
    parley_status status = trust_entry_new(&load->runtime->alloc, entity, key, &entry);

    if (status != PARLEY_OK)
        return status;
    entry->next = load->fresh;
    load->fresh = entry;
    load->fresh_len++;
    *ret_entry = entry;
    return PARLEY_OK;
}

static parley_status load_file(struct trust_load *load, int directory, const char *name)
{
    char entity[ENVELOPE_ID_MAX + 1] = "", reason[REASON_MAX];
    uint8_t key[IDENTITY_KEY_BYTES];
    size_t len = entity_len(name);
    struct trust_entry *entry;
    parley_status status;

    if (len == 0)
        return PARLEY_OK;
    if (len < sizeof(entity))
        memcpy(entity, name, len);
    if (!entity_id_valid(entity))
        return refuse_file(load, name, "is not an entity's name and .pub");
    if (load->fresh_len >= load->options->peers_max)
        return refuse_file(load, "", "holds more keys than runtime.peers_max");
    status = identity_file_read_public(directory, name, reason, sizeof(reason), key);
    if (status != PARLEY_OK)
        return refuse_file(load, name, reason);
    status = trust_load_add(load, entity, key, &entry);
    if (status == PARLEY_EINVAL)
        return refuse_file(load, name, "holds a key that is no point of the curve");
    if (status == PARLEY_OK)
        entry->next_of_directory = true;
    return status;
}

/* Who may write there may trust anybody. */
static const char *judge_directory(int directory)
{
    struct stat status;

    if (fstat(directory, &status) != 0)
        return strerror(errno);
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return "belongs to another user";
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "can be written by group or others; expected mode 0755";
    return NULL;
}

static parley_status load_files(struct trust_load *load, DIR *directory)
{
    parley_status status = PARLEY_OK;
    const struct dirent *file;

    errno = 0;
    while (status == PARLEY_OK && (file = readdir(directory)) != NULL) {
        status = load_file(load, dirfd(directory), file->d_name);
        errno = 0;
    }
    return status == PARLEY_OK && errno != 0 ? refuse_file(load, "", strerror(errno)) : status;
}

static parley_status load_directory(struct trust_load *load)
{
    parley_status status;
    const char *reason;
    DIR *directory;
    int file;

    if (load->options->trusted_keys_dir == NULL)
        return PARLEY_OK;
    file = open(load->options->trusted_keys_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0)
        return refuse_file(load, "", strerror(errno));
    reason = judge_directory(file);
    directory = reason == NULL ? fdopendir(file) : NULL;
    if (directory == NULL) {
        close(file);
        return reason != NULL ? refuse_file(load, "", reason) : PARLEY_ENOMEM;
    }
    status = load_files(load, directory);
    closedir(directory);
    return status;
}

/* ---- Both ---- */

parley_status trust_load_read(struct trust_load *load)
{
    parley_status status = load_self(load);

    return status == PARLEY_OK ? load_directory(load) : status;
}

void trust_load_fini(struct trust_load *load)
{
    const struct alloc *alloc = &load->runtime->alloc;

    while (load->fresh != NULL) {
        struct trust_entry *next = load->fresh->next;

        trust_entry_free(alloc, load->fresh);
        load->fresh = next;
    }
    alloc_free(alloc, load->ring);
    trust_self_free(alloc, load->self);
}
