/* SPDX-License-Identifier: Apache-2.0
 *
 * Identities in the simulated world, and what is promised where there are some: nothing runs
 * that its sender did not post to that receiver, nothing twice because somebody says it again;
 * nothing readable crosses the network where all has to be sealed; no key seals two frames
 * with one nonce; nobody takes a handshake for done that the other side did not do.
 */
#ifndef PARLEY_TEST_SIM_SECURE_H
#define PARLEY_TEST_SIM_SECURE_H

#include "test/sim/sim.h"

#define SECURE_SKEW_S   1
#define SECURE_STALE_NS ((2 * SECURE_SKEW_S + 1) * NS_PER_S) /* no copy is taken any more */

void secure_reset(void);

/* ---- Worlds: secure_worlds.c ---- */

/** Which world it is; before the rest of it is drawn. */
void secure_draw_world(struct setup *setup);
/** Who has an identity, who knows whose; what is asked. */
void secure_draw_setup(struct setup *setup);

void secure_options(const struct process *process, parley_options *options);
void secure_peer_options(const struct process *process, unsigned other,
                         parley_peer_options *options);

/** Whether the receiver's settings and the sender's let messages through at all. */
bool secure_may_arrive(unsigned from, unsigned to);
/** … and in the end they do. Who need not seal goes on without when a handshake has failed,
 *  whether the other side takes that or not. */
bool secure_must_arrive(unsigned from, unsigned to);
/** Whether somebody between can make up results: acknowledgements are not signed. */
bool secure_results_forgeable(void);
/** Whether a rejection has to do with identities. */
bool secure_refused(unsigned from, unsigned to, const char *detail);

/* ---- Frames and bodies ---- */

/** One goes on the network: what it says, if it is sealed, in place of its bytes. */
void secure_sent(unsigned from, unsigned to, bool sealed, const char **text, size_t *len);
/** A process has died: what it had of OpenSSL's goes. */
void secure_process_gone(const struct process *process);

#endif
