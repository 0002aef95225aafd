"use strict";
(() => {
  // Tables: a heading's button sorts each tbody by its column; cells without a value stay last either way.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => !row.matches(".divider, .more"));
          const withMore = new Map(rows.map((row) => [row, [row]]));
          for (const more of body.querySelectorAll("tr.more")) withMore.get(more.previousElementSibling).push(more);
          const keyed = rows.map((row) => [row.cells[column].dataset.value ?? row.cells[column].textContent, row]);
          const numeric = head.dataset.sort === "number";
          keyed.sort(([a], [b]) => {
            if (a === "" || b === "") return (a === "") - (b === "");
            const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
            return up ? order : -order;
          });
          body.append(...keyed.flatMap(([, row]) => withMore.get(row)));
        }
      });
    });
  }

  // Players: one sounds at a time. Without this script each clip keeps its browser's own controls.
  const clips = [...document.querySelectorAll(".clip")].map((figure) => ({
    figure,
    button: figure.querySelector(".play"),
    head: figure.querySelector(".head"),
    audio: figure.querySelector("audio"),
  }));
  document.documentElement.classList.add("scripted");
  let playing = null;

  const follow = () => {
    if (!playing) return;
    const { audio, head } = playing;
    head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    requestAnimationFrame(follow);
  };
  const stop = () => {
    if (!playing) return;
    playing.audio.pause();
    playing.figure.classList.remove("playing");
    playing.button.setAttribute("aria-pressed", "false");
    playing = null;
  };
  const play = (clip) => {
    stop();
    playing = clip;
    clip.audio.currentTime = 0;
    clip.figure.classList.add("playing");
    clip.button.setAttribute("aria-pressed", "true");
    clip.audio.play().then(() => requestAnimationFrame(follow), (error) => {
      if (playing === clip) stop();
      if (error.name !== "AbortError") clip.button.title = `This browser cannot play the clip: ${error.message}`;
    });
  };
  const nearest = (clip, key) => {
    const seen = clips.filter((one) => one.button.offsetParent !== null);
    const at = seen.indexOf(clip);
    if (key === "ArrowLeft") return seen[at - 1];
    if (key === "ArrowRight") return seen[at + 1];
    const here = clip.button.getBoundingClientRect();
    const way = key === "ArrowUp" ? -1 : 1;
    let best = null, least = Infinity;
    for (const other of seen) {
      const there = other.button.getBoundingClientRect();
      const rise = way * (there.top - here.top);
      const distance = 3 * rise + Math.abs(there.left - here.left);
      if (rise > 4 && distance < least) [best, least] = [other, distance];
    }
    return best;
  };
  for (const clip of clips) {
    clip.audio.controls = false;
    clip.button.addEventListener("click", () => (playing === clip ? stop() : play(clip)));
    clip.audio.addEventListener("ended", () => playing === clip && stop());
    clip.button.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow") || event.altKey || event.ctrlKey || event.metaKey) return;
      const next = nearest(clip, event.key);
      if (!next) return;
      event.preventDefault();
      const sounding = playing !== null;
      next.button.focus();
      if (sounding) play(next);
    });
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && stop());

  // Paper shows what a click would: every fold is opened for the printer, and folded again.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((one) => (one.open = false)));
})();
