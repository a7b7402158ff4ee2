"use strict";
const byId = id => document.getElementById(id);
const make = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const whole = count => count.toLocaleString("en");
const counted = (count, thing) => whole(count) + " " + thing + (count === 1 ? "" : "s");
const fold = text => text.normalize("NFKC").toLowerCase();

/* Records with their texts: choose a group, search, order. */
function cards() {
  const box = byId("cards"), tools = byId("cards-tools");
  if (!box || !box.children.length) return;
  const all = [...box.children].map(card => ({
    card, groups: card.dataset.groups.split(" "), text: fold(card.textContent),
    value: +card.dataset.value, moved: +card.dataset.moved, file: +card.dataset.file,
  }));
  const search = byId("cards-search"), order = byId("cards-order"), count = byId("cards-count");
  const radios = [...tools.querySelectorAll("input[type=radio]")];
  const compare = {
    file: (a, b) => a.file - b.file,
    rising: (a, b) => a.value - b.value || a.file - b.file,
    falling: (a, b) => b.value - a.value || a.file - b.file,
    up: (a, b) => b.moved - a.moved || a.file - b.file,
    down: (a, b) => a.moved - b.moved || a.file - b.file,
  };
  function show() {
    const chosen = radios.find(radio => radio.checked);
    const sought = fold(search.value.trim());
    let shown = 0;
    all.sort(compare[order.value]);
    for (const one of all) {
      const wanted = (chosen.value === "all" || one.groups.includes(chosen.value))
        && (!sought || one.text.includes(sought));
      one.card.hidden = !wanted;
      shown += wanted;
    }
    box.append(...all.map(one => one.card));
    count.textContent = counted(shown, "record") + " of " + whole(all.length) + ". "
      + (chosen.dataset.note || "");
  }
  function choose(radio) {
    radio.checked = true;
    if (compare[radio.dataset.order]) order.value = radio.dataset.order;
    if (!order.value) order.value = "file";
    show();
  }
  for (const radio of radios) radio.addEventListener("change", () => choose(radio));
  search.addEventListener("input", show);
  order.addEventListener("change", show);
  tools.addEventListener("submit", event => event.preventDefault());
  function jump() {
    const card = location.hash.startsWith("#r-") ? byId(location.hash.slice(1)) : null;
    if (!card) return;
    search.value = "";
    if (card.hidden) choose(radios[0]);
    card.focus();
    card.scrollIntoView();
  }
  addEventListener("hashchange", jump);
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#r-']");
    if (link && link.hash === location.hash) jump();
  });
  tools.hidden = false;
  choose(radios[1] || radios[0]);
  jump();
}

/* All records as numbers: unpack, filter, sort, a page at a time. */
const ROWS = 25, STATES = ["missing", "scored", "failed", "duplicate"];
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}
function columnsOf(data) {
  const columns = [];
  const digits = scale => Math.round(Math.log10(scale));
  const number = (title, values, scale, sign) => columns.push({ title, values, scale,
    show: at => values[at] === null ? "–" : (sign && values[at] > 0 ? "+" : "")
      + (values[at] / scale).toFixed(digits(scale)).replace("-", "−") });
  for (const [at, metric] of data.metrics.entries()) {
    number(metric.name, metric.values, metric.scale);
    if (at === 0 && data.baseline) {
      const both = metric.values.map((_, n) =>
        data.states[n] === "1" && data.baseline_states[n] === "1");
      number("baseline", data.baseline, metric.scale);
      number("difference", metric.values.map((value, n) =>
        both[n] ? value - data.baseline[n] : null), metric.scale, true);
    }
  }
  if (data.words) number("words", data.words, 1);
  return columns;
}
function option(parent, value, text) { parent.append(make("option", text, { value })); }
function labelled(parent, text, control) {
  const label = make("label", text + " ");
  label.append(control);
  parent.append(label);
  return control;
}
function summed(steps) {
  let sum = 0;
  return steps.map(step => sum += step);
}
function table(data) {
  const places = summed(data.steps);
  if (data.id_steps) data.ids = summed(data.id_steps).map(String);
  const columns = columnsOf(data), folded = data.ids.map(fold);
  const tools = byId("records-tools"), pages = byId("records-pages"), box = byId("records-table");
  const state = { sort: -1, falling: false, page: 0, rows: [] };
  const search = labelled(tools, "Search ids", make("input", null,
    { type: "search", id: "records-search", autocomplete: "off" }));
  const filters = [];
  function select(id, title, options, keeps) {
    const control = labelled(tools, title, make("select", null, { id }));
    option(control, "", "all");
    for (const [value, text] of options) option(control, value, text);
    control.addEventListener("change", refresh);
    filters.push(at => !control.value || keeps(at, control.value));
  }
  if (data.states && new Set(data.states).size > 1)
    select("records-state", "State", STATES.map((name, at) => [at, name]),
      (at, value) => data.states[at] === value);
  data.columns.forEach((column, n) => select("records-column-" + n, column.name,
    column.labels.map((label, at) => [at, label]), (at, value) => column.codes[at] === +value));
  const range = columns[0], ends = ["least", "most"].map(name =>
    labelled(tools, range.title + " at " + name, make("input", null,
      { type: "number", step: "any", id: "records-" + name })));
  filters.push(at => (ends[0].value === "" || range.values[at] >= ends[0].value * range.scale - 1e-9)
    && (ends[1].value === "" || range.values[at] <= ends[1].value * range.scale + 1e-9));
  for (const control of [search, ...ends]) control.addEventListener("input", refresh);
  tools.addEventListener("submit", event => event.preventDefault());

  const head = make("tr"), body = make("tbody");
  const titles = [{ title: "id", values: null }, ...columns];
  const cells = titles.map((column, n) => {
    const cell = make("th", null, { scope: "col", class: n ? "n" : "" });
    const button = make("button", column.title, { type: "button" });
    button.addEventListener("click", () => {
      state.falling = state.sort === n ? !state.falling : n > 0;
      state.sort = n;
      refresh();
    });
    cell.append(button);
    head.append(cell);
    return cell;
  });
  const grid = make("table"), top = make("thead");
  top.append(head);
  grid.append(make("caption", "Click a column's name to sort by it"), top, body);
  box.append(grid);
  const back = make("button", "Previous", { type: "button" });
  const on = make("button", "Next", { type: "button" }), where = make("span");
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  pages.append(back, where, on);
  function turn(by) { state.page += by; draw(); }

  function refresh() {
    const sought = fold(search.value.trim());
    state.rows = places.map((_, at) => at).filter(at =>
      (!sought || folded[at].includes(sought)
        || (data.id_chars && sought.startsWith(folded[at]))) && filters.every(keeps => keeps(at)));
    if (state.sort > 0) {
      const values = titles[state.sort].values, sign = state.falling ? -1 : 1;
      state.rows.sort((a, b) => (values[a] === null) - (values[b] === null)
        || sign * (values[a] - values[b]) || a - b);
    } else if (state.falling) state.rows.reverse();
    state.page = 0;
    draw();
  }
  function draw() {
    const from = state.page * ROWS, shown = state.rows.slice(from, from + ROWS);
    cells.forEach((cell, n) => n === state.sort
      ? cell.setAttribute("aria-sort", state.falling ? "descending" : "ascending")
      : cell.removeAttribute("aria-sort"));
    body.replaceChildren(...shown.map(row));
    const last = Math.max(1, Math.ceil(state.rows.length / ROWS));
    byId("records-count").textContent = counted(state.rows.length, "record") + " of "
      + whole(places.length);
    where.textContent = "page " + whole(state.page + 1) + " of " + whole(last);
    back.disabled = state.page === 0;
    on.disabled = state.page + 1 >= last;
    pages.hidden = last === 1;
  }
  function row(at) {
    const line = make("tr"), name = make("th", null, { scope: "row" });
    const id = make("bdi", data.ids[at], { dir: "auto" });
    if (byId("r-" + places[at])) {
      const link = make("a", null, { href: "#r-" + places[at] });
      link.append(id);
      name.append(link);
    } else name.append(id);
    if (data.states && data.states[at] !== "1") name.append(" " + STATES[data.states[at]]);
    line.append(name, ...columns.map(column => make("td", column.show(at), { class: "n" })));
    return line;
  }
  byId("records-without").hidden = true;
  tools.hidden = false;
  refresh();
}

function scrollers() {
  for (const box of document.querySelectorAll(".scroll, pre"))
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight)
      box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
cards();
const held = byId("records-data");
(held ? unpack(held.value).then(table) : Promise.resolve()).finally(() => {
  scrollers();
  document.documentElement.dataset.ready = "yes";
});
addEventListener("resize", scrollers);
