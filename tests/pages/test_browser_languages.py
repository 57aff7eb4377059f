"""A page in a language that is written from right to left, and its script's texts."""

import playwright.async_api
import pytest
from django.test import AsyncClient
from playwright.async_api import expect

from .browsing import MARKS
from .staging import stages

pytestmark = [
    *MARKS,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.django_db(transaction=True),
]


async def test_arabic_page_is_mirrored_and_its_script_speaks_arabic(
    staging: playwright.async_api.Browser, async_client: AsyncClient
) -> None:
    options = {"locale": "ar", "viewport": {"width": 320, "height": 640}}
    async with stages(staging, async_client, reduced_motion="reduce", **options) as stage:
        await stage.open()
        page = stage.page
        await page.locator("#drawer-button").click()
        await page.clock.run_for(500)
        drawer = await page.locator("#sidebar").bounding_box()
        assert drawer is not None
        assert drawer["x"] + drawer["width"] == pytest.approx(320)
        await page.keyboard.press("Escape")

        await stage.begin()

        assert stage.socket is not None
        assert "language=ar" in stage.socket.url
        await expect(page.locator(".question").last).to_have_attribute("aria-label", "السؤال 1")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(overflow) == 0
