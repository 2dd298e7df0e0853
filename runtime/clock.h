/* SPDX-License-Identifier: Apache-2.0
 *
 * The two clocks: monotonic for everything inside, wall for what goes on the wire.
 */
#ifndef PARLEY_RUNTIME_CLOCK_H
#define PARLEY_RUNTIME_CLOCK_H

#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/** A time that never comes. */
#define CLOCK_NEVER UINT64_MAX

/** CLOCK_MONOTONIC in nanoseconds. Any thread; no system call where the vDSO serves it. */
uint64_t clock_now_ns(void);

/** CLOCK_REALTIME in microseconds since the epoch. */
uint64_t clock_wall_us(void);

#endif
