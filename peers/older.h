/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of the older WebSocket dialects, bytes to fields and fields to bytes. Pure, like
 * envelope.h, which reads the complete envelopes among them.
 *
 *   client   the older client's: upper case, seven keys in a fixed order
 *   manager  the older server's: lower case, `type` and `payload`
 *
 * PROTOCOL.md, "Older WebSocket peers".
 */
#ifndef PARLEY_PEERS_OLDER_H
#define PARLEY_PEERS_OLDER_H

#include "peers/envelope.h"

#define OLDER_SEQ_MAX   48        /* bytes of a `seq` as it stands, with a NUL */
#define OLDER_VOID_SEQ  "null"    /* there is none */
#define OLDER_CLIENT    "1.2"     /* what the older client's HELLO says */
#define OLDER_CLOSE_BYE "goodbye" /* reason of the 1000 that answers a BYE */

/* ---- reading ---- */

/**
 * Reads one message in a frame of its own: a complete envelope, an older client's MESSAGE
 * (`msg_type` says its type if it is there, else `type`), or a lower-case frame, whose
 * message type is its `type`. Of the last, what it does not say is "", 0 and, for the time,
 * `now_us`.
 *
 * @param kind FRAME_ENVELOPE or FRAME_OTHER, as frame_kind() says
 */
parley_status older_message_read(const struct json_doc *doc, const struct json_item *root,
                                 enum frame_kind kind, uint64_t now_us,
                                 struct envelope *ret_envelope,
                                 struct envelope_error *ret_error);

/** Reads who a frame says it is from, under any of the keys in use; "" if it does not. */
parley_status older_sender_read(const struct json_doc *doc, const struct json_item *root,
                                char sender[ENVELOPE_ID_MAX + 1],
                                struct envelope_error *ret_error);

/** Reads `seq`, to be echoed as it stands, of what asks for an answer: at the top, or else in
 *  the payload, which may be an application's. It is a number or a short string.
 *  @return false: there is none, OLDER_VOID_SEQ is set */
bool older_seq_read(const struct json_doc *doc, const struct json_item *root,
                    char seq[OLDER_SEQ_MAX]);

/** Tells whether a `status` asks for one; those that answer or greet do not. */
bool older_status_asks(const struct json_doc *doc, const struct json_item *root);

/** Tells whether a `status` is an acknowledgement: message_received. */
bool older_status_received(const struct json_doc *doc, const struct json_item *root);

/** Tells whether a `capability_exchange` asks for one: it is no answer itself. */
bool older_capabilities_ask(const struct json_doc *doc, const struct json_item *root);

/* ---- writing ---- */

/** What stands around a frame's payload. */
struct older_head {
    const char *message_id, *from, *to;
    uint64_t timestamp_us;
    bool to_manager; /* which gets `seq` beside the payload, too, as with our messages */
};

/* To an older client: seven keys. */

void older_ready_write(struct json_out *out, const struct older_head *head);
/** ACK of the message with that id. */
void older_ack_write(struct json_out *out, const struct older_head *head,
                     const char *message_id);
/** HEARTBEAT: a ping, or the pong that answers one. */
void older_heartbeat_write(struct json_out *out, const struct older_head *head, bool pong);

/* To lower-case peers. `seq` is as older_seq_read() gave it; of the head, `to` is not said. */

void older_ping_write(struct json_out *out, const struct older_head *head, const char *seq);
void older_pong_write(struct json_out *out, const struct older_head *head, const char *seq);
/** The answer to a capability_exchange; `ours`: PARLEY_CAPABILITY is among them. */
void older_capabilities_write(struct json_out *out, const struct older_head *head,
                              const char *seq, bool ours);
/** The answer to a status. */
void older_status_write(struct json_out *out, const struct older_head *head);
/** message_received, the acknowledgement. */
void older_received_write(struct json_out *out, const struct older_head *head,
                          const char *original_type, const char *seq);

#endif
