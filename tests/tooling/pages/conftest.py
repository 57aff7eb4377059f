from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tooling.pages.reader import PageReader

from .web import Names, Site, reader


@pytest.fixture(scope="session")
def public_site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


@pytest.fixture(scope="session")
def inside_site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


@pytest.fixture
def public(public_site: Site) -> Site:
    public_site.reset()
    return public_site


@pytest.fixture
def inside(inside_site: Site) -> Site:
    inside_site.reset()
    inside_site.has("/", "<title>secret</title><p>secret of the inside")
    return inside_site


@pytest.fixture
def names() -> Names:
    return Names({"site.example": [["127.0.0.1"]]})


@pytest_asyncio.fixture
async def pages(public: Site, names: Names) -> AsyncIterator[PageReader]:
    made = reader(public, names)
    yield made
    await made.aclose()
