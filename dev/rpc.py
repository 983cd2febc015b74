"""The messages between a functions host and its language worker, generated from fnrpc.proto on first import.

`messages` holds the classes, `services` the gRPC stubs. `MAX_MESSAGE_BYTES` is the limit that the real host sets: a
batch of 500 events of 1 MiB must pass.
"""

import grpc

MAX_MESSAGE_BYTES = 2**31 - 1
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]

messages, services = grpc.protos_and_services("dev/fnrpc.proto")
