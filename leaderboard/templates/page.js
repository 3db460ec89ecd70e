"use strict";
// Without this script the page is whole: every panel one below the other, every table in its first order.

const panels = [...document.querySelectorAll(".panel")];
const form = document.querySelector(".switches");
let shown = panels[0];

function show(panel) {
  shown = panel;
  for (const other of panels) other.hidden = other !== panel;
  for (const article of document.querySelectorAll("article")) article.hidden = !article.contains(panel);
  for (const input of form.elements) {
    if (input.type === "radio") input.checked = panel.dataset[input.name] === input.value;
  }
}

// The panel with this scenario, split or run that shares most of the other choices with the one shown.
function nearest(key, value) {
  const shared = (panel) => ["run", "scenario", "split"].filter((k) => panel.dataset[k] === shown.dataset[k]).length;
  return panels.filter((panel) => panel.dataset[key] === value).sort((a, b) => shared(b) - shared(a))[0];
}

function showFragment() {
  show(panels.find((panel) => `#${panel.id}` === location.hash) ?? panels[0]);
}

function sort(header) {
  const table = header.closest("table");
  const opposite = { ascending: "descending", descending: "ascending" };
  const before = header.getAttribute("aria-sort");
  const direction = before ? opposite[before] : header.dataset.first;
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[header.cellIndex].dataset.value;
  const compare = header.classList.contains("name") ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * compare(x, y);
  });
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
}

for (const button of document.querySelectorAll("thead button")) {
  button.disabled = false;
  button.addEventListener("click", () => sort(button.parentElement));
}

if (panels.length) {
  form.addEventListener("change", (event) => {
    show(nearest(event.target.name, event.target.value));
    history.replaceState(null, "", `#${shown.id}`);
  });
  addEventListener("hashchange", showFragment);
  form.hidden = false;
  document.querySelector(".contents").hidden = true;
  showFragment();
}
