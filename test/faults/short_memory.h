/* SPDX-License-Identifier: Apache-2.0
 *
 * An allocator for a runtime that fails on demand: the k-th request from now on, and some
 * of the following ones. It counts what is out, so that a leak shows without a sanitizer.
 */
#ifndef PARLEY_TEST_FAULTS_SHORT_MEMORY_H
#define PARLEY_TEST_FAULTS_SHORT_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "parley.h"

struct short_memory {
    _Atomic(int64_t) next; /* requests until one fails; counts down; far below 0: none does */
    int64_t fails;         /* how many in a row do then */
    _Atomic(int64_t) failed, out;
};

#define SHORT_MEMORY_NEVER INT64_C(1000000000000)

static inline void short_memory_arm(struct short_memory *memory, int64_t k, int64_t fails)
{
    memory->fails = fails;
    atomic_store(&memory->failed, 0);
    atomic_store(&memory->next, k);
}

static inline void short_memory_disarm(struct short_memory *memory)
{
    atomic_store(&memory->next, SHORT_MEMORY_NEVER);
}

static inline bool short_memory_fails(struct short_memory *memory)
{
    int64_t next = atomic_fetch_sub(&memory->next, 1);

    if (next > 1 || next <= 1 - memory->fails)
        return false;
    atomic_fetch_add(&memory->failed, 1);
    return true;
}

static inline void *short_memory_allocate(size_t bytes, void *user)
{
    struct short_memory *memory = user;
    void *block = short_memory_fails(memory) ? NULL : malloc(bytes);

    if (block != NULL)
        atomic_fetch_add(&memory->out, 1);
    return block;
}

static inline void *short_memory_resize(void *block, size_t bytes, void *user)
{
    struct short_memory *memory = user;
    void *moved = short_memory_fails(memory) ? NULL : realloc(block, bytes);

    if (moved != NULL && block == NULL)
        atomic_fetch_add(&memory->out, 1);
    return moved;
}

static inline void short_memory_release(void *block, void *user)
{
    atomic_fetch_sub(&((struct short_memory *)user)->out, 1);
    free(block);
}

static inline parley_allocator short_memory_allocator(struct short_memory *memory)
{
    short_memory_disarm(memory);
    return (parley_allocator){short_memory_allocate, short_memory_resize, short_memory_release,
                              memory};
}

#endif
