/* SPDX-License-Identifier: Apache-2.0
 *
 * parley_ping(): asks whether a peer is there.
 */
#include "parley.h"

parley_status parley_ping(parley *runtime, parley_peer peer, parley_transport transport,
                          uint32_t timeout_ms, parley_pong_fn done, void *user)
{
    (void)runtime, (void)peer, (void)transport, (void)timeout_ms, (void)done, (void)user;
    return PARLEY_EREFUSED;
}
