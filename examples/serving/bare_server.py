# SPDX-License-Identifier: Apache-2.0
"""HTTP and gRPC that read a request of the wide model and send a reply that was made beforehand:
what a stock client and loopback take, whatever the server. Prints its ports; ends with its input.
"""

import asyncio
import json
import re
import sys

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from examples.serving.servers import WIDE, wide_input

LENGTH = re.compile(r"\r\ncontent-length: *(\d+)")

DATA = np.maximum(wide_input(), 0).tobytes()


def http_reply() -> bytes:
    """The whole of it."""
    head = json.dumps({"model_name": "wide", "model_version": "1", "outputs": [
        {"name": "y", "datatype": "FP32", "shape": WIDE,
         "parameters": {"binary_data_size": len(DATA)}}]}).encode()
    return (f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
            f"Inference-Header-Content-Length: {len(head)}\r\n"
            f"Content-Length: {len(head) + len(DATA)}\r\n\r\n").encode() + head + DATA


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The requests of a connection."""
    reply = http_reply()
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            found = LENGTH.search(head)
            await reader.readexactly(int(found[1]) if found else 0)
            writer.write(reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """One method."""

    reply = service_pb2.ModelInferResponse(model_name="wide", model_version="1", outputs=[
        {"name": "y", "datatype": "FP32", "shape": WIDE}], raw_output_contents=[DATA])

    async def ModelInfer(self, message: object, context: object) -> object:
        """The reply."""
        return self.reply


async def main() -> None:
    """Serve until the input ends."""
    rpc = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    http = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 20)
    print(http.sockets[0].getsockname()[1], port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    http.close()
    await rpc.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
