"""Whether the Redis of REDIS_URL is of a kind that a fleet can use, told before it starts."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import redis
from redis import Redis
from redis.exceptions import (
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from tooling.bounded import blocking_client

from .environment import without_secrets
from .errors import EmbeddedError

OLDEST = (6, 2)  # has XTRIM MINID
OLDEST_TEXT = ".".join(map(str, OLDEST))
PRIMARY = "is a replica, which stores nothing of its own: name its primary."
# What connections report that fail, and what to say of it.
ADVICE = {
    "CERTIFICATE_VERIFY_FAILED": (
        "its certificate is not of an authority that is trusted here, or for another host;"
        " SSL_CERT_FILE names a file with the authorities to trust"
    ),
    "WRONG_VERSION_NUMBER": "it does not speak TLS: the URL must begin with redis://",
    "closed by server": "it closed the connection; if it wants TLS, the URL begins with rediss://",
    "HELLO must be called": "it wants a password, as in redis://:password@host:6379/0",
    "Authentication required": "it wants a password, as in redis://:password@host:6379/0",
    "DB index is out of range": "it has no database with this number",
}


def check_redis(url: str) -> list[str]:
    """Return warnings about the Redis at this URL. Raise EmbeddedError if it cannot be used."""
    place = f"REDIS_URL: {without_secrets(url)}"
    try:
        # The channel layer speaks this protocol.
        client = blocking_client(url, protocol=3)
    except ValueError as exc:
        raise EmbeddedError(f"{place} cannot be read: {exc}") from exc
    with client:
        try:
            info = info_of(client)
            problem = problem_of(info) or missing_of(client)
        except (RedisError, OSError) as exc:
            problem = words_of(exc, uses_tls=url.startswith("rediss:"))
        if problem:
            raise EmbeddedError(f"{place} {problem}")
        warnings = [warning_of(info), full_of(client)]
    return [f"{place} {warning}" for warning in warnings if warning]


def info_of(client: Redis) -> Mapping[str, Any]:
    """Return what the server tells of itself; nothing if this user must not ask."""
    try:
        return client.info()
    except NoPermissionError:
        return {}


def problem_of(info: Mapping[str, Any]) -> str:
    """Return why a fleet can't use a server that tells this of itself; empty if it can."""
    version = str(info.get("redis_version", OLDEST_TEXT))
    if info.get("redis_mode") == "sentinel":
        return "is a Sentinel: name the primary that it watches, or a name that leads there."
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        return (
            "is a cluster, which keeps apart what must change together: use a Redis without cluster"
            " mode, perhaps with replicas."
        )
    if info.get("role") == "slave":
        return PRIMARY
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        return f"has version {version}: at least {OLDEST_TEXT} is needed, or Valkey."
    return ""


def warning_of(info: Mapping[str, Any]) -> str:
    """Return what is wrong with a server that can be used; empty if nothing is."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if info.get("maxmemory") and policy != "noeviction":
        return (
            f"removes keys when its {info['maxmemory']:,} bytes are full (maxmemory-policy"
            f" {policy}): logs of answers, and what counts for limits, may vanish. Set"
            " maxmemory-policy to noeviction."
        )
    return ""


def missing_of(client: Redis) -> str:
    """Return which command that runs need this user may not use; empty if none.

    The commands are tried, because few users may ask what they may.
    """
    name = uuid4().hex
    log, asgi, other = f"fleet:check:{name}", f"asgi:check:{name}", f"fleet:check:{name}:2"
    pipe = client.pipeline(transaction=True)
    pipe.xadd(log, {"events": "[]"}, id="1-0")
    pipe.xtrim(log, minid="1-0", approximate=False)
    pipe.xread({log: "0-0"}, count=1)
    pipe.xrange(log, count=1)
    pipe.xinfo_stream(log)
    pipe.xdel(log, "1-0")
    pipe.zadd(asgi, {"message": 1})
    pipe.zrange(asgi, 0, -1)
    pipe.zcard(asgi)
    pipe.zcount(asgi, 0, 0)
    pipe.zrem(asgi, "other")
    pipe.zremrangebyscore(asgi, 0, 0)
    pipe.bzpopmin(asgi, timeout=1)
    pipe.hset(other, "field", "1")
    pipe.hincrby(other, "field", 1)
    pipe.hincrbyfloat(other, "field", 1)
    pipe.hget(other, "field")
    pipe.hmget(other, ["field"])
    pipe.hdel(other, "none")
    pipe.hgetall(other)
    pipe.pexpire(other, 1000)
    pipe.time()
    pipe.eval("return redis.call('PTTL', KEYS[1]) + redis.call('PTTL', KEYS[2])", 2, log, other)
    pipe.script_load("return 1")
    pipe.delete(log, asgi, other)
    pipe.set(other, "1", nx=True, px=1000)
    pipe.get(other)
    pipe.expire(other, 1)
    pipe.pttl(other)
    pipe.exists(other)
    pipe.getdel(other)
    pipe.sadd(log, "member")
    pipe.smembers(log)
    pipe.scan(match=other, count=1)
    pipe.unlink(log, other)
    try:
        pipe.execute()
    except OutOfMemoryError:
        return ""
    except ReadOnlyError:
        return PRIMARY
    except ResponseError as exc:
        # redis-py puts a sentence about the pipeline before the server's words.
        reply = first_sentence(str(exc).partition(" caused error: ")[2] or str(exc))
        return f"refuses what runs need, on keys such as {log} and {asgi}: {reply}."
    return ""


def full_of(client: Redis) -> str:
    """Return that the server takes nothing more; empty if it does."""
    key = f"fleet:check:{uuid4().hex}"
    try:
        client.set(key, "", px=1000)
    except (RedisError, OSError) as exc:
        return f"stores nothing now: {first_sentence(str(exc))}"
    return ""


def words_of(exc: Exception, *, uses_tls: bool) -> str:
    """Return why a server did not answer as a Redis does."""
    text = str(exc) or type(exc).__name__
    if uses_tls and isinstance(exc, redis.TimeoutError):
        return "does not answer: if it does not speak TLS, the URL must begin with redis://."
    if isinstance(exc, InvalidResponse):
        return "is no Redis: it answers in another protocol."
    found = next((advice for sign, advice in ADVICE.items() if sign in text), "")
    return f"does not answer: {found or first_sentence(text)}."


def first_sentence(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
