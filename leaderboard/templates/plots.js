// The plots of the panel that is shown, by Plotly. Names are data: what looks like markup in one is written as text.

const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6d31", "#7a5195", "#3b8686", "#a05195"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon", "pentagon", "triangle-down"];
const config = { displayModeBar: false, responsive: true, scrollZoom: false };

const shorten = (name, length = 26) => (name.length <= length ? name : `${name.slice(0, length / 2)}…${name.slice(-length / 2 + 1)}`);
const plain = (name, length) =>
  shorten(name.replace(/^single:/, ""), length).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(x, y, more = {}) {
  const axis = { gridcolor: css("--rule"), zerolinecolor: css("--rule"), linecolor: css("--muted"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), family: "Helvetica, Arial, sans-serif", size: 12 },
    margin: { l: 56, r: 16, t: 12, b: 48 },
    height: 420,
    hovermode: "closest",
    hoverlabel: { bgcolor: css("--paper"), font: { color: css("--ink") } },
    legend: { orientation: "h", y: -0.16, font: { size: 11 } },
    ...more,
    xaxis: { ...axis, title: { text: x }, ...more.xaxis },
    yaxis: { ...axis, title: { text: y }, ...more.yaxis },
  };
}

function draw(key, traces, form) {
  const figure = document.getElementById(`plot-${key}`);
  figure.hidden = !traces.length;
  if (traces.length) Plotly.react(figure.querySelector("div"), traces, form, config);
}

// A router keeps its colour and its mark in every plot.
function look(panel, name) {
  const ranked = Object.keys(data.runs[panel.of].routers).filter((other) => panel.rows[other] && !panel.rows[other].reference);
  const place = ranked.sort().indexOf(name);
  if (place < 0) return { color: css("--muted"), symbol: "square-open", dash: "dot" };
  const dash = ["solid", "dash", "dot", "dashdot"][Math.floor(place / PALETTE.length) % 4];
  return { color: PALETTE[place % PALETTE.length], symbol: SYMBOLS[place % SYMBOLS.length], dash };
}

function drawPlots(panel, rows, alpha) {
  const box = document.getElementById("plots");
  panel.section.querySelector(".plots-here").append(box);
  box.hidden = false;
  box.classList.toggle("simulated-outcomes", data.runs[panel.of].simulated);
  frontierPlot(panel, rows, alpha);
  alphaPlot(panel, alpha);
  if (box.dataset.panel === `${panel.id} ${css("--ink")}`) return; // the others do not change with α
  box.dataset.panel = `${panel.id} ${css("--ink")}`;
  strataPlot(panel);
  sharesPlot(panel, rows);
  tasksPlot(panel, rows);
  agentsPlot(panel);
}

// Points of the upper hull [cost, accuracy], cheapest first, up to the most accurate.
function hull(points) {
  const slope = (a, b) => (b[1] - a[1]) / (b[0] - a[0]);
  const found = [];
  for (const point of [...points].sort((a, b) => a[0] - b[0] || b[1] - a[1])) {
    if (found.length && point[1] <= found.at(-1)[1]) continue;
    while (found.length > 1 && slope(found.at(-2), point) >= slope(found.at(-2), found.at(-1))) found.pop();
    found.push(point);
  }
  return found;
}

// Labels [{x, y, text, size, color}] as annotations, each at the first place around its point where it meets no point and
// no label before it. `frame` says how many pixels wide and high the plot is, and which x and y it shows.
const AROUND = [[0, -1], [0, 1], [1, 0], [-1, 0], [1, -1], [-1, -1], [1, 1], [-1, 1]];
function annotate(labels, frame) {
  const at = (value, [low, high], length) => ((value - low) / (high - low)) * length;
  const spots = labels.map(({ x, y }) => [at(x, frame.x, frame.width), frame.height - at(y, frame.y, frame.height)]);
  const taken = spots.map(([x, y]) => [x - 6, y - 6, x + 6, y + 6]);
  const free = (box) => box[0] > -50 && box[2] < frame.width + 10 && box[1] > 0 && box[3] < frame.height
    && taken.every((other) => box[2] < other[0] || other[2] < box[0] || box[3] < other[1] || other[3] < box[1]);
  return labels.map(({ x, y, text, size, color }, i) => {
    const [wide, high] = [0.29 * size * text.length + 3, 0.6 * size + 1];
    const places = [0, 12, 26, 42, 60, 80].flatMap((far) => AROUND.map(([dx, dy]) => [dx * (wide + 9 + far), dy * (high + 9 + far)]));
    const boxed = ([dx, dy]) => [spots[i][0] + dx - wide, spots[i][1] + dy - high, spots[i][0] + dx + wide, spots[i][1] + dy + high];
    const [ax, ay] = places.find((place) => free(boxed(place))) ?? places[0];
    taken.push(boxed([ax, ay]));
    return { x, y, text, ax, ay, showarrow: true, arrowhead: 0, arrowwidth: 0.6, arrowcolor: css("--muted"), standoff: 5, font: { size, color } };
  });
}

function frontierPlot(panel, rows, alpha) {
  const known = rows.filter((row) => row.utility !== null);
  const ranked = known.filter((row) => !row.reference);
  const line = (points, name, style, shape = "linear") => ({
    x: points.map((p) => p[0]), y: points.map((p) => p[1]), name, mode: "lines", line: { ...style, shape }, hoverinfo: "skip",
  });
  const point = (row) => [row.cost, row.accuracy];
  const single = hull(known.filter((row) => row.kind === "single model").map(point));
  const optimal = [];
  for (const row of [...ranked].sort((a, b) => a.cost - b.cost || b.accuracy - a.accuracy)) {
    if (!optimal.length || row.accuracy > optimal.at(-1)[1]) optimal.push(point(row));
  }
  const traces = [
    line(optimal, "Pareto frontier", { color: css("--accent"), width: 3 }, "hv"),
    line(single, "hull of the single models", { color: css("--muted"), width: 1.5, dash: "dot" }),
  ];
  const right = Math.max(...known.map((row) => row.cost), 0);
  const leader = ranked.find((row) => row.rank === 1);
  if (leader) {
    traces.push(line([[0, leader.utility], [right, leader.utility + alpha * right]], "as good as the best", { color: css("--alarm"), width: 1, dash: "dash" }));
  }
  const hover = (row) => {
    const told = row.interval ? ` (${decimal(row.interval[0])} to ${decimal(row.interval[1])})` : "";
    return `<b>${plain(row.name, 60)}</b><br>accuracy ${decimal(row.accuracy)}, cost ${decimal(row.cost)}<br>utility ${decimal(row.utility)}${told}`;
  };
  // Rows on one point share one label, at the first of them.
  const spot = (row) => `${row.cost.toFixed(3)} ${row.accuracy.toFixed(3)}`;
  const label = (row) => {
    const together = known.filter((other) => spot(other) === spot(row));
    return together[0] === row ? [...new Set(together.map((other) => plain(other.name)))].join(" = ") : "";
  };
  const labels = [];
  for (const [name, group, reference] of [["routers; bars: interval of utility", ranked, false], ["reference rows", known.filter((row) => row.reference), true]]) {
    const looks = group.map((row) => look(panel, row.name));
    const lows = group.map((row) => (row.interval ? row.utility - row.interval[0] : 0));
    const highs = group.map((row) => (row.interval ? row.interval[1] - row.utility : 0));
    traces.push({
      x: group.map((row) => row.cost),
      y: group.map((row) => row.accuracy),
      name,
      mode: "markers",
      hovertext: group.map(hover),
      hoverinfo: "text",
      marker: { size: reference ? 7 : 10, color: looks.map((l) => l.color), symbol: looks.map((l) => l.symbol) },
      ...(reference ? {} : { error_y: { type: "data", array: highs, arrayminus: lows, thickness: 1, width: 3, color: css("--muted") } }),
      cliponaxis: false,
    });
    const font = { size: reference ? 9 : 11, color: reference ? css("--muted") : css("--ink") };
    for (const row of group.filter(label)) labels.push({ x: row.cost, y: row.accuracy, text: label(row), ...font });
  }
  const [lowest, highest] = [Math.min, Math.max].map((most) => most(...known.map((row) => row.accuracy)));
  const pad = 0.12 * (highest - lowest || 1);
  const shown = { x: [-0.03 * (right || 1), 1.06 * (right || 1)], y: [lowest - pad, highest + pad] };
  const frame = { ...shown, width: document.getElementById("plots").clientWidth - 72, height: 430 };
  const axes = { xaxis: { range: shown.x }, yaxis: { range: shown.y }, annotations: annotate(labels, frame) };
  draw("frontier", known.length ? traces : [], layout("cost of a query", "accuracy", { height: 520, ...axes }));
}

function strataPlot(panel) {
  const kept = Object.entries(panel.rows).filter(([, row]) => row.kind !== "single model" && row.strata[1] !== null && row.strata[2] !== null);
  kept.sort(([, a], [, b]) => a.strata[2] - a.strata[1] - (b.strata[2] - b.strata[1]));
  const names = kept.map(([name]) => plain(name));
  const looks = [["easy", "#0072B2", "circle"], ["hard", "#D55E00", "square"], ["unsolvable", css("--muted"), "x"]];
  const traces = looks.map(([stratum, color, symbol], i) => ({
    x: kept.map(([, row]) => row.strata[i + 1]), y: names, name: stratum, mode: "markers", type: "scatter",
    marker: { color, symbol, size: 10 }, hovertemplate: `%{y}: ${stratum} %{x:.3f}<extra></extra>`,
  }));
  const height = 140 + 22 * names.length;
  draw("strata", kept.length ? traces : [], layout("mean cost of a query", "", { height, xaxis: { rangemode: "tozero" }, yaxis: { type: "category" } }));
}

// Lines over all of [0, 1] for what does not depend on α, points at the alphas at which it was run for what does.
function alphaPlot(panel, alpha) {
  const traces = Object.entries(panel.rows).filter(([name, row]) => row.accuracy !== null && (!row.reference || name.startsWith("single:"))).map(([name, row]) => {
    const { color, symbol, dash } = look(panel, name);
    const exact = data.runs[panel.of].routers[name].exact || name.startsWith("single:");
    const points = exact
      ? [0, 1].map((a) => [a, row.accuracy - a * row.cost.own])
      : pointsOf(panel, name).map(([a, accuracy, cost]) => [a, accuracy - a * cost.own]);
    return {
      x: points.map((p) => p[0]), y: points.map((p) => p[1]), name: plain(name), mode: exact ? "lines" : "lines+markers",
      line: { color, dash, width: row.reference ? 1 : 2 }, marker: { symbol, size: 5 },
      hovertemplate: `${plain(name)}: %{y:.3f} at α = %{x:.2f}<extra></extra>`,
    };
  });
  const mark = (x, color, dash) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color, width: 1, dash } });
  const changes = data.runs[panel.of].changes[panel.split] ?? [];
  const shapes = [mark(alpha, css("--alarm"), "dash"), ...changes.map(([, , x]) => mark(x, css("--muted"), "dot"))];
  const annotations = changes.map(([, to, x]) => ({
    x, y: 0, yref: "paper", text: `${plain(to, 18)} from ${decimal(x, 2)}`, textangle: -90, showarrow: false, xanchor: "right", yanchor: "bottom", font: { size: 10 },
  }));
  draw("alpha", traces, layout("α", "utility = accuracy − α · cost", { height: 460, shapes, annotations, xaxis: { range: [0, 1] } }));
}

function sharesPlot(panel, rows) {
  const names = rows.map((row) => row.name).filter((name) => Object.keys(panel.rows[name].share).length && !name.startsWith("single:")).reverse();
  const models = [...new Set(names.flatMap((name) => Object.keys(panel.rows[name].share)))];
  const traces = models.map((model, i) => ({
    type: "bar", orientation: "h", name: plain(model), y: names.map((name) => plain(name)), x: names.map((name) => panel.rows[name].share[model] ?? 0),
    marker: { color: `hsl(205, 60%, ${85 - (60 * i) / Math.max(models.length - 1, 1)}%)` },
    hovertemplate: `%{y}: ${plain(model)} %{x:.0%}<extra></extra>`,
  }));
  draw("shares", names.length ? traces : [], layout("share of queries answered", "", { barmode: "stack", height: 160 + 22 * names.length, xaxis: { range: [0, 1], tickformat: ".0%" }, yaxis: { type: "category" } }));
}

function tasksPlot(panel, rows) {
  const names = rows.map((row) => row.name).filter((name) => Object.keys(panel.rows[name].tasks).length).reverse();
  const tasks = [...new Set(names.flatMap((name) => Object.keys(panel.rows[name].tasks)))];
  const z = names.map((name) => tasks.map((task) => panel.rows[name].tasks[task]?.[2] ?? null));
  const trace = {
    type: "heatmap", x: tasks.map((task) => plain(task)), y: names.map((name) => plain(name)), z, text: z.map((line) => line.map((value) => decimal(value, 2))),
    texttemplate: "%{text}", textfont: { size: 9 }, colorscale: "RdBu", zmid: 0, xgap: 1, ygap: 1, colorbar: { title: { text: "utility" }, thickness: 10 },
    hovertemplate: "%{y}, %{x}: %{text}<extra></extra>",
  };
  draw("tasks", names.length ? [trace] : [], layout("", "", { height: 160 + 22 * names.length, xaxis: { type: "category" }, yaxis: { type: "category" } }));
}

function agentsPlot(panel) {
  const lines = data.runs[panel.of].answer_rate.filter((line) => line.split === panel.split);
  const keys = [...new Set(lines.map((line) => `${line.checkpoint}, ${line.scenario.replaceAll("_", " ")}`))];
  const traces = keys.map((key, i) => {
    const mine = lines.filter((line) => `${line.checkpoint}, ${line.scenario.replaceAll("_", " ")}` === key);
    return {
      type: "bar", name: plain(key, 40), x: mine.map((line) => plain(line.model)), y: mine.map((line) => line.answer_rate),
      marker: { color: PALETTE[i % PALETTE.length] }, hovertemplate: `%{x}, ${plain(key, 40)}: %{y:.0%}<extra></extra>`,
    };
  });
  draw("agents", traces, layout("", "share of queries answered", { barmode: "group", yaxis: { range: [0, 1], tickformat: ".0%" } }));
}
