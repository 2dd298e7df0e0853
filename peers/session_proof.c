/* SPDX-License-Identifier: Apache-2.0
 *
 * What has been proven by a signature still has to be new: repeats are looked for first,
 * then it must be fresh, then the memory against replay must not know it. On the session's
 * owner.
 */
#include <string.h>

#include "peers/session.h"
#include "runtime/clock.h"

static const char stale[] = GUARD_STALE;
const char session_later[] = "try again later";

static uint64_t microseconds(double timestamp)
{
    return timestamp > 0 && timestamp < 1e12 ? (uint64_t)(timestamp * 1e6) : 0;
}

/* After a restart, or when this session had to make room: nothing that was taken before. */
static const char *admit_place(struct session *session, double oldest, double newest)
{
    uint64_t now_ns = worker_now_ns(session->bench->worker);

    return nonces_session(&session->runtime->nonces, session->sender, session->session_id,
                          session->receive.known, microseconds(oldest), microseconds(newest),
                          now_ns, clock_wall_us()) == NONCES_NEW
               ? NULL
               : session_later;
}

const char *session_admit_batch(struct session *session, const struct batch *batch,
                                const struct proof *proof)
{
    uint64_t messages = batch->messages != NULL ? proof->messages : 1;

    if (!proof->bound || (session->receive.known &&
                          batch->first_seq + messages - 1 <= session->receive.watermark))
        return NULL;
    if (!guard_fresh(session->runtime, proof->oldest, proof->newest))
        return stale;
    return admit_place(session, proof->oldest, proof->newest);
}

const char *session_admit_message(struct session *session, const struct envelope *envelope,
                                  enum evidence evidence, bool *ret_seen)
{
    uint64_t now_ns = worker_now_ns(session->bench->worker);
    enum nonces_answer answer;

    *ret_seen = false;
    if (evidence == EVIDENCE_NONE)
        return NULL;
    if (evidence == EVIDENCE_PLAIN) {
        answer =
            nonces_look(&session->runtime->nonces, session->sender, envelope->nonce, now_ns);
        *ret_seen = answer == NONCES_SEEN;
        if (answer == NONCES_SEEN)
            return NULL;
        if (answer == NONCES_FULL)
            return session_later;
    }
    if (!guard_fresh(session->runtime, envelope->timestamp, envelope->timestamp))
        return stale;
    return evidence == EVIDENCE_BOUND
               ? admit_place(session, envelope->timestamp, envelope->timestamp)
               : NULL;
}

void session_note_nonce(struct session *session, const struct envelope *envelope)
{
    (void)nonces_add(&session->runtime->nonces, session->sender, envelope->nonce,
                     worker_now_ns(session->bench->worker), clock_wall_us());
}
