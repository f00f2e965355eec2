/* The compare grid: a real table, rows and columns chosen from the axes, the samples in its cells. */
"use strict";
(function (P) {
  const { C } = P;
  const ROWS = 40;
  // A cell shows so many pictures until it is asked for all of them.
  const CELL = 12;
  // As wide as thumbnails are made: larger ones would be blurred.
  const THUMB = 320;
  const JOIN = "\u0001";
  const view = { order: [], columns: [], rows: [], places: null };
  const opened = new Set();
  let pages = null;
  let chosen = { rows: null, columns: null };

  /* --- axes ------------------------------------------------------------------------------------------------------------ */

  const namesOf = (key) => (key === "none" ? [] : key.split("*"));
  P.axisWords = (key) => namesOf(key).map((n, at) => (at ? n : P.axisLabel(n))).join(" \u00d7 ") || "One for all";

  function sizes() {
    return new Map(P.meta.axes.map((axis) => [axis.name, axis.values.length]));
  }

  function options(forRows) {
    const known = sizes();
    const singles = [...known.keys()];
    if (!known.has("prompt")) singles.push("prompt");
    const keys = [...singles, "none"];
    const limit = forRows ? Infinity : 60;
    for (const a of known.keys()) {
      for (const b of known.keys()) {
        const small = (known.get(b) || 0) <= 12;
        if (a !== b && small && (known.get(a) || 0) * known.get(b) <= limit) keys.push(`${a}*${b}`);
      }
    }
    return keys;
  }

  function defaults() {
    const known = sizes();
    const first = P.rows.find(Boolean);
    const edits = Boolean(first && first[C.inputs] && first[C.inputs].length);
    const others = (...taken) => [...known.keys()].filter((name) => !["sample", "gateway", ...taken].includes(name));
    const asRows = (edits ? ["row", "prompt"] : ["prompt", "row"]).find((name) => known.has(name));
    let columns = known.has("model") && known.has("size") ? "model*size" : null;
    columns = columns || ["model", "size", "step"].find((name) => known.has(name));
    if (!columns) columns = others(asRows, "seed").pop() || "none";
    // Whatever else varies goes to the rows, so that a cell holds nothing but samples.
    const rest = others("seed", ...namesOf(columns)).filter((name) => !["row", "prompt"].includes(name));
    const rows = [asRows, ...rest].filter(Boolean).join("*");
    return { rows: rows || (columns === "none" ? "none" : "prompt"), columns };
  }

  function reader(key) {
    const reads = namesOf(key).map(P.axisOf);
    return (row) => reads.map((read) => read(row)).map((value) => (value === null || value === undefined ? "none" : value));
  }

  function place(key) {
    const indexes = namesOf(key).map((name) => (P.facet(name) ? P.facet(name).index : new Map()));
    return (parts) => parts.reduce((sum, part, at) => sum * 1e5 + (indexes[at].get(part) ?? 99999), 0);
  }

  /* --- building ------------------------------------------------------------------------------------------------------- */

  function build(found) {
    const [rowParts, columnParts] = [reader(chosen.rows), reader(chosen.columns)];
    const [rows, columns] = [new Map(), new Map()];
    for (const number of found) {
      const row = P.rows[number];
      const [mine, yours] = [rowParts(row), columnParts(row)];
      const [rowKey, columnKey] = [mine.join(JOIN), yours.join(JOIN)];
      if (!columns.has(columnKey)) columns.set(columnKey, { key: columnKey, parts: yours, numbers: [] });
      if (!rows.has(rowKey)) rows.set(rowKey, { key: rowKey, parts: mine, cells: new Map(), numbers: [] });
      columns.get(columnKey).numbers.push(number);
      const line = rows.get(rowKey);
      if (!line.cells.has(columnKey)) line.cells.set(columnKey, []);
      line.cells.get(columnKey).push(number);
    }
    const rank = place(chosen.columns);
    view.columns = [...columns.values()].sort((a, b) => rank(a.parts) - rank(b.parts));
    view.rows = [...rows.values()];
    view.order = [];
    view.rows.forEach((line) => {
      for (const column of view.columns) line.numbers.push(...(line.cells.get(column.key) || []));
      for (const number of line.numbers) view.order.push(number);
    });
    view.places = null;
  }

  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

  /** What a column came to: the line beneath its name. */
  function tally(column) {
    const rows = column.numbers.map((number) => P.rows[number]);
    const made = rows.filter(P.isMade);
    const words = [made.length === rows.length ? P.plural(made.length, "picture") : `${P.count(made.length)} of ${P.count(rows.length)}`];
    const costs = made.filter((row) => row[C.cost_micros] !== null && row[C.currency]);
    const units = new Set(costs.map((row) => row[C.currency]));
    if (units.size === 1) {
      const mean = Math.round(costs.reduce((sum, row) => sum + row[C.cost_micros], 0) / costs.length / 100) * 100;
      words.push(`${P.money(mean, [...units][0])} each`);
    }
    const times = made.map(P.secondsOf).filter((value) => value !== null);
    if (times.length) words.push(P.seconds(median(times)));
    const ratings = made.map((row) => (P.reviewOf(row[C.id]) || {}).rating).filter(Boolean);
    if (ratings.length) {
      const mean = ratings.reduce((sum, one) => sum + one, 0) / ratings.length;
      words.push(`\u2605 ${mean.toFixed(1)} (${P.count(ratings.length)})`);
    }
    return words.join(" \u00b7 ");
  }

  const partWords = (key, part, at) => (namesOf(key)[at] === "model" ? P.shortModel(part) : part);

  function drawHead() {
    const corner = P.make("th", { scope: "col", class: "corner" }, [
      P.make("span", { text: P.axisWords(chosen.rows) }),
      P.make("span", { class: "facts", text: P.plural(view.rows.length, "row") }),
    ]);
    const heads = view.columns.map((column) =>
      P.make("th", { scope: "col" }, [
        ...column.parts.map((part, at) => P.make("span", { class: at ? "second" : "first", dir: "auto", title: part, text: partWords(chosen.columns, part, at) })),
        column.parts.length ? null : P.make("span", { class: "first", text: "all" }),
        P.make("span", { class: "facts", text: tally(column) }),
      ]),
    );
    P.byId("grid-head").replaceChildren(corner, ...heads);
  }

  /* --- lines ------------------------------------------------------------------------------------------------------------ */

  const one = (numbers, read) => {
    const value = read(P.rows[numbers[0]]);
    return numbers.every((number) => read(P.rows[number]) === value) ? value : null;
  };

  /** The words of a line's head: the value of each axis, and the prompt where all its pictures have the same. */
  function headWords(line) {
    const prompt = one(line.numbers, (row) => row[C.prompt]);
    const names = namesOf(chosen.rows);
    const found = line.parts.map((part, at) => {
      // A number says little beside the prompt that it stands for.
      const bare = names[at] === "row" && prompt !== null && /^\d+$/.test(part);
      const whole = names[at] === "prompt" && (prompt === null || prompt === part);
      return { kind: whole ? "prompt" : bare ? "facts" : "first", text: partWords(chosen.rows, part, at) };
    });
    // An axis named prompt may hold short names of what is sent.
    if (prompt !== null && !found.some(({ kind }) => kind === "prompt")) found.push({ kind: "prompt", text: prompt });
    return found;
  }

  function lineHead(line) {
    const head = P.make("th", { scope: "row" });
    const input = one(line.numbers, (row) => (row[C.inputs] && row[C.inputs].length ? row[C.inputs][0].sha256 : null));
    const shown = input === null ? null : P.rows[line.numbers[0]][C.inputs][0];
    if (shown && (shown.thumb || shown.src)) {
      head.append(P.make("img", { class: "input", src: shown.thumb || shown.src, alt: `input: ${shown.name}`, loading: "lazy" }));
    }
    for (const { kind, text } of headWords(line)) {
      head.append(P.make("span", { class: kind, dir: "auto", text: text.slice(0, 400), title: kind === "prompt" ? text.slice(0, 2000) : "" }));
    }
    return head;
  }

  /** The axes that tell the pictures of one cell apart: those that are neither rows nor columns. */
  function restAxes() {
    const used = new Set([...namesOf(chosen.rows), ...namesOf(chosen.columns), "sample", "gateway", "row", "prompt"]);
    return P.meta.axes.map((axis) => axis.name).filter((name) => !used.has(name));
  }

  function cell(line, column, rest) {
    const numbers = line.cells.get(column.key) || [];
    if (!numbers.length) {
      return P.make("td", { class: "none" }, [
        P.make("span", { "aria-hidden": "true", text: "\u2013" }),
        P.make("span", { class: "offscreen", text: "nothing here" }),
      ]);
    }
    const telling = rest.map(P.axisOf).filter((read) => one(numbers, read) === null);
    const most = opened.has(line.key) ? numbers.length : CELL;
    const figures = numbers.slice(0, most).map((number) => {
      const row = P.rows[number];
      const pic = P.picture(number);
      pic.style.setProperty("--shape", String(P.shapeOf(row)));
      const words = telling.map((read) => read(row)).filter(Boolean).join(", ");
      return P.make("figure", {}, [pic, words ? P.make("figcaption", { text: words }) : null]);
    });
    const cellNode = P.make("td", {}, [P.make("div", { class: "cell" }, figures)]);
    if (numbers.length > most) cellNode.append(P.button(`all ${P.count(numbers.length)}`, () => open(line), { class: "plain" }));
    return cellNode;
  }

  function open(line) {
    opened.add(line.key);
    pages.renew(view.rows.length);
  }

  const signLine = (line) => `${opened.has(line.key)}:${line.numbers.map(P.signOf).join()}:${view.columns.length}`;

  function fill(page, from, to) {
    const standing = new Map([...page.children].map((child) => [child.sign, child]));
    const rest = restAxes();
    page.replaceChildren(
      ...view.rows.slice(from, to).map((line) => {
        const sign = signLine(line);
        if (standing.has(sign)) return standing.get(sign);
        const node = P.make("tr", {}, [lineHead(line), ...view.columns.map((column) => cell(line, column, rest))]);
        node.sign = sign;
        return node;
      }),
    );
  }

  function spare(page, height) {
    const gap = P.make("td", { colspan: String(view.columns.length + 1) });
    gap.style.height = `${height}px`;
    page.replaceChildren(P.make("tr", { "aria-hidden": "true" }, [gap]));
  }

  const pen = document.createElement("canvas").getContext("2d");

  /** How wide the heads of lines would be if their words did not break: of the few that need most, no heed is taken. */
  function headWidth() {
    const style = getComputedStyle(document.documentElement);
    const face = (font, family) => `${font} ${style.getPropertyValue(family) || "sans-serif"}`;
    const [names, prompts] = [face("600 14px", "--sans"), face("15px", "--serif")];
    const wide = (text, font) => {
      pen.font = font;
      return pen.measureText(text.slice(0, 100)).width;
    };
    const needs = view.rows.slice(0, 400).map((line) => {
      const pictured = (P.rows[line.numbers[0]][C.inputs] || []).length ? 100 : 0;
      return Math.max(pictured, ...headWords(line).map(({ kind, text }) => wide(text, kind === "prompt" ? prompts : names)));
    });
    needs.sort((a, b) => a - b);
    const usual = needs[Math.floor(needs.length * 0.8)] || 0;
    // The padding on both sides, and a little for what a canvas measures otherwise.
    return Math.ceil(Math.max(usual, wide(P.axisWords(chosen.rows), names))) + 48;
  }

  /** So large that the columns fill the window, as long as nobody chose another size. */
  function fit() {
    const width = P.byId("grid").clientWidth;
    if (!width || !view.rows.length) return;
    const needed = width < 640 ? 112 : headWidth();
    const head = Math.min(width < 640 ? 112 : 256, needed);
    const most = view.rows.slice(0, 200).reduce((top, line) => {
      for (const numbers of line.cells.values()) top = Math.max(top, numbers.length);
      return top;
    }, 1);
    const padding = width < 640 ? 13 : 21;
    const room = (width - head - 16) / view.columns.length - padding;
    // As many beside each other as leaves each large enough to be judged.
    const beside = Math.max(1, Math.min(most, 4, Math.floor(room / (width < 640 ? 80 : 118))));
    const thumb = Math.max(width < 640 ? 92 : 110, Math.min(THUMB, Math.floor(room / beside) - 6));
    // What the pictures leave goes to the words of the rows, up to a good line's length; no more than they need.
    const left = width - view.columns.length * (beside * (thumb + 6) + padding) - 16;
    P.byId("grid").style.setProperty("--fit", `${thumb}px`);
    P.byId("grid").style.setProperty("--beside", `${(beside - 1) * (thumb + 6)}px`);
    P.byId("grid").style.setProperty("--head", `${width < 640 ? head : Math.min(needed, Math.max(220, Math.min(420, left)))}px`);
  }

  /* --- the view -------------------------------------------------------------------------------------------------------- */

  let lastColumns = "";

  view.draw = function (found, calm) {
    if (!chosen.rows) Object.assign(chosen, defaults());
    fillSelects();
    build(found);
    fit();
    drawHead();
    P.byId("grid-empty").hidden = found.length > 0 || !P.loaded.whole;
    P.byId("grid-table").hidden = !found.length;
    const columns = view.columns.map((column) => column.key).join("\u0002");
    if (calm && pages.pages.length && columns === lastColumns) pages.renew(view.rows.length);
    else {
      pages.start(view.rows.length, ROWS);
      if (!calm) P.byId("grid").scrollTop = 0;
    }
    lastColumns = columns;
    P.setCurrent(view);
  };

  view.reveal = function (number) {
    if (!view.places) {
      view.places = new Map();
      view.rows.forEach((line, at) => line.numbers.forEach((each) => view.places.set(each, at)));
    }
    const at = view.places.get(number);
    if (at === undefined) return null;
    const page = pages.reveal(at);
    let pic = page && page.querySelector(`.pic[data-n="${number}"]`);
    if (page && !pic) {
      open(view.rows[at]);
      pic = page.querySelector(`.pic[data-n="${number}"]`);
    }
    return pic;
  };

  function fillSelects() {
    for (const side of ["rows", "columns"]) {
      const select = P.byId(`grid-${side}`);
      const keys = options(side === "rows");
      if (!keys.includes(chosen[side])) keys.unshift(chosen[side]);
      if (select.dataset.keys !== keys.join()) {
        select.dataset.keys = keys.join();
        select.replaceChildren(...keys.map((key) => P.make("option", { value: key, text: P.axisWords(key) })));
      }
      select.value = chosen[side];
    }
  }

  /** Whether anything can be compared: otherwise a gallery says more. */
  P.hasColumns = () => defaults().columns !== "none";

  P.gridAxes = (given) => {
    if (given) Object.assign(chosen, given);
    return chosen;
  };

  P.setUpGrid = function () {
    pages = new P.Pages({
      scroller: P.byId("grid"),
      holder: P.byId("grid-table"),
      tag: "tbody",
      fill,
      spare,
      sign: (from, to) => view.rows.slice(from, to).map(signLine).join("|") + lastColumns,
    });
    const changed = () => {
      P.refresh();
      P.keepPlace();
    };
    for (const side of ["rows", "columns"]) {
      P.byId(`grid-${side}`).addEventListener("change", (event) => {
        chosen[side] = event.target.value;
        changed();
      });
    }
    P.byId("grid-swap").addEventListener("click", () => {
      chosen = { rows: chosen.columns, columns: chosen.rows };
      changed();
    });
    new ResizeObserver(P.soon(fit, 100)).observe(P.byId("grid"));
    P.onReview(P.soon(() => P.tab === "grid" && drawHead(), 300));
    return view;
  };
})((window.Pipeline = window.Pipeline || {}));
