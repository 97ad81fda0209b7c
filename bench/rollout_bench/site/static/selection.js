// What is being looked at: kept in the address behind #, so that a link shows the same view.
"use strict";

RP.group = function () {
  const wanted = RP.selection;
  const same = (group) => ["machine", "preset", "workload"].every((name) => group[name] === wanted[name]);
  const size = (group) =>
    String(group.tensor_parallel_size) === wanted.tp && group.environment === wanted.env;
  const groups = RP.front.groups;
  return groups.find((group) => same(group) && size(group)) || groups.find(same) || groups[0];
};

RP.batch = () => Number(RP.selection.batch);

// The whole selection, from what the address gives and what there is.
RP.complete = function (given) {
  const groups = RP.front.groups;
  if (!groups.length) return {};
  const score = (group) =>
    ["machine", "preset", "workload", "env"].filter(
      (name) => given[name] === group[name === "env" ? "environment" : name],
    ).length + (given.tp === String(group.tensor_parallel_size) ? 0.5 : 0);
  const group = groups.reduce((best, one) => (score(one) > score(best) ? one : best), groups[RP.start()]);
  const batches = group.batches.map(String);
  const metrics =
    group.metrics[batches.includes(given.batch) ? given.batch : batches[batches.length - 1]] || [];
  const commit = RP.front.commits.hash.findIndex((hash) => given.commit && hash.startsWith(given.commit));
  return {
    machine: group.machine,
    preset: group.preset,
    workload: group.workload,
    tp: String(group.tensor_parallel_size),
    env: group.environment,
    batch: batches.includes(given.batch) ? given.batch : batches[batches.length - 1],
    metric: metrics.includes(given.metric) ? given.metric : metrics[0] || RP.front.step_time,
    hide: (given.hide || "")
      .split(",")
      .filter((path) => group.paths.includes(path))
      .join(","),
    commit: commit >= 0 ? RP.front.commits.hash[commit].slice(0, 8) : "",
  };
};

// The group that is shown first: the one measured last, with a GPU before one without.
RP.start = function () {
  let best = 0;
  const rank = (group) => [
    RP.front.machines[group.machine] && RP.front.machines[group.machine].gpu ? 1 : 0,
    group.workload === "fixed" ? 1 : 0,
    Math.max(-1, ...group.cases.map((cell) => cell.at)),
  ];
  RP.front.groups.forEach((group, number) => {
    const [a, b] = [rank(group), rank(RP.front.groups[best])];
    const differ = a.findIndex((value, place) => value !== b[place]);
    if (differ >= 0 && a[differ] > b[differ]) best = number;
  });
  return best;
};

RP.address = function (selection) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(selection)) if (value) words.set(name, value);
  return `#${words}`;
};

RP.fromAddress = () => RP.complete(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

RP.select = function (change) {
  RP.selection = RP.complete({ ...RP.selection, ...change });
  history.replaceState(null, "", RP.address(RP.selection));
  RP.render();
};

RP.hidden = (path) => (RP.selection.hide || "").split(",").includes(path);

// The commit that the paths are compared at: the chosen one, or the newest of the batch.
RP.chosenCommit = function () {
  const hash = RP.selection.commit;
  return hash ? RP.front.commits.hash.findIndex((one) => one.startsWith(hash)) : null;
};

RP.cases = () => RP.group().cases.filter((cell) => cell.batch === RP.batch());

RP.measured = (cell) => cell.status === RP.front.measured;

RP.commitName = (at) => RP.front.commits.hash[at].slice(0, 8);

RP.commitLink = function (at) {
  const name = RP.commitName(at);
  const url = RP.front.commit_url && RP.front.commit_url.replace("{commit}", encodeURIComponent(RP.front.commits.hash[at]));
  const to = url || `${RP.root || ""}index.html${RP.address({ ...RP.selection, commit: name })}`;
  return RP.el("a", { href: to, title: RP.front.commits.subject[at] || name }, RP.el("code", {}, name));
};

// The history of a metric of the selection, from its own file; a page opened as a file can load scripts.
const columns = {};
RP.loaded = (id, content) => (columns[id].content = content);
RP.columns = function (metric, then) {
  const group = RP.group();
  const id = `${group.id}-${RP.batch()}-${RP.front.files[metric]}`;
  if (columns[id] && columns[id].content) return then(columns[id].content);
  if (columns[id]) return void columns[id].waiting.push(then);
  columns[id] = { waiting: [then] };
  const script = RP.el("script", { src: `data/${id}.js` });
  script.onload = () => columns[id].waiting.forEach((wait) => wait(columns[id].content));
  script.onerror = () => RP.notify(`data/${id}.js could not be read: the history of ${metric} is missing.`);
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
