/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated WebSocket connection: for wire.c, which knows bytes and ends, and websocket.c,
 * which knows frames and the library's transport.
 */
#ifndef PARLEY_TEST_SIM_WIRE_H
#define PARLEY_TEST_SIM_WIRE_H

#include "test/sim/sim.h"

#define WIRES_MAX 4096

struct bytes {
    uint8_t *data;
    size_t len, capacity;
};

struct end {
    struct wire *wire;
    unsigned side; /* 0: who dialled */
    struct host *node;
    struct transport *transport;
    struct worker *worker;
    struct ws *ws; /* NULL: the socket is closed here */
    struct bytes pending, flight, in;
    bool opened, write_due, read_due, ended; /* ended: nothing follows what is in flight */
    bool close_sent, handshaking;
    bool deaf; /* does not read: what comes stays in flight */
    uint16_t peer_code;
    const char *failure;
};

struct wire {
    struct end ends[2];
    struct chance chance;
    size_t room; /* of the sockets */
    bool severed;
    char query[512];
    unsigned port;
    bool dead_address;
    uint32_t timeout_ms;
};

/** Every connection of the run, the oldest first. */
extern struct wire *wires[WIRES_MAX];
extern unsigned wires_len;
extern struct ws_masks wire_masks;

void bytes_append(struct bytes *bytes, const void *data, size_t len);
void bytes_drop(struct bytes *bytes, size_t len);

struct end *wire_other(struct end *end);
/** A stopped process does it afterwards. */
bool wire_postponed(struct end *end, event_fn run, uint64_t value);
uint64_t wire_delay_ns(struct end *to);
void wire_want_read(struct end *from, uint64_t after_ns);
void wire_want_write(struct end *end);
/** This end's socket is gone; the other end reads that after what is still under way. */
void wire_hang_up(struct end *end, bool abruptly);
/** The same, and closed() is reported. */
void wire_end(struct end *end, bool abruptly, unsigned http_status, const char *detail);
/** Nothing more arrives from now on, and neither end is told for long. */
void wire_sever(struct wire *wire, unsigned halves);

/* events; the value of _on_lost is the HTTP status of a refusal */
void wire_on_lost(void *subject, uint64_t value);
void wire_on_closed(void *subject, uint64_t value);

/* websocket.c */
void wire_on_read(void *subject, uint64_t value);
void wire_on_write(void *subject, uint64_t value);
/** Bytes arrive at this end. */
void wire_feed(struct end *end, const uint8_t *data, size_t len);
/** A text or binary frame arrives. */
void wire_deliver(struct end *end, const uint8_t *payload, size_t len, bool binary);

#endif
