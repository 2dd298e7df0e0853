/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said is kept, the last RECORDS_MAX of it; an attack takes some of it, or changes
 * what arrives. Each is counted where it really happens.
 */
#include "test/sim/attack.h"

#include <stdio.h>
#include <string.h>

#include "test/sim/secure.h"

#define RECORDS_MAX 1024

enum medium { FRAME, REQUEST, ANSWER };

struct record {
    enum medium medium;
    unsigned from, to, to_life;
    uint64_t at_ns;
    const void *channel; /* the connection; NULL: over HTTP */
    bool binary;
    unsigned code;
    const char *path, *session;
    const char *bytes;
    size_t len;
};

static struct record records[RECORDS_MAX]; /* the last ones, round and round */
static uint64_t records_made;
static struct chance chance;

void attack_reset(void)
{
    records_made = 0;
    chance = chance_for("attack", 0);
}

/* ---- What was heard ---- */

static const char *kept(const char *bytes, size_t len)
{
    char *copy = sim_new(len + 1);

    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

static const struct record *keep(struct record record)
{
    struct record *slot = &records[records_made++ % RECORDS_MAX];

    record.at_ns = sim.now_ns;
    record.to_life = sim.nodes[record.to].lives;
    record.bytes = kept(record.bytes, record.len);
    if (record.medium == REQUEST) {
        record.path = kept(record.path, strlen(record.path));
        record.session = kept(record.session, strlen(record.session));
    }
    *slot = record;
    return slot;
}

/* What was taken before a restart may be taken again after it while it is fresh, unless the
 * memory of it was kept: so much is said of what is only signed. */
static bool may_be_repeated(const struct record *record)
{
    return sim.setup.world == WORLD_SEALED || sim.setup.disk ||
           record->to_life == sim.nodes[record->to].lives ||
           record->at_ns + SECURE_STALE_NS < sim.now_ns;
}

typedef bool (*wanted_fn)(const struct record *record, const struct record *now);

static bool is_same_way(const struct record *record, const struct record *now)
{
    return record->from == now->from && record->to == now->to;
}

static bool is_another_way(const struct record *record, const struct record *now)
{
    return record->from == now->from &&
           (record->to != now->to || record->channel != now->channel);
}

static bool is_said_by_receiver(const struct record *record, const struct record *now)
{
    return record->from == now->to;
}

/* One that is like it, as old as chance has it. @return NULL: there is none */
static const struct record *recall(const struct record *now, wanted_fn wanted)
{
    uint64_t count = records_made < RECORDS_MAX ? records_made : RECORDS_MAX;
    uint64_t from = count == 0 ? 0 : chance_draw(&chance) % count;

    for (uint64_t i = 0; i < count; i++) {
        const struct record *record = &records[(from + i) % count];

        if (record->medium == now->medium && wanted(record, now) && may_be_repeated(record))
            return record;
    }
    return NULL;
}

/* ---- Changes ---- */

static char *flipped(const char *bytes, size_t len)
{
    char *changed = (char *)(uintptr_t)kept(bytes, len);

    if (len > 0)
        changed[chance_below(&chance, (uint32_t)len)] ^=
            (char)(1u << chance_below(&chance, 8));
    return changed;
}

/* @return NULL: there is nothing to strip */
static char *stripped(const char *bytes, size_t len)
{
    static const char *const offers[] = {"\"parley/1\"", "\"handshake\":\"1.1\""};
    unsigned first = chance_below(&chance, 2);

    for (unsigned i = 0; i < 2; i++) {
        const char *offer = offers[(first + i) % 2];
        const char *found = memmem(bytes, len, offer, strlen(offer));
        char *changed;

        if (found == NULL)
            continue;
        changed = (char *)(uintptr_t)kept(bytes, len);
        changed[(size_t)(found - bytes) + strlen(offer) - 2] = '0';
        return changed;
    }
    return NULL;
}

/* A message that nobody posted, in the name of who seems to send it. As a batch it is in the
 * session that whoever dials names in the clear, with a number that is surely ahead. */
static size_t forge(unsigned from, unsigned to, const char *query, char text[512])
{
    static const char any[] = "6c1e0f0a-3a5c-4c4b-9d53-0e5d3e2f1a77";
    static const char envelope[] =
        "{\"payload\":{\"m\":4000000000},\"timestamp\":%llu.5,\"nonce\":"
        "\"AAECAwQFBgcICQoLDA0ODw==\",\"sender_id\":\"%s\",\"recipient_id\":\"%s\","
        "\"session_id\":\"%s\",\"sequence_num\":1,"
        "\"version\":\"1.0\",\"msg_type\":\"sim\",\"type\":\"peer_message\"}";
    static const char batch[] =
        "{\"type\":\"batch\",\"session_id\":\"%.36s\",\"base_seq\":1000000,"
        "\"first_seq\":1000000,\"messages\":[{\"msg_type\":\"sim\",\"payload\":"
        "{\"m\":4000000000},\"timestamp\":%llu.5,\"sender_id\":\"%s\"}]}";
    const char *session = query != NULL ? strstr(query, "session_id=") : NULL;
    unsigned long long now_s = (unsigned long long)(clock_wall_us() / 1000000);

    session = session != NULL ? session + strlen("session_id=") : any;
    return (size_t)(query != NULL
                        ? snprintf(text, 512, batch, session, now_s, sim.nodes[from].id)
                        : snprintf(text, 512, envelope, now_s, sim.nodes[from].id,
                                   sim.nodes[to].id, any));
}

/* ---- Steps of an older handshake, each in the place of its like ---- */

static unsigned step_of(const char *bytes, size_t len)
{
    static const char *const types[] = {"\"handshake_init\"", "\"handshake_init_ack\"",
                                        "\"challenge_response\"", "\"session_established\""};

    for (unsigned i = 0; i < 4; i++) {
        if (memmem(bytes, len, types[i], strlen(types[i])) != NULL)
            return i + 1;
    }
    return 0;
}

static bool is_like_step(const struct record *record, const struct record *now)
{
    unsigned step = step_of(now->bytes, now->len);

    return step != 0 && is_same_way(record, now) && record->at_ns < now->at_ns &&
           step_of(record->bytes, record->len) == step;
}

/* The oldest: that both step 1 and step 3 are of the same one. */
static const struct record *older_step(const struct record *now)
{
    uint64_t count = records_made < RECORDS_MAX ? records_made : RECORDS_MAX;
    const struct record *oldest = NULL;

    for (uint64_t i = 0; i < count; i++) {
        if (records[i].medium == now->medium && is_like_step(&records[i], now) &&
            (oldest == NULL || records[i].at_ns < oldest->at_ns))
            oldest = &records[i];
    }
    return oldest;
}

/* ---- Frames ---- */

static void deliver(struct end *end, const struct record *record)
{
    sim_trace("    attack: to %s: %s%.*s", end->node->id, record->binary ? "sealed " : "",
              record->binary ? 0 : (int)record->len, record->bytes);
    wire_deliver(end, (const uint8_t *)record->bytes, record->len, record->binary);
}

/* Another one after it, or in its place. @return whether it did */
static bool bring_another(struct end *end, const struct record *now, wanted_fn wanted)
{
    const struct record *other = recall(now, wanted);
    struct record copy;

    if (other == NULL)
        return false;
    copy = *other;
    if (chance_in(&chance, 700))
        deliver(end, now);
    deliver(end, &copy);
    return true;
}

static bool change(struct end *end, const struct record *now, char *bytes)
{
    struct record changed = *now;

    changed.bytes = bytes;
    if (bytes != NULL)
        deliver(end, &changed);
    return bytes != NULL;
}

static bool strip(struct end *end, const struct record *now)
{
    struct record plain = *now;

    if (!now->binary)
        return change(end, now, stripped(now->bytes, now->len));
    plain.binary = false;
    deliver(end, &plain);
    return true;
}

static bool bring_forged(struct end *end, const struct record *now)
{
    char text[512];
    struct record forged = *now;

    forged.binary = false;
    forged.bytes = text;
    forged.len =
        forge(now->from, now->to, chance_in(&chance, 700) ? end->wire->query : NULL, text);
    deliver(end, now);
    deliver(end, &forged);
    return true;
}

static bool attack(struct end *end, const struct record *now, enum fault fault)
{
    const struct record *older;

    switch (fault) {
    case FAULT_REPLAYED:
        return bring_another(end, now, is_same_way);
    case FAULT_REDIRECTED:
        return bring_another(end, now, is_another_way);
    case FAULT_REFLECTED:
        return bring_another(end, now, is_said_by_receiver);
    case FAULT_FLIPPED:
        return change(end, now, flipped(now->bytes, now->len));
    case FAULT_STRIPPED:
        return strip(end, now);
    case FAULT_FORGED:
        return bring_forged(end, now);
    case FAULT_REMOVED:
        return true;
    default:
        older = older_step(now);
        if (older != NULL)
            deliver(end, older);
        return older != NULL;
    }
}

/* What cannot be done here waits for what comes next. */
static bool succeeds(struct host *node, enum fault fault, bool done)
{
    if (!done)
        return false;
    node->attacks--;
    fault_count(fault);
    return true;
}

void attack_frame(struct end *end, const uint8_t *payload, size_t len, bool binary)
{
    struct record now = {.medium = FRAME,
                         .from = wire_other(end)->node->index,
                         .to = end->node->index,
                         .channel = end->wire,
                         .binary = binary,
                         .bytes = (const char *)payload,
                         .len = len};
    struct host *node = end->node;

    if (sim.setup.attacked)
        now = *keep(now);
    if (sim.healed || node->attacks == 0 ||
        !succeeds(node, node->attack, attack(end, &now, node->attack)))
        wire_deliver(end, payload, len, binary);
}

/* ---- Requests ---- */

/* A batch that went over a WebSocket, with the name that it needs by itself. @return NULL: it
 * is none */
static const struct record *as_request(const struct record *frame)
{
    static const char place[] = "{\"msg_type\":\"sim\",", key[] = "{\"sender_id\":\"%s\",";
    static struct record request;
    const char *found = memmem(frame->bytes, frame->len, place, sizeof(place) - 1);
    char *text;
    size_t before;

    if (found == NULL || frame->binary ||
        memmem(frame->bytes, frame->len, "first_seq", 9) == NULL)
        return NULL;
    text = sim_new(frame->len + 64);
    before = (size_t)(found - frame->bytes);
    memcpy(text, frame->bytes, before);
    request = *frame;
    request.len = before + (size_t)snprintf(text + before, 64, key, sim.nodes[frame->from].id);
    memcpy(text + request.len, found + 1, frame->len - before - 1);
    request.len += frame->len - before - 1;
    request.bytes = text;
    request.path = "/messages";
    request.session = "";
    return &request;
}

static const struct record *recall_frame(const struct record *now, wanted_fn wanted)
{
    struct record like = *now;
    const struct record *frame;

    like.medium = FRAME;
    frame = recall(&like, wanted);
    return frame != NULL ? as_request(frame) : NULL;
}

static bool take_another(const struct record *now, wanted_fn wanted,
                         struct attack_request *ret_request)
{
    const struct record *other = chance_in(&chance, 500) ? recall_frame(now, wanted) : NULL;

    if (other == NULL)
        other = recall(now, wanted);
    if (other == NULL)
        return false;
    ret_request->path = other->path;
    ret_request->session = other->session;
    ret_request->body = other->bytes;
    ret_request->body_len = other->len;
    return true;
}

static bool forge_request(const struct record *now, struct attack_request *ret_request)
{
    char text[512];
    bool batch = chance_in(&chance, 500);

    ret_request->body_len = forge(now->from, now->to, batch ? "" : NULL, text);
    ret_request->body = kept(text, ret_request->body_len);
    ret_request->path = batch ? "/messages" : "/message";
    ret_request->session = "";
    return true;
}

static bool change_request(struct attack_request *request, char *bytes)
{
    if (bytes != NULL)
        request->body = bytes;
    return bytes != NULL;
}

/* @return whether it did; *ret_extra: another one comes first */
static bool attack_post(const struct record *now, enum fault fault,
                        struct attack_request *request, struct attack_request *before,
                        bool *ret_extra)
{
    struct attack_request *target = chance_in(&chance, 500) ? before : request;
    const struct record *older;

    *ret_extra = target == before;
    switch (fault) {
    case FAULT_REPLAYED:
        return take_another(now, is_same_way, target);
    case FAULT_REDIRECTED:
        return take_another(now, is_another_way, target);
    case FAULT_REFLECTED:
        return take_another(now, is_said_by_receiver, target);
    case FAULT_FLIPPED:
        *ret_extra = false;
        return change_request(request, flipped(now->bytes, now->len));
    case FAULT_STRIPPED:
        *ret_extra = false;
        request->body = now->bytes;
        request->session = "";
        return now->session[0] != '\0';
    case FAULT_FORGED:
        return forge_request(now, target);
    case FAULT_REMOVED:
        return false; /* as lost requests are */
    default:
        older = older_step(now);
        *ret_extra = false;
        if (older != NULL)
            request->body = older->bytes;
        if (older != NULL)
            request->body_len = older->len;
        return older != NULL;
    }
}

bool attack_request(struct attack_request *request, struct attack_request *ret_before)
{
    struct host *node = &sim.nodes[request->to];
    struct attack_request original = *request;
    bool extra = false;
    struct record now = {.medium = REQUEST,
                         .from = request->from,
                         .to = request->to,
                         .path = request->path,
                         .session = request->session,
                         .bytes = request->body,
                         .len = request->body_len};

    if (!sim.setup.attacked)
        return false;
    now = *keep(now);
    *ret_before = *request;
    if (sim.healed || node->attacks == 0 ||
        !succeeds(node, node->attack,
                  attack_post(&now, node->attack, request, ret_before, &extra))) {
        *request = original;
        return false;
    }
    sim_trace("    attack: a request to %s %s: %s %.*s", node->id,
              extra ? "before" : "changed", extra ? ret_before->path : request->path,
              (int)(extra ? ret_before->body_len : request->body_len),
              extra ? ret_before->body : request->body);
    return extra;
}

void attack_answer(unsigned from, unsigned to, struct attack_answer *answer)
{
    struct host *node = &sim.nodes[to];
    struct record now = {.medium = ANSWER,
                         .from = from,
                         .to = to,
                         .code = answer->code,
                         .bytes = answer->body,
                         .len = answer->body_len};
    const struct record *other = NULL;

    if (!sim.setup.attacked)
        return;
    now = *keep(now);
    if (sim.healed || node->attacks == 0)
        return;
    if (node->attack == FAULT_FLIPPED && succeeds(node, node->attack, true)) {
        answer->body = flipped(now.bytes, now.len);
    } else if (node->attack == FAULT_STRIPPED && succeeds(node, node->attack, true)) {
        answer->by_parley = false;
    } else if (node->attack == FAULT_REPLAYED || node->attack == FAULT_OLD_STEPS) {
        other = node->attack == FAULT_REPLAYED ? recall(&now, is_same_way) : older_step(&now);
        if (other == NULL || !succeeds(node, node->attack, true))
            return;
        answer->code = other->code;
        answer->body = other->bytes;
        answer->body_len = other->len;
    }
}
