/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/transfer_in.h"

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "peers/chunk.h"
#include "peers/session.h"
#include "runtime/clock.h"

#define NO_MEMORY "out of memory"

void transfers_in_init(struct transfers_in *transfers, const struct alloc *alloc,
                       const parley_options *options)
{
    const struct chunk_limits limits = {
        /* What the sender adds around the payload is not counted against it. */
        .bytes_max = (uint64_t)options->transfer_bytes_max + FRAME_OVERHEAD,
        .chunks_max = options->transfer_chunks_max,
        .transfers_max = options->transfers_max,
        .memory_bytes_max = options->transfer_memory_bytes_max,
        .idle_ns = options->transfer_idle_s * NS_PER_S,
    };

    pthread_mutex_init(&transfers->mutex, NULL);
    chunks_init(&transfers->chunks, alloc, &limits);
}

void transfers_in_fini(struct transfers_in *transfers)
{
    if (transfers->chunks.alloc == NULL)
        return;
    chunks_fini(&transfers->chunks);
    pthread_mutex_destroy(&transfers->mutex);
}

void transfers_in_sweep(struct transfers_in *transfers, uint64_t now_ns)
{
    pthread_mutex_lock(&transfers->mutex);
    chunks_expire(&transfers->chunks, now_ns);
    pthread_mutex_unlock(&transfers->mutex);
}

/* ---- A whole ---- */

/* @return NULL: run; else why not */
static const char *run_whole(struct session *session, const struct envelope *envelope,
                             uint64_t number, parley_transport transport, const char *text,
                             size_t len)
{
    const parley_options *options = &session->runtime->options;
    const struct json_limits limits = {.depth_max = options->json_depth_max + 1,
                                       .bytes_max = (uint32_t)len + 1};
    struct envelope inner = *envelope;
    struct chunk_whole whole = {.payload_len = 0};
    struct json_error error;
    struct json_doc doc;
    const char *wrong;
    parley_status status;

    json_init(&doc, &session->runtime->alloc);
    status = json_scan(&doc, text, len, &limits, 1, &error);
    wrong = status == PARLEY_ENOMEM ? NO_MEMORY : "transfer is not JSON";
    if (status == PARLEY_OK)
        wrong = chunk_whole_read(&doc, doc.items, &whole);
    if (wrong == NULL && whole.payload_len > options->transfer_bytes_max)
        wrong = "transfer exceeds transfer_bytes_max";
    json_fini(&doc); /* what was read stands in the text */
    if (wrong != NULL)
        return wrong;
    memcpy(inner.msg_type, whole.type, sizeof(inner.msg_type));
    inner.payload = whole.payload;
    inner.payload_len = whole.payload_len;
    session_run_handler(session, &inner, number, transport);
    return NULL;
}

static void complete(struct session *session, const struct envelope *envelope, uint64_t number,
                     parley_transport transport, struct chunk_transfer *transfer)
{
    struct transfers_in *transfers = &session->runtime->transfers;
    const struct alloc *alloc = &session->runtime->alloc;
    const char *wrong;
    char *text = NULL;
    size_t len;

    switch (chunk_transfer_join(alloc, transfer, &text, &len)) {
    case PARLEY_OK:
        wrong = run_whole(session, envelope, number, transport, text, len);
        break;
    case PARLEY_ENOMEM:
        wrong = NO_MEMORY;
        break;
    default:
        wrong = "transfer is not base64";
        break;
    }
    if (wrong != NULL)
        session_refuse(session, number, wrong);
    alloc_free(alloc, text);
    pthread_mutex_lock(&transfers->mutex);
    chunks_release(&transfers->chunks, transfer);
    pthread_mutex_unlock(&transfers->mutex);
}

/* ---- A piece ---- */

static bool sums_to(const char *bytes, size_t len, const char *checksum)
{
    char text[CHUNK_CHECKSUM_CHARS + 1] = "";
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    for (int i = 0; i < CHUNK_CHECKSUM_CHARS / 2; i++) {
        static const char hex[] = "0123456789abcdef";

        text[2 * i] = hex[digest[i] >> 4];
        text[2 * i + 1] = hex[digest[i] & 15];
    }
    return strcasecmp(text, checksum) == 0;
}

/* Senders differ in what they take the sum of: the piece, or the text that it became. */
static bool intact(const struct chunk *chunk, const struct chunk_piece *piece,
                   const char *text, size_t len)
{
    return chunk->checksum[0] == '\0' || sums_to(text, len, chunk->checksum) ||
           (piece->decoded && sums_to(piece->bytes, piece->len, chunk->checksum));
}

static void file(struct session *session, const struct envelope *envelope, uint64_t number,
                 parley_transport transport, const struct chunk *chunk,
                 struct chunk_piece *piece)
{
    struct parley *runtime = session->runtime;
    const struct chunk_place place = {
        .sender = session->sender,
        .id = chunk->id,
        .index = chunk->index,
        .total = chunk->total,
        .ordered = chunk->ordered,
        .session = session->id,
        .stranger = limit_applies(runtime, &session->trust, session->sender),
    };
    struct transfers_in *transfers = &runtime->transfers;
    struct chunk_transfer *transfer = NULL;
    char reason[CHUNK_REASON_MAX];
    enum chunk_result result;

    pthread_mutex_lock(&transfers->mutex);
    result = chunks_add(&transfers->chunks, &place, piece,
                        worker_now_ns(session->bench->worker), &transfer, reason);
    pthread_mutex_unlock(&transfers->mutex);
    if (result == CHUNK_COMPLETE)
        complete(session, envelope, number, transport, transfer);
    else if (result == CHUNK_REFUSED)
        session_refuse(session, number, reason);
    else if (result == CHUNK_NO_MEMORY)
        session_refuse(session, number, NO_MEMORY);
    else
        receive_finish(&session->receive, number, NULL);
}

/* With the payload scanned. @return NULL: filed; else why not */
static const char *take(struct session *session, const struct envelope *envelope,
                        uint64_t number, parley_transport transport,
                        const struct json_doc *doc)
{
    const struct alloc *alloc = &session->runtime->alloc;
    struct chunk chunk;
    const char *wrong = chunk_read(doc, doc->items, &chunk), *text;
    struct chunk_piece *piece = NULL;
    char *unescaped = NULL; /* a '/' may be written as "\/" */
    size_t len;

    if (wrong != NULL)
        return wrong;
    text = doc->text + chunk.data->value;
    len = chunk.data->value_len;
    if (chunk.data->value_escaped) {
        unescaped = alloc_bytes(alloc, len + 1);
        if (unescaped == NULL)
            return NO_MEMORY;
        int got = json_string(doc, chunk.data, unescaped, len + 1);

        text = unescaped;
        len = got > 0 ? (size_t)got : 0;
    }
    piece = chunk_piece_new(alloc, text, len);
    if (piece == NULL)
        wrong = NO_MEMORY;
    else if (!intact(&chunk, piece, text, len))
        wrong = "checksum does not match";
    alloc_free(alloc, unescaped);
    if (wrong == NULL)
        file(session, envelope, number, transport, &chunk, piece);
    else
        alloc_free(alloc, piece);
    return wrong;
}

void transfer_in_chunk(struct session *session, const struct envelope *envelope,
                       uint64_t number, parley_transport transport)
{
    const struct json_limits limits = {.depth_max = session->runtime->options.json_depth_max,
                                       .bytes_max = (uint32_t)envelope->payload_len + 1};
    struct json_error error;
    struct json_doc doc;
    parley_status status;
    const char *wrong;

    json_init(&doc, &session->runtime->alloc);
    status = json_scan(&doc, envelope->payload, envelope->payload_len, &limits,
                       CHUNK_RECORD_DEPTH, &error);
    wrong = status == PARLEY_ENOMEM ? NO_MEMORY : "malformed chunk";
    if (status == PARLEY_OK)
        wrong = take(session, envelope, number, transport, &doc);
    json_fini(&doc);
    if (wrong != NULL)
        session_refuse(session, number, wrong);
}
