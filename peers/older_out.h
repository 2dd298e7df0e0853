/* SPDX-License-Identifier: Apache-2.0
 *
 * The frames of the older dialects that a sender writes, and the answers it reads: to the
 * older server (the manager) and to peers that speak as it does, and to the older client.
 * Pure: fields to bytes, bytes to fields. PROTOCOL.md, "Older WebSocket peers".
 */
#ifndef PARLEY_PEERS_OLDER_OUT_H
#define PARLEY_PEERS_OLDER_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "peers/envelope.h"

/** A frame is at most so much larger than payload, type and four entity ids. */
#define OLDER_FRAME_OVERHEAD 640

/** What an older WebSocket server takes in one frame. */
#define MANAGER_FRAME_BYTES_MAX (1u << 20)

/** One message as the manager takes it: the complete envelope, and `seq`, which is its
 *  number. */
void older_write_to_manager(struct json_out *out, const struct envelope_fields *fields);

/** One message as the older client takes it: the complete envelope, and what that client
 *  knows. fields->recipient_id is there. */
void older_write_to_client(struct json_out *out, const struct envelope_fields *fields);

/** What the small frames have in common. */
struct older_frame {
    uint64_t timestamp_us;
    const char *message_id;
    const char *seq; /* JSON text of a number or string, `seq_len` bytes; NULL: null */
    size_t seq_len;
};

void older_write_ping(struct json_out *out, const struct older_frame *frame);
void older_write_pong(struct json_out *out, const struct older_frame *frame);
/** The answer to capability_exchange. */
void older_write_capabilities(struct json_out *out, const struct older_frame *frame);

/** A frame's `seq` to be echoed, from the payload or the top level; `seq` stays NULL without
 *  one that is a short number or string. The text is the document's. */
void older_read_seq(const struct json_doc *doc, const struct json_item *root,
                    struct older_frame *ret_frame);

/** Whose answer an answer is. */
enum older_reference {
    REFERENCE_NUMBER, /* the message of *ret_number */
    REFERENCE_NONE,   /* it does not say */
    REFERENCE_OTHER,  /* not one of our messages, or not to be read */
};

/** Whether a status frame acknowledges a message (message_received), and which. */
enum older_reference older_read_received(const struct json_doc *doc,
                                         const struct json_item *root, uint64_t *ret_number);

/** The message an error frame is about. */
enum older_reference older_read_error(const struct json_doc *doc, const struct json_item *root,
                                      uint64_t *ret_number);

/** The message an older client's ACK is about, by what the session's message ids have in
 *  common. */
enum older_reference older_read_client_ack(const struct json_doc *doc,
                                           const struct json_item *root,
                                           const uint8_t session_random[16],
                                           uint64_t *ret_number);

/** Whether a capability_exchange is itself the answer to one. */
bool older_is_acknowledged(const struct json_doc *doc, const struct json_item *root);

/** A message's id: the same for every resend, and it tells the number. */
void message_id_write(char text[37], const uint8_t session_random[16], uint64_t number);
bool message_id_number(const char *text, const uint8_t session_random[16],
                       uint64_t *ret_number);

#endif
