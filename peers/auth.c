/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/auth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "peers/jwt.h"
#include "peers/peer.h"
#include "peers/query.h"
#include "runtime/clock.h"

#define SECRET_BYTES_MIN 32 /* what HS256 is worth: RFC 7518, 3.2 */
#define HEADER_NAME      "Authorization: "
#define SCHEME           "Bearer "

static void wipe(const struct alloc *alloc, char *text)
{
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    alloc_free(alloc, text);
}

/* ---- Shown to us ---- */

parley_status auth_open(struct parley *runtime)
{
    const char *secret = runtime->options.jwt_secret;

    runtime->options.jwt_secret = NULL;
    if (secret == NULL)
        return PARLEY_OK;
    runtime->jwt_secret = alloc_string(&runtime->alloc, secret);
    if (runtime->jwt_secret == NULL)
        return PARLEY_ENOMEM;
    if (strlen(secret) < SECRET_BYTES_MIN)
        log_warn(&runtime->log, "security.jwt_secret is shorter than %d bytes: guessable",
                 SECRET_BYTES_MIN);
    return PARLEY_OK;
}

void auth_close(struct parley *runtime)
{
    wipe(&runtime->alloc, runtime->jwt_secret);
    runtime->jwt_secret = NULL;
}

bool auth_required(const struct parley *runtime)
{
    return runtime->jwt_secret != NULL;
}

/* The token behind "Bearer ", NULL when the header says something else. */
static const char *bearer(const char *authorization)
{
    const size_t len = sizeof(SCHEME) - 1;

    if (strncasecmp(authorization, SCHEME, len) != 0)
        return NULL;
    authorization += len;
    return authorization + strspn(authorization, " ");
}

parley_status auth_check(struct bench *bench, const char *authorization, const char *query,
                         char ret_sub[ENVELOPE_ID_MAX + 1])
{
    const struct parley *runtime = bench->runtime;
    char from_query[JWT_BYTES_MAX + 1] = "";
    const char *token = bearer(authorization);
    struct jwt_claims claims;
    parley_status status;

    if (authorization[0] == '\0' && runtime->options.token_in_query) {
        query_value(query, "token", from_query, sizeof(from_query));
        token = from_query;
    }
    if (token == NULL || token[0] == '\0')
        return PARLEY_EREFUSED;
    status = jwt_verify(&bench->doc, token, strlen(token), runtime->jwt_secret,
                        strlen(runtime->jwt_secret), runtime->node_id,
                        clock_wall_us() / 1000000, &claims);
    if (status == PARLEY_OK)
        memcpy(ret_sub, claims.sub, sizeof(claims.sub));
    return status;
}

/* ---- Shown by us ---- */

/* Nothing that would end the header, or need a quote. */
static bool token_valid(const char *token)
{
    size_t len = 0;

    for (; token[len] != '\0'; len++) {
        if (len == JWT_BYTES_MAX || token[len] <= ' ' || token[len] > '~')
            return false;
    }
    return len > 0;
}

parley_status auth_set_token(struct peer *peer, const parley_peer_options *options)
{
    const size_t prefix = sizeof(HEADER_NAME SCHEME) - 1;
    size_t len;

    if (options->token == NULL)
        return PARLEY_OK;
    if (!token_valid(options->token))
        return PARLEY_EINVAL;
    len = strlen(options->token);
    peer->authorization = alloc_bytes(&peer->runtime->alloc, prefix + len + 1);
    if (peer->authorization == NULL)
        return PARLEY_ENOMEM;
    memcpy(peer->authorization, HEADER_NAME SCHEME, prefix);
    memcpy(peer->authorization + prefix, options->token, len + 1);
    peer->token_in_query = options->token_in_query;
    return PARLEY_OK;
}

void auth_forget_token(struct peer *peer)
{
    wipe(&peer->runtime->alloc, peer->authorization);
    peer->authorization = NULL;
}

const char *auth_header(const struct peer *peer)
{
    return peer->authorization;
}

const char *auth_value(const struct peer *peer)
{
    return peer->authorization != NULL ? peer->authorization + sizeof(HEADER_NAME) - 1 : NULL;
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~", c) != NULL;
}

bool auth_append_token(const struct peer *peer, char *url, size_t len)
{
    static const char hex[] = "0123456789ABCDEF", name[] = "&token=";
    size_t used = strlen(url);
    const char *token;

    if (peer->authorization == NULL || !peer->token_in_query)
        return true;
    if (len - used <= sizeof(name))
        return false;
    memcpy(url + used, name, sizeof(name));
    used += sizeof(name) - 1;
    for (token = peer->authorization + sizeof(HEADER_NAME SCHEME) - 1; *token != '\0';
         token++) {
        if (len - used < 4)
            return false;
        if (!unreserved(*token)) {
            url[used++] = '%';
            url[used++] = hex[(unsigned char)*token >> 4];
            url[used++] = hex[(unsigned char)*token & 15];
        } else {
            url[used++] = *token;
        }
    }
    url[used] = '\0';
    return true;
}
