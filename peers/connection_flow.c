/* SPDX-License-Identifier: Apache-2.0
 *
 * When nothing is read from a connection. Too much of what it sent waits at other workers, too
 * many answers wait for it to read, or its sender is over its limit: then its socket fills up,
 * and the sender waits. Nothing that was accepted is lost by that, and nothing else waits.
 *
 * A limited sender's batch is held here while it is run, as far as the limit allows. When the
 * bucket has filled, the same batch is run again from its start: what was begun before is a
 * repeat by then (PROTOCOL.md, "Between parleys", 4). What the transport had read already when
 * it was told to stop would come too early, and ends the connection; the sender resends it.
 */
#include <string.h>

#include "peers/connection.h"
#include "peers/wire.h"
#include "runtime/clock.h"

void connection_pause(struct connection *connection, enum connection_pause reason)
{
    if (connection->closed)
        return;
    if (connection->pauses == 0) {
        ws_read(connection->ws, false);
        connection->moved_ns = worker_now_ns(connection->bench->worker);
    }
    connection->pauses |= reason;
}

void connection_resume(struct connection *connection, enum connection_pause reason)
{
    if (connection->closed || (connection->pauses & reason) == 0)
        return;
    connection->pauses &= ~(unsigned)reason;
    if (connection->pauses == 0)
        ws_read(connection->ws, true);
}

/* ---- Bytes that wait ---- */

/* @return whether it is beyond what waiting can mend */
static bool weigh(struct connection *connection, enum connection_pause reason, size_t bytes)
{
    size_t most = connection->bench->runtime->options.connection_bytes_max;

    if (bytes > most)
        connection_pause(connection, reason);
    else if (bytes <= most / 2)
        connection_resume(connection, reason);
    return bytes > 2 * most + connection->bench->runtime->options.message_bytes_max;
}

void connection_asked(struct connection *connection)
{
    if (weigh(connection, PAUSE_ASKED, connection->asked_bytes) && !connection->closed)
        ws_close(connection->ws, CLOSE_TRY_LATER, "try again later");
}

void connection_unread(struct connection *connection)
{
    if (weigh(connection, PAUSE_UNREAD, connection->unread_bytes) && !connection->closed)
        ws_close(connection->ws, 1008, "too many answers unread");
}

/* ---- A limited sender ---- */

/* What came over a WebSocket that we dialled is from a peer. */
bool connection_limited(struct connection *connection)
{
    return connection->ws == &connection->accepted && connection->entity[0] != '\0' &&
           limit_applies(connection->bench->runtime, &connection->trust, connection->entity);
}

bool connection_within_limit(struct connection *connection, enum limit_kind kind,
                             uint64_t number)
{
    struct bench *bench = connection->bench;
    char buffer[256];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};
    uint64_t at_ns;

    if (!connection_limited(connection) ||
        limit_take(&bench->runtime->limits, connection->entity, kind,
                   worker_now_ns(bench->worker), &at_ns))
        return true;
    bench->counts.rate_limited++;
    error_write(&out, "Rate limit exceeded (100 msg/min)",
                number); /* the words older clients know */
    connection_say(connection, buffer, out.len);
    return false;
}

static void let_go(struct connection *connection)
{
    alloc_free(&connection->bench->runtime->alloc, connection->held);
    connection->held = NULL;
    connection_resume(connection, PAUSE_LIMIT);
}

/* It has been run. @param until_ns 0: to its end */
static void was_run(struct connection *connection, uint64_t until_ns)
{
    if (until_ns == 0 || connection->closed || connection->close_code != 0)
        let_go(connection);
    else
        worker_timer_start(connection->bench->worker, &connection->again, until_ns);
}

static void run_held(struct connection *connection)
{
    struct bench *bench = connection->bench;
    bool here = connection->session->bench == bench;

    if (bench_scan_frame(bench, connection->held, connection->held_len) != PARLEY_OK ||
        !connection_run_batch(connection, &bench->doc, connection->held, connection->held_len,
                              true)) {
        ws_close(connection->ws, CLOSE_TRY_LATER, "try again later");
        let_go(connection);
    } else if (here) {
        was_run(connection, connection->session->held_until_ns);
    }
}

static void on_again(struct timer *timer)
{
    run_held((struct connection *)((char *)timer - offsetof(struct connection, again)));
}

void connection_hold(struct connection *connection, const char *data, size_t len)
{
    if (connection->held == NULL)
        connection->held = alloc_bytes(&connection->bench->runtime->alloc, len + 1);
    else
        data = NULL; /* it came too early */
    if (connection->held == NULL || data == NULL) {
        ws_close(connection->ws, CLOSE_TRY_LATER, "try again later");
        return;
    }
    memcpy(connection->held, data, len);
    connection->held[len] = '\0';
    connection->held_len = len;
    timer_init(&connection->again, on_again);
    connection_pause(connection, PAUSE_LIMIT);
    run_held(connection);
}

void connection_held_answered(struct connection *connection,
                              const struct inbound_request *request)
{
    was_run(connection, request->held_until_ns);
}

void connection_flow_end(struct connection *connection)
{
    if (connection->pauses != 0)
        ws_read(connection->ws, true); /* it may be a peer's own, and stay open */
    connection->pauses = 0;
    if (connection->held == NULL)
        return;
    worker_timer_stop(connection->bench->worker, &connection->again);
    alloc_free(&connection->bench->runtime->alloc, connection->held);
    connection->held = NULL;
}
