// The page of releases, which is HTML: what every page answers to.
"use strict";

RP.bindTheme(() => {});
RP.bindCopy();
document.body.dataset.drawn = "all";
