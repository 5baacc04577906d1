#!/usr/bin/env python3
"""A WebSocket client over HTTP/2 (RFC 8441) of other makers: h2 for the stream, wsproto for the frames.

Sends messages, checks each echo, prints one line of JSON:
{"status": answer, "fields": {…}, "echoed": N, "closed": code or null, "reason": text, "ended": stream ended, "error": text or null}
With --hold it says {"ready": true} after the messages and then stays, sending one message a --hold-every, until the
server closes or the seconds are over. With --slow it reads nothing for that long, and then everything.
--method and --protocol ask for something else than a WebSocket; then the answer's body is in "body".
"""
import argparse
import json
import os
import socket
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.settings
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="host:port")
    parser.add_argument("--path", default="/")
    parser.add_argument("--messages", type=int, default=10)
    parser.add_argument("--sizes", default="0,1,125,126,4096,65535,65536")
    parser.add_argument("--hold", type=float, default=0.0)
    parser.add_argument("--hold-every", type=float, default=0.05)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--subprotocol")
    parser.add_argument("--method", default="CONNECT")
    parser.add_argument("--protocol", default="websocket", help="empty: a plain CONNECT")
    return parser.parse_args()


class Stream:
    """One extended CONNECT."""

    def __init__(self, options):
        self.options, self.result = options, {"status": None, "fields": {}, "echoed": 0, "closed": None, "reason": "",
                                              "ended": False, "enabled": None, "body": "", "error": None}
        host, port = options.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()
        self.stream, self.ws, self.received, self.parts, self.ahead = None, None, [], [], b""

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def step(self, wait=20.0):
        """Reads once and takes in what came; False where nothing came in time."""
        self.socket.settimeout(wait)
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return False
        if not data:
            raise ConnectionError("the connection ended")
        for event in self.h2.receive_data(self.without_goaway(data)):
            self.take(event)
        self.flush()
        return True

    def without_goaway(self, data):
        """h2 takes a GOAWAY for the end of the connection; its streams go on (RFC 9113, section 6.8)."""
        self.ahead += data
        frames = b""
        while len(self.ahead) >= 9 and len(self.ahead) >= 9 + int.from_bytes(self.ahead[:3], "big"):
            length = 9 + int.from_bytes(self.ahead[:3], "big")
            frames += self.ahead[:length] if self.ahead[3] != 7 else b""
            self.ahead = self.ahead[length:]
        return frames

    def take(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            setting = event.changed_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)
            self.result["enabled"] = setting.new_value if setting else self.result["enabled"]
        elif isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers)
            self.result["status"], self.result["fields"] = int(fields.pop(":status")), fields
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if self.ws and event.data:
                self.ws.receive_data(event.data)
                self.frames()
            elif not self.ws:
                self.result["body"] += event.data.decode()
        elif isinstance(event, h2.events.StreamEnded):
            self.result["ended"] = True
        elif isinstance(event, h2.events.StreamReset):
            # Without an error it says that nobody wants the rest of what we might send (RFC 9113, section 8.1).
            if event.error_code != 0:
                self.result["error"] = f"reset with {event.error_code}"
            self.result["ended"] = True

    def frames(self):
        for event in self.ws.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self.parts.append(event.data)
                if event.message_finished:
                    empty = "" if isinstance(event, TextMessage) else b""
                    self.received.append(empty.join(self.parts))
                    self.parts = []
            elif isinstance(event, CloseConnection):
                self.result["closed"], self.result["reason"] = event.code, event.reason or ""
                if self.ws.state is ConnectionState.REMOTE_CLOSING:
                    self.send(self.ws.send(event.response()))
            elif isinstance(event, Ping):
                self.send(self.ws.send(event.response()))

    def send(self, data):
        while data:
            window = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size)
            if window == 0:
                self.step()
                continue
            self.h2.send_data(self.stream, bytes(data[:window]))
            data = data[window:]
            self.flush()

    def open(self):
        while self.result["enabled"] is None:
            self.step()
        options = self.options
        fields = [(":method", options.method), (":scheme", "http"), (":path", options.path), (":authority", options.address)]
        if options.method == "CONNECT" and not options.protocol:
            fields = [(":method", "CONNECT"), (":authority", options.address)]
        elif options.method == "CONNECT":
            fields += [(":protocol", options.protocol), ("sec-websocket-version", "13"), ("origin", "http://a.test")]
        deflate = PerMessageDeflate() if options.deflate else None
        if deflate:
            fields.append(("sec-websocket-extensions", f"{deflate.name}; {deflate.offer()}"))
        if options.subprotocol:
            fields.append(("sec-websocket-protocol", options.subprotocol))
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream, fields, end_stream=options.method != "CONNECT")
        self.flush()
        while self.result["status"] is None and not self.result["ended"]:
            self.step()
        if self.result["status"] == 200 and options.method == "CONNECT" and options.protocol:
            accepted = self.result["fields"].get("sec-websocket-extensions", "")
            extensions = [deflate] if deflate and accepted else []
            if extensions:
                deflate.finalize(accepted)
            self.ws = Connection(ConnectionType.CLIENT, extensions)
        else:
            while not self.result["ended"]:
                self.step()

    def echo(self, number, size):
        content = os.urandom(size)
        sent = content if number % 2 else content.hex()[:size]
        self.send(self.ws.send((BytesMessage if number % 2 else TextMessage)(data=sent)))
        if self.options.slow:
            return
        while not self.received and self.result["closed"] is None:
            self.step()
        if self.received:
            received = self.received.pop(0)
            if received != sent:
                raise ValueError(f"sent {len(sent)}, received {len(received)}")
            self.result["echoed"] += 1

    def converse(self):
        sizes = [int(size) for size in self.options.sizes.split(",")]
        for number in range(self.options.messages):
            self.echo(number, sizes[number % len(sizes)])
        if self.options.slow:
            time.sleep(self.options.slow)
            while len(self.received) < self.options.messages:
                self.step()
            self.result["echoed"] = len(self.received)
        if self.options.hold:
            print(json.dumps({"ready": True}), flush=True)
        until, number = time.monotonic() + self.options.hold, 0
        while time.monotonic() < until and self.result["closed"] is None:
            self.echo(number, 64)
            number += 1
            self.step(self.options.hold_every)
        if self.options.hold and self.result["closed"] is None:
            return
        if self.result["closed"] is None:
            self.send(self.ws.send(CloseConnection(code=1000)))
        if not self.result["ended"]:
            self.h2.end_stream(self.stream)
            self.flush()
        while not self.result["ended"]:
            self.step()


def main():
    stream = Stream(arguments())
    try:
        stream.open()
        if stream.ws:
            stream.converse()
    except Exception as error:  # Whatever it is, it is the result.
        stream.result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(stream.result), flush=True)
    sys.exit(1 if stream.result["error"] else 0)


main()
