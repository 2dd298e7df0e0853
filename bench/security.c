/* SPDX-License-Identifier: Apache-2.0
 *
 * Protection of a fan-out: see security.h. It is asked for at both ends, so that what arrives
 * at all did so under it.
 */
#include "bench/security.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peers/identity.h"
#include "runtime/alloc.h"

static const char *const names[] = {[PARLEY_SECURITY_OFF] = "off",
                                    [PARLEY_SECURITY_SIGNED] = "signed",
                                    [PARLEY_SECURITY_SEALED] = "sealed"};

bool security_parse(const char *text, parley_security *ret_security)
{
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_security = (parley_security)i;
            return true;
        }
    return false;
}

const char *security_name(parley_security security)
{
    return names[security];
}

void security_peer_name(uint32_t index, char name[SECURITY_NAME_MAX])
{
    snprintf(name, SECURITY_NAME_MAX, "peer-%04" PRIu32, index);
}

static void make_seed(const char *name, uint8_t seed[32])
{
    memset(seed, 0, 32);
    snprintf((char *)seed, 32, "%s", name);
}

void security_node(parley_security security, const char *name, struct security_self *self,
                   parley_options *options)
{
    if (security == PARLEY_SECURITY_OFF)
        return; /* as a node is by default: no identity, so nothing is signed */
    make_seed(name, self->seed);
    options->identity_seed = self->seed;
    options->signatures = PARLEY_SIGNATURES_REQUIRED;
    if (security == PARLEY_SECURITY_SIGNED)
        options->sessions = PARLEY_SESSIONS_OFF;
}

bool security_peer(parley_security security, const char *name, struct security_other *other,
                   parley_peer_options *options)
{
    uint8_t seed[32];
    struct alloc alloc;
    struct identity *identity;

    options->security_min = security;
    if (security == PARLEY_SECURITY_OFF)
        return true;
    /* Verifying takes all processors: greetings may come late, and mean no older peer. */
    options->dialect = PARLEY_DIALECT_PARLEY;
    make_seed(name, seed);
    alloc_init(&alloc, NULL);
    if (identity_new(&alloc, seed, &identity) != PARLEY_OK)
        return false;
    identity_hex(identity_public(identity), other->public_key);
    identity_free(identity);
    options->public_key = other->public_key;
    return true;
}
