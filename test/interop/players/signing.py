# SPDX-License-Identifier: Apache-2.0
"""Ed25519 signatures as the old services make and check them, and as parleys do.

Written from PROTOCOL.md with Python's own json and the cryptography package; nothing of the
library is used.
"""
import base64
import json
import os
import time
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIX = ("payload", "timestamp", "nonce", "sender_id", "msg_type", "version")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


class Signer:
    def __init__(self, seed):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.hex = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()

    def pem(self, path):
        """The key as a file that security.identity_file names."""
        text = self.key.private_bytes(serialization.Encoding.PEM,
                                      serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption())
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        return path

    def over(self, value):
        return base64.b64encode(self.key.sign(canonical(value))).decode()


def holds(hex_key, value, signature):
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(hex_key)).verify(
            base64.b64decode(signature), canonical(value))
    except InvalidSignature:
        return False
    return True


def six(envelope):
    return {key: envelope[key] for key in SIX}


def nonce():
    return base64.b64encode(uuid.uuid4().bytes).decode()


def envelope(signer, sender, recipient, number=1, payload=None, **change):
    """A complete envelope as an old service signs and sends it."""
    value = {"payload": payload if payload is not None else {"n": number},
             "timestamp": time.time(), "nonce": nonce(), "signature": None,
             "encrypted_payload": None, "sender_public_key": None, "jwt_token": None,
             "sender_id": sender, "recipient_id": recipient, "session_id": str(uuid.uuid4()),
             "sequence_num": number, "version": "1.0", "msg_type": "task", **change}
    value["signature"] = signer.over(six(value))
    return value


def bound(message, sender, recipient, session, number, base):
    """What a parley_signature covers of a message in a batch."""
    is_void = message.get("void", False)
    return {"payload": None if is_void else message["payload"],
            "timestamp": message["timestamp"], "nonce": message["nonce"], "sender_id": sender,
            "msg_type": "" if is_void else message["msg_type"],
            "version": message.get("version", "1.0"), "recipient_id": recipient,
            "session_id": session, "sequence_num": number, "base_seq": base,
            "message_id": message.get("message_id", f"{session}:{number}")}


def batch(signer, sender, recipient, session, first, payloads, base=1):
    messages = []
    for number, payload in enumerate(payloads, first):
        message = {"msg_type": "task", "payload": payload, "timestamp": time.time(),
                   "nonce": nonce(), "sender_id": sender}
        message["parley_signature"] = signer.over(
            bound(message, sender, recipient, session, number, base))
        messages.append(message)
    return {"type": "batch", "session_id": session, "base_seq": base, "first_seq": first,
            "messages": messages}
