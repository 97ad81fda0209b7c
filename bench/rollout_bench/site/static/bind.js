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
  addEventListener("beforeprint", () => ((RP.printing = true), redraw(), RP.drawAll?.()));
  addEventListener("afterprint", () => ((RP.printing = false), redraw()));
};

// The button that copies a link to what is shown: to the page's address, or to one that says more.
RP.bindCopy = (more = () => location.href) =>
  document.getElementById("copy").addEventListener("click", async (event) => {
    history.replaceState(null, "", more());
    try {
      await navigator.clipboard.writeText(location.href);
      event.target.textContent = "Copied";
    } catch (error) {
      event.target.textContent = "It is in the address bar";
    }
    setTimeout(() => (event.target.textContent = "Copy link"), 2000);
  });

// Words of the page that the glossary explains, as soon as there are data that say where.
addEventListener("DOMContentLoaded", () => {
  for (const one of document.querySelectorAll("[data-word]")) one.replaceChildren(RP.word(one.textContent, one.dataset.word));
});

const dialog = document.getElementById("origin");
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
