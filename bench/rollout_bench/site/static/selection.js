// What is being looked at: kept in the address behind #, so that a link shows the same view.
"use strict";

const NAMES = ["machine", "preset", "workload", "tp", "env"];

// What tells a group apart, by the names that an address has for it.
RP.chosenBy = (group) => ({
  machine: group.machine,
  preset: group.preset,
  workload: group.workload,
  tp: String(group.tensor_parallel_size),
  env: group.environment,
});

const agrees = (group, given) => NAMES.map((name) => RP.chosenBy(group)[name] === given[name]);

RP.group = () => RP.front.groups.find((group) => agrees(group, RP.selection).every(Boolean));

RP.batch = () => Number(RP.selection.batch);

// The whole selection, from what is given and what there is. Of what is given and not there together, what the
// reader has just `chosen` weighs most, and then each of NAMES more than all that follow.
RP.complete = function (given, chosen = {}) {
  const groups = RP.front.groups;
  if (!groups.length) return {};
  const order = [...NAMES].sort((a, b) => (b in chosen) - (a in chosen));
  const weight = Object.fromEntries(order.map((name, place) => [name, 2 ** (order.length - place)]));
  const score = (group) =>
    agrees(group, given).reduce((sum, same, place) => sum + (same ? weight[NAMES[place]] : 0), 0);
  const group = groups.reduce((best, one) => (score(one) > score(best) ? one : best), groups[RP.front.start]);
  const batches = group.batches.map(String);
  const paths = (batch) => group.side_by_side[batch]?.rows.length || 0;
  const fullest = batches.reduce((best, one) => (paths(one) < paths(best) ? best : one)); // the largest of several
  const batch = batches.includes(given.batch) ? given.batch : fullest;
  const metrics = group.metrics[batch] || [];
  const named = (name) => {
    const found = given[name] && RP.front.commits.hash.find((hash) => hash.startsWith(given[name]));
    return found ? found.slice(0, 8) : "";
  };
  return {
    ...RP.chosenBy(group),
    batch,
    metric: metrics.includes(given.metric) ? given.metric : metrics[0] || RP.front.step_time,
    hide: (given.hide || "")
      .split(",")
      .filter((path) => group.paths.includes(path))
      .join(","),
    commit: named("commit"),
    values: given.values === "percent" ? "percent" : "",
    scale: given.scale === "log" ? "log" : "",
    from: named("from"),
    to: named("to"),
  };
};

RP.address = function (selection) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(selection)) if (value) words.set(name, value);
  return `#${words}`;
};

// The selection of a link. What it names and is not there is said on the page.
RP.fromAddress = function () {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const selection = RP.complete(given);
  const shown = { ...selection };
  for (const name of ["commit", "from", "to"]) shown[name] = selection[name] && given[name]; // a longer hash is one, too
  const missing = Object.keys(given).filter((name) => given[name] && given[name] !== shown[name]);
  const said = missing.map((name) =>
    name in shown ? `${name} "${given[name]}" (shown: ${shown[name] || "none"})` : `"${name}", which is no part of a link`,
  );
  RP.put(
    "unknown",
    said.length ? RP.el("p", {}, `The link asks for what is not here, or not together: ${said.join("; ")}.`) : "",
  );
  return selection;
};

RP.select = function (change) {
  RP.selection = RP.complete({ ...RP.selection, ...change }, change);
  RP.put("unknown");
  history.replaceState(null, "", RP.address(RP.selection));
  RP.render();
};

RP.hidden = (path) => (RP.selection.hide || "").split(",").includes(path);

// The place of a commit that the selection names; null where it names none.
RP.placeOf = function (name) {
  const hash = RP.selection[name];
  return hash ? RP.front.commits.hash.findIndex((one) => one.startsWith(hash)) : null;
};

// The commit that the paths are compared at, where one is chosen; else it is the newest of the batch.
RP.chosenCommit = () => RP.placeOf("commit");

// Whether a place is within what is zoomed to.
RP.within = (at) => at >= (RP.placeOf("from") ?? -1) && at <= (RP.placeOf("to") ?? Infinity);

RP.cases = () => RP.group().cases.filter((cell) => cell.batch === RP.batch());

RP.measured = (cell) => cell.status === RP.front.measured;

RP.commitName = (at) => RP.front.commits.hash[at].slice(0, 8);

// What a link to the first page shows, beside a commit.
RP.home = () => RP.selection;

RP.commitLink = function (at) {
  const name = RP.commitName(at);
  const url = RP.front.commit_url && RP.front.commit_url.replace("{commit}", encodeURIComponent(RP.front.commits.hash[at]));
  const to = url || `${RP.root || ""}index.html${RP.address({ ...RP.home(), commit: name })}`;
  return RP.el("a", { href: to, title: RP.front.commits.subject[at] || name }, RP.el("code", {}, name));
};

// The history of a metric of the selection, from its own file; a page opened as a file can load scripts.
const columns = {};
RP.loaded = (id, content) => (columns[id].content = content);
RP.columns = (metric, then) => RP.columnsOf(RP.group(), RP.batch(), metric, then);

RP.columnsOf = function (group, batch, metric, then) {
  const id = `${group.id}-${batch}-${RP.front.files[metric]}`;
  if (columns[id] && columns[id].content) return then(columns[id].content);
  if (columns[id]) return void columns[id].waiting.push(then);
  columns[id] = { waiting: [then] };
  const script = RP.el("script", { src: `data/${id}.js` });
  script.onload = () => columns[id].waiting.forEach((wait) => wait(columns[id].content));
  script.onerror = () => {
    RP.notify(`data/${id}.js could not be read: the history of ${metric} is missing.`);
    columns[id].waiting.forEach((wait) => wait({ scale: 1, paths: {}, surroundings: [] }));
  };
  document.head.append(script);
};

// Values of a path's history: [[place of the commit, [median, low, high], number in the row], ...].
RP.row = function (content, path) {
  const column = content.paths[path];
  if (!column) return [];
  return column.at.map((at, number) => {
    const middle = column.middle[number];
    const [below, above] = [RP.nth(column.below, number), RP.nth(column.above, number)];
    const bounds =
      below === null ? [null, null] : [(middle - below) * content.scale, (middle + above) * content.scale];
    return [at, [middle * content.scale, ...bounds], number];
  });
};

RP.nth = (folded, number) => (Array.isArray(folded) ? folded[number] : folded);
