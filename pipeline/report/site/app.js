/* The page as a whole: loading the data, the tabs, the keyboard, the size of pictures, and the address that keeps the place. */
"use strict";
(function (P) {
  const TABS = ["grid", "gallery", "failures", "charts"];
  const views = {};
  const dirty = new Set();
  P.loaded = { version: 0, whole: false };
  P.tab = "grid";
  P.currentView = null;
  P.served = window.location.protocol !== "file:";

  /* --- drawing ------------------------------------------------------------------------------------------------------------ */

  let found = [];

  function drawTab(calm) {
    if (views[P.tab]) {
      P.currentView = views[P.tab];
      views[P.tab].draw(found, calm);
    } else if (P.tab === "charts") P.drawCharts();
    dirty.delete(P.tab);
  }

  /** Asks the rows anew and draws what is seen; `calm` leaves the reader where she is. */
  P.refresh = function (calm) {
    found = P.find();
    dirty.add("grid").add("gallery");
    P.drawFilters();
    P.drawFound(found);
    if (views[P.tab]) drawTab(calm);
  };

  function showPanels() {
    for (const tab of TABS) {
      P.byId(`tab-${tab}`).setAttribute("aria-selected", String(tab === P.tab));
      P.byId(`tab-${tab}`).tabIndex = tab === P.tab ? 0 : -1;
      P.byId(`panel-${tab}`).hidden = tab !== P.tab;
    }
    const pictures = Boolean(views[P.tab]);
    P.byId("tools").hidden = !pictures;
    P.byId("work").classList.toggle("bare", !pictures);
    P.byId("grid-tools").hidden = P.tab !== "grid";
    if (pictures) P.showPanel();
  }

  P.openTab = function (name) {
    P.tab = name;
    showPanels();
    if (dirty.has(name) || !views[name]) drawTab(false);
    else P.currentView = views[name];
    P.keepPlace();
  };

  /* --- the address keeps the place ------------------------------------------------------------------------------------------- */

  P.keepPlace = function () {
    const words = new URLSearchParams();
    if (P.query.text) words.set("q", P.query.text);
    if (P.query.sort !== "spec") words.set("sort", P.query.sort);
    for (const facet of P.facets) for (const code of facet.chosen) words.append(`f.${facet.key}`, facet.values[code]);
    const axes = P.gridAxes();
    if (axes.rows && P.tab === "grid") words.set("rows", axes.rows);
    if (axes.columns && P.tab === "grid") words.set("columns", axes.columns);
    const open = P.openNumber();
    if (open !== null && P.rows[open]) words.set("open", P.rows[open][P.C.id]);
    const address = `#${P.tab}${words.size ? `?${words}` : ""}`;
    if (address !== window.location.hash) window.history.replaceState(null, "", address);
  };

  function readPlace() {
    const [tab, words] = window.location.hash.slice(1).split("?");
    const place = new URLSearchParams(words || "");
    P.query.text = place.get("q") || "";
    if (Object.hasOwn(P.SORTS, place.get("sort") || "")) P.query.sort = place.get("sort");
    for (const facet of P.facets) facet.chosen = new Set(place.getAll(`f.${facet.key}`).map((value) => facet.code(value)));
    const known = new Set([...P.meta.axes.map((axis) => axis.name), "prompt", "none"]);
    const fits = (key) => Boolean(key) && key.split("*").every((name) => known.has(name));
    if (fits(place.get("rows")) && fits(place.get("columns"))) {
      P.gridAxes({ rows: place.get("rows"), columns: place.get("columns") });
    }
    P.byId("search").value = P.query.text;
    P.byId("sort").value = P.query.sort;
    return { tab: TABS.includes(tab) ? tab : P.hasColumns() ? "grid" : "gallery", open: place.get("open") };
  }

  /* --- the keyboard ------------------------------------------------------------------------------------------------------------ */

  /** One picture can be reached by Tab; the arrows go on from there. */
  P.setCurrent = function (view) {
    const panel = P.byId(`panel-${P.tab}`);
    if (!panel.querySelector('.pic[tabindex="0"]')) {
      const first = panel.querySelector(".pic");
      if (first) first.tabIndex = 0;
    }
    P.currentView = view;
  };

  P.focusOn = function (pic) {
    for (const old of document.querySelectorAll('.pic[tabindex="0"]')) old.tabIndex = -1;
    pic.tabIndex = 0;
    pic.focus({ preventScroll: true });
    pic.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  /** The picture that is topmost in a scroller. */
  P.topmost = function (id) {
    const top = P.byId(id).getBoundingClientRect().top;
    const pic = [...P.byId(id).querySelectorAll(".pic")].find((one) => one.getBoundingClientRect().bottom > top);
    return pic ? Number(pic.dataset.n) : undefined;
  };

  function beside(step) {
    const { order } = P.currentView;
    const focused = document.activeElement.closest(".pic");
    const at = focused ? order.indexOf(Number(focused.dataset.n)) + step : 0;
    const pic = order[at] === undefined ? null : P.currentView.reveal(order[at]);
    if (pic) P.focusOn(pic);
  }

  function above(step) {
    const focused = document.activeElement.closest(".pic");
    if (!focused) {
      beside(0);
      return;
    }
    const from = focused.getBoundingClientRect();
    const [x, y] = [from.left + from.width / 2, from.top + from.height / 2];
    let best = null;
    for (const pic of P.byId(`panel-${P.tab}`).querySelectorAll(".pic")) {
      const frame = pic.getBoundingClientRect();
      const down = (frame.top + frame.height / 2 - y) * step;
      if (down < Math.min(from.height, frame.height) / 2) continue;
      const far = down * 4 + Math.abs(frame.left + frame.width / 2 - x);
      if (!best || far < best.far) best = { pic, far };
    }
    if (best) P.focusOn(best.pic);
  }

  function keyOnPicture(event) {
    const focused = document.activeElement.closest(".pic");
    const open = P.openNumber();
    const number = open === null ? focused && Number(focused.dataset.n) : open;
    if (number === null || number === undefined) return false;
    if (/^[0-5]$/.test(event.key)) {
      if (event.key === "0") P.review(number, { rating: null });
      else P.rate(number, Number(event.key));
    } else if (event.key === "x") P.toggleReject(number);
    else if (event.key === "n" && open !== null) P.byId("note").focus();
    else return false;
    return true;
  }

  const typing = (node) => node.matches("textarea, select, input:not([type=checkbox]):not([type=range])");
  const MOVES = { ArrowRight: () => beside(1), ArrowLeft: () => beside(-1), ArrowDown: () => above(1), ArrowUp: () => above(-1) };

  function keyInLightbox(event) {
    const sliding = document.activeElement.matches("input[type=range]");
    if (event.key === "ArrowRight" && !sliding) P.step(1);
    else if (event.key === "ArrowLeft" && !sliding) P.step(-1);
    else return keyOnPicture(event);
    return true;
  }

  function keyOnPage(event) {
    const onTab = document.activeElement.getAttribute("role") === "tab";
    if (event.key === "/") P.byId("search").select();
    else if (event.key === "?") P.byId("keys").showModal();
    else if (event.key === "Escape" && P.activeCount()) P.clearFilters();
    else if (onTab && ["ArrowRight", "ArrowLeft"].includes(event.key)) {
      const step = event.key === "ArrowRight" ? 1 : TABS.length - 1;
      P.openTab(TABS[(TABS.indexOf(P.tab) + step) % TABS.length]);
      P.byId(`tab-${P.tab}`).focus();
    } else if (views[P.tab] && Object.hasOwn(MOVES, event.key) && !document.activeElement.matches("input")) MOVES[event.key]();
    else return Boolean(views[P.tab]) && keyOnPicture(event);
    return true;
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing(document.activeElement)) {
      if (event.key === "Escape" && document.activeElement === P.byId("search")) {
        event.preventDefault();
        P.clearFilters();
        beside(0);
      } else if (event.key === "Escape" && document.activeElement === P.byId("note")) {
        event.preventDefault();
        P.byId("next").focus();
      } else if (event.key === "Enter" && document.activeElement === P.byId("search") && views[P.tab]) beside(0);
      return;
    }
    const other = document.querySelector("dialog[open]:not(#lightbox)");
    const handled = other ? false : P.byId("lightbox").open ? keyInLightbox(event) : keyOnPage(event);
    if (handled) event.preventDefault();
  }

  /* --- loading --------------------------------------------------------------------------------------------------------------- */

  function take(data) {
    if (data.kind === "meta") P.meta = data;
    else if (data.kind === "rows") {
      P.takeRows(data);
      P.loaded.version += 1;
    }
  }

  function load(name) {
    return new Promise((resolve) => {
      const script = P.make("script", { src: name });
      const over = (said) => () => {
        script.remove();
        if (said) P.say(said);
        resolve();
      };
      script.addEventListener("load", over(""));
      script.addEventListener("error", over(`${name} is missing: some pictures are not shown`));
      document.head.append(script);
    });
  }

  async function loadRows() {
    // In a page that is one file all rows are there already.
    const chunks = P.rows.length ? 0 : P.meta.chunks;
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      await load(`data-${String(chunk).padStart(3, "0")}.js`);
      P.loaded.whole = chunk === chunks - 1;
      P.forgetSiblings();
      if (chunk === 0) firstRows();
      // All rows are asked anew each time, so this is done when they have doubled, and at the end.
      else if (P.loaded.whole || (chunk & (chunk + 1)) === 0) P.refresh(true);
      else P.drawFound(found);
      // The page is to stay at the reader's hand between two chunks.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    if (!chunks) {
      P.loaded.whole = true;
      firstRows();
    }
    P.drawFailures();
    openAsked();
    P.warmSearch();
    await P.fetchReview();
    P.startLive();
  }

  let asked = null;

  function firstRows() {
    P.tab = asked.tab;
    showPanels();
    P.refresh();
    if (!views[P.tab]) drawTab(false);
    document.body.dataset.ready = "first";
    performance.mark("first pictures");
  }

  function openAsked() {
    document.body.dataset.ready = "all";
    const number = asked.open ? P.numberOf(asked.open) : undefined;
    if (number !== undefined) P.openLightbox(number);
  }

  /* --- setting up ---------------------------------------------------------------------------------------------------------------- */

  function setUpSize() {
    const range = P.byId("thumb-size");
    const set = (value) => {
      document.documentElement.style.setProperty("--chosen", value ? `${value}px` : "");
    };
    const kept = P.kept("pipeline-thumb");
    if (kept) range.value = String(kept);
    set(kept);
    range.addEventListener("input", () => {
      set(range.value);
      P.keep("pipeline-thumb", range.value);
    });
  }

  function setUpClicks() {
    for (const id of ["grid", "gallery"]) {
      P.byId(id).addEventListener("click", (event) => {
        const pic = event.target.closest(".pic");
        if (!pic) return;
        P.focusOn(pic);
        P.openLightbox(Number(pic.dataset.n), pic);
      });
    }
    for (const tab of TABS) P.byId(`tab-${tab}`).addEventListener("click", () => P.openTab(tab));
    P.byId("keys-button").addEventListener("click", () => P.byId("keys").showModal());
    P.byId("keys-close").addEventListener("click", () => P.byId("keys").close());
    P.byId("review-save").addEventListener("click", P.downloadReview);
    P.byId("review-read").addEventListener("click", () => P.byId("review-file").click());
    P.byId("review-file").addEventListener("change", (event) => event.target.files[0] && P.openReview(event.target.files[0]));
    const counted = () => (P.byId("review-count").textContent = P.reviewCount() ? P.count(P.reviewCount()) : "");
    P.onReview(counted);
    counted();
    document.addEventListener("keydown", onKey);
    window.addEventListener("hashchange", () => {
      const { tab, open } = readPlace();
      if (P.byId("lightbox").open) P.byId("lightbox").close();
      P.tab = tab;
      showPanels();
      P.refresh();
      if (!views[tab]) drawTab(false);
      const number = open ? P.numberOf(open) : undefined;
      if (number !== undefined) P.openLightbox(number);
    });
  }

  function start() {
    const data = window.PIPELINE_DATA || [];
    window.PIPELINE_DATA = { push: take };
    data.splice(0).forEach(take);
    if (!P.meta) {
      P.byId("job").textContent = "There is no data beside this page.";
      P.byId("when").textContent = "data-meta.js is missing: make the page again with pipeline report.";
      return;
    }
    P.startReview(P.meta);
    P.setUpFacets(P.meta);
    Object.assign(views, { grid: P.setUpGrid(), gallery: P.setUpGallery() });
    P.setUpFilters();
    P.setUpHeader();
    P.setUpLightbox();
    P.setUpLive();
    setUpSize();
    setUpClicks();
    asked = readPlace();
    P.drawHeader();
    P.drawLive();
    P.drawFailures();
    loadRows();
  }

  start();
})((window.Pipeline = window.Pipeline || {}));
