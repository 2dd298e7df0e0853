/* SPDX-License-Identifier: Apache-2.0
 *
 * Message ids and nonces that one sender has used lately: how the messages of older peers,
 * which have no base_seq and perhaps no number at all, are recognised when they come again.
 * Pure: no clock, no lock; the caller allocates nothing until the first one is stored.
 *
 * A text is kept as a keyed 64-bit hash (SipHash-2-4) with the number its message was given,
 * for SEEN_LIFETIME_NS, at most `limit` of them: then the oldest makes room. The entries
 * stand in a ring in the order they came; an open-addressed index finds them.
 *
 * To take a message: seen_find() by each of its texts; unknown: seen_reserve() memory for
 * them, and, once nothing can fail any more, seen_add() each.
 */
#ifndef PARLEY_PEERS_SEEN_H
#define PARLEY_PEERS_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

#define SEEN_LIFETIME_NS UINT64_C(300000000000)
#define SEEN_KEY_BYTES   16
#define SEEN_RESERVE_MAX 8 /* texts of one message, at most */

/** What a text is: the same text of another kind is another one. */
enum seen_kind { SEEN_MESSAGE_ID, SEEN_NONCE };

struct seen_entry {
    uint64_t hash;
    uint64_t number;
    uint64_t at_ns;
};

struct seen {
    const struct alloc *alloc;
    struct seen_entry *ring; /* the index stands behind it */
    uint32_t *index;         /* place in the ring + 1; 0: empty; 2 × capacity of them */
    uint32_t capacity;       /* a power of two, or 0 */
    uint32_t first, len;     /* the oldest entry, and how many */
    uint32_t limit;
    uint64_t lifetime_ns; /* SEEN_LIFETIME_NS, unless its owner says otherwise */
    uint64_t key[2];
};

/** Starts empty. @param limit at least 1; raised to SEEN_RESERVE_MAX
 *  @param key secret and random, so that nobody can make two texts look the same */
void seen_init(struct seen *seen, const struct alloc *alloc, uint32_t limit,
               const uint8_t key[SEEN_KEY_BYTES]);
void seen_fini(struct seen *seen);

/** Looks for a text that was added not longer ago than SEEN_LIFETIME_NS.
 *  @param ret_number what it was added with
 *  @return false: not seen, or forgotten */
bool seen_find(const struct seen *seen, enum seen_kind kind, const char *text, size_t len,
               uint64_t now_ns, uint64_t *ret_number);

/** Sees to memory for `count` (at most SEEN_RESERVE_MAX) more. @return PARLEY_OK or
 *  PARLEY_ENOMEM (what is stored stays) */
parley_status seen_reserve(struct seen *seen, uint32_t count, uint64_t now_ns);

/** Stores a text that seen_find() does not find, within what was reserved. The time does not
 *  go back. */
void seen_add(struct seen *seen, enum seen_kind kind, const char *text, size_t len,
              uint64_t now_ns, uint64_t number);

/** Tells whether one more would push out one that is not over SEEN_LIFETIME_NS old. */
bool seen_full(const struct seen *seen, uint64_t now_ns);

/** SipHash-2-4. */
uint64_t seen_hash(const uint64_t key[2], enum seen_kind kind, const void *text, size_t len);

/** Asserts that ring and index agree. O(n). */
void seen_check(const struct seen *seen);

#endif
