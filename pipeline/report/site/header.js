/* The head of the page: what job this is, how far it came, what it cost, and how to go on. */
"use strict";
(function (P) {
  // In this order along the bar; states that are under way share a place.
  const PARTS = [
    ["good", ["done"]],
    ["bad", ["failed", "short"]],
    ["doubt", ["in_doubt"]],
    ["busy", ["submitting", "running", "fetching"]],
    ["idle", ["skipped", "held", "waiting"]],
  ];

  function progress(tasks) {
    const total = Math.max(1, tasks.total);
    const parts = PARTS.map(([tone, states]) => {
      const count = states.reduce((sum, state) => sum + (tasks[state] || 0), 0);
      const part = P.make("span", { class: tone });
      part.style.flexGrow = String(count / total);
      part.hidden = !count;
      return part;
    });
    const words = stateCounts(tasks).map(([state, count]) => `${P.count(count)} ${P.stateWords(state)}`);
    return P.make("div", { class: "bar", role: "img", "aria-label": words.join(", ") }, parts);
  }

  function stateCounts(tasks) {
    const known = P.STATE_ORDER.filter((state) => tasks[state]);
    const others = Object.keys(tasks).filter((key) => key !== "total" && tasks[key] && !known.includes(key));
    return [...known, ...others].map((state) => [state, tasks[state]]);
  }

  function counts(meta) {
    const items = stateCounts(meta.tasks).map(([state, count]) => {
      const see = () => {
        P.clearFilters();
        P.choose("state", state);
        P.openTab("gallery");
      };
      const badge = P.badge(state);
      badge.prepend(P.make("strong", { text: P.count(count) }));
      return P.make("button", { type: "button", class: "count-button", title: "show them", on: { click: see } }, [badge]);
    });
    const of = P.make("span", { class: "quiet", text: `${P.plural(meta.tasks.total, "task")}, ${P.plural(meta.images, "picture")}` });
    return P.make("div", { class: "counts" }, [of, ...items]);
  }

  /** One currency's line: settled, held, in doubt, and what is left of the limit. */
  function money(line) {
    const { currency, limit_micros: limit, settled_micros: settled, held_micros: held, doubt_micros: doubt } = line;
    const pair = (words, micros, kind) =>
      P.make("span", { class: `sum ${kind}` }, [
        P.make("strong", { text: P.amount(micros) }),
        P.make("span", { class: "quiet", text: words }),
      ]);
    const sums = [pair("settled", settled, "settled"), pair("held", held, "held")];
    if (doubt) sums.push(pair("in doubt", doubt, "doubt"));
    const bar = P.make("span", { class: "bar money-bar", "aria-hidden": "true" });
    if (limit) {
      const left = Math.max(0, limit - settled - held - doubt);
      sums.push(pair(`left of ${P.amount(limit)}`, left, "left"));
      for (const [tone, micros] of [["good", settled], ["busy", held], ["doubt", doubt], ["idle", left]]) {
        const part = P.make("span", { class: tone });
        part.style.flexGrow = String(micros / limit);
        part.hidden = !micros;
        bar.append(part);
      }
    } else sums.push(P.make("span", { class: "quiet", text: "no limit" }));
    return P.make("div", { class: "money" }, [P.make("span", { class: "unit", text: currency }), ...sums, limit ? bar : null]);
  }

  function more(meta) {
    const versions = Object.entries(meta.versions || {}).map(([name, version]) => `${name} ${version}`).join(", ");
    const pairs = [
      ["Folder", meta.folder],
      ["Begun", meta.created_at === null ? null : P.time(meta.created_at)],
      ["Page made", P.time(meta.updated_at)],
      ["Took", meta.seconds === null ? null : P.seconds(meta.seconds)],
      ["Versions", versions],
      ["Review read", meta.review],
    ];
    const list = P.make("dl", { class: "facts-list" });
    for (const [name, value] of pairs) {
      if (!value) continue;
      list.append(P.make("dt", { text: name }), P.make("dd", {}, [value]));
    }
    const names = { resume: "go on with the run", retry: "send the failed again", resolve: "decide doubts", report: "make this page again" };
    const commands = Object.keys(names).filter((name) => meta.commands[name] && (name !== "retry" || meta.failures.length));
    const lines = commands.map((name) =>
      P.make("div", {}, [P.make("span", { class: "quiet", text: names[name] }), P.command(meta.commands[name], `the ${name} command`)]),
    );
    return [list, ...lines];
  }

  P.drawHeader = function () {
    const { meta } = P;
    document.title = `${meta.job}: ${P.stateWords(meta.state)}`;
    P.byId("job").textContent = meta.job;
    const state = [P.badge(meta.state)];
    if (meta.simulate) state.push(P.make("span", { class: "badge plainly", text: "rehearsal: nothing was bought" }));
    P.byId("state").replaceChildren(...state);
    const when = [P.moment(meta.created_at === null ? meta.updated_at : meta.created_at)];
    if (meta.seconds !== null) when.push(meta.live ? `${P.seconds(meta.seconds)} so far` : `took ${P.seconds(meta.seconds)}`);
    P.byId("when").textContent = when.join(" \u00b7 ");
    P.byId("progress").replaceChildren(progress(meta.tasks), counts(meta));
    P.byId("money").replaceChildren(...meta.money.map(money));
    P.byId("more-body").replaceChildren(...more(meta));
    const resume = P.byId("resume");
    resume.hidden = !meta.commands.resume;
    resume.title = meta.commands.resume || "";
  };

  P.setUpHeader = function () {
    P.byId("resume").addEventListener("click", () => P.copy(P.meta.commands.resume, P.meta.commands.resume));
  };
})((window.Pipeline = window.Pipeline || {}));
