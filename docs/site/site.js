// Wide tables scroll inside a box that the theme puts around them: keys must reach it.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) { box.tabIndex = 0; }
}).observe(document.documentElement, { childList: true, subtree: true });
