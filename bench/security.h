/* SPDX-License-Identifier: Apache-2.0
 *
 * Under which protection a fan-out travels, and the identities for it. Each is made of a seed
 * that follows from its name, the same in both processes: good for a benchmark only.
 */
#ifndef PARLEY_BENCH_SECURITY_H
#define PARLEY_BENCH_SECURITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"

#define SECURITY_SENDER   "bench-sender"
#define SECURITY_NAME_MAX 32

/** One of our nodes: who it is, and what it asks of the other side. */
struct security_self {
    uint8_t seed[32];
};

/** What the other side's public key is, as parley_peer_options wants it. */
struct security_other {
    char public_key[65];
};

/** @return false: it is none of off, signed and sealed */
bool security_parse(const char *text, parley_security *ret_security);

/** Its name on the command line. */
const char *security_name(parley_security security);

/** The name of the node behind peer number `index`, which is also the peer's id. */
void security_peer_name(uint32_t index, char name[SECURITY_NAME_MAX]);

/** Sets what protects: an identity of this name, and what a node refuses. `self` has to live
 *  until parley_open() has returned. */
void security_node(parley_security security, const char *name, struct security_self *self,
                   parley_options *options);

/** The same for a peer of this name. `other` has to live until the peer has been added.
 *  @return false: no memory */
bool security_peer(parley_security security, const char *name, struct security_other *other,
                   parley_peer_options *options);

#endif
