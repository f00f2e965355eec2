/* A run that is alive: rows and counts as they come, each lane's line, and the four things one may tell it. */
"use strict";
(function (P) {
  let source = null;
  let started = false;
  /** The last event that was heard: a stream that is opened again goes on from there. */
  let position = "";
  let waiting = [];

  const draw = P.soon(() => {
    const changed = waiting;
    waiting = [];
    P.refresh(true);
    P.renewLightbox(changed);
  }, 200);

  function takeMeta(meta) {
    const axes = (each) => JSON.stringify(each.axes.map((axis) => axis.name));
    const other = axes(meta) !== axes(P.meta);
    P.meta = meta;
    if (other) P.setUpFacets(meta);
    P.drawHeader();
    P.drawFailures();
    if (P.tab === "charts") P.drawCharts();
    P.drawLive();
    if (other) draw();
    P.byId("line").textContent = standing(meta);
  }

  // Whoever serves the page goes on when the run has ended: the next one is heard of as well.
  function standing(meta) {
    if (!meta.live) return "the run has ended";
    return (meta.paused || []).some((pause) => pause.lane === null) ? "paused" : "live";
  }

  function takeRows(data) {
    const changed = P.takeRows(data);
    for (const number of changed) P.touched[number] = (P.touched[number] || 0) + 1;
    P.loaded.version += 1;
    P.forgetSiblings();
    waiting.push(...changed);
    draw();
  }

  // A browser has six connections to one address, for all its tabs: one that nobody looks at gives its own back, and
  // hears what it missed when it is looked at again.
  const HIDDEN_MS = 1000;
  let leaving = 0;

  function heard(take) {
    return (event) => {
      if (event.lastEventId) position = event.lastEventId;
      take(JSON.parse(event.data));
    };
  }

  function listen() {
    source = new EventSource(position ? `events?after=${position}` : "events");
    source.addEventListener("open", () => (P.byId("line").textContent = standing(P.meta)));
    source.addEventListener("error", () => {
      // A plain web server has no events at all: the page stays as it was loaded.
      const over = source.readyState === EventSource.CLOSED;
      P.byId("line").textContent = over ? "not connected" : "the connection is lost; trying again";
    });
    source.addEventListener("meta", heard(takeMeta));
    source.addEventListener("rows", heard(takeRows));
  }

  function look() {
    clearTimeout(leaving);
    if (!document.hidden && !source) listen();
    if (document.hidden && source) {
      leaving = setTimeout(() => {
        source.close();
        source = null;
      }, HIDDEN_MS);
    }
  }

  P.startLive = function () {
    if (!P.served || started) return;
    started = true;
    document.addEventListener("visibilitychange", look);
    look();
  };

  /* --- lanes and controls -------------------------------------------------------------------------------------------------- */

  const ASKED = {
    pause: ["Pause", "Nothing more is sent; what is under way is followed to its end and paid for.", "pause"],
    resume: ["Go on", "Sending begins again, within the limit that stands.", "go on"],
    drain: ["Drain and stop", "Nothing more is sent, what was sent is awaited, and the program ends. The resume command goes on.", "drain"],
    budget: ["Change the limit", "The limit of the whole job, with its unit, such as 5 USD. It is written down as a decision of yours.", "set the limit"],
  };

  function ask(action, lane) {
    const [title, words, verb] = ASKED[action];
    const dialog = P.byId("confirm");
    P.byId("confirm-title").textContent = lane ? `${title}: ${lane}` : title;
    P.byId("confirm-words").textContent = words;
    P.byId("confirm-yes").textContent = verb;
    P.byId("amount-line").hidden = action !== "budget";
    P.byId("amount").required = action === "budget";
    P.byId("amount").value = "";
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") send(action, lane, action === "budget" ? P.byId("amount").value.trim() : null);
    };
    dialog.showModal();
    if (action === "budget") P.byId("amount").focus();
  }

  async function send(action, lane, amount) {
    try {
      const answer = await fetch("control", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Pipeline": "1" },
        body: JSON.stringify({ action, lane, amount }),
      });
      const { ok, said } = await answer.json();
      P.say(ok ? said : `not done: ${said}`);
    } catch {
      P.say("not done: the run did not answer");
    }
  }

  function laneLine(lane) {
    const facts = [`${lane.rate} allowed`, P.plural(lane.submits, "call"), `${P.count(lane.in_flight)} under way`];
    if (lane.rate_limited) facts.push(`${P.plural(lane.rate_limited, "wait")} asked for`);
    return P.make("li", {}, [
      P.make("strong", { text: lane.name }),
      P.make("span", { class: "quiet", text: facts.join(" \u00b7 ") }),
      lane.why ? P.make("span", { class: "why", text: lane.why }) : null,
      (lane.why || "").startsWith("paused")
        ? P.button("go on", () => ask("resume", lane.name), { class: "plain", "aria-label": `go on with ${lane.name}` })
        : P.button("pause", () => ask("pause", lane.name), { class: "plain", "aria-label": `pause ${lane.name}` }),
    ]);
  }

  P.drawLive = function () {
    const shown = P.meta.live && P.served;
    P.byId("live").hidden = !shown;
    if (!shown) return;
    const lanes = P.byId("lanes");
    if (!lanes.contains(document.activeElement)) lanes.replaceChildren(...P.meta.lanes.map(laneLine));
  };

  P.setUpLive = function () {
    for (const action of Object.keys(ASKED)) P.byId(`do-${action}`).addEventListener("click", () => ask(action, null));
    P.byId("confirm-no").addEventListener("click", () => P.byId("confirm").close(""));
    P.byId("confirm-form").addEventListener("submit", (event) => {
      event.preventDefault();
      P.byId("confirm").close("yes");
    });
  };
})((window.Pipeline = window.Pipeline || {}));
