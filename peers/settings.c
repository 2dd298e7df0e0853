/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of settings, and what follows from it alone: defaults and look-up.
 *
 * A row's storage type is taken from the structure's member by _Generic, so that table and
 * structure cannot disagree. Rows stand in the order of conf/peer_service.yaml.
 */
#include "peers/settings.h"

#include <assert.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS   UINT64_C(3600000)
#define DAY_MS    UINT64_C(86400000)

/* What one packed credit word can count (runtime/credit.h: 20 and 26 bits, 64-byte units). */
#define MAILBOX_MESSAGES_MAX UINT64_C(1048575)
#define MAILBOX_BYTES_MAX    (4 * GIB - 64)

static const char *const preference_names[] = {
    [PARLEY_WEBSOCKET_FIRST] = "websocket_first",
    [PARLEY_WEBSOCKET_ONLY] = "websocket_only",
    [PARLEY_HTTP_FIRST] = "http_first",
    [PARLEY_HTTP_ONLY] = "http_only",
    NULL,
};

static const char *const dialect_names[] = {
    [PARLEY_DIALECT_AUTO] = "auto",
    [PARLEY_DIALECT_PARLEY] = "parley",
    [PARLEY_DIALECT_MANAGER] = "manager",
    [PARLEY_DIALECT_SERVICE] = "service",
    NULL,
};

static const char *const version_names[] = {
    [PARLEY_ENVELOPE_AUTO] = "auto",
    [PARLEY_ENVELOPE_1_0] = "1.0",
    [PARLEY_ENVELOPE_0_3] = "0.3",
    NULL,
};

static const char *const probing_names[] = {
    [PARLEY_PROBE_UNHEALTHY] = "unhealthy",
    [PARLEY_PROBE_ALWAYS] = "always",
    [PARLEY_PROBE_OFF] = "off",
    NULL,
};

static const char *const policy_names[] = {
    [PARLEY_UNHEALTHY_HOLD] = "hold",
    [PARLEY_UNHEALTHY_REJECT] = "reject",
    [PARLEY_UNHEALTHY_DROP_OLDEST] = "drop_oldest",
    NULL,
};

static const char *const rates_names[] = {
    [PARLEY_RATES_AUTO] = "auto",
    [PARLEY_RATES_ON] = "on",
    [PARLEY_RATES_OFF] = "off",
    NULL,
};

static const char *const signatures_names[] = {
    [PARLEY_SIGNATURES_AUTO] = "auto",
    [PARLEY_SIGNATURES_REQUIRED] = "required",
    [PARLEY_SIGNATURES_OPTIONAL] = "optional",
    [PARLEY_SIGNATURES_OFF] = "off",
    NULL,
};

static const char *const sessions_names[] = {
    [PARLEY_SESSIONS_AUTO] = "auto",
    [PARLEY_SESSIONS_OFF] = "off",
    NULL,
};

static const char *const security_names[] = {
    [PARLEY_SECURITY_OFF] = "off",
    [PARLEY_SECURITY_SIGNED] = "signed",
    [PARLEY_SECURITY_SEALED] = "sealed",
    NULL,
};

static const char *const encryption_names[] = {
    [PARLEY_ENCRYPTION_NONE] = "none",
    [PARLEY_ENCRYPTION_PAYLOAD] = "payload",
    [PARLEY_ENCRYPTION_SESSION] = "session",
    NULL,
};

static_assert(sizeof(parley_signatures) == 4 && sizeof(parley_sessions) == 4 &&
                  sizeof(parley_security) == 4 && sizeof(parley_encryption) == 4,
              "enums are stored as 32 bits");
static_assert(sizeof(parley_preference) == 4 && sizeof(parley_dialect) == 4 &&
                  sizeof(parley_envelope_version) == 4 && sizeof(parley_probing) == 4 &&
                  sizeof(parley_unhealthy_policy) == 4 && sizeof(parley_rates) == 4,
              "enums are stored as 32 bits");

/* clang-format off */
#define MEMBER(structure, member) (((structure *)NULL)->member)
#define NUMBER_OF(structure, member, low, high, value)                                  \
    .type = _Generic(MEMBER(structure, member),                                         \
                     uint32_t: SETTING_U32, uint64_t: SETTING_U64),                     \
    .offset = offsetof(structure, member), .minimum = (low), .maximum = (high),         \
    .initial = (value)
#define BOOL_OF(structure, member, value)                                               \
    .type = _Generic(MEMBER(structure, member), bool: SETTING_BOOL),                    \
    .offset = offsetof(structure, member), .maximum = 1, .initial = (value)
#define TEXT_OF(structure, member, kind)                                                \
    .type = _Generic(MEMBER(structure, member), const char *: (kind)),                  \
    .offset = offsetof(structure, member)

#define NUMBER(member, low, high, value) NUMBER_OF(parley_options, member, low, high, value)
#define BOOL(member, value)              BOOL_OF(parley_options, member, value)
#define TEXT(member, kind)               TEXT_OF(parley_options, member, kind)
#define PEER_NUMBER(member, low, high)   NUMBER_OF(parley_peer_entry, options.member, low, high, 0)

static const struct setting table[] = {
    {.path = "node", .type = SETTING_SECTION, .text = "who this node is and where it listens"},
    {.path = "node.id", TEXT(node_id, SETTING_ID),
     .text = "name that peers know this node by; unset: the host name"},
    {.path = "node.listen_host", TEXT(listen_host, SETTING_ADDRESS),
     .text = "address to accept peers on; unset: does not listen"},
    {.path = "node.listen_port", .type = SETTING_PORT,
     .offset = offsetof(parley_options, listen_port), .maximum = 65535, .initial = 0,
     .text = "port to accept peers on; 0: any free one"},
    {.path = "node.accept_websocket", BOOL(accept_websocket, true),
     .text = "false: peers reach this node over HTTP only"},

    {.path = "runtime", .type = SETTING_SECTION, .text = "threads, mailboxes and memory"},
    {.path = "runtime.workers", NUMBER(workers, 0, 256, 0),
     .text = "worker threads; 0: one per online CPU"},
    {.path = "runtime.mailbox_messages_max",
     NUMBER(mailbox_messages_max, 1, MAILBOX_MESSAGES_MAX, 16384),
     .text = "messages one peer may hold without a result"},
    {.path = "runtime.mailbox_bytes_max",
     NUMBER(mailbox_bytes_max, 4 * KIB, MAILBOX_BYTES_MAX, 16 * MIB),
     .text = "bytes one peer may hold without a result"},
    {.path = "runtime.memory_bytes_max",
     NUMBER(memory_bytes_max, MIB, 1024 * GIB, GIB),
     .text = "bytes all peers together may hold without a result"},
    {.path = "runtime.run_messages_max", NUMBER(run_messages_max, 1, 65536, 256),
     .text = "messages one peer handles before the next one's turn"},
    {.path = "runtime.run_time_us", NUMBER(run_time_us, 10, 1000000, 500),
     .text = "microseconds one peer may take before the next one's turn"},
    {.path = "runtime.peers_max", NUMBER(peers_max, 1, 16000000, 1000000),
     .text = "peers this node may have"},
    {.path = "runtime.thread_stack_bytes", NUMBER(thread_stack_bytes, 64 * KIB, GIB, 0),
     .zero = true, .text = "bytes of each thread's stack; 0: the system's default"},
    {.path = "runtime.thread_pin", BOOL(thread_pin, false),
     .text = "pin worker i to CPU i"},

    {.path = "transport", .type = SETTING_SECTION, .text = "how messages travel"},
    {.path = "transport.preference", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, preference), .maximum = PARLEY_HTTP_ONLY,
     .initial = PARLEY_WEBSOCKET_FIRST, .names = preference_names,
     .text = "which transports a message may take, and in which order"},
    {.path = "transport.ttl_ms", NUMBER(ttl_ms, 1, 7 * DAY_MS, MINUTE_MS),
     .text = "milliseconds a message has to get its result"},
    {.path = "transport.chunk_threshold_bytes",
     NUMBER(chunk_threshold_bytes, KIB, 512 * KIB, 8 * KIB),
     .text = "longer payloads go to older peers in chunks"},

    {.path = "transport.websocket", .type = SETTING_SECTION, .text = "connections to peers"},
    {.path = "transport.websocket.enabled", BOOL(websocket_enabled, true),
     .text = "false: as preference http_only"},
    {.path = "transport.websocket.connect_timeout_ms",
     NUMBER(connect_timeout_ms, 10, 10 * MINUTE_MS, 5000),
     .text = "milliseconds a dial may take, handshake included"},
    {.path = "transport.websocket.connect_grace_ms",
     NUMBER(connect_grace_ms, 0, 10 * MINUTE_MS, 250),
     .text = "milliseconds a message waits for a dial before HTTP takes it"},
    {.path = "transport.websocket.reconnect_min_ms",
     NUMBER(reconnect_min_ms, 1, HOUR_MS, 1000),
     .text = "milliseconds before the first reconnect; doubles each time"},
    {.path = "transport.websocket.reconnect_max_ms",
     NUMBER(reconnect_max_ms, 1, HOUR_MS, MINUTE_MS),
     .text = "milliseconds the doubling stops at"},
    {.path = "transport.websocket.reconnect_attempts",
     NUMBER(reconnect_attempts, 1, 1000, 10),
     .text = "reconnects in a row; then one a minute, or with the next message"},
    {.path = "transport.websocket.heartbeat_interval_ms",
     NUMBER(heartbeat_interval_ms, 10, HOUR_MS, 30000),
     .text = "milliseconds of silence before a ping"},
    {.path = "transport.websocket.heartbeat_grace_ms",
     NUMBER(heartbeat_grace_ms, 10, HOUR_MS, 10000),
     .text = "milliseconds the peer has to answer it"},
    {.path = "transport.websocket.ack_timeout_ms",
     NUMBER(ack_timeout_ms, 10, HOUR_MS, 10000),
     .text = "milliseconds an older peer may stay silent before a message counts as sent"},
    {.path = "transport.websocket.batch_bytes_max",
     NUMBER(batch_bytes_max, 4 * KIB, MIB, 64 * KIB),
     .text = "bytes of messages put into one frame or one HTTP body"},
    {.path = "transport.websocket.in_flight_max", NUMBER(in_flight_max, 1, 16384, 1024),
     .text = "messages to one peer on their way without an acknowledgement"},
    {.path = "transport.websocket.parley_protocol", BOOL(parley_protocol, true),
     .text = "false: neither offers nor uses parley/1, only the older dialects"},

    {.path = "transport.http", .type = SETTING_SECTION, .text = "requests to peers"},
    {.path = "transport.http.attempts", NUMBER(http_attempts, 1, 100, 3),
     .text = "requests a message may take in all, the first one included"},
    {.path = "transport.http.backoff_ms", NUMBER(http_backoff_ms, 1, 10 * MINUTE_MS, 1000),
     .text = "milliseconds before the second request; doubles each time"},
    {.path = "transport.http.connect_timeout_ms",
     NUMBER(http_connect_timeout_ms, 10, 10 * MINUTE_MS, 5000),
     .text = "milliseconds a connection may take, TLS included"},
    {.path = "transport.http.timeout_ms",
     NUMBER(http_timeout_ms, 10, 10 * MINUTE_MS, 10000),
     .text = "milliseconds a request may take in all"},
    {.path = "transport.http.in_flight_max", NUMBER(http_in_flight_max, 1, 1024, 64),
     .text = "requests under way at once, all peers together"},
    {.path = "transport.http.response_bytes_max",
     NUMBER(http_response_bytes_max, KIB, 64 * MIB, MIB),
     .text = "bytes of an answer that are read; a longer one is a failure"},

    {.path = "health", .type = SETTING_SECTION, .text = "which peers are well"},
    {.path = "health.unhealthy_after", NUMBER(unhealthy_after, 1, 1000, 3),
     .text = "failures in a row that make a peer unhealthy; one success resets"},
    {.path = "health.http", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, health_http), .maximum = PARLEY_PROBE_OFF,
     .initial = PARLEY_PROBE_UNHEALTHY, .names = probing_names,
     .text = "which peers reached over HTTP are asked for /health every heartbeat interval"},
    {.path = "health.timeout_ms", NUMBER(health_timeout_ms, 10, 10 * MINUTE_MS, 5000),
     .text = "milliseconds such a request may take"},
    {.path = "health.unhealthy_policy", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, unhealthy_policy),
     .maximum = PARLEY_UNHEALTHY_DROP_OLDEST, .initial = PARLEY_UNHEALTHY_HOLD,
     .names = policy_names, .text = "what happens to messages for an unhealthy peer"},

    {.path = "breaker", .type = SETTING_SECTION, .text = "leaving a dead peer alone"},
    {.path = "breaker.failures", NUMBER(breaker_failures, 0, 1000, 5),
     .text = "requests, or dials, that fail in a row before there is a pause; 0: no pause"},
    {.path = "breaker.open_ms", NUMBER(breaker_open_ms, 1, DAY_MS, 30000),
     .text = "milliseconds of pause, in which nothing is requested, or dialled"},
    {.path = "breaker.trials", NUMBER(breaker_trials, 1, 1000, 3),
     .text = "requests, or dials, under way at once after the pause"},
    {.path = "breaker.successes", NUMBER(breaker_successes, 1, 1000, 3),
     .text = "of them that have to succeed in a row; one that fails starts a new pause"},

    {.path = "security", .type = SETTING_SECTION, .text = "who may talk to this node"},
    {.path = "security.jwt_secret", TEXT(jwt_secret, SETTING_SECRET),
     .text = "secret that callers' tokens are signed with (HS256); unset: no tokens asked for"},
    {.path = "security.token_in_query", BOOL(token_in_query, false),
     .text = "true: a token may stand in the URL, as older clients do it"},
    {.path = "security.tokens_required", BOOL(tokens_required, false),
     .text = "true: callers show a token, also where there is no jwt_secret"},
    {.path = "security.identity_file", TEXT(identity_file, SETTING_PATH),
     .text = "this node's private key, as parley keygen writes it; unset: it has none"},
    {.path = "security.trusted_keys_dir", TEXT(trusted_keys_dir, SETTING_PATH),
     .text = "directory of others' public keys, ENTITY.pub; unset: only those of peers"},
    {.path = "security.signatures", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, signatures), .maximum = PARLEY_SIGNATURES_OFF,
     .initial = PARLEY_SIGNATURES_AUTO, .names = signatures_names,
     .text = "of messages; auto: required when listening beyond loopback, else optional"},
    {.path = "security.sessions", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, sessions), .maximum = PARLEY_SESSIONS_OFF,
     .initial = PARLEY_SESSIONS_AUTO, .names = sessions_names,
     .text = "sealed connections; auto: where both sides trust the other's key"},
    {.path = "security.state_dir", TEXT(state_dir, SETTING_PATH),
     .text = "directory that keeps what was seen across restarts; unset: it is forgotten"},
    {.path = "security.clock_skew_s", NUMBER(clock_skew_s, 1, 3600, 60),
     .text = "seconds that others' clocks may differ from this one"},
    {.path = "security.nonce_window_s", NUMBER(nonce_window_s, 1, DAY_MS / 1000, 300),
     .text = "seconds that a signed message is remembered, so that it is taken once"},
    {.path = "security.rekey_s", NUMBER(rekey_s, 1, 3500, 2700),
     .text = "seconds after which a session gets new keys"},
    {.path = "security.rekey_frames",
     NUMBER(rekey_frames, 16, UINT64_C(2147483648), UINT64_C(2147483648)),
     .text = "frames in either direction after which it does"},
    {.path = "security.session_s", NUMBER(secure_session_s, 2, 3600, 3600),
     .text = "seconds after which a session without new keys ends"},

    {.path = "limits", .type = SETTING_SECTION, .text = "what this node takes from others"},
    {.path = "limits.message_bytes_max", NUMBER(message_bytes_max, KIB, 64 * MIB, MIB),
     .text = "bytes of one message, in both directions"},
    {.path = "limits.json_depth_max", NUMBER(json_depth_max, 4, 128, 32),
     .text = "levels of nesting in a message"},
    {.path = "limits.connections_max", NUMBER(connections_max, 1, 1000000, 20000),
     .text = "connections accepted at once"},
    {.path = "limits.guests_max", NUMBER(guests_max, 1, 1000000, 1024),
     .text = "sessions of senders remembered at once; peers are always admitted"},
    {.path = "limits.nonces_max", NUMBER(nonces_max, 16, 1000000, 1024),
     .text = "message ids and nonces remembered of one older sender, for 300 s"},
    {.path = "limits.transfer_bytes_max", NUMBER(transfer_bytes_max, KIB, GIB, 64 * MIB),
     .text = "bytes of one message that travels in chunks, in both directions"},
    {.path = "limits.transfer_chunks_max", NUMBER(transfer_chunks_max, 1, 1048576, 65536),
     .text = "chunks of one message"},
    {.path = "limits.transfers_max", NUMBER(transfers_max, 1, 1024, 8),
     .text = "unfinished transfers of one sender"},
    {.path = "limits.transfer_memory_bytes_max",
     NUMBER(transfer_memory_bytes_max, 64 * KIB, 64 * GIB, 256 * MIB),
     .text = "bytes that unfinished transfers of all senders may take"},
    {.path = "limits.transfer_idle_s", NUMBER(transfer_idle_s, 1, DAY_MS / 1000, 300),
     .text = "seconds without a new chunk after which a transfer is forgotten"},
    {.path = "limits.session_idle_s", NUMBER(session_idle_s, 1, 7 * DAY_MS / 1000, 3600),
     .text = "seconds a sender is remembered after its connection closed"},
    {.path = "limits.connection_bytes_max",
     NUMBER(connection_bytes_max, 64 * KIB, GIB, 16 * MIB),
     .text = "bytes of one connection waiting to be handled, or read; then it is not read"},

    {.path = "limits.rates", .type = SETTING_SECTION, .text = "what one sender may send"},
    {.path = "limits.rates.mode", .type = SETTING_ENUM,
     .offset = offsetof(parley_options, rates), .maximum = PARLEY_RATES_OFF,
     .initial = PARLEY_RATES_AUTO, .names = rates_names,
     .text = "on: for senders that are no peers; auto: not on loopback"},
    {.path = "limits.rates.handshake_per_min", NUMBER(rate_handshake_per_min, 1, 60000000, 5),
     .text = "handshakes a minute"},
    {.path = "limits.rates.handshake_burst", NUMBER(rate_handshake_burst, 1, 1000000, 10),
     .text = "handshakes at once after a pause"},
    {.path = "limits.rates.heartbeat_per_min", NUMBER(rate_heartbeat_per_min, 1, 60000000, 60),
     .text = "heartbeats and pings a minute"},
    {.path = "limits.rates.heartbeat_burst", NUMBER(rate_heartbeat_burst, 1, 1000000, 120),
     .text = "heartbeats and pings at once after a pause"},
    {.path = "limits.rates.task_per_min", NUMBER(rate_task_per_min, 1, 60000000, 30),
     .text = "messages of all other kinds a minute"},
    {.path = "limits.rates.task_burst", NUMBER(rate_task_burst, 1, 1000000, 60),
     .text = "messages of all other kinds at once after a pause"},
    {.path = "limits.rates.discovery_per_min", NUMBER(rate_discovery_per_min, 1, 60000000, 10),
     .text = "questions for peers and capabilities a minute"},
    {.path = "limits.rates.discovery_burst", NUMBER(rate_discovery_burst, 1, 1000000, 20),
     .text = "questions for peers and capabilities at once after a pause"},
    {.path = "limits.rates.chunk_per_min", NUMBER(rate_chunk_per_min, 1, 60000000, 120),
     .text = "chunks a minute"},
    {.path = "limits.rates.chunk_burst", NUMBER(rate_chunk_burst, 1, 1000000, 240),
     .text = "chunks at once after a pause"},

    {.path = "peers", .type = SETTING_LIST, .offset = offsetof(parley_options, peers),
     .text = "nodes to talk to"},
    {.path = "peers[].id", TEXT_OF(parley_peer_entry, id, SETTING_ID),
     .text = "the peer's name, which it calls itself by; required"},
    {.path = "peers[].url", TEXT_OF(parley_peer_entry, url, SETTING_URL),
     .text = "http(s):// or ws(s):// address; unset: the peer connects to this node"},
    {.path = "peers[].ws_url", TEXT_OF(parley_peer_entry, options.ws_url, SETTING_URL),
     .text = "its WebSocket, where that does not follow from url"},
    {.path = "peers[].preference", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.preference),
     .flag_offset = offsetof(parley_peer_entry, options.preference_set),
     .maximum = PARLEY_HTTP_ONLY, .names = preference_names,
     .text = "unset: transport.preference"},
    {.path = "peers[].dialect", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.dialect),
     .maximum = PARLEY_DIALECT_SERVICE, .initial = PARLEY_DIALECT_AUTO,
     .names = dialect_names, .text = "protocol it speaks; auto: find out"},
    {.path = "peers[].envelope_version", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.envelope_version),
     .maximum = PARLEY_ENVELOPE_0_3, .initial = PARLEY_ENVELOPE_AUTO,
     .names = version_names,
     .text = "version an older peer is told; auto: 1.0, or 0.3 after a 500"},
    {.path = "peers[].pace", BOOL_OF(parley_peer_entry, options.pace, true),
     .text = "keep to the rate that an older peer takes"},
    {.path = "peers[].rate_per_min", PEER_NUMBER(rate_per_min, 0, 1000000),
     .text = "messages a minute to an older peer; 0: 15 over HTTP, 55 over WebSocket"},
    {.path = "peers[].rate_burst", PEER_NUMBER(rate_burst, 0, 1000000),
     .text = "messages at once to an older peer; 0: 10 over HTTP, 40 over WebSocket"},
    {.path = "peers[].token", TEXT_OF(parley_peer_entry, options.token, SETTING_SECRET),
     .text = "token to show to the peer"},
    {.path = "peers[].token_in_query",
     BOOL_OF(parley_peer_entry, options.token_in_query, false),
     .text = "true: show it in the WebSocket's URL, too, as older servers want it"},
    {.path = "peers[].public_key", TEXT_OF(parley_peer_entry, options.public_key, SETTING_KEY),
     .text = "the peer's identity; unset: security.trusted_keys_dir may have it"},
    {.path = "peers[].identity_token",
     BOOL_OF(parley_peer_entry, options.identity_token, false),
     .text = "true: show it a token of this node's identity, where token is unset"},
    {.path = "peers[].signatures", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.signatures),
     .maximum = PARLEY_SIGNATURES_OFF, .initial = PARLEY_SIGNATURES_AUTO,
     .names = signatures_names, .text = "of its messages; auto: security.signatures"},
    {.path = "peers[].security_min", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.security_min),
     .maximum = PARLEY_SECURITY_SEALED, .initial = PARLEY_SECURITY_OFF,
     .names = security_names, .text = "least protection of messages to it and from it"},
    {.path = "peers[].encryption", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.encryption),
     .maximum = PARLEY_ENCRYPTION_SESSION, .initial = PARLEY_ENCRYPTION_NONE,
     .names = encryption_names, .text = "of payloads, where it is an older peer"},
    {.path = "peers[].mailbox_messages_max",
     PEER_NUMBER(mailbox_messages_max, 0, MAILBOX_MESSAGES_MAX),
     .text = "messages without a result; 0: runtime.mailbox_messages_max"},
    {.path = "peers[].mailbox_bytes_max", PEER_NUMBER(mailbox_bytes_max, 4 * KIB, MAILBOX_BYTES_MAX),
     .zero = true,
     .text = "bytes without a result; 0: runtime.mailbox_bytes_max"},
    {.path = "peers[].ttl_ms", PEER_NUMBER(ttl_ms, 0, 7 * DAY_MS),
     .text = "milliseconds a message has to get its result; 0: transport.ttl_ms"},
    {.path = "peers[].unhealthy_policy", .type = SETTING_ENUM,
     .offset = offsetof(parley_peer_entry, options.unhealthy_policy),
     .flag_offset = offsetof(parley_peer_entry, options.unhealthy_policy_set),
     .maximum = PARLEY_UNHEALTHY_DROP_OLDEST, .names = policy_names,
     .text = "unset: health.unhealthy_policy"},
};
/* clang-format on */

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))
static_assert(TABLE_LEN <= SETTINGS_MAX, "arrays with one element per row");

size_t settings_count(void)
{
    return TABLE_LEN;
}

const struct setting *settings_at(size_t index)
{
    assert(index < TABLE_LEN);
    return &table[index];
}

size_t settings_index(const struct setting *setting)
{
    assert(setting >= table && setting < table + TABLE_LEN);
    return (size_t)(setting - table);
}

const struct setting *settings_find(const char *path)
{
    for (size_t i = 0; i < TABLE_LEN; i++) {
        if (strcmp(table[i].path, path) == 0)
            return &table[i];
    }
    return NULL;
}

bool setting_of_peer(const struct setting *setting)
{
    return strncmp(setting->path, "peers[]", 7) == 0;
}

bool setting_has_value(const struct setting *setting)
{
    return setting->type != SETTING_SECTION && setting->type != SETTING_LIST;
}

/* Texts start unset, and so do settings that inherit: memset did those. */
static void store_initial(bool of_peer, void *base)
{
    for (size_t i = 0; i < TABLE_LEN; i++) {
        const struct setting *setting = &table[i];

        if (setting_has_value(setting) && !setting_is_text(setting) &&
            setting->flag_offset == 0 && setting_of_peer(setting) == of_peer)
            setting_store(setting, base, (struct setting_value){.number = setting->initial});
    }
}

void parley_options_init(parley_options *options)
{
    memset(options, 0, sizeof(*options));
    store_initial(false, options);
    options->size = sizeof(*options);
    options->log_level = PARLEY_LOG_WARN;
}

void parley_peer_options_init(parley_peer_options *options)
{
    parley_peer_entry entry;

    memset(&entry, 0, sizeof(entry));
    store_initial(true, &entry);
    entry.options.size = sizeof(entry.options);
    *options = entry.options;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return a == b || (a == '_' && b == '.');
}

/* Levenshtein's distance, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[SETTING_PATH_MAX + 1];
    size_t b_len = strlen(b);

    assert(b_len < SETTING_PATH_MAX);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t swap = diagonal + (same(a[i], b[j]) ? 0 : 1);

            diagonal = row[j + 1];
            row[j + 1] = smaller(swap, 1 + smaller(diagonal, row[j]));
        }
    }
    return row[b_len];
}

static const char *leaf_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot != NULL ? dot + 1 : path;
}

const char *settings_near(const char *path, size_t edits_max)
{
    const char *nearest = NULL;
    size_t best = edits_max + 1;

    for (size_t i = 0; i < TABLE_LEN; i++) {
        size_t distance = edit_distance(path, table[i].path);

        if (strcmp(leaf_of(path), leaf_of(table[i].path)) == 0)
            distance = smaller(distance, 2); /* the right key in the wrong section */
        if (distance < best) {
            best = distance;
            nearest = table[i].path;
        }
    }
    return nearest;
}

const char *settings_nearest(const char *path)
{
    return settings_near(path, 1 + strlen(leaf_of(path)) / 4);
}
