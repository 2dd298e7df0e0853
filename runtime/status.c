/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of the public enumerations. Everything comes from the lists in parley.h, so a new
 * status needs no change here. Pure: any thread.
 */
#include "parley.h"

const char *parley_strerror(parley_status status)
{
    switch (status) {
#define TEXT_CASE(name, value, text, retry) \
    case PARLEY_##name:                     \
        return text;
        PARLEY_STATUS_MAP(TEXT_CASE)
#undef TEXT_CASE
    }
    return "unknown status";
}

const char *parley_status_name(parley_status status)
{
    switch (status) {
#define NAME_CASE(name, value, text, retry) \
    case PARLEY_##name:                     \
        return #name;
        PARLEY_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "UNKNOWN";
}

bool parley_status_retry(parley_status status)
{
    static const bool retries[] = {
#define RETRY_ENTRY(name, value, text, retry) [value] = (retry),
        PARLEY_STATUS_MAP(RETRY_ENTRY)
#undef RETRY_ENTRY
    };

    return (size_t)status < sizeof(retries) / sizeof(retries[0]) && retries[status];
}

const char *parley_version(void)
{
    return PARLEY_VERSION;
}

const char *parley_outcome_name(parley_outcome outcome)
{
    switch (outcome) {
    case PARLEY_DELIVERED:
        return "delivered";
    case PARLEY_SENT:
        return "sent";
    case PARLEY_REJECTED:
        return "rejected";
    case PARLEY_EXHAUSTED:
        return "exhausted";
    case PARLEY_EXPIRED:
        return "expired";
    case PARLEY_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

const char *parley_peer_state_name(parley_peer_state state)
{
    switch (state) {
    case PARLEY_PEER_IDLE:
        return "idle";
    case PARLEY_PEER_CONNECTING:
        return "connecting";
    case PARLEY_PEER_OPEN:
        return "open";
    case PARLEY_PEER_BACKOFF:
        return "backoff";
    }
    return "unknown";
}
