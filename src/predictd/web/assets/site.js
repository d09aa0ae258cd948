// Times in the reader's time zone, live updates, copy buttons, menus, and the log filter.
"use strict";

// The HTML of each live part as the server last sent it.
const servedHtml = new WeakMap();
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relativeTime = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const precise = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });

function timeFromNow(at) {
  const seconds = Math.round((at - Date.now()) / 1000);
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS[3];
  return relativeTime.format(Math.trunc(seconds / size), unit);
}

function enhance(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = time.dataset.utc ??= time.textContent;
    const text = ("precise" in time.dataset ? precise : short).format(at) + ("countdown" in time.dataset ? ` (${timeFromNow(at)})` : "");
    if (time.textContent !== text) time.textContent = text;
  }
  for (const at of root.querySelectorAll("[data-ms]:empty")) {
    const time = new Date(Number(at.dataset.ms));
    at.textContent = clock.format(time);
    at.title = time.toISOString();
  }
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    };
  }
  for (const form of root.querySelectorAll("form[data-confirm]")) {
    form.onsubmit = () => window.confirm(form.dataset.confirm);
  }
}

// Menus close on a click or focus elsewhere, and on Escape.
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(except)) menu.open = false;
}
document.addEventListener("click", (event) => closeMenus(event.target));
document.addEventListener("focusin", (event) => closeMenus(event.target));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details.menu[open]");
  closeMenus(null);
  menu?.querySelector("summary").focus();
});

function filterLog() {
  const form = document.querySelector("form[data-filter]");
  const search = form?.q.value.toLowerCase() ?? "";
  for (const line of document.querySelectorAll(".log .line")) {
    line.hidden = search !== "" && !line.lastElementChild.textContent.toLowerCase().includes(search);
  }
}

function replacePart(part, fresh) {
  const openKeys = [...part.querySelectorAll("details[open][data-keep-open]")].map((details) => details.dataset.keepOpen);
  const scroller = part.querySelector(".log");
  const atEnd = !scroller || scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
  const scrollTop = scroller?.scrollTop ?? 0;
  part.innerHTML = fresh.innerHTML;
  for (const name of ["data-cursor", "data-final"]) {
    if (fresh.hasAttribute(name)) part.setAttribute(name, fresh.getAttribute(name));
  }
  servedHtml.set(part, fresh.innerHTML);
  enhance(part);
  for (const key of openKeys) part.querySelector(`details[data-keep-open="${key}"]`)?.setAttribute("open", "");
  const log = part.querySelector(".log");
  if (log) log.scrollTop = atEnd ? log.scrollHeight : scrollTop;
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) return location.reload();
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!fresh) return location.reload();
    if (servedHtml.get(part) !== fresh.innerHTML) replacePart(part, fresh);
  }
  document.title = page.title;
  filterLog();
}

function watch(part) {
  const run = part.dataset.run ? `&run=${encodeURIComponent(part.dataset.run)}` : "";
  const source = new EventSource(`/live?from=${encodeURIComponent(part.dataset.cursor)}${run}`);
  let isBusy = false;
  let isStale = false;
  source.onmessage = async () => {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    while (isStale) {
      isStale = false;
      await refresh().catch(() => {});
      if ("final" in part.dataset) source.close();
    }
    isBusy = false;
  };
}

for (const part of document.querySelectorAll("[data-live]")) servedHtml.set(part, part.innerHTML);
enhance(document);
const log = document.querySelector(".log");
if (log) log.scrollTop = log.scrollHeight;
document.querySelector("form[data-filter]")?.q.addEventListener("input", filterLog);
setInterval(() => enhance(document), 1000 * 15);
const watched = document.querySelector("[data-cursor]:not([data-final])");
if (watched) watch(watched);
