/* The rows: taken in by chunks, looked through by facets and words, put in order. Nothing here touches the page. */
"use strict";
(function (P) {
  const COLUMNS = [
    "id", "task_id", "image_index", "state", "step", "row_id", "row", "axes", "sample", "gateway", "model", "prompt",
    "negative_prompt", "revised_prompt", "params", "seed", "n", "size", "width", "height", "media_type", "bytes",
    "sha256", "src", "thumb", "inputs", "cost_micros", "currency", "operation_id", "attempts", "in_spec", "fault",
    "fault_message", "submitted_at", "completed_at", "stored_at", "flags",
  ];
  const C = {};
  COLUMNS.forEach((name, place) => (C[name] = place));
  P.COLUMNS = COLUMNS;
  P.C = C;

  /** Whether a row is of a picture; where it can be seen, if at all: a page for mailing has small ones, and not of all. */
  P.isMade = (row) => row[C.image_index] !== null;
  P.sourceOf = (row) => row[C.src] || row[C.thumb];

  /** Every row by its number; null where a placeholder gave way to its pictures. */
  P.rows = [];
  const numbers = new Map();
  P.numberOf = (id) => numbers.get(id);
  P.meta = null;

  /* --- facets: what can be filtered by; one code for each row, or a mask of codes ----------------------------------- */

  const PSEUDO = {
    step: (row) => row[C.step],
    model: (row) => row[C.model],
    gateway: (row) => row[C.gateway],
    size: (row) => row[C.size],
    row: (row) => row[C.row_id],
    sample: (row) => (row[C.sample] === null ? null : String(row[C.sample])),
    prompt: (row) => row[C.prompt],
  };

  /** How an axis is read off a row: the matrix' own value first, a column of that name otherwise. */
  P.axisOf = function (name) {
    const pseudo = Object.hasOwn(PSEUDO, name) ? PSEUDO[name] : () => null;
    return (row) => (row[C.axes] && Object.hasOwn(row[C.axes], name) ? row[C.axes][name] : pseudo(row));
  };

  class Facet {
    constructor(key, label, read, values, many) {
      Object.assign(this, { key, label, read, many: Boolean(many), values: [], codes: [], chosen: new Set() });
      this.index = new Map();
      this.counts = [];
      for (const value of values || []) this.code(value);
    }
    code(value) {
      const text = value === null || value === undefined ? "none" : String(value);
      let code = this.index.get(text);
      if (code === undefined) {
        code = this.values.length;
        this.index.set(text, code);
        this.values.push(text);
      }
      return code;
    }
    take(number, row) {
      if (!this.many) {
        this.codes[number] = this.code(this.read(row));
        return;
      }
      let mask = 0;
      for (const value of this.read(row)) mask |= 1 << Math.min(30, this.code(value));
      this.codes[number] = mask;
    }
    passes(number) {
      return this.many ? (this.codes[number] & this.mask) !== 0 : this.chosen.has(this.codes[number]);
    }
    tally(number) {
      if (!this.many) {
        this.counts[this.codes[number]] += 1;
        return;
      }
      for (let rest = this.codes[number]; rest; rest &= rest - 1) this.counts[31 - Math.clz32(rest & -rest)] += 1;
    }
  }

  const REVIEW_WORDS = ["5 stars", "4 stars", "3 stars", "2 stars", "1 star", "not rated", "rejected", "with a note"];

  function reviewWords(row) {
    const entry = P.reviewOf(row[C.id]);
    if (!P.isMade(row)) return [];
    const words = [entry && entry.rating ? REVIEW_WORDS[5 - entry.rating] : "not rated"];
    if (entry && entry.reject) words.push("rejected");
    if (entry && entry.note) words.push("with a note");
    return words;
  }

  P.flagKind = (flag) => String(flag).split(":")[0];

  P.facets = [];
  P.facet = (key) => P.facets.find((facet) => facet.key === key);

  P.setUpFacets = function (meta) {
    const stated = new Map(meta.axes.map((axis) => [axis.name, axis.values]));
    const order = ["model", "gateway", "size", "step"];
    const names = [...order.filter((name) => stated.has(name)), ...[...stated.keys()].filter((n) => !order.includes(n))];
    const facets = [new Facet("state", "State", (row) => row[C.state], P.STATE_ORDER)];
    for (const name of names) facets.push(new Facet(name, P.axisLabel(name), P.axisOf(name), stated.get(name)));
    facets.push(new Facet("review", "Review", reviewWords, REVIEW_WORDS, true));
    facets.push(new Facet("flags", "Flags", (row) => (row[C.flags] || []).map(P.flagKind), [], true));
    facets.push(new Facet("fault", "Fault", (row) => row[C.fault]));
    for (const old of P.facets) {
      const now = facets.find((facet) => facet.key === old.key);
      if (now) for (const code of old.chosen) now.chosen.add(now.code(old.values[code]));
    }
    P.facets = facets;
    for (const facet of facets) P.rows.forEach((row, number) => row && facet.take(number, row));
  };

  P.axisLabel = (name) => (name === "row" ? "Input row" : name.charAt(0).toUpperCase() + name.slice(1));

  P.retakeReview = function (number) {
    const facet = P.facet("review");
    if (!facet || !P.rows[number]) return;
    facet.take(number, P.rows[number]);
    facet.seenAt = null;
  };

  /* --- taking in ------------------------------------------------------------------------------------------------------ */

  function slotFor(row) {
    const known = numbers.get(row[C.id]);
    if (known !== undefined) return known;
    // The first picture of a task stands where its placeholder stood: the order of the plan is kept.
    const placeholder = `${row[C.task_id]}#`;
    const waiting = row[C.image_index] === null ? undefined : numbers.get(placeholder);
    if (waiting === undefined) return P.rows.length;
    numbers.delete(placeholder);
    return waiting;
  }

  /** Takes rows in, by their id. Returns the numbers of those that were new or changed. */
  P.takeRows = function (data) {
    const same = data.columns.length === COLUMNS.length && data.columns.every((name, place) => name === COLUMNS[place]);
    const places = same ? null : COLUMNS.map((name) => data.columns.indexOf(name));
    const changed = [];
    for (const given of data.rows) {
      const row = same ? given : places.map((place) => (place < 0 ? null : given[place]));
      const number = slotFor(row);
      numbers.set(row[C.id], number);
      P.rows[number] = row;
      texts[number] = undefined;
      for (const facet of P.facets) facet.take(number, row);
      changed.push(number);
    }
    return changed;
  };

  /* --- looking through ------------------------------------------------------------------------------------------------ */

  const texts = [];

  function textOf(number) {
    let text = texts[number];
    if (text !== undefined) return text;
    const row = P.rows[number];
    const parts = [row[C.prompt], row[C.negative_prompt], row[C.revised_prompt], row[C.gateway], row[C.model]];
    parts.push(row[C.size], row[C.step], row[C.row_id], row[C.state], row[C.fault], row[C.fault_message]);
    parts.push(row[C.seed], row[C.operation_id]);
    parts.push(...Object.values(row[C.row] || {}), ...Object.values(row[C.axes] || {}));
    text = parts.filter((part) => part !== null && part !== undefined && part !== "").join("\n").toLowerCase();
    texts[number] = text;
    return text;
  }

  // A note may change at any time and two digests are long: they are asked as they stand.
  function holds(number, word) {
    if (textOf(number).includes(word)) return true;
    const row = P.rows[number];
    if (word.length > 5 && ((row[C.id] || "").includes(word) || (row[C.sha256] || "").includes(word))) return true;
    const entry = P.reviewOf(row[C.id]);
    return Boolean(entry && entry.note && entry.note.toLowerCase().includes(word));
  }

  P.warmSearch = function () {
    let next = 0;
    const step = (deadline) => {
      while (next < P.rows.length && deadline.timeRemaining() > 2) if (P.rows[next++]) textOf(next - 1);
      if (next < P.rows.length) requestIdleCallback(step);
    };
    if (window.requestIdleCallback) requestIdleCallback(step);
  };

  P.query = { text: "", sort: "spec" };

  P.wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  /** The numbers of all rows that pass, in order; and each facet's counts under all the other facets' choices. */
  P.find = function () {
    const words = P.wordsOf(P.query.text);
    const asked = P.facets.filter((facet) => facet.chosen.size);
    for (const facet of P.facets) {
      facet.counts = new Array(facet.values.length).fill(0);
      facet.mask = [...facet.chosen].reduce((mask, code) => mask | (1 << Math.min(30, code)), 0);
    }
    const found = [];
    for (let number = 0; number < P.rows.length; number += 1) {
      if (!P.rows[number]) continue;
      let misses = 0;
      let missed = null;
      for (const facet of asked) {
        if (facet.passes(number)) continue;
        misses += 1;
        missed = facet;
        if (misses > 1) break;
      }
      if (misses > 1 || !words.every((word) => holds(number, word))) continue;
      if (misses === 1) missed.tally(number);
      else {
        found.push(number);
        for (const facet of P.facets) facet.tally(number);
      }
    }
    return inOrder(found);
  };

  P.secondsOf = function (row) {
    const [from, to] = [row[C.submitted_at], row[C.completed_at]];
    return from === null || to === null || from === undefined || to === undefined ? null : (to - from) / 1e6;
  };

  const rating = (row) => (P.reviewOf(row[C.id]) || {}).rating || null;
  const rejected = (row) => ((P.reviewOf(row[C.id]) || {}).reject ? 1 : 0);

  // [words, key of a row (null comes last), 1 for the smallest first and -1 for the largest first]
  P.SORTS = {
    spec: ["as in the spec", null, 1],
    dear: ["dearest first", (row) => row[C.cost_micros], -1],
    cheap: ["cheapest first", (row) => row[C.cost_micros], 1],
    slow: ["slowest first", P.secondsOf, -1],
    fast: ["quickest first", P.secondsOf, 1],
    best: ["best rated first", rating, -1],
    worst: ["worst rated first", rating, 1],
    rejected: ["rejected first", rejected, -1],
    flags: ["most flags first", (row) => (row[C.flags] || []).length, -1],
    newest: ["newest first", (row) => row[C.stored_at], -1],
  };

  function inOrder(found) {
    const [, key, sign] = P.SORTS[P.query.sort] || P.SORTS.spec;
    if (!key) return found;
    const keys = new Map(found.map((number) => [number, key(P.rows[number])]));
    return found.sort((left, right) => {
      const [a, b] = [keys.get(left), keys.get(right)];
      if (a === b) return left - right;
      if (a === null || a === undefined) return 1;
      if (b === null || b === undefined) return -1;
      return (a - b) * sign || left - right;
    });
  }
})((window.Pipeline = window.Pipeline || {}));
