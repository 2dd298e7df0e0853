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
#include "peers/service.h"

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

/**
 * Judges the token of a request, on the bench's worker; uses the bench's document.
 *
 * @param authorization its Authorization header, "" when there is none
 * @param query         its query, where security.token_in_query lets the token stand
 * @param ret_sub       who the token says the caller is: a valid entity id
 * @return PARLEY_OK; PARLEY_EREFUSED (none, or not a valid one); PARLEY_ENOMEM
 */
parley_status auth_check(struct bench *bench, const char *authorization, const char *query,
                         char ret_sub[ENVELOPE_ID_MAX + 1]);

/* ---- Shown by us ---- */

/** Copies the peer's token. @return PARLEY_OK; PARLEY_EINVAL (not fit for a header);
 *  PARLEY_ENOMEM */
parley_status auth_set_token(struct peer *peer, const parley_peer_options *options);
void auth_forget_token(struct peer *peer);

/** The header "Authorization: Bearer …" for HTTP, NULL: no token. */
const char *auth_header(const struct peer *peer);
/** The same header's value, for the transport. */
const char *auth_value(const struct peer *peer);

/** Appends "&token=…" to a URL where the peer wants it there. @return whether it fitted */
bool auth_append_token(const struct peer *peer, char *url, size_t len);

#endif
