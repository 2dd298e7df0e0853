/* SPDX-License-Identifier: Apache-2.0
 *
 * The packed word of credit.h. Every change is one compare-and-swap of the whole word, so
 * bounds, generation and closing can never disagree. Of all changes exactly one can be the
 * one that makes the word "closed and empty", and exactly one takes the waiting bit away.
 */
#include "runtime/credit.h"

#include <assert.h>

#define UNITS_BITS       26
#define MESSAGES_BITS    20
#define GENERATION_BITS  16
#define MESSAGES_SHIFT   UNITS_BITS
#define GENERATION_SHIFT (MESSAGES_SHIFT + MESSAGES_BITS)
#define WAITING          (UINT64_C(1) << 62)
#define CLOSED           (UINT64_C(1) << 63)
#define ONE_MESSAGE      (UINT64_C(1) << MESSAGES_SHIFT)

static_assert(GENERATION_SHIFT + GENERATION_BITS == 62, "two flags above the generation");

/* A window between two steps that another thread may fall into; tests define it. */
#ifndef YIELD_POINT
#define YIELD_POINT()
#endif

static uint64_t units_of(uint64_t word)
{
    return word & ((UINT64_C(1) << UNITS_BITS) - 1);
}

static uint64_t messages_of(uint64_t word)
{
    return (word >> MESSAGES_SHIFT) & ((UINT64_C(1) << MESSAGES_BITS) - 1);
}

static uint32_t generation_of(uint64_t word)
{
    return (uint32_t)(word >> GENERATION_SHIFT) & ((1u << GENERATION_BITS) - 1);
}

/* relaxed: the bounds are written before the release store in credit_open(), and used only
 * after an acquire load has seen its generation. Atomic because a producer with a handle to
 * the former owner may still read them; its compare-and-swap then fails. */
static uint64_t bound(const _Atomic(uint32_t) *field)
{
    return atomic_load_explicit(field, memory_order_relaxed);
}

uint32_t credit_units(uint32_t bytes)
{
    return bytes / CREDIT_UNIT + (bytes % CREDIT_UNIT != 0);
}

void credit_init(struct credit *credit)
{
    /* relaxed: nobody else knows it yet; whoever publishes it orders these. */
    atomic_store_explicit(&credit->messages_max, 0, memory_order_relaxed);
    atomic_store_explicit(&credit->units_max, 0, memory_order_relaxed);
    atomic_store_explicit(&credit->word, CLOSED, memory_order_relaxed);
}

static uint32_t clamp(uint64_t value, uint64_t max)
{
    return (uint32_t)(value == 0 ? 1 : value < max ? value : max);
}

uint32_t credit_open(struct credit *credit, uint32_t messages_max, uint64_t bytes_max)
{
    /* acquire: pairs with the release of the change that made it closed and empty. */
    const uint64_t word = atomic_load_explicit(&credit->word, memory_order_acquire);
    uint32_t generation = (generation_of(word) + 1) & ((1u << GENERATION_BITS) - 1);

    assert((word & CLOSED) != 0);
    assert(messages_of(word) == 0 && units_of(word) == 0);
    if (generation == 0)
        generation = 1;
    atomic_store_explicit(&credit->messages_max, clamp(messages_max, CREDIT_MESSAGES_MAX),
                          memory_order_relaxed); /* ordered by the release below */
    atomic_store_explicit(&credit->units_max,
                          clamp(bytes_max / CREDIT_UNIT, CREDIT_BYTES_MAX / CREDIT_UNIT),
                          memory_order_relaxed);
    /* release: publishes the bounds and the owner's new state; pairs with the acquire loads
     * in credit_reserve(). A store is enough: nobody may change a closed, empty word but
     * credit_wait(), whose bit means nothing then. */
    atomic_store_explicit(&credit->word, (uint64_t)generation << GENERATION_SHIFT,
                          memory_order_release);
    return generation;
}

/* acquire on both ends: pairs with the release in credit_open(), so that a reservation sees
 * the owner of its generation. No release: the message is published by the push. */
static bool swap(struct credit *credit, uint64_t *seen, uint64_t wanted)
{
    YIELD_POINT();
    return atomic_compare_exchange_weak_explicit(&credit->word, seen, wanted,
                                                 memory_order_acquire, memory_order_acquire);
}

parley_status credit_reserve(struct credit *credit, uint32_t generation, uint32_t bytes)
{
    const uint64_t units = credit_units(bytes);
    /* acquire: as in swap(). */
    uint64_t seen = atomic_load_explicit(&credit->word, memory_order_acquire);

    for (;;) { /* a failed swap means that somebody else's succeeded */
        if ((seen & CLOSED) != 0 || generation_of(seen) != generation)
            return PARLEY_ECLOSED;
        if (messages_of(seen) + 1 <= bound(&credit->messages_max) &&
            units_of(seen) + units <= bound(&credit->units_max)) {
            if (swap(credit, &seen, seen + ONE_MESSAGE + units))
                return PARLEY_OK;
        } else if ((seen & WAITING) != 0 || swap(credit, &seen, seen | WAITING)) {
            return PARLEY_EAGAIN;
        }
    }
}

void credit_wait(struct credit *credit)
{
    /* relaxed: only a request to credit_release(), which publishes nothing by it. */
    atomic_fetch_or_explicit(&credit->word, WAITING, memory_order_relaxed);
}

static bool is_writable(const struct credit *credit, uint64_t word)
{
    return (word & WAITING) != 0 && (word & CLOSED) == 0 &&
           messages_of(word) * 2 < bound(&credit->messages_max) &&
           units_of(word) * 2 < bound(&credit->units_max);
}

/* release: what this thread did with the owner happens before whoever finds the word closed
 * and empty (acquire, here or in credit_close()) uses its memory again. */
static bool swap_back(struct credit *credit, uint64_t *seen, uint64_t wanted)
{
    YIELD_POINT();
    return atomic_compare_exchange_weak_explicit(&credit->word, seen, wanted,
                                                 memory_order_acq_rel, memory_order_relaxed);
}

bool credit_release(struct credit *credit, uint32_t messages, uint64_t units,
                    bool *ret_writable)
{
    /* relaxed: swap_back() orders; the value itself is only a guess for it. */
    uint64_t seen = atomic_load_explicit(&credit->word, memory_order_relaxed);
    uint64_t wanted;
    bool writable;

    do {
        assert(messages_of(seen) >= messages && units_of(seen) >= units);
        wanted = seen - messages * ONE_MESSAGE - units;
        writable = is_writable(credit, wanted);
        if (writable)
            wanted &= ~WAITING;
    } while (!swap_back(credit, &seen, wanted));
    *ret_writable = writable;
    return messages > 0 && (wanted & CLOSED) != 0 && messages_of(wanted) == 0;
}

bool credit_close(struct credit *credit)
{
    /* acq_rel: as in swap_back(); closing may be what makes it closed and empty. */
    const uint64_t before =
        atomic_fetch_or_explicit(&credit->word, CLOSED, memory_order_acq_rel);

    return (before & CLOSED) == 0 && messages_of(before) == 0;
}

struct credit_usage credit_usage(const struct credit *credit)
{
    /* relaxed: a snapshot for people; nothing else is read on the strength of it. */
    const uint64_t word = atomic_load_explicit(&credit->word, memory_order_relaxed);

    return (struct credit_usage){
        .messages = (uint32_t)messages_of(word),
        .bytes = units_of(word) * CREDIT_UNIT,
        .closed = (word & CLOSED) != 0,
    };
}
