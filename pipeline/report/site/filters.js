/* The filter panel, the search field, the order and the chips: what is asked of the rows, and how it is said. */
"use strict";
(function (P) {
  // A facet of more values than this gets a field of its own to find one.
  const MANY = 12;
  const SHOWN = 200;
  // Of a facet of more values than a person reads, only the first are shown until one is sought.
  const FEW = 5;
  const boxes = new Map();
  const sought = new Map();

  function changed() {
    P.refresh();
    P.keepPlace();
  }

  P.choose = function (key, value, only) {
    const facet = P.facet(key);
    if (!facet) return;
    const code = facet.code(value);
    if (only) facet.chosen = new Set([code]);
    else if (facet.chosen.has(code)) facet.chosen.delete(code);
    else facet.chosen.add(code);
    changed();
  };

  P.clearFilters = function () {
    for (const facet of P.facets) facet.chosen.clear();
    P.query.text = "";
    P.byId("search").value = "";
    changed();
  };

  P.activeCount = () => P.facets.reduce((sum, facet) => sum + facet.chosen.size, 0) + (P.query.text ? 1 : 0);

  P.valueWords = function (facet, value) {
    if (facet.key === "state") return P.stateWords(value);
    if (facet.key === "model") return P.shortModel(value);
    return facet.key === "fault" ? P.faultWords(value) : value;
  };

  /* --- the panel ---------------------------------------------------------------------------------------------------- */

  function option(facet, code) {
    const value = facet.values[code];
    const input = P.make("input", { type: "checkbox", data: { key: facet.key, code: String(code) } });
    input.checked = facet.chosen.has(code);
    const words = P.make("span", { class: "words", title: value, text: P.valueWords(facet, value) });
    return P.make("label", { class: facet.counts[code] ? "" : "nothing" }, [
      input,
      words,
      P.make("span", { class: "count", text: P.count(facet.counts[code] || 0) }),
    ]);
  }

  function codesOf(facet) {
    const wanted = (sought.get(facet.key) || "").toLowerCase();
    const codes = facet.values.map((_, code) => code).filter((code) => facet.seen[code] || facet.chosen.has(code));
    const fitting = wanted ? codes.filter((code) => facet.values[code].toLowerCase().includes(wanted)) : codes;
    return fitting.sort((a, b) => facet.chosen.has(b) - facet.chosen.has(a) || a - b);
  }

  function fillBox(facet) {
    const codes = codesOf(facet);
    const box = boxes.get(facet.key);
    const focused = document.activeElement;
    const had = box.list.contains(focused) ? focused.dataset.code : null;
    const most = codes.length > SHOWN && !sought.get(facet.key) ? FEW + facet.chosen.size : SHOWN;
    const lines = codes.slice(0, most).map((code) => option(facet, code));
    if (codes.length > most) lines.push(P.make("p", { class: "hint", text: `and ${P.count(codes.length - most)} more` }));
    box.list.replaceChildren(...lines);
    box.find.hidden = facet.seen.reduce((sum, seen) => sum + (seen ? 1 : 0), 0) <= MANY;
    box.whole.hidden = codes.length < 2 && !facet.chosen.size && !sought.get(facet.key);
    if (had !== null) (box.list.querySelector(`[data-code="${had}"]`) || P.byId("search")).focus();
  }

  function makeBox(facet) {
    const list = P.make("div", { class: "options" });
    const find = P.make("input", { type: "search", class: "find", placeholder: "find a value" });
    find.setAttribute("aria-label", `find a value of ${facet.label}`);
    find.addEventListener("input", () => {
      sought.set(facet.key, find.value);
      fillBox(facet);
    });
    const whole = P.make("fieldset", { data: { facet: facet.key } }, [P.make("legend", { text: facet.label }), find, list]);
    boxes.set(facet.key, { whole, find, list });
    return whole;
  }

  // Which values exist at all: a state that no task has is not offered. Counted anew only when rows came.
  function see(facet) {
    if (facet.seenAt === P.loaded.version) return;
    facet.seenAt = P.loaded.version;
    facet.seen = [];
    P.rows.forEach((row, number) => {
      if (!row) return;
      if (!facet.many) facet.seen[facet.codes[number]] = true;
      else for (let rest = facet.codes[number]; rest; rest &= rest - 1) facet.seen[31 - Math.clz32(rest & -rest)] = true;
    });
    if (facet.key === "fault") facet.seen[facet.index.get("none")] = false;
  }

  P.drawFilters = function () {
    const holder = P.byId("facets");
    if (holder.childElementCount !== P.facets.length) holder.replaceChildren(...P.facets.map(makeBox));
    for (const facet of P.facets) {
      see(facet);
      fillBox(facet);
    }
    drawChips();
  };

  /* --- the chips ------------------------------------------------------------------------------------------------------ */

  function chip(label, words, remove) {
    return P.make("button", { type: "button", class: "chip", title: words, on: { click: remove } }, [
      P.make("span", { class: "label", text: label }),
      P.make("span", { class: "words", text: words }),
      P.make("span", { "aria-hidden": "true", class: "x", text: "\u00d7" }),
      P.make("span", { class: "offscreen", text: "remove this filter" }),
    ]);
  }

  function drawChips() {
    const chips = [];
    if (P.query.text) {
      chips.push(chip("search", P.query.text, () => {
        P.query.text = P.byId("search").value = "";
        changed();
      }));
    }
    for (const facet of P.facets) {
      for (const code of facet.chosen) {
        const value = facet.values[code];
        chips.push(chip(facet.label, P.valueWords(facet, value), () => P.choose(facet.key, value)));
      }
    }
    if (chips.length > 1) chips.push(P.button("clear all", P.clearFilters, { class: "plain" }));
    P.byId("chips").replaceChildren(...chips);
    P.byId("chips").hidden = !chips.length;
    const words = P.activeCount() ? `Filters (${P.activeCount()})` : "Filters";
    P.byId("filters-button").textContent = words;
  }

  P.drawFound = function (found) {
    const all = P.rows.reduce((sum, row) => sum + (row ? 1 : 0), 0);
    const pictures = found.reduce((sum, number) => sum + (P.isMade(P.rows[number]) ? 1 : 0), 0);
    const loading = P.loaded.whole ? "" : `, loading (${P.count(all)} of ${P.count(P.meta.rows)})`;
    const bare = found.length - pictures;
    const without = bare ? ` and ${P.plural(bare, "task")} without one` : "";
    const of = found.length === all ? "" : ` of ${P.count(all)}`;
    P.byId("found").textContent = `${P.plural(pictures, "picture")}${without}${of}${loading}`;
  };

  /* --- setting up ------------------------------------------------------------------------------------------------------ */

  // The grid needs the width more than the gallery does.
  const panels = { grid: "(min-width: 1700px)", gallery: "(min-width: 1100px)" };

  function togglePanel() {
    panels[P.tab] = P.byId("filters").hidden;
    P.showPanel();
  }

  P.showPanel = function () {
    const open = panels[P.tab];
    const shown = typeof open === "string" ? window.matchMedia(open).matches : Boolean(open);
    P.byId("filters").hidden = !shown;
    P.byId("filters-button").setAttribute("aria-expanded", String(shown));
  };

  P.setUpFilters = function () {
    const search = P.byId("search");
    const seek = P.soon(changed, 60);
    search.addEventListener("input", () => {
      P.query.text = search.value.trim();
      seek();
    });
    const sort = P.byId("sort");
    for (const key of Object.keys(P.SORTS)) sort.append(P.make("option", { value: key, text: P.SORTS[key][0] }));
    sort.addEventListener("change", () => {
      P.query.sort = sort.value;
      changed();
    });
    P.byId("facets").addEventListener("change", (event) => {
      const { key, code } = event.target.dataset;
      if (code !== undefined) P.choose(key, P.facet(key).values[Number(code)]);
    });
    P.byId("filters-button").addEventListener("click", togglePanel);
    P.byId("filters-close").addEventListener("click", () => {
      togglePanel();
      P.byId("filters-button").focus();
    });
    // Only the counts: a picture that was rated stays where it is until the list is asked for anew.
    P.onReview(P.soon(() => {
      P.find();
      P.drawFilters();
    }, 300));
  };
})((window.Pipeline = window.Pipeline || {}));
