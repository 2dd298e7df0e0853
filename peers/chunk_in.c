/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/chunk_in.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/chunk.h"

#define SLOT_BYTES \
    32 /* counted for a piece beside its text: its head, its place in the list */
#define NAME_BYTES (ENVELOPE_ID_MAX + CHUNK_ID_MAX + 2)

struct chunk_sender {
    UT_hash_handle hh;
    struct chunk_transfer *first; /* at most transfers_max, and complete ones */
    uint32_t transfers;
    uint64_t memory;
    char name[];
};

void chunks_init(struct chunks *chunks, const struct alloc *alloc,
                 const struct chunk_limits *limits)
{
    memset(chunks, 0, sizeof(*chunks));
    chunks->alloc = alloc;
    chunks->limits = *limits;
}

/* ---- Pieces ---- */

struct chunk_piece *chunk_piece_new(const struct alloc *alloc, const char *text, size_t len)
{
    struct chunk_piece *piece = alloc_bytes(alloc, sizeof(*piece) + len);
    size_t decoded_len;

    if (piece == NULL)
        return NULL;
    piece->decoded = base64_decode(text, len, piece->bytes, &decoded_len);
    piece->len = (uint32_t)(piece->decoded ? decoded_len : len);
    if (!piece->decoded) {
        memcpy(piece->bytes, text, len);
        return piece;
    }
    struct chunk_piece *smaller = alloc_resize(alloc, piece, sizeof(*piece) + decoded_len);

    return smaller != NULL ? smaller : piece;
}

static void free_pieces(const struct alloc *alloc, struct chunk_transfer *transfer)
{
    for (uint32_t i = 0; i < transfer->len; i++)
        alloc_free(alloc, transfer->pieces[i]);
    alloc_free(alloc, transfer->pieces);
    transfer->pieces = NULL;
    transfer->len = transfer->capacity = 0;
}

/* How many pieces have lower indices. In order, it comes last. */
static uint32_t pieces_below(const struct chunk_transfer *transfer, uint32_t index)
{
    uint32_t low = 0, high = transfer->len;

    if (high > 0 && transfer->pieces[high - 1]->index < index)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (transfer->pieces[middle]->index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t first_missing(const struct chunk_transfer *transfer)
{
    uint32_t low = 0, high = transfer->len;

    while (low < high) { /* the pieces before the gap are those that stand at their index */
        uint32_t middle = low + (high - low) / 2;

        if (transfer->pieces[middle]->index == middle)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool make_room(const struct alloc *alloc, struct chunk_transfer *transfer)
{
    uint32_t capacity = transfer->capacity == 0 ? 4 : 2 * transfer->capacity;
    struct chunk_piece **grown;

    if (transfer->len < transfer->capacity)
        return true;
    grown = alloc_resize(alloc, transfer->pieces, capacity * sizeof(struct chunk_piece *));
    if (grown == NULL)
        return false;
    transfer->pieces = grown;
    transfer->capacity = capacity;
    return true;
}

/* ---- Transfers ---- */

static void age_leave(struct chunks *chunks, struct chunk_transfer *transfer)
{
    if (transfer->older != NULL)
        transfer->older->newer = transfer->newer;
    else
        chunks->oldest = transfer->newer;
    if (transfer->newer != NULL)
        transfer->newer->older = transfer->older;
    else
        chunks->newest = transfer->older;
    transfer->older = transfer->newer = NULL;
}

static void age_join(struct chunks *chunks, struct chunk_transfer *transfer, uint64_t now_ns)
{
    /* Workers' clocks differ a little; the order is that of the calls. */
    if (chunks->newest != NULL && chunks->newest->used_ns > now_ns)
        now_ns = chunks->newest->used_ns;
    transfer->used_ns = now_ns;
    transfer->older = chunks->newest;
    transfer->newer = NULL;
    if (chunks->newest != NULL)
        chunks->newest->newer = transfer;
    else
        chunks->oldest = transfer;
    chunks->newest = transfer;
}

static void count(struct chunks *chunks, struct chunk_transfer *transfer, uint64_t bytes)
{
    transfer->memory += bytes;
    transfer->sender->memory += bytes;
    chunks->memory += bytes;
    chunks->strangers_memory += transfer->stranger ? bytes : 0;
}

static struct chunk_sender *find_sender(struct chunks *chunks, const char *name)
{
    const struct alloc *alloc = chunks->alloc;
    size_t len = strlen(name);
    struct chunk_sender *sender;

    HASH_FIND(hh, chunks->senders, name, len, sender);
    if (sender != NULL)
        return sender;
    sender = alloc_zeroed(alloc, sizeof(*sender) + len + 1);
    if (sender == NULL)
        return NULL;
    memcpy(sender->name, name, len);
    HASH_ADD_KEYPTR(hh, chunks->senders, sender->name, len, sender);
    if (sender->hh.tbl != NULL)
        return sender;
    alloc_free(alloc, sender);
    return NULL;
}

static void drop_sender(struct chunks *chunks, struct chunk_sender *sender)
{
    const struct alloc *alloc = chunks->alloc;

    if (sender->transfers > 0)
        return;
    assert(sender->memory == 0);
    assert(chunks->senders != NULL);
    HASH_DELETE(hh, chunks->senders, sender);
    alloc_free(alloc, sender);
}

static void detach(struct chunks *chunks, struct chunk_transfer *transfer)
{
    const struct alloc *alloc = chunks->alloc;

    assert(chunks->by_name != NULL);
    HASH_DELETE(by_name, chunks->by_name, transfer);
    age_leave(chunks, transfer);
}

void chunks_release(struct chunks *chunks, struct chunk_transfer *transfer)
{
    struct chunk_sender *sender = transfer->sender;
    struct chunk_transfer **at = &sender->first;

    while (*at != transfer)
        at = &(*at)->next;
    *at = transfer->next;
    assert(chunks->memory >= transfer->memory && sender->memory >= transfer->memory);
    chunks->memory -= transfer->memory;
    chunks->strangers_memory -= transfer->stranger ? transfer->memory : 0;
    sender->memory -= transfer->memory;
    sender->transfers--;
    drop_sender(chunks, sender);
    free_pieces(chunks->alloc, transfer);
    alloc_free(chunks->alloc, transfer);
}

static void drop(struct chunks *chunks, struct chunk_transfer *transfer)
{
    detach(chunks, transfer);
    chunks_release(chunks, transfer);
}

void chunks_fini(struct chunks *chunks)
{
    while (chunks->oldest != NULL)
        drop(chunks, chunks->oldest);
}

uint32_t chunks_expire(struct chunks *chunks, uint64_t now_ns)
{
    uint32_t expired = 0;

    while (chunks->oldest != NULL && now_ns > chunks->oldest->used_ns &&
           now_ns - chunks->oldest->used_ns >= chunks->limits.idle_ns) {
        drop(chunks, chunks->oldest);
        expired++;
    }
    return expired;
}

/* ---- Adding ---- */

static enum chunk_result refuse(char reason[CHUNK_REASON_MAX], const char *text)
{
    snprintf(reason, CHUNK_REASON_MAX, "%s", text);
    return CHUNK_REFUSED;
}

static size_t make_name(const struct chunk_place *place, char name[NAME_BYTES])
{
    int len = snprintf(name, NAME_BYTES, "%s", place->sender);
    int id_len = snprintf(name + len + 1, NAME_BYTES - (size_t)len - 1, "%s", place->id);

    return (size_t)len + 1 + (size_t)id_len;
}

static bool is_given_up(const struct chunk_transfer *transfer, const struct chunk_place *place)
{
    return place->ordered && place->session != 0 && transfer->session == place->session &&
           !transfer->complete;
}

/* A sender in order has gone on to its next one. The sender may go with its last transfer. */
static void drop_given_up(struct chunks *chunks, struct chunk_sender *sender,
                          const struct chunk_place *place)
{
    struct chunk_transfer *transfer = sender->first, *next;

    sender->transfers++; /* stays */
    for (; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (is_given_up(transfer, place))
            drop(chunks, transfer);
    }
    sender->transfers--;
}

/* The sender is there, and may have one more. */
static enum chunk_result begin(struct chunks *chunks, struct chunk_sender *sender,
                               const char *name, size_t name_len,
                               const struct chunk_place *place, uint64_t now_ns,
                               struct chunk_transfer **ret_transfer)
{
    const struct alloc *alloc = chunks->alloc;
    struct chunk_transfer *transfer = alloc_zeroed(alloc, sizeof(*transfer) + name_len);

    if (transfer == NULL)
        return CHUNK_NO_MEMORY;
    memcpy(transfer->name, name, name_len);
    transfer->name_len = name_len;
    HASH_ADD_KEYPTR(by_name, chunks->by_name, transfer->name, name_len, transfer);
    if (transfer->by_name.tbl == NULL) {
        alloc_free(alloc, transfer);
        return CHUNK_NO_MEMORY;
    }
    transfer->sender = sender;
    transfer->next = sender->first;
    sender->first = transfer;
    transfer->session = place->ordered ? place->session : 0;
    transfer->total = (uint32_t)place->total;
    transfer->stranger = place->stranger;
    sender->transfers++;
    count(chunks, transfer, sizeof(*transfer) + name_len);
    age_join(chunks, transfer, now_ns);
    *ret_transfer = transfer;
    return CHUNK_STORED;
}

static enum chunk_result find_or_begin(struct chunks *chunks, const struct chunk_place *place,
                                       uint64_t now_ns, struct chunk_transfer **ret_transfer,
                                       char reason[CHUNK_REASON_MAX])
{
    char name[NAME_BYTES];
    size_t len = make_name(place, name);
    struct chunk_sender *sender;
    enum chunk_result result;

    HASH_FIND(by_name, chunks->by_name, name, len, *ret_transfer);
    if (*ret_transfer != NULL)
        return CHUNK_STORED;
    sender = find_sender(chunks, place->sender);
    if (sender == NULL)
        return CHUNK_NO_MEMORY;
    drop_given_up(chunks, sender, place);
    if (sender->transfers >= chunks->limits.transfers_max)
        return refuse(reason,
                      "more unfinished transfers than transfers_max"); /* it has some */
    result = begin(chunks, sender, name, len, place, now_ns, ret_transfer);
    if (result != CHUNK_STORED)
        drop_sender(chunks, sender);
    return result;
}

static const char *over_limit(const struct chunks *chunks,
                              const struct chunk_transfer *transfer,
                              const struct chunk_piece *piece)
{
    const struct chunk_limits *limits = &chunks->limits;
    uint64_t memory = (uint64_t)piece->len + SLOT_BYTES;
    uint64_t half = limits->memory_bytes_max / 2;
    uint64_t fair = half > limits->bytes_max ? half : limits->bytes_max + half;

    /* Text is a third longer than what it says. */
    if (transfer->bytes + (piece->decoded ? piece->len : piece->len / 4 * 3) >
        limits->bytes_max)
        return "transfer exceeds transfer_bytes_max";
    if (chunks->memory + memory > limits->memory_bytes_max)
        return "all transfers exceed transfer_memory_bytes_max";
    if (transfer->sender->memory + memory > fair)
        return "one sender exceeds its half of transfer_memory_bytes_max";
    if (transfer->stranger && chunks->strangers_memory + memory > fair)
        return "strangers exceed their half of transfer_memory_bytes_max";
    return NULL;
}

static enum chunk_result insert(struct chunks *chunks, struct chunk_transfer *transfer,
                                uint32_t at, struct chunk_piece *piece, uint64_t now_ns)
{
    if (!make_room(chunks->alloc, transfer))
        return CHUNK_NO_MEMORY;
    memmove(transfer->pieces + at + 1, transfer->pieces + at,
            (transfer->len - at) * sizeof(struct chunk_piece *));
    transfer->pieces[at] = piece;
    transfer->len++;
    transfer->bytes += piece->decoded ? piece->len : piece->len / 4 * 3;
    count(chunks, transfer, (uint64_t)piece->len + SLOT_BYTES);
    age_leave(chunks, transfer);
    age_join(chunks, transfer, now_ns);
    return CHUNK_STORED;
}

static bool same_piece(const struct chunk_piece *a, const struct chunk_piece *b)
{
    return a->decoded == b->decoded && a->len == b->len &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

static enum chunk_result add(struct chunks *chunks, struct chunk_transfer *transfer,
                             const struct chunk_place *place, struct chunk_piece *piece,
                             uint64_t now_ns, char reason[CHUNK_REASON_MAX])
{
    uint32_t at = pieces_below(transfer, (uint32_t)place->index);
    enum chunk_result result;
    const char *over;

    if (transfer->total != place->total)
        return refuse(reason, "total_chunks has changed");
    if (at < transfer->len && transfer->pieces[at]->index == place->index)
        return same_piece(transfer->pieces[at], piece)
                   ? CHUNK_REPEAT
                   : refuse(reason, "chunk differs from the one that came before");
    over = over_limit(chunks, transfer, piece);
    if (over != NULL) {
        drop(chunks, transfer); /* it can never be complete */
        return refuse(reason, over);
    }
    piece->index = (uint32_t)place->index;
    result = insert(chunks, transfer, at, piece, now_ns);
    if (result == CHUNK_NO_MEMORY && transfer->len == 0)
        drop(chunks, transfer);
    return result;
}

/* What a stored piece, or one that was there, leads to. */
static enum chunk_result look(struct chunks *chunks, struct chunk_transfer *transfer,
                              const struct chunk_place *place, enum chunk_result result,
                              struct chunk_transfer **ret_transfer,
                              char reason[CHUNK_REASON_MAX])
{
    bool last = place->index + 1 == place->total;

    /* Who goes by the order has more to come until then, were it for the second time. */
    if (transfer->len == transfer->total && (last || !place->ordered)) {
        detach(chunks, transfer);
        transfer->complete = true;
        *ret_transfer = transfer;
        return CHUNK_COMPLETE;
    }
    if (place->ordered && last) {
        snprintf(reason, CHUNK_REASON_MAX, CHUNKS_MISSING "%u", first_missing(transfer));
        return CHUNK_REFUSED;
    }
    return result;
}

static enum chunk_result place_piece(struct chunks *chunks, const struct chunk_place *place,
                                     struct chunk_piece *piece, uint64_t now_ns,
                                     struct chunk_transfer **ret_transfer, bool *ret_kept,
                                     char reason[CHUNK_REASON_MAX])
{
    struct chunk_transfer *transfer;
    enum chunk_result result;

    if (place->total == 0 || place->index >= place->total)
        return refuse(reason, "chunk_index is out of range");
    if (place->total > chunks->limits.chunks_max)
        return refuse(reason, "transfer exceeds transfer_chunks_max");
    if (strlen(place->sender) > ENVELOPE_ID_MAX || strlen(place->id) > CHUNK_ID_MAX)
        return refuse(reason, "chunk_id is too long");
    chunks_expire(chunks, now_ns);
    result = find_or_begin(chunks, place, now_ns, &transfer, reason);
    if (result == CHUNK_STORED)
        result = add(chunks, transfer, place, piece, now_ns, reason);
    *ret_kept = result == CHUNK_STORED;
    return result == CHUNK_STORED || result == CHUNK_REPEAT
               ? look(chunks, transfer, place, result, ret_transfer, reason)
               : result;
}

enum chunk_result chunks_add(struct chunks *chunks, const struct chunk_place *place,
                             struct chunk_piece *piece, uint64_t now_ns,
                             struct chunk_transfer **ret_transfer,
                             char reason[CHUNK_REASON_MAX])
{
    bool kept = false;
    enum chunk_result result =
        place_piece(chunks, place, piece, now_ns, ret_transfer, &kept, reason);

    if (!kept)
        alloc_free(chunks->alloc, piece);
    return result;
}

/* ---- Joining ---- */

static bool all_decoded(const struct chunk_transfer *transfer)
{
    for (uint32_t i = 0; i < transfer->len; i++) {
        if (!transfer->pieces[i]->decoded)
            return false;
    }
    return true;
}

/* The text a piece came as, or is. */
static size_t text_len(const struct chunk_piece *piece)
{
    return piece->decoded ? base64_chars(piece->len) : piece->len;
}

static size_t joined_len(const struct chunk_transfer *transfer, bool decoded)
{
    size_t len = 0;

    for (uint32_t i = 0; i < transfer->len; i++)
        len += decoded ? transfer->pieces[i]->len : text_len(transfer->pieces[i]);
    return len;
}

parley_status chunk_transfer_join(const struct alloc *alloc, struct chunk_transfer *transfer,
                                  char **ret_text, size_t *ret_len)
{
    bool decoded = all_decoded(transfer);
    size_t len = joined_len(transfer, decoded), at = 0;
    char *text = alloc_bytes(alloc, len + 1);

    if (text == NULL)
        return PARLEY_ENOMEM;
    for (uint32_t i = 0; i < transfer->len; i++) {
        struct chunk_piece *piece = transfer->pieces[i];

        if (!decoded && piece->decoded)
            base64_encode(piece->bytes, piece->len, text + at);
        else
            memcpy(text + at, piece->bytes, piece->len);
        at += decoded ? piece->len : text_len(piece);
        alloc_free(alloc, piece);
        transfer->pieces[i] = NULL;
    }
    assert(at == len);
    /* Decoding in place: what is written never overtakes what is read. */
    if (!decoded && !base64_decode(text, len, text, &len)) {
        alloc_free(alloc, text);
        return PARLEY_EPROTO;
    }
    *ret_text = text;
    *ret_len = len;
    return PARLEY_OK;
}

/* ---- Checks ---- */

static uint64_t check_transfer(const struct chunk_transfer *transfer)
{
    uint64_t bytes = 0;

    assert(transfer->len <= transfer->total);
    assert(transfer->len <= transfer->capacity);
    for (uint32_t i = 0; i < transfer->len; i++) {
        const struct chunk_piece *piece = transfer->pieces[i];

        assert(piece->index < transfer->total);
        assert(i == 0 || transfer->pieces[i - 1]->index < piece->index);
        bytes += piece->decoded ? piece->len : piece->len / 4 * 3;
    }
    assert(transfer->bytes == bytes);
    assert(transfer->memory >= bytes);
    return transfer->memory;
}

void chunks_check(const struct chunks *chunks)
{
    const struct chunk_transfer *older = NULL;
    uint64_t memory = 0, strangers = 0;

    for (const struct chunk_transfer *t = chunks->oldest; t != NULL; t = t->newer) {
        assert(t->older == older && (older == NULL || older->used_ns <= t->used_ns));
        memory += check_transfer(t);
        strangers += t->stranger ? t->memory : 0;
        older = t;
    }
    assert(chunks->newest == older);
    assert(chunks->memory >= memory); /* complete ones count until they are released */
    assert(chunks->strangers_memory >= strangers);
    assert(chunks->memory - memory >= chunks->strangers_memory - strangers);
    assert(chunks->memory <= chunks->limits.memory_bytes_max);
}
