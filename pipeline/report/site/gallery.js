/* Pictures as tiles: one picture's button with its marks, which grid and gallery share, and the gallery itself. */
"use strict";
(function (P) {
  const { C } = P;
  const TILES = 200;
  // A text for the ear; nobody listens to ten thousand characters.
  const ALT = 1000;

  P.altOf = (row) => (row[C.prompt] || "").slice(0, ALT) || "no prompt";

  P.modelOf = (row) => [row[C.gateway], row[C.model]].filter(Boolean).join("/");

  /** A model without its gateway, as long as no two would be called the same: the full name stands with the picture. */
  P.shortModel = function (name) {
    const facet = P.facet("model");
    const short = (text) => text.slice(text.indexOf("/") + 1);
    const all = facet && facet.values.length ? facet.values : [name];
    return new Set(all.map(short)).size === new Set(all).size ? short(name) : name;
  };

  function mark(tone, symbol, words) {
    return P.make("span", { class: `mark ${tone}`, title: words }, [
      P.make("span", { "aria-hidden": "true", text: symbol }),
      P.make("span", { class: "offscreen", text: words }),
    ]);
  }

  P.marksOf = function (row) {
    const entry = P.reviewOf(row[C.id]) || {};
    const marks = [];
    if (P.isMade(row) && row[C.state] !== "done") marks.push(P.badge(row[C.state]));
    for (const flag of row[C.flags] || []) marks.push(mark("flag", "\u2691", P.flagWords(flag)));
    if (entry.note) marks.push(mark("note", "\u270e", `note: ${entry.note}`));
    if (entry.rating) marks.push(mark("stars", `\u2605 ${entry.rating}`, `rated ${entry.rating} of 5`));
    if (entry.reject) marks.push(mark("reject", "\u2715", "rejected"));
    return P.make("span", { class: "marks" }, marks);
  };

  function nothing(row) {
    const why = P.isMade(row) ? "not within this page" : row[C.state] === "done" ? "no picture" : P.faultWords(row[C.fault]);
    return P.make("span", { class: `blank ${P.tone(row[C.state])}` }, [
      P.badge(row[C.state], why),
      P.make("span", { class: "offscreen", text: P.altOf(row) }),
    ]);
  }

  /** Width by height: of the picture, or of the one that was asked for. */
  P.shapeOf = function (row) {
    if (row[C.width] && row[C.height]) return row[C.width] / row[C.height];
    const [width, height] = String(row[C.size] || "").split("x").map(Number);
    return width > 0 && height > 0 ? Math.min(4, Math.max(0.25, width / height)) : 1;
  };

  /** One picture as a button: what grid and gallery are made of. */
  P.picture = function (number) {
    const row = P.rows[number];
    const source = row[C.thumb] || row[C.src];
    const [width, height] = [row[C.width] || 1, row[C.height] || 1];
    const image = source
      ? P.make("img", { src: source, alt: P.altOf(row), loading: "lazy", decoding: "async", width, height })
      : nothing(row);
    const pic = P.make("button", { type: "button", class: "pic", data: { n: String(number) }, tabindex: "-1" });
    pic.append(image, P.marksOf(row));
    pic.classList.toggle("rejected", Boolean((P.reviewOf(row[C.id]) || {}).reject));
    return pic;
  };

  P.onReview((number) => {
    for (const pic of document.querySelectorAll(`.pic[data-n="${number}"]`)) {
      pic.querySelector(".marks").replaceWith(P.marksOf(P.rows[number]));
      pic.classList.toggle("rejected", Boolean((P.reviewOf(P.rows[number][C.id]) || {}).reject));
    }
  });

  /** How often a row was changed since it came: with its number, what a drawn picture is known by. */
  P.touched = [];
  P.signOf = (number) => `${number}.${P.touched[number] || 0}`;

  /** The shape that most pictures have, so that few leave their tile empty at the sides. */
  P.usualRatio = function (numbers) {
    const seen = new Map();
    for (const number of numbers.slice(0, 2000)) {
      const row = P.rows[number];
      if (!row[C.width] || !row[C.height]) continue;
      const ratio = Math.round((row[C.width] / row[C.height]) * 100) / 100;
      seen.set(ratio, (seen.get(ratio) || 0) + 1);
    }
    const [best] = [...seen].sort((a, b) => b[1] - a[1])[0] || [1];
    return Math.min(1.8, Math.max(0.56, best));
  };

  /* --- the gallery -------------------------------------------------------------------------------------------------- */

  const view = { order: [], places: null };
  let pages = null;
  let columns = 0;

  function tile(number) {
    const row = P.rows[number];
    const facts = [P.shortModel(P.modelOf(row)), P.facet("size") ? row[C.size] : ""].filter(Boolean).join(" \u00b7 ");
    const cost = row[C.cost_micros] === null ? "" : P.money(row[C.cost_micros], row[C.currency]);
    const node = P.make("div", { class: "tile", role: "listitem" }, [
      P.picture(number),
      P.make("p", { class: "prompt", dir: "auto", text: (row[C.prompt] || "").slice(0, 300) }),
      P.make("p", { class: "facts" }, [
        P.make("span", { class: "what", title: P.modelOf(row), text: facts }),
        P.make("span", { class: "cost", text: cost }),
      ]),
    ]);
    node.sign = P.signOf(number);
    return node;
  }

  function fill(page, from, to) {
    const standing = new Map([...page.children].map((child) => [child.sign, child]));
    page.replaceChildren(...view.order.slice(from, to).map((n) => standing.get(P.signOf(n)) || tile(n)));
  }

  function spare(page, height) {
    page.style.minHeight = `${height}px`;
    page.replaceChildren();
  }

  function countColumns() {
    const probe = P.byId("tiles").querySelector(".page") || P.byId("tiles");
    const tracks = getComputedStyle(probe).gridTemplateColumns.split(" ");
    return Math.max(1, tracks[0] === "none" ? 5 : tracks.length);
  }

  /** Draws the list; `calm` keeps the place where the reader is. */
  view.draw = function (found, calm) {
    view.order = found;
    view.places = null;
    P.byId("tiles").style.setProperty("--ratio", String(P.usualRatio(found)));
    P.byId("gallery-empty").hidden = found.length > 0 || !P.loaded.whole;
    if (calm && pages.pages.length) pages.renew(found.length);
    else {
      pages.start(found.length, pages.size);
      columns = countColumns();
      // Whole lines only: a page that ended within a line would leave a gap.
      const size = Math.max(columns, Math.floor(TILES / columns) * columns);
      if (size !== pages.size) pages.start(found.length, size);
      P.byId("gallery").scrollTop = 0;
    }
    P.setCurrent(view);
  };

  view.reveal = function (number) {
    if (!view.places) view.places = new Map(view.order.map((one, place) => [one, place]));
    const place = view.places.get(number);
    if (place === undefined) return null;
    const page = pages.reveal(place);
    return page ? page.querySelector(`.pic[data-n="${number}"]`) : null;
  };

  P.setUpGallery = function () {
    pages = new P.Pages({
      scroller: P.byId("gallery"),
      holder: P.byId("tiles"),
      tag: "div",
      fill,
      spare,
      sign: (from, to) => view.order.slice(from, to).map(P.signOf).join(),
    });
    pages.size = TILES;
    const resized = P.soon(() => {
      if (P.tab !== "gallery" || countColumns() === columns) return;
      const top = P.byId("gallery").scrollTop > 0 ? P.topmost("gallery") : undefined;
      view.draw(view.order);
      const pic = top === undefined ? null : view.reveal(top);
      if (pic) pic.scrollIntoView({ block: "start" });
    }, 150);
    new ResizeObserver(resized).observe(P.byId("gallery"));
    return view;
  };
})((window.Pipeline = window.Pipeline || {}));
