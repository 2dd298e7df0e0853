/* SPDX-License-Identifier: Apache-2.0
 *
 * The host's allocator, with zeroing and alignment on top of it. Any thread: whatever the
 * host promised for its own functions holds here too.
 */
#include "runtime/alloc.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *malloc_allocate(size_t bytes, void *user)
{
    (void)user;
    return malloc(bytes);
}

static void *malloc_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    return realloc(memory, bytes);
}

static void malloc_release(void *memory, void *user)
{
    (void)user;
    free(memory);
}

void alloc_init(struct alloc *alloc, const parley_allocator *host)
{
    if (host != NULL && host->allocate != NULL && host->resize != NULL &&
        host->release != NULL) {
        alloc->host = *host;
        return;
    }
    alloc->host = (parley_allocator){malloc_allocate, malloc_resize, malloc_release, NULL};
}

/* A host may answer 0 bytes with NULL, which must not look like a failure. */
static size_t at_least_one(size_t bytes)
{
    return bytes > 0 ? bytes : 1;
}

void *alloc_bytes(const struct alloc *alloc, size_t bytes)
{
    return alloc->host.allocate(at_least_one(bytes), alloc->host.user);
}

void *alloc_zeroed(const struct alloc *alloc, size_t bytes)
{
    void *memory;

    if (alloc->host.allocate == malloc_allocate)
        return calloc(1, at_least_one(bytes)); /* fresh pages are zero: untouched, unpaid */
    memory = alloc_bytes(alloc, bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

/* The pointer to free stands right below the aligned memory. */
void *alloc_aligned(const struct alloc *alloc, size_t alignment, size_t bytes)
{
    const size_t extra = alignment + sizeof(void *);
    char *whole;
    char *aligned;

    assert(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    if (bytes > SIZE_MAX - extra)
        return NULL;
    whole = alloc_zeroed(alloc, bytes + extra);
    if (whole == NULL)
        return NULL;
    aligned = whole + sizeof(void *);
    aligned += (alignment - ((uintptr_t)aligned & (alignment - 1))) & (alignment - 1);
    ((void **)(void *)aligned)[-1] = whole;
    return aligned;
}

void *alloc_resize(const struct alloc *alloc, void *memory, size_t bytes)
{
    return alloc->host.resize(memory, at_least_one(bytes), alloc->host.user);
}

char *alloc_string(const struct alloc *alloc, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = alloc_bytes(alloc, bytes);

    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

void alloc_free(const struct alloc *alloc, void *memory)
{
    if (memory != NULL)
        alloc->host.release(memory, alloc->host.user);
}

void alloc_free_aligned(const struct alloc *alloc, void *memory)
{
    if (memory != NULL)
        alloc_free(alloc, ((void **)memory)[-1]);
}
