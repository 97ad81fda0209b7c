// What every page of ours answers to: the theme, printing, closing the dialog.
"use strict";

RP.bindTheme = function (redraw) {
  const button = document.getElementById("theme");
  const name = () => (button.textContent = RP.dark() ? "Light" : "Dark");
  name();
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = RP.dark() ? "light" : "dark";
    try {
      localStorage.setItem("rollout-perf-theme", document.documentElement.dataset.theme);
    } catch (error) {
      // Then it holds for this page alone.
    }
    name();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (name(), redraw()));
  addEventListener("beforeprint", () => ((RP.printing = true), redraw(), RP.drawAll()));
  addEventListener("afterprint", () => ((RP.printing = false), redraw()));
};

const dialog = document.getElementById("origin");
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
