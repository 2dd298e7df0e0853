/* SPDX-License-Identifier: Apache-2.0
 *
 * The living half of trust: look-ups, keys that come and go with their peers, and what is
 * freed when. trust_load.c reads files and exchanges everything at once.
 */
#include "peers/trust.h"

#include <assert.h>
#include <string.h>

#include "peers/secure.h"
#include "peers/service.h"
#include "peers/trust_change.h"

/* ---- For workers ---- */

static struct trust_ring *ring_of(const struct parley *runtime)
{
    /* acquire: pairs with the release in trust_use_ring(), which published the table. */
    return atomic_load_explicit(&runtime->trust.ring, memory_order_acquire);
}

const struct identity_key *trust_find(struct parley *runtime, const char *entity_id)
{
    const struct trust_entry *entry = trust_ring_find(ring_of(runtime), entity_id);

    return entry != NULL ? entry->key : NULL;
}

const struct identity *trust_identity(const struct parley *runtime)
{
    /* acquire: pairs with the release in trust_use_self(), which published the identity. */
    const struct trust_self *self =
        atomic_load_explicit(&runtime->trust.self, memory_order_acquire);

    return self != NULL ? self->identity : NULL;
}

uint32_t trust_version(const struct parley *runtime)
{
    /* acquire: who sees a version sees the change it counts; pairs with trust_changed(). */
    return atomic_load_explicit(&runtime->trust.version, memory_order_acquire);
}

parley_signatures trust_signatures(const struct parley *runtime)
{
    if (runtime->options.signatures != PARLEY_SIGNATURES_AUTO)
        return runtime->options.signatures;
    return runtime->loopback ? PARLEY_SIGNATURES_OPTIONAL : PARLEY_SIGNATURES_REQUIRED;
}

bool trust_signs(const struct parley *runtime)
{
    return trust_signatures(runtime) != PARLEY_SIGNATURES_OFF &&
           trust_identity(runtime) != NULL;
}

bool trust_verifies(const struct parley *runtime)
{
    parley_signatures signatures = trust_signatures(runtime);

    if (signatures == PARLEY_SIGNATURES_OPTIONAL) /* relaxed: told to humans */
        return atomic_load_explicit(&runtime->trust.keys, memory_order_relaxed) > 0;
    return signatures == PARLEY_SIGNATURES_REQUIRED;
}

/* ---- What is out of use ---- */

static void free_garbage(struct parley *runtime, struct trust_garbage *garbage)
{
    const struct alloc *alloc = &runtime->alloc;

    while (garbage != NULL) {
        struct trust_garbage *next = garbage->next;

        if (garbage->kind == TRUST_ENTRY)
            trust_entry_free(alloc, (struct trust_entry *)garbage);
        else if (garbage->kind == TRUST_SELF)
            trust_self_free(alloc, (struct trust_self *)garbage);
        else
            alloc_free(alloc, garbage);
        garbage = next;
    }
}

/* Sessions with a key that is not trusted any more end with it. */
static void pass_by(struct visit *visit, struct bench *bench)
{
    (void)visit;
    secure_review(bench);
}

static void sweep(struct parley *runtime);

/* Every worker has been through its loop: none holds what left before the round began. */
static void swept(struct visit *visit, struct bench *bench)
{
    struct parley *runtime = bench->runtime;
    struct trust *trust = &runtime->trust;

    (void)visit;
    pthread_mutex_lock(&trust->mutex);
    free_garbage(runtime, trust->leaving);
    trust->leaving = NULL;
    trust->sweeping = false;
    sweep(runtime);
    pthread_mutex_unlock(&trust->mutex);
}

/* With the mutex held. Before there are workers nobody has seen anything. */
static void sweep(struct parley *runtime)
{
    struct trust *trust = &runtime->trust;

    if (trust->held > 0 || trust->sweeping || trust->waiting == NULL ||
        runtime->workers == NULL)
        return;
    trust->leaving = trust->waiting;
    trust->waiting = NULL;
    trust->sweeping = true;
    visit_start(trust->sweep, runtime, pass_by, swept);
}

void trust_retire(struct parley *runtime, struct trust_garbage *garbage)
{
    garbage->next = runtime->trust.waiting;
    runtime->trust.waiting = garbage;
}

void trust_release(struct parley *runtime)
{
    pthread_mutex_lock(&runtime->trust.mutex);
    runtime->trust.held--;
    sweep(runtime);
    pthread_mutex_unlock(&runtime->trust.mutex);
}

void trust_changed(struct parley *runtime)
{
    /* release: the change comes before; pairs with the acquire in trust_version(). */
    atomic_fetch_add_explicit(&runtime->trust.version, 1, memory_order_release);
    sweep(runtime);
}

/* ---- What is in use ---- */

void trust_self_free(const struct alloc *alloc, struct trust_self *self)
{
    if (self == NULL)
        return;
    identity_free(self->identity);
    alloc_free(alloc, self);
}

void trust_use_ring(struct parley *runtime, struct trust_ring *ring)
{
    struct trust *trust = &runtime->trust;
    /* relaxed: the mutex orders us with who stored it. */
    struct trust_ring *former = atomic_load_explicit(&trust->ring, memory_order_relaxed);

    /* release: publishes what is in it; pairs with the acquire in ring_of(). */
    atomic_store_explicit(&trust->ring, ring, memory_order_release);
    if (former != NULL)
        trust_retire(runtime, &former->garbage);
}

void trust_use_self(struct parley *runtime, struct trust_self *self)
{
    struct trust *trust = &runtime->trust;
    struct trust_self *former = atomic_load_explicit(&trust->self, memory_order_relaxed);

    /* release: publishes the identity; pairs with the acquire in trust_identity(). */
    atomic_store_explicit(&trust->self, self, memory_order_release);
    if (former != NULL)
        trust_retire(runtime, &former->garbage);
}

/* The table, or one with room for another entry. @return NULL: out of memory */
static struct trust_ring *roomy(struct parley *runtime)
{
    struct trust_ring *ring = ring_of(runtime), *larger;

    if (trust_ring_has_room(ring))
        return ring;
    larger = trust_ring_new(
        &runtime->alloc,
        2 * (size_t)atomic_load_explicit(&runtime->trust.keys, memory_order_relaxed) + 1);
    if (larger == NULL)
        return NULL;
    for (size_t i = 0; i < ring->capacity; i++) {
        if (trust_ring_at(ring, i) != NULL)
            trust_ring_put(larger, trust_ring_at(ring, i));
    }
    trust_use_ring(runtime, larger);
    return larger;
}

/* ---- Keys of peers ---- */

void trust_log_key(const struct parley *runtime, const char *entity_id,
                   const uint8_t key[IDENTITY_KEY_BYTES], const char *what)
{
    char text[IDENTITY_FINGERPRINT_CHARS + 1];

    identity_fingerprint(key, text);
    log_info(&runtime->log, "%s: key %s %s", entity_id, text, what);
}

void trust_log_peer(const struct parley *runtime, const char *entity_id,
                    const char *public_key, parley_status status)
{
    uint8_t key[IDENTITY_KEY_BYTES];

    if (status == PARLEY_ECONFIG)
        log_error(&runtime->log,
                  "%s: its public_key is not the one in security.trusted_keys_dir", entity_id);
    else if (status == PARLEY_OK && public_key != NULL &&
             identity_from_hex(public_key, IDENTITY_KEY_HEX, key))
        trust_log_key(runtime, entity_id, key, "is trusted");
}

bool trust_same(const struct trust_entry *entry, const uint8_t key[IDENTITY_KEY_BYTES])
{
    return memcmp(identity_key_bytes(entry->key), key, IDENTITY_KEY_BYTES) == 0;
}

static parley_status add_new(struct parley *runtime, const char *entity_id,
                             const uint8_t key[IDENTITY_KEY_BYTES])
{
    struct trust_entry *entry = NULL;
    parley_status status = trust_entry_new(&runtime->alloc, entity_id, key, &entry);
    struct trust_ring *ring;

    if (status != PARLEY_OK)
        return status;
    ring = roomy(runtime);
    if (ring == NULL) {
        trust_entry_free(&runtime->alloc, entry);
        return PARLEY_ENOMEM;
    }
    entry->of_peer = true;
    trust_ring_put(ring, entry);
    atomic_fetch_add_explicit(&runtime->trust.keys, 1, memory_order_relaxed); /* a gauge */
    trust_changed(runtime);
    return PARLEY_OK;
}

static parley_status add(struct parley *runtime, const char *entity_id,
                         const uint8_t key[IDENTITY_KEY_BYTES])
{
    struct trust_entry *known = trust_ring_find(ring_of(runtime), entity_id);

    if (known == NULL)
        return add_new(runtime, entity_id, key);
    if (!trust_same(known, key))
        return PARLEY_ECONFIG;
    known->of_peer = true;
    return PARLEY_OK;
}

parley_status trust_add_peer(struct parley *runtime, const char *entity_id,
                             const char *public_key)
{
    uint8_t key[IDENTITY_KEY_BYTES];
    parley_status status;

    if (public_key == NULL)
        return PARLEY_OK;
    if (!identity_from_hex(public_key, strnlen(public_key, IDENTITY_KEY_HEX + 1), key))
        return PARLEY_EINVAL;
    pthread_mutex_lock(&runtime->trust.mutex);
    status = add(runtime, entity_id, key);
    pthread_mutex_unlock(&runtime->trust.mutex);
    return status;
}

void trust_remove_peer(struct parley *runtime, const char *entity_id)
{
    struct trust_ring *ring;
    struct trust_entry *entry;

    pthread_mutex_lock(&runtime->trust.mutex);
    ring = ring_of(runtime);
    entry = trust_ring_find(ring, entity_id);
    if (entry != NULL)
        entry->of_peer = false;
    if (entry != NULL && !entry->of_directory) {
        trust_ring_remove(ring, entry);
        atomic_fetch_sub_explicit(&runtime->trust.keys, 1, memory_order_relaxed);
        trust_retire(runtime, &entry->garbage);
        trust_changed(runtime);
    }
    pthread_mutex_unlock(&runtime->trust.mutex);
}

/* ---- Up and down ---- */

parley_status trust_init(struct parley *runtime)
{
    struct trust *trust = &runtime->trust;

    trust->sweep = alloc_zeroed(&runtime->alloc, sizeof(*trust->sweep));
    if (trust->sweep == NULL)
        return PARLEY_ENOMEM;
    pthread_mutex_init(&trust->mutex, NULL);
    trust->open = true;
    return PARLEY_OK;
}

void trust_close(struct parley *runtime)
{
    struct trust *trust = &runtime->trust;
    struct trust_ring *ring = ring_of(runtime);

    if (!trust->open)
        return;
    assert(!trust->sweeping); /* parley_close() waits for visits */
    for (size_t i = 0; ring != NULL && i < ring->capacity; i++)
        trust_entry_free(&runtime->alloc, trust_ring_at(ring, i));
    alloc_free(&runtime->alloc, ring);
    free_garbage(runtime, trust->waiting);
    trust_self_free(&runtime->alloc, atomic_load_explicit(&trust->self, memory_order_relaxed));
    alloc_free(&runtime->alloc, trust->sweep);
    pthread_mutex_destroy(&trust->mutex);
    trust->open = false;
}
