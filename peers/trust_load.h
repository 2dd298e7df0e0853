/* SPDX-License-Identifier: Apache-2.0
 *
 * Between trust_read.c, which reads files, and trust_load.c, which puts them to use.
 */
#ifndef PARLEY_PEERS_TRUST_LOAD_H
#define PARLEY_PEERS_TRUST_LOAD_H

#include "peers/trust_change.h"

/* What was read, until it is put to use. */
struct trust_load {
    struct parley *runtime;
    const parley_options *options;
    bool of_peers; /* look at the options' peers, too: the registry is locked */
    struct trust_self *self;
    struct trust_entry *fresh; /* of which the present ring has none like it */
    size_t fresh_len;
    struct trust_ring *ring; /* the next one */
    /* for the log, once it is in use and no lock is held; linked by `next`, `next_lost` */
    struct trust_entry *gained, *lost;
    bool self_changed;
    char *error;
    size_t error_len;
};

/** Reads identity and directory. @return PARLEY_OK; PARLEY_EINVAL, PARLEY_ECONFIG,
 *  PARLEY_ESYSTEM, told in `error`; PARLEY_ENOMEM */
parley_status trust_load_read(struct trust_load *load);

/** Adds a key to what is fresh. @return PARLEY_OK; PARLEY_EINVAL (not an acceptable key);
 *  PARLEY_ENOMEM */
parley_status trust_load_add(struct trust_load *load, const char *entity,
                             const uint8_t key[IDENTITY_KEY_BYTES],
                             struct trust_entry **ret_entry);

/** Frees what has not been put to use. */
void trust_load_fini(struct trust_load *load);

#endif
