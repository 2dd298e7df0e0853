/* SPDX-License-Identifier: Apache-2.0
 *
 * An inbound session's life: made by whoever saw it first, kept in its owner's list in the
 * order of use, forgotten when it has been idle for long or has to make room.
 */
#include "peers/session.h"

#include <string.h>

#include "peers/finish.h"
#include "runtime/clock.h"

#define EVICTION_LOOKS 64 /* sessions that may be in use, before giving up */

static void on_control(struct actor *actor, struct mailbox_node *node)
{
    struct session *session = (struct session *)actor;
    struct control *control = (struct control *)node;

    if (control->kind == CONTROL_FINISH) {
        session_finish(session, (struct finish *)control);
        return;
    }
    struct inbound_request *request = (struct inbound_request *)control;

    if (session_handle(session, request, NULL))
        actor_post_control(&request->origin->actor, &request->control.node);
}

static void retired(struct actor *actor)
{
    session_free((struct session *)actor);
}

static const struct actor_class session_class = {.control = on_control, .retired = retired};

/* ---- The owner's list, the one used last in front ---- */

static void join(struct session *session)
{
    struct bench *bench = session->bench;

    session->prev = NULL;
    session->next = bench->sessions;
    if (session->next != NULL)
        session->next->prev = session;
    else
        bench->sessions_last = session;
    bench->sessions = session;
}

static void leave(struct session *session)
{
    struct bench *bench = session->bench;

    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        bench->sessions = session->next;
    if (session->next != NULL)
        session->next->prev = session->prev;
    else
        bench->sessions_last = session->prev;
}

void session_use(struct session *session)
{
    session->used_ns = worker_now_ns(session->bench->worker);
    if (session->bench->sessions != session) {
        leave(session);
        join(session);
    }
}

struct session *session_new(struct parley *runtime, struct worker *worker, const char *name,
                            size_t name_len)
{
    struct session *session = alloc_aligned(&runtime->alloc, CACHE_LINE, sizeof(*session));

    if (session == NULL)
        return NULL;
    session->runtime = runtime;
    session->bench = bench_of(worker);
    session->name = alloc_bytes(&runtime->alloc, name_len);
    if (session->name == NULL) {
        alloc_free_aligned(&runtime->alloc, session);
        return NULL;
    }
    session->name_len = name_len;
    memcpy(session->name, name, name_len);
    session->sender = session->name;
    session->session_id = session->name + strlen(session->name) + 1;
    session->used_ns = worker_now_ns(worker);
    receive_init(&session->receive, &runtime->alloc, runtime->options.in_flight_max);
    return session;
}

void session_start(struct session *session)
{
    actor_init(&session->actor, &session_class, session->bench->worker);
    join(session);
    session->started = true;
}

void session_free(struct session *session)
{
    const struct alloc *alloc;

    if (session == NULL)
        return;
    alloc = &session->runtime->alloc;
    if (session->started)
        leave(session);
    receive_fini(&session->receive);
    if (session->seen != NULL)
        seen_fini(session->seen);
    alloc_free(alloc, session->seen);
    alloc_free(alloc, session->name);
    alloc_free_aligned(alloc, session);
}

/* ---- Sweeping ---- */

static bool attached(const struct session *session)
{
    return session->connection != NULL || session->older[0] != NULL ||
           session->older[1] != NULL;
}

static bool in_use(const struct session *session)
{
    return attached(session) || session->waiting != NULL || session->forgotten ||
           receive_owes(&session->receive);
}

static bool forget(struct session *session)
{
    if (!session_table_forget(&session->runtime->sessions, session))
        return false;
    session->forgotten = true;
    actor_retire(&session->actor);
    return true;
}

bool session_sweep(struct session *session, uint64_t now_ns, bool closing)
{
    uint64_t idle_ns = session->runtime->options.session_idle_s * NS_PER_S;

    session_answer_late(session, now_ns, closing);
    if (session->ack_owed)
        session_progress(session);
    if (closing ? attached(session) || session->forgotten
                : in_use(session) || now_ns - session->used_ns < idle_ns)
        return false;
    return forget(session);
}

static bool is_peer(struct parley *runtime, const char *id)
{
    bool known;

    registry_lock(&runtime->registry);
    known = registry_find(&runtime->registry, id) != NULL;
    registry_unlock(&runtime->registry);
    return known;
}

/* What cannot go moves to the front, or a few that are connected and silent would stand before
 * all that could. */
bool session_evict(struct bench *bench, bool any)
{
    for (unsigned i = 0; i < EVICTION_LOOKS && bench->sessions_last != NULL; i++) {
        struct session *session = bench->sessions_last;

        if (!in_use(session) && (any || !is_peer(bench->runtime, session->sender)) &&
            forget(session))
            return true;
        leave(session);
        join(session);
    }
    return false;
}

/* A stranger takes a stranger's place. A peer may take any, and is admitted if all are in
 * use: connections are bounded by themselves. */
parley_status session_acquire(struct bench *bench, const char *sender, const char *session_id,
                              struct session **ret_session)
{
    struct session_table *table = &bench->runtime->sessions;
    parley_status status =
        session_table_acquire(table, sender, session_id, bench->worker, false, ret_session);

    if (status != PARLEY_ELIMIT)
        return status;
    if (is_peer(bench->runtime, sender)) {
        if (!session_evict(bench, false))
            session_evict(bench, true);
    } else if (!session_evict(bench, false)) {
        /* relaxed: see bench.c */
        atomic_fetch_add_explicit(&bench->runtime->crowded, 1, memory_order_relaxed);
        return PARLEY_ELIMIT;
    }
    return session_table_acquire(table, sender, session_id, bench->worker, true, ret_session);
}

/* ---- Requests' memory ---- */

struct inbound_request *inbound_new_sized(struct bench *origin, enum inbound_kind kind,
                                          struct session *session, size_t size)
{
    struct inbound_request *request = alloc_zeroed(&origin->runtime->alloc, size);

    if (request == NULL)
        return NULL;
    request->control.kind = CONTROL_INBOUND;
    request->kind = kind;
    request->origin = origin;
    request->session = session;
    origin->requests++;
    return request;
}

struct inbound_request *inbound_new(struct bench *origin, enum inbound_kind kind,
                                    struct session *session)
{
    return inbound_new_sized(origin, kind, session, sizeof(struct inbound_request));
}

void inbound_drop(struct inbound_request *request)
{
    const struct alloc *alloc;

    if (request == NULL)
        return;
    alloc = &request->origin->runtime->alloc;
    request->origin->requests--;
    if (request->sealing.session != NULL)
        secure_table_release(&request->origin->runtime->secured, request->sealing.session);
    alloc_free(alloc, request->text);
    alloc_free(alloc, request);
}

void inbound_free(struct inbound_request *request)
{
    session_table_release(&request->origin->runtime->sessions, request->session);
    inbound_drop(request);
}
