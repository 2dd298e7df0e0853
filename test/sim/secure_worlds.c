/* SPDX-License-Identifier: Apache-2.0
 *
 * Worlds with identities: who has one, who knows whose key, or a wrong one; what is asked of
 * messages; and whether a message can arrive there at all.
 */
#include <stdio.h>
#include <string.h>

#include "peers/identity.h"
#include "test/sim/secure.h"

#define IN_THOUSAND 180 /* worlds */

static void seed_of(unsigned node, uint8_t seed[32])
{
    memset(seed, 0x40 + (int)node, IDENTITY_SEED_BYTES);
}

void secure_draw_world(struct setup *setup)
{
    static const enum world worlds[] = {WORLD_SEALED, WORLD_SEALED, WORLD_SIGNED, WORLD_MIXED};
    struct chance chance = chance_for("secure world", 0);

    if (!chance_in(&chance, IN_THOUSAND))
        return;
    setup->world = worlds[chance_below(&chance, 4)];
    setup->attacked = setup->world != WORLD_MIXED && chance_in(&chance, 850);
    setup->costly = chance_in(&chance, 60);
    setup->disk = setup->world == WORLD_SIGNED && chance_in(&chance, 500);
    if (setup->attacked && chance_in(&chance, setup->world == WORLD_SIGNED ? 700 : 300))
        setup->nodes = 3;
}

static void draw_sessions(struct chance *chance, parley_options *options)
{
    if (chance_in(chance, 400))
        options->rekey_frames = 16 + chance_below(chance, 40);
    if (chance_in(chance, 300))
        options->rekey_s = 1 + chance_below(chance, 3);
    if (chance_in(chance, 200))
        options->secure_session_s = options->rekey_s + 5;
}

static void draw_mixed(struct chance *chance, struct setup *setup, unsigned i)
{
    setup->identity[i] = chance_in(chance, 800);
    setup->options[i].signatures = (parley_signatures)chance_below(chance, 4);
    setup->options[i].sessions =
        chance_in(chance, 700) ? PARLEY_SESSIONS_AUTO : PARLEY_SESSIONS_OFF;
    for (unsigned j = 0; j < setup->nodes; j++) {
        struct pair *pair = &setup->pairs[i][j];

        pair->knows = chance_in(chance, 700)   ? KNOWS_KEY
                      : chance_in(chance, 600) ? KNOWS_NOTHING
                                               : KNOWS_WRONG_KEY;
        pair->signatures = chance_in(chance, 600)
                               ? PARLEY_SIGNATURES_AUTO
                               : (parley_signatures)(1 + chance_below(chance, 3));
        if (chance_in(chance, 300))
            pair->security_min = (parley_security)chance_below(chance, 3);
    }
}

/* Nobody is reached over a connection of its own making unless it is sealed: a name alone
 * says nothing. */
static void give_urls(struct setup *setup)
{
    for (unsigned i = 0; i < setup->nodes; i++) {
        for (unsigned j = 0; j < setup->nodes; j++)
            setup->pairs[i][j].has_url = true;
    }
}

void secure_draw_setup(struct setup *setup)
{
    struct chance chance = chance_for("secure setup", 0);

    if (setup->world == WORLD_OPEN)
        return;
    for (unsigned i = 0; i < setup->nodes; i++) {
        parley_options *options = &setup->options[i];

        setup->identity[i] = true;
        draw_sessions(&chance, options);
        if (setup->world == WORLD_MIXED)
            draw_mixed(&chance, setup, i);
        else /* from strangers, too */
            options->signatures = PARLEY_SIGNATURES_REQUIRED;
        for (unsigned j = 0; j < setup->nodes && setup->world != WORLD_MIXED; j++) {
            setup->pairs[i][j].knows = KNOWS_KEY;
            setup->pairs[i][j].security_min =
                setup->world == WORLD_SEALED ? PARLEY_SECURITY_SEALED : PARLEY_SECURITY_SIGNED;
        }
        if (setup->world != WORLD_SIGNED)
            continue;
        options->sessions =
            chance_in(&chance, 700) ? PARLEY_SESSIONS_OFF : PARLEY_SESSIONS_AUTO;
        /* what the disk has to remember must be fresh enough to be taken without it */
        options->clock_skew_s = setup->disk ? 4 * SECURE_SKEW_S : SECURE_SKEW_S;
        options->nonce_window_s = 2 * options->clock_skew_s + 1;
    }
    if (setup->world != WORLD_SEALED)
        give_urls(setup);
}

/* ---- Nodes ---- */

void secure_options(const struct process *process, parley_options *options)
{
    static uint8_t seed[IDENTITY_SEED_BYTES];

    if (!sim.setup.identity[process->node->index])
        return;
    seed_of(process->node->index, seed);
    options->identity_seed = seed;
    options->state_dir = sim.setup.disk ? "/nowhere" : NULL;
}

void secure_peer_options(const struct process *process, unsigned other,
                         parley_peer_options *options)
{
    static char hex[SIM_NODES_MAX + 1][IDENTITY_KEY_HEX + 1];
    const struct pair *pair = &sim.setup.pairs[process->node->index][other];
    unsigned whose = pair->knows == KNOWS_WRONG_KEY ? SIM_NODES_MAX : other;

    if (sim.setup.world == WORLD_OPEN)
        return;
    options->signatures = pair->signatures;
    options->security_min = pair->security_min;
    if (pair->knows == KNOWS_NOTHING)
        return;
    if (hex[whose][0] == '\0') {
        struct identity *identity;
        struct alloc alloc;
        uint8_t seed[IDENTITY_SEED_BYTES];

        alloc_init(&alloc, NULL);
        seed_of(whose, seed);
        if (identity_new(&alloc, seed, &identity) != PARLEY_OK)
            promise_broken("identity_new() failed");
        identity_hex(identity_public(identity), hex[whose]);
        identity_free(identity);
    }
    options->public_key = hex[whose];
}

/* ---- What can arrive ---- */

static bool seals(unsigned a, unsigned b)
{
    const struct setup *setup = &sim.setup;

    return setup->identity[a] && setup->identity[b] && setup->pairs[a][b].knows == KNOWS_KEY &&
           setup->pairs[b][a].knows == KNOWS_KEY &&
           setup->options[a].sessions == PARLEY_SESSIONS_AUTO &&
           setup->options[b].sessions == PARLEY_SESSIONS_AUTO;
}

static parley_signatures setting(unsigned of, unsigned peer)
{
    parley_signatures own = sim.setup.pairs[of][peer].signatures;

    return own != PARLEY_SIGNATURES_AUTO ? own : sim.setup.options[of].signatures;
}

static bool is_signed(unsigned from, unsigned to)
{
    return sim.setup.identity[from] &&
           (setting(from, to) != PARLEY_SIGNATURES_OFF ||
            sim.setup.pairs[from][to].security_min != PARLEY_SECURITY_OFF);
}

static bool is_required(unsigned by, unsigned of)
{
    return setting(by, of) == PARLEY_SIGNATURES_REQUIRED ||
           sim.setup.pairs[by][of].security_min != PARLEY_SECURITY_OFF;
}

static bool may_arrive_plain(unsigned from, unsigned to)
{
    const struct pair *pair = &sim.setup.pairs[from][to], *back = &sim.setup.pairs[to][from];

    if (pair->security_min == PARLEY_SECURITY_SEALED ||
        back->security_min == PARLEY_SECURITY_SEALED)
        return false;
    if (pair->security_min == PARLEY_SECURITY_SIGNED && !sim.setup.identity[from])
        return false;
    if (is_required(to, from))
        return is_signed(from, to) && back->knows == KNOWS_KEY;
    return !(is_signed(from, to) && back->knows == KNOWS_WRONG_KEY &&
             setting(to, from) != PARLEY_SIGNATURES_OFF);
}

bool secure_may_arrive(unsigned from, unsigned to)
{
    return sim.setup.world == WORLD_OPEN || seals(from, to) || may_arrive_plain(from, to);
}

bool secure_must_arrive(unsigned from, unsigned to)
{
    return sim.setup.world == WORLD_OPEN || may_arrive_plain(from, to) ||
           (seals(from, to) &&
            sim.setup.pairs[from][to].security_min == PARLEY_SECURITY_SEALED);
}

bool secure_results_forgeable(void)
{
    return sim.setup.world == WORLD_SIGNED && sim.setup.attacked;
}

bool secure_refused(unsigned from, unsigned to, const char *detail)
{
    if (!secure_must_arrive(from, to))
        return true;
    if (sim.setup.world != WORLD_OPEN && strncmp(detail, "Unknown sender: ", 16) == 0)
        return true; /* who removed a peer for a while does not know its key */
    return secure_results_forgeable() ||
           (sim.setup.world == WORLD_SIGNED && strcmp(detail, "Stale timestamp") == 0);
}
