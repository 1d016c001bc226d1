"use strict";
// The interactive plot: two axes to choose, marks that tell their numbers, the Pareto front of the means.
const startPlot = ({ data, byId, explain, hideTip }) => {
  const NS = "http://www.w3.org/2000/svg";
  const make = (name, attributes = {}, parent = null, text = null) => {
    const node = document.createElementNS(NS, name);
    for (const [key, item] of Object.entries(attributes)) node.setAttribute(key, item);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const SHAPES = {
    s: "M-5-5H5V5H-5Z", "^": "M0-6L6 5H-6Z", v: "M0 6L6-5H-6Z", D: "M0-6.5L6.5 0 0 6.5-6.5 0Z", "<": "M-6 0L5-6V6Z",
    ">": "M6 0L-5-6V6Z", P: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z", X: "M-6-3.5L-3.5-6 0-2.5 3.5-6 6-3.5 2.5 0 6 3.5 3.5 6 0 2.5-3.5 6-6 3.5-2.5 0Z",
    p: "M0-6L5.7-1.9 3.5 4.9H-3.5L-5.7-1.9Z", h: "M0-6L5.2-3V3L0 6-5.2 3V-3Z", o: "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0Z",
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (method) => data.methods[method][dark.matches ? "dark" : "colour"];
  const mark = (method, filled, parent) =>
    make("path", { d: SHAPES[data.methods[method].marker] || SHAPES.o, stroke: colour(method), "stroke-width": 1.6, fill: filled ? colour(method) : "var(--ground)" }, parent);

  // Every text but a tick's comes formatted from the report; ticks depend on the size of the window.
  const tickText = (number) => String(Number(number.toPrecision(3)));
  const axisName = (key) => place().axes[key].label;
  const options = (select, pairs) => {
    const before = select.value;
    select.replaceChildren(...pairs.map(([key, text]) => new Option(text, key)));
    if (pairs.some(([key]) => key === before)) select.value = before;
  };
  const panel = () => data.panels[Number(byId("plot-panel").value)];
  const place = () => panel().places[Number(byId("plot-place").value)];
  const hiddenMethods = new Set();
  let allowed = null; // methods that keep the reader's limits; null: none is set

  const fillPlaces = () => {
    options(byId("plot-place"), panel().places.map((item, index) => [String(index), item.name]));
    fillAxes();
  };
  const fillAxes = () => {
    const points = Object.values(place().points);
    const keys = Object.keys(data.figures).filter((key) => points.some((point) => point[key]));
    options(byId("plot-x"), keys.map((key) => [key, data.figures[key].label]));
    options(byId("plot-y"), keys.map((key) => [key, data.figures[key].label]));
  };
  const firstAxes = () => {
    const keys = [...byId("plot-x").options].map((option) => option.value);
    byId("plot-x").value = ["stored_bytes", "stored_parameters", "train_time_s"].find((key) => keys.includes(key)) || keys[0];
    byId("plot-y").value = keys.includes("score") ? "score" : keys[0];
    guessLog();
  };
  const shown = (x, y) => Object.entries(place().points)
    .filter(([method, point]) => !hiddenMethods.has(method) && point[x] && point[y])
    .map(([method, point]) => ({ method, x: point[x], y: point[y] }));
  const guessLog = () => {
    const values = shown(byId("plot-x").value, byId("plot-y").value).map((point) => point.x[0]).filter((number) => number > 0);
    byId("plot-log").checked = values.length > 1 && Math.max(...values) > 20 * Math.min(...values);
  };

  // A point is beaten by one that is nowhere worse and somewhere better. Found here and not in the report, because it is
  // the front of the methods that are shown, which the reader chooses.
  const front = (points, x, y) => {
    const signs = [x, y].map((key) => ({ higher: 1, lower: -1 }[data.figures[key].better] || 0));
    if (!signs[0] || !signs[1] || x === y) return null;
    const gain = (point) => [signs[0] * point.x[0], signs[1] * point.y[0]];
    return new Set(points.filter((point) => !points.some((other) => {
      const [a, b] = [gain(point), gain(other)];
      return b[0] >= a[0] && b[1] >= a[1] && (b[0] > a[0] || b[1] > a[1]);
    })).map((point) => point.method));
  };

  const ticks = (low, high, log) => {
    if (log) {
      const found = [];
      for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) if (power >= low - 1e-9 && power <= high + 1e-9) found.push(power);
      if (found.length > 1) return found.filter((_, index) => found.length < 8 || index % 2 === 0);
    }
    const rough = (high - low) / 6, base = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * base).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + 1e-9 * step; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  };
  const axis = (values, log, start, end) => {
    const forward = log ? (number) => Math.log10(number) : (number) => number;
    const known = values.filter((number) => number !== null && (!log || number > 0)).map(forward);
    let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
    low -= margin; high += margin;
    const at = (number) => start + ((forward(number) - low) / (high - low)) * (end - start);
    return { at, ticks: ticks(low, high, log).map((tick) => (log ? 10 ** tick : tick)) };
  };

  const told = (point, x, y) => {
    const line = (key, numbers) => `${data.figures[key].label}: ${numbers[4]}`;
    const runs = `${point.y[3]} run${point.y[3] === 1 ? "" : "s"}`;
    return [point.method, line(y, point.y), line(x, point.x), runs, data.methods[point.method].fields].filter(Boolean).join("\n");
  };

  const draw = () => {
    hideTip();
    const [x, y] = [byId("plot-x").value, byId("plot-y").value];
    const holder = byId("plot"), width = Math.max(300, holder.clientWidth), height = Math.round(Math.min(420, Math.max(300, width * 0.6)));
    const points = shown(x, y), whiskers = byId("plot-whiskers").checked;
    const log = byId("plot-log").checked;
    const usable = points.filter((point) => !log || point.x[0] > 0);
    const spans = (name) => usable.flatMap((point) => (whiskers ? point[name].slice(0, 3) : [point[name][0]]));
    const across = axis(spans("x"), log, 62, width - 14), up = axis(spans("y"), false, height - 46, 12);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${axisName(y)} against ${axisName(x)}` });
    for (const tick of across.ticks) {
      const at = across.at(tick);
      make("line", { class: "grid", x1: at, x2: at, y1: 12, y2: height - 46 }, svg);
      make("text", { x: at, y: height - 30, "text-anchor": "middle" }, svg, tickText(tick / place().axes[x].factor));
    }
    for (const tick of up.ticks) {
      const at = up.at(tick);
      make("line", { class: "grid", x1: 62, x2: width - 14, y1: at, y2: at }, svg);
      make("text", { x: 56, y: at + 4, "text-anchor": "end" }, svg, tickText(tick / place().axes[y].factor));
    }
    make("path", { class: "axis", fill: "none", d: `M62 12V${height - 46}H${width - 14}` }, svg);
    make("text", { x: (62 + width) / 2, y: height - 8, "text-anchor": "middle" }, svg, axisName(x));
    make("text", { transform: `translate(14 ${height / 2 - 20}) rotate(-90)`, "text-anchor": "middle" }, svg, axisName(y));
    const members = front(usable, x, y);
    if (members) drawFront(svg, usable.filter((point) => members.has(point.method)), across, up, x);
    for (const point of usable) {
      const [px, py] = [across.at(point.x[0]), up.at(point.y[0])];
      const node = make("g", { class: "mark", tabindex: 0, role: "img", "data-method": point.method }, svg);
      if (allowed && !allowed.has(point.method)) node.classList.add("beyond");
      if (whiskers) drawWhiskers(node, point, across, up, log);
      const group = make("g", { transform: `translate(${px} ${py})` }, node);
      make("circle", { class: "ring", r: 12, fill: "transparent", "stroke-width": 2 }, group);
      mark(point.method, !members || members.has(point.method), group);
      const text = told(point, x, y) + (members && members.has(point.method) ? "\non the front" : "");
      node.setAttribute("aria-label", text.replaceAll("\n", ", "));
      explain(node, () => text);
    }
    holder.replaceChildren(svg);
    label(svg, usable.map((point) => ({ method: point.method, x: across.at(point.x[0]), y: up.at(point.y[0]) })), width, height);
    const lost = Object.keys(place().points).filter((method) => !hiddenMethods.has(method) && !usable.some((point) => point.method === method));
    byId("plot-says").textContent = (members ? `On the front, cheapest first: ${usable.filter((point) => members.has(point.method)).sort((a, b) => (data.figures[x].better === "lower" ? 1 : -1) * (a.x[0] - b.x[0])).map((point) => point.method).join(", ") || "none"}.` : "No front: one of these figures is neither better high nor low.")
      + (lost.length ? ` Without a mark here (not measured${log ? ", or zero on a logarithmic axis" : ""}): ${lost.join(", ")}.` : "");
    fillTable(usable, x, y);
  };
  // The name beside each mark, where it covers no mark and no other name.
  const label = (svg, marks, width, height) => {
    const boxes = marks.map(({ x, y }) => ({ left: x - 8, right: x + 8, top: y - 8, bottom: y + 8 }));
    const free = (box) => box.left > 64 && box.right < width && box.top > 4 && box.bottom < height - 48
      && !boxes.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom);
    for (const { method, x, y } of marks) {
      const text = make("text", { class: "name", "aria-hidden": "true" }, svg, method.length > 24 ? `${method.slice(0, 23)}…` : method);
      const wide = text.getComputedTextLength();
      const spots = [[x + 10, y - 7], [x - 10 - wide, y - 7], [x + 10, y + 14], [x - 10 - wide, y + 14], [x - wide / 2, y - 13], [x - wide / 2, y + 22]];
      const spot = spots.map(([left, base]) => ({ left, right: left + wide, top: base - 10, bottom: base + 3, base })).find(free);
      if (!spot) { text.remove(); continue; }
      boxes.push(spot);
      text.setAttribute("x", spot.left);
      text.setAttribute("y", spot.base);
      if (allowed && !allowed.has(method)) text.classList.add("beyond");
    }
  };
  const drawFront = (svg, points, across, up, x) => {
    const rising = data.figures[x].better === "lower" ? 1 : -1;
    const steps = points.slice().sort((a, b) => rising * (a.x[0] - b.x[0]));
    const path = steps.map((point, index) => `${index ? "H" : "M"}${across.at(point.x[0])}${index ? "V" : " "}${up.at(point.y[0])}`).join("");
    if (path) make("path", { d: path, fill: "none", stroke: "var(--soft)", "stroke-dasharray": "4 3" }, svg);
  };
  const drawWhiskers = (node, point, across, up, log) => {
    const [px, py] = [across.at(point.x[0]), up.at(point.y[0])];
    if (point.x[1] !== null && (!log || point.x[1] > 0)) make("line", { x1: across.at(point.x[1]), x2: across.at(point.x[2]), y1: py, y2: py, stroke: colour(point.method) }, node);
    if (point.y[1] !== null) make("line", { x1: px, x2: px, y1: up.at(point.y[1]), y2: up.at(point.y[2]), stroke: colour(point.method) }, node);
  };
  const fillTable = (points, x, y) => {
    const row = (cells, kind) => {
      const made = document.createElement("tr");
      for (const [index, text] of cells.entries()) {
        const cell = document.createElement(kind === "th" || index === 0 ? "th" : "td");
        cell.scope = kind === "th" ? "col" : "row";
        cell.textContent = text;
        made.append(cell);
      }
      return made;
    };
    byId("plot-table").replaceChildren(row(["method", axisName(x), axisName(y)], "th"), ...points.map((point) => row([point.method, point.x[4], point.y[4]], "td")));
  };

  for (const method of Object.keys(data.methods)) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox"; box.checked = true; box.value = method;
    box.addEventListener("change", () => { hiddenMethods[box.checked ? "delete" : "add"](method); draw(); });
    const icon = make("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
    mark(method, true, icon);
    label.append(box, " ", icon, ` ${method}`);
    byId("plot-methods").append(label);
  }
  byId("plot-panel").addEventListener("change", () => { fillPlaces(); draw(); });
  byId("plot-place").addEventListener("change", () => { fillAxes(); draw(); });
  byId("plot-x").addEventListener("change", () => { guessLog(); draw(); });
  for (const id of ["plot-y", "plot-log", "plot-whiskers"]) byId(id).addEventListener("change", draw);
  fillPlaces();
  firstAxes();
  draw();
  let wide = byId("plot").clientWidth;
  new ResizeObserver(() => { if (byId("plot").clientWidth !== wide) { wide = byId("plot").clientWidth; draw(); } }).observe(byId("plot"));
  dark.addEventListener("change", () => {
    draw();
    for (const icon of byId("plot-methods").querySelectorAll("label")) {
      const path = icon.querySelector("path"), paint = colour(icon.querySelector("input").value);
      path.setAttribute("stroke", paint); path.setAttribute("fill", paint);
    }
  });
  return { allow: (methods) => { allowed = methods; draw(); }, showPanel: (index) => { byId("plot-panel").value = index; fillPlaces(); draw(); } };
};
