/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of workers for a test, with settings a test may change before it starts.
 */
#ifndef PARLEY_TEST_POOL_H
#define PARLEY_TEST_POOL_H

#include "runtime/actor.h"
#include "runtime/worker.h"
#include "test/check.h"

static const struct log pool_silent = {0};

static inline struct worker_pool_options pool_options(uint32_t workers)
{
    return (struct worker_pool_options){
        .workers = workers, .run_messages_max = 64, .run_time_us = 1000};
}

static inline struct worker_pool *pool_start(const struct worker_pool_options *options)
{
    struct worker_pool *pool = NULL;
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    CHECK_STATUS(worker_pool_start(&alloc, &pool_silent, options, &pool), OK);
    return pool;
}

#endif
