/* SPDX-License-Identifier: Apache-2.0
 *
 * A message in a frame of the older dialects, and the answers that say what became of it:
 * to the older server (the manager) and peers that speak as it does, and to the older client.
 * Frames that carry no message are older.h's. Pure: fields to bytes, bytes to fields.
 * PROTOCOL.md, "Older WebSocket peers".
 */
#ifndef PARLEY_PEERS_OLDER_OUT_H
#define PARLEY_PEERS_OLDER_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "peers/envelope.h"

/** A frame is at most so much larger than payload, type and four entity ids. */
#define OLDER_FRAME_OVERHEAD 860

/** What an older WebSocket server takes in one frame. */
#define MANAGER_FRAME_BYTES_MAX (1u << 20)

/** One message as the manager takes it: the complete envelope, and `seq`, which is its
 *  number. */
void older_write_to_manager(struct json_out *out, const struct envelope_fields *fields);

/** One message as the older client takes it: the complete envelope, and what that client
 *  knows. fields->recipient_id is there. */
void older_write_to_client(struct json_out *out, const struct envelope_fields *fields);

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

/** A message's id: the same for every resend, and it tells the number. */
void message_id_write(char text[37], const uint8_t session_random[16], uint64_t number);
bool message_id_number(const char *text, const uint8_t session_random[16],
                       uint64_t *ret_number);

#endif
