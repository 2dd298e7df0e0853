/* SPDX-License-Identifier: Apache-2.0
 *
 * Identity and trusted keys as the configuration has them, when a runtime opens and whenever
 * it is told to read them again. All is read and checked first; then nothing can fail any
 * more, and everything is exchanged. What has not changed stays the same object, so that
 * what workers remember of it holds.
 */
#include "peers/trust_load.h"

#include <stdio.h>
#include <string.h>

#include "peers/settings.h"
#include "peers/trust.h"

/* ---- What comes next, with the mutex held ---- */

static struct trust_ring *present(const struct trust_load *load)
{
    /* relaxed: the mutex orders us with who stored it. */
    return atomic_load_explicit(&load->runtime->trust.ring, memory_order_relaxed);
}

static struct trust_entry *find_present(const struct trust_load *load, const char *entity)
{
    return present(load) != NULL ? trust_ring_find(present(load), entity) : NULL;
}

/* Peers' keys stay, unless the options say otherwise; the directory's have to be there again.
 * What was read and is there already is not needed. */
static void compare_directory(struct trust_load *load)
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

static parley_status compare_peer(struct trust_load *load, const parley_peer_entry *peer)
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
    status = trust_load_add(load, peer->id, key, &entry);
    if (status == PARLEY_OK)
        entry->next_of_peer = true;
    if (status == PARLEY_EINVAL)
        snprintf(load->error, load->error_len,
                 "peers: %s: public_key: expected a point of the curve", peer->id);
    return status;
}

static parley_status compare_peers(struct trust_load *load)
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
static const char *put(struct trust_load *load, struct trust_entry *entry)
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

static parley_status compose(struct trust_load *load)
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
static void settle_fresh(struct trust_load *load)
{
    while (load->fresh != NULL) {
        struct trust_entry *entry = load->fresh;

        load->fresh = entry->next;
        if (trust_ring_find(load->ring, entry->id) == entry) {
            entry->next = load->gained;
            load->gained = entry;
        } else {
            trust_entry_free(&load->runtime->alloc, entry);
        }
    }
}

static void settle_present(struct trust_load *load)
{
    struct trust_ring *former = present(load);

    for (size_t i = 0; former != NULL && i < former->capacity; i++) {
        struct trust_entry *entry = trust_ring_at(former, i);

        if (entry == NULL || trust_ring_find(load->ring, entry->id) == entry)
            continue;
        entry->next_lost = load->lost;
        load->lost = entry;
        trust_retire(load->runtime, &entry->garbage);
    }
}

static void settle_origins(struct trust_load *load)
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

static bool same_self(const struct trust_load *load)
{
    const struct identity *former = trust_identity(load->runtime);

    if (load->self == NULL || former == NULL)
        return load->self == NULL && former == NULL;
    return memcmp(identity_public(load->self->identity), identity_public(former),
                  IDENTITY_KEY_BYTES) == 0;
}

static void settle_self(struct trust_load *load)
{
    load->self_changed = !same_self(load);
    if (!load->self_changed)
        return;
    trust_use_self(load->runtime, load->self);
    load->self = NULL;
}

static parley_status apply(struct trust_load *load)
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
    load->runtime->trust.held++; /* tell() still looks at all of them */
    trust_changed(load->runtime);
    return PARLEY_OK;
}

static void tell_self(const struct trust_load *load)
{
    const struct identity *identity = trust_identity(load->runtime);
    char text[IDENTITY_FINGERPRINT_CHARS + 1] = "none";

    if (identity != NULL)
        identity_fingerprint(identity_public(identity), text);
    log_info(&load->runtime->log, "identity: %s", text);
}

/* With no lock held: a log may ask us something. */
static void tell(struct trust_load *load)
{
    for (const struct trust_entry *entry = load->lost; entry != NULL; entry = entry->next_lost)
        trust_log_key(load->runtime, entry->id, identity_key_bytes(entry->key),
                      "is no longer trusted");
    for (const struct trust_entry *entry = load->gained; entry != NULL; entry = entry->next)
        trust_log_key(load->runtime, entry->id, identity_key_bytes(entry->key), "is trusted");
    if (load->self_changed)
        tell_self(load);
    trust_release(load->runtime);
}

/* ---- Opening, and again ---- */

parley_status trust_open(struct parley *runtime, char *error, size_t error_len)
{
    struct trust_load load = {.runtime = runtime,
                              .options = &runtime->options,
                              .error = error,
                              .error_len = error_len};
    parley_status status = trust_init(runtime);

    if (status == PARLEY_OK)
        status = trust_load_read(&load);
    if (status == PARLEY_OK)
        status = apply(&load);
    if (status == PARLEY_OK)
        tell(&load);
    trust_load_fini(&load);
    runtime->options.identity_file = runtime->options.trusted_keys_dir = NULL;
    runtime->options.identity_seed = NULL;
    return status;
}

static parley_status reload(struct trust_load *load)
{
    struct parley *runtime = load->runtime;
    parley_status status = trust_load_read(load);

    if (status == PARLEY_OK) {
        registry_lock(&runtime->registry);
        pthread_mutex_lock(&runtime->trust.mutex);
        status = apply(load);
        pthread_mutex_unlock(&runtime->trust.mutex);
        registry_unlock(&runtime->registry);
        if (status == PARLEY_OK)
            tell(load);
    }
    trust_load_fini(load);
    return status;
}

parley_status parley_reload_keys(parley *runtime, const parley_options *options, char *error,
                                 size_t error_len)
{
    char own_error[ERROR_MAX];
    parley_options own;
    parley_status status;
    struct trust_load load = {.runtime = runtime, .options = &own, .of_peers = true};

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
