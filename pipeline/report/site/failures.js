/* What failed and why: one card for each reason, with a sentence, a command to copy, and some of its tasks. */
"use strict";
(function (P) {
  const { C } = P;

  function examples(failure) {
    const known = failure.examples.map(P.numberOf).filter((number) => number !== undefined);
    if (!known.length) return null;
    const items = known.map((number) => {
      const row = P.rows[number];
      const words = [P.modelOf(row), row[C.size]].filter(Boolean).join(" \u00b7 ");
      return P.make("li", {}, [
        P.make("button", { type: "button", class: "example", on: { click: (e) => P.openLightbox(number, e.currentTarget) } }, [
          P.make("span", { class: "prompt", dir: "auto", text: (row[C.prompt] || "").slice(0, 200) }),
          P.make("span", { class: "facts", text: words }),
        ]),
      ]);
    });
    return P.make("ul", { class: "examples" }, items);
  }

  function look(failure) {
    P.clearFilters();
    P.choose("state", failure.state);
    if (failure.fault) P.choose("fault", failure.fault);
    P.openTab("gallery");
  }

  P.command = function (text, label) {
    // A line ends between words, and not within one at its dash: `--run-` and `dir` would be two.
    const words = text
      .split(" ")
      .flatMap((word, at) => [document.createTextNode(at ? " " : ""), P.make("span", { class: "word", text: word })]);
    return P.make("div", { class: "command" }, [P.make("code", {}, words), P.copyButton("copy", text, label || text)]);
  };

  function card(failure) {
    return P.make("section", { class: `failure ${P.tone(failure.state)}` }, [
      P.make("h2", {}, [
        P.badge(failure.state, P.faultWords(failure.fault)),
        P.make("span", { class: "tally", text: P.plural(failure.count, "task") }),
      ]),
      P.make("p", { class: "sentence", text: failure.sentence }),
      failure.message ? P.make("blockquote", { dir: "auto", text: failure.message }) : null,
      failure.command ? P.command(failure.command) : null,
      examples(failure),
      P.button("show them in the gallery", () => look(failure), { class: "plain" }),
    ]);
  }

  P.drawFailures = function () {
    const { failures, tasks } = P.meta;
    const count = ["failed", "short", "in_doubt"].reduce((sum, state) => sum + (tasks[state] || 0), 0);
    P.byId("failures-count").textContent = count ? P.count(count) : "";
    // Of a living run the numbers come at once, and the reasons when its store is looked at again.
    const told = failures.reduce((sum, each) => sum + (each.state === "skipped" ? 0 : each.count), 0);
    const more = P.meta.live && count > told ? P.plural(count - told, "more task") : "";
    const late = P.make("p", { class: "quiet", text: `${more} since these reasons were gathered; theirs follow in a moment.` });
    const none = P.make("p", { class: "empty", text: "Nothing failed and nothing is in doubt." });
    P.byId("failures-body").replaceChildren(...(failures.length ? failures.map(card) : more ? [] : [none]), ...(more ? [late] : []));
  };
})((window.Pipeline = window.Pipeline || {}));
