/* SPDX-License-Identifier: Apache-2.0
 *
 * Complete envelopes. A parley's, with base_seq, go by the receiver's rule alone. Those of
 * older peers say no base_seq and perhaps no number: their message ids and nonces are
 * remembered for a while, so that what comes again gets its outcome again and is not run
 * again. Messages without a number of their own are counted by us, in a session of their
 * sender's that has no id.
 */
#include "peers/connection.h"
#include "peers/older.h"
#include "peers/payload.h"
#include "peers/session.h"
#include "peers/threeway.h"
#include "peers/trust.h"
#include "runtime/clock.h"

#include <string.h>

/* ---- What came before ---- */

struct text {
    enum seen_kind kind;
    const char *text;
};

#define TEXTS_MAX 2

static uint32_t texts_of(const struct envelope *envelope, struct text texts[TEXTS_MAX])
{
    uint32_t count = 0;

    if (envelope->message_id[0] != '\0')
        texts[count++] = (struct text){SEEN_MESSAGE_ID, envelope->message_id};
    if (envelope->nonce[0] != '\0')
        texts[count++] = (struct text){SEEN_NONCE, envelope->nonce};
    return count;
}

static bool came_before(const struct session *session, const struct text *texts,
                        uint32_t count, uint64_t *ret_number)
{
    uint64_t now_ns = worker_now_ns(session->bench->worker);

    for (uint32_t i = 0; session->seen != NULL && i < count; i++) {
        if (seen_find(session->seen, texts[i].kind, texts[i].text, strlen(texts[i].text),
                      now_ns, ret_number))
            return true;
    }
    return false;
}

static bool reserve(struct session *session, uint32_t count)
{
    const struct alloc *alloc = &session->runtime->alloc;
    uint8_t key[SEEN_KEY_BYTES];

    if (session->seen == NULL) {
        session->seen = alloc_zeroed(alloc, sizeof(*session->seen));
        if (session->seen == NULL)
            return false;
        random_bytes(&session->bench->random, key, sizeof(key));
        seen_init(session->seen, alloc, session->runtime->options.nonces_max, key);
    }
    return seen_reserve(session->seen, count, worker_now_ns(session->bench->worker)) ==
           PARLEY_OK;
}

static void remember(struct session *session, const struct text *texts, uint32_t count,
                     uint64_t number)
{
    uint64_t now_ns = worker_now_ns(session->bench->worker);

    for (uint32_t i = 0; i < count; i++)
        seen_add(session->seen, texts[i].kind, texts[i].text, strlen(texts[i].text), now_ns,
                 number);
}

/* ---- Beginning ---- */

static bool is_numbered(const struct session *session, const struct envelope *envelope)
{
    return session->session_id[0] != '\0' && envelope->number != 0;
}

static enum session_begun begun(enum receive_decision decision)
{
    switch (decision) {
    case RECEIVE_RUN:
        return SESSION_RUN;
    case RECEIVE_REPEAT:
        return SESSION_REPEAT;
    case RECEIVE_GAP:
        return SESSION_GAP;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        break;
    }
    return SESSION_BUSY;
}

static enum session_begun begin_old(struct session *session, const struct envelope *envelope,
                                    uint64_t *ret_number)
{
    struct receive *receive = &session->receive;
    struct text texts[TEXTS_MAX];
    uint32_t count = texts_of(envelope, texts);
    uint64_t next = receive->watermark + 1, number = next;
    bool known = receive->known;
    enum session_begun result;

    if (came_before(session, texts, count, ret_number))
        return SESSION_REPEAT;
    if (is_numbered(session, envelope))
        number = envelope->number;
    if (known && number < next)
        return SESSION_STALE;
    if (count > 0 && !reserve(session, count))
        return SESSION_BUSY;
    result = begun(receive_begin_old(receive, number));
    if (result != SESSION_RUN)
        return result;
    if (known && number > next)
        session->bench->counts.sequence_gaps++;
    remember(session, texts, count, number);
    *ret_number = number;
    return SESSION_RUN;
}

enum session_begun session_begin(struct session *session, const struct envelope *envelope,
                                 uint64_t *ret_number)
{
    if (envelope->base_seq == 0 || !is_numbered(session, envelope))
        return begin_old(session, envelope, ret_number);
    *ret_number = envelope->number;
    receive_base(&session->receive, envelope->base_seq);
    return begun(receive_begin(&session->receive, envelope->number));
}

/* ---- One message ---- */

/* Whether it is none that came before, by what the session itself knows. */
static bool is_new(struct session *session, const struct envelope *envelope)
{
    const struct receive *receive = &session->receive;
    struct text texts[TEXTS_MAX];
    uint64_t number;

    if (receive->known && is_numbered(session, envelope) &&
        envelope->number <= receive->watermark)
        return false;
    return !came_before(session, texts, texts_of(envelope, texts), &number);
}

/* As admit(), for what is not known to have come before. */
static bool admit_new(struct session *session, struct inbound_request *request,
                      const struct envelope *envelope)
{
    const char *refusal;
    bool seen;

    refusal = session_admit_message(session, envelope, request->evidence, &seen);
    if (seen) {
        session->bench->counts.repeats++;
        session_answer_received(request);
    } else if (refusal != NULL) {
        session_answer_detail(request, refusal == session_later ? 503 : 400, refusal);
    }
    return !seen && refusal == NULL;
}

/* @return whether it may begin; if not, it has been answered */
static bool admit(struct session *session, struct inbound_request *request,
                  const struct envelope *envelope)
{
    return !is_new(session, envelope) || admit_new(session, request, envelope);
}

static parley_status read_message(const struct inbound_request *request,
                                  const struct json_doc *doc, struct envelope *ret_envelope,
                                  struct envelope_error *ret_error)
{
    if (request->kind == INBOUND_SINGLE)
        return older_message_read(doc, doc->items, frame_kind(doc, doc->items),
                                  clock_wall_us(), ret_envelope, ret_error);
    return envelope_read(doc, doc->items, ret_envelope, ret_error);
}

/* What is encrypted in a session has a number that rises there, whatever the envelope's own
 * session says. */
struct taken {
    const char *session_id; /* "": no such session */
    uint64_t number, before;
};

/* @return whether it may begin; if not, it has been answered */
static bool take_number(struct session *session, struct inbound_request *request,
                        const struct envelope *envelope, struct taken *taken)
{
    if (taken->session_id[0] == '\0')
        return true;
    if (!is_new(session, envelope)) { /* a repeat has its outcome, and takes no number */
        taken->session_id = "";
        return true;
    }
    if (taken->number != 0 && threeway_take(session->runtime, session->sender,
                                            taken->session_id, taken->number, &taken->before))
        return true;
    session->bench->counts.repeats++;
    session_answer_detail(request, 400, "SEQUENCE_ERROR");
    return false;
}

static enum session_begun begin(struct session *session, const struct envelope *envelope,
                                const struct taken *taken, uint64_t *ret_number)
{
    enum session_begun begun = session_begin(session, envelope, ret_number);

    if (begun != SESSION_RUN && taken->session_id[0] != '\0')
        threeway_untake(session->runtime, session->sender, taken->session_id, taken->number,
                        taken->before);
    return begun;
}

/* A step of a handshake. Only its sender's key makes it one, and its nonce tells it from its
 * repeats; where it stands among other messages says nothing. */
static bool run_step(struct session *session, struct inbound_request *request,
                     const struct json_doc *doc, const struct envelope *envelope)
{
    const char *refusal = trust_find(session->runtime, session->sender) == NULL
                              ? "AUTHENTICATION_FAILED"
                              : "Missing signature";

    if (request->evidence != EVIDENCE_NONE) {
        request->evidence = EVIDENCE_PLAIN;
        if (!admit_new(session, request, envelope))
            return true;
        refusal = threeway_heard(session->bench, session->sender, doc, envelope);
    }
    if (refusal == NULL) {
        session_note_nonce(session, envelope);
        session_answer_received(request);
        return true;
    }
    session->bench->counts.protocol_errors++;
    log_warn(&session->runtime->log, "%s: %s: %s", session->sender, envelope->msg_type,
             refusal);
    session_answer_detail(request, 400, refusal);
    return true;
}

/* By the old rule, what comes after a number closes it. So that it can come again, nothing
 * else is taken from its connection, which ends: the sender's next one begins with what it has
 * no answer to. Without a text the answer says just that. */
void session_refuse_frame(struct inbound_request *request)
{
    /* relaxed: a sign between requests that come here one after another; if another session
     * sees it late, its numbers are its own. Partner: session_frame_refused(). */
    atomic_store_explicit(&request->connection->refused, true, memory_order_relaxed);
    alloc_free(&request->session->runtime->alloc, request->text);
    request->text = NULL;
    request->code = 503;
}

bool session_frame_refused(const struct inbound_request *request)
{
    /* relaxed: see session_refuse_frame(). */
    return request->kind == INBOUND_SINGLE &&
           atomic_load_explicit(&request->connection->refused, memory_order_relaxed);
}

/* As session_message(), once it is known what the message says. */
static bool run_message(struct session *session, struct inbound_request *request,
                        const struct envelope *envelope, struct taken *taken)
{
    bool frame = request->kind == INBOUND_SINGLE;

    if (!admit(session, request, envelope) || !take_number(session, request, envelope, taken))
        return true;
    switch (begin(session, envelope, taken, &request->until)) {
    case SESSION_RUN:
        if (request->evidence == EVIDENCE_PLAIN)
            session_note_nonce(session, envelope);
        session_run_handler(session, envelope, request->until,
                            frame ? PARLEY_TRANSPORT_WEBSOCKET : PARLEY_TRANSPORT_HTTP);
        break;
    case SESSION_REPEAT:
        session->bench->counts.repeats++;
        break;
    case SESSION_STALE:
        session->bench->counts.repeats++;
        if (!frame || !receive_arrived(&session->receive, envelope->number)) {
            session_answer_detail(request, 400, "SEQUENCE_ERROR");
            return true;
        }
        request->until = envelope->number; /* it had arrived: a frame is told so again */
        break;
    case SESSION_GAP:
        session_answer_detail(request, 409, "SEQUENCE_GAP");
        return true;
    case SESSION_BUSY:
        if (frame && is_numbered(session, envelope))
            session_refuse_frame(request);
        else
            session_answer_detail(request, 503, "try again later");
        return true;
    }
    return session_answer_or_wait(request);
}

bool session_message(struct session *session, struct inbound_request *request,
                     const struct json_doc *doc)
{
    struct envelope_error error;
    struct envelope envelope;
    struct payload_opened opened;
    struct taken taken = {0};
    bool answered;

    if (read_message(request, doc, &envelope, &error) != PARLEY_OK) {
        session_answer_detail(request, 400, error.text);
        return true;
    }
    request->old_form = envelope.base_seq == 0;
    taken.number = envelope.number;
    if (request->unplaced) { /* somebody else may have written them */
        envelope.message_id[0] = '\0';
        envelope.number = envelope.base_seq = 0;
    }
    if (threeway_is_step(envelope.msg_type))
        return run_step(session, request, doc, &envelope);
    switch (payload_decrypt_from(session, doc, &envelope, &opened)) {
    case PARLEY_OK:
        break;
    case PARLEY_ENOMEM:
        session_answer_detail(request, 503, session_later);
        return true;
    default:
        session->bench->counts.protocol_errors++;
        session_answer_detail(request, 400, PAYLOAD_REFUSED);
        return true;
    }
    taken.session_id = opened.session_id;
    answered = run_message(session, request, &envelope, &taken);
    alloc_free(&session->runtime->alloc, opened.buffer);
    return answered;
}
