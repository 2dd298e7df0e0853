/* SPDX-License-Identifier: Apache-2.0
 *
 * The envelope, the batch and the control messages of PROTOCOL.md: bytes to views and
 * fields to bytes. Pure; no sockets, no clock. Views point into the scanned text.
 */
#ifndef PARLEY_PEERS_ENVELOPE_H
#define PARLEY_PEERS_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/json.h"

#define ENVELOPE_ID_MAX         128 /* sender, recipient, node ids */
#define ENVELOPE_TYPE_MAX       64
#define ENVELOPE_SESSION_MAX    64
#define ENVELOPE_MESSAGE_ID_MAX 128
#define ENVELOPE_NONCE_MAX      256
#define ENVELOPE_OVERHEAD_MAX   1024 /* bytes an envelope adds to its payload, at most */
#define ENVELOPE_RECORD_DEPTH   2    /* what reading a frame of its own asks of json_scan() */

/** Result of reading: what to answer. */
struct envelope_error {
    char text[160]; /* the `detail` of PROTOCOL.md's replies: "Invalid JSON", … */
};

/** One message as received. Strings are decoded and NUL-terminated; "" when absent. */
struct envelope {
    char sender_id[ENVELOPE_ID_MAX + 1];
    char recipient_id[ENVELOPE_ID_MAX + 1];
    char session_id[ENVELOPE_SESSION_MAX + 1];
    char message_id[ENVELOPE_MESSAGE_ID_MAX + 1];
    char msg_type[ENVELOPE_TYPE_MAX + 1];
    char nonce[ENVELOPE_NONCE_MAX + 1]; /* of a complete envelope only */
    const char *payload;                /* JSON text of an object; NULL in a void */
    size_t payload_len;
    double timestamp;
    uint64_t number;   /* sequence_num, 0: none */
    uint64_t base_seq; /* 0: none said (the old rule) */
    bool is_void;
    bool redelivered;
};

/** What a sender says about one message. */
struct envelope_fields {
    const char *sender_id, *recipient_id, *session_id;
    const char *msg_type;
    size_t msg_type_len;
    const char *payload;
    size_t payload_len;
    uint64_t timestamp_us;
    uint64_t number;
    const uint8_t *nonce;   /* 16 bytes */
    const char *message_id; /* NULL: left out */
    const char *version;    /* "1.0"; "0.3": session_id, number, base_seq and redelivered are
                               left out, whatever they are */
    const char *type;       /* of a complete envelope; NULL: "peer_message" */
    bool redelivered;
    uint64_t base_seq;     /* between parleys; 0: left out, as is a number of 0 */
    const char *signature; /* base64, of a complete envelope; NULL: null */
    const char *bound; /* parley_signature, base64; NULL: left out, and in a batch the nonce
                          with it */
};

/** Whether the envelope's version has a session and a number. */
bool envelope_has_session(const struct envelope_fields *fields);

/**
 * Reads one complete envelope (POST /message, or a frame of its own): any accepted form.
 *
 * @param doc scanned with record_depth ≥ ENVELOPE_RECORD_DEPTH
 * @return PARLEY_OK, or PARLEY_EPROTO with the reply's detail in *ret_error, which names the
 *         key at fault: "Unknown message format", "Unsupported version: X", "Missing required
 *         field: KEY", "Invalid field: KEY". *ret_envelope is then of no use. The same holds
 *         for every function below that reads.
 */
parley_status envelope_read(const struct json_doc *doc, const struct json_item *root,
                            struct envelope *ret_envelope, struct envelope_error *ret_error);

/** Writes the complete envelope, keys in PROTOCOL.md's order; an absent recipient_id is null,
 *  an absent session_id, number, message_id or base_seq is left out. */
void envelope_write(struct json_out *out, const struct envelope_fields *fields);

/* ---- Batches between parleys ---- */

struct batch {
    char session_id[ENVELOPE_SESSION_MAX + 1];
    uint64_t base_seq, first_seq;
    const struct json_item *messages; /* the first one, NULL: none */
};

/** Reads a batch's head. `doc` scanned with BATCH_RECORD_DEPTH. */
#define BATCH_RECORD_DEPTH 3
parley_status batch_read(const struct json_doc *doc, const struct json_item *root,
                         struct batch *ret_batch, struct envelope_error *ret_error);

/** Reads one message of a batch: msg_type, payload, timestamp, is_void and redelivered are
 *  set; strings it does not name stay as they are in *ret_envelope, number and base_seq are
 *  the caller's. */
parley_status batch_message_read(const struct json_doc *doc, const struct json_item *item,
                                 struct envelope *ret_envelope,
                                 struct envelope_error *ret_error);

/** Opens a batch. */
void batch_begin(struct json_out *out, const char *session_id, uint64_t base_seq,
                 uint64_t first_seq);

/** Adds a message in the short form (msg_type, payload, timestamp, redelivered; sender_id
 *  unless NULL; signed if `bound`), its number and id being implied; a void when `payload` is
 *  NULL. `msg_type`
 *  and `sender_id` are written as they stand: they have passed message_type_valid() and
 *  entity_id_valid(). @param first whether it is the batch's first.
 *  @return false: there are not BATCH_MESSAGE_OVERHEAD bytes beyond type and payload, nothing
 *  was written; room for batch_end() is always kept */
#define BATCH_MESSAGE_OVERHEAD 96
#define BATCH_SIGNED_OVERHEAD  160 /* more, when signed */
bool batch_add(struct json_out *out, const struct envelope_fields *fields, bool first);

/** Whether batch_add() would add it; what `bound` points to is not looked at. */
bool batch_fits(const struct json_out *out, const struct envelope_fields *fields);

void batch_end(struct json_out *out);
/** Ends a batch without messages, which is signed itself, as a void of number 0. */
void batch_end_signed(struct json_out *out, const struct envelope_fields *fields);

/* ---- Control messages ---- */

enum frame_kind {
    FRAME_BATCH,
    FRAME_ENVELOPE, /* a message with its own frame, of any dialect */
    FRAME_STATUS_CONNECTED,
    FRAME_STATUS, /* any other status event */
    FRAME_HELLO,
    FRAME_ACK,
    FRAME_ERROR,
    FRAME_PING, /* "ping" and "pong": the older server's */
    FRAME_PONG,
    FRAME_CAPABILITIES,   /* "capability_exchange" */
    FRAME_HEARTBEAT_PING, /* "HEARTBEAT": the older client's */
    FRAME_HEARTBEAT_PONG,
    FRAME_READY,
    FRAME_BYE,
    FRAME_HANDSHAKE, /* a step: handshake_message.h */
    FRAME_OTHER,
};

/** What kind of message a frame's root is: by `type`, and its payload for status and
 *  HEARTBEAT. Without a `type` of the protocol's own, what carries msg_type, from or
 *  from_entity is an envelope. */
enum frame_kind frame_kind(const struct json_doc *doc, const struct json_item *root);

#define PARLEY_CAPABILITY "parley/1"

/** Writes `,"capabilities":[…]`; `ours`: PARLEY_CAPABILITY among them. */
void capabilities_write(struct json_out *out, bool ours);

/** What both greetings say: a server's status/connected and a client's HELLO. */
struct greeting {
    char entity_id[ENVELOPE_ID_MAX + 1];
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* the greeter's own sending session, "" none */
    bool parley;                               /* lists PARLEY_CAPABILITY */
    bool handshakes;                           /* takes part in handshakes */
    uint64_t max_message_bytes, max_batch_bytes, max_in_flight; /* 0: not said */
    /* about the other side's session, as the greeter has received it */
    char peer_session_id[ENVELOPE_SESSION_MAX + 1];
    bool last_seq_known;
    uint64_t last_seq;
    const struct json_item *rejected; /* read: first of the list; NULL: none */
};

/** A rejection as it stands in an ACK or a greeting. */
struct wire_rejection {
    uint64_t number;
    const char *detail;
};

/** Writes status/connected; `timestamp_us` appears as ISO 8601 and as a float. What is absent
 *  or 0 is left out: a greeting with `parley` false says what the older server's said. */
void greeting_write_connected(struct json_out *out, const struct greeting *greeting,
                              const struct wire_rejection *rejected, size_t rejected_len,
                              uint64_t timestamp_us);
void greeting_write_hello(struct json_out *out, const struct greeting *greeting,
                          const struct wire_rejection *rejected, size_t rejected_len,
                          uint64_t timestamp_us);

/** Reads either greeting; `doc` scanned with BATCH_RECORD_DEPTH or deeper, with
 *  ACK_RECORD_DEPTH when the entries of `rejected` are to be read. */
parley_status greeting_read(const struct json_doc *doc, const struct json_item *root,
                            struct greeting *ret_greeting, struct envelope_error *ret_error);

struct ack {
    char session_id[ENVELOPE_SESSION_MAX + 1];
    uint64_t ack_seq;
    const struct json_item *rejected; /* first, NULL: none */
};

void ack_write(struct json_out *out, const char *session_id, uint64_t ack_seq,
               const struct wire_rejection *rejected, size_t rejected_len);
/** `doc` scanned with record_depth ≥ ACK_RECORD_DEPTH. */
#define ACK_RECORD_DEPTH 4
parley_status ack_read(const struct json_doc *doc, const struct json_item *root,
                       struct ack *ret_ack, struct envelope_error *ret_error);

/** Reads one entry of a `rejected` list; its detail (or else its error), cut to fit, goes into
 *  `detail`. @return PARLEY_EPROTO: no number, or it was not recorded (ACK_RECORD_DEPTH) */
parley_status rejection_read(const struct json_doc *doc, const struct json_item *item,
                             uint64_t *ret_number, char detail[PARLEY_DETAIL_MAX]);

/** {"type":"error","payload":{"error":TEXT,"seq":NUMBER}}; the number, unless 0, is that of
 * the envelope it is about: the older server does not say this, a parley that speaks its
 * dialect reads it. */
void error_write(struct json_out *out, const char *text, uint64_t number);
/** Reads the text of an error frame, cut to fit. */
void error_read(const struct json_doc *doc, const struct json_item *root, char *buffer,
                size_t len);

/** {"status":"received","entity_id":ID,"verification":"passed" or "disabled"} */
void received_write(struct json_out *out, const char *entity_id, bool verified);
/** What the older service puts before a handler's reason to refuse a message. */
#define HANDLER_ERROR "Handler error: "

/** {"detail":TEXT} */
void detail_write(struct json_out *out, const char *text);
/** Reads `detail` of an error reply, cut to fit; "" when there is none. */
void detail_read(const struct json_doc *doc, const struct json_item *root, char *buffer,
                 size_t len);

/** A random UUIDv4, 36 characters and NUL, from 16 random bytes. */
void uuid_write(char text[37], const uint8_t random[16]);

/** Tells whether `id` is 1..ENVELOPE_ID_MAX bytes of [A-Za-z0-9._:-]. */
bool entity_id_valid(const char *id);
/** Tells whether a message type of `len` bytes is valid for applications: 1..64 such bytes and
 *  not one that the runtime itself sends as msg_type, which are chunk and the handshakes'
 *  steps (handshake…, challenge_response, session_established, session_confirm, ready).
 *  Names of frames (batch, ACK, status, ping, …) are free: those stand in `type`, and older
 *  applications do use status and ping as msg_type. */
bool message_type_valid(const char *type, size_t len);

#endif
