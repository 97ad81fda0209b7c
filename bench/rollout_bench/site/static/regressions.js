// The page of regressions and improvements, from RP.front.findings (data/regressions.js).
"use strict";

(function () {
  const front = RP.front;
  const STEP_TIMES = front.step_times;
  RP.home = () => ({});
  if (front.triage) RP.put("messages", RP.el("p", {}, `${front.triage}: what was decided is not known, and all count as open.`));

  const rows = function (points) {
    const bounded = points.some((point) => point.interval); // what is exact has none
    return RP.table(
      ["change", ...(bounded ? ["99 % interval"] : []), "metric", "path", "batch", "of", "confidence", "state"],
      points.map((point) => [
        RP.el("a", { href: `change-points/${point.slug}.html`, class: "unbroken" }, RP.change(point.ratio)),
        ...(bounded ? [point.interval ? point.interval.map(RP.change).join(" .. ") : ""] : []),
        RP.title(point.metric),
        RP.el("span", { class: "unbroken" }, RP.sign(point.path), ` ${point.path}`),
        String(point.batch),
        point.where,
        RP.confidence(point),
        point.state === "lasting" && point.reverted !== null ? ["reverted by ", RP.commitLink(point.reverted)] : point.state,
      ]),
    );
  };

  const sides = (finding) => {
    const [a, b] = [finding.last_before, finding.first].map((at) => `${finding.points[0].machine}@${RP.commitName(at)}`);
    return RP.el("a", { href: `compare.html${RP.address({ a, b })}` }, "Compare both commits");
  };

  const commit = (at) => [RP.commitLink(at), ` ${front.commits.subject[at]}, ${RP.date(front.commits.time[at])}`];

  function section(finding) {
    const first = finding.points.filter((point) => STEP_TIMES.includes(point.metric));
    const shown = first.length ? first : finding.points.slice(0, 1);
    const rest = finding.points.filter((point) => !shown.includes(point));
    const cause = finding.cause.map((what) => RP.changed(what)).join(", ");
    return RP.el(
      "section",
      { id: finding.name },
      RP.el("h3", { class: "finding" }, finding.worse ? "▲ " : "▼ ", finding.summary, " ", RP.el("span", { class: "better" }, finding.state)),
      RP.el("p", { class: "how" }, "after ", commit(finding.last_before), ", up to ", commit(finding.first), ". ", sides(finding)),
      RP.el(
        "p",
        {},
        cause
          ? `Changed with it: ${cause}.`
          : "No version, driver or GPU changed with it: the cause is in the code, or on the machine.",
      ),
      finding.note ? RP.el("p", {}, `${finding.on}: ${finding.note}`) : null,
      rows(shown),
      rest.length
        ? RP.el("details", {}, RP.el("summary", {}, `${rest.length} more: ${[...new Set(rest.map((point) => RP.title(point.metric)))].join(", ")}`), rows(rest))
        : null,
      finding.open
        ? RP.el("pre", { tabindex: "0" }, `rollout-perf triage ${finding.name} --acknowledged --note "why"`)
        : null,
    );
  }

  const kinds = [
    ["Open", front.findings.filter((one) => one.open)],
    ["Regressions that are accepted, fixed, reverted, or shown by one commit alone", front.findings.filter((one) => one.worse && !one.open)],
    ["Improvements", front.findings.filter((one) => !one.worse)],
  ];
  RP.put(
    "findings",
    kinds.filter(([, some]) => some.length).flatMap(([title, some]) => [RP.el("h2", {}, title), ...some.map(section)]),
  );
  if (!front.findings.length)
    RP.put("none", RP.say(`No change point was found. A series takes ${front.least_commits} measured commits, or ${front.least_replicates} engine starts at each beside the control, before a change can be told from noise.`));

  function goTo() {
    const name = decodeURIComponent(location.hash.slice(1));
    if (!name || name === "main") return;
    const found = document.getElementById(name);
    if (found) found.scrollIntoView();
    else RP.put("messages", RP.el("p", {}, `The link asks for "${name}", which is no regression or improvement (any more).`));
  }
  goTo();
  addEventListener("hashchange", goTo);
  RP.bindTheme(() => {});
  RP.bindCopy();
  document.body.dataset.drawn = "all";
})();
