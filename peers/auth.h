/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens on the wire: which one we show to a peer, and what the ones shown to us prove.
 * Neither tokens nor the secret are ever logged or named in an error.
 */
#ifndef PARLEY_PEERS_AUTH_H
#define PARLEY_PEERS_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "parley.h"
#include "peers/envelope.h"

struct bench;
struct parley;
struct peer;

/* ---- Shown to us ---- */

/**
 * Replaces the options' jwt_secret, which is the host's, by a copy that auth_close() wipes.
 *
 * @return PARLEY_OK; PARLEY_ENOMEM
 */
parley_status auth_open(struct parley *runtime);
void auth_close(struct parley *runtime);

/** Whether callers have to show a token. */
bool auth_required(const struct parley *runtime);

/** Who a request comes from, as far as its token tells. */
struct auth_caller {
    char sub[ENVELOPE_ID_MAX + 1]; /* a valid entity id; "": it has shown none */
    bool proven; /* by its own identity, to us: nobody else can have made the token */
};

/**
 * Judges the token of a request, on the bench's worker; uses the bench's document. One that is
 * shown without being asked for counts as none, unless it claims to be of a trusted identity.
 *
 * @param authorization its Authorization header, "" when there is none
 * @param query         its query, where security.token_in_query lets the token stand
 * @return PARLEY_OK; PARLEY_EREFUSED (none, or not a valid one); PARLEY_ENOMEM
 */
parley_status auth_check(struct bench *bench, const char *authorization, const char *query,
                         struct auth_caller *ret_caller);

/* ---- Shown by us ---- */

#define AUTH_HEADER_MAX 832 /* bytes of a header with a token of our identity */

/** Copies the peer's token. @return PARLEY_OK; PARLEY_EINVAL (not fit for a header);
 *  PARLEY_ENOMEM */
parley_status auth_set_token(struct peer *peer, const parley_peer_options *options);
void auth_forget_token(struct peer *peer);

/** The configured header "Authorization: Bearer …", NULL: none. It stays as it is. */
const char *auth_header(const struct peer *peer);

/** The same for a peer's own requests, after auth_renew(). */
const char *auth_request_header(const struct peer *peer);

/** Sees to it that the next posted request, while there is none under way, shows a token of
 * our identity that is not about to expire, where the peer wants one. @return PARLEY_OK;
 *  PARLEY_ENOMEM */
parley_status auth_renew(struct peer *peer);

/**
 * The header for a dial: the configured one, or a new one of our identity.
 *
 * @param made       room for the latter, to be wiped
 * @param ret_header NULL: none
 * @return PARLEY_OK; PARLEY_ENOMEM
 */
parley_status auth_dial_header(const struct peer *peer, char made[AUTH_HEADER_MAX + 1],
                               const char **ret_header);

/** The value of such a header, for the transport; NULL: none. */
const char *auth_value(const char *header);

/** Appends "&token=…" to a URL where the peer wants it there. @return whether it fitted */
bool auth_append_token(const struct peer *peer, const char *header, char *url, size_t len);

#endif
