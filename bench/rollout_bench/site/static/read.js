// The end of the front page: change points of the selection, and what was read.
"use strict";

function changePoints() {
  const found = RP.front.change_points.filter((point) => point.group === RP.group().id);
  const { commits } = RP.group();
  const least = RP.front.least_commits;
  const short =
    commits < least &&
    `This history has ${commits} measured commit${commits > 1 ? "s" : ""}; at least ${least} are needed to distinguish a change from noise, or ${RP.front.least_replicates} engine starts at each beside the control.`;
  if (!found.length) {
    RP.put("change-points", RP.say(short || `No change point was found in ${commits} commits of this selection.`));
    return;
  }
  const row = (point) => [
    RP.el(
      "a",
      { href: `change-points/${point.slug}.html` },
      `${point.worse ? "▲ worse" : "▼ better"} ${RP.change(point.ratio)}`,
    ),
    point.path,
    String(point.batch),
    RP.title(point.metric),
    RP.commitLink(point.first),
    RP.confidence(point),
    point.state === "lasting" ? (point.reverted === null ? "lasting" : ["reverted by ", RP.commitLink(point.reverted)]) : point.state,
  ];
  const table = (some) =>
    RP.table(["change", "path", "batch", "metric", "first commit", "confidence", "state"], some.map(row));
  const first = found.filter((point) => RP.front.step_times.includes(point.metric));
  const rest = found.filter((point) => !first.includes(point));
  RP.put(
    "change-points",
    first.length ? table(first) : RP.say(short || "The step time has no change point in this selection."),
    rest.length ? RP.el("details", {}, RP.el("summary", {}, `${rest.length} of other metrics`), table(rest)) : null,
    RP.el("p", {}, RP.el("a", { href: "regressions.html" }, "By commit and cause, of all selections")),
  );
}

function read() {
  const front = RP.front;
  const cells = front.groups.length ? RP.group().cases.filter((cell) => !RP.measured(cell)) : [];
  const left = front.groups.length ? RP.group().left_out[RP.batch()] : 0;
  RP.put(
    "read",
    cells.length
      ? [
          RP.el("h3", {}, "Cases without values"),
          RP.table(
            ["path", "batch", "commit", "", "why"],
            cells.map((cell) => [
              cell.path,
              cell.batch,
              RP.commitLink(cell.at),
              cell.status,
              RP.el("pre", {}, cell.reason || "no reason was given"),
            ]),
          ),
        ]
      : null,
    left
      ? RP.say(
          `${left} older records did other work under the same name (another fingerprint) and are left out.`,
        )
      : null,
    front.outside ? RP.say(front.outside) : null,
    front.damaged.length
      ? [
          RP.el("h3", {}, "Damaged and passed over"),
          RP.el(
            "ul",
            { class: "damaged" },
            front.damaged.map((one) => RP.el("li", {}, one)),
          ),
        ]
      : RP.el("p", {}, "No damaged file was met."),
    front.machines_without_gpu.length
      ? RP.say(`No GPU facts are kept of ${front.machines_without_gpu.join(", ")}.`)
      : null,
    RP.el(
      "p",
      {},
      `Written ${front.made.replace("T", " ").replace("+00:00", " UTC")} from ${front.records} records of ${front.commits.hash.length} commits. asv's own pages: `,
      front.asv
        ? [
            RP.el("a", { href: "asv/index.html" }, "explorer"),
            ", ",
            RP.el("a", { href: "asv/classic.html" }, "classic"),
          ]
        : `absent: ${front.asv_reason}`,
    ),
    front.docs_plain ? RP.say(`The documents are Markdown: ${front.docs_plain}.`) : null,
  );
}
