"""A server that speaks MCP over HTTP, well or badly. Run by its path; it prints its address.

Its first argument is the part that it plays. It speaks the protocol of 2025-06-18.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PART = sys.argv[1]
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = [{"name": name, "description": "Says it.", "inputSchema": OBJECT} for name in ("read",)]
calls = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16

    def log_message(self, *args):
        pass

    def do_GET(self):
        if PART == "endless streams":
            calls.append("GET")
            self.begin(200, "text/event-stream")
            self.wfile.write(b"retry: 0\n\n")
            self.close_connection = True
            return
        self.reply(405, b"", "text/plain")

    def do_DELETE(self):
        if PART == "hangs at the end":
            time.sleep(600)
        self.reply(200, b"", "text/plain")

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, id_ = message.get("method"), message.get("id")
        if PART.startswith("status ") and PART.endswith(" always"):
            return self.reply(int(PART.split()[1]), b"<html>no</html>", "text/html")
        if PART == "redirects":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if PART == "a web page":
            return self.reply(200, b"<html>Sign in</html>", "text/html")
        if PART == "hangs at start":
            time.sleep(600)
        match method:
            case "initialize":
                info = {"name": "player", "version": "1"}
                result = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                }
                return self.answer(id_, result, session="the-session")
            case "tools/list":
                return self.answer(id_, {"tools": TOOLS})
            case "tools/call":
                return self.call(id_, message["params"]["arguments"])
            case _ if id_ is None:
                return self.reply(202, b"", "text/plain")
        body = {"jsonrpc": "2.0", "id": id_, "error": {"code": -32601, "message": "unknown"}}
        return self.reply(400, json.dumps(body).encode(), "application/json")

    def call(self, id_, arguments):
        calls.append("call")
        said = {"content": [{"type": "text", "text": arguments.get("text", "")}]}
        match PART:
            case "large body":
                said["content"][0]["text"] = "x" * 8 * 2**20
            case "large event":
                self.begin(200, "text/event-stream")
                self.wfile.write(b"data: " + b"x" * 8 * 2**20 + b"\n\n")
                self.close_connection = True
                return
            case "endless events" | "endless comments":
                note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message"})
                line = f"data: {note}\n\n" if PART == "endless events" else ": nothing\n"
                self.begin(200, "text/event-stream")
                while True:
                    self.wfile.write(line.encode() * 100)
            case "very many values":
                said["structuredContent"] = {"a": [[]] * 200_000}
            case "very many values in an event":
                self.begin(200, "text/event-stream")
                self.wfile.write(b"data: " + b"[]," * 200_000 + b"\n\n")
                self.close_connection = True
                return
            case "endless empty lines":
                self.begin(200, "text/event-stream")
                while True:
                    self.wfile.write(b"\n" * 100_000)
            case "endless body":
                self.begin(200, "application/json")
                while True:
                    self.wfile.write(b" " * 1000)
            case "ends in a call":
                os._exit(1)
            case "hangs up in a call":
                self.close_connection = True
                return
            case "hangs in a call" if arguments.get("text") == "hang":
                time.sleep(600)
            case "loses the session" if len(calls) == 1:
                self.reply(404, b"no such session", "text/plain")
                return
            case "status 500" | "status 429" | "status 401" | "status 403":
                self.reply(int(PART.split()[1]), b'{"error": "secret words"}', "application/json")
                return
            case "no json":
                self.reply(200, b"{nothing", "application/json")
                return
            case "another id":
                id_ += 1000
            case "compressed":
                self.send_response(200)
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"xx")
                return
            case "resumed":
                self.begin(200, "text/event-stream")
                self.wfile.write(b"id: 1\nretry: 0\ndata:\n\n")
                self.close_connection = True
                return
            case "endless streams":
                said["content"][0]["text"] = str(calls.count("GET"))
            case "tells the key":
                key = self.headers["Authorization"].split()[1]
                said = {"content": [{"type": "text", "text": f"bad key {key}"}], "isError": True}
            case "key alone":
                key = self.headers["Authorization"].split()[1]
                said["content"][0]["text"] = f"for key {key}"
            case "headers":
                said["content"][0]["text"] = json.dumps(dict(self.headers))
        self.answer(id_, said)

    def answer(self, id_, result, session=""):
        body = json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}).encode()
        headers = {"Mcp-Session-Id": session} if session else {}
        self.reply(200, body, "application/json", headers)

    def reply(self, status, body, kind, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, status, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", PORT), Handler)
print(f"http://127.0.0.1:{server.server_port}/mcp", flush=True)
server.serve_forever()
