/* SPDX-License-Identifier: Apache-2.0
 *
 * An inbound session: one sender's numbered messages, run in order by the worker that saw
 * it first. Connections and HTTP requests of other workers reach it through its control
 * lane and get their answers the same way; on the owner's worker it is a plain call.
 *
 * Lifetimes. A connection or request holds a reference (session_table.h) from the moment
 * it knows the session until its last message to it has been answered; an attached
 * connection stays allocated until its detachment has been answered. So neither side ever
 * posts to memory that is gone.
 */
#ifndef PARLEY_PEERS_SESSION_H
#define PARLEY_PEERS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/guard.h"
#include "peers/hash.h"
#include "peers/limit.h"
#include "peers/receive.h"
#include "peers/seen.h"
#include "peers/service.h"

struct connection;

struct session {
    struct actor actor; /* first; control lane only */
    struct parley *runtime;
    struct bench *bench;         /* the owner's */
    struct session *next, *prev; /* the owner's list */
    /* under the table's shard mutex */
    UT_hash_handle by_name, by_id;
    uint32_t references;
    /* immutable */
    uint64_t id;
    char *name; /* sender, NUL, session id, NUL */
    size_t name_len;
    const char *sender, *session_id;
    /* the owner's */
    struct receive receive;
    struct seen *seen; /* of messages without base_seq; NULL until one came */
    uint64_t used_ns;
    struct limit_trust trust;
    uint64_t
        held_until_ns; /* the batch run last stopped at its sender's limit; 0: it did not */
    uint64_t refused;  /* number that the batch run last stopped at for want of proof, or 0 */
    double newest; /* timestamp of what was proven to be meant for this place; 0: nothing */
    const char *refusal;           /* why; static text */
    bool started;                  /* attached to its worker, in its bench's list */
    bool forgotten;                /* retiring */
    bool ack_owed;                 /* there was no memory to say it */
    struct connection *connection; /* attached; tells it of acknowledgements */
    struct connection *older[2];   /* newest of an older client's, and of a lower-case one's */
    struct inbound_request *waiting; /* HTTP requests whose handlers answer later */
};

enum inbound_kind {
    INBOUND_ATTACH,  /* a connection greets: text is the greeting */
    INBOUND_DETACH,  /* a connection leaves */
    INBOUND_FRAME,   /* a batch on a connection: text is the acknowledgement */
    INBOUND_BATCH,   /* POST /messages */
    INBOUND_MESSAGE, /* POST /message */
    INBOUND_SINGLE,  /* one message in a frame of its own: answered as POST /message, but
                        text is the plain detail, or none if the message was accepted */
};

/** Something asked of a session, and its answer. */
struct inbound_request {
    struct control control; /* CONTROL_INBOUND there, CONTROL_ANSWER back */
    enum inbound_kind kind;
    struct bench *origin;
    struct session *session; /* referenced */
    struct connection *connection;
    struct http_exchange *exchange; /* the origin's: NULL once the client is gone */
    struct inbound_request *next;   /* in session->waiting */
    uint64_t until;                 /* number whose outcome the answer waits for */
    bool old_form;                  /* an envelope without base_seq */
    enum evidence evidence;         /* of a single message */
    bool unplaced;      /* what it says of its place and id is not to be believed */
    struct proof proof; /* of a batch */
    uint64_t since_ns;
    size_t asked_bytes;          /* counted at the connection */
    bool held;                   /* with _FRAME: the connection keeps its text */
    uint64_t held_until_ns;      /* as the session's, in the answer to _FRAME */
    uint32_t retry_after_s;      /* in the answer, with 429 */
    struct secure_reply sealing; /* endpoints_secure.h; with _BATCH */
    char *text;                  /* what came, then the answer; ours */
    size_t len;
    uint8_t dialect; /* with _ATTACH, _DETACH: enum connection_dialect */
    unsigned code;   /* the answer's: HTTP status, or WebSocket close code (0: stay open) */
};

/** Makes a session on the calling worker; for session_table.c. */
struct session *session_new(struct parley *runtime, struct worker *worker, const char *name,
                            size_t name_len);
/** On the same worker, once the table has taken it. */
void session_start(struct session *session);
void session_free(struct session *session);

/**
 * Handles a request on the session's owner. `doc` holds the scanned text, or is NULL: the
 * text is scanned here.
 *
 * @return true: answered; false: it waits in the session, inbound_answer() follows
 */
bool session_handle(struct session *session, struct inbound_request *request,
                    const struct json_doc *doc);

/** Hands a request to its session, wherever that lives. `text` is copied if it has to
 *  travel. The answer comes to inbound_answer(), perhaps inside this call. */
void session_ask(struct inbound_request *request, const struct json_doc *doc, const char *text,
                 size_t len);

/** Why a connection ends, beyond RFC 6455's own codes. */
#define CLOSE_REFUSED   4003 /* a signature is missing or wrong, or what it signs is stale */
#define CLOSE_TRY_LATER 4013 /* libwebsockets reads 1013 as 1002, which blames a message */

/** Runs a batch that came as a frame as far as it is proven, on the owner. @return the
 *  WebSocket close code to end the connection with, and why (session->refused: about which
 *  message); 0: go on, and acknowledge */
unsigned session_run_frame(struct session *session, struct connection *connection,
                           const struct json_doc *doc, const struct proof *proof,
                           struct envelope_error *ret_error);

/** Something got its outcome outside of a request: answers what waited, acknowledges. */
void session_progress(struct session *session);

/**
 * Writes what the receiver's rule now acknowledges, telling rejections from index `from` on.
 * On the owner.
 *
 * @return 0: all is told; else the index from which another acknowledgement goes on
 */
size_t session_write_ack(const struct session *session, size_t from, struct json_out *out);

/** Writes this node's greeting; `session` NULL: nothing to resume. On the owner. */
void session_write_greeting(struct parley *runtime, const struct session *session,
                            struct json_out *out);

/**
 * Finds or makes a session for something that came in on this bench's worker. A stranger
 * beyond `limits.guests_max` takes the place of the stranger used longest ago.
 *
 * @return PARLEY_OK; PARLEY_ELIMIT (all of them are in use); PARLEY_ENOMEM
 */
parley_status session_acquire(struct bench *bench, const char *sender, const char *session_id,
                              struct session **ret_session);

/** Forgets the session used longest ago of those that nobody uses; of a peer's only if `any`.
 *  @return false: there was none among the oldest, which are looked at last from now on */
bool session_evict(struct bench *bench, bool any);

/** Answers waiting requests that have waited too long; forgets the session when it is idle.
 *  @return true: it was forgotten */
bool session_sweep(struct session *session, uint64_t now_ns, bool closing);

/** The answer arrives at its origin. In connection.c and endpoints.c, by kind. */
void inbound_answer(struct inbound_request *request);

/* ---- between the files of the session, on its owner ----
 *
 *   session.c         life, list, requests' memory
 *   session_run.c     messages and handlers
 *   session_message.c complete envelopes, and what of older peers comes again
 *   session_proof.c   freshness and replays of what is signed
 *   session_answer.c  what is told
 */

/** It is being used: it moves to the front of its owner's list. */
void session_use(struct session *session);

/** The owner's buffer for texts. */
struct json_out session_scratch(const struct session *session);

/** Makes the written text the request's answer; without memory it has none. */
void session_set_answer(struct inbound_request *request, unsigned code,
                        const struct json_out *out);
void session_answer_detail(struct inbound_request *request, unsigned code, const char *detail);
void session_answer_ack(struct inbound_request *request, unsigned code);
/** A single message was taken. */
void session_answer_received(struct inbound_request *request);
/** Ends the connection over a message in a frame of its own that there was no room for. */
void session_refuse_frame(struct inbound_request *request);
/** It came after such a message. */
bool session_frame_refused(const struct inbound_request *request);
/** 429, to be tried again at `at_ns`. */
void session_answer_limited(struct inbound_request *request, uint64_t at_ns);

/** Runs the handler of a message that has begun as `number`; what the sender calls it stands
 *  in the envelope. */
void session_run_handler(struct session *session, const struct envelope *envelope,
                         uint64_t number, parley_transport transport);

/** A message that has begun is refused by us, not by a handler. */
void session_refuse(struct session *session, uint64_t number, const char *detail);

/** What is to be done with a complete envelope. */
enum session_begun {
    SESSION_RUN,    /* begun: session_run_handler() */
    SESSION_REPEAT, /* came before: has its outcome, or will */
    SESSION_STALE,  /* its number lies below the one expected: SEQUENCE_ERROR */
    SESSION_GAP,    /* numbers before it are missing, by the parley's rule */
    SESSION_BUSY,   /* later: too many are unanswered, or there is no memory */
};

/**
 * Begins a complete envelope, of any transport. One with base_seq goes by the parley's rule.
 * One without is a repeat if its message id or nonce is remembered; else the old rule looks at
 * its number, if it has one.
 *
 * @param ret_number with SESSION_RUN and SESSION_REPEAT: the number under which the session
 *                   knows it
 */
enum session_begun session_begin(struct session *session, const struct envelope *envelope,
                                 uint64_t *ret_number);

/** POST /message, or an older peer's message in a frame of its own. @return as
 * session_handle() */
bool session_message(struct session *session, struct inbound_request *request,
                     const struct json_doc *doc);

/** The refusal that passes. Compared by its address. */
extern const char session_later[];

/** Whether a signed batch is fresh and no replay, as far as anything in it is new.
 *  @return NULL: it is; else the reason, static text */
const char *session_admit_batch(struct session *session, const struct batch *batch,
                                const struct proof *proof);

/** The same for a message that is no repeat by what the session knows. @param ret_seen it was
 *  taken before all the same, and its outcome is not known any more */
const char *session_admit_message(struct session *session, const struct envelope *envelope,
                                  enum evidence evidence, bool *ret_seen);

/** A message that carries EVIDENCE_PLAIN is being run: it is not to be run again. */
void session_note_nonce(struct session *session, const struct envelope *envelope);

/** Answers if everything up to request->until (of a single message: that number itself) has
 * its outcome. @return false: it waits */
bool session_answer_or_wait(struct inbound_request *request);

/** Answers what has waited too long. */
void session_answer_late(struct session *session, uint64_t now_ns, bool closing);

/** Makes a request. @return NULL: out of memory (the reference stays the caller's) */
struct inbound_request *inbound_new(struct bench *origin, enum inbound_kind kind,
                                    struct session *session);
/** The same for a request with more behind it, which is `size` bytes in all. */
struct inbound_request *inbound_new_sized(struct bench *origin, enum inbound_kind kind,
                                          struct session *session, size_t size);
/** Frees a request that was not asked; the reference stays the caller's. NULL is allowed. */
void inbound_drop(struct inbound_request *request);
/** Releases the session's reference and frees. On the origin. */
void inbound_free(struct inbound_request *request);

#endif
