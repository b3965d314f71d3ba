#include "twingrad/report/page_style.h"

#include <fmt/format.h>

#include "twingrad/report/svg.h"

namespace twingrad {
namespace {

std::string variables(const Palette& palette) {
  return fmt::format("--page:{};--ink:{};--faint:{};--line:{};--right:{};--wrong:{};", palette.page,
                     palette.ink, palette.faint, palette.grid, palette.lines[0], palette.lines[1]);
}

constexpr const char* kRules = R"css(
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 56px 24px 96px; }
h1 { margin: 4px 0 0; font-size: clamp(28px, 5vw, 40px); line-height: 1.15; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { margin: 0 0 8px; font-size: 24px; line-height: 1.25; }
h2 + .figures, h2 + figure, h2 + .scroll, h2 + dl { margin-top: 20px; }
h3 { margin: 0 0 10px; font-size: 16px; line-height: 1.35; }
p { margin: 0 0 12px; max-width: 44em; overflow-wrap: anywhere; }
a { color: var(--right); }
.run { margin: 0; color: var(--faint); font-size: 15px; }
.finding { margin: 20px 0 0; max-width: 36em; font-size: clamp(18px, 2.6vw, 22px); line-height: 1.45; }
.notice { margin: 20px 0 0; padding: 12px 16px; border-left: 4px solid var(--wrong); }
.introduction, figcaption, .note { color: var(--faint); font-size: 15px; }
.introduction { margin-bottom: 24px; }
section { margin-top: 64px; padding-top: 32px; border-top: 1px solid var(--line); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr));
  gap: 40px 48px; }
figure { position: relative; margin: 0; min-width: 0; }
section > figure + figure, section > .figures + * { margin-top: 40px; }
figcaption { margin-top: 8px; max-width: 44em; }
.plot { display: block; width: 100%; max-width: 560px; height: auto; touch-action: pan-y; }
.bar { stroke: var(--page); stroke-width: 1.5; }
.key { display: inline-block; width: 34px; height: 12px; vertical-align: -1px; margin-right: 3px; }
.nothing { padding: 32px 16px; border: 1px dashed var(--faint); color: var(--faint); text-align: center; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 500; }
th:first-child { text-align: left; }
thead th { color: var(--faint); white-space: normal; vertical-align: bottom; line-height: 1.3; }
th.text, td.text { text-align: left; }
td.text { min-width: 8.5em; max-width: 15em; white-space: normal; overflow-wrap: anywhere; }
.confusion { font-size: 14px; }
.confusion th, .confusion td { padding: 5px 7px; border: 1px solid var(--page); }
.confusion td { min-width: 42px; text-align: center; }
.confusion thead th { font-weight: 500; text-align: center; vertical-align: bottom; }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.confusion .right { background: color-mix(in srgb, var(--right) var(--share), transparent); }
.confusion .wrong { background: color-mix(in srgb, var(--wrong) var(--share), transparent); }
.confusion .none { color: var(--faint); }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(204px, 1fr)); gap: 32px 28px;
  margin: 0; padding: 0; list-style: none; }
.mistakes li { font-size: 14px; line-height: 1.4; overflow-wrap: anywhere; }
.mistakes img { display: block; width: 112px; height: 112px; object-fit: contain; margin-bottom: 8px;
  background: #000; image-rendering: pixelated; }
.mistakes strong { display: block; }
.mistakes + figcaption { margin-top: 24px; }
.mistakes div { display: grid; grid-template-columns: 1fr 52px 48px; max-width: 180px;
  margin-top: 2px; font-size: 13px; font-variant-numeric: tabular-nums; }
.mistakes div span { text-align: right; }
.mistakes div span:first-child { text-align: left; color: var(--faint); }
.weights { display: block; width: 100%; max-width: 760px; height: auto; image-rendering: pixelated; }
.scale { display: flex; align-items: center; gap: 10px; margin-top: 12px; font-size: 14px;
  font-variant-numeric: tabular-nums; }
.scale i { flex: 0 1 220px; height: 12px;
  background: linear-gradient(90deg, rgb(0 84 150), rgb(250 250 250), rgb(196 78 0)); }
dl { display: grid; grid-template-columns: minmax(6em, max-content) 1fr; gap: 6px 20px; margin: 0 0 24px; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0 0 24px; padding: 12px 16px; border: 1px solid var(--line); border-radius: 6px;
  font: 14px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
.settings { columns: 300px auto; column-gap: 48px; margin-top: 20px; font-size: 14px; }
.settings div { margin-bottom: 24px; }
.settings h3 { margin-bottom: 6px; break-after: avoid; }
.settings dl { grid-template-columns: 1fr 1fr; gap: 2px 16px; margin: 0; }
.tip { position: absolute; z-index: 1; padding: 8px 10px; border: 1px solid var(--faint); border-radius: 6px;
  background: var(--page); color: var(--ink); font-size: 14px; line-height: 1.4; white-space: nowrap;
  pointer-events: none; font-variant-numeric: tabular-nums; }
.tip[hidden] { display: none; }
.cursor { stroke: var(--faint); stroke-width: 1; pointer-events: none; }
@media (max-width: 480px) {
  main { padding: 32px 16px 64px; }
  section { margin-top: 44px; padding-top: 24px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 10px; }
  .settings dd { margin-bottom: 0; }
  .mistakes { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 28px 16px; }
  .mistakes div { grid-template-columns: 1fr 47px 42px; font-size: 12.5px; }
}
@media print {
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 28px; padding-top: 18px; }
  .figures { grid-template-columns: 1fr 1fr; gap: 20px; }
  figure, .mistakes li, tr, dl { break-inside: avoid; }
  h2, h3, .introduction { break-after: avoid; }
  .mistakes { grid-template-columns: repeat(4, 1fr); }
  .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; height: auto; }
  .tip { display: none; }
  .bar, rect, circle, i, img, td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
)css";

constexpr const char* kScript = R"js("use strict";
for (const svg of document.querySelectorAll("svg.plot")) {
  const numbers = text => text ? text.split(" ").map(Number) : [];
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  svg.after(tip);
  const show = (lines, event) => {
    tip.replaceChildren(...lines.map(text => {
      const line = document.createElement("div");
      line.textContent = text;
      return line;
    }));
    tip.hidden = false;
    const box = svg.parentElement.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 14, svg.parentElement.clientWidth - tip.offsetWidth);
    tip.style.left = Math.max(0, x) + "px";
    tip.style.top = Math.max(0, event.clientY - box.top - tip.offsetHeight - 14) + "px";
  };
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  const hide = () => { tip.hidden = true; cursor.remove(); };
  const curves = [...svg.querySelectorAll(".curve")].map(curve => ({
    name: curve.dataset.name, x: numbers(curve.dataset.x), y: numbers(curve.dataset.y),
    at: curve.getAttribute("d").slice(1).split("L").map(point => Number(point.split(" ")[0])) }));
  const nearest = (places, x) => {
    let best = 0;
    places.forEach((place, i) => { if (Math.abs(place - x) < Math.abs(places[best] - x)) best = i; });
    return best;
  };
  const format = value => Number.isInteger(value) ? value.toLocaleString("en") : String(value);
  const move = event => {
    if (event.target.dataset.value) {
      return show([event.target.dataset.name + " " + event.target.dataset.value], event);
    }
    if (!curves.length) return hide();
    const matrix = svg.getScreenCTM().inverse();
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix).x;
    const frame = numbers(svg.dataset.frame);
    if (x < frame[0] - 20 || x > frame[2] + 20) return hide();
    const first = curves.map(curve => curve.at[nearest(curve.at, x)])
      .reduce((a, b) => Math.abs(b - x) < Math.abs(a - x) ? b : a);
    const near = curves.map(curve => ({ curve, i: nearest(curve.at, first) }))
      .filter(({ curve, i }) => Math.abs(curve.at[i] - first) < 4);
    show([svg.dataset.label + " " + format(near[0].curve.x[near[0].i]),
      ...near.map(({ curve, i }) => curve.name + "  " + format(curve.y[i]))], event);
    for (const [name, value] of [["x1", first], ["x2", first], ["y1", frame[1]], ["y2", frame[3]]]) {
      cursor.setAttribute(name, value);
    }
    svg.append(cursor);
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hide(); });
  document.addEventListener("pointerdown", event => { if (!svg.contains(event.target)) hide(); });
}
)js";

}  // namespace

std::string page_style() {
  return fmt::format(":root {{ {} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {} }} }}\n",
                     variables(kLightPalette), variables(kDarkPalette)) +
         kRules;
}

std::string page_script() { return kScript; }

}  // namespace twingrad
