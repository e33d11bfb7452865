// Wide tables and code scroll in boxes: keys must reach them, and the theme takes that away from code again.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(":is(.md-typeset__scrollwrap, pre > code):not([tabindex])")) { box.tabIndex = 0; }
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["tabindex"] });
