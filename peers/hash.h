/* SPDX-License-Identifier: Apache-2.0
 *
 * uthash on our allocator: every function that adds to a hash has a `const struct alloc
 * *alloc` in scope, and a failed addition leaves the entry's handle unset instead of
 * ending the process.
 */
#ifndef PARLEY_PEERS_HASH_H
#define PARLEY_PEERS_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a. uthash's own default falls through between cases, which clang refuses. */
static inline uint32_t hash_bytes(const void *key, size_t len)
{
    const uint8_t *bytes = key;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

#define HASH_NONFATAL_OOM                 1
#define HASH_FUNCTION(key, len, ret_hash) (ret_hash) = hash_bytes((key), (len))
#define uthash_malloc(bytes)              alloc_bytes(alloc, bytes)
#define uthash_free(memory, bytes)        alloc_free(alloc, memory)

#include <uthash.h>

#include "runtime/alloc.h"

#endif
