/* SPDX-License-Identifier: Apache-2.0
 *
 * parley_message_finish(): from any thread to the worker that owns the message's session.
 */
#include "peers/finish.h"

#include <string.h>

void session_finish(struct session *session, struct finish *finish)
{
    struct parley *runtime = session->runtime;
    const char *detail = finish->accepted ? NULL : finish->detail;
    parley_status status = receive_finish(&session->receive, finish->number, detail);

    if (status == PARLEY_OK) {
        session->bench->counts.handled++;
        if (detail != NULL)
            session->bench->counts.handler_rejected++;
        session_progress(session);
    }
    alloc_free(&runtime->alloc, finish);
    session_table_release(&runtime->sessions, session);
}

parley_status parley_message_finish(parley *runtime, parley_token token, parley_status status,
                                    const char *detail)
{
    struct session *session;
    struct finish *finish;
    size_t len;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    session = session_table_find(&runtime->sessions, token.session);
    if (session == NULL)
        return PARLEY_EUNKNOWN;
    if (detail == NULL)
        detail = parley_strerror(status);
    len = strnlen(detail, PARLEY_DETAIL_MAX - 1);
    finish = alloc_zeroed(&runtime->alloc, sizeof(*finish) + len + 1);
    if (finish == NULL) {
        session_table_release(&runtime->sessions, session);
        return PARLEY_ENOMEM;
    }
    finish->control.kind = CONTROL_FINISH;
    finish->number = token.number;
    finish->accepted = status == PARLEY_OK;
    memcpy(finish->detail, detail, len);
    actor_post_control(&session->actor, &finish->control.node);
    return PARLEY_OK;
}
