"use strict";
(() => {
  const LIGHT = { ink: "#1b1f24", quiet: "#545c66", grid: "#e8ebef", paper: "#ffffff", rule: "#aab2bb", shade: "#eef1f4",
    lines: ["#0072b2", "#c94f00", "#007f5f", "#a84a83", "#8f6400", "#2b7fb8", "#2b2f36", "#7a5c20"] };
  const DARK = { ink: "#e7eaee", quiet: "#a9b2bd", grid: "#2a3038", paper: "#14171b", rule: "#5b6570", shade: "#1f252c",
    lines: ["#5db4ea", "#ff9a5c", "#4fd0a5", "#e79ac6", "#efb63f", "#8fd0f5", "#e7eaee", "#cdb072"] };
  const RAMP = [[0, "#f0f5fa"], [0.33, "#9cc3e3"], [0.67, "#3f86bf"], [1, "#0d4f8b"]];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const STROKES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star"];
  const MOST_ROWS = 4000, FILTER_FROM = 12;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let isPrinting = false;
  const colors = () => (dark.matches && !isPrinting ? DARK : LIGHT);
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const live = document.getElementById("live");
  const say = (text) => { live.textContent = text; };
  const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false, doubleClick: "reset" };

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function format(value) {
    if (value === null || value === undefined) return "not finite";
    const size = Math.abs(value);
    if (size >= 1000 && size < 1e9) return Math.round(value).toLocaleString("en-US");
    if (value === 0) return "0";
    return size >= 1e9 || size < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function interval(line, i) {
    if (line.words) return line.words[i] || "";
    if (!line.low || line.low[i] === undefined) return "";
    if (line.low[i] === null && line.high[i] === null) return "";
    return `[${format(line.low[i])}, ${line.high[i] === null ? "infinity" : format(line.high[i])}]`;
  }

  function button(label, pressed, act, more = {}) {
    const made = make("button", { type: "button", ...more }, label);
    if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
    made.addEventListener("click", () => act(made));
    return made;
  }

  function press(made, value) { made.setAttribute("aria-pressed", String(value)); }

  // every kind of figure is an object with draw(), which shows its state, and table(), which lists it
  const figures = [];

  function afterPlot(plot) {
    for (const svg of plot.querySelectorAll(".main-svg")) {
      const width = svg.getAttribute("width"), height = svg.getAttribute("height");
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      plot.style.setProperty("--shape", `${width} / ${height}`);
    }
  }

  function show(plot, traces, layout) {
    const isNew = !plot.classList.contains("js-plotly-plot");
    const done = isNew ? Plotly.newPlot(plot, traces, layout, config) : Plotly.react(plot, traces, layout, config);
    if (isNew) plot.on("plotly_afterplot", () => afterPlot(plot));
    afterPlot(plot);
    return done;
  }

  function axis(title, isLog, own, values = []) {
    const [least, most] = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [1, 1];
    const isWide = isLog && most / least > 100;
    return {
      title: { text: safe(title), standoff: 8, font: { size: 12.5 } }, type: isLog ? "log" : "linear", automargin: true,
      gridcolor: own.grid, linecolor: own.rule, tickcolor: own.rule, zeroline: false, ticks: "outside", ticklen: 4,
      exponentformat: isLog ? "power" : "e", showline: true, dtick: isWide ? 1 : null,
      minor: isWide ? { ticks: "outside", ticklen: 2, tickcolor: own.rule } : {},
    };
  }

  function baseLayout(own) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, autosize: true,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: own.ink },
      margin: { l: 56, r: 16, t: 12, b: 46 }, hovermode: "closest", hoverdistance: 40,
      dragmode: window.innerWidth > 640 ? "zoom" : false,
      hoverlabel: { bgcolor: own.paper, bordercolor: own.rule, font: { color: own.ink, size: 12.5 }, align: "left", namelength: -1 },
    };
  }

  function look(line, index, own) {
    if (line.kind === "guide") return { color: own.quiet, dash: "dot", symbol: null };
    return { color: own.lines[index % own.lines.length], dash: DASHES[index % DASHES.length], symbol: SYMBOLS[index % SYMBOLS.length] };
  }

  function swatch(line, index) {
    const own = colors(), { color, dash } = look(line, index, own), n = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(n, "svg");
    const put = (tag, attributes) => {
      const made = document.createElementNS(n, tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      svg.append(made);
    };
    for (const [name, value] of Object.entries({ width: 34, height: 12, "aria-hidden": "true", focusable: "false" })) svg.setAttribute(name, value);
    if (line.kind !== "points" && line.kind !== "mark") put("line", { x1: 1, y1: 6, x2: 33, y2: 6, stroke: color, "stroke-width": 2, "stroke-dasharray": ["trail", "tracks"].includes(line.kind) ? "" : STROKES[dash] });
    const shapes = {
      circle: "M13.5 6a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", square: "M14 3h6v6h-6z", diamond: "M17 1.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
      "triangle-up": "M17 1.5l4.5 8h-9z", x: "M13.5 3.9l1.4 -1.4l2.1 2.1l2.1 -2.1l1.4 1.4l-2.1 2.1l2.1 2.1l-1.4 1.4l-2.1 -2.1l-2.1 2.1l-1.4 -1.4l2.1 -2.1z",
      cross: "M16 2h2v3h3v2h-3v3h-2v-3h-3v-2h3z", star: "M17 1l1.4 3.4l3.6 .3l-2.7 2.3l.9 3.6l-3.2 -2l-3.2 2l.9 -3.6l-2.7 -2.3l3.6 -.3z",
    };
    if (!["trail", "guide"].includes(line.kind)) put("path", { d: shapes[SYMBOLS[index % SYMBOLS.length]], fill: color });
    return svg;
  }

  class Chart {
    constructor(figure, content) {
      this.figure = figure; this.content = content; this.plot = figure.querySelector(".plot");
      this.log = { x: content.is_x_log, y: content.is_y_log };
      this.shown = content.lines.map((line) => line.is_shown !== false);
      this.hasBands = true;
      this.controls(); this.legend();
    }

    x(line) { return this.content.xs[line.x]; }

    has(axis) {
      const values = this.content.lines.flatMap((line) => (axis === "x" ? this.x(line) : line.y).filter((v) => v !== null));
      if (axis === "y") values.push(...this.content.references.map((one) => one.value));
      return values.some((v) => v > 0) && (this.log[axis] || !values.some((v) => v < 0));
    }

    controls() {
      const box = this.figure.querySelector(".controls");
      const label = { x: this.content.x_label, y: this.content.y_label };
      for (const axis of ["x", "y"]) {
        if (!this.has(axis)) continue;
        box.append(button(`Log ${axis}`, this.log[axis], (made) => {
          this.log[axis] = !this.log[axis]; press(made, this.log[axis]); this.draw();
          say(`${label[axis]}: ${this.log[axis] ? "logarithmic" : "linear"} axis`);
        }, { "data-axis": axis, "aria-label": `Log ${axis}: ${label[axis]}` }));
      }
      if (this.content.lines.some((line) => line.low && line.low.some((v) => v !== null))) {
        box.append(button("Intervals", true, (made) => {
          this.hasBands = !this.hasBands; press(made, this.hasBands); this.draw();
          say(`intervals ${this.hasBands ? "shown" : "hidden"}`);
        }, { "data-bands": "", "aria-label": "Intervals, 95 %" }));
      }
      box.append(button("Reset zoom", null, () => {
        Plotly.relayout(this.plot, { "xaxis.autorange": true, "yaxis.autorange": true }); say("zoom reset");
      }));
    }

    legend() {
      const box = this.figure.querySelector(".legend"), lines = this.content.lines;
      if (lines.length < 2) return;
      this.buttons = lines.map((line, i) => button("", this.shown[i], () => this.toggle(i), { "data-line": i }));
      this.buttons.forEach((made, i) => made.append(swatch(lines[i], i), lines[i].name));
      if (lines.length > 2) {
        const all = (value) => {
          this.buttons.forEach((made, i) => { if (!made.hidden) { this.shown[i] = value; press(made, value); } });
          this.draw(); say(`${this.shown.filter(Boolean).length} of ${lines.length} lines shown`);
        };
        box.append(button("Show all", null, () => all(true), { class: "tool" }), button("Hide all", null, () => all(false), { class: "tool" }));
      }
      if (lines.length > FILTER_FROM) {
        const input = make("input", { type: "search", placeholder: "for example 0.01" });
        input.addEventListener("input", () => {
          const words = input.value.toLowerCase();
          this.buttons.forEach((made, i) => { made.hidden = !lines[i].name.toLowerCase().includes(words); });
          say(`${this.buttons.filter((made) => !made.hidden).length} of ${lines.length} lines listed`);
        });
        box.append(make("label", { class: "tool" }, "Find lines", input));
      }
      box.append(...this.buttons);
    }

    toggle(i) {
      this.shown[i] = !this.shown[i];
      press(this.buttons[i], this.shown[i]);
      this.draw();
      say(`${this.content.lines[i].name} ${this.shown[i] ? "shown" : "hidden"}`);
    }

    band(line, own, color) {
      const xs = this.x(line), top = [], bottom = [];
      line.y.forEach((y, i) => {
        if (y === null || line.low[i] === null || (this.log.x && !(xs[i] > 0))) return;
        const low = this.log.y ? Math.max(line.low[i], y * 1e-3) : line.low[i];
        top.push([xs[i], line.high[i] === null ? y : line.high[i]]);
        bottom.unshift([xs[i], low]);
      });
      const points = [...top, ...bottom];
      return { type: "scatter", mode: "lines", x: points.map((p) => p[0]), y: points.map((p) => p[1]), fill: "toself", hoverinfo: "skip",
        line: { width: 0, color }, fillcolor: color + "26", meta: "band" };
    }

    trace(line, index, own) {
      const { color, dash, symbol } = look(line, index, own), xs = this.x(line), content = this.content;
      const isMark = line.kind === "mark", isPoints = isMark || line.kind === "points", isThin = line.kind === "trail" || line.kind === "tracks";
      const hasMarks = isPoints || !line.kind || line.kind === "tracks";
      const text = xs.map((x, i) => safe(`${line.name}`) + `<br>${safe(content.x_label)}: ${format(x)}<br>${safe(content.y_label)}: ` +
        `${format(line.y[i])} ${safe(interval(line, i))}`);
      const ok = (i) => !(this.log.x && !(xs[i] > 0)) && !(this.log.y && !(line.y[i] > 0));
      return { type: "scatter", mode: isPoints ? "markers" : hasMarks ? "lines+markers" : "lines", x: xs, y: line.y.map((y, i) => (ok(i) ? y : null)), name: safe(line.name), text,
        hovertemplate: "%{text}<extra></extra>", connectgaps: false, meta: "line",
        line: { color, dash: isThin ? "solid" : dash, width: isThin ? 1 : 2 },
        marker: { color, symbol: symbol || "circle", size: isMark ? 11 : isPoints || isThin ? 5 : 6, opacity: isPoints ? 0.8 : 1, maxdisplayed: isPoints || isThin ? 0 : 12 } };
    }

    draw() {
      const own = colors(), content = this.content, traces = [], lines = content.lines.map((line, i) => [line, i]).filter(([, i]) => this.shown[i]);
      if (this.hasBands) for (const [line, i] of lines) if (line.low) traces.push(this.band(line, own, look(line, i, own).color));
      for (const [line, i] of lines) traces.push(this.trace(line, i, own));
      const seen = lines.flatMap(([line]) => this.x(line).filter((x, i) => x !== null && line.y[i] !== null && (!this.log.x || x > 0)));
      const heights = lines.flatMap(([line]) => line.y.filter((y) => y !== null && (!this.log.y || y > 0)));
      const layout = { ...baseLayout(own), xaxis: axis(content.x_label, this.log.x, own, seen), yaxis: axis(content.y_label, this.log.y, own, heights), shapes: [], annotations: [] };
      const ends = seen.length ? [seen.reduce((a, b) => Math.min(a, b)), seen.reduce((a, b) => Math.max(a, b))] : [1, 10];
      for (const one of content.references) {
        if (this.log.y && !(one.value > 0)) continue;
        traces.push({ type: "scatter", mode: "lines", x: ends, y: [one.value, one.value], name: safe(one.name), meta: "reference",
          text: [safe(one.name), safe(one.name)], hovertemplate: "%{text}<extra></extra>", line: { color: own.quiet, dash: "dash", width: 1.4 } });
        layout.annotations.push({ xref: "paper", x: 0.01, xanchor: "left", y: this.log.y ? Math.log10(one.value) : one.value, yanchor: "bottom",
          text: safe(one.name), showarrow: false, font: { size: 11.5, color: own.quiet }, bgcolor: own.paper + "c0", borderpad: 1 });
      }
      for (const [line] of lines.filter(([one]) => one.kind === "guide").slice(0, 1)) {
        const last = this.x(line)[0] > this.x(line).at(-1) ? 0 : line.y.length - 1, [x, y] = [this.x(line)[last], line.y[last]];
        layout.annotations.push({ x: this.log.x ? Math.log10(x) : x, y: this.log.y ? Math.log10(y) : y, xanchor: "right", yanchor: "bottom",
          text: safe(line.name), showarrow: false, font: { size: 11.5, color: own.quiet } });
      }
      if (content.window) {
        const [from, to] = content.window;
        layout.shapes.push({ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: own.shade, line: { width: 0 }, layer: "below" });
      }
      show(this.plot, traces, layout);
      this.table();
    }

    table() {
      const details = this.figure.querySelector("details.data");
      if (!details.open) return;
      const { content } = this, hasInterval = content.lines.some((line) => line.low), hasWords = content.lines.some((line) => line.words), rows = [];
      content.lines.forEach((line, k) => {
        if (this.shown[k]) line.y.forEach((y, i) => {
          const x = this.x(line)[i];
          if (x !== null) rows.push([line.name, format(x), format(y), ...(hasInterval ? [line.low ? format(line.low[i]) : "", line.high ? format(line.high[i]) : ""] : []), ...(hasWords ? [interval(line, i)] : [])]);
        });
      });
      for (const one of content.references) rows.push([one.name, "", format(one.value), ...(hasInterval ? ["", ""] : []), ...(hasWords ? [""] : [])]);
      fill(details, ["line", content.x_label, content.y_label, ...(hasInterval ? ["lower end", "upper end"] : []), ...(hasWords ? ["about"] : [])], rows);
    }
  }

  class Bars {
    constructor(figure, content) { this.figure = figure; this.content = content; this.plot = figure.querySelector(".plot"); }

    draw() {
      const own = colors(), { names, values, marked, x_label } = this.content;
      const isMarked = names.map((name) => name === marked);
      const trace = { type: "bar", orientation: "h", x: values, y: names.map(safe), hovertemplate: "%{text}<extra></extra>", textposition: "none",
        text: names.map((name, i) => `${safe(name)}: ${format(values[i])}`),
        marker: { color: isMarked.map((is) => (is ? own.lines[1] : own.rule)), pattern: { shape: isMarked.map((is) => (is ? "/" : "")), fgcolor: own.paper, solidity: 0.25 } } };
      show(this.plot, [trace], { ...baseLayout(own), xaxis: { ...axis(x_label, false, own), zeroline: true, zerolinecolor: own.quiet },
        yaxis: { automargin: true, autorange: "reversed", ticks: "", linecolor: own.rule } });
      this.table();
    }

    table() {
      const details = this.figure.querySelector("details.data");
      if (details.open) fill(details, ["name", this.content.x_label], this.content.names.map((name, i) => [name, format(this.content.values[i])]));
    }
  }

  class Heatmap {
    constructor(figure, content) {
      this.figure = figure; this.content = content; this.plots = [...figure.querySelectorAll(".plot")];
      this.has = { visits: true, drift: true };
      const box = figure.querySelector(".controls");
      for (const [name, label] of [["visits", "Visitation (circles)"], ["drift", "Drift (arrows)"]]) {
        box.append(button(label, true, (made) => {
          this.has[name] = !this.has[name]; press(made, this.has[name]); this.draw(); say(`${label} ${this.has[name] ? "shown" : "hidden"}`);
        }, { "data-layer": name }));
      }
    }

    arrows(panel) {
      const x = [], y = [];
      panel.drift.forEach((row, r) => row.forEach(([down, right], c) => {
        const size = Math.hypot(down, right);
        if (size < 0.02) return;
        const [tipX, tipY] = [c + right / 4, r + down / 4], angle = Math.atan2(down, right), head = Math.min(0.16, size / 4);
        x.push(c - right / 4, tipX, null, tipX - head * Math.cos(angle - 0.5), tipX, tipX - head * Math.cos(angle + 0.5), null);
        y.push(r - down / 4, tipY, null, tipY - head * Math.sin(angle - 0.5), tipY, tipY - head * Math.sin(angle + 0.5), null);
      }));
      return { type: "scatter", mode: "lines", x, y, hoverinfo: "skip", line: { color: "#16191d", width: 1.3 } };
    }

    draw() {
      const own = colors(), { panels, limits, marks, label } = this.content;
      panels.forEach((panel, k) => {
        const rows = panel.field.length, columns = panel.field[0].length;
        const [low, high] = [Math.log10(limits[0]), Math.log10(Math.max(limits[1], 1.01 * limits[0]))];
        const text = panel.field.map((row, r) => row.map((value, c) => `row ${r + 1}, column ${c + 1}<br>${safe(label)}: ${format(value)}<br>` +
          `time spent: ${format(100 * panel.visits[r][c])} %<br>drift: ${format(panel.drift[r][c][1])} right, ${format(panel.drift[r][c][0])} down`));
        const traces = [{ type: "heatmap", z: panel.field.map((row) => row.map((v) => (v > 0 ? Math.log10(v) : null))), zmin: low, zmax: high, colorscale: RAMP,
          showscale: false, text, hovertemplate: "%{text}<extra></extra>", xgap: 1, ygap: 1, hoverongaps: true }];
        const width = this.plots[k].clientWidth || 300, unit = width / columns;
        marks.forEach(([name, cells], m) => traces.push({ type: "scatter", mode: "markers", x: cells.map((at) => at[1]), y: cells.map((at) => at[0]), hoverinfo: "skip",
          marker: name === "hazard" ? { symbol: "x-thin", size: 0.55 * unit, line: { color: "#5c636b", width: 1 } }
            : { symbol: "square-open", size: 0.8 * unit, color: LIGHT.lines[(2 + m) % 8], line: { width: 2.5 } } }));
        if (this.has.visits) {
          const at = panel.visits.flatMap((row, r) => row.map((v, c) => [c, r, v])), most = Math.max(...at.map((p) => p[2]), 1e-12);
          traces.push({ type: "scatter", mode: "markers", x: at.map((p) => p[0]), y: at.map((p) => p[1]), hoverinfo: "skip",
            marker: { symbol: "circle-open", size: at.map((p) => 0.95 * unit * Math.sqrt(p[2] / most)), color: "#c94f00", line: { width: 1.5 } } });
        }
        if (this.has.drift) traces.push(this.arrows(panel));
        const hidden = { visible: false, fixedrange: true };
        show(this.plots[k], traces, { ...baseLayout(own), margin: { l: 1, r: 1, t: 1, b: 1 }, dragmode: false,
          xaxis: { ...hidden, range: [-0.5, columns - 0.5] }, yaxis: { ...hidden, range: [rows - 0.5, -0.5], scaleanchor: "x" } });
      });
      this.table();
    }

    table() {
      const details = this.figure.querySelector("details.data");
      if (!details.open) return;
      const rows = this.content.panels.flatMap((panel) => panel.field.flatMap((row, r) => row.map((value, c) => [panel.title, String(r + 1), String(c + 1),
        format(value), `${format(100 * panel.visits[r][c])} %`, format(panel.drift[r][c][0]), format(panel.drift[r][c][1])])));
      fill(details, ["record point", "row", "column", this.content.label, "time spent", "drift down", "drift right"], rows);
    }
  }

  function fill(details, columns, rows) {
    const head = make("tr", {}, ...columns.map((name, i) => make("th", { scope: "col", class: i ? "number" : "" }, make("span", { class: "plain" }, name))));
    const body = rows.slice(0, MOST_ROWS).map((row) => make("tr", {}, ...row.map((value, i) => make("td", { class: i ? "number" : "" }, value))));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
    const box = details.querySelector(".scroll");
    box.replaceChildren(table);
    if (rows.length > MOST_ROWS) box.append(make("p", { class: "note" }, `The first ${MOST_ROWS} of ${rows.length} rows; hide lines to see others.`));
  }

  function sort(table, column, head) {
    const isUp = head.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0], isNumber = head.classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      return isNumber ? (cell.hasAttribute("data-value") ? Number(cell.dataset.value) : NaN) : cell.textContent;
    };
    const compare = (a, b) => {
      if (!isNumber) return isUp ? a.localeCompare(b, "en", { numeric: true }) : b.localeCompare(a, "en", { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return a === b ? 0 : (a < b) === isUp ? -1 : 1;
    };
    const rows = [...body.rows].map((row) => [key(row), row]).sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]);
    body.append(...rows);
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
    say(`sorted by ${head.textContent}, ${isUp ? "ascending" : "descending"}`);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const made of table.tHead.querySelectorAll("button")) {
      made.addEventListener("click", () => sort(table, Number(made.dataset.column), made.closest("th")));
    }
  }

  for (const made of document.querySelectorAll("[data-copy]")) {
    made.addEventListener("click", async () => {
      const source = document.getElementById(made.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        say("copied");
      } catch {
        getSelection().selectAllChildren(source);
        say("selected; copy it with the keyboard");
      }
    });
  }

  const KINDS = { chart: Chart, bars: Bars, heatmap: Heatmap };
  for (const element of document.querySelectorAll("figure[data-kind]")) {
    const content = JSON.parse(document.getElementById(`${element.dataset.name}-data`).textContent);
    const figure = new KINDS[element.dataset.kind](element, content);
    figures.push(figure);
    element.querySelector("details.data").addEventListener("toggle", () => figure.table());
    figure.draw();
  }

  const redraw = () => {
    for (const figure of figures) {
      figure.draw();
      (figure.buttons || []).forEach((made, i) => made.querySelector("svg").replaceWith(swatch(figure.content.lines[i], i)));
    }
  };
  dark.addEventListener("change", redraw);
  const opened = [];
  window.addEventListener("beforeprint", () => {
    isPrinting = true;
    if (dark.matches) redraw();
    for (const details of document.querySelectorAll("details.code:not([open])")) { details.open = true; opened.push(details); }
  });
  window.addEventListener("afterprint", () => {
    isPrinting = false;
    if (dark.matches) redraw();
    for (const details of opened.splice(0)) details.open = false;
  });
})();
