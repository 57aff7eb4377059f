"""What models read of a result that says the same twice."""

import mcp_types
import pytest

from tooling.mcp.results import output_of


def text_of(structured: dict[str, object], *texts: str) -> str:
    blocks = [mcp_types.TextContent(type="text", text=text) for text in texts]
    result = mcp_types.CallToolResult(content=[*blocks], structured_content=structured)
    return output_of(result).text


@pytest.mark.parametrize(
    ("structured", "texts"),
    [
        ({"n": 1}, ['{"n": 1}']),
        ({"result": "cup costs 5"}, ["cup costs 5"]),
        ({"content": "hello\n"}, ["hello\n"]),
        ({"result": 5}, ["5"]),
        ({"result": ["a", "b"]}, ["a", "b"]),
        ({"result": [1, 2]}, ["1", "2"]),
        ({"result": {"n": 1}}, ['{"n": 1}']),
    ],
)
def test_a_structured_result_that_a_text_tells_is_not_told_again(
    structured: dict[str, object], texts: list[str]
) -> None:
    assert text_of(structured, *texts) == "\n\n".join(texts)


@pytest.mark.parametrize("structured", [{"n": 1, "m": 2}, {"result": 6}, {}])
def test_a_structured_result_that_no_text_tells_is_told(structured: dict[str, object]) -> None:
    assert text_of(structured, "5").startswith("5\n\n{")
