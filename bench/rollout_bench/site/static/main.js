// Starts the front page: events that are not of one section.
"use strict";

(function () {
  for (const id of ["machine", "preset", "workload", "tp", "env", "metric", "values", "scale"]) {
    document
      .getElementById(id)
      .addEventListener("change", (event) => RP.select({ [id]: event.target.value }));
  }
  const search = document.getElementById("search");
  search.addEventListener("input", () => RP.search(search.value));
  for (const form of document.querySelectorAll(".choices"))
    form.addEventListener("submit", (event) => event.preventDefault());
  RP.bindCopy(() => RP.address(RP.selection));
  addEventListener("hashchange", () => {
    if (location.hash === "#main") return;
    RP.selection = RP.fromAddress();
    RP.search((search.value = ""));
    RP.render();
  });
  let narrow = RP.narrow();
  addEventListener("resize", () => narrow !== RP.narrow() && ((narrow = RP.narrow()), RP.render()));
  document.getElementById("overview-fold").open = location.hash.length < 2; // a link asks for something else
  RP.selection = RP.fromAddress();
  RP.render();
  RP.bindTheme(RP.render);
  performance.mark("interactive");
})();
