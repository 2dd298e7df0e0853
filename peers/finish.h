/* SPDX-License-Identifier: Apache-2.0
 *
 * A late answer of a handler on its way to the session's owner.
 */
#ifndef PARLEY_PEERS_FINISH_H
#define PARLEY_PEERS_FINISH_H

#include "peers/session.h"

struct finish {
    struct control control; /* CONTROL_FINISH */
    uint64_t number;
    bool accepted;
    char detail[]; /* of a rejection */
};

/** On the owner: records the outcome, tells who waits, frees `finish`, and gives back the
 *  reference taken for it. */
void session_finish(struct session *session, struct finish *finish);

#endif
