/* SPDX-License-Identifier: Apache-2.0
 *
 * The host's allocator as the runtime's own code sees it. Everything parley allocates for
 * itself goes through one of these, so that a test can fail any single allocation.
 */
#ifndef PARLEY_RUNTIME_ALLOC_H
#define PARLEY_RUNTIME_ALLOC_H

#include <stddef.h>

#include "parley.h"

struct alloc {
    parley_allocator host; /* never with NULL members: alloc_init() fills in malloc's */
};

/** Takes the host's allocator, or malloc's when `host` is NULL or incomplete. */
void alloc_init(struct alloc *alloc, const parley_allocator *host);

/** Uninitialised memory, or NULL. Any thread, as for the next ones. */
void *alloc_bytes(const struct alloc *alloc, size_t bytes);

/** Zeroed memory, or NULL. */
void *alloc_zeroed(const struct alloc *alloc, size_t bytes);

/** Zeroed memory aligned to `alignment` (a power of two), or NULL; free with
 *  alloc_free_aligned(). */
void *alloc_aligned(const struct alloc *alloc, size_t alignment, size_t bytes);

/** realloc's contract. */
void *alloc_resize(const struct alloc *alloc, void *memory, size_t bytes);

/** A copy of a NUL-terminated string, or NULL. */
char *alloc_string(const struct alloc *alloc, const char *text);

/** Frees what the functions above gave, but alloc_aligned()'s. NULL is allowed. */
void alloc_free(const struct alloc *alloc, void *memory);

/** Frees what alloc_aligned() gave. NULL is allowed. */
void alloc_free_aligned(const struct alloc *alloc, void *memory);

#endif
