/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer actor: the shell around the delivery core.
 *
 * It owns the peer's outgoing session, its WebSocket and its one HTTP request; it asks
 * the transport layer for every message's route, feeds the core with what happens, and
 * reports what the core says has ended. Everything here runs on the peer's worker but
 * peer_new() and what posts to its lanes.
 *
 *   peer.c            mailbox, results, timer, life and death
 *   peer_route.c      the choice of a transport, and what it leads to
 *   peer_link.c       its WebSocket: dialling, heartbeat, loss, backoff
 *   peer_frames.c     what the WebSocket carries: greeting, batches, acknowledgements
 *   peer_secure.c     its security session: handshake, sealed frames, new keys
 *   peer_older.c      the same in the older dialects, one message a frame
 *   peer_http.c       requests out, the pace towards older peers
 *   peer_answer.c     answers in, retries, the fallback to "0.3"
 *   peer_threeway.c   handshakes with an older service
 *   peer_batch.c      messages written as a batch
 *   health.c          whether it is well
 *   transfer.c        messages that go in chunks
 */
#ifndef PARLEY_PEERS_PEER_H
#define PARLEY_PEERS_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "peers/breaker.h"
#include "peers/channel.h"
#include "peers/connection.h"
#include "peers/delivery.h"
#include "peers/envelope.h"
#include "peers/hash.h"
#include "peers/health.h"
#include "peers/pace.h"
#include "peers/service.h"
#include "runtime/actor.h"
#include "runtime/node_pool.h"
#include "runtime/resolver.h"
#include "runtime/timer_wheel.h"
#include "transport/backoff.h"
#include "transport/http_worker.h"
#include "transport/transport.h"
#include "transport/transport_layer.h"
#include "transport/url.h"

#define OLDER_IN_FLIGHT_MAX 64 /* unanswered messages to an older peer over WebSocket */

/** One accepted message: allocated by the poster's thread, freed by the peer's worker. */
struct message {
    struct node node; /* first */
    struct delivery_message delivery;
    parley_result_fn done;
    parley_progress_fn progress;
    void *user;
    struct transfer *transfer; /* that it goes in, or is a part of; NULL: neither */
    uint64_t id;               /* of a part: its index */
    uint64_t posted_ns;
    uint32_t credit_bytes;
    uint32_t payload_len;
    uint16_t type_len;
    bool in_order; /* in a transfer: nothing posted later goes before its end */
    bool again;    /* a part that was sent before, under another number */
    char text[];   /* the type, then the payload */
};

enum link_state {
    LINK_IDLE,      /* no WebSocket, none wanted */
    LINK_RESOLVING, /* asking for the address */
    LINK_DIALLING,  /* until the upgrade is done */
    LINK_GREETING,  /* until the other side has said who it is */
    LINK_OPEN,
    LINK_CLOSING, /* we closed it */
    LINK_BACKOFF, /* failed; the next attempt is scheduled */
};

/** The peer's WebSocket and what is known about it. */
struct link {
    struct ws ws;
    enum link_state state;
    struct backoff backoff;
    struct breaker breaker;  /* of its dials */
    uint64_t next_ns;        /* backoff's end, greeting's deadline, heartbeat; CLOCK_NEVER */
    uint64_t grace_until_ns; /* until then messages wait for the dial; CLOCK_NEVER: no more */
    uint64_t interval_ns;    /* of the heartbeat, spread */
    uint64_t dialled_ns, opened_ns, pinged_ns; /* 0: no ping is unanswered */
    bool hello_due;
    bool was_open; /* ever */
    bool suspect;  /* the peer closed because of something we sent: one message at a time */
    bool redial;   /* dial again once it is closed */
    bool on_trial; /* the breaker has not heard yet what became of the dial */
    struct resolver_query *query; /* the last answer, or one under way */
    bool query_busy;
    unsigned refused_with;      /* the last dial: an HTTP status, 0: none came */
    uint32_t address;           /* index in the query's answer of the one in use */
    uint64_t batch_bytes;       /* what the other side takes in one frame */
    uint64_t message_bytes;     /* and in one message; 0: it has not said */
    uint32_t in_flight_max;     /* and unacknowledged */
    struct connection *carrier; /* a peer without a URL: the connection it opened to us */
    struct carrier_note *carrier_gone;
    bool carrier_sealed;
    struct connection *inbound;       /* what the other side sends over our WebSocket */
    struct channel *channel;          /* peer_secure.c; NULL: what is said is not sealed */
    uint64_t unsecured_until_ns;      /* a handshake came to nothing: not before */
    char entity[ENVELOPE_ID_MAX + 1]; /* as the other side greeted */
    enum connection_dialect dialect;  /* of this connection, decided when it was opened */
    bool displaced;    /* the peer closed in favour of a newer connection: do not fight it */
    bool paced;        /* towards a manager */
    struct pace pace;  /* … its messages */
    uint64_t turn_ns;  /* when the pace lets the next one out; CLOCK_NEVER: none waits */
    uint64_t pause_ns; /* and no message before, since the manager said so */
    uint64_t ping_seq; /* pings in the manager's dialect */
    uint32_t answers;  /* to its pings, since everything was last written */
    uint32_t owed; /* answers that may yet come for messages which have ended without one */
};

/** What single envelopes to an older peer say. */
enum post_version {
    POST_1_0,
    POST_TRY_0_3, /* "1.0" drew a 500: the same message again */
    POST_0_3,     /* that was taken, or is configured */
};

/** What the request under way is. */
enum post_kind {
    POST_PLAIN,
    POST_STEP,   /* of a handshake: peer_post_secure.c */
    POST_SEALED, /* a batch */
    POST_APART,  /* of a handshake with an older service: peer_threeway.c */
};

/** The peer's HTTP request. */
struct post {
    struct http_call call;
    bool busy;
    bool batch;           /* the request is a batch */
    bool unnumbered;      /* … or a message without number and session */
    bool parley;          /* the peer has said so, or is configured so */
    bool answered;        /* once: now we know what it is */
    bool single;          /* a batch was refused whole: one message a request */
    uint64_t first, last; /* numbers it carries */
    uint32_t batch_bytes;
    uint32_t failures; /* in a row */
    struct breaker breaker;
    uint64_t next_ns; /* not before; CLOCK_NEVER: nothing scheduled */
    char *body;
    size_t body_bytes;
    char *url_message, *url_messages;
    struct post_secure *secure; /* peer_post_secure.c: its security session; NULL: none */
    enum post_kind kind;
    uint64_t unsecured_until_ns; /* it cannot, or its answers do not arrive: not before */
    char *authorization;         /* auth.h: a token of our identity; NULL: none yet */
    uint64_t token_made_s;       /* seconds of the wall clock */
    uint32_t token_version;
    /* older peers */
    bool paced; /* configured so; a parley never is */
    struct pace pace;
    bool turn_taken;  /* the request is one of the pace's */
    uint32_t limited; /* answers in a row that we send too much */
    parley_envelope_version configured;
    enum post_version version;
    uint64_t fallback_number; /* of the message that has tried "0.3" */
    /* the single envelope of this number has been sent so often, and may have arrived */
    uint64_t tried_number;
    uint32_t tried;
    bool maybe_arrived;
};

struct peer {
    struct actor actor; /* first */
    struct parley *runtime;
    struct bench *bench;
    struct peer *next, *prev; /* the bench's */
    UT_hash_handle by_id;
    struct slot *slot;
    parley_peer handle;
    char *id;
    bool has_url;
    struct url url, ws_url; /* ws_url: path complete, without the query */
    char *authorization;    /* auth.h; NULL: no token */
    bool token_in_query;
    bool identity_token; /* made as it is needed: for a dial, and in `post` */
    char session_id[37];
    uint8_t session_random[16];

    parley_preference preference;
    parley_dialect dialect;
    parley_signatures signatures;
    parley_security security_min;
    parley_encryption encryption;
    uint32_t ttl_ms;
    uint32_t mailbox_messages_max;
    uint64_t mailbox_bytes_max;

    struct delivery delivery;
    struct link link;
    struct post post;
    struct threeway *threeway;                   /* threeway.h; NULL: none yet */
    bool threeway_asked;                         /* a step of a handshake has been heard */
    struct transfer *transfers, *transfers_last; /* transfer.c: the first one has parts out */
    uint32_t transfers_in_order;                 /* of these: what was posted later waits */
    bool transfers_moved;                        /* something has ended: look again */
    uint64_t transfers_ns;           /* there was no memory: again then; CLOCK_NEVER */
    struct ping *pings, *pings_last; /* ping.c: not answered yet, oldest first */
    struct timer timer;
    uint64_t again_ns; /* peer_pump() stopped halfway */
    uint64_t timer_ns; /* what the timer is set to; CLOCK_NEVER */

    parley_peer_state reported; /* to the observer */
    struct health health;

    /* to be given back at the end of a run */
    uint32_t release_messages;
    uint64_t release_units;

    struct control join, removal; /* the first and the last of the host's control messages */
    bool removed; /* under the registry's mutex: forgotten, CONTROL_REMOVE is on its way */
    bool closing; /* on the worker: give up what comes */
    bool empty;   /* on the worker: credit is closed and empty, nobody will post data */
    bool detached;
};

/**
 * Makes a peer and attaches it to the registry. Host threads.
 *
 * @return as parley_peer_add()
 */
parley_status peer_new(struct parley *runtime, const char *id, const char *url,
                       const parley_peer_options *options, parley_peer *ret_peer);

/** On the peer's worker: tells the host that there is room. */
void peer_writable(struct peer *peer);

/** On the peer's worker: tells a waiting host that the whole runtime has room again. */
void peer_tell_writable(struct peer *peer);

/** Posts CONTROL_…, with the registry locked. @return PARLEY_OK or PARLEY_ENOMEM */
parley_status peer_post_control(struct peer *peer, enum control_kind kind);

/** Starts removal, with the registry locked; `peer->removed` must be false. */
void peer_remove(struct peer *peer);

/** Adds the peer's delivery counters, and the gauges, to `stats`. */
void peer_count(const struct peer *peer, parley_stats *stats);

/* ---- between the files of the peer ---- */

struct message *message_of(struct delivery_message *delivery);

/** Looks at what there is to do: expires, chooses routes, dials, posts. Idempotent. */
void peer_pump(struct peer *peer);

/** Reports and releases what the core says has ended. */
void peer_flush(struct peer *peer);

/** Sets the timer for whatever comes first; for events that settle nothing. */
void peer_arm(struct peer *peer);

/** A message's id, the same for every resend. */
void peer_message_id(const struct peer *peer, uint64_t number, char text[37]);

/** After any event that did not come through the mailbox: pump, flush, timer, state. */
void peer_settle(struct peer *peer);

/** Health: an attempt failed, or something arrived. */
void peer_failed(struct peer *peer);
void peer_alive(struct peer *peer);

/** An acknowledgement, from a frame, a greeting or an HTTP answer. */
void peer_acknowledged(struct peer *peer, const struct json_doc *doc, uint64_t ack_seq,
                       const struct json_item *rejected);

/** Tells the observer when the state or health has changed. */
void peer_report_state(struct peer *peer, const char *reason);

/** Which way this message goes now. */
struct transport_choice peer_choose(const struct peer *peer,
                                    const struct delivery_message *message);

/** The fields of one message's envelope, without nonce and message id; a void's payload is
 *  NULL. */
struct envelope_fields;
void peer_fields(struct peer *peer, struct message *message, uint64_t number,
                 uint64_t timestamp_us, struct envelope_fields *ret_fields);

/** Signs a complete envelope, where this peer's are signed. @return false: out of memory */
struct signed_texts;
bool peer_sign(struct peer *peer, struct envelope_fields *fields, struct signed_texts *texts);

/**
 * Writes the next messages of `route` as a batch and takes them.
 *
 * @param messages_max at most so many
 * @param ret_last     number of the last one
 * @return messages written; 0: none fits, none goes this way, or there is no memory (the
 * buffer is then of no use)
 */
#define PEER_SIGNED_MAX                                                  \
    32 /* signed messages in one batch: some milliseconds on either side \
        */
struct json_out;
size_t peer_write_batch(struct peer *peer, enum route route, uint32_t messages_max,
                        struct json_out *out, uint64_t *ret_last);

/** Whether a batch without messages has to tell base_seq: a handler that never answers holds
 *  up the acknowledgement of what came after it until the sender is known to have given it up,
 *  and there may be nothing else to send. */
bool peer_base_due(const struct peer *peer);
/** Writes that batch, in PEER_BASE_ROOM bytes. @return false: out of memory */
#define PEER_BASE_ROOM 512
bool peer_write_base(struct peer *peer, struct json_out *out);

/** The message the cursor is at, and the number it has or is about to get; NULL: none, or it
 *  goes another way than `route`. */
struct message *peer_next(struct peer *peer, enum route route, uint64_t *ret_number);

/* transfer.c; on the peer's worker */

enum transfer_begun {
    TRANSFER_NOT,   /* it goes as it is */
    TRANSFER_BEGUN, /* it is set aside: look again at what is next */
    TRANSFER_WAIT,  /* it has to, but there is no memory */
};

/** Looks at the message that is next to go by `route`: is it one that goes in chunks? */
enum transfer_begun transfer_begin(struct peer *peer, struct message *message,
                                   enum route route);
/** Tells whether a message waits for the end of a transfer before it. */
static inline bool transfer_holds_back(const struct peer *peer,
                                       const struct delivery_message *message)
{
    return peer->transfers_in_order > 0 && message->number == 0 && !message->part;
}
/** Posts more parts, as many as may be under way. */
void transfer_feed(struct peer *peer);
/** A part has its result. */
void transfer_part_ended(struct peer *peer, struct message *part);
/** A message that went in chunks has its result, and reports it. */
void transfer_whole_ended(struct peer *peer, struct message *whole);
/** Ends all of them. */
void transfer_cancel(struct peer *peer, const char *detail);

void link_init(struct peer *peer);
void link_fini(struct peer *peer);
/** Starts connecting unless that is under way, or backoff says later and not `now`. */
void link_dial(struct peer *peer, bool now);
void link_close(struct peer *peer, uint16_t code, const char *reason);
void link_resolved(struct peer *peer);
void link_timer(struct peer *peer, uint64_t now_ns);
/** When link_timer() wants to run. */
uint64_t link_next_ns(const struct peer *peer);
enum websocket_state link_websocket_state(const struct peer *peer);
/** Nothing of the link is under way. */
bool link_quiet(const struct peer *peer);

/** Closes a connection that failed us, to be dialled again. Code 0: without a word. */
void link_give_up(struct peer *peer, uint16_t code, const char *reason);
/** Open and greeted: what the other side takes (0: not said). */
void link_open_with(struct peer *peer, enum connection_dialect dialect, uint64_t batch_bytes,
                    uint64_t in_flight_max);
/** Open, in an older dialect. */
bool link_is_older(const struct peer *peer);
/** When something silent for a heartbeat's interval since it was opened is pinged. */
void link_start_heartbeat(struct peer *peer);
/** A message was answered: the peer does read what we send. */
void link_clear_suspicion(struct peer *peer);
/** What a frame for `message` and those after it may take, given `room`. */
size_t link_frame_room(const struct peer *peer, const struct message *message, size_t room);
/** A text frame for the peer, from its WebSocket or its carrier. */
void link_read(struct peer *peer, const char *text, size_t len);
/** The peer is reached over a connection it opened; what the other side takes (0: not said).
 */
void link_carried(struct peer *peer, enum connection_dialect dialect, uint64_t batch_bytes,
                  uint64_t in_flight_max);
void link_carrier_lost(struct peer *peer, unsigned code);

/* peer_secure.c; on the peer's worker */

/** Until what could not be secured, and need not be, is tried again. */
#define PEER_UNSECURED_NS (60 * NS_PER_S)

/** A plain greeting has come: begins the handshake if there is to be one, gives the connection
 *  up if there has to be one and cannot. @return whether it did: the greeting is of no use */
bool link_secure(struct peer *peer, const struct greeting *greeting);
/** Opens a frame. @return false: it is nothing for the reader, or the connection has ended */
bool link_unseal(struct peer *peer, char **data, size_t *len, bool binary);
/** The WebSocket has closed: its session ends. */
void link_unsecure(struct peer *peer);
/** A step has come. */
void link_step(struct peer *peer, const struct json_doc *doc);
/** Ends what cannot be sealed any more; asks for new keys in time; when that is. */
void link_secure_timer(struct peer *peer, uint64_t now_ns);
uint64_t link_secure_next_ns(const struct peer *peer);
/** Ends it if the peer has proven itself by a key that is not trusted any more. */
void link_review(struct peer *peer);
/** Frames have been written. */
void link_written(struct peer *peer);
/** Whether a session with it is possible, as far as we know. */
bool peer_may_seal(const struct peer *peer);
/** Whether what goes this way now is sealed: it needs no signatures. */
bool peer_sealed(const struct peer *peer, enum route route);
/** Whether its security_min allows to send it anything, as far as we know. */
bool peer_permits(const struct peer *peer);

/* the transport's events for a peer's WebSocket */
void link_opened(struct ws *ws);
void link_received(struct ws *ws, char *data, size_t len, bool binary);
void link_fill(struct ws *ws, struct ws_batch *batch);
void link_closed(struct ws *ws, const struct ws_closed *why);

/* ping.c; on the peer's worker */

struct control;
struct mailbox_node;
/** Asks for the peer's /health. @return false: out of memory, `done` will not run */
bool ping_probe(struct peer *peer, uint32_t timeout_ms, parley_pong_fn done, void *user);
/** CONTROL_PING has arrived. */
void ping_begin(struct peer *peer, struct control *control);
/** Takes a control message that is the answer to a ping over HTTP. @return whether it is one
 */
bool ping_take(struct peer *peer, struct mailbox_node *node);
/** The WebSocket is open: what waits for it is asked now. */
void ping_opened(struct peer *peer);
/** The transport's event: pings up to this number are answered. */
void ping_answered(struct ws *ws, uint64_t number);
/** The WebSocket has closed, and with it what was asked over it. */
void ping_lost(struct peer *peer, const char *reason);
/** It could not be opened. */
void ping_unreachable(struct peer *peer, const char *reason);
/** Dials for pings that wait while nothing is under way. */
void ping_pump(struct peer *peer);
/** Ends pings over WebSocket with PARLEY_ECLOSED, and with `all` those over HTTP. */
void ping_cancel(struct peer *peer, bool all, const char *reason);

/** The WebSocket is open and the other side is no parley: from now on as to a manager.
 *  @param entity as it greeted; "": it did not */
void older_open(struct peer *peer, const char *entity);
/** A frame in an older dialect. */
void older_frame(struct peer *peer, const struct json_doc *doc, const char *text, size_t len);
/** The next message to go out by WebSocket, in a frame of its own; NULL: none. */
struct message *older_next(struct peer *peer, uint64_t *ret_number);
/** Bytes that are enough for its frame. */
size_t older_room(const struct peer *peer, const struct message *message);
/** Whether it may go now; if not, the timer is to come back. */
bool older_turn(struct peer *peer);
/** Writes its frame and takes it. @return false: out of memory, nothing was written */
bool older_put(struct peer *peer, struct message *message, uint64_t number,
               struct json_out *out);
void older_fill(struct peer *peer, struct ws_batch *batch);
void older_ping(struct peer *peer);
/** Messages that an older peer has not answered over WebSocket. */
uint32_t older_unanswered(const struct peer *peer);
/** Its frame would be larger than the manager takes. */
bool older_too_large(const struct peer *peer, const struct delivery_message *message);
/** Ends what has been silent for too long, lets the pace go on; when this wants to run. */
void older_timer(struct peer *peer, uint64_t now_ns);
uint64_t older_next_ns(const struct peer *peer);

/* peer_post_secure.c */

/** Whether the next request has to be a step of a handshake. */
bool post_step_due(const struct peer *peer);
/** Writes it. @return false: it failed; post->next_ns is set, or it goes on without */
bool post_step_write(struct peer *peer, struct json_out *out);
/** The answer to a step has come. */
void post_stepped(struct peer *peer);
/** Writes and posts the next one. */
void post_step_go(struct peer *peer);
/** The request is for /messages. */
bool post_goes_in_batches(const struct peer *peer);
/** Whether batches go sealed now. */
bool post_seals(const struct peer *peer);
/** Seals a batch in place. @return false: no memory, or the session has ended */
bool post_seal(struct peer *peer, char *frame, size_t text_len);
/** The request's headers, as its kind wants them. */
void post_headers(struct peer *peer);
/** Opens the answer to a sealed request where it stands. @return false: it is not sealed */
bool post_unseal(struct peer *peer);
/** The session is of no more use. */
void post_unsecure(struct peer *peer);
/** Forgets it if the peer has proven itself by a key that is not trusted any more. */
void post_review(struct peer *peer);

/* peer_answer.c */

/** What an answer's head tells of the peer. */
void post_learn(struct peer *peer);
/** A request failed that carried no messages. @param answered it was answered, not as it
 * should */
void post_step_failed(struct peer *peer, bool answered, const char *detail);

parley_status post_init(struct peer *peer, const parley_peer_options *options);
void post_fini(struct peer *peer);
/** Starts the next request; the core's cursor stands at an HTTP message. */
void post_start(struct peer *peer);
void post_done(struct peer *peer);
/** The peer has said that it is a parley, and what it takes in one body (0: not said). */
void post_parley(struct peer *peer, uint64_t batch_bytes);
/** A request of any kind was answered, failed, or ended without saying anything. */
void post_succeeded(struct peer *peer);
void post_failed(struct peer *peer);
void post_undone(struct peer *peer);
/** Takes the turn of a request. @return false: not now; post->next_ns says when */
bool post_may_go(struct peer *peer);
/** Posts to /message what is none of the peer's messages; its turn has been taken.
 *  @return false: out of memory */
bool post_apart(struct peer *peer, const struct json_out *out);
/** Why the request was not taken: what its answer says, or why there is none.
 *  @return that text, in `buffer` */
const char *post_reason(struct peer *peer, char *buffer, size_t len);
/** Nothing is posted before so much time has passed. */
void post_wait(struct peer *peer, uint64_t wait_ms);

#endif
