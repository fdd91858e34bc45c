/* Curves against the missing rate: choose data set and metric, read values by pointer or
   slider. Draws the numbers that the page carries; without scripts the picture stays. */
"use strict";

(() => {
  const WIDTH = 720, HEIGHT = 400, LEFT = 62, RIGHT = 14, TOP = 14, BOTTOM = 46;
  const SVG = "http://www.w3.org/2000/svg";

  function svg(parent, kind, attributes, text) {
    const node = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  function html(parent, kind, text = "", attributes = {}) {
    const node = document.createElement(kind);
    node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.append(node);
    return node;
  }

  /* About five round numbers that span the values. */
  function ticks(low, high) {
    const rough = (high - low || 1) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const first = Math.floor(low / step), last = Math.ceil(high / step);
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  }

  function choice(parent, name, labels, react) {
    const label = html(parent, "label", `${name} `);
    const select = html(label, "select");
    const fill = (names) => {
      select.replaceChildren();
      names.forEach((text, i) => html(select, "option", text, { value: i }));
    };
    fill(labels);
    select.addEventListener("change", react);
    return { select, fill, get index() { return Number(select.value); } };
  }

  function explore(figure) {
    const { places } = JSON.parse(figure.querySelector("script").textContent);
    const live = document.createElement("div");
    live.className = "msa-live";
    figure.prepend(live);
    const caption = figure.querySelector("figcaption");
    const controls = html(live, "div", "", { class: "msa-controls" });
    const place = choice(controls, "Data", places.map((p) => p.label), newPlace);
    const metricNames = () => places[place.index].metrics.map((m) => m.name);
    const metric = choice(controls, "Metric", metricNames(), draw);
    const chart = svg(live, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const sliderLabel = html(live, "label", "Missing rate ", { class: "msa-slider" });
    const slider = html(sliderLabel, "input", "", { type: "range", min: 0, value: 0 });
    const readout = html(live, "table", "", { class: "msa-readout" });
    let rates = [], cursor = null;

    const x = (rate) => LEFT + rate * (WIDTH - LEFT - RIGHT);
    const shownMetric = () => places[place.index].metrics[metric.index];

    function newPlace() {
      const before = shownMetric()?.key;
      metric.fill(metricNames());
      const again = places[place.index].metrics.findIndex((m) => m.key === before);
      metric.select.value = Math.max(again, 0);
      draw();
    }

    function draw() {
      const { name, better, systems } = shownMetric();
      const values = systems.flatMap((s) => s.points.flatMap((p) => [p[1], p[2], p[3]]));
      const finite = values.filter(Number.isFinite);
      const marks = ticks(Math.min(...finite), Math.max(...finite));
      const low = marks[0], high = marks[marks.length - 1];
      const y = (v) => HEIGHT - BOTTOM - ((v - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
      chart.replaceChildren();
      chart.setAttribute("aria-label", `${name} against the missing rate; ${better} is better`);
      const decimals = Math.max(0, -Math.floor(Math.log10(marks[1] - marks[0])));
      for (const mark of marks) {
        svg(chart, "line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark), stroke: "#ddd" });
        svg(chart, "text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, mark.toFixed(decimals));
      }
      for (let i = 0; i <= 10; i += 2) {
        svg(chart, "text", { x: x(i / 10), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, (i / 10).toFixed(1));
      }
      svg(chart, "text", { x: x(0.5), y: HEIGHT - 8, "text-anchor": "middle" }, "missing rate");
      svg(chart, "text", {
        x: 0, y: 0, "text-anchor": "middle", transform: `translate(14 ${y((low + high) / 2)}) rotate(-90)`,
      }, `${name}: ${better} is better`);
      cursor = svg(chart, "line", { y1: TOP, y2: HEIGHT - BOTTOM, stroke: "#444", "stroke-dasharray": "3 3" });
      for (const { colour, dashed, points } of systems) {
        const edge = [...points.map((p) => [p[0], p[3]]), ...points.map((p) => [p[0], p[2]]).reverse()];
        const path = (list) => list.map(([r, v]) => `${x(r)},${y(v)}`).join(" ");
        svg(chart, "polygon", { points: path(edge), fill: colour, opacity: 0.1 });
        svg(chart, "polyline", {
          points: path(points), fill: "none", stroke: colour, "stroke-width": 2,
          ...(dashed ? { "stroke-dasharray": "6 4" } : {}),
        });
        points.forEach((p) => svg(chart, "circle", { cx: x(p[0]), cy: y(p[1]), r: 3.5, fill: colour }));
      }
      rates = [...new Set(systems.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
      slider.max = rates.length - 1;
      caption.textContent = places[place.index].caption;
      read();
    }

    /* The values of all systems at the chosen rate, the best first. */
    function read() {
      const rate = rates[Math.min(Number(slider.value), rates.length - 1)];
      const { better, decimals, systems, name } = shownMetric();
      cursor.setAttribute("x1", x(rate));
      cursor.setAttribute("x2", x(rate));
      const rows = systems
        .map((s) => ({ ...s, point: s.points.find((p) => p[0] === rate) }))
        .filter((s) => s.point)
        .sort((a, b) => (better === "higher" ? b.point[1] - a.point[1] : a.point[1] - b.point[1]));
      readout.replaceChildren();
      html(readout, "caption", `${name} at missing rate ${rate.toFixed(1)}, best first`);
      const head = html(html(readout, "thead"), "tr");
      ["System", "Mean", "95 % interval", "Seeds"].forEach((t) => html(head, "th", t, { scope: "col" }));
      const body = html(readout, "tbody");
      for (const { name: system, colour, point } of rows) {
        const row = html(body, "tr");
        const cell = html(row, "td");
        html(cell, "span", "", { class: "msa-key", style: `background: ${colour}` });
        cell.append(system);
        html(row, "td", point[1].toFixed(decimals));
        html(row, "td", `${point[2].toFixed(decimals)} to ${point[3].toFixed(decimals)}`);
        html(row, "td", String(point[4]));
      }
      slider.setAttribute("aria-valuetext", rate.toFixed(1));
    }

    slider.addEventListener("input", read);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * WIDTH;
      const gaps = rates.map((rate) => Math.abs(x(rate) - at));
      slider.value = gaps.indexOf(Math.min(...gaps));
      read();
    });
    figure.classList.add("msa-alive");
    draw();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.msa-explorer").forEach(explore);
  });
})();
