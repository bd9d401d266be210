"""Questions to a page in the browser, in its own language: who can be reached, and what cannot be read."""

from typing import Final

# How many elements there are that a person may act on; each is marked.
REACHABLE: Final = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, audio")]
    .filter(at => at.checkVisibility() && !at.disabled && at.tabIndex >= 0 && at.getClientRects().length)
    .map(at => { at.dataset.wanted = "yes"; }).length"""
# Each piece of text whose contrast with its background is too low, with both colors.
FAINT: Final = """() => {
    const parts = color => (color.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = at => { for (; at; at = at.parentElement) {
        const color = parts(getComputedStyle(at).backgroundColor);
        if (color.length < 4 || color[3] > 0) return color;
    } return [255, 255, 255]; };
    const found = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const at = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
        if (!text || !at.checkVisibility({opacityProperty: true}) || at.closest("script, style")) continue;
        const style = getComputedStyle(at), svg = at.closest("svg");
        const ink = parts(svg ? style.fill : style.color);
        // A figure is two drawings, one on the other, and the lower one is the paper.
        const paper = svg && svg.closest(".svg-container")?.querySelector("svg");
        const [a, b] = [light(ink), light(behind(paper || at))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5))
            found.add(`${text.slice(0, 40)}: ${ratio.toFixed(2)} of ${svg ? style.fill : style.color}`);
    }
    return [...found];
}"""
