// Search over all cases: words of a machine, preset, workload, path and batch lead to where a case is shown.
"use strict";

RP.search = function (text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return RP.put("found");
  const cases = RP.front.groups.flatMap((group) =>
    group.batches.flatMap((batch) => {
      const sessions = group.side_by_side[batch];
      const paths = new Set([...group.paths, ...(sessions ? sessions.rows.map((row) => row.path) : [])]);
      return [...paths].map((path) => ({ group, batch, name: `${path}, batch ${batch}, ${RP.groupName(group)}` }));
    }),
  );
  const found = cases.filter((one) => words.every((word) => one.name.toLowerCase().includes(word)));
  const link = ({ group, batch, name }) =>
    RP.el("li", {}, RP.el("a", { href: RP.address({ ...RP.chosenBy(group), batch: String(batch) }) }, name));
  RP.put(
    "found",
    found.length ? RP.el("ul", {}, found.slice(0, MOST_FOUND).map(link)) : RP.say("No case has all of these words."),
    found.length > MOST_FOUND ? RP.say(`and ${found.length - MOST_FOUND} more`) : null,
  );
};

const MOST_FOUND = 12;
