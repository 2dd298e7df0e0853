/* SPDX-License-Identifier: Apache-2.0
 *
 * The transport layer's choice: WebSocket, HTTP, wait, or fail. A pure function; the table
 * it implements is in PROTOCOL.md, "Choosing a transport", and test/test_transport_layer.c
 * is that table again, cell by cell.
 */
#ifndef PARLEY_TRANSPORT_LAYER_H
#define PARLEY_TRANSPORT_LAYER_H

#include <stdbool.h>

#include "parley.h"

enum websocket_state {
    WEBSOCKET_DOWN,       /* not open, no dial under way, none failed since it was last open */
    WEBSOCKET_CONNECTING, /* a dial is under way, the grace period runs */
    WEBSOCKET_SLOW,       /* a dial is under way, the grace period is over */
    WEBSOCKET_FAILED,     /* the last dial failed, the next one is scheduled or given up */
    WEBSOCKET_OPEN,       /* open and greeted */
};

enum route {
    ROUTE_WEBSOCKET,
    ROUTE_HTTP,
    ROUTE_WAIT, /* for the WebSocket, until the message's deadline */
    ROUTE_FAIL, /* no permitted transport: PARLEY_EXHAUSTED */
};

struct transport_facts {
    parley_preference preference;
    parley_hint hint;
    enum websocket_state websocket;
    bool websocket_enabled;   /* transport.websocket.enabled, and the peer has such a URL */
    bool http_enabled;        /* the peer has an HTTP URL */
    bool websocket_permitted; /* by security_min, as for HTTP */
    bool http_permitted;
    bool http_unanswered; /* HTTP attempts for this message are used up, none was answered */
};

struct transport_choice {
    enum route route;
    bool dial;          /* start connecting unless a dial is under way or in backoff */
    const char *reason; /* with ROUTE_FAIL: static text for the result's detail */
};

/** Chooses for one message. Pure. */
struct transport_choice transport_choose(const struct transport_facts *facts);

#endif
