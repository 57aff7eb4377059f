"""A small OpenID Connect server on loopback, whose answers a test chooses."""

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, SECRET = "fleet", "secret"


@dataclass
class OidcServer:
    """A server that confirms `person` at once."""

    person: dict[str, Any] = field(default_factory=dict)
    error: str = ""  # what it sends people back with
    token_status: int = 200
    wrong_claims: dict[str, Any] = field(default_factory=dict)  # of the id_token

    def __post_init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.codes: dict[str, dict[str, str]] = {}
        oidc = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                oidc.get(self)

            def do_POST(self) -> None:
                oidc.post(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def reset(self, **person: Any) -> None:
        self.person = person
        self.error, self.token_status, self.wrong_claims = "", 200, {}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/.well-known/openid-configuration":
                respond(request, self.configuration)
            case "/jwks":
                public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
                respond(request, {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]})
            case "/userinfo":
                assert request.headers["Authorization"] == "Bearer access"
                respond(request, self.person)
            case "/authorize":
                self.send_back(request, query)

    @property
    def configuration(self) -> dict[str, Any]:
        places = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "userinfo_endpoint": "userinfo",
            "jwks_uri": "jwks",
        }
        return {
            "issuer": self.url,
            **{name: f"{self.url}/{path}" for name, path in places.items()},
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }

    def send_back(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        assert query["client_id"] == CLIENT_ID
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.codes[code] = query
        answer = {"error": self.error} if self.error else {"code": code}
        request.send_response(302)
        target = f"{query['redirect_uri']}?{urlencode({**answer, 'state': query['state']})}"
        request.send_header("Location", target)
        request.end_headers()

    def post(self, request: BaseHTTPRequestHandler) -> None:
        """Change a code for tokens, once."""
        length = int(request.headers["Content-Length"])
        sent = {
            name: values[0]
            for name, values in parse_qs(request.rfile.read(length).decode()).items()
        }
        credentials = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        asked = self.codes.pop(sent["code"])
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_right = (
            request.headers["Authorization"] == f"Basic {credentials}"
            and sent["redirect_uri"] == asked["redirect_uri"]
            and challenge == asked["code_challenge"]
        )
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": time.time(), "exp": time.time() + 60}
        signed = {**claims, **self.person, **self.wrong_claims}
        tokens = {
            "access_token": "access",
            "token_type": "Bearer",
            "id_token": jwt.encode(signed, self.key, algorithm="RS256", headers={"kid": "1"}),
        }
        respond(request, tokens, self.token_status if is_right else 401)


def respond(request: BaseHTTPRequestHandler, content: Any, status: int = 200) -> None:
    body = json.dumps(content).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
