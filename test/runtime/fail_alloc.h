/* SPDX-License-Identifier: Apache-2.0
 *
 * A host allocator that fails when told to, and counts what is out, so that a test sees a
 * leak even without a sanitizer.
 */
#ifndef PARLEY_TEST_FAIL_ALLOC_H
#define PARLEY_TEST_FAIL_ALLOC_H

#include <stdatomic.h>
#include <stdlib.h>

#include "parley.h"
#include "runtime/alloc.h"

struct fail_alloc {
    _Atomic(int64_t) left; /* allocations that still succeed; negative: all do */
    _Atomic(int64_t) out;  /* blocks not freed yet */
};

static inline bool fail_now(struct fail_alloc *state)
{
    int64_t left = atomic_load(&state->left);

    while (left > 0 && !atomic_compare_exchange_weak(&state->left, &left, left - 1))
        continue;
    return left == 0;
}

static inline void *fail_allocate(size_t bytes, void *user)
{
    struct fail_alloc *state = user;
    void *memory = fail_now(state) ? NULL : malloc(bytes);

    if (memory != NULL)
        atomic_fetch_add(&state->out, 1);
    return memory;
}

static inline void *fail_resize(void *memory, size_t bytes, void *user)
{
    struct fail_alloc *state = user;
    void *moved = fail_now(state) ? NULL : realloc(memory, bytes);

    if (moved != NULL && memory == NULL)
        atomic_fetch_add(&state->out, 1);
    return moved;
}

static inline void fail_release(void *memory, void *user)
{
    struct fail_alloc *state = user;

    atomic_fetch_sub(&state->out, 1);
    free(memory);
}

/** An allocator whose first `successes` allocations succeed (negative: all). */
static inline struct alloc fail_alloc_init(struct fail_alloc *state, int64_t successes)
{
    const parley_allocator host = {fail_allocate, fail_resize, fail_release, state};
    struct alloc alloc;

    atomic_store(&state->left, successes);
    atomic_store(&state->out, 0);
    alloc_init(&alloc, &host);
    return alloc;
}

#endif
