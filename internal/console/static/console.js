// CloudCrowd console: keeps an open page up to date and adds keys. Every page reads without it.
const root = document.documentElement;
root.classList.add("js");
const base = root.dataset.base ?? "";

// ---- live: one event stream, changed fragments fetched again --------------------------------------------------------------------------------
const EVENTS = ["feed.reset", "job.submitted", "job.running", "job.done", "job.failed", "job.cancelled", "stage.indexed", "stage.merged", "stage.done", "task.carved", "task.done",
  "task.failed", "task.refused", "task.reopened", "task.quorum", "attempt.leased", "attempt.reported", "attempt.accepted", "attempt.refused", "attempt.failed", "attempt.lost",
  "attempt.returned", "attempt.cancelled", "worker.joined", "worker.online", "worker.offline", "worker.revoked", "credits.issued"];
const notice = document.getElementById("live");
let tag = "";       // ETag of the last answer, for the fragments it covered
let covered = "";
let dirty = false;  // something happened since the last fetch
let busy = false;
let pause = 1000;   // ms between fetches: grows with what a fetch costs
let last = 0;

function say(text, on) {
  notice.hidden = false;
  if (notice.textContent !== text) notice.textContent = text;
  notice.classList.toggle("on", on);
}

// near reports whether a fragment is on or close to the screen: others wait until they are scrolled to.
function near(el) {
  const r = el.getBoundingClientRect();
  return r.bottom > -300 && r.top < innerHeight + 300;
}

// held reports whether the reader is in the middle of something there: selecting, typing, or pressing.
function held(el) {
  const s = getSelection();
  if (s && !s.isCollapsed && el.contains(s.anchorNode)) return true;
  const a = document.activeElement;
  return !!a && el.contains(a) && /^(INPUT|SELECT|TEXTAREA)$/.test(a.tagName);
}

async function refresh() {
  if (busy || document.hidden) return;
  const parts = [...document.querySelectorAll("[data-fragment]")].filter((el) => near(el) && !held(el) && !el.querySelector("details.act[open]"));
  if (!parts.length) return;
  const names = parts.map((el) => el.dataset.fragment).join(",");
  busy = true;
  dirty = false;
  const begun = performance.now();
  try {
    const headers = { "X-Fragment": names };
    if (tag && covered === names) headers["If-None-Match"] = tag;
    const res = await fetch(location.pathname + location.search, { headers, cache: "no-store" });
    if (res.status === 401) return say("Signed out: reload to sign in", false);
    if (res.status === 200) {
      tag = res.headers.get("ETag") ?? "";
      covered = names;
      const doc = new DOMParser().parseFromString(await res.text(), "text/html");
      for (const fresh of doc.querySelectorAll("[data-fragment]")) {
        const old = document.querySelector(`[data-fragment="${fresh.dataset.fragment}"]`);
        if (old && !held(old)) morph(old, fresh);
      }
    }
  } catch {
    dirty = true; // the stream's notice says that the server is away
  } finally {
    busy = false;
    last = performance.now();
    pause = Math.min(10000, Math.max(1000, 5 * (last - begun)));
  }
}

// morph makes old equal to fresh by changing only what differs, so that focus, scroll positions and open details stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(document.importNode(fresh, true));
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  if (old.nodeName === "INPUT" || old.nodeName === "SELECT") return;
  const next = [...fresh.childNodes];
  next.forEach((node, i) => {
    const have = old.childNodes[i];
    if (have) morph(have, node);
    else old.appendChild(document.importNode(node, true));
  });
  while (old.childNodes.length > next.length) old.lastChild.remove();
}

function live(url) {
  const stream = new EventSource(url);
  const mark = () => { dirty = true; };
  stream.onopen = () => { say("Live", true); dirty = true; };
  stream.onmessage = mark;
  for (const type of EVENTS) stream.addEventListener(type, mark);
  stream.onerror = () => {
    say(stream.readyState === EventSource.CLOSED ? "Not live: trying again" : "Connection lost: trying again", false);
    if (stream.readyState === EventSource.CLOSED) {
      stream.close();
      setTimeout(() => live(url), 5000);
    }
  };
  addEventListener("pagehide", () => stream.close(), { once: true });
}

if (root.dataset.events) {
  live(root.dataset.events);
  setInterval(() => {
    const idle = performance.now() - last;
    if (idle > 15000 || (dirty && idle > pause)) refresh();
  }, 250);
  addEventListener("scroll", () => { dirty = true; }, { passive: true });
  document.addEventListener("visibilitychange", () => { dirty = true; });
}

// ---- relative times ---------------------------------------------------------------------------------------------------------------------------
function coarse(s) {
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}
if (root.dataset.events) setInterval(() => {
  const now = Date.now();
  for (const el of document.querySelectorAll("time[datetime]")) {
    const s = (now - Date.parse(el.dateTime)) / 1000;
    const text = Math.abs(s) < 1 ? "now" : s < 0 ? `in ${coarse(-s)}` : `${coarse(s)} ago`;
    if (el.textContent !== text) el.textContent = text;
  }
}, 1000);

// ---- copying ----------------------------------------------------------------------------------------------------------------------------------
document.addEventListener("click", async (ev) => {
  const button = ev.target.closest?.("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const box = document.createElement("textarea"); // without a secure context there is no clipboard object
    box.value = button.dataset.copy;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
    button.focus();
  }
  button.classList.add("ok");
  setTimeout(() => button.classList.remove("ok"), 1200);
});

// ---- timeline: replicas of a task are linked under the pointer, a click opens the task -----------------------------------------------------------
let linked = "";
function link(bar) {
  const task = bar?.dataset.task ?? "";
  const svg = bar?.closest("svg");
  if (task === linked) return;
  linked = task;
  for (const el of document.querySelectorAll(".bar.linked")) el.classList.remove("linked");
  for (const el of document.querySelectorAll(".timeline.linking")) el.classList.remove("linking");
  for (const el of document.querySelectorAll(".timeline .tie")) el.remove();
  if (!task || !svg) return;
  const bars = [...svg.querySelectorAll(`.bar[data-task="${CSS.escape(task)}"]`)];
  if (bars.length < 2) return;
  svg.classList.add("linking");
  const points = bars.map((el) => {
    el.classList.add("linked");
    const r = el.querySelector("rect");
    return [+r.getAttribute("x") + 2, +r.getAttribute("y") + r.getAttribute("height") / 2];
  }).sort((a, b) => a[1] - b[1]);
  const tie = document.createElementNS("http://www.w3.org/2000/svg", "path");
  tie.setAttribute("class", "tie");
  tie.setAttribute("d", "M" + points.map((p) => p.join(" ")).join("L"));
  svg.append(tie);
}
document.addEventListener("pointerover", (ev) => link(ev.target.closest?.(".bar[data-task]")));
document.addEventListener("click", (ev) => {
  const bar = ev.target.closest?.(".bar[data-task]");
  if (bar) location.href = `${base}/tasks/${encodeURIComponent(bar.dataset.task)}`;
});

// ---- theme -------------------------------------------------------------------------------------------------------------------------------------
function flip() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const to = dark ? "light" : "dark";
  root.dataset.theme = to;
  document.cookie = `theme=${to}; path=${base}/; max-age=31536000; samesite=lax`;
}
document.querySelector(".theme")?.addEventListener("submit", (ev) => { ev.preventDefault(); flip(); });

// ---- keys --------------------------------------------------------------------------------------------------------------------------------------
const pages = { o: "/", j: "/jobs", w: "/workers", l: "/ledger" };
let leader = 0;
let row = -1;
function step(by) {
  const rows = [...document.querySelectorAll("main tbody tr")].filter((r) => r.querySelector("a") && r.offsetParent);
  if (!rows.length) return;
  rows[row]?.classList.remove("here");
  row = Math.min(Math.max(row + by, 0), rows.length - 1);
  rows[row].classList.add("here");
  rows[row].querySelector("a").focus({ preventScroll: true });
  rows[row].scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (ev) => {
  if (ev.ctrlKey || ev.metaKey || ev.altKey || ev.defaultPrevented) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(ev.target.tagName)) {
    if (ev.key === "Escape") ev.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]") && ev.key !== "?") return;
  if (leader && performance.now() - leader < 1500 && pages[ev.key]) {
    location.href = base + pages[ev.key];
    return;
  }
  leader = 0;
  switch (ev.key) {
    case "g": leader = performance.now(); return;
    case "j": step(1); break;
    case "k": step(-1); break;
    case "t": flip(); break;
    case "/": {
      const box = document.querySelector("[data-search]");
      if (box) box.focus(); else location.href = base + "/jobs";
      break;
    }
    case "?": {
      const d = document.getElementById("keys");
      if (d.open) d.close(); else d.showModal();
      break;
    }
    default: return;
  }
  ev.preventDefault();
});

// ---- a join link opened in a browser: the command with the whole link, ready to copy ---------------------------------------------------------------
const joining = document.getElementById("join-command");
if (joining && location.hash) {
  joining.textContent = `cloudcrowd worker --join '${location.href.replaceAll("'", "%27")}'`;
  document.getElementById("join-copy").dataset.copy = joining.textContent;
}

// ---- signing in by the admin link: the token behind the # is posted, never part of an address a server sees --------------------------------------
const admin = document.querySelector("[data-admin]");
if (admin) {
  const token = new URLSearchParams(location.hash.slice(1)).get("t");
  const status = document.getElementById("admin-status");
  if (token) {
    history.replaceState(null, "", location.pathname);
    status.textContent = "Signing in …";
    const res = await fetch("/session", { method: "POST", body: new URLSearchParams({ token }), redirect: "manual" }).catch(() => null);
    if (res && (res.ok || res.type === "opaqueredirect")) location.replace(admin.dataset.admin);
    else status.textContent = "The token was refused: it may be from another server or have been replaced. Paste a current one.";
  } else {
    status.textContent = "The link holds no token. Paste it here.";
  }
}
