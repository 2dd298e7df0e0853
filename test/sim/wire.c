/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections as pairs of ends and streams of bytes: who is told when something ends, and
 * what becomes of the bytes on their way when a connection is cut.
 */
#include "test/sim/wire.h"

#include <stdlib.h>
#include <string.h>

#include "transport/ws_frame.h"

struct wire *wires[WIRES_MAX];
unsigned wires_len;
struct ws_masks wire_masks;

struct end *wire_other(struct end *end)
{
    return &end->wire->ends[1 - end->side];
}

/* ---- Bytes ---- */

void bytes_append(struct bytes *bytes, const void *data, size_t len)
{
    if (bytes->len + len > bytes->capacity) {
        bytes->capacity = 2 * (bytes->len + len);
        bytes->data = realloc(bytes->data, bytes->capacity);
    }
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

void bytes_drop(struct bytes *bytes, size_t len)
{
    bytes->len -= len;
    if (bytes->len > 0)
        memmove(bytes->data, bytes->data + len, bytes->len);
}

static void wire_free(struct wire *wire)
{
    for (unsigned i = 0; i < 2; i++) {
        free(wire->ends[i].pending.data);
        free(wire->ends[i].flight.data);
        free(wire->ends[i].in.data);
    }
}

void wires_reset(void)
{
    while (wires_len > 0)
        wire_free(wires[--wires_len]);
    ws_masks_init(&wire_masks);
}

/* ---- Ends of a connection ---- */

/* What a stopped process would do it does afterwards. */
bool wire_postponed(struct end *end, event_fn run, uint64_t value)
{
    uint64_t until = worker_paused_until(end->worker);

    if (until <= sim.now_ns)
        return false;
    sim_at(until, run, end, value);
    return true;
}

uint64_t wire_delay_ns(struct end *to)
{
    return latency_ns(&to->wire->chance, to->node);
}

void wire_want_read(struct end *from, uint64_t after_ns)
{
    if (from->read_due || (from->flight.len == 0 && !from->ended))
        return;
    from->read_due = true;
    sim_at(sim.now_ns + after_ns, wire_on_read, from, 0);
}

void wire_want_write(struct end *end)
{
    if (end->write_due || end->ws == NULL)
        return;
    end->write_due = true;
    sim_at(sim.now_ns + chance_between(&end->wire->chance, 1, 100) * NS_PER_US, wire_on_write,
           end, 0);
}

/* This end's socket is gone; the other end reads that after what is still under way. */
void wire_hang_up(struct end *end, bool abruptly)
{
    struct end *peer = wire_other(end);

    end->pending.len = 0;
    if (abruptly && end->flight.len > 0)
        end->flight.len = chance_below(&end->wire->chance, (uint32_t)end->flight.len + 1);
    end->ended = true;
    if (peer->ws != NULL && !end->wire->severed)
        wire_want_read(end, wire_delay_ns(peer));
}

static void report(struct end *end, unsigned http_status, const char *detail)
{
    struct ws *ws = end->ws;
    struct ws_closed why = {
        .was_open = ws->open,
        .code = end->peer_code,
        .http_status = http_status,
        .detail = end->failure != NULL ? end->failure : detail,
    };

    sim_trace("%s: connection %u closed: %s, %u", end->node->id, end->wire->port, why.detail,
              http_status != 0 ? http_status : why.code);
    sim_broke(end->node, wire_other(end)->node);
    end->ws = NULL;
    ws->wsi = NULL;
    ws->internal[0] = NULL;
    ws->open = false;
    worker_enter(end->worker);
    end->transport->events.closed(ws, &why);
    worker_leave();
}

void wire_end(struct end *end, bool abruptly, unsigned http_status, const char *detail)
{
    if (end->ws == NULL)
        return;
    wire_hang_up(end, abruptly);
    report(end, http_status, detail);
}

/* value: the HTTP status of a refusal. */
void wire_on_lost(void *subject, uint64_t value)
{
    struct end *end = subject;

    if (end->ws != NULL && !wire_postponed(end, wire_on_lost, value))
        wire_end(end, true, (unsigned)value, "connection lost");
}

void wire_on_closed(void *subject, uint64_t value)
{
    struct end *end = subject;

    if (end->ws != NULL && !wire_postponed(end, wire_on_closed, value))
        wire_end(end, false, 0, "connection lost");
}

/* ---- For the world ---- */

/* Some of what travels still arrives, perhaps half a frame. */
static void cut(struct wire *wire, unsigned halves)
{
    for (unsigned i = 0; i < 2; i++) {
        struct end *from = &wire->ends[i], *to = wire_other(from);
        uint32_t len = chance_below(&wire->chance, (uint32_t)from->flight.len + 1);

        if (len > 0 && to->ws != NULL && to->opened &&
            worker_paused_until(to->worker) <= sim.now_ns)
            wire_feed(to, from->flight.data, len);
        if (to->in.len > 0)
            fault_count(FAULT_CUT_IN_FRAME);
        from->flight.len = from->pending.len = 0;
    }
    wire_sever(wire, halves);
}

void wire_sever(struct wire *wire, unsigned halves)
{
    wire->severed = true;
    for (unsigned i = 0; i < 2; i++) {
        struct end *end = &wire->ends[i];
        bool told = (halves & 1u << end->node->index) == 0;
        uint64_t after_ns =
            told ? wire_delay_ns(end) : chance_between(&wire->chance, 500, 900) * NS_PER_S;

        fault_count(told ? FAULT_CUT : FAULT_HALF_OPEN);
        sim_at(sim.now_ns + after_ns, wire_on_lost, end, 0);
    }
}

void wires_cut(unsigned a, unsigned b, unsigned halves)
{
    for (unsigned i = 0; i < wires_len; i++) {
        struct end *ends = wires[i]->ends;
        unsigned from = ends[0].node->index, to = ends[1].node->index;

        if (!wires[i]->severed && ends[0].ws != NULL && ends[1].ws != NULL &&
            ((from == a && to == b) || (from == b && to == a)))
            cut(wires[i], halves);
    }
}

void wires_process_gone(struct process *process, bool silently)
{
    for (unsigned i = 0; i < wires_len; i++) {
        for (unsigned side = 0; side < 2; side++) {
            struct end *end = &wires[i]->ends[side];

            if (end->transport == NULL || end->transport->process != process)
                continue;
            end->ws = NULL;
            end->transport = NULL;
            if (silently)
                end->wire->severed = true;
            else
                wire_hang_up(end, true);
        }
    }
}

size_t wires_of_worker(const struct transport *transport, const struct worker *worker)
{
    size_t count = 0;

    for (unsigned i = 0; i < 2 * wires_len; i++) {
        const struct end *end = &wires[i / 2]->ends[i % 2];

        count += end->ws != NULL && end->transport == transport && end->worker == worker;
    }
    return count;
}

void wires_worker_shutdown(struct transport *transport, struct worker *worker)
{
    for (unsigned i = 0; i < wires_len; i++) {
        struct end *end = &wires[i]->ends[1];

        if (end->ws != NULL && end->transport == transport && end->worker == worker)
            ws_close(end->ws, 1001, "Server shutting down");
    }
}

void wires_worker_hurry(struct transport *transport, struct worker *worker)
{
    for (unsigned i = 0; i < 2 * wires_len; i++) {
        struct end *end = &wires[i / 2]->ends[i % 2];

        if (end->ws != NULL && end->transport == transport && end->worker == worker &&
            end->ws->open && end->ws->closing)
            sim_at(sim.now_ns + 20 * NS_PER_US, wire_on_lost, end, 0);
    }
}

void wires_worker_fini(struct transport *transport, struct worker *worker)
{
    if (wires_of_worker(transport, worker) > 0)
        promise_broken("a worker ends with connections");
    for (unsigned i = 0; i < 2 * wires_len; i++) {
        struct end *end = &wires[i / 2]->ends[i % 2];

        if (end->transport == transport)
            end->transport = NULL;
    }
}
