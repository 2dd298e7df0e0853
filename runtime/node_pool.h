/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for message nodes: allocated by the thread that posts, freed by the worker that
 * finished with it, given back to the poster's heap in batches.
 *
 * Every thread that allocates has a heap of its own in each pool, found through a
 * pthread key: size classes carved from slabs, a private free list per class, and one
 * atomic stack of nodes that other threads gave back, taken whole when the private list
 * is empty. A worker collects what it frees in a node_return, per heap, and pushes each
 * collection with one compare-and-swap. A thread that ends leaves its heap to the next new
 * thread; slabs are freed with the pool.
 *
 * The pool's bound counts bytes in nodes that are allocated. Heaps count for themselves; a
 * heap adds all of them up only once per NODE_POOL_STEP bytes that it handed out (and on
 * every allocation while the bound is reached), so the bound may be passed by one step per
 * thread.
 *
 * Who may call what:  alloc: any thread.  free: any thread, through its own node_return.
 */
#ifndef PARLEY_RUNTIME_NODE_POOL_H
#define PARLEY_RUNTIME_NODE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"
#include "runtime/mailbox.h"

#define NODE_POOL_STEP    (64u * 1024)
#define NODE_RETURN_HEAPS 8
#define NODE_RETURN_BATCH 64

struct node_pool;
struct node_heap;

/** Head of every node: a message begins with it. */
struct node {
    struct mailbox_node link;
    struct node_heap *heap; /* owner */
    uint32_t bytes;         /* usable bytes from the head on, the head included */
    uint32_t size_class;
};

/** A thread's nodes on their way back. Zero-initialise; flush before the thread stops. */
struct node_return {
    struct {
        struct node_heap *heap;
        struct node *first, *last;
        uint32_t count;
        uint64_t bytes;
    } slot[NODE_RETURN_HEAPS];
};

/**
 * Makes a pool.
 *
 * @param bytes_max bound on allocated nodes, in bytes
 * @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_ESYSTEM (no pthread key left)
 */
parley_status node_pool_new(const struct alloc *alloc, uint64_t bytes_max,
                            struct node_pool **ret_pool);

/** Frees the pool and every node of it but large ones in use. NULL is allowed. No node may
 *  be in use, and no thread that allocated from it may be ending at the same time. */
void node_pool_free(struct node_pool *pool);

/**
 * Allocates a node of at least `bytes`, the head included; its `link` is not initialised.
 *
 * @return PARLEY_OK; PARLEY_EAGAIN (bound reached); PARLEY_ENOMEM
 */
parley_status node_alloc(struct node_pool *pool, size_t bytes, struct node **ret_node);

/** Collects a node for its heap; flushes that heap's part when it holds a batch. */
void node_free(struct node_return *ret, struct node *node);

/** Gives everything collected back. */
void node_return_flush(struct node_return *ret);

/** Bytes in allocated nodes now; exact when nobody allocates or frees. */
uint64_t node_pool_used(struct node_pool *pool);

/** A number no other call on this pool has returned or will; one per accepted message. */
uint64_t node_pool_number(struct node_pool *pool);

#endif
