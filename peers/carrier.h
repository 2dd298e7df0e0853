/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer without a URL is reached over the connection it opened to us: its carrier. The
 * peer lives on its own worker, the connection on the one that accepted it, so frames and
 * acknowledgements travel between them as control messages.
 *
 * The connection knows the dialect of the other side, and the peer writes in it: batches to a
 * parley, a frame for each message to an older client.
 *
 * A carrier is offered when a connection has said who it is, or when such a peer is added
 * later. From then on the connection stays allocated until the peer has let go of it
 * (CONTROL_CARRIER_GONE), which the peer does exactly once per offer: when the connection
 * has closed, another one has taken its place, or the peer is removed.
 */
#ifndef PARLEY_PEERS_CARRIER_H
#define PARLEY_PEERS_CARRIER_H

#include "peers/connection.h"
#include "peers/peer.h"

/** What travels between a connection and the peer it carries. */
struct carrier_note {
    struct control
        control; /* CONTROL_CARRIER_UP, _DOWN, _ACK to the peer; _FRAME, _GONE back */
    struct connection *connection;
    enum connection_dialect dialect; /* with _UP, _ACK */
    uint64_t message_bytes, batch_bytes,
        in_flight_max; /* with _UP: what the other side takes */
    unsigned code;     /* with _DOWN: the close code that came */
    bool close;        /* with _GONE: nobody needs the connection any more */
    bool sealed;       /* with _UP: its frames are */
    size_t len;
    char text[]; /* with _ACK, _FRAME */
};

/* ---- On the connection's worker ---- */

/** The connection has said who it is and in which dialect: offers it to a peer of that id
 *  without a URL. */
void carrier_offer(struct connection *connection);

/** An acknowledgement, or an older client's answer of any kind, has arrived on a connection
 * that carries a peer. */
void carrier_acknowledged(struct connection *connection, const char *text, size_t len);

/** The connection has closed, with the code that came. */
void carrier_closed(struct connection *connection, unsigned code);

/** _FRAME or _GONE from the peer. Frees the note. */
void carrier_noted(struct carrier_note *note);

/* ---- On the peer's worker ---- */

/** _UP, _DOWN or _ACK from a connection. Frees the note. */
void carrier_told(struct peer *peer, struct carrier_note *note);

/** A peer without a URL has been added: asks every worker for its connection. */
void carrier_seek(struct peer *peer);

/** Sends what is to be sent. */
void carrier_fill(struct peer *peer);

/** Lets go of the carrier, if there is one. */
void carrier_release(struct peer *peer, bool close);

#endif
