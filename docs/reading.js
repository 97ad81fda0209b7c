// A table that is wider than the page scrolls, and takes the keyboard: the theme's wrapper does not.
addEventListener("load", () => {
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap")) wide.tabIndex = 0;
});
