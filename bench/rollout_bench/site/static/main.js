// Starts the front page: events that are not of one section.
"use strict";

(function () {
  for (const id of ["machine", "preset", "workload", "tp", "env", "metric"]) {
    document
      .getElementById(id)
      .addEventListener("change", (event) => RP.select({ [id]: event.target.value }));
  }
  for (const form of document.querySelectorAll(".choices"))
    form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("copy").addEventListener("click", async (event) => {
    history.replaceState(null, "", RP.address(RP.selection));
    try {
      await navigator.clipboard.writeText(location.href);
      event.target.textContent = "Copied";
    } catch (error) {
      event.target.textContent = "It is in the address bar";
    }
    setTimeout(() => (event.target.textContent = "Copy link"), 2000);
  });
  addEventListener("hashchange", () => {
    if (location.hash === "#main") return;
    RP.selection = RP.fromAddress();
    RP.render();
  });
  let narrow = RP.narrow();
  addEventListener("resize", () => narrow !== RP.narrow() && ((narrow = RP.narrow()), RP.render()));
  RP.selection = RP.fromAddress();
  RP.render();
  RP.bindTheme(RP.render);
  performance.mark("interactive");
})();
