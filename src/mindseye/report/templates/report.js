// Draws every figure of the page from the JSON beside it, in the layout that fits its width.
"use strict";

const NARROW = 600;
const CONFIG = { responsive: true, displayModeBar: false };

function draw(holder) {
  if (!holder.clientWidth || holder.closest("details:not([open])")) return;
  const width = holder.clientWidth < NARROW ? "narrow" : "wide";
  if (holder.dataset.drawn === width) return;
  holder.dataset.drawn = width;
  const source = document.getElementById(`${holder.id}-${width}`);
  const figure = JSON.parse(source.textContent);
  holder.style.minHeight = `${figure.layout.height}px`;
  Plotly.react(holder, figure.data, figure.layout, CONFIG);
}

const holders = document.querySelectorAll(".figure-holder");
const widths = new ResizeObserver((changes) => changes.forEach((change) => draw(change.target)));
holders.forEach((holder) => {
  draw(holder);
  widths.observe(holder);
});
document.querySelectorAll("details").forEach((details) => {
  details.addEventListener("toggle", () => details.querySelectorAll(".figure-holder").forEach(draw));
});
