/* Ratings, rejections and notes: kept by the browser, sent to the server where there is one, written as review.csv. */
"use strict";
(function (P) {
  const entries = new Map();
  const listeners = [];
  const unsent = new Set();
  const HEADER = ["task_id", "image_index", "rating", "reject", "note", "prompt"];
  let key = null;

  P.reviewOf = (id) => entries.get(id);
  P.onReview = (listener) => listeners.push(listener);
  P.reviewCount = () => entries.size;

  const isPlain = (entry) => !entry.rating && !entry.reject && !entry.note;

  const store = P.soon(() => {
    if (!P.keep(key, [...entries])) P.say("this browser keeps nothing for local files: download review.csv before leaving");
  }, 250);

  P.startReview = function (meta) {
    key = `pipeline-review:${meta.job}:${meta.folder}`;
    const before = P.kept(key);
    for (const [id, entry] of Array.isArray(before) ? before : []) entries.set(id, entry);
  };

  function put(number, change) {
    const id = P.rows[number][P.C.id];
    const entry = { rating: null, reject: false, note: "", ...entries.get(id), ...change };
    if (isPlain(entry)) entries.delete(id);
    else entries.set(id, entry);
    told(number);
    store();
  }

  /** Changes one picture's entry: any of {rating, reject, note}. */
  P.review = function (number, change) {
    const row = P.rows[number];
    if (!row || !P.isMade(row)) return;
    unsent.add(row[P.C.id]);
    put(number, change);
    if (P.served) send();
  };

  function told(number) {
    P.retakeReview(number);
    for (const listener of listeners) listener(number);
  }

  const send = P.soon(async () => {
    const ids = [...unsent];
    unsent.clear();
    const body = ids.map((id) => ({ id, rating: null, reject: false, note: "", ...entries.get(id) }));
    try {
      const answer = await fetch("review", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Pipeline": "1" },
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(String(answer.status));
    } catch {
      ids.forEach((id) => unsent.add(id));
      P.say("the review could not be saved beside the run; it is kept in this browser");
    }
  }, 400);

  /* --- review.csv ------------------------------------------------------------------------------------------------- */

  // A spreadsheet takes these beginnings for a formula; an apostrophe makes them text.
  const guarded = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
  const unguarded = (text) => (/^'[=+\-@\t\r]/.test(text) ? text.slice(1) : text);

  function cell(value) {
    const text = guarded(value === null || value === undefined ? "" : String(value));
    return /[",;\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  P.reviewCsv = function () {
    const lines = [HEADER];
    P.rows.forEach((row) => {
      const entry = row && entries.get(row[P.C.id]);
      if (!entry) return;
      const [task, index] = [row[P.C.task_id], row[P.C.image_index]];
      lines.push([task, index, entry.rating, entry.reject ? "yes" : "", entry.note, row[P.C.prompt]]);
    });
    return `\ufeff${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
  };

  P.downloadReview = function () {
    P.download("review.csv", "text/csv;charset=utf-8", P.reviewCsv());
    P.say(`review.csv: ${P.plural(entries.size, "picture")}`);
  };

  /** Cells of a CSV text, quotes as usual; the separator is the header's. */
  P.parseCsv = function (text) {
    const source = text.replace(/^\ufeff/, "");
    const separator = source.split(/\r?\n/, 1)[0].includes(";") ? ";" : ",";
    const lines = [];
    let [line, value, quoted] = [[], "", false];
    const ended = () => {
      line.push(value);
      value = "";
    };
    for (let at = 0; at < source.length; at += 1) {
      const sign = source[at];
      if (quoted) {
        if (sign !== '"') value += sign;
        else if (source[at + 1] === '"') value += source[(at += 1)];
        else quoted = false;
      } else if (sign === '"') quoted = true;
      else if (sign === separator) ended();
      else if (sign === "\n") {
        ended();
        lines.push(line);
        line = [];
      } else if (sign !== "\r") value += sign;
    }
    if (value || line.length) {
      ended();
      lines.push(line);
    }
    return lines;
  };

  /** Reads a review.csv back, a colleague's or one's own. Returns how many of its pictures are here. */
  P.readReview = function (text, change) {
    const [header, ...lines] = P.parseCsv(text);
    const place = (name) => (header || []).indexOf(name);
    if (place("task_id") < 0 || place("image_index") < 0) return null;
    let known = 0;
    for (const line of lines) {
      const cellOf = (name) => unguarded(line[place(name)] || "");
      const number = P.numberOf(`${cellOf("task_id")}#${cellOf("image_index")}`);
      if (number === undefined) continue;
      known += 1;
      const rating = Number.parseInt(cellOf("rating"), 10);
      const reject = ["yes", "true", "1", "x"].includes(cellOf("reject").trim().toLowerCase());
      (change || P.review)(number, { rating: rating >= 1 && rating <= 5 ? rating : null, reject, note: cellOf("note") });
    }
    return known;
  };

  /** What the server keeps beside the run: a browser knows its own ratings only until the port is another. */
  P.fetchReview = async function () {
    if (!P.served) return;
    try {
      const answer = await fetch("review.csv");
      if (answer.ok) P.readReview(await answer.text(), (number, change) => unsent.has(P.rows[number][P.C.id]) || put(number, change));
    } catch {
      P.say("the review that was saved beside the run could not be read");
    }
  };

  P.openReview = async function (file) {
    const known = P.readReview(await file.text());
    if (known === null) P.say(`${file.name} has no columns task_id and image_index: it is no review`);
    else P.say(`${P.plural(known, "picture")} of ${file.name} read`);
  };
})((window.Pipeline = window.Pipeline || {}));
