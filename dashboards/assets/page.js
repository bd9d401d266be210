// The browser's part: ask whether there is more to see, say so when nobody answers, copy a command. No library.
(function () {
  "use strict";
  const WAIT_MS = 30000; // a drawing that takes longer than this is asked for again
  let pending = null; // the drawing that was asked for: the one before it, and when

  async function poll(_ticks, seen) {
    const same = window.dash_clientside.no_update;
    if (!seen || document.hidden) return same;
    if (pending && pending.at === seen.at && Date.now() - pending.since < WAIT_MS) return same;
    pending = null;
    let version;
    try {
      const answer = await fetch("/version/" + seen.which, { cache: "no-store" });
      if (!answer.ok) return same;
      version = await answer.json();
      document.body.classList.remove("gone");
    } catch (error) {
      document.body.classList.add("gone");
      return same;
    }
    if (version === seen.version) return same;
    pending = { at: seen.at, since: Date.now() };
    return version;
  }

  async function copy(_clicks, command) {
    try {
      await navigator.clipboard.writeText(command);
      return "copied";
    } catch (error) {
      return "The browser does not allow it; mark the command and copy it.";
    }
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { page: { poll: poll, copy: copy } });

  // A finger that drags must scroll the page, not zoom a figure.
  if (matchMedia("(pointer: coarse)").matches) {
    new MutationObserver(function () {
      document.querySelectorAll(".js-plotly-plot:not([data-still])").forEach(function (plot) {
        if (window.Plotly && plot._fullLayout) {
          plot.dataset.still = "yes";
          window.Plotly.relayout(plot, { dragmode: false });
        }
      });
    }).observe(document.documentElement, { childList: true, subtree: true });
  }
})();
