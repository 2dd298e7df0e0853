/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/auth.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "peers/jwt.h"
#include "peers/peer.h"
#include "peers/query.h"
#include "peers/trust.h"
#include "runtime/clock.h"

#define SECRET_BYTES_MIN 32                    /* what HS256 is worth: RFC 7518, 3.2 */
#define RENEW_S          (JWT_VALID_S * 4 / 5) /* what is left lets a request reach its peer */
#define HEADER_NAME      "Authorization: "
#define SCHEME           "Bearer "

static uint64_t now_s(void)
{
    return clock_wall_us() / 1000000;
}

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
    return runtime->jwt_secret != NULL || runtime->options.tokens_required;
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

static const struct identity_key *find_key(const char *entity_id, void *user)
{
    return trust_find(user, entity_id);
}

static parley_status judge(struct bench *bench, const char *token,
                           struct jwt_claims *ret_claims)
{
    struct parley *runtime = bench->runtime;
    const struct jwt_judge judge = {
        .secret = runtime->jwt_secret,
        .secret_len = runtime->jwt_secret != NULL ? strlen(runtime->jwt_secret) : 0,
        .find = find_key,
        .user = runtime,
        .audience = runtime->node_id,
        .now_s = now_s(),
        .skew_s = runtime->options.clock_skew_s,
    };

    return jwt_verify(&bench->doc, token, strlen(token), &judge, ret_claims);
}

/* Where no token is asked for, one that we can say nothing about says nothing to us: older
 * clients show theirs to everybody. One that a trusted identity should have signed is another
 * matter: it is right, or somebody pretends. */
static bool ignored(const struct parley *runtime, const struct jwt_claims *claims)
{
    return !auth_required(runtime) && !claims->known;
}

parley_status auth_check(struct bench *bench, const char *authorization, const char *query,
                         struct auth_caller *ret_caller)
{
    char from_query[JWT_BYTES_MAX + 1];
    const char *token = bearer(authorization);
    struct auth_caller caller = {.sub = ""};
    struct jwt_claims claims;
    parley_status status;

    from_query[0] = '\0';
    if (authorization[0] == '\0' && bench->runtime->options.token_in_query) {
        query_value(query, "token", from_query, sizeof(from_query));
        token = from_query;
    }
    if (token == NULL || token[0] == '\0') {
        status = auth_required(bench->runtime) ? PARLEY_EREFUSED : PARLEY_OK;
    } else {
        status = judge(bench, token, &claims);
        if (status == PARLEY_OK) {
            memcpy(caller.sub, claims.sub, sizeof(claims.sub));
            caller.proven = claims.kind == JWT_EDDSA && claims.for_us;
        } else if (status == PARLEY_EREFUSED && ignored(bench->runtime, &claims)) {
            status = PARLEY_OK;
        }
    }
    OPENSSL_cleanse(from_query, strlen(from_query));
    if (status == PARLEY_OK)
        *ret_caller = caller;
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

static parley_status copy_token(struct peer *peer, const char *token)
{
    const size_t prefix = sizeof(HEADER_NAME SCHEME) - 1;
    size_t len = strlen(token);

    peer->authorization = alloc_bytes(&peer->runtime->alloc, prefix + len + 1);
    if (peer->authorization == NULL)
        return PARLEY_ENOMEM;
    memcpy(peer->authorization, HEADER_NAME SCHEME, prefix);
    memcpy(peer->authorization + prefix, token, len + 1);
    return PARLEY_OK;
}

parley_status auth_set_token(struct peer *peer, const parley_peer_options *options)
{
    peer->token_in_query = options->token_in_query;
    if (options->token != NULL)
        return token_valid(options->token) ? copy_token(peer, options->token) : PARLEY_EINVAL;
    peer->identity_token = options->identity_token;
    if (peer->identity_token && trust_identity(peer->runtime) == NULL)
        log_warn(&peer->runtime->log, "%s: no identity_token without security.identity_file",
                 peer->id);
    return PARLEY_OK;
}

void auth_forget_token(struct peer *peer)
{
    wipe(&peer->runtime->alloc, peer->authorization);
    peer->authorization = NULL;
    wipe(&peer->runtime->alloc, peer->post.authorization);
    peer->post.authorization = NULL;
}

const char *auth_header(const struct peer *peer)
{
    return peer->authorization;
}

const char *auth_request_header(const struct peer *peer)
{
    const char *made = peer->post.authorization;

    if (!peer->identity_token)
        return peer->authorization;
    return made != NULL && made[0] != '\0' ? made : NULL;
}

/* ---- Tokens of our identity ---- */

/* @return PARLEY_OK, `header` then being "" where this node has no identity; PARLEY_ENOMEM */
static parley_status make_header(const struct peer *peer, char header[AUTH_HEADER_MAX + 1])
{
    static_assert(AUTH_HEADER_MAX >= sizeof(HEADER_NAME SCHEME) - 1 + JWT_MADE_MAX, "room");
    const struct identity *identity = trust_identity(peer->runtime);
    const size_t prefix = sizeof(HEADER_NAME SCHEME) - 1;
    parley_status status;

    header[0] = '\0';
    if (identity == NULL || !entity_id_valid(peer->runtime->node_id))
        return PARLEY_OK;
    status = jwt_make(identity, peer->runtime->node_id, peer->id, now_s(), header + prefix);
    if (status == PARLEY_OK)
        memcpy(header, HEADER_NAME SCHEME, prefix);
    return status;
}

/* A clock that was set back makes what we have one of the future. */
static bool fresh(const struct post *post, const struct parley *runtime)
{
    uint64_t now = now_s();

    return post->authorization != NULL && post->token_version == trust_version(runtime) &&
           now >= post->token_made_s && now < post->token_made_s + RENEW_S;
}

parley_status auth_renew(struct peer *peer)
{
    struct post *post = &peer->post;
    uint32_t version = trust_version(peer->runtime);
    parley_status status;

    if (!peer->identity_token || fresh(post, peer->runtime))
        return PARLEY_OK;
    if (post->authorization == NULL)
        post->authorization = alloc_zeroed(&peer->runtime->alloc, AUTH_HEADER_MAX + 1);
    if (post->authorization == NULL)
        return PARLEY_ENOMEM;
    status = make_header(peer, post->authorization);
    if (status != PARLEY_OK)
        return status;
    post->token_made_s = now_s();
    post->token_version = version;
    return PARLEY_OK;
}

/* ---- For a dial ---- */

parley_status auth_dial_header(const struct peer *peer, char made[AUTH_HEADER_MAX + 1],
                               const char **ret_header)
{
    parley_status status;

    if (!peer->identity_token) {
        *ret_header = peer->authorization;
        return PARLEY_OK;
    }
    status = make_header(peer, made);
    if (status == PARLEY_OK)
        *ret_header = made[0] != '\0' ? made : NULL;
    return status;
}

const char *auth_value(const char *header)
{
    return header != NULL ? header + sizeof(HEADER_NAME) - 1 : NULL;
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~", c) != NULL;
}

bool auth_append_token(const struct peer *peer, const char *header, char *url, size_t len)
{
    static const char hex[] = "0123456789ABCDEF", name[] = "&token=";
    size_t used = strlen(url);
    const char *token;

    if (header == NULL || !peer->token_in_query)
        return true;
    if (len - used <= sizeof(name))
        return false;
    memcpy(url + used, name, sizeof(name));
    used += sizeof(name) - 1;
    for (token = header + sizeof(HEADER_NAME SCHEME) - 1; *token != '\0'; token++) {
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
