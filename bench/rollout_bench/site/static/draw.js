// Draws charts with Plotly, one at a time and whenever the page is idle, so that controls answer meanwhile.
"use strict";

const jobs = new Map();
let working = false;

// Draw into the element of that id what build() returns as {traces, layout, clicked}, now or when Plotly is there.
RP.draw = function (id, build) {
  jobs.set(id, build);
  delete document.body.dataset.drawn;
  if (!working && window.Plotly) work();
};

RP.drawn = function () {
  if (!working && jobs.size) work();
};

RP.waiting = () => jobs.size > 0;

function work() {
  working = true;
  const [id, build] = jobs.entries().next().value;
  jobs.delete(id);
  const element = document.getElementById(id);
  const { traces, layout, clicked, zoomed } = build();
  Plotly.react(element, traces, themed(layout, element), {
    displayModeBar: false,
    responsive: true,
    doubleClick: zoomed ? "autosize" : "reset", // back to all, also where it was drawn with a part
  });
  element.removeAllListeners("plotly_click");
  element.removeAllListeners("plotly_relayout");
  if (zoomed) element.on("plotly_relayout", zoomed);
  if (clicked) element.on("plotly_click", (event) => clicked(event.points));
  element.dataset.drawn = "yes";
  if (!performance.getEntriesByName("first chart").length) performance.mark("first chart");
  if (jobs.size) setTimeout(work, 0);
  else {
    working = false;
    document.body.dataset.drawn = "all";
    performance.mark("all charts");
  }
}

// Draw everything that waits, at once: before printing.
RP.drawAll = function () {
  if (window.Plotly) while (jobs.size) work();
};

RP.narrow = () => innerWidth < 640;

function themed(layout, element) {
  const style = RP.printing ? PRINTED : getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: color("--line"),
    zerolinecolor: color("--line"),
    linecolor: color("--line"),
    automargin: true,
    fixedrange: RP.narrow(),
  };
  const made = {
    font: { family: "system-ui, sans-serif", size: 13, color: color("--text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: 12, b: 8 },
    showlegend: false,
    dragmode: RP.narrow() ? false : "zoom",
    hoverlabel: {
      bgcolor: color("--card"),
      bordercolor: color("--line"),
      font: { color: color("--text"), size: 13 },
      align: "left",
    },
    height: element.clientHeight || 340,
    ...layout,
  };
  for (const name of ["xaxis", "yaxis"]) made[name] = { ...axis, ...layout[name] };
  for (const one of made.annotations || []) one.font = { size: 12, color: color("--muted"), ...one.font };
  return made;
}

// On paper the page is light, whatever the screen was.
const PRINTED = {
  getPropertyValue: (name) =>
    ({ "--line": "#d5dbe2", "--text": "#16202b", "--muted": "#52606d", "--card": "#ffffff" })[name],
};

// The kind of a values' axis that the reader has chosen.
RP.scale = () => (RP.selection.scale === "log" ? { type: "log" } : {});

RP.axisTitle = (text) => ({ title: { text: RP.plain(text), font: { size: 12 }, standoff: 8 } });

RP.fade = function (color, share) {
  const part = (start) => parseInt(color.slice(start, start + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${share})`;
};
