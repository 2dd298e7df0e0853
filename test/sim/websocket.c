/* SPDX-License-Identifier: Apache-2.0
 *
 * The WebSocket half of transport/transport.h. Each direction of a connection is a stream of
 * bytes: what was filled in waits at the sender (as in lws) until the socket, which has
 * little room, takes it; what the socket took travels for a while and is read in pieces of
 * any length. A cut delivers some of what travels, up to any byte, and loses the rest; each
 * end learns of it, or does not (half-open). Frames are put together here again, pings are
 * answered and the closing handshake is done as lws does them.
 */
#include "test/sim/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/attack.h"
#include "test/sim/secure.h"
#include "transport/ws_frame.h"

#define CLOSE_NS      (5 * NS_PER_S)
#define WRITES_MAX    2
#define SILENT_NS_MAX (60 * NS_PER_S)
#define CONTROL_MAX   125

/* ---- Writing ---- */

static void put_frame(struct end *end, enum ws_opcode opcode, const void *payload, size_t len)
{
    uint8_t buffer[WS_HEADER_MAX + CONTROL_MAX];
    struct ws_batch batch = {.buffer = buffer,
                             .capacity = sizeof(buffer),
                             .masks = end->side == 0 ? &wire_masks : NULL};
    size_t room;
    char *at = ws_frame_begin(&batch, len, &room);

    assert(at != NULL && len <= CONTROL_MAX);
    if (len > 0)
        memcpy(at, payload, len);
    ws_frame_end(&batch, opcode, len);
    bytes_append(&end->pending, buffer, batch.used);
}

static void put_close(struct end *end)
{
    uint8_t payload[2] = {(uint8_t)(end->ws->close_code >> 8), (uint8_t)end->ws->close_code};

    end->close_sent = end->handshaking = true;
    put_frame(end, WS_CLOSE, payload, sizeof(payload));
}

static void flush(struct end *end)
{
    size_t room = end->wire->room > end->flight.len ? end->wire->room - end->flight.len : 0;
    size_t len = end->pending.len < room ? end->pending.len : room;

    if (len == 0)
        return;
    bytes_append(&end->flight, end->pending.data, len);
    bytes_drop(&end->pending, len);
    if (!end->wire->severed)
        wire_want_read(end, wire_delay_ns(wire_other(end)));
}

static void look_into_frame(struct end *end, const char *frame, size_t len, bool binary)
{
    const char *text = frame;
    size_t text_len = len;

    secure_sent(end->node->index, wire_other(end)->node->index, binary, &text, &text_len);
    sim_trace("%s -> %s: %s%.*s", end->node->id, wire_other(end)->node->id,
              binary ? "sealed " : "", (int)(text_len < 900 ? text_len : 900), text);
    promise_sent(end->transport->process, text, text_len,
                 end->side == 0 ? WAY_DIALLED : WAY_CARRIED);
}

/* Every frame that goes out: what is in it, and masked as its role wants. */
static void look_into(struct end *end, const struct ws_batch *batch)
{
    static uint8_t copy[1 << 17];
    size_t at = 0;

    assert(batch->payload == 0 && batch->used <= sizeof(copy));
    memcpy(copy, batch->buffer, batch->used);
    while (at < batch->used) {
        size_t len = copy[at + 1] & 0x7f, header = 2;
        bool masked = (copy[at + 1] & 0x80) != 0;

        if (len == 126) {
            len = (size_t)(copy[at + 2] << 8 | copy[at + 3]);
            header = 4;
        }
        assert(len != 127 && masked == (end->side == 0));
        if (masked) {
            ws_mask(copy + at + header + 4, len, copy + at + header);
            header += 4;
        }
        tally->frames++;
        look_into_frame(end, (char *)copy + at + header, len, (copy[at] & 0x0f) == WS_BINARY);
        at += header + len;
    }
}

static void fill(struct end *end)
{
    static uint8_t buffer[1 << 17];
    const struct transport_options *options = &end->transport->options;
    struct ws *ws = end->ws;
    struct ws_batch batch = {
        .buffer = buffer,
        .capacity = options->message_bytes_max + 4096 + 2 * WS_HEADER_MAX,
        .limit = options->batch_bytes_max + WS_HEADER_MAX,
        .masks = end->side == 0 ? &wire_masks : NULL,
    };

    assert(batch.capacity <= sizeof(buffer));
    if (sim.setup.tiny && chance_in(&end->wire->chance, 500)) {
        batch.limit = 64 + chance_below(&end->wire->chance, 2048);
        fault_count(FAULT_TINY_WRITES);
    }
    if (ws->want_ping) {
        uint8_t payload[8];

        ws->want_ping = false;
        ws->pings++;
        for (unsigned i = 0; i < 8; i++)
            payload[i] = (uint8_t)(ws->pings >> (56 - 8 * i));
        put_frame(end, WS_PING, payload, sizeof(payload));
    }
    if (!ws->want_write)
        return;
    ws->want_write = false;
    worker_enter(end->worker);
    end->transport->events.fill(ws, &batch);
    worker_leave();
    if (batch.frames > 0)
        ws->want_write = true;
    look_into(end, &batch);
    bytes_append(&end->pending, buffer, batch.used);
    ws->bytes_out += batch.used;
}

void wire_on_write(void *subject, uint64_t value)
{
    struct end *end = subject;
    struct ws *ws = end->ws;

    if (ws == NULL) {
        end->write_due = false;
        return;
    }
    if (wire_postponed(end, wire_on_write, value))
        return;
    end->write_due = false;
    flush(end);
    if (!end->opened || end->pending.len > 0)
        return; /* the reader's progress asks again */
    for (unsigned i = 0; i < WRITES_MAX && !end->handshaking; i++) {
        if (ws->closing && ws->close_code != 0)
            put_close(end);
        else if (!ws->closing && (ws->want_write || ws->want_ping))
            fill(end);
        flush(end);
        if (end->pending.len > 0)
            return;
    }
    if (!end->handshaking && (ws->want_write || ws->want_ping || ws->closing))
        wire_want_write(end);
}

/* ---- Reading ---- */

static void on_pong(struct end *end, const uint8_t *payload, size_t len)
{
    uint64_t number = 0;

    for (size_t i = 0; len == sizeof(number) && i < len; i++)
        number = number << 8 | payload[i];
    if (number == 0 || number > end->ws->pings)
        return;
    worker_enter(end->worker);
    end->transport->events.pong(end->ws, number);
    worker_leave();
}

void wire_deliver(struct end *end, const uint8_t *payload, size_t len, bool binary)
{
    char *data;

    if (end->ws == NULL || end->ws->closing)
        return;
    if (len > end->transport->options.message_bytes_max) {
        ws_close(end->ws, 1009, "Message too large");
        return;
    }
    data = malloc(len > 0 ? len : 1); /* not a byte more, so that sanitizers see */
    if (len > 0)
        memcpy(data, payload, len);
    worker_enter(end->worker);
    end->transport->events.received(end->ws, data, len, binary);
    worker_leave();
    free(data);
}

static void on_close_frame(struct end *end, const uint8_t *payload, size_t len)
{
    if (!end->close_sent) {
        if (len >= 2)
            end->peer_code = (uint16_t)(payload[0] << 8 | payload[1]);
        end->handshaking = end->close_sent = true;
        put_frame(end, WS_CLOSE, payload, len < 2 ? len : 2);
        flush(end);
    }
    sim_at(sim.now_ns + 50 * NS_PER_US, wire_on_closed, end, 0);
}

static void on_frame(struct end *end, unsigned opcode, const uint8_t *payload, size_t len)
{
    if (opcode != WS_CLOSE)
        end->ws->received_ns = sim.now_ns;
    switch (opcode) {
    case WS_TEXT:
    case WS_BINARY:
        attack_frame(end, payload, len, opcode == WS_BINARY);
        break;
    case WS_PING:
        if (!end->handshaking) {
            put_frame(end, WS_PONG, payload, len);
            wire_want_write(end);
        }
        break;
    case WS_PONG:
        on_pong(end, payload, len);
        break;
    default:
        assert(opcode == WS_CLOSE);
        on_close_frame(end, payload, len);
        break;
    }
}

/* @return bytes of the first frame, 0: not whole yet */
static size_t whole_frame(const struct bytes *in, size_t *ret_header, size_t *ret_len)
{
    size_t header = 2, len;

    if (in->len < 2)
        return 0;
    len = in->data[1] & 0x7f;
    if (len == 126) {
        if (in->len < 4)
            return 0;
        header = 4;
        len = (size_t)(in->data[2] << 8 | in->data[3]);
    }
    assert(len != 127);
    if ((in->data[1] & 0x80) != 0)
        header += 4;
    *ret_header = header;
    *ret_len = len;
    return in->len < header + len ? 0 : header + len;
}

void wire_feed(struct end *end, const uint8_t *data, size_t len)
{
    size_t size, header, payload;

    bytes_append(&end->in, data, len);
    while (end->ws != NULL && (size = whole_frame(&end->in, &header, &payload)) > 0) {
        uint8_t *frame = malloc(size);

        memcpy(frame, end->in.data, size);
        bytes_drop(&end->in, size);
        if ((frame[1] & 0x80) != 0)
            ws_mask(frame + header, payload, frame + header - 4);
        on_frame(end, frame[0] & 0x0f, frame + header, payload);
        free(frame);
    }
}

static void read_some(struct end *from, struct end *to)
{
    size_t most = from->flight.len, len;
    uint8_t *data;
    uint64_t gap_ns = 0;

    if (to->node->slow_until > sim.now_ns) {
        most = most < 40 ? most : 40;
        gap_ns = NS_PER_MS;
        fault_count(FAULT_SLOW_READER);
    }
    len = chance_in(&from->wire->chance, 700)
              ? most
              : 1 + chance_below(&from->wire->chance, (uint32_t)most);
    data = malloc(len);
    memcpy(data, from->flight.data, len);
    bytes_drop(&from->flight, len);
    wire_feed(to, data, len);
    free(data);
    wire_want_write(from); /* there is room again */
    wire_want_read(from, gap_ns + chance_between(&from->wire->chance, 1, 200) * NS_PER_US);
}

void wire_on_read(void *subject, uint64_t value)
{
    struct end *from = subject, *to = wire_other(from);

    if (to->ws == NULL || from->wire->severed || !to->opened) {
        from->read_due = false;
        return;
    }
    if (worker_paused_until(to->worker) > sim.now_ns) {
        sim_at(worker_paused_until(to->worker), wire_on_read, from, value);
        return;
    }
    from->read_due = false;
    if (to->deaf)
        return; /* ws_read() comes back to it */
    if (from->flight.len > 0)
        read_some(from, to);
    else if (from->ended)
        wire_end(to, false, 0, "connection lost");
}

/* ---- Opening ---- */

static void prepare(struct ws *ws, struct end *end, enum ws_role role)
{
    memset(ws, 0, sizeof(*ws));
    ws->transport = end->transport;
    ws->worker = end->worker;
    ws->role = role;
    ws->received_ns = sim.now_ns;
    ws->wsi = (struct lws *)(void *)end->wire;
    ws->internal[0] = end;
    end->ws = ws;
}

static void open_end(struct end *end)
{
    struct ws *ws = end->ws;

    end->opened = ws->open = true;
    ws->received_ns = sim.now_ns;
    worker_enter(end->worker);
    end->transport->events.opened(ws);
    worker_leave();
    if (ws->want_write || ws->want_ping || ws->closing)
        wire_want_write(end);
    wire_want_read(wire_other(end), 0);
}

static void on_dialled(void *subject, uint64_t value)
{
    struct end *end = subject;

    if (end->ws == NULL || end->wire->severed || end->ws->closing ||
        wire_postponed(end, on_dialled, value))
        return;
    sim_trace("%s: connected to %s", end->node->id, wire_other(end)->node->id);
    /* It never hears a greeting; also when all is well, for nothing else then hides it. */
    if (sim.now_ns < sim.started_ns + SILENT_NS_MAX && chance_in(&end->wire->chance, 10))
        wire_sever(end->wire, ~0u);
    open_end(end);
}

static void on_dial_timeout(void *subject, uint64_t value)
{
    struct end *end = subject;

    if (end->ws == NULL || end->opened || wire_postponed(end, on_dial_timeout, value))
        return;
    end->failure = "timed out";
    wire_end(end, true, 0, "timed out");
}

static void fail_dial(struct wire *wire, const char *failure, unsigned http_status)
{
    struct end *end = &wire->ends[0];

    end->failure = failure;
    sim_at(sim.now_ns + wire_delay_ns(end), wire_on_lost, end, http_status);
}

static bool dial_crosses(const struct wire *wire)
{
    for (unsigned i = 0; i < wires_len; i++) {
        if (wires[i]->ends[0].ws != NULL && wires[i]->ends[0].node == wire->ends[1].node &&
            wires[i]->ends[1].node == wire->ends[0].node)
            return true;
    }
    return false;
}

static void accept_dial(struct wire *wire)
{
    struct end *end = &wire->ends[1];
    struct ws_upgrade upgrade = {.worker = end->worker,
                                 .query = wire->query,
                                 .authorization = "",
                                 .remote = SIM_ADDRESS};
    unsigned refusal = 403;
    struct ws *ws;

    worker_enter(end->worker);
    ws = end->transport->events.accept(&upgrade, &refusal, end->transport->events.user);
    worker_leave();
    if (ws == NULL) {
        fail_dial(wire, NULL, refusal);
        return;
    }
    if (dial_crosses(wire))
        fault_count(FAULT_CROSSED);
    prepare(ws, end, WS_SERVER);
    if (!sim.healed && chance_in(&wire->chance, 5)) { /* gone again before it was open */
        fault_count(FAULT_CUT);
        wire->severed = true;
        sim_at(sim.now_ns + wire_delay_ns(end), wire_on_lost, end, 0);
        fail_dial(wire, "connection lost", 0);
        return;
    }
    open_end(end);
    sim_at(sim.now_ns + wire_delay_ns(&wire->ends[0]), on_dialled, &wire->ends[0], 0);
}

static void on_arrival(void *subject, uint64_t value)
{
    struct wire *wire = subject;
    struct host *node = node_at_port(wire->port);
    struct worker *worker = listener_worker(node, &wire->chance);

    if (wire->ends[0].ws == NULL)
        return;
    if (worker == NULL || wire->dead_address || node->refuses_until > sim.now_ns) {
        fault_count(FAULT_REFUSED);
        fail_dial(wire, "connection refused", 0);
    } else if (node->hangs_until > sim.now_ns) {
        fault_count(FAULT_DIAL_LOST);
    } else if (node->upgrades_refused_until > sim.now_ns) {
        fault_count(FAULT_UPGRADE_REFUSED);
        fail_dial(wire, NULL, node->upgrade_status);
    } else if (worker_paused_until(worker) > sim.now_ns) {
        sim_at(worker_paused_until(worker), on_arrival, wire, value);
    } else {
        wire->ends[1].transport = node->process->transport;
        wire->ends[1].worker = worker;
        accept_dial(wire);
    }
}

parley_status ws_connect(struct transport *transport, struct worker *worker, struct ws *ws,
                         const struct ws_target *target)
{
    struct wire *wire;
    const char *query = strchr(target->path, '?');

    assert(ws->wsi == NULL && worker_entered() == worker);
    if (memory_fails(transport->process))
        return PARLEY_ENOMEM;
    if ((transport->finished & 1u << worker_index(worker)) != 0 || wires_len == WIRES_MAX)
        return PARLEY_EUNREACHABLE;
    wire = sim_new(sizeof(*wire));
    wire->chance = chance_for("wire", wires_len);
    wires[wires_len++] = wire;
    wire->port = target->port;
    wire->dead_address = strcmp(target->address, SIM_ADDRESS) != 0;
    wire->room = sim.setup.tiny ? 16 + chance_below(&wire->chance, 200)
                                : 512 + chance_below(&wire->chance, 65536);
    snprintf(wire->query, sizeof(wire->query), "%s", query != NULL ? query + 1 : "");
    for (unsigned i = 0; i < 2; i++) {
        wire->ends[i].wire = wire;
        wire->ends[i].side = i;
    }
    wire->ends[0].node = transport->process->node;
    wire->ends[0].transport = transport;
    wire->ends[0].worker = worker;
    wire->ends[1].node = node_at_port(target->port);
    prepare(ws, &wire->ends[0], WS_CLIENT);
    sim_at(sim.now_ns + wire_delay_ns(&wire->ends[1]), on_arrival, wire, 0);
    sim_at(sim.now_ns + target->timeout_ms * NS_PER_MS, on_dial_timeout, &wire->ends[0], 0);
    return PARLEY_OK;
}

/* ---- Closing ---- */

void ws_close(struct ws *ws, uint16_t code, const char *reason)
{
    struct end *end;

    assert(worker_entered() == ws->worker || worker_entered() == NULL);
    if (ws->wsi == NULL || ws->closing)
        return;
    end = ws->internal[0];
    ws->closing = true;
    ws->close_code = code;
    snprintf(ws->close_reason, sizeof(ws->close_reason), "%s", reason != NULL ? reason : "");
    if (ws->open &&
        (code == 0 || (end->transport->hurried & 1u << worker_index(end->worker)) != 0)) {
        sim_at(sim.now_ns + 20 * NS_PER_US, wire_on_lost, end, 0);
    } else if (ws->open) {
        sim_at(sim.now_ns + CLOSE_NS, wire_on_lost, end, 0);
        wire_want_write(end);
    } else if (end->side == 0) {
        end->failure = "abandoned";
        sim_at(sim.now_ns + 20 * NS_PER_US, wire_on_lost, end, 0);
    }
}

void ws_want_write(struct ws *ws)
{
    assert(worker_entered() == ws->worker);
    if (ws->want_write)
        return;
    ws->want_write = true;
    if (ws->open && !ws->closing)
        wire_want_write(ws->internal[0]);
}

void ws_read(struct ws *ws, bool on)
{
    struct end *end = ws->internal[0];

    if (ws->closing || !ws->open || end == NULL)
        return;
    end->deaf = !on;
    if (on)
        wire_want_read(wire_other(end), 0);
}

uint64_t ws_ping(struct ws *ws)
{
    assert(worker_entered() == ws->worker);
    ws->want_ping = true;
    if (ws->open && !ws->closing)
        wire_want_write(ws->internal[0]);
    return ws->pings + 1;
}
