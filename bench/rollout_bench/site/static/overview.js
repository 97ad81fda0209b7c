// The first lines of the front page: which path and which entry is fastest on GPUs, of the best comparison of each preset.
"use strict";

const KINDS = { path: "engine to workers", entry: "caller to engine" };

RP.overview = function () {
  const found = Object.keys(KINDS).map((kind) => [kind, best(kind).map((one) => ({ ...one, kind, ...standing(one.sessions) }))]);
  const rows = found.flatMap(([, some]) => some);
  document.getElementById("overview-section").hidden = !rows.length;
  RP.put("overview-lead", found.filter(([, some]) => some.length).map(([kind, some]) => RP.el("p", {}, sentence(kind, some))));
  const columns = [
    ["no difference found", (one) => (one.level.length ? [list(one, [one.reference, ...one.level]), ` (${within(one.level)})`] : "none")],
    ["faster", (one) => list(one, one.faster, RP.ratio)],
    ["slower", (one) => list(one, one.slower, RP.ratio)],
  ].filter(([name, of]) => name === "no difference found" || rows.some((one) => of(one).length));
  const titles = ["pipe", "measured with", ...columns.map(([name]) => name), "how sure, on what"];
  RP.put(
    "overview",
    RP.table(titles, rows.map((one) => [KINDS[one.kind], link(one), ...columns.map(([, of]) => of(one)), RP.el("small", {}, basis(one), doubts(one))])),
  );
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

// The rows of a comparison by what their intervals say of them and the reference.
function standing({ rows, reference }) {
  const of = (test) => rows.filter((row) => row.interval && row.path !== reference && test(row.interval));
  return {
    reference: rows.find((row) => row.path === reference),
    level: of(([low, high]) => low <= 1 && high >= 1),
    faster: of(([, high]) => high < 1),
    slower: of(([low]) => low > 1),
    unsure: rows.filter((row) => !row.interval),
  };
}

const nameOf = (kind, row) => [RP.sign(row.path), " ", RP.el("strong", {}, kind === "path" ? row.path : row.path.split("@")[1] || "local")];

const joined = (parts, last = ", ") => parts.flatMap((part, place) => [place ? (place < parts.length - 1 ? ", " : last) : "", part]);

const list = ({ kind }, rows, shown) => joined(rows.map((row) => RP.el("span", { class: "unbroken" }, nameOf(kind, row), shown ? ` ${shown(row)}` : "")));

const within = (rows) => [Math.min, Math.max].map((end, side) => end(...rows.map((row) => row.interval[side])).toFixed(2)).join(" to ");

// What all comparisons of a kind say: which are level with the reference in each, which slower or faster in some.
function sentence(kind, some) {
  const [{ reference }] = some;
  const paths = [...new Set(some.flatMap((one) => one.sessions.rows.map((row) => row.path)))];
  const ratios = (path, which) => some.flatMap((one) => one[which].filter((row) => row.path === path).map((row) => row.ratio));
  const only = (which, others) =>
    paths.filter((path) => ratios(path, which).length && others.every((other) => !ratios(path, other).length));
  const name = (path) => nameOf(kind, { path });
  const by = (which) => (path) => {
    const percent = ratios(path, which).map((ratio) => Math.round(Math.abs(ratio - 1) * 100));
    const [least, most] = [Math.min(...percent), Math.max(...percent)];
    return [name(path), ` by ${least === most ? "" : `${least} to `}${most} %`];
  };
  const level = only("level", ["faster", "slower"]);
  const faster = only("faster", ["slower"]);
  const slower = only("slower", ["faster"]);
  const said = [
    level.length ? ["no difference found between ", joined([...level, reference.path].map(name), " and ")] : null,
    faster.length ? ["faster: ", joined(faster.map(by("faster")))] : null,
    slower.length ? ["slower: ", joined(slower.map(by("slower")))] : null,
  ].filter(Boolean);
  if (!level.length) said.unshift(["compared with ", name(reference.path)]);
  return [`${capital(KINDS[kind])}: `, said.map((one, place) => [place ? "; " : "", one]), "."];
}

const link = ({ group, batch }) =>
  RP.el("a", { href: RP.address({ ...RP.chosenBy(group), batch: String(batch) }) }, `${group.preset}, batch ${batch}`);

const doubts = (one) => (one.unsure.length ? ["; not sure, of one engine start: ", list(one, one.unsure, RP.ratio)] : "");

function basis({ group, sessions }) {
  const facts = RP.front.machines[group.machine] || {};
  return `${RP.sureness(sessions)}; ${facts.gpu || "a GPU"} (${group.machine}), ${sessions.measured}`;
}
