/* SPDX-License-Identifier: Apache-2.0
 *
 * parley: talk to many peers at once.
 *
 * A runtime hosts peers. Each peer is an actor with a lock-free mailbox: any thread
 * posts messages, the peer's own worker delivers them over its WebSocket and over HTTP
 * when the WebSocket is down, and every accepted message ends in exactly one result.
 *
 * Conventions, true for every function below unless its comment says otherwise:
 *  - Thread: any. No function blocks, except those that say so.
 *  - Strings are UTF-8, copied before the call returns, and stay the caller's.
 *  - Outputs come last, are named ret_…, and are untouched when the call fails.
 *  - A structure whose first member is `size` is filled by its _init() function first;
 *    members added by a later release then keep their defaults.
 *  - Callbacks run on a worker of the runtime. They must not block: a callback that waits
 *    holds up every peer of that worker. They may call any function but parley_drain() and
 *    parley_close(), which answer PARLEY_EDEADLK there.
 */
#ifndef PARLEY_H
#define PARLEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARLEY_VERSION_MAJOR 0
#define PARLEY_VERSION_MINOR 1
#define PARLEY_VERSION_PATCH 0
#define PARLEY_VERSION       "0.1.0"

#if defined(__GNUC__)
#define PARLEY_API __attribute__((visibility("default")))
#else
#define PARLEY_API
#endif

/* ---- Status ------------------------------------------------------------------------ */

/* X(name, value, text, whether trying the same call again can help) */
#define PARLEY_STATUS_MAP(X)                                                       \
    X(OK, 0, "success", false)                                                     \
    X(EINVAL, 1, "invalid argument", false)                                        \
    X(ENOMEM, 2, "out of memory", true)                                            \
    X(EAGAIN, 3, "mailbox full: wait until the peer is writable", true)            \
    X(ECLOSED, 4, "runtime is draining or closed, or the peer was removed", false) \
    X(EUNKNOWN, 5, "no such peer", false)                                          \
    X(EEXIST, 6, "a peer with this id exists already", false)                      \
    X(ETOOBIG, 7, "message exceeds a configured limit", false)                     \
    X(EURL, 8, "malformed or unsupported URL", false)                              \
    X(ECONFIG, 9, "invalid configuration", false)                                  \
    X(EADDRINUSE, 10, "address already in use", true)                              \
    X(EADDR, 11, "address cannot be listened on or resolved", false)               \
    X(ETIMEDOUT, 12, "timed out", true)                                            \
    X(EDEADLK, 13, "not allowed inside a callback", false)                         \
    X(EFORK, 14, "runtime belongs to the parent process", false)                   \
    X(ESYSTEM, 15, "system call failed", true)                                     \
    X(EREFUSED, 16, "the peer or the policy refused", false)                       \
    X(EUNREACHABLE, 17, "the peer cannot be reached", true)                        \
    X(EPROTO, 18, "the peer broke the protocol", false)                            \
    X(ELIMIT, 19, "a configured limit is reached", true)

typedef enum parley_status {
#define PARLEY_STATUS_ENUM_(name, value, text, retry) PARLEY_##name = (value),
    PARLEY_STATUS_MAP(PARLEY_STATUS_ENUM_)
#undef PARLEY_STATUS_ENUM_
} parley_status;

/** Returns the text of a status, never NULL: "unknown status" for a value not in the list. */
PARLEY_API const char *parley_strerror(parley_status status);

/** Returns the enumerator's name without its prefix ("EAGAIN"), never NULL. */
PARLEY_API const char *parley_status_name(parley_status status);

/** Tells whether repeating the call that gave this status can help. */
PARLEY_API bool parley_status_retry(parley_status status);

/** Returns the version of the library in use, "major.minor.patch". */
PARLEY_API const char *parley_version(void);

/* ---- Handles and small types ------------------------------------------------------- */

/** A runtime: its workers, HTTP worker, peers, and the address it listens on. */
typedef struct parley parley;

/** A peer of one runtime. Plain value: copy it freely. Stale handles are recognised. */
typedef struct parley_peer {
    uint64_t value; /**< 0 is no peer */
} parley_peer;

/** Names one accepted message within its runtime. */
typedef struct parley_id {
    uint64_t peer, number;
} parley_id;

/** Names one inbound message whose handler answered PARLEY_LATER. */
typedef struct parley_token {
    uint64_t session, number;
} parley_token;

/** Which transports a peer's messages may take, and in which order. */
typedef enum parley_preference {
    PARLEY_WEBSOCKET_FIRST = 0, /**< WebSocket; HTTP while it is down */
    PARLEY_WEBSOCKET_ONLY = 1,  /**< never HTTP: wait for the WebSocket until the deadline */
    PARLEY_HTTP_FIRST = 2,      /**< HTTP; WebSocket when HTTP fails without an answer */
    PARLEY_HTTP_ONLY = 3,       /**< never opens a WebSocket */
} parley_preference;

/** A message's own wish; it never overrides an _ONLY preference. */
typedef enum parley_hint {
    PARLEY_HINT_NONE = 0,
    PARLEY_HINT_WEBSOCKET = 1, /**< this message as under PARLEY_WEBSOCKET_FIRST */
    PARLEY_HINT_HTTP = 2,      /**< this message over HTTP only */
} parley_hint;

typedef enum parley_transport {
    PARLEY_TRANSPORT_NONE = 0,
    PARLEY_TRANSPORT_WEBSOCKET = 1,
    PARLEY_TRANSPORT_HTTP = 2,
} parley_transport;

/** Which protocol a peer speaks. */
typedef enum parley_dialect {
    PARLEY_DIALECT_AUTO = 0,    /**< find out */
    PARLEY_DIALECT_PARLEY = 1,  /**< parley/1, never anything older */
    PARLEY_DIALECT_MANAGER = 2, /**< the older WebSocket server's, and envelopes over HTTP */
    PARLEY_DIALECT_SERVICE = 3, /**< the older HTTP service's: never a WebSocket */
} parley_dialect;

/** Which version an older peer's envelopes say. A parley takes both. */
typedef enum parley_envelope_version {
    PARLEY_ENVELOPE_AUTO = 0, /**< "1.0"; "0.3" once "1.0" has drawn a 500 */
    PARLEY_ENVELOPE_1_0 = 1,
    PARLEY_ENVELOPE_0_3 = 2,
} parley_envelope_version;

/** Which peers are asked for their /health without being told to. Only those are that no
 *  WebSocket shows to be alive. */
typedef enum parley_probing {
    PARLEY_PROBE_UNHEALTHY = 0, /**< unhealthy ones, until they answer */
    PARLEY_PROBE_ALWAYS = 1,    /**< and those that have been silent for a while */
    PARLEY_PROBE_OFF = 2,       /**< none, but to find out when PARLEY_UNHEALTHY_REJECT ends */
} parley_probing;

/** What happens to messages for an unhealthy peer. */
typedef enum parley_unhealthy_policy {
    PARLEY_UNHEALTHY_HOLD = 0,   /**< they wait while they have time and attempts */
    PARLEY_UNHEALTHY_REJECT = 1, /**< parley_send() answers PARLEY_EUNREACHABLE */
    PARLEY_UNHEALTHY_DROP_OLDEST =
        2, /**< they wait; where the mailbox becomes full, the oldest
                that is not on its way ends as PARLEY_EXHAUSTED */
} parley_unhealthy_policy;

/** Whose messages the limits.rates settings slow down. */
typedef enum parley_rates {
    PARLEY_RATES_AUTO = 0, /**< as _ON, but off while the node listens on loopback only */
    PARLEY_RATES_ON = 1,   /**< those of senders that are no peers of this node */
    PARLEY_RATES_OFF = 2,
} parley_rates;

/** What becomes of messages without a signature of their sender's trusted key. */
typedef enum parley_signatures {
    PARLEY_SIGNATURES_AUTO = 0,     /**< required when the node listens beyond loopback, else
                                         optional; of a peer: as the node's setting */
    PARLEY_SIGNATURES_REQUIRED = 1, /**< they are refused, but where a token of the sender's
                                         identity stands for them */
    PARLEY_SIGNATURES_OPTIONAL = 2, /**< they are taken; a signature that is there must be
                                         right where the sender's key is trusted */
    PARLEY_SIGNATURES_OFF = 3,      /**< nothing is signed, and no signature looked at */
} parley_signatures;

/** Whether sessions are negotiated, in which frames are sealed. */
typedef enum parley_sessions {
    PARLEY_SESSIONS_AUTO = 0, /**< where both sides have an identity and trust the other's */
    PARLEY_SESSIONS_OFF = 1,
} parley_sessions;

/** The least protection under which messages to a peer may travel, and come from it. */
typedef enum parley_security {
    PARLEY_SECURITY_OFF = 0,
    PARLEY_SECURITY_SIGNED = 1, /**< each message signed, for its recipient */
    PARLEY_SECURITY_SEALED = 2, /**< encrypted, within a session of both identities */
} parley_security;

/** How payloads to an older peer are encrypted. Between parleys sessions do that. */
typedef enum parley_encryption {
    PARLEY_ENCRYPTION_NONE = 0,
    PARLEY_ENCRYPTION_PAYLOAD = 1, /**< by both identities alone */
    PARLEY_ENCRYPTION_SESSION = 2, /**< within a session of the three-way handshake, whose
                                        answer comes to where we listen; messages wait for it
                                        within their deadlines */
} parley_encryption;

/** How an accepted message ended. The last three mean: not known delivered. */
typedef enum parley_outcome {
    PARLEY_DELIVERED = 1, /**< the peer's handler took it */
    PARLEY_SENT = 2,      /**< handed to a peer that never acknowledges */
    PARLEY_REJECTED = 3,  /**< the peer said no; `detail` says why */
    PARLEY_EXHAUSTED = 4, /**< no permitted transport or attempt is left */
    PARLEY_EXPIRED = 5,   /**< its deadline passed */
    PARLEY_CANCELLED = 6, /**< by the host: peer removed or runtime closed */
} parley_outcome;

/** Returns "delivered", "sent", "rejected", "exhausted", "expired" or "cancelled". */
PARLEY_API const char *parley_outcome_name(parley_outcome outcome);

/* ---- Inbound messages -------------------------------------------------------------- */

/** A handler's answer. The acknowledgement waits for it. */
typedef enum parley_verdict {
    PARLEY_ACCEPT = 0,
    PARLEY_REJECT = 1,
    PARLEY_LATER = 2, /**< parley_message_finish() will say */
} parley_verdict;

#define PARLEY_DETAIL_MAX 256

/** One inbound message. Valid during the handler. */
typedef struct parley_incoming {
    size_t size;
    const char *sender;  /**< NUL-terminated, as the sender calls itself */
    const char *type;    /**< NUL-terminated */
    const char *payload; /**< JSON text of one object, not NUL-terminated */
    size_t payload_len;
    const char *session_id; /**< NUL-terminated, "" when the sender has none */
    const char *message_id; /**< NUL-terminated, "" when the sender gave it none */
    uint64_t number;        /**< within the session, 0 when there is none */
    double timestamp;       /**< the sender's clock, seconds since the epoch */
    parley_transport transport;
    bool redelivered; /**< the sender had sent it before and did not learn its outcome */
    parley_token token;
} parley_incoming;

/**
 * Handles one message.
 *
 * @param detail buffer of PARLEY_DETAIL_MAX bytes holding ""; with PARLEY_REJECT, the
 *               reason to tell the sender
 */
typedef parley_verdict (*parley_message_fn)(const parley_incoming *message, char *detail,
                                            void *user);

/* ---- Options ----------------------------------------------------------------------- */

typedef enum parley_log_level {
    PARLEY_LOG_ERROR = 0,
    PARLEY_LOG_WARN = 1,
    PARLEY_LOG_INFO = 2,
    PARLEY_LOG_DEBUG = 3,
} parley_log_level;

/** Receives one finished line without a newline. Called from any thread of the runtime. */
typedef void (*parley_log_fn)(parley_log_level level, const char *line, void *user);

/**
 * The host's allocator, for the runtime's own memory (not for what the libraries below it
 * take). All three or none; called from any thread; may return NULL.
 */
typedef struct parley_allocator {
    void *(*allocate)(size_t bytes, void *user);
    void *(*resize)(void *memory, size_t bytes, void *user);
    void (*release)(void *memory, void *user);
    void *user;
} parley_allocator;

/** What differs for one peer. */
typedef struct parley_peer_options {
    size_t size;
    parley_preference preference;
    bool preference_set; /**< false: the runtime's preference */
    parley_dialect dialect;
    parley_envelope_version envelope_version;
    bool pace;              /**< keep to what an older peer takes; a parley is never paced */
    uint32_t rate_per_min;  /**< messages a minute to an older peer after the burst; 0: what
                                 older peers are known to take */
    uint32_t rate_burst;    /**< messages at once after a pause; 0: as above */
    const char *token;      /**< said as `Authorization: Bearer`, at most 4,096 printable
                                 characters without spaces; NULL: none */
    bool token_in_query;    /**< and as `token=` in the WebSocket's URL, for older servers; the
                                 URL's path is then at most 2,000 bytes long */
    const char *ws_url;     /**< NULL: derived from the peer's URL */
    const char *public_key; /**< its identity: an Ed25519 key as 64 hex digits; NULL: not
                                 known, or in security.trusted_keys_dir */
    bool identity_token; /**< where there is no `token`: show one of our own identity, made for
                              this peer and valid for 300 s */
    parley_signatures signatures;
    parley_security security_min;
    parley_encryption encryption;
    uint32_t mailbox_messages_max; /**< 0: the runtime's setting, as for the next ones */
    uint64_t mailbox_bytes_max;
    uint32_t ttl_ms;
    parley_unhealthy_policy unhealthy_policy;
    bool unhealthy_policy_set; /**< false: the runtime's policy */
} parley_peer_options;

/** Fills `options` with the defaults. */
PARLEY_API void parley_peer_options_init(parley_peer_options *options);

/** A peer named in the configuration. */
typedef struct parley_peer_entry {
    const char *id;
    const char *url; /**< NULL: the peer connects to us */
    parley_peer_options options;
} parley_peer_entry;

/**
 * Everything a runtime can be told. Each number is a key of conf/peer_service.yaml, which
 * says what it does, its range and its default.
 */
typedef struct parley_options {
    size_t size;

    /* node */
    const char *node_id;     /**< 1..128 bytes of [A-Za-z0-9._:-]; NULL: the host name */
    const char *listen_host; /**< numeric address; NULL: does not listen */
    uint32_t listen_port;    /**< 0: any free port, see parley_port() */
    bool accept_websocket;   /**< false: the server answers upgrades with 404 */

    /* runtime */
    uint32_t workers; /**< 0: one per online CPU */
    uint32_t mailbox_messages_max;
    uint64_t mailbox_bytes_max;
    uint64_t memory_bytes_max; /**< accepted messages of the whole runtime */
    uint32_t run_messages_max; /**< messages one actor handles before the next one's turn */
    uint32_t run_time_us;      /**< and the time it may take for them */
    uint32_t peers_max;
    uint32_t thread_stack_bytes; /**< 0: the system's default */
    bool thread_pin;             /**< pin worker i to CPU i */

    /* transport */
    parley_preference preference;
    uint32_t ttl_ms;                /**< time a message has to get its result */
    uint32_t chunk_threshold_bytes; /**< longer payloads go to older peers in chunks */

    /* transport.websocket */
    bool websocket_enabled; /**< false: as PARLEY_HTTP_ONLY */
    uint32_t connect_timeout_ms;
    uint32_t connect_grace_ms; /**< how long a message waits for a dial before HTTP takes it */
    uint32_t reconnect_min_ms;
    uint32_t reconnect_max_ms;
    uint32_t reconnect_attempts; /**< after these, one probe a minute or the next send */
    uint32_t heartbeat_interval_ms;
    uint32_t heartbeat_grace_ms;
    uint32_t ack_timeout_ms; /**< silence of an older peer before a message counts as sent */
    uint32_t batch_bytes_max;
    uint32_t in_flight_max;
    bool parley_protocol; /**< false: neither offers nor uses parley/1 */

    /* transport.http */
    uint32_t http_attempts;
    uint32_t http_backoff_ms;
    uint32_t http_connect_timeout_ms;
    uint32_t http_timeout_ms;
    uint32_t http_in_flight_max;
    uint32_t http_response_bytes_max;

    /* health */
    uint32_t unhealthy_after; /**< failures in a row; one success makes healthy again */
    parley_probing health_http;
    uint32_t health_timeout_ms;
    parley_unhealthy_policy unhealthy_policy;

    /* breaker */
    uint32_t breaker_failures; /**< in a row, after which a peer is left alone; 0: never */
    uint32_t breaker_open_ms;
    uint32_t breaker_trials;    /**< calls under way at once when it is tried again */
    uint32_t breaker_successes; /**< of them, after which all is as before */

    /* security */
    const char *jwt_secret;    /**< that callers' tokens are signed with; NULL: no tokens */
    bool token_in_query;       /**< accept a token as `token=` in the URL, too */
    bool tokens_required;      /**< callers have to show a token, also without `jwt_secret` */
    const char *identity_file; /**< this node's private key, as parley_key_create() writes
                                    it; NULL: none, nothing is signed */
    const char *trusted_keys_dir; /**< of files ENTITY.pub; NULL: none */
    parley_signatures signatures;
    parley_sessions sessions;
    const char *state_dir; /**< where what must survive a restart is kept; NULL: nowhere */
    uint32_t clock_skew_s;
    uint32_t nonce_window_s;
    uint32_t rekey_s;          /**< how long a session seals with the same keys; no longer
                                    than three quarters of secure_session_s */
    uint32_t rekey_frames;     /**< … and how many frames in either direction */
    uint32_t secure_session_s; /**< a session without new keys ends after that */

    /* limits */
    uint32_t message_bytes_max;
    uint32_t json_depth_max;
    uint32_t connections_max;
    uint32_t guests_max;
    uint32_t session_idle_s; /**< how long an inbound session outlives its connection */
    uint32_t nonces_max;     /**< message ids and nonces remembered of one older sender */
    uint32_t connection_bytes_max; /**< of one connection, not handled or not read yet */

    /* limits.rates: what one sender may send, by kind */
    parley_rates rates;
    uint32_t rate_handshake_per_min, rate_handshake_burst;
    uint32_t rate_heartbeat_per_min, rate_heartbeat_burst;
    uint32_t rate_task_per_min, rate_task_burst;
    uint32_t rate_discovery_per_min, rate_discovery_burst;
    uint32_t rate_chunk_per_min, rate_chunk_burst;
    uint32_t transfer_bytes_max, transfer_chunks_max; /**< of a payload in chunks */
    uint32_t transfers_max,
        transfer_idle_s;                /**< unfinished ones of a sender; forgotten then */
    uint64_t transfer_memory_bytes_max; /**< of all unfinished ones */

    /* peers */
    const parley_peer_entry *peers;
    size_t peers_len;

    /* not in the file */
    const uint8_t *identity_seed; /**< 32 random bytes in place of `identity_file`: the private
                                       key itself. Copied; the caller's to wipe. NULL: none */
    parley_message_fn on_message; /**< as parley_on_message() with NULL `type` sets it, but
                                       there before the first connection; may be NULL */
    void *on_message_user;
    const parley_allocator *allocator; /**< NULL: malloc */
    parley_log_fn log;                 /**< NULL: silent */
    void *log_user;
    parley_log_level log_level;
} parley_options;

/** Fills `options` with the defaults, which are those of conf/peer_service.yaml. */
PARLEY_API void parley_options_init(parley_options *options);

/** Options read from a file, and the memory they live in. */
typedef struct parley_config parley_config;

/**
 * Reads a YAML configuration, then PARLEY_… environment overrides.
 *
 * @param path      file to read; NULL: defaults and environment only
 * @param error     receives "file:line:column: key: expected …" when the result is
 *                  PARLEY_ECONFIG or PARLEY_ESYSTEM; may be NULL
 * @param error_len bytes at `error`; 512 holds every message whole
 * @return PARLEY_OK; PARLEY_ECONFIG (unknown key, wrong type, out of range, not YAML);
 *         PARLEY_ESYSTEM (the file cannot be read); PARLEY_ENOMEM
 * Blocks on the file system. Free with parley_config_free().
 */
PARLEY_API parley_status parley_config_load(const char *path, char *error, size_t error_len,
                                            parley_config **ret_config);

/**
 * Sets one key as the file would ("transport.http.attempts", "5"), as command line flags do.
 *
 * @return PARLEY_OK; PARLEY_ECONFIG (unknown key or bad value, told in `error`); PARLEY_ENOMEM
 * Thread: one at a time per configuration.
 */
PARLEY_API parley_status parley_config_set(parley_config *config, const char *key,
                                           const char *value, char *error, size_t error_len);

/** Returns the options; they live as long as `config`. */
PARLEY_API parley_options *parley_config_options(parley_config *config);

/**
 * Tells one setting of a configuration.
 *
 * @param key   as parley_config_set() takes it; a peer's: "peers[0].url"
 * @param value as the file would say it, without quotes; NULL: unset. Valid during the call
 * @param text  whether the value is text, to be quoted where that matters; a secret is told
 *              as asterisks
 * @param about one line: what the setting does, and its unit
 */
typedef void (*parley_setting_fn)(const char *key, const char *value, bool text,
                                  const char *about, void *user);

/** Calls `each` for every setting in effect, in the order of conf/peer_service.yaml. */
PARLEY_API void parley_config_each(const parley_config *config, parley_setting_fn each,
                                   void *user);

/** Frees a configuration. NULL is allowed. */
PARLEY_API void parley_config_free(parley_config *config);

/* ---- Keys -------------------------------------------------------------------------- */

/** The public half of an identity, as text. */
typedef struct parley_key {
    char public_key[65];  /**< Ed25519, in hex: what peers' public_key wants */
    char fingerprint[51]; /**< "SHA256:…", as ssh prints it: for people to compare */
} parley_key;

/**
 * Makes an identity from 32 random bytes and writes it to a file (PKCS#8 PEM, mode 0600) for
 * parley_options.identity_file. The file is there whole or not at all.
 *
 * @param overwrite replace a file that exists: who trusted its key trusts nobody then
 * @param error     receives "PATH: reason"; may be NULL
 * @param ret_key   may be NULL
 * @return PARLEY_OK; PARLEY_EEXIST; PARLEY_ESYSTEM; PARLEY_ENOMEM
 * Blocks on the file system.
 */
PARLEY_API parley_status parley_key_create(const char *path, bool overwrite, char *error,
                                           size_t error_len, parley_key *ret_key);

/**
 * Reads the public half of such a file, which has to be one that a runtime would take.
 *
 * @return PARLEY_OK; PARLEY_ECONFIG (link, owner, mode, size, not an Ed25519 key);
 *         PARLEY_ESYSTEM (cannot be read); PARLEY_ENOMEM
 * Blocks on the file system.
 */
PARLEY_API parley_status parley_key_read(const char *path, char *error, size_t error_len,
                                         parley_key *ret_key);

/* ---- Runtime ----------------------------------------------------------------------- */

/**
 * Starts a runtime: workers, HTTP worker, listener, and the peers of `options`.
 *
 * @param options   NULL: the defaults
 * @param error     receives one line that names the setting at fault; may be NULL
 * @param error_len bytes at `error`
 * @return PARLEY_OK; PARLEY_EINVAL (a setting is out of range); PARLEY_EADDRINUSE,
 *         PARLEY_EADDR (listen address); PARLEY_EURL, PARLEY_EEXIST (a peer entry);
 *         PARLEY_ECONFIG (a key file, or two keys for one peer); PARLEY_ENOMEM;
 *         PARLEY_ESYSTEM (threads, descriptors, or a key file that cannot be read)
 * Blocks until the listener accepts. Not inside a callback: PARLEY_EDEADLK.
 */
PARLEY_API parley_status parley_open(const parley_options *options, char *error,
                                     size_t error_len, parley **ret_runtime);

/**
 * Reads the keys again while the runtime runs: identity_file (or identity_seed) and
 * trusted_keys_dir of `options`, and the public_key of those of its peers that the runtime
 * has. Everything else in `options` is only checked. Where anything is wrong nothing changes.
 *
 * @param options as for parley_open()
 * @param error   receives one line that names the setting and the file at fault; may be NULL
 * @return PARLEY_OK; PARLEY_EINVAL, PARLEY_EURL, PARLEY_ECONFIG (a setting or a key file);
 *         PARLEY_ESYSTEM (a file cannot be read); PARLEY_ENOMEM; PARLEY_EDEADLK (inside a
 *         callback); PARLEY_EFORK
 * Blocks on the file system.
 */
PARLEY_API parley_status parley_reload_keys(parley *runtime, const parley_options *options,
                                            char *error, size_t error_len);

/**
 * Stops accepting messages (PARLEY_ECLOSED) and waits until every accepted one has its
 * result, for `timeout_ms` at most. The runtime still receives. Calling it again goes on
 * waiting. A parley_send() under way on another thread may still be accepted: it gets its
 * result like any other, but is not waited for.
 *
 * @param ret_left messages without a result when it returned; may be NULL
 * @return PARLEY_OK (none is left); PARLEY_ETIMEDOUT; PARLEY_EDEADLK (inside a callback);
 *         PARLEY_EFORK
 * Blocks.
 */
PARLEY_API parley_status parley_drain(parley *runtime, uint32_t timeout_ms, size_t *ret_left);

/**
 * Closes the runtime: messages without a result end as PARLEY_CANCELLED, connections are
 * closed, threads joined, memory freed. When it returns no callback runs or will run.
 *
 * @return PARLEY_OK; PARLEY_EDEADLK (inside a callback; nothing happened);
 *         PARLEY_EFORK (a forked child: nothing is freed)
 * Blocks until the host's callbacks have returned; until then it gives the other sides half a
 * second, twice at most, to take note that connections end, and waits for a look-up of a host
 * name that is under way. NULL is allowed. No other call on `runtime` may be under way or
 * follow.
 */
PARLEY_API parley_status parley_close(parley *runtime);

/** Returns the port the runtime listens on, 0 when it does not listen. */
PARLEY_API uint16_t parley_port(const parley *runtime);

/** Returns the node id; it lives as long as the runtime. */
PARLEY_API const char *parley_node_id(const parley *runtime);

/* ---- Peers ------------------------------------------------------------------------- */

/**
 * Adds a peer. Nothing is connected until the first message or parley_connect().
 *
 * @param id      1..128 bytes of [A-Za-z0-9._:-]
 * @param url     http, https, ws or wss, with host, optional port and path prefix; without
 *                credentials, query or fragment. NULL: reached when it connects to us
 * @param options NULL: the defaults
 * @return PARLEY_OK; PARLEY_EINVAL (id or options); PARLEY_EURL; PARLEY_EEXIST; PARLEY_ECONFIG
 *         (security.trusted_keys_dir has another key for it);
 *         PARLEY_ELIMIT (peers_max); PARLEY_ECLOSED; PARLEY_ENOMEM; PARLEY_EFORK
 * Source: transport/PROTOCOL.md, Addresses.
 */
PARLEY_API parley_status parley_peer_add(parley *runtime, const char *id, const char *url,
                                         const parley_peer_options *options,
                                         parley_peer *ret_peer);

/** Finds a peer by id: PARLEY_OK, PARLEY_EUNKNOWN or PARLEY_EINVAL. */
PARLEY_API parley_status parley_peer_find(parley *runtime, const char *id,
                                          parley_peer *ret_peer);

/**
 * Removes a peer: new messages get PARLEY_ECLOSED, its pending ones end as
 * PARLEY_CANCELLED, its connection is closed. All of it happens after the call returned.
 * The id may be added again at once.
 *
 * @return PARLEY_OK; PARLEY_EUNKNOWN; PARLEY_EFORK
 */
PARLEY_API parley_status parley_peer_remove(parley *runtime, parley_peer peer);

/**
 * Opens the peer's WebSocket now rather than with the first message. Does nothing when it
 * is open or being opened. Watch parley_on_peer_state() for the outcome.
 *
 * @return PARLEY_OK; PARLEY_EUNKNOWN; PARLEY_EREFUSED (the preference forbids WebSocket, or
 *         the peer has no URL); PARLEY_ENOMEM; PARLEY_EFORK
 */
PARLEY_API parley_status parley_connect(parley *runtime, parley_peer peer);

/**
 * Closes the peer's WebSocket. Unacknowledged messages go out again by the peer's
 * preference; the next message may connect anew.
 *
 * @return PARLEY_OK; PARLEY_EUNKNOWN; PARLEY_ENOMEM; PARLEY_EFORK
 */
PARLEY_API parley_status parley_disconnect(parley *runtime, parley_peer peer);

typedef enum parley_peer_state {
    PARLEY_PEER_IDLE = 0,       /**< no WebSocket, none being opened */
    PARLEY_PEER_CONNECTING = 1, /**< being opened */
    PARLEY_PEER_OPEN = 2,       /**< open and greeted */
    PARLEY_PEER_BACKOFF = 3,    /**< failed; the next attempt is scheduled */
} parley_peer_state;

/** Returns "idle", "connecting", "open" or "backoff". */
PARLEY_API const char *parley_peer_state_name(parley_peer_state state);

/**
 * Tells of a peer's new state.
 *
 * @param reason why, in words; "" when there is nothing to say; valid during the call
 */
typedef void (*parley_state_fn)(parley_peer peer, const char *id, parley_peer_state state,
                                bool healthy, const char *reason, void *user);

/** Sets the one observer of peer states; NULL: none. PARLEY_OK or PARLEY_EFORK. */
PARLEY_API parley_status parley_on_peer_state(parley *runtime, parley_state_fn observer,
                                              void *user);

/** Tells that a peer which answered PARLEY_EAGAIN has fallen under half of its bound, or that
 *  the runtime has room again. Another thread may have taken it by then: then it tells again.
 */
typedef void (*parley_writable_fn)(parley_peer peer, void *user);

/** Sets the one observer of writability; NULL: none. PARLEY_OK or PARLEY_EFORK. */
PARLEY_API parley_status parley_on_writable(parley *runtime, parley_writable_fn observer,
                                            void *user);

/** The answer to a ping, or why there was none. Valid during the callback. */
typedef struct parley_pong {
    size_t size;
    parley_peer peer;
    parley_transport transport;
    parley_status
        status;          /**< PARLEY_OK; PARLEY_EUNREACHABLE; PARLEY_ETIMEDOUT; PARLEY_EREFUSED
                              (an answer that says no); PARLEY_EPROTO; PARLEY_ECLOSED (peer
                              removed, connection or runtime closed); PARLEY_ENOMEM */
    uint32_t http_code;  /**< 0: none came */
    uint64_t latency_ns; /**< from the request to its answer */
    const char *detail;  /**< in words; "" when there is nothing to say */
} parley_pong;

typedef void (*parley_pong_fn)(const parley_pong *pong, void *user);

/**
 * Asks whether a peer is there, as ping(8) does: over HTTP by GET of its /health, over
 * WebSocket by a ping on its connection, which is opened if need be. It counts as a sign of
 * life, or as a failure, of the peer.
 *
 * @param transport  which way
 * @param timeout_ms time for the answer, connecting included; at least 1
 * @param done       runs exactly once if and only if the result is PARLEY_OK, on a worker,
 *                   never inside this call
 * @return PARLEY_OK; PARLEY_EINVAL (no transport, timeout or `done`); PARLEY_EUNKNOWN;
 *         PARLEY_EREFUSED (the peer has no address, or its preference or dialect forbids this
 *         transport); PARLEY_ELIMIT (65,536 pings are unanswered); PARLEY_ENOMEM; PARLEY_EFORK
 * Thread: any. Never blocks.
 * Source: transport/PROTOCOL.md, Endpoints; RFC 6455, 5.5.2.
 */
PARLEY_API parley_status parley_ping(parley *runtime, parley_peer peer,
                                     parley_transport transport, uint32_t timeout_ms,
                                     parley_pong_fn done, void *user);

/* ---- Sending ----------------------------------------------------------------------- */

/** Tells how much of a message in chunks is acknowledged, some ten times a second at most; of
 *  any, when it is delivered. `done` falls when the receiver lost some; `user`: as sent. */
typedef void (*parley_progress_fn)(parley_id id, uint64_t done, uint64_t bytes, void *user);

/** One message to post. */
typedef struct parley_message {
    size_t size;
    const char *type;    /**< 1..64 bytes of [A-Za-z0-9._:-]; "" and control types refused */
    const char *payload; /**< JSON text of one object */
    size_t payload_len;  /**< bytes at `payload` */
    uint32_t ttl_ms;     /**< 0: the peer's setting */
    parley_hint hint;
    bool in_order; /**< if it travels in chunks: what is posted later waits for its end */
    parley_progress_fn progress;
} parley_message;

/** Fills `message` with the defaults and these three members. */
PARLEY_API void parley_message_init(parley_message *message, const char *type,
                                    const char *payload, size_t payload_len);

/** What became of one accepted message. Valid during the callback. */
typedef struct parley_result {
    size_t size;
    parley_id id;
    parley_peer peer;
    parley_outcome outcome;
    parley_transport transport; /**< the last one that carried it */
    uint32_t attempts;          /**< times it was put on a transport */
    uint32_t http_code;         /**< of the last HTTP answer, 0: none */
    uint64_t latency_ns;        /**< from the post to this result */
    const char *detail;         /**< why, "" when there is nothing to say */
    bool maybe_duplicate;       /**< a peer without once-only delivery may have run it twice */
} parley_result;

typedef void (*parley_result_fn)(const parley_result *result, void *user);

/**
 * Posts one message to a peer's mailbox.
 *
 * The message is copied. Messages of one thread to one peer are handled by the peer in the
 * order of these calls. A payload beyond message_bytes_max (to an older peer, beyond
 * chunk_threshold_bytes) travels in chunks, with one result for the whole; messages posted
 * later may be handled before it, unless it is `in_order`. Beyond message_bytes_max it takes
 * three quarters of the mailbox's bytes at most, so that one larger than these is accepted.
 *
 * @param done   runs exactly once if and only if the message was accepted, on a worker,
 *               never inside this call; may be NULL
 * @param user   given to `done`
 * @param ret_id names the message; may be NULL
 * @return PARLEY_OK (accepted); PARLEY_EINVAL (type, hint, or payload not one JSON object);
 *         PARLEY_ETOOBIG (beyond transfer_bytes_max, the mailbox or the runtime's memory);
 *         PARLEY_EAGAIN (mailbox or runtime full: wait for parley_on_writable());
 *         PARLEY_EUNREACHABLE (the peer is unhealthy and its policy is to reject: nothing was
 *         accepted); PARLEY_EUNKNOWN (never a peer of this runtime); PARLEY_ECLOSED (removed,
 *         draining); PARLEY_ENOMEM; PARLEY_EFORK
 * Makes no system call and takes no lock.
 * Source: transport/PROTOCOL.md, The envelope.
 */
PARLEY_API parley_status parley_send(parley *runtime, parley_peer peer,
                                     const parley_message *message, parley_result_fn done,
                                     void *user, parley_id *ret_id);

/**
 * Posts one message to every peer but those in `except`. Each peer's copy has its own
 * result.
 *
 * @param ret_accepted copies accepted; may be NULL
 * @return PARLEY_OK (every copy was accepted, also when there is no peer); otherwise the
 *         first refusal's status, the other copies being posted all the same
 */
PARLEY_API parley_status parley_broadcast(parley *runtime, const parley_message *message,
                                          const parley_peer *except, size_t except_len,
                                          parley_result_fn done, void *user,
                                          size_t *ret_accepted);

/* ---- Receiving --------------------------------------------------------------------- */

/**
 * Sets the handler of one type; NULL `type`: of all types without one of their own; NULL
 * `handler`: none. Without a handler a message is accepted and counted as unhandled.
 * Between parleys a handler runs once per message while this process lives.
 *
 * @return PARLEY_OK; PARLEY_EINVAL (type); PARLEY_ENOMEM; PARLEY_EFORK
 * A message being handled meanwhile may still meet the former handler. A node that
 * listens may receive before this call: give it parley_options.on_message for that time.
 */
PARLEY_API parley_status parley_on_message(parley *runtime, const char *type,
                                           parley_message_fn handler, void *user);

/**
 * Answers a message whose handler returned PARLEY_LATER. A second answer does nothing.
 *
 * @param status PARLEY_OK: accept; anything else: reject
 * @param detail the reason of a rejection; NULL: the status's text
 * @return PARLEY_OK; PARLEY_EUNKNOWN (its session is gone); PARLEY_ENOMEM; PARLEY_EFORK
 */
PARLEY_API parley_status parley_message_finish(parley *runtime, parley_token token,
                                               parley_status status, const char *detail);

/* ---- Statistics -------------------------------------------------------------------- */

/* X(member, unit, description): counters since the start, then gauges */
#define PARLEY_STATS_MAP(X)                                                          \
    X(accepted, "messages", "taken into a mailbox and seen by its actor")            \
    X(delivered, "messages", "acknowledged by the peer")                             \
    X(delivered_ws, "messages", "of these, over WebSocket")                          \
    X(delivered_http, "messages", "of these, over HTTP")                             \
    X(sent, "messages", "handed to peers that never acknowledge")                    \
    X(rejected, "messages", "refused by the peer")                                   \
    X(exhausted, "messages", "no transport or attempt left")                         \
    X(expired, "messages", "deadline passed")                                        \
    X(cancelled, "messages", "cancelled by the host")                                \
    X(pending, "messages", "accepted, without a result yet (gauge)")                 \
    X(resent, "messages", "put on a transport more than once")                       \
    X(wire_bytes_out, "bytes", "frames and HTTP bodies sent")                        \
    X(ws_connects, "connections", "WebSockets opened to peers")                      \
    X(ws_reconnects, "connections", "of these, after one had been lost")             \
    X(ws_connect_failures, "dials", "WebSockets that could not be opened")           \
    X(http_requests, "requests", "HTTP requests sent")                               \
    X(http_failures, "requests", "of these, without an answer or with 5xx")          \
    X(handled, "messages", "inbound messages whose handler took or refused them")    \
    X(unhandled, "messages", "inbound messages no handler was set for")              \
    X(repeats, "messages", "inbound messages recognised as repeats")                 \
    X(sequence_gaps, "events", "numbers left out by older senders")                  \
    X(handler_rejected, "messages", "inbound messages refused by their handler")     \
    X(protocol_errors, "events", "malformed frames and requests")                    \
    X(rate_limited, "events", "times that a sender was told or made to wait")        \
    X(ws_connections_accepted, "connections", "WebSockets accepted")                 \
    X(http_requests_accepted, "requests", "HTTP requests answered")                  \
    X(ws_connections, "connections", "open WebSockets, both directions (gauge)")     \
    X(inbound_sessions, "sessions", "senders' sessions remembered (gauge)")          \
    X(peers, "peers", "peers added (gauge)")                                         \
    X(peers_connecting, "peers", "of these, with a WebSocket being opened (gauge)")  \
    X(peers_open, "peers", "of these, with an open WebSocket (gauge)")               \
    X(peers_backoff, "peers", "of these, waiting to dial again (gauge)")             \
    X(peers_unhealthy, "peers", "of these, failing again and again (gauge)")         \
    X(breakers_open, "breakers", "peers' HTTP or dials that are left alone (gauge)") \
    X(breaker_opens, "events", "times that one was left alone")                      \
    X(health_probes, "requests", "peers asked for their /health unasked")

typedef struct parley_stats {
    size_t size;
#define PARLEY_STATS_MEMBER_(member, unit, description) uint64_t member;
    PARLEY_STATS_MAP(PARLEY_STATS_MEMBER_)
#undef PARLEY_STATS_MEMBER_
} parley_stats;

/**
 * Reads the runtime's statistics. Each worker's part is a consistent snapshot, in which
 * accepted = delivered + sent + rejected + exhausted + expired + cancelled + pending.
 *
 * @return PARLEY_OK; PARLEY_EDEADLK (inside a callback); PARLEY_EFORK
 * Blocks until each worker has answered.
 */
PARLEY_API parley_status parley_stats_get(parley *runtime, parley_stats *ret_stats);

/** The same for one peer: members that belong to no peer are 0. Also PARLEY_EUNKNOWN. */
PARLEY_API parley_status parley_peer_stats_get(parley *runtime, parley_peer peer,
                                               parley_stats *ret_stats);

/**
 * Adds members of the host's own to the `application` object of GET /stats.
 *
 * @param buffer receives JSON members without the braces ("\"a\":1,\"b\":2")
 * @return bytes written, at most `len`; 0: nothing to add
 * Runs on any worker, possibly on two at once.
 */
typedef size_t (*parley_stats_fn)(char *buffer, size_t len, void *user);

/** Sets the one such function; NULL: none. PARLEY_OK or PARLEY_EFORK. */
PARLEY_API parley_status parley_on_stats(parley *runtime, parley_stats_fn writer, void *user);

#ifdef __cplusplus
}
#endif

#endif
