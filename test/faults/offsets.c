/* SPDX-License-Identifier: Apache-2.0
 *
 * One fault at each byte of a recorded session, both ways. The session is a script: batches
 * over the WebSocket with refusals and late answers, a reconnect, messages sent over HTTP on
 * request, and fallback to HTTP because a dial is refused. A first, unharmed run tells how
 * many bytes pass; then one run per offset, many at once, each through a route of its own.
 */
#include <pthread.h>
#include <stdlib.h>

#include "test/faults/faults.h"

#define THREADS_MAX    64
#define RESULT_WAIT_MS 25000

/* a r l: a message the handler accepts, rejects, answers later; capitals: the same over HTTP.
   '.': await all results. D: disconnect. F: disconnect, and the next dial is refused. */
#define SHORT_SESSION "arla.Dalr.AR.Fal.a."
#define SHORT_STRIDE  32 /* messages a case may have */

/* Long: rounds of many messages each, too many offsets for all of them. */
#define LONG_ROUND   120
#define LONG_ROUNDS  12
#define LONG_STRIDE  2048
#define LONG_OFFSETS 150

struct campaign {
    const struct faults_plan *plan;
    struct row *row;
    struct rig rig;
    enum proxy_fault fault;
    enum rig_demand demand;
    const char *script;
    uint64_t len[2]; /* bytes of the unharmed session, by way */
    uint64_t stride;
    uint32_t messages_max; /* of a case */
    unsigned threads;
    pthread_mutex_t lock; /* guards the row and: */
    uint64_t next;
    uint32_t cases;
};

struct one {
    struct campaign *campaign;
    struct proxy_route *route;
    parley_peer peer;
    uint32_t of_case, posted;
    char *kinds;
};

static bool post(struct one *one, char letter)
{
    bool http = letter < 'a';
    char kind = http ? (char)(letter - 'A' + 'a') : letter;
    struct book_key key = {one->of_case, one->posted, kind};

    if (rig_post(&one->campaign->rig, one->peer, key,
                 http ? PARLEY_HINT_HTTP : PARLEY_HINT_NONE) != PARLEY_OK)
        return false;
    one->kinds[one->posted++] = kind;
    return true;
}

static bool act(struct one *one, char letter)
{
    struct rig *rig = &one->campaign->rig;

    switch (letter) {
    case '.':
        return rig_await(rig, one->of_case, one->posted, RESULT_WAIT_MS);
    case 'F':
        proxy_refuse_next(one->route, 1);
        return parley_disconnect(rig->sender, one->peer) == PARLEY_OK;
    case 'D':
        return parley_disconnect(rig->sender, one->peer) == PARLEY_OK;
    default:
        return post(one, letter);
    }
}

static bool begin(struct one *one, const struct proxy_plan *plan)
{
    struct rig *rig = &one->campaign->rig;
    char url[64], id[32];

    one->route = proxy_open(rig->proxy, plan);
    one->kinds = malloc(strlen(one->campaign->script) + 1);
    if (one->route == NULL || one->kinds == NULL)
        return false;
    proxy_url(one->route, url, sizeof(url));
    snprintf(id, sizeof(id), "peer-%u", one->of_case);
    return parley_peer_add(rig->sender, id, url, NULL, &one->peer) == PARLEY_OK;
}

/* Plays the session once. */
static struct proxy_seen play(struct campaign *campaign, const struct proxy_plan *plan)
{
    struct one one = {.campaign = campaign};
    struct proxy_seen seen = {0};
    uint64_t wrong = campaign->row->lost;

    pthread_mutex_lock(&campaign->lock);
    one.of_case = campaign->cases++;
    pthread_mutex_unlock(&campaign->lock);
    bool good = begin(&one, plan);
    for (const char *at = campaign->script; good && *at != '\0'; at++)
        good = act(&one, *at);
    if (one.route != NULL)
        seen = proxy_seen(one.route);
    parley_peer_remove(campaign->rig.sender, one.peer);
    pthread_mutex_lock(&campaign->lock);
    rig_check(&campaign->rig, campaign->row, one.of_case, one.kinds, one.posted,
              campaign->demand);
    if (!good || campaign->row->lost > wrong)
        row_say(campaign->row, "case %u: byte %llu of way %u, bit %u%s", one.of_case,
                (unsigned long long)plan->at, (unsigned)plan->way, plan->bit,
                good ? "" : ": did not come to its end");
    campaign->row->wrong += !good;
    campaign->row->cases++;
    campaign->row->reached += seen.fired;
    pthread_mutex_unlock(&campaign->lock);
    if (one.route != NULL)
        proxy_close(one.route);
    free(one.kinds);
    return seen;
}

static bool next_plan(struct campaign *campaign, struct proxy_plan *ret_plan)
{
    pthread_mutex_lock(&campaign->lock);
    uint64_t at = campaign->next;
    campaign->next += campaign->stride;
    pthread_mutex_unlock(&campaign->lock);
    enum proxy_way way = at < campaign->len[PROXY_UP] ? PROXY_UP : PROXY_DOWN;
    if (way == PROXY_DOWN)
        at -= campaign->len[PROXY_UP];
    *ret_plan = (struct proxy_plan){.fault = campaign->fault,
                                    .way = way,
                                    .at = at,
                                    .bit = (unsigned)((at * 5 + campaign->plan->seed) % 8),
                                    .delay_ms = 30};
    return at < campaign->len[way];
}

static void *play_all(void *user)
{
    struct campaign *campaign = user;
    struct proxy_plan plan;

    while (next_plan(campaign, &plan))
        play(campaign, &plan);
    return NULL;
}

/* The longest of a few unharmed runs: times and ids vary in length by a few bytes. */
static void record(struct campaign *campaign)
{
    const struct proxy_plan pass = {.fault = PROXY_PASS};
    enum rig_demand demand = campaign->demand;

    campaign->demand = RIG_EXACT;
    for (unsigned i = 0; i < 3; i++) {
        struct proxy_seen seen = play(campaign, &pass);
        for (unsigned way = 0; way < 2; way++)
            if (seen.bytes[way] > campaign->len[way])
                campaign->len[way] = seen.bytes[way];
    }
    campaign->demand = demand;
}

static void campaign_run(struct campaign *campaign)
{
    pthread_t threads[THREADS_MAX];
    unsigned started = 0;

    pthread_mutex_init(&campaign->lock, NULL);
    if (!rig_open(&campaign->rig, campaign->messages_max, NULL)) {
        campaign->row->wrong++;
        return;
    }
    record(campaign);
    if (campaign->stride == 0)
        campaign->stride = (campaign->len[0] + campaign->len[1]) / LONG_OFFSETS;
    fprintf(stderr, "%s: %llu bytes up, %llu down\n", campaign->row->kind,
            (unsigned long long)campaign->len[0], (unsigned long long)campaign->len[1]);
    while (started < campaign->threads &&
           pthread_create(&threads[started], NULL, play_all, campaign) == 0)
        started++;
    while (started > 0)
        pthread_join(threads[--started], NULL);
    if (campaign->demand == RIG_CHANGED) {
        uint64_t repeated = rig_repeated_addresses(&campaign->rig);

        if (repeated > 0)
            row_say(campaign->row, "%llu numbers of a session run again",
                    (unsigned long long)repeated);
        campaign->row->twice += repeated;
    }
    rig_close(&campaign->rig, campaign->row);
    pthread_mutex_destroy(&campaign->lock);
}

static struct campaign *campaign_new(const struct faults_plan *plan, struct row *row,
                                     enum proxy_fault fault, enum rig_demand demand)
{
    struct campaign *campaign = calloc(1, sizeof(*campaign));

    if (campaign == NULL)
        abort();
    campaign->plan = plan;
    campaign->row = row;
    campaign->fault = fault;
    campaign->demand = demand;
    return campaign;
}

static void long_session(const struct faults_plan *plan, struct row *row,
                         enum proxy_fault fault)
{
    struct campaign *campaign = campaign_new(plan, row, fault, RIG_EXACT);
    static const char tails[] = "..D..F";
    char script[LONG_ROUNDS * (LONG_ROUND + 2) + 1], *at = script;

    for (unsigned round = 0; round < LONG_ROUNDS; round++) {
        for (unsigned i = 0; i < LONG_ROUND; i++)
            *at++ = i % 17 == 3 ? 'r' : i % 11 == 5 ? 'l' : 'a';
        char tail = tails[round % (sizeof(tails) - 1)];
        if (tail != '.')
            *at++ = '.';
        *at++ = tail;
    }
    at[-1] = '.';
    *at = '\0';
    campaign->script = script;
    campaign->messages_max = LONG_STRIDE;
    campaign->stride = plan->quick ? 65537 : 0;
    campaign->threads = 8;
    campaign_run(campaign);
    free(campaign);
}

static void short_session(const struct faults_plan *plan, struct row *row,
                          enum proxy_fault fault, enum rig_demand demand, uint64_t stride)
{
    struct campaign *campaign = campaign_new(plan, row, fault, demand);

    campaign->script = SHORT_SESSION;
    campaign->stride = plan->quick ? stride * 97 : stride;
    campaign->messages_max = SHORT_STRIDE;
    /* where most of a case is waiting for timeouts, more of them wait at once */
    campaign->threads = fault == PROXY_FLIP || fault == PROXY_STALL ? 64 : 32;
    campaign_run(campaign);
    free(campaign);
}

static void cut(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_CUT, RIG_EXACT, 1);
}

static void reset(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_RESET, RIG_EXACT, 1);
}

static void half_close(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_HALF_CLOSE, RIG_EXACT, 1);
}

static void flip(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_FLIP, RIG_CHANGED, 1);
}

static void stall(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_STALL, RIG_EXACT, 5);
}

static void delay(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_DELAY, RIG_EXACT, 7);
}

static void trickle(const struct faults_plan *plan, struct row *row)
{
    short_session(plan, row, PROXY_TRICKLE, RIG_EXACT, 499);
}

static void long_reset(const struct faults_plan *plan, struct row *row)
{
    long_session(plan, row, PROXY_RESET);
}

static void long_half_close(const struct faults_plan *plan, struct row *row)
{
    long_session(plan, row, PROXY_HALF_CLOSE);
}

const struct faults_kind faults_offsets[] = {
    {"cut at each byte", cut},
    {"reset at each byte", reset},
    {"half-close at each byte", half_close},
    {"bit flipped in each byte", flip},
    {"stall", stall},
    {"delay", delay},
    {"one-byte writes", trickle},
    {"reset, long session", long_reset},
    {"half-close, long session", long_half_close},
    {NULL, NULL},
};
