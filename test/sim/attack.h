/* SPDX-License-Identifier: Apache-2.0
 *
 * Somebody between the nodes, who sees all they say over the network and may change it, keep
 * it back, and say any of it again, to anybody. Whoever it is has no keys.
 */
#ifndef PARLEY_TEST_SIM_ATTACK_H
#define PARLEY_TEST_SIM_ATTACK_H

#include "test/sim/wire.h"

void attack_reset(void);

/** A frame is about to arrive: wire_deliver() is called for what does. */
void attack_frame(struct end *end, const uint8_t *payload, size_t len, bool binary);

struct attack_request {
    unsigned from, to;
    const char *path, *session;
    const char *body;
    size_t body_len;
};

/** A request is about to arrive; it may be replaced. @return true: *ret_before comes first */
bool attack_request(struct attack_request *request, struct attack_request *ret_before);

struct attack_answer {
    unsigned code;
    const char *body;
    size_t body_len;
    bool by_parley;
};

/** An answer is about to go. */
void attack_answer(unsigned from, unsigned to, struct attack_answer *answer);

#endif
