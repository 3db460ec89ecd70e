// The details of a row: what its router is, saw and paid, where its money goes, and how it does task by task.

function details(panel, name) {
  const row = panel.rows[name];
  const about = data.runs[panel.of].routers[name];
  const link = about.address
    ? element("a", { href: about.address, rel: "noreferrer" }, about.paper)
    : about.paper;
  const facts = [
    ["What it is", about.summary],
    ["Paper", link],
    ["Against the best single model", row.versus && `${row.versus} (tested at ${alphaLabel(panel.alpha)})`],
    ["Where its money goes", row.spending],
    ["What it saw", about.saw && (about.saw.length ? about.saw.join("; ") : "nothing")],
    ["How its authors charge it", about.charged],
    ["How α enters", about.alpha],
    ["Cost in dollars", row.usd !== null ? `$${row.usd.toPrecision(3)} a query` : null],
    ["Settings", about.settings.length ? about.settings.join(", ") : null],
  ];
  const list = element("dl");
  for (const [term, text] of facts) {
    list.append(element("dt", {}, term), element("dd", {}, text || "–"));
  }
  const mark = data.runs[panel.of].simulated ? element("strong", { className: "alarm" }, "Simulated outcomes") : "";
  return element("div", { className: "inside" }, mark, list, tasks(row), shares(row), strata(row));
}

function small(caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...values]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...values.map((value) => element("td", {}, value))),
  );
  return element("table", { className: "small" }, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
}

function tasks(row) {
  const rows = Object.entries(row.tasks).map(([task, scores]) => [task, ...scores.map((value) => decimal(value))]);
  return rows.length ? small("By task", ["task", "accuracy", "cost", "utility"], rows) : "";
}

function shares(row) {
  const rows = Object.entries(row.share).map(([model, share]) => [model, meter(share), percent(share)]);
  return rows.length ? small("Who answers", ["model", "", "of queries"], rows) : "";
}

function meter(share) {
  const bar = element("meter", { min: 0, max: 1, value: share });
  bar.setAttribute("aria-hidden", "true");
  return bar;
}

function strata(row) {
  const names = ["every model solves", "easy", "hard", "no model solves"];
  return small("Mean cost by difficulty", ["queries", "cost"], names.map((name, i) => [name, decimal(row.strata[i])]));
}

// Show or hide the details below a row of the table; the button in its name says which.
function toggle(tr, panel, open) {
  const button = tr.querySelector("button.more");
  if (tr.nextElementSibling?.classList.contains("detail")) tr.nextElementSibling.remove();
  button.setAttribute("aria-expanded", String(open));
  if (open) {
    const cell = element("td", { colSpan: tr.cells.length }, details(panel, tr.dataset.router));
    tr.after(element("tr", { className: "detail" }, cell));
  }
}

// Make the name in every row the button that shows its details.
function addButtons(body) {
  for (const tr of body.querySelectorAll("tr[data-router]")) {
    const name = tr.querySelector("th.name > span");
    const button = element("button", { type: "button", className: "more" }, name.textContent);
    button.setAttribute("aria-expanded", "false");
    name.replaceChildren(button);
  }
}
