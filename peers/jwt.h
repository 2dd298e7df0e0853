/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens: JSON Web Tokens signed with HS256 (RFC 7519, RFC 7515, RFC 7518), verified. Pure: a
 * function of the token's bytes, the secret, our name and the time.
 *
 * The signature is checked before anything inside is looked at, so what follows reads only
 * what somebody with the secret wrote.
 */
#ifndef PARLEY_PEERS_JWT_H
#define PARLEY_PEERS_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/json.h"

#define JWT_BYTES_MAX 4096 /* of a whole token */
#define JWT_SKEW_S    60   /* how far a clock that issues tokens may be ahead of ours */

struct jwt_claims {
    char sub[ENVELOPE_ID_MAX + 1]; /* a valid entity id */
};

/**
 * Verifies one token.
 *
 * @param doc      workspace for scanning; afterwards it holds nothing of use
 * @param audience our name: a token that says for whom it is must name it
 * @param now_s    seconds since the epoch
 * @return PARLEY_OK; PARLEY_EREFUSED, for whatever reason; PARLEY_ENOMEM
 * Source: PROTOCOL.md, Tokens.
 */
parley_status jwt_verify(struct json_doc *doc, const char *token, size_t len,
                         const char *secret, size_t secret_len, const char *audience,
                         uint64_t now_s, struct jwt_claims *ret_claims);

#endif
