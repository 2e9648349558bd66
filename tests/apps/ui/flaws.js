// What is wrong with the page in front of us: text without contrast (WCAG AA), controls without a name, targets too small to
// touch, headings that skip a level, a page wider than the window.
() => {
  const flaws = [];
  const visible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };

  for (const element of document.querySelectorAll("body *")) {
    const ownText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!ownText || !visible(element) || element.closest(".unseen, .skip")) continue;
    const style = getComputedStyle(element), below = ground(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const found = contrast(over(channels(style.color), below), below);
    if (found < (large ? 3 : 4.5)) flaws.push(`contrast ${found.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  for (const control of document.querySelectorAll("input, textarea, button, a[href], summary, iframe, select")) {
    if (!visible(control)) continue;
    const name = control.getAttribute("aria-label") || control.title || control.textContent.trim()
      || [...(control.labels ?? [])].map((label) => label.textContent.trim()).join(" ");
    if (!name) flaws.push(`no name: ${control.outerHTML.slice(0, 80)}`);
    const box = control.getBoundingClientRect();
    if (control.matches("button, summary, input") && !control.closest(".skip") && (box.width < 20 || box.height < 20))
      flaws.push(`too small to touch: ${control.outerHTML.slice(0, 80)}`);
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!visible(heading)) continue;
    const next = Number(heading.tagName[1]);
    if (next > level + 1) flaws.push(`heading skips a level: ${heading.textContent}`);
    level = next;
  }
  if (document.documentElement.scrollWidth > window.innerWidth) flaws.push(`page is ${document.documentElement.scrollWidth} wide`);
  if (!document.documentElement.lang) flaws.push("no language");
  return flaws;
}
