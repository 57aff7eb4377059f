// Runs before the first paint: the theme that was chosen, and the time zone in which the list says
// "Today".
"use strict";

{
  const root = document.documentElement;
  // Other installations may be served from the same address in turn, or from other ports, which
  // cookies don't tell apart.
  const { installation, root: site = "/" } = root.dataset;
  const key = `fleet:${installation}:theme`;
  // A server below a path of its host also answers without it, because a proxy may have stripped it.
  // Only the browser knows if one has. Without that path, the page would get no cookies.
  const { pathname, search, hash } = location;
  if (!pathname.startsWith(site) && !pathname.includes("%")) {
    const place = `${pathname}/` === site ? site : site + pathname.slice(1);
    location.replace(place + search + hash);
  }
  /** @type {NodeListOf<HTMLMetaElement>} The colours of the browser's own bars: light, dark. */
  const bars = document.querySelectorAll('meta[name="theme-color"]');
  const [light = "", dark = ""] = [...bars].map((bar) => bar.content);

  const stored = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage is switched off
    }
  };

  /** @param {string | null} choice "light" or "dark"; everything else is the system's theme */
  const show = (choice) => {
    const theme = choice === "light" || choice === "dark" ? choice : "system";
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const colours = { system: [light, dark], light: [light, light], dark: [dark, dark] }[theme];
    bars.forEach((bar, place) => (bar.content = colours[place] ?? ""));
    /** @type {NodeListOf<HTMLElement>} */
    const buttons = document.querySelectorAll("[data-theme-choice]");
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
    }
  };

  /** @param {string} choice */
  const keep = (choice) => {
    try {
      if (choice === "system") localStorage.removeItem(key);
      else localStorage.setItem(key, choice);
    } catch {
      // It still holds for this page.
    }
  };

  show(stored());
  document.addEventListener("DOMContentLoaded", () => show(stored()));
  // Another tab has chosen one.
  addEventListener("storage", (event) => event.key === key && show(event.newValue));
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const button = /** @type {HTMLElement | null} */ (target.closest?.("[data-theme-choice]"));
    if (!button) return;
    show(button.dataset.themeChoice ?? "");
    keep(button.dataset.themeChoice ?? "");
  });

  // A page for everybody sets no cookie.
  const zone = "public" in root.dataset ? "" : Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) {
    const kept = `path=${site.slice(0, -1) || "/"}; max-age=31536000; SameSite=Lax`;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `fleet_zone_${installation}=${encodeURIComponent(zone)}; ${kept}${secure}`;
  }
}
