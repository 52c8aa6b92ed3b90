// Progressive enhancement: the page refreshes in place. Everything works without it.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  let seconds = Number(document.body.dataset.refresh || 0);
  if (!seconds) return;

  const lost = document.getElementById("lost");
  const since = document.getElementById("lost-since");
  let shown = new Date();
  let running = false;

  // The focused element is found again by its position among the focusable ones.
  const focusable = (region) => [...region.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];

  const replace = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML) return;
    const active = document.activeElement;
    const inside = region.contains(active) && active !== region;
    const place = inside ? focusable(region).indexOf(active) : -1;
    const link = inside ? active.getAttribute("href") : null;
    const open = new Set([...region.querySelectorAll("details[open][id]")].map((each) => each.id));
    const scrolled = [...region.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    region.className = fresh.className;
    region.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
    open.forEach((id) => { const each = document.getElementById(id); if (each) each.open = true; });
    region.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
    if (place < 0) return;
    const now = focusable(region);
    const same = now[place] && now[place].getAttribute("href") === link ? now[place] : now.find((each) => link && each.getAttribute("href") === link);
    (same || now[place] || document.getElementById("main")).focus({ preventScroll: true });
  };

  const selecting = () => { const range = window.getSelection(); return range && !range.isCollapsed; };

  const refresh = async () => {
    if (running || document.hidden || selecting()) return;
    running = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual", signal: AbortSignal.timeout(20000) });
      if (answer.type === "opaqueredirect") { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelectorAll("[data-live]").forEach((region) => {
        const other = fresh.getElementById(region.id);
        if (other) replace(region, other);
      });
      document.title = fresh.title;
      const icon = document.querySelector("link[rel=icon]"), freshIcon = fresh.querySelector("link[rel=icon]");
      if (icon && freshIcon && icon.getAttribute("href") !== freshIcon.getAttribute("href")) icon.replaceWith(document.importNode(freshIcon, true));
      seconds = Number(fresh.body.dataset.refresh) || seconds;
      shown = new Date();
      lost.hidden = true;
    } catch (error) {
      since.textContent = shown.toLocaleTimeString();
      lost.hidden = false;
    } finally {
      running = false;
    }
  };

  const later = () => setTimeout(async () => { await refresh(); later(); }, seconds * 1000);
  later();
  document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - shown.getTime() > seconds * 1000) refresh(); });
})();
