/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that go in chunks. One that is too long for its way is set aside in the delivery
 * core when its turn comes, and its pieces go through the core like messages, each with a
 * number of its own: acknowledgement, resend, and the change of transports are the core's.
 * Only a few pieces exist at a time, and only of the first transfer, so that it costs its
 * payload and a window; between the pieces other messages go on.
 *
 * The whole has one result: the first bad one of a piece, or the last good one. A receiver
 * that has lost earlier pieces says from where on, with the last; they go again, marked as
 * redelivered. One that turns out to be a parley after the first small pieces, or to take
 * less than was thought, gets the whole cut anew. PROTOCOL.md, Chunks.
 */
#include <stdlib.h>
#include <string.h>

#include "peers/chunk.h"
#include "peers/envelope.h"
#include "peers/peer.h"
#include "runtime/clock.h"

#define PARTS_MAX       64         /* under way, to a parley */
#define PARTS_BYTES_MAX (2u << 20) /* … */
#define PARTS_MAX_OLDER 2          /* under way, to an older peer: others get their turn */
#define ROUNDS_MAX      8          /* times that a receiver may have lost pieces */
#define TELL_NS         (100 * NS_PER_MS)
#define RETRY_NS        (10 * NS_PER_MS)

struct transfer {
    struct transfer *next;
    struct message *whole; /* NULL: it has its result, only parts are left */
    struct chunk_cut cut;
    struct message *parts[PARTS_MAX]; /* under way, in no particular order */
    uint32_t parts_len, parts_max;
    uint32_t next_index; /* to be posted */
    uint32_t done;       /* pieces acknowledged */
    uint64_t done_bytes;
    uint32_t rounds;
    uint64_t missing_from; /* if `missing`: where to go on once no part is under way */
    bool missing;
    bool anew;    /* to be cut once more, for what the peer turned out to be; likewise */
    bool guessed; /* nobody had said yet which kind */
    bool in_order;
    bool sent;  /* a part was not acknowledged: the peer never does */
    bool again; /* what is sent now was sent before */
    uint64_t told_ns;
};

/* ---- What goes in chunks ---- */

static bool is_older(const struct peer *peer, enum route route)
{
    if (route == ROUTE_WEBSOCKET)
        return link_is_older(peer);
    return !peer->post.parley || !peer->runtime->options.parley_protocol;
}

/* The longest payload that a message itself may have. */
static uint32_t message_max(const struct peer *peer)
{
    uint32_t own = peer->runtime->options.message_bytes_max;
    uint64_t said = peer->link.message_bytes;

    return said >= 2 * CHUNK_OVERHEAD_MAX && said < own ? (uint32_t)said : own;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Nobody has said yet whether it is an older peer: should it be none, nothing overtakes. */
static bool is_unknown(const struct peer *peer, enum route route)
{
    return route == ROUTE_HTTP && !peer->post.answered && !peer->post.parley &&
           peer->dialect == PARLEY_DIALECT_AUTO;
}

/* Of base64 in a piece. */
static uint32_t piece_chars(const struct peer *peer, bool older)
{
    return lower(older ? CHUNK_CHARS_OLDER : CHUNK_CHARS_PARLEY,
                 message_max(peer) - CHUNK_OVERHEAD_MAX);
}

static void cut(struct peer *peer, struct transfer *transfer, bool older)
{
    const struct message *whole = transfer->whole;
    uint8_t random[16];

    random_bytes(&peer->bench->random, random, sizeof(random));
    chunk_cut_init(&transfer->cut, random, whole->text, whole->type_len,
                   whole->text + whole->type_len, whole->payload_len,
                   piece_chars(peer, older));
    transfer->parts_max = older ? PARTS_MAX_OLDER : PARTS_MAX;
}

static struct transfer *transfer_new(struct peer *peer, struct message *message,
                                     enum route route)
{
    struct transfer *transfer = alloc_zeroed(&peer->runtime->alloc, sizeof(*transfer));

    if (transfer == NULL)
        return NULL;
    transfer->whole = message;
    cut(peer, transfer, is_older(peer, route));
    transfer->guessed = is_unknown(peer, route);
    transfer->in_order =
        message->in_order || (message->payload_len <= message_max(peer) && transfer->guessed);
    return transfer;
}

enum transfer_begun transfer_begin(struct peer *peer, struct message *message,
                                   enum route route)
{
    const parley_options *options = &peer->runtime->options;
    const struct delivery_message *delivery = &message->delivery;
    uint32_t most = options->message_bytes_max;
    struct transfer *transfer;

    if (delivery->number != 0 || delivery->part)
        return TRANSFER_NOT;
    if (message->payload_len <= lower(options->chunk_threshold_bytes, most) &&
        message->payload_len <= message_max(peer))
        return TRANSFER_NOT; /* nearly always */
    most = is_older(peer, route) ? lower(options->chunk_threshold_bytes, message_max(peer))
                                 : message_max(peer);
    if (!chunk_wanted(message->payload_len, most))
        return TRANSFER_NOT;
    transfer = transfer_new(peer, message, route);
    if (transfer == NULL) {
        peer->transfers_ns = worker_now_ns(peer->bench->worker) + RETRY_NS;
        peer_arm(peer);
        return TRANSFER_WAIT;
    }
    message->transfer = transfer;
    delivery_set_aside(&peer->delivery, &message->delivery);
    peer->transfers_in_order += transfer->in_order ? 1 : 0;
    if (peer->transfers_last != NULL)
        peer->transfers_last->next = transfer;
    else
        peer->transfers = transfer;
    peer->transfers_last = transfer;
    transfer_feed(peer);
    return TRANSFER_BEGUN;
}

/* ---- Parts ---- */

static struct message *part_new(struct peer *peer, struct transfer *transfer)
{
    static const char type[] = CHUNK_TYPE;
    size_t type_len = sizeof(type) - 1;
    size_t room = chunk_cut_room(&transfer->cut, transfer->next_index);
    struct message *part = alloc_bytes(&peer->runtime->alloc, sizeof(*part) + type_len + room);

    if (part == NULL)
        return NULL;
    memset(part, 0, sizeof(*part));
    part->transfer = transfer;
    part->id = transfer->next_index;
    part->again = transfer->again;
    part->type_len = (uint16_t)type_len;
    memcpy(part->text, type, type_len);
    part->payload_len =
        (uint32_t)chunk_cut_write(&transfer->cut, transfer->next_index, part->text + type_len);
    part->delivery.bytes = (uint32_t)type_len + part->payload_len + ENVELOPE_OVERHEAD_MAX;
    part->delivery.hint = transfer->whole->delivery.hint;
    part->delivery.deadline_ns = CLOCK_NEVER; /* the whole has one */
    return part;
}

static bool has_ended(const struct transfer *transfer)
{
    return transfer->whole == NULL || transfer->whole->delivery.outcome != 0;
}

static bool may_post(const struct transfer *transfer)
{
    size_t piece = transfer->cut.piece_bytes;

    return !transfer->missing && !transfer->anew &&
           transfer->next_index < transfer->cut.total &&
           transfer->parts_len < transfer->parts_max &&
           (transfer->parts_len == 0 ||
            (uint64_t)(transfer->parts_len + 1) * piece <= PARTS_BYTES_MAX);
}

void transfer_feed(struct peer *peer)
{
    struct transfer *transfer = peer->transfers;

    while (transfer != NULL && has_ended(transfer))
        transfer = transfer->next;
    peer->transfers_ns = CLOCK_NEVER;
    while (transfer != NULL && may_post(transfer)) {
        struct message *part = part_new(peer, transfer);

        if (part == NULL) {
            peer->transfers_ns = worker_now_ns(peer->bench->worker) + RETRY_NS;
            return;
        }
        transfer->parts[transfer->parts_len++] = part;
        transfer->next_index++;
        delivery_post_part(&peer->delivery, &part->delivery);
    }
}

static void remove_part(struct transfer *transfer, const struct message *part)
{
    for (uint32_t i = 0; i < transfer->parts_len; i++) {
        if (transfer->parts[i] == part) {
            transfer->parts[i] = transfer->parts[--transfer->parts_len];
            return;
        }
    }
}

/* ---- Ending ---- */

static void free_when_done(struct peer *peer, struct transfer *transfer)
{
    struct transfer *before = NULL;

    if (transfer->whole != NULL || transfer->parts_len > 0)
        return;
    for (struct transfer *t = peer->transfers; t != transfer; t = t->next)
        before = t;
    if (before != NULL)
        before->next = transfer->next;
    else
        peer->transfers = transfer->next;
    if (peer->transfers_last == transfer)
        peer->transfers_last = before;
    alloc_free(&peer->runtime->alloc, transfer);
}

void transfer_whole_ended(struct peer *peer, struct message *whole)
{
    struct transfer *transfer = whole->transfer;

    transfer->whole = NULL;
    peer->transfers_in_order -= transfer->in_order ? 1 : 0;
    peer->transfers_moved = true;
    for (uint32_t i = 0; i < transfer->parts_len; i++)
        delivery_give_up(&peer->delivery, &transfer->parts[i]->delivery, PARLEY_CANCELLED, "");
    free_when_done(peer, transfer);
}

void transfer_cancel(struct peer *peer, const char *detail)
{
    for (struct transfer *transfer = peer->transfers; transfer != NULL;
         transfer = transfer->next) {
        if (transfer->whole != NULL)
            delivery_give_up(&peer->delivery, &transfer->whole->delivery, PARLEY_CANCELLED,
                             detail);
    }
}

static void end(struct peer *peer, struct transfer *transfer, parley_outcome outcome,
                const struct message *part)
{
    struct delivery_message *whole = &transfer->whole->delivery;

    whole->http_code = part->delivery.http_code;
    delivery_give_up(&peer->delivery, whole, outcome, part->delivery.detail);
}

static void tell(struct peer *peer, struct transfer *transfer)
{
    const struct message *whole = transfer->whole;
    uint64_t now_ns = worker_now_ns(peer->bench->worker);
    uint64_t bytes = whole->payload_len;

    if (whole->progress == NULL || transfer->anew || now_ns - transfer->told_ns < TELL_NS)
        return;
    transfer->told_ns = now_ns;
    whole->progress((parley_id){peer->handle.value, whole->id},
                    transfer->done_bytes < bytes ? transfer->done_bytes : bytes, bytes,
                    whole->user);
}

/* The receiver has lost pieces: they go again, once nothing is under way. */
static void go_back(struct transfer *transfer)
{
    uint32_t from = (uint32_t)transfer->missing_from;

    transfer->missing = false;
    transfer->rounds++;
    transfer->again = true;
    transfer->next_index = transfer->done = from;
    transfer->done_bytes = chunk_cut_before(&transfer->cut, from);
}

/* The first answer has said what the peer is. As little as has gone by then is no loss. */
static void look_who_answered(struct peer *peer, struct transfer *transfer)
{
    if (transfer->guessed && transfer->next_index < transfer->cut.total)
        transfer->anew = !is_older(peer, ROUTE_HTTP) &&
                         piece_chars(peer, false) / 4 * 3 > transfer->cut.piece_bytes;
    transfer->guessed = false;
}

/* Under an id of its own: the receiver forgets what it has of the other. */
static void begin_anew(struct peer *peer, struct transfer *transfer)
{
    transfer->anew = transfer->missing = false;
    transfer->rounds++;
    transfer->next_index = transfer->done = 0;
    transfer->done_bytes = 0;
    cut(peer, transfer, is_older(peer, ROUTE_HTTP));
}

static void part_taken(struct peer *peer, struct transfer *transfer,
                       const struct message *part)
{
    uint32_t index = (uint32_t)part->id;

    transfer->done++;
    transfer->done_bytes +=
        chunk_cut_before(&transfer->cut, index + 1) - chunk_cut_before(&transfer->cut, index);
    if (part->delivery.outcome == PARLEY_SENT)
        transfer->sent = true;
    tell(peer, transfer);
    if (transfer->done == transfer->cut.total)
        end(peer, transfer, transfer->sent ? PARLEY_SENT : PARLEY_DELIVERED, part);
}

static bool lost_pieces(struct transfer *transfer, const struct message *part)
{
    return transfer->rounds < ROUNDS_MAX && part->id + 1 == transfer->cut.total &&
           chunks_missing_read(part->delivery.detail, &transfer->missing_from) &&
           transfer->missing_from < transfer->cut.total;
}

/* By itself or in a batch. The answer said, too, how large a piece may be. */
static bool is_too_large(const struct peer *peer, const struct transfer *transfer,
                         const struct message *part)
{
    const struct delivery_message *delivery = &part->delivery;

    return (delivery->http_code == 413 || strcmp(delivery->detail, CHUNK_TOO_LARGE) == 0) &&
           transfer->rounds < ROUNDS_MAX &&
           (transfer->anew ||
            piece_chars(peer, is_older(peer, ROUTE_HTTP)) / 4 * 3 < transfer->cut.piece_bytes);
}

/* What the whole's result says of its way. */
static void note(struct delivery_message *whole, const struct delivery_message *part)
{
    whole->transport = part->transport;
    whole->maybe_duplicate |= part->maybe_duplicate;
    if (part->attempts > whole->attempts)
        whole->attempts = part->attempts;
}

void transfer_part_ended(struct peer *peer, struct message *part)
{
    struct transfer *transfer = part->transfer;

    remove_part(transfer, part);
    peer->transfers_moved = true;
    if (has_ended(transfer)) {
        free_when_done(peer, transfer);
        return;
    }
    note(&transfer->whole->delivery, &part->delivery);
    look_who_answered(peer, transfer);
    if (part->delivery.outcome == PARLEY_DELIVERED || part->delivery.outcome == PARLEY_SENT)
        part_taken(peer, transfer, part);
    else if (part->delivery.outcome == PARLEY_REJECTED && lost_pieces(transfer, part))
        transfer->missing = true;
    else if (part->delivery.outcome == PARLEY_REJECTED && is_too_large(peer, transfer, part))
        transfer->anew = true;
    else
        end(peer, transfer, (parley_outcome)part->delivery.outcome, part);
    if (has_ended(transfer) || transfer->parts_len > 0)
        return;
    if (transfer->anew)
        begin_anew(peer, transfer);
    else if (transfer->missing)
        go_back(transfer);
}
