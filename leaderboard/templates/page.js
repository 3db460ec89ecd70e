// Without this script the page is whole: every panel one below the other, every table in its first order.
// With it one panel is shown, that of the state; the state stands in the address, so that a view can be linked.

const KEYS = ["suite", "pool", "average", "accounting", "run", "split"];
const panels = Object.entries(data.panels).map(([id, told]) => {
  const section = document.getElementById(id);
  const table = section.querySelector("table");
  addButtons(table.tBodies[0]);
  const words = [section.querySelector("h3"), table.caption.firstElementChild];
  const rowsAsBuilt = [...table.tBodies[0].rows].map((row) => row.cloneNode(true));
  return { id, ...told, section, table, words, wordsAsBuilt: words.map((one) => one.textContent), rowsAsBuilt };
});
const form = document.querySelector(".switches");
const slider = document.getElementById("alpha");
const state = { alpha: 0.5, open: new Set(), sorting: null };
// A page without an address opens on the first run, where a wrong answer weighs twice as much as a dear one.
const start = panels.reduce((best, panel) => (panel.of === best.of && panel.split === best.split && Math.abs(panel.alpha - 0.5) < Math.abs(best.alpha - 0.5) ? panel : best), panels[0]);
let shown = null;
let drawing = 0;

// The panel that fits the state best: what was chosen last counts first, then the nearest α (the lower of two).
function choose(last) {
  const keys = last && KEYS.includes(last) ? [last, ...KEYS.filter((key) => key !== last)] : KEYS;
  let left = panels;
  for (const key of keys) {
    const fitting = left.filter((panel) => panel[key] === state[key]);
    if (fitting.length) left = fitting;
  }
  const far = (panel) => Math.round(1e9 * Math.abs(panel.alpha - state.alpha));
  return left.reduce((best, panel) => (far(panel) < far(best) ? panel : best));
}

function show(last) {
  shown = choose(last);
  for (const key of KEYS) if (key !== "accounting") state[key] = shown[key];
  if (!["final", "every_call"].includes(state.accounting)) state.accounting = shown.accounting;
  const mode = state.accounting === shown.accounting ? "own" : state.accounting;
  const rows = evaluate(shown, state.alpha, mode);
  const asBuilt = mode === "own" && same(state.alpha, shown.alpha);
  for (const panel of panels) panel.section.hidden = panel !== shown;
  for (const article of document.querySelectorAll("article")) article.hidden = article.id !== shown.of;
  fillTable(rows, asBuilt, mode);
  tell(rows, asBuilt, mode);
  check();
  clearTimeout(drawing); // while the slider moves, the table follows at once and the plots when it rests
  drawing = setTimeout(() => drawPlots(shown, rows, state.alpha), 60);
}

function check() {
  const scenario = same(state.alpha, shown.alpha) ? shown.scenario : null;
  for (const input of form.querySelectorAll("input[type=radio]")) {
    const chosen = input.name === "scenario" ? scenario : state[input.name];
    input.checked = input.value === chosen;
  }
  slider.value = state.alpha;
  document.getElementById("alpha-told").textContent = decimal(state.alpha, 2);
  slider.setAttribute("aria-valuetext", alphaLabel(state.alpha));
}

// Who decides here as at another α, and what to do about it.
function decisions(rows) {
  const inexact = rows.filter((row) => !row.reference && !row.exact);
  if (!inexact.length) return ["All routers decide as at this α, or do not depend on it."];
  const alphas = [...new Set(inexact.map((row) => row.decided))].sort((a, b) => a - b);
  const told = alphas.map((alpha) => {
    const names = inexact.filter((row) => row.decided === alpha).map((row) => row.name);
    return `${join(names)} ${names.length > 1 ? "decide" : "decides"} here as at ${alphaLabel(alpha)}, the nearest at which that is known.`;
  });
  return [...told, `The others are exact. All are in a run with --alpha ${state.alpha}.`];
}

function tell(rows, asBuilt, mode) {
  const [headline, note] = document.querySelectorAll("#answer p");
  const notes = [];
  if (!same(state.alpha, shown.alpha)) {
    const tested = rows.some((row) => row.group !== null);
    if (tested) notes.push("Intervals, ties and differences here are a normal distribution’s, by the jackknife; at the α of the run they are bootstrapped.");
    else notes.push(`How sure is that? Not known for every router here. At ${alphaLabel(shown.alpha)}, the nearest: ${shown.headline}`);
    notes.push(...decisions(rows));
  }
  if (mode !== "own") notes.push("Costs of easy and hard queries, by task, and p-values are known under the run’s own accounting alone.");
  const leader = rows.find((row) => row.rank === 1);
  if (!asBuilt && leader) {
    const there = same(leader.decided, shown.alpha) ? "" : ` at ${alphaLabel(shown.alpha)}`;
    notes.push(`Where ${leader.name}’s money goes${there}: ${shown.rows[leader.name].spending}.`);
  }
  const charged = { own: "Cost as in the run", final: "Cost of the answering model alone", every_call: "Cost of every call" }[mode];
  const simulated = data.runs[shown.of].simulated ? "Simulated outcomes. " : "";
  const title = `${SPLITS[shown.split] ?? shown.split}, ${alphaLabel(state.alpha)}`;
  const words = asBuilt ? shown.wordsAsBuilt : [title, `${title}. ${simulated}${charged}.`];
  shown.words.forEach((one, i) => (one.textContent = words[i]));
  headline.textContent = asBuilt ? shown.headline : sentence(shown, rows, state.alpha);
  note.textContent = asBuilt ? shown.notes : notes.join(" ");
}

// Put the table as it was built, and where α or accounting is another, write what follows from them anew.
function fillTable(rows, asBuilt, mode) {
  const body = shown.table.tBodies[0];
  const built = new Map(shown.rowsAsBuilt.map((row) => [row.dataset.router, row]));
  const made = rows.map((row) => {
    const tr = built.get(row.name).cloneNode(true);
    if (!asBuilt) rewrite(tr, row, mode, rows);
    return tr;
  });
  body.replaceChildren(...(asBuilt ? shown.rowsAsBuilt.map((row) => row.cloneNode(true)) : made));
  if (state.sorting) sortBy(shown.table, ...state.sorting);
  reopen();
}

function reopen() {
  for (const tr of shown.table.querySelectorAll("tr[data-router]")) {
    if (state.open.has(tr.dataset.router)) toggle(tr, shown, true);
  }
}

function rewrite(tr, row, mode, rows) {
  const at = Object.fromEntries([...shown.table.tHead.rows[0].cells].map((head, i) => [head.dataset.key, tr.cells[i]]));
  const write = (key, value, text, note = "") => {
    if (!at[key]) return;
    if (value === null) delete at[key].dataset.value;
    else at[key].dataset.value = value;
    at[key].replaceChildren(text, ...(note ? [" ", element("small", {}, note)] : []));
  };
  const span = row.interval ? `${decimal(row.interval[0])} to ${decimal(row.interval[1])}` : "";
  if (!row.reference) write("group", row.group, String(row.group ?? "–"));
  write("rank", row.rank, String(row.rank ?? "–"));
  write("utility", row.utility, decimal(row.utility), span);
  if (row.utility !== null) at.utility.append(bar(row, rows));
  write("over", row.over, signed(row.over));
  write("accuracy", row.accuracy, decimal(row.accuracy));
  write("cost", row.cost, decimal(row.cost));
  write("every_call", row.costs.every_call, decimal(row.costs.every_call));
  write("oracle", row.percent, row.percent === null ? "–" : row.percent.toFixed(1).replace("-", "−"));
  if (mode !== "own" || !same(row.decided, shown.alpha)) for (const key of ["easy", "hard"]) write(key, null, "–");
  for (const key of ["published", "difference"]) write(key, null, "–");
  if (!row.exact) at.router.append(" ", element("small", {}, `decides as at ${alphaLabel(row.decided)}`));
}

function bar(row, rows) {
  const ends = rows.flatMap((other) => [other.utility, ...(other.interval ?? [])]).filter((value) => value !== null);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const x = (value) => (100 * (value - low)) / (high - low || 1);
  const make = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const svg = make("svg", { class: "bar", viewBox: "-3 0 106 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(make("path", { class: "axis", d: "M0 4H100" }));
  if (row.interval) svg.append(make("path", { class: "span", d: `M${x(row.interval[0])} 4H${x(row.interval[1])}` }));
  svg.append(make("path", { class: "point", d: `M${x(row.utility)} 0V8` }));
  return svg;
}

function sortBy(table, key, direction) {
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.dataset.key === key);
  if (column < 0) return;
  for (const detail of table.querySelectorAll("tr.detail")) detail.remove();
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value;
  const number = heads[column].classList.contains("number");
  const compare = number ? (a, b) => a - b : (a, b) => a.localeCompare(b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * compare(x, y);
  });
  table.tBodies[0].append(...rows);
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", direction);
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("thead th[data-key]");
  if (head && event.target.closest("button")) {
    const table = head.closest("table");
    const opposite = { ascending: "descending", descending: "ascending" };
    const direction = opposite[head.getAttribute("aria-sort")] ?? head.dataset.first;
    sortBy(table, head.dataset.key, direction);
    if (table === shown?.table) {
      state.sorting = [head.dataset.key, direction];
      reopen();
    }
    return;
  }
  const tr = event.target.closest("tr[data-router]");
  if (!tr || event.target.closest("a") || getSelection().toString()) return;
  const open = !state.open.delete(tr.dataset.router);
  if (open) state.open.add(tr.dataset.router);
  toggle(tr, shown, open);
  remember();
});

function remember() {
  const told = new URLSearchParams();
  for (const key of new Set([...form.elements].map((input) => input.name))) {
    if (KEYS.includes(key)) told.set(key, state[key]);
  }
  told.set("alpha", state.alpha);
  for (const name of state.open) told.append("open", name);
  history.replaceState(null, "", `#${told}`);
}

function readFragment() {
  const linked = panels.find((panel) => `#${panel.id}` === location.hash) ?? start;
  Object.assign(state, Object.fromEntries(KEYS.map((key) => [key, linked[key]])), { alpha: linked.alpha });
  const told = new URLSearchParams(location.hash.slice(1));
  for (const key of KEYS) if (told.has(key)) state[key] = told.get(key);
  const alpha = Number.parseFloat(told.get("alpha"));
  if (alpha >= 0 && alpha <= 1) state.alpha = alpha;
  state.open = new Set(told.getAll("open"));
  show();
}

for (const button of document.querySelectorAll("thead button")) button.disabled = false;

if (panels.length) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target === slider) return;
    if (target.name === "scenario") state.alpha = panels.find((panel) => panel.scenario === target.value).alpha;
    else state[target.name] = target.value;
    show(target.name);
    remember();
  });
  slider.addEventListener("input", () => {
    state.alpha = Number(slider.value);
    show();
    remember();
  });
  addEventListener("hashchange", readFragment);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show());
  form.hidden = false;
  document.getElementById("answer").hidden = false;
  document.querySelector(".contents").hidden = true;
  for (const part of document.querySelectorAll(".static")) part.hidden = true;
  for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
  readFragment();
}
