/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of fault. Each runs in a process of its own, the sender's, and fills its row of
 * the table; it ends by itself even when everything hangs.
 */
#ifndef PARLEY_TEST_FAULTS_FAULTS_H
#define PARLEY_TEST_FAULTS_FAULTS_H

#include "test/faults/rig.h"

/** What `make faults` was asked for. */
struct faults_plan {
    bool quick; /* a sample, for CI */
    uint64_t seed;
};

typedef void (*faults_fn)(const struct faults_plan *plan, struct row *row);

struct faults_kind {
    const char *name;
    faults_fn run;
};

/** Each file's kinds, ended by a NULL name. */
extern const struct faults_kind faults_offsets[], faults_signals[], faults_descriptors[],
    faults_allocations[], faults_configuration[];

#endif
