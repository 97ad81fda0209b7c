"""Takes the README's pictures of the site over the committed results: what `make pictures` runs.

python docs/pictures.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browser import open_browser, why_no_browser  # noqa: E402 - it runs from anywhere
from rollout_bench.site.publish import publish  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1240, "height": 2000}


def main() -> None:
    """Write docs/pictures/front-light.png and front-dark.png."""
    reason = why_no_browser()
    if reason:
        sys.exit(f"no pictures: {reason}")
    with tempfile.TemporaryDirectory() as made, open_browser() as browser:
        page = publish(ROOT / "results", ROOT, say=lambda text: None, folder=Path(made) / "html")
        for scheme in ("light", "dark"):
            tab = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-drawn=all]", state="attached")
            end = tab.locator("#answer").bounding_box()
            clip = {"x": 0, "y": 0, "width": SIZE["width"], "height": end["y"] + end["height"] + 12}
            tab.screenshot(path=PICTURES / f"front-{scheme}.png", clip=clip)
            print(f"docs/pictures/front-{scheme}.png")


if __name__ == "__main__":
    main()
