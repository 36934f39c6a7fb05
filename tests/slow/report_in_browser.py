"""Opens a report in a real browser and looks for what a parser cannot see. By hand:

python tests/slow/report_in_browser.py results/small/report.html OUT

Needs a Chromium (Debian's `chromium`) and `python -m pip install playwright`. Writes a screenshot of the whole page for
each width and colour scheme into OUT, and fails on a request, a console message, a page wider than its window, text
below WCAG's AA contrast, and on text in charts smaller than 8 px.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
WIDTHS = {"desktop": 1280, "phone": 360}
CONTRAST = """() => {
  const channel = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const rgba = c => { const d = document.createElement('canvas'); d.width = d.height = 1; const x = d.getContext('2d')
    x.fillStyle = c; x.fillRect(0, 0, 1, 1); return [...x.getImageData(0, 0, 1, 1).data] }
  const light = c => { const [r, g, b] = rgba(c).map(v => channel(v / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor
    if (rgba(c)[3] === 255) return c } return 'white' }
  const found = []
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue
    const style = getComputedStyle(e), text = e instanceof SVGElement ? style.fill : style.color
    const [a, b] = [light(text), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05)
    if (ratio < 4.5) found.push(`${e.tagName} "${e.textContent.trim().slice(0, 30)}" ${text} on ${behind(e)}: ${ratio.toFixed(2)}`)
  }
  return found
}"""
SMALL = """() => [...document.querySelectorAll('.chart text')].map(e => [e.getBoundingClientRect().height, e.textContent])
  .filter(([height]) => height > 0 && height < 8).map(([height, text]) => `"${text}" is ${height.toFixed(1)} px high`)"""


def main(page_file: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
        for device, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                what = f"{device}-{scheme}"
                context = browser.new_context(
                    viewport={"width": width, "height": 800}, color_scheme=scheme, device_scale_factor=1
                )
                page = context.new_page()
                page.on("console", lambda message, what=what: faults.append(f"{what}: console: {message.text}"))
                page.on("pageerror", lambda error, what=what: faults.append(f"{what}: error: {error}"))
                page.on(
                    "request",
                    lambda request, what=what: faults.extend(
                        [f"{what}: loads {request.url}"] * (not request.url.startswith(("file:", "data:")))
                    ),
                )
                page.goto(page_file.resolve().as_uri())
                wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                if wide[0] > wide[1]:
                    faults.append(f"{what}: {wide[0]} px wide in a window of {wide[1]}")
                faults += [f"{what}: contrast: {told}" for told in page.evaluate(CONTRAST)]
                faults += [f"{what}: {told}" for told in page.evaluate(SMALL)]
                page.screenshot(path=out / f"{what}.png", full_page=True)
                if scheme == "light" and device == "desktop":
                    page.pdf(path=out / "print.pdf", format="A4")
                context.close()
        browser.close()
    print("\n".join(faults) or f"nothing wrong; screenshots are in {out}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
