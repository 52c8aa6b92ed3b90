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

  // What was typed or ticked stays, as long as its field is still there.
  const inputs = (region) => [...region.querySelectorAll("input, select, textarea")];
  const ticks = (field) => field.type === "checkbox" || field.type === "radio";
  const keyOf = (field) => `${field.name} ${ticks(field) ? field.value : field.id}`;
  const changed = (field) => ticks(field) ? field.checked !== field.defaultChecked
    : field.options ? [...field.options].some((each) => each.selected !== each.defaultSelected) : field.value !== field.defaultValue;

  const replace = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML) return;
    const active = document.activeElement;
    const inside = region.contains(active) && active !== region;
    const place = inside ? focusable(region).indexOf(active) : -1;
    const link = inside ? active.getAttribute("href") : null;
    const open = new Set([...region.querySelectorAll("details[open][id]")].map((each) => each.id));
    const ticked = new Set([...region.querySelectorAll("input[type=checkbox]:checked")].map((each) => each.value));
    const scrolled = [...region.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    const typed = new Map(inputs(region).filter(changed).map((each) => [keyOf(each), { value: each.value, checked: each.checked }]));
    region.className = fresh.className;
    region.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
    open.forEach((id) => { const each = document.getElementById(id); if (each) each.open = true; });
    region.querySelectorAll("input[type=checkbox]").forEach((each) => { each.checked = ticked.has(each.value); });
    region.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
    inputs(region).forEach((each) => { const kept = typed.get(keyOf(each)); if (kept) Object.assign(each, kept); });
    if (place < 0) return;
    const now = focusable(region);
    const same = now[place] && now[place].getAttribute("href") === link ? now[place] : now.find((each) => link && each.getAttribute("href") === link);
    (same || now[place] || document.getElementById("main")).focus({ preventScroll: true });
  };

  const selecting = () => { const range = window.getSelection(); return range && !range.isCollapsed; };

  const busy = () => running || document.hidden || selecting();

  const refresh = async () => {
    if (busy()) return;
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
      show();
    } catch (error) {
      since.textContent = shown.toLocaleTimeString();
      lost.hidden = false;
      show();
    } finally {
      running = false;
    }
  };

  // A stream of changes makes the page live; the regular refresh remains for what the stream does not announce.
  const live = document.getElementById("live");
  const address = document.body.dataset.stream;
  let stream = null;
  let wanted = false;

  const show = () => {
    if (!live) return;
    const state = !lost.hidden ? "offline" : stream && stream.readyState === EventSource.OPEN ? "live" : stream ? "reconnecting" : "polling";
    const texts = { live: "Live", reconnecting: "Reconnecting", polling: `Every ${seconds} seconds`, offline: `Offline: data from ${shown.toLocaleTimeString()}` };
    live.hidden = false;
    if (live.dataset.state === state) return;
    live.dataset.state = state;
    live.lastElementChild.textContent = texts[state];
    live.title = texts[state];
  };

  const refreshSoon = async () => {
    if (!wanted) return;
    if (busy()) { setTimeout(refreshSoon, 500); return; }
    wanted = false;
    await refresh();
  };

  const close = () => { if (stream) stream.close(); stream = null; show(); };

  const open = () => {
    if (!address || stream || document.hidden || typeof EventSource === "undefined") { show(); return; }
    stream = new EventSource(address);
    let before = false;
    stream.addEventListener("ready", () => { show(); if (before) refresh(); before = true; });
    stream.addEventListener("change", () => { if (wanted) return; wanted = true; refreshSoon(); });
    stream.addEventListener("error", () => {
      if (stream && stream.readyState === EventSource.CLOSED) { stream = null; setTimeout(open, seconds * 1000); }
      show();
    });
  };

  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });

  const later = () => setTimeout(async () => { await refresh(); later(); }, seconds * 1000);
  later();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); return; }
    open();
    if (address || Date.now() - shown.getTime() > seconds * 1000) refresh();
  });
})();
