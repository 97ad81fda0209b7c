// The front page: the selection, the answer, and a section for each chart, from RP.front (data/front.js).
"use strict";

const byId = (id) => document.getElementById(id);

RP.notify = (text) => byId("messages").append(RP.el("p", {}, text));

RP.render = function () {
  if (!RP.front.groups.length) return empty();
  RP.overview();
  controls();
  RP.answer();
  RP.put("where", where());
  RP.side();
  RP.entries();
  read();
  const alone = RP.cases().length > 0; // else sessions alone have measured it
  charts(alone);
  if (!alone) return RP.put("matrix");
  RP.matrix();
  const metric = RP.selection.metric;
  RP.put("history-title", RP.word(capital(RP.title(metric)), RP.title(metric)), " over the commits");
  RP.put("history-better", RP.better(metric));
  RP.put("compare-better", RP.better(metric));
  RP.columns(metric, (content) => {
    RP.draw("history", () => RP.historyChart(content, metric));
    RP.put("history-numbers", historyTable(content, metric));
    compare(content, metric);
  });
  RP.breakdown();
  RP.gpu();
  RP.tail();
  RP.limit();
  RP.pipe();
  changePoints();
};

// Show what stands on records of commits, or hide it.
function charts(there) {
  for (const section of document.querySelectorAll("main > section:not(#overview-section, #answer, #side-section, #entries-section, #read-section), #view, .two"))
    section.hidden = !there;
  if (!there && !RP.waiting()) document.body.dataset.drawn = "all";
}

// On what the answer holds, and how sure it is.
function where() {
  const group = RP.group();
  const sessions = RP.group().side_by_side[RP.batch()];
  return [
    machineName(group.machine),
    group.preset,
    group.tensor_parallel_size > 1 ? `tensor-parallel over ${group.tensor_parallel_size}` : "",
    `workload ${group.workload}`,
    `batch ${RP.batch()}`,
    sessions ? RP.sureness(sessions) : "",
  ]
    .filter(Boolean)
    .join(", ");
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function empty() {
  RP.put("lead", "Nothing has been measured yet.");
  RP.put(
    "facts",
    RP.say(
      "results/ holds no record. ",
      RP.el("code", {}, "make track"),
      " measures the last two commits and writes this page again.",
    ),
  );
  byId("selection").hidden = byId("side-section").hidden = byId("entries-section").hidden = true;
  charts(false);
  read();
}

function controls() {
  const chosen = RP.selection;
  const groups = RP.front.groups;
  const distinct = (name, some) => [...new Set(some.map((group) => String(group[name])))];
  const fill = (id, values, value) => {
    byId(id).closest("label").hidden =
      values.length < 2 && !["machine", "preset", "workload", "metric"].includes(id);
    RP.put(
      id,
      values.map(([one, words]) => RP.el("option", { value: one, selected: one === value }, words)),
    );
  };
  const pairs = (values, words) => values.map((value) => [value, words(value)]);
  fill("machine", pairs(distinct("machine", groups), machineName), chosen.machine);
  const here = groups.filter((group) => group.machine === chosen.machine);
  fill("preset", pairs(distinct("preset", here), String), chosen.preset);
  const shape = here.filter((group) => group.preset === chosen.preset);
  fill("workload", pairs(distinct("workload", shape), String), chosen.workload);
  fill("tp", pairs(distinct("tensor_parallel_size", shape), String), chosen.tp);
  fill("env", pairs(distinct("environment", shape), String), chosen.env);
  byId("values").value = chosen.values;
  byId("scale").value = chosen.scale;
  fill("metric", pairs(RP.group().metrics[RP.batch()] || [], RP.title), chosen.metric);
  RP.put(
    "batches",
    RP.group().batches.map((batch) =>
      RP.el(
        "label",
        { class: "pill" },
        RP.el("input", {
          type: "radio",
          name: "batch",
          value: batch,
          checked: String(batch) === chosen.batch,
          onchange: () => RP.select({ batch: String(batch) }),
        }),
        RP.el("span", {}, String(batch)),
      ),
    ),
  );
  RP.put(
    "paths",
    RP.group().paths.map((path) =>
      RP.el(
        "label",
        { class: "pill" },
        RP.el("input", { type: "checkbox", checked: !RP.hidden(path), onchange: () => toggle(path) }),
        RP.el(
          "span",
          {},
          RP.sign(path),
          " ",
          path,
          path === RP.front.reference ? " (reference, dashed)" : "",
        ),
      ),
    ),
  );
}

function machineName(name) {
  const facts = RP.front.machines[name] || {};
  return facts.gpu ? `${name} (${facts.gpu})` : name;
}

function toggle(path) {
  const hidden = new Set((RP.selection.hide || "").split(",").filter(Boolean));
  if (!hidden.delete(path)) hidden.add(path);
  RP.select({ hide: [...hidden].join(",") });
}

function compare(content, metric) {
  const group = RP.group();
  const chosen = RP.chosenCommit();
  const newest = Math.max(
    -1,
    ...group.paths.flatMap((path) => (content.paths[path] ? content.paths[path].at.slice(-1) : [])),
  );
  const at = chosen === null ? newest : chosen;
  const entries = group.paths
    .filter((path) => content.paths[path] && !RP.hidden(path))
    .map((path) => {
      const found = RP.row(content, path).find(([place]) => place === at);
      if (!found) return null;
      const figure = RP.columnFigure(content, path, found[2], metric);
      return {
        path,
        value: figure.value,
        samples: Array.isArray(figure.samples) ? figure.samples : null,
        figure,
      };
    })
    .filter(Boolean)
    .sort((a, b) => (RP.better(metric) === RP.LOWER ? 1 : -1) * (a.value[0] - b.value[0]));
  RP.put(
    "compare-title",
    "The paths at ",
    RP.commitLink(at),
    chosen === null ? " (newest)" : " ",
    chosen === null
      ? ""
      : RP.el("button", { type: "button", onclick: () => RP.select({ commit: "" }) }, "back to the newest"),
  );
  byId("compare").hidden = !entries.length;
  RP.put(
    "compare-absent",
    entries.length ? "" : RP.say("No path that is shown was measured at this commit."),
  );
  if (entries.length) RP.draw("compare", () => RP.compareChart(entries, metric));
  RP.put(
    "compare-numbers",
    RP.table(
      [
        "path",
        RP.bounded(RP.title(metric), metric),
        "samples",
        "engine starts",
        "",
      ],
      entries.map((one) => {
        const count = one.samples ? one.samples.length : one.figure.samples;
        return [
          one.path,
          RP.value(one.value, metric),
          count,
          one.figure.starts,
          RP.askButton(one.figure),
        ];
      }),
    ),
    RP.warnings(entries.map((one) => one.figure)).map((text) => RP.el("p", { class: "note" }, text)),
  );
}

// The newest commits of the history as a table, and buttons that ask where each figure comes from.
function historyTable(content, metric) {
  const paths = RP.group().paths.filter((path) => content.paths[path] && !RP.hidden(path));
  const rows = Object.fromEntries(
    paths.map((path) => [path, new Map(RP.row(content, path).map((row) => [row[0], row]))]),
  );
  const places = [...new Set(paths.flatMap((path) => content.paths[path].at))].sort((a, b) => b - a);
  const within = places.filter(RP.within);
  const shown = within.slice(0, 30);
  const line = (at) => [
    [RP.commitLink(at), ` ${RP.front.commits.subject[at]}`],
    RP.el(
      "button",
      { type: "button", onclick: () => RP.select({ commit: RP.commitName(at) }) },
      "compare here",
    ),
    ...paths.map((path) => {
      const row = rows[path].get(at);
      if (!row) return "absent";
      return [
        RP.value(row[1], metric),
        " ",
        RP.askButton(RP.columnFigure(content, path, row[2], metric)),
      ];
    }),
  ];
  const older =
    within.length > shown.length
      ? RP.say(`${within.length - shown.length} older commits are in the chart and in asv's explorer.`)
      : null;
  return [RP.table(["commit", "", ...paths], shown.map(line)), older].filter(Boolean);
}
