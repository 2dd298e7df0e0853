/* SPDX-License-Identifier: Apache-2.0
 *
 * What was promised of messages that travel in chunks. What goes on a transport is read here,
 * so each chunk is known by its transfer, its index and its number: a transfer keeps its id,
 * goes on from the first chunk that the receiver lost, and sends no chunk without end. What
 * receivers keep of unfinished ones is looked at after every step: it stays within their
 * limits, is gone after its time, and is never gone without a reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/chunk.h"
#include "peers/service.h"
#include "test/sim/ledger.h"

#define TRANSFERS_MAX 512
#define PIECES_MAX    256
#define ID_CHARS      32
#define SWEEP_NS      (1200 * NS_PER_MS) /* between two looks at what is too old, and a little */
#define WINDOW_MAX    64                 /* chunks that one break makes go again */
#define ROUNDS_MAX    8                  /* the product's */
#define SLOT_BYTES    64                 /* beside what a chunk or a transfer says */

struct transfer_entry {
    struct message_entry *message;
    char id[ID_CHARS + 1];
    bool older; /* went in envelopes of its own, to what seemed no parley */
    uint32_t total, last_index;
    bool untold;     /* the last one went without a number */
    uint32_t rounds; /* times that it went back */
    uint32_t sends, posted, breaks_then;
    unsigned posted_life; /* of the receiver, when one last got a number */
    uint64_t first_ns, last_ns;
    uint64_t numbers[PIECES_MAX]; /* by index: its last one */
    /* at the receiver, while it is unfinished there */
    bool held, seen;
    unsigned held_life, runs_then;
    uint64_t held_since_ns, held_used_ns, memory_then;
};

static struct transfer_entry *transfers[TRANSFERS_MAX];
static unsigned transfers_len;

void transfers_reset(void)
{
    transfers_len = 0;
}

/* ---- Chunks in texts ---- */

static const char *value_of(const char *at, const char *end, const char *key)
{
    const char *found = memmem(at, (size_t)(end - at), key, strlen(key));

    if (found == NULL)
        promise_broken("a chunk without %s", key);
    return found + strlen(key);
}

/* The head of the whole stands in the first chunk. */
static struct message_entry *message_in(const char *data, const char *end)
{
    static const char mark[] = "\"m\":";
    char head[64];
    size_t len;
    const char *found;

    if (end - data < 64 || !base64_decode(data, 64, head, &len))
        promise_broken("a first chunk that cannot be read");
    found = memmem(head, len, mark, sizeof(mark) - 1);
    if (found == NULL)
        promise_broken("a first chunk that does not say what it is of");
    return ledger_get((uint32_t)strtoul(found + sizeof(mark) - 1, NULL, 10));
}

/* Into more pieces: the receiver takes less than the sender thought. Into fewer, or as many
 * larger ones: before all were sent, an answer told of a parley where none was known. */
static bool may_begin_anew(const struct transfer_entry *transfer, uint32_t total)
{
    const struct stream *stream = transfer->message->stream;
    unsigned from = stream->process->node->index;
    const parley_options *options = sim.setup.options;

    if (options[from].message_bytes_max > options[stream->to].message_bytes_max)
        return true;
    return total <= transfer->total && transfer->last_index + 1 < transfer->total &&
           sim.setup.pairs[from][stream->to].dialect == PARLEY_DIALECT_AUTO;
}

static struct transfer_entry *begin(const char *id, struct message_entry *message,
                                    uint32_t total)
{
    struct transfer_entry *transfer = sim_new(sizeof(*transfer));

    if (transfers_len == TRANSFERS_MAX || total > PIECES_MAX)
        promise_broken("too much for the simulator: %u transfers, %u chunks", transfers_len,
                       total);
    if (message->transfer != NULL && !may_begin_anew(message->transfer, total))
        promise_broken("message %u begins a second transfer", ledger_number(message));
    if (message->transfer != NULL)
        transfer->rounds = message->transfer->rounds + 1;
    memcpy(transfer->id, id, ID_CHARS);
    transfer->message = message;
    transfer->total = total;
    transfer->first_ns = sim.now_ns;
    transfer->breaks_then =
        sim.breaks[message->stream->process->node->index][message->stream->to];
    message->transfer = transfer;
    transfers[transfers_len++] = transfer;
    tally->transfers++;
    return transfer;
}

static struct transfer_entry *find(const char *id)
{
    for (unsigned i = transfers_len; i-- > 0;) {
        if (memcmp(transfers[i]->id, id, ID_CHARS) == 0)
            return transfers[i];
    }
    return NULL;
}

void transfers_read(const char *at, const char *end, struct ledger_named *ret_named)
{
    const char *id = at;
    struct transfer_entry *transfer;

    at = value_of(at, end, "\"chunk_index\":");
    ret_named->index = (uint32_t)strtoul(at, NULL, 10);
    at = value_of(at, end, "\"total_chunks\":");
    ret_named->total = (uint32_t)strtoul(at, NULL, 10);
    at = value_of(at, end, "\"data\":\"");
    transfer = find(id);
    if (transfer == NULL && ret_named->index != 0)
        promise_broken("chunk %u of a transfer that has not begun", ret_named->index);
    if (transfer == NULL)
        transfer = begin(id, message_in(at, end), ret_named->total);
    ret_named->transfer = transfer;
    ret_named->message = transfer->message;
}

/* ---- Sending ---- */

static const struct chunks *chunks_at(const struct transfer_entry *transfer)
{
    const struct process *process = sim.nodes[transfer->message->stream->to].process;

    return process != NULL && process->runtime != NULL ? &process->runtime->transfers.chunks
                                                       : NULL;
}

static bool is_named(const struct chunk_transfer *held, const char *sender, const char *id)
{
    size_t len = strlen(sender) + 1; /* the id, which has no end, follows */

    return held->name_len == len + ID_CHARS && memcmp(held->name, sender, len) == 0 &&
           memcmp(held->name + len, id, ID_CHARS) == 0;
}

/* How many chunks from the first one on the receiver has. */
static uint32_t prefix_of(const struct transfer_entry *transfer)
{
    const struct chunks *chunks = chunks_at(transfer);
    const struct chunk_transfer *held = chunks != NULL ? chunks->newest : NULL;
    const char *sender = transfer->message->stream->process->node->id;
    uint32_t len = 0;

    while (held != NULL && !is_named(held, sender, transfer->id))
        held = held->older;
    while (held != NULL && len < held->len && held->pieces[len]->index == len)
        len++;
    return len;
}

/* A chunk gets another number only when the receiver has told that it lost it. */
static void new_number(struct transfer_entry *transfer, const struct ledger_named *named)
{
    uint32_t number = ledger_number(transfer->message);
    unsigned life = sim.nodes[transfer->message->stream->to].lives;
    bool judged = transfer->posted > 0 && !transfer->untold;

    transfer->untold = false;
    if (judged && named->index > transfer->last_index + 1)
        promise_broken("message %u: chunk %u follows chunk %u", number, named->index,
                       transfer->last_index);
    tally->chunks_again += transfer->numbers[named->index] != 0;
    if (judged && named->index <= transfer->last_index) {
        fault_count(FAULT_MISSING);
        /* one that has died since may have told it, and the next got all of it again */
        if (prefix_of(transfer) > named->index && transfer->posted_life == life)
            promise_broken("message %u goes back to chunk %u of %u, which is not missing",
                           number, named->index, transfer->total);
        if (++transfer->rounds > ROUNDS_MAX)
            promise_broken("message %u goes back once too often", number);
    }
    transfer->posted_life = life;
    transfer->last_index = named->index;
    transfer->numbers[named->index] = named->number;
    transfer->posted++;
}

void transfers_sent(const struct process *process, const struct ledger_named *named)
{
    struct transfer_entry *transfer = named->transfer;
    const struct stream *stream = transfer->message->stream;
    uint32_t breaks = sim.breaks[stream->process->node->index][stream->to];
    uint32_t waves = breaks - transfer->breaks_then + 1;

    if (stream->process != process)
        promise_broken("a chunk of message %u comes from another process",
                       ledger_number(transfer->message));
    if (transfer->message->transfer != transfer)
        promise_broken("message %u goes on with a transfer that was begun anew",
                       ledger_number(transfer->message));
    if (named->total != transfer->total || named->index >= transfer->total)
        promise_broken("message %u: chunk %u of %u, which were %u",
                       ledger_number(transfer->message), named->index, named->total,
                       transfer->total);
    tally->chunks++;
    transfer->sends++;
    transfer->last_ns = sim.now_ns;
    transfer->older = transfer->older || named->single;
    if (named->number == 0) { /* whether it is the same again nobody can tell */
        transfer->posted++;
        transfer->last_index = named->index;
        transfer->untold = true;
    } else if (named->number != transfer->numbers[named->index])
        new_number(transfer, named);
    if (transfer->sends > transfer->posted + WINDOW_MAX * waves)
        promise_broken("message %u: %u chunks were sent for %u, and only %u things broke",
                       ledger_number(transfer->message), transfer->sends, transfer->total,
                       waves - 1);
}

void transfers_progress(parley_id id, uint64_t done, uint64_t bytes, void *user)
{
    struct message_entry *message = user;

    (void)id;
    if (message->results > 0)
        promise_broken("message %u makes progress after its result", ledger_number(message));
    if (bytes != message->payload_len || done > bytes)
        promise_broken("message %u of %u bytes has %llu of %llu", ledger_number(message),
                       message->payload_len, (unsigned long long)done,
                       (unsigned long long)bytes);
    if (done < message->progress &&
        (message->transfer == NULL || message->transfer->rounds == 0))
        promise_broken("message %u goes back from %llu to %llu", ledger_number(message),
                       (unsigned long long)message->progress, (unsigned long long)done);
    message->progress = done;
}

/* ---- Handlers and results ---- */

void transfers_content(const struct message_entry *message, const parley_incoming *incoming)
{
    const char *payload;
    size_t len = ledger_payload(ledger_number(message), message->padding, &payload);

    if (incoming->payload_len != len || memcmp(incoming->payload, payload, len) != 0 ||
        strcmp(incoming->type, "sim") != 0)
        promise_broken("message %u arrives changed: %zu bytes, not %zu",
                       ledger_number(message), incoming->payload_len, len);
}

static const parley_options *receiver_of(const struct message_entry *message)
{
    return &sim.setup.options[message->stream->to];
}

static bool is_long(const struct message_entry *message)
{
    const parley_options *own = &sim.setup.options[message->stream->process->node->index];

    return message->payload_len > own->message_bytes_max ||
           message->payload_len > receiver_of(message)->message_bytes_max;
}

bool transfers_may_be_overtaken(const struct message_entry *message)
{
    return message->transfer != NULL && !message->in_order &&
           (is_long(message) || message->transfer->older);
}

/* Requests that outlive their sender come late. */
static uint64_t last_heard(const struct transfer_entry *transfer)
{
    return transfer->held_used_ns > transfer->last_ns ? transfer->held_used_ns
                                                      : transfer->last_ns;
}

/* Of the same receiver, and if asked, of the same sender: what it may have kept meanwhile. */
static uint64_t others_at(const struct transfer_entry *transfer, bool same_sender,
                          uint64_t *ret_bytes)
{
    const struct stream *stream = transfer->message->stream;
    uint64_t idle_ns = receiver_of(transfer->message)->transfer_idle_s * NS_PER_S;
    uint64_t count = 0;

    *ret_bytes = 0;
    for (unsigned i = 0; i < transfers_len; i++) {
        const struct stream *other = transfers[i]->message->stream;

        if (transfers[i] == transfer || other->to != stream->to ||
            (same_sender && other->process->node != stream->process->node) ||
            last_heard(transfers[i]) + idle_ns + SWEEP_NS + sim.paused_ns < transfer->first_ns)
            continue;
        count++;
        *ret_bytes += transfers[i]->message->payload_len + transfers[i]->total * SLOT_BYTES;
    }
    return count;
}

static bool is_limited(const struct transfer_entry *transfer, const char *detail)
{
    const struct message_entry *message = transfer->message;
    const parley_options *options = receiver_of(message);
    uint64_t bytes, count;

    if (strcmp(detail, "transfer exceeds transfer_bytes_max") == 0)
        return message->payload_len > options->transfer_bytes_max;
    if (strcmp(detail, "transfer exceeds transfer_chunks_max") == 0)
        return transfer->total > options->transfer_chunks_max;
    count = others_at(transfer, true, &bytes);
    if (strcmp(detail, "more unfinished transfers than transfers_max") == 0)
        return count >= options->transfers_max;
    if (strstr(detail, "transfer_memory_bytes_max") == NULL)
        return false;
    others_at(transfer, false, &bytes);
    return bytes + message->payload_len > options->transfer_memory_bytes_max / 2;
}

/* In the older dialects nobody says how long a message may be. */
static bool may_be_unadvised(const struct message_entry *message)
{
    unsigned from = message->stream->process->node->index;

    return message->older &&
           sim.setup.options[from].message_bytes_max > receiver_of(message)->message_bytes_max;
}

bool transfers_refused(const struct message_entry *message, const char *detail)
{
    static const char older[] = "Handler error: ";
    const struct transfer_entry *transfer = message->transfer;

    if (strncmp(detail, older, sizeof(older) - 1) == 0)
        detail += sizeof(older) - 1;
    if (transfer == NULL)
        return message->payload_len > receiver_of(message)->message_bytes_max;
    if (strcmp(detail, "message exceeds message_bytes_max") == 0 ||
        strncmp(detail, "Message too large", 17) == 0)
        return may_be_unadvised(message);
    if (strncmp(detail, "HTTP ", 5) == 0) /* the reason could not be read */
        return message->stream->process->node->memory_failed_ns >= transfer->first_ns;
    if (strncmp(detail, "out of memory", 13) == 0)
        return sim.nodes[message->stream->to].memory_failed_ns >= transfer->first_ns;
    if (strncmp(detail, CHUNKS_MISSING, sizeof(CHUNKS_MISSING) - 1) == 0)
        return transfer->rounds >= ROUNDS_MAX;
    if (!is_limited(transfer, detail))
        return false;
    fault_count(FAULT_LIMITED);
    return true;
}

/* ---- What receivers keep ---- */

/* What a transfer is kept for on top of what was counted is not known here. */
static uint64_t memory_of_one(const struct chunk_transfer *held)
{
    uint64_t bytes = sizeof(*held) + held->name_len;

    for (uint32_t i = 0; i < held->len; i++)
        bytes += held->pieces[i]->len;
    return bytes;
}

static void check_one(const struct process *process, const struct chunk_transfer *held)
{
    const parley_options *options = &sim.setup.options[process->node->index];
    uint64_t idle_ns = options->transfer_idle_s * NS_PER_S;

    if (held->bytes > options->transfer_bytes_max + 4096u)
        promise_broken("%s keeps %llu bytes of one transfer", process->node->id,
                       (unsigned long long)held->bytes);
    if (sim.now_ns > held->used_ns + idle_ns + SWEEP_NS + sim.paused_ns)
        promise_broken("%s keeps a transfer that has waited for %.1f s", process->node->id,
                       (double)(sim.now_ns - held->used_ns) / 1e9);
}

static void note_held(const struct process *process, const struct chunks *chunks,
                      const struct chunk_transfer *held)
{
    struct transfer_entry *transfer = find(held->name + strlen(held->name) + 1);

    if (transfer == NULL)
        promise_broken("%s keeps chunks that nobody sent", process->node->id);
    if (!transfer->held) {
        transfer->held = true;
        transfer->held_life = process->life;
        transfer->held_since_ns = sim.now_ns;
        transfer->runs_then = transfer->message->runs;
    }
    transfer->seen = true;
    transfer->held_used_ns = held->used_ns;
    transfer->memory_then = chunks->memory;
}

static uint32_t of_sender(const struct chunks *chunks, const char *sender)
{
    uint32_t count = 0;

    for (const struct chunk_transfer *t = chunks->oldest; t != NULL; t = t->newer)
        count += strcmp(t->name, sender) == 0;
    return count;
}

/* The handler has it, its time was over, its sender gave it up, or there was no room. */
static void check_gone(const struct process *process, const struct transfer_entry *transfer)
{
    const struct message_entry *message = transfer->message;
    const parley_options *options = receiver_of(message);

    if (message->runs > transfer->runs_then)
        return;
    if (sim.now_ns >= transfer->held_used_ns + options->transfer_idle_s * NS_PER_S) {
        fault_count(FAULT_FORGOTTEN);
        return;
    }
    if (message->transfer != transfer || message->results > 0 || message->lost_with_sender ||
        message->stream->removed || message->payload_len > options->transfer_bytes_max ||
        process->node->memory_failed_ns >= transfer->held_since_ns ||
        transfer->memory_then + CHUNK_CHARS_OLDER > options->transfer_memory_bytes_max / 2)
        return;
    promise_broken("%s has lost the chunks of message %u for no reason", process->node->id,
                   ledger_number(message));
}

static void check_held(const struct process *process)
{
    for (unsigned i = 0; i < transfers_len; i++) {
        struct transfer_entry *transfer = transfers[i];

        if (!transfer->held || transfer->message->stream->to != process->node->index)
            continue;
        if (!transfer->seen) {
            transfer->held = false;
            check_gone(process, transfer);
        }
        transfer->seen = false;
    }
}

void transfers_check(const struct process *process, const struct chunks *chunks)
{
    const parley_options *options = &sim.setup.options[process->node->index];
    uint64_t memory = 0;

    if (transfers_len == 0)
        return;
    chunks_check(chunks);
    for (const struct chunk_transfer *t = chunks->oldest; t != NULL; t = t->newer) {
        check_one(process, t);
        note_held(process, chunks, t);
        memory += memory_of_one(t);
        if (of_sender(chunks, t->name) > options->transfers_max)
            promise_broken("%s keeps too many transfers of %s", process->node->id, t->name);
    }
    if (memory > options->transfer_memory_bytes_max)
        promise_broken("%s keeps %llu bytes of unfinished transfers", process->node->id,
                       (unsigned long long)memory);
    check_held(process);
}

void transfers_process_gone(const struct process *process)
{
    for (unsigned i = 0; i < transfers_len; i++) {
        if (transfers[i]->message->stream->to == process->node->index)
            transfers[i]->held = false;
    }
}

void transfers_check_end(void)
{
    for (unsigned i = 0; i < sim.setup.nodes && sim.setup.long_bytes > 0; i++) {
        const struct process *process = sim.nodes[i].process;
        const struct chunk_transfer *held = process->runtime->transfers.chunks.oldest;

        if (held != NULL && held->len < held->total)
            promise_broken("%s keeps an unfinished transfer in the end", process->node->id);
    }
}
