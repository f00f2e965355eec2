/* One picture at full size: before and after, all that is known of it, its review, and a spec that makes it again. */
"use strict";
(function (P) {
  const { C } = P;
  let number = null;
  let order = [];
  let mode = "after";
  let before = 0;
  let opener = null;
  let siblings = null;

  /* --- a spec of this one task, as text ------------------------------------------------------------------------------ */

  // JSON text is YAML in double quotes, but for these signs, which YAML takes for line ends or refuses.
  const quoted = (text) =>
    JSON.stringify(text).replace(/[\u007f-\u00a0\u2028\u2029\ufeff\ufffe\uffff]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);

  // What stands in double braces would be filled in by the program.
  const written = (text) => quoted(text.replace(/\{[{%#]/g, (open) => `{{ "${open}" }}`));

  P.specOf = function (row) {
    const name = `${P.meta.job}-one`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
    const lines = ["version: 1", `name: ${quoted(name || "one")}`, `model: ${quoted(P.modelOf(row))}`];
    lines.push(`prompt: ${written(row[C.prompt] || "")}`);
    if (row[C.negative_prompt]) lines.push(`negative_prompt: ${written(row[C.negative_prompt])}`);
    const inputs = (row[C.inputs] || []).map((input) => `  - ${written(input.name || "")}`);
    if (inputs.length) lines.push("images: # paths are relative to this file", ...inputs);
    if (row[C.size]) lines.push(`size: ${quoted(row[C.size])}`);
    if (row[C.n] !== null) lines.push(`n: ${row[C.n]}`);
    if (row[C.seed] !== null) lines.push(`seed: ${row[C.seed]}`);
    if (row[C.params] && row[C.params] !== "{}") lines.push(`params: ${row[C.params]}`);
    const known = row[C.cost_micros] !== null && row[C.currency] && P.isMade(row) && row[C.cost_micros] > 0;
    const cap = known ? P.amount(row[C.cost_micros] * (row[C.n] || 1)).replaceAll(",", "") : "1.00";
    const unit = known ? row[C.currency] : (P.meta.money[0] || {}).currency || "USD";
    lines.push(`budget: ${cap} ${unit}${known ? " # what it cost" : ""}`);
    return `${lines.join("\n")}\n`;
  };

  /* --- the picture ------------------------------------------------------------------------------------------------------ */

  const inputsOf = (row) => (row[C.inputs] || []).filter((input) => input.src || input.thumb);

  function full(src, alt, kind) {
    return P.make("img", { src, alt, class: kind, decoding: "async" });
  }

  function slider(row, input) {
    const over = full(input.src || input.thumb, `input: ${input.name}`, "over");
    const range = P.make("input", { type: "range", min: "0", max: "100", step: "1", value: "50", class: "slider" });
    range.setAttribute("aria-label", "how much of the input is shown, from the left");
    const line = P.make("span", { class: "line", "aria-hidden": "true" });
    const box = P.make("div", { class: "compare" }, [
      full(P.sourceOf(row), P.altOf(row), "under"),
      over,
      line,
      P.make("span", { class: "tag left", text: "before" }),
      P.make("span", { class: "tag right", text: "after" }),
      range,
    ]);
    const move = () => {
      box.style.setProperty("--cut", `${range.value}%`);
      range.setAttribute("aria-valuetext", `${range.value} % input, ${100 - range.value} % result`);
    };
    range.addEventListener("input", move);
    box.addEventListener("pointerdown", (event) => {
      const drag = (at) => {
        const frame = box.getBoundingClientRect();
        range.value = String(Math.round(((at.clientX - frame.left) / frame.width) * 100));
        move();
      };
      event.preventDefault();
      range.focus();
      drag(event);
      const end = () => {
        window.removeEventListener("pointermove", drag);
        window.removeEventListener("pointerup", end);
      };
      window.addEventListener("pointermove", drag);
      window.addEventListener("pointerup", end);
    });
    move();
    return box;
  }

  function shape(box, row) {
    if (row[C.width] && row[C.height]) box.style.setProperty("--shape", String(row[C.width] / row[C.height]));
    return box;
  }

  function drawStage(row) {
    const stage = P.byId("stage");
    const inputs = inputsOf(row);
    const input = inputs[Math.min(before, inputs.length - 1)];
    if (!P.sourceOf(row)) {
      const why = P.isMade(row) ? "The picture is not within this page." : "There is no picture of this task.";
      const said = [P.badge(row[C.state]), P.make("p", { text: row[C.fault_message] || why })];
      stage.replaceChildren(P.make("div", { class: "nopicture" }, said));
    } else if (mode === "slider" && input) stage.replaceChildren(shape(slider(row, input), row));
    else if (mode === "beside" && input) {
      const side = (node, words) => P.make("figure", {}, [node, P.make("figcaption", { text: words })]);
      const pair = [side(full(input.src || input.thumb, `input: ${input.name}`), "before"), side(full(P.sourceOf(row), P.altOf(row)), "after")];
      stage.replaceChildren(P.make("div", { class: "beside" }, pair));
    } else stage.replaceChildren(shape(P.make("div", { class: "alone" }, [full(P.sourceOf(row), P.altOf(row))]), row));
    drawModes(row, inputs);
  }

  function drawModes(row, inputs) {
    const holder = P.byId("modes");
    if (!inputs.length || !P.sourceOf(row)) {
      holder.replaceChildren();
      return;
    }
    const choice = (key, words) =>
      P.button(words, () => ((mode = key), drawStage(row)), { "aria-pressed": String(mode === key), data: { mode: key } });
    const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.mode : null;
    const buttons = [choice("slider", "slider"), choice("beside", "side by side"), choice("after", "result only")];
    inputs.length > 1 &&
      inputs.forEach((input, at) => {
        const words = `input ${at + 1}`;
        buttons.push(P.button(words, () => ((before = at), drawStage(row)), { "aria-pressed": String(before === at), title: input.name }));
      });
    holder.replaceChildren(...buttons);
    if (focused) holder.querySelector(`[data-mode="${focused}"]`).focus();
  }

  /* --- what is known ----------------------------------------------------------------------------------------------------- */

  function block(label, text, copied) {
    return P.make("section", { class: "text" }, [
      P.make("h3", {}, [P.make("span", { text: label }), P.copyButton("copy", text, copied || label.toLowerCase())]),
      P.make("p", { class: "prompt", dir: "auto", text }),
    ]);
  }

  function flags(row) {
    const all = (row[C.flags] || []).map((flag) => {
      const like = P.flagKind(flag) === "near-duplicate" ? P.numberOf(flag.slice("near-duplicate:".length)) : undefined;
      const words = P.flagWords(flag);
      return P.make("li", {}, [like === undefined ? P.make("span", { text: words }) : P.button(words, () => show(like), { class: "plain" })]);
    });
    return all.length ? P.make("ul", { class: "flags" }, all) : null;
  }

  function facts(row) {
    const wide = row[C.width] ? `${row[C.width]}x${row[C.height]}` : null;
    const size = wide && row[C.size] && wide !== row[C.size] ? `${wide} (asked for ${row[C.size]})` : wide || row[C.size];
    const place = row[C.n] > 1 && row[C.image_index] !== null ? `${row[C.image_index] + 1} of ${row[C.n]}` : null;
    const pairs = [
      ["State", P.badge(row[C.state], P.faultWords(row[C.fault]))],
      ["Said", row[C.fault_message]],
      ["Model", P.modelOf(row)],
      ["Size", size],
      ["Picture", place],
      ["Seed", row[C.seed]],
      ["Cost", row[C.cost_micros] === null ? null : P.money(row[C.cost_micros], row[C.currency])],
      ["Time", P.secondsOf(row) === null ? null : P.seconds(P.secondsOf(row))],
      ["Attempts", row[C.attempts]],
      ["Input row", row[C.row_id]],
      ...Object.entries(row[C.axes] || {})
        .filter(([name]) => !["model", "size"].includes(name))
        .map(([name, value]) => [P.axisLabel(name), value]),
      ["Flags", flags(row)],
      ["In the spec", row[C.in_spec] === false ? "no longer" : null],
      ["Made", row[C.completed_at] ? P.time(row[C.completed_at]) : null],
      ["File", row[C.bytes] === null ? null : `${row[C.media_type] || ""}, ${P.bytes(row[C.bytes])}`],
    ];
    const list = P.make("dl", { class: "facts-list" });
    for (const [name, value] of pairs) {
      if (value === null || value === undefined || value === "") continue;
      const node = value instanceof Node ? value : document.createTextNode(String(value));
      list.append(P.make("dt", { text: name }), P.make("dd", { dir: "auto" }, [node]));
    }
    const long = [["Operation", row[C.operation_id]], ["sha256", row[C.sha256]], ["Task", row[C.task_id]]];
    for (const [name, value] of long) {
      if (!value) continue;
      const code = P.make("code", { text: value, title: value });
      list.append(P.make("dt", { text: name }), P.make("dd", { class: "long" }, [code, P.copyButton("copy", value, name)]));
    }
    return list;
  }

  function wholeRow(row) {
    const lines = P.COLUMNS.map((name, at) => {
      const value = row[at];
      const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
      const known = name.endsWith("_at") && text ? `${text} (${P.utc(value)})` : text;
      return P.make("tr", {}, [P.make("th", { scope: "row", text: name }), P.make("td", { dir: "auto", text: known })]);
    });
    return P.make("details", { class: "whole" }, [
      P.make("summary", { text: "The full row" }),
      P.make("table", {}, [P.make("tbody", {}, lines)]),
    ]);
  }

  /** Other pictures of the same row and prompt: other models, sizes and samples. */
  function drawSiblings(row) {
    if (!siblings) {
      siblings = new Map();
      P.rows.forEach((each, at) => {
        if (!each || !P.sourceOf(each)) return;
        const key = `${each[C.row_id]}\n${each[C.prompt]}`;
        if (siblings.has(key)) siblings.get(key).push(at);
        else siblings.set(key, [at]);
      });
    }
    const all = siblings.get(`${row[C.row_id]}\n${row[C.prompt]}`) || [];
    const shown = all.slice(0, 24).map((at) => {
      const other = P.rows[at];
      const words = [P.modelOf(other), other[C.size], `sample ${other[C.sample] ?? 0}`].filter(Boolean).join(", ");
      const image = P.make("img", { src: other[C.thumb] || other[C.src], alt: words, loading: "lazy" });
      const button = P.make("button", { type: "button", title: words, on: { click: () => show(at) } }, [image]);
      if (at === number) button.setAttribute("aria-current", "true");
      return button;
    });
    P.byId("siblings").replaceChildren(...(all.length > 1 ? shown : []));
  }

  P.forgetSiblings = () => (siblings = null);

  /* --- review ------------------------------------------------------------------------------------------------------------ */

  function drawReview(row) {
    const holder = P.byId("rate");
    holder.hidden = !P.isMade(row);
    const entry = P.reviewOf(row[C.id]) || {};
    holder.querySelectorAll("[data-rating]").forEach((button) => {
      const value = Number(button.dataset.rating);
      button.textContent = value <= (entry.rating || 0) ? "\u2605" : "\u2606";
      button.setAttribute("aria-pressed", String(value === entry.rating));
    });
    const reject = P.byId("reject");
    reject.setAttribute("aria-pressed", String(Boolean(entry.reject)));
    reject.textContent = entry.reject ? "\u2715 rejected" : "\u2715 reject";
    const note = P.byId("note");
    if (document.activeElement !== note) note.value = entry.note || "";
    P.byId("stage").classList.toggle("rejected", Boolean(entry.reject));
  }

  P.rate = function (at, rating) {
    const entry = P.reviewOf(P.rows[at][C.id]) || {};
    P.review(at, { rating: entry.rating === rating ? null : rating });
  };

  P.toggleReject = function (at) {
    const entry = P.reviewOf(P.rows[at][C.id]) || {};
    P.review(at, { reject: !entry.reject });
  };

  function setUpReview() {
    const stars = [1, 2, 3, 4, 5].map((value) =>
      P.button("\u2606", () => P.rate(number, value), { data: { rating: String(value) }, "aria-label": `rate ${value} of 5` }),
    );
    P.byId("stars").replaceChildren(...stars);
    P.byId("reject").addEventListener("click", () => P.toggleReject(number));
    P.byId("note").addEventListener("input", (event) => P.review(number, { note: event.target.value.trim() }));
    P.onReview((at) => at === number && P.byId("lightbox").open && drawReview(P.rows[at]));
  }

  /* --- open, next, close --------------------------------------------------------------------------------------------------- */

  function ahead(step) {
    const at = order.indexOf(number);
    for (const near of [order[at + step], order[at + 2 * step]]) {
      const row = near === undefined ? null : P.rows[near];
      if (row && row[C.src]) new Image().src = row[C.src];
    }
  }

  function show(at) {
    number = at;
    const row = P.rows[at];
    drawStage(row);
    drawReview(row);
    drawSiblings(row);
    const place = order.indexOf(at);
    P.byId("place").textContent = place < 0 ? "" : `${P.count(place + 1)} of ${P.count(order.length)}`;
    P.byId("previous").disabled = place <= 0;
    P.byId("next").disabled = place < 0 || place >= order.length - 1;
    const actions = [P.copyButton("copy as spec", () => P.specOf(row), "a spec of this one task")];
    if (row[C.src]) actions.unshift(P.make("a", { class: "button", href: row[C.src], target: "_blank", rel: "noopener", text: "open the file" }));
    const texts = [block("Prompt as sent", row[C.prompt] || "")];
    if (row[C.negative_prompt]) texts.push(block("Negative prompt", row[C.negative_prompt]));
    if (row[C.revised_prompt]) texts.push(block("Revised prompt", row[C.revised_prompt]));
    P.byId("known").replaceChildren(...texts, facts(row), P.make("p", { class: "actions" }, actions), wholeRow(row));
    P.byId("side").scrollTop = 0;
    P.keepPlace();
  }

  P.openLightbox = function (at, from) {
    const box = P.byId("lightbox");
    order = P.currentView ? P.currentView.order : [at];
    opener = from || document.activeElement;
    if (!box.open) mode = inputsOf(P.rows[at]).length ? "slider" : "after";
    if (!box.open) box.showModal();
    show(at);
    P.byId("next").focus();
    ahead(1);
  };

  P.openNumber = () => (P.byId("lightbox").open ? number : null);

  P.step = function (step) {
    const at = order[order.indexOf(number) + step];
    if (at === undefined || !P.rows[at]) return;
    show(at);
    ahead(step);
  };

  /** Draws what changed beneath an open lightbox. */
  P.renewLightbox = function (changed) {
    if (!P.byId("lightbox").open) return;
    if (P.currentView) order = P.currentView.order;
    if (changed.includes(number)) show(number);
  };

  // Tab stays within: from the last control to the first, and back.
  function trap(event) {
    if (event.key !== "Tab") return;
    const all = "button:not([disabled]), a[href], input, textarea, summary";
    const nodes = [...P.byId("lightbox").querySelectorAll(all)].filter((node) => node.offsetParent !== null);
    const [first, last] = [nodes[0], nodes[nodes.length - 1]];
    if (event.shiftKey && document.activeElement === first) last.focus();
    else if (!event.shiftKey && document.activeElement === last) first.focus();
    else return;
    event.preventDefault();
  }

  P.setUpLightbox = function () {
    const box = P.byId("lightbox");
    setUpReview();
    box.addEventListener("keydown", trap);
    P.byId("previous").addEventListener("click", () => P.step(-1));
    P.byId("next").addEventListener("click", () => P.step(1));
    P.byId("close").addEventListener("click", () => box.close());
    P.byId("stage").addEventListener("click", (event) => {
      if (event.target === P.byId("stage")) box.close();
      else if (event.target.closest(".alone")) event.target.closest(".alone").classList.toggle("natural");
    });
    box.addEventListener("close", () => {
      const pic = P.currentView && P.currentView.reveal(number);
      if (pic) P.focusOn(pic);
      else if (opener && opener.isConnected) opener.focus();
      number = null;
      P.keepPlace();
    });
  };
})((window.Pipeline = window.Pipeline || {}));
