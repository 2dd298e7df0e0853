/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens: JSON Web Tokens (RFC 7519, RFC 7515), verified and made. HS256 (RFC 7518) is signed
 * with a secret that both sides have, EdDSA (RFC 8037) with the identity of the one it is
 * about. Pure: a function of the token's bytes, the keys, our name and the time.
 *
 * Which algorithm is meant decides only which of our own keys it is checked with: a public
 * key is never taken for a secret, and nothing unsigned is believed.
 */
#ifndef PARLEY_PEERS_JWT_H
#define PARLEY_PEERS_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/identity.h"
#include "peers/json.h"

#define JWT_BYTES_MAX 4096 /* of a whole token */
#define JWT_VALID_S   300  /* what we make is valid for so long */
#define JWT_MADE_MAX  768  /* bytes of what we make */

enum jwt_kind { JWT_OTHER, JWT_HS256, JWT_EDDSA };

/** What tokens are judged by. */
struct jwt_judge {
    const char *secret; /* of HS256; NULL: none is taken */
    size_t secret_len;
    /* the key trusted to be an entity's, for EdDSA; NULL: none. NULL itself: none is taken */
    const struct identity_key *(*find)(const char *entity_id, void *user);
    void *user;
    const char *audience; /* our name: a token that says for whom it is must name it */
    uint64_t now_s;       /* seconds since the epoch */
    uint32_t skew_s;      /* how far a clock that issues tokens may be ahead of ours */
};

struct jwt_claims {
    enum jwt_kind kind; /* also of a token that is refused, as far as it tells */
    bool known;         /* EdDSA: its subject's key is trusted; also of a refused one */
    bool for_us;        /* it names its audience */
    char sub[ENVELOPE_ID_MAX + 1]; /* a valid entity id */
};

/**
 * Verifies one token.
 *
 * @param doc        workspace for scanning; afterwards it holds nothing of use
 * @param ret_claims untouched but for `kind` and `known` when it is refused
 * @return PARLEY_OK; PARLEY_EREFUSED, for whatever reason; PARLEY_ENOMEM
 * Source: PROTOCOL.md, Tokens.
 */
parley_status jwt_verify(struct json_doc *doc, const char *token, size_t len,
                         const struct jwt_judge *judge, struct jwt_claims *ret_claims);

/**
 * Makes a token that proves to `audience`, and to nobody else, that we are `sub`; for
 * JWT_VALID_S.
 *
 * @return PARLEY_OK; PARLEY_ENOMEM
 * Source: PROTOCOL.md, Tokens.
 */
parley_status jwt_make(const struct identity *identity, const char *sub, const char *audience,
                       uint64_t now_s, char token[JWT_MADE_MAX + 1]);

#endif
