/* Words and nodes: how money, time and states are written, and the one way in which text enters the page. */
"use strict";
(function (P) {
  const DASH = "\u2013";

  /** An element. Text goes in through textContent only; there is no other way in this program. */
  P.make = function (tag, options, children) {
    const node = document.createElement(tag);
    const given = options || {};
    for (const key of Object.keys(given)) {
      const value = given[key];
      if (value === null || value === undefined || value === false) continue;
      if (key === "text") node.textContent = value;
      else if (key === "on") for (const name of Object.keys(value)) node.addEventListener(name, value[name]);
      else if (key === "data") Object.assign(node.dataset, value);
      else node.setAttribute(key, value === true ? "" : String(value));
    }
    for (const child of children || []) if (child !== null && child !== undefined) node.append(child);
    return node;
  };

  P.svg = function (tag, attributes, children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const key of Object.keys(attributes || {})) {
      if (key === "text") node.textContent = attributes[key];
      else node.setAttribute(key, String(attributes[key]));
    }
    for (const child of children || []) if (child) node.append(child);
    return node;
  };

  P.byId = (id) => document.getElementById(id);

  P.button = (text, click, options) => P.make("button", { type: "button", text, on: { click }, ...options });

  /* --- numbers ------------------------------------------------------------------------------------------------ */

  P.count = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

  P.plural = (number, one, many) => `${P.count(number)} ${number === 1 ? one : many || `${one}s`}`;

  /** Micro-units as exact decimal text, at least two decimals. */
  P.amount = function (micros) {
    const whole = Math.abs(micros);
    const rest = String(whole % 1e6).padStart(6, "0").replace(/0+$/, "").padEnd(2, "0");
    return `${micros < 0 ? "-" : ""}${P.count(Math.floor(whole / 1e6))}.${rest}`;
  };

  P.money = (micros, unit) => (micros === null || micros === undefined ? DASH : `${P.amount(micros)} ${unit || ""}`);

  P.seconds = function (seconds) {
    if (seconds === null || seconds === undefined) return DASH;
    if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  };

  P.bytes = function (bytes) {
    if (bytes === null || bytes === undefined) return DASH;
    if (bytes < 1000) return `${bytes} B`;
    if (bytes < 1e6) return `${Math.round(bytes / 1000)} kB`;
    return `${Math.round(bytes / 1e5) / 10} MB`;
  };

  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
  const two = (number) => String(number).padStart(2, "0");

  /** A moment in local time; files hold UTC, screens do not. */
  P.moment = function (micros) {
    if (micros === null || micros === undefined) return DASH;
    const at = new Date(micros / 1000);
    return `${at.getDate()} ${MONTHS[at.getMonth()]} ${at.getFullYear()}, ${two(at.getHours())}:${two(at.getMinutes())}`;
  };

  P.utc = (micros) => (micros === null || micros === undefined ? "" : new Date(micros / 1000).toISOString());

  P.time = (micros) => P.make("time", { datetime: P.utc(micros), title: P.utc(micros), text: P.moment(micros) });

  /* --- states -------------------------------------------------------------------------------------------------- */

  // [words, symbol, tone]: a state is told by word and symbol, its tone only underlines it.
  const STATES = {
    waiting: ["waiting", "\u25cb", "idle"],
    held: ["held", "\u25cb", "idle"],
    submitting: ["sending", "\u25b8", "busy"],
    running: ["running", "\u25b8", "busy"],
    fetching: ["fetching", "\u25b8", "busy"],
    done: ["done", "\u2713", "good"],
    complete: ["complete", "\u2713", "good"],
    short: ["short", "\u25d0", "bad"],
    failed: ["failed", "\u2715", "bad"],
    failed_tasks: ["finished, with failed tasks", "\u2715", "bad"],
    in_doubt: ["in doubt", "?", "doubt"],
    skipped: ["skipped", "\u2298", "idle"],
    budget_reached: ["budget reached", "\u25a0", "doubt"],
    parked: ["parked", "\u2016", "doubt"],
    stopped: ["stopped", "\u25a0", "idle"],
  };
  P.STATE_ORDER = Object.keys(STATES);

  P.stateWords = (state) => (Object.hasOwn(STATES, state) ? STATES[state][0] : state);
  P.tone = (state) => (Object.hasOwn(STATES, state) ? STATES[state][2] : "idle");

  P.badge = function (state, more) {
    const [words, symbol, tone] = Object.hasOwn(STATES, state) ? STATES[state] : [state, "\u25cb", "idle"];
    return P.make("span", { class: `badge ${tone}` }, [
      P.make("span", { class: "symbol", "aria-hidden": "true", text: symbol }),
      P.make("span", { text: more ? `${words}: ${more}` : words }),
    ]);
  };

  P.faultWords = (fault) => (fault || "").replaceAll("_", " ");

  /* --- saying and copying ---------------------------------------------------------------------------------------- */

  let clearing = 0;
  P.say = function (text) {
    const line = P.byId("said");
    line.textContent = text;
    line.hidden = false;
    clearTimeout(clearing);
    clearing = setTimeout(() => (line.hidden = true), 4000);
  };

  function copyByHand(text) {
    const area = P.make("textarea", { class: "offscreen", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  P.copy = async function (text, what) {
    const focused = document.activeElement;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      done = copyByHand(text);
    }
    if (focused) focused.focus();
    P.say(done ? `copied: ${what}` : `could not copy; here it is: ${text}`);
  };

  P.copyButton = (label, text, what) =>
    P.button(label, () => P.copy(typeof text === "function" ? text() : text, what || label), { class: "copy" });

  P.download = function (name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = P.make("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  /* --- kept by the browser: file:// may forbid it, and then nothing is kept ---------------------------------------- */

  P.kept = function (key) {
    try {
      return JSON.parse(window.localStorage.getItem(key));
    } catch {
      return null;
    }
  };

  P.keep = function (key, value) {
    try {
      window.localStorage.setItem(key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  };

  P.soon = function (work, wait) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, wait);
    };
  };

  const FLAGS = {
    blank: "nothing can be seen on it",
    "near-duplicate": "looks like an earlier picture",
    missing: "its file is gone",
    damaged: "its file cannot be read as a picture",
    changed: "its file is not what was stored",
    superseded: "a review rejected it, and its task was sent again",
    "input-missing": "an input picture is no longer where it was",
    "input-changed": "an input picture is no longer what was sent",
  };

  /** A flag such as `input-changed:2` in words. */
  P.flagWords = function (flag) {
    const [kind, which] = String(flag).split(":");
    const words = FLAGS[kind];
    if (!words) return String(flag);
    return kind.startsWith("input-") && which ? words.replace("an input picture", `input picture ${which}`) : words;
  };
})((window.Pipeline = window.Pipeline || {}));
