/* SPDX-License-Identifier: Apache-2.0
 *
 * A log-linear histogram of nanoseconds: each power of two is cut into 64 buckets, so a
 * quantile is at most 1.6 % above the value it stands for, at any magnitude.
 *
 * One thread records; others may read meanwhile. A recording is a load and a store on one
 * counter: no lock, no read-modify-write, no memory. Histograms of several threads are
 * added up with histogram_add().
 */
#ifndef PARLEY_BENCH_HISTOGRAM_H
#define PARLEY_BENCH_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB      (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
    _Atomic(uint64_t) count[HISTOGRAM_BUCKETS]; /* zero-initialise */
};

static inline size_t histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUB)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (size_t)(shift + 1) * HISTOGRAM_SUB + (size_t)((value >> shift) - HISTOGRAM_SUB);
}

/** The largest value that falls into a bucket. */
static inline uint64_t histogram_bucket_top(size_t bucket)
{
    if (bucket < HISTOGRAM_SUB)
        return bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_SUB) - 1;
    uint64_t base = HISTOGRAM_SUB + bucket % HISTOGRAM_SUB;
    return (base << shift) + ((UINT64_C(1) << shift) - 1);
}

/** Counts one value. One thread per histogram. */
static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    _Atomic(uint64_t) *count = &histogram->count[histogram_bucket(value)];
    /* relaxed, both: this thread is the only writer; who needs a total joins it first. */
    uint64_t seen = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, seen + 1, memory_order_relaxed);
}

/** Adds `from` to `into`, which nobody else uses. */
static inline void histogram_add(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        /* relaxed: as in histogram_record(). */
        uint64_t more = atomic_load_explicit(&from->count[i], memory_order_relaxed);
        uint64_t seen = atomic_load_explicit(&into->count[i], memory_order_relaxed);
        atomic_store_explicit(&into->count[i], seen + more, memory_order_relaxed);
    }
}

static inline uint64_t histogram_total(const struct histogram *histogram)
{
    uint64_t total = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        /* relaxed: as in histogram_record(). */
        total += atomic_load_explicit(&histogram->count[i], memory_order_relaxed);
    return total;
}

/** The value that `per_mille` of 1000 recordings do not exceed, rounded up to its bucket's
 *  top; 0 when nothing was recorded. */
static inline uint64_t histogram_quantile(const struct histogram *histogram,
                                          unsigned per_mille)
{
    uint64_t total = histogram_total(histogram);
    uint64_t rank = total / 1000 * per_mille + (total % 1000 * per_mille + 999) / 1000;
    uint64_t passed = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        /* relaxed: as in histogram_record(). */
        passed += atomic_load_explicit(&histogram->count[i], memory_order_relaxed);
        if (passed > 0 && passed >= rank)
            return histogram_bucket_top(i);
    }
    return 0;
}

#endif
