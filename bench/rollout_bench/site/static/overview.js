// The first lines of the front page: which path and which entry is fastest on GPUs, of the best comparison of each preset.
"use strict";

RP.overview = function () {
  const rows = ["path", "entry"].flatMap((kind) => best(kind).map((one) => overviewRow(kind, one)));
  document.getElementById("overview-section").hidden = !rows.length;
  RP.put("overview", rows);
};

// Of each preset the comparison with the most engine starts, of those the newest, and of that the batch with the most paths,
// the largest of several.
function best(kind) {
  const all = RP.front.groups
    .filter((group) => group.workload === "fixed")
    .flatMap((group) => group.batches.map((batch) => ({ group, batch, sessions: group.side_by_side[batch] })))
    .filter(({ sessions }) => sessions && !sessions.on_cpu && sessions.reference === RP.front.reference)
    .filter(({ sessions }) => sessions.rows.some((row) => row.path.includes("@")) === (kind === "entry"));
  const before = (one, other) =>
    other.sessions.starts[0] - one.sessions.starts[0] ||
    other.sessions.measured.localeCompare(one.sessions.measured) ||
    other.sessions.rows.length - one.sessions.rows.length ||
    other.batch - one.batch;
  const presets = [...new Set(all.map(({ group }) => group.preset))].sort();
  return presets.map((preset) => all.filter(({ group }) => group.preset === preset).sort(before)[0]);
}

function overviewRow(kind, { group, batch, sessions }) {
  const name = (row) => [RP.sign(row.path), " ", RP.el("strong", {}, kind === "path" ? row.path : row.path.split("@")[1] || "local")];
  const list = (rows, shown) => rows.flatMap((row, place) => [place ? ", " : "", name(row), shown ? ` ${RP.ratio(row)}` : ""]);
  const of = (test) => sessions.rows.filter((row) => row.interval && row.path !== sessions.reference && test(row.interval));
  const known = [
    ["faster: ", of(([, high]) => high < 1)],
    ["slower: ", of(([low]) => low > 1)],
    ["of one engine start, so not sure: ", sessions.rows.filter((row) => !row.interval)],
  ];
  const level = of(([low, high]) => low <= 1 && high >= 1);
  const reference = sessions.rows.find((row) => row.path === sessions.reference);
  const within = [Math.min, Math.max].map((end, side) => end(...level.map((row) => row.interval[side])));
  const facts = RP.front.machines[group.machine] || {};
  return RP.el(
    "li",
    {},
    kind === "path" ? ["Engine to workers (", RP.word("path")] : ["Caller to engine (", RP.word("entry")],
    "), ",
    RP.el("a", { href: RP.address({ ...RP.chosenBy(group), batch: String(batch) }) }, `${group.preset}, batch ${batch}`),
    ": ",
    level.length
      ? ["no difference found between ", list([reference, ...level]), ` (ratios ${within.map((one) => one.toFixed(2)).join(" to ")})`]
      : ["compared with ", name(reference)],
    known.filter(([, rows]) => rows.length).map(([words, rows]) => ["; ", words, list(rows, true)]),
    ". ",
    RP.el("small", {}, `${RP.sureness(sessions)}; ${facts.gpu || "a GPU"} (${group.machine}), ${sessions.measured}.`),
  );
}
