"use strict";
const SVG = "http://www.w3.org/2000/svg";
const TILES = [
  ["waiting", "texts waiting", d => whole(d.now.waiting_texts)],
  ["running", "batches running", d => whole(d.now.running_batches)],
  ["rate", "texts per second", d => short(d.minute.texts_per_second)],
  ["tokens", "tokens per second", d => short(d.minute.tokens_per_second)],
  ["p50", "p50 of the last minute", d => time(d.minute.p50)],
  ["p95", "p95 of the last minute", d => time(d.minute.p95)],
  ["slo", "target", d => time(d.slo_seconds)],
  ["refused", "refused in the last minute", d => whole(d.minute.refused)],
  ["rows", "texts per batch", d => short(d.minute.batch_rows)],
  ["budget", "budget of a batch, tokens", d => whole(d.now.batch_budget_tokens)],
];
const CHARTS = [
  ["latency", "p95 and p50 of calls, seconds", ["p95", "p50"], true],
  ["texts", "texts answered per second", ["texts"]],
  ["rows", "texts in a batch", ["batch_rows"]],
  ["refused", "calls refused per second", ["refused"]],
];
const known = value => value !== null && value !== undefined;
const whole = value => known(value) ? Math.round(value).toLocaleString("en") : "–";
const short = value => known(value) ? (value < 10 ? value.toFixed(1) : whole(value)) : "–";
const time = value => !known(value) ? "–"
  : value < 1 ? Math.round(value * 1000) + " ms" : value.toFixed(2) + " s";
const element = (name, parent, text) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};
for (const [id, label] of TILES) {
  const tile = element("div", document.getElementById("tiles"));
  tile.className = "tile";
  tile.id = "tile-" + id;
  element("b", tile, "–");
  element("span", tile, label).className = "dim";
}
for (const [id, label] of CHARTS) {
  const chart = element("div", document.getElementById("charts"));
  chart.className = "chart";
  chart.id = "chart-" + id;
  element("h2", chart, label);
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 300 100");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", label);
  chart.append(drawing);
  const scale = element("div", chart);
  scale.className = "scale";
  for (const text of ["5 min ago", "", "now"]) element("span", scale, text);
}
function outline(values, top) {
  let path = "", pen = false;
  values.forEach((value, at) => {
    if (value === null) { pen = false; return; }
    path += (pen ? "L" : "M") + at + " " + (98 - 96 * value / top).toFixed(1);
    if (!pen) path += "h0.5";
    pen = true;
  });
  return path;
}
function draw(id, series, target) {
  const chart = document.getElementById("chart-" + id);
  const drawing = chart.querySelector("svg");
  const top = Math.max(target || 0, ...series.flat().filter(known), 1e-9) * 1.1;
  drawing.replaceChildren();
  series.forEach((values, n) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", outline(values, top));
    if (n) path.setAttribute("class", "second");
    drawing.append(path);
  });
  if (target) {
    const line = document.createElementNS(SVG, "line");
    const y = 98 - 96 * target / top;
    for (const [name, value] of [["x1", 0], ["x2", 300], ["y1", y], ["y2", y]])
      line.setAttribute(name, value);
    drawing.append(line);
  }
  chart.querySelector(".scale").children[1].textContent =
    "top " + (id === "latency" ? time(top) : short(top));
}
function show(data) {
  document.getElementById("model").textContent = data.model;
  document.getElementById("engine").textContent = data.engine;
  const state = document.getElementById("state");
  state.textContent = data.state;
  state.className = "state " + (data.state === "ready" ? "ready" : "bad");
  for (const [id, , value] of TILES)
    document.querySelector("#tile-" + id + " b").textContent = value(data);
  const missed = data.slo_seconds && data.minute.p95 > data.slo_seconds;
  document.getElementById("tile-p95").classList.toggle("miss", Boolean(missed));
  for (const [id, , names, targeted] of CHARTS)
    draw(id, names.map(name => data.seconds[name]), targeted ? data.slo_seconds : 0);
}
async function refresh() {
  try {
    const response = await fetch("live", { cache: "no-store" });
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    const state = document.getElementById("state");
    state.textContent = "no answer";
    state.className = "state bad";
  }
  setTimeout(refresh, document.hidden ? 5000 : 1000);
}
refresh();
