// Light or dark: the reader's choice where one was made on this machine, else the system's.
"use strict";

try {
  const chosen = localStorage.getItem("rollout-perf-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch (error) {
  // A browser may forbid storage to files: then the system's choice holds.
}
