/* SPDX-License-Identifier: Apache-2.0
 *
 * A mailbox's bound, and its owner's life, on one word.
 *
 * A producer reserves before it pushes; the consumer releases once the message's result
 * callback has returned. So the word counts everything accepted without a result: queued,
 * in flight and undelivered results. Because closing is a bit of the same word, a
 * reservation that succeeded happened before the close, and "closed with nothing
 * reserved" means that nobody will push any more: only then may the owner's memory be
 * used again. The generation makes a handle to a former owner fail on the same word.
 *
 * Bits, from the top: closed 1, waiting 1, generation 16, messages 20, units 26 (one unit
 * is CREDIT_UNIT bytes).
 *
 * Who may call what:  reserve: any thread.  release, close, usage: any thread.
 *                     open: whoever owns the memory, nothing being reserved.
 */
#ifndef PARLEY_RUNTIME_CREDIT_H
#define PARLEY_RUNTIME_CREDIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/mailbox.h"

#define CREDIT_UNIT         64u
#define CREDIT_MESSAGES_MAX ((1u << 20) - 1)
#define CREDIT_BYTES_MAX    ((uint64_t)((1u << 26) - 1) * CREDIT_UNIT)

struct credit {
    _Alignas(CACHE_LINE) _Atomic(uint64_t) word;
    _Atomic(uint32_t) messages_max; /* set by open; atomic because of stale handles */
    _Atomic(uint32_t) units_max;
};

struct credit_usage {
    uint32_t messages;
    uint64_t bytes; /* rounded up to units per message */
    bool closed;
};

/** Makes a closed, empty word with generation 0. */
void credit_init(struct credit *credit);

/** Opens it under the next generation and these bounds (clamped to the maxima above).
 *  @return the generation, 1..65535 */
uint32_t credit_open(struct credit *credit, uint32_t messages_max, uint64_t bytes_max);

/**
 * Reserves room for one message of `bytes`.
 *
 * @return PARLEY_OK; PARLEY_ECLOSED (closed, or of another generation); PARLEY_EAGAIN (full:
 *         a later release under half of both bounds will return true)
 */
parley_status credit_reserve(struct credit *credit, uint32_t generation, uint32_t bytes);

/**
 * Marks that a producer was refused for another reason than this word, so that the next
 * release reports writability as after a PARLEY_EAGAIN. With nothing reserved there is no
 * next release: whoever refuses must then tell by other means.
 */
void credit_wait(struct credit *credit);

/**
 * Gives back `messages` reservations whose sizes, each rounded up with credit_units(), add
 * up to `units`.
 *
 * @param ret_writable true for one caller after somebody was refused and usage is now under
 *                     half of both bounds; never once it is closed
 * @return true when the word is now closed and empty: nobody will use its owner any more
 */
bool credit_release(struct credit *credit, uint32_t messages, uint64_t units,
                    bool *ret_writable);

/** Units that a message of `bytes` takes. */
uint32_t credit_units(uint32_t bytes);

/** Refuses reservations from now on. @return true when it is closed and empty by this call */
bool credit_close(struct credit *credit);

struct credit_usage credit_usage(const struct credit *credit);

#endif
