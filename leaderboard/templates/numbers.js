"use strict";
// Numbers as the tables write them, and all that follows from accuracy, cost and α.

// The policy refuses style attributes, which the plotting library writes; the same by the style's own interface it allows.
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const data = JSON.parse(document.getElementById("data").textContent);
const SPLITS = { id: "in-domain", ood: "out-of-domain" };

function decimal(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) ? "−" : "") + (text.startsWith("0.") ? text.slice(1) : text);
}

function signed(value) {
  const text = decimal(value);
  return text === "–" || text.startsWith("−") ? text : `+${text}`;
}

const alphaLabel = (alpha) => `α = ${String(alpha).replace(/^0\./, ".")}`;
const percent = (share) => `${Math.round(100 * share)} %`;
const same = (a, b) => Math.abs(a - b) < 1e-9;

// An element with properties and children; text is always text, never markup.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function interval(row, mode) {
  const told = mode === "final" ? (row.accounting === "final" ? row.interval.own : null) : row.interval[mode];
  return told && told[0] !== null && told[1] !== null ? told : null;
}

// All [α, accuracy, cost by accounting] at which a router was run on the split and under the settings of a panel.
function pointsOf(panel, name) {
  const alike = panels.filter((other) => KEYS.every((key) => other[key] === panel[key]) && other.rows[name]);
  const rows = alike.map((other) => [other.alpha, other.rows[name].accuracy, other.rows[name].cost]);
  return [...rows, ...(data.runs[panel.of].alphas[panel.split]?.[name] ?? [])].sort((a, b) => a[0] - b[0]);
}

// Every row of a panel at any α, charged as `mode` says: "own" (as the run did), "final" or "every_call". Who does not
// depend on α decides as ever; another as at the nearest α at which it was run (the lower of two). Intervals and rank
// groups are known at the panel's α alone.
function evaluate(panel, alpha, mode) {
  const here = same(alpha, panel.alpha);
  const ranked = Object.values(panel.rows).filter((row) => !row.reference);
  const charged = mode === "final" && ranked.every((row) => row.accounting === "final") ? "own" : mode;
  const far = (point) => Math.round(1e9 * Math.abs(point[0] - alpha));
  const found = Object.entries(panel.rows).map(([name, row]) => {
    const own = [panel.alpha, row.accuracy, row.cost];
    const { exact } = data.runs[panel.of].routers[name];
    const nearest = (best, point) => (far(point) < far(best) ? point : best);
    const [decided, accuracy, costs] = here || exact ? own : pointsOf(panel, name).reduce(nearest);
    const cost = costs[mode];
    const known = accuracy !== null && cost !== null;
    return {
      name,
      reference: row.reference,
      kind: row.kind,
      accuracy,
      cost,
      costs,
      decided,
      utility: known ? accuracy - alpha * cost : null,
      interval: here ? interval(row, mode) : null,
      group: here ? row.group[charged] ?? null : null,
      exact: exact || same(decided, alpha),
    };
  });
  const of = (name) => found.find((row) => row.name === name)?.utility ?? null;
  const [best, oracle] = [of("best_single"), of("oracle")];
  for (const row of found) {
    const better = (other) => !other.reference && other.utility !== null && other.utility > row.utility + 1e-12;
    row.rank = row.reference || row.utility === null ? null : 1 + found.filter(better).length;
    row.over = row.reference || row.name === "best_single" || best === null || row.utility === null ? null : row.utility - best;
    row.percent = oracle !== null && best !== null && oracle > Math.max(best, 0) && row.utility !== null ? (100 * row.utility) / oracle : null;
  }
  const place = (row) => [row.reference ? 1 : 0, row.rank ?? Infinity, -(row.utility ?? -Infinity)];
  return found.sort((a, b) => {
    const [x, y] = [place(a), place(b)];
    const first = x.findIndex((value, i) => value !== y[i]);
    return first < 0 ? a.name.localeCompare(b.name) : x[first] - y[first];
  });
}

function join(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

// The answer in one sentence where the page was not built with one.
function sentence(panel, rows, alpha) {
  const ranked = rows.filter((row) => row.rank !== null);
  if (!ranked.length) return "No router is ranked here.";
  const leader = ranked[0];
  const where = `on ${data.runs[panel.of].suite}, ${SPLITS[panel.split] ?? panel.split} at ${alphaLabel(alpha)}`;
  const over = leader.over === null ? "" : `, ${signed(leader.over)} over the best single model`;
  const none = leader.name === "best_single" ? ", and no router beats it" : "";
  const tested = leader.group !== null;
  const tied = ranked.filter((row) => (tested ? row.group : row.rank) === 1).map((row) => row.name);
  const told = `utility ${decimal(leader.utility)}${over}${none}`;
  if (tested && tied.length > 1) {
    return `A tie ${where}: nobody is significantly better than ${join(tied)}. ${leader.name} is highest: ${told}.`;
  }
  return `${join(tied)} ${tied.length > 1 ? "share" : "has"} the highest utility ${where}: ${told}.`;
}
