/* SPDX-License-Identifier: Apache-2.0
 *
 * What this process has used so far, and the clock: header-only, the rivals use it too.
 */
#ifndef PARLEY_BENCH_USAGE_H
#define PARLEY_BENCH_USAGE_H

#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t usage_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static inline double usage_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

/** CPU seconds of all threads, user and system. */
static inline double usage_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage_seconds(&usage);
}

/** Peak resident memory. Not ru_maxrss, which a process inherits from before its exec. */
static inline uint64_t usage_rss_kb(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];
    unsigned long long kb = 0;
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmHWM: %llu", &kb) == 1)
            break;
    if (file)
        fclose(file);
    return kb;
}

/** Allows as many descriptors as this process may have. */
static inline void usage_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#endif
