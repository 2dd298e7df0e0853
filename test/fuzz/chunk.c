/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks. A text is read as a chunk's payload and as a whole; a payload is cut. A script
 * files the pieces of a message that was cut, in its order, with some of them twice, with
 * ones that do not fit, time passing and memory failing: what is complete is what was cut,
 * what is counted adds up, and in the end nothing is left.
 */
#include "peers/chunk.h"

#include "peers/base64.h"
#include "peers/chunk_in.h"
#include "test/fuzz/fuzz.h"
#include "test/runtime/fail_alloc.h"

#define TICK       UINT64_C(1000000000)
#define SOURCE_MAX 64
#define MEMORY_MAX 8192

static const struct chunk_limits limits = {
    .bytes_max = 256,
    .chunks_max = 64,
    .transfers_max = 2,
    .memory_bytes_max = MEMORY_MAX,
    .idle_ns = 20 * TICK,
};

/* ---- a text ---- */

static void check_text(const uint8_t *data, size_t len)
{
    struct fuzz_json json;
    struct chunk chunk;

    fuzz_json_init(&json, data, len, CHUNK_RECORD_DEPTH);
    if (json.status == PARLEY_OK && chunk_read(&json.doc, json.doc.items, &chunk) == NULL) {
        FUZZ_CHECK(chunk.id[0] != '\0' && strlen(chunk.id) <= CHUNK_ID_MAX);
        FUZZ_CHECK(chunk.data != NULL && chunk.data->type == JSON_STRING);
        FUZZ_CHECK(strlen(chunk.checksum) <= CHUNK_CHECKSUM_CHARS);
    }
    if (json.status == PARLEY_OK) {
        struct chunk_whole whole;

        if (chunk_whole_read(&json.doc, json.doc.items, &whole) == NULL) {
            FUZZ_CHECK(whole.type[0] != '\0' && strcmp(whole.type, CHUNK_TYPE) != 0);
            FUZZ_CHECK(fuzz_within(&json.doc, whole.payload, whole.payload_len));
            FUZZ_CHECK(whole.payload[0] == '{');
        }
    }
    fuzz_json_fini(&json);
}

/* What decodes, encodes to the same text again. */
static void check_base64(const uint8_t *data, size_t len)
{
    char *bytes = fuzz_memory(len / 4 * 3), *text;
    size_t bytes_len = 0;

    if (base64_decode((const char *)data, len, bytes, &bytes_len)) {
        FUZZ_CHECK(base64_chars(bytes_len) == len);
        text = fuzz_memory(len);
        base64_encode(bytes, bytes_len, text);
        FUZZ_CHECK(memcmp(text, data, len) == 0);
        free(text);
    }
    free(bytes);
}

/* What we cut is read as it was meant, and joins to what went in. */
static void check_cut(const uint8_t *data, size_t len)
{
    static const uint8_t id[16] = {1, 2, 3};
    size_t chars = len > 0 ? 4 + data[0] : 4, payload_len = len > 0 ? len - 1 : 0, at = 0;
    const char *payload = (const char *)data + (len > 0 ? 1 : 0);
    char *whole, text[512 + CHUNK_OVERHEAD_MAX];
    struct chunk_cut cut;

    chunk_cut_init(&cut, id, "t.1", 3, payload, payload_len, chars);
    whole = fuzz_memory((size_t)chunk_cut_bytes(&cut));
    for (uint32_t i = 0; i < cut.total; i++) {
        size_t text_len = chunk_cut_write(&cut, i, text), some = 0;
        char bytes[512];
        struct fuzz_json json;
        struct chunk chunk;

        FUZZ_CHECK(text_len <= chunk_cut_room(&cut, i));
        fuzz_json_init(&json, text, text_len, CHUNK_RECORD_DEPTH);
        FUZZ_CHECK(json.status == PARLEY_OK);
        FUZZ_CHECK(chunk_read(&json.doc, json.doc.items, &chunk) == NULL);
        FUZZ_CHECK(strcmp(chunk.id, cut.id) == 0 && chunk.ordered);
        FUZZ_CHECK(chunk.index == i && chunk.total == cut.total);
        FUZZ_CHECK(chunk.data->value_len % 4 == 0 && chunk.data->value_len <= chars);
        FUZZ_CHECK(
            base64_decode(text + chunk.data->value, chunk.data->value_len, bytes, &some));
        FUZZ_CHECK(chunk_cut_before(&cut, i) == at && at + some <= chunk_cut_bytes(&cut));
        memcpy(whole + at, bytes, some);
        at += some;
        fuzz_json_fini(&json);
    }
    FUZZ_CHECK(at == chunk_cut_bytes(&cut) && chunk_cut_before(&cut, cut.total) == at);
    FUZZ_CHECK(memcmp(whole + at - 1 - payload_len, payload, payload_len) == 0);
    free(whole);
}

/* ---- a script ---- */

struct world {
    struct fail_alloc heap;
    struct alloc alloc;
    struct chunks chunks;
    char source[SOURCE_MAX], text[2 * SOURCE_MAX];
    size_t source_len, text_len, cut;
    uint64_t total, now_ns;
};

static void complete(struct world *world, struct chunk_transfer *transfer)
{
    char *text;
    size_t len;
    parley_status status = chunk_transfer_join(&world->alloc, transfer, &text, &len);

    if (status == PARLEY_OK) {
        FUZZ_CHECK(len == world->source_len);
        FUZZ_CHECK(memcmp(text, world->source, len) == 0);
        alloc_free(&world->alloc, text);
    }
    FUZZ_CHECK(status == PARLEY_OK || atomic_load(&world->heap.left) == 0);
    chunks_release(&world->chunks, transfer);
}

static void file(struct world *world, struct fuzz_script *script, uint8_t how)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    uint64_t index = fuzz_byte(script) % (world->total + 2);
    size_t from = index * world->cut < world->text_len ? index * world->cut : 0;
    size_t some = world->text_len - from < world->cut ? world->text_len - from : world->cut;
    struct chunk_place place = {
        names[how & 1], names[how >> 1 & 3], index,         world->total + (how >> 6 == 3),
        (how & 8) != 0, (how >> 6) & 1,      (how & 1) != 0};
    struct chunk_piece *piece = chunk_piece_new(&world->alloc, world->text + from, some);
    struct chunk_transfer *transfer = NULL;
    char reason[CHUNK_REASON_MAX] = "";
    enum chunk_result result;
    uint64_t missing;

    if (piece == NULL)
        return;
    result = chunks_add(&world->chunks, &place, piece, world->now_ns, &transfer, reason);
    FUZZ_CHECK((result == CHUNK_COMPLETE) == (transfer != NULL));
    FUZZ_CHECK((result == CHUNK_REFUSED) == (reason[0] != '\0'));
    FUZZ_CHECK(result != CHUNK_NO_MEMORY || atomic_load(&world->heap.left) == 0);
    FUZZ_CHECK(index < place.total || result == CHUNK_REFUSED);
    if (chunks_missing_read(reason, &missing))
        FUZZ_CHECK(place.ordered && index + 1 == place.total && missing < place.total);
    if (result == CHUNK_COMPLETE && place.total == world->total)
        complete(world, transfer);
    else if (result == CHUNK_COMPLETE)
        chunks_release(&world->chunks, transfer);
}

static void prepare(struct world *world, struct fuzz_script *script)
{
    memset(world, 0, sizeof(*world));
    world->alloc = fail_alloc_init(&world->heap, -1);
    chunks_init(&world->chunks, &world->alloc, &limits);
    world->source_len = 1 + fuzz_byte(script) % SOURCE_MAX;
    for (size_t i = 0; i < world->source_len; i++)
        world->source[i] = (char)(i * 37 + world->source_len);
    base64_encode(world->source, world->source_len, world->text);
    world->text_len = base64_chars(world->source_len);
    world->cut = 1 + fuzz_byte(script) % world->text_len;
    world->total = (world->text_len + world->cut - 1) / world->cut;
}

static void run_script(const uint8_t *data, size_t len)
{
    struct fuzz_script script = fuzz_script(data, len);
    struct world world;

    prepare(&world, &script);
    while (fuzz_more(&script)) {
        uint8_t how = fuzz_byte(&script);

        if ((how & 0x30) == 0x30) {
            world.now_ns += (how & 15) * TICK;
            chunks_expire(&world.chunks, world.now_ns);
        } else if ((how & 0xf0) == 0xe0) {
            atomic_store(&world.heap.left, (how & 15) == 15 ? -1 : how & 15);
        } else {
            file(&world, &script, how);
        }
        chunks_check(&world.chunks);
        FUZZ_CHECK(world.chunks.memory <= MEMORY_MAX);
    }
    chunks_fini(&world.chunks);
    FUZZ_CHECK(world.chunks.memory == 0 && world.chunks.strangers_memory == 0 &&
               atomic_load(&world.heap.out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    switch (data[0]) {
    case 't':
        check_text(data + 1, len - 1);
        break;
    case 'c':
        check_cut(data + 1, len - 1);
        break;
    case 'b':
        check_base64(data + 1, len - 1);
        break;
    default:
        run_script(data, len);
        break;
    }
    return 0;
}
