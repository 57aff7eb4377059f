"""What in a new contract breaks programs that were written for an older one."""

from collections.abc import Iterator
from typing import Any, Literal

from .schemas import Schema

# Programs send a request and get a response: one may take more, the other give more.
type Direction = Literal["sent", "got"]

LOWER, UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")


def breaking(old: Schema, new: Schema) -> list[str]:
    """Return what breaks from one document to the next, as sentences. Both are of one kind."""
    found = list(in_paths(old, new)) if "paths" in old else []
    names = {**definitions(old)}
    taken = sent_names(old)
    for name, schema in names.items():
        after = definitions(new).get(name)
        if after is None:
            found.append(f"{name} is gone")
        else:
            found += in_schema(schema, after, name, "sent" if name in taken else "got")
    return found


def definitions(document: Schema) -> dict[str, Schema]:
    components: dict[str, Any] = document.get("components", {})
    found: dict[str, Schema] = document.get("$defs") or components.get("schemas", {})
    return found


def sent_names(document: Schema) -> set[str]:
    """Return the names of what programs send, with all that this is made of."""
    roots: list[Any] = [document.get("$defs", {}).get("Request", {})]
    for methods in document.get("paths", {}).values():
        roots += [operation.get("requestBody", {}) for operation in methods.values()]
    found: set[str] = {"Request"}
    waiting = roots
    while waiting:
        for name in names_in(waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(definitions(document).get(name, {}))
    return found


def names_in(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(place)}:
            yield place.rpartition("/")[2]
        case dict():
            for each in part.values():
                yield from names_in(each)
        case list():
            for each in part:
                yield from names_in(each)


def in_schema(old: Schema, new: Schema, at: str, direction: Direction) -> Iterator[str]:
    """Yield what breaks within one schema."""
    yield from in_fields(old, new, at, direction)
    yield from in_values(old, new, at, direction)
    if direction == "sent":
        yield from in_bounds(old, new, at)
    for key in ("items", "additionalProperties"):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from in_schema(before, after, f"{at}[]", direction)


def in_fields(old: Schema, new: Schema, at: str, direction: Direction) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name not in after:
            yield f"{at}.{name} is gone"
        else:
            yield from in_schema(schema, after[name], f"{at}.{name}", direction)
    was, must = set(old.get("required", ())), set(new.get("required", ()))
    if direction == "sent":
        for name in sorted(must - was):
            yield f"{at} now requires {name}"
    else:
        for name in sorted((was - must) & set(after)):
            yield f"{at}.{name} may now be missing"


def in_values(old: Schema, new: Schema, at: str, direction: Direction) -> Iterator[str]:
    """Yield values and types that are gone, or that programs don't expect."""
    before, after = kinds_of(old), kinds_of(new)
    for gone in sorted(before - after):
        if direction == "sent" or gone.startswith(('"', "#")) or not after:
            yield f"{at} is no longer {gone}"
    if direction == "got":
        # A program that reads a number is broken by a text; new values of a closed set and new
        # parts of a union are what it must skip.
        for new_kind in sorted(after - before):
            if before and not new_kind.startswith(('"', "#")):
                yield f"{at} may now be {new_kind}"


def kinds_of(schema: Schema) -> set[str]:
    """Return the types, values and names that a schema allows; none if it allows all."""
    match schema:
        case {"$ref": str(place)}:
            return {f"#{place.rpartition('/')[2]}"}
        case {"anyOf": list(schemas)}:
            return set().union(*map(kinds_of, schemas))
        case {"enum": list(values)}:
            return {f'"{value}"' for value in values}
        case {"type": str(kind), "format": str(form)}:
            return {f"{kind} ({form})"}
        case {"type": str(kind)}:
            return {kind}
    return set()


def in_bounds(old: Schema, new: Schema, at: str) -> Iterator[str]:
    for key in LOWER:
        if new.get(key, float("-inf")) > old.get(key, float("-inf")):
            yield f"{at} has a higher {key}: {new[key]}"
    for key in UPPER:
        if new.get(key, float("inf")) < old.get(key, float("inf")):
            yield f"{at} has a lower {key}: {new[key]}"
    if old.get("additionalProperties") is not False and new.get("additionalProperties") is False:
        yield f"{at} takes no other fields any more"


def in_paths(old: Schema, new: Schema) -> Iterator[str]:
    """Yield routes that are gone or ask for more."""
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            at = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{at} is gone"
                continue
            yield from in_operation(before, after, at)


def in_operation(old: Schema, new: Schema, at: str) -> Iterator[str]:
    if gone := set(old["responses"]) - set(new["responses"]):
        yield f"{at} no longer answers with {', '.join(sorted(gone))}"
    if new.get("x-scope") != old.get("x-scope"):
        yield f"{at} now needs the scope {new.get('x-scope')}"
    before = {each["name"]: each for each in old.get("parameters", ())}
    after = {each["name"]: each for each in new.get("parameters", ())}
    for name, parameter in after.items():
        if parameter["required"] and not before.get(name, {}).get("required"):
            yield f"{at} now requires {name}"
    for name, parameter in before.items():
        if name not in after:
            yield f"{at} takes no {name} any more"
        else:
            schema = after[name]["schema"]
            yield from in_schema(parameter["schema"], schema, f"{at} {name}", "sent")
    if "requestBody" in new and "requestBody" not in old:
        yield f"{at} now requires a body"
    for part, direction in (("requestBody", "sent"), ("responses", "got")):
        yield from in_content(old.get(part, {}), new.get(part, {}), at, direction)  # type: ignore[arg-type]


def in_content(old: Any, new: Any, at: str, direction: Direction) -> Iterator[str]:
    """Yield what breaks in schemas that stand in an operation itself, and in its types of media."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    for key, before in old.items():
        if key == "content":
            for media in before.keys() - new.get(key, {}).keys():
                yield f"{at} has no {media} any more"
        if key == "schema" and key in new:
            yield from in_schema(before, new[key], at, direction)
        elif key in new:
            yield from in_content(before, new[key], at, direction)
