// Two measurements beside each other, from RP.front, RP.gates and the histories: the link says which.
"use strict";

(function () {
  const front = RP.front;
  const [CONTROL, STEP_TIME] = front.step_times;
  const SESSIONS = "sessions";
  const VALUES = ["percent", "ratio", "absolute"];
  const SORTS = ["case", "change"];
  const byId = (id) => document.getElementById(id);
  RP.home = () => ({});
  RP.notify = (text) => byId("messages").append(RP.el("p", {}, text));

  // What can be compared, by the name that a link has for it: a commit on a machine, or a machine's newest sessions.
  const sides = new Map();
  for (const group of front.groups) {
    const machine = group.machine;
    if (Object.values(group.side_by_side).some(Boolean))
      sides.set(`${machine}@${SESSIONS}`, { machine, at: null, words: `${machine}: newest sessions` });
    for (const at of group.at.slice().reverse()) {
      const words = `${machine}: ${RP.commitName(at)} ${front.commits.subject[at]}`;
      sides.set(`${machine}@${RP.commitName(at)}`, { machine, at, words: words.slice(0, 70) });
    }
  }
  const metrics = [...new Set(front.groups.flatMap((group) => Object.values(group.metrics).flat()))];
  if (!metrics.includes(STEP_TIME)) metrics.unshift(STEP_TIME);

  // The two newest commits of a machine, newest machine first; without any the first two sides.
  function usual() {
    const machine = front.groups.length ? front.groups[front.start].machine : "";
    const names = [...sides.keys()];
    const commits = names.filter((name) => sides.get(name).at !== null);
    const here = commits.filter((name) => sides.get(name).machine === machine);
    const [b, a] = [here, commits, names].find((some) => some.length > 1) || [names[0] || "", names[0] || ""];
    return { a, b, metric: STEP_TIME, find: "", values: "percent", sort: "change" };
  }

  // What the link asks for, and what of it is not here.
  function fromAddress() {
    const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    const known = { a: [...sides.keys()], b: [...sides.keys()], metric: metrics, values: VALUES, sort: SORTS, find: null };
    const chosen = usual();
    const missing = [];
    for (const [name, value] of Object.entries(given)) {
      if (!Object.hasOwn(known, name)) missing.push(`"${name}", which is no part of a link`);
      else if (known[name] === null || known[name].includes(value)) chosen[name] = value;
      else missing.push(`${name} "${value}" (shown: ${chosen[name] || "none"})`);
    }
    RP.put("unknown", missing.length ? RP.el("p", {}, `The link asks for what is not here: ${missing.join("; ")}.`) : "");
    return chosen;
  }

  const load = (group, batch, metric) => new Promise((done) => RP.columnsOf(group, batch, metric, done));
  const keyOf = (path, group, batch) => JSON.stringify([path, group.preset, group.tensor_parallel_size, group.workload, batch]);

  // The cases of a side that have the metric, by what tells them apart on any machine.
  async function casesOf(side, metric) {
    const found = new Map();
    for (const group of front.groups.filter((one) => one.machine === side.machine)) {
      for (const batch of group.batches) {
        if (side.at === null) sessionCases(found, group, batch, metric);
        else if ((group.metrics[batch] || []).includes(metric) && group.at.includes(side.at))
          await commitCases(found, side, group, batch, metric);
      }
    }
    return found;
  }

  function sessionCases(found, group, batch, metric) {
    const sessions = group.side_by_side[batch];
    if (!sessions || metric !== STEP_TIME) return;
    for (const row of sessions.rows)
      found.set(keyOf(row.path, group, batch), {
        path: row.path,
        group,
        batch,
        work: sessions.work,
        value: [row.median, null, null],
        over: { name: sessions.reference, value: [row.ratio, ...(row.interval || [null, null])] },
        source: sessions.sources.join(", "),
      });
  }

  async function commitCases(found, side, group, batch, metric) {
    const content = await load(group, batch, metric);
    const controlled = metric === STEP_TIME && group.metrics[batch].includes(CONTROL);
    const control = controlled ? await load(group, batch, CONTROL) : null;
    for (const path of Object.keys(content.paths)) {
      const row = RP.row(content, path).find(([at]) => at === side.at);
      if (!row) continue;
      const over = control && RP.row(control, path).find(([at]) => at === side.at);
      const figure = RP.columnFigure(content, path, row[2], metric, group);
      const key = keyOf(path, group, batch);
      if (found.has(key) && found.get(key).figure.measured > figure.measured) continue; // of another environment
      found.set(key, {
        path,
        group,
        batch,
        work: figure.facts.workload.fingerprint,
        value: row[1],
        over: over ? { name: "the control", value: over[1] } : null,
        figure,
      });
    }
  }

  // Which verdict of a gate is of both sides and this case; from head to base it is turned around.
  function verdictOf(a, b, one, metric) {
    if (a.machine !== b.machine || a.at === null || b.at === null) return null;
    const [from, to] = [a, b].map((side) => front.commits.hash[side.at]);
    for (const gate of RP.gates.gates.filter((gate) => gate.machine === a.machine).reverse()) {
      const straight = from.startsWith(gate.base) && to.startsWith(gate.head);
      if (!straight && !(from.startsWith(gate.head) && to.startsWith(gate.base))) continue;
      const its = gate.verdicts.find(
        (verdict) =>
          verdict.metric === metric && keyOf(verdict.path, verdict, verdict.batch) === keyOf(one.path, one.group, one.batch),
      );
      if (!its || !its.ratio) continue;
      const [low, high] = its.interval || [null, null];
      const value = straight ? [its.ratio, low, high] : [1 / its.ratio, high && 1 / high, low && 1 / low];
      return { value, how: straight ? `side by side: ${its.verdict}` : "side by side" };
    }
    return null;
  }

  // How many times what it was, with bounds that err on the side of caution, and what that rests on.
  function change(sideA, sideB, a, b, metric) {
    const verdict = verdictOf(sideA, sideB, a, metric);
    if (verdict) return verdict;
    if (a.work !== b.work) return { value: null, how: "other work under the same name" };
    if (a.over && b.over && a.over.name === b.over.name) {
      if (a.path === a.over.name) return { value: null, how: "the reference" };
      return { value: ratio(a.over.value, b.over.value), how: `of the ratio to ${a.over.name}` };
    }
    if ((RP.metric(metric) || {}).exact) return { value: ratio(a.value, b.value), how: "counted" };
    return { value: ratio(a.value, b.value), how: "measured apart: not judged" };
  }

  function ratio(a, b) {
    if (!a[0]) return null;
    const bounded = a[1] && a[2] && b[1] !== null && b[2] !== null;
    return [b[0] / a[0], bounded ? b[1] / a[2] : null, bounded ? b[2] / a[1] : null];
  }

  function shown(found, a, b, metric, values) {
    if (!found.value) return "";
    const [middle, low, high] = found.value;
    if (values === "absolute") {
      const by = b.value[0] - a.value[0];
      return `${by < 0 ? "−" : "+"}${RP.quantity(Math.abs(by), metric)}`;
    }
    const words = values === "ratio" ? (one) => RP.number(one) : RP.change;
    return [
      `${words(middle)}${values === "ratio" ? " ×" : ""}`,
      low === null ? "" : RP.el("small", { class: "unbroken" }, `[${words(low)} .. ${words(high)}]`),
    ];
  }

  const quantity = (one, metric) =>
    one
      ? [
          RP.value(one.value[1] === null ? one.value.slice(0, 1) : one.value, metric),
          one.figure ? RP.askButton(one.figure) : "",
          RP.el(
            "small",
            {},
            one.over ? `${RP.number(one.over.value[0])} × ${one.over.name}` : "",
          ),
        ]
      : "absent";

  let asked = 0;
  async function render() {
    const mine = ++asked;
    fill();
    if (!sides.size) {
      RP.put("lead", "Nothing has been measured yet.");
      return done();
    }
    const { a, b, metric, find, values, sort } = RP.selection;
    const [sideA, sideB] = [sides.get(a), sides.get(b)];
    const [ofA, ofB] = [await casesOf(sideA, metric), await casesOf(sideB, metric)];
    if (mine !== asked) return; // something else has been chosen meanwhile
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...new Set([...ofA.keys(), ...ofB.keys()])]
      .map((key) => {
        const [one, other] = [ofA.get(key), ofB.get(key)];
        const { path, group, batch } = one || other;
        const name = `${path}, batch ${batch}, ${group.preset}, tensor-parallel ${group.tensor_parallel_size}, ${group.workload}`;
        return { path, group, batch, name, one, other, found: one && other ? change(sideA, sideB, one, other, metric) : { value: null, how: "" } };
      })
      .filter((row) => words.every((word) => row.name.toLowerCase().includes(word)));
    const size = (row) => (row.found.value ? Math.abs(Math.log(row.found.value[0])) : -1);
    rows.sort(sort === "change" ? (x, y) => size(y) - size(x) : (x, y) => x.name.localeCompare(y.name, "en", { numeric: true }));
    const title = (name, text) =>
      RP.el("button", { type: "button", class: "plain", "aria-pressed": String(sort === name), onclick: () => select({ sort: name }) }, text);
    RP.put("lead", `${RP.title(metric)}: `, sideName(sideA), " → ", sideName(sideB));
    const both = rows.filter((row) => row.one && row.other).length;
    RP.put("how", `${both} cases on both sides, ${rows.length - both} on one alone; ${RP.better(metric)}. Sorted by ${sort === "change" ? "the size of the change" : "case"}.`);
    RP.put(
      "cases",
      rows.length
        ? RP.table(
            [title("case", "case"), "batch", title("change", values === "absolute" ? "difference" : "change"), "from", "to", "what it rests on", "preset", "workload", ""],
            rows.map((row) => [
              [RP.sign(row.path), ` ${row.path}`],
              String(row.batch),
              shown(row.found, row.one, row.other, metric, values),
              quantity(row.one, metric),
              quantity(row.other, metric),
              row.found.how,
              row.group.preset + (row.group.tensor_parallel_size > 1 ? `, over ${row.group.tensor_parallel_size} GPUs` : ""),
              row.group.workload,
              row.one && row.other && row.one.figure && row.other.figure
                ? RP.el("button", { type: "button", onclick: () => parts(row, sideA, sideB) }, "parts")
                : "",
            ]),
          )
        : RP.say("No case of either side has this metric and these words."),
    );
    RP.put("notes", notes(sideA, sideB, rows));
    done();
  }

  const sideName = (side) => (side.at === null ? side.words : [`${side.machine} `, RP.commitLink(side.at)]);
  const done = () => (document.body.dataset.drawn = "all");

  function notes(a, b, rows) {
    const apart = rows.some((row) => row.found.how.startsWith("measured apart"));
    const said = [];
    if (apart && a.machine === b.machine && a.at !== null && b.at !== null)
      said.push(["What was measured apart differs by the start of an engine, too. Side by side: ", RP.el("code", {}, `rollout-perf gate ${RP.commitName(a.at)} ${RP.commitName(b.at)}`)]);
    else if (apart) said.push("What was measured apart differs by the start of an engine and by the machine, too.");
    for (const source of new Set(rows.flatMap((row) => [row.one, row.other]).filter((one) => one && one.source).map((one) => one.source)))
      said.push(source);
    return said.map((one) => RP.say(one));
  }

  // Every metric that both sides have of a case.
  async function parts(row, sideA, sideB) {
    const key = keyOf(row.path, row.group, row.batch);
    const lines = [];
    for (const metric of row.one.group.metrics[row.batch]) {
      const [one, other] = [(await casesOf(sideA, metric)).get(key), (await casesOf(sideB, metric)).get(key)];
      if (!one || !other) continue;
      const found = change(sideA, sideB, one, other, metric);
      lines.push([RP.title(metric), quantity(one, metric), quantity(other, metric), shown(found, one, other, metric, RP.selection.values), found.how]);
    }
    RP.dialog([RP.sign(row.path), ` ${row.name}`], RP.table(["metric", "from", "to", "change", "what it rests on"], lines));
  }

  function fill() {
    const chosen = RP.selection;
    const options = (id, pairs) =>
      RP.put(id, pairs.map(([value, words]) => RP.el("option", { value, selected: value === chosen[id] }, words)));
    for (const id of ["a", "b"]) options(id, [...sides].map(([name, side]) => [name, side.words]));
    options("metric", metrics.map((metric) => [metric, RP.title(metric)]));
    byId("values").value = chosen.values;
    if (byId("find").value !== chosen.find) byId("find").value = chosen.find;
  }

  function select(change) {
    RP.selection = { ...RP.selection, ...change };
    RP.put("unknown");
    delete document.body.dataset.drawn;
    history.replaceState(null, "", RP.address(RP.selection));
    render();
  }

  for (const id of ["a", "b", "metric", "values"]) byId(id).addEventListener("change", (event) => select({ [id]: event.target.value }));
  byId("find").addEventListener("input", (event) => select({ find: event.target.value }));
  byId("choices").addEventListener("submit", (event) => event.preventDefault());
  RP.bindCopy(() => RP.address(RP.selection));
  addEventListener("hashchange", () => {
    if (location.hash === "#main") return;
    RP.selection = fromAddress();
    render();
  });
  RP.selection = fromAddress();
  RP.bindTheme(render);
  render();
})();
