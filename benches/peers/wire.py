"""The few bytes of HTTP and WebSocket that our own loads and upstream need. No sockets, no clocks."""
import base64
import hashlib

COOKIE = "pointsman=5f0c3a9b7d2e4816"  # an id as pointsman hands it out; the peers get it as well
PAYLOAD = b"x" * 32
MESSAGE = bytes([0x81, 0x80 | len(PAYLOAD)]) + bytes(4) + PAYLOAD  # masked, as clients must; the mask is 0
REPLY = bytes([0x81, len(PAYLOAD)]) + PAYLOAD
CLOSE = bytes([0x88, 0x82]) + bytes(4) + (1000).to_bytes(2, "big")
KEY = base64.b64encode(b"pointsman-peers!").decode()


def request(method, path, *lines):
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: {COOKIE}", *lines, "", ""]).encode()


def handshake(path):
    """A request to open a WebSocket."""
    return request("GET", path, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


def accepted(key):
    """The answer to it (RFC 6455, section 4.2.2)."""
    token = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    return ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Accept: {token}\r\n\r\n").encode()


def fields(head):
    """The fields of a head, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def status(head):
    """The status of an answer."""
    return int(head.split(None, 2)[1])
