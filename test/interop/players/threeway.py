# SPDX-License-Identifier: Apache-2.0
"""The older service's encryption: by identities, and in sessions of its three-way handshake.

Written from PROTOCOL.md ("Payload encryption", "Three messages, with the old service") with
the cryptography package and Python's own hashlib; nothing of the library is used.
"""
import base64
import hashlib
import json
import os
import struct
import uuid
from datetime import datetime, timezone

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from signing import envelope

P = 2 ** 255 - 19


def b64(data):
    return base64.b64encode(data).decode()


def rotated(value, bits):
    return ((value << bits) | (value >> (32 - bits))) & 0xffffffff


def hsalsa20(key):
    """Of the key and 16 zero bytes: what crypto_box_beforenm does to an X25519 result."""
    constants = struct.unpack("<4I", b"expand 32-byte k")
    words = struct.unpack("<8I", key)
    x = [constants[0], *words[:4], constants[1], 0, 0, 0, 0, constants[2], *words[4:],
         constants[3]]

    def quarter(a, b, c, d):
        x[b] ^= rotated((x[a] + x[d]) & 0xffffffff, 7)
        x[c] ^= rotated((x[b] + x[a]) & 0xffffffff, 9)
        x[d] ^= rotated((x[c] + x[b]) & 0xffffffff, 13)
        x[a] ^= rotated((x[d] + x[c]) & 0xffffffff, 18)
    for _ in range(10):
        for lane in ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)):
            quarter(*lane)
        for lane in ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)):
            quarter(*lane)
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def raw(key):
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def session_key(private, public):
    shared = hsalsa20(private.exchange(X25519PublicKey.from_public_bytes(public)))
    return hashlib.sha256(hashlib.sha256(shared).digest() + b"encryption").digest()


def identity_key(signer, public_hex):
    """The key of two identities, both mapped to X25519."""
    seed = signer.key.private_bytes(serialization.Encoding.Raw,
                                    serialization.PrivateFormat.Raw,
                                    serialization.NoEncryption())
    private = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
    y = int.from_bytes(bytes.fromhex(public_hex), "little") & (2 ** 255 - 1)
    u = (1 + y) * pow(1 - y, P - 2, P) % P
    shared = private.exchange(X25519PublicKey.from_public_bytes(u.to_bytes(32, "little")))
    return HKDF(hashes.SHA256(), 32, None, b"e2e-encryption-key").derive(shared)


def by_identity(key, payload, nonce_bytes=16):
    nonce = os.urandom(nonce_bytes)
    text = json.dumps(payload).encode()
    return {"_encrypted_payload": {"ciphertext": b64(AESGCM(key).encrypt(nonce, text, None)),
                                   "nonce": b64(nonce)}}


def open_by_identity(key, payload):
    inner = payload["_encrypted_payload"]
    return json.loads(AESGCM(key).decrypt(base64.b64decode(inner["nonce"]),
                                          base64.b64decode(inner["ciphertext"]), None))


class Session:
    def __init__(self, session_id, key):
        self.id, self.key = session_id, key

    def sealed(self, payload):
        nonce = os.urandom(12)
        text = json.dumps(payload).encode()
        return {"_e2e_encrypted": True, "session_id": self.id,
                "data": b64(AESGCM(self.key).encrypt(nonce, text, None)), "nonce": b64(nonce)}

    def opened(self, payload):
        """None: it cannot be opened."""
        if payload["session_id"] != self.id:
            return None
        try:
            return json.loads(AESGCM(self.key).decrypt(base64.b64decode(payload["nonce"]),
                                                       base64.b64decode(payload["data"]), None))
        except InvalidTag:
            return None


def step(signer, sender, recipient, kind, session_id, payload, **change):
    """An envelope of a handshake: the time in words, the nonce in hex."""
    return envelope(signer, sender, recipient, msg_type=kind, payload=payload,
                    session_id=session_id, nonce=os.urandom(16).hex(),
                    timestamp=datetime.now(timezone.utc).isoformat(), **change)


class Initiator:
    """An old service that begins: start() gives the handshake's payload, finish() checks the
    ack's and gives the confirm's."""

    def __init__(self, signer, peer_hex):
        self.signer, self.peer_hex = signer, peer_hex
        self.handshake_id, self.ephemeral = str(uuid.uuid4()), X25519PrivateKey.generate()
        self.challenge = os.urandom(32).hex()

    def start(self):
        return {"version": "1.0", "session_id": self.handshake_id, "challenge": self.challenge,
                "public_key": self.signer.hex, "supported_versions": ["1.0", "0.3"],
                "capabilities": ["e2e_encryption", "aes_256_gcm", "x25519"],
                "e2e_enabled": True, "e2e_session_id": str(uuid.uuid4()),
                "e2e_ephemeral_key": b64(raw(self.ephemeral.public_key()))}

    def finish(self, ack):
        assert ack["session_id"] == self.handshake_id and ack["public_key"] == self.peer_hex
        assert ack["confirm"] is True and ack["e2e_accepted"] is True
        assert ack["selected_version"] == "1.0"
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.peer_hex)).verify(
            base64.b64decode(ack["challenge_response"]), f'"{self.challenge}"'.encode())
        self.session = Session(ack["e2e_session_id"], session_key(
            self.ephemeral, base64.b64decode(ack["e2e_ephemeral_key"])))
        return {"session_id": self.handshake_id, "confirm": True,
                "timestamp": datetime.now(timezone.utc).isoformat()}


def answer(signer, handshake, e2e_session_id=None, challenge=None):
    """The ack's payload, and the session."""
    ephemeral = X25519PrivateKey.generate()
    session = Session(e2e_session_id or handshake["e2e_session_id"], session_key(
        ephemeral, base64.b64decode(handshake["e2e_ephemeral_key"])))
    challenge = challenge or handshake["challenge"]
    return {"session_id": handshake["session_id"], "public_key": signer.hex,
            "challenge_response": b64(signer.key.sign(f'"{challenge}"'.encode())),
            "selected_version": "1.0", "confirm": True, "e2e_accepted": True,
            "e2e_session_id": session.id,
            "e2e_ephemeral_key": b64(raw(ephemeral.public_key()))}, session
