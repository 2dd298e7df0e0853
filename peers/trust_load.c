/* SPDX-License-Identifier: Apache-2.0
 *
 * Identity and trusted keys as the configuration has them, when a runtime opens and whenever
 * it is told to read them again. All is read and checked first; then nothing can fail any
 * more, and everything is exchanged. What has not changed stays the same object, so that
 * what workers remember of it holds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/identity_file.h"
#include "peers/settings.h"
#include "peers/trust.h"
#include "peers/trust_change.h"

#define SUFFIX     ".pub"
#define REASON_MAX 160

/* What was read, until it is put to use. */
struct load {
    struct parley *runtime;
    const parley_options *options;
    bool of_peers; /* look at the options' peers, too: the registry is locked */
    struct trust_self *self;
    struct trust_entry *fresh; /* of which the present ring has none like it */
    size_t fresh_len;
    struct trust_ring *ring; /* the next one */
    char *error;
    size_t error_len;
};

/* ---- The identity ---- */

static parley_status read_seed(struct load *load, uint8_t seed[IDENTITY_SEED_BYTES])
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

static parley_status load_self(struct load *load)
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

static parley_status refuse_file(struct load *load, const char *name, const char *reason)
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

static parley_status add_fresh(struct load *load, const char *entity,
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

static parley_status load_file(struct load *load, int directory, const char *name)
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
    status = add_fresh(load, entity, key, &entry);
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

static parley_status load_files(struct load *load, DIR *directory)
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

static parley_status load_directory(struct load *load)
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

/* ---- What comes next, with the mutex held ---- */

static struct trust_ring *present(const struct load *load)
{
    /* relaxed: the mutex orders us with who stored it. */
    return atomic_load_explicit(&load->runtime->trust.ring, memory_order_relaxed);
}

static struct trust_entry *find_present(const struct load *load, const char *entity)
{
    return present(load) != NULL ? trust_ring_find(present(load), entity) : NULL;
}

/* Peers' keys stay, unless the options say otherwise; the directory's have to be there again.
 * What was read and is there already is not needed. */
static void compare_directory(struct load *load)
{
    struct trust_entry **at = &load->fresh;

    for (size_t i = 0; present(load) != NULL && i < present(load)->capacity; i++) {
        struct trust_entry *entry = trust_ring_at(present(load), i);

        if (entry != NULL) {
            entry->next_of_peer = entry->of_peer;
            entry->next_of_directory = false;
        }
    }
    while (*at != NULL) {
        struct trust_entry *entry = *at, *known = find_present(load, entry->id);

        if (known == NULL || !trust_same(known, identity_key_bytes(entry->key))) {
            at = &entry->next;
            continue;
        }
        known->next_of_directory = true;
        *at = entry->next;
        trust_entry_free(&load->runtime->alloc, entry);
        load->fresh_len--;
    }
}

static parley_status compare_peer(struct load *load, const parley_peer_entry *peer)
{
    struct trust_entry *known = find_present(load, peer->id), *entry;
    const char *text = peer->options.public_key;
    uint8_t key[IDENTITY_KEY_BYTES];
    parley_status status;

    if (known != NULL)
        known->next_of_peer = false;
    if (text == NULL)
        return PARLEY_OK;
    if (!identity_from_hex(text, strnlen(text, IDENTITY_KEY_HEX + 1), key))
        return PARLEY_EINVAL;
    if (known != NULL && trust_same(known, key)) {
        known->next_of_peer = true;
        return PARLEY_OK;
    }
    status = add_fresh(load, peer->id, key, &entry);
    if (status == PARLEY_OK)
        entry->next_of_peer = true;
    if (status == PARLEY_EINVAL)
        snprintf(load->error, load->error_len,
                 "peers: %s: public_key: expected a point of the curve", peer->id);
    return status;
}

static parley_status compare_peers(struct load *load)
{
    parley_status status = PARLEY_OK;

    for (size_t i = 0; load->of_peers && status == PARLEY_OK && i < load->options->peers_len;
         i++) {
        const parley_peer_entry *peer = &load->options->peers[i];

        if (registry_find(&load->runtime->registry, peer->id) != NULL)
            status = compare_peer(load, peer);
    }
    return status;
}

/* Two entries of one entity are one if they agree. @return NULL: it has been put */
static const char *put(struct load *load, struct trust_entry *entry)
{
    struct trust_entry *other = trust_ring_find(load->ring, entry->id);

    if (other == NULL)
        trust_ring_put(load->ring, entry);
    else if (!trust_same(other, identity_key_bytes(entry->key)))
        return entry->id;
    else {
        other->next_of_peer |= entry->next_of_peer;
        other->next_of_directory |= entry->next_of_directory;
    }
    return NULL;
}

static parley_status compose(struct load *load)
{
    size_t capacity = present(load) != NULL ? present(load)->capacity : 0;
    const char *torn = NULL; /* the entity that is given two keys */

    load->ring =
        trust_ring_new(&load->runtime->alloc,
                       atomic_load_explicit(&load->runtime->trust.keys, memory_order_relaxed) +
                           load->fresh_len);
    if (load->ring == NULL)
        return PARLEY_ENOMEM;
    for (size_t i = 0; torn == NULL && i < capacity; i++) {
        struct trust_entry *entry = trust_ring_at(present(load), i);

        if (entry != NULL && (entry->next_of_peer || entry->next_of_directory))
            torn = put(load, entry);
    }
    for (struct trust_entry *entry = load->fresh; torn == NULL && entry != NULL;
         entry = entry->next)
        torn = put(load, entry);
    if (torn == NULL)
        return PARLEY_OK;
    snprintf(load->error, load->error_len,
             "peers: %s: public_key: expected the one in security.trusted_keys_dir", torn);
    return PARLEY_ECONFIG;
}

/* ---- Putting it to use: nothing fails any more ---- */

/* Fresh ones that are not in the ring were the same as others that are. */
static void settle_fresh(struct load *load)
{
    while (load->fresh != NULL) {
        struct trust_entry *entry = load->fresh;

        load->fresh = entry->next;
        if (trust_ring_find(load->ring, entry->id) == entry)
            trust_log_gained(load->runtime, entry);
        else
            trust_entry_free(&load->runtime->alloc, entry);
    }
}

static void settle_present(struct load *load)
{
    struct trust_ring *former = present(load);

    for (size_t i = 0; former != NULL && i < former->capacity; i++) {
        struct trust_entry *entry = trust_ring_at(former, i);

        if (entry == NULL || trust_ring_find(load->ring, entry->id) == entry)
            continue;
        trust_log_lost(load->runtime, entry);
        trust_retire(load->runtime, &entry->garbage);
    }
}

static void settle_origins(struct load *load)
{
    uint32_t keys = 0;

    for (size_t i = 0; i < load->ring->capacity; i++) {
        struct trust_entry *entry = trust_ring_at(load->ring, i);

        if (entry == NULL)
            continue;
        entry->of_peer = entry->next_of_peer;
        entry->of_directory = entry->next_of_directory;
        keys++;
    }
    atomic_store_explicit(&load->runtime->trust.keys, keys, memory_order_relaxed);
}

static bool same_self(const struct load *load)
{
    const struct identity *former = trust_identity(load->runtime);

    if (load->self == NULL || former == NULL)
        return load->self == NULL && former == NULL;
    return memcmp(identity_public(load->self->identity), identity_public(former),
                  IDENTITY_KEY_BYTES) == 0;
}

static void settle_self(struct load *load)
{
    char text[IDENTITY_FINGERPRINT_CHARS + 1] = "none";

    if (same_self(load))
        return;
    if (load->self != NULL)
        identity_fingerprint(identity_public(load->self->identity), text);
    log_info(&load->runtime->log, "identity: %s", text);
    trust_use_self(load->runtime, load->self);
    load->self = NULL;
}

static parley_status apply(struct load *load)
{
    parley_status status;

    compare_directory(load);
    status = compare_peers(load);
    if (status == PARLEY_OK)
        status = compose(load);
    if (status != PARLEY_OK)
        return status;
    settle_fresh(load);
    settle_present(load);
    settle_origins(load);
    trust_use_ring(load->runtime, load->ring);
    load->ring = NULL;
    settle_self(load);
    trust_changed(load->runtime);
    return PARLEY_OK;
}

/* ---- Both ---- */

static parley_status read_files(struct load *load)
{
    parley_status status = load_self(load);

    return status == PARLEY_OK ? load_directory(load) : status;
}

static void load_fini(struct load *load)
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

parley_status trust_open(struct parley *runtime, char *error, size_t error_len)
{
    struct load load = {.runtime = runtime,
                        .options = &runtime->options,
                        .error = error,
                        .error_len = error_len};
    parley_status status = trust_init(runtime);

    if (status == PARLEY_OK)
        status = read_files(&load);
    if (status == PARLEY_OK)
        status = apply(&load);
    load_fini(&load);
    runtime->options.identity_file = runtime->options.trusted_keys_dir = NULL;
    runtime->options.identity_seed = NULL;
    return status;
}

static parley_status reload(struct load *load)
{
    struct parley *runtime = load->runtime;
    parley_status status = read_files(load);

    if (status == PARLEY_OK) {
        registry_lock(&runtime->registry);
        pthread_mutex_lock(&runtime->trust.mutex);
        status = apply(load);
        pthread_mutex_unlock(&runtime->trust.mutex);
        registry_unlock(&runtime->registry);
    }
    load_fini(load);
    return status;
}

parley_status parley_reload_keys(parley *runtime, const parley_options *options, char *error,
                                 size_t error_len)
{
    char own_error[ERROR_MAX];
    parley_options own;
    parley_status status;
    struct load load = {.runtime = runtime, .options = &own, .of_peers = true};

    if (service_forked(runtime))
        return PARLEY_EFORK;
    if (worker_pool_current(runtime->workers) != NULL)
        return PARLEY_EDEADLK;
    load.error = error != NULL && error_len > 0 ? error : own_error;
    load.error_len = error != NULL && error_len > 0 ? error_len : sizeof(own_error);
    load.error[0] = '\0';
    parley_options_init(&own);
    memcpy(&own, options, options->size < sizeof(own) ? options->size : sizeof(own));
    status = settings_check(&own, load.error, load.error_len);
    if (status == PARLEY_OK)
        status = reload(&load);
    if (status != PARLEY_OK && load.error[0] == '\0')
        snprintf(load.error, load.error_len, "%s", parley_strerror(status));
    return status;
}
