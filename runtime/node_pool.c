/* SPDX-License-Identifier: Apache-2.0
 *
 * Heaps of message nodes; node_pool.h says what for. The owner of a heap is the thread
 * whose pthread key names it. It alone carves slabs and uses the free lists; other threads
 * touch nothing but the stack of returned nodes and the count of returned bytes. The stack
 * is only ever pushed to and taken whole, so a compare-and-swap cannot mistake one state of
 * it for another. The pool's lock guards the making, leaving and taking over of heaps: once
 * per thread.
 */
#include "runtime/node_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NODE_POISON 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NODE_POISON 1
#endif

#ifdef NODE_POISON
#include <sanitizer/asan_interface.h>
#define node_poison(node) \
    ASAN_POISON_MEMORY_REGION((node) + 1, (node)->bytes - sizeof(*(node)))
#define node_unpoison(node) ASAN_UNPOISON_MEMORY_REGION((node), (node)->bytes)
#else
#define node_poison(node)   ((void)(node))
#define node_unpoison(node) ((void)(node))
#endif

#define CLASSES       10
#define CLASS_LARGE   CLASSES /* straight from the allocator, and back to it */
#define SLAB_BYTES    (64u * 1024)
#define NUMBER_BITS   48
#define HEAPS_MAX     ((1u << (64 - NUMBER_BITS)) - 1)
#define NODE_ROUNDING 64u

static const uint32_t class_bytes[CLASSES] = {128, 192,  256,  384,  512,
                                              768, 1024, 1536, 2048, 4096};

/* Class by 64-byte step: sizes up to 4096 in one look. */
static const uint8_t class_by_step[4096 / NODE_ROUNDING + 1] = {
    0, 0, 0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7,
    7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
    9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};

struct slab {
    struct slab *next;
    _Alignas(CACHE_LINE) char memory[];
};

struct node_heap {
    /* never changes once others can see it */
    struct node_pool *pool;
    struct node_heap *next; /* all heaps of the pool */
    uint32_t id;
    /* the owner's */
    _Alignas(CACHE_LINE) _Atomic(uint64_t) bytes_out; /* handed out, ever */
    uint64_t unchecked;                               /* bytes until the next look at all */
    uint64_t numbers;
    struct node *free[CLASSES];
    struct slab *slabs;
    char *carve, *carve_end;
    struct node_heap *orphan; /* next in the pool's list; under its lock */
    /* other threads' */
    _Alignas(CACHE_LINE) _Atomic(struct node *) returned;
    _Atomic(uint64_t) bytes_back; /* given back, ever */
};

struct node_pool {
    struct alloc alloc;
    uint64_t bytes_max;
    pthread_key_t key;
    _Atomic(struct node_heap *) heaps; /* only ever grows */
    _Atomic(uint64_t) numbers;         /* for threads without a heap */
    pthread_mutex_t lock;
    struct node_heap *orphans;
    uint32_t heaps_count;
};

/* ---- Heaps ---- */

static void heap_leave(void *value)
{
    struct node_heap *heap = value;
    struct node_pool *pool = heap->pool;

    pthread_mutex_lock(&pool->lock);
    heap->orphan = pool->orphans;
    pool->orphans = heap;
    pthread_mutex_unlock(&pool->lock);
}

static struct node_heap *heap_new(struct node_pool *pool)
{
    struct node_heap *heap;

    if (pool->heaps_count >= HEAPS_MAX)
        return NULL;
    heap = alloc_aligned(&pool->alloc, CACHE_LINE, sizeof(*heap));
    if (heap == NULL)
        return NULL;
    heap->pool = pool;
    heap->id = ++pool->heaps_count; /* 0 stands for the pool itself */
    /* relaxed: the lock is held by everyone who changes it. */
    heap->next = atomic_load_explicit(&pool->heaps, memory_order_relaxed);
    /* release: publishes the heap; pairs with the acquire in node_pool_used(). */
    atomic_store_explicit(&pool->heaps, heap, memory_order_release);
    return heap;
}

/* Takes over a heap somebody left, or makes one. The lock orders owner after owner. */
static struct node_heap *heap_join(struct node_pool *pool)
{
    struct node_heap *heap;

    pthread_mutex_lock(&pool->lock);
    heap = pool->orphans;
    if (heap != NULL)
        pool->orphans = heap->orphan;
    else
        heap = heap_new(pool);
    pthread_mutex_unlock(&pool->lock);
    if (heap != NULL && pthread_setspecific(pool->key, heap) != 0) {
        heap_leave(heap);
        return NULL;
    }
    return heap;
}

static struct node_heap *heap_of(struct node_pool *pool)
{
    struct node_heap *heap = pthread_getspecific(pool->key);

    return heap != NULL ? heap : heap_join(pool);
}

parley_status node_pool_new(const struct alloc *alloc, uint64_t bytes_max,
                            struct node_pool **ret_pool)
{
    struct node_pool *pool = alloc_zeroed(alloc, sizeof(*pool));

    if (pool == NULL)
        return PARLEY_ENOMEM;
    pool->alloc = *alloc;
    pool->bytes_max = bytes_max;
    if (pthread_key_create(&pool->key, heap_leave) != 0)
        goto fail;
    if (pthread_mutex_init(&pool->lock, NULL) != 0)
        goto fail_key;
    *ret_pool = pool;
    return PARLEY_OK;

fail_key:
    pthread_key_delete(pool->key);
fail:
    alloc_free(alloc, pool);
    return PARLEY_ESYSTEM;
}

static void slab_free(const struct alloc *alloc, struct slab *slab)
{
#ifdef NODE_POISON
    ASAN_UNPOISON_MEMORY_REGION(slab, SLAB_BYTES);
#endif
    alloc_free_aligned(alloc, slab);
}

void node_pool_free(struct node_pool *pool)
{
    struct node_heap *heap;
    struct alloc alloc;

    if (pool == NULL)
        return;
    alloc = pool->alloc;
    pthread_key_delete(pool->key);
    /* acquire: pairs with the release in heap_new(). */
    heap = atomic_load_explicit(&pool->heaps, memory_order_acquire);
    while (heap != NULL) {
        struct node_heap *next = heap->next;

        for (struct slab *slab = heap->slabs, *after; slab != NULL; slab = after) {
            after = slab->next;
            slab_free(&pool->alloc, slab);
        }
        alloc_free_aligned(&pool->alloc, heap);
        heap = next;
    }
    pthread_mutex_destroy(&pool->lock);
    alloc_free(&alloc, pool);
}

/* ---- The bound ---- */

uint64_t node_pool_used(struct node_pool *pool)
{
    uint64_t used = 0;

    /* acquire: pairs with the release in heap_new(). */
    for (struct node_heap *heap = atomic_load_explicit(&pool->heaps, memory_order_acquire);
         heap != NULL; heap = heap->next) {
        /* acquire: pairs with the release in return_slot(). Whoever gave a node back had got
         * it after its owner counted it, so `out` read next is never behind `back`. */
        const uint64_t back = atomic_load_explicit(&heap->bytes_back, memory_order_acquire);
        const uint64_t out = atomic_load_explicit(&heap->bytes_out, memory_order_relaxed);

        used += out - back;
    }
    return used;
}

/* Tells whether `bytes` more may go out. Until the next look at the other heaps a heap may
 * hand out what is left, one step at most. */
static bool admit(struct node_heap *heap, uint64_t bytes)
{
    const struct node_pool *pool = heap->pool;
    uint64_t used;
    uint64_t room;

    if (heap->unchecked >= bytes) {
        heap->unchecked -= bytes;
        return true;
    }
    heap->unchecked = 0;
    used = node_pool_used(heap->pool);
    room = used < pool->bytes_max ? pool->bytes_max - used : 0;
    if (room < bytes)
        return false;
    room -= bytes;
    heap->unchecked = room < NODE_POOL_STEP ? room : NODE_POOL_STEP;
    return true;
}

static void count_out(struct node_heap *heap, uint64_t bytes)
{
    /* relaxed: only the owner writes it. Others read it for the bound, and those who must
     * see it have got a node counted here through a push (see node_pool_used()). */
    const uint64_t out = atomic_load_explicit(&heap->bytes_out, memory_order_relaxed);

    atomic_store_explicit(&heap->bytes_out, out + bytes, memory_order_relaxed);
}

/* ---- Nodes ---- */

/* relaxed, here and in set_next(): the lists are one thread's at a time; the exchange and
 * the compare-and-swap on `returned` hand them over. */
static struct node *next_of(const struct node *node)
{
    return (struct node *)atomic_load_explicit(&node->link.next, memory_order_relaxed);
}

static void set_next(struct node *node, struct node *next)
{
    atomic_store_explicit(&node->link.next, next != NULL ? &next->link : NULL,
                          memory_order_relaxed);
}

/* Sorts everything that was given back into the free lists. */
static void take_returned(struct node_heap *heap)
{
    /* acquire: pairs with the release in return_slot(): the former user is done with them. */
    struct node *node = atomic_exchange_explicit(&heap->returned, NULL, memory_order_acquire);

    while (node != NULL) {
        struct node *next = next_of(node);

        set_next(node, heap->free[node->size_class]);
        heap->free[node->size_class] = node;
        node = next;
    }
}

static struct node *carve(struct node_heap *heap, uint32_t size_class)
{
    const uint32_t bytes = class_bytes[size_class];
    struct node *node;

    if ((size_t)(heap->carve_end - heap->carve) < bytes) {
        struct slab *slab = alloc_aligned(&heap->pool->alloc, CACHE_LINE, SLAB_BYTES);

        if (slab == NULL)
            return NULL;
        slab->next = heap->slabs;
        heap->slabs = slab;
        heap->carve = slab->memory;
        heap->carve_end = (char *)slab + SLAB_BYTES;
    }
    node = (struct node *)(void *)heap->carve;
    heap->carve += bytes;
    node->heap = heap;
    node->bytes = bytes;
    node->size_class = size_class;
    return node;
}

static struct node *take(struct node_heap *heap, uint32_t size_class)
{
    struct node *node = heap->free[size_class];

    if (node == NULL) {
        take_returned(heap);
        node = heap->free[size_class];
        if (node == NULL)
            return carve(heap, size_class);
    }
    heap->free[size_class] = next_of(node);
    node_unpoison(node);
    return node;
}

static struct node *take_large(struct node_heap *heap, uint32_t bytes)
{
    struct node *node = alloc_bytes(&heap->pool->alloc, bytes);

    if (node != NULL) {
        node->heap = heap;
        node->bytes = bytes;
        node->size_class = CLASS_LARGE;
    }
    return node;
}

parley_status node_alloc(struct node_pool *pool, size_t bytes, struct node **ret_node)
{
    struct node_heap *heap = heap_of(pool);
    struct node *node;
    uint32_t size_class = CLASS_LARGE;
    uint32_t rounded;

    assert(bytes >= sizeof(struct node));
    if (heap == NULL || bytes > UINT32_MAX - NODE_ROUNDING)
        return PARLEY_ENOMEM;
    rounded = ((uint32_t)bytes + NODE_ROUNDING - 1) & ~(NODE_ROUNDING - 1);
    if (rounded <= class_bytes[CLASSES - 1]) {
        size_class = class_by_step[rounded / NODE_ROUNDING];
        rounded = class_bytes[size_class];
    }
    if (!admit(heap, rounded))
        return PARLEY_EAGAIN;
    node = size_class < CLASS_LARGE ? take(heap, size_class) : take_large(heap, rounded);
    if (node == NULL)
        return PARLEY_ENOMEM;
    count_out(heap, rounded);
    *ret_node = node;
    return PARLEY_OK;
}

/* ---- Giving back ---- */

static void return_slot(struct node_return *ret, size_t index)
{
    struct node_heap *heap = ret->slot[index].heap;
    struct node *first = ret->slot[index].first;

    if (heap == NULL)
        return;
    if (first != NULL) {
        /* relaxed: only the value to link to; the swap below orders. */
        struct node *top = atomic_load_explicit(&heap->returned, memory_order_relaxed);

        do
            set_next(ret->slot[index].last, top);
        while (!atomic_compare_exchange_weak_explicit(
            /* release: we are done with the nodes; pairs with the exchange (acquire) in
             * take_returned(), also across pushes in between, which are read-modify-writes
             * and so continue the release sequence. */
            &heap->returned, &top, first, memory_order_release, memory_order_relaxed));
    }
    /* release: pairs with the acquire in node_pool_used(). */
    atomic_fetch_add_explicit(&heap->bytes_back, ret->slot[index].bytes, memory_order_release);
    ret->slot[index].heap = NULL;
    ret->slot[index].first = ret->slot[index].last = NULL;
    ret->slot[index].count = 0;
    ret->slot[index].bytes = 0;
}

void node_free(struct node_return *ret, struct node *node)
{
    struct node_heap *heap = node->heap;
    const size_t index = heap->id % NODE_RETURN_HEAPS;

    if (ret->slot[index].heap != heap) {
        return_slot(ret, index);
        ret->slot[index].heap = heap;
    }
    ret->slot[index].bytes += node->bytes;
    if (node->size_class == CLASS_LARGE) {
        alloc_free(&heap->pool->alloc, node);
    } else {
        node_poison(node);
        set_next(node, ret->slot[index].first);
        ret->slot[index].first = node;
        if (ret->slot[index].last == NULL)
            ret->slot[index].last = node;
    }
    if (++ret->slot[index].count >= NODE_RETURN_BATCH)
        return_slot(ret, index);
}

void node_return_flush(struct node_return *ret)
{
    for (size_t index = 0; index < NODE_RETURN_HEAPS; index++)
        return_slot(ret, index);
}

uint64_t node_pool_number(struct node_pool *pool)
{
    struct node_heap *heap = heap_of(pool);

    if (heap == NULL) /* relaxed: being unique needs no order */
        return atomic_fetch_add_explicit(&pool->numbers, 1, memory_order_relaxed) + 1;
    return (uint64_t)heap->id << NUMBER_BITS | ++heap->numbers;
}
