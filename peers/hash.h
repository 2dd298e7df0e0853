/* SPDX-License-Identifier: Apache-2.0
 *
 * uthash on our allocator: every function that adds to a hash has a `const struct alloc
 * *alloc` in scope, and a failed addition leaves the entry's handle unset instead of
 * ending the process.
 */
#ifndef PARLEY_PEERS_HASH_H
#define PARLEY_PEERS_HASH_H

#define HASH_NONFATAL_OOM          1
#define uthash_malloc(bytes)       alloc_bytes(alloc, bytes)
#define uthash_free(memory, bytes) alloc_free(alloc, memory)

#include <uthash.h>

#include "runtime/alloc.h"

#endif
