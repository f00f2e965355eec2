/* Cost and time: three drawings of lines and bars, each with the table of its figures beneath. */
"use strict";
(function (P) {
  // In the drawing's own units: the whole, and the room for names at the left. A telephone gets its own measure.
  let WIDTH = 720;
  let NAMES = 250;
  const short = (name) => (name.length > NAMES / 7 ? `\u2026${name.slice(1 - NAMES / 7)}` : name);
  const distinct = (values) => [...new Set(values)];

  function table(caption, heads, lines) {
    const numeric = (value) => (typeof value === "object" ? "number" : null);
    const row = (cells) =>
      P.make("tr", {}, cells.map((value, at) =>
        at ? P.make("td", { class: numeric(value), text: typeof value === "object" ? value.text : value })
          : P.make("th", { scope: "row", dir: "auto", text: value })));
    return P.make("div", { class: "scroll" }, [
      P.make("table", { class: "figures" }, [
        P.make("caption", { text: caption }),
        P.make("thead", {}, [P.make("tr", {}, heads.map((head, at) => {
          const first = lines[0] && typeof lines[0][at] === "object" ? "number" : null;
          return P.make("th", { scope: "col", class: first, text: head });
        }))]),
        P.make("tbody", {}, lines.map(row)),
      ]),
    ]);
  }

  const figure = (text) => ({ text: String(text) });

  /** Round numbers that cover a span: 1, 2 or 5 times a power of ten apart. */
  function ticks(top, wanted) {
    if (!(top > 0)) return [0];
    const raw = top / (wanted || 4);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((by) => by * power).find((size) => size >= raw);
    const list = [];
    for (let at = 0; at <= top * 1.0001; at += step) list.push(at);
    return list;
  }

  function canvas(height, label) {
    return P.svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  }

  function section(title, nodes) {
    return P.make("section", { class: "chart" }, [P.make("h2", { text: title }), ...nodes]);
  }

  /* --- what each model cost --------------------------------------------------------------------------------------------- */

  function bars(lines, unit) {
    const top = Math.max(...lines.map((line) => line.settled_micros), 1);
    const [left, step] = [NAMES, 34];
    const room = WIDTH - left - 100;
    const node = canvas(lines.length * step + 8, `settled by model, in ${unit}; the table beneath has the figures`);
    lines.forEach((line, at) => {
      const y = at * step + 6;
      const wide = Math.max(1, (line.settled_micros / top) * room);
      node.append(
        P.svg("text", { x: left - 10, y: y + 15, class: "label end", text: short(`${line.gateway}/${line.model}`) }),
        P.svg("rect", { x: left, y, width: room, height: 22, class: "track", rx: 2 }),
        P.svg("rect", { x: left, y, width: wide, height: 22, class: "amount", rx: 2 }),
        P.svg("text", { x: left + wide + 8, y: y + 15, class: "value", text: P.money(line.settled_micros, unit) }),
      );
    });
    return node;
  }

  function byModel(lines) {
    const nodes = distinct(lines.map((line) => line.currency)).map((unit) =>
      bars(merged(lines.filter((line) => line.currency === unit)), unit || ""),
    );
    const heads = ["Model", "Step", "Pictures", "Tasks", "Failed", "Settled", "A picture"];
    const rows = lines.map((line) => [
      `${line.gateway}/${line.model}`,
      line.step,
      figure(P.count(line.images)),
      figure(P.count(line.tasks)),
      figure(P.count(line.failed)),
      figure(P.money(line.settled_micros, line.currency)),
      figure(line.images ? P.money(Math.round(line.settled_micros / line.images / 100) * 100, line.currency) : "\u2013"),
    ]);
    return section("What each model cost", [...nodes, table("by model and step", heads, rows)]);
  }

  function merged(lines) {
    const sums = new Map();
    for (const line of lines) {
      const key = `${line.gateway}/${line.model}`;
      const sum = sums.get(key);
      if (sum) sum.settled_micros += line.settled_micros;
      else sums.set(key, { ...line });
    }
    return [...sums.values()].sort((a, b) => b.settled_micros - a.settled_micros);
  }

  /* --- money over time ---------------------------------------------------------------------------------------------------- */

  function overUnit(points, unit) {
    const [left, right, height, foot] = [WIDTH < 500 ? 44 : 64, 80, 250, 28];
    const start = points[0].at;
    const span = Math.max(1, points[points.length - 1].at - start);
    const settled = points.map((point) => (point.settled_micros[unit] || 0) / 1e6);
    const held = points.map((point, at) => settled[at] + (point.held_micros[unit] || 0) / 1e6);
    const top = Math.max(...held, 1e-6) * 1.05;
    const x = (at) => left + ((at - start) / span) * (WIDTH - left - right);
    const y = (value) => 8 + (1 - value / top) * (height - foot - 8);
    const line = (values) => values.map((value, at) => `${at ? "L" : "M"}${x(points[at].at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const under = (values) => `${line(values)}L${x(points[points.length - 1].at)} ${y(0)}L${left} ${y(0)}Z`;
    const node = canvas(height, `money over time in ${unit}: settled, and held above it; the table beneath has the figures`);
    for (const tick of ticks(top)) {
      node.append(
        P.svg("line", { x1: left, x2: WIDTH - right, y1: y(tick), y2: y(tick), class: "rule" }),
        P.svg("text", { x: left - 8, y: y(tick) + 4, class: "label end", text: Number(tick.toPrecision(6)) }),
      );
    }
    for (const part of WIDTH < 500 ? [0, 1] : [0, 0.5, 1]) {
      const place = ["start", "middle", "end"][part * 2];
      const words = part ? `+ ${P.seconds((span * part) / 1e6)}` : P.moment(start);
      node.append(P.svg("text", { x: x(start + span * part), y: height - 6, class: `label ${place}`, text: words }));
    }
    node.append(
      P.svg("path", { d: under(held), class: "held-area" }),
      P.svg("path", { d: under(settled), class: "settled-area" }),
      P.svg("path", { d: line(held), class: "held-line" }),
      P.svg("path", { d: line(settled), class: "settled-line" }),
    );
    const last = settled.length - 1;
    const close = Math.abs(y(settled[last]) - y(held[last])) < 16;
    node.append(P.svg("text", { x: WIDTH - right + 8, y: y(settled[last]) + (close ? 14 : 4), class: "value", text: "settled" }));
    node.append(P.svg("text", { x: WIDTH - right + 8, y: y(held[last]) - (close ? 4 : -4), class: "label", text: "with held" }));
    return P.make("figure", {}, [P.make("figcaption", { text: unit }), node]);
  }

  function overTime(points) {
    if (!points.length) return section("Money over time", [P.make("p", { class: "hint", text: "Nothing was bought yet." })]);
    const units = distinct(points.flatMap((p) => [...Object.keys(p.settled_micros), ...Object.keys(p.held_micros)]));
    const every = Math.max(1, Math.ceil(points.length / 20));
    const picked = points.filter((_, at) => at % every === 0 || at === points.length - 1);
    const heads = ["Time", "Pictures", ...units.flatMap((unit) => [`settled, ${unit}`, `held, ${unit}`])];
    const rows = picked.map((point) => [
      P.moment(point.at),
      figure(P.count(point.images)),
      ...units.flatMap((u) => [figure(P.amount(point.settled_micros[u] || 0)), figure(P.amount(point.held_micros[u] || 0))]),
    ]);
    return section("Money over time", [
      ...units.map((unit) => overUnit(points, unit)),
      P.make("details", {}, [P.make("summary", { text: "The figures" }), table("settled so far, and held at that time", heads, rows)]),
    ]);
  }

  /* --- seconds by model ------------------------------------------------------------------------------------------------------ */

  function spans(lines) {
    const [left, step] = [NAMES, 34];
    const top = Math.max(...lines.map((line) => line.max || 0), 0.001);
    const x = (value) => left + ((value || 0) / top) * (WIDTH - left - 80);
    const height = lines.length * step + 30;
    const node = canvas(height, "seconds from sending to the end, by model: half, nine of ten, longest; figures beneath");
    for (const tick of ticks(top, WIDTH < 500 ? 3 : 5)) {
      node.append(
        P.svg("line", { x1: x(tick), x2: x(tick), y1: 0, y2: height - 22, class: "rule" }),
        P.svg("text", { x: x(tick), y: height - 6, class: "label middle", text: `${Number(tick.toPrecision(6))} s` }),
      );
    }
    lines.forEach((line, at) => {
      const y = at * step + 18;
      node.append(
        P.svg("text", { x: left - 10, y: y + 4, class: "label end", text: short(line.model) }),
        P.svg("line", { x1: x(0), x2: x(line.max), y1: y, y2: y, class: "thin" }),
        P.svg("line", { x1: x(0), x2: x(line.p90), y1: y, y2: y, class: "thick" }),
        P.svg("circle", { cx: x(line.p50), cy: y, r: 7, class: "dot" }),
        P.svg("line", { x1: x(line.max), x2: x(line.max), y1: y - 6, y2: y + 6, class: "thin" }),
        P.svg("text", { x: x(line.max) + 8, y: y + 4, class: "value", text: P.seconds(line.p50) }),
      );
    });
    return node;
  }

  function secondsByModel(lines) {
    if (!lines.length) return section("Seconds by model", [P.make("p", { class: "hint", text: "Nothing ended yet." })]);
    const heads = ["Model", "Calls", "Half within", "Nine of ten within", "Longest"];
    const rows = lines.map((line) => [
      line.model, figure(P.count(line.count)), figure(P.seconds(line.p50)), figure(P.seconds(line.p90)), figure(P.seconds(line.max)),
    ]);
    const key = "The dot is the middle: half of the calls took less. The thick line holds nine of ten, the thin one all.";
    return section("Seconds by model", [spans(lines), P.make("p", { class: "hint", text: key }), table("from sending to the end", heads, rows)]);
  }

  P.drawCharts = function () {
    const { charts } = P.meta;
    [WIDTH, NAMES] = window.innerWidth < 640 ? [400, 150] : [720, 250];
    P.byId("charts-body").replaceChildren(
      byModel(charts.by_model || []),
      overTime(charts.over_time || []),
      secondsByModel(charts.seconds || []),
    );
  };
})((window.Pipeline = window.Pipeline || {}));
