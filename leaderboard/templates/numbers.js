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

// The half-width of a 95 % interval of a normal distribution, and P(|Z| ≥ z) (the complementary error function as Press
// et al. approximate it in Numerical Recipes: to 1.2e-7 of it everywhere).
const WIDE = 1.959964;
function tails(z) {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.5 * x);
  const series = [1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277];
  const sum = series.reduceRight((total, c) => total * t + c, 0) * t;
  return t * Math.exp(-x * x - 1.26551223 + sum);
}

// How sure utilities are at an α beside those of the run, from variances by the jackknife: [of one, of a difference], each
// a standard error or null. Nothing where a router decides here as at another α than the variances are of.
function spreadAt(panel, alpha, charged) {
  const known = data.runs[panel.of].spread?.[panel.split] ?? [];
  if (!known.length || !["own", "every_call"].includes(charged)) return null;
  const near = known.reduce((best, one) => (Math.abs(one.alpha - alpha) < Math.abs(best.alpha - alpha) - 1e-9 ? one : best));
  const [c, v] = charged === "own" ? [1, 2] : [3, 4];
  const error = (moments) => Math.sqrt(Math.max(moments[0] - 2 * alpha * moments[c] + alpha * alpha * moments[v], 0));
  const pairs = new Map(near.pairs.map(([one, other, moments]) => [JSON.stringify([one, other].sort()), moments]));
  const fits = (row) => Object.hasOwn(near.own, row.name) && (data.runs[panel.of].routers[row.name].exact || same(near.decided[row.name], row.decided));
  return {
    of: (row) => (fits(row) ? error(near.own[row.name]) : null),
    between: (one, other) => {
      const moments = pairs.get(JSON.stringify([one.name, other.name].sort()));
      return moments && fits(one) && fits(other) ? error(moments) : null;
    },
  };
}

// Give the rows of a panel intervals, the difference to the best single model one too, and rank groups: 1 + how many are
// significantly better, after Holm's correction over all pairs of ranked rows. Groups only where every pair is known.
function makeSure(rows, sure) {
  for (const row of rows) {
    const error = row.utility === null ? null : sure.of(row);
    row.interval = error ? [row.utility - WIDE * error, row.utility + WIDE * error] : null;
  }
  const ranked = rows.filter((row) => !row.reference && row.utility !== null);
  const best = ranked.find((row) => row.name === "best_single");
  const pairs = ranked.flatMap((one, i) => ranked.slice(i + 1).map((other) => compared(one, other, best, sure)));
  if (pairs.some((pair) => pair.p === null)) return;
  for (const row of ranked) row.group = 1;
  let corrected = 0;
  pairs.sort((a, b) => a.p - b.p).forEach((pair, i) => {
    corrected = Math.min(Math.max(corrected, pair.p * (pairs.length - i)), 1);
    if (corrected < 0.05) pair.worse.group += 1;
    if (pair.versus) pair.versus.overP = corrected;
  });
}

// Two ranked rows: the worse, the p-value of their difference, and `versus` whom, where one is the best single model.
function compared(one, other, best, sure) {
  const [apart, error] = [Math.abs(one.utility - other.utility), sure.between(one, other)];
  const worse = one.utility < other.utility ? one : other;
  const versus = one === best ? other : other === best ? one : null;
  if (versus && error !== null) {
    const over = versus.utility - best.utility;
    versus.overInterval = [over - WIDE * error, over + WIDE * error];
  }
  return { worse, versus, p: error === null ? null : apart < 1e-9 ? 1 : error ? tails(apart / error) : 0 };
}

// Every row of a panel at any α, charged as `mode` says: "own" (as the run did), "final" or "every_call". Who does not
// depend on α decides as ever; another as at the nearest α at which it was run (the lower of two). At the panel's α
// intervals and rank groups are the run's, elsewhere those of `makeSure`.
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
  const sure = here ? null : spreadAt(panel, alpha, charged);
  if (sure) makeSure(found, sure);
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
  const tested = leader.group !== null;
  const sure = leader.overInterval ? `, interval ${signed(leader.overInterval[0])} to ${signed(leader.overInterval[1])}` : "";
  const significant = leader.overP === undefined ? "" : leader.overP < 0.05 ? "significantly " : "not significantly ";
  const more = significant ? `${significant}more than the best single model (${signed(leader.over)}${sure})` : `${signed(leader.over)} over the best single model`;
  const over = leader.over === null ? "" : `, ${more}`;
  const none = leader.name !== "best_single" ? "" : tested ? ", and no router is shown to beat it" : ", and no router beats it";
  const tied = ranked.filter((row) => (tested ? row.group : row.rank) === 1).map((row) => row.name);
  const interval = leader.interval ? ` (95 % interval ${decimal(leader.interval[0])} to ${decimal(leader.interval[1])})` : "";
  const told = `utility ${decimal(leader.utility)}${interval}${over}${none}`;
  if (tested && tied.length > 1) {
    return `A tie ${where}: nobody is significantly better than ${join(tied)}. ${leader.name} is highest: ${told}.`;
  }
  return `${join(tied)} ${tied.length > 1 ? "share" : "has"} the highest utility ${where}: ${told}.`;
}
